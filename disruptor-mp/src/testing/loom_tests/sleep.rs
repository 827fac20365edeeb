//! Sleeping and waking: R9. No sleeper wakes by the clock here, so that a lost wake-up is a deadlock.

use std::time::Duration;

use loom::thread;

use super::{Model, Ring, Rx, SLEEPS, Step, Tx};
use crate::Sequence;

/// The longest time, as no model has a clock.
const LONG: Duration = Duration::MAX;
/// Loom's message when every thread sleeps.
const ASLEEP: &str = "deadlock";

/// Like `Consumer::wait_for_event` once it has spun for long enough.
fn take_asleep(rx: &mut Rx) -> Option<Sequence> {
    loop {
        if let Some((sequence, _)) = rx.try_take() {
            return Some(sequence);
        }
        if rx
            .core
            .closed_at()
            .is_some_and(|last| rx.core.next() > last)
            && !rx.core.is_ready()
        {
            return None;
        }
        super::reached("slept");
        rx.core.sleep_until_event(LONG, || false);
    }
}

/// Like `Producer::wait_until_space`.
fn publish_asleep(tx: &mut Tx) {
    while tx.try_publish().is_none() {
        super::reached("waited for space");
        tx.core.sleep_until_space(1, LONG, || false);
    }
}

/// One producer that never waits, and consumers that sleep.
fn consumers_sleep(consumers: usize, events: i64) {
    SLEEPS.set(true);
    let ring = Ring::new(2);
    let readers: Vec<_> = (0..consumers).map(|_| ring.rx()).collect();
    let mut tx = ring.tx();
    let readers: Vec<_> = readers
        .into_iter()
        .map(|mut rx| {
            thread::spawn(move || {
                for expected in 0..events {
                    assert_eq!(take_asleep(&mut rx), Some(expected));
                }
            })
        })
        .collect();
    for _ in 0..events {
        assert!(tx.try_publish().is_some(), "the ring has space");
    }
    for reader in readers {
        reader.join().expect("the reader");
    }
}

#[test]
fn loom_consumer_sleeps() {
    Model::with_preemptions(3)
        .reaches(&["slept"])
        .holds(|| consumers_sleep(1, 2));
}

#[test]
fn loom_two_consumers_sleep() {
    Model::with_preemptions(2)
        .reaches(&["slept"])
        .holds(|| consumers_sleep(2, 1));
}

#[test]
fn loom_control_sleep_without_a_bit() {
    Model::with_preemptions(3).fails_without(Step::SleepBit, &[ASLEEP], || consumers_sleep(1, 1));
}

#[test]
fn loom_control_sleep_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::SleepFence, &[ASLEEP], || consumers_sleep(1, 1));
}

#[test]
fn loom_control_sleep_without_a_second_check() {
    Model::with_preemptions(3).fails_without(Step::SleepCheck, &[ASLEEP], || consumers_sleep(1, 1));
}

#[test]
fn loom_control_wake_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::WakeFence, &[ASLEEP], || consumers_sleep(1, 1));
}

#[test]
fn loom_control_wake_without_a_change_of_the_word() {
    Model::with_preemptions(3).fails_without(Step::WakeBump, &[ASLEEP], || consumers_sleep(1, 1));
}

#[test]
fn loom_control_two_consumers_sleep_without_a_fence() {
    Model::with_preemptions(2).fails_without(Step::SleepFence, &[ASLEEP], || consumers_sleep(2, 1));
}

/// A producer that sleeps until consumers that never wait have released enough.
fn producer_sleeps(capacity: usize, consumers: usize) {
    SLEEPS.set(true);
    let ring = Ring::new(capacity);
    let readers: Vec<_> = (0..consumers).map(|_| ring.rx()).collect();
    let mut tx = ring.tx();
    for _ in 0..capacity {
        assert!(tx.try_publish().is_some(), "the ring has space");
    }
    let readers: Vec<_> = readers
        .into_iter()
        .map(|mut rx| {
            thread::spawn(move || {
                rx.take_to(capacity as i64 - 1);
            })
        })
        .collect();
    publish_asleep(&mut tx);
    for reader in readers {
        reader.join().expect("the reader");
    }
}

