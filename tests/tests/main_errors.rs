//! What a user reads whose program returns an error from `main`: Rust prints the error's `Debug` text there.

use std::fs;
use std::process::Command;

/// The end of a program that makes this call: what it knew as the error's sentence, and what it left on stderr.
fn end_of(what: &str, name: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fails"))
        .args([what, name])
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    assert_eq!(output.status.code(), Some(1), "{what}");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_program_that_fails_ends_with_the_sentence() {
    for (what, part) in [
        ("subscribe", "start its producer first"),
        ("publish-twice", "already has a live producer, "),
        ("send", "waits for consumer 'reader'"),
        ("try-send", "blocked_on() names the consumer"),
        ("receive", "the ring is closed and drained"),
        ("receive-messages", "start its producer first"),
        (
            "publish-managed",
            "required consumers have not come: [\"reader\"]",
        ),
        ("inspect", "its producer has not started"),
        ("remove", "/dev/null is not a ring but "),
        ("counters", "CountersFile::create makes one"),
        ("topology", "there is no worker 2"),
        ("decode", "a message of kind 7 and 1 bytes was dropped: "),
    ] {
        let name = myelon::portable_shm_segment_name("fails");
        let (sentence, said) = end_of(what, &name);
        assert!(sentence.contains(part), "{what}: {sentence}");
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(last, format!("Error: {sentence}"), "{what}");
    }
}

#[test]
fn an_error_of_a_session_names_the_session() {
    let session = myelon::portable_shm_segment_name("llama");
    let (sentence, said) = end_of("schedule-twice", &session);
    assert!(
        sentence.contains(&format!("the scheduler of session '{session}'")),
        "{sentence}"
    );
    assert!(said.contains(&sentence), "{said}");
}

/// Every public error of the libraries. A new one with a derived `Debug` would print its fields.
#[test]
fn no_other_error_derives_its_debug_text() {
    let mut derived = Vec::new();
    let mut left = ["disruptor-mp/src", "myelon/src"]
        .map(|at| format!("{ROOT}/{at}").into())
        .to_vec();
    while let Some(path) = left.pop() {
        let path: std::path::PathBuf = path;
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source");
        let lines = source
            .lines()
            .filter(|line| line.contains("thiserror::Error)]"));
        if lines.filter(|line| line.contains("Debug")).count() > 0 {
            derived.push(
                path.strip_prefix(ROOT)
                    .expect("below it")
                    .display()
                    .to_string(),
            );
        }
    }
    derived.sort();
    // that one does not leave its file
    assert_eq!(derived, ["myelon/src/codec/rkyv.rs"]);
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
