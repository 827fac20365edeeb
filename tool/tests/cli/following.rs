//! `tail`: the events of a ring, whole, in order, and without holding up its producer.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use disruptor_mp::MmapTransportLayout;
use myelon::transport::FixedFrame;

use crate::party::Rings;
use crate::{ends, myelon};

#[test]
fn events_are_shown_by_field_in_hex_and_as_json() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8"]);
    let mut rx = rings.party_that("ring", &["consume 8 reader"]);
    tx.ok("publish 3");
    let shown = ends(0, &["tail", &ring, "--from", "oldest", "--count", "3"]);
    let lines: Vec<_> = shown.out.lines().collect();
    assert_eq!(lines[0], "0 { price: 0, quantity: 7, venue: \"XAU\" }");
    assert_eq!(lines[2], "2 { price: 2, quantity: 7, venue: \"XAU\" }");
    let hex = ends(
        0,
        &[
            "tail", &ring, "--from", "1", "--count", "1", "--hex", "--bytes", "12",
        ],
    );
    assert_eq!(hex.out, "1 01000000 00000000 07000000 …\n");
    let json = ends(0, &["tail", &ring, "--from", "2", "--count", "1", "--json"]).json();
    assert_eq!(
        (&json["sequence"], &json["event"]["price"]),
        (&2.into(), &2.into())
    );
    assert_eq!(json["bytes"], "02000000 00000000 07000000 58415500");
    // nothing comes, and it ends by its own clock
    assert_eq!(ends(0, &["tail", &ring, "--for", "50ms"]).out, "");
    rx.ok("leave");
    tx.ok("close");
}

#[test]
fn it_follows_a_ring_to_its_end_and_holds_up_nobody() {
    for kind in ["produce 8", "produce 8 observers"] {
        let rings = Rings::new();
        let ring = rings.named("ring");
        let mut tx = rings.party_that("ring", &[kind]);
        let mut rx = rings.party_that("ring", &["consume 8 reader"]);
        let mut tail = myelon(&["tail", &ring, "--from", "oldest"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
        let mut next = || lines.next().map(|line| line.expect("UTF-8"));
        tx.ok("publish 2");
        assert!(next().expect("a line").starts_with("0 "));
        assert!(next().expect("a line").starts_with("1 "));
        // stopped, it holds up neither side
        let pid = nix::unistd::Pid::from_raw(tail.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("stop");
        rx.ok("recv 2");
        for _ in 0..10 {
            tx.ok("publish 8");
            rx.ok("recv 8");
        }
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).expect("continue");
        let missed = next().expect("a line");
        let count: i64 = missed
            .strip_prefix("missed ")
            .and_then(|rest| rest.strip_suffix(" events"))
            .expect(&missed)
            .parse()
            .expect("a number");
        assert!((64..=80).contains(&count), "{missed}");
        tx.ok("publish 1");
        rx.ok("recv 1");
        let mut last = 0;
        tx.ok("publish 1");
        tx.ok("close");
        while let Some(line) = next() {
            last = line
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(last);
        }
        // the ring of a reader that has not read its last event is still there
        assert_eq!(last, 83);
        assert!(tail.wait().expect("it ended").success());
        rx.ok("recv 1");
        rx.ok("leave");
    }
}

#[test]
fn it_ends_with_a_dead_producer() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8", "publish 3"]);
    tx.kill();
    let run = ends(0, &["tail", &ring, "--from", "oldest"]);
    assert_eq!(run.out.lines().count(), 3);
    assert!(run.err.contains("the producer is not alive"), "{run:?}");
}

#[test]
fn messages_are_shown_with_their_kind() {
    let rings = Rings::new();
    let layout = MmapTransportLayout::new(rings.directory(), "frames");
    let mut tx =
        myelon::MmapFramedTransportProducer::<FixedFrame<64>>::create(&layout, 8).expect("a ring");
    tx.try_send(b"hello", 4).expect("space");
    let run = ends(
        0,
        &[
            "tail",
            &rings.named("frames"),
            "--from",
            "0",
            "--count",
            "1",
        ],
    );
    run.has(&["kind 4 whole, 5 bytes to its end: \"hello\""]);
}

#[test]
fn a_ring_of_a_session_names_the_session() {
    let rings = Rings::new();
    let config = myelon::RunnerMyelonTransportConfig::new("llama 70b, \u{1b}[31m", 1);
    let scheduler = myelon::Scheduler::<FixedFrame<64>, FixedFrame<64>, _>::start_in_files(
        &config,
        rings.directory(),
    )
    .expect("a session");
    let layout = myelon::MyelonTransportLayout::for_session(&config.session).expect("names");
    let ring = rings.named(&layout.rpc_ring_name());
    let session = "session llama 70b, \\u{1b}[31m, to its workers";
    ends(0, &["show", &ring]).has(&[&format!("for        {session}")]);
    let shown = ends(0, &["show", "--json", &ring]).json();
    assert_eq!(shown["label"], session);
    drop(scheduler);
}
