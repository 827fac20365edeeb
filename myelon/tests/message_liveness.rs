//! Required consumers of messages and values, on every backing: a healthy consumer causes no alert, a stalled
//! one causes an alert, and one that comes back ends the trouble.
//!
//! No test asserts how long anything takes. Tests assert the order of alerts and ends, and fail if something
//! has not ended within a generous limit.

mod bounded;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bounded::within;
use myelon::codec::{Codec, CodecError, ZeroCopyCodec};
use myelon::transport::{FixedFrame, Received, RingPlace};
use myelon::{
    Consumer, Deadline, DisruptorBuilder, HeapRing, MmapTransportLayout, RequiredConsumerAlert,
    RequiredConsumerError, RequiredConsumerFailureAction, RequiredConsumerLivenessConfig, Sequence,
    TransportError, TypedConsumer, TypedProducer, TypedPublishError, portable_shm_segment_name,
};

const PAYLOAD: usize = 64;
type Frame = FixedFrame<PAYLOAD>;

const DEPTH: usize = 4;
/// Deep enough that a consumer that handles everything available releases several messages together.
const LARGE: usize = 64;
const SHORT: Duration = Duration::from_millis(20);
/// A limit for a wait, which no test comes near.
const PATIENT: Duration = Duration::from_secs(30);
/// A limit for a whole test, which no test comes near. It leaves room for a wait of `PATIENT`.
const LIMIT: Duration = Duration::from_secs(75);

/// Bytes that are their own encoding.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Codec for Bytes {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        Ok(self.0.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(bytes.to_vec()))
    }
}

impl ZeroCopyCodec for Bytes {
    type Archived<'a> = &'a [u8];

    fn access(bytes: &[u8]) -> Result<&[u8], CodecError> {
        Ok(bytes)
    }
}

/// The calls by which messages are sent and received.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Framed,
    FramedWithMeta,
    Typed,
    TypedInPlace,
}

/// A ring that does not exist yet, and the way to use it.
struct Ring<'a, B> {
    builder: &'a dyn Fn() -> DisruptorBuilder<Frame, B>,
    way: Way,
}

impl<B: Send + 'static> Ring<'_, B> {
    fn producer(&self) -> Tx<B> {
        let mut ends = TypedProducer::from_builder((self.builder)()).expect("producer");
        ends.raw().ring().print_required_consumer_alerts(false);
        Tx {
            ends,
            way: self.way,
        }
    }

    fn consumer(&self, id: &str) -> Rx<B> {
        let builder = (self.builder)().with_consumer_id(id);
        Rx {
            ends: TypedConsumer::from_builder(builder).expect("consumer"),
            way: self.way,
        }
    }

    /// A consumer that the producer does not require, and that leaves when it is dropped.
    fn brake(&self) -> Consumer<Frame, B> {
        (self.builder)().build_consumer().expect("consumer")
    }
}

struct Tx<B> {
    ends: TypedProducer<Frame, B>,
    way: Way,
}

impl<B> Tx<B> {
    fn publish_managed(&mut self, message: &[u8]) -> Result<Sequence, RequiredConsumerError> {
        let outcome = match self.way {
            Way::Framed | Way::FramedWithMeta => self.ends.raw().publish_managed(message, 1),
            Way::Typed | Way::TypedInPlace => {
                let sent = self.ends.publish_managed(&Bytes(message.to_vec()), 1);
                sent.map_err(|error| match error {
                    TypedPublishError::Transport(error) => error,
                    error => panic!("{error}"),
                })
            }
        };
        outcome.map_err(|error| match error {
            TransportError::RequiredConsumer(error) => error,
            error => panic!("{error}"),
        })
    }

    /// Fills the ring with messages of one frame.
    fn fill(&mut self) {
        for number in 0..self.ends.raw().depth() {
            self.publish_managed(&[number as u8])
                .expect("there is space");
        }
    }

    fn require(&mut self, config: RequiredConsumerLivenessConfig) {
        self.ends.enable_required_consumer_liveness(config);
    }
}

