//! Simulated processes as threads of which exactly one runs: the one that holds the baton.
//!
//! The holder asks the scheduler at each of its steps, and hands the baton on when the scheduler says so. A killed
//! task never runs again: no destructor runs, and only the locks are released, as the kernel would do. After the
//! simulation, when no task accesses its memory any more, those threads are unwound, so that nothing leaks.

use core::cell::RefCell;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use super::scheduler::{Scheduler, Site, Verdict};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The holder of the baton while no task has it: the thread that runs the simulation.
const CONTROLLER: usize = usize::MAX;
/// A process that died is started again within this many steps.
const REBIRTH_STEPS_MAX: u64 = 200;

/// The payload that unwinds a task after the simulation.
struct Unwinding;

/// The body of a process; its argument counts the process's lives.
pub(super) type Body = Arc<dyn Fn(u32) + Send + Sync>;

/// A process to be simulated.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) deaths_max: u32,
    pub(super) body: Body,
}

/// The baton, and what else all threads of one simulation share.
pub(super) struct Baton {
    holder: AtomicUsize,
    is_over: AtomicBool,
    controller: Thread,
    /// The start of the simulated clock.
    origin: Instant,
    /// Only the holder of the baton locks this mutex, so that no thread ever waits for it.
    stage: Mutex<Stage>,
    left_out: Vec<&'static str>,
}

struct Stage {
    scheduler: Scheduler,
    threads: Vec<JoinHandle<()>>,
}

/// The task of this thread: one life of a process.
pub(super) struct Task {
    shared: Arc<Baton>,
    index: usize,
    process: Process,
    life: u32,
    on_death: RefCell<Vec<Box<dyn FnOnce()>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Task>>> = const { RefCell::new(None) };
}

/// The calling task; `None` outside of simulations.
#[inline]
pub(super) fn current() -> Option<Rc<Task>> {
    // a thread that is ending no longer has a task
    CURRENT.try_with(|task| task.borrow().clone()).ok()?
}

impl Baton {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a life of a process, on a new thread that waits for the baton.
    fn start(self: &Arc<Self>, process: Process, life: u32, delay_steps_max: u64) {
        let mut stage = self.stage();
        let name = match process.deaths_max + life {
            0 => process.name.clone(),
            _ => format!("{}#{life}", process.name),
        };
        let (deaths_left, shared) = (process.deaths_max, Arc::clone(self));
        let index = stage
            .scheduler
            .add(name.clone(), deaths_left, delay_steps_max);
        let live = move || {
            let task = Task {
                shared,
                index,
                process,
                life,
                on_death: RefCell::default(),
            };
            task.live();
        };
        let thread = thread::Builder::new().name(name).spawn(live);
        let thread = thread.unwrap_or_else(|error| panic!("a thread for a task: {error}"));
        stage.threads.push(thread);
    }

    fn hand_to(&self, next: Option<usize>) {
        let thread = match next {
            Some(index) => self.stage().threads[index].thread().clone(),
            None => self.controller.clone(),
        };
        self.holder
            .store(next.unwrap_or(CONTROLLER), Ordering::Release);
        thread.unpark();
    }

    fn wait_for_baton(&self, index: usize) {
        while self.holder.load(Ordering::Acquire) != index {
            thread::park();
        }
    }
}

impl Task {
    fn live(self) {
        let shared = Arc::clone(&self.shared);
        shared.wait_for_baton(self.index);
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let (index, life, body) = (self.index, self.life, Arc::clone(&self.process.body));
        CURRENT.set(Some(Rc::new(self)));
        let outcome = catch_unwind(AssertUnwindSafe(|| body(life)));
        CURRENT.set(None);
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut stage = shared.stage();
        if let Err(thrown) = outcome {
            stage.scheduler.fail(index, text_of(&*thrown));
        }
        stage.scheduler.finish(index);
        let next = stage.scheduler.next();
        drop(stage);
        shared.hand_to(next);
    }

