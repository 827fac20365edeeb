//! Runs `sweep`, `check` and `repeat` as a user does.

mod run;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use run::{Ended, program, turn};

fn succeeds(arguments: &[&str]) -> String {
    let Ended { code, text } = run::to_its_end(program().args(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

fn fails(arguments: &[&str], says: &[&str]) {
    let Ended { code, text } = run::to_its_end(program().args(arguments));
    assert_eq!(code, Some(1), "{arguments:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object on each line"))
        .collect()
}

fn write(file: &Path, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(file, lines.join("\n") + "\n").expect("written");
}

#[test]
#[cfg(target_os = "linux")]
fn a_smoke_sweep_verifies_every_row_and_goes_on_where_it_was_stopped() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let name = |path: &Path| path.to_str().expect("a name").to_owned();
    let (out, csv) = (file("rows.jsonl"), file("rows.csv"));
    let (out_name, csv_name) = (name(&out), name(&csv));
    let sweep = |commit: &str| {
        let fixed = ["sweep", "--tier", "smoke", "--out", &out_name, "--csv"];
        let all = [&fixed[..], &[&csv_name, "--commit", commit]].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        succeeds(&arguments)
    };
    run(sweep("c0ffee"));
    let all = rows(&out);
    for row in &all {
        assert_eq!(row["verified"], true, "{row}");
        for (key, value) in [("commit", "c0ffee"), ("tier", "smoke")] {
            assert_eq!(row[key], value, "{row}");
        }
        assert_eq!(row["command"], "perf-bench sweep --tier smoke");
        for fact in ["processor", "cores", "kernel"] {
            assert!(
                row[fact].as_str().is_some_and(|fact| !fact.is_empty()),
                "{row}"
            );
        }
        assert!(
            row["cpu_user_s"].as_f64().is_some() && row["minor_faults"].is_u64(),
            "{row}"
        );
        let ratios = row["ratios"].as_array().expect("ratios");
        assert_eq!(row["rounds"], ratios.len(), "{row}");
    }
    let steps: BTreeSet<&str> = all.iter().filter_map(|row| row["step"].as_str()).collect();
    for step in [
        "raw 8 B",
        "raw 56 B",
        "layers ping_pong",
        "layers short",
        "layers long",
        "layers access",
        "layers codecs",
        "wait wake_latency",
        "wait death",
        "broadcast",
    ] {
        assert!(steps.contains(step), "{step}");
    }
    let lines = std::fs::read_to_string(&csv).expect("a file");
    assert_eq!(lines.lines().count(), all.len() + 1);

    // stopped while it wrote the last step
    let whole = std::fs::read_to_string(&out).expect("a file");
    std::fs::write(&out, &whole[..whole.len() - 5]).expect("written");
    run(sweep("c0ffee"));
    let again = rows(&out);
    assert_eq!(again.len(), all.len());
    let is_last = |row: &Value| row["step"] == "broadcast";
    let before = all.iter().filter(|row| !is_last(row));
    assert!(before.eq(again.iter().filter(|row| !is_last(row))));
    assert_ne!(again, all, "the last step is measured again");

    let other = sweep("another");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    fails(
        &other,
        &["rows of another sweep", "commit c0ffee", "--fresh"],
    );

    // report
    let (page, markdown) = (name(&file("page.html")), name(&file("rows.md")));
    succeeds(&[
        "report",
        &out_name,
        "--html",
        &page,
        "--markdown",
        &markdown,
    ]);
    let page = std::fs::read_to_string(&page).expect("a page");
    assert_eq!(page.matches("<details>").count(), steps.len());
    assert!(!page.contains("http"), "the page loads nothing");
    let markdown = std::fs::read_to_string(&markdown).expect("a text");
    assert_eq!(markdown.matches("\n## ").count(), steps.len());

    // check
    let (worse, not_verified) = (name(&file("worse.jsonl")), name(&file("wrong.jsonl")));
    let good = succeeds(&["check", &out_name, &out_name]);
    assert!(good.contains("0 worse, 0 not verified"), "{good}");
    let mut changed = again.clone();
    let row = changed
        .iter_mut()
        .find(|row| row["scenario"] == "ping_pong")
        .expect("a round trip");
    for key in ["ratio_to_floor", "ratio_min", "ratio_max"] {
        let ratio = row[key].as_f64().expect("a number");
        row[key] = (ratio * 100.0).into();
    }
    write(Path::new(&worse), &changed);
    fails(
        &["check", &out_name, &worse],
        &["WORSE", "ping_pong on shm"],
    );
    let other_way = succeeds(&["check", &worse, &out_name]);
    assert!(other_way.contains("1 better"), "{other_way}");
    let mut changed = again;
    changed[0]["verified"] = false.into();
    write(Path::new(&not_verified), &changed);
    fails(&["check", &out_name, &not_verified], &["NOT VERIFIED"]);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes many seconds: run by ci/bench"]
fn a_sweep_finds_each_planted_fault_in_each_row() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("rows.jsonl");
    let options = "sweep --tier smoke --hang-limit-ms 600000 --fault flip,lose,double --out";
    let arguments: Vec<&str> = options.split(' ').collect();
    let out_name = out.to_str().expect("a name");
    let says = [
        "not verified: ping_pong on shm, 8 bytes: round 1: ",
        "not verified: broadcast on shm, 56 bytes: round 1: ",
    ];
    fails(&[&arguments[..], &[out_name]].concat(), &says);
    let rows = rows(&out);
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        // the lines of a bounce hold a number and no message
        let scenario = row["scenario"].as_str().expect("a name");
        let is_bounce = scenario.ends_with("line_bounce");
        assert_eq!(row["verified"], is_bounce, "{row}");
    }
}

