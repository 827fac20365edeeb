//! `list`, `show` and `lag`: rings that live, are full, die, end, and are full of lies.

use std::fs;
use std::os::unix::fs::FileExt;

use nix::sys::signal::Signal;

use crate::party::Rings;
use crate::{content, ends, run};

#[test]
fn a_live_ring_is_shown_and_not_changed() {
    let rings = Rings::new();
    let ring = rings.named("ticks");
    let mut tx = rings.party_that("ticks", &["produce 16", "publish 5"]);
    let mut rx = rings.party_that("ticks", &["consume 16 risk", "recv 2"]);
    let before = content(&rings.path("ticks"));
    let directory = rings.directory().to_str().expect("UTF-8");
    let listed = ends(0, &["list", "--dir", directory]);
    listed.has(&["RING", "ticks  live", "Tick"]);
    let shown = ends(0, &["show", &ring]);
    shown.has(&[
        "live",
        "Tick { price: i64 @0, quantity: u32 @8, venue: [u8; 4] @12 } size 16 align 8 (16 bytes",
        "16 of 64 bytes",
        "5 events, the last is 4",
        &format!("pid {}, alive", tx.pid()),
        "risk",
        "attached",
    ]);
    let json = ends(0, &["show", "--json", &ring]).json();
    assert_eq!(
        (&json["state"], &json["published"]),
        (&"live".into(), &4.into())
    );
    assert_eq!(
        (&json["capacity"], &json["is_full"]),
        (&16.into(), &false.into())
    );
    assert_eq!(json["producer"]["process"]["pid"], tx.pid());
    let consumer = &json["consumers"][0];
    assert_eq!(
        (&consumer["id"], &consumer["position"], &consumer["lag"]),
        (&"risk".into(), &1.into(), &3.into())
    );
    assert_eq!(consumer["process"]["pid"], rx.pid());
    let json = ends(0, &["list", "--json", "--dir", directory]).json();
    assert_eq!(
        (&json[0]["ring"], &json[0]["event"]["size"]),
        (&"ticks".into(), &16.into())
    );
    ends(0, &["lag", &ring]);
    ends(0, &["stat", &ring, "--interval", "10ms"]);
    ends(0, &["tail", &ring, "--from", "oldest", "--count", "1"]);
    ends(0, &["top", "--dir", directory, "--interval", "10ms"]);
    ends(0, &["clean", "--dir", directory]);
    ends(4, &["rm", &ring]);
    assert_eq!(
        content(&rings.path("ticks")),
        before,
        "looking changes nothing"
    );
    // control: a consumer that attaches is noticed
    let mut other = rings.party_that("ticks", &["consume 16 other"]);
    assert_ne!(content(&rings.path("ticks")).0, before.0);
    other.ok("leave");
    rx.ok("recv 3");
    rx.ok("leave");
    tx.ok("close");
    assert!(!rings.path("ticks").exists());
}

#[test]
fn a_full_ring_names_what_it_waits_for() {
    let rings = Rings::new();
    let ring = rings.named("full");
    let mut tx = rings.party_that("full", &["produce 8"]);
    let mut fast = rings.party_that("full", &["consume 8 fast"]);
    let mut slow = rings.party_that("full", &["consume 8 slow"]);
    tx.ok("fill");
    fast.ok("recv 8");
    slow.ok("recv 1");
    tx.ok("fill");
    // the producer waits, and so does the fast consumer; the slow one is stopped, which is not dead
    tx.tell("publish 1");
    slow.signal(Signal::SIGSTOP);
    let pid = format!("pid {}", slow.pid());
    ends(0, &["show", &ring]).has(&[
        "waits for consumer 'slow'",
        &pid,
        "attached",
        "8 events behind",
    ]);
    let json = ends(0, &["show", "--json", &ring]).json();
    assert_eq!(
        (&json["published"], &json["gate"], &json["is_full"]),
        (&8.into(), &0.into(), &true.into())
    );
    let over = ends(1, &["lag", &ring, "--max", "7"]);
    assert_eq!(over.out, "fast  1  attached\nslow  8  attached  over\n");
    assert_eq!(
        ends(0, &["lag", &ring, "--max", "8"]).out,
        "fast  1  attached\nslow  8  attached\n"
    );
    let json = ends(1, &["lag", &ring, "--max", "7", "--json"]).json();
    assert_eq!(
        (&json["is_over"], &json["consumers"][1]["lag"]),
        (&true.into(), &8.into())
    );
    slow.signal(Signal::SIGCONT);
    slow.ok("recv 1");
    assert!(tx.answer().starts_with("ok"));
    assert_eq!(
        ends(0, &["lag", &ring]).out,
        "fast  2  attached\nslow  8  attached\n"
    );
}

