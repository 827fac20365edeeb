//! `doctor`, where the machine is not as rings need it. The checks that only read files have tests of their own beside
//! them, with files of other machines.

use std::process::Command;

use crate::party::Rings;
use crate::{Run, needs_root, run};

/// The level and the text of a check, of the doctor's report about this directory. `before`: commands of the shell.
#[track_caller]
fn found(before: &str, directory: &str, check: &str) -> (String, String) {
    let script = format!("{before} exec \"$0\" doctor --json --dir {directory}");
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-ec",
            &script,
            env!("CARGO_BIN_EXE_myelon"),
        ])
        .output();
    let run = Run::of(output.expect("it starts"));
    let reports = run.json();
    let reports = reports.as_array().expect("an array");
    let is_warned = reports.iter().any(|report| report["level"] == "warning");
    assert_eq!(run.code, i32::from(is_warned), "{run:?}");
    let report = reports.iter().find(|report| report["check"] == check);
    let report = report.unwrap_or_else(|| panic!("no '{check}' in {run:?}"));
    let word = |key: &str| report[key].as_str().expect("a text").to_owned();
    (word("level"), word("text"))
}

#[test]
fn what_is_missing_or_small_is_found() {
    if !needs_root("what_is_missing_or_small_is_found") {
        return;
    }
    let rings = Rings::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    let tmpfs = |options: &str| format!("mount -t tmpfs -o {options} none {directory};");
    for (before, place, check, level, text) in [
        (
            &*tmpfs("size=8m"),
            directory,
            "space",
            "warning",
            "see `myelon clean --dry-run --dir ",
        ),
        (&tmpfs("size=32m"), directory, "space", "note", "--shm-size"),
        (
            &tmpfs("size=1g"),
            directory,
            "space",
            "ok",
            "free of 1.0 GiB",
        ),
        (
            &tmpfs("size=0"),
            directory,
            "space",
            "ok",
            "no limit of its own",
        ),
        (
            "",
            "/no/such/directory",
            "space",
            "warning",
            "no ring can be created here",
        ),
        ("", directory, "permission", "ok", "may create rings in"),
        (
            &tmpfs("ro"),
            directory,
            "permission",
            "warning",
            "cannot create rings in",
        ),
        // a file system without nameless files
        (
            "",
            "/sys/devices/system/cpu",
            "permission",
            "note",
            "has no nameless files",
        ),
        (
            "ulimit -n 100;",
            directory,
            "descriptors",
            "warning",
            "100, at most",
        ),
        (
            "ulimit -n 1024;",
            directory,
            "descriptors",
            "ok",
            "1024, at most",
        ),
        (
            "ulimit -l 64;",
            directory,
            "memlock",
            "note",
            "64.0 KiB may be locked",
        ),
        (
            "umount -l /proc;",
            directory,
            "/proc",
            "warning",
            "not mounted",
        ),
        (
            "export KUBERNETES_SERVICE_HOST=a;",
            directory,
            "container",
            "note",
            "this is one (",
        ),
    ] {
        let found = found(before, place, check);
        assert!(
            found.0 == level && found.1.contains(text),
            "{before} {check}: {found:?}"
        );
    }
}

#[test]
fn this_machines_own_files_are_read() {
    let run = run(&["doctor", "--json"]);
    let reports = run.json();
    for check in ["hyperthreads", "caches", "numa nodes", "memory limit"] {
        let mut all = reports.as_array().expect("an array").iter();
        assert!(
            all.any(|report| report["check"] == check),
            "{check}: {run:?}"
        );
    }
}
