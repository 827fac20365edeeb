//! The simple calls expect a consumer until they have seen one, and report it if none comes.

mod warnings;

use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    BlockedOn, Deadline, MmapProducer, MmapTransportLayout, portable_shm_segment_name, publisher,
    subscribe_within, subscriber,
};
use warnings::Warnings;

const CAPACITY: usize = 8;
const PATIENT: Duration = Duration::from_secs(30);

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(20))
}

#[test]
fn the_simple_calls_fill_the_ring_once_and_wait() {
    let name = portable_shm_segment_name("once");
    let mut tx = publisher::<u64>(&name, CAPACITY).expect("a producer");
    let count = (0..100)
        .take_while(|event| tx.try_publish(|slot| *slot = *event).is_ok())
        .count();
    assert_eq!(count, CAPACITY);
    let Some(BlockedOn::Expected { missing, .. }) = tx.blocked_on() else {
        panic!("{:?}", tx.blocked_on());
    };
    assert_eq!(missing, ["any consumer"]);
    let full = tx.send(soon(), |_| {}).expect_err("nobody has come");
    assert!(full.to_string().contains("any consumer"), "{full}");
    let mut rx = subscribe_within::<u64>(&name, PATIENT).expect("a consumer");
    for expected in 0..CAPACITY as u64 {
        assert_eq!(rx.recv(Deadline::NEVER).map(|lease| *lease), Ok(expected));
    }
    tx.send(soon(), |slot| *slot = 8).expect("it has come");
}

#[test]
fn free_running_lets_early_events_go() {
    let name = portable_shm_segment_name("free");
    let mut tx = publisher::<u64>(&name, CAPACITY)
        .expect("a producer")
        .free_running();
    for event in 0..100 {
        tx.try_publish(|slot| *slot = event).expect("it runs free");
    }
    let mut rx = subscriber::<u64>(&name).expect("a consumer");
    let (first, _) = rx.try_consume_next().expect("the rest");
    assert!(first > 0);
    assert_eq!(tx.close().expect("closed").kept_for, [""; 0]);
    drop(rx);
}

/// A producer that ends keeps its events for those that it expects by name, and tells no more than their names.
#[test]
fn events_are_kept_for_the_expected_consumers_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(root.path(), "ring");
    let builder = || MmapProducer::<u64>::builder(&layout, CAPACITY);
    let reader = |id: &str| builder().with_consumer_id(id).build_consumer();
    let mut tx = builder().build_zeroed_producer().expect("a producer");
    tx.expect_consumer_id("late").expect("an id");
    let here = reader("here").expect("a consumer");
    tx.publish_value(7);
    assert_eq!(tx.attached_consumer_ids(), ["here"]);
    here.leave().expect("left");
    assert_eq!(tx.attached_consumer_ids(), [""; 0]);
    assert_eq!(tx.close().expect("closed").kept_for, ["late"]);
    let mut late = reader("late").expect("it comes after all");
    assert_eq!(late.recv_owned(Deadline::NEVER), Ok((0, 7)));
    late.leave().expect("left");
}

#[test]
fn a_producer_without_its_first_consumer_says_so_once() {
    let name = portable_shm_segment_name("alone");
    let mut tx = publisher::<u64>(&name, CAPACITY).expect("a producer");
    tx.publish_batch(CAPACITY, |event, i| *event = i as u64);
    let warnings = Warnings::default();
    let subscriber_of_thread = warnings.clone();
    let count = || warnings.texts().len();
    let started = Instant::now();
    let sending = thread::spawn(move || {
        tracing::subscriber::with_default(subscriber_of_thread, || {
            let sent = tx.send(Deadline::NEVER, |event| *event = CAPACITY as u64);
            (sent, tx)
        })
    });
    while count() == 0 {
        assert!(started.elapsed() < PATIENT, "nothing was said");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "that was early"
    );
    thread::sleep(Duration::from_millis(500));
    let mut rx = subscriber::<u64>(&name).expect("a consumer");
    for _ in 0..CAPACITY {
        drop(rx.recv(Deadline::NEVER).expect("an event"));
    }
    let (sent, tx) = sending.join().expect("no panic");
    assert_eq!(sent, Ok(CAPACITY as i64));
    let seen = warnings.texts().clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("any consumer"), "{seen:?}");
    drop(tx);
    drop(rx.recv(Deadline::NEVER).expect("the last"));
}
