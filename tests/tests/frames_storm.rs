//! Storms over messages: senders and receivers are killed and stopped at random. Every message arrives whole,
//! in order and once, except for those that a death repeats or cuts off, as documented.
//!
//! `MYELON_STORM=2000` sets the number of kills and stops, by default some hundred. `MYELON_STORM_SEED=17`
//! plays the round of that seed again. The decisions are the same, but at other moments, because those depend
//! on the system.

use std::panic::{AssertUnwindSafe, catch_unwind};

use myelon_tests::frames::storm::{Count, Wrong, play};

const FRAMER: &str = env!("CARGO_BIN_EXE_framer");

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: want a number")),
    )
}

/// Plays a round. A fault is reported with the seed.
fn round(seed: u64, wrong: Wrong) -> Result<Count, String> {
    let fault = match catch_unwind(AssertUnwindSafe(|| play(FRAMER, seed, wrong))) {
        Ok(Ok(count)) => return Ok(count),
        Ok(Err(fault)) => fault,
        Err(panic) => panic
            .downcast::<String>()
            .map_or_else(|_| String::from("a panic"), |text| *text),
    };
    Err(format!("round MYELON_STORM_SEED={seed}: {fault}"))
}

#[test]
fn storm_over_messages_loses_nothing() {
    if let Some(seed) = number("MYELON_STORM_SEED") {
        let count = round(seed, Wrong::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        println!("round {seed}: {count:?}");
        return;
    }
    // a fifth of the number for storms over raw rings
    let wanted = number("MYELON_STORM").unwrap_or(500) / 5;
    let base = fastrand::u64(..u64::MAX / 2);
    println!("storm over messages: seeds from {base} on");
    let (mut rounds, mut total) = (0, Count::default());
    while total.kills + total.stops < wanted {
        total += round(base + rounds, Wrong::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        rounds += 1;
    }
    println!("storm over messages: {rounds} rounds, {total:?}");
    println!("cases {}", total.kills + total.stops);
    assert!(total.kills > 0 && total.stops > 0);
    assert!(total.judged.spilled > 0 && total.judged.unsent > 0);
}

/// Plays rounds with a planted fault until it is detected.
#[track_caller]
fn assert_found(what: &str, words: &[&str], wrong: Wrong) {
    let fault = (0..20).find_map(|seed| round(seed, wrong).err());
    let fault = fault.unwrap_or_else(|| panic!("{what}: twenty rounds, and nobody noticed"));
    assert!(words.iter().any(|word| fault.contains(word)), "{fault}");
    println!("control {what}: {fault}");
}

#[test]
fn control_message_that_is_acknowledged_too_early_is_found() {
    let words = ["missing", "was next"];
    assert_found("acknowledged too early", &words, Wrong::Early);
}

#[test]
fn control_message_that_is_released_before_it_is_written_down_is_found() {
    let words = ["missing", "was next"];
    assert_found("released too early", &words, Wrong::Late);
}
