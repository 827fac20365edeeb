//! Sleeping on several rings at once, and for an event loop.

use super::Family;
use crate::readiness::{self, Readiness};
use crate::sets::{self, Sets};

const KINDS: [(bool, &str); 2] = [(true, "fences"), (false, "membarrier")];
const STUCK: &[&str] = &["stuck"];

/// R9, a set of two rings.
pub(super) fn sets() -> Family {
    use sets::LeftOut;
    let mut family = Family::new("sets", "R9");
    let plan = |last, sets, fences| Sets {
        last,
        sets,
        fences,
        deaths: 0,
        left_out: None,
    };
    for (fences, kind) in KINDS {
        let mut holds = |name: &str, plan: Sets| family.holds(&format!("{kind}, {name}"), plan);
        holds("2 events in each ring", plan([2, 2], &[&[0, 1]], fences));
        holds("4 events in one ring", plan([1, 4], &[&[0, 1]], fences));
        holds(
            "two sets, in opposite orders",
            plan([1, 1], &[&[0, 1], &[1, 0]], fences),
        );
        holds(
            "a consumer of one of the rings beside it",
            plan([1, 1], &[&[0, 1], &[0]], fences),
        );
        holds(
            "deaths of both producers, liveness checks",
            Sets {
                deaths: 2,
                ..plan([2, 2], &[&[0, 1]], fences)
            },
        );
    }
    for (fences, kind) in KINDS {
        for (name, left_out) in [
            ("none", LeftOut::Fence),
            ("one ring does not know of it", LeftOut::Bit),
            ("it does not poll again", LeftOut::PollAgain),
            ("it polls only one ring again", LeftOut::PollAll),
            ("words read late", LeftOut::WordFirst),
            ("it sleeps on one word", LeftOut::SleepOnAll),
            ("word not bumped", LeftOut::Bump),
        ] {
            let plan = Sets {
                left_out: Some(left_out),
                ..plan([2, 2], &[&[0, 1]], fences)
            };
            family.fails(&format!("{kind}: {name}"), STUCK, plan);
        }
    }
    let early = Sets {
        left_out: Some(LeftOut::BarrierLast),
        ..plan([2, 2], &[&[0, 1]], false)
    };
    family.fails("membarrier before the last bit", STUCK, early);
    let blind = Sets {
        deaths: 1,
        left_out: Some(LeftOut::LivenessChecks),
        ..plan([2, 2], &[&[0, 1]], true)
    };
    family.fails("no liveness check after a waker's death", STUCK, blind);
    family
}

/// R9, a thread that sleeps for an event loop.
pub(super) fn readiness() -> Family {
    use readiness::LeftOut;
    let mut family = Family::new("readiness", "R9");
    let plan = |last, own_ways, fences| Readiness {
        last,
        own_ways,
        may_leave: false,
        fences,
        deaths: 0,
        left_out: None,
    };
    for (fences, kind) in KINDS {
        let mut holds =
            |name: &str, plan: Readiness| family.holds(&format!("{kind}, {name}"), plan);
        holds("3 events", plan(3, 0, fences));
        holds("3 events, the loop goes its own way", plan(3, 2, fences));
        holds(
            "the loop leaves while it waits",
            Readiness {
                may_leave: true,
                ..plan(3, 1, fences)
            },
        );
        holds(
            "a death of the producer, liveness checks",
            Readiness {
                deaths: 1,
                ..plan(3, 1, fences)
            },
        );
    }
    for (fences, kind) in KINDS {
        for (name, left_out) in [
            ("none", LeftOut::Fence),
            ("the ring does not know of it", LeftOut::Bit),
            ("it does not poll again", LeftOut::PollAgain),
            ("word read late", LeftOut::WordFirst),
        ] {
            let plan = Readiness {
                left_out: Some(left_out),
                ..plan(2, 0, fences)
            };
            family.fails(&format!("{kind}: {name}"), STUCK, plan);
        }
    }
    let sound = plan(2, 0, true);
    let leaving = Readiness {
        may_leave: true,
        ..sound.clone()
    };
    let mortal = Readiness {
        deaths: 1,
        ..sound.clone()
    };
    for (name, left_out, plan) in [
        ("cleared after the order", LeftOut::DrainFirst, &sound),
        ("the sentry is not notified", LeftOut::Notify, &sound),
        (
            "it does not check whether it is over",
            LeftOut::CheckOrders,
            &leaving,
        ),
        ("the end does not wake it", LeftOut::Shake, &leaving),
        (
            "no liveness check after a waker's death",
            LeftOut::LivenessChecks,
            &mortal,
        ),
    ] {
        let plan = Readiness {
            left_out: Some(left_out),
            ..plan.clone()
        };
        family.fails(name, STUCK, plan);
    }
    family
}
