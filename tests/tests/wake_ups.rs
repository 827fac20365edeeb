//! No wake-up is lost, between processes and with a delay at any step of falling asleep and of waking (R9).
//!
//! An event is sent only after the one before it was taken, so that nothing makes up for a wake-up that is lost but the
//! sleeper's own clock, and that looks after half a minute. Controls leave a step of the protocol out, and lose some. The
//! steps are the fail points of `disruptor-mp/src/fail.rs`, which only debug builds have.
#![cfg(debug_assertions)]

use std::time::Duration;

use myelon_tests::waiters::{NEVER_MS, WOKEN, attach, wait_for_sleepers, wait_for_wish, woken};
use myelon_tests::{Actor, Reply, World, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A producer and a consumer with a fail point in the one that wakes, or else in the one that sleeps: the consumer when
/// it is about events, the producer when it is about space.
fn pair_with(world: &World, capacity: usize, point: &str, is_space: bool) -> (Actor, Actor) {
    let (armed, other) = (world.actor_with(point), world.actor());
    let (tx, rx) = match point.starts_with("wake") == is_space {
        true => (other, armed),
        false => (armed, other),
    };
    attach(tx, rx, capacity, NEVER_MS)
}

/// Events, and as many slots, at each step.
const SPACED: i64 = 1_250;
/// Of those who are slower to wake.
const FEW: i64 = 500;
/// Longer than a consumer spins, so that an event meets it at any of its steps.
const GAP_US: u64 = 400;

/// What the events of several steps came to.
#[derive(Debug, Default)]
struct Sum {
    events: i64,
    wakes: u32,
    slow: i64,
    stalls: i64,
    worst_us: i64,
}

impl Sum {
    /// Counts a step in. None may have waited for its own clock.
    fn add(&mut self, step: &str, taken: &Reply, wakes: u32, stalls: i64) {
        let worst_us = taken.number("worst_us");
        assert!(
            Duration::from_micros(worst_us as u64) < WOKEN,
            "{step}: a wake-up was lost: {}",
            taken.text()
        );
        self.events += taken.number("count");
        self.wakes += wakes;
        self.slow += taken.number("slow");
        self.stalls += stalls;
        self.worst_us = self.worst_us.max(worst_us);
    }

    /// One in a thousand may be slower than 50 ms; and as many as the machine let a plain sleep oversleep by a fifth of
    /// that.
    #[track_caller]
    fn is_as_it_should_be(&self) {
        println!("{self:?}");
        assert_eq!(self.events, 8 * SPACED, "{self:?}");
        assert!(
            i64::from(self.wakes) > self.events / 4,
            "who slept? {self:?}"
        );
        let allowed = (self.events / 1_000).max(self.stalls);
        assert!(self.slow <= allowed, "{self:?}");
    }
}

/// Events one by one, each after the one before it was taken; the consumer waits for them `by=` itself or something else.
fn send_spaced(tx: &mut Actor, rx: &mut Actor, count: i64, by: &str) -> (Reply, Reply) {
    rx.tell(&format!("take-spaced n={count} {by}"));
    tx.tell(&format!("send-spaced n={count} gap_us={GAP_US} seed=7"));
    let replies = (rx.expect_ok(), tx.expect_ok());
    assert_eq!(replies.0.number("last"), replies.1.number("last"));
    replies
}

/// Slots one by one, each after the one before it was used; the ring has four, and had so many events before.
fn release_spaced(tx: &mut Actor, rx: &mut Actor, count: i64, before: i64) -> Reply {
    tx.tell(&format!("publish n={}", count + 4));
    rx.tell(&format!("release-spaced n={count} gap_us={GAP_US} seed=7"));
    let released = rx.expect_ok();
    assert_eq!(tx.expect_ok().number("last"), before + count + 3);
    released
}

#[test]
fn no_event_is_slept_through_with_a_delay_at_any_step() {
    let mut sum = Sum::default();
    for step in [
        "sleep.word",
        "sleep.bit",
        "sleep.fenced",
        "sleep.looked",
        "sleep.over",
        "wake.taken",
        "wake.bumped",
        "wake.woken",
    ] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = pair_with(&world, 64, &format!("{step}:1:jitter"), false);
        let (taken, sent) = send_spaced(&mut tx, &mut rx, SPACED, "");
        sum.add(step, &taken, world.wakes().0, sent.number("stalls"));
        tx.ok("destroy");
    }
    sum.is_as_it_should_be();
}

