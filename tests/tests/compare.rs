//! The programs of `COMPARE.md` that need no library in C or C++ do what the page says: the receiver prints the sum of
//! all prices. Each side is a process.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use myelon_tests::wait_until;

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
