//! Runs the program as a user does: it ends well, verifies every row, writes the promised keys and leaves nothing
//! behind.

mod run;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use run::{Ended, program, turn};

const KEYS: &str = "scenario layer backend wait size_bytes capacity consumers rounds messages p50_ns p90_ns p99_ns p999_ns p9999_ns \
                    max_ns msgs_per_s bytes_per_s floor_one_line_ns floor_two_line_ns floor_stream_msgs_per_s \
                    ratio_to_floor placement cpu_user_s cpu_sys_s minor_faults major_faults voluntary_switches \
                    involuntary_switches verified";

/// The keys of every row that say where it comes from.
const ORIGIN_KEYS: &str = "commit command processor cores kernel build";

/// These keys, and those of every row.
fn with_origin(keys: &'static str) -> BTreeSet<&'static str> {
    keys.split_whitespace()
        .chain(ORIGIN_KEYS.split(' '))
        .collect()
}

/// The keys of the commands that compare figures, such as `layers` and `wait`.
const COMPARISON_KEYS: &str = "scenario layer backend wait size_bytes capacity consumers rounds messages unit figure figure_min \
                         figure_max floor floor_figure ratio_to_floor ratio_min ratio_max target is_met cpu_user_s \
                         cpu_sys_s minor_faults major_faults voluntary_switches involuntary_switches verified";

/// The keys of `compare`.
const COMPARE_KEYS: &str = "scenario peer between size_bytes capacity receivers rounds messages unit figure figure_min \
                      figure_max floor ratio_to_floor ratio_to_raw ratio_to_framed cpu_user_s cpu_sys_s minor_faults \
                      major_faults voluntary_switches involuntary_switches verified";

/// Runs the program with `--quick --json` and returns the rows.
fn rows(arguments: &[&str]) -> Vec<Value> {
    run(arguments).0
}

/// The same; also returns the program's output.
fn run(arguments: &[&str]) -> (Vec<Value>, String) {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rows.json");
    let mut program = program();
    let program = program.args(arguments).arg("--quick").arg("--json");
    let Ended { code, text } = run::to_its_end(program.arg(&file));
    assert_eq!(code, Some(0), "{text}");
    let json = std::fs::read_to_string(&file).expect("the file is written");
    let rows = serde_json::from_str(&json).expect("an array of objects");
    (rows, text)
}

/// The number of rows for a scenario on a backend at a size.
fn count(rows: &[Value], scenario: &str, backend: &str, size: usize) -> usize {
    rows.iter()
        .filter(|row| is(row, "scenario", scenario) && is(row, "backend", backend))
        .filter(|row| is(row, "layer", "raw") && row["size_bytes"] == size)
        .count()
}

fn is(row: &Value, key: &str, value: &str) -> bool {
    row[key].as_str() == Some(value)
}

#[test]
fn every_row_of_the_default_run_has_the_promised_keys_and_is_verified() {
    let (rows, printed) = run(&[]);
    let promised = with_origin(KEYS);
    for row in &rows {
        let keys: BTreeSet<&str> = row
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, promised);
        assert_eq!(row["verified"], true, "{row}");
        assert!(row["messages"].as_u64() > Some(0), "{row}");
        assert!(row["rounds"].as_u64() >= Some(7), "{row}");
        assert!(
            row["ratio_to_floor"].as_f64().is_some_and(f64::is_finite),
            "{row}"
        );
        assert_eq!(
            row["p50_ns"].is_null(),
            row["scenario"]
                .as_str()
                .is_some_and(|s| s.contains("stream")),
            "{row}"
        );
    }
    for scenario in ["ping_pong", "stream", "stream_batch16"] {
        for backend in ["shm", "mmap"] {
            for size in [8, 56, 64, 248] {
                let found = count(&rows, scenario, backend, size);
                assert_eq!(found, 1, "{scenario} {backend} {size}");
            }
        }
    }
    for (scenario, size) in [
        ("ping_pong_read_only", 56),
        ("stream_packed", 8),
        ("stream_packed_batch16", 8),
    ] {
        let all = rows.iter().filter(|row| is(row, "scenario", scenario));
        assert_eq!(all.count(), 1, "{scenario}");
        assert_eq!(count(&rows, scenario, "shm", size), 1, "{scenario}");
    }
    let gains = printed
        .lines()
        .find(|line| line.starts_with("batches of 16 against one publish per event"))
        .expect("a line about batches");
    let lines: Vec<&str> = printed.lines().collect();
    let [.., round_trip, stream, trust] = lines[..] else {
        panic!("{printed}");
    };
    assert!(
        round_trip.starts_with("A round trip of 56 bytes took "),
        "{round_trip}"
    );
    assert!(stream.starts_with("A stream moved "), "{stream}");
    let all = format!("All {} rows were verified", rows.len());
    assert!(trust.starts_with(&all), "{trust}");
    for sentence in [round_trip, stream, trust] {
        assert!(sentence.ends_with('.'), "{sentence}");
    }
    let heads = printed
        .lines()
        .filter(|line| line.contains("verified") && line.contains("capacity"));
    assert_eq!(heads.count(), 2);
    for column in [
        "on  ",
        "bytes  ",
        "capacity  ",
        "p50 ... max",
        "M/s, GB/s",
        "x two-line  ",
        "x bare  ",
        "min - max  ",
        "cpu s  ",
        "verified  ",
    ] {
        let explained = lines.iter().filter(|line| line.starts_with(column));
        assert_eq!(explained.count(), 1, "{column}");
    }
    for part in ["8 B x", "(packed batch", "56 B x", "64 B x", "248 B x"] {
        assert!(gains.contains(part), "{part} in {gains}");
    }
    assert!(
        rows.iter()
            .any(|row| is(row, "scenario", "one_line_bounce") && is(row, "layer", "floor"))
    );
}

