//! Runs many seeds. Each core runs one simulation after the other on threads pinned to it, because only one
//! thread of a simulation runs at a time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use disruptor_mp::dst::Outcome;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Totals of many seeds.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many simulations ran to the end.
    pub seeds: u64,
    /// How many steps they took.
    pub steps: u64,
    /// How many tasks were killed.
    pub deaths: u64,
    /// Every mark that any simulation reached.
    pub reached: BTreeSet<&'static str>,
    /// The failure of the smallest seed that failed.
    pub failed: Option<Box<Outcome>>,
}

/// Simulates these seeds until one fails. The failure reported is that of the smallest failing seed, whatever
/// the number of cores.
pub fn search(seeds: Range<u64>, simulate: impl Fn(u64) -> Outcome + Sync) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let tally = Mutex::new(Tally::default());
    let cores = cores();
    let worker = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores.len() {
            scope.spawn(|| {
                pin(cores[worker.fetch_add(1, Ordering::Relaxed)]);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = simulate(seed);
                    if outcome.failure().is_some() {
                        end.fetch_min(seed, Ordering::Relaxed);
                    }
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(outcome);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        if outcome.failure().is_none() {
            self.seeds += 1;
            self.steps += outcome.steps();
            self.deaths += u64::from(outcome.deaths());
            self.reached.extend(outcome.reached());
        } else if self
            .failed
            .as_ref()
            .is_none_or(|failed| outcome.seed() < failed.seed())
        {
            self.failed = Some(Box::new(outcome));
        }
    }
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("this thread's cores");
    (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect()
}

fn pin(core: usize) {
    let mut only = CpuSet::new();
    only.set(core).expect("a core");
    sched_setaffinity(Pid::from_raw(0), &only).expect("this thread may run on its cores");
}
