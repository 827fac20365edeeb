//! Commit: R7, and the position of a durable consumer (R16). A consumer that dies around its commit gets the
//! one event again that it had not released, and no other.
//!
//! Two preemptions: the death and the return are on one thread, so that a third one would change nothing that
//! is checked.

use loom::thread::{self, yield_now};

use super::{Model, OVERTAKEN, RACE, Ring, Rx, Step, WRONG};
use crate::handles::guards::Lease;
use crate::protocol::lines;

/// The events that the consumer has handled, in order; it outlives the process.
type Journal = Vec<i64>;

/// Reads the next event, before its lease begins.
fn read(rx: &mut Rx) -> i64 {
    while !rx.core.is_ready() {
        yield_now();
    }
    let sequence = rx.core.next();
    let event = rx.ring.read(sequence);
    assert_eq!(event, 10 * sequence as u64, "found {event}");
    sequence
}

/// The right order: handle, then release.
fn handle_and_release(rx: &mut Rx, journal: &mut Journal) {
    let sequence = read(rx);
    journal.push(sequence);
    Lease::new(&mut rx.core).commit();
}

/// The wrong order.
fn release_and_handle(rx: &mut Rx, journal: &mut Journal) {
    let sequence = read(rx);
    Lease::new(&mut rx.core).commit();
    journal.push(sequence);
}

/// A durable consumer dies at its first commit and comes back, while the producer continues, and clears dead
/// lines whenever it is blocked.
fn dies_and_comes_back(at: &'static str, handle: fn(&mut Rx, &mut Journal)) {
    let ring = Ring::new(1);
    let mut rx = ring.attach("d", true).expect("a line");
    let mut tx = ring.tx();
    let reader = thread::spawn(move || {
        let mut journal = Journal::new();
        let other = rx.ring.clone();
        rx.dies(at, |rx| handle(rx, &mut journal));
        rx = other.attach("d", true).expect("a line");
        assert!(rx.place.rejoined, "found without its position");
        while rx.position() < 1 {
            handle(&mut rx, &mut journal);
        }
        journal
    });
    while tx.core.next() < 2 {
        if tx.try_publish().is_none() {
            lines::evict_dead(tx.segment.control(), tx.segment.locks()).expect("a lock");
            yield_now();
        }
    }
    let journal = reader.join().expect("the reader");
    let expected: &[i64] = match at {
        "commit.before" => &[0, 0, 1],
        _ => &[0, 1],
    };
    assert_eq!(journal, expected, "found handled otherwise");
}

#[test]
fn loom_commit_killed() {
    Model::holds_for_deaths(2, &[("commit.before", 1), ("commit.after", 1)], |at, _| {
        dies_and_comes_back(at, handle_and_release);
    });
}

#[test]
fn loom_control_released_before_it_was_handled() {
    Model::with_preemptions(2).fails(&["found handled otherwise"], || {
        dies_and_comes_back("commit.after", release_and_handle);
    });
}

#[test]
fn loom_control_dead_durable_line_is_evicted() {
    Model::with_preemptions(2).fails_without(Step::KeepDurable, &[RACE, WRONG, OVERTAKEN], || {
        dies_and_comes_back("commit.before", handle_and_release)
    });
}
