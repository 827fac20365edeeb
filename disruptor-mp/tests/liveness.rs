//! Required consumers, on every backing: what the producer notices, in which order, and what it ignores.
//!
//! No test asserts how long anything takes: alerts and failures come in an order, and a long limit catches a hang.

use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, Consumer, CounterId, Deadline, DisruptorBuilder, HeapRing,
    MmapProducer, MmapTransportLayout, Producer, RequiredConsumerAlert, RequiredConsumerError,
    RequiredConsumerFailureAction, RequiredConsumerLivenessConfig, build_shared_single_producer,
    portable_shm_segment_name,
};

const CAPACITY: usize = 4;
/// In a ring this large, a consumer that handles all available events releases several of them together.
const LARGE: usize = 64;
const SHORT: Duration = Duration::from_millis(20);
/// No test takes nearly as long.
const PATIENT: Duration = Duration::from_secs(60);

/// A ring that does not exist yet.
struct Ring<'a, B> {
    builder: &'a dyn Fn() -> DisruptorBuilder<u64, B>,
}

impl<B: Send + 'static> Ring<'_, B> {
    fn producer(&self) -> Producer<u64, B> {
        let mut tx = (self.builder)().build_producer(|| 0).expect("producer");
        tx.print_required_consumer_alerts(false);
        tx
    }

    fn consumer(&self, id: &str) -> Consumer<u64, B> {
        (self.builder)()
            .with_consumer_id(id)
            .build_consumer()
            .expect("consumer")
    }
}

/// Removes a ring's file, whether the test passed or failed: durable consumers have unread events, so that it
/// would stay.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes a test of `$name::<B>(Ring<B>)` for the heap, shared memory and a mapped file, with the given number
/// of slots.
macro_rules! on_every_backing {
    ($($capacity:ident: $($name:ident)*;)*) => {$($(
        mod $name {
            use super::*;

            #[test]
            fn heap() {
                let ring = HeapRing::<u64>::new($capacity).expect("ring");
                super::scenarios::$name(Ring { builder: &|| ring.builder() });
            }

            #[test]
            fn shared_memory() {
                let name = portable_shm_segment_name("live");
                let _removed = Removed(format!("/dev/shm/{name}"));
                super::scenarios::$name(Ring { builder: &|| build_shared_single_producer(&name, $capacity) });
            }

            #[test]
            fn mapped_file() {
                let directory = tempfile::tempdir().expect("directory");
                let layout = MmapTransportLayout::new(directory.path(), "live");
                super::scenarios::$name(Ring { builder: &|| MmapProducer::builder(&layout, $capacity) });
            }
        }
    )*)*};
}

on_every_backing! {
    CAPACITY:
    an_absent_one_is_named
    an_absent_one_is_named_to_a_batch
    one_that_comes_late_is_waited_for
    a_stall_ends_publishing_for_good
    a_stall_ends_batches_for_good
    after_the_alert_it_checks_seldom
    while_others_hold_it_up_it_checks_seldom
    progress_within_the_grace_heals
    the_same_id_coming_back_heals
    another_id_heals_nothing
    one_that_went_by_itself_is_not_dead
    an_idle_ring_raises_no_alarm
    alert_only_goes_on_waiting
    progress_within_a_batch_counts
    others_may_be_as_slow_as_they_like
    a_long_sleep_is_no_excuse
    batches;

    LARGE:
    a_hook_that_panics_leaves_nobody_watched
    progress_within_a_burst_lets_one_event_be_published
    progress_within_a_burst_lets_a_batch_be_published;
}

/// A configuration, and its alerts as they come.
fn watch(action: RequiredConsumerFailureAction) -> (Config, Receiver<RequiredConsumerAlert>) {
    let (send, alerts) = channel();
    let send = Mutex::new(send);
    let config = Config {
        required_consumer_ids: vec!["risk".into()],
        startup_wait_timeout: SHORT,
        progress_timeout: SHORT,
        progress_check_interval: Duration::from_millis(1),
        shutdown_grace_period: SHORT,
        failure_action: action,
        alert_hook: Some(Arc::new(move |alert: &RequiredConsumerAlert| {
            let send = send.lock().expect("not poisoned");
            let _ = send.send(alert.clone());
        })),
    };
    (config, alerts)
}

