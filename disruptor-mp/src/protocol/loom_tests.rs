//! Models of the protocol under loom: every interleaving of a few threads, up to a bound of preemptions, with every
//! value that C11 lets a load return.
//!
//! The production functions run unchanged. Event bytes are watched by a side array of loom's cells, one per slot: who
//! writes or reads a slot touches its cell, so that two accesses without an order between them fail the model. Each
//! negative control leaves one step out (`left_out!`, `release!`) or does one thing in the wrong order, and must fail.

mod join;
mod membership;
mod publish;
mod takeover;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::yield_now;

use crate::Sequence;
use crate::claim::{Claim, Lease};
use crate::layout::control::{ConsumerId, Owner};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::layout::stamp;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::expect::Expectation;
use crate::protocol::lines::{self, Applicant, LineError, Place};
use crate::protocol::publish::ProducerCore;
use crate::protocol::takeover::take_over;
use crate::region::heap::HeapMemory;
use crate::segment::{self, Segment};
use crate::sync::Ordering;

/// The steps that a negative control leaves out or weakens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The stamp's store is a Release store.
    StampRelease,
    /// The commit's store is a Release store.
    CommitRelease,
    /// A batch whose writer panics takes its stamps back. Left out where a model kills the writer.
    BatchUndo,
    /// The fence between the floor's store and the second scan.
    RefreshFence,
    /// The second scan.
    RefreshRescan,
    /// The fence between SETTLING and the second look at the floor.
    JoinFence,
    /// The second look at the floor.
    JoinReread,
    /// A joiner's position is stored with Release.
    JoinRelease,
    /// An evicter looks again under the lock.
    EvictLook,
    /// A successor clears the stamps above the head.
    TakeoverClear,
    /// A successor's gate starts a whole ring behind.
    TakeoverGate,
}

