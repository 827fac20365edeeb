//! `record` and `replay`: what was on a ring is on another ring afterwards, or it is said what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use disruptor_mp::inspect::Inspector;
use disruptor_mp::{Deadline, MmapProducer, MmapTransportLayout};
use myelon::transport::FixedFrame;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::party::Rings;
use crate::{Run, ends, needs_root, wait_until};

/// The program, with its outputs piped.
fn start(arguments: &[&str]) -> Child {
    Command::new("env")
        // a shell that runs the tests in the background of a script ignores ctrl-C for them
        .args(["--default-signal", env!("CARGO_BIN_EXE_myelon")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("signal");
    let stat = format!("/proc/{}/stat", child.id());
    if signal == Signal::SIGSTOP {
        wait_until("it has stopped", || {
            fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
        });
    }
}

#[track_caller]
fn end(child: Child, code: i32) -> Run {
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, code, "{run:?}");
    run
}

/// Starts a recorder and returns when it is in the ring, or has seen it.
fn recorder(rings: &Rings, options: &[&str]) -> Child {
    let (ring, file) = (rings.named("ring"), rings.named("file"));
    let child = start(&[&["record", &ring, &file], options].concat());
    wait_until("it records", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
    });
    child
}

/// Events of a recording that is not compressed, by sequence and time, as docs/recording-format.md describes them.
fn events_of(path: &str) -> Vec<(i64, u64)> {
    let bytes = fs::read(path).expect("read");
    let u32_at =
        |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let mut events = Vec::new();
    let mut at = u32_at(12);
    while at + 24 <= bytes.len() {
        assert_eq!(bytes[at..at + 4], *b"BLK1");
        let (kind, length) = (u32_at(at + 4), u32_at(at + 8));
        if at + 24 + length > bytes.len() {
            break;
        }
        if kind == 1 {
            let (count, first) = (u64_at(at + 24), u64_at(at + 32));
            let event = |index: u64| ((first + index) as i64, u64_at(at + 40 + index as usize * 8));
            events.extend((0..count).map(event));
        }
        at += 24 + length;
    }
    events
}

#[test]
fn a_replayed_ring_has_the_same_events_and_sequences() {
    for (kind, options) in [
        ("produce 64", &[][..]),
        ("produce 64 observers", &["--compress"]),
    ] {
        let rings = Rings::new();
        let (ring, file, copy) = (
            rings.named("ring"),
            rings.named("file"),
            rings.named("copy"),
        );
        let mut tx = rings.party_that("ring", &[kind, "publish 40"]);
        let arguments = ["record", &ring, &file, "--from", "10", "--count", "30"];
        let recorded = ends(0, &[&arguments, options].concat());
        recorded.has(&["recorded 30 events, missed 0 in 0 gaps"]);
        let like = Inspector::open(&ring).expect("a ring");
        tx.ok("close");
        let replayed = ends(0, &["replay", &file, &copy, "--flat-out", "--json"]).json();
        assert_eq!(
            (&replayed["events"], &replayed["missed"]),
            (&30.into(), &0.into())
        );
        // it is closed, and kept for a first consumer
        let made = Inspector::open(&copy).expect("a ring");
        assert_eq!(made.info().event, like.info().event);
        let fixed = |ring: &Inspector| {
            let info = ring.info();
            (
                info.capacity,
                info.stride,
                info.stamp_offset,
                info.event_offset,
                info.has_observers,
            )
        };
        assert_eq!(fixed(&made), fixed(&like));
        let mut rx = rings.party_that("copy", &["consume 64 reader"]);
        let expected: Vec<_> = (10..40)
            .map(|number| format!("{number}:{number}"))
            .collect();
        assert_eq!(rx.ok("read 30"), format!("ok {}", expected.join(" ")));
        rx.ok("leave");
        assert!(!rings.path("copy").exists(), "the drained ring is gone");
    }
}

