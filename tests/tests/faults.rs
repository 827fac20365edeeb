//! System calls that fail, and processes that are killed, interrupted or delayed at one. See `tests/src/faults.rs`.
//!
//! The tests need strace and are ignored unless `ci/faults` runs them. `MYELON_FAULTS=500` plays a sample of
//! 500 cases, chosen by `MYELON_FAULTS_SEED`; `MYELON_FAULTS=all` plays all cases.
//! `MYELON_FAULT=create/shm/linkat/1/kill` plays those whose names contain this text. `MYELON_FAULTS_THREADS=4`
//! plays four at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use myelon_tests::faults::{Act, Case, Played, SCENARIOS, Scenario, acts_at, sites};

const PROGRAM: &str = env!("CARGO_BIN_EXE_faults");
/// After this many findings no further case is started.
const FINDINGS_MAX: usize = 60;
/// The size of the sample without `MYELON_FAULTS`.
const SAMPLE: usize = 100;

/// Runs `work` once for each item on a few threads, until it returns that it is enough.
fn share_out<T: Sync>(items: &[T], work: impl Fn(&T) -> bool + Sync) {
    let threads =
        std::env::var("MYELON_FAULTS_THREADS").map_or(2, |text| text.parse().expect("a number"));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !work(item) {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Every case, as the recorded runs of the scenarios give them.
fn all_cases() -> Vec<Case> {
    let scenes: Vec<(&'static Scenario, &'static str)> = SCENARIOS
        .iter()
        .flat_map(|scenario| ["shm", "mmap"].map(|backing| (scenario, backing)))
        .collect();
    let cases = Mutex::new(Vec::new());
    share_out(&scenes, |&(scenario, backing)| {
        let (calls, base) = sites(PROGRAM, scenario, backing)
            .unwrap_or_else(|fault| panic!("{}/{backing}: {fault}", scenario.verb));
        let mut cases = cases.lock().expect("nobody panics with it");
        for (call, count) in calls {
            // the first `read` is the one that starts the scenario
            let first = if call == "read" { 2 } else { 1 };
            for nth in first..=count {
                cases.extend(acts_at(&call).map(|act| Case {
                    scenario,
                    backing,
                    call: call.clone(),
                    nth,
                    act,
                    base: base.clone(),
                    flaw: None,
                }));
            }
        }
        true
    });
    let mut cases = cases.into_inner().expect("nobody panics with it");
    cases.sort_by_cached_key(|case| case.to_string());
    cases
}

/// A sample of `size` cases, with at least one for each system call of each scenario.
fn sample_of(mut cases: Vec<Case>, size: usize, seed: u64) -> Vec<Case> {
    fastrand::Rng::with_seed(seed).shuffle(&mut cases);
    let mut seen = BTreeSet::new();
    let (mut chosen, others): (Vec<Case>, Vec<Case>) = cases
        .into_iter()
        .partition(|case| seen.insert((case.scenario.verb, case.backing, case.call.clone())));
    let rest = size.saturating_sub(chosen.len());
    chosen.extend(others.into_iter().take(rest));
    chosen
}

fn seed() -> u64 {
    std::env::var("MYELON_FAULTS_SEED").map_or(1, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "needs strace: ci/faults"]
fn every_system_call_of_every_scenario() {
    let all = all_cases();
    let total = all.len();
    let cases = match (
        std::env::var("MYELON_FAULT"),
        std::env::var("MYELON_FAULTS").as_deref(),
    ) {
        (Ok(filter), _) => {
            let is_wanted = |case: &Case| case.to_string().contains(&filter);
            all.into_iter().filter(is_wanted).collect()
        }
        (_, Ok("all")) => all,
        (_, Ok(size)) => sample_of(all, size.parse().expect("a number"), seed()),
        (_, Err(_)) => sample_of(all, SAMPLE, seed()),
    };
    assert!(!cases.is_empty(), "no case is called so");
    println!("playing {} of {total}, seed {}", cases.len(), seed());
    let begun = Instant::now();
    let findings = Mutex::new(Vec::new());
    let met = Mutex::new(BTreeMap::<String, usize>::new());
    share_out(&cases, |case| {
        let outcome = case.play(PROGRAM);
        match outcome {
            Ok(Played::Met) => {
                let mut met = met.lock().expect("nobody panics with it");
                *met.entry(case.call.clone()).or_default() += 1;
                true
            }
            Ok(Played::NotMet) => true,
            Err(fault) => {
                let mut findings = findings.lock().expect("nobody panics with it");
                findings.push(format!("MYELON_FAULT='{case}': {fault}"));
                findings.len() < FINDINGS_MAX
            }
        }
    });
    let met = met.into_inner().expect("nobody panics with it");
    println!("{met:?}, {:.1} s", begun.elapsed().as_secs_f64());
    println!("cases {}", met.values().sum::<usize>());
    let findings = findings.into_inner().expect("nobody panics with it");
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Plays a scenario with a planted mistake, which must be found.
fn control(verb: &str, flaw: &'static str, call: &str, act: Act, words: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.verb == verb);
    let scenario = scenario.expect("a scenario");
    let mut case = Case {
        scenario,
        backing: "shm",
        call: call.to_owned(),
        nth: 1,
        act,
        base: None,
        flaw: None,
    };
    assert_eq!(case.play(PROGRAM), Ok(Played::Met), "{case} as it is");
    case.flaw = Some(flaw);
    let found = case.play(PROGRAM).expect_err(flaw);
    assert!(found.contains(words), "{flaw}: {found}");
    println!("control caught: {flaw}");
}

#[test]
#[ignore = "needs strace: ci/faults"]
fn control_file_that_is_left_behind() {
    control("create", "litter", "linkat", Act::Kill, "left behind");
}

#[test]
#[ignore = "needs strace: ci/faults"]
fn control_error_that_becomes_a_panic() {
    control(
        "create",
        "panics",
        "linkat",
        Act::Fail("ENOSPC"),
        "exit status: 101",
    );
}

#[test]
#[ignore = "needs strace: ci/faults"]
fn control_error_that_becomes_a_hang() {
    control("create", "hangs", "linkat", Act::Fail("ENOSPC"), "it hung");
}

#[test]
#[ignore = "needs strace: ci/faults"]
fn control_position_that_was_not_kept() {
    // with this flaw the books run ahead of the ring
    control(
        "receive",
        "early",
        "futex",
        Act::Kill,
        "the durable consumer reads",
    );
}
