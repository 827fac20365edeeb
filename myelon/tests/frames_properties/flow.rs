//! Threads: messages of up to several rings flow to consumers that receive in every way, panic, and come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use myelon::transport::{
    FramedTransportFrame, ReassemblyBuffer, ReceivedMessageMeta, TransportError, TransportResult,
    publish_framed_payload, recv_framed_message,
};
use myelon::{CancelToken, Deadline, HeapRing, Sequence};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{IDS, Rx, TIME_BYTES, Tx, bytes, depth, first_sequence, for_each_frame};

/// Under Miri a case takes seconds.
const CASES: u32 = if cfg!(miri) { 1 } else { 24 };
const MESSAGES: usize = if cfg!(miri) { 4 } else { 24 };

#[derive(Clone, Copy, Debug)]
enum Send {
    Publish,
    Within,
    Managed,
    Timed,
    /// Tried until it fits, if it can ever fit.
    Try,
    /// Written in place, if it fits.
    Reserve,
    Raw,
}

#[derive(Clone, Copy, Debug)]
enum Receive {
    Recv,
    TryRecv,
    Owned,
    Leased,
    BlockingOwned,
    BlockingLeased,
    Process,
    /// Handled twice, because the first handler panics.
    LeasedPanics,
    ProcessPanics,
    Uncommitted,
    /// Received, dropped together with its consumer, and received again.
    Rejoin,
}

#[derive(Clone, Debug)]
struct Scenario {
    depth: usize,
    first: Sequence,
    /// For each message: how it is sent, and its length as tenths of a ring plus bytes.
    messages: Vec<(Send, usize, usize)>,
    /// The ways in which each consumer receives, in turn.
    readers: [Vec<Receive>; 2],
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let send = prop_oneof![
        Just(Send::Publish),
        Just(Send::Within),
        Just(Send::Managed),
        Just(Send::Timed),
        Just(Send::Try),
        Just(Send::Reserve),
        Just(Send::Raw),
    ];
    let tenths = prop_oneof![3 => Just(0usize), 3 => 0usize..11, 2 => 11usize..40];
    let receive = prop_oneof![
        Just(Receive::Recv),
        Just(Receive::TryRecv),
        Just(Receive::Owned),
        Just(Receive::Leased),
        Just(Receive::BlockingOwned),
        Just(Receive::BlockingLeased),
        Just(Receive::Process),
        Just(Receive::LeasedPanics),
        Just(Receive::ProcessPanics),
        Just(Receive::Uncommitted),
        Just(Receive::Rejoin),
    ];
    let reader = vec(receive, 1..8);
    (
        depth(),
        first_sequence(),
        vec((send, tenths, 0usize..20), 1..MESSAGES),
        [reader.clone(), reader],
    )
        .prop_map(|(depth, first, messages, readers)| Scenario {
            depth,
            first,
            messages,
            readers,
        })
}

for_each_frame!(play, CASES, scenario());

/// A deadline long enough for everything that must happen. Under Miri one message of four rings takes minutes beside
/// other programs.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(if cfg!(miri) { 3600 } else { 60 }))
}

impl Scenario {
    fn len<F: FramedTransportFrame>(&self, index: usize) -> usize {
        let (_, tenths, more) = self.messages[index];
        tenths * self.depth * F::PAYLOAD_BYTES / 10 + more
    }

    /// The kind and the bytes of a message.
    fn message<F: FramedTransportFrame>(&self, index: usize) -> (u8, Vec<u8>) {
        (index as u8, bytes(self.len::<F>(index), index))
    }

    /// Whether the ring can hold the whole message.
    fn is_held<F: FramedTransportFrame>(&self, index: usize) -> bool {
        let time = match self.messages[index].0 {
            Send::Timed => TIME_BYTES,
            _ => 0,
        };
        (self.len::<F>(index) + time).div_ceil(F::PAYLOAD_BYTES) <= self.depth
    }

    fn send<F: FramedTransportFrame>(
        &self,
        tx: &mut Tx<F>,
        index: usize,
        failure: &CancelToken,
    ) -> TransportResult<()> {
        let (kind, message) = self.message::<F>(index);
        match self.messages[index].0 {
            Send::Publish => tx.publish(&message, kind)?,
            Send::Managed => tx.publish_managed(&message, kind)?,
            Send::Timed => {
                let sent = tx.stamp_send_times(true).send(&message, kind, soon());
                tx.stamp_send_times(false);
                sent?
            }
            Send::Try if message.len().div_ceil(F::PAYLOAD_BYTES) <= self.depth / 2 => loop {
                match tx.try_publish(&message, kind) {
                    Err(TransportError::Full { .. }) if !failure.is_cancelled() => {
                        thread::yield_now();
                    }
                    sent => break sent?,
                }
            },
            Send::Reserve if message.len() <= F::PAYLOAD_BYTES => {
                let mut reservation = tx.reserve(message.len(), kind, soon())?;
                reservation.copy_from_slice(&message);
                reservation.publish()
            }
            Send::Raw => publish_framed_payload(tx.ring(), &message, kind, soon())?,
            Send::Within | Send::Try | Send::Reserve => tx.send(&message, kind, soon())?,
        };
        Ok(())
    }
}

