//! Names, and the kernel's locks.

use super::Family;
use crate::locks::{self, Locks};
use crate::names::{LeftOut, Names};

/// R15: creators that race for a name.
pub(super) fn names() -> Family {
    let mut family = Family::new("names", "R15");
    let plan = |creators, dead, deaths| Names {
        creators,
        dead,
        has_away: false,
        is_fallback: false,
        deaths,
        left_out: None,
    };
    let fallback = |plan: Names| Names {
        is_fallback: true,
        ..plan
    };
    family.holds("two create", plan(&[0, 0], None, 1));
    family.holds("three create", plan(&[0, 0, 1], None, 1));
    family.holds("two take over", plan(&[0, 0], Some(0), 2));
    family.holds("two replace a dead one", plan(&[0, 0], Some(1), 2));
    family.holds("three replace each other's", plan(&[0, 1, 0], Some(1), 2));
    let away = Names {
        has_away: true,
        ..plan(&[0, 1], Some(1), 1)
    };
    family.holds("somebody is away", away.clone());
    family.holds("temporary names", fallback(plan(&[0, 0], None, 1)));
    family.holds(
        "temporary names, three",
        fallback(plan(&[0, 0, 1], Some(1), 1)),
    );

    let without = |step, plan: Names| Names {
        left_out: Some(step),
        ..plan
    };
    let live = &["a live ring has no name", "somebody else's live ring"];
    let three = plan(&[0, 1, 0], Some(1), 1);
    family.fails(
        "name not compared after the lock",
        live,
        without(LeftOut::Compare, three.clone()),
    );
    family.fails(
        "replaced without the lock",
        live,
        without(LeftOut::ReplaceLock, three),
    );
    family.fails(
        "named before it is locked",
        &["lost its own new ring", "live ring"],
        without(LeftOut::LockBeforeLink, plan(&[0, 0], None, 0)),
    );
    family.fails(
        "link replaces",
        live,
        without(LeftOut::Exclusive, plan(&[0, 0], None, 0)),
    );
    family.fails(
        "replaced while somebody is away",
        &["is away was replaced"],
        without(LeftOut::InUse, away),
    );
    let leftover = &["taken for a leftover"];
    let temporary = fallback(plan(&[0, 0], None, 1));
    family.fails(
        "leftover removed without its lock",
        leftover,
        without(LeftOut::CleanLock, temporary.clone()),
    );
    family.fails(
        "temporary name not checked",
        leftover,
        without(LeftOut::Intact, temporary),
    );
    family
}

/// R8: which parties are alive.
pub(super) fn locks() -> Family {
    use locks::LeftOut;
    let mut family = Family::new("locks", "R8");
    let plan = |detaches, replaced| Locks {
        detaches,
        replaced,
        left_out: None,
    };
    family.holds("an owner forks and dies", plan(false, false));
    family.holds("an owner forks and detaches", plan(true, false));
    family.holds("the name is replaced meanwhile", plan(false, true));
    let without = |step, plan: Locks| Locks {
        left_out: Some(step),
        ..plan
    };
    let held = &["no way to an end", "stuck"];
    family.fails(
        "lock on the mapped description",
        held,
        without(LeftOut::OwnDescription, plan(true, false)),
    );
    family.fails(
        "inherited mapping of a locked description",
        held,
        without(LeftOut::DontFork, plan(false, false)),
    );
    family.fails(
        "child keeps the lock's descriptor",
        held,
        without(LeftOut::ChildCloses, plan(false, false)),
    );
    family.fails(
        "child unlocks",
        &["two live owners"],
        without(LeftOut::ChildOnlyCloses, plan(false, false)),
    );
    family.fails(
        "opened by name",
        &["two live owners", "another file"],
        without(LeftOut::ByDescriptor, plan(false, true)),
    );
    family.fails(
        "no explicit unlock",
        held,
        without(LeftOut::Unlock, plan(true, false)),
    );
    family
}
