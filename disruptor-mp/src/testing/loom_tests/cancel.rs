//! Cancel tokens: a cancellation wakes every sleeper (R9), and no entry is woken after it has gone.

use std::sync::Arc;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::thread;

use super::{Model, RACE, Ring, SLEEPS, Step};
use crate::protocol::sleep;
use crate::segment::Segment;
use crate::waiting::cancel::wake_list::WakeList;

/// The longest time, as no model has a clock.
const LONG: Duration = Duration::MAX;
/// Loom's message when every thread sleeps.
const ASLEEP: &str = "deadlock";

/// A consumer registers with a token and sleeps; another thread cancels meanwhile. `was_used`: another entry
/// used the node before.
fn sleeper_is_cancelled(was_used: bool) {
    SLEEPS.set(true);
    let ring = Ring::new(1);
    let rx = ring.rx();
    let list = Arc::new(WakeList::<Segment<u64>>::default());
    if was_used {
        drop(WakeList::enter(&list, ring.open()));
    }
    let canceller = {
        let list = Arc::clone(&list);
        thread::spawn(move || {
            list.cancel(|segment| {
                super::reached("woken");
                sleep::wake_everybody(segment.control());
            });
        })
    };
    let entry = WakeList::enter(&list, ring.open());
    while !list.is_cancelled() {
        super::reached("slept");
        rx.core.sleep_until_event(LONG, || list.is_cancelled());
    }
    canceller.join().expect("the canceller");
    drop(entry);
}

#[test]
fn loom_cancelled_while_it_falls_asleep() {
    Model::with_preemptions(3)
        .reaches(&["slept", "woken"])
        .holds(|| sleeper_is_cancelled(false));
}

#[test]
fn loom_cancelled_in_a_node_that_was_used() {
    Model::with_preemptions(3)
        .reaches(&["slept", "woken"])
        .holds(|| sleeper_is_cancelled(true));
}

#[test]
fn loom_control_cancel_without_a_fence() {
    Model::with_preemptions(3)
        .fails_without(Step::CancelFence, &[ASLEEP], || sleeper_is_cancelled(false));
}

#[test]
fn loom_control_cancelled_sleep_without_a_fence() {
    Model::with_preemptions(3)
        .fails_without(Step::SleepFence, &[ASLEEP], || sleeper_is_cancelled(false));
}

#[test]
fn loom_control_cancelled_sleep_without_a_second_check() {
    Model::with_preemptions(3)
        .fails_without(Step::SleepCheck, &[ASLEEP], || sleeper_is_cancelled(false));
}

/// The thing that a token wakes: a cell that is read while it is woken, and written when it goes.
struct Mapped(UnsafeCell<u64>);

// SAFETY: loom checks each access to the cell.
unsafe impl Send for Mapped {}
// SAFETY: as for Send.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(1)))
    }

    fn wake(&self) {
        super::reached("woken");
        // SAFETY: the pointer is valid; loom checks that no thread writes the cell.
        assert_eq!(
            self.0.with(|cell| unsafe { *cell }),
            1,
            "woken after it went"
        );
    }

    fn unmap(&self) {
        // SAFETY: the pointer is valid; loom checks that no other thread accesses the cell.
        self.0.with_mut(|cell| unsafe { *cell = 0 });
    }
}

/// An entry comes and goes while other threads cancel; with `again`, another entry follows it.
fn entry_goes(cancellers: usize, again: bool) {
    let list = Arc::new(WakeList::<Arc<Mapped>>::default());
    let first = Mapped::new();
    let entry = WakeList::enter(&list, Arc::clone(&first));
    let cancellers: Vec<_> = (0..cancellers)
        .map(|_| {
            let list = Arc::clone(&list);
            thread::spawn(move || list.cancel(|mapped| mapped.wake()))
        })
        .collect();
    drop(entry);
    first.unmap();
    if again {
        let second = Mapped::new();
        drop(WakeList::enter(&list, Arc::clone(&second)));
        second.unmap();
    }
    for canceller in cancellers {
        canceller.join().expect("a canceller");
    }
}

#[test]
fn loom_entry_goes_while_it_is_woken() {
    Model::with_preemptions(3)
        .reaches(&["woken"])
        .holds(|| entry_goes(1, false));
}

#[test]
fn loom_entry_goes_while_two_wake_it() {
    Model::with_preemptions(2)
        .reaches(&["woken"])
        .holds(|| entry_goes(2, false));
}

#[test]
fn loom_entry_goes_and_another_one_comes() {
    Model::with_preemptions(3)
        .reaches(&["woken"])
        .holds(|| entry_goes(1, true));
}

#[test]
fn loom_control_entry_goes_without_waiting() {
    Model::with_preemptions(3).fails_without(Step::LeaveListWait, &[RACE], || entry_goes(1, false));
}

#[test]
fn loom_control_entry_goes_without_a_fence() {
    Model::with_preemptions(3)
        .fails_without(Step::LeaveListFence, &[RACE], || entry_goes(1, false));
}

#[test]
fn loom_control_visitor_without_a_fence() {
    Model::with_preemptions(3).fails_without(Step::VisitFence, &[RACE], || entry_goes(1, false));
}
