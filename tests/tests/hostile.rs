//! Hostile peers: victims make every copying call with deadlines while a peer stores any value in every line and slot.
//!
//! The victims may report errors and read wrong values. They must not crash, touch memory outside the mapping
//! (guard pages), wait beyond a deadline (a watchdog of their own), allocate a length that a peer stored, or
//! remove any file but the ring's. `MYELON_HOSTILE_SEED` repeats a run.
#![cfg(all(target_os = "linux", not(miri)))]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use disruptor_mp::{Deadline, MmapConsumer, MmapProducer, MmapTransportLayout, RingBufferFull};
use myelon_tests::{Hostile, World};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
/// Attacks in one run.
const ROUNDS: u32 = 10_000;
/// How long victims may take to end after their input has ended: far longer than any victim needs.
const LEAVE: Duration = Duration::from_secs(60);
/// A ring of 16 slots needs far less. A forged length would be far more.
const ALLOCATION_MAX: u64 = 256 << 10;
const CALLS_MIN: u64 = 100;

#[test]
fn victims_survive_in_shared_memory() {
    run("shm", 1);
}

#[test]
fn victims_survive_in_shared_memory_again() {
    run("shm", 2);
}

#[test]
fn victims_survive_in_a_mapped_file() {
    run("mmap", 3);
}

#[test]
fn victims_survive_in_a_mapped_file_again() {
    run("mmap", 4);
}

/// Negative controls: each planted mistake ends a victim in a different way.
#[test]
fn planted_mistakes_are_noticed() {
    for (plant, signal, text) in [
        ("read", Some(libc::SIGSEGV), ""),
        ("loop", Some(libc::SIGABRT), "no end after"),
        ("panic", None, "planted:"),
    ] {
        let ground = Ground::new("mmap", &[("MYELON_FUZZ_PLANT", plant)]);
        let mut victim = ground.victim("producer", 7);
        let mut hostile = Hostile::new(&ground.world.path(), 7);
        let end = Instant::now() + LEAVE;
        while victim.try_wait().expect("wait").is_none() {
            assert!(Instant::now() < end, "{plant} was not noticed");
            // the word of the loop is stored like any other, but a quiet round must not clear it
            if plant != "loop" || hostile.stores() == 0 {
                hostile.round();
            }
            if plant == "loop" {
                hostile.store_in_reserved_line();
            }
        }
        let output = victim.wait_with_output().expect("wait");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{plant} was not noticed");
        assert_eq!(output.status.signal(), signal, "{plant}: {said}");
        assert!(said.contains(text), "{plant}: {said}");
        println!("hostile control caught: {plant}");
    }
}

/// A producer finds its position by its own stamps. Forged stamps take it past the gate, and it must then
/// report a full ring and not claim a slot.
#[test]
fn forged_stamps_free_no_slots() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(directory.path(), "ring");
    let mut tx = MmapProducer::<u64>::create(&layout, 16, || 0).expect("create");
    let mut rx = MmapConsumer::<u64>::attach(&layout, 16, "reader").expect("attach");
    tx.publish_batch(16, |event, index| *event = index as u64);
    let mut hostile = Hostile::new(&layout.path(), 0);
    for sequence in 16..20 {
        hostile.forge_stamp(sequence);
    }
    let write = |event: &mut u64| *event = 100;
    assert_eq!(tx.try_publish(write), Err(RingBufferFull));
    assert!(tx.try_claim().is_err());
    assert!(tx.send(Deadline::after(Duration::ZERO), write).is_err());
    for n in [1, 2, 16, 17, usize::MAX] {
        let missing = tx.try_batch_publish(n, |_, _| {}).expect_err("full");
        assert_eq!((missing.requested, missing.available), (n, 0));
    }
    // events in slots with forged stamps are lost; all others are unchanged
    let unread: Vec<_> = core::iter::from_fn(|| rx.try_consume_next()).collect();
    assert!(unread.is_empty(), "{unread:?}");
}

