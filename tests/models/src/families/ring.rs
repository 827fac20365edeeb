//! The configurations of the ring model: one set of plans for each family.

use super::Family;
use crate::ring::{LeftOut, Plan, Reader};

const OVERWRITTEN: &[&str] = &["overwritten unread", "another event", "under its lease"];
const POSITION: &[&str] = &["position"];

fn without(step: LeftOut, plan: &Plan) -> Plan {
    Plan {
        left_out: Some(step),
        ..plan.clone()
    }
}

/// R5 and R6: refresh against joiners.
pub(super) fn join() -> Family {
    let mut family = Family::new("join", "R4, R5, R6, R7");
    let joiner = Reader::JOINER;
    let one = |slots, last, batch| Plan {
        slots,
        producers: batch,
        ..Plan::new(last, &[joiner])
    };
    family.holds("1 slot", one(1, 4, &[1]));
    family.holds("2 slots, single events", one(2, 6, &[1]));
    family.holds("2 slots, batches of 2", one(2, 6, &[2]));
    family.holds("4 slots, batches of 3", one(4, 9, &[3]));
    family.holds("2 slots, two joiners", Plan::new(4, &[joiner, joiner]));
    family.holds(
        "2 slots, one there, one joins",
        Plan::new(4, &[Reader::PRESENT, joiner]),
    );
    let expecting = |slots| Plan {
        slots,
        ..Plan::new(2 * slots + 1, &[Reader::EXPECTED])
    };
    family.holds("1 slot, expected, comes when full", expecting(1));
    family.holds("2 slots, expected, comes when full", expecting(2));

    let plan = one(2, 6, &[1]);
    for (name, step) in [
        ("no fence in refresh", LeftOut::RefreshFence),
        ("no second scan", LeftOut::SecondScan),
        ("no fence in join", LeftOut::JoinFence),
        ("no second read", LeftOut::SecondRead),
        ("released before it was read", LeftOut::ReleaseAfterRead),
        ("stamped before it is written", LeftOut::EventFirst),
    ] {
        family.fails(name, OVERWRITTEN, without(step, &plan));
    }
    family.fails(
        "floor of a free run while somebody is expected",
        &["no way to an end", "stuck", "came too late"],
        without(LeftOut::ExpectedFloor, &expecting(2)),
    );
    family
}

/// R2: batches, the position found by the producer's own stamps, a writer that panics.
pub(super) fn batch() -> Family {
    let mut family = Family::new("batch", "R2");
    let plan = |slots, last, batch: &'static [i8], apart| Plan {
        slots,
        producers: batch,
        step: slots.min(4),
        apart,
        panics: true,
        ..Plan::new(last, &[Reader::PRESENT])
    };
    family.holds("2 slots, batches of 2, first apart", plan(2, 6, &[2], true));
    family.holds("2 slots, batches of 2, in place", plan(2, 6, &[2], false));
    family.holds("4 slots, batches of 3, first apart", plan(4, 8, &[3], true));
    family.holds("4 slots, batches of 3, in place", plan(4, 8, &[3], false));
    let mixed = Plan {
        is_mixed: true,
        ..plan(4, 10, &[3], true)
    };
    family.holds("4 slots, single events and batches", mixed.clone());
    let whole = Plan {
        panics: false,
        ..plan(4, 8, &[3], false)
    };
    family.fails(
        "first stamp first",
        &["in part"],
        without(LeftOut::FirstStampLast, &whole),
    );
    let panics = plan(4, 8, &[3], true);
    family.fails(
        "stamps of a panicked batch stay",
        &["never published", "lost its position"],
        without(LeftOut::Undo, &panics),
    );
    family.fails(
        "the base stays in slots that the batch reuses",
        &["lost its position"],
        without(LeftOut::BaseBeforeReuse, &mixed),
    );
    family
}

/// R14: a death at any step of a batch, a refresh or a takeover, and a successor.
pub(super) fn takeover() -> Family {
    let mut family = Family::new("takeover", "R2, R5, R6, R14");
    let plan = |slots, last, producers, readers: &[Reader]| Plan {
        slots,
        producers,
        step: slots.min(4),
        deaths: 1,
        ..Plan::new(last, readers)
    };
    let (slow, joiner) = (Reader::PRESENT, Reader::JOINER);
    family.holds("1 slot, slow consumer", plan(1, 3, &[1, 1], &[slow]));
    family.holds(
        "batch 2 of 2, slow consumer and joiner",
        plan(2, 3, &[2, 1], &[slow, joiner]),
    );
    family.holds(
        "batch 2 of 2, in place",
        Plan {
            apart: false,
            ..plan(2, 5, &[2, 1], &[slow])
        },
    );
    family.holds(
        "batch 2 of 2, two deaths",
        Plan {
            deaths: 2,
            ..plan(2, 3, &[2, 2, 1], &[slow])
        },
    );
    family.holds("batch 2 of 2, joiner only", plan(2, 5, &[2, 1], &[joiner]));
    family.holds(
        "batch 3 of 4, successor batch 2",
        plan(4, 7, &[3, 2], &[slow]),
    );
    let durable = [Reader::durable(1).reads(1).mortal(), Reader::durable(1)];
    let everybody = Plan {
        evicts: true,
        deaths: 2,
        ..plan(2, 3, &[1, 1], &durable)
    };
    family.holds("anybody dies, two deaths", everybody);
    family.holds(
        "expected consumer after the takeover",
        plan(2, 3, &[1, 1], &[Reader::EXPECTED]),
    );

    let slow2 = plan(2, 5, &[2, 1], &[slow]);
    let four = plan(4, 7, &[3, 1], &[slow]);
    let join = plan(2, 5, &[1, 1], &[joiner]);
    let wrong = &["never published", "lost its position"];
    family.fails(
        "stamps above the head stay",
        wrong,
        without(LeftOut::Clear, &four),
    );
    family.fails(
        "stamps below the head zeroed, too",
        &["stuck", "no way to an end"],
        without(LeftOut::ClearOnlyAbove, &plan(2, 5, &[1, 1], &[slow])),
    );
    family.fails(
        "head is the newest stamp",
        &["stuck", "no way to an end", "another event"],
        without(LeftOut::Contiguous, &slow2),
    );
    family.fails(
        "gate starts at the floor",
        OVERWRITTEN,
        without(LeftOut::GateBehind, &join),
    );
    family.fails(
        "no refresh before the first write",
        OVERWRITTEN,
        without(LeftOut::FirstRefresh, &join),
    );
    family.fails(
        "no fence in refresh",
        OVERWRITTEN,
        without(LeftOut::RefreshFence, &join),
    );
    family.fails(
        "floor of a free run while somebody is expected",
        &["no way to an end", "stuck", "came too late"],
        without(
            LeftOut::ExpectedFloor,
            &plan(2, 3, &[1, 1], &[Reader::EXPECTED]),
        ),
    );
    family
}

