//! No wake-up is lost, between processes and with a delay at any step of falling asleep and of waking (R9).
//!
//! An event is sent only after the previous one was taken, so that only the sleeper's own liveness check can
//! make up for a lost wake-up, and that comes after 20 s. Controls leave a step of the protocol out, and lose
//! some wake-ups. The steps are the fail points of `disruptor-mp/src/testing/fail.rs`, which only debug builds have.
//! Also, no wake-up takes longer than 50 ms, not counting the time in which the machine let neither side run.
#![cfg(debug_assertions)]

use std::collections::BTreeMap;
use std::time::Duration;

use myelon_tests::waiters::{NEVER_MS, WOKEN, attach, wait_for_sleepers, wait_for_wish, woken};
use myelon_tests::{Actor, Reply, World, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A producer and a consumer, one of which has a fail point: the one that wakes, or the one that sleeps. The
/// consumer sleeps for events, the producer for space.
fn pair_with(world: &World, capacity: usize, point: &str, is_space: bool) -> (Actor, Actor) {
    let (armed, other) = (world.actor_with(point), world.actor());
    let (tx, rx) = match point.starts_with("wake") == is_space {
        true => (other, armed),
        false => (armed, other),
    };
    attach(tx, rx, capacity, NEVER_MS)
}

/// The number of events, and of slots, at each step.
const SPACED: i64 = 1_250;
/// The number where waking up takes longer.
const FEW: i64 = 500;
/// Longer than a consumer spins, so that an event can arrive at any step of its wait.
const GAP_US: u64 = 400;
/// Gaps for a busy machine, where a process that yields runs again only after that time. With shorter pauses
/// each event might arrive before its consumer has gone to sleep.
const GAPS_US: [u64; 4] = [GAP_US, 10 * GAP_US, 25 * GAP_US, 60 * GAP_US];

/// Totals of the events of several steps.
#[derive(Debug, Default)]
struct Sum {
    events: i64,
    wakes: u32,
    rest_us: i64,
    worst_us: i64,
}

impl Sum {
    /// Adds a step. No event may have waited for the sleeper's liveness check, and none may have been slow
    /// without an outside cause.
    #[track_caller]
    fn add(&mut self, step: &str, spaced: &Spaced, wakes: u32) {
        spaced.is_in_time(step);
        self.events += spaced.late.number("measured");
        self.wakes += wakes;
        self.rest_us = self.rest_us.max(spaced.late.number("rest_us"));
        self.worst_us = self.worst_us.max(spaced.late.number("worst_us"));
    }

    #[track_caller]
    fn is_as_it_should_be(&self) {
        println!("{self:?}");
        assert_eq!(self.events, 8 * SPACED, "{self:?}");
        assert!(
            i64::from(self.wakes) > self.events / 4,
            "few events needed a wake-up: {self:?}"
        );
    }
}

/// The answers of the two processes that exchanged events, or slots, one by one.
struct Spaced {
    /// How late the events or slots were, without the time for which the sleeper was held back.
    late: Reply,
    /// How long the waker was held up.
    held: Reply,
}

impl Spaced {
    /// The events or slots that took more than 50 ms, not counting the time for which the machine held either
    /// side back, and their times in µs.
    fn slow(&self) -> BTreeMap<i64, i64> {
        let held = times(self.held.word("held"));
        let mut late = times(self.late.word("late"));
        for (sequence, rest) in &mut late {
            *rest -= held.get(sequence).copied().unwrap_or_default();
        }
        late.retain(|_, rest| *rest > SOON_US);
        late
    }

    /// Asserts that none waited for the sleeper's liveness check, and that none was slow.
    #[track_caller]
    fn is_in_time(&self, what: &str) {
        let (late, slow) = (self.late.text(), self.slow());
        let worst = Duration::from_micros(self.late.number("worst_us") as u64);
        assert!(worst < WOKEN, "{what}: a wake-up was lost: {late}");
        assert!(slow.is_empty(), "{what}: {slow:?} of {late}");
    }
}

/// The longest delay that an event or a slot may have, in µs.
const SOON_US: i64 = 50_000;

/// `SEQUENCE:MICROSECONDS,...`
fn times(list: &str) -> BTreeMap<i64, i64> {
    let number = |text: &str| text.parse().expect("a number");
    let times = list.split(',').filter_map(|time| time.split_once(':'));
    times.map(|(at, us)| (number(at), number(us))).collect()
}

/// Sends events one by one, each after the previous one was taken. `by` says how the consumer waits for them.
fn send_spaced(tx: &mut Actor, rx: &mut Actor, (count, gap_us): (i64, u64), by: &str) -> Spaced {
    let with = rx.pid();
    rx.tell(&format!("take-spaced n={count} {by}"));
    tx.tell(&format!(
        "send-spaced n={count} gap_us={gap_us} seed=7 with={with}"
    ));
    let (late, held) = (rx.expect_ok(), tx.expect_ok());
    assert_eq!(late.number("last"), held.number("last"));
    Spaced { late, held }
}

/// Frees slots one by one, each after the previous one was used. The ring has four.
fn release_spaced(tx: &mut Actor, rx: &mut Actor, (count, gap_us): (i64, u64)) -> Spaced {
    let with = tx.pid();
    tx.tell(&format!("use-spaced n={}", count + 4));
    rx.tell(&format!(
        "release-spaced n={count} gap_us={gap_us} seed=7 with={with}"
    ));
    let late = rx.expect_ok();
    assert_eq!(late.number("last"), tx.expect_ok().number("last"));
    Spaced {
        held: late.clone(),
        late,
    }
}

#[test]
fn no_event_is_slept_through_with_a_delay_at_any_step() {
    let mut sum = Sum::default();
    for step in [
        "sleep.word",
        "sleep.bit",
        "sleep.fenced",
        "sleep.checked",
        "sleep.over",
        "wake.taken",
        "wake.bumped",
        "wake.woken",
    ] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = pair_with(&world, 64, &format!("{step}:1:jitter"), false);
        let taken = send_spaced(&mut tx, &mut rx, (SPACED, GAP_US), "");
        sum.add(step, &taken, world.wakes().0);
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
        "sleep.space_checked",
        "sleep.space_over",
        "wake.wish_taken",
        "wake.space_bumped",
        "wake.space_woken",
    ] {
        let world = World::mapped_file(ACTOR);
        let (mut tx, mut rx) = pair_with(&world, 4, &format!("{step}:1:jitter"), true);
        let released = release_spaced(&mut tx, &mut rx, (SPACED, GAP_US));
        sum.add(step, &released, world.wakes().1);
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
        "sleep.checked",
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
        let mut gaps = GAPS_US.into_iter();
        while world.wakes().0 == 0 {
            let gap_us = gaps.next().expect("somebody sleeps");
            let taken = send_spaced(&mut tx, &mut rx, (FEW, gap_us), by);
            println!("{by}, {step}: {}", taken.late.text());
            taken.is_in_time(&format!("{by}, {step}"));
        }
        tx.ok("destroy");
    }
}

