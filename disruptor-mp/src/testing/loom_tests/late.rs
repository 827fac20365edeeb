//! A ring that ends before its consumers have come: R15, through the handles. Events for an expected consumer are kept
//! until it has drained them. A new durable consumer that attaches meanwhile keeps the name, or is told of the end.
//!
//! Names are modelled as in `drain`.

use loom::thread;

use super::drain::{Named, Rx, drain};
use super::{Model, Step, killed_at};
use crate::error::RecvError;
use crate::layout::control::ConsumerId;
use crate::layout::lock_bytes::{PRODUCER_BYTE, id_byte, line_byte};
use crate::protocol::expect::Expectation;
use crate::region::Region;
use crate::waiting::deadline::Deadline;

/// Attaches a new durable consumer as the builder does; `None` if the ring ended meanwhile.
fn attach_late(named: &Named) -> Option<Rx> {
    if !named.is_named() {
        super::reached("the name was gone");
        return None;
    }
    let rx = named.durable("d");
    match rx.segment().is_ending_without().expect("checked") {
        true => {
            super::reached("told");
            rx.leave().expect("left");
            None
        }
        false => Some(rx),
    }
}

/// A consumer that attached has unread events, and the ring still has its name.
fn check_place(named: &Named, late: Option<Rx>) {
    if let Some(rx) = late {
        assert_eq!(rx.current_sequence(), -1);
        assert!(
            named.is_named(),
            "found the name of an unread event gone, and nobody told"
        );
        super::reached("attached");
    }
}

/// A new durable consumer attaches while the producer, which expected none, closes.
fn late_against_close() {
    let named = Named::new();
    let mut tx = named.producer(&named.region());
    tx.publish_value(0);
    let other = named.clone();
    let late = thread::spawn(move || attach_late(&other));
    tx.close().expect("closed");
    check_place(&named, late.join().expect("the consumer"));
}

#[test]
fn loom_late_against_close() {
    Model::with_preemptions(3)
        .reaches(&["attached", "told", "the name was gone"])
        .holds(late_against_close);
}

#[test]
fn loom_control_close_without_a_fence_before_the_check() {
    Model::with_preemptions(2).fails_without(
        Step::EndFence,
        &["found the name"],
        late_against_close,
    );
}

#[test]
fn loom_control_late_without_a_fence() {
    Model::with_preemptions(2).fails_without(
        Step::LateFence,
        &["found the name"],
        late_against_close,
    );
}

#[test]
fn loom_control_late_that_does_not_wait_for_the_lock() {
    Model::with_preemptions(2).fails_without(
        Step::LateLock,
        &["found the name"],
        late_against_close,
    );
}

/// Another consumer drains a closed ring and removes the name, while a new durable consumer attaches.
fn late_against_drain() {
    let named = Named::new();
    let region = named.region();
    let mut tx = named.producer(&region);
    tx.publish_value(0);
    killed_at("close.closed", 1, || {
        let _ = tx.close();
    });
    region.locks().unlock(PRODUCER_BYTE).expect("a lock");
    let other = named.clone();
    let late = thread::spawn(move || attach_late(&other));
    let segment = named.open(&named.region());
    segment.unlink_if_drained(true).expect("checked");
    check_place(&named, late.join().expect("the consumer"));
}

#[test]
fn loom_late_against_drain() {
    Model::with_preemptions(3)
        .reaches(&["attached", "told"])
        .holds(late_against_drain);
}

fn expects(id: &str) -> Expectation {
    Expectation::new(vec![ConsumerId::new(id).expect("an id")], false)
}

/// Reads to the end, as a consumer that comes after the ring was closed.
fn drain_to_the_end(mut rx: Rx) {
    assert_eq!(
        rx.try_consume_next(),
        Some((0, 7)),
        "found the event that was kept gone"
    );
    assert_eq!(rx.recv(Deadline::NEVER).err(), Some(RecvError::Closed));
    rx.detach().expect("detached");
}

/// Consumer "d" is expected and has not come. Another consumer drains while the producer closes.
fn kept_for_an_id() {
    let named = Named::new();
    let mut tx = named.expecting(&named.region(), expects("d"));
    let reader = named.durable("e");
    tx.publish_value(7);
    let reader = thread::spawn(move || drain(reader, 1));
    tx.close().expect("closed");
    reader.join().expect("the reader");
    assert!(named.is_named(), "found the name gone before 'd' came");
    drain_to_the_end(named.durable("d"));
    // if "d" was not the last one, the other consumer comes back for the rest
    if named.is_named() {
        super::reached("the other is last");
        drain(named.durable("e"), 1);
    } else {
        super::reached("'d' is last");
    }
    assert!(!named.is_named(), "found a name that nobody needs");
}

#[test]
fn loom_kept_for_an_id() {
    Model::with_preemptions(3)
        .reaches(&["'d' is last"])
        .holds(kept_for_an_id);
}

#[test]
fn loom_control_no_place_kept() {
    Model::with_preemptions(2).fails_without(Step::KeepPlace, &["found the name"], kept_for_an_id);
}

/// A consumer of any id is expected. It comes while the producer closes.
fn kept_for_any() {
    let named = Named::new();
    let mut tx = named.expecting(&named.region(), Expectation::new(Vec::new(), true));
    tx.publish_value(7);
    let other = named.clone();
    let late = thread::spawn(move || {
        assert!(other.is_named(), "found the name gone before anybody came");
        let mut rx = other.attach("a", false);
        assert_eq!(rx.try_consume_next(), Some((0, 7)));
        rx.detach().expect("detached");
    });
    tx.close().expect("closed");
    late.join().expect("the consumer");
    assert!(!named.is_named(), "found a name that nobody needs");
}

#[test]
fn loom_kept_for_any() {
    Model::with_preemptions(2).holds(kept_for_any);
}

#[test]
fn loom_control_not_kept_until_drained() {
    Model::with_preemptions(2).fails_without(
        Step::KeepUntilDrained,
        &["found the name"],
        kept_for_any,
    );
}

/// The producer dies while it keeps a place or closes; "d" comes, and a successor ends the ring.
fn closer_dies(at: &'static str) {
    let named = Named::new();
    let region = named.region();
    let mut tx = named.expecting(&region, expects("d"));
    let reader = named.durable("e");
    tx.publish_value(7);
    let reader = thread::spawn(move || drain(reader, 1));
    let has_died = killed_at(at, 1, || {
        let _ = tx.close();
    });
    assert!(has_died, "never came to {at}");
    // the dead producer's locks are freed
    let lines = (0..crate::layout::DEFAULT_MAX_CONSUMERS).map(line_byte);
    for byte in lines.chain([id_byte("d"), PRODUCER_BYTE]) {
        region.locks().unlock(byte).expect("a lock");
    }
    reader.join().expect("the reader");
    assert!(named.is_named(), "found the name gone");
    let mut late = named.durable("d");
    assert_eq!(
        late.try_consume_next(),
        Some((0, 7)),
        "found the event gone"
    );
}

#[test]
fn loom_keeper_killed() {
    let deaths = [
        ("join.bit", 1),
        ("join.joining", 1),
        ("join.settling", 1),
        ("join.active", 1),
        ("reserve.away", 1),
        ("close.kept", 1),
        ("close.closed", 1),
    ];
    Model::holds_for_deaths(2, &deaths, |at, _| closer_dies(at));
}