type Config = RequiredConsumerLivenessConfig;

fn graceful() -> (Config, Receiver<RequiredConsumerAlert>) {
    watch(RequiredConsumerFailureAction::GracefulShutdown)
}

fn fill<B>(tx: &mut Producer<u64, B>) {
    for value in 0..CAPACITY as u64 {
        tx.publish_managed(|event| *event = value)
            .expect("there is space");
    }
}

fn is_triggered(result: Result<i64, RequiredConsumerError>) -> bool {
    matches!(result, Err(RequiredConsumerError::GracefulShutdownTriggered { consumer_id, last_sequence: -1, .. })
        if consumer_id == "risk")
}

/// How often the producer has slept.
fn sleeps<B>(tx: &mut Producer<u64, B>) -> u64 {
    let counters = tx.counters();
    let parks = counters
        .iter()
        .find(|counter| counter.id == CounterId::PRODUCER_PARKS);
    parks.expect("it is counted").value
}

mod scenarios {
    use super::*;

    pub(super) fn an_absent_one_is_named<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let _present = ring.consumer("risk");
        let (mut config, _alerts) = graceful();
        config.required_consumer_ids = vec!["risk".into(), "audit".into()];
        tx.enable_required_consumer_liveness(config);
        let missing = vec![String::from("audit")];
        for _ in 0..2 {
            let absent = tx.publish_managed(|_| panic!("nothing is published"));
            let missing = missing.clone();
            assert_eq!(
                absent,
                Err(RequiredConsumerError::StartupTimeout { missing })
            );
        }
        assert_eq!(tx.last_published_sequence(), -1);
        let _late = ring.consumer("audit");
        assert_eq!(tx.publish_managed(|event| *event = 7), Ok(0));
    }

    pub(super) fn an_absent_one_is_named_to_a_batch<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        tx.enable_required_consumer_liveness(graceful().0);
        let missing = vec![String::from("risk")];
        assert_eq!(
            tx.publish_batch_managed(2, |_, _| panic!("nothing is published")),
            Err(RequiredConsumerError::StartupTimeout { missing })
        );
        let _late = ring.consumer("risk");
        assert_eq!(tx.publish_batch_managed(2, |event, _| *event = 7), Ok(1));
    }

    pub(super) fn one_that_comes_late_is_waited_for<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let (mut config, _alerts) = graceful();
        config.startup_wait_timeout = PATIENT;
        tx.enable_required_consumer_liveness(config);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 7), tx));
        thread::sleep(SHORT);
        let mut late = ring.consumer("risk");
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(0));
        assert_eq!(late.try_consume_next(), Some((0, 7)), "it misses nothing");
    }

    pub(super) fn a_stall_ends_publishing_for_good<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config.clone());
        fill(&mut tx);
        assert!(is_triggered(
            tx.publish_managed(|_| panic!("nothing is published"))
        ));
        let alert = alerts.try_recv().expect("an alert came before the end");
        assert_eq!(alerts.try_iter().count(), 0, "one stall, one alert");
        assert_eq!(
            (alert.consumer_id.as_str(), alert.last_sequence),
            ("risk", -1)
        );
        assert_eq!((alert.lag, alert.is_alive), (CAPACITY as u64, true));
        assert_eq!(
            (alert.pid, alert.ring.as_str()),
            (std::process::id(), tx.name())
        );
        assert!(alert.stalled_for >= SHORT);

        // the failure is final, whatever the consumer does, but only for managed publishes
        assert_eq!(risk.process_available(|_, _| {}), CAPACITY);
        assert!(is_triggered(
            tx.publish_managed(|_| panic!("nothing is published"))
        ));
        assert!(is_triggered(tx.publish_batch_managed(2, |_, _| panic!(
            "nothing is published"
        ))));
        assert_eq!(tx.last_published_sequence(), CAPACITY as i64 - 1);
        tx.publish(|event| *event = 8);
        assert!(is_triggered(
            tx.publish_managed(|_| panic!("there would be space"))
        ));
        assert_eq!(alerts.try_iter().count(), 0);

        tx.enable_required_consumer_liveness(config);
        assert_eq!(
            tx.publish_managed(|event| *event = 9),
            Ok(CAPACITY as i64 + 1)
        );
    }

    /// Some slots are free, but the batch has more events.
    pub(super) fn a_stall_ends_batches_for_good<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let _risk = ring.consumer("risk");
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config);
        let batch = |event: &mut u64, i| *event = i as u64;
        assert_eq!(tx.publish_batch_managed(3, batch), Ok(2));
        for _ in 0..2 {
            let refused = tx.publish_batch_managed(2, |_, _| panic!("nothing is published"));
            assert!(is_triggered(refused));
        }
        let alert = alerts.try_recv().expect("an alert came before the end");
        assert_eq!((alert.lag, alert.is_alive), (3, true));
        assert_eq!(alerts.try_iter().count(), 0, "one stall, one alert");
        assert_eq!(tx.last_published_sequence(), 2);
    }

    /// Consumers release each event by itself only while a managed publish waits, however that publish ended.
    pub(super) fn a_hook_that_panics_leaves_nobody_watched<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, _alerts) = graceful();
        config.alert_hook = Some(Arc::new(|_: &RequiredConsumerAlert| {
            std::panic::resume_unwind(Box::new("on purpose"))
        }));
        tx.enable_required_consumer_liveness(config);
        tx.publish_batch(LARGE, |event, i| *event = i as u64);
        let publish = std::panic::AssertUnwindSafe(|| tx.publish_managed(|event| *event = 9));
        assert!(std::panic::catch_unwind(publish).is_err());
        let mut released = Vec::new();
        risk.process_available(|_, _| released.extend(tx.consumer_sequence("risk")));
        assert_eq!(released[..9], [-1, -1, -1, -1, -1, -1, -1, -1, 7]);
        assert_eq!(tx.publish_managed(|event| *event = 9), Ok(LARGE as i64));
    }

    /// After the alert, frequent checks would be useless: a consumer that makes room wakes the producer.
    pub(super) fn after_the_alert_it_checks_seldom<B: Send + 'static>(ring: Ring<'_, B>) {
        let seldom = || (ring.builder)().with_liveness_interval(PATIENT);
        let mut tx = Ring { builder: &seldom }.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, alerts) = watch(RequiredConsumerFailureAction::AlertOnly);
        config.progress_timeout = Duration::from_millis(1);
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        alerts.recv_timeout(PATIENT).expect("an alert");
        thread::sleep(SHORT * 10);
        risk.process_available(|_, _| {});
        let (published, mut tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(CAPACITY as i64));
        assert!(sleeps(&mut tx) < 10, "{} sleeps", sleeps(&mut tx));
    }

    pub(super) fn while_others_hold_it_up_it_checks_seldom<B: Send + 'static>(ring: Ring<'_, B>) {
        let seldom = || (ring.builder)().with_liveness_interval(PATIENT);
        let mut tx = Ring { builder: &seldom }.producer();
        let (mut risk, mut other) = (ring.consumer("risk"), ring.consumer("other"));
        tx.enable_required_consumer_liveness(graceful().0);
        fill(&mut tx);
        risk.try_consume_next().expect("published");
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        thread::sleep(SHORT * 10);
        other.process_available(|_, _| {});
        let (published, mut tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(CAPACITY as i64));
        assert!(sleeps(&mut tx) < 10, "{} sleeps", sleeps(&mut tx));
    }

    pub(super) fn progress_within_the_grace_heals<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, alerts) = graceful();
        config.shutdown_grace_period = PATIENT;
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let slow = thread::spawn(move || {
            // twice: a cleared alert does not suppress the next one
            for sequence in 0..2 {
                let alert = alerts.recv_timeout(PATIENT).expect("an alert");
                assert_eq!(alert.last_sequence, sequence - 1);
                assert_eq!(risk.try_consume_next().map(|(at, _)| at), Some(sequence));
            }
            assert_eq!(alerts.try_iter().count(), 0);
            risk
        });
        for sequence in [CAPACITY as i64, CAPACITY as i64 + 1] {
            assert_eq!(tx.publish_managed(|event| *event = 9), Ok(sequence));
        }
        drop(slow.join().expect("no panic"));
    }

    pub(super) fn the_same_id_coming_back_heals<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        drop(ring.consumer("risk"));
        let (mut config, alerts) = graceful();
        config.shutdown_grace_period = Duration::from_secs(5);
        tx.enable_required_consumer_liveness(config);
        // the first publish does not wait for a consumer that is away, as its position is kept
        fill(&mut tx);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        let first = alerts.recv_timeout(PATIENT).expect("an alert");
        assert!(!first.is_alive);
        let mut back = ring.consumer("risk");
        // coming back ended the stall; the consumer still holds the ring, which is another stall
        let second = alerts.recv_timeout(PATIENT).expect("another alert");
        assert!(second.is_alive);
        assert_eq!(second.last_sequence, -1);
        assert_eq!(
            back.try_consume_next(),
            Some((0, 0)),
            "it goes on where it was"
        );
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(CAPACITY as i64));
    }

    pub(super) fn another_id_heals_nothing<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        drop(ring.consumer("risk"));
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        alerts.recv_timeout(PATIENT).expect("an alert");
        let mut other = ring.consumer("risk2");
        other.process_available(|_, _| {});
        let (published, _tx) = publishing.join().expect("no panic");
        assert!(is_triggered(published));
    }

    /// A consumer that went away has the whole timeout to come back: only one whose process died is reported at once.
    pub(super) fn one_that_went_by_itself_is_not_dead<B: Send + 'static>(ring: Ring<'_, B>) {
        let token = CancelToken::new();
        let builder = (ring.builder)().with_cancel_token(&token);
        let mut tx = builder.build_producer(|| 0).expect("producer");
        drop(ring.consumer("risk"));
        let (mut config, alerts) = graceful();
        config.progress_timeout = PATIENT;
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        // long enough for many checks
        thread::sleep(SHORT * 5);
        token.cancel();
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Err(RequiredConsumerError::Cancelled));
        assert_eq!(alerts.try_iter().count(), 0);
    }

    pub(super) fn an_idle_ring_raises_no_alarm<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        drop(ring.consumer("risk"));
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config);
        for value in 0..CAPACITY as u64 {
            assert_eq!(tx.publish_managed(|event| *event = value), Ok(value as i64));
            thread::sleep(SHORT * 3);
        }
        assert_eq!(alerts.try_iter().count(), 0);
    }

    pub(super) fn alert_only_goes_on_waiting<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (config, alerts) = watch(RequiredConsumerFailureAction::AlertOnly);
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        alerts.recv_timeout(PATIENT).expect("an alert");
        thread::sleep(SHORT * 5);
        assert!(!publishing.is_finished());
        assert_eq!(alerts.try_iter().count(), 0, "one stall, one alert");
        risk.process_available(|_, _| {});
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(CAPACITY as i64));
    }

    pub(super) fn progress_within_a_batch_counts<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, alerts) = graceful();
        config.progress_timeout = Duration::from_secs(2);
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        let slow = thread::spawn(move || {
            // all events together take longer than the timeout, but no single step does
            for _ in 0..CAPACITY {
                thread::sleep(Duration::from_millis(600));
                risk.try_consume_next().expect("published");
            }
            risk
        });
        let published = tx.publish_batch_managed(CAPACITY, |event, i| *event = i as u64);
        assert_eq!(published, Ok(2 * CAPACITY as i64 - 1));
        assert_eq!(alerts.try_iter().count(), 0);
        drop(slow.join().expect("no panic"));
    }

    /// A consumer handles a full ring of events in one call. It releases them in steps of an eighth of the
    /// ring, unless a producer waits. The call takes longer than the timeout, but no single event does.
    fn with_a_slow_burst<B: Send + 'static>(
        ring: &Ring<'_, B>,
        publish: impl FnOnce(&mut Producer<u64, B>) -> Result<i64, RequiredConsumerError>,
    ) -> Result<i64, RequiredConsumerError> {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let (mut config, alerts) = graceful();
        config.progress_timeout = Duration::from_secs(2);
        tx.enable_required_consumer_liveness(config);
        tx.publish_batch(LARGE, |event, i| *event = i as u64);
        let (is_over, over) = channel();
        let slow = thread::spawn(move || {
            let mut waits = true;
            risk.process_available(|_, _| {
                waits = waits && over.recv_timeout(Duration::from_millis(400)).is_err();
            });
            risk
        });
        let published = publish(&mut tx);
        let _ = is_over.send(());
        assert_eq!(alerts.try_iter().count(), 0);
        drop(slow.join().expect("no panic"));
        published
    }

    pub(super) fn progress_within_a_burst_lets_one_event_be_published<B: Send + 'static>(
        ring: Ring<'_, B>,
    ) {
        let published = with_a_slow_burst(&ring, |tx| tx.publish_managed(|event| *event = 7));
        assert_eq!(published, Ok(LARGE as i64));
    }

    pub(super) fn progress_within_a_burst_lets_a_batch_be_published<B: Send + 'static>(
        ring: Ring<'_, B>,
    ) {
        let count = LARGE / 8;
        let published = with_a_slow_burst(&ring, |tx| {
            tx.publish_batch_managed(count, |event, i| *event = i as u64)
        });
        assert_eq!(published, Ok((LARGE + count) as i64 - 1));
    }

    pub(super) fn others_may_be_as_slow_as_they_like<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let (mut risk, mut other) = (ring.consumer("risk"), ring.consumer("other"));
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        // `risk` is required, but does not gate
        risk.try_consume_next().expect("published");
        let publishing = thread::spawn(move || (tx.publish_managed(|event| *event = 9), tx));
        thread::sleep(SHORT * 5);
        assert!(!publishing.is_finished());
        other.process_available(|_, _| {});
        let (published, _tx) = publishing.join().expect("no panic");
        assert_eq!(published, Ok(CAPACITY as i64));
        assert_eq!(alerts.try_iter().count(), 0);
    }

    pub(super) fn a_long_sleep_is_no_excuse<B: Send + 'static>(ring: Ring<'_, B>) {
        let sleepy = || (ring.builder)().with_wait_strategy(AutoWaitStrategy::Sleep(PATIENT * 60));
        let mut tx = Ring { builder: &sleepy }.producer();
        let _risk = ring.consumer("risk");
        let (config, alerts) = graceful();
        tx.enable_required_consumer_liveness(config);
        fill(&mut tx);
        assert!(is_triggered(
            tx.publish_managed(|_| panic!("nothing is published"))
        ));
        assert_eq!(alerts.try_iter().count(), 1);
    }

    pub(super) fn batches<B: Send + 'static>(ring: Ring<'_, B>) {
        let mut tx = ring.producer();
        let mut risk = ring.consumer("risk");
        let too_large = |tx: &mut Producer<u64, B>| {
            let requested = CAPACITY + 1;
            let result = tx.publish_batch_managed(requested, |_, _| panic!("nothing is published"));
            let capacity = CAPACITY;
            assert_eq!(
                result,
                Err(RequiredConsumerError::BatchTooLarge {
                    requested,
                    capacity
                })
            );
        };
        too_large(&mut tx);
        tx.enable_required_consumer_liveness(graceful().0);
        too_large(&mut tx);
        assert_eq!(
            tx.publish_batch_managed(0, |_, _| panic!("no events")),
            Ok(-1)
        );
        assert_eq!(
            tx.publish_batch_managed(3, |event, i| *event = i as u64),
            Ok(2)
        );
        assert_eq!(
            tx.publish_batch_managed(0, |_, _| panic!("no events")),
            Ok(2)
        );
        let mut seen = Vec::new();
        risk.process_available(|event, _| seen.push(*event));
        assert_eq!(seen, [0, 1, 2]);
    }
}

