//! Which roles come to which point, and at which of its occurrences they are struck.

use super::messages::Victim;
use super::stage::Stage;
use super::{Action, Backing, CAPACITY, Case};
use super::{
    birth, consuming, ending, joining, leaving, observing, publishing, sleeping, succession, waking,
};

/// A point, a role that comes to it, and the scenario in which it does.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The fail point.
    pub point: &'static str,
    /// The role that comes to it.
    pub role: &'static str,
    times: Times,
    pub(crate) play: Play,
}

/// What flows through the ring, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// Events, in this scenario.
    Events(fn(&mut Stage)),
    /// Messages, and this process is struck.
    Messages(Victim),
}

impl Row {
    /// A row of the sweep over messages, which chooses the occurrences itself.
    pub(super) fn of_messages(point: &'static str, role: &'static str, victim: Victim) -> Self {
        Self {
            point,
            role,
            times: Times::First,
            play: Play::Messages(victim),
        }
    }
}

/// Which occurrences of a point are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// The first.
    First,
    /// The point occurs once after each event in flight: every occurrence.
    EachEvent,
    /// The point occurs once after each event in flight: the first, the second and the last.
    SomeEvents,
    /// The point occurs after each eighth of the ring and once at the end: the first and the last.
    Bursts,
}

/// Points that are reached in one scenario, and the roles that play it.
struct Scene {
    points: &'static [&'static str],
    roles: &'static [&'static str],
    times: Times,
    play: fn(&mut Stage),
}

const fn scene(
    points: &'static [&'static str],
    roles: &'static [&'static str],
    play: fn(&mut Stage),
) -> Scene {
    Scene {
        points,
        roles,
        times: Times::First,
        play,
    }
}

impl Scene {
    const fn at(mut self, times: Times) -> Self {
        self.times = times;
        self
    }
}

const CREATE: &[&str] = &[
    "create.nameless",
    "create.reserved",
    "create.locked",
    "create.written",
    "create.linked",
];
const TAKE_OVER: &[&str] = &[
    "takeover.locked",
    "takeover.unclosed",
    "takeover.opened",
    "takeover.epoch",
    "takeover.head",
    "takeover.cleared",
    "takeover.owner",
];
const JOIN: &[&str] = &[
    "take.checked",
    "join.locked",
    "join.bit",
    "join.joining",
    "join.id",
    "join.sequence",
    "join.settling",
    "join.reread",
    "join.active",
];
const REFRESH: &[&str] = &[
    "refresh.scanned",
    "refresh.floor",
    "refresh.fenced",
    "refresh.gate",
];
/// Whether the sweep covers a point. Rings in doubt have a test of their own, `tests/tests/doubt_deaths.rs`,
/// which kills at each of their points, and sessions a sweep of their own (`tests/src/sweep/sessions.rs`). At the
/// points of counters, `disruptor-mp/tests/counters_held_up.rs` holds up a thread.
pub fn is_swept(point: &str) -> bool {
    let others = ["settle.", "session.", "counters."];
    !others.iter().any(|start| point.starts_with(start))
}

const CLOSE: &[&str] = &[
    "close.kept",
    "close.closed",
    "close.unlinked",
    "close.unlocked",
];
const RESERVE: &[&str] = &["reserve.id_locked", "reserve.away", "reserve.unlocked"];
const DRAIN: &[&str] = &[
    "drain.locked",
    "unlink.checked",
    "drain.unlinked",
    "drain.unlocked",
];
const COMMIT: &[&str] = &["commit.before", "commit.after"];
const SLEEP: &[&str] = &[
    "sleep.word",
    "sleep.bit",
    "sleep.fenced",
    "sleep.checked",
    "sleep.over",
];
const READINESS: &[&str] = &[
    "readiness.drained",
    "readiness.ordered",
    "sentry.ordered",
    "sentry.seen",
];
const WAKE: &[&str] = &["wake.taken", "wake.bumped", "wake.woken"];
const READERS: &[&str] = &["durable", "automatic", "copier"];

