//! Programs that each break one rule, so that a checker's report can be tested:
//! `myelon-controls <control> [ring]`, where the ring is `heap` or `shared-memory`. Only `ci/miri`, `ci/tsan`
//! and `ci/asan` run them.
//!
//! Each control is a few lines of a program that uses a ring in a forbidden way. Only `sound` breaks no rule,
//! and no checker may report it.

#[cfg(one_mapping)]
mod one_mapping;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use disruptor_mp::{
    Consumer, HeapRing, Producer, attach_shared_consumer, build_shared_single_producer,
    portable_shm_segment_name,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let control = arguments.next().unwrap_or_default();
    match arguments.next().as_deref() {
        None | Some("heap") => on_heap(&control),
        Some("shared-memory") => in_shared_memory(&control),
        Some(ring) => panic!("no such ring: {ring}"),
    }
}

fn on_heap(control: &str) {
    let ring = HeapRing::<u64>::new(1).unwrap();
    let (tx, rx) = (ring.producer(), ring.consumer("reader"));
    // the endpoints keep the memory alive
    drop(ring);
    run(control, tx.unwrap(), rx.unwrap());
}

fn in_shared_memory(control: &str) {
    let name = portable_shm_segment_name("ctrl");
    let tx = build_shared_single_producer::<u64>(&name, 1).build_producer(|| 0);
    let rx = attach_shared_consumer::<u64>(&name, 1).build_consumer();
    let (tx, rx) = (tx.unwrap(), rx.unwrap());
    // a sanitizer ends the process where the rule is broken, so the name must be removed before
    std::fs::remove_file(format!("/dev/shm/{name}")).unwrap();
    run(control, tx, rx);
}

fn run<B: 'static>(control: &str, tx: Producer<u64, B>, rx: Consumer<u64, B>) {
    match control {
        "sound" => sound(tx, rx),
        "read-after-release" => read_after_release(tx, rx),
        "read-without-stamp" => read_without_stamp(tx, rx),
        "reference-outlives-lease" => reference_outlives_lease(tx, rx),
        "pointer-from-integer" => pointer_from_integer(tx, rx),
        "join-without-fence" => join_without_fence(),
        "bytes-of-this-machine" => bytes_of_this_machine(),
        "read-beyond-the-ring" => read_beyond_the_ring(tx, rx),
        "read-after-unmap" => read_after_unmap(tx, rx),
        "leak" => leak(rx),
        _ => panic!("no such control: {control}"),
    }
}

/// Breaks no rule: the event is read in its lease, and the producer writes the slot again afterwards.
fn sound<B: 'static>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    thread::scope(|scope| {
        scope.spawn(|| (0..3).for_each(|number| tx.publish_value(number)));
        scope.spawn(|| (0..3).for_each(|number| assert_eq!(*rx.consume_next_leased(), number)));
    });
}

/// Breaks R7: the event is read after its release, when the producer may be writing the slot again.
fn read_after_release<B: 'static>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    thread::scope(|scope| {
        scope.spawn(|| (0..2).for_each(|number| tx.publish_value(number)));
        scope.spawn(|| {
            let lease = rx.consume_next_leased();
            let event = core::ptr::from_ref(&*lease);
            lease.commit();
            // SAFETY: none; breaking R7 is the purpose of this control.
            black_box(unsafe { event.read() });
        });
    });
}

/// Breaks R3: the second event is read because a relaxed flag, not its stamp, says that it is there.
fn read_without_stamp<B: 'static>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    let is_there = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..2).for_each(|number| tx.publish_value(number));
            is_there.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            let lease = rx.consume_next_leased();
            let event = core::ptr::from_ref(&*lease);
            lease.commit();
            while !is_there.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // SAFETY: none; breaking R3 is the purpose of this control.
            black_box(unsafe { event.read() });
        });
    });
}

/// Breaks R7 on one thread: there is no race, but a shared reference is used after its slot was written.
fn reference_outlives_lease<B>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    tx.publish_value(0);
    let lease = rx.consume_next_leased();
    // SAFETY: none; breaking R7 is the purpose of this control.
    let event: &u64 = unsafe { &*core::ptr::from_ref(&*lease) };
    lease.commit();
    tx.publish_value(1);
    black_box(*event);
}

/// Uses a pointer that is made from an integer: its address is right, its provenance is wrong.
fn pointer_from_integer<B>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    tx.publish_value(0);
    let lease = rx.consume_next_leased();
    let address = core::ptr::from_ref(&*lease).expose_provenance();
    let event = core::ptr::with_exposed_provenance::<u64>(address);
    // SAFETY: none; the wrong provenance is the purpose of this control.
    black_box(unsafe { event.read() });
}

/// Breaks R6 in its smallest form: without the fences, both sides may read the old value. No machine has to
/// show that, and no single order of the threads does. A checker must generate the outcomes that the memory
/// model allows.
fn join_without_fence() {
    let (floor, line) = (AtomicU32::new(0), AtomicU32::new(0));
    let seen = thread::scope(|scope| {
        let producer = scope.spawn(|| {
            floor.store(1, Ordering::Release);
            line.load(Ordering::Acquire)
        });
        line.store(1, Ordering::Release);
        let joiner = floor.load(Ordering::Acquire);
        (producer.join().unwrap(), joiner)
    });
    assert_ne!(seen, (0, 0), "neither side saw the other");
}

/// The layout is little-endian everywhere. This control shows how a machine with another byte order stores a value.
fn bytes_of_this_machine() {
    assert_eq!(
        0x0102_0304_u32.to_ne_bytes(),
        [4, 3, 2, 1],
        "the layout's byte order"
    );
}

/// Breaks R1: reads slots beyond the last one, up to and beyond the end of the segment's memory.
fn read_beyond_the_ring<B>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    tx.publish_value(0);
    let words = tx.memory_report().segment_bytes as usize / size_of::<u64>();
    let lease = rx.consume_next_leased();
    let event = core::ptr::from_ref(&*lease);
    for word in 0..=words {
        let beyond = event.wrapping_add(word);
        // SAFETY: none; breaking R1 is the purpose of this control.
        black_box(unsafe { beyond.read_volatile() });
    }
}

/// Breaks R7: the event is read after its endpoint, and the ring's memory with it, is gone.
fn read_after_unmap<B>(mut tx: Producer<u64, B>, mut rx: Consumer<u64, B>) {
    tx.publish_value(0);
    let event = core::ptr::from_ref(&*rx.consume_next_leased());
    drop((tx, rx));
    // SAFETY: none; breaking R7 is the purpose of this control.
    black_box(unsafe { event.read_volatile() });
}

/// Leaks a consumer: it is never dropped, and no pointer refers to it.
fn leak<B>(rx: Consumer<u64, B>) {
    black_box(Box::leak(Box::new(rx)));
}
