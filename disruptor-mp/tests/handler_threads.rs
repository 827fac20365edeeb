//! Handler threads: panics, shutdown, and what is told about them.

use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoConsumer, DisruptorBuilder, HandlerPanicPolicy, Heap, HeapRing,
    build_shared_single_producer, portable_shm_segment_name,
};

/// Nothing here may wait for its clock to be woken.
const INTERVAL: Duration = Duration::from_secs(60);

fn builder(ring: &HeapRing<u64>, policy: HandlerPanicPolicy) -> DisruptorBuilder<u64, Heap> {
    ring.builder()
        .with_consumer_id("handler")
        .with_liveness_interval(INTERVAL)
        .with_panic_policy(policy)
}

/// A handler that reports what it sees, and panics at 1 the first time.
fn start(ring: &HeapRing<u64>, policy: HandlerPanicPolicy) -> (AutoConsumer, Receiver<u64>) {
    let (seen, events): (Sender<u64>, _) = mpsc::channel();
    let handle = move |event: &u64, _, _| {
        assert_ne!(*event, 1, "one is what this handler cannot bear");
        let _ = seen.send(*event);
    };
    let handler = builder(ring, policy).handle_events_with(handle);
    (handler.expect("a handler"), events)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + INTERVAL / 2;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_panic_ends_the_thread_and_the_event_comes_again() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let (handler, events) = start(&ring, HandlerPanicPolicy::Redeliver);
    for event in 0..3 {
        tx.publish_value(event);
    }
    assert_eq!(events.recv(), Ok(0));
    wait_until(|| !handler.is_running());
    assert_eq!(handler.panics(), 1);
    let said = handler.join().expect_err("a panic").to_string();
    assert!(
        said.contains("panicked at sequence 1") && said.contains("cannot bear"),
        "{said}"
    );
    let mut rx = ring.consumer("handler").expect("the id is free");
    assert_eq!(rx.try_consume_next(), Some((1, 1)));
}

#[test]
fn a_panic_that_is_skipped_costs_one_event() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let (handler, events) = start(&ring, HandlerPanicPolicy::Skip);
    for event in 0..4 {
        tx.publish_value(event);
    }
    let seen: Vec<u64> = events.iter().take(3).collect();
    assert_eq!(seen, [0, 2, 3]);
    assert!(handler.is_running());
    assert_eq!(handler.panics(), 1);
    tx.close().expect("closed");
    handler
        .join()
        .expect("the end of the ring is none of the handler's");
}

#[test]
fn shutdown_is_prompt() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let _tx = ring.producer().expect("a producer");
    let (handler, _events) = start(&ring, HandlerPanicPolicy::Redeliver);
    // let it fall asleep
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    handler.shutdown_and_join().expect("no panic");
    assert!(start.elapsed() < INTERVAL / 2);
}

#[test]
fn the_end_of_the_ring_is_told_at_once() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let tx = ring.producer().expect("a producer");
    let (handler, _events) = start(&ring, HandlerPanicPolicy::Redeliver);
    std::thread::sleep(Duration::from_millis(20));
    assert!(handler.is_running());
    tx.close().expect("closed");
    wait_until(|| !handler.is_running());
    handler.join().expect("no panic");
}

#[test]
fn the_last_event_of_a_batch_is_told() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_batch(3, |event, index| *event = index as u64);
    let (seen, events) = mpsc::channel();
    let handle = move |event: &u64, _, is_last| {
        let _ = seen.send((*event, is_last));
    };
    // a joiner starts at the first event: nobody gated, and the ring was not full
    let handler = builder(&ring, HandlerPanicPolicy::Redeliver).handle_events_with(handle);
    let handler = handler.expect("a handler");
    let told: Vec<_> = events.iter().take(3).collect();
    assert_eq!(told, [(0, false), (1, false), (2, true)]);
    handler.shutdown_and_join().expect("no panic");
}

