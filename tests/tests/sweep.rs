//! A process is killed, stopped or delayed at every fail point, in every role that comes to it. See `tests/src/sweep`.
//! It is also killed or stopped at every step of sending and receiving a message. See `tests/src/sweep/messages.rs`.
//! So is a member of a session, at every step that it comes to. See `tests/src/sweep/sessions.rs`.
//!
//! Each test called `control_…` makes a mistake that must be detected, and fails if it is not.
//!
//! By default every thirteenth case runs, every fifth case of messages, and every 29th of sessions, as a sample.
//! `SWEEP_ALL=1` (`ci/sweep`) runs all of them, `SWEEP_CASE=shm/2/takeover.head` those whose names contain this text,
//! `SWEEP_LONG=1` every occurrence of each point, and `SWEEP_THREADS=4` four cases at a time.
#![cfg(debug_assertions)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use disruptor_mp::FAIL_POINTS;
use myelon_tests::World;
use myelon_tests::checker::Summary;
use myelon_tests::sweep::{self, Action, Backing, CASES_MIN, Case, Flaw, messages, sessions};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
/// After this many failures no further case is started, because each may have waited for the harness's whole time-out.
const FAILURES_MAX: usize = 20;

/// How a sweep plays its cases.
#[derive(Debug)]
struct Sweep<C> {
    /// One in this many cases is in the sample. The number has no common divisor with the numbers of backings, actions
    /// and events in flight, so that the sample has all of them.
    sample: usize,
    point_of: fn(&C) -> &'static str,
    run: fn(&str, C) -> Result<Summary, String>,
    /// What is added to the line that reports the number of cases.
    of_what: &'static str,
}

/// The results of the cases that ran.
#[derive(Debug, Default)]
struct Results {
    failures: Vec<String>,
    per_point: BTreeMap<&'static str, usize>,
    sum: Summary,
    slowest: Option<(Duration, String)>,
}

/// The cases whose names contain this text; all, if it is empty.
fn filter() -> String {
    std::env::var("SWEEP_CASE").unwrap_or_default()
}

/// Whether a sample of the cases runs.
fn is_sample() -> bool {
    filter().is_empty() && std::env::var("SWEEP_ALL").is_err()
}

impl<C: Copy + Display + Sync> Sweep<C> {
    /// Runs the cases, or a sample of them, or those that the environment names, a few at a time.
    fn through(&self, all: &[C]) -> Summary {
        // one sweep at a time: their cases have deadlines
        static SWEEPING: Mutex<()> = Mutex::new(());
        let _alone = SWEEPING.lock().unwrap_or_else(PoisonError::into_inner);
        let filter = filter();
        let cases: Vec<C> = all
            .iter()
            .filter(|case| case.to_string().contains(&filter))
            .step_by(if is_sample() { self.sample } else { 1 })
            .copied()
            .collect();
        let results = self.run_all(&cases);
        for (point, count) in &results.per_point {
            println!("{count:5} {point}");
        }
        println!("{:?}, slowest: {:?}", results.sum, results.slowest);
        let swept: usize = results.per_point.values().sum();
        println!("swept {swept} of {} cases{}", all.len(), self.of_what);
        let failures = results.failures.join("\n");
        assert!(failures.is_empty(), "\n{failures}");
        assert_eq!(swept, cases.len(), "some did not run");
        results.sum
    }