#[test]
fn no_free_slot_is_slept_through_with_a_delay_at_any_step() {
    let mut sum = Sum::default();
    for step in [
        "sleep.space_word",
        "sleep.wish",
        "sleep.space_fenced",
        "sleep.space_looked",
        "sleep.space_over",
        "wake.wish_taken",
        "wake.space_bumped",
        "wake.space_woken",
    ] {
        let world = World::mapped_file(ACTOR);
        let (mut tx, mut rx) = pair_with(&world, 4, &format!("{step}:1:jitter"), true);
        let released = release_spaced(&mut tx, &mut rx, SPACED, 0);
        sum.add(step, &released, world.wakes().1, released.number("stalls"));
        tx.ok("destroy");
    }
    sum.is_as_it_should_be();
}

#[test]
fn no_event_is_slept_through_by_a_set_or_an_event_loop() {
    let sleeps = [
        "sleep.word",
        "sleep.bit",
        "sleep.fenced",
        "sleep.looked",
        "sleep.over",
    ];
    let threads = [
        "readiness.drained",
        "readiness.ordered",
        "sentry.ordered",
        "sentry.seen",
    ];
    let of_set = sleeps.map(|step| (step, "by=set"));
    let of_loop = sleeps
        .into_iter()
        .chain(threads)
        .map(|step| (step, "by=loop"));
    for (step, by) in of_set.into_iter().chain(of_loop) {
        let world = World::shared_memory(ACTOR);
        let sleeper = world.actor_with(&format!("{step}:1:jitter"));
        let (mut tx, mut rx) = attach(world.actor(), sleeper, 64, NEVER_MS);
        let (taken, _) = send_spaced(&mut tx, &mut rx, FEW, by);
        println!("{by}, {step}: {}", taken.text());
        let worst = Duration::from_micros(taken.number("worst_us") as u64);
        assert!(
            worst < WOKEN,
            "{by}, {step}: a wake-up was lost: {}",
            taken.text()
        );
        // on a busy machine most events come while the sleeper waits for its turn
        assert!(world.wakes().0 > 0, "{by}, {step}: who slept?");
        tx.ok("destroy");
    }
}

/// Where `membarrier` is not allowed, to one side or to both, publishers fence and sleeps are short.
#[test]
fn nothing_is_slept_through_without_membarrier() {
    for (tx_may, rx_may) in [(false, false), (false, true), (true, false)] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        for (actor, may) in [(&mut tx, tx_may), (&mut rx, rx_may)] {
            if !may {
                actor.ok("forbid-barrier");
            }
        }
        let (mut tx, mut rx) = attach(tx, rx, 4, NEVER_MS);
        let (taken, _) = send_spaced(&mut tx, &mut rx, FEW, "");
        let released = release_spaced(&mut tx, &mut rx, FEW, FEW);
        println!("{tx_may}, {rx_may}: {} / {}", taken.text(), released.text());
        for reply in [taken, released] {
            let worst = Duration::from_micros(reply.number("worst_us") as u64);
            assert!(worst < WOKEN, "a wake-up was lost: {}", reply.text());
        }
        let (events, slots) = world.wakes();
        assert!(events > 0 && slots > 0, "{tx_may}, {rx_may}: who slept?");
        tx.ok("destroy");
    }
}

/// Controls: with a step of the protocol left out, and a delay where it would have helped, the same events lose wake-ups.
/// Whoever does looks up after a while that is short enough for many tries.
#[test]
fn a_step_left_out_loses_wake_ups() {
    for (step, at) in [("SleepBit", "sleep.word"), ("SleepLook", "sleep.word")] {
        loses_wake_ups(step, |world| {
            let sleeper = world.actor_without(step, &format!("{at}:1:jitter"));
            let (mut tx, mut rx) = attach(world.actor(), sleeper, 64, LOSER_MS);
            let (taken, _) = send_spaced(&mut tx, &mut rx, TRY, "");
            tx.ok("destroy");
            taken
        });
    }
    loses_wake_ups("WakeBump", |world| {
        let waker = world.actor_without("WakeBump", "wake.taken:1:jitter");
        let sleeper = world.actor_with("sleep.looked:1:jitter");
        let (mut tx, mut rx) = attach(waker, sleeper, 64, LOSER_MS);
        let (taken, _) = send_spaced(&mut tx, &mut rx, TRY, "");
        tx.ok("destroy");
        taken
    });
    loses_wake_ups("SleepLook for space", |world| {
        let sleeper = world.actor_without("SleepLook", "sleep.space_word:1:jitter");
        let (mut tx, mut rx) = attach(sleeper, world.actor(), 4, LOSER_MS);
        let released = release_spaced(&mut tx, &mut rx, TRY, 0);
        tx.ok("destroy");
        released
    });
}

