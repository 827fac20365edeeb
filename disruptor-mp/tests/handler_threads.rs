//! Handler threads: panics, shutdown, and what is told about them.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use disruptor_mp::{AutoConsumer, DisruptorBuilder, HandlerPanicPolicy, Heap, HeapRing};

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
