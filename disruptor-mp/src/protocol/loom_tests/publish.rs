//! Publish and consume: R2, R3, R4, R7 and the ring's bounds.

use loom::thread;

use super::{Model, RACE, Ring, Step, WRONG};

/// `count` events through a ring of `capacity` slots, one consumer.
fn stream(capacity: usize, count: i64) {
    let ring = Ring::new(capacity);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || rx.take_to(count - 1));
    for expected in 0..count {
        assert_eq!(tx.publish(), expected);
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_one_slot() {
    Model::with_preemptions(3).holds(|| stream(1, 3));
}

#[test]
fn loom_two_slots_wrap() {
    Model::with_preemptions(3).holds(|| stream(2, 5));
}

#[test]
fn loom_four_slots_wrap() {
    Model::with_preemptions(2).holds(|| stream(4, 6));
}

/// Two consumers; whoever is slow is waited for.
fn two_consumers() {
    let ring = Ring::new(1);
    let mut tx = ring.tx();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut rx = ring.rx();
            thread::spawn(move || {
                rx.take_some(2);
                rx
            })
        })
        .collect();
    tx.publish_some(3);
    let last = tx.core.next() - 1;
    for reader in readers {
        let mut rx = reader.join().expect("a reader");
        if rx.position() == last {
            super::reached("kept up");
        }
        rx.take_to(last);
    }
    if last > 0 {
        super::reached("both released");
    }
}

#[test]
fn loom_two_consumers() {
    Model::with_preemptions(2)
        .reaches(&["kept up", "both released"])
        .holds(two_consumers);
}

/// Full means full, and what was released can be had at the next look.
fn full_and_empty(capacity: usize) {
    let ring = Ring::new(capacity);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    for _ in 0..capacity {
        assert!(tx.try_publish().is_some(), "the ring has space");
    }
    assert!(tx.try_publish().is_none(), "the ring is full");
    let reader = thread::spawn(move || {
        rx.take_some(2);
        rx
    });
    let published = (0..3).filter_map(|_| tx.try_publish()).count();
    let mut rx = reader.join().expect("the reader");
    match published {
        0 => super::reached("full while the producer looked"),
        _ => super::reached("released while the producer looked"),
    }
    let released = (rx.position() + 1) as usize;
    assert!(
        published <= released,
        "published over what was not released"
    );
    for _ in published..released {
        assert!(tx.try_publish().is_some(), "what was released is free");
    }
    assert!(tx.try_publish().is_none(), "full again");
    rx.take_to(tx.core.next() - 1);
    assert!(rx.try_take().is_none(), "empty");
}

const FULL: &[&str] = &[
    "released while the producer looked",
    "full while the producer looked",
];

#[test]
fn loom_full_and_empty_one_slot() {
    Model::with_preemptions(3)
        .reaches(FULL)
        .holds(|| full_and_empty(1));
}

#[test]
fn loom_full_and_empty_two_slots() {
    Model::with_preemptions(3)
        .reaches(FULL)
        .holds(|| full_and_empty(2));
}

/// R11: closed is reported after the last event, through the handles.
#[test]
fn loom_drain_before_closed() {
    Model::with_preemptions(3).holds(|| {
        let ring = crate::HeapRing::<u64>::new(2).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let mut rx = ring
            .builder()
            .with_consumer_id("d")
            .with_wait_strategy(crate::AutoWaitStrategy::SpinThenYield { spins: 0 })
            .build_consumer()
            .expect("a consumer");
        let reader = thread::spawn(move || {
            let mut count = 0;
            while let Ok(event) = rx.recv(crate::Deadline::NEVER) {
                assert_eq!(*event, count);
                event.commit();
                count += 1;
            }
            assert_eq!(count, 2, "closed before the last event");
        });
        for event in 0..2 {
            tx.publish_value(event);
        }
        tx.close().expect("closed");
        reader.join().expect("the reader");
    });
}

/// A consumer that sees the first event of a batch sees all of it. `whole`: as production does it, or one by one.
fn batches(whole: bool) {
    let ring = Ring::new(4);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || {
        for (first, n) in [(0, 3), (3, 2)] {
            while !rx.core.is_ready() {
                thread::yield_now();
            }
            for sequence in first..first + n {
                assert!(rx.core.is_published(sequence), "{sequence} found missing");
            }
            rx.take_to(first + n - 1);
        }
    });
    for n in [3, 2] {
        if whole {
            tx.publish_batch(n);
        } else {
            (0..n).for_each(|_| {
                tx.publish();
            });
        }
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_batch_is_seen_whole() {
    Model::with_preemptions(2).holds(|| batches(true));
}

#[test]
fn loom_control_stamps_in_ascending_order() {
    Model::with_preemptions(2).fails(&[WRONG], || batches(false));
}

#[test]
fn loom_control_relaxed_stamp() {
    Model::with_preemptions(2).fails_without(Step::StampRelease, &[RACE], || stream(2, 3));
}

#[test]
fn loom_control_relaxed_stamps_of_a_batch() {
    Model::with_preemptions(2).fails_without(Step::StampRelease, &[RACE, WRONG], || batches(true));
}

#[test]
fn loom_control_relaxed_commit() {
    Model::with_preemptions(2).fails_without(Step::CommitRelease, &[RACE], || stream(1, 2));
}

#[test]
fn loom_control_stamp_before_event() {
    Model::with_preemptions(2).fails(&[RACE, WRONG], || {
        let ring = Ring::new(2);
        let mut rx = ring.rx();
        let mut tx = ring.tx();
        let reader = thread::spawn(move || rx.take());
        assert_eq!(tx.try_vacant(1), Some(0));
        let event = tx.event(0);
        tx.core.publish_one(0);
        ring.write(0, event);
        reader.join().expect("the reader");
    });
}

#[test]
fn loom_control_commit_before_the_read_ends() {
    Model::with_preemptions(2).fails(&[RACE, WRONG], || {
        let ring = Ring::new(1);
        let mut rx = ring.rx();
        let mut tx = ring.tx();
        let reader = thread::spawn(move || {
            while !rx.core.is_ready() {
                thread::yield_now();
            }
            rx.core.commit(0);
            rx.ring.read(0)
        });
        tx.publish();
        tx.publish();
        reader.join().expect("the reader");
    });
}
