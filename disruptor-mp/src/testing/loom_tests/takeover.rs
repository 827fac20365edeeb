//! Takeover: R14. A producer dies at a fail point, and a successor with smaller batches continues. The
//! specification is `models/takeover.py`.

use loom::thread;

use super::{Model, OVERTAKEN, RACE, Ring, Step, WRONG, killed_at};
use crate::handles::guards::Lease;
use crate::protocol::expect::Expectation;
use crate::protocol::takeover::take_over;

/// The points at which a producer that publishes one event and then batches of two can die, and at which pass.
const DEATHS: &[(&str, u32)] = &[
    ("publish.written", 1),
    ("publish.stamped", 1),
    ("batch.written", 1),
    ("batch.stamped", 1),
    ("batch.published", 1),
    ("batch.stamped", 2),
    ("refresh.scanned", 2),
    ("refresh.floor", 1),
    ("refresh.fenced", 2),
    ("refresh.gate", 2),
];

const LAST: i64 = 4;

/// One consumer that was there from the start misses nothing, and reads nothing that was not published.
fn succession(at: &'static str, times: u32) {
    let ring = Ring::new(2);
    let mut rx = ring.attach("slow", true).expect("a line");
    let mut first = ring.tx();
    let reader = thread::spawn(move || {
        let mut events = Vec::new();
        while rx.position() < LAST {
            events.push(rx.take());
        }
        events
    });
    killed_at(at, times, || {
        first.publish();
        first.publish_batch(2);
        first.publish_batch(2);
    });
    let published = first.core.next();
    drop(first);
    let mut second = ring.producer(1, Expectation::default());
    assert!(
        second.core.next() >= published,
        "what was published is lost"
    );
    let inherited = second.core.next();
    while second.core.next() <= LAST {
        second.publish();
    }
    for (sequence, event) in reader.join().expect("the reader") {
        let writer = u64::from(sequence >= inherited);
        assert_eq!(event % 10, writer, "{sequence} was found to be another's");
    }
}

#[test]
fn loom_takeover_with_a_slow_consumer() {
    Model::holds_for_deaths(2, DEATHS, succession);
}

#[test]
fn loom_control_takeover_leaves_stamps_above_the_head() {
    Model::with_preemptions(2).fails_without(
        Step::TakeoverClear,
        &[RACE, WRONG, OVERTAKEN],
        || succession("batch.stamped", 1),
    );
}

/// No consumer is there when the producer dies in a refresh; a joiner comes meanwhile.
fn joiner_meanwhile(at: &'static str, times: u32) {
    let ring = Ring::new(2);
    let mut first = ring.tx();
    let other = ring.clone();
    let joiner = thread::spawn(move || {
        let mut rx = other.rx();
        rx.take_some(2);
        rx
    });
    killed_at(at, times, || {
        for _ in 0..3 {
            first.publish_some(1);
        }
    });
    drop(first);
    let mut second = ring.producer(1, Expectation::default());
    second.publish_some(2);
    let mut rx = joiner.join().expect("the joiner");
    rx.take_to(second.core.next() - 1);
}

#[test]
fn loom_takeover_with_a_joiner() {
    let deaths = [
        ("refresh.scanned", 1),
        ("refresh.floor", 1),
        ("refresh.fenced", 1),
        ("refresh.gate", 1),
        ("publish.written", 1),
    ];
    Model::holds_for_deaths(2, &deaths, joiner_meanwhile);
}

#[test]
fn loom_control_takeover_starts_at_the_floor() {
    Model::with_preemptions(3).fails_without(Step::TakeoverGate, &[RACE, WRONG, OVERTAKEN], || {
        joiner_meanwhile("refresh.floor", 1)
    });
}

/// A leased event does not change while the producer dies and the successor fills the ring.
#[test]
fn loom_takeover_under_a_lease() {
    Model::with_preemptions(3).holds(|| {
        let ring = Ring::new(2);
        let mut rx = ring.attach("slow", true).expect("a line");
        let mut first = ring.tx();
        first.publish();
        let reader = thread::spawn(move || {
            let lease = Lease::new(&mut rx.core);
            let before = (rx.ring.read(0), *lease);
            thread::yield_now();
            assert_eq!((rx.ring.read(0), *lease), before, "found changed");
            assert_eq!(before, (0, 0));
            lease.commit();
            rx
        });
        killed_at("publish.written", 1, || first.publish_some(1));
        drop(first);
        let mut second = ring.producer(1, Expectation::default());
        second.publish_some(3);
        let mut rx = reader.join().expect("the reader");
        rx.take_to(second.core.next() - 1);
    });
}

/// The successor dies as well, at each step of its takeover; the next successor repeats it.
#[test]
fn loom_takeover_of_a_takeover() {
    let deaths = [
        ("takeover.opened", 1),
        ("takeover.epoch", 1),
        ("takeover.head", 1),
        ("takeover.cleared_one", 1),
        ("takeover.cleared", 1),
    ];
    Model::holds_for_deaths(2, &deaths, takeover_of_a_takeover);
}

fn takeover_of_a_takeover(at: &'static str, times: u32) {
    let ring = Ring::new(2);
    let mut rx = ring.attach("slow", true).expect("a line");
    let mut first = ring.tx();
    let reader = thread::spawn(move || rx.take_to(2));
    killed_at("batch.stamped", 1, || {
        first.publish();
        first.publish_batch(2);
    });
    drop(first);
    let second = ring.lock_producer();
    killed_at(at, times, || {
        take_over(second.view);
    });
    drop(second);
    let mut third = ring.producer(2, Expectation::default());
    assert!(third.core.next() >= 1, "what was published is lost");
    while third.core.next() <= 2 {
        third.publish();
    }
    reader.join().expect("the reader");
}
