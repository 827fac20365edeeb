//! How a ring ends for its consumers: R11. Every published event is delivered before either end, and a closed
//! ring is never reported as a dead producer's.
//!
//! One preemption is enough for each control to fail; three are explored.

use loom::thread::{self, yield_now};

use super::{End, Model, Ring, Rx, Step, killed_at};

/// Reads events until an end is reported; returns how many events there were, and the end.
fn drain(rx: &mut Rx) -> (usize, End) {
    let mut count = 0;
    loop {
        if rx.try_take().is_some() {
            count += 1;
        } else if let Some(end) = rx.find_end() {
            return (count, end);
        } else {
            yield_now();
        }
    }
}

const EARLY: &str = "before the last event";

/// The producer publishes twice and closes. With `lets_go`, it also frees its lock after closing.
fn closed(lets_go: bool) {
    let ring = Ring::new(2);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || {
        let (count, end) = drain(&mut rx);
        assert_eq!(end, End::Closed, "found dead what was closed");
        assert_eq!(count, 2, "closed {EARLY}");
    });
    tx.publish();
    tx.publish();
    tx.core.close();
    let kept = (!lets_go).then_some(tx);
    reader.join().expect("the reader");
    drop(kept);
}

#[test]
fn loom_drain_before_closed() {
    Model::with_preemptions(3).holds(|| closed(false));
}

#[test]
fn loom_closed_is_not_dead() {
    Model::with_preemptions(3).holds(|| closed(true));
}

#[test]
fn loom_control_closed_without_another_check() {
    Model::with_preemptions(3).fails_without(Step::ClosedCheck, &[EARLY], || closed(false));
}

#[test]
fn loom_control_dead_without_a_read_of_the_closed_word() {
    Model::with_preemptions(3)
        .fails_without(Step::DeadClosedCheck, &["found dead"], || closed(true));
}

/// The producer dies in its second publish or after it: every stamped event is delivered, then the death is reported.
fn dead(at: &'static str, times: u32) {
    let ring = Ring::new(2);
    let mut rx = ring.rx();
    let mut tx = ring.tx();
    let reader = thread::spawn(move || drain(&mut rx));
    killed_at(at, times, || {
        tx.publish();
        tx.publish();
    });
    let published = match at {
        "publish.written" => times - 1,
        _ => times,
    };
    drop(tx);
    let (count, end) = reader.join().expect("the reader");
    assert_eq!(end, End::ProducerDead);
    assert_eq!(count, published as usize, "found dead {EARLY}");
}

#[test]
fn loom_drain_before_dead() {
    let deaths = [
        ("publish.written", 2),
        ("publish.stamped", 1),
        ("publish.stamped", 2),
    ];
    Model::holds_for_deaths(3, &deaths, dead);
}

#[test]
fn loom_control_dead_without_another_check() {
    Model::with_preemptions(3)
        .fails_without(Step::DeadCheck, &[EARLY], || dead("publish.stamped", 2));
}

/// A successor comes: a consumer that has heard of the death continues, and misses nothing.
#[test]
fn loom_dead_then_a_successor() {
    Model::with_preemptions(2)
        .reaches(&["heard of the death", "saw the successor only"])
        .holds(|| {
            let ring = Ring::new(2);
            let mut rx = ring.rx();
            let mut first = ring.tx();
            let reader = thread::spawn(move || {
                let (count, end) = drain(&mut rx);
                match end {
                    End::Closed => super::reached("saw the successor only"),
                    End::ProducerDead => {
                        super::reached("heard of the death");
                        rx.take_to(1);
                    }
                }
                assert!(count <= 2);
                assert_eq!(rx.position(), 1, "closed {EARLY}");
            });
            killed_at("publish.stamped", 1, || {
                first.publish();
            });
            drop(first);
            let mut second = ring.tx();
            second.publish();
            second.core.close();
            reader.join().expect("the reader");
        });
}
