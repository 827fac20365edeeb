//! Takeover: R14. A new producer finds where a dead one stopped, and clears what that one left unfinished.
//!
//! The caller holds the producer's lock. A process that dies at any of these steps leaves a ring that the
//! next successor takes over by the same steps.

use super::view::RingView;
use crate::Sequence;
use crate::event::Event;
use crate::layout::control::OPEN;
use crate::layout::stamp;
use crate::sync::{Ordering, process};
use crate::testing::fail::{point, reached};

/// Where a successor continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inheritance {
    /// The first sequence to publish.
    pub(crate) next: Sequence,
    /// The floor word.
    pub(crate) floor: Sequence,
    /// How many producers this ring has had before.
    pub(crate) epoch: u64,
    pub(crate) found: Found,
}

/// The state of the ring that a producer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No ring existed: the producer made one.
    Nothing,
    /// A ring without a live producer, which is not closed.
    Dead,
    /// A closed ring, and what kept its name.
    Closed { kept: u32 },
}

/// Makes the ring ready for a successor.
pub(crate) fn take_over<E: Event>(view: RingView<E>) -> Inheritance {
    let line = &view.control().producer;
    let found = if line.closed.load(Ordering::Relaxed) == OPEN {
        Found::Dead
    } else {
        reached("takeover.of_a_closed_ring");
        Found::Closed {
            kept: line.kept.load(Ordering::Relaxed),
        }
    };
    let epoch = line.epoch.load(Ordering::Relaxed).wrapping_add(1);
    line.epoch.store(epoch, Ordering::Release);
    point("takeover.epoch");
    // SYNC POINT open: pairs with the Acquire load in `ends::closed_at`: a process that finds the ring open
    // again finds the new epoch
    line.closed.store(OPEN, Ordering::Release);
    point("takeover.unclosed");
    line.kept.store(0, Ordering::Relaxed);
    view.control()
        .waiters
        .is_watching
        .store(0, process::Ordering::Relaxed);
    point("takeover.opened");
    let floor = line
        .floor
        .load(Ordering::Relaxed)
        .clamp(-1, stamp::MAX_SEQUENCE);
    let head = last_contiguous(view, floor);
    point("takeover.head");
    step!(TakeoverClear, clear_above(view, head));
    point("takeover.cleared");
    Inheritance {
        next: head + 1,
        floor,
        epoch,
        found,
    }
}

/// The last sequence with contiguous stamps from the floor on, else the floor.
fn last_contiguous<E: Event>(view: RingView<E>, floor: Sequence) -> Sequence {
    (floor + 1..=floor + view.capacity() as i64)
        .take_while(|sequence| {
            view.stamp(*sequence).load(Ordering::Acquire) == stamp::published(*sequence)
        })
        .last()
        .unwrap_or(floor)
}

/// Zeroes every stamp above `head`, and touches none at or below it: leases may depend on those.
fn clear_above<E: Event>(view: RingView<E>, head: Sequence) {
    for index in 0..view.capacity() as i64 {
        let stamp = view.stamp(index);
        let above = match stamp::sequence_of(stamp.load(Ordering::Relaxed)) {
            Some(sequence) => sequence > head,
            None => false,
        };
        if above {
            reached("takeover.stamps_above_head");
            stamp.store(0, Ordering::Relaxed);
            point("takeover.cleared_one");
        }
    }
}