/// R16: rejoining, evicting, taking and removing lines, with deaths.
pub(super) fn lines() -> Family {
    let mut family = Family::new("lines", "R6, R16");
    let away = [Reader::durable(1).reads(1).mortal(), Reader::durable(1)];
    let plan = |last, readers: &[Reader]| Plan {
        lines: 1,
        deaths: 1,
        evicts: true,
        ..Plan::new(last, readers)
    };
    let automatic = Reader::JOINER.reads(1).mortal();
    let claimed = [automatic, Reader::durable(1).reads(1), Reader::durable(1)];
    family.holds(
        "rejoin",
        Plan {
            evicts: false,
            ..plan(4, &away)
        },
    );
    family.holds("rejoin, with evictions", plan(4, &away));
    family.holds(
        "1 slot, rejoin",
        Plan {
            slots: 1,
            ..plan(3, &away)
        },
    );
    family.holds(
        "an automatic one dies, a durable one claims its line",
        plan(3, &claimed),
    );
    family.holds("two automatic ones", plan(5, &[automatic, Reader::JOINER]));
    family.holds(
        "remove",
        Plan {
            removes: Some(1),
            deaths: 2,
            ..plan(4, &away)
        },
    );

    let rejoin = Plan {
        evicts: false,
        ..plan(4, &away)
    };
    family.fails(
        "active before it has a position",
        &["overwritten", "position", "stuck", "no way"],
        without(LeftOut::Settling, &rejoin),
    );
    family.fails(
        "rejoin at the floor",
        POSITION,
        without(LeftOut::OwnSequence, &rejoin),
    );
    family.fails(
        "rejoin through joining",
        POSITION,
        without(
            LeftOut::StraightRejoin,
            &Plan {
                deaths: 2,
                ..plan(
                    4,
                    &[
                        Reader::durable(1).reads(1),
                        Reader::durable(1).reads(1).mortal(),
                        Reader::durable(1),
                    ],
                )
            },
        ),
    );
    family.fails(
        "durable ones evicted",
        POSITION,
        without(LeftOut::DurableStays, &plan(4, &away)),
    );
    let evict = plan(3, &claimed);
    family.fails(
        "evicted without the lock",
        &["another event", "overwritten", "position"],
        without(LeftOut::EvictLock, &evict),
    );
    family.fails(
        "evicted without a second check",
        &["overwritten", "position"],
        without(LeftOut::EvictCheck, &evict),
    );
    family.fails(
        "taken without a second check",
        POSITION,
        without(
            LeftOut::TakeCheck,
            &plan(
                4,
                &[automatic, Reader::durable(1).reads(1), Reader::durable(1)],
            ),
        ),
    );
    family.fails(
        "removed without the id's byte",
        POSITION,
        without(
            LeftOut::RemoveIdLock,
            &Plan {
                removes: Some(1),
                ..plan(4, &away)
            },
        ),
    );
    family
}

/// R6: the registered word against the lines that it hints at.
pub(super) fn bitmap() -> Family {
    let mut family = Family::new("bitmap", "R6, R16");
    let short = Reader::JOINER.reads(1).mortal();
    let plan = |lines, last, readers: &[Reader]| Plan {
        lines,
        deaths: 1,
        evicts: true,
        ..Plan::new(last, readers)
    };
    family.holds(
        "one line, two come and go",
        plan(1, 4, &[short, Reader::JOINER]),
    );
    family.holds(
        "two lines, two come and go",
        plan(2, 3, &[short, Reader::JOINER]),
    );
    family.holds(
        "two lines, a durable one finds its own",
        plan(
            2,
            4,
            &[Reader::durable(1).reads(1).mortal(), Reader::durable(1)],
        ),
    );
    let pair = plan(1, 5, &[short, Reader::JOINER]);
    let removed = Plan {
        removes: Some(1),
        ..plan(1, 4, &[Reader::durable(1).reads(1), Reader::durable(1)])
    };
    family.holds("one line, a durable one is removed", removed.clone());
    family.fails(
        "bit cleared before FREE",
        &["no way to an end"],
        without(LeftOut::FreeFirst, &removed),
    );
    family.fails(
        "bit set after the second read",
        OVERWRITTEN,
        without(LeftOut::BitFirst, &pair),
    );
    family.fails(
        "bit cleared without the lock",
        OVERWRITTEN,
        without(LeftOut::BitUnderLock, &pair),
    );
    family
}
