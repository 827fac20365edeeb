//! Observers, which need a ring that was created for them, and several producers, for which the layout only
//! reserves room.

use super::Family;
use crate::checker::Order;
use crate::mpsc::{self, Mpsc};
use crate::observer::{LeftOut, Observers};

/// R13.
pub(super) fn observers() -> Family {
    let mut family = Family::new("observers", "R13");
    let plan = |order, slots, last, has_successor| Observers {
        order,
        slots,
        last,
        has_successor,
        gives_up: false,
        left_out: None,
    };
    for (order, kind) in [(Order::Total, "x86"), (Order::PerWord, "weaker")] {
        family.holds(&format!("{kind}, 1 slot"), plan(order, 1, 4, false));
        family.holds(&format!("{kind}, 2 slots"), plan(order, 2, 5, false));
        family.holds(&format!("{kind}, 1 slot, a death"), plan(order, 1, 3, true));
        family.holds(
            &format!("{kind}, 2 slots, a death"),
            plan(order, 2, 4, true),
        );
        family.holds(
            &format!("{kind}, 2 slots, a death, given up"),
            Observers {
                gives_up: true,
                ..plan(order, 2, 4, true)
            },
        );
    }
    let torn = &["torn"];
    let without = |step, order, has_successor| Observers {
        left_out: Some(step),
        ..plan(order, 1, 3, has_successor)
    };
    family.fails(
        "x86: no busy stamp",
        torn,
        without(LeftOut::Busy, Order::Total, false),
    );
    family.fails(
        "x86: stamp not polled again",
        torn,
        without(LeftOut::SecondStamp, Order::Total, false),
    );
    family.fails(
        "x86: floor not stored",
        torn,
        without(LeftOut::Floor, Order::Total, true),
    );
    family.fails(
        "x86: floor not loaded",
        &["no way to an end"],
        Observers {
            gives_up: true,
            ..without(LeftOut::FloorLoad, Order::Total, true)
        },
    );
    let missed = &["has missed an event"];
    family.fails(
        "x86: stamp not polled after the floor",
        missed,
        without(LeftOut::StampAfterFloor, Order::Total, false),
    );
    family.fails(
        "weaker: floor stored without Release",
        missed,
        without(LeftOut::FloorRelease, Order::PerWord, false),
    );
    for (name, step) in [
        (
            "weaker: no fence after the busy stamp",
            LeftOut::WriterFence,
        ),
        ("weaker: stamp stored without Release", LeftOut::Release),
        ("weaker: stamp loaded without Acquire", LeftOut::Acquire),
        (
            "weaker: no fence before the second check",
            LeftOut::ReaderFence,
        ),
    ] {
        family.fails(name, torn, without(step, Order::PerWord, false));
    }
    family
}

/// R10.
pub(super) fn producers() -> Family {
    use mpsc::LeftOut;
    let mut family = Family::new("producers", "R10");
    let plan = |slots, claims, deaths| Mpsc {
        slots,
        claims,
        deaths,
        left_out: None,
    };
    family.holds("two, one claim each", plan(4, &[(1, 1), (1, 1)], 2));
    family.holds("two, two claims each", plan(4, &[(1, 2), (1, 2)], 2));
    family.holds("a batch and a single one", plan(4, &[(2, 1), (1, 1)], 2));
    family.holds("two batches", plan(4, &[(2, 1), (2, 1)], 2));
    family.holds("three", plan(3, &[(1, 1), (1, 1), (1, 1)], 1));
    let without = |step, deaths| Mpsc {
        left_out: Some(step),
        ..plan(4, &[(1, 1), (1, 1)], deaths)
    };
    let skipped = &[
        "a live producer's slot was skipped",
        "finds its slot skipped",
    ];
    family.fails(
        "intent after the claim",
        skipped,
        without(LeftOut::IntentFirst, 1),
    );
    family.fails("intents not read", skipped, without(LeftOut::Intents, 0));
    family.fails(
        "intent taken back before the write",
        skipped,
        without(LeftOut::ClearLast, 0),
    );
    family.fails(
        "slot not polled again",
        &["skipped"],
        without(LeftOut::PollAgain, 1),
    );
    family.fails(
        "holes not filled",
        &["no way to an end", "hole"],
        without(LeftOut::Repair, 1),
    );
    family.fails(
        "claimed without compare-and-swap",
        &["two producers have claimed"],
        without(LeftOut::CompareAndSwap, 0),
    );
    family
}