#[test]
fn a_replay_waits_for_its_consumers_and_ends_in_order_at_a_signal() {
    let rings = Rings::new();
    let (file, copy) = (rings.named("file"), rings.named("copy"));
    let mut tx = rings.party_that("ring", &["produce 8"]);
    let recorder = recorder(&rings, &["--lossless"]);
    tx.ok("publish 100");
    tx.ok("close");
    let run = end(recorder, 0);
    run.has(&["recorded 100 events, missed 0 in 0 gaps; the ring is closed and drained"]);
    assert!(!rings.path("ring").exists(), "it has drained the ring");
    let replay = start(&["replay", &file, &copy, "--flat-out"]);
    wait_until("the copy is there", || rings.path("copy").exists());
    let mut rx = rings.party_that("copy", &["consume 8 reader"]);
    assert!(rx.ok("read 50").ends_with(" 49:49"));
    signal(&replay, Signal::SIGTERM);
    let run = end(replay, 1);
    run.has(&["of 100 events", "it was stopped"]);
    rx.ok("read 1");
    rx.ok("leave");
    // killed, it leaves a ring as any dead producer does
    let second = rings.named("second");
    let mut replay = start(&["replay", &file, &second]);
    wait_until("the copy is there", || rings.path("second").exists());
    replay.kill().expect("kill");
    replay.wait().expect("wait");
    ends(0, &["show", &second]).has(&["orphaned"]);
    ends(0, &["rm", &second, "--force"]);
}

#[test]
fn a_lossless_recorder_holds_the_producer_up_and_misses_nothing() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8"]);
    let recorder = recorder(&rings, &["--lossless"]);
    let lag = ends(0, &["lag", &ring, "--json"]).json();
    assert!(lag.to_string().contains("auto-"), "{lag}");
    signal(&recorder, Signal::SIGSTOP);
    assert_eq!(tx.ok("fill"), "ok 7");
    signal(&recorder, Signal::SIGCONT);
    tx.ok("publish 1000");
    tx.ok("close");
    end(recorder, 0).has(&["recorded 1008 events, missed 0"]);
    let sequences: Vec<_> = events_of(&rings.named("file"))
        .iter()
        .map(|event| event.0)
        .collect();
    assert_eq!(sequences, (0..1008).collect::<Vec<_>>());
}

#[test]
fn a_recorder_that_watches_holds_up_nobody_and_records_its_gaps() {
    for kind in ["produce 8", "produce 8 observers"] {
        let rings = Rings::new();
        let (file, copy) = (rings.named("file"), rings.named("copy"));
        let mut tx = rings.party_that("ring", &[kind]);
        let mut rx = rings.party_that("ring", &["consume 8 reader"]);
        let recorder = recorder(&rings, &[]);
        signal(&recorder, Signal::SIGSTOP);
        for _ in 0..10 {
            tx.ok("publish 8");
            rx.ok("recv 8");
        }
        signal(&recorder, Signal::SIGCONT);
        tx.ok("publish 2");
        wait_until("it has the last event", || {
            events_of(&file).iter().any(|event| event.0 == 81)
        });
        tx.ok("close");
        rx.ok("recv 2");
        rx.ok("leave");
        let run = end(recorder, 1);
        let events = events_of(&file);
        let missed = 82 - events.len();
        assert!(missed >= 64, "{run:?}");
        run.has(&[&format!(
            "recorded {} events, missed {missed} in ",
            events.len()
        )]);
        let replay = start(&["replay", &file, &copy, "--flat-out"]);
        wait_until("the copy is there", || rings.path("copy").exists());
        let mut rx = rings.party_that("copy", &["consume 8 reader"]);
        let read = rx.ok(&format!("read {}", events.len()));
        assert!(read.ends_with(":81"), "{read}");
        end(replay, 1).has(&[&format!("{missed} are missing in ")]);
        rx.ok("leave");
    }
}

#[test]
fn a_durable_recorder_that_is_killed_goes_on_where_its_file_ends() {
    let rings = Rings::new();
    let (ring, file, second) = (
        rings.named("ring"),
        rings.named("file"),
        rings.named("second"),
    );
    let mut tx = rings.party_that("ring", &["produce 64"]);
    let mut recorder = recorder(&rings, &["--lossless", "--id", "recorder"]);
    tx.ok("publish 6");
    wait_until("some are in the file", || events_of(&file).len() >= 3);
    recorder.kill().expect("kill");
    recorder.wait().expect("wait");
    tx.ok("publish 6");
    ends(0, &["show", &ring]).has(&["recorder", "away"]);
    let again = start(&["record", &ring, &second, "--lossless", "--id", "recorder"]);
    tx.ok("close");
    end(again, 0);
    // what was written and not released yet is in both
    let (before, after) = (events_of(&file), events_of(&second));
    assert!(
        after[0].0 <= before[before.len() - 1].0 + 1,
        "{before:?} {after:?}"
    );
    assert_eq!(after[after.len() - 1].0, 11);
}

