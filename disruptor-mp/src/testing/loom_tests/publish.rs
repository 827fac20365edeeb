//! Publish and consume: R2, R3, R4, R7 and the ring's bounds.

use loom::thread;

use super::{Model, RACE, Ring, Step, WRONG};

/// `count` events through a ring of `capacity` slots, one consumer.
fn stream(capacity: usize, count: i64) {
    let ring = Ring::new(capacity);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || rx.take_to(count - 1));
    for expected in 0..count {
        assert_eq!(tx.publish(), expected);
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_one_slot() {
    Model::with_preemptions(3).holds(|| stream(1, 3));
}

#[test]
fn loom_two_slots_wrap() {
    Model::with_preemptions(3).holds(|| stream(2, 5));
}

#[test]
fn loom_four_slots_wrap() {
    Model::with_preemptions(2).holds(|| stream(4, 6));
}

/// Two consumers; the producer waits for the slower one.
fn two_consumers() {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut rx = ring.rx();
            thread::spawn(move || {
                rx.take_some(2);
                rx
            })
        })
        .collect();
    tx.publish_some(3);
    let last = tx.core.next() - 1;
    for reader in readers {
        let mut rx = reader.join().expect("a reader");
        if rx.position() == last {
            super::reached("kept up");
        }
        rx.take_to(last);
    }
    if last > 0 {
        super::reached("both released");
    }
}

#[test]
fn loom_two_consumers() {
    Model::with_preemptions(2)
        .reaches(&["kept up", "both released"])
        .holds(two_consumers);
}

/// A full ring is full, and what was released is free at the next attempt.
fn full_and_empty(capacity: usize) {
    let ring = Ring::new(capacity);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    for _ in 0..capacity {
        assert!(tx.try_publish().is_some(), "the ring has space");
    }
    assert!(tx.try_publish().is_none(), "the ring is full");
    let reader = thread::spawn(move || {
        rx.take_some(2);
        rx
    });
    let published = (0..3).filter_map(|_| tx.try_publish()).count();
    let mut rx = reader.join().expect("the reader");
    match published {
        0 => super::reached("full while the producer scanned"),
        _ => super::reached("released while the producer scanned"),
    }
    let released = (rx.position() + 1) as usize;
    assert!(
        published <= released,
        "published over what was not released"
    );
    for _ in published..released {
        assert!(tx.try_publish().is_some(), "what was released is free");
    }
    assert!(tx.try_publish().is_none(), "full again");
    rx.take_to(tx.core.next() - 1);
    assert!(rx.try_take().is_none(), "empty");
}

const FULL: &[&str] = &[
    "released while the producer scanned",
    "full while the producer scanned",
];

#[test]
fn loom_full_and_empty_one_slot() {
    Model::with_preemptions(3)
        .reaches(FULL)
        .holds(|| full_and_empty(1));
}

#[test]
fn loom_full_and_empty_two_slots() {
    Model::with_preemptions(3)
        .reaches(FULL)
        .holds(|| full_and_empty(2));
}

#[test]
fn loom_control_relaxed_stamp() {
    Model::with_preemptions(2).fails_without(Step::StampRelease, &[RACE], || stream(2, 3));
}

#[test]
fn loom_control_relaxed_commit() {
    Model::with_preemptions(2).fails_without(Step::CommitRelease, &[RACE], || stream(1, 2));
}

#[test]
fn loom_control_stamp_before_event() {
    Model::with_preemptions(2).fails(&[RACE, WRONG], || {
        let ring = Ring::new(2);
        let mut rx = ring.rx();
        let mut tx = ring.tx();
        let reader = thread::spawn(move || rx.take());
        assert_eq!(tx.try_vacant(1), Some(0));
        let event = tx.event(0);
        tx.core.publish_one(0);
        ring.write(0, event);
        reader.join().expect("the reader");
    });
}

#[test]
fn loom_control_commit_before_the_read_ends() {
    Model::with_preemptions(2).fails(&[RACE, WRONG], || {
        let ring = Ring::new(1);
        let mut rx = ring.rx();
        let mut tx = ring.tx();
        let reader = thread::spawn(move || {
            while !rx.core.is_ready() {
                thread::yield_now();
            }
            rx.core.commit(0);
            rx.ring.read(0)
        });
        tx.publish();
        tx.publish();
        reader.join().expect("the reader");
    });
}
