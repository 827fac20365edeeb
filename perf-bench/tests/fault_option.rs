//! The benchmark can fail: with planted faults each scenario reports `verified: false`, names the cell and the round of
//! each fault, and exits with 1. Without them it verifies everything, which `cli.rs` shows.

mod run;

use serde_json::Value;

use run::{Ended, program, turn};

/// The faults in messages, in the order in which they are planted: one in each of the rounds 1, 2 and 3.
const MESSAGE_FAULTS: [&str; 3] = ["flip", "lose", "double"];

/// Runs the command with planted faults, each in a round of its own; returns the rows, and what the program
/// wrote.
fn run(command: &str, faults: &[&str]) -> (Vec<Value>, String) {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rows.json");
    let mut program = program();
    program.args(command.split_whitespace());
    program.args(["--quick", "--rounds", &faults.len().to_string()]);
    // the round limits are short, and the machine may be busy
    program.args(["--hang-limit-ms", "600000"]);
    program.args(["--fault", &faults.join(","), "--json"]);
    let Ended { code, text } = run::to_its_end(program.arg(&file));
    assert_eq!(code, Some(1), "{faults:?}: {text}");
    let json = std::fs::read_to_string(&file);
    let json = json.unwrap_or_else(|error| panic!("no rows ({error}): {text}"));
    let rows = serde_json::from_str(&json).expect("an array of objects");
    (rows, text)
}

/// Whether the row is of a floor whose lines hold a number and no message.
fn is_bounce(row: &Value) -> bool {
    row["scenario"]
        .as_str()
        .is_some_and(|scenario| scenario.ends_with("line_bounce"))
}

fn name(row: &Value) -> String {
    let scenario = row["scenario"].as_str().expect("a name");
    let place = row["backend"].as_str().or(row["peer"].as_str());
    let place = place.expect("a backend, or a peer of `compare`");
    format!("{scenario} on {place}, {} bytes", row["size_bytes"])
}

/// Checks that each fault was found in its round in every row; in bounces, which have no messages, only that a round
/// was slow. A comparison of several cells complains about any one of them.
fn assert_found(command: &str, faults: &[&str]) -> String {
    let (rows, complaints) = run(command, faults);
    let mut found = 0;
    for row in &rows {
        let name = name(row);
        let expected: Vec<(usize, &str)> = (1..)
            .zip(faults.iter().copied())
            .filter(|&(_, fault)| fault == "slow" || !is_bounce(row))
            .collect();
        assert_eq!(row["verified"], expected.is_empty(), "{name}: {complaints}");
        let start = format!("not verified: {name}: ");
        for (round, fault) in expected {
            // the limit is for all rounds, but only this one was slowed down
            let says = if fault == "slow" {
                format!("round {round}: it took ")
            } else {
                format!("round {round}: ")
            };
            let is_it = |line: &str| line.contains(&start) && line.contains(&says);
            assert!(
                complaints.lines().any(is_it),
                "{fault}: no {says:?} about {name} in\n{complaints}"
            );
            found += 1;
        }
    }
    assert!(found > 0);
    complaints
}

/// Of the complaint of a scenario: both ends found the fault of each of these rounds.
fn assert_both_ends_found(complaints: &str, scenario: &str, rounds: std::ops::RangeInclusive<u32>) {
    let start = format!("not verified: {scenario} on ");
    let mut lines = complaints.lines().filter(|line| line.contains(&start));
    let line = lines.next().expect("a complaint");
    for round in rounds {
        let both = format!("round {round}: each of the two");
        assert!(line.contains(&both), "{both}: {line}");
    }
}

#[test]
fn wrong_events_and_slow_rounds_are_found_in_each_raw_scenario() {
    let faults = all_faults();
    let complaints = assert_found(
        "raw --size 8,56 --backend shm --round-limit-ms 100",
        &faults,
    );
    assert!(
        complaints.contains("and the limit is 100 ms"),
        "{complaints}"
    );
    for scenario in ["ping_pong", "ping_pong_read_only", "bare_ping_pong"] {
        assert_both_ends_found(&complaints, scenario, 2..=4);
    }
}