/// Where `membarrier` is not allowed to one side or to both, publishers fence and sleeps are short.
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
        let taken = send_spaced(&mut tx, &mut rx, (FEW, GAP_US), "");
        let released = release_spaced(&mut tx, &mut rx, (FEW, GAP_US));
        for spaced in [taken, released] {
            println!("{tx_may}, {rx_may}: {}", spaced.late.text());
            spaced.is_in_time(&format!("{tx_may}, {rx_may}"));
        }
        let (events, slots) = world.wakes();
        assert!(events > 0 && slots > 0, "{tx_may}, {rx_may}: who slept?");
        tx.ok("destroy");
    }
}

/// Controls: with a step of the protocol left out, and a delay where that step would have helped, the same
/// events lose wake-ups. The sleepers' liveness interval is short enough for many tries.
#[test]
fn a_step_left_out_loses_wake_ups() {
    for (step, at) in [("SleepBit", "sleep.word"), ("SleepCheck", "sleep.word")] {
        loses_wake_ups(step, |world, gap_us| {
            let sleeper = world.actor_without(step, &format!("{at}:1:jitter"));
            let (mut tx, mut rx) = attach(world.actor(), sleeper, 64, LOSER_MS);
            let taken = send_spaced(&mut tx, &mut rx, (TRY, gap_us), "");
            tx.ok("destroy");
            taken
        });
    }
    loses_wake_ups("WakeBump", |world, gap_us| {
        let waker = world.actor_without("WakeBump", "wake.taken:1:jitter");
        let sleeper = world.actor_with("sleep.checked:1:jitter");
        let (mut tx, mut rx) = attach(waker, sleeper, 64, LOSER_MS);
        let taken = send_spaced(&mut tx, &mut rx, (TRY, gap_us), "");
        tx.ok("destroy");
        taken
    });
    loses_wake_ups("SleepCheck for space", |world, gap_us| {
        let sleeper = world.actor_without("SleepCheck", "sleep.space_word:1:jitter");
        let (mut tx, mut rx) = attach(sleeper, world.actor(), 4, LOSER_MS);
        let released = release_spaced(&mut tx, &mut rx, (TRY, gap_us));
        tx.ok("destroy");
        released
    });
}

/// The same in a set of rings, where the kernel call sleeps on several words at once, and in an event loop.
#[test]
fn a_step_left_out_of_a_set_or_an_event_loop_loses_wake_ups() {
    for by in ["by=set", "by=loop"] {
        loses_wake_ups(&format!("SleepBit {by}"), |world, gap_us| {
            let sleeper = world.actor_without("SleepBit", "sleep.word:1:jitter");
            let (mut tx, mut rx) = attach(world.actor(), sleeper, 64, LOSER_MS);
            let taken = send_spaced(&mut tx, &mut rx, (TRY, gap_us), by);
            tx.ok("destroy");
            taken
        });
    }
}

/// The liveness interval in controls, in ms: slightly longer than any wake-up may take.
const LOSER_MS: u64 = 60;
/// The events of one try.
const TRY: i64 = 40;

/// Repeats the attempt until an event was so late that only the next liveness check can have found it.
#[track_caller]
fn loses_wake_ups(what: &str, attempt: impl Fn(&World, u64) -> Spaced) {
    let is_lost = GAPS_US.into_iter().cycle().take(60).any(|gap_us| {
        let spaced = attempt(&World::shared_memory(ACTOR), gap_us);
        println!("without {what}: {}", spaced.late.text());
        !spaced.slow().is_empty()
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
        tx.tell(&format!("send-spaced n=1 gap_us=1 with={}", rx.pid()));
        tx.wait_until_dead();
        let taken = rx.expect_ok();
        assert_eq!(taken.number("count"), 1, "{step}");
        let late = times(taken.word("late"));
        assert_eq!(late.len(), 1, "{step}: nobody was to wake it");
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
            // the joiner came, and is away now
            joiner.tell("consume cap=8 id=late");
            joiner.wait_until_dead();
            tx.expect_ok();
        });
        tx.ok("destroy");
    }
}
