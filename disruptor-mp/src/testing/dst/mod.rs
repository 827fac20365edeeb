//! Deterministic simulation (feature `dst`): processes that share a ring, under one seed.
//!
//! [`simulate`] runs *tasks*, each of which stands for a process, on a [`HeapRing`](crate::HeapRing). One task
//! runs at a time. At each access to the ring's shared words, and at each lock, sleep, yield and [`point`],
//! one seeded generator decides which task goes on. Tasks are interrupted, stopped for a while as by SIGSTOP
//! and, if they are mortal, killed as by SIGKILL: no destructor runs, the locks of the task's endpoints fall,
//! and the process is started again. Waiting calls see a simulated clock, so that a wait takes no real time.
//! The same seed gives the same history, step by step; [`Outcome`] returns it as text when something failed.
//!
//! # What is simulated
//!
//! A simulation covers the interleavings of accesses, deaths, stops, and time. It does not cover the memory
//! model (a load returns the last store), the life of a segment's name, or mapped files: all rings are on the
//! heap. A thread that a task starts is not part of the simulation, and so auto consumers are not. A build
//! without the feature contains none of this.
//!
//! # Rules for tasks
//!
//! An endpoint belongs to the task that opened it: its locks fall when that task dies. The behaviour of a task
//! must depend on the simulation alone: call [`below`] for a choice, and [`now`] for the time. A task must not
//! hold a lock that is not the ring's across a call of the ring, as the call may be interrupted for good.
//!
//! # Examples
//!
//! A producer that may die twice, anywhere, and a durable consumer that sees every event once, in order:
//!
//! ```
//! use std::sync::Arc;
//! use disruptor_mp::{Deadline, HeapRing, RecvError, dst};
//!
//! let mut deaths = 0;
//! for seed in 0..20 {
//!     let outcome = dst::simulate(seed, |simulation| {
//!         let ring = Arc::new(HeapRing::<u64>::new(2).unwrap());
//!         let theirs = Arc::clone(&ring);
//!         simulation.spawn("reader", move || {
//!             let mut rx = theirs.consumer("reader").unwrap();
//!             let mut next = (rx.current_sequence() + 1) as u64;
//!             loop {
//!                 match rx.recv(Deadline::NEVER) {
//!                     Ok(event) => assert_eq!(*event, next),
//!                     Err(RecvError::ProducerDead { .. }) => continue,
//!                     Err(RecvError::Closed) => break,
//!                     Err(error) => panic!("{error}"),
//!                 }
//!                 next += 1;
//!             }
//!         });
//!         simulation.spawn_mortal("writer", 2, move |_life| {
//!             let mut tx = ring.producer().unwrap();
//!             while tx.last_published_sequence() < 9 {
//!                 let next = (tx.last_published_sequence() + 1) as u64;
//!                 tx.send(Deadline::NEVER, |event| *event = next).unwrap();
//!             }
//!         });
//!     });
//!     outcome.assert_passed();
//!     deaths += outcome.deaths();
//! }
//! assert!(deaths > 0);
//! ```

pub(crate) mod atomic;
mod baton;
pub(crate) mod kernel;
mod marks;
mod scheduler;
mod trace;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use baton::{Process, current};
pub use marks::{BUGGIFIED, MARKS};
pub use scheduler::Schedule;
use scheduler::{Scheduler, Site};
pub use trace::Trace;

/// The set-up of a simulation under one seed: see [`simulate`].
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use disruptor_mp::dst::{self, Schedule, Simulation};
///
/// let outcome = dst::simulate(7, |simulation: &mut Simulation| {
///     simulation.set_schedule(Schedule::default());
///     let rounds = 1 + simulation.below(3);              // the seed decides
///     let count = Arc::new(AtomicUsize::new(0));
///     let theirs = Arc::clone(&count);
///     simulation.spawn("counter", move || theirs.store(rounds, Ordering::Relaxed));
///     simulation.afterwards(move || assert_eq!(count.load(Ordering::Relaxed), rounds));
/// });
/// outcome.assert_passed();
/// ```
pub struct Simulation {
    scheduler: Scheduler,
    processes: Vec<Process>,
    afterwards: Option<Process>,
    left_out: Vec<&'static str>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .processes
            .iter()
            .map(|process| &*process.name)
            .collect();
        f.debug_struct("Simulation")
            .field("processes", &names)
            .finish_non_exhaustive()
    }
}

