//! Batches: R2. A batch is seen whole or not at all, even if the producer dies or its closure panics.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::thread;

use super::{Model, OVERTAKEN, RACE, Ring, Step, Tx, WRONG, killed_at, while_at};
use crate::layout::stamp;
use crate::protocol::expect::Expectation;
use crate::sync::Ordering;

/// A consumer that sees the first event of a batch sees all of it.
fn batches_by(publish: impl Fn(&mut Tx, usize)) {
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
        publish(&mut tx, n);
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_batch_is_seen_whole() {
    Model::with_preemptions(2).holds(|| batches_by(Tx::publish_batch));
}

#[test]
fn loom_control_stamps_in_ascending_order() {
    Model::with_preemptions(2).fails(&["found missing"], || {
        batches_by(|tx, n| {
            for _ in 0..n {
                tx.publish();
            }
        });
    });
}

#[test]
fn loom_control_relaxed_stamps_of_a_batch() {
    Model::with_preemptions(2).fails_without(Step::StampRelease, &[RACE, WRONG], || {
        batches_by(Tx::publish_batch)
    });
}

/// As in production, but the first event's stamp is stored before the others.
#[test]
fn loom_control_first_stamp_first() {
    Model::with_preemptions(2).fails(&["found missing"], || {
        batches_by(|tx, n| {
            let (view, first) = (tx.segment.view, tx.core.next());
            let store = move || {
                let stamp = view.stamp(first);
                stamp.store(stamp::published(first), Ordering::Release);
            };
            while_at("batch.written", store, || tx.publish_batch(n));
        });
    });
}

/// The points at which the producer can die in a batch of three: after none, one or two of its stamps, and
/// around the first event's stamp.
const DEATHS: &[(&str, u32)] = &[
    ("batch.written", 1),
    ("batch.written", 2),
    ("batch.stamped", 1),
    ("publish.written", 2),
    ("publish.stamped", 2),
    ("batch.published", 1),
];

/// One event, a batch of three in which the producer dies, then a successor that publishes one event at a time.
fn killed_in_a_batch(at: &'static str, times: u32) {
    let ring = Ring::new(4);
    let mut rx = ring.attach("slow", true).expect("a line");
    let mut first = ring.tx();
    let reader = thread::spawn(move || (0..4).map(|_| rx.take().1 % 10).collect::<Vec<_>>());
    killed_at(at, times, || {
        first.publish();
        first.publish_batch(3);
    });
    drop(first);
    let mut second = ring.producer(1, Expectation::default());
    let inherited = second.core.next();
    assert!(matches!(inherited, 1 | 4), "a batch found in part");
    while second.core.next() < 4 {
        second.publish();
    }
    let writers = reader.join().expect("the reader");
    for (sequence, writer) in writers.into_iter().enumerate() {
        let is_successors = sequence as i64 >= inherited;
        assert_eq!(
            writer,
            u64::from(is_successors),
            "{sequence} found to be another's"
        );
    }
}

#[test]
fn loom_batch_killed_at_each_stamp() {
    Model::holds_for_deaths(2, DEATHS, killed_in_a_batch);
}

#[test]
fn loom_control_batch_killed_and_not_cleared() {
    Model::with_preemptions(2).fails_without(
        Step::TakeoverClear,
        &[RACE, WRONG, OVERTAKEN],
        || killed_in_a_batch("batch.stamped", 1),
    );
}

/// After `before` events, which are read, the closure of a batch of `n` panics at its last event; then the
/// same producer publishes `n` other events one at a time. The panic comes before the reader starts, as
/// loom's threads share one panic count.
fn writer_panics(before: i64, n: usize) {
    let ring = Ring::new(4);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    for _ in 0..before {
        tx.publish();
    }
    rx.take_to(before - 1);
    assert_eq!(tx.try_vacant(n), Some(before));
    let Tx {
        core, ring: cells, ..
    } = &mut tx;
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        core.publish_batch::<false>(before, n, |slot, index| {
            if index + 1 == n {
                resume_unwind(Box::new(()));
            }
            let sequence = before + index as i64;
            cells.write(sequence, 10 * sequence as u64);
            // SAFETY: this producer has the claim (R2).
            unsafe { slot.write(10 * sequence as u64) };
        })
    }));
    assert!(thrown.is_err());
    assert_eq!(tx.core.next(), before, "found another position");
    tx.writer = 1;
    let last = before + n as i64 - 1;
    let reader = thread::spawn(move || {
        while rx.position() < last {
            let (sequence, event) = rx.take();
            assert_eq!(event % 10, 1, "{sequence} found, which nobody published");
        }
    });
    while tx.core.next() <= last {
        tx.publish();
    }
    reader.join().expect("the reader");
}

#[test]
fn loom_batch_whose_writer_panics() {
    Model::with_preemptions(3).holds(|| writer_panics(1, 3));
}

/// The batch takes all slots, including those by which the producer finds its position.
#[test]
fn loom_batch_that_laps() {
    Model::with_preemptions(2).holds(|| writer_panics(1, 4));
}

#[test]
fn loom_control_batch_leaves_its_stamps() {
    Model::with_preemptions(2).fails_without(Step::BatchUndo, &[WRONG], || writer_panics(1, 3));
}

#[test]
fn loom_control_batch_laps_its_own_position() {
    Model::with_preemptions(2).fails_without(Step::BatchBase, &[WRONG], || writer_panics(1, 4));
}