#[test]
fn raw_measures_only_what_was_asked_for() {
    let rows = rows(&[
        "raw",
        "--size",
        "24,1024",
        "--backend",
        "mmap",
        "--scenario",
        "stream",
        "--rounds",
        "1",
    ]);
    let raw: Vec<_> = rows.iter().filter(|row| is(row, "layer", "raw")).collect();
    assert_eq!(raw.len(), 2);
    assert!(
        raw.iter()
            .all(|row| is(row, "backend", "mmap") && row["rounds"] == 1)
    );
}

#[test]
fn packed_streams_are_measured_at_the_sizes_that_share_lines() {
    let (rows, printed) = run(&[
        "raw",
        "--size",
        "8,24,56",
        "--scenario",
        "stream_packed,stream_packed_batch16",
        "--rounds",
        "1",
    ]);
    for scenario in ["stream_packed", "stream_packed_batch16"] {
        for (size, expected) in [(8, 1), (24, 1), (56, 0)] {
            assert_eq!(count(&rows, scenario, "shm", size), expected);
        }
    }
    assert!(rows.iter().all(|row| row["verified"] == true));
    let floors = rows
        .iter()
        .filter(|row| is(row, "scenario", "bare_stream_packed"));
    assert_eq!(floors.count(), 2);
    assert!(!printed.contains("batches of 16"), "nothing to compare");
}

#[test]
fn limits_measures_no_ring() {
    let (rows, printed) = run(&["limits", "--rounds", "2"]);
    assert!(
        rows.iter()
            .all(|row| is(row, "layer", "floor") && row["verified"] == true)
    );
    let placements: BTreeSet<&str> = rows
        .iter()
        .map(|row| row["placement"].as_str().expect("a placement"))
        .collect();
    assert!(!placements.is_empty());
    let mut rounds = 0;
    for placement in placements {
        let known = ["siblings", "near", "far", "moved"];
        assert!(known.contains(&placement), "{placement}");
        let own = || rows.iter().filter(|row| is(row, "placement", placement));
        let count = |scenario: &str, size: usize| {
            let of_size = own().filter(|row| row["size_bytes"] == size);
            of_size.filter(|row| is(row, "scenario", scenario)).count()
        };
        for size in (6..=26).step_by(2).map(|power| 1 << power) {
            assert_eq!(count("hot_copy", size), 1, "{size}");
            let blocks_twice = usize::from(size == 1 << 16);
            assert_eq!(count("fresh_copy", size), 1 + blocks_twice, "{size}");
        }
        for size in [8, 56, 64, 248] {
            assert_eq!(count("bare_cursor", size), 2, "{size}");
        }
        for operation in [
            "read_counter",
            "lock_add",
            "pause",
            "yield",
            "futex_round_trip",
            "eventfd_write_read",
            "context_switch",
            "page_fault",
        ] {
            assert_eq!(count(operation, 8), 1, "{operation}");
        }
        let of_group: BTreeSet<_> = own().filter_map(|row| row["rounds"].as_u64()).collect();
        assert_eq!(of_group.len(), 1, "all rows of a placement have its rounds");
        rounds += of_group.iter().sum::<u64>();
        assert!(
            printed.contains(&format!("placement {placement}, ")),
            "{printed}"
        );
    }
    assert!(
        rounds >= 2,
        "no round is in two groups or in none: {rounds}"
    );
    assert!(printed.contains("% stolen, load at most"), "{printed}");
}