/// A handler that is told to stop in the middle of a burst does one event more, which it is told is the last: what it
/// gathers until the end of a batch is not lost.
#[test]
fn shutdown_ends_a_burst() {
    let ring = HeapRing::<u64>::new(64).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_batch(64, |event, index| *event = index as u64);
    let (seen, events) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let handle = move |event: &u64, _, is_last| {
        let _ = seen.send((*event, is_last));
        // each event is slow, until the test lets go
        let _ = gate.recv();
    };
    let handler = builder(&ring, HandlerPanicPolicy::Redeliver).handle_events_with(handle);
    let handler = handler.expect("a handler");
    assert_eq!(events.recv(), Ok((0, false)));
    release.send(()).expect("it is there");
    assert_eq!(events.recv(), Ok((1, false)));
    handler.shutdown();
    drop(release);
    handler.join().expect("no panic");
    assert_eq!(events.iter().collect::<Vec<_>>(), [(2, true)]);
    let mut rx = ring.consumer("handler").expect("the id is free");
    assert_eq!(rx.try_consume_next(), Some((3, 3)), "the rest comes again");
}

#[test]
fn a_handler_waits_for_its_ring() {
    let name = portable_shm_segment_name("test");
    let (seen, events) = mpsc::channel();
    let waiting = build_shared_single_producer::<u64>(&name, 8).wait_for_ring(INTERVAL);
    let starting = std::thread::spawn(move || {
        waiting.handle_events_with(move |event, _, _| seen.send(*event).expect("a listener"))
    });
    std::thread::sleep(Duration::from_millis(20));
    let mut tx = build_shared_single_producer::<u64>(&name, 8)
        .build_zeroed_producer()
        .expect("a producer");
    tx.publish_value(7);
    let handler = starting.join().expect("thread").expect("it has come");
    assert_eq!(events.recv(), Ok(7));
    tx.destroy().expect("destroyed");
    handler.join().expect("no panic");
}

/// Which cores the calling thread may run on.
#[cfg(all(target_os = "linux", not(miri)))]
fn cores() -> Vec<usize> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("an affinity");
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core).expect("a core"))
        .collect()
}

/// Set in a process that this test program runs again: how it pins its handler, and the core.
#[cfg(all(target_os = "linux", not(miri)))]
const PINS: &str = "HANDLER_TEST_PINS";

/// Each way in a process of its own, as one way pins all of it and another is read from the environment.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_handler_runs_where_it_is_told_to() {
    if let Ok(how) = std::env::var(PINS) {
        return runs_where_it_is_told_to(&how);
    }
    let core = *cores().last().expect("a core");
    let ways = [
        ("consumer", "MYELON_NOTHING"),
        ("process", "MYELON_NOTHING"),
        ("environment", "MYELON_AUTO_CONSUMER_CORE"),
        ("environment of the process", "MYELON_PROCESS_CORE"),
    ];
    for (how, variable) in ways {
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(["--exact", "a_handler_runs_where_it_is_told_to"]);
        let output = again
            .env(PINS, how)
            .env(variable, core.to_string())
            .output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{how}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{how}: {said}");
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn runs_where_it_is_told_to(how: &str) {
    let before = cores();
    let core = *before.last().expect("a core");
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let builder = builder(&ring, HandlerPanicPolicy::Redeliver);
    let builder = match how {
        "consumer" => builder.with_consumer_core(core),
        "process" => builder.with_process_core(core),
        _ => builder,
    };
    let (seen, events) = mpsc::channel();
    let handler = builder.handle_events_with(move |_, _, _| drop(seen.send(cores())));
    tx.publish_value(7);
    assert_eq!(events.recv(), Ok(vec![core]), "{how}");
    handler
        .expect("a handler")
        .shutdown_and_join()
        .expect("no panic");
    let after = match how.contains("process") {
        true => vec![core],
        false => before,
    };
    assert_eq!(cores(), after, "{how}: the thread that built it");
}
