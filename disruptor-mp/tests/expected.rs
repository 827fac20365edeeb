//! The simple calls expect a consumer until they have seen one, and report it if none comes.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    BlockedOn, Deadline, portable_shm_segment_name, publisher, subscribe_within, subscriber,
};
use tracing::field::{Field, Visit};
use tracing::span;

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

/// A subscriber that keeps the warnings of a thread.
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn core::fmt::Debug) {
        use core::fmt::Write;
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        self.0.lock().expect("not poisoned").push(text);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_producer_without_its_first_consumer_says_so_once() {
    let name = portable_shm_segment_name("alone");
    let mut tx = publisher::<u64>(&name, CAPACITY).expect("a producer");
    tx.publish_batch(CAPACITY, |event, i| *event = i as u64);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let warnings = Warnings(Arc::clone(&seen));
    let count = || seen.lock().expect("not poisoned").len();
    let started = Instant::now();
    let sending = thread::spawn(move || {
        tracing::subscriber::with_default(warnings, || {
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
    let seen = seen.lock().expect("not poisoned").clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("any consumer"), "{seen:?}");
    drop(tx);
    drop(rx.recv(Deadline::NEVER).expect("the last"));
}
