//! Deaths on consumer lines: in a join (R6), in a rejoin, a leave, an eviction or a removal (R16). Whatever
//! state the dead party left, no unread event is overwritten, and the line is usable again.
//!
//! The models of a death in a join have a bound of one preemption, or two where the dead party's line counts
//! for the first time, as each of their steps is a step of three parties. The races without a death are in
//! `join` and `membership`, with two and three preemptions.

use loom::thread::{self, yield_now};

use super::{Model, OVERTAKEN, RACE, Ring, Step, Tx, WRONG};
use crate::layout::control::ConsumerId;
use crate::protocol::lines;

/// A consumer's messages when its unread event was overwritten.
const OVERWRITTEN: &[&str] = &[RACE, WRONG, OVERTAKEN];

/// Every step of a join at which its process can die.
const JOIN_DEATHS: &[(&str, u32)] = &[
    ("join.locked", 1),
    ("join.bit", 1),
    ("join.joining", 1),
    ("join.sequence", 1),
    ("join.settling", 1),
    ("join.reread", 1),
    ("join.active", 1),
];

/// The first of these steps after which the line counts.
const COUNTED_DEATHS: &[(&str, u32)] = &[("join.settling", 1)];

fn evict(tx: &Tx) -> usize {
    lines::evict_dead(tx.segment.control(), tx.segment.locks()).expect("a lock")
}

/// No party is left: every line can be had, and the ring is filled and emptied as before.
fn is_usable(ring: &Ring, tx: &mut Tx) {
    evict(tx);
    for _ in 0..=ring.capacity() {
        assert!(tx.try_publish().is_some(), "a dead one holds the ring");
    }
    let mut all: Vec<_> = (0..crate::layout::DEFAULT_MAX_CONSUMERS)
        .map(|_| ring.attach("next", false).expect("a line is lost"))
        .collect();
    let last = tx.core.next() - 1;
    for rx in &mut all {
        rx.take_to(last);
    }
    assert!(tx.try_publish().is_some(), "all have released");
    for rx in all {
        rx.leave();
    }
}

/// One joiner dies in its join, and another one takes what is left of it, while the producer continues.
fn reclaimed(at: &'static str, capacity: usize, count: i64) {
    let ring = Ring::new(capacity);
    let mut tx = ring.tx();
    let other = ring.clone();
    let joiners = thread::spawn(move || {
        other.dies_attaching("first", false, at);
        let mut rx = other.rx();
        if rx.place.line == 0 {
            super::reached("took the dead one's line");
        }
        rx.take_some(1);
        rx
    });
    for _ in 0..count {
        if tx.try_publish().is_none() {
            yield_now();
        }
    }
    let mut rx = joiners.join().expect("the joiners");
    rx.take_to(tx.core.next() - 1);
    rx.leave();
    is_usable(&ring, &mut tx);
}

#[test]
fn loom_join_killed_and_reclaimed() {
    Model::holds_for_deaths(1, JOIN_DEATHS, |at, _| reclaimed(at, 1, 3));
    Model::holds_for_deaths(2, COUNTED_DEATHS, |at, _| reclaimed(at, 1, 3));
}

#[test]
fn loom_control_reclaim_without_second_read_of_the_floor() {
    Model::with_preemptions(3).fails_without(Step::JoinReread, OVERWRITTEN, || {
        reclaimed("join.settling", 2, 5)
    });
}

#[test]
fn loom_control_half_joined_line_is_kept() {
    Model::with_preemptions(1).fails_without(
        Step::ReclaimHalfJoined,
        &["a dead one holds the ring", "a line is lost"],
        || reclaimed("join.settling", 1, 3),
    );
}

/// A joiner dies in its join, and the producer, blocked or not, clears dead lines at any moment.
fn evicted(at: &'static str) {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let other = ring.clone();
    let joiner = thread::spawn(move || {
        other.dies_attaching("first", false, at);
        let mut rx = other.attach("d", true).expect("a free line");
        rx.take_some(1);
        rx.go_away()
    });
    for _ in 0..3 {
        if tx.try_publish().is_none() && evict(&tx) > 0 {
            super::reached("evicted");
        }
    }
    let position = joiner.join().expect("the joiner");
    let mut rx = ring.attach("d", true).expect("a line");
    assert!(
        rx.place.rejoined && rx.position() == position,
        "found without its position"
    );
    rx.take_to(tx.core.next() - 1);
    rx.leave();
    is_usable(&ring, &mut tx);
}

#[test]
fn loom_join_killed_and_evicted() {
    Model::holds_for_deaths(1, JOIN_DEATHS, |at, _| evicted(at));
    Model::holds_for_deaths(2, COUNTED_DEATHS, |at, _| evicted(at));
}

