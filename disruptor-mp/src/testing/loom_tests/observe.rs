//! Observers: R13. One slot, of two words that belong together, that is overwritten again and again; and a
//! ring whose floor says what a slot without a stamp held.

use std::sync::Arc;

use loom::thread;

use super::{Model, Ring, Step, Tx};
use crate::Sequence;
use crate::layout::stamp;
use crate::protocol::observe::{self, Sight};
use crate::sync::{AtomicI64, AtomicU64, Ordering};

/// A stamp and an event of two words.
struct Slot {
    stamp: AtomicU64,
    words: [AtomicU64; 2],
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stamp: AtomicU64::new(0),
            words: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// Like `ProducerCore::write_observed` and `publish_one`.
    fn publish(&self, sequence: Sequence) {
        observe::write(&self.stamp, sequence, || {
            for word in &self.words {
                word.store(sequence as u64 + 1, Ordering::Relaxed);
            }
        });
        self.stamp
            .store(stamp::published(sequence), Ordering::Release);
    }

    /// Like `Observer::try_recv`.
    fn observe(&self, sequence: Sequence) -> Sight {
        let mut seen = [0; 2];
        // no slot of these models loses its stamp
        let floor = AtomicI64::new(-1);
        let sight = observe::read(&self.stamp, &floor, sequence, || {
            seen = [0, 1].map(|index| self.words[index].load(Ordering::Relaxed));
        });
        if sight == Sight::Seen {
            assert_eq!(seen, [sequence as u64 + 1; 2], "torn: found {seen:?}");
            super::reached("seen");
        }
        if sight == Sight::Overwritten {
            super::reached("overwritten");
        }
        sight
    }
}

/// An observer's message when it got half of another event.
const TORN: &str = "torn";

/// The observed event is overwritten while it is read.
fn overwritten() {
    let slot = Slot::new();
    slot.publish(0);
    let writer = Arc::clone(&slot);
    let writer = thread::spawn(move || writer.publish(1));
    let first = slot.observe(0);
    assert_ne!(first, Sight::NotYet, "it was published");
    writer.join().expect("the writer");
    assert_eq!(slot.observe(1), Sight::Seen);
    assert_eq!(slot.observe(0), Sight::Overwritten);
}

/// The event comes while the observer polls, and so does the next one.
fn awaited() {
    let slot = Slot::new();
    let writer = Arc::clone(&slot);
    let writer = thread::spawn(move || {
        writer.publish(0);
        writer.publish(1);
    });
    slot.observe(0);
    slot.observe(1);
    writer.join().expect("the writer");
}

#[test]
fn loom_observer_while_it_is_overtaken() {
    Model::with_preemptions(4)
        .reaches(&["seen", "overwritten"])
        .holds(overwritten);
}

#[test]
fn loom_observer_while_events_come() {
    Model::with_preemptions(4)
        .reaches(&["seen", "overwritten"])
        .holds(awaited);
}

#[test]
fn loom_control_observed_slot_is_not_marked_busy() {
    Model::with_preemptions(4).fails_without(Step::ObserveBusy, &[TORN], overwritten);
}

#[test]
fn loom_control_words_before_the_busy_stamp() {
    Model::with_preemptions(4).fails_without(Step::ObserveWriteFence, &[TORN], overwritten);
}

#[test]
fn loom_control_second_read_before_the_words() {
    Model::with_preemptions(4).fails_without(Step::ObserveReadFence, &[TORN], overwritten);
}

#[test]
fn loom_control_no_second_read() {
    Model::with_preemptions(4).fails_without(Step::ObserveReread, &[TORN], overwritten);
}

/// Like `Observer::try_recv`, without the event.
fn observed(ring: &Ring, sequence: Sequence) -> Sight {
    let segment = ring.open();
    let floor = &segment.control().producer.floor;
    observe::read(segment.view.stamp(sequence), floor, sequence, || {})
}

/// A producer of a ring with one slot makes that slot free for a claim, so that the floor moves.
fn publish_and_refresh(tx: &mut Tx) {
    assert!(tx.try_publish().is_some(), "the ring has space");
    assert!(tx.core.refresh(1), "nobody is registered");
}

/// An observer's message when it is told that an event is gone, although it is there.
const MISSED: &str = "found no event";

/// The floor passes an event that an observer has not seen yet. Nothing overwrites it, so it is not missed.
fn passed_by_the_floor() {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let other = ring.clone();
    let observer = thread::spawn(move || {
        let sight = observed(&other, 0);
        assert_ne!(sight, Sight::Overwritten, "{MISSED}");
        super::reached(match sight {
            Sight::Seen => "seen",
            _ => "not yet",
        });
    });
    publish_and_refresh(&mut tx);
    observer.join().expect("the observer");
}

/// The producer dies in the middle of the next event, and a successor clears the slot. The previous event is
/// missed, and the observer is told so.
fn cleared_by_a_successor() {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let other = ring.clone();
    let observer = thread::spawn(move || observed(&other, 0));
    publish_and_refresh(&mut tx);
    observe::write(tx.segment.view.stamp(1), 1, || {});
    drop(tx);
    let successor = ring.tx();
    if observer.join().expect("the observer") == Sight::Overwritten {
        super::reached("overwritten");
    }
    assert_eq!(
        observed(&ring, 0),
        Sight::Overwritten,
        "found nothing for ever"
    );
    assert_eq!(observed(&ring, 1), Sight::NotYet);
    drop(successor);
}

#[test]
fn loom_observer_while_the_floor_passes() {
    Model::with_preemptions(3)
        .reaches(&["seen", "not yet"])
        .holds(passed_by_the_floor);
}

#[test]
fn loom_observer_of_a_cleared_slot() {
    Model::with_preemptions(3)
        .reaches(&["overwritten"])
        .holds(cleared_by_a_successor);
}

#[test]
fn loom_control_floor_relaxed() {
    Model::with_preemptions(3).fails_without(Step::FloorRelease, &[MISSED], passed_by_the_floor);
}

#[test]
fn loom_control_no_read_after_the_floor() {
    Model::with_preemptions(3).fails_without(
        Step::ObserveFloorReread,
        &[MISSED],
        passed_by_the_floor,
    );
}

#[test]
fn loom_control_no_read_of_the_floor() {
    Model::with_preemptions(3).fails_without(
        Step::ObserveFloor,
        &["found nothing"],
        cleared_by_a_successor,
    );
}
