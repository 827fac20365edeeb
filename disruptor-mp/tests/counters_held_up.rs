//! Counters, while a thread that reads them is held up at a fail point.
#![cfg(all(feature = "fail-points", debug_assertions))]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use disruptor_mp::observability::{CounterId, CountersError, CountersFile};
use disruptor_mp::{Deadline, HeapRing, MmapProducer, MmapTransportLayout, arm_fail_points};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static IS_THERE: AtomicBool = AtomicBool::new(false);
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// The points are those of the process, and so armed for one test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds up the first thread that comes to a fail point, until this is dropped.
struct HeldUp;

impl HeldUp {
    fn at(point: &str) -> Self {
        IS_THERE.store(false, Ordering::Relaxed);
        GOES_ON.store(false, Ordering::Relaxed);
        let handler = SigHandler::Handler(wait_here);
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler uses nothing but atomics and the scheduler, and a thread raises the signal for itself, at
        // a fail point.
        unsafe { sigaction(Signal::SIGTRAP, &action) }.expect("sigaction");
        arm_fail_points(&format!("{point}:1:trap"));
        Self
    }

    /// Returns when a thread has come to the point.
    #[track_caller]
    fn wait(&self) {
        let deadline = Deadline::after(Duration::from_secs(60));
        while !IS_THERE.load(Ordering::Acquire) {
            assert!(!deadline.has_passed(), "no thread came to the point");
            thread::yield_now();
        }
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        GOES_ON.store(true, Ordering::Release);
    }
}

/// What a thread does at the fail point.
extern "C" fn wait_here(_: libc::c_int) {
    IS_THERE.store(true, Ordering::Release);
    while !GOES_ON.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

/// A producer whose ring has this number of events, and is named so.
fn producer(directory: &Path, events: usize) -> MmapProducer<u64> {
    let layout = MmapTransportLayout::new(directory, events.to_string());
    let mut tx = MmapProducer::create(&layout, 8, || 0).expect("a producer");
    tx.publish_batch(events, |event, i| *event = i as u64);
    tx
}

#[test]
fn a_slot_that_changes_hands_during_a_reading_shows_no_owner_with_the_value_of_another() {
    let _turn = turn();
    for point in ["counters.read", "counters.opened"] {
        let directory = tempfile::tempdir().expect("directory");
        let [file, elsewhere] = [(); 2].map(|()| CountersFile::anonymous());
        let mut before = producer(directory.path(), 3);
        let mut after = producer(directory.path(), 5);
        let attach = |tx: &mut MmapProducer<u64>, file| {
            tx.attach_counters_selected(file, &[CounterId::EVENTS_PUBLISHED])
                .expect("attach");
        };
        let read = || {
            let all = file.snapshot().into_iter();
            all.map(|counter| (counter.label, counter.value))
                .collect::<Vec<_>>()
        };
        attach(&mut before, &file);
        assert_eq!(read(), [("3/producer".into(), 3)]);
        let during = thread::scope(|scope| {
            let held_up = HeldUp::at(point);
            let reading = scope.spawn(read);
            held_up.wait();
            attach(&mut before, &elsewhere);
            attach(&mut after, &file);
            drop(held_up);
            reading.join().expect("no panic")
        });
        let now = [("5/producer".into(), 5)];
        // a counter whose ring the reader has not found is left out
        assert!(during.is_empty() || during == now, "{point}: {during:?}");
        assert_eq!(read(), now);
    }
}

/// A thread that holds the table's lock while another one forks does not exist in the child.
#[test]
fn a_forked_child_waits_for_no_thread_of_its_parent() {
    let _turn = turn();
    let file = CountersFile::anonymous();
    let ring = HeapRing::<u64>::new(8).expect("ring");
    let mut tx = ring.producer().expect("producer");
    tx.attach_counters(&file).expect("attach");
    let orders = file.counter(0x100, "orders").expect("counter");
    let (status, counters) = thread::scope(|scope| {
        let held_up = HeldUp::at("counters.held");
        let reading = scope.spawn(|| file.snapshot().len());
        held_up.wait();
        // SAFETY: the child only asks for counters and drops one, and leaves by _exit or at a signal.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: no pointers.
            unsafe { libc::alarm(60) };
            let is_empty = file.snapshot().is_empty();
            let is_forked = matches!(file.counter(0x100, "mine"), Err(CountersError::Forked));
            drop(orders);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(if is_empty && is_forked { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: the child is our own, and the status has a place.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        drop(held_up);
        (status, reading.join().expect("no panic"))
    });
    assert_eq!((status, counters), (0, 6));
}
