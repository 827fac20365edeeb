//! Required consumers that are killed. The producer reports at once which one it was; publishing ends after the
//! grace period, and goes on if the same id comes back before.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use disruptor_mp::{
    DisruptorBuilder, MmapProducer, MmapTransportLayout, Producer, RequiredConsumerAlert,
    RequiredConsumerError, RequiredConsumerLivenessConfig, build_shared_single_producer,
};
use myelon_tests::{Actor, Record, World, assert_names};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
const CAPACITY: usize = 8;
/// A time that no test reaches.
const PATIENT: Duration = Duration::from_secs(60);
/// A stall limit that is never reached, so that only deaths count.
const NEVER: Duration = Duration::from_secs(3_600);
/// How many events the managed publication has that finds the ring full.
const SIZES: [usize; 2] = [1, 3];

type Published<B> = JoinHandle<(Result<i64, RequiredConsumerError>, Producer<Record, B>)>;

/// A ring that is full because its required consumer takes no event, and the publication that waits for it.
struct Stage<B> {
    risk: Actor,
    alerts: Receiver<RequiredConsumerAlert>,
    publishing: Published<B>,
}

impl<B: Send + 'static> Stage<B> {
    fn new(
        world: &World,
        builder: &dyn Fn() -> DisruptorBuilder<Record, B>,
        (n, grace): (usize, Duration),
    ) -> Self {
        let mut tx = builder().build_zeroed_producer().expect("a producer");
        let mut risk = world.actor();
        risk.ok(&format!("consume cap={CAPACITY} id=risk"));
        let (send, alerts) = channel();
        let send = Mutex::new(send);
        tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
            required_consumer_ids: vec!["risk".into()],
            progress_timeout: NEVER,
            shutdown_grace_period: grace,
            alert_hook: Some(Arc::new(move |alert: &RequiredConsumerAlert| {
                let _ = send.lock().expect("not poisoned").send(alert.clone());
            })),
            ..Default::default()
        })
        .print_required_consumer_alerts(false);
        tx.publish_batch(CAPACITY, |record, i| record.write(i as i64));
        let next = CAPACITY as i64;
        let publishing = thread::spawn(move || {
            let published = match n {
                1 => tx.publish_managed(|record| record.write(next)),
                n => tx.publish_batch_managed(n, |record, i| record.write(next + i as i64)),
            };
            (published, tx)
        });
        Self {
            risk,
            alerts,
            publishing,
        }
    }

    /// Kills the required consumer. Returns the alert that its death raises, and asserts that there is no other.
    fn kill(&mut self) -> RequiredConsumerAlert {
        let pid = self.risk.pid();
        self.risk.kill();
        let alert = self.alerts.recv_timeout(PATIENT).expect("an alert");
        assert_eq!((alert.pid, alert.is_alive), (pid, false), "{alert}");
        assert_eq!(
            (alert.lag, alert.last_sequence),
            (CAPACITY as u64, -1),
            "{alert}"
        );
        assert_names(&alert.to_string(), &[&format!("pid {pid}"), "not attached"]);
        alert
    }
}

fn ends_after_the_grace_period<B: Send + 'static>(
    world: &World,
    builder: &dyn Fn() -> DisruptorBuilder<Record, B>,
) {
    for n in SIZES {
        let mut stage = Stage::new(world, builder, (n, Duration::from_millis(20)));
        let alert = stage.kill();
        let (published, tx) = stage.publishing.join().expect("no panic");
        let error = published.expect_err("nobody came back");
        assert!(
            matches!(
                &error,
                RequiredConsumerError::GracefulShutdownTriggered { owner, lag: 8, is_alive: false, .. }
                    if *owner == alert.owner
            ),
            "{error}"
        );
        assert_names(
            &error.to_string(),
            &[world.name(), "'risk'", "not attached", "8 events behind"],
        );
        assert_eq!(stage.alerts.try_iter().count(), 0, "one death, one alert");
        tx.destroy().expect("destroyed");
    }
}

fn goes_on_with_who_comes_back<B: Send + 'static>(
    world: &World,
    builder: &dyn Fn() -> DisruptorBuilder<Record, B>,
) {
    for n in SIZES {
        let mut stage = Stage::new(world, builder, (n, NEVER));
        stage.kill();
        let mut again = world.actor();
        let joined = again.ok(&format!("consume cap={CAPACITY} id=risk"));
        assert_eq!(joined.number("next"), 0, "it misses nothing");
        again.ok(&format!("recv n={CAPACITY}")).assert_saw(0, 7);
        let (published, tx) = stage.publishing.join().expect("no panic");
        assert_eq!(published, Ok((CAPACITY + n) as i64 - 1));
        assert_eq!(stage.alerts.try_iter().count(), 0, "one death, one alert");
        tx.destroy().expect("destroyed");
    }
}

#[test]
fn a_killed_required_consumer_is_reported_at_once_and_ends_publishing_in_shared_memory() {
    let world = World::shared_memory(ACTOR);
    let builder = || build_shared_single_producer(world.name(), CAPACITY);
    ends_after_the_grace_period(&world, &builder);
}

#[test]
fn a_killed_required_consumer_is_reported_at_once_and_ends_publishing_in_a_mapped_file() {
    let world = World::mapped_file(ACTOR);
    let layout = MmapTransportLayout::new(world.directory(), world.name());
    ends_after_the_grace_period(&world, &|| MmapProducer::builder(&layout, CAPACITY));
}

#[test]
fn a_killed_required_consumer_that_comes_back_ends_the_stall_in_shared_memory() {
    let world = World::shared_memory(ACTOR);
    let builder = || build_shared_single_producer(world.name(), CAPACITY);
    goes_on_with_who_comes_back(&world, &builder);
}

#[test]
fn a_killed_required_consumer_that_comes_back_ends_the_stall_in_a_mapped_file() {
    let world = World::mapped_file(ACTOR);
    let layout = MmapTransportLayout::new(world.directory(), world.name());
    goes_on_with_who_comes_back(&world, &|| MmapProducer::builder(&layout, CAPACITY));
}
