//! The victim: a process that makes every copying call on a ring while a hostile peer stores any value anywhere in it.
//!
//! It is started as `victim shm|mmap DIRECTORY NAME producer|consumer SEED`. It plays its role until its input
//! ends, then reports how many calls it made, how long the longest took and how large its largest allocation
//! was. A call that does not end ends the process, which then reports that call.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use disruptor_mp::{
    DisruptorBuilder, MmapProducer, MmapTransportLayout, build_shared_single_producer,
};
use myelon_tests::Record;
use myelon_tests::fuzz::{Call, PLANT, Party, Ring, Role};

#[path = "../../guards.rs"]
mod guards;
mod largest;
mod watchdog;

/// Slots of the ring.
const CAPACITY: usize = 16;
/// How long an ordinary call of the victim may wait.
const PATIENCE: Duration = Duration::from_millis(2);
/// How many calls may wait long enough for a liveness check.
const PATIENT_CALLS: u32 = 100_000;
/// One in this many of the calls that end a handle is made.
const ENDS_ONE_IN: u32 = 8;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [backend, directory, name, role, seed] = &words[..] else {
        panic!("victim shm|mmap DIRECTORY NAME producer|consumer SEED");
    };
    let role = match role.as_str() {
        "producer" => Role::Producer,
        "consumer" => Role::Consumer,
        other => panic!("no such role: {other}"),
    };
    let path = PathBuf::from(directory).join(name);
    let random = fastrand::Rng::with_seed(seed.parse().expect("a seed"));
    if backend == "shm" {
        let name = name.clone();
        let builder = move |capacity| build_shared_single_producer(&name, capacity);
        play(builder, path, role, random);
    } else {
        let layout = MmapTransportLayout::new(directory, name.clone());
        play(
            move |capacity| MmapProducer::builder(&layout, capacity),
            path,
            role,
            random,
        );
    }
}

/// Makes calls until the input ends.
fn play<B: 'static>(
    builder: impl Fn(usize) -> DisruptorBuilder<Record, B> + 'static,
    path: PathBuf,
    role: Role,
    mut random: fastrand::Rng,
) {
    let mut party = Party::new(builder, CAPACITY, PATIENCE, PATIENT_CALLS);
    let has_ended = end_of_input();
    let plants = plants(&path);
    watchdog::start();
    let (mut calls, mut longest) = (0_u64, Duration::ZERO);
    let mut is_guarded = false;
    while !has_ended.load(Ordering::Relaxed) {
        let call = next_call(&mut random, role, party.has(role));
        if matches!(call, Call::Managed(_)) {
            // this call rightly waits for ever when the peer meanwhile registers a consumer that is not required
            continue;
        }
        let started = Instant::now();
        watchdog::begin(call);
        party.call(call);
        watchdog::end();
        longest = longest.max(started.elapsed());
        calls += 1;
        if !is_guarded && party.has(role) {
            guards::assert_guarded(&path.display().to_string(), 1);
            is_guarded = true;
        }
        plants();
    }
    drop(party);
    assert!(is_guarded, "never attached");
    let longest_ms = longest.as_millis();
    println!(
        "calls={calls} longest_ms={longest_ms} largest={}",
        largest::bytes()
    );
}

/// A random call of this role. Without a handle it is one that gets a handle; few calls drop one.
fn next_call(random: &mut fastrand::Rng, role: Role, has_handle: bool) -> Call {
    loop {
        let bytes: [u8; 16] = core::array::from_fn(|_| random.u8(..));
        let call: Call = Unstructured::new(&bytes)
            .arbitrary()
            .expect("16 bytes are a call");
        let is_begin = matches!(call, Call::Produce(_) | Call::Consume(..));
        if call.role() != role || (!has_handle && !is_begin) {
            continue;
        }
        if call.is_end() && random.u32(..ENDS_ONE_IN) != 0 {
            continue;
        }
        return call;
    }
}

/// The mistake that a negative control has planted, if any.
fn plants(path: &std::path::Path) -> impl Fn() {
    let path = path.to_owned();
    move || {
        if let Some(plant) = *PLANT
            && let Ok(file) = OpenOptions::new().read(true).open(&path)
            && let Ok(ring) = Ring::of(&file)
        {
            watchdog::begin(Call::AskProducer(0));
            plant.act(&file, &ring);
            watchdog::end();
        }
    }
}

/// A flag that is true once the test has ended the input.
fn end_of_input() -> &'static AtomicBool {
    static HAS_ENDED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        HAS_ENDED.store(true, Ordering::Relaxed);
    });
    &HAS_ENDED
}
