//! The choice of the next task: at each step, one seeded generator decides which task continues, stops,
//! sleeps or dies.
//!
//! Nothing here knows of threads. Only the running task asks, so that equal seeds give equal answers.

use core::panic::Location;
use core::time::Duration;
use std::collections::BTreeSet;

use super::trace::{Leaving, Trace};

/// What a simulation does to its tasks, beside interleaving them. Each seed decides how often.
///
/// # Examples
///
/// ```
/// use disruptor_mp::dst::Schedule;
///
/// let mut schedule = Schedule::default();
/// schedule.steps_max = 1_000;
/// assert!(schedule.kills && schedule.stops && schedule.buggifies);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Schedule {
    /// Whether mortal tasks die.
    pub kills: bool,
    /// Whether tasks are stopped, as by SIGSTOP, for up to some hundred steps.
    pub stops: bool,
    /// Whether [`buggify`](super::buggify) ever returns true.
    pub buggifies: bool,
    /// A simulation that takes more steps than this has failed: some task waits for ever.
    pub steps_max: u64,
    /// How much simulated time one step takes.
    pub tick: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            kills: true,
            stops: true,
            buggifies: true,
            steps_max: 200_000,
            tick: Duration::from_micros(10),
        }
    }
}

/// The place where a task is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Site {
    /// The start of its body.
    Start,
    /// A named step of the protocol, or of the user's code.
    Point(&'static str),
    /// One access to a word of the segment, or to its locks.
    Access(&'static Location<'static>),
    /// The task yields.
    Yield,
    /// The task is delayed for a while.
    Delay(&'static str),
    /// The task sleeps.
    Sleep(Duration),
}

/// What happens to the task that took a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The task continues.
    GoOn,
    /// This task runs next; `None` if no task is left.
    HandTo(Option<usize>),
    /// The task dies here.
    Die,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Over,
}

#[derive(Debug)]
struct Task {
    state: State,
    /// How many more times it may die.
    deaths_left: u32,
    stopped_until_step: u64,
    sleeps_until: Duration,
    at: Site,
}

/// How this seed treats its tasks: each kind of event happens at one step in so many.
#[derive(Debug)]
struct Temper {
    switch_one_in: u32,
    kill_one_in: u32,
    stop_one_in: u32,
    stop_steps_max: u64,
    buggify_one_in: u32,
}

#[derive(Debug)]
pub(super) struct Scheduler {
    seed: u64,
    rng: fastrand::Rng,
    schedule: Schedule,
    temper: Temper,
    pub(super) now: Duration,
    steps: u64,
    tasks: Vec<Task>,
    pub(super) trace: Trace,
    pub(super) reached: BTreeSet<&'static str>,
    pub(super) deaths: u32,
    pub(super) failure: Option<String>,
}