thread_local! {
    // loom runs all threads of a model on the thread that checks it
    static LEFT_OUT: RefCell<BTreeSet<Step>> = const { RefCell::new(BTreeSet::new()) };
    static KILL_AT: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

pub(crate) fn is_left_out(step: Step) -> bool {
    LEFT_OUT.with_borrow(|steps| steps.contains(&step))
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

/// What somebody else does when a party comes to a fail point.
type Meanwhile = (&'static str, Box<dyn FnOnce()>);

/// What is thrown where a model kills a party.
struct Killed;

/// The production code comes by here at each fail point.
pub(crate) fn point(name: &'static str) {
    let meanwhile = MEANWHILE.take();
    match meanwhile {
        Some((at, act)) if at == name => act(),
        other => MEANWHILE.set(other),
    }
    let Some((at, times)) = KILL_AT.get() else {
        return;
    };
    if at == name {
        KILL_AT.set((times > 1).then_some((at, times - 1)));
        if times == 1 {
            resume_unwind(Box::new(Killed));
        }
    }
}

/// Runs `act`, whose party dies when it comes to `at` for the `times`-th time; whether it did.
fn killed_at(at: &'static str, times: u32, act: impl FnOnce()) -> bool {
    KILL_AT.set(Some((at, times)));
    leave_out(Step::BatchUndo, true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    leave_out(Step::BatchUndo, false);
    KILL_AT.set(None);
    match outcome {
        Ok(()) => false,
        Err(thrown) if thrown.is::<Killed>() => {
            reached(at);
            true
        }
        Err(thrown) => resume_unwind(thrown),
    }
}

/// Runs `act`; when it comes to `at` for the first time, `meanwhile` happens.
fn while_at<R>(at: &'static str, meanwhile: impl FnOnce() + 'static, act: impl FnOnce() -> R) -> R {
    MEANWHILE.set(Some((at, Box::new(meanwhile))));
    let result = act();
    assert!(MEANWHILE.take().is_none(), "never came to {at}");
    result
}

/// Marks a branch that a model is there for: see [`Model::reaches`].
fn reached(mark: &'static str) {
    REACHED.with_borrow_mut(|marks| marks.insert(mark));
}

/// A model to be checked.
struct Model {
    preemptions: usize,
    marks: &'static [&'static str],
}

impl Model {
    /// With at most this many switches away from a thread that could go on.
    fn with_preemptions(preemptions: usize) -> Self {
        Self {
            preemptions,
            marks: &[],
        }
    }

    /// Each of these marks is reached in some interleaving: else the model does not show what it says.
    fn reaches(mut self, marks: &'static [&'static str]) -> Self {
        self.marks = marks;
        self
    }

    /// No interleaving fails.
    fn holds(self, model: impl Fn() + Send + Sync + 'static) {
        REACHED.with_borrow_mut(BTreeSet::clear);
        let started = std::time::Instant::now();
        let count = self.explore(model);
        println!(
            "{}: {count} interleavings in {:.1} s",
            std::thread::current().name().unwrap_or_default(),
            started.elapsed().as_secs_f32()
        );
        assert!(count >= 10, "{count} interleavings are no model");
        for mark in self.marks {
            let was_reached = REACHED.with_borrow(|marks| marks.contains(mark));
            assert!(was_reached, "no interleaving reached '{mark}'");
        }
    }

    /// Some interleaving fails without `step`, and says one of `words`.
    fn fails_without(self, step: Step, words: &[&str], model: impl Fn() + Send + Sync + 'static) {
        leave_out(step, true);
        self.fails(words, model);
    }

    /// Some interleaving fails, and says one of `words`.
    fn fails(self, words: &[&str], model: impl Fn() + Send + Sync + 'static) {
        let Err(thrown) = catch_unwind(AssertUnwindSafe(|| self.explore(model))) else {
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

    /// How many interleavings there were.
    fn explore(&self, model: impl Fn() + Send + Sync + 'static) -> usize {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = 5_000;
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        builder.check(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        count.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// What loom says of two accesses without an order between them.
const RACE: &str = "Causality violation";
/// What a reader says that finds another event than the one it waits for.
const WRONG: &str = "found";
/// What a reader says whose next event was overwritten.
const OVERTAKEN: &str = "overtaken";

const OWNER: Owner = Owner {
    pid: 1,
    namespace: 1,
    start_ticks: 1,
};

/// One ring on the heap, and a watched cell for each of its slots.
#[derive(Clone)]
struct Ring {
    memory: Arc<HeapMemory>,
    cells: Arc<[UnsafeCell<u64>]>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self {
            memory: segment::create_on_heap::<u64>(capacity, 0).expect("a ring"),
            cells: (0..capacity).map(|_| UnsafeCell::new(u64::MAX)).collect(),
        }
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }

    fn open(&self) -> Segment<u64> {
        segment::open_on_heap(&self.memory, self.capacity())
    }

    /// An endpoint with the producer's lock.
    fn lock_producer(&self) -> Segment<u64> {
        let segment = self.open();
        let is_locked = segment.locks().try_lock(PRODUCER_BYTE).expect("a lock");
        assert!(is_locked, "there is a live producer");
        segment
    }

    /// The producer, or the successor of one that died: its events are `10 × sequence + writer`.
    fn producer(&self, writer: u64, expectation: Expectation) -> Tx {
        let segment = self.lock_producer();
        let start = take_over(segment.view);
        Tx {
            core: ProducerCore::new(segment.view, start.next, start.floor, expectation),
            ring: self.clone(),
            writer,
            segment,
        }
    }

    fn tx(&self) -> Tx {
        self.producer(0, Expectation::default())
    }

    /// A consumer with an automatic id.
    fn rx(&self) -> Rx {
        self.attach("auto", false).expect("a free line")
    }

    fn attach(&self, id: &'static str, durable: bool) -> Result<Rx, LineError> {
        let segment = self.open();
        let who = Applicant {
            id: &ConsumerId::new(id).expect("an id"),
            durable,
            owner: OWNER,
        };
        let place = lines::attach(segment.control(), segment.locks(), who)?;
        Ok(Rx {
            core: ConsumerCore::new(segment.view, place.line, place.next),
            ring: self.clone(),
            place,
            id,
            segment,
        })
    }

    fn cell(&self, sequence: Sequence) -> &UnsafeCell<u64> {
        &self.cells[sequence as usize & (self.capacity() - 1)]
    }

    /// Stores the event's bytes, as the model checker sees them.
    fn write(&self, sequence: Sequence, event: u64) {
        // SAFETY: the pointer is valid; loom checks that nobody else accesses the cell.
        self.cell(sequence)
            .with_mut(|cell| unsafe { *cell = event });
    }

    fn read(&self, sequence: Sequence) -> u64 {
        // SAFETY: the pointer is valid; loom checks that nobody writes the cell.
        self.cell(sequence).with(|cell| unsafe { *cell })
    }
}

struct Tx {
    // before the segment: see `Segment`
    core: ProducerCore<u64>,
    segment: Segment<u64>,
    ring: Ring,
    writer: u64,
}

impl Tx {
    fn event(&self, sequence: Sequence) -> u64 {
        10 * sequence as u64 + self.writer
    }

    /// As `Producer::try_vacant`.
    fn try_vacant(&mut self, n: usize) -> Option<Sequence> {
        self.core.vacant(n).or_else(|| {
            self.core.refresh(n);
            self.core.vacant(n)
        })
    }

    /// The same steps as `Producer::try_claim` and `Claim::publish`.
    fn try_publish(&mut self) -> Option<Sequence> {
        let sequence = self.try_vacant(1)?;
        let event = self.event(sequence);
        let mut claim = Claim::new(&mut self.core, sequence);
        self.ring.write(sequence, event);
        *claim = event;
        Some(claim.publish())
    }

    fn publish(&mut self) -> Sequence {
        loop {
            if let Some(sequence) = self.try_publish() {
                return sequence;
            }
            yield_now();
        }
    }

    /// Tries `times` times: see [`Rx::take_some`].
    fn publish_some(&mut self, times: usize) {
        for _ in 0..times {
            if self.try_publish().is_none() {
                yield_now();
            }
        }
    }

    /// The same steps as `Producer::publish_batch`.
    fn publish_batch(&mut self, n: usize) {
        let first = loop {
            match self.try_vacant(n) {
                Some(first) => break first,
                None => yield_now(),
            }
        };
        let (ring, writer) = (&self.ring, self.writer);
        self.core.publish_batch(first, n, |slot, index| {
            let sequence = first + index as i64;
            let event = 10 * sequence as u64 + writer;
            ring.write(sequence, event);
            // SAFETY: the claim is ours (R2).
            unsafe { slot.write(event) };
        });
    }
}

struct Rx {
    // before the segment: see `Segment`
    core: ConsumerCore<u64>,
    segment: Segment<u64>,
    ring: Ring,
    place: Place,
    id: &'static str,
}

impl Rx {
    fn position(&self) -> Sequence {
        self.core.next() - 1
    }

    /// Reads the next event under a lease, if it is there, and gives it back with its sequence.
    fn try_take(&mut self) -> Option<(Sequence, u64)> {
        let next = self.core.next();
        if !self.core.is_ready() {
            let stamp = self.segment.view.stamp(next).load(Ordering::Relaxed);
            let found = stamp::sequence_of(stamp).unwrap_or(-1);
            assert!(
                found <= next,
                "{next} was overtaken by {found} before it was read"
            );
            return None;
        }
        let lease = Lease::new(&mut self.core);
        let event = self.ring.read(next);
        assert_eq!(event / 10, next as u64, "found {event}, expected {next}");
        assert_eq!(event, *lease, "found another event in the slot");
        lease.commit();
        Some((next, event))
    }

    fn take(&mut self) -> (Sequence, u64) {
        loop {
            if let Some(event) = self.try_take() {
                return event;
            }
            yield_now();
        }
    }

    /// Looks `times` times: for models of three threads, in which spinning threads would starve each other.
    fn take_some(&mut self, times: usize) {
        for _ in 0..times {
            if self.try_take().is_none() {
                yield_now();
            }
        }
    }

    /// Takes up to and with `last`.
    fn take_to(&mut self, last: Sequence) {
        while self.position() < last {
            self.take();
        }
    }

    /// An automatic one leaves the gate.
    fn leave(self) {
        lines::leave(
            self.segment.control(),
            self.segment.locks(),
            self.place.line,
        )
        .expect("a lock");
    }

    /// A durable one goes, its position stays.
    fn go_away(self) -> Sequence {
        let id = ConsumerId::new(self.id).expect("an id");
        lines::go_away(
            self.segment.control(),
            self.segment.locks(),
            self.place.line,
            &id,
        )
        .expect("a lock");
        self.position()
    }
}

/// Models and controls that somebody took out, or that lost their `#[test]`, are missed here; `ci/loom` compares what
/// was written with what ran.
#[test]
fn loom_models_are_counted() {
    let sources = [
        include_str!("loom_tests/publish.rs"),
        include_str!("loom_tests/join.rs"),
        include_str!("loom_tests/membership.rs"),
        include_str!("loom_tests/takeover.rs"),
    ];
    let count = |what: &str| -> usize {
        sources
            .iter()
            .map(|source| source.matches(what).count())
            .sum()
    };
    assert_eq!(count("#[test]"), count("fn loom_"));
    assert_eq!(count(".holds("), MODELS, "models that hold");
    assert_eq!(count(".fails"), CONTROLS, "negative controls");
}

const MODELS: usize = 24;
const CONTROLS: usize = 14;
