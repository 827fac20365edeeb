//! Models of the protocol under loom: every interleaving of a few threads, up to a bound of preemptions, with
//! every value that C11 lets a load return.
//!
//! The production functions run unchanged. A side array of loom's cells, one per slot, watches the event
//! bytes: a thread that writes or reads a slot touches its cell, so that two accesses without an order
//! between them fail the model. Each negative control leaves one step out (`left_out!`, `release!`) or does
//! one thing in the wrong order, and must fail. A test compares the numbers of this table with the source,
//! and `ci/loom` compares them with what ran.
//!
//! | file | protocol | models | n | controls | m |
//! |---|---|---|---|---|---|
//! | `publish` | publish and consume (R2–R4, R7) | streams that wrap, full and empty, two consumers | 6 | stamp and commit relaxed, stamp before the event, commit before the read ends | 4 |
//! | `batch` | batches (R2) | seen whole, killed at each stamp, a writer that panics, a batch that laps | 4 | first stamp first, ascending, relaxed; not cleared, not undone, the base of the position not moved | 6 |
//! | `commit` | commit and redelivery (R7, R16) | killed before and after the commit | 1 | released before it was handled, a dead durable line evicted | 2 |
//! | `ends` | ends (R11) | closed and dead after the drain, closed is not dead, a successor | 4 | no check of the position after the closed word; no second load of the stamp, or of the closed word, after the free lock | 3 |
//! | `drain` | names of drained rings (R15) | close against one and two draining consumers, killed closers, a successor meanwhile | 5 | no fence, no check under the lock, none after it, none after the end | 4 |
//! | `late` | rings that end before their consumers have come (R15) | a new durable consumer against close and against a draining consumer, kept for an id and for any, killed keepers | 5 | no fence on either side, no wait for the lock, no place kept, the name not kept | 5 |
//! | `join` | join against refresh (R5, R6) | one and two joiners, a leaver, a line that changes hands, an expected consumer | 7 | each fence, the second read, the second scan, Release, the bit set late | 6 |
//! | `membership` | lines (R16) | evict, claim, rejoin, remove and leave against each other, one id and the last line wanted twice | 8 | each check and each lock left out, rejoin through JOINING or at the floor, the bit cleared late | 9 |
//! | `deaths` | deaths on lines (R6, R16) | killed at each step of a join, then reclaimed or evicted, or beside another joiner; of rejoin, away, leave, remove and evict | 7 | half-joined lines kept, no second read or scan, no check by the evicter, durable lines evicted, the bit cleared before FREE | 6 |
//! | `takeover` | takeover (R14) | a producer killed at each step of publish, batch and refresh, with a slow consumer, a joiner, a lease; a takeover killed at each step | 4 | nothing cleared, the gate starts at the floor | 2 |
//! | `sleep` | sleeping and waking (R9) | one and two consumers sleep, the producer sleeps until one or two have released or the last one leaves, closing, both sides, a consumer that holds | 8 | no bit, no fence by either sleeper, by two, by either waker or a leaver, no second check, either word unchanged, also where both sleep, no wake-up by a consumer that holds | 12 |
//! | `cancel` | cancel tokens (R9) | cancelled while it falls asleep, also with a node that was used before; an entry that goes while one and two cancel, and one that comes in its place | 5 | no fence by the canceller or the sleeper, no second check; an entry that goes without a fence or without waiting, a visitor without a fence | 6 |
//! | `observe` | observers (R13) | overtaken while it reads, events that come meanwhile, passed by the floor, a slot that a successor cleared | 4 | not marked busy, each fence, no second load of the stamp, no load of the floor or of the stamp after it, the floor relaxed | 7 |
//!
//! Bounds: two or three preemptions, one where three parties meet a death (see `deaths`); rings of one, two, four and
//! eight slots, three consumer lines, ids of one word; in some models of observers the slot stands alone.
//!
//! The models do not cover: the clock (when a wait makes a liveness check, a waker that died), the kernel
//! (which party is alive, names in a directory, a barrier that is imposed on others: here every party
//! fences), sleeping on several rings at once, how an observer continues after it was overtaken, hostile
//! peers, a death between two stores that no fail point separates, and commits by the burst
//! (`Consumer::process_available`).

mod batch;
mod cancel;
mod commit;
mod deaths;
mod drain;
mod ends;
mod join;
mod late;
mod membership;
mod observe;
mod publish;
mod ring;
mod sleep;
mod takeover;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::thread::{self, ThreadId};

use ring::{End, Ring, Rx, Tx, apply};