struct Rx<B> {
    ends: TypedConsumer<Frame, B>,
    way: Way,
}

impl<B> Rx<B> {
    /// Handles everything available.
    fn process(&mut self, mut handle: impl FnMut(&[u8])) -> usize {
        let handled = match self.way {
            Way::Framed => {
                let raw = self.ends.raw();
                raw.process_available_messages(|_, message| handle(message))
            }
            Way::FramedWithMeta => {
                let raw = self.ends.raw();
                raw.process_available_messages_with_meta(|_, message| handle(message))
            }
            Way::Typed => self
                .ends
                .process_available::<Bytes>(|_, value| handle(&value.expect("any bytes").0)),
            Way::TypedInPlace => self
                .ends
                .process_available_zero_copy::<Bytes, _>(|_, value| {
                    handle(value.expect("any bytes"));
                }),
        };
        handled.expect("open")
    }

    /// The next message, if there is a whole one.
    fn try_next(&mut self) -> Option<Vec<u8>> {
        match self.way {
            Way::Framed | Way::FramedWithMeta => {
                let message = self.ends.raw().try_recv().expect("open");
                message.map(|message| message.to_vec())
            }
            Way::Typed | Way::TypedInPlace => {
                let value = self.ends.try_recv::<Bytes>().expect("open");
                value.map(|(_, bytes)| bytes.0)
            }
        }
    }

    /// The last frame that was released.
    fn position(&mut self) -> Sequence {
        self.ends.raw().as_ring().current_sequence()
    }

    fn received(&mut self) -> Received {
        self.ends.raw().received()
    }
}

/// Removes a ring's file when the test passes or fails. It would stay otherwise, because durable consumers have
/// unread messages.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes tests of `$name::<B>(Ring<B>)` for the heap, shared memory and a mapped file and for each way, with
/// rings of `$depth` frames.
macro_rules! on_every_backing {
    ($($depth:ident: $($name:ident)*;)*) => {$($(
        mod $name {
            use super::*;

            fn heap(way: Way) {
                within(LIMIT, move || {
                    let ring = HeapRing::<Frame>::new($depth).expect("ring");
                    super::scenarios::$name(Ring { builder: &|| ring.builder(), way });
                });
            }

            fn shared_memory(way: Way) {
                let name = portable_shm_segment_name("live");
                let _removed = Removed(format!("/dev/shm/{name}"));
                within(LIMIT, move || {
                    super::scenarios::$name(Ring { builder: &|| (&name).builder($depth), way });
                });
            }

            fn mapped_file(way: Way) {
                let directory = tempfile::tempdir().expect("directory");
                let layout = MmapTransportLayout::new(directory.path(), "live");
                within(LIMIT, move || {
                    super::scenarios::$name(Ring { builder: &|| (&layout).builder($depth), way });
                });
            }

            in_every_way! { heap shared_memory mapped_file }
        }
    )*)*};
}

macro_rules! in_every_way {
    ($($backing:ident)*) => {$(
        mod $backing {
            use super::Way;

            #[test]
            fn framed() {
                super::$backing(Way::Framed);
            }

            #[test]
            fn framed_with_meta() {
                super::$backing(Way::FramedWithMeta);
            }

            #[test]
            fn typed() {
                super::$backing(Way::Typed);
            }

            #[test]
            fn typed_in_place() {
                super::$backing(Way::TypedInPlace);
            }
        }
    )*};
}

on_every_backing! {
    DEPTH:
    a_stall_ends_managed_messages_for_good
    the_same_id_coming_back_heals_managed_messages
    a_stall_within_a_message_longer_than_the_ring_truncates_it
    the_same_id_coming_back_heals_within_a_message_longer_than_the_ring;

    LARGE:
    progress_within_a_burst_lets_a_message_be_published
    progress_within_a_burst_lets_a_message_of_several_frames_be_published;
}

