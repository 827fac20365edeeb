//! The driver of messages: frames with any contents in a ring on the heap, received in every form.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use disruptor_mp::{Deadline, Heap, HeapRing};
use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, ReassemblyBuffer, ReceivedMessageMeta, recv_framed_message,
};

/// How many steps one input takes at most.
const STEPS_MAX: usize = 128;
/// Base-2 logarithm of the number of frames in the largest ring.
const DEPTH_BITS_MAX: u32 = 4;

/// A frame that is written to the ring, or a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// A frame with a header of these bytes.
    Frame([u8; 12]),
    /// A frame whose header is consistent by itself: length, kind, flags, and the difference between the
    /// sequence it states and its own.
    Header(u32, u8, u8, i8),
    /// As many frames, from the first one on, as a message of this length has.
    Frames(u8, u8),
    /// A sound message, if there is space.
    Message(u8, bool),
    Receive(u8),
    /// Sets the length of the longest message that is accepted.
    Limit(u16),
    /// The consumer detaches and attaches again.
    Rejoin,
}

/// A ring with its producer and its consumer.
struct Bench<F: FramedTransportFrame> {
    ring: HeapRing<F>,
    tx: FramedTransportProducer<F, Heap>,
    rx: Option<FramedTransportConsumer<F, Heap>>,
    buffer: ReassemblyBuffer,
}

/// Plays frames that the bytes select: no call panics, a message is as long as it says, and a sound message
/// that follows is delivered.
pub(super) fn frames(bytes: &[u8]) {
    let u = &mut Unstructured::new(bytes);
    // an input that ends early is no failure
    let _ = match u.int_in_range(0..=3) {
        Ok(0) => play::<FixedFrame<1>>(u),
        Ok(1) => play::<FixedFrame<13>>(u),
        Ok(2) => play::<FixedFrame<300>>(u),
        _ => play::<AlignedFixedFrame<16>>(u),
    };
}

fn play<F: FramedTransportFrame>(u: &mut Unstructured<'_>) -> Result<()> {
    let depth = 1 << u.int_in_range(0..=DEPTH_BITS_MAX)?;
    let mut bench = Bench::<F>::new(depth);
    for step in u.arbitrary_iter()?.take(STEPS_MAX) {
        bench.step(step?);
    }
    bench.end();
    Ok(())
}

impl<F: FramedTransportFrame> Bench<F> {
    fn new(depth: usize) -> Self {
        let ring = HeapRing::<F>::new(depth).expect("a ring");
        let tx = FramedTransportProducer::from_builder(ring.builder()).expect("a producer");
        let mut bench = Self {
            ring,
            tx,
            rx: None,
            buffer: ReassemblyBuffer::new(),
        };
        bench.attach();
        bench
    }

    fn attach(&mut self) {
        self.rx = None;
        let builder = self.ring.builder().with_consumer_id("reader");
        self.rx = Some(FramedTransportConsumer::from_builder(builder).expect("a consumer"));
    }

    fn step(&mut self, step: Step) {
        let next = self.tx.last_published_sequence() + 1;
        match step {
            Step::Frame(header) => self.put(header),
            Step::Header(len, kind, flags, away) => {
                let meta = FrameMeta {
                    len: if away < 0 { len } else { len % 64 },
                    kind,
                    flags: flags % 8,
                    msg_id: (next as u32).wrapping_add_signed(i32::from(away / 16)),
                };
                self.put(meta.to_bytes());
            }
            Step::Frames(len, count) => self.put_some(usize::from(len), usize::from(count)),
            Step::Message(len, is_timed) => {
                let message = vec![len; usize::from(len)];
                let _ = self
                    .tx
                    .stamp_send_times(is_timed)
                    .try_publish(&message, len);
            }
            Step::Receive(how) => self.receive(how),
            Step::Limit(bytes) => {
                let rx = self.rx.as_mut().expect("a consumer");
                rx.limit_message_bytes(usize::from(bytes));
            }
            Step::Rejoin => self.attach(),
        }
    }

    fn put(&mut self, header: [u8; 12]) {
        let _ = self.tx.ring().try_publish(|frame| {
            *frame.header_mut() = header;
        });
    }

    fn put_some(&mut self, len: usize, count: usize) {
        let first = self.tx.last_published_sequence() + 1;
        let frames = len.div_ceil(F::PAYLOAD_BYTES).max(1);
        for index in 0..frames.min(count) {
            let ends = u8::from(index == 0) | u8::from(index + 1 == frames) << 1;
            let meta = FrameMeta {
                len: (len - index * F::PAYLOAD_BYTES) as u32,
                kind: 1,
                flags: ends,
                msg_id: first as u32,
            };
            self.put(meta.to_bytes());
        }
    }

    fn receive(&mut self, how: u8) {
        let rx = self.rx.as_mut().expect("a consumer");
        let buffer = &mut self.buffer;
        let at_once = Deadline::after(Duration::ZERO);
        let check = |meta: ReceivedMessageMeta, message: &[u8]| assert_eq!(meta.len, message.len());
        // a call may fail or succeed; only delivered messages are checked
        match how % 9 {
            0 => drop(
                rx.try_recv()
                    .map(|message| message.map(|one| check(one.meta(), &one))),
            ),
            1 => drop(
                rx.recv(at_once)
                    .map(|message| check(message.meta(), &message)),
            ),
            2 => drop(
                rx.recv_owned_with_meta(at_once)
                    .map(|(meta, message)| check(meta, &message)),
            ),
            3 => drop(rx.recv_leased(buffer, at_once, check)),
            4 => drop(rx.process_available_messages_with_meta(check)),
            5 => drop(
                rx.recv(at_once)
                    .map(|message| message.release_uncommitted()),
            ),
            6 => {
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let _ = rx.recv_leased(buffer, at_once, |_, _| resume_unwind(Box::new(())));
                }));
            }
            7 => {
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let mut count = 0;
                    let _ = rx.process_available_messages(|_, _| {
                        count += 1;
                        if count == 3 {
                            resume_unwind(Box::new(()));
                        }
                    });
                }));
            }
            _ => drop(recv_framed_message(rx.ring(), at_once)),
        }
    }

    /// Checks that the next message arrives, whatever is in the ring.
    fn end(mut self) {
        let drain = |rx: &mut FramedTransportConsumer<F, Heap>| {
            let mut last = None;
            while let Ok((kind, message)) = rx.recv_owned(Deadline::after(Duration::ZERO)) {
                last = Some((kind, message.len()));
            }
            last
        };
        let rx = self.rx.as_mut().expect("a consumer");
        rx.limit_message_bytes(usize::MAX);
        drain(rx);
        self.tx.stamp_send_times(false);
        self.tx.try_publish(&[7], 7).expect("space for one frame");
        assert_eq!(drain(rx), Some((7, 1)), "{:?}", rx.received());
    }
}
