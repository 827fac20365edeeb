//! Consumers that come, go, come back and are removed while the producer publishes.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use disruptor_mp::MultiProcessError;

use super::{CAPACITIES, FEW, Sample, Site, drain, publish, wait_for};

/// Each guest sees events without a gap, and a guest that leaves no longer gates.
pub(crate) fn join_and_leave_under_load<S: Site>() {
    for &capacity in CAPACITIES {
        let site = S::new(capacity);
        let mut tx = site.producer();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let guests = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut visits = 0;
                    while !is_over.load(Ordering::Relaxed) || visits == 0 {
                        let mut rx = site.guest();
                        let first = rx.current_sequence() + 1;
                        for next in first..first + 2 * capacity as i64 {
                            match rx.try_consume_next_leased() {
                                Some(event) => event.check(next as u64),
                                None => break,
                            }
                        }
                        visits += 1;
                        thread::yield_now();
                    }
                    visits
                })
            });
            publish(&mut tx, 0..FEW);
            is_over.store(true, Ordering::Relaxed);
            for guest in guests {
                assert!(guest.join().unwrap() > 0);
            }
        });
        assert_eq!(tx.get_consumer_count(), 0);
    }
}

/// All visits of a durable consumer together see every event once.
pub(crate) fn durable_consumer_comes_back_under_load<S: Site>() {
    let site = S::new(4);
    let mut tx = site.producer();
    let mut first = Some(site.durable("durable"));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0;
            while next < FEW {
                let mut rx = first.take().unwrap_or_else(|| site.durable("durable"));
                assert_eq!(rx.current_sequence() + 1, next as i64);
                for _ in 0..3 {
                    next +=
                        rx.process_available(|event, sequence| event.check(sequence as u64)) as u64;
                    thread::yield_now();
                }
            }
        });
        publish(&mut tx, 0..FEW);
    });
}

/// Two threads want the same id again and again. One has it, the other is told so, and each continues where
/// the last one stopped.
pub(crate) fn one_of_two_gets_the_id<S: Site>() {
    let site = S::new(4);
    let mut tx = site.producer();
    drop(site.durable("wanted"));
    let released = AtomicI64::new(-1);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while released.load(Ordering::Relaxed) + 1 < FEW as i64 {
                    let mut rx = match site.builder().with_consumer_id("wanted").build_consumer() {
                        Ok(rx) => rx,
                        Err(MultiProcessError::ConsumerAlreadyAttached { .. }) => {
                            thread::yield_now();
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(rx.current_sequence(), released.load(Ordering::Relaxed));
                    rx.process_available(|event, sequence| event.check(sequence as u64));
                    released.store(rx.current_sequence(), Ordering::Relaxed);
                    drop(rx);
                    thread::yield_now();
                }
            });
        }
        publish(&mut tx, 0..FEW);
    });
}

/// A durable consumer that is away holds the ring until it is removed; it may come again at once as a new one.
pub(crate) fn removed_consumer_gates_no_more<S: Site>() {
    let site = S::new(4);
    let mut tx = site.producer();
    let reader = site.guest();
    drop(site.durable("away"));
    let is_removed = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| drain(reader));
        let anew = scope.spawn(|| {
            wait_for(&is_removed);
            let rx = site.durable("away");
            // the producer continues meanwhile: the consumer starts at a retained event, and gets every later one
            assert!(rx.current_sequence() < FEW as i64);
            drain(rx)
        });
        publish(&mut tx, 0..4);
        assert!(tx.try_publish(|_| {}).is_err());
        tx.remove_consumer("away").unwrap();
        is_removed.store(true, Ordering::Relaxed);
        publish(&mut tx, 4..FEW);
        // the consumer has to register before the ring is closed: otherwise it would never start
        while tx.ring_state().consumers.len() < 2 {
            thread::yield_now();
        }
        tx.close().unwrap();
        assert_eq!(reader.join().unwrap(), FEW);
        assert_eq!(anew.join().unwrap(), FEW);
    });
}
