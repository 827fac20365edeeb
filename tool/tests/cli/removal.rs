//! `clean` and `rm`: only what is dead goes, and what is lost is named.

use crate::ends;
use crate::party::Rings;

#[test]
fn only_rings_that_nothing_needs_are_cleaned() {
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8").to_owned();
    let clean = |options: &[&str]| {
        let arguments = [&["clean", "--dir", &directory], options].concat();
        ends(0, &arguments)
    };
    assert_eq!(
        clean(&[]).out,
        format!("nothing to remove in {directory}\n")
    );
    let mut live = rings.party_that("live", &["produce 8", "publish 1"]);
    let mut stopped = rings.party_that("stopped", &["produce 8"]);
    stopped.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut attached = rings.party_that("attached", &["produce 8"]);
    let mut reader = rings.party_that("attached", &["consume 8 reader"]);
    attached.kill();
    let mut away = rings.party_that("away", &["produce 8"]);
    rings.party_that("away", &["consume 8 reader", "detach"]);
    away.ok("publish 3");
    away.kill();
    let mut unread = rings.party_that("unread", &["produce 8", "publish 2"]);
    unread.kill();
    let mut kept = rings.party_that("kept", &["produce 8"]);
    kept.ok("keep");
    rings.party_that("drained", &["produce 8"]).kill();
    rings
        .party_that("x", &["half-make .made.0123456789abcdef"])
        .kill();
    std::fs::write(rings.path("foreign"), "text").expect("write");
    std::fs::write(rings.path(".other.0123456789abcdef"), "text").expect("write");
    // these may be other programs' files
    for empty in [".made.fedcba9876543210", ".upload.0123456789abcdef"] {
        std::fs::write(rings.path(empty), "").expect("write");
    }
    let names = || {
        let entries = std::fs::read_dir(rings.directory()).expect("read");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("one")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    };
    let all = names();
    let dry = clean(&["--dry-run"]);
    dry.has(&[
        "drained: would be removed\n",
        ".made.0123456789abcdef: would be removed\n",
        "away: kept, as this would lose the place of consumer \"reader\", which is away and may come back, with 3 unread",
        "unread: kept, as this would lose 2 events that no consumer has read",
        "kept: kept, as this would lose a ring that its producer wanted to be kept",
    ]);
    assert!(
        !dry.out.contains("live") && !dry.out.contains("foreign"),
        "{dry:?}"
    );
    assert_eq!(names(), all);
    let json = ends(0, &["clean", "--dry-run", "--json", "--dir", &directory]).json();
    let results: Vec<_> = json
        .as_array()
        .expect("an array")
        .iter()
        .map(|deed| deed["result"].as_str())
        .collect();
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Some("in-use"))
            .count(),
        3,
        "{json}"
    );
    clean(&[]).has(&["drained: removed\n", ".made.0123456789abcdef: removed\n"]);
    let left = [
        ".made.fedcba9876543210",
        ".other.0123456789abcdef",
        ".upload.0123456789abcdef",
        "attached",
        "away",
        "foreign",
        "kept",
        "live",
        "stopped",
        "unread",
    ];
    assert_eq!(names(), left);
    clean(&["--force"]).has(&[
        "away: removed; lost: the place of consumer \"reader\"",
        "unread: removed; lost: 2 events",
        "kept: removed; lost: a ring that its producer wanted to be kept",
    ]);
    assert_eq!(
        names(),
        [
            ".made.fedcba9876543210",
            ".other.0123456789abcdef",
            ".upload.0123456789abcdef",
            "attached",
            "foreign",
            "live",
            "stopped"
        ]
    );
    // what was in use goes on
    live.ok("publish 1");
    reader.ok("leave");
    stopped.signal(nix::sys::signal::Signal::SIGCONT);
    stopped.ok("publish 1");
    clean(&[]).has(&["attached: removed\n"]);
}

#[test]
fn one_ring_is_removed_or_the_reason_is_told() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8", "publish 2"]);
    ends(4, &["rm", &ring]).has(&["kept, as it is in use by its producer, pid"]);
    ends(4, &["rm", "--force", &ring]).has(&["in use"]);
    tx.kill();
    ends(4, &["rm", &ring]).has(&["2 events that no consumer has read", "--force"]);
    ends(0, &["rm", "--force", "--dry-run", &ring]).has(&["would be removed; lost: 2 events"]);
    assert!(rings.path("ring").exists());
    let json = ends(0, &["rm", "--force", "--json", &ring]).json();
    assert_eq!(
        (&json["result"], &json["words"][0]),
        (
            &"removed".into(),
            &"2 events that no consumer has read".into()
        )
    );
    assert!(!rings.path("ring").exists());
    ends(3, &["rm", &ring]);
    // no file of another kind is ever removed
    std::fs::write(&ring, "text").expect("write");
    ends(3, &["rm", "--force", &ring]);
    assert!(rings.path("ring").exists());
}

#[test]
fn a_damaged_ring_goes_by_force_alone_and_never_while_it_is_used() {
    use std::os::unix::fs::FileExt;
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8"]);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&ring)
        .expect("open");
    file.write_all_at(b"?", 300).expect("write");
    ends(4, &["rm", "--force", &ring]).has(&["in use by a living process"]);
    tx.kill();
    ends(4, &["rm", &ring]).has(&["whatever is in it"]);
    ends(0, &["rm", "--force", &ring]).has(&["removed; lost: whatever is in it", "checksum"]);
    assert!(!rings.path("ring").exists());
}