/// A configuration that reports alerts as they come and ends soon after the first one.
fn graceful() -> (
    RequiredConsumerLivenessConfig,
    Receiver<RequiredConsumerAlert>,
) {
    let (send, alerts) = channel();
    let send = Mutex::new(send);
    let config = RequiredConsumerLivenessConfig {
        required_consumer_ids: vec!["risk".into()],
        startup_wait_timeout: SHORT,
        progress_timeout: SHORT,
        progress_check_interval: Duration::from_millis(1),
        shutdown_grace_period: SHORT,
        failure_action: RequiredConsumerFailureAction::GracefulShutdown,
        alert_hook: Some(Arc::new(move |alert: &RequiredConsumerAlert| {
            let send = send.lock().expect("not poisoned");
            let _ = send.send(alert.clone());
        })),
    };
    (config, alerts)
}

fn is_triggered(outcome: &Result<Sequence, RequiredConsumerError>) -> bool {
    matches!(outcome, Err(RequiredConsumerError::GracefulShutdownTriggered { consumer_id, .. })
        if consumer_id == "risk")
}

/// A message of five rings of frames, which is sent in runs of half a ring.
fn longer_than_the_ring() -> Vec<u8> {
    (0..5 * DEPTH * PAYLOAD).map(|at| at as u8).collect()
}

mod scenarios {
    use super::*;

    pub(super) fn a_stall_ends_managed_messages_for_good<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (config, alerts) = graceful();
        tx.require(config.clone());
        tx.fill();
        assert!(is_triggered(&tx.publish_managed(b"not sent")));
        let alert = alerts.try_recv().expect("an alert came before the end");
        assert_eq!(alerts.try_iter().count(), 0, "one stall, one alert");
        assert_eq!(
            (alert.consumer_id.as_str(), alert.last_sequence),
            ("risk", -1)
        );
        assert_eq!((alert.lag, alert.is_alive), (DEPTH as u64, true));