#[test]
fn a_recorder_ends_its_file_at_a_signal() {
    let rings = Rings::new();
    let file = rings.named("file");
    let mut tx = rings.party_that("ring", &["produce 64", "publish 3"]);
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        let recorder = recorder(&rings, &["--force"]);
        wait_until("it has three events", || events_of(&file).len() == 3);
        signal(&recorder, number);
        end(recorder, 0).has(&["recorded 3 events", "it was stopped"]);
        ends(0, &["replay", &file, &rings.named("copy")]);
        ends(0, &["rm", &rings.named("copy"), "--force"]);
        // the next recorder begins with an empty file
        fs::remove_file(&file).expect("remove");
    }
    tx.ok("close");
}

#[test]
fn events_come_at_the_pace_at_which_they_were_seen() {
    let rings = Rings::new();
    let (file, copy) = (rings.named("file"), rings.named("copy"));
    let mut tx = rings.party_that("ring", &["produce 64"]);
    let recorder = recorder(&rings, &["--count", "2"]);
    tx.ok("publish 1");
    wait_until("the first is in the file", || events_of(&file).len() == 1);
    std::thread::sleep(Duration::from_millis(200));
    tx.ok("publish 1");
    end(recorder, 0);
    let events = events_of(&file);
    let apart = Duration::from_nanos(events[1].1 - events[0].1);
    assert!(apart >= Duration::from_millis(200), "{events:?}");
    let started = Instant::now();
    ends(0, &["replay", &file, &copy]);
    assert!(started.elapsed() >= apart);
    ends(0, &["rm", &copy, "--force"]);
    tx.ok("close");
}

/// A word and a part of the text for each reason to refuse, and nothing is made.
#[track_caller]
fn refused(code: i32, arguments: &[&str], word: &str, text: &str) {
    let run = ends(code, &[arguments, &["--json"]].concat());
    let error: serde_json::Value = serde_json::from_str(&run.err).expect("an object");
    assert_eq!(error["error"], word, "{run:?}");
    let said = error["text"].as_str().expect("a text");
    assert!(said.contains(text), "{said}");
}

#[test]
fn a_recorder_that_cannot_record_takes_no_place_in_the_ring() {
    let rings = Rings::new();
    let (ring, file) = (rings.named("ring"), rings.named("file"));
    let mut tx = rings.party_that("ring", &["produce 8", "publish 3"]);
    let consumers = || {
        let json = ends(0, &["lag", &ring, "--json"]).json();
        json["consumers"].as_array().map(Vec::len)
    };
    let lossless = ["--lossless", "--id", "recorder"];
    let nowhere = rings.named("no/such/file");
    let arguments = [&["record", &*ring, &*nowhere][..], &lossless].concat();
    refused(3, &arguments, "system", "creating");
    assert_eq!(consumers(), Some(0));
    // the file can be made, and no byte can be written to it
    let arguments = [&["record", &*ring, &*file][..], &lossless].concat();
    let without_space = |more: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
        command.arg(env!("CARGO_BIN_EXE_myelon"));
        command.args(&arguments).args(more).stdin(Stdio::null());
        let run = Run::of(command.output().expect("it starts"));
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.err.contains("writing"), "{run:?}");
    };
    without_space(&[]);
    assert!(!rings.path("file").exists());
    assert_eq!(consumers(), Some(0));
    // the consumer is there already: no file is made, and a recording stays as it is
    let mut rx = rings.party_that("ring", &["consume 8 recorder"]);
    refused(3, &arguments, "attached", "is already attached, by pid");
    assert!(!rings.path("file").exists());
    fs::write(&file, "MYELNREC, another one").expect("write");
    let forced = [&arguments[..], &["--force"]].concat();
    refused(3, &forced, "attached", "is already attached, by pid");
    assert_eq!(fs::read(&file).expect("read"), b"MYELNREC, another one");
    // a place that was there before is kept
    rx.ok("detach");
    without_space(&["--force"]);
    assert_eq!(consumers(), Some(1));
    tx.ok("close");
}

