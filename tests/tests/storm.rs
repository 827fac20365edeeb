//! Storms: thousands of kills and stops of random processes at random moments, on rings of events and over messages.
//! Nothing is lost, what was seen comes again only after a death, messages are cut off only as documented, and no
//! process hangs.
//!
//! `MYELON_STORM=2000` sets the number of kills and stops, by default some hundred. `MYELON_STORM_SEED=17`
//! plays the round of that seed again. The decisions are the same, but at other moments, because those depend
//! on the system.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use myelon_tests::caught;
use myelon_tests::storm::{Cargo, Count, Wrong, play};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
/// Rounds that run at the same time.
const STORMS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: want a number")),
    )
}

/// Plays a round. A fault is reported with the seed.
fn round(cargo: Cargo, seed: u64, wrong: Wrong) -> Result<Count, String> {
    caught(|| play(ACTOR, cargo, seed, wrong))
        .map_err(|fault| format!("{cargo:?}, round MYELON_STORM_SEED={seed}: {fault}"))
}

/// Plays the rounds of one storm until there were enough kills and stops, or any storm found a fault.
fn storm(
    cargo: Cargo,
    first_seed: u64,
    wanted: u64,
    has_failed: &AtomicBool,
) -> Result<(u64, Count), String> {
    let (mut rounds, mut total) = (0, Count::default());
    while total.kills + total.stops < wanted && !has_failed.load(Ordering::Relaxed) {
        let played = round(cargo, first_seed + rounds * STORMS, Wrong::Nothing);
        has_failed.fetch_or(played.is_err(), Ordering::Relaxed);
        total += played?;
        rounds += 1;
    }
    Ok((rounds, total))
}

/// Plays storms until there were enough kills and stops, or the round that the environment names, which counts none.
fn storms(cargo: Cargo, wanted: u64) -> Option<Count> {
    if let Some(seed) = number("MYELON_STORM_SEED") {
        let count = round(cargo, seed, Wrong::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        println!("{cargo:?}, round {seed}: {count:?}");
        return None;
    }
    let base = fastrand::u64(..u64::MAX / 2);
    println!("storm, {cargo:?}: seeds from {base} on");
    let has_failed = AtomicBool::new(false);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let storms: Vec<_> = (0..STORMS)
            .map(|index| {
                let (has_failed, wanted) = (&has_failed, wanted.div_ceil(STORMS));
                scope.spawn(move || storm(cargo, base + index, wanted, has_failed))
            })
            .collect();
        storms
            .into_iter()
            .map(|storm| storm.join().expect("a storm"))
            .collect()
    });
    let (mut rounds, mut total) = (0, Count::default());
    for outcome in outcomes {
        let (more, count) = outcome.unwrap_or_else(|fault| panic!("{fault}"));
        rounds += more;
        total += count;
    }
    println!("storm, {cargo:?}: {rounds} rounds, {total:?}");
    println!("cases {}", total.kills + total.stops);
    assert!(total.kills + total.stops >= wanted);
    assert!(total.kills > 0 && total.stops > 0);
    Some(total)
}

#[test]
fn storm_of_kills_and_stops_loses_nothing() {
    storms(Cargo::Events, number("MYELON_STORM").unwrap_or(200));
}

/// A fifth of the number for events, but enough to meet messages that are longer than the ring and sends in vain.
#[test]
fn storm_over_messages_loses_nothing() {
    let wanted = number("MYELON_STORM").unwrap_or(200) / 5;
    if let Some(total) = storms(Cargo::Messages, wanted.max(200)) {
        assert!(total.judged.spilled > 0 && total.judged.unsent > 0);
    }
}

/// Plays rounds with a planted fault until it is detected.
#[track_caller]
fn assert_found(what: &str, words: &[&str], cargo: Cargo, wrong: Wrong) {
    let fault = (0..20).find_map(|seed| round(cargo, seed, wrong).err());
    let fault = fault.unwrap_or_else(|| panic!("{what}: twenty rounds, and nobody noticed"));
    assert!(words.iter().any(|word| fault.contains(word)), "{fault}");
    println!("control {what}: {fault}");
}

#[test]
fn control_what_is_acknowledged_too_early_is_found() {
    let words = ["was published", "was never written"];
    assert_found(
        "acknowledged too early",
        &words,
        Cargo::Events,
        Wrong::Early,
    );
}

#[test]
fn control_what_is_released_before_it_is_written_down_is_found() {
    let words = ["came back to", "saw up to"];
    assert_found("released too early", &words, Cargo::Events, Wrong::Late);
}

#[test]
fn control_a_process_that_hangs_is_found() {
    assert_found("stopped for good", &["Stuck"], Cargo::Events, Wrong::Hang);
}

#[test]
fn control_message_that_is_acknowledged_too_early_is_found() {
    let words = ["missing", "was next"];
    assert_found(
        "message acknowledged too early",
        &words,
        Cargo::Messages,
        Wrong::Early,
    );
}

#[test]
fn control_message_that_is_released_before_it_is_written_down_is_found() {
    let words = ["missing", "was next"];
    assert_found(
        "message released too early",
        &words,
        Cargo::Messages,
        Wrong::Late,
    );
}