const SCENES: &[Scene] = &[
    scene(CREATE, &["creator"], birth::create),
    scene(
        &[
            "create.temporary",
            "create.two_names",
            "leftovers.locked",
            "leftovers.removed",
        ],
        &["creator"],
        birth::create,
    ),
    scene(
        &["replace.locked", "replace.unlinked"],
        &["replacer", "recreator"],
        birth::replace,
    ),
    scene(CREATE, &["replacer", "recreator"], birth::replace),
    scene(
        &["publish.claimed", "publish.written", "publish.stamped"],
        &["producer", "successor"],
        publishing::one,
    ),
    scene(
        &[
            "batch.claimed",
            "batch.stamped",
            "publish.written",
            "publish.stamped",
            "batch.published",
        ],
        &["batching-producer", "batching-successor"],
        publishing::batch,
    ),
    scene(
        &["batch.written"],
        &["batching-producer", "batching-successor"],
        publishing::batch,
    )
    .at(Times::EachEvent),
    scene(
        REFRESH,
        &["producer", "successor", "blocked-producer", "lone-producer"],
        publishing::refresh,
    ),
    scene(
        &["attach.id_locked"],
        &["joiner", "inheritor"],
        joining::join,
    ),
    scene(
        JOIN,
        &["joiner", "automatic-joiner", "inheritor"],
        joining::join,
    ),
    scene(&["take.passed"], &["joiner"], joining::pass),
    scene(
        &[
            "attach.id_locked",
            "rejoin.locked",
            "rejoin.owner",
            "rejoin.active",
        ],
        &["rejoiner", "stand-in"],
        joining::rejoin,
    ),
    scene(COMMIT, READERS, consuming::commit).at(Times::SomeEvents),
    scene(COMMIT, &["batch-reader"], consuming::commit).at(Times::Bursts),
    scene(COMMIT, &["latecomer"], consuming::skip),
    scene(COMMIT, &["holder"], consuming::hold),
    scene(&["hold.kept"], &["holder"], consuming::hold).at(Times::SomeEvents),
    scene(
        &["leave.free", "leave.bit", "leave.unlocked"],
        &["automatic", "durable"],
        leaving::leave,
    ),
    scene(
        &["away.state", "away.unlocked"],
        &["durable"],
        leaving::detach,
    ),
    scene(
        &[
            "evict.checked",
            "evict.locked",
            "leave.free",
            "leave.bit",
            "evict.free",
        ],
        &["evictor", "evicting-successor"],
        leaving::evict,
    ),
    scene(
        &[
            "remove.id_locked",
            "remove.locked",
            "leave.free",
            "leave.bit",
            "remove.unlocked",
        ],
        &["remover", "removing-successor"],
        leaving::remove,
    ),
    scene(
        CLOSE,
        &[
            "producer",
            "successor",
            "drained-producer",
            "keeper",
            "destroyer",
        ],
        ending::close,
    ),
    scene(&["close.synced"], &["keeper"], ending::close),
    scene(
        &["unlink.checked"],
        &["drained-producer", "destroyer"],
        ending::close,
    ),
    scene(RESERVE, &["expecting-producer"], ending::keep_a_place),
    scene(JOIN, &["expecting-producer"], ending::keep_a_place),
    scene(CLOSE, &["expecting-producer"], ending::keep_a_place),
    scene(
        DRAIN,
        &[
            "drainer",
            "detacher",
            "automatic",
            "closing-producer",
            "closing-successor",
        ],
        ending::drain,
    ),
    scene(
        &["publish.busy"],
        &["observed-producer", "observed-successor"],
        observing::one,
    ),
    scene(
        &["publish.busy"],
        &["observed-batcher", "observed-batching-successor"],
        observing::batch,
    )
    .at(Times::EachEvent),
    scene(SLEEP, &["sleeper", "automatic-sleeper"], sleeping::reader),
    scene(SLEEP, &["observer"], sleeping::observer),
    scene(SLEEP, &["set", "sentry"], sleeping::reader),
    scene(READINESS, &["event-loop", "task"], sleeping::reader),
    scene(
        &[
            "sleep.space_word",
            "sleep.wish",
            "sleep.space_fenced",
            "sleep.space_checked",
            "sleep.space_over",
        ],
        &["blocked-producer", "blocked-successor"],
        sleeping::producer,
    ),
    scene(
        WAKE,
        &["producer", "batching-producer", "waking-successor"],
        waking::by_publishing,
    ),
    scene(WAKE, &["set-waker", "task-waker"], waking::by_publishing),
    scene(WAKE, &["closer"], waking::by_closing),
    scene(WAKE, &["candidate"], waking::by_taking_over),
    scene(
        &["wake.wish_taken", "wake.space_bumped", "wake.space_woken"],
        &["releaser", "batch-releaser", "leaver"],
        waking::by_releasing,
    ),
    scene(
        TAKE_OVER,
        &["successor", "candidate", "reopener"],
        succession::take_over,
    ),
    scene(
        &["takeover.cleared_one"],
        &["successor", "candidate"],
        succession::take_over,
    )
    .at(Times::EachEvent),
];

/// Every row of the table.
pub fn rows() -> Vec<Row> {
    let of_scene = |scene: &'static Scene| {
        scene.points.iter().flat_map(move |point| {
            scene.roles.iter().map(move |role| Row {
                point,
                role,
                times: scene.times,
                play: Play::Events(scene.play),
            })
        })
    };
    SCENES.iter().flat_map(of_scene).collect()
}

/// A lower bound on the number of cases, so that the sweep cannot shrink unnoticed.
pub const CASES_MIN: usize = 5_900;

/// Every case. With `is_long`, every occurrence of a point is used instead of some.
pub fn cases(is_long: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for row in rows() {
        for backing in Backing::ALL {
            for in_flight in [1, 2, CAPACITY - 1] {
                for nth in row.times.of(in_flight, is_long) {
                    for action in [Action::Kill, Action::Stop, Action::Delay] {
                        cases.push(Case {
                            row,
                            backing,
                            in_flight,
                            nth,
                            action,
                            flaw: None,
                        });
                    }
                }
            }
        }
    }
    cases
}

impl Times {
    fn of(self, in_flight: i64, is_long: bool) -> Vec<i64> {
        let last = match self {
            Self::First => 1,
            Self::EachEvent | Self::SomeEvents => in_flight,
            Self::Bursts => super::consuming::burst_ends(in_flight).len() as i64,
        };
        let some = [1, 2, last];
        (1..=last)
            .filter(|nth| is_long || self == Self::EachEvent || some.contains(nth))
            .collect()
    }
}
