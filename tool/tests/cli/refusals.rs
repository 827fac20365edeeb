//! What cannot be shown: each with its exit code, its word and a text.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::party::{Rings, Tick};
use crate::{Run, copy_of_program, ends, myelon, needs_root, run};

/// The word of the error as JSON, which every command that reads a ring gives alike.
#[track_caller]
fn refused(ring: &str, word: &str, text: &str) {
    for command in ["show", "lag", "stat", "tail"] {
        let run = ends(3, &[command, "--json", ring]);
        let error: serde_json::Value = serde_json::from_str(&run.err).expect("an object");
        assert_eq!(error["error"], word, "{run:?}");
        assert!(run.out.is_empty(), "{run:?}");
    }
    let run = ends(3, &["show", ring]);
    assert!(
        run.err.starts_with("myelon: ") && run.err.contains(text),
        "{run:?}"
    );
}

#[test]
fn each_kind_of_file_has_its_word() {
    let rings = Rings::new();
    let mut tx = rings.party_that("ring", &["produce 8", "publish 1"]);
    let sound = fs::read(rings.path("ring")).expect("read");
    let write = |name: &str, at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(rings.path(name), file).expect("write");
        rings.named(name)
    };
    refused(&rings.named("none"), "missing", "there is no ring at");
    refused(
        &write("newer", 12, &9_u32.to_ne_bytes()),
        "version",
        "layout version is 9",
    );
    refused(&write("damaged", 300, b"?"), "damaged", "its checksum is");
    refused(&write("foreign", 0, b"ELF"), "foreign", "is not a ring but");
    let short = rings.named("short");
    fs::write(&short, &sound[..5000]).expect("write");
    refused(&short, "damaged", "its file length is 5000");
    refused(
        rings.directory().to_str().expect("UTF-8"),
        "foreign",
        "directory",
    );
    let mut builder = rings.party_that("x", &["half-make .made.0123456789abcdef"]);
    let half = rings.named(".made.0123456789abcdef");
    refused(&half, "creating", "is being created");
    builder.kill();
    refused(&half, "half-made", "left by a process that died");
    let directory = rings.directory().to_str().expect("UTF-8");
    let list = ends(1, &["list", "--dir", directory]);
    list.has(&["newer", "version", "damaged", "half-made", "live"]);
    assert!(!list.out.contains("foreign"), "{list:?}");
    tx.ok("close");
}

#[test]
fn another_users_ring_is_unreadable_and_its_owner_is_named() {
    if !needs_root("another_users_ring_is_unreadable_and_its_owner_is_named") {
        return;
    }
    let rings = Rings::new();
    // the other user needs a program that it may execute
    let program = copy_of_program(rings.directory());
    fs::set_permissions(rings.directory(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut tx = rings.party_that("ring", &["produce 8", "publish 3"]);
    let mut rx = rings.party_that("ring", &["consume 8 reader"]);
    let as_nobody = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(arguments).uid(65534).gid(65534);
        Run::of(command.output().expect("it starts"))
    };
    let ring = rings.named("ring");
    let directory = rings.directory().to_str().expect("UTF-8");
    let run = as_nobody(&["show", &ring]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("it belongs to user 0 (root)"), "{run:?}");
    as_nobody(&["list", "--dir", directory]).has(&["may not be read by this user: 1"]);
    // permission to read is enough to see everything, and not enough to remove anything
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o604)).expect("chmod");
    let run = as_nobody(&["show", &ring]);
    assert_eq!(run.code, 0, "{run:?}");
    run.has(&[
        "live",
        &format!("pid {}, alive", tx.pid()),
        "reader",
        "attached",
    ]);
    assert_eq!(
        as_nobody(&["tail", &ring, "--from", "oldest", "--count", "3"]).code,
        0
    );
    rx.ok("recv 3");
    rx.ok("leave");
    tx.kill();
    assert!(matches!(as_nobody(&["rm", &ring]).code, 3 | 4));
    assert!(Path::new(&ring).exists());
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["show"],
        &["lag", "ring", "--max", "many"],
        &["tail", "ring", "--from", "-3"],
        &["tail", "ring", "--from", "2305843009213693952"],
        &["stat", "ring", "--interval", "0"],
        &["record", "ring"],
        &["record", "ring", "file", "--id", "recorder"],
        &["record", "ring", "file", "--lossless", "--from", "latest"],
        &["replay", "file"],
        &["serve", "--listen", "everywhere"],
    ] {
        ends(2, arguments);
    }
    ends(0, &["--help"]).has(&[
        "list", "show", "lag", "stat", "top", "tail", "record", "replay", "serve", "doctor",
        "clean", "rm",
    ]);
    ends(0, &["tail", "--help"]).has(&["--from"]);
    ends(0, &["--version"]).has(&[env!("CARGO_PKG_VERSION")]);
    assert_eq!(size_of::<Tick>(), 16);
}