/// Checks that the processes of a row have taken processor time, and that nothing is counted backwards.
fn assert_has_usage(row: &Value) {
    let of = |key: &str| row[key].as_f64().filter(|n| n.is_finite() && *n >= 0.0);
    let spent = of("cpu_user_s").zip(of("cpu_sys_s"));
    assert!(
        spent.is_some_and(|(user, system)| user + system > 0.0),
        "{row}"
    );
    for kind in [
        "minor_faults",
        "major_faults",
        "voluntary_switches",
        "involuntary_switches",
    ] {
        assert!(row[kind].as_u64().is_some(), "{kind}: {row}");
    }
}

/// Checks that a row of `layers` or `wait` has all promised keys, and that no figure is missing or infinite.
fn assert_compares(row: &Value, rounds: u64) {
    let keys = row.as_object().expect("an object").keys();
    let keys: BTreeSet<&str> = keys.map(String::as_str).collect();
    assert_eq!(keys, with_origin(COMPARISON_KEYS));
    assert_eq!(row["verified"], true, "{row}");
    assert_eq!(row["rounds"], rounds, "{row}");
    let of = |key: &str| row[key].as_f64().filter(|n| n.is_finite());
    assert!(of("ratio_to_floor").is_some(), "{row}");
    assert!(of("figure") <= of("figure_max"), "{row}");
    assert_has_usage(row);
    assert_eq!(row["target"].is_null(), row["is_met"].is_null(), "{row}");
}

#[test]
fn layers_has_a_row_for_each_layer_and_backend_beside_the_one_below() {
    let (rows, printed) = run(&["layers", "--rounds", "1"]);
    for row in &rows {
        assert_compares(row, 1);
        assert!(row["messages"].as_u64() > Some(0), "{row}");
        assert!(row["floor_figure"].as_f64() > Some(0.0), "{row}");
    }
    let count = |scenario: &str, backend: &str, size: u64, floor: &str| {
        let all = rows.iter().filter(|row| row["size_bytes"] == size);
        let all = all.filter(|row| is(row, "scenario", scenario) && is(row, "floor", floor));
        all.filter(|row| is(row, "backend", backend)).count()
    };
    let of_rings = [
        ("framed_ping_pong", 64, "ping_pong"),
        ("typed_ping_pong", 64, "codec_by_hand"),
        ("typed_ping_pong", 64, "framed_ping_pong + codec_alone"),
        ("framed_stream", 64, "stream"),
        ("reserved_stream", 64, "stream"),
        ("short_in_large_frames", 64, "framed_stream"),
        ("typed_stream", 64, "framed_stream"),
        ("framed_copy", 65_536, "fresh_copy"),
        ("framed_copy", 2 << 20, "fresh_copy"),
        ("in_place", 65_536, "fresh_copy"),
    ];
    for (scenario, size, floor) in of_rings {
        for backend in ["shm", "mmap"] {
            let found = count(scenario, backend, size, floor);
            assert_eq!(found, 1, "{scenario} {size} {floor} {backend}");
        }
    }
    let by_themselves = [
        ("rkyv_access", 1 << 10, "rkyv_access"),
        ("rkyv_access", 1 << 16, "rkyv_access"),
        ("rkyv_access", 1 << 20, "rkyv_access"),
        ("rkyv_access_nested", 1 << 16, "rkyv_access_nested"),
        ("codec_postcard", 64, "codec_alone"),
        ("codec_rkyv", 64, "codec_alone"),
        ("codec_flatbuffers", 64, "codec_alone"),
    ];
    for (scenario, size, floor) in by_themselves {
        let found = count(scenario, "none", size, floor);
        assert_eq!(found, 1, "{scenario} {size} {floor}");
    }
    assert_eq!(rows.len(), 2 * of_rings.len() + by_themselves.len());
    for target in [
        "ratio <= 1.15",
        "ratio <= 1.1",
        "ratio >= 0.3",
        "ratio >= 0.8",
        "ratio >= 0.7",
        "ratio <= 1.2",
    ] {
        assert!(printed.contains(target), "{target}");
    }
}

