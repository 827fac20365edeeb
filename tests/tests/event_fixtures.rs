//! The derive of `Event` in crates like those of users: with the crate under each name, renamed, inherited,
//! among decoys, and in a macro.
//!
//! Each directory `event_*` in `fixtures` is a crate of its own. The test copies it beside the build and adds
//! the workspace's lock file, so that nothing has to be fetched. Then cargo builds and tests it like any other
//! crate. All of them share one target directory. The last test checks that the list is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PASSING: [&str; 9] = [
    "event_via_disruptor_mp",
    "event_via_myelon",
    "event_via_renamed_disruptor_mp",
    "event_via_renamed_myelon",
    "event_via_inherited",
    "event_via_both",
    "event_among_decoys",
    "event_from_macro",
    "event_via_edition_2015",
];

/// Fixture, cargo command, and the text that its message must contain.
const FAILING: [(&str, &str, &str); 3] = [
    (
        "event_broken_padding",
        "check",
        "`Tick` has 4 bytes of padding after the field `qty`, which would reach other processes uninitialised: \
         put a field there, such as `_pad: [u8; 4]`",
    ),
    (
        "event_broken_generic",
        "build",
        "`Pair` has 4 bytes of padding after the field `first`",
    ),
    (
        "event_broken_no_provider",
        "check",
        "the derive finds neither `disruptor-mp` nor `myelon` in this crate's Cargo.toml: add one of them",
    ),
];

/// Programs whose macros show the compiler another type than they show the derive: the fixture, and the program
/// in it that does so and is correct nevertheless.
const REWRITTEN: (&str, &str) = ("event_rewritten", "harmless");

/// Program of that fixture, and the text that its message must contain.
const FORGED: [(&str, &str); 6] = [
    ("type_by_attribute", "`&u64` is not an `Event`"),
    ("type_by_macro", "`&u64` is not an `Event`"),
    (
        "one_more_field",
        "pattern requires `..` due to inaccessible fields",
    ),
    (
        "another_order",
        "`Forged` does not keep its fields in the order of their declaration, see `first`: it needs `#[repr(C)]`",
    ),
    ("packed", "reference to field of packed struct is unaligned"),
    ("union", "access to union field is unsafe"),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests live in the workspace")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("event_fixtures")
}

/// Copies the fixture and returns its manifest.
fn place(name: &str) -> PathBuf {
    let to = scratch().join(name);
    copy_tree(&fixtures().join(name), &to);
    fs::copy(workspace().join("Cargo.lock"), to.join("Cargo.lock"))
        .expect("the workspace is locked");
    to.join("Cargo.toml")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target directory is ours");
    for entry in fs::read_dir(from).expect("the fixture is there") {
        let entry = entry.expect("the fixture can be read");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let extension = source.extension().unwrap_or_default();
        if source.is_dir() && entry.file_name() != "target" {
            copy_tree(&source, &target);
        } else if entry.file_name() == "Cargo.toml" || extension == "rs" {
            let text = fs::read_to_string(&source).expect("a manifest or a source is text");
            fs::write(&target, anchored(&text)).expect("the target directory is ours");
        }
    }
}

/// Makes paths that lead out of the fixture lead to the workspace, wherever the copy is.
fn anchored(text: &str) -> String {
    let root = format!("\"{}/", workspace().display());
    let mut text = text.to_owned();
    for climb in ["\"../../../../", "\"../../../"] {
        text = text.replace(climb, &root);
    }
    text
}

fn cargo(command: &[&str], fixture: &str) -> Output {
    // that of `ten_minutes.rs`: most dependencies are the same
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("users");
    Command::new(env!("CARGO"))
        .args(command)
        .args(["--offline", "--color", "never", "--manifest-path"])
        .arg(place(fixture))
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .expect("cargo runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn crates_that_do_it_right_compile_and_agree() {
    for fixture in PASSING {
        let output = cargo(&["test", "--tests"], fixture);
        assert!(
            output.status.success(),
            "{fixture} fails:\n{}",
            stderr(&output)
        );
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(
            report.contains("1 passed"),
            "{fixture} tests nothing:\n{report}"
        );
    }
}

#[test]
fn crates_that_do_it_wrong_are_told_what_to_do() {
    for (fixture, command, message) in FAILING {
        let output = cargo(&[command], fixture);
        let said = stderr(&output);
        assert!(
            !output.status.success(),
            "{fixture} passes `cargo {command}`"
        );
        assert!(
            said.contains(message),
            "{fixture} says something else:\n{said}"
        );
    }
}

#[test]
fn a_generic_event_is_judged_by_its_uses_and_not_before() {
    let output = cargo(&["check"], "event_broken_generic");
    assert!(
        output.status.success(),
        "a struct that may be used well is refused:\n{}",
        stderr(&output)
    );
}

#[test]
fn what_is_judged_is_what_is_compiled() {
    let (fixture, harmless) = REWRITTEN;
    let output = cargo(&["run", "--bin", harmless], fixture);
    assert!(
        output.status.success(),
        "what is right behind the macros is refused:\n{}",
        stderr(&output)
    );
    for (program, message) in FORGED {
        let output = cargo(&["check", "--bin", program], fixture);
        let said = stderr(&output);
        assert!(!output.status.success(), "{program} passes");
        assert!(
            said.contains(message),
            "{program} says something else:\n{said}"
        );
    }
}

#[test]
fn every_fixture_is_run() {
    let mut there: Vec<_> = fs::read_dir(fixtures())
        .expect("the fixtures are there")
        .map(|entry| {
            entry
                .expect("the fixtures can be read")
                .file_name()
                .into_string()
                .expect("plain names")
        })
        .filter(|name| name.starts_with("event_"))
        .collect();
    let mut run: Vec<_> = PASSING
        .into_iter()
        .chain(FAILING.map(|(fixture, ..)| fixture))
        .chain([REWRITTEN.0])
        .collect();
    there.sort();
    run.sort_unstable();
    assert_eq!(there, run);
}