#[test]
fn loom_producer_sleeps() {
    for capacity in [1, 2] {
        Model::with_preemptions(3)
            .reaches(&["waited for space"])
            .holds(move || producer_sleeps(capacity, 1));
    }
}

#[test]
fn loom_producer_sleeps_until_two_have_released() {
    Model::with_preemptions(2)
        .reaches(&["waited for space"])
        .holds(|| producer_sleeps(1, 2));
}

#[test]
fn loom_control_producer_sleeps_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::SleepFence, &[ASLEEP], || producer_sleeps(1, 1));
}

#[test]
fn loom_control_commit_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::WakeFence, &[ASLEEP], || producer_sleeps(1, 1));
}

#[test]
fn loom_control_producer_is_woken_without_a_change_of_the_word() {
    Model::with_preemptions(3).fails_without(Step::WakeBump, &[ASLEEP], || producer_sleeps(1, 1));
}

/// Leaving frees space like a release.
fn the_last_one_leaves() {
    SLEEPS.set(true);
    let ring = Ring::new(1);
    let rx = ring.rx();
    let mut tx = ring.tx();
    assert!(tx.try_publish().is_some(), "the ring has space");
    let leaver = thread::spawn(move || rx.leave());
    publish_asleep(&mut tx);
    leaver.join().expect("the leaver");
}

#[test]
fn loom_producer_sleeps_until_the_last_one_leaves() {
    Model::with_preemptions(3)
        .reaches(&["waited for space"])
        .holds(the_last_one_leaves);
}

#[test]
fn loom_control_leave_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::WakeFence, &[ASLEEP], the_last_one_leaves);
}

/// The end of the ring wakes like an event.
#[test]
fn loom_close_wakes() {
    Model::with_preemptions(3).reaches(&["slept"]).holds(|| {
        SLEEPS.set(true);
        let ring = Ring::new(1);
        let mut rx = ring.rx();
        let mut tx = ring.tx();
        let reader = thread::spawn(move || assert_eq!(take_asleep(&mut rx), None));
        tx.core.close();
        reader.join().expect("the reader");
    });
}

/// A ring of one slot: each side sleeps until the other has acted.
fn both_sleep() {
    SLEEPS.set(true);
    let ring = Ring::new(1);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || {
        for expected in 0..2 {
            assert_eq!(take_asleep(&mut rx), Some(expected));
        }
    });
    for _ in 0..2 {
        publish_asleep(&mut tx);
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_both_sleep() {
    Model::with_preemptions(2)
        .reaches(&["slept", "waited for space"])
        .holds(both_sleep);
}

#[test]
fn loom_control_both_sleep_without_a_change_of_the_word() {
    Model::with_preemptions(2).fails_without(Step::WakeBump, &[ASLEEP], both_sleep);
}

/// A producer that wishes for a quarter of the ring, and a consumer that releases one event, holds the others
/// and sleeps until more events come.
fn consumer_holds() {
    SLEEPS.set(true);
    let ring = Ring::new(8);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    for _ in 0..8 {
        assert!(tx.try_publish().is_some(), "the ring has space");
    }
    let reader = thread::spawn(move || {
        assert_eq!(take_asleep(&mut rx), Some(0));
        for _ in 1..8 {
            rx.core.hold();
        }
        while !rx.core.is_ready() {
            rx.core.let_producer_go_on();
            rx.core.sleep_until_event(LONG, || false);
        }
    });
    publish_asleep(&mut tx);
    reader.join().expect("the reader");
}

#[test]
fn loom_consumer_holds_and_sleeps() {
    Model::with_preemptions(2)
        .reaches(&["waited for space"])
        .holds(consumer_holds);
}

#[test]
fn loom_control_consumer_holds_and_wakes_nobody() {
    Model::with_preemptions(2).fails_without(Step::HoldWake, &[ASLEEP], consumer_holds);
}
