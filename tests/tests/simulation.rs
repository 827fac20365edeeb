//! A simulation of every party that may share a ring: thousands of seeds, each with another history of
//! interruptions, stops and deaths. A seed that fails is printed with its history, and gives the same history
//! again.
//!
//! `MYELON_SIMULATE_SEED=<n>` runs and prints that seed alone; `MYELON_SIMULATE_SEEDS=<n>` runs n seeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use disruptor_mp::dst::{self, BUGGIFIED, MARKS, Outcome};
use disruptor_mp::{Deadline, DiscoveryMode, HeapRing, RecvError};
use myelon_tests::simulation::{CONTROLS, SITUATIONS, search, simulate};

/// The default number of seeds, with which every mark is reached. `ci/simulate` runs five times as many.
const SEEDS: u64 = 600;
/// The number of seeds within which a planted bug must be found.
const SEEDS_OF_A_CONTROL: u64 = 30_000;

/// Planted bugs that few seeds find, each with a seed behind which one does. The search begins there: the seeds before
/// take a minute.
const RARE: [(&str, u64); 2] = [("EvictCheck", 3_760), ("TakeoverGate", 23_880)];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

#[test]
fn every_seed_holds() {
    if let Some(seed) = number("MYELON_SIMULATE_SEED") {
        let outcome = simulate(seed, None);
        println!("{outcome}");
        return outcome.assert_passed();
    }
    let seeds = number("MYELON_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let tally = search(0..seeds, |seed| simulate(seed, None));
    if let Some(failed) = tally.failed {
        panic!(
            "{failed}\nagain: MYELON_SIMULATE_SEED={} ci/simulate",
            failed.seed()
        );
    }
    let (steps, deaths) = (tally.steps, tally.deaths);
    println!(
        "held: {} seeds, {steps} steps, {deaths} deaths",
        tally.seeds
    );
    let all = MARKS.iter().chain(BUGGIFIED).chain(SITUATIONS);
    let missed: Vec<_> = all.filter(|mark| !tally.reached.contains(*mark)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let listed: Vec<_> = MARKS.iter().chain(BUGGIFIED).chain(SITUATIONS).collect();
    let unlisted = tally.reached.iter().filter(|mark| !listed.contains(mark));
    let own = ["producer.drops_out", "consumer.drops_out"];
    let unlisted: Vec<_> = unlisted.filter(|mark| !own.contains(mark)).collect();
    assert!(unlisted.is_empty(), "in no list: {unlisted:?}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let histories: Vec<String> = (0..60)
        .map(|seed| {
            let [first, second] = [(); 2].map(|()| simulate(seed, None).trace().to_string());
            assert_eq!(first, second, "seed {seed}");
            first
        })
        .collect();
    for (index, history) in histories.iter().enumerate() {
        assert!(
            !histories[..index].contains(history),
            "two seeds, one history"
        );
    }
}

/// Each control leaves one step of the protocol out, or takes it in the wrong place. The simulation must find
/// that, and find it again with the same seed.
#[test]
fn planted_bugs_are_found() {
    for step in CONTROLS {
        let rare = RARE.iter().find(|(rare, _)| rare == step);
        let first = rare.map_or(0, |(_, seed)| *seed);
        let planted = |seed| simulate(seed, Some(step));
        let found = search(first..SEEDS_OF_A_CONTROL, planted).failed;
        let Some(failed) = found.or_else(|| search(0..first, planted).failed) else {
            panic!("{step} was left out, and {SEEDS_OF_A_CONTROL} seeds held");
        };
        let (seed, failure) = (failed.seed(), failed.failure().unwrap_or_default());
        println!("found: {step}, seed {seed}: {}", failure.replace('\n', " "));
        let again = simulate(seed, Some(step));
        assert_eq!(
            again.trace().to_string(),
            failed.trace().to_string(),
            "{step}"
        );
        simulate(seed, None).assert_passed();
    }
}

/// A consumer that is expected, and dies while it joins on a line that others have left, misses no event.
fn expected_consumer(seed: u64) -> Outcome {
    dst::simulate(seed, |simulation| {
        let ring = Arc::new(HeapRing::<u64>::new(2).expect("a ring"));
        let seen = AtomicI64::new(0);
        for name in ["visitor", "guest"] {
            let theirs = Arc::clone(&ring);
            simulation.spawn_mortal(name, 3, move |_| {
                for _ in 0..3 {
                    let mut rx = theirs.builder().build_consumer().expect("a line");
                    let _ = rx.try_consume_next();
                }
            });
        }
        let theirs = Arc::clone(&ring);
        simulation.spawn_mortal("expected", 6, move |_| {
            let mut rx = theirs.consumer("expected").expect("a line");
            let next = rx.current_sequence() + 1;
            assert!(next <= seen.load(Ordering::Relaxed), "starts at {next}");
            loop {
                match rx.recv(Deadline::NEVER) {
                    Ok(event) => seen.store(event.sequence() + 1, Ordering::Relaxed),
                    Err(RecvError::Closed) => return,
                    // the producer has not come yet
                    Err(RecvError::ProducerDead { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        simulation.spawn("producer", move || {
            let expected = DiscoveryMode::Ids(vec![String::from("expected")]);
            let builder = ring.builder().with_discovery(expected);
            let mut tx = builder.build_zeroed_producer().expect("a producer");
            for number in 0..12 {
                tx.publish_value(number);
            }
        });
    })
}

#[test]
fn an_expected_consumer_misses_nothing() {
    if let Some(failed) = search(0..2_000, expected_consumer).failed {
        panic!("{failed}");
    }
}

/// Simulated time passes in long steps only when every task sleeps. A task that waits for ever is detected.
#[test]
fn waiting_is_simulated() {
    let slept = dst::simulate(1, |simulation| {
        simulation.spawn("sleeper", || {
            let before = dst::now();
            dst::sleep(Duration::from_secs(3_600));
            assert!(dst::now() - before >= Duration::from_secs(3_600));
        });
    });
    slept.assert_passed();
    let waits = dst::simulate(1, |simulation| {
        let ring = HeapRing::<u64>::new(2).expect("a ring");
        simulation.spawn("in vain", move || {
            let _tx = ring.producer().expect("a producer");
            let mut rx = ring.consumer("reader").expect("a consumer");
            let _ = rx.recv(Deadline::NEVER);
        });
    });
    let failure = waits.failure().expect("nobody publishes");
    assert!(
        failure.contains("not over") && failure.contains("in vain"),
        "{failure}"
    );
}

#[test]
fn a_failure_names_the_task_and_its_panic() {
    let outcome = dst::simulate(7, |simulation| {
        simulation.spawn("good", || dst::point("here"));
        simulation.spawn("bad", || panic!("on purpose"));
    });
    assert_eq!(outcome.failure(), Some("bad: on purpose"));
    assert!(outcome.to_string().contains("seed 7: bad: on purpose"));
}
