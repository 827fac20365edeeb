//! Observers: R13. One slot that is written over and over, of two words that belong together.

use std::sync::Arc;

use loom::thread;

use super::{Model, Step};
use crate::Sequence;
use crate::layout::stamp;
use crate::protocol::observe::{self, Sight};
use crate::sync::{AtomicU64, Ordering};

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

    /// As `ProducerCore::write_observed` and `publish_one`.
    fn publish(&self, sequence: Sequence) {
        observe::write(&self.stamp, sequence, || {
            for word in &self.words {
                word.store(sequence as u64 + 1, Ordering::Relaxed);
            }
        });
        self.stamp
            .store(stamp::published(sequence), Ordering::Release);
    }

    /// As `Observer::try_recv`.
    fn observe(&self, sequence: Sequence) -> Sight {
        let mut seen = [0; 2];
        let sight = observe::read(&self.stamp, sequence, || {
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

/// What an observer says that was lent half of another event.
const TORN: &str = "torn";

/// The event under observation is written over while it is read.
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

/// The event comes while the observer looks, and the one after it as well.
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
fn loom_control_second_look_before_the_words() {
    Model::with_preemptions(4).fails_without(Step::ObserveReadFence, &[TORN], overwritten);
}

#[test]
fn loom_control_no_second_look() {
    Model::with_preemptions(4).fails_without(Step::ObserveRelook, &[TORN], overwritten);
}
