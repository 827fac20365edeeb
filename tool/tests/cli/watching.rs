//! `stat`, `top` and `doctor`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;

use crate::party::Rings;
use crate::screen::terminal;
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

/// How a run in a terminal ended.
struct Ended {
    output: String,
    status: ExitStatus,
    /// Whether the terminal's settings are what they were before the run.
    is_as_before: bool,
}

/// The program in a terminal of this width. `act` gets a function that types, one that returns all output so far, and
/// the program's process id.
fn in_terminal(
    columns: u16,
    arguments: &[&str],
    act: impl FnOnce(&mut dyn FnMut(&str), &dyn Fn() -> String, Pid),
) -> Ended {
    let (mut screen, slave) = terminal([10, columns]);
    let settings = tcgetattr(&screen).expect("its settings");
    let side = || Stdio::from(slave.try_clone().expect("dup"));
    let mut child = myelon(arguments)
        .env("TERM", "xterm")
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("it starts");
    drop(slave);
    let mut reader = screen.try_clone().expect("dup");
    let held = screen.try_clone().expect("dup");
    let (lines, read) = mpsc::channel();
    let collector = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // a terminal whose other side is closed is an error
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            let _ = lines.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    let seen = std::cell::RefCell::new(String::new());
    let all = || {
        let mut seen = seen.borrow_mut();
        // not until there is no more: a short interval writes without a pause
        if let Ok(more) = read.recv_timeout(Duration::from_millis(20)) {
            seen.push_str(&more);
            read.try_iter().for_each(|more| seen.push_str(&more));
        }
        seen.clone()
    };
    act(
        &mut |keys| screen.write_all(keys.as_bytes()).expect("typed"),
        &all,
        Pid::from_raw(child.id() as i32),
    );
    let status = child.wait().expect("it ends");
    collector.join().expect("read");
    Ended {
        output: all(),
        status,
        is_as_before: tcgetattr(&held).expect("its settings") == settings,
    }
}

/// The lines of a picture: what stands between the terminal's commands.
fn texts(output: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for part in output.split('\x1b').skip(1) {
        let end = part
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(part.len(), |at| at + 1);
        let text = part[end..].trim_end();
        if !text.is_empty() {
            texts.push(text.to_owned());
        }
    }
    texts
}

#[test]
fn top_redraws_in_place_at_any_width_and_gives_the_terminal_back() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    let mut tx = rings.party_that("a-ring-with-a-long-name", &["produce 8"]);
    let _rx = rings.party_that("a-ring-with-a-long-name", &["consume 8 reader"]);
    tx.ok("publish 5");
    for columns in [20, 40, 60, 120] {
        let ended = in_terminal(
            columns,
            &["top", "--dir", directory, "--interval", "20ms"],
            |type_, seen, _| {
                wait_until("two pictures are there", || {
                    seen().matches("LAG").count() >= 2
                });
                type_("q");
            },
        );
        assert!(ended.status.success() && ended.is_as_before);
        let output = ended.output;
        let texts = texts(&output);
        assert!(
            texts
                .iter()
                .any(|text| text.contains("a-ring") && text.contains('5')),
            "{texts:?}"
        );
        for text in &texts {
            assert!(
                text.chars().count() <= usize::from(columns),
                "{columns}: {text}"
            );
        }
        // the alternate screen is left, the cursor is there again, and no screen was ever cleared as a whole
        assert!(
            output.contains("\x1b[?1049l") && output.contains("\x1b[?25h"),
            "{output:?}"
        );
        assert!(!output.contains("\x1b[2J"), "{output:?}");
    }
    let ended = in_terminal(
        80,
        &[
            "top",
            "--dir",
            directory,
            "--count",
            "2",
            "--interval",
            "10ms",
        ],
        |_, _, _| {},
    );
    assert!(ended.status.success() && ended.is_as_before);
}

#[test]
fn top_gives_the_terminal_back_when_a_signal_ends_it() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // also while it waits for the next picture, which is a minute away
        for interval in ["1ms", "1m"] {
            let ended = in_terminal(
                80,
                &["top", "--dir", directory, "--interval", interval],
                |_, seen, pid| {
                    wait_until("a picture is there", || seen().contains("no rings"));
                    kill(pid, signal).expect("signal");
                },
            );
            assert!(ended.is_as_before, "{signal} left the terminal raw");
            let output = ended.output;
            assert!(
                output.ends_with("\x1b[?25h\x1b[?1049l"),
                "{signal}: {output:?}"
            );
            // it ends as a program ends that does not know the signal
            assert_eq!(ended.status.signal(), Some(signal as i32));
        }
    }
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
