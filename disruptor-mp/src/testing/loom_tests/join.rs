//! Join against refresh: R5 and R6. The specification is `models/join_floor.py`.

use std::cell::Cell;
use std::rc::Rc;

use loom::thread;

use super::{Model, OVERTAKEN, RACE, Ring, Rx, Step, Tx, WRONG, while_at};
use crate::layout::control::ConsumerId;
use crate::protocol::expect::Expectation;
use crate::sync::Ordering;

/// The failures of a joiner that starts too early.
const OVERWRITTEN: &[&str] = &[RACE, WRONG, OVERTAKEN];

fn publish_as_it_goes(tx: &mut Tx, count: i64) {
    while tx.core.next() < count {
        tx.publish();
    }
}

/// A producer that runs free, and `joiners` that come at any moment, take `takes` events each and go.
fn joiners_come(capacity: usize, count: i64, joiners: usize, takes: usize) {
    joiners_come_by(capacity, count, joiners, takes, Ring::rx);
}

fn joiners_come_by(
    capacity: usize,
    count: i64,
    joiners: usize,
    takes: usize,
    join: fn(&Ring) -> Rx,
) {
    let ring = Ring::new(capacity);
    let mut tx = ring.tx();
    let joiners: Vec<_> = (0..joiners)
        .map(|_| {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut rx = join(&ring);
                match rx.core.next() {
                    0 => super::reached("joined at the start"),
                    _ => super::reached("joined later"),
                }
                for _ in 0..takes {
                    if rx.position() + 1 < count {
                        rx.take();
                    }
                }
                rx.leave();
            })
        })
        .collect();
    publish_as_it_goes(&mut tx, count);
    for joiner in joiners {
        joiner.join().expect("a joiner");
    }
}

const JOINED: &[&str] = &["joined at the start", "joined later"];

#[test]
fn loom_join_against_refresh_one_slot() {
    Model::with_preemptions(3)
        .reaches(JOINED)
        .holds(|| joiners_come(1, 3, 1, 1));
}

#[test]
fn loom_join_against_refresh_two_slots() {
    Model::with_preemptions(3)
        .reaches(JOINED)
        .holds(|| joiners_come(2, 4, 1, 1));
}

#[test]
fn loom_join_against_refresh_four_slots() {
    Model::with_preemptions(2)
        .reaches(JOINED)
        .holds(|| joiners_come(4, 7, 1, 3));
}

#[test]
fn loom_two_joiners_against_refresh() {
    Model::with_preemptions(2).reaches(JOINED).holds(|| {
        let ring = Ring::new(1);
        let mut tx = ring.tx();
        let joiners: Vec<_> = (0..2)
            .map(|_| {
                let ring = ring.clone();
                thread::spawn(move || {
                    let rx = ring.rx();
                    match rx.core.next() {
                        0 => super::reached("joined at the start"),
                        _ => super::reached("joined later"),
                    }
                    rx
                })
            })
            .collect();
        tx.publish_some(2);
        for joiner in joiners {
            let mut rx = joiner.join().expect("a joiner");
            rx.take_to(tx.core.next() - 1);
        }
    });
}

#[test]
fn loom_control_join_without_fence() {
    Model::with_preemptions(3)
        .fails_without(Step::JoinFence, OVERWRITTEN, || joiners_come(2, 5, 1, 2));
}

/// The bits are a superset of the lines that count. A bit that is set after the second read hides a joiner
/// that read the floor too early.
#[test]
fn loom_control_bit_set_after_the_second_scan() {
    Model::with_preemptions(3).fails_without(Step::JoinBit, OVERWRITTEN, || {
        joiners_come_by(2, 5, 1, 2, |ring| {
            let other = ring.clone();
            let set = move || {
                let control = other.open();
                control
                    .control()
                    .registered
                    .bits
                    .fetch_or(1, Ordering::AcqRel);
            };
            while_at("join.reread", set, || ring.rx())
        });
    });
}

#[test]
fn loom_control_join_without_second_read_of_the_floor() {
    Model::with_preemptions(3)
        .fails_without(Step::JoinReread, OVERWRITTEN, || joiners_come(2, 5, 1, 2));
}

#[test]
fn loom_control_refresh_without_fence() {
    Model::with_preemptions(3)
        .fails_without(Step::RefreshFence, OVERWRITTEN, || joiners_come(2, 5, 1, 2));
}

#[test]
fn loom_control_refresh_without_second_scan() {
    Model::with_preemptions(3).fails_without(Step::RefreshRescan, OVERWRITTEN, || {
        joiners_come(2, 5, 1, 2)
    });
}

/// A consumer that was there from the start leaves at any moment; the producer continues without it.
#[test]
fn loom_leave_during_refresh() {
    Model::with_preemptions(3)
        .reaches(&["waited for the leaver", "ran free"])
        .holds(|| {
            let ring = Ring::new(2);
            let mut rx = ring.rx();
            let mut tx = ring.tx();
            let leaver = thread::spawn(move || {
                assert_eq!(rx.take().0, 0);
                rx.leave();
            });
            for _ in 0..4 {
                match tx.try_publish() {
                    Some(_) => super::reached("ran free"),
                    None => {
                        super::reached("waited for the leaver");
                        thread::yield_now();
                    }
                }
            }
            leaver.join().expect("the leaver");
            assert!(tx.try_publish().is_some(), "nobody holds the ring");
        });
}

/// One consumer joins in the middle of a refresh, reads an event and leaves. Another one takes its line and
/// starts at the floor, which that refresh has raised. A producer that still takes the line for the first
/// consumer's must not take the second consumer's position for what the first one has released.
fn line_changes_hands() {
    let ring = Ring::new(2);
    let mut tx = ring.tx();
    tx.publish_some(2);
    let first = Rc::new(Cell::new(None));
    let (joined, other) = (Rc::clone(&first), ring.clone());
    let joins = move || joined.set(Some(other.rx()));
    let full = super::while_at("refresh.scanned", joins, || tx.try_publish().is_none());
    assert!(full, "the joiner was seen in time");
    let mut first = first.take().expect("has joined");
    let others = thread::spawn(move || {
        assert_eq!(first.take().0, 0);
        first.leave();
        ring.rx()
    });
    tx.publish_some(2);
    let mut second = others.join().expect("the consumers");
    second.take_to(tx.core.next() - 1);
}

#[test]
fn loom_line_changes_hands_during_refresh() {
    Model::with_preemptions(3).holds(line_changes_hands);
}

#[test]
fn loom_control_relaxed_join() {
    Model::with_preemptions(3).fails_without(Step::JoinRelease, &[RACE], line_changes_hands);
}

/// An expected consumer starts at the first event, however late it comes.
#[test]
fn loom_expected_consumer_misses_nothing() {
    Model::with_preemptions(2)
        .reaches(&["filled the ring and waited"])
        .holds(|| {
            let ring = Ring::new(2);
            let id = ConsumerId::new("late").expect("an id");
            let mut tx = ring.producer(0, Expectation::new(vec![id], false));
            let other = ring.clone();
            let reader = thread::spawn(move || {
                let mut rx = other.attach("late", true).expect("a free line");
                assert_eq!(rx.core.next(), 0);
                rx.take_to(2);
            });
            while tx.core.next() < 3 {
                if tx.try_publish().is_none() {
                    super::reached("filled the ring and waited");
                    thread::yield_now();
                }
            }
            reader.join().expect("the reader");
        });
}