/// Runs two rounds of a command, which has exactly these rows, each with its comparison, and prints these targets.
#[cfg(target_os = "linux")]
fn assert_has_rows(command: &str, names: &[&str], targets: &[&str]) {
    let (rows, printed) = run(&[command, "--rounds", "2"]);
    rows.iter().for_each(|row| assert_compares(row, 2));
    // some of these scenarios are about sleeping
    let sleeps = |row: &Value| row["voluntary_switches"].as_u64() > Some(0);
    assert!(rows.iter().any(sleeps), "{printed}");
    assert!(printed.contains("cpu s"), "{printed}");
    let found: Vec<_> = rows
        .iter()
        .filter_map(|row| row["scenario"].as_str())
        .collect();
    assert_eq!(found, names);
    for target in targets {
        assert!(printed.contains(target), "{target}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn wait_has_a_row_for_each_figure_beside_what_it_is_compared_with() {
    let names = [
        "wake_latency_p50",
        "wake_latency_p99",
        "idle_consumer",
        "idle_set",
        "idle_descriptor",
        "idle_producer",
        "fan_out",
        "fan_out_paced",
        "fan_out_even",
        "fan_out_even_rate",
        "pinned_round_trip",
        "shrunk_round_trip",
        "widened_round_trip",
        "death_of_consumer",
        "death_of_required",
        "death_of_producer",
    ];
    let targets = [
        "ratio <= 1.3",
        "ratio <= 1.2",
        "ratio <= 2",
        "max <= 10",
        "ratio >= 0.8",
        "ratio <= 0.5",
        "max <= 250",
    ];
    assert_has_rows("wait", &names, &targets);
}

#[test]
#[cfg(target_os = "linux")]
fn session_has_a_row_for_each_figure_beside_what_it_is_made_of() {
    let names = [
        "call",
        "call_one_of_4",
        "call_one_of_8",
        "addressed_one_of_8",
        "tokens",
        "tensor",
        "first_request",
        "idle_scheduler",
        "idle_worker",
    ];
    let targets = [
        "ratio <= 1.25",
        "ratio <= 1.5",
        "ratio <= 1.3",
        "ratio >= 0.7",
        "ratio <= 1.1",
        "max <= 10",
    ];
    assert_has_rows("session", &names, &targets);
}

#[test]
#[cfg(target_os = "linux")]
fn broadcast_has_a_row_for_each_number_of_consumers_and_each_addition() {
    for arguments in [
        &["--consumers", "1,2,4,8"][..],
        &[
            "--consumers",
            "3",
            "--wait-strategy",
            "spin_then_yield",
            "--capacity",
            "64",
        ],
    ] {
        let fixed = ["broadcast", "--rounds", "1"];
        let rows = rows(&[&fixed[..], arguments].concat());
        rows.iter().for_each(|row| assert_compares(row, 1));
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row["scenario"].as_str(), row["consumers"].as_u64()))
            .collect();
        let numbers: &[u64] = if arguments.len() == 2 {
            &[1, 2, 4, 8]
        } else {
            &[1, 3]
        };
        let mut expected: Vec<_> = numbers
            .iter()
            .map(|&consumers| (Some("broadcast"), Some(consumers)))
            .collect();
        for scenario in ["broadcast_observer", "broadcast_slow", "broadcast_dead"] {
            expected.push((Some(scenario), Some(2)));
        }
        assert_eq!(found, expected);
        assert_eq!(rows[0]["ratio_to_floor"], 1.0);
        let is_wait = |row: &Value| row["wait"] == *arguments.get(3).unwrap_or(&"block");
        assert!(rows.iter().all(is_wait));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn broadcasts_are_measured_on_every_layer_beside_one_consumer() {
    let layers = LAYERS.join(",");
    let chosen = ["broadcast", "--layer", &layers, "--backend", "shm,mmap"];
    let more = ["--size", "64", "--consumers", "2,4", "--rounds", "1"];
    let (rows, printed) = run(&[&chosen[..], &more].concat());
    for layer in LAYERS {
        for backend in ["shm", "mmap"] {
            let own = rows.iter().filter(|row| is(row, "layer", layer));
            let own = own.filter(|row| is(row, "backend", backend));
            let consumers: Vec<_> = own.filter_map(|row| row["consumers"].as_u64()).collect();
            assert_eq!(consumers, [1, 2, 4], "{layer} {backend}");
        }
    }
    for row in rows
        .iter()
        .filter(|row| row["consumers"] == 1 && !is(row, "layer", "floor"))
    {
        assert_eq!(row["ratio_to_floor"], 1.0, "{row}");
    }
    assert!(rows.iter().all(|row| row["verified"] == true));
    assert!(printed.contains("broadcast to 4"), "{printed}");
}

#[test]
#[cfg(target_os = "linux")]
fn wait_measures_only_what_was_asked_for() {
    let rows = rows(&["wait", "--scenario", "death", "--rounds", "1"]);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| is(row, "floor", "end_of_pipe")));
}

const LAYERS: [&str; 7] = [
    "raw",
    "framed",
    "bincode",
    "postcard",
    "rkyv",
    "flatbuffers",
    "in_place",
];