    fn run_all(&self, cases: &[C]) -> Results {
        let threads = std::env::var("SWEEP_THREADS");
        let threads = threads.map_or(3, |text| text.parse().expect("a number"));
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Results::default());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let begun = Instant::now();
                        let outcome = (self.run)(ACTOR, *case);
                        let mut results = results.lock().expect("nobody panics with it");
                        results.note((self.point_of)(case), case, begun.elapsed(), outcome);
                        if results.failures.len() >= FAILURES_MAX {
                            next.store(cases.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        results.into_inner().expect("nobody panics with it")
    }
}

impl Results {
    fn note(
        &mut self,
        point: &'static str,
        case: &dyn Display,
        took: Duration,
        outcome: Result<Summary, String>,
    ) {
        *self.per_point.entry(point).or_default() += 1;
        if self
            .slowest
            .as_ref()
            .is_none_or(|(slowest, _)| took > *slowest)
        {
            self.slowest = Some((took, case.to_string()));
        }
        match outcome {
            Ok(summary) => self.sum += summary,
            Err(why) => self.failures.push(format!("SWEEP_CASE='{case}': {why}")),
        }
    }
}

#[test]
fn every_point_in_every_role() {
    let all = sweep::cases(std::env::var("SWEEP_LONG").is_ok());
    assert!(all.len() >= CASES_MIN, "the sweep has shrunk");
    let sweep = Sweep {
        sample: 13,
        point_of: |case: &Case| case.row.point,
        run: sweep::run,
        of_what: "",
    };
    sweep.through(&all);
}

#[test]
fn every_step_of_a_message() {
    let all = messages::cases();
    assert!(all.len() >= messages::CASES_MIN, "the sweep has shrunk");
    let sweep = Sweep {
        sample: 5,
        point_of: |case: &Case| case.row.point,
        run: sweep::run,
        of_what: " over messages",
    };
    let sum = sweep.through(&all);
    // some consumers came back in the middle of a message, and some before the end of one
    assert!(
        !is_sample() || (sum.missed > 0 && sum.repeated > 0 && sum.unsent > 0),
        "{sum:?}"
    );
}

/// The cases of sessions come from rehearsals.
fn of_sessions() -> Vec<sessions::Case> {
    sessions::cases(ACTOR).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn every_step_of_a_session() {
    let all = of_sessions();
    assert!(
        all.len() >= sessions::CASES_MIN,
        "the sweep has shrunk: {}",
        all.len()
    );
    for point in FAIL_POINTS
        .iter()
        .filter(|point| point.starts_with("session."))
    {
        assert!(
            all.iter().any(|case| case.point == *point),
            "{point} is not swept"
        );
    }
    let sweep = Sweep {
        sample: 29,
        point_of: |case: &sessions::Case| case.point,
        run: sessions::run,
        of_what: " over sessions",
    };
    let sum = sweep.through(&all);
    // requests came again and were given up, and answers went with a scheduler
    let is_whole = filter().is_empty() && !is_sample();
    assert!(
        !is_whole || (sum.repeated > 0 && sum.unsent > 0 && sum.missed > 0),
        "{sum:?}"
    );
}

#[test]
fn a_case_that_is_asked_for_exists() {
    let names = sweep::cases(true).into_iter().map(|case| case.to_string());
    let names = names.chain(messages::cases().into_iter().map(|case| case.to_string()));
    let filter = filter();
    let of_sessions = match filter.starts_with("session/") {
        true => of_sessions(),
        false => Vec::new(),
    };
    let names = names.chain(of_sessions.into_iter().map(|case| case.to_string()));
    assert!(
        names.into_iter().any(|name| name.contains(&filter)),
        "no case is called {filter}"
    );
}

#[test]
fn no_point_is_left_out() {
    let rows = sweep::table::rows();
    for point in FAIL_POINTS
        .iter()
        .filter(|point| sweep::table::is_swept(point))
    {
        assert!(
            rows.iter().any(|row| row.point == *point),
            "{point} is not swept"
        );
    }
    for row in &rows {
        assert!(
            FAIL_POINTS.contains(&row.point),
            "{} is no point",
            row.point
        );
        let same = |other: &&sweep::table::Row| (other.point, other.role) == (row.point, row.role);
        assert_eq!(
            rows.iter().filter(same).count(),
            1,
            "{} in {} twice",
            row.point,
            row.role
        );
    }
}

/// A case of the table, changed so that it must fail.
fn control(point: &str, role: &str, change: impl FnOnce(&mut Case)) -> Case {
    let rows = sweep::table::rows();
    let row = rows
        .iter()
        .find(|row| (row.point, row.role) == (point, role));
    let mut case = Case {
        row: *row.expect("a row of the table"),
        backing: Backing::SharedMemory,
        in_flight: 2,
        nth: 1,
        action: Action::Kill,
        flaw: None,
    };
    let unchanged = sweep::run(ACTOR, case);
    assert!(unchanged.is_ok(), "{case} as it is: {unchanged:?}");
    change(&mut case);
    case
}

#[track_caller]
fn assert_caught(what: &str, outcome: Result<Summary, String>, words: &str) {
    let found = outcome.expect_err(what);
    assert!(found.contains(words), "{what}: {found}");
    println!("control caught: {what}");
}

#[test]
fn control_point_that_is_never_reached() {
    for action in [Action::Kill, Action::Stop, Action::Delay] {
        let case = control("publish.written", "producer", |case| {
            (case.nth, case.action) = (1_000, action);
        });
        assert_caught(
            &format!("{case}"),
            sweep::run(ACTOR, case),
            "armed but never reached",
        );
    }
}

/// A case of sessions that holds, with a mistake of its members.
fn session_control(
    role: sessions::Role,
    (point, nth): (&'static str, u64),
    flaw: sessions::Flaw,
) -> sessions::Case {
    let mut case = sessions::Case {
        role,
        point,
        nth,
        is_sure: true,
        action: Action::Kill,
        flaw: None,
    };
    let unchanged = sessions::run(ACTOR, case);
    assert!(unchanged.is_ok(), "{case} as it is: {unchanged:?}");
    case.flaw = Some(flaw);
    case
}

#[test]
fn control_session_whose_point_is_never_reached() {
    for action in [Action::Kill, Action::Stop] {
        let case = sessions::Case {
            role: sessions::Role::Server,
            point: "session.answered",
            nth: 1_000,
            is_sure: true,
            action,
            flaw: None,
        };
        assert_caught(
            &format!("{case}"),
            sessions::run(ACTOR, case),
            "armed but never reached",
        );
    }
}

#[test]
fn control_worker_that_is_done_before_it_answers() {
    let (role, flaw) = (sessions::Role::Streamer, sessions::Flaw::Early);
    let case = session_control(role, ("publish.written", 3), flaw);
    assert_caught(
        "a request that is done before it is answered",
        sessions::run(ACTOR, case),
        "no death explains it",
    );
}

#[test]
fn control_scheduler_that_forgets_what_its_predecessor_sent() {
    let (role, flaw) = (sessions::Role::Scheduler, sessions::Flaw::Forgets);
    // another request was sent just before, and nothing was received since
    let case = session_control(role, ("session.sent", 7), flaw);
    assert_caught(
        "answers to a predecessor that are not received",
        sessions::run(ACTOR, case),
        "no death explains it",
    );
}

#[test]
fn control_reader_that_writes_down_too_late() {
    let case = control("commit.after", "durable", |case| {
        case.flaw = Some(Flaw::LateLedger)
    });
    assert_caught(
        "an event lost between release and ledger",
        sweep::run(ACTOR, case),
        "came back to 22",
    );
}

#[test]
fn control_reader_that_leaves_an_event_out() {
    let case = control("publish.stamped", "producer", |case| {
        case.flaw = Some(Flaw::SkippedEvent)
    });
    assert_caught(
        "a skipped event",
        sweep::run(ACTOR, case),
        "left: saw 1 where Some(0) was next",
    );
}

#[test]
fn control_observer_that_leaves_an_event_out() {
    let case = control("publish.busy", "observed-producer", |case| {
        case.flaw = Some(Flaw::SkippedEvent)
    });
    assert_caught(
        "an event that an observer skipped",
        sweep::run(ACTOR, case),
        "observer: saw ",
    );
}

/// The cases run at the same time, because each lasts until the other processes' time-out.
#[test]
fn control_consumers_that_only_a_dead_producer_would_wake() {
    std::thread::scope(|scope| {
        for role in ["producer", "set-waker", "task-waker"] {
            scope.spawn(move || {
                let case = control("wake.taken", role, |case| {
                    case.flaw = Some(Flaw::NeverLooksUp)
                });
                assert_caught(
                    &format!("consumers that sleep on, {role}"),
                    sweep::run(ACTOR, case),
                    "left: only after",
                );
            });
        }
    });
}

#[test]
fn control_producer_that_only_a_dead_consumer_would_wake() {
    let case = control("wake.wish_taken", "releaser", |case| {
        case.flaw = Some(Flaw::NeverLooksUp)
    });
    assert_caught(
        "a producer that sleeps on",
        sweep::run(ACTOR, case),
        "the producer: only after",
    );
}

#[test]
fn control_producer_that_publishes_something_else() {
    let case = control("batch.published", "batching-producer", |case| {
        case.flaw = Some(Flaw::OtherPayload)
    });
    assert_caught(
        "another payload than intended",
        sweep::run(ACTOR, case),
        "was never written by",
    );
}

#[test]
fn control_name_that_is_left_behind() {
    for leftover in ["", ".0123456789abcdef"] {
        let world = World::shared_memory(ACTOR);
        let path = match leftover {
            "" => world.path(),
            suffix => world.directory().join(format!(".{}{suffix}", world.name())),
        };
        std::fs::write(&path, "left").expect("a file");
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(world)));
        assert!(dropped.is_err(), "{} went unnoticed", path.display());
        assert!(!path.exists(), "and it is cleaned up");
        println!("control caught: a name left behind{leftover}");
    }
}

#[test]
fn control_point_that_does_not_exist() {
    let world = World::shared_memory(ACTOR);
    for arming in [
        "no.such:1:kill",
        "publish.written:1:explode",
        "publish.written",
    ] {
        let mut actor = world.actor();
        actor.tell(&format!("arm at={arming}"));
        let found = actor.expect_killed().expect_err("refused");
        assert!(found.contains("it ended"), "{arming}: {found}");
        println!("control caught: {arming}");
    }
}
