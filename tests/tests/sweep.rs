//! At every fail point, in every role that comes to it, a process is killed, stopped or late. See `tests/src/sweep`.
//!
//! `SWEEP_CASE=shm/2/takeover.head` runs the cases whose names contain that, `SWEEP_LONG=1` every occurrence of each
//! point, `SWEEP_THREADS=4` so many cases at a time.
#![cfg(debug_assertions)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use disruptor_mp::FAIL_POINTS;
use myelon_tests::checker::Summary;
use myelon_tests::sweep::{self, CASES_MIN, Case};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// What became of the cases that ran.
#[derive(Debug, Default)]
struct Results {
    failures: Vec<String>,
    per_point: BTreeMap<&'static str, usize>,
    sum: Summary,
    slowest: Option<(Duration, String)>,
}

impl Results {
    fn note(&mut self, case: &Case, took: Duration, outcome: Result<Summary, String>) {
        *self.per_point.entry(case.row.point).or_default() += 1;
        if self
            .slowest
            .as_ref()
            .is_none_or(|(slowest, _)| took > *slowest)
        {
            self.slowest = Some((took, case.to_string()));
        }
        match outcome {
            Ok(summary) => {
                self.sum.events += summary.events;
                self.sum.sightings += summary.sightings;
                self.sum.repeated += summary.repeated;
            }
            Err(why) => self.failures.push(format!("SWEEP_CASE='{case}': {why}")),
        }
    }
}

/// Runs them, a few at a time.
fn run_all(cases: &[Case]) -> Results {
    let threads = std::env::var("SWEEP_THREADS").map_or(3, |text| text.parse().expect("a number"));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Results::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let outcome = sweep::run(ACTOR, *case);
                    let mut results = results.lock().expect("nobody panics with it");
                    results.note(case, begun.elapsed(), outcome);
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with it")
}

#[test]
fn every_point_in_every_role() {
    let all = sweep::cases(std::env::var("SWEEP_LONG").is_ok());
    let filter = std::env::var("SWEEP_CASE").unwrap_or_default();
    let cases: Vec<Case> = all
        .iter()
        .filter(|case| case.to_string().contains(&filter))
        .copied()
        .collect();
    let results = run_all(&cases);
    for (point, count) in &results.per_point {
        println!("{count:5} {point}");
    }
    println!("{:?}, slowest: {:?}", results.sum, results.slowest);
    println!("swept {} of {} cases", cases.len(), all.len());
    assert!(
        results.failures.is_empty(),
        "\n{}",
        results.failures.join("\n")
    );
    assert!(!cases.is_empty(), "no case is called {filter}");
    assert!(
        filter != "" || cases.len() >= CASES_MIN,
        "the sweep has shrunk"
    );
}

#[test]
fn no_point_is_left_out() {
    let rows = sweep::table::rows();
    for point in FAIL_POINTS {
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
