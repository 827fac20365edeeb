//! The rare branches of the production code, by name. A simulation that never reaches one of them proves
//! nothing about it: the tests demand that a short run reaches all of them.

/// Every mark in this crate, file by file, in the order of the code.
pub const MARKS: &[&str] = &[
    "position.by_stamps",
    "batch.laps_base",
    "refresh.nothing_gained",
    "refresh.floor_stays",
    "refresh.second_scan_lowers",
    "refresh.expected_missing",
    "refresh.free_running",
    "batch.undone",
    "attach.id_taken",
    "rejoin.after_death",
    "line.waited_for",
    "take.of_the_dead",
    "take.given_back",
    "join.floor_moved",
    "evict.line_taken",
    "remove.attached",
    "takeover.of_a_closed_ring",
    "takeover.stamps_above_head",
    "publish.after_a_liveness_check",
    "evict.while_blocked",
    "recv.at_the_last_moment",
    "closed.undrained",
    "dead.undrained",
];

/// Every rare action that [`buggify`](super::buggify) or [`delay`](super::delay) makes frequent in this crate.
pub const BUGGIFIED: &[&str] = &[
    "refresh.too_early",
    "line.busy",
    "take.before_the_lock",
    "evict.before_the_lock",
    "wait.checks_liveness",
];