#[test]
fn files_of_other_versions_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("old.jsonl");
    let name = path.to_str().expect("a name");
    fails(&["check", name, name], &["old.jsonl", "No such file"]);
    for (content, says) in [
        ("{\"format\": 0}\n", "this version reads format 1"),
        ("[\n", "not a line of JSON"),
        ("{\"scenario\": \"stream\"}\n", "no format"),
        ("", "no row in common"),
    ] {
        std::fs::write(&path, content).expect("written");
        fails(&["check", name, name], &[says]);
    }
    std::fs::write(&path, "{\"format\": 0}\n").expect("written");
    fails(
        &["sweep", "--tier", "smoke", "--out", name],
        &["this version reads format 1", "old.jsonl, line 1"],
    );
    let missing = directory.path().join("missing").join("rows.jsonl");
    fails(
        &[
            "sweep",
            "--tier",
            "smoke",
            "--out",
            missing.to_str().expect("a name"),
        ],
        &["rows.jsonl", "No such file"],
    );
}

#[test]
fn repeat_shows_the_spread_of_each_ratio() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows.json");
    let name = path.to_str().expect("a name");
    let options = "repeat --times 3 --quick --rounds 1 --size 56 --backend shm --scenario stream,ping_pong --json";
    let arguments: Vec<&str> = options.split(' ').chain([name]).collect();
    let printed = succeeds(&arguments);
    assert!(
        printed.contains("run 3 of 3") && printed.contains("spread"),
        "{printed}"
    );
    let text = std::fs::read_to_string(&path).expect("a file");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("an array");
    let names: Vec<_> = rows
        .iter()
        .filter_map(|row| row["scenario"].as_str())
        .collect();
    assert_eq!(names, ["bare_ping_pong", "ping_pong", "stream"]);
    for row in &rows {
        assert_eq!(row["ratios"].as_array().map(Vec::len), Some(3), "{row}");
        assert_eq!(row["verified"], true, "{row}");
    }
    fails(
        &[
            "repeat", "--times", "3", "--quick", "--rounds", "1", "--size", "56", "--fault", "flip",
        ],
        &["not verified: stream on shm, 56 bytes"],
    );
}
