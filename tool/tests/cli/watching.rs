//! `stat`, `top` and `doctor`.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::party::Rings;
use crate::{Run, ends, myelon, run, wait_until};

#[test]
fn rates_are_counted_over_an_interval() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 1024"]);
    let mut rx = rings.party_that("ring", &["consume 1024 reader"]);
    tx.ok("publish 1");
    let idle = ends(0, &["stat", &ring, "--interval", "20ms"]);
    idle.has(&[
        "0/s published (not in ",
        "); reader: 0/s released (not in ",
        "), 1 behind",
    ]);
    let mut child = myelon(&[
        "stat",
        &ring,
        "--interval",
        "300ms",
        "--count",
        "20",
        "--json",
    ]);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("it starts");
    // events are published until it has seen some
    let mut published = 1;
    wait_until("it has counted", || {
        tx.ok("publish 50");
        rx.ok("recv 50");
        published += 50;
        child.try_wait().expect("wait").is_some()
    });
    let mut text = String::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut text)
        .expect("UTF-8");
    let objects: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(objects.len(), 20);
    let counted: f64 = objects
        .iter()
        .map(|it| {
            it["producer"]["rate_per_second"].as_f64().expect("a rate")
                * it["seconds"].as_f64().expect("seconds")
        })
        .sum();
    assert!(
        counted > 0.0 && counted <= f64::from(published) + 0.5,
        "{counted} of {published}"
    );
    assert!(
        objects
            .iter()
            .any(|it| it["consumers"][0]["rate_per_second"].as_f64() > Some(0.0))
    );
}

#[test]
fn a_consumer_that_moves_is_told_from_one_that_does_not() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    // as many slots as events are published in a minute, below
    let mut tx = rings.party_that("ring", &["produce 16384"]);
    let mut moving = rings.party_that("ring", &["consume 16384 moving"]);
    let _still = rings.party_that("ring", &["consume 16384 still"]);
    let arguments = ["show", &ring, "--json", "--interval", "300ms"];
    let mut found = None;
    wait_until("a consumer is seen to move", || {
        let mut child = myelon(&arguments);
        let mut child = child.stdout(Stdio::piped()).spawn().expect("it starts");
        wait_until("it has read twice", || {
            tx.ok("publish 1");
            moving.ok("recv 1");
            child.try_wait().expect("wait").is_some()
        });
        let shown = Run::of(child.wait_with_output().expect("its output")).json();
        let still = &shown["consumers"][1];
        assert_eq!(
            (&still["id"], &still["rate_per_second"]),
            (&"still".into(), &0.0.into())
        );
        assert!(still["since_progress_seconds"].is_null(), "{still}");
        assert!(still["watched_seconds"].as_f64() >= Some(0.3), "{still}");
        let has_moved = shown["consumers"][0]["rate_per_second"].as_f64() > Some(0.0);
        found = has_moved.then_some(shown);
        has_moved
    });
    let shown = found.expect("seen");
    let moving = &shown["consumers"][0];
    assert_eq!(
        (&moving["id"], &moving["since_progress_seconds"]),
        (&"moving".into(), &0.0.into())
    );
    assert!(shown["producer"]["rate_per_second"].as_f64() > Some(0.0));
    let idle = ends(0, &["show", &ring, "--interval", "20ms"]);
    idle.has(&[
        "progress   not in ",
        ", 0/s published",
        "RATE  LAST PROGRESS",
        " 0/s  not in ",
    ]);
}

#[test]
fn top_keeps_the_time_of_the_last_progress() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    let mut tx = rings.party_that("ticks", &["produce 8"]);
    let mut rx = rings.party_that("ticks", &["consume 8 reader"]);
    let arguments = ["top", "--json", "--dir", directory, "--interval", "50ms"];
    let mut child = myelon(&arguments);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || {
        let line = lines.next().expect("it goes on").expect("UTF-8");
        let rings: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        rings[0]["consumers"][0].clone()
    };
    let since = |consumer: &serde_json::Value| consumer["since_progress_seconds"].as_f64();
    let first = next();
    assert_eq!((&first["id"], since(&first)), (&"reader".into(), None));
    wait_until("it is seen to move", || {
        tx.ok("publish 1");
        rx.ok("recv 1");
        let consumer = next();
        since(&consumer) == Some(0.0) && consumer["rate_per_second"].as_f64() > Some(0.0)
    });
    let mut before = 0.0;
    wait_until("it has stood still for some pictures", || {
        let consumer = next();
        let now = since(&consumer).expect("it has moved");
        assert!(now == 0.0 || now > before, "{now} after {before}");
        assert!(now <= consumer["watched_seconds"].as_f64().expect("a time"));
        before = now;
        now >= 0.2
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn without_a_terminal_top_prints_one_picture_and_says_so() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    ends(0, &["top", "--dir", directory]).has(&["no rings", "not a terminal"]);
    let mut tx = rings.party_that("ticks", &["produce 8"]);
    let _rx = rings.party_that("ticks", &["consume 8 reader"]);
    tx.ok("publish 3");
    let picture = ends(0, &["top", "--dir", directory]);
    picture.has(&[
        "RING",
        "LAST PROGRESS",
        "ticks",
        "live",
        "\n  reader  attached   0/s  not in ",
        "not a terminal",
    ]);
    let json = ends(
        0,
        &[
            "top",
            "--dir",
            directory,
            "--json",
            "--count",
            "1",
            "--interval",
            "10ms",
        ],
    )
    .json();
    assert_eq!(
        (&json[0]["ring"], &json[0]["producer"]["rate_per_second"]),
        (&"ticks".into(), &0.0.into())
    );
}

#[test]
fn the_doctor_checks_the_machine() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    let mut tx = rings.party_that("ticks", &["produce 8"]);
    let found = run(&["doctor", "--json", "--dir", directory]);
    assert!(matches!(found.code, 0 | 1), "{found:?}");
    let reports = found.json();
    let reports = reports.as_array().expect("an array");
    let names: Vec<_> = reports
        .iter()
        .map(|report| report["check"].as_str().expect("a name"))
        .collect();
    for name in [
        "space",
        "permission",
        "memory limit",
        "cores",
        "quota",
        "huge pages",
        "membarrier",
        "memlock",
        "descriptors",
        "/proc",
        "pid namespace",
        "container",
        "boot id",
        "rings",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let warned = reports.iter().any(|report| report["level"] == "warning");
    assert_eq!(found.code, i32::from(warned));
    let last = &reports.last().expect("one")["text"];
    assert!(last.as_str().expect("a text").starts_with("1, "), "{last}");
    tx.kill();
    run(&["doctor", "--dir", directory]).has(&["1 without a living producer", "myelon clean"]);
    let missing = run(&["doctor", "--dir", "/there/is/no/such/directory"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    missing.has(&["warning space"]);
    // a check creates no file
    assert_eq!(
        std::fs::read_dir(rings.directory()).expect("read").count(),
        1
    );
}
