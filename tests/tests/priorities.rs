//! Real-time priorities: no thread waits, without sleeping, for a thread or process that it prevents from running.

use std::time::{Duration, Instant};

use myelon_tests::{World, assert_names, needs_root, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Ten times the aim, which is 50 ms on an idle machine.
const LONGEST: Duration = Duration::from_millis(500);

/// A SCHED_FIFO thread makes one call beside a normal thread of its core, which makes the same or another call
/// all the time.
fn an_urgent_thread_is_served(test: &str, urgent: &str, normal: &str) {
    if !needs_root(test) {
        return;
    }
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    let said = rx.ok(&format!("fifo urgent={urgent} normal={normal} ms=600"));
    println!("{urgent} beside {normal}: {}", said.text());
    assert!(said.number("rounds") > 1 && said.number("normal") > 1);
    let longest = Duration::from_micros(said.number("longest_us") as u64);
    assert!(longest < LONGEST, "{longest:?}");
    tx.ok("close");
}

#[test]
fn an_urgent_thread_attaches_while_a_normal_one_of_its_core_does() {
    an_urgent_thread_is_served("an urgent thread attaches", "attach", "attach");
}

#[test]
fn an_urgent_thread_forks_while_a_normal_one_of_its_core_attaches() {
    an_urgent_thread_is_served("an urgent thread forks", "fork", "attach");
}

#[test]
fn an_urgent_thread_attaches_while_a_normal_one_of_its_core_forks() {
    an_urgent_thread_is_served("an urgent thread attaches beside forks", "attach", "fork");
}

/// Starts a process that has locked the line of the durable consumer `reader` only to check it, and stops there.
fn held_by_a_prober(world: &World) -> myelon_tests::Actor {
    let mut prober = world.actor_with("take.checked:1:stop,take.passed:1:stop");
    prober.tell("consume cap=8");
    prober.expect_stopped().expect("it has found the line free");
    let mut reader = world.actor();
    reader.ok("consume cap=8 id=reader");
    reader.leave();
    prober.resume();
    prober
        .expect_stopped()
        .expect("it has found the line taken");
    prober
}

/// The process that holds the lock is stopped for 300 ms, as if preempted. 10,000 yields take less time.
#[test]
fn a_consumer_waits_for_a_stopped_process_that_holds_its_line() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut reader) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    let mut prober = held_by_a_prober(&world);
    reader.tell("consume cap=8 id=reader");
    assert!(reader.is_silent_for(Duration::from_millis(300)));
    prober.resume();
    assert_eq!(reader.expect_ok().number("next"), 0);
    prober.expect_ok();
    tx.ok("close");
}

#[test]
fn a_line_that_stays_locked_is_an_error_that_says_so() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut reader) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    let mut prober = held_by_a_prober(&world);
    let begun = Instant::now();
    let refused = reader.err("Io", "consume cap=8 id=reader");
    assert!(begun.elapsed() > Duration::from_millis(500));
    assert_names(
        refused.text(),
        &[
            "could not lock its file",
            "held the lock of this consumer's line for a second",
        ],
    );
    prober.resume();
    prober.expect_ok();
    // the other process no longer holds the reader's id or line
    wait_until("it is let in", || {
        reader.tell("consume cap=8 id=reader");
        reader.answer().kind().is_none()
    });
    tx.ok("close");
}

/// A consumer that was preempted for 300 ms while it held the producer's lock, in order to remove the name of a
/// drained ring, does not count as a live producer.
#[test]
fn a_producer_waits_for_a_consumer_that_removes_the_name() {
    let world = World::shared_memory(ACTOR);
    let mut first = world.actor();
    first.ok("produce cap=8");
    let mut prober = world.actor_with("drain.locked:1:stop");
    prober.ok("consume cap=8 id=reader");
    first.ok("publish n=1");
    first.ok("close");
    prober.tell("drain");
    prober.expect_stopped().expect("it has the lock");
    let mut second = world.actor();
    second.tell("produce cap=8");
    assert!(second.is_silent_for(Duration::from_millis(300)));
    prober.resume();
    assert_eq!(second.expect_ok().number("next"), 0, "a new ring");
    prober.expect_ok().assert_saw(0, 0);
    second.ok("close");
}