/// A subscriber that keeps the level and the ring of each log event.
mod events {
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Metadata, Subscriber, span};

    pub(super) type Seen = Arc<Mutex<Vec<(Level, String)>>>;

    pub(super) struct Keep(pub(super) Seen);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
            self.0 += &format!("{value:?} ");
        }
    }

    impl Subscriber for Keep {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            let mut seen = self.0.lock().expect("not poisoned");
            seen.push((*event.metadata().level(), text.0));
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }
}

/// Runs a ring on the heap into a failure.
fn fail_once(prints: bool) {
    let ring = HeapRing::<u64>::new(CAPACITY).expect("ring");
    let (mut tx, _risk) = (
        ring.producer().expect("producer"),
        ring.consumer("risk").expect("consumer"),
    );
    tx.enable_required_consumer_liveness(graceful().0)
        .print_required_consumer_alerts(prints);
    fill(&mut tx);
    assert!(is_triggered(tx.publish_managed(|event| *event = 9)));
}

#[test]
fn an_alert_is_one_warning() {
    let seen = events::Seen::default();
    tracing::subscriber::with_default(events::Keep(Arc::clone(&seen)), || fail_once(false));
    let seen = seen.lock().expect("not poisoned");
    let warnings: Vec<_> = seen
        .iter()
        .filter(|(level, text)| *level == tracing::Level::WARN && text.contains("'risk'"))
        .collect();
    assert_eq!(warnings.len(), 1, "{seen:?}");
}