/// The steps that a negative control leaves out or weakens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The stamp's store is a Release store.
    StampRelease,
    /// The commit's store is a Release store.
    CommitRelease,
    /// A batch whose writer panics takes its stamps back. Left out where a model kills the writer.
    BatchUndo,
    /// A batch that reuses the slots by which the producer finds its position moves the base of that position first.
    BatchBase,
    /// The fence between the floor's store and the second scan.
    RefreshFence,
    /// The second scan.
    RefreshRescan,
    /// A joiner sets its bit before anything else.
    JoinBit,
    /// The fence between SETTLING and the second read of the floor.
    JoinFence,
    /// The second read of the floor.
    JoinReread,
    /// A joiner's position is stored with Release.
    JoinRelease,
    /// A consumer that attaches by an explicit id takes that id's byte.
    AttachIdByte,
    /// A taker takes the line's byte.
    TakeLock,
    /// A taker checks the line again under the lock.
    TakeCheck,
    /// Any process may reclaim a line that was left JOINING or SETTLING.
    ReclaimHalfJoined,
    /// A dead consumer's line is kept if its id is explicit.
    KeepDurable,
    /// An evicter checks the line again under the lock.
    EvictCheck,
    /// A line that is given up becomes FREE (before its bit is cleared).
    LineFree,
    /// The bit of a line that is given up is cleared (under the line's lock).
    LineBit,
    /// A process that removes a consumer takes its id's byte.
    RemoveIdByte,
    /// A process that removes a consumer takes its line's byte.
    RemoveLineLock,
    /// After the closed word, a consumer checks whether any event is left.
    ClosedCheck,
    /// After the producer's free lock, a consumer polls the stamp again.
    DeadCheck,
    /// After the producer's free lock, a consumer loads the closed word again.
    DeadClosedCheck,
    /// The fence between the last commit and the check whether another consumer has unread events.
    DrainFence,
    /// A consumer that removes a drained ring's name checks again under the lock.
    DrainCheck,
    /// A consumer that found the ring not drained under the lock checks again after it.
    DrainAgain,
    /// A producer that ended its ring checks again after its lock.
    EndCheck,
    /// The fence between the closed word and the producer's last check of the lines.
    EndFence,
    /// The fence between a new durable consumer's ACTIVE and its load of the closed word.
    LateFence,
    /// A new durable consumer of a closed ring waits until no process holds the producer's lock.
    LateLock,
    /// A producer that ends keeps a place for an expected consumer that has not come.
    KeepPlace,
    /// A producer that ends keeps the name for an expected consumer of any id.
    KeepUntilDrained,
    /// A successor clears the stamps above the head.
    TakeoverClear,
    /// A successor's gate starts a whole ring behind.
    TakeoverGate,
    /// The search for sleepers after a store. Models without sleeping leave it out.
    SleeperSearch,
    /// The fence between a store and the load of the sleepers or the wish.
    WakeFence,
    /// The change of the word before the wake-up.
    WakeBump,
    /// The sleeper's bit in the waiters line.
    SleepBit,
    /// The fence between a sleeper's bit or wish and the second check.
    SleepFence,
    /// The second check before falling asleep.
    SleepCheck,
    /// The fence between a token's flag and the search for parties to wake.
    CancelFence,
    /// The fence between counting a visitor in and its search for parties to wake.
    VisitFence,
    /// The fence between taking an entry out and the check for visitors.
    LeaveListFence,
    /// A party that takes its entry out waits for the entry's visitors.
    LeaveListWait,
    /// A consumer that waits while it holds events wakes the producer.
    HoldWake,
    /// The busy stamp.
    ObserveBusy,
    /// The fence between the busy stamp and the words.
    ObserveWriteFence,
    /// The fence between the words and the second load of the stamp.
    ObserveReadFence,
    /// The second load of the stamp.
    ObserveReread,
    /// The load of the floor where the stamp says nothing.
    ObserveFloor,
    /// The second load of the stamp after the load of the floor.
    ObserveFloorReread,
    /// The floor's store is a Release store.
    FloorRelease,
}

