//! Leases that end in every possible way, and handlers and writers that panic (R7).

use std::thread;

use super::{CAPACITIES, FEW, Sample, Site, drain, panics, patience, publish};

/// A lease that is not committed, is forgotten, or ends in a panic releases nothing: the event comes again,
/// whole, even while the producer waits for its slot.
pub(crate) fn uncommitted_leases_come_again<S: Site>() {
    for &capacity in CAPACITIES {
        let site = S::new(capacity);
        let mut tx = site.producer();
        let mut rx = site.durable("reader");
        thread::scope(|scope| {
            scope.spawn(|| publish(&mut tx, 0..FEW));
            scope.spawn(|| {
                for next in 0..FEW {
                    let lease = rx.recv(patience()).unwrap();
                    lease.check(next);
                    match next % 8 {
                        0 => lease.release_uncommitted(),
                        1 => std::mem::forget(lease),
                        2 => panics(|| {
                            let _lease = lease;
                            std::panic::resume_unwind(Box::new("on purpose"))
                        }),
                        _ => {
                            lease.commit();
                            continue;
                        }
                    }
                    let again = rx.try_consume_next_leased().expect("it comes again");
                    assert_eq!(again.sequence(), next as i64);
                    again.check(next);
                }
            });
        });
    }
}

/// A handler that panics while the producer publishes has released the earlier events, and nothing else.
pub(crate) fn handler_panics_under_load<S: Site>() {
    let site = S::new(4);
    let mut tx = site.producer();
    let mut rx = site.durable("reader");
    thread::scope(|scope| {
        scope.spawn(|| publish(&mut tx, 0..FEW));
        scope.spawn(|| {
            let (mut next, mut turn) = (0, 0);
            while next < FEW {
                let mut handle = |event: &S::Event, sequence: i64| {
                    assert_eq!(sequence, next as i64);
                    event.check(next);
                    if turn % 4 == 3 {
                        std::panic::resume_unwind(Box::new("on purpose"));
                    }
                    next += 1;
                    turn += 1;
                };
                let call = || rx.process_within(patience(), |event, at, _| handle(event, at));
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
                turn += u64::from(outcome.is_err());
                assert_eq!(rx.current_sequence() + 1, next as i64);
            }
        });
    });
}

/// On one thread: a panic in a handler, a lease, a writer or a batch loses nothing and publishes nothing.
pub(crate) fn panics_lose_nothing<S: Site>() {
    let fail = || std::panic::resume_unwind(Box::new("on purpose"));
    let site = S::new(8);
    let mut tx = site.producer();
    let mut rx = site.guest();
    publish(&mut tx, 0..8);
    panics(|| {
        rx.process_available(|_, sequence| {
            if sequence == 3 {
                fail()
            }
        })
    });
    assert_eq!(rx.current_sequence(), 2);
    panics(|| {
        let _lease = rx.try_consume_next_leased().unwrap();
        fail()
    });
    assert_eq!(rx.try_consume_next().unwrap().0, 3);

    panics(|| tx.publish(|_| fail()));
    panics(|| {
        tx.publish_batch(3, |_, index| {
            if index == 2 {
                fail()
            }
        })
    });
    panics(|| {
        let _claim = tx.claim(patience()).unwrap();
        fail()
    });
    publish(&mut tx, 8..9);
    tx.close().unwrap();
    assert_eq!(drain(rx), 9);
}