    /// Takes one step of this task: it may be interrupted, stopped or killed here.
    pub(super) fn step(&self, site: Site) {
        if thread::panicking() {
            // no death and no interruption during a panic
            return;
        }
        self.unwind_if_over();
        let verdict = self.shared.stage().scheduler.step(self.index, site);
        match verdict {
            Verdict::GoOn => {}
            Verdict::Die => self.die(),
            Verdict::HandTo(next) => {
                self.shared.hand_to(next);
                self.shared.wait_for_baton(self.index);
                self.unwind_if_over();
                let dies = self.shared.stage().scheduler.dies(self.index);
                if dies {
                    self.die();
                }
            }
        }
    }

    /// Releases the locks as the kernel would, starts the next life somewhat later, and never continues this one.
    fn die(&self) -> ! {
        for release in self.on_death.take() {
            release();
        }
        let deaths_max = self.shared.stage().scheduler.bury(self.index);
        let process = Process {
            deaths_max,
            ..self.process.clone()
        };
        self.shared.start(process, self.life + 1, REBIRTH_STEPS_MAX);
        let next = self.shared.stage().scheduler.next();
        self.shared.hand_to(next);
        self.shared.wait_for_baton(self.index);
        resume_unwind(Box::new(Unwinding))
    }

    fn unwind_if_over(&self) {
        if self.shared.is_over.load(Ordering::Relaxed) {
            resume_unwind(Box::new(Unwinding));
        }
    }

    pub(super) fn on_death(&self, release: Box<dyn FnOnce()>) {
        self.on_death.borrow_mut().push(release);
    }

    pub(super) fn with_scheduler<R>(&self, ask: impl FnOnce(&mut Scheduler) -> R) -> R {
        ask(&mut self.shared.stage().scheduler)
    }

    pub(super) fn now(&self) -> Instant {
        self.shared.origin + self.with_scheduler(|scheduler| scheduler.now)
    }

    pub(super) fn is_left_out(&self, step: &str) -> bool {
        self.shared.left_out.contains(&step)
    }
}

fn text_of(thrown: &(dyn Any + Send)) -> &str {
    let text = thrown.downcast_ref::<&'static str>().copied();
    text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked")
}

/// Runs the processes to their ends, then `afterwards`, and then takes the simulation down.
pub(super) fn run(
    scheduler: Scheduler,
    processes: &[Process],
    afterwards: Option<Process>,
    left_out: Vec<&'static str>,
) -> Scheduler {
    assert!(current().is_none(), "a simulation within a simulation");
    let shared = Arc::new(Baton {
        holder: AtomicUsize::new(CONTROLLER),
        is_over: AtomicBool::new(false),
        controller: thread::current(),
        origin: Instant::now(),
        stage: Mutex::new(Stage {
            scheduler,
            threads: Vec::new(),
        }),
        left_out,
    });
    for process in processes {
        shared.start(process.clone(), 0, 0);
    }
    play(&shared);
    if let Some(process) = afterwards
        && shared.stage().scheduler.failure.is_none()
    {
        shared.start(process, 0, 0);
        play(&shared);
    }
    take_down(&shared)
}

/// Hands the baton to the first task, and waits until it comes back.
fn play(shared: &Baton) {
    let next = shared.stage().scheduler.next();
    if next.is_some() {
        shared.hand_to(next);
        shared.wait_for_baton(CONTROLLER);
    }
}

/// Unwinds every task that was killed or interrupted for good, one after the other.
fn take_down(shared: &Baton) -> Scheduler {
    shared.is_over.store(true, Ordering::Relaxed);
    let threads = core::mem::take(&mut shared.stage().threads);
    for (index, thread) in threads.into_iter().enumerate() {
        shared.holder.store(index, Ordering::Release);
        thread.thread().unpark();
        // a panic while it unwinds is not reported
        let _ = thread.join();
    }
    let mut stage = shared.stage();
    core::mem::replace(&mut stage.scheduler, Scheduler::new(0))
}