/// The same in a set of rings, where the system sleeps on several words at once, and in an event loop.
#[test]
fn a_step_left_out_of_a_set_or_an_event_loop_loses_wake_ups() {
    for by in ["by=set", "by=loop"] {
        loses_wake_ups(&format!("SleepBit {by}"), |world| {
            let sleeper = world.actor_without("SleepBit", "sleep.word:1:jitter");
            let (mut tx, mut rx) = attach(world.actor(), sleeper, 64, LOSER_MS);
            let (taken, _) = send_spaced(&mut tx, &mut rx, TRY, by);
            tx.ok("destroy");
            taken
        });
    }
}

/// How soon a control looks up.
const LOSER_MS: u64 = 300;
/// The events of one try.
const TRY: i64 = 40;

/// Tries until an event was as late as the next look.
#[track_caller]
fn loses_wake_ups(what: &str, attempt: impl Fn(&World) -> Reply) {
    let is_lost = (0..20).any(|_| {
        let reply = attempt(&World::shared_memory(ACTOR));
        println!("without {what}: {}", reply.text());
        reply.number("worst_us") as u64 >= LOSER_MS * 1_000 * 5 / 6
    });
    assert!(is_lost, "nothing is lost without {what}");
}

#[test]
fn a_waker_killed_before_it_wakes_leaves_sleepers_to_their_clocks() {
    let interval = Duration::from_secs(2);
    for step in ["wake.taken", "wake.bumped"] {
        let world = World::shared_memory(ACTOR);
        let point = format!("{step}:1:kill");
        let (mut tx, mut rx) = attach(world.actor_with(&point), world.actor(), 64, 2_000);
        rx.tell("take-spaced n=1");
        wait_for_sleepers(&world, 1);
        tx.tell("send-spaced n=1 gap_us=1");
        tx.wait_until_dead();
        let taken = rx.expect_ok();
        assert_eq!(taken.number("count"), 1, "{step}");
        assert_eq!(taken.number("slow"), 1, "{step}: nobody was to wake it");
        let worst = Duration::from_micros(taken.number("worst_us") as u64);
        assert!(worst < interval * 8, "{step}: {worst:?}");
        rx.err("ProducerDead", "recv");
        let mut successor = world.actor();
        successor.ok("produce cap=64");
        successor.ok("destroy");
    }
}

#[test]
fn a_consumer_killed_before_it_wakes_the_producer_leaves_it_to_its_clock() {
    for step in ["wake.wish_taken", "wake.space_bumped"] {
        let world = World::shared_memory(ACTOR);
        let point = format!("{step}:1:kill");
        let (mut tx, mut rx) = attach(world.actor(), world.actor_with(&point), 4, 500);
        tx.ok("publish n=4");
        tx.tell("publish n=1");
        wait_for_wish(&world);
        rx.tell("recv n=1");
        rx.wait_until_dead();
        assert_eq!(tx.expect_ok().number("last"), 4, "{step}");
        tx.ok("destroy");
    }
}

#[test]
fn a_joiner_killed_before_it_wakes_a_builder_leaves_it_to_its_discovery_interval() {
    for step in ["wake.wish_taken", "wake.space_bumped"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut joiner) = (world.actor(), world.actor_with(&format!("{step}:1:kill")));
        tx.tell("produce cap=8 wait=1:60000 interval_ms=30000 discovery_ms=500");
        wait_until("the ring has a name", || world.is_named());
        wait_for_wish(&world);
        woken("the builder", || {
            // it came, and is away now
            joiner.tell("consume cap=8 id=late");
            joiner.wait_until_dead();
            tx.expect_ok();
        });
        tx.ok("destroy");
    }
}