/// The exit code of a run whose output nobody reads.
#[track_caller]
fn code_unread(arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = myelon(arguments).stdout(writer).status();
    status.expect("it ran").code()
}

#[test]
fn an_output_that_is_closed_is_no_error() {
    let rings = Rings::new();
    let _tx = rings.party_that("ring", &["produce 1024 observers", "publish 1000"]);
    let ring = rings.named("ring");
    let tail = ["tail", &*ring, "--from", "oldest", "--count", "1000"];
    assert_eq!(code_unread(&tail), Some(0));
}

#[test]
fn an_output_that_is_closed_hides_no_finding() {
    let rings = Rings::new();
    let (ring, file) = (rings.named("ring"), rings.named("file"));
    let directory = rings.directory().to_str().expect("UTF-8");
    let mut tx = rings.party_that("ring", &["produce 8 observers"]);
    let mut rx = rings.party_that("ring", &["consume 8 reader"]);
    for _ in 0..2 {
        tx.ok("publish 8");
        rx.ok("recv 8");
    }
    tx.ok("publish 2");
    for (json, copy) in [(None, "copy"), (Some("--json"), "second")] {
        let code = |arguments: &[&str]| {
            let all: Vec<_> = arguments.iter().copied().chain(json).collect();
            code_unread(&all)
        };
        assert_eq!(code(&["lag", &ring, "--max", "1"]), Some(1));
        assert_eq!(code(&["lag", &ring, "--max", "2"]), Some(0));
        assert_eq!(code(&["rm", &ring]), Some(4));
        assert_eq!(code(&["show", &ring]), Some(0));
        let doctor = ["doctor", "--dir", directory];
        assert_eq!(code(&doctor), Some(run(&doctor).code));
        // the first events are gone, which is a gap
        let record = ["record", &*ring, &*file, "--from", "0", "--count", "1"];
        let forced = [&record[..], &["--force"]].concat();
        assert_eq!(code(&forced), Some(1));
        let copy = rings.named(copy);
        assert_eq!(code(&["replay", &file, &copy]), Some(1));
    }
    // a position that cannot be true
    let file = fs::OpenOptions::new().write(true).open(&ring);
    let file = file.expect("open");
    file.write_all_at(&99_i64.to_ne_bytes(), 4096 + 1024)
        .expect("write");
    assert_eq!(code_unread(&["show", &ring]), Some(1));
}

#[test]
fn the_page_of_the_program_names_its_commands_and_options() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tool.md"))
        .expect("the page");
    let mut commands = 0;
    for line in page.lines().filter(|line| line.starts_with("| `myelon ")) {
        let (_, command) = line.split_once("| `myelon ").expect("a row");
        let words: Vec<_> = command
            .split('`')
            .next()
            .expect("its code")
            .split(' ')
            .collect();
        let help = ends(0, &[words[0], "--help"]);
        for option in line.split([' ', '`']).filter(|word| word.starts_with("--")) {
            help.has(&[option.trim_end_matches([',', ';', '.', ':'])]);
        }
        commands += 1;
    }
    assert_eq!(commands, 12, "a row for each command");
}