#[test]
fn a_ring_in_doubt_is_refused_until_a_process_has_settled_that() {
    let rings = Rings::new();
    let (copy, file) = (rings.named("copy"), rings.named("file"));
    let mut tx = rings.party_that("ring", &["produce 8", "publish 3"]);
    fs::copy(rings.path("ring"), &copy).expect("copy");
    for arguments in [
        &["tail", &*copy][..],
        &["record", &*copy, &*file],
        &["record", &*copy, &*file, "--lossless"],
    ] {
        refused(3, arguments, "in-doubt", "start its producer or one of its");
    }
    assert!(!rings.path("file").exists());
    let mut rx = rings.party_that("copy", &["consume 8 reader"]);
    ends(0, &["tail", &copy, "--for", "10ms"]);
    ends(0, &["record", &copy, &file, "--for", "10ms"]);
    rx.ok("leave");
    tx.ok("close");
}

#[test]
fn another_users_ring_is_recorded_without_loss_by_whoever_may_write_it() {
    if !needs_root("another_users_ring_is_recorded_without_loss_by_whoever_may_write_it") {
        return;
    }
    const NOBODY: u32 = 65534;
    let rings = Rings::new();
    let (ring, file) = (rings.named("ring"), rings.named("out/file"));
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    // the other user needs a program that it may execute, and a directory that it may write
    let program = rings.path("myelon-copy");
    fs::copy(env!("CARGO_BIN_EXE_myelon"), &program).expect("copy");
    fs::create_dir(rings.path("out")).expect("a directory");
    for (path, mode) in [
        (rings.directory(), 0o755),
        (&*program, 0o755),
        (&*rings.path("out"), 0o777),
    ] {
        allow(path, mode);
    }
    let mut tx = rings.party_that("ring", &["produce 8", "publish 3"]);
    let as_nobody = || {
        let mut command = Command::new(&program);
        command.args([
            "record",
            &*ring,
            &*file,
            "--lossless",
            "--count",
            "3",
            "--json",
        ]);
        command.stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
        Run::of(command.output().expect("it starts"))
    };
    allow(&rings.path("ring"), 0o604);
    let run = as_nobody();
    assert_eq!(run.code, 3, "{run:?}");
    let error: serde_json::Value = serde_json::from_str(&run.err).expect("an object");
    assert_eq!(error["error"], "permission", "{run:?}");
    assert!(!rings.path("out/file").exists());
    allow(&rings.path("ring"), 0o606);
    let run = as_nobody();
    assert_eq!((run.code, &run.json()["events"]), (0, &3.into()), "{run:?}");
    // the ring of that user
    allow(&rings.path("ring"), 0o600);
    std::os::unix::fs::chown(&ring, Some(NOBODY), Some(NOBODY)).expect("chown");
    tx.ok("publish 3");
    let file = rings.named("file");
    ends(0, &["record", &ring, &file, "--lossless", "--count", "3"]);
    tx.ok("close");
}

#[test]
fn bad_recordings_are_told_as_what_they_are() {
    let rings = Rings::new();
    let (ring, file, copy) = (
        rings.named("ring"),
        rings.named("file"),
        rings.named("copy"),
    );
    let mut tx = rings.party_that("ring", &["produce 64", "publish 5"]);
    ends(0, &["record", &ring, &file, "--count", "5"]);
    let sound = fs::read(&file).expect("read");
    let bad = |bytes: &[u8]| {
        let path = rings.named("bad");
        fs::write(&path, bytes).expect("write");
        path
    };
    let replay = |bytes: &[u8], word: &str, text: &str| {
        refused(3, &["replay", &bad(bytes), &copy], word, text);
        assert!(!rings.path("copy").exists());
    };
    replay(
        &sound[..sound.len() - 7],
        "cut-short",
        "before its end block",
    );
    let mut flipped = sound.clone();
    let middle = sound.len() - 60;
    flipped[middle] ^= 4;
    replay(&flipped, "damaged", "does not match its checksum");
    let mut newer = sound.clone();
    newer[8] = 2;
    replay(
        &newer,
        "version",
        "recording of version 2, and this program reads version 1",
    );
    replay(b"#!/bin/sh\n", "foreign", "is not a recording");
    replay(
        &[&sound[..], b"more"].concat(),
        "damaged",
        "bytes after the end block",
    );
    refused(
        3,
        &["replay", &rings.named("none"), &copy],
        "missing",
        "No such file",
    );
    refused(
        3,
        &["replay", &file, &rings.named("no/such")],
        "missing",
        "there is no directory",
    );
    // the end block is missing, and everything before it is whole
    let path = bad(&sound[..sound.len() - 7]);
    let partial = ends(1, &["replay", &path, &copy, "--partial"]);
    assert!(partial.err.contains("cut short"), "{partial:?}");
    partial.has(&["replayed 5 of 5 events"]);
    ends(0, &["rm", &copy, "--force"]);
    tx.ok("close");
}