/// The result of a simulation.
///
/// # Examples
///
/// ```
/// use disruptor_mp::dst::{self, Outcome, Trace};
///
/// let outcome: Outcome = dst::simulate(3, |simulation| {
///     simulation.spawn("clerk", || {
///         dst::point("clerk.writes");
///         dst::reached("clerk.here");
///         panic!("out of ink");
///     });
/// });
/// let trace: &Trace = outcome.trace();
/// assert!(trace.to_string().contains("clerk"));
/// assert!(outcome.reached().contains("clerk.here"));
/// assert!(outcome.failure().expect("a panic").contains("out of ink"));
/// assert_eq!((outcome.seed(), outcome.deaths()), (3, 0));
/// assert!(outcome.steps() > 0);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a failed simulation says so here only"]
pub struct Outcome {
    seed: u64,
    steps: u64,
    deaths: u32,
    reached: BTreeSet<&'static str>,
    trace: Trace,
    failure: Option<String>,
}

/// Runs the simulation that `scenario` sets up under `seed`, until every task has ended. See the [module](self).
///
/// # Panics
///
/// When called within a simulation.
pub fn simulate(seed: u64, scenario: impl FnOnce(&mut Simulation)) -> Outcome {
    let mut simulation = Simulation {
        scheduler: Scheduler::new(seed),
        processes: Vec::new(),
        afterwards: None,
        left_out: Vec::new(),
    };
    scenario(&mut simulation);
    let Simulation {
        scheduler,
        processes,
        afterwards,
        left_out,
    } = simulation;
    let played = baton::run(scheduler, &processes, afterwards, left_out);
    Outcome {
        seed,
        steps: played.steps(),
        deaths: played.deaths,
        reached: played.reached,
        trace: played.trace,
        failure: played.failure,
    }
}

impl Simulation {
    /// Sets what the simulation does to its tasks.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.scheduler.set_schedule(schedule);
    }

    /// A number below `n` that the seed decides.
    ///
    /// # Panics
    ///
    /// When `n` is zero.
    pub fn below(&mut self, n: usize) -> usize {
        self.scheduler.below(n)
    }

    /// Adds a process that is interrupted and stopped, but never killed.
    pub fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) {
        self.processes.push(once(name, body));
    }

    /// Adds a process that may be killed `deaths_max` times. It then begins anew and is told how many lives
    /// it has had.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::dst;
    ///
    /// let outcome = dst::simulate(5, |simulation| {
    ///     simulation.spawn_mortal("clerk", 2, |life| {
    ///         dst::note(format!("life {life}"));
    ///         dst::point("clerk.writes");
    ///     });
    /// });
    /// outcome.assert_passed();
    /// assert!(outcome.deaths() <= 2);
    /// ```
    pub fn spawn_mortal(
        &mut self,
        name: &str,
        deaths_max: u32,
        body: impl Fn(u32) + Send + Sync + 'static,
    ) {
        self.processes.push(Process {
            name: name.to_owned(),
            deaths_max,
            body: Arc::new(body),
        });
    }

    /// Adds a process that runs after all others, unless something failed, and checks what they left.
    pub fn afterwards(&mut self, body: impl FnOnce() + Send + 'static) {
        self.afterwards = Some(once("afterwards", body));
    }

    /// Leaves a step of the protocol out, or does it in the wrong place: a bug that the simulation must find.
    #[doc(hidden)]
    pub fn leave_out(&mut self, step: &'static str) {
        self.left_out.push(step);
    }
}

fn once(name: &str, body: impl FnOnce() + Send + 'static) -> Process {
    let body = Mutex::new(Some(body));
    Process {
        name: name.to_owned(),
        deaths_max: 0,
        body: Arc::new(move |_| {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(body) = body {
                body();
            }
        }),
    }
}

impl Outcome {
    /// The seed that gives this outcome.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many steps all tasks took.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many tasks were killed.
    pub fn deaths(&self) -> u32 {
        self.deaths
    }

    /// The marks, and the switched-on [`buggify`] names, that the tasks reached.
    pub fn reached(&self) -> &BTreeSet<&'static str> {
        &self.reached
    }

    /// The history of the simulation.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What went wrong: the first panic of a task, or that the tasks did not end in time.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// # Panics
    ///
    /// With the failure, the seed and the trace, if the simulation failed.
    ///
    /// # Examples
    ///
    /// See [`Simulation::spawn_mortal`].
    #[track_caller]
    pub fn assert_passed(&self) {
        if self.failure.is_some() {
            panic!("{self}");
        }
    }
}