/// A plain publish waits without a time limit. If it waits for a consumer that is not there, only the log can say so.
#[test]
fn a_plain_publication_that_waits_for_an_absent_consumer_logs_that_once() {
    let ring = HeapRing::<u64>::new(CAPACITY).expect("ring");
    let mut tx = ring.producer().expect("producer");
    drop(ring.consumer("risk").expect("consumer"));
    tx.publish_batch(CAPACITY, |event, i| *event = i as u64);
    let seen = events::Seen::default();
    let told = |seen: &events::Seen| {
        let seen = seen.lock().expect("not poisoned");
        let is_told = |(level, text): &&(tracing::Level, String)| {
            *level == tracing::Level::WARN && text.contains("'risk'") && text.contains("4 events")
        };
        seen.iter().filter(is_told).count()
    };
    let keep = events::Keep(Arc::clone(&seen));
    let sending = thread::spawn(move || {
        tracing::subscriber::with_default(keep, || {
            // more than one liveness check in one stall
            for _ in 0..3 {
                let soon = Deadline::after(SHORT * 10);
                assert!(tx.send(soon, |event| *event = 8).is_err());
            }
            tx.send(Deadline::NEVER, |event| *event = 9)
        })
    });
    let limit = Instant::now() + PATIENT;
    while told(&seen) == 0 {
        assert!(Instant::now() < limit, "nothing was said");
        thread::sleep(SHORT);
    }
    thread::sleep(SHORT * 50);
    let mut back = ring.consumer("risk").expect("consumer");
    back.process_available(|_, _| {});
    assert_eq!(sending.join().expect("no panic"), Ok(CAPACITY as i64));
    assert_eq!(told(&seen), 1, "{seen:?}");
}

const CHILD: &str = "LIVENESS_TEST_PRINTS";

#[test]
fn an_alert_is_one_line_on_stderr_unless_switched_off() {
    if let Ok(prints) = std::env::var(CHILD) {
        return fail_once(prints == "true");
    }
    for (prints, lines) in [("true", 1), ("false", 0)] {
        let output = Command::new(std::env::current_exe().expect("own path"))
            .args([
                "--exact",
                "--nocapture",
                "an_alert_is_one_line_on_stderr_unless_switched_off",
            ])
            .env(CHILD, prints)
            .output()
            .expect("a child");
        assert!(output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        let alerts = stderr
            .lines()
            .filter(|line| line.contains("waits for required consumer 'risk'"));
        assert_eq!(alerts.count(), lines, "{stderr}");
    }
}
