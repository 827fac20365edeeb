//! The program as an operator runs it: against rings of other processes that live, die and are stopped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod containers;
mod doctor;
mod following;
mod life;
mod looking;
mod meanwhile;
mod party;
mod recording;
mod refusals;
mod removal;
mod screen;
mod serving;
mod sessions;
mod watching;

/// The program with these arguments.
fn myelon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_myelon"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// How a run ended: its exit code, and both outputs.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("it was not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the output has each of these parts.
    #[track_caller]
    fn has(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.out.contains(part), "'{part}' is missing in: {self:?}");
        }
        self
    }
}

#[track_caller]
fn run(arguments: &[&str]) -> Run {
    Run::of(myelon(arguments).output().expect("it starts"))
}

/// A run that must end with this code.
#[track_caller]
fn ends(code: i32, arguments: &[&str]) -> Run {
    let run = run(arguments);
    assert_eq!(run.code, code, "{arguments:?}: {run:?}");
    run
}

/// Waits until something is so; panics after a minute.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The file's bytes, and when they were changed.
fn content(path: &Path) -> (Vec<u8>, std::time::SystemTime) {
    let changed = std::fs::metadata(path).and_then(|found| found.modified());
    (
        std::fs::read(path).expect("read"),
        changed.expect("its time"),
    )
}

/// A copy of the program that any user may execute. Another process copies it: in this one, a test that starts a
/// process meanwhile would hand on the open file, and a program that is open for writing cannot be executed.
fn copy_of_program(directory: &Path) -> PathBuf {
    let program = directory.join("myelon-copy");
    let copy = ["-m", "755", env!("CARGO_BIN_EXE_myelon")];
    let status = Command::new("install").args(copy).arg(&program).status();
    assert!(status.expect("it starts").success());
    program
}

/// Whether this test runs as root; without root it is reported as skipped, and under CI it fails.
fn needs_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    println!("SKIPPED {test}: needs root");
    assert!(
        std::env::var("CI").is_err(),
        "nothing may be skipped under CI"
    );
    false
}
