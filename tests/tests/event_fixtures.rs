//! The derive of `Event` in crates like those of users: with the crate under each name, renamed, inherited,
//! among decoys, and in a macro.
//!
//! Each directory `event_*` in `fixtures` is a crate of its own. The test copies it beside the build and adds
//! the workspace's lock file, so that nothing has to be fetched. Then cargo builds and tests it like any other
//! crate. Crates that are treated alike become members of one workspace in the copy, as one call of cargo takes less
//! time than nine. All of them share one target directory. The last test checks that the list is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Each has one test.
const PASSING: [&str; 8] = [
    "event_via_disruptor_mp",
    "event_via_myelon",
    "event_via_renamed_disruptor_mp",
    "event_via_renamed_myelon",
    "event_via_both",
    "event_among_decoys",
    "event_from_macro",
    "event_via_edition_2015",
];

/// Passes too, and is a workspace, from which its crate inherits the dependency.
const INHERITED: &str = "event_via_inherited";

/// A fixture that does not compile, and the text that its message must contain.
const FAILING: [(&str, &str); 2] = [
    (
        "event_broken_padding",
        "`Tick` has 4 bytes of padding after the field `qty`, which would reach other processes uninitialised: \
         put a field there, such as `_pad: [u8; 4]`",
    ),
    (
        "event_broken_no_provider",
        "the derive finds neither `disruptor-mp` nor `myelon` in this crate's Cargo.toml: add one of them",
    ),
];

/// A fixture that passes `cargo check` and does not compile: a generic struct is judged by its uses, and not before.
const GENERIC: (&str, &str) = (
    "event_broken_generic",
    "`Pair` has 4 bytes of padding after the field `first`",
);

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
fn place(fixture: &str) -> PathBuf {
    let to = scratch().join(fixture);
    copy_tree(&fixtures().join(fixture), &to);
    lock(&to)
}

/// Copies the fixtures as members of one workspace, and returns its manifest.
fn place_together(workspace: &str, fixtures_of_it: &[&str]) -> PathBuf {
    let to = scratch().join(workspace);
    for fixture in fixtures_of_it {
        let member = to.join(fixture);
        copy_tree(&fixtures().join(fixture), &member);
        let manifest = member.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("it was copied");
        let (package, rest) = text.split_once("[workspace]").expect("a workspace");
        assert_eq!(rest.trim(), "", "{fixture} inherits something");
        fs::write(&manifest, package).expect("the target directory is ours");
    }
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {fixtures_of_it:?}\n");
    fs::write(to.join("Cargo.toml"), manifest).expect("the target directory is ours");
    lock(&to)
}

fn lock(directory: &Path) -> PathBuf {
    fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock"))
        .expect("the workspace is locked");
    directory.join("Cargo.toml")
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

fn cargo(command: &[&str], manifest: &Path) -> Output {
    // that of `ten_minutes.rs`: most dependencies are the same
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("users");
    Command::new(env!("CARGO"))
        .args(command)
        .args(["--offline", "--color", "never", "--manifest-path"])
        .arg(manifest)
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

#[track_caller]
fn assert_passes(output: &Output, tests: usize) {
    assert!(output.status.success(), "{}", stderr(output));
    let report = String::from_utf8_lossy(&output.stdout);
    let passed = report.matches("test result: ok. 1 passed").count();
    assert_eq!(passed, tests, "{}\n{report}", stderr(output));
}

#[test]
fn crates_that_do_it_right_compile_and_agree() {
    let command = ["test", "--tests", "--workspace", "--no-fail-fast"];
    let output = cargo(&command, &place_together("right", &PASSING));
    assert_passes(&output, PASSING.len());
    assert_passes(&cargo(&command, &place(INHERITED)), 1);
}

#[test]
fn crates_that_do_it_wrong_are_told_what_to_do() {
    let (generic, message_of_generic) = GENERIC;
    let wrong = [FAILING[0].0, FAILING[1].0, generic];
    let manifest = place_together("wrong", &wrong);
    let said = stderr(&cargo(&["check", "--workspace", "--keep-going"], &manifest));
    for (fixture, message) in FAILING {
        assert!(is_refused(&said, fixture), "{fixture} passes:\n{said}");
        assert!(
            said.contains(message),
            "{fixture} says something else:\n{said}"
        );
    }
    assert!(
        !is_refused(&said, generic),
        "a struct that may be used well is refused:\n{said}"
    );
    let said = stderr(&cargo(&["build", "-p", &package(generic)], &manifest));
    assert!(is_refused(&said, generic), "{generic} compiles:\n{said}");
    assert!(
        said.contains(message_of_generic),
        "{generic} says something else:\n{said}"
    );
}

fn package(fixture: &str) -> String {
    fixture.replace('_', "-")
}

/// Whether cargo says that this package does not compile.
fn is_refused(said: &str, fixture: &str) -> bool {
    said.contains(&format!("error: could not compile `{}`", package(fixture)))
}

#[test]
fn what_is_judged_is_what_is_compiled() {
    let (fixture, harmless) = REWRITTEN;
    let manifest = place(fixture);
    let output = cargo(&["run", "--bin", harmless], &manifest);
    assert!(
        output.status.success(),
        "what is right behind the macros is refused:\n{}",
        stderr(&output)
    );
    // each error in a line that begins with its file
    let command = ["check", "--bins", "--keep-going", "--message-format=short"];
    let said = stderr(&cargo(&command, &manifest));
    for (program, message) in FORGED {
        let source = format!("src/bin/{program}.rs:");
        let mut errors = said.lines().filter(|line| line.starts_with(&source));
        assert!(
            errors.any(|line| line.contains(message)),
            "{program} passes, or says something else:\n{said}"
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
        .chain(FAILING.map(|(fixture, _)| fixture))
        .chain([INHERITED, GENERIC.0, REWRITTEN.0])
        .collect();
    there.sort();
    run.sort_unstable();
    assert_eq!(there, run);
}