/// The ring's place, and files beside it that no victim may touch.
struct Ground {
    world: World,
    backend: &'static str,
    bystanders: Vec<PathBuf>,
    environment: Vec<(&'static str, String)>,
}

impl Ground {
    fn new(backend: &'static str, environment: &[(&'static str, &str)]) -> Self {
        let world = match backend {
            "shm" => World::shared_memory(VICTIM),
            _ => World::mapped_file(VICTIM),
        };
        // a name that begins like the ring's, and one that is almost a temporary name of the ring
        let bystanders = [
            format!("{}-neighbour", world.name()),
            format!(".{}-neighbour.0123456789abcdef", world.name()),
        ];
        let bystanders = bystanders.map(|name| world.directory().join(name)).to_vec();
        for path in &bystanders {
            fs::write(path, path.to_str().expect("utf-8")).expect("a bystander");
        }
        let mut environment: Vec<(&str, String)> = environment
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        if !environment.is_empty() {
            environment.push(("MYELON_FUZZ_PATIENCE_MS", String::from("3000")));
        }
        Self {
            world,
            backend,
            bystanders,
            environment,
        }
    }

    fn victim(&self, role: &str, seed: u64) -> Child {
        Command::new(VICTIM)
            .args([
                self.backend,
                self.world.directory().to_str().expect("utf-8"),
                self.world.name(),
                role,
                &seed.to_string(),
            ])
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            // with a backtrace, an expected panic would read all debug information within the call that is measured
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the victim starts")
    }

    fn check_bystanders(&self) {
        for path in &self.bystanders {
            let text = fs::read_to_string(path).expect("a bystander was removed");
            assert_eq!(Path::new(&text), path, "a bystander was written to");
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for path in &self.bystanders {
            let _ = fs::remove_file(path);
        }
        // it depends on the last stores whether the ring still has its name
        let _ = fs::remove_file(self.world.path());
    }
}

fn run(backend: &'static str, salt: u64) {
    let seed = match std::env::var("MYELON_HOSTILE_SEED") {
        Ok(text) => text.parse().expect("MYELON_HOSTILE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("hostile seed: {backend} MYELON_HOSTILE_SEED={seed}");
    let ground = Ground::new(backend, &[]);
    let mut hostile = Hostile::new(&ground.world.path(), seed ^ salt);
    let mut victims = ["producer", "consumer"]
        .map(|role| (role, Some(ground.victim(role, seed.wrapping_add(salt)))));
    for _ in 0..ROUNDS {
        hostile.round();
        for (role, victim) in &mut victims {
            let victim = victim.as_mut().expect("running");
            if let Some(status) = victim.try_wait().expect("wait") {
                panic!("the {role} ended, {status}: {}", said(victim));
            }
        }
    }
    hostile.relent();
    for (role, victim) in &mut victims {
        let mut victim = victim.take().expect("running");
        drop(victim.stdin.take());
        let status = wait(&mut victim, role);
        let Output { stdout, stderr, .. } = victim.wait_with_output().expect("wait");
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "the {role}: {status}: {errors}");
        let report = String::from_utf8_lossy(&stdout).trim().to_owned();
        println!("hostile victim: {backend} {role} {report}");
        assert!(number(&report, "calls") >= CALLS_MIN, "{report}");
        assert!(number(&report, "largest") <= ALLOCATION_MAX, "{report}");
    }
    ground.check_bystanders();
    println!(
        "hostile run: {backend} rounds={ROUNDS} stores={}",
        hostile.stores()
    );
}

fn wait(victim: &mut Child, role: &str) -> ExitStatus {
    let end = Instant::now() + LEAVE;
    loop {
        if let Some(status) = victim.try_wait().expect("wait") {
            return status;
        }
        if Instant::now() > end {
            let _ = victim.kill();
            panic!("the {role} did not end in {LEAVE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The text that a victim that has ended wrote to its standard error.
fn said(victim: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = &mut victim.stderr {
        let _ = std::io::Read::read_to_string(stderr, &mut text);
    }
    text
}

/// The number of `key=number`.
fn number(report: &str, key: &str) -> u64 {
    let mut values = report
        .split_whitespace()
        .filter_map(|part| part.split_once('='));
    let found = values.find(|(name, _)| *name == key);
    found
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_else(|| panic!("no number '{key}' in: {report}"))
}
