//! Mistakes that earlier systems of this kind are known for. These tests show that they are not made here:
//! small messages do not cost copies of whole frames, messages are not encoded into a buffer first, and no part
//! of a message is visible before the whole is.

#[macro_use]
mod own_frame;

use std::cell::{Cell, RefCell};
use std::thread;

use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, ReassemblyBuffer, TransportResult, frame_flags,
};
use myelon::{
    Codec, CodecError, Consumer, Deadline, Heap, HeapRing, Sequence, TypedConsumer, TypedProducer,
    ZeroCopyCodec,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Tx<F> = FramedTransportProducer<F, Heap>;
type Rx<F> = FramedTransportConsumer<F, Heap>;
/// A ring, its producer, and a consumer that inspects the ring's slots.
type Scene<F> = (HeapRing<F>, Tx<F>, Consumer<F, Heap>);

/// The value of every byte of a ring before it is used.
const PATTERN: u8 = 0xA5;

/// A ring of large frames whose payloads contain only the pattern.
fn patterned<F: FramedTransportFrame>(depth: usize) -> Result<Scene<F>> {
    let ring = HeapRing::<F>::new(depth)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    let mut onlooker = ring.consumer("onlooker")?;
    for _ in 0..depth {
        tx.ring().publish(|frame| frame.payload_mut().fill(PATTERN));
        onlooker.recv(Deadline::NEVER)?.commit();
    }
    Ok((ring, tx, onlooker))
}

/// Asserts that the next slot contains `message`, and only the pattern from there to its last byte.
#[track_caller]
fn assert_rest_untouched<F: FramedTransportFrame>(
    onlooker: &mut Consumer<F, Heap>,
    message: &[u8],
) {
    let frame = onlooker.recv(Deadline::NEVER).expect("a frame");
    let (used, rest) = frame.payload().split_at(message.len());
    assert_eq!(used, message);
    let touched = rest.iter().position(|byte| *byte != PATTERN);
    assert_eq!(touched, None, "behind {} bytes", message.len());
}

fn copies_what_is_used<F: FramedTransportFrame>() -> Result {
    let (_ring, mut tx, mut onlooker) = patterned::<F>(8)?;
    type Way<F> = fn(&mut Tx<F>, &[u8]) -> TransportResult<Sequence>;
    let ways: [Way<F>; 5] = [
        |tx, message| tx.publish(message, 1),
        |tx, message| tx.send(message, 1, Deadline::NEVER),
        |tx, message| tx.try_publish(message, 1),
        |tx, message| tx.publish_managed(message, 1),
        |tx, message| {
            let mut place = tx.reserve(message.len() + 9, 1, Deadline::NEVER)?;
            place[..message.len()].copy_from_slice(message);
            place.truncate(message.len());
            Ok(place.publish())
        },
    ];
    for way in ways {
        way(&mut tx, b"short")?;
        assert_rest_untouched(&mut onlooker, b"short");
    }
    // the last frame of several, and a time after the message
    let long = vec![7; F::PAYLOAD_BYTES + 3];
    tx.publish(&long, 1)?;
    assert_rest_untouched(&mut onlooker, &long[..F::PAYLOAD_BYTES]);
    assert_rest_untouched(&mut onlooker, &long[F::PAYLOAD_BYTES..]);
    tx.stamp_send_times(true).publish(b"", 1)?;
    let frame = onlooker.recv(Deadline::NEVER)?;
    assert!(frame.payload()[8..].iter().all(|byte| *byte == PATTERN));
    Ok(())
}

#[test]
fn a_short_message_touches_its_own_bytes_of_a_large_frame_only() -> Result {
    copies_what_is_used::<FixedFrame<65_536>>()?;
    copies_what_is_used::<AlignedFixedFrame<65_536>>()
}

/// A codec writes only the bytes that it needs, although it gets the whole frame.
#[cfg(feature = "bincode")]
#[test]
fn an_encoded_value_touches_its_own_bytes_of_a_large_frame_only() -> Result {
    use myelon::codec::Bincode;

    let ring = HeapRing::<FixedFrame<65_536>>::new(1)?;
    let mut tx = TypedProducer::from_builder(ring.builder())?;
    let mut onlooker = ring.consumer("onlooker")?;
    tx.raw()
        .ring()
        .publish(|frame| frame.payload_mut().fill(PATTERN));
    onlooker.recv(Deadline::NEVER)?.commit();
    tx.publish(&Bincode("gold".to_owned()), 1)?;
    assert_rest_untouched(&mut onlooker, b"\x04\0\0\0\0\0\0\0gold");
    Ok(())
}

/// In frames of 64 KiB, a received message is only as long as it was sent, and takes only that much memory.
#[test]
fn what_is_received_is_as_large_as_the_message() -> Result {
    let ring = HeapRing::<FixedFrame<65_536>>::new(8)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    let mut rx = Rx::from_builder(ring.builder())?;
    for len in [1, 5, 65_536, 65_537, 200_000] {
        tx.publish(&vec![3; len], 1)?;
        let (_kind, message) = rx.recv_owned(Deadline::NEVER)?;
        assert_eq!((message.len(), message.capacity()), (len, len));
    }
    Ok(())
}

thread_local! {
    /// How often a message was encoded into a buffer of its own.
    static BUFFERED: Cell<u32> = const { Cell::new(0) };
    /// The address at which it was last encoded.
    static WRITTEN_AT: Cell<usize> = const { Cell::new(0) };
}

/// Bytes whose codec records where it encodes and where it decodes.
struct Traced(Vec<u8>);

impl Codec for Traced {
    fn encode(&self) -> std::result::Result<Vec<u8>, CodecError> {
        BUFFERED.set(BUFFERED.get() + 1);
        Ok(self.0.clone())
    }

    fn encode_into(&self, out: &mut [u8]) -> std::result::Result<Option<usize>, CodecError> {
        let Some(place) = out.get_mut(..self.0.len()) else {
            return Ok(None);
        };
        WRITTEN_AT.set(place.as_ptr().addr());
        place.copy_from_slice(&self.0);
        Ok(Some(place.len()))
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, CodecError> {
        Ok(Self(bytes.to_vec()))
    }
}

impl ZeroCopyCodec for Traced {
    type Archived<'a> = &'a [u8];

    fn access(bytes: &[u8]) -> std::result::Result<&[u8], CodecError> {
        Ok(bytes)
    }
}

/// On the heap both sides see the ring at one address, so a message that is read in place must lie where it was
/// encoded.
#[test]
fn a_message_is_encoded_where_it_is_read() -> Result {
    let ring = HeapRing::<FixedFrame<64>>::new(8)?;
    let mut tx = TypedProducer::from_builder(ring.builder())?;
    let mut rx = TypedConsumer::from_builder(ring.builder())?;
    let mut buffer = ReassemblyBuffer::new();
    for len in [0, 1, 63, 64] {
        tx.publish(&Traced(vec![1; len]), 1)?;
        let read_at =
            rx.recv_leased::<Traced, _, _>(&mut buffer, |_, bytes| bytes.as_ptr().addr())?;
        assert_eq!(read_at, WRITTEN_AT.get(), "{len} bytes");
    }
    assert_eq!(BUFFERED.get(), 0, "into a buffer, then copied");
    // a message that does not fit a frame is encoded once into a buffer; the next short one goes straight into
    // its frame again
    for (len, buffered) in [(65, 1), (130, 2), (5, 3), (5, 3)] {
        tx.publish(&Traced(vec![1; len]), 1)?;
        assert_eq!(rx.recv::<Traced>(Deadline::NEVER)?.1.0.len(), len);
        assert_eq!(BUFFERED.get(), buffered, "{len} bytes");
    }
    Ok(())
}

thread_local! {
    /// The consumer that reads the ring while its frames are written.
    static ONLOOKER: RefCell<Option<Consumer<Watched, Heap>>> = const { RefCell::new(None) };
    /// How many frames of the message were visible as each of its frames was written.
    static VISIBLE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

own_frame! {
    /// A frame of 4 bytes that checks what is visible in the ring each time a header is written.
    struct Watched, holds 4, says 4, header_mut: look
}

/// Records how many frames of the message are visible at this moment.
fn look() {
    let before = VISIBLE.with_borrow(|visible| visible.last().copied().unwrap_or(0));
    VISIBLE.with_borrow_mut(|visible| visible.push(before + consumed()));
}

/// How many frames the onlooker sees that it has not seen before.
fn consumed() -> usize {
    ONLOOKER.with_borrow_mut(|onlooker| {
        let onlooker = onlooker.as_mut().expect("an onlooker");
        onlooker.process_available(|_, _| {})
    })
}

#[test]
fn no_frame_of_a_message_is_visible_before_its_run_is_written() -> Result {
    const DEPTH: usize = 16;
    let ring = HeapRing::<Watched>::new(DEPTH)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    ONLOOKER.set(Some(ring.consumer("onlooker")?));
    // messages are published in runs of up to half the ring
    let run = DEPTH / 2;
    for frames in [1, 2, 3, run, run + 1, 3 * run, 3 * run + 2] {
        tx.send(&vec![1; 4 * frames], 1, Deadline::NEVER)?;
        let visible = VISIBLE.take();
        let expected: Vec<_> = (0..frames).map(|index| index / run * run).collect();
        assert_eq!(visible, expected, "{frames} frames");
        assert_eq!(
            visible.last().expect("a frame") + consumed(),
            frames,
            "then all of it"
        );
    }
    Ok(())
}

/// Another thread that sees a message's first frame sees all of the message, at whatever moment it reads.
#[test]
fn a_thread_that_sees_the_first_frame_sees_the_whole_message() -> Result {
    const DEPTH: usize = 32;
    const MESSAGES: usize = 20_000;
    let ring = HeapRing::<FixedFrame<4>>::new(DEPTH)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    let mut onlooker = ring.consumer("onlooker")?;
    let lens = |index: usize| index * 7 % (DEPTH / 2 * 4 + 1);
    let sender = thread::spawn(move || {
        for index in 0..MESSAGES {
            tx.publish(&[1; DEPTH * 4][..lens(index)], 1).expect("sent");
        }
    });
    for index in 0..MESSAGES {
        let first = onlooker.recv(Deadline::NEVER)?;
        let meta = FrameMeta::from_bytes(first.header()).expect("a frame");
        first.commit();
        assert_ne!(meta.flags & frame_flags::START, 0);
        assert_eq!(meta.len as usize, lens(index));
        for _ in 1..lens(index).div_ceil(4) {
            assert!(
                onlooker.try_consume_next().is_some(),
                "a part of message {index}"
            );
        }
    }
    sender.join().expect("the sender");
    Ok(())
}