#[test]
fn pingpong_and_stream_measure_every_layer_backend_and_wait_strategy() {
    let layers = LAYERS.join(",");
    // both spellings of the last layer
    let other = layers.replace('_', "-");
    for (command, backends, layers) in [("pingpong", "shm", &layers), ("signal", "mmap", &other)] {
        let chosen = ["--layer", layers, "--size", "64,4096", "--rounds", "1"];
        let waits = ["--wait-strategy", "busy_spin,block"];
        let rows = rows(&[&[command, "--backend", backends][..], &waits, &chosen].concat());
        let is_chosen = |row: &&Value| !is(row, "layer", "floor");
        // the raw layer has no events of 4 KiB
        assert_eq!(rows.iter().filter(is_chosen).count(), (7 + 6) * 2);
        for layer in LAYERS {
            let own = rows.iter().filter(|row| is(row, "layer", layer));
            let waits: BTreeSet<_> = own.filter_map(|row| row["wait"].as_str()).collect();
            assert_eq!(waits, BTreeSet::from(["block", "busy_spin"]), "{layer}");
        }
        assert!(rows.iter().all(|row| row["verified"] == true));
    }
}

/// The scenarios of a layer, in the order of the rows.
fn scenarios<'a>(rows: &'a [Value], layer: &str) -> Vec<&'a str> {
    let own = rows.iter().filter(|row| is(row, "layer", layer));
    own.filter_map(|row| row["scenario"].as_str()).collect()
}

#[test]
fn counters_and_liveness_are_measured_beside_the_same_without() {
    let layers = LAYERS.join(",");
    for (command, names) in [
        (
            "pingpong",
            ["pingpong", "pingpong_counters", "pingpong_required"],
        ),
        ("stream", ["stream", "stream_counters", "stream_required"]),
    ] {
        let chosen = [command, "--layer", &layers, "--size", "64", "--rounds", "1"];
        let rows = rows(&[&chosen[..], &["--enable-counters", "--liveness"]].concat());
        for layer in LAYERS {
            assert_eq!(scenarios(&rows, layer), names, "{layer}");
        }
        assert!(rows.iter().all(|row| row["verified"] == true));
    }
}

#[test]
fn batches_are_compared_with_a_bare_stream_of_batches() {
    let rows = rows(&[
        "stream",
        "--batch-size",
        "16",
        "--layer",
        "raw",
        "--size",
        "56",
        "--rounds",
        "1",
    ]);
    assert_eq!(scenarios(&rows, "raw"), ["stream"]);
    let floors = scenarios(&rows, "floor");
    assert!(floors.contains(&"bare_stream_batch16"), "{floors:?}");
}

#[test]
fn rings_on_a_disk_are_measured_and_removed() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let root = directory.path().to_str().expect("a name");
    for command in ["pingpong", "stream", "broadcast", "churn", "wait"] {
        let chosen = [command, "--backend", "disk", "--layer", "raw,framed"];
        let rows = rows(&[&chosen[..], &["--disk-root", root, "--rounds", "1"]].concat());
        let on_disk = rows.iter().filter(|row| is(row, "backend", "disk"));
        assert!(on_disk.clone().count() >= 2, "{command}");
        assert!(on_disk.clone().all(|row| row["verified"] == true));
        assert_eq!(directory.path().read_dir().expect("readable").count(), 0);
    }
}

#[test]
#[ignore = "takes many seconds: run by ci/bench"]
fn the_shortest_and_the_longest_messages_are_measured() {
    for (command, layer) in [
        ("stream", "framed"),
        ("stream", "in_place"),
        ("pingpong", "framed"),
    ] {
        let sizes = if layer == "in_place" {
            "67108864"
        } else {
            "8,67108864"
        };
        let chosen = [command, "--layer", layer, "--size", sizes, "--rounds", "1"];
        let rows = rows(&chosen);
        let own = rows.iter().filter(|row| is(row, "layer", layer));
        let found: Vec<_> = own.map(|row| row["size_bytes"].to_string()).collect();
        assert_eq!(found.join(","), sizes, "{layer}");
        assert!(rows.iter().all(|row| row["verified"] == true));
    }
}

#[test]
fn a_fixed_rate_gives_latencies_one_way_and_both_ways() {
    for command in ["pingpong", "stream"] {
        let options = "--rate 5000 --layer raw,framed --size 64 --rounds 1";
        let arguments: Vec<&str> = [command].into_iter().chain(options.split(' ')).collect();
        let rows = rows(&arguments);
        let paced = rows.iter().filter(|row| !is(row, "layer", "floor"));
        assert_eq!(paced.clone().count(), 2);
        for row in paced {
            let of = |key: &str| row[key].as_f64().expect("a latency");
            assert!(of("p50_ns") > 0.0, "{row}");
            assert!(of("p99_ns") <= of("p9999_ns"), "{row}");
            assert!(of("p9999_ns") <= of("max_ns"), "{row}");
            assert_eq!(of("msgs_per_s"), 5000.0, "{row}");
        }
    }
}