        // the end is final, whatever the consumer does
        assert_eq!(risk.process(|_| {}), DEPTH);
        assert!(is_triggered(&tx.publish_managed(b"not sent")));
        assert!(is_triggered(&tx.publish_managed(&[0; 2 * PAYLOAD])));
        tx.require(config);
        let next = tx.publish_managed(b"the next");
        assert_eq!(next, Ok(DEPTH as Sequence));
        assert_eq!(risk.try_next().as_deref(), Some(&b"the next"[..]));
    }

    pub(super) fn the_same_id_coming_back_heals_managed_messages<B: Send + 'static>(
        ring: Ring<'_, B>,
    ) {
        let mut tx = ring.producer();
        drop(ring.consumer("risk"));
        let (mut config, alerts) = graceful();
        config.shutdown_grace_period = PATIENT;
        tx.require(config);
        // an absent consumer does not prevent the start: its position is kept
        tx.fill();
        let publishing = thread::spawn(move || (tx.publish_managed(b"the next"), tx));
        let first = alerts.recv_timeout(PATIENT).expect("an alert");
        assert!(!first.is_alive);
        let mut back = ring.consumer("risk");
        assert_eq!(back.try_next(), Some(vec![0]), "it goes on where it was");
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(DEPTH as Sequence));
        let mut rest = Vec::new();
        back.process(|message| rest.push(message.to_vec()));
        assert_eq!(rest.last().map(Vec::as_slice), Some(&b"the next"[..]));
    }

    /// Takes in the first frames of the message. A second consumer, `brake`, lets the producer go only once
    /// round the ring in the meantime, so that these are not all of the message's frames.
    fn take_some<B>(risk: &mut Rx<B>, mut brake: Consumer<Frame, B>, is_over: impl Fn() -> bool) {
        let mut released = 0;
        while risk.position() < DEPTH as Sequence && !is_over() {
            assert_eq!(risk.try_next(), None, "it is not whole");
            if released < DEPTH && brake.try_consume_next_leased().is_some() {
                released += 1;
            }
            thread::yield_now();
        }
    }

    pub(super) fn a_stall_within_a_message_longer_than_the_ring_truncates_it<B: Send + 'static>(
        ring: Ring<'_, B>,
    ) {
        let mut tx = ring.producer();
        let (mut risk, brake) = (ring.consumer("risk"), ring.brake());
        let (config, alerts) = graceful();
        tx.require(config);
        let publishing = thread::spawn(move || (tx.publish_managed(&longer_than_the_ring()), tx));
        take_some(&mut risk, brake, || publishing.is_finished());
        let (published, mut tx) = publishing.join().expect("no panic");
        assert!(is_triggered(&published), "{published:?}");
        assert!(alerts.try_recv().is_ok(), "an alert came before the end");
        assert_eq!(risk.try_next(), None, "its end never comes");
        // only managed calls end for good: a plain call still sends
        let raw = tx.ends.raw();
        raw.send(b"the next", 1, Deadline::after(PATIENT))
            .expect("space");
        assert_eq!(risk.try_next().as_deref(), Some(&b"the next"[..]));
        let received = risk.received();
        assert_eq!(
            (received.messages, received.truncated, received.dropped()),
            (1, 1, 1)
        );
    }

    pub(super) fn the_same_id_coming_back_heals_within_a_message_longer_than_the_ring<
        B: Send + 'static,
    >(
        ring: Ring<'_, B>,
    ) {
        let mut tx = ring.producer();
        let (mut risk, brake) = (ring.consumer("risk"), ring.brake());
        let (mut config, alerts) = graceful();
        config.shutdown_grace_period = PATIENT;
        tx.require(config);
        let publishing = thread::spawn(move || {
            let published = tx.publish_managed(&longer_than_the_ring());
            (published.and_then(|_| tx.publish_managed(b"the next")), tx)
        });
        take_some(&mut risk, brake, || publishing.is_finished());
        drop(risk);
        alerts.recv_timeout(PATIENT).expect("an alert");
        // the frames that it had taken in are lost with it; it drops and counts the rest
        let mut back = ring.consumer("risk");
        let next = loop {
            if let Some(next) = back.try_next() {
                break next;
            }
            thread::yield_now();
        };
        assert_eq!(next, b"the next");
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(5 * DEPTH as Sequence));
        let received = back.received();
        assert_eq!((received.messages, received.truncated), (1, 0));
        assert!(received.orphans > 0);
    }

    /// A consumer handles a ring full of messages in one call. It releases them after each eighth of the ring,
    /// or one by one while the producer is blocked. The whole call takes longer than the timeout, but no single
    /// message does.
    fn with_a_slow_burst<B: Send + 'static>(
        ring: &Ring<'_, B>,
        message: &[u8],
    ) -> Result<Sequence, RequiredConsumerError> {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, alerts) = graceful();
        config.progress_timeout = Duration::from_secs(2);
        tx.require(config);
        tx.fill();
        let (is_over, over) = channel();
        let slow = thread::spawn(move || {
            let mut waits = true;
            risk.process(|_| {
                waits = waits && over.recv_timeout(Duration::from_millis(400)).is_err();
            });
            risk
        });
        let published = tx.publish_managed(message);
        let _ = is_over.send(());
        assert_eq!(alerts.try_iter().count(), 0);
        drop(slow.join().expect("no panic"));
        published
    }

    pub(super) fn progress_within_a_burst_lets_a_message_be_published<B: Send + 'static>(
        ring: Ring<'_, B>,
    ) {
        let published = with_a_slow_burst(&ring, b"one frame");
        assert_eq!(published, Ok(LARGE as Sequence));
    }

    pub(super) fn progress_within_a_burst_lets_a_message_of_several_frames_be_published<
        B: Send + 'static,
    >(
        ring: Ring<'_, B>,
    ) {
        let frames = LARGE / 8;
        let published = with_a_slow_burst(&ring, &vec![7; frames * PAYLOAD]);
        assert_eq!(published, Ok((LARGE + frames - 1) as Sequence));
    }
}