/// The trace, the seed, and how the simulation ended.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.failure.as_deref().unwrap_or("passed");
        write!(f, "{}\nseed {}: {end}", self.trace, self.seed)
    }
}

/// A named step: the task may be interrupted, stopped or killed here. Does nothing outside of simulations.
///
/// # Examples
///
/// ```
/// use disruptor_mp::dst;
///
/// let outcome = dst::simulate(1, |simulation| {
///     simulation.spawn("greeter", || dst::point("greeter.begins"));
/// });
/// assert!(outcome.trace().to_string().contains("greeter.begins"));
/// ```
pub fn point(name: &'static str) {
    if let Some(task) = current() {
        task.step(Site::Point(name));
    }
}

/// Marks a rare branch: [`Outcome::reached`] contains it if a task reached it. Does nothing outside of simulations.
///
/// # Examples
///
/// ```
/// use disruptor_mp::dst;
///
/// let outcome = dst::simulate(1, |simulation| simulation.spawn("reader", || dst::reached("reader.empty")));
/// assert!(outcome.reached().contains("reader.empty"));
/// ```
pub fn reached(mark: &'static str) {
    if let Some(task) = current() {
        task.with_scheduler(|scheduler| {
            scheduler.reached.insert(mark);
            scheduler.trace.reached(mark);
        });
    }
}

/// Whether to do something now that is allowed at any time but rare. One seed switches some of these names
/// off, another one makes them frequent. Always false outside of simulations.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::dst::buggify("reader.drops_out"));
/// ```
pub fn buggify(name: &'static str) -> bool {
    current().is_some_and(|task| task.with_scheduler(|scheduler| scheduler.buggify(name)))
}

/// A place where a delay is worth trying: a seed that has switched `name` on delays the task here, often and
/// for long. Does nothing outside of simulations.
///
/// # Examples
///
/// ```
/// disruptor_mp::dst::delay("writer.dawdles");
/// ```
pub fn delay(name: &'static str) {
    if let Some(task) = current().filter(|_| buggify(name)) {
        task.step(Site::Delay(name));
    }
}

/// A number below `n` that the seed decides; outside of simulations, a random one.
///
/// # Panics
///
/// When `n` is zero.
///
/// # Examples
///
/// ```
/// assert!(disruptor_mp::dst::below(3) < 3);
/// ```
pub fn below(n: usize) -> usize {
    match current() {
        Some(task) => task.with_scheduler(|scheduler| scheduler.below(n)),
        None => fastrand::usize(..n),
    }
}

/// Adds a remark to the trace. Does nothing outside of simulations.
///
/// # Examples
///
/// ```
/// use disruptor_mp::dst;
///
/// let outcome = dst::simulate(1, |simulation| simulation.spawn("writer", || dst::note("half full")));
/// assert!(outcome.trace().to_string().contains("half full"));
/// ```
pub fn note(text: impl fmt::Display) {
    if let Some(task) = current() {
        task.with_scheduler(|scheduler| scheduler.trace.note(text.to_string()));
    }
}

/// The time; within a simulation, the simulated time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::dst;
///
/// dst::simulate(1, |simulation| {
///     simulation.spawn("sleeper", || {
///         let start = dst::now();
///         dst::sleep(Duration::from_secs(3600));         // takes no real time
///         assert!(dst::now() - start >= Duration::from_secs(3600));
///     });
/// })
/// .assert_passed();
/// ```
pub fn now() -> Instant {
    crate::clock::now()
}

/// Sleeps; within a simulation, this takes no real time.
///
/// # Examples
///
/// ```
/// disruptor_mp::dst::sleep(std::time::Duration::from_millis(1));
/// ```
pub fn sleep(duration: Duration) {
    crate::clock::sleep(duration);
}

pub(crate) fn simulated_now() -> Option<Instant> {
    current().map(|task| task.now())
}

/// Sleeps if the caller is in a simulation, and returns whether it is.
pub(crate) fn simulated_sleep(duration: Duration) -> bool {
    let task = current();
    if let Some(task) = &task {
        task.step(Site::Sleep(duration));
    }
    task.is_some()
}

/// Registers the kernel's part of the calling task's death: `release` runs when the task is killed.
pub(crate) fn on_death(release: impl FnOnce() + 'static) {
    if let Some(task) = current() {
        task.on_death(Box::new(release));
    }
}

/// Whether a negative control leaves this step of the protocol out.
pub(crate) fn is_left_out(step: &str) -> bool {
    current().is_some_and(|task| task.is_left_out(step))
}
