//! Counters of other processes: true at every moment, and readable after their owners have gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use disruptor_mp::observability::{CounterId, CountersFile};
use myelon_tests::World;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A counters file, as a process sees it that has no part in the ring.
struct Seen {
    file: CountersFile,
    path: PathBuf,
    ring: String,
}

impl Seen {
    fn of(world: &World) -> Self {
        let path = world.ledger("counters");
        Self {
            file: CountersFile::create(&path).expect("create"),
            path,
            ring: world.name().to_owned(),
        }
    }

    /// The line that lets an actor show its counters here.
    fn attach(&self) -> String {
        format!("attach-counters path={}", self.path.display())
    }

    /// The values of these ids at one moment, where there is one; more than one is a failure.
    #[track_caller]
    fn values<const N: usize>(&self, role: &str, ids: [CounterId; N]) -> [Option<u64>; N] {
        let label = format!("{}/{role}", self.ring);
        let all = self.file.snapshot();
        ids.map(|id| {
            let mut values = all.iter().filter(|it| it.id == id && it.label == label);
            let found = values.next().map(|counter| counter.value);
            assert_eq!(values.next(), None, "twice: {all:?}");
            found
        })
    }

    /// How many events the producer has published.
    #[track_caller]
    fn published(&self) -> Option<u64> {
        let ids = [CounterId::EVENTS_PUBLISHED, CounterId::BYTES_PUBLISHED];
        let [events, bytes] = self.values("producer", ids);
        assert_eq!(bytes, events.map(bytes_of));
        events
    }

    /// How many events the consumer has released, its lag, and its largest lag.
    #[track_caller]
    fn consumed(&self) -> Option<(u64, u64, u64)> {
        let ids = [
            CounterId::EVENTS_CONSUMED,
            CounterId::BYTES_CONSUMED,
            CounterId::CONSUMER_LAG,
            CounterId::CONSUMER_LAG_MAX,
        ];
        let [events, bytes, lag, largest] = self.values("consumer/reader", ids);
        assert_eq!(bytes, events.map(bytes_of));
        Some((events?, lag?, largest?))
    }
}

fn bytes_of(events: u64) -> u64 {
    events * size_of::<myelon_tests::Record>() as u64
}

#[test]
fn positions_are_true_while_the_ring_is_full_and_the_consumer_does_not_wait() {
    for world in World::both(ACTOR) {
        let seen = Seen::of(&world);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader strategy=busy");
        tx.ok(&seen.attach());
        rx.ok(&seen.attach());
        let (mut published, mut released) = (0, 0);
        for ready in [0, 1, 3, 8, 5, 2] {
            if ready > 0 {
                rx.ok(&format!("recv n={ready}"));
                released += ready;
            }
            for is_filled in [false, true] {
                if is_filled {
                    tx.ok("fill");
                    published = released + 8;
                }
                let lag = published - released;
                assert_eq!(seen.published(), Some(published));
                assert_eq!(seen.consumed(), Some((released, lag, lag)));
            }
        }
        // it polls for an event beyond the last one
        rx.ok("recv n=8");
        rx.tell("recv n=1");
        assert_eq!(seen.consumed(), Some((published, 0, 0)));
        tx.ok("publish n=1");
        rx.expect_ok();
        assert_eq!(seen.published(), Some(published + 1));
        assert_eq!(seen.consumed(), Some((published + 1, 0, 0)));
        rx.ok("leave");
        tx.ok("close");
    }
}

#[test]
fn what_is_seen_of_a_busy_ring_never_goes_back() {
    let world = World::shared_memory(ACTOR);
    let seen = Seen::of(&world);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=64");
    rx.ok("consume cap=64 id=reader strategy=yield");
    tx.ok(&seen.attach());
    rx.ok(&seen.attach());
    tx.tell("publish n=200000");
    rx.tell("recv n=200000");
    let mut before = (0, 0);
    let end = Instant::now() + Duration::from_secs(60);
    while before.1 < 200_000 && Instant::now() < end {
        let published = seen.published().expect("alive");
        let (released, lag, _) = seen.consumed().expect("alive");
        assert!(
            published >= before.0 && released >= before.1 && lag <= 64,
            "{published}, {released} and {lag} after {before:?}"
        );
        before = (published, released);
    }
    tx.expect_ok();
    rx.expect_ok();
    assert_eq!(seen.published(), Some(200_000));
    assert_eq!(seen.consumed().map(|it| (it.0, it.1)), Some((200_000, 0)));
    rx.ok("leave");
    tx.ok("close");
}

#[test]
fn counters_of_endpoints_that_have_gone_stay_until_their_slots_are_taken() {
    for world in World::both(ACTOR) {
        let seen = Seen::of(&world);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok(&seen.attach());
        rx.ok(&seen.attach());
        tx.ok("publish n=6");
        rx.ok("recv n=4");
        rx.kill();
        assert_eq!(seen.consumed(), Some((4, 2, 2)), "as it was when it died");

        // its successor has the same slots, and counts from its own start
        let mut rx = world.actor();
        rx.ok("consume cap=8 id=reader");
        rx.ok(&seen.attach());
        assert_eq!(seen.consumed(), Some((0, 2, 2)));
        rx.ok("recv n=1");
        rx.ok("detach");
        assert_eq!(seen.consumed(), Some((1, 1, 1)));
        tx.ok("publish n=1");
        assert_eq!(seen.consumed(), Some((1, 2, 2)), "its place is kept");
        rx.ok("consume cap=8 id=reader");
        rx.ok(&seen.attach());
        rx.ok("recv n=1");
        rx.ok("leave");
        assert_eq!(seen.consumed(), Some((1, 0, 1)), "it left with a lag of 1");

        tx.kill();
        assert_eq!(seen.published(), Some(7));
        // what another producer publishes is not the dead one's
        let mut successor = world.actor();
        successor.ok("produce cap=8");
        successor.ok("publish n=1");
        assert_eq!(seen.published(), None);
        successor.ok(&seen.attach());
        assert_eq!(seen.published(), Some(1));
        successor.ok("publish n=2");
        successor.ok("close");
        assert_eq!(seen.published(), Some(3), "the ring itself is gone");
        assert!(seen.file.sweep().expect("sweep") > 0);
        assert!(seen.file.snapshot().is_empty());
    }
}

#[test]
fn a_position_is_not_shown_where_its_ring_cannot_be_found() {
    for world in World::both(ACTOR) {
        let seen = Seen::of(&world);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        rx.ok(&seen.attach());
        tx.ok("publish n=6");
        rx.ok("recv n=4");
        tx.ok("destroy");
        assert_eq!(seen.consumed(), None, "no old value, and no zero");
        let parks = seen.values("consumer/reader", [CounterId::CONSUMER_PARKS]);
        assert_eq!(parks, [Some(0)], "the rest is as it was");
        // another ring of the name has other positions
        tx.ok("produce cap=8");
        tx.ok("publish n=1");
        assert_eq!(seen.consumed(), None);
        rx.ok("recv n=1");
        rx.ok("detach");
        let consumed = seen.values("consumer/reader", [CounterId::EVENTS_CONSUMED]);
        assert_eq!(consumed, [Some(5)], "its last position");
        tx.ok("close");
    }
}