impl Scheduler {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut one_of = |choices: &[u32]| choices[rng.usize(..choices.len())];
        let temper = Temper {
            switch_one_in: one_of(&[1, 2, 3, 5, 8, 16, 32, 64]),
            kill_one_in: one_of(&[40, 100, 300, 1_000]),
            stop_one_in: one_of(&[30, 100, 300, 1_000]),
            stop_steps_max: one_of(&[10, 50, 200, 600]).into(),
            buggify_one_in: one_of(&[2, 8, 32]),
        };
        Self {
            seed,
            rng,
            schedule: Schedule::default(),
            temper,
            now: Duration::ZERO,
            steps: 0,
            tasks: Vec::new(),
            trace: Trace::new(),
            reached: BTreeSet::new(),
            deaths: 0,
            failure: None,
        }
    }

    pub(super) fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.rng.usize(..n)
    }

    /// Adds a task that may die `deaths_left` times. It starts after a random delay of at most
    /// `delay_steps_max` steps.
    pub(super) fn add(&mut self, name: String, deaths_left: u32, delay_steps_max: u64) -> usize {
        let delay = self.rng.u64(..=delay_steps_max);
        self.trace.add_task(name);
        self.tasks.push(Task {
            state: State::Alive,
            deaths_left,
            stopped_until_step: self.steps + delay,
            sleeps_until: Duration::ZERO,
            at: Site::Start,
        });
        self.tasks.len() - 1
    }

    fn happens_one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    /// Decides what happens to the running task `me` at `site`.
    pub(super) fn step(&mut self, me: usize, site: Site) -> Verdict {
        self.steps += 1;
        self.now += self.schedule.tick;
        self.tasks[me].at = site;
        self.trace.step(me, site);
        if self.steps > self.schedule.steps_max {
            self.fail_for_want_of_steps();
            return Verdict::HandTo(None);
        }
        if self.dies(me) {
            return Verdict::Die;
        }
        let leaving = match site {
            Site::Sleep(duration) => {
                self.tasks[me].sleeps_until = self.now + duration;
                Leaving::Sleeps
            }
            _ if self.stops_at(site) => {
                let rest = self.rng.u64(1..=self.temper.stop_steps_max);
                self.tasks[me].stopped_until_step = self.steps + rest;
                Leaving::Stopped
            }
            Site::Yield => Leaving::Switched,
            _ if self.happens_one_in(self.temper.switch_one_in) => Leaving::Switched,
            _ => return Verdict::GoOn,
        };
        let next = self.pick();
        if next == Some(me) {
            return Verdict::GoOn;
        }
        self.trace.leave(site, leaving);
        self.begin_turn(next);
        Verdict::HandTo(next)
    }

    /// Stops are most likely at named points, where they do most harm.
    fn stops_at(&mut self, site: Site) -> bool {
        let one_in = match site {
            Site::Delay(_) => return true,
            Site::Point(_) => self.temper.stop_one_in.div_ceil(4),
            _ => self.temper.stop_one_in,
        };
        self.schedule.stops && self.happens_one_in(one_in)
    }

    /// Whether `me` dies where it is: before its step, or after other tasks have seen what it has done so
    /// far. A stopped task dies more often, as other tasks have had time to build on what it did.
    pub(super) fn dies(&mut self, me: usize) -> bool {
        let was_stopped = core::mem::take(&mut self.tasks[me].stopped_until_step) > 0;
        let one_in = match was_stopped {
            true => self.temper.kill_one_in.div_ceil(10),
            false => self.temper.kill_one_in,
        };
        self.schedule.kills && self.tasks[me].deaths_left > 0 && self.happens_one_in(one_in)
    }

    /// Records that `me` has died; returns how often its next life may die.
    pub(super) fn bury(&mut self, me: usize) -> u32 {
        self.deaths += 1;
        self.trace.leave(self.tasks[me].at, Leaving::Died);
        self.tasks[me].state = State::Over;
        self.tasks[me].deaths_left - 1
    }

    /// Records that `me` has ended.
    pub(super) fn finish(&mut self, me: usize) {
        self.trace.leave(self.tasks[me].at, Leaving::Ended);
        self.tasks[me].state = State::Over;
    }

    pub(super) fn fail(&mut self, me: usize, text: &str) {
        let name = self.trace.name(me).to_owned();
        self.failure = Some(format!("{name}: {text}"));
    }

    /// The task that runs after a task that does not come back.
    pub(super) fn next(&mut self) -> Option<usize> {
        let next = match self.failure {
            Some(_) => None,
            None => self.pick(),
        };
        self.begin_turn(next);
        next
    }

    fn begin_turn(&mut self, next: Option<usize>) {
        if let Some(task) = next {
            self.trace.turn(task, self.steps, self.now);
        }
    }

    /// One of the tasks that can run. If none can, time passes until the first one can.
    fn pick(&mut self) -> Option<usize> {
        let (steps, now) = (self.steps, self.now);
        let is_alive = |task: &&Task| task.state == State::Alive;
        let is_able = |task: &Task| task.stopped_until_step <= steps && task.sleeps_until <= now;
        let able = self
            .tasks
            .iter()
            .filter(is_alive)
            .filter(|task| is_able(task));
        let count = able.count();
        if count > 0 {
            let nth = self.rng.usize(..count);
            let mut able = self
                .tasks
                .iter()
                .enumerate()
                .filter(|(_, task)| is_alive(task) && is_able(task));
            return able.nth(nth).map(|(index, _)| index);
        }
        let alive = self
            .tasks
            .iter_mut()
            .enumerate()
            .filter(|(_, task)| task.state == State::Alive);
        let (index, task) = alive.min_by_key(|(_, task)| {
            (
                task.stopped_until_step > steps,
                task.sleeps_until,
                task.stopped_until_step,
            )
        })?;
        self.now = self.now.max(task.sleeps_until);
        task.stopped_until_step = task.stopped_until_step.min(steps);
        Some(index)
    }

    /// Whether the rare branch `name` is taken. Each seed has some names switched off.
    pub(super) fn buggify(&mut self, name: &'static str) -> bool {
        let hash = name.bytes().fold(self.seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let is_enabled = self.schedule.buggifies && (hash >> 32) & 1 == 0;
        let happens = is_enabled && self.happens_one_in(self.temper.buggify_one_in);
        if happens {
            self.trace.buggify(name);
            self.reached.insert(name);
        }
        happens
    }

    fn fail_for_want_of_steps(&mut self) {
        let alive = self.tasks.iter().enumerate();
        let places: Vec<String> = alive
            .filter(|(_, task)| task.state == State::Alive)
            .map(|(index, task)| format!("{} at {}", self.trace.name(index), task.at))
            .collect();
        let steps = self.schedule.steps_max;
        self.failure = Some(format!(
            "not over after {steps} steps: {}",
            places.join(", ")
        ));
    }
}
