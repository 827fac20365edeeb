//! The programs of `COMPARE.md` do what the page says: the receiver prints the sum of all prices. Each side is a
//! process. Those of other libraries would bring a hundred crates and code in C and C++ into this build. `ci/compare`
//! runs them, and `docs/compared.md` is its record, which must be of the programs and versions that the page has now.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use myelon_tests::wait_until;
use toml::Table;

#[allow(dead_code, reason = "shared with the build scripts")]
#[path = "../programs.rs"]
mod programs;

use programs::{OTHERS, OWN};

const COMPARE: &str = env!("CARGO_BIN_EXE_compare");
/// Of a million ticks, whose prices count up from 0.
const SUM: &str = "499999500000\n";

/// A side of a program, which is killed when the test fails.
struct Side(Option<Child>);

impl Side {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(COMPARE);
        let child = command.args(arguments).stdout(Stdio::piped()).spawn();
        Self(Some(child.expect("it starts")))
    }

    /// What it has printed, once it has ended well.
    fn end(mut self) -> String {
        let child = self.0.take().expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_ring_carries_the_ticks() {
    let name = myelon::portable_shm_segment_name("compare");
    let receiver = Side::start(&["ring", "receive", &name]);
    let sender = Side::start(&["ring", "send", &name]);
    assert_eq!(sender.end(), "");
    assert_eq!(receiver.end(), SUM);
    assert!(!Path::new("/dev/shm").join(name).exists(), "drained");
}

#[test]
fn a_unix_socket_carries_the_ticks() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("socket");
    let name = path.to_str().expect("text");
    let sender = Side::start(&["sockets", "send", name]);
    wait_until("it listens", || is_listening(name));
    let receiver = Side::start(&["sockets", "receive", name]);
    assert_eq!(sender.end(), "");
    assert_eq!(receiver.end(), SUM);
}

/// Whether a socket of this path listens. To connect to it would take the receiver's place.
fn is_listening(path: &str) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("the kernel's list");
    let mut of_path = sockets.lines().filter(|line| line.ends_with(path));
    of_path.any(|line| line.contains(" 00010000 ")) // the flag of one that listens
}

#[test]
fn a_channel_carries_the_ticks() {
    assert_eq!(Side::start(&["channel"]).end(), SUM);
}

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sha256(text: &str) -> String {
    let mut command = Command::new("sha256sum");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("sha256sum");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.split(' ').next().expect("a hash").to_owned()
}

/// The version of a package in a lock file.
fn version_of(package: &str, lock: &str) -> Option<String> {
    let lock: Table = lock.parse().expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let found = packages
        .iter()
        .find(|it| it["name"].as_str() == Some(package));
    Some(found?["version"].as_str().expect("text").to_owned())
}

/// What differs between the page, the record of the programs that ran, and the versions that were compiled.
fn faults_of(page: &str, record: &str, lock: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for program in &OWN {
        known.insert(program.of(page));
    }
    for program in &OTHERS {
        let (name, text) = (program.name, program.of(page));
        known.insert(text);
        let rows = record
            .lines()
            .map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let mut of_program = rows.filter(|cells| cells.get(1) == Some(&name));
        // what is on both sides of the row is empty
        let row = of_program.next();
        let Some([_, _, package, _, _, sum, hash, _]) = row.as_deref() else {
            faults.push(format!("{name} has not run"));
            continue;
        };
        let (package, version) = package.split_once(' ').unwrap_or_default();
        if *sum != SUM.trim() {
            faults.push(format!("{name} printed '{sum}'"));
        }
        if hash.trim_matches('`') != sha256(text) {
            faults.push(format!("another program of {name} ran"));
        }
        if version_of(package, lock).as_deref() != Some(version) {
            faults.push(format!(
                "{name} ran with {package} {version}, which is not locked"
            ));
        }
        let heading = page.lines().find(|line| line.starts_with(program.heading));
        let mut words = heading.unwrap_or_default().split([' ', ',', ')']);
        if !words.any(|word| word == version) {
            faults.push(format!(
                "the heading of {name} is not of {package} {version}"
            ));
        }
    }
    for block in page.split("\n```rust\n").skip(1) {
        let text = block.split("```").next().expect("its text");
        if !known.contains(text) {
            faults.push(format!("nobody runs this program:\n{text}"));
        }
    }
    faults
}

#[test]
fn the_programs_of_others_ran_as_they_stand() {
    let faults = faults_of(
        &file("COMPARE.md"),
        &file("docs/compared.md"),
        &file("tests/compare/Cargo.lock"),
    );
    assert!(
        faults.is_empty(),
        "run `ci/compare`, or `ci/compare PROGRAM` for one of them, and commit docs/compared.md:\n{}",
        faults.join("\n")
    );
}

#[test]
fn figures_and_programs_are_of_the_same_versions() {
    let (programs, figures) = (
        file("tests/compare/Cargo.lock"),
        file("perf-bench/peers/Cargo.lock"),
    );
    for package in ["iceoryx2", "subetha-cxc", "tachyon-ipc", "zmq"] {
        let version = version_of(package, &programs);
        assert!(version.is_some(), "{package}");
        assert_eq!(version, version_of(package, &figures), "{package}");
    }
}

#[test]
fn control_programs_that_have_not_run() {
    let page = file("COMPARE.md");
    let record = file("docs/compared.md");
    let lock = file("tests/compare/Cargo.lock");
    let changed = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    };
    let one = |page: &str, record: &str, lock: &str, fault: &str| {
        let faults = faults_of(page, record, lock);
        let [found] = &faults[..] else {
            panic!("one fault, '{fault}': {faults:?}");
        };
        assert!(found.contains(fault), "{found}");
        println!("control caught: {fault}");
    };
    let other = changed(&page, "socket.recv_bytes(0)?", "socket.recv_bytes(1)?");
    one(&other, &record, &lock, "another program of zeromq ran");
    let other = changed(
        &page,
        "## Aeron (rusteron-client 0.2.16)",
        "## Aeron (rusteron-client 0.2.17)",
    );
    one(&other, &record, &lock, "the heading of aeron");
    let more = format!("{page}\n```rust\nfn main() {{}}\n```\n");
    one(&more, &record, &lock, "nobody runs this program");
    let row = record.lines().find(|row| row.starts_with("| subetha |"));
    let row = row.expect("a row");
    let without = changed(&record, &format!("{row}\n"), "");
    one(&page, &without, &lock, "subetha has not run");
    let sum = row.replace(SUM.trim(), "0");
    let wrong = changed(&record, row, &sum);
    one(&page, &wrong, &lock, "subetha printed '0'");
    let newer = changed(
        &lock,
        "name = \"zmq\"\nversion = \"0.10.0\"",
        "name = \"zmq\"\nversion = \"0.10.1\"",
    );
    one(&page, &record, &newer, "zeromq ran with zmq 0.10.0");
}
