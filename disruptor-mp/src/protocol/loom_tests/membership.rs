//! Lines: leave, evict, claim, rejoin and remove against each other and against refresh (R16). The specification is
//! `models/rejoin.py`.

use loom::thread::{self, yield_now};

use super::{Model, Ring, Rx, Step};
use crate::layout::control::ConsumerId;
use crate::protocol::lines::{self, LineError};

/// Attaches as soon as whoever has the id lets go of it.
fn attach(ring: &Ring, id: &'static str) -> Rx {
    loop {
        match ring.attach(id, true) {
            Ok(rx) => return rx,
            Err(LineError::AlreadyAttached { .. }) => yield_now(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// An automatic consumer died. While the producer clears its line, a durable one claims it, goes and comes back.
fn eviction_against_claim() {
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
fn loom_evict_against_claim() {
    Model::with_preemptions(2)
        .reaches(&["claimed the dead one's line", "evicted"])
        .holds(eviction_against_claim);
}

#[test]
fn loom_control_evict_without_a_second_look() {
    Model::with_preemptions(3).fails_without(
        Step::EvictLook,
        &["found", "overtaken", "Causality"],
        eviction_against_claim,
    );
}

/// A durable consumer that was away goes on after what it had released, however full the ring is.
#[test]
fn loom_rejoin_against_refresh() {
    Model::with_preemptions(3)
        .reaches(&["full while away"])
        .holds(|| {
            let ring = Ring::new(2);
            let mut tx = ring.tx();
            let mut rx = attach(&ring, "d");
            tx.publish();
            rx.take();
            assert_eq!(rx.go_away(), 0);
            let other = ring.clone();
            let back = thread::spawn(move || {
                let mut rx = attach(&other, "d");
                assert!(rx.place.rejoined);
                assert_eq!(rx.core.next(), 1);
                rx.take_to(3);
            });
            while tx.core.next() < 4 {
                if tx.try_publish().is_none() {
                    super::reached("full while away");
                    yield_now();
                }
            }
            back.join().expect("the consumer");
        });
}

/// One id, two that want it at once: one gets it.
#[test]
fn loom_one_id_twice() {
    Model::with_preemptions(3).holds(|| {
        let ring = Ring::new(1);
        let other = ring.clone();
        let second = thread::spawn(move || other.attach("d", true).ok());
        let first = ring.attach("d", true).ok();
        let second = second.join().expect("the other one");
        assert_eq!(
            usize::from(first.is_some()) + usize::from(second.is_some()),
            1
        );
    });
}

/// Removed, or back: never both, and never neither.
#[test]
fn loom_remove_against_rejoin() {
    Model::with_preemptions(3)
        .reaches(&["removed", "refused"])
        .holds(|| {
            let ring = Ring::new(2);
            let mut tx = ring.tx();
            let mut rx = attach(&ring, "d");
            tx.publish();
            rx.take();
            rx.go_away();
            let other = ring.clone();
            let back = thread::spawn(move || attach(&other, "d"));
            let id = ConsumerId::new("d").expect("an id");
            let removed = lines::remove(tx.segment.control(), tx.segment.locks(), &id);
            let rx = back.join().expect("the consumer");
            match removed {
                Ok(()) => super::reached("removed"),
                Err(LineError::AlreadyAttached { .. }) => super::reached("refused"),
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(rx.place.rejoined, removed.is_err());
            assert_eq!(rx.core.next(), if removed.is_err() { 1 } else { 0 });
        });
}

/// Two claim the one line that is left: one gets it, the other hears that all are taken.
#[test]
fn loom_last_line_twice() {
    Model::with_preemptions(3).holds(|| {
        let ring = Ring::new(1);
        let _others: Vec<_> = (1..crate::DEFAULT_MAX_CONSUMERS)
            .map(|_| ring.rx())
            .collect();
        let other = ring.clone();
        let second = thread::spawn(move || other.attach("b", false).ok());
        let first = ring.attach("a", false).ok();
        let second = second.join().expect("the other one");
        assert_eq!(
            usize::from(first.is_some()) + usize::from(second.is_some()),
            1
        );
    });
}