#[test]
fn wrong_messages_and_slow_rounds_are_found_in_each_layer() {
    let faults = all_faults();
    let complaints = assert_found("layers --backend shm --round-limit-ms 100", &faults);
    for scenario in ["framed_ping_pong", "typed_ping_pong"] {
        assert_both_ends_found(&complaints, scenario, 2..=4);
    }
}

/// The four faults, the slow round first.
fn all_faults() -> Vec<&'static str> {
    [&["slow"][..], &MESSAGE_FAULTS].concat()
}

const EVERY_LAYER: &str = "--layer raw,framed,bincode,postcard,rkyv,flatbuffers,in_place --size 64";

#[test]
#[ignore = "takes many seconds: run by ci/bench"]
fn wrong_messages_and_slow_rounds_are_found_on_each_chosen_layer() {
    for command in ["pingpong", "stream"] {
        let options = "--enable-counters --liveness --round-limit-ms 100";
        assert_found(&format!("{command} {EVERY_LAYER} {options}"), &all_faults());
        let paced = "--layer raw,framed --size 64 --rate 5000 --round-limit-ms 100";
        assert_found(&format!("{command} {paced}"), &all_faults());
    }
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes many seconds: run by ci/bench"]
fn wrong_messages_and_slow_rounds_are_found_in_broadcasts_on_each_layer() {
    let options = "--consumers 2 --round-limit-ms 200";
    assert_found(&format!("broadcast {EVERY_LAYER} {options}"), &all_faults());
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes many seconds: run by ci/bench"]
fn wrong_messages_are_found_in_churn_and_wake_ups_on_each_layer() {
    for command in ["churn", "wait"] {
        assert_found(&format!("{command} {EVERY_LAYER}"), &MESSAGE_FAULTS);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_events_and_slow_rounds_are_found_while_consumers_come_and_go() {
    assert_found("churn", &MESSAGE_FAULTS);
    assert_found("churn --round-limit-ms 1000", &["slow"]);
}

#[test]
fn wrong_messages_and_slow_rounds_are_found_in_whole_messages() {
    assert_found("nofrag --size 4096 --round-limit-ms 100", &all_faults());
}

/// Most floors have no messages.
#[test]
#[ignore = "takes many seconds: run by ci/bench"]
fn slow_rounds_are_found_in_each_floor() {
    assert_found("limits --round-limit-ms 100", &["slow"]);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes many seconds: run by ci/bench"]
fn a_slow_round_is_found_in_sessions_and_in_broadcasts() {
    assert_found("session --scenario call --round-limit-ms 2000", &["slow"]);
    assert_found("broadcast --consumers 2 --round-limit-ms 1000", &["slow"]);
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_events_are_found_in_each_waiting_scenario() {
    assert_found("wait", &MESSAGE_FAULTS);
}

/// The waiting scenarios begin and end their rounds by the same two functions, which this one shows to keep the time.
#[test]
#[cfg(target_os = "linux")]
fn a_slow_round_is_found_in_a_waiting_scenario() {
    assert_found(
        "wait --scenario wake_latency --round-limit-ms 1000",
        &["slow"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_messages_are_found_in_sessions() {
    assert_found("session", &MESSAGE_FAULTS);
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_events_are_found_in_broadcasts() {
    assert_found("broadcast --consumers 1,2", &MESSAGE_FAULTS);
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_messages_are_found_in_each_comparison() {
    let complaints = assert_found("compare", &MESSAGE_FAULTS);
    assert_both_ends_found(&complaints, "pingpong", 1..=3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_slow_round_is_found_in_a_comparison() {
    let chosen = "compare --peer pipe --scenario stream,broadcast --size 56";
    assert_found(&format!("{chosen} --round-limit-ms 200"), &["slow"]);
}
