//! Each peer of this build carries every message, and a planted fault is found in each of its rows.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The peers that are crates of this build.
const PEERS: &[&str] = &[
    #[cfg(feature = "crossbeam")]
    "crossbeam",
    #[cfg(feature = "disruptor")]
    "disruptor",
    #[cfg(feature = "iceoryx2")]
    "iceoryx2",
    #[cfg(feature = "rtrb")]
    "rtrb",
    #[cfg(feature = "shaq")]
    "shaq",
    #[cfg(feature = "subetha")]
    "subetha",
    #[cfg(feature = "tachyon")]
    "tachyon",
    #[cfg(feature = "zeromq")]
    "zeromq",
];

/// Runs `compare` with these options; returns the rows, the exit code, and what it wrote to standard error.
fn compare(options: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rows.json");
    let mut program = Command::new(env!("CARGO_BIN_EXE_perf-bench"));
    let program = program.args(["compare", "--quick", "--hang-limit-ms", "600000"]);
    let program = program.args(options).arg("--json").arg(&file);
    let child = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("it starts");
    let prefix = format!("perf-bench-{}", child.id());
    let output = child.wait_with_output().expect("it ends");
    let shared = std::fs::read_dir("/dev/shm").expect("shared memory");
    for entry in shared.flatten() {
        let name = entry.file_name();
        assert!(
            !name.to_string_lossy().starts_with(&prefix),
            "left: {name:?}"
        );
    }
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = std::fs::read_to_string(&file);
    let json = json.unwrap_or_else(|error| panic!("no rows ({error}): {says}"));
    let rows = serde_json::from_str(&json).expect("an array of objects");
    (rows, output.status.code(), says)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().expect("a text")
}

#[test]
fn each_peer_carries_every_message() {
    let (rows, code, says) = compare(&["--rounds", "2"]);
    assert_eq!(code, Some(0), "{says}");
    for peer in PEERS {
        let own = rows.iter().filter(|row| text(row, "peer") == *peer);
        let scenarios: BTreeSet<_> = own.map(|row| text(row, "scenario")).collect();
        // SubEtha's broadcasts are of 52 bytes at most
        let broadcasts = usize::from(*peer != "subetha");
        assert_eq!(scenarios.len(), 2 + broadcasts, "{peer}: {scenarios:?}");
    }
    assert!(rows.iter().all(|row| row["verified"] == true), "{says}");
}

#[test]
fn a_fault_is_found_in_each_row() {
    let (rows, code, says) = compare(&[
        "--rounds",
        "3",
        "--size",
        "56",
        "--fault",
        "flip,lose,double",
    ]);
    assert_eq!(code, Some(1), "{says}");
    for row in &rows {
        assert_eq!(row["verified"], false, "{row}");
        let name = format!(
            "not verified: {} on {}, 56 bytes: ",
            text(row, "scenario"),
            text(row, "peer")
        );
        let line = says
            .lines()
            .find(|line| line.contains(&name))
            .expect("a complaint");
        for round in 1..=3 {
            assert!(line.contains(&format!("round {round}: ")), "{line}");
        }
    }
}
