//! A process is killed or stopped at every step of sending and receiving a message. See `tests/src/frames/sweep.rs`.
//!
//! By default every third case runs, as a sample. `SWEEP_ALL=1` (`ci/sweep`) runs all of them,
//! `SWEEP_CASE=shm/768/batch.written` those whose names contain this text.
#![cfg(debug_assertions)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use myelon_tests::frames::judge::Summary;
use myelon_tests::frames::sweep::{self, CASES_MIN, Case};

const FRAMER: &str = env!("CARGO_BIN_EXE_framer");
/// One in this many cases is in the sample. The number has no common divisor with the numbers of backings
/// and actions, so that the sample has all of them.
const SAMPLE: usize = 3;
/// Cases that run at the same time.
const THREADS: usize = 3;
/// After this many failures no further case is started, because each may have waited for the harness's whole time-out.
const FAILURES_MAX: usize = 10;

fn run_all(cases: &[Case]) -> (Summary, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Summary::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = sweep::run(FRAMER, *case);
                    let mut results = results.lock().expect("nobody panics with it");
                    match outcome {
                        Ok(summary) => results.0 += summary,
                        Err(why) => results.1.push(format!("SWEEP_CASE='{case}': {why}")),
                    }
                    if results.1.len() >= FAILURES_MAX {
                        next.store(cases.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with it")
}

#[test]
fn every_step_of_a_message() {
    let all = sweep::cases();
    assert!(
        all.len() >= CASES_MIN,
        "the sweep has shrunk: {}",
        all.len()
    );
    let filter = std::env::var("SWEEP_CASE").unwrap_or_default();
    let is_sample = filter.is_empty() && std::env::var("SWEEP_ALL").is_err();
    let cases: Vec<Case> = all
        .iter()
        .filter(|case| case.to_string().contains(&filter))
        .step_by(if is_sample { SAMPLE } else { 1 })
        .copied()
        .collect();
    let (sum, failures) = run_all(&cases);
    println!("{sum:?}");
    println!("swept {} of {} cases over messages", cases.len(), all.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    // some consumers came back in the middle of a message, and some before the end of one
    assert!(
        !is_sample || (sum.missed > 0 && sum.repeated > 0 && sum.unsent > 0),
        "{sum:?}"
    );
}