#[test]
fn a_dead_ring_an_ended_one_and_a_place_that_is_kept_are_told_apart() {
    let rings = Rings::new();
    let mut dead = rings.party_that("dead", &["produce 8"]);
    let mut reader = rings.party_that("dead", &["consume 8 reader"]);
    dead.ok("publish 3");
    reader.ok("detach");
    dead.kill();
    let mut ended = rings.party_that("ended", &["produce 8 expect=late", "publish 2"]);
    ended.ok("close");
    let mut kept = rings.party_that("kept", &["produce 8", "publish 2"]);
    kept.ok("keep");
    ends(0, &["show", &rings.named("dead")]).has(&["orphaned", "dead", "reader", "away"]);
    ends(0, &["show", &rings.named("ended")]).has(&[
        "closed, closed after 1",
        "kept for   late",
        "expected",
        "no process",
    ]);
    ends(0, &["show", &rings.named("kept")]).has(&["closed", "kept until it is removed"]);
    let directory = rings.directory().to_str().expect("UTF-8");
    let list = ends(0, &["list", "--dir", directory]);
    let words: Vec<Vec<_>> = list
        .out
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        words,
        [
            ["RING", "STATE"],
            ["dead", "orphaned"],
            ["ended", "closed"],
            ["kept", "closed"]
        ]
    );
}

#[test]
fn a_ring_that_is_damaged_or_lies_is_named() {
    let rings = Rings::new();
    let ring = rings.named("lies");
    let _tx = rings.party_that("lies", &["produce 8", "publish 3"]);
    let _rx = rings.party_that("lies", &["consume 8 reader"]);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&ring)
        .expect("open");
    // the position of the first consumer line, and an id that a terminal must not obey
    file.write_all_at(&99_i64.to_ne_bytes(), 4096 + 1024)
        .expect("write");
    file.write_all_at(b"\x1b[2Jev", 4096 + 1024 + 48)
        .expect("write");
    let shown = ends(1, &["show", &ring]);
    shown.has(&[
        "implausible",
        "consumer line 0 has released 99",
        "\\u{1b}[2Jev",
    ]);
    assert!(!shown.out.contains('\x1b'));
    let json = ends(1, &["show", "--json", &ring]).json();
    assert_eq!(json["faults"].as_array().map(Vec::len), Some(1));
    // its lag is 0, which is below any threshold
    let lag = ends(1, &["lag", "--max", "5", &ring]);
    assert_eq!(
        lag.err,
        "myelon: implausible: consumer line 0 has released 99, but 2 is the last sequence that is published\n"
    );
    let directory = rings.directory().to_str().expect("UTF-8");
    ends(1, &["list", "--dir", directory]).has(&["lies  live", "implausible"]);
    file.write_all_at(&[0xff], 90).expect("write");
    ends(1, &["list", "--dir", directory]).has(&["lies  damaged"]);
    ends(1, &["doctor", "--dir", directory]).has(&["damaged: lies"]);
}

#[test]
fn a_ring_is_found_by_its_name_in_shared_memory() {
    let name = disruptor_mp::portable_shm_segment_name("tool");
    let tx = disruptor_mp::publisher::<u64>(&name, 8).expect("a ring");
    ends(0, &["show", &name]).has(&["/dev/shm/", &name, "u64"]);
    // rings of other programs may be damaged
    run(&["list"]).has(&[&name]);
    let listed = run(&["list", "--json"]).json();
    let found = listed
        .as_array()
        .expect("an array")
        .iter()
        .find(|ring| ring["ring"] == name.as_str());
    assert_eq!(found.expect("the ring")["state"], "live");
    tx.destroy().expect("removed");
    ends(3, &["show", &name]);
}