/// One consumer's thread.
struct Reader<'a, F: FramedTransportFrame> {
    scenario: &'a Scenario,
    ring: &'a HeapRing<F>,
    id: &'static str,
    rx: Option<Rx<F>>,
    buffer: ReassemblyBuffer,
    /// The index of the next message.
    at: usize,
}

impl<F: FramedTransportFrame> Reader<'_, F> {
    fn attach(&mut self) {
        self.rx = None;
        let builder = self.ring.builder().with_consumer_id(self.id);
        self.rx = Some(Rx::from_builder(builder).unwrap());
    }

    fn receive(&mut self, how: Receive) {
        let expected = self.scenario.message::<F>(self.at);
        let check =
            |kind, message: &[u8]| assert_eq!((kind, message), (expected.0, &expected.1[..]));
        let check_meta = |meta: ReceivedMessageMeta, message: &[u8]| check(meta.kind, message);
        let rx = self.rx.as_mut().unwrap();
        let buffer = &mut self.buffer;
        match how {
            Receive::Recv => {
                let message = rx.recv(soon()).unwrap();
                check(message.kind(), &message);
            }
            Receive::TryRecv => loop {
                if let Some(message) = rx.try_recv().unwrap() {
                    check(message.kind(), &message);
                    break;
                }
                thread::yield_now();
            },
            Receive::Owned => assert_eq!(rx.recv_owned(soon()).unwrap(), expected),
            Receive::Leased => {
                rx.recv_leased(buffer, soon(), check_meta).unwrap();
                if expected.1.len() > F::PAYLOAD_BYTES {
                    assert_eq!(buffer.as_slice(), expected.1);
                }
            }
            Receive::BlockingOwned => assert_eq!(rx.recv_message_blocking_owned(), expected),
            Receive::BlockingLeased => rx.recv_message_blocking_leased(buffer, check),
            Receive::Process => return self.process(usize::MAX),
            Receive::ProcessPanics => return self.process(1),
            Receive::LeasedPanics => {
                let panics = catch_unwind(AssertUnwindSafe(|| {
                    rx.recv_leased(buffer, soon(), |_, _| panic!("on purpose"))
                }));
                assert!(panics.is_err());
                return;
            }
            Receive::Uncommitted => return rx.recv(soon()).unwrap().release_uncommitted(),
            Receive::Rejoin => {
                if self.scenario.is_held::<F>(self.at) {
                    rx.recv(soon()).unwrap().release_uncommitted();
                    self.attach();
                }
                return;
            }
        }
        self.at += 1;
    }

    /// A burst that panics after this many messages.
    fn process(&mut self, panics_at: usize) {
        let (scenario, mut at) = (self.scenario, self.at);
        let rx = self.rx.as_mut().unwrap();
        let handle = |kind, message: &[u8]| {
            assert!(at - self.at < panics_at, "on purpose");
            let expected = scenario.message::<F>(at);
            assert_eq!((kind, message), (expected.0, &expected.1[..]));
            at += 1;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| rx.process_available_messages(handle)));
        match outcome {
            Ok(count) => assert_eq!(count.unwrap_or(0), at - self.at),
            Err(_) => assert_eq!(panics_at, at - self.at),
        }
        self.at = at;
    }

    fn run(mut self, turns: &[Receive]) {
        let count = self.scenario.messages.len();
        for how in turns.iter().cycle() {
            if self.at == count {
                break;
            }
            self.receive(*how);
            // receive in a plain way as well, because a list of panics alone would make no progress
            if self.at < count {
                self.receive(Receive::Recv);
            }
        }
        let received = self.rx.unwrap().received();
        assert_eq!(
            (received.dropped(), received.orphans),
            (0, 0),
            "{received:?}"
        );
    }
}

/// Cancels the producer's wait when a consumer's thread fails, because that consumer still holds the ring.
struct Alarm<'a>(&'a CancelToken);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

fn play<F: FramedTransportFrame>(scenario: Scenario) {
    let ring = HeapRing::<F>::with_first_sequence(scenario.depth, scenario.first).unwrap();
    let failure = CancelToken::new();
    let mut tx = Tx::from_builder(ring.builder().with_cancel_token(&failure)).unwrap();
    let readers: Vec<_> = IDS
        .into_iter()
        .map(|id| {
            let mut reader = Reader {
                scenario: &scenario,
                ring: &ring,
                id,
                rx: None,
                buffer: ReassemblyBuffer::new(),
                at: 0,
            };
            reader.attach();
            reader
        })
        .collect();
    let mut raw = ring.consumer("raw").unwrap();
    thread::scope(|scope| {
        for (reader, turns) in readers.into_iter().zip(&scenario.readers) {
            scope.spawn(|| {
                let _alarm = Alarm(&failure);
                reader.run(turns);
            });
        }
        scope.spawn(|| {
            let _alarm = Alarm(&failure);
            for index in 0..scenario.messages.len() {
                let message = recv_framed_message(&mut raw, soon()).unwrap();
                assert_eq!(message, scenario.message::<F>(index));
            }
        });
        for index in 0..scenario.messages.len() {
            scenario.send(&mut tx, index, &failure).unwrap();
        }
    });
}
