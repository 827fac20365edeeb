//! The end of a ring.

use super::Family;
use crate::ends::{Ending, Ends, LeftOut};

/// R11 and the removal of a name (R15).
pub(super) fn ends() -> Family {
    let mut family = Family::new("ends", "R11, R14, R15");
    let plan = |ending, has_successor, consumers, deaths| Ends {
        ending,
        has_successor,
        consumers,
        deaths,
        mortal_consumers: false,
        left_out: None,
    };
    let all_mortal = |plan: Ends| Ends {
        mortal_consumers: true,
        ..plan
    };
    let (close, keep, destroy) = (Ending::Close, Ending::Keep, Ending::Destroy);
    family.holds("closed, two drain", plan(close, false, 2, 0));
    family.holds(
        "closed, two drain, a death",
        all_mortal(plan(close, false, 2, 1)),
    );
    family.holds("closed, a successor meanwhile", plan(close, true, 1, 0));
    family.holds(
        "a successor meanwhile, deaths",
        all_mortal(plan(close, true, 1, 2)),
    );
    family.holds("kept, a successor takes over", plan(keep, true, 1, 1));
    family.holds(
        "destroyed, a successor creates another",
        plan(destroy, true, 1, 0),
    );

    let without = |step, plan: Ends| Ends {
        left_out: Some(step),
        ..plan
    };
    let alone = plan(close, false, 1, 1);
    let after = plan(close, true, 1, 1);
    let dead_unread = &["dead was reported with an unread event"];
    family.fails(
        "stamp not polled again after the lock",
        dead_unread,
        without(LeftOut::StampAfterLock, alone.clone()),
    );
    family.fails(
        "closed word not loaded again after the lock",
        &["dead was reported of a producer that closed"],
        without(LeftOut::ClosedAfterLock, plan(close, false, 1, 0)),
    );
    let closed_for_dead = &["dead was reported of a producer that closed"];
    let kept = plan(keep, true, 1, 0);
    family.fails(
        "epoch not loaded again",
        closed_for_dead,
        without(LeftOut::EpochAgain, kept.clone()),
    );
    family.fails(
        "closed word cleared before the epoch moves",
        closed_for_dead,
        without(LeftOut::EpochFirst, kept),
    );
    family.fails(
        "stamp not polled again after the closed word",
        &["closed was reported with an unread event"],
        without(LeftOut::StampAfterClosed, plan(close, false, 1, 0)),
    );
    family.fails(
        "closed word not cleared by a takeover",
        &["a ring that goes on is taken for closed"],
        without(LeftOut::ClearClosed, plan(keep, true, 1, 0)),
    );
    let open = &["the name of an open ring", "somebody else's live ring"];
    family.fails(
        "name removed without the lock",
        open,
        without(LeftOut::UnlinkLock, after.clone()),
    );
    family.fails(
        "drained not checked again under the lock",
        &["the name of an open ring", "unread events"],
        without(LeftOut::DrainedAgain, plan(close, true, 1, 2)),
    );
    family.fails(
        "name not compared",
        &["somebody else's live ring"],
        without(LeftOut::Compare, plan(destroy, true, 1, 0)),
    );
    family.fails(
        "not checked again after the lock",
        &["stays for ever"],
        without(LeftOut::AfterUnlock, plan(close, false, 2, 0)),
    );
    family.fails(
        "no fence before the check whether it is drained",
        &["stays for ever"],
        without(LeftOut::DrainFence, plan(close, false, 2, 0)),
    );
    family.fails(
        "name removed though it is needed",
        &["has unread events"],
        without(LeftOut::Needed, plan(close, false, 1, 0)),
    );
    family
}