thread_local! {
    // loom runs all threads of a model on the thread that checks it
    static LEFT_OUT: RefCell<BTreeSet<Step>> = const { RefCell::new(BTreeSet::new()) };
    static DOOMED: RefCell<Option<Doomed>> = const { RefCell::new(None) };
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
    static SLEEPS: Cell<bool> = const { Cell::new(false) };
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Whether a control leaves this step out. No party searches for sleepers except in models of sleeping: the search
/// needs a fence, with which loom would find fewer errors.
pub(crate) fn is_left_out(step: Step) -> bool {
    match step {
        Step::SleeperSearch => !SLEEPS.get(),
        step => LEFT_OUT.with_borrow(|steps| steps.contains(&step)),
    }
}

fn leave_out(step: Step, is_left_out: bool) {
    LEFT_OUT.with_borrow_mut(|steps| {
        if is_left_out {
            steps.insert(step);
        } else {
            steps.remove(&step);
        }
    });
}

/// The party that dies, at which point, and how often it passes that point before.
struct Doomed {
    party: ThreadId,
    at: &'static str,
    spared: u32,
}

/// An action that happens when a party comes to a fail point.
struct Meanwhile {
    party: ThreadId,
    at: &'static str,
    act: Box<dyn FnOnce()>,
}

/// The payload that unwinds a party that a model kills.
struct Killed;

/// The production code calls this at each fail point.
pub(crate) fn point(name: &'static str) {
    let is_here = |party: ThreadId, at| at == name && party == thread::current().id();
    let meanwhile = MEANWHILE
        .with_borrow_mut(|meanwhile| meanwhile.take_if(|other| is_here(other.party, other.at)));
    if let Some(meanwhile) = meanwhile {
        (meanwhile.act)();
    }
    let dies = DOOMED.with_borrow_mut(|doomed| match doomed {
        Some(Doomed { party, at, spared }) if is_here(*party, at) => {
            let dies = *spared == 0;
            *spared = spared.saturating_sub(1);
            dies
        }
        _ => false,
    });
    if dies {
        resume_unwind(Box::new(Killed));
    }
}

/// Runs `act`, whose party dies when it comes to `at` for the `times`-th time; returns whether it died. Make
/// the endpoint that dies outside of `act`, so that its locks are not freed in `act`.
fn killed_at(at: &'static str, times: u32, act: impl FnOnce()) -> bool {
    let doomed = DOOMED.replace(Some(Doomed {
        party: thread::current().id(),
        at,
        spared: times - 1,
    }));
    assert!(doomed.is_none(), "one at a time");
    leave_out(Step::BatchUndo, true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    leave_out(Step::BatchUndo, false);
    DOOMED.set(None);
    match outcome {
        Ok(()) => false,
        Err(thrown) if thrown.is::<Killed>() => {
            reached(at);
            true
        }
        Err(thrown) => resume_unwind(thrown),
    }
}

/// Runs `act`; when it comes to `at` for the first time, runs `meanwhile`.
fn while_at<R>(at: &'static str, meanwhile: impl FnOnce() + 'static, act: impl FnOnce() -> R) -> R {
    MEANWHILE.set(Some(Meanwhile {
        party: thread::current().id(),
        at,
        act: Box::new(meanwhile),
    }));
    let result = act();
    assert!(MEANWHILE.take().is_none(), "never came to {at}");
    result
}

/// Marks a branch that a model must reach: see [`Model::reaches`].
fn reached(mark: &'static str) {
    REACHED.with_borrow_mut(|marks| marks.insert(mark));
}

/// A model, and how to check it.
struct Model {
    preemptions: usize,
    marks: &'static [&'static str],
}

impl Model {
    /// Explores interleavings with at most this many switches away from a thread that could continue.
    fn with_preemptions(preemptions: usize) -> Self {
        Self {
            preemptions,
            marks: &[],
        }
    }

    /// Demands that some interleaving reaches each of these marks; otherwise the model does not show what it claims.
    fn reaches(mut self, marks: &'static [&'static str]) -> Self {
        self.marks = marks;
        self
    }

    /// Demands that no interleaving fails.
    fn holds(self, model: impl Fn() + Send + Sync + 'static) {
        REACHED.with_borrow_mut(BTreeSet::clear);
        let started = std::time::Instant::now();
        // the smoke mode of ci/loom cuts each model short
        let max = std::env::var("MYELON_LOOM_INTERLEAVINGS").ok();
        let max = max.map(|text| text.parse().expect("a number"));
        let count = self.explore(max, model);
        println!(
            "{}: {count} interleavings in {:.1} s",
            std::thread::current().name().unwrap_or_default(),
            started.elapsed().as_secs_f32()
        );
        assert!(count >= 10, "{count} interleavings are no model");
        if max.is_some_and(|max| count >= max) {
            return;
        }
        for mark in self.marks {
            let was_reached = REACHED.with_borrow(|marks| marks.contains(mark));
            assert!(was_reached, "no interleaving reached '{mark}'");
        }
    }

    /// As [`holds`](Self::holds), once for each fail point at which a party dies; each must be reached.
    fn holds_for_deaths(
        preemptions: usize,
        deaths: &[(&'static str, u32)],
        model: impl Fn(&'static str, u32) + Copy + Send + Sync + 'static,
    ) {
        for &(at, times) in deaths {
            println!("killed at {at}, {times}");
            Self::with_preemptions(preemptions)
                .reaches(core::slice::from_ref(Box::leak(Box::new(at))))
                .holds(move || model(at, times));
        }
    }

    /// Demands that some interleaving fails without `step`, with one of `words` in its message.
    fn fails_without(self, step: Step, words: &[&str], model: impl Fn() + Send + Sync + 'static) {
        leave_out(step, true);
        self.fails(words, model);
    }

    /// Demands that some interleaving fails, with one of `words` in its message.
    fn fails(self, words: &[&str], model: impl Fn() + Send + Sync + 'static) {
        let Err(thrown) = catch_unwind(AssertUnwindSafe(|| self.explore(None, model))) else {
            panic!("no interleaving failed: this control controls nothing");
        };
        let said = thrown
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(thrown.downcast_ref::<&str>().copied())
            .unwrap_or("something that is no text");
        assert!(
            words.iter().any(|word| said.contains(word)),
            "failed as it should, but for another reason: {said}"
        );
    }

    /// Explores all interleavings; returns how many there were.
    fn explore(&self, max: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> usize {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = 5_000;
        builder.max_permutations = max;
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        builder.check(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        count.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Loom's message for two accesses without an order between them.
const RACE: &str = "Causality violation";
/// A reader's message when it finds another event than the one that it waits for.
const WRONG: &str = "found";
/// A reader's message when its next event was overwritten.
const OVERTAKEN: &str = "overtaken";

/// The source: each file of models and its text.
const SOURCES: &[(&str, &str)] = &[
    ("publish", include_str!("publish.rs")),
    ("batch", include_str!("batch.rs")),
    ("commit", include_str!("commit.rs")),
    ("ends", include_str!("ends.rs")),
    ("drain", include_str!("drain.rs")),
    ("join", include_str!("join.rs")),
    ("late", include_str!("late.rs")),
    ("membership", include_str!("membership.rs")),
    ("deaths", include_str!("deaths.rs")),
    ("takeover", include_str!("takeover.rs")),
    ("sleep", include_str!("sleep.rs")),
    ("cancel", include_str!("cancel.rs")),
    ("observe", include_str!("observe.rs")),
];

/// The end of the comment of a step that is left out on purpose.
const ON_PURPOSE: &str = "Models without sleeping leave it out.";
/// The end of the comment of a step whose control is in the simulations, and the text of those controls.
const IN_SIMULATIONS: &str = "simulations leave it out.";
const SIMULATIONS: &str = include_str!("../../../../tests/src/simulation.rs");

/// Finds models and controls that were removed or that lost their `#[test]`: each protocol has as many of
/// both as the table says and at least one control, and each step that can be left out has a control.
#[test]
fn loom_models_are_counted() {
    let this = include_str!("mod.rs");
    let files = this.lines().filter(|line| line.starts_with("mod ")).count();
    assert_eq!(SOURCES.len() + 1, files, "all but `ring` hold models");
    for (file, source) in SOURCES {
        let tests: Vec<&str> = source.split("#[test]\nfn loom_").skip(1).collect();
        assert_eq!(tests.len(), source.matches("fn loom_").count(), "{file}");
        for test in &tests {
            let does = match test.starts_with("control_") {
                true => ".fails",
                false => "holds",
            };
            assert!(test.contains(does), "{file}: this {does} nothing: {test}");
        }
        let controls = tests
            .iter()
            .filter(|test| test.starts_with("control_"))
            .count();
        assert!(controls > 0, "{file}: no control");
        let models = tests.len() - controls;
        let row = this
            .lines()
            .find(|line| line.starts_with(&format!("//! | `{file}` |")));
        let row: Vec<&str> = row.expect("a row").split(" | ").collect();
        let written = [models.to_string(), format!("{controls} |")];
        assert_eq!([row[4], row[6]], written, "{file}: models and controls");
    }
    let steps = this.split("enum Step {").nth(1).expect("the steps");
    let steps = steps.split('}').next().expect("their end");
    for (comment, step) in steps
        .split(",\n")
        .filter_map(|one| one.trim().rsplit_once('\n'))
    {
        let step = step.trim();
        if comment.ends_with(ON_PURPOSE) {
            continue;
        }
        if comment.ends_with(IN_SIMULATIONS) {
            let is_controlled = SIMULATIONS.contains(&format!("\"{step}\""));
            assert!(is_controlled, "{step} is never left out of a simulation");
            continue;
        }
        let control = format!("fails_without(Step::{step},");
        let squeezed = |source: &str| source.split_whitespace().collect::<String>();
        let is_controlled = SOURCES
            .iter()
            .any(|(_, source)| squeezed(source).contains(&control));
        assert!(is_controlled, "{step} is never left out");
    }
}
