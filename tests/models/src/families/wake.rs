//! Sleeping and waking.

use super::Family;
use crate::wake::{LeftOut, Wake};

/// All events of a plan.
const ALL: i8 = i8::MAX;

/// R9, both sides.
pub(super) fn wake() -> Family {
    let mut family = Family::new("wake", "R9");
    // with so many slots the producer never waits
    let consumers = |readers, last, fences| Wake {
        slots: 8,
        quarter: 2,
        clamps: false,
        batch: 1,
        last,
        readers,
        removes: false,
        has_successor: false,
        deaths: 0,
        mortal_consumers: false,
        fences,
        left_out: None,
    };
    let both = |slots, quarter, batch, last, fences| Wake {
        slots,
        quarter,
        batch,
        ..consumers(&[ALL], last, fences)
    };
    let kinds = [(true, "fences"), (false, "membarrier")];
    for (fences, kind) in kinds {
        let mut holds = |name: &str, plan: Wake| family.holds(&format!("{kind}, {name}"), plan);
        holds("one consumer, 3 events", consumers(&[ALL], 3, fences));
        holds("two consumers, 2 events", consumers(&[ALL, ALL], 2, fences));
        holds("1 slot, both sides sleep", both(1, 1, 1, 3, fences));
        holds(
            "batches of 2, an eighth more wanted",
            both(2, 2, 2, 6, fences),
        );
        holds(
            "one of two detaches",
            Wake {
                readers: &[ALL, 1],
                ..both(1, 1, 1, 2, fences)
            },
        );
        holds(
            "one is removed",
            Wake {
                removes: true,
                ..both(2, 1, 1, 3, fences)
            },
        );
        holds(
            "a death of the producer, liveness checks",
            Wake {
                deaths: 1,
                ..both(1, 1, 1, 3, fences)
            },
        );
        holds(
            "deaths of anybody, liveness checks",
            Wake {
                deaths: 2,
                mortal_consumers: true,
                ..both(1, 1, 1, 3, fences)
            },
        );
        holds(
            "a takeover wakes",
            Wake {
                deaths: 1,
                has_successor: true,
                ..both(1, 1, 1, 3, fences)
            },
        );
    }
    for (fences, kind) in kinds {
        let clamped = |slots, quarter, batch, last| Wake {
            clamps: true,
            ..both(slots, quarter, batch, last, fences)
        };
        let mut holds = |name: &str, plan: Wake| {
            family.holds(&format!("{kind}, clamped wish, {name}"), plan);
        };
        holds("1 slot", clamped(1, 1, 1, 3));
        holds("batches of 2", clamped(2, 2, 2, 6));
        holds("more than there is", clamped(2, 4, 1, 4));
        holds(
            "one of two detaches",
            Wake {
                readers: &[ALL, 1],
                ..clamped(1, 1, 1, 2)
            },
        );
        holds(
            "deaths of anybody, liveness checks",
            Wake {
                deaths: 2,
                mortal_consumers: true,
                ..clamped(1, 1, 1, 3)
            },
        );
    }
    let stuck = &["stuck"];
    let without = |step, plan: Wake| Wake {
        left_out: Some(step),
        ..plan
    };
    for (fences, kind) in kinds {
        let readers = consumers(&[ALL], 2, fences);
        let mut fails = |name: &str, step, plan: Wake| {
            family.fails(&format!("{kind}: {name}"), stuck, without(step, plan));
        };
        fails("none, consumer sleeps", LeftOut::Fence, readers.clone());
        fails(
            "none, producer sleeps",
            LeftOut::Fence,
            both(1, 1, 1, 2, fences),
        );
        fails(
            "consumer does not poll again",
            LeftOut::PollAgain,
            readers.clone(),
        );
        fails("word read late", LeftOut::WordFirst, readers);
    }
    let plan = both(2, 2, 2, 4, true);
    for (name, step, plan) in [
        ("word not bumped", LeftOut::Bump, consumers(&[ALL], 2, true)),
        (
            "bits swapped after the bump",
            LeftOut::SwapFirst,
            consumers(&[ALL], 3, true),
        ),
        (
            "one of two woken",
            LeftOut::WakeAll,
            consumers(&[ALL, ALL], 2, true),
        ),
        (
            "closing does not wake",
            LeftOut::CloseWakes,
            consumers(&[ALL], 2, true),
        ),
        (
            "no wake when about to wait",
            LeftOut::AboutToWait,
            plan.clone(),
        ),
        (
            "clamped wish, a release that reaches it does not wake",
            LeftOut::ReleaseWakes,
            Wake {
                clamps: true,
                ..plan
            },
        ),
        (
            "detaching does not wake",
            LeftOut::DetachWakes,
            Wake {
                readers: &[1],
                ..both(1, 1, 1, 3, true)
            },
        ),
        (
            "removing does not wake",
            LeftOut::RemoveWakes,
            Wake {
                removes: true,
                ..both(2, 1, 1, 3, true)
            },
        ),
        (
            "a takeover does not wake",
            LeftOut::TakeoverWakes,
            Wake {
                deaths: 1,
                has_successor: true,
                ..consumers(&[ALL], 2, true)
            },
        ),
        (
            "no liveness check after a waker's death",
            LeftOut::LivenessChecks,
            Wake {
                deaths: 1,
                ..consumers(&[ALL], 2, true)
            },
        ),
    ] {
        family.fails(name, stuck, without(step, plan));
    }
    family
}
