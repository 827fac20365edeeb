//! The benchmark can fail: with a planted fault each scenario reports `verified: false`, names the cell and exits
//! with 1. Without one it verifies everything, which `cli.rs` shows.

use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

const MESSAGE_FAULTS: [&str; 3] = ["flip", "lose", "double"];

/// Lets runs use the two cores one after the other. In parallel, runs that spin would delay all others.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one round with a planted fault; returns the rows, and what the program wrote to standard error.
fn run(command: &str, fault: &str) -> (Vec<Value>, String) {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rows.json");
    let output: Output = Command::new(env!("CARGO_BIN_EXE_perf-bench"))
        .args(command.split_whitespace())
        .args(["--quick", "--rounds", "1", "--fault", fault, "--json"])
        .arg(&file)
        .output()
        .expect("perf-bench starts");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{fault}: {complaints}");
    let json = std::fs::read_to_string(&file).expect("the file is written");
    let rows = serde_json::from_str(&json).expect("an array of objects");
    (rows, complaints)
}

/// Whether the row is of a floor whose lines hold a number and no message.
fn is_bounce(row: &Value) -> bool {
    row["scenario"]
        .as_str()
        .is_some_and(|scenario| scenario.ends_with("line_bounce"))
}

fn name(row: &Value) -> String {
    let [scenario, backend] =
        ["scenario", "backend"].map(|key| row[key].as_str().expect("a name").to_owned());
    format!("{scenario} on {backend}, {} bytes", row["size_bytes"])
}

/// Checks that no row is verified except bounces, and that each of these rows is named with its round.
fn assert_found(command: &str, fault: &str) -> String {
    let (rows, complaints) = run(command, fault);
    let faulty = rows.iter().filter(|row| fault == "slow" || !is_bounce(row));
    let mut found = 0;
    for row in faulty {
        let name = name(row);
        assert_eq!(row["verified"], false, "{fault}: {name}");
        let complaint = format!("not verified: {name}: ");
        let line = complaints.lines().find(|line| line.contains(&complaint));
        let line = line.unwrap_or_else(|| panic!("{fault}: nothing about {name} in\n{complaints}"));
        assert!(line.contains("round "), "{line}");
        found += 1;
    }
    assert!(found > 0);
    if fault != "slow" {
        for row in rows.iter().filter(|row| is_bounce(row)) {
            assert_eq!(row["verified"], true, "{fault}: {row}");
        }
    }
    complaints
}

/// Of each complaint of a scenario: it is the first counted round, and both ends found the fault.
fn assert_both_ends_found(complaints: &str, scenario: &str) {
    let start = format!("not verified: {scenario} on ");
    let mut lines = complaints.lines().filter(|line| line.contains(&start));
    let line = lines.next().expect("a complaint");
    assert!(line.contains("round 1: each of the two"), "{line}");
}

#[test]
fn wrong_events_are_found_in_each_raw_scenario() {
    for fault in MESSAGE_FAULTS {
        let complaints = assert_found("raw --size 8,56", fault);
        for scenario in ["ping_pong", "ping_pong_read_only", "bare_ping_pong"] {
            assert_both_ends_found(&complaints, scenario);
        }
    }
}

#[test]
fn wrong_messages_are_found_in_each_layer() {
    for fault in MESSAGE_FAULTS {
        let complaints = assert_found("layers --backend shm", fault);
        for scenario in ["framed_ping_pong", "typed_ping_pong"] {
            assert_both_ends_found(&complaints, scenario);
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_events_are_found_in_each_waiting_scenario() {
    for fault in MESSAGE_FAULTS {
        assert_found("wait", fault);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_events_and_slow_rounds_are_found_in_broadcasts() {
    for fault in MESSAGE_FAULTS {
        assert_found("broadcast --consumers 1,2", fault);
    }
    assert_found("broadcast --consumers 2 --round-limit-ms 5000", "slow");
}

#[test]
fn a_slow_round_is_found_in_each_raw_scenario() {
    let complaints = assert_found("raw --size 8 --round-limit-ms 500", "slow");
    assert!(
        complaints.contains("and the limit is 500 ms"),
        "{complaints}"
    );
}

#[test]
fn a_slow_round_is_found_in_each_layer() {
    assert_found(
        "layers --backend shm --scenario ping_pong,short,access,codecs --round-limit-ms 500",
        "slow",
    );
    assert_found(
        "layers --backend shm --scenario long --round-limit-ms 2000",
        "slow",
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_slow_round_is_found_in_each_waiting_scenario() {
    assert_found("wait --round-limit-ms 2000", "slow");
}