const CHURN: [&str; 4] = ["broadcast", "churn", "churn_attach", "churn_detach"];
const WAKE: [&str; 2] = ["wake_latency_p50", "wake_latency_p99"];

/// Runs a command with these layers, and checks that it has the same rows for each of them.
#[cfg(target_os = "linux")]
fn assert_has_layers(command: &str, layers: &[&str], options: &str, names: &[&str]) {
    let layer = layers.join(",");
    let chosen = [command, "--rounds", "1", "--layer", &layer];
    let rows = rows(&[&chosen[..], &options.split(' ').collect::<Vec<_>>()].concat());
    rows.iter().for_each(|row| assert_compares(row, 1));
    assert_eq!(rows.len(), layers.len() * names.len(), "{command}");
    for layer in layers {
        assert_eq!(scenarios(&rows, layer), names, "{command} {layer}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn churn_and_wake_ups_are_measured_on_chosen_layers() {
    let size = "--backend mmap --size 1024";
    assert_has_layers("churn", &["raw", "flatbuffers"], size, &CHURN);
    assert_has_layers("wait", &["raw", "in_place"], size, &WAKE);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes many seconds: run by ci/bench"]
fn churn_and_wake_ups_are_measured_on_every_layer() {
    for (command, names) in [("churn", &CHURN[..]), ("wait", &WAKE)] {
        assert_has_layers(command, &LAYERS, "--size 64", names);
        // the raw layer has no such events; the other layers split them, or take large frames
        assert_has_layers(command, &LAYERS[1..], "--size 131072", names);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn churn_attaches_and_detaches_and_nofrag_sends_whole() {
    let rows = rows(&["churn", "--rounds", "1"]);
    rows.iter().for_each(|row| assert_compares(row, 1));
    assert_eq!(scenarios(&rows, "raw"), CHURN);
    let is_usual = |row: &Value| row["size_bytes"] == 56 && row["capacity"] == 1024;
    assert!(rows.iter().all(is_usual));
    assert_eq!(rows[0]["consumers"], 1);
    assert_eq!(rows[1]["consumers"], 2);
    let rows = self::rows(&["nofrag", "--size", "4096,65536", "--rounds", "1"]);
    assert_eq!(rows.len(), 2);
    rows.iter().for_each(|row| assert_compares(row, 1));
}

#[test]
#[cfg(target_os = "linux")]
fn compare_has_a_row_for_each_peer_beside_both_kinds_of_rings() {
    let (rows, printed) = run(&["compare", "--rounds", "2"]);
    let peers = [
        "raw",
        "framed",
        "raw_called",
        "unix",
        "unix_buffered",
        "pipe",
        "tcp",
        "posix_queue",
    ];
    let sizes = [8, 56, 64, 1024, 4096];
    let cells = [
        ("pingpong", &sizes[..]),
        ("stream", &sizes),
        ("broadcast", &[56]),
    ];
    let mut expected = Vec::new();
    for (scenario, sizes) in cells {
        for size in sizes {
            let is_there = |peer: &&str| *peer != "raw_called" || scenario == "stream";
            let peers = peers.into_iter().filter(is_there);
            expected.extend(peers.map(|peer| (scenario.to_owned(), *size, peer.to_owned())));
        }
    }
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let name = |row: &Value| {
        let size = row["size_bytes"].as_u64().expect("a size");
        (text(row, "scenario"), size, text(row, "peer"))
    };
    assert_eq!(rows.iter().map(name).collect::<Vec<_>>(), expected);
    for row in &rows {
        let keys = row.as_object().expect("an object").keys();
        let keys: BTreeSet<&str> = keys.map(String::as_str).collect();
        assert_eq!(keys, with_origin(COMPARE_KEYS));
        let command = row["command"].as_str().expect("a command");
        assert!(
            command.starts_with("perf-bench compare --rounds 2 --quick --json"),
            "{row}"
        );
        assert!(
            row["kernel"]
                .as_str()
                .is_some_and(|kernel| kernel.len() > 8)
        );
        assert_eq!(row["verified"], true, "{row}");
        assert_eq!(row["rounds"], 2, "{row}");
        assert!(row["messages"].as_u64() > Some(0), "{row}");
        assert_has_usage(row);
        let of = |key: &str| row[key].as_f64().filter(|n| n.is_finite() && *n > 0.0);
        for ratio in ["ratio_to_floor", "ratio_to_raw"] {
            assert!(of(ratio).is_some(), "{row}");
        }
        assert_eq!(
            of("ratio_to_framed").is_none(),
            is(row, "peer", "raw"),
            "{row}"
        );
        assert_eq!(
            is(row, "peer", "raw"),
            of("ratio_to_raw") == Some(1.0) && row["ratio_to_framed"].is_null()
        );
        // the same for all; the kernel may allow fewer messages in a queue of its own
        let ring = rows.iter().find(|ring| {
            ring["scenario"] == row["scenario"] && ring["size_bytes"] == row["size_bytes"]
        });
        let capacity = |row: &Value| row["capacity"].as_u64().expect("a capacity");
        let of_ring = capacity(ring.expect("the rings come first"));
        let is_smaller = is(row, "peer", "posix_queue") && capacity(row) < of_ring;
        assert!(is_smaller || capacity(row) == of_ring, "{row}");
    }
    for peer in peers {
        let notes = printed
            .lines()
            .filter(|line| line.starts_with(&format!("{peer} ")));
        assert_eq!(notes.count(), 1, "{peer}");
    }
    assert!(printed.contains("not in this build: "), "{printed}");
}

#[test]
#[cfg(target_os = "linux")]
fn compare_measures_only_what_was_asked_for() {
    let chosen = [
        "compare",
        "--peer",
        "pipe",
        "--scenario",
        "stream",
        "--size",
        "64",
    ];
    let (rows, printed) = run(&[&chosen[..], &["--rounds", "1"]].concat());
    let peers: Vec<_> = rows.iter().filter_map(|row| row["peer"].as_str()).collect();
    assert_eq!(peers, ["raw", "framed", "raw_called", "pipe"]);
    assert!(!printed.contains("not in this build"), "{printed}");
}

#[test]
fn bad_options_are_refused_and_say_what_is_possible() {
    for (arguments, says) in [
        (&["raw", "--size", "9"][..], "56"),
        (&["raw", "--capacity", "1000"], "power of two"),
        (&["raw", "--backend", "floppy"], "mmap"),
        (&["--rounds", "0"], "1"),
        (&["wait", "--scenario", "boredom"], "fan_out"),
        (
            &["raw", "--scenario", "stream_packed", "--size", "56"],
            "[8, 24]",
        ),
        (&["raw", "--scenario", "steam"], "stream_called"),
        (&["layers", "--scenario", "onion"], "codecs"),
        (
            &["raw", "--cores", "0,9999"],
            "core 9999 cannot be used: this process may use the cores [",
        ),
        (&["raw", "--cores", "0,0"], "two different cores are needed"),
        (&["wait", "--cores", "0"], "--cores takes two cores"),
        (&["raw", "--cores", "a,b"], "invalid digit"),
        (&["sweep", "--tier", "enormous"], "smoke"),
        (&["broadcast", "--consumers", "0"], "a number from 1 to 32"),
        (&["broadcast", "--wait-strategy", "hope"], "spin_then_yield"),
        (&["repeat", "--times", "1"], "2..="),
        (&["pingpong", "--layer", "onion"], "in_place"),
        (&["stream", "--size", "1000"], "a power of two"),
        (&["stream", "--backend", "floppy"], "shm, mmap or disk"),
        (
            &["stream", "--layer", "raw", "--size", "4096"],
            "nothing to measure",
        ),
        (&["nofrag", "--size", "64"], "nothing to measure"),
        (&["broadcast", "--layer", "onion"], "in_place"),
        (
            &["broadcast", "--layer", "framed", "--size", "56"],
            "nothing to measure",
        ),
        (&["broadcast", "--backend", "floppy"], "shm, mmap or disk"),
        (&["churn", "--size", "1000"], "a power of two"),
        (
            &["churn", "--layer", "framed", "--size", "56"],
            "nothing to measure",
        ),
        (&["wait", "--backend", "floppy"], "shm, mmap or disk"),
        (&["wait", "--size", "4096"], "nothing to measure"),
        (
            &["wait", "--scenario", "wake_latency,idle", "--size", "64"],
            "idle has rings of its own: --layer, --backend and --size are for these scenarios: wake_latency",
        ),
        (&["stream", "--batch-size", "17"], "1..=16"),
        (&["stream", "--rate", "0"], "1..=10000000"),
        (&["streams"], "stream"),
        (
            &["compare", "--size", "9"],
            "one of [8, 56, 64, 1024, 4096]",
        ),
        (
            &["compare", "--size", "8", "--scenario", "broadcast"],
            "nothing to measure",
        ),
        (
            &["compare", "--peer", "pigeons"],
            "there is no peer 'pigeons'; the peers are raw, framed, raw_called, unix, ",
        ),
        (&["compare", "--peer", "iceoryx2"], "--features iceoryx2"),
        (&["compare", "--peer", "subetha"], "--ignore-rust-version"),
        (&["compare", "--peer", "zeromq"], "libzmq3-dev"),
        (&["compare", "--peer", "tachyon"], "clang-19"),
        (
            &["pingpong", "--backend", "disk", "--disk-root", "/dev/shm"],
            "--disk-root",
        ),
    ] {
        let Ended { code, text } = run::to_its_end(program().args(arguments));
        assert!(matches!(code, Some(1 | 2)), "{text}");
        assert!(text.contains(says), "{text}");
    }
    let list = run::to_its_end(program().arg("--list"));
    assert!(list.text.contains("stream_batch16"));
}

/// The directory in which a process of this program keeps its file-backed rings.
fn own_directory(process: u32) -> std::path::PathBuf {
    let shared_memory = Path::new("/dev/shm");
    let parent = if shared_memory.is_dir() {
        shared_memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    parent.join(format!("perf-bench-{process}"))
}

/// Starts a run that would take minutes, and calls `stop` with the ids of the program and its second process. Returns
/// what the program wrote to standard error.
fn interrupted(stop: impl FnOnce(i32, i32)) -> String {
    let _turn = turn();
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut program = program();
    let running = run::start(
        program
            .args([
                "raw",
                "--rounds",
                "10000",
                "--budget-s",
                "600",
                "--hang-limit-ms",
                "10000",
                "--backend",
                "mmap",
                "--mmap-root",
            ])
            .arg(root.path()),
    );
    let id = running.child.id();
    let patience = Instant::now() + Duration::from_secs(60);
    let is_measuring = || std::fs::read_dir(root.path()).is_ok_and(|files| files.count() > 12);
    while !is_measuring() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(is_measuring(), "no ring has appeared");
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
        .expect("a list of children");
    let peer = children
        .split_whitespace()
        .next()
        .expect("a second process")
        .parse()
        .expect("an id");
    stop(id as i32, peer);
    let Ended { code, text } = running.wait();
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        std::fs::read_dir(root.path())
            .expect("the directory")
            .count(),
        0,
        "files are left"
    );
    assert!(!own_directory(id).exists());
    assert!(
        !Path::new(&format!("/proc/{peer}")).exists(),
        "the second process is left"
    );
    text
}

/// Starts a comparison that would take minutes, stops it when its sockets are there, and checks that nothing is left.
#[cfg(target_os = "linux")]
fn interrupted_comparison(stop: impl FnOnce(i32)) -> String {
    let _turn = turn();
    let mut program = program();
    let arguments = ["compare", "--rounds", "10000", "--budget-s", "600"];
    let running = run::start(program.args(arguments).args(["--hang-limit-ms", "10000"]));
    let id = running.child.id();
    let directory = own_directory(id);
    let patience = Instant::now() + Duration::from_secs(60);
    let is_open = || std::fs::read_dir(&directory).is_ok_and(|files| files.count() > 12);
    while !is_open() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(is_open(), "no socket has appeared");
    stop(id as i32);
    let Ended { code, text } = running.wait();
    assert_eq!(code, Some(1), "{text}");
    assert!(!directory.exists(), "files are left");
    text
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_comparison_leaves_nothing() {
    let says = interrupted_comparison(|driver| signal(driver, libc::SIGINT));
    assert!(says.contains("interrupted"), "{says}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_death_of_any_process_ends_a_comparison() {
    // the first four are the receivers of broadcasts, the fifth is the peer of all other cells
    for number in [0, 3, 4] {
        let says = interrupted_comparison(|driver| {
            let children = format!("/proc/{driver}/task/{driver}/children");
            let has_all = || {
                let children = std::fs::read_to_string(&children).expect("a list of children");
                children.split_whitespace().count() == 5
            };
            let patience = Instant::now() + Duration::from_secs(60);
            while !has_all() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
            let children = std::fs::read_to_string(&children).expect("a list of children");
            let child = children.split_whitespace().nth(number).expect("a child");
            signal(child.parse().expect("an id"), libc::SIGKILL);
        });
        assert!(says.contains("SIGKILL"), "{says}");
    }
}

fn signal(process: i32, signal: i32) {
    // SAFETY: the call only sends a signal, to a process that this test has started.
    unsafe { libc::kill(process, signal) };
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_ends_both_processes_and_leaves_no_file() {
    let says = interrupted(|driver, _| signal(driver, libc::SIGINT));
    assert!(says.contains("interrupted"), "{says}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_death_of_the_second_process_ends_the_run_and_leaves_no_file() {
    let says = interrupted(|_, peer| signal(peer, libc::SIGKILL));
    let how = "the peer process ended (signal: 9 (SIGKILL)) and said nothing";
    assert!(says.contains(how), "{says}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_process_that_hangs_is_ended_after_a_deadline() {
    let says = interrupted(|_, peer| signal(peer, libc::SIGSTOP));
    assert!(says.contains("does not answer"), "{says}");
    assert!(says.contains("--hang-limit-ms"), "{says}");
}
