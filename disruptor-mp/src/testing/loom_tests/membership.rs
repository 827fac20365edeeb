//! Lines: leave, evict, claim, rejoin and remove against each other and against refresh (R16). The specification is
//! `models/rejoin.py`.

use loom::thread::{self, yield_now};

use super::ring::OWNER;
use super::{Model, OVERTAKEN, RACE, Ring, Rx, Step, WRONG};
use crate::layout::control::{ConsumerId, Control, LineState};
use crate::layout::lock_bytes::{id_byte, line_byte};
use crate::protocol::lines::{self, Applicant, LineError, LinePlace};
use crate::segment::Segment;
use crate::sync::Ordering;

/// The messages of a party whose line, position or unread event was taken.
const FOUND: &[&str] = &[RACE, WRONG, OVERTAKEN];

/// Attaches as soon as no other endpoint holds the id.
fn attach(ring: &Ring, id: &'static str) -> Rx {
    loop {
        match ring.attach(id, true) {
            Ok(rx) => return rx,
            Err(LineError::AlreadyAttached { .. }) => yield_now(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// An automatic consumer died. While the producer clears its line, a durable consumer claims it, goes and comes back.
fn eviction_against_take() {
    let ring = Ring::new(2);
    drop(ring.rx());
    let mut tx = ring.tx();
    let other = ring.clone();
    let durable = thread::spawn(move || {
        let mut rx = attach(&other, "d");
        let line = rx.place.line;
        rx.take_some(1);
        let position = rx.go_away();
        let mut rx = attach(&other, "d");
        assert!(rx.place.rejoined, "the position was found lost");
        assert_eq!((rx.place.line, rx.position()), (line, position));
        match line {
            0 => super::reached("claimed the dead one's line"),
            _ => super::reached("claimed another line"),
        }
        rx.take_some(1);
        rx
    });
    for _ in 0..4 {
        if tx.try_publish().is_none() {
            let evicted = lines::evict_dead(tx.segment.control(), tx.segment.locks());
            if evicted.expect("a lock") > 0 {
                super::reached("evicted");
            }
        }
    }
    let mut rx = durable.join().expect("the durable consumer");
    rx.take_to(tx.core.next() - 1);
}

#[test]
fn loom_evict_against_take() {
    Model::with_preemptions(2)
        .reaches(&["claimed the dead one's line", "evicted"])
        .holds(eviction_against_take);
}

#[test]
fn loom_control_evict_without_a_second_check() {
    Model::with_preemptions(3).fails_without(Step::EvictCheck, FOUND, eviction_against_take);
}

/// A durable consumer that was away continues after the last event that it had released, however full the ring is.
fn rejoin(how: fn(&Ring) -> Rx) {
    let ring = Ring::new(2);
    let mut tx = ring.tx();
    let mut rx = attach(&ring, "d");
    tx.publish();
    rx.take();
    assert_eq!(rx.go_away(), 0);
    let other = ring.clone();
    let back = thread::spawn(move || {
        let mut rx = how(&other);
        assert_eq!(rx.core.next(), 1, "found another position");
        rx.take_to(3);
    });
    while tx.core.next() < 4 {
        if tx.try_publish().is_none() {
            super::reached("full while away");
            yield_now();
        }
    }
    back.join().expect("the consumer");
}

#[test]
fn loom_rejoin_against_refresh() {
    Model::with_preemptions(3)
        .reaches(&["full while away"])
        .holds(|| {
            rejoin(|ring| {
                let rx = attach(ring, "d");
                assert!(rx.place.rejoined);
                rx
            });
        });
}

/// An endpoint that holds the bytes of the durable consumer "d" and of line 0, and comes back by `way`.
fn come_back(ring: &Ring, way: impl Fn(&Control, Applicant<'_>) -> LinePlace) -> Rx {
    let segment = ring.open();
    let id = ConsumerId::new("d").expect("an id");
    for byte in [id_byte("d"), line_byte(0)] {
        assert!(segment.locks().try_lock(byte).expect("a lock"));
    }
    let who = Applicant {
        id: &id,
        durable: true,
        owner: OWNER,
        is_here: true,
    };
    let place = way(segment.control(), who);
    Rx::new(ring, segment, place, "d")
}

#[test]
fn loom_control_rejoin_through_joining() {
    Model::with_preemptions(2).fails(FOUND, || {
        rejoin(|ring| come_back(ring, |control, who| lines::join(control, 0, who)));
    });
}

/// The floor lies below what the consumer had released, so that the consumer would read reused slots.
#[test]
fn loom_control_rejoin_at_the_floor() {
    Model::with_preemptions(2).fails(FOUND, || {
        rejoin(|ring| {
            come_back(ring, |control, _| {
                let floor = control.producer.floor.load(Ordering::Acquire);
                let line = &control.consumers[0];
                line.sequence.store(floor, Ordering::Release);
                line.set_state(LineState::Active);
                LinePlace {
                    line: 0,
                    next: floor + 1,
                    rejoined: true,
                }
            })
        });
    });
}

/// Two endpoints want one id at once: one gets it.
fn one_id_twice() {
    let ring = Ring::new(1);
    let other = ring.clone();
    let second = thread::spawn(move || other.attach("d", true).ok());
    let first = ring.attach("d", true).ok();
    let second = second.join().expect("the other one");
    let count = usize::from(first.is_some()) + usize::from(second.is_some());
    assert_eq!(count, 1, "found attached");
}

#[test]
fn loom_one_id_twice() {
    Model::with_preemptions(3).holds(one_id_twice);
}

#[test]
fn loom_control_one_id_twice_without_its_byte() {
    Model::with_preemptions(2).fails_without(Step::AttachIdByte, FOUND, one_id_twice);
}

/// A durable consumer is removed or comes back: never both, and never neither.
fn remove_against_rejoin() {
    let ring = Ring::new(2);
    let mut tx = ring.tx();
    let mut rx = attach(&ring, "d");
    tx.publish();
    rx.take();
    rx.go_away();
    let other = ring.clone();
    let back = thread::spawn(move || attach(&other, "d"));
    let removed = remove(&tx.segment, "d");
    let rx = back.join().expect("the consumer");
    match removed {
        Ok(()) => super::reached("removed"),
        Err(LineError::AlreadyAttached { .. }) => super::reached("refused"),
        Err(error) => panic!("found {error:?}"),
    }
    let state = tx.segment.control().consumers[rx.place.line].state();
    assert_eq!(state, LineState::Active, "found removed under its owner");
    assert_eq!(rx.place.rejoined, removed.is_err(), "found back");
    assert_eq!(rx.core.next(), if removed.is_err() { 1 } else { 0 });
}

fn remove(segment: &Segment<u64>, id: &str) -> Result<(), LineError> {
    let id = ConsumerId::new(id).expect("an id");
    lines::remove(segment.control(), segment.locks(), &id)
}

#[test]
fn loom_remove_against_rejoin() {
    Model::with_preemptions(3)
        .reaches(&["removed", "refused"])
        .holds(remove_against_rejoin);
}

#[test]
fn loom_control_remove_without_the_id_byte() {
    Model::with_preemptions(3).fails_without(Step::RemoveIdByte, FOUND, remove_against_rejoin);
}

/// A consumer that is away is removed, and another one takes the line at once. The producer no longer waits
/// for the first one, but does for the second.
fn remove_against_take() {
    let ring = Ring::new(1);
    let rx = attach(&ring, "d");
    let mut tx = ring.tx();
    tx.publish();
    rx.go_away();
    let other = ring.clone();
    let taker = thread::spawn(move || {
        let rx = other.rx();
        match rx.place.line {
            0 => super::reached("took the removed one's line"),
            _ => super::reached("took another line"),
        }
        rx
    });
    remove(&tx.segment, "d").expect("removed");
    let mut rx = taker.join().expect("the taker");
    tx.publish_some(2);
    rx.take_to(tx.core.next() - 1);
}

#[test]
fn loom_remove_against_take() {
    Model::with_preemptions(3)
        .reaches(&["took the removed one's line", "took another line"])
        .holds(remove_against_take);
}

#[test]
fn loom_control_remove_without_the_line_lock() {
    Model::with_preemptions(3).fails_without(Step::RemoveLineLock, FOUND, remove_against_take);
}

/// One consumer leaves and another one takes its line at once. `leaves`: as in production, or not.
fn leave_against_take(leaves: fn(Rx)) {
    let ring = Ring::new(1);
    let rx = ring.rx();
    let mut tx = ring.tx();
    tx.publish();
    let other = ring.clone();
    let taker = thread::spawn(move || {
        let rx = other.rx();
        match rx.place.line {
            0 => super::reached("took the left line"),
            _ => super::reached("took another line"),
        }
        rx
    });
    leaves(rx);
    let mut rx = taker.join().expect("the taker");
    tx.publish_some(2);
    rx.take_to(tx.core.next() - 1);
}

#[test]
fn loom_leave_against_take() {
    Model::with_preemptions(3)
        .reaches(&["took the left line", "took another line"])
        .holds(|| leave_against_take(Rx::leave));
}

#[test]
fn loom_control_bit_cleared_after_the_lock() {
    Model::with_preemptions(3).fails_without(Step::LineBit, FOUND, || {
        leave_against_take(|rx| {
            rx.leaves();
            let bits = &rx.segment.control().registered.bits;
            bits.fetch_and(!(1 << rx.place.line), Ordering::AcqRel);
        });
    });
}

/// Two endpoints claim the last free line: one gets it, the other is told that all are taken.
fn last_line_twice() {
    let ring = Ring::new(1);
    let _others: Vec<_> = (1..crate::layout::DEFAULT_MAX_CONSUMERS)
        .map(|_| ring.rx())
        .collect();
    let other = ring.clone();
    let second = thread::spawn(move || other.attach("b", false).ok());
    let first = ring.attach("a", false).ok();
    let second = second.join().expect("the other one");
    let count = usize::from(first.is_some()) + usize::from(second.is_some());
    assert_eq!(count, 1, "found attached");
}

#[test]
fn loom_last_line_twice() {
    Model::with_preemptions(3).holds(last_line_twice);
}

#[test]
fn loom_control_last_line_twice_without_its_lock() {
    Model::with_preemptions(2).fails_without(Step::TakeLock, FOUND, last_line_twice);
}

/// A durable consumer takes the free line, reads and goes away; an automatic consumer wants a line at the same time.
fn take_against_durable() {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    tx.publish();
    let other = ring.clone();
    let taker = thread::spawn(move || other.rx());
    let mut rx = attach(&ring, "d");
    rx.take_some(1);
    match rx.place.line {
        0 => super::reached("the durable one took the first line"),
        _ => super::reached("the taker took the first line"),
    }
    let position = rx.go_away();
    let taker = taker.join().expect("the taker");
    let rx = attach(&ring, "d");
    assert!(rx.place.rejoined, "found without its position");
    assert_eq!(rx.position(), position, "found another position");
    assert_ne!(rx.place.line, taker.place.line);
}

#[test]
fn loom_take_against_durable() {
    Model::with_preemptions(3)
        .reaches(&[
            "the durable one took the first line",
            "the taker took the first line",
        ])
        .holds(take_against_durable);
}

#[test]
fn loom_control_take_without_a_second_check() {
    Model::with_preemptions(3).fails_without(Step::TakeCheck, FOUND, take_against_durable);
}
