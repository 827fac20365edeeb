//! How a ring continues after its producer: a successor, leases that are held meanwhile, and closing while
//! others read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use disruptor_mp::RecvError;

use super::{FEW, Sample, Site, drain, panics, patience, publish, wait_for};

/// A producer dies by a panic in the middle of a batch. Another one succeeds it, and a waiting consumer continues.
pub(crate) fn successor_goes_on<S: Site>() {
    let site = S::new(4);
    let tx = site.producer();
    let mut rx = site.durable("waits");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for next in 0..FEW {
                rx.consume_next_leased().check(next);
            }
        });
        scope
            .spawn(|| {
                panics(|| {
                    let mut tx = tx;
                    publish(&mut tx, 0..3);
                    tx.publish_batch(3, |slot, index| {
                        *slot = Sample::new(!0);
                        if index == 2 {
                            std::panic::resume_unwind(Box::new("on purpose"));
                        }
                    });
                })
            })
            .join()
            .unwrap();
        let mut tx = site.producer();
        publish(&mut tx, 3..FEW);
        reader.join().unwrap();
    });
}

/// A lease outlives a takeover: the successor fills the ring up to the lease, and continues once it is released.
pub(crate) fn successor_respects_a_lease<S: Site>() {
    let site = S::new(4);
    let mut tx = site.producer();
    let mut rx = site.durable("leases");
    let (is_leased, is_full) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let patience = patience();
            let lease = rx.recv(patience).unwrap();
            is_leased.store(true, Ordering::Relaxed);
            while !is_full.load(Ordering::Relaxed) {
                lease.check(0);
                thread::yield_now();
            }
            lease.check(0);
            drop(lease);
            drain(rx)
        });
        publish(&mut tx, 0..2);
        wait_for(&is_leased);
        panics(|| {
            let _tx = tx;
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        let mut tx = site.producer();
        publish(&mut tx, 2..4);
        assert!(tx.try_publish(|slot| *slot = Sample::new(!0)).is_err());
        is_full.store(true, Ordering::Relaxed);
        publish(&mut tx, 4..FEW);
        tx.close().unwrap();
        assert_eq!(reader.join().unwrap(), FEW);
    });
}

/// Readers that are behind when the ring is closed drain it. A reader that was away does so later. A
/// successor opens the ring again.
pub(crate) fn closed_under_way<S: Site>() {
    for end in if cfg!(miri) { 5..6 } else { 1..16 } {
        let site = S::new(4);
        let mut tx = site.producer();
        let guest = site.guest();
        let mut durable = site.durable("durable");
        thread::scope(|scope| {
            let guest = scope.spawn(|| drain(guest));
            let durable = scope.spawn(|| {
                durable.recv(patience()).unwrap().check(0);
                durable.detach().unwrap();
                drain(site.durable("durable"))
            });
            publish(&mut tx, 0..end);
            // the name stays for the reader that comes back
            tx.keep().unwrap();
            assert_eq!(guest.join().unwrap(), end);
            assert_eq!(durable.join().unwrap(), end);
        });
        let mut rx = site.durable("durable");
        let outcome = rx.recv(patience()).map(|event| event.check(!0));
        assert_eq!(outcome, Err(RecvError::Closed));
        let mut tx = site.producer();
        thread::scope(|scope| {
            let reader = scope.spawn(|| drain(rx));
            publish(&mut tx, end..end + 5);
            tx.close().unwrap();
            assert_eq!(reader.join().unwrap(), end + 5);
        });
    }
}
