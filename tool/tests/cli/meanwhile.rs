//! Rings that other processes remove or replace while a command is at work.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::party::Rings;
use crate::{myelon, run, wait_until};

/// Gives `is_last` each state that `stat` sees in a ring, until it returns true.
fn states_while(ring: &str, mut is_last: impl FnMut(&str) -> bool) {
    let arguments = [
        "stat",
        ring,
        "--interval",
        "10ms",
        "--count",
        "100000",
        "--json",
    ];
    let mut command = myelon(&arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut states = lines
        .map(|line| -> Value { serde_json::from_str(&line.expect("a line")).expect("an object") });
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let was_seen = states.any(|seen| {
        assert!(std::time::Instant::now() < end, "waited in vain: {seen}");
        is_last(seen["state"].as_str().expect("a word"))
    });
    assert!(was_seen, "stat ended");
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn a_ring_whose_name_is_gone_or_leads_to_another_one_is_removed() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    let mut tx = rings.party_that("ring", &["produce 8", "publish 1"]);
    let mut seen = Vec::new();
    // removed under a producer that is alive, which goes on
    states_while(&ring, |state| {
        if seen.last().map(String::as_str) != Some(state) {
            seen.push(state.to_owned());
        }
        if state == "live" && rings.path("ring").exists() {
            fs::remove_file(&ring).expect("remove");
        }
        state == "removed"
    });
    assert_eq!(seen, ["live", "removed"]);
    tx.ok("publish 1");
    tx.ok("close");
    // replaced by a ring of the same name
    let mut tx = rings.party_that("ring", &["produce 8"]);
    let mut other = rings.party_that("other", &["produce 8"]);
    seen.clear();
    states_while(&ring, |state| {
        if seen.last().map(String::as_str) != Some(state) {
            seen.push(state.to_owned());
        }
        if state == "live" && rings.path("other").exists() {
            fs::rename(rings.path("other"), &ring).expect("rename");
        }
        state == "removed"
    });
    assert_eq!(seen, ["live", "removed"]);
    assert_eq!(run(&["show", &ring, "--json"]).json()["state"], "live");
    tx.kill();
    other.kill();
    // ended and drained: its own producer removes the name
    let mut tx = rings.party_that("third", &["produce 8"]);
    let mut is_ended = false;
    states_while(&rings.named("third"), |state| {
        if !is_ended {
            assert_eq!(state, "live");
            tx.ok("close");
            is_ended = true;
        }
        state == "removed"
    });
    assert_eq!(run(&["show", &rings.named("third")]).code, 3);
}

/// `rm` locks the file that it found under the name, and checks the name once more: whichever file it is by then, it
/// removes none that it has not checked.
#[test]
fn a_ring_that_is_replaced_while_it_is_removed_has_changed() {
    let rings = Rings::new();
    let ring = rings.named("ring");
    for name in ["one", "two"] {
        rings.party_that(name, &["produce 8"]).kill();
    }
    let is_over = AtomicBool::new(false);
    let replace = || {
        let next = rings.path("next");
        while !is_over.load(Ordering::Relaxed) {
            for name in ["one", "two"] {
                // a rename from one name of a file to another one of its names does nothing
                let _ = fs::remove_file(&next);
                fs::hard_link(rings.path(name), &next).expect("link");
                fs::rename(&next, &ring).expect("rename");
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(replace);
        wait_until("a removal finds another ring under the name", || {
            let run = run(&["rm", &ring, "--json"]);
            match run.code {
                0 => false,
                // it was removed a moment ago
                3 => {
                    assert!(run.err.contains("\"missing\""), "{run:?}");
                    false
                }
                code => {
                    let error: Value = serde_json::from_str(&run.err).expect("an object");
                    assert_eq!((code, &error["error"]), (4, &"changed".into()), "{run:?}");
                    let text = error["text"].as_str().expect("a text");
                    assert!(
                        text.contains("another process removed or replaced"),
                        "{text}"
                    );
                    true
                }
            }
        });
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(rings.path("one").exists() && rings.path("two").exists());
}
