//! A memory cgroup that is smaller than a ring, in a file or on the heap: creating the ring is an error with two
//! numbers, and no process is killed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use disruptor_mp::{
    HeapRing, MultiProcessError, build_shared_single_producer, portable_shm_segment_name,
};
use myelon_tests::cgroup::{Cgroup, Setting};
use myelon_tests::{assert_names, needs_root, skip};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;
/// The environment variable that makes this program the child of a test. It names the cgroup.
const GROUP: &str = "TEST_CGROUP";

#[test]
fn a_ring_beyond_the_memory_limit_is_an_error_that_names_the_group() {
    let test = "a_ring_beyond_the_memory_limit_is_an_error_that_names_the_group";
    if let Some(group) = std::env::var_os(GROUP) {
        std::io::stdin()
            .read_line(&mut String::new())
            .expect("an order");
        return in_a_group(Path::new(&group));
    }
    if !needs_root(test) {
        return;
    }
    let limit = LIMIT.to_string();
    let memory = Setting {
        controller: "memory",
        v1: ("memory.limit_in_bytes", &limit),
        v2: ("memory.max", &limit),
    };
    let Some(group) = Cgroup::new(memory) else {
        return skip(test, "no memory cgroup can be made here");
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test])
        .env(GROUP, group.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    std::fs::write(group.dir().join("cgroup.procs"), child.id().to_string()).expect("moved");
    writeln!(child.stdin.take().expect("its input"), "go").expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

fn in_a_group(group: &Path) {
    // the ring is in the machine's own tmpfs, so twice the limit has to fit into the machine's memory
    let ring = |bytes: u64| {
        let name = portable_shm_segment_name("test");
        build_shared_single_producer::<u64>(&name, (bytes / 64) as usize).build_zeroed_producer()
    };
    let error = ring(LIMIT * 2).expect_err("it is twice as large as the limit");
    let MultiProcessError::NoSpace {
        needed_bytes,
        free_bytes,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(
        needed_bytes >= LIMIT * 2 && (1..LIMIT).contains(&free_bytes),
        "{error}"
    );
    assert_names(
        &error.to_string(),
        &[
            "below the memory limit of cgroup",
            &group.display().to_string(),
        ],
    );
    // a ring that fits is created, and leaves less space free
    let tx = ring(LIMIT / 4).expect("it fits");
    let error = ring(LIMIT).expect_err("it does not fit any more");
    let MultiProcessError::NoSpace {
        free_bytes: less, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(less + LIMIT / 8 < free_bytes, "{less} {free_bytes}");
    tx.destroy().expect("gone");
    // memory of the heap counts as well
    let error = HeapRing::<u64>::new((LIMIT * 2 / 64) as usize).expect_err("it is twice as large");
    assert_names(
        &error.to_string(),
        &["'heap'", "cgroup", &group.display().to_string()],
    );
    HeapRing::<u64>::new((LIMIT / 256) as usize).expect("it fits");
}
