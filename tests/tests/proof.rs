//! `ci/prove recorded` believes docs/proof.md as far as it shows what the table of `ci/prove` demands, and no further.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program prints that stands for `code_of`: the whole code of the made-up tree.
const CODE: &str = "fn main ( ) { }\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The record of this tree, with the hash of [`CODE`].
fn record() -> String {
    let record = fs::read_to_string(root().join("docs/proof.md")).expect("docs/proof.md");
    let (before, rest) = record.split_once("\n    code: ").expect("a hash");
    format!("{before}\n    code: {}{}", hash(CODE), &rest[64..])
}

fn hash(code: &str) -> String {
    let script = "printf %s \"$1\" | sha256sum | cut -d ' ' -f 1 | tr -d '\\n'";
    let output = Command::new("sh").args(["-c", script, "sh", code]).output();
    String::from_utf8(output.expect("sha256sum").stdout).expect("a hash")
}

/// The mode that `ci/prove` chooses by this record, or its error.
fn mode(record: &str) -> Result<String, String> {
    let tree = tempfile::tempdir().expect("a directory");
    let at = |path: &str| tree.path().join(path);
    for folder in ["ci", "docs"] {
        fs::create_dir(at(folder)).expect("a folder");
    }
    fs::copy(root().join("ci/prove"), at("ci/prove")).expect("copied");
    fs::write(at("docs/proof.md"), record).expect("written");
    fs::write(at("code_of"), format!("#!/bin/sh\nprintf '%s' '{CODE}'\n")).expect("written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(at("code_of"), executable).expect("executable");
    let output = Command::new(at("ci/prove"))
        .arg("--mode")
        .env("CODE_OF", at("code_of"))
        .output()
        .expect("bash");
    let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

#[test]
fn the_record_decides_by_its_hash() {
    assert_eq!(mode(&record()).as_deref(), Ok("smoke"));
    let of_other_code = record().replace(&hash(CODE), &hash("fn other() {}"));
    assert_eq!(mode(&of_other_code).as_deref(), Ok("short"));
}

#[test]
fn a_record_that_shows_less_than_is_demanded_is_an_error() {
    let row = |record: &str| {
        let row = record.lines().find(|line| line.starts_with("| sweep |"));
        row.expect("a row").to_owned()
    };
    let whole = record();
    let sweep = row(&whole);
    let cells: Vec<_> = sweep.split('|').map(str::trim).collect();
    let with = |cell: usize, text: &str| {
        let mut cells = cells.clone();
        cells[cell] = text;
        whole.replace(&sweep, cells.join(" | ").trim())
    };
    assert_eq!(mode(&with(2, cells[2])).as_deref(), Ok("smoke"));
    let without_row = whole.replace(&format!("{sweep}\n"), "");
    let without_hash = whole.replace(&hash(CODE), "");
    for (what, record) in [
        ("fewer cases", with(2, "1000")),
        ("a failure", with(3, ">0")),
        ("fewer controls", with(4, "3")),
        ("another verdict", with(6, "FOUND SOMETHING")),
        ("no row", without_row),
    ] {
        let error = mode(&record).expect_err(what);
        assert!(error.contains("of sweep that held"), "{what}: {error}");
    }
    let error = mode(&without_hash).expect_err("no hash");
    assert!(error.contains("has no hash"), "{error}");
}