#[test]
fn loom_control_join_killed_and_evicted_without_a_check() {
    Model::with_preemptions(3)
        .fails_without(Step::EvictCheck, OVERWRITTEN, || evicted("join.active"));
}

/// Two consumers join while the producer refreshes; one of them dies in its join.
fn two_join_one_dies(at: &'static str) {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let other = ring.clone();
    let dying = thread::spawn(move || other.dies_attaching("first", false, at));
    let other = ring.clone();
    let joiner = thread::spawn(move || other.rx());
    tx.publish_some(2);
    dying.join().expect("the one that dies");
    let mut rx = joiner.join().expect("the joiner");
    rx.take_to(tx.core.next() - 1);
    rx.leave();
    is_usable(&ring, &mut tx);
}

#[test]
fn loom_two_join_one_is_killed() {
    Model::holds_for_deaths(1, JOIN_DEATHS, |at, _| two_join_one_dies(at));
    Model::holds_for_deaths(2, COUNTED_DEATHS, |at, _| two_join_one_dies(at));
}

#[test]
fn loom_control_two_join_one_is_killed_without_second_scan() {
    Model::with_preemptions(2).fails_without(Step::RefreshRescan, OVERWRITTEN, || {
        two_join_one_dies("join.settling");
    });
}

/// A durable consumer dies while it goes away or comes back, while the ring is full or not: its position stays.
fn durable_dies(at: &'static str) {
    let ring = Ring::new(2);
    let mut tx = ring.tx();
    let mut rx = ring.attach("d", true).expect("a line");
    tx.publish();
    rx.take();
    let other = ring.clone();
    let durable = thread::spawn(move || {
        if at.starts_with("away") {
            rx.dies(at, |rx| rx.goes_away());
        } else {
            drop(rx);
            other.dies_attaching("d", true, at);
        }
        let mut rx = other.attach("d", true).expect("a line");
        assert!(rx.place.rejoined, "found without its position");
        assert_eq!(rx.position(), 0, "found another position");
        rx.take_some(1);
        rx
    });
    for _ in 0..4 {
        if tx.try_publish().is_none() {
            evict(&tx);
        }
    }
    let mut rx = durable.join().expect("the consumer");
    rx.take_to(tx.core.next() - 1);
    rx.leave();
    is_usable(&ring, &mut tx);
}

#[test]
fn loom_durable_killed() {
    let deaths = [
        ("away.state", 1),
        ("away.unlocked", 1),
        ("rejoin.locked", 1),
        ("rejoin.active", 1),
    ];
    Model::holds_for_deaths(2, &deaths, |at, _| durable_dies(at));
}

#[test]
fn loom_control_durable_killed_and_evicted() {
    Model::with_preemptions(2).fails_without(Step::KeepDurable, OVERWRITTEN, || {
        durable_dies("rejoin.active")
    });
}

/// How a line is given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Leave,
    Remove,
    Evict,
}

/// A party dies while it gives up a line, its own or another one's.
fn line_given_up(at: &'static str, way: Way) {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let other = ring.clone();
    let giver = thread::spawn(move || {
        let party = other.rx();
        drop(other.attach("d", way == Way::Remove).expect("a line"));
        party.dies(at, |rx| {
            let (control, locks) = (rx.segment.control(), rx.segment.locks());
            let id = ConsumerId::new("d").expect("an id");
            match way {
                Way::Leave => rx.leaves(),
                Way::Remove => lines::remove(control, locks, &id).expect("removed"),
                Way::Evict => {
                    lines::evict_dead(control, locks).expect("a lock");
                }
            }
        });
    });
    tx.publish_some(2);
    giver.join().expect("the one that dies");
    is_usable(&ring, &mut tx);
}

#[test]
fn loom_leave_killed() {
    let deaths = [("leave.free", 1), ("leave.bit", 1), ("leave.unlocked", 1)];
    Model::holds_for_deaths(2, &deaths, |at, _| line_given_up(at, Way::Leave));
}

#[test]
fn loom_remove_killed() {
    let deaths = [("leave.free", 1), ("leave.bit", 1)];
    Model::holds_for_deaths(2, &deaths, |at, _| line_given_up(at, Way::Remove));
}

#[test]
fn loom_evict_killed() {
    let deaths = [
        ("evict.locked", 1),
        ("leave.free", 1),
        ("leave.bit", 1),
        ("evict.free", 1),
    ];
    Model::holds_for_deaths(2, &deaths, |at, _| line_given_up(at, Way::Evict));
}

#[test]
fn loom_control_bit_cleared_before_free() {
    // as long as the bit is not cleared, leaving FREE out is the same as storing it later
    Model::with_preemptions(1).fails_without(Step::LineFree, &["a line is lost"], || {
        line_given_up("leave.bit", Way::Remove);
    });
}