#[test]
fn nothing_that_exists_is_replaced() {
    let rings = Rings::new();
    let (ring, file) = (rings.named("ring"), rings.named("file"));
    let mut tx = rings.party_that("ring", &["produce 64", "publish 5"]);
    let arguments = ["record", &*ring, &*file, "--count", "5"];
    ends(0, &arguments);
    let sound = fs::read(&file).expect("read");
    refused(4, &arguments, "exists", "--force");
    assert_eq!(fs::read(&file).expect("read"), sound);
    ends(0, &[&arguments[..], &["--force"]].concat());
    let sound = fs::read(&file).expect("read");
    // with --force, too, neither a ring nor another file is written over
    let other = rings.named("other");
    fs::write(&other, "a letter").expect("write");
    for target in [&*other, &*ring] {
        let arguments = ["record", &ring, target, "--count", "5", "--force"];
        refused(4, &arguments, "exists", "is not a recording");
    }
    assert_eq!(fs::read(&other).expect("read"), b"a letter");
    let link = rings.named("link");
    std::os::unix::fs::symlink(&file, &link).expect("link");
    let arguments = ["record", &*ring, &*link, "--count", "5", "--force"];
    refused(4, &arguments, "exists", "symbolic link");
    assert_eq!(fs::read(&file).expect("read"), sound);
    // an empty file has nothing to lose
    let empty = rings.named("empty");
    fs::write(&empty, "").expect("write");
    let arguments = ["record", &*ring, &*empty, "--count", "5"];
    refused(4, &arguments, "exists", "--force");
    ends(0, &[&arguments[..], &["--force"]].concat());
    refused(4, &["replay", &file, &other], "exists", "is not replaced");
    refused(4, &["replay", &file, &ring], "exists", "there is a ring");
    let layout = MmapTransportLayout::new(rings.directory(), "numbers");
    let numbers = MmapProducer::<u64>::create(&layout, 8, || 0).expect("a ring");
    let path = rings.named("numbers");
    refused(
        4,
        &["replay", &file, &path],
        "layout",
        "events of another layout: it has u64",
    );
    refused(
        3,
        &["record", &rings.named("none"), &rings.named("new")],
        "missing",
        "there is no ring",
    );
    assert!(!rings.path("new").exists());
    drop(numbers);
    tx.ok("close");
}

#[test]
fn messages_are_replayed_as_messages() {
    let rings = Rings::new();
    let (file, copy) = (rings.named("file"), rings.named("copy"));
    let layout = MmapTransportLayout::new(rings.directory(), "frames");
    type Tx = myelon::MmapFramedTransportProducer<FixedFrame<512>>;
    let mut tx = Tx::create(&layout, 8).expect("a ring");
    tx.try_send(b"hello", 4).expect("space");
    tx.try_send(&[b'x'; 700], 5).expect("space");
    ends(
        0,
        &[
            "record",
            &rings.named("frames"),
            &file,
            "--count",
            "3",
            "--compress",
        ],
    );
    ends(0, &["replay", &file, &copy]);
    type Rx = myelon::MmapFramedTransportConsumer<FixedFrame<512>>;
    let layout = MmapTransportLayout::new(rings.directory(), "copy");
    let mut rx = Rx::attach(&layout, 8, Default::default()).expect("attach");
    for (bytes, kind) in [(b"hello".to_vec(), 4), (vec![b'x'; 700], 5)] {
        let message = rx.recv(Deadline::NEVER).expect("a message");
        assert_eq!((&message[..], message.kind()), (&bytes[..], kind));
    }
}
