//! Threads on a ring on the heap: the memory model of the machine, or of Miri, which runs the same at fewer events.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use disruptor_mp::{AutoWaitStrategy, Consumer, Deadline, Event, Heap, HeapRing, RecvError};

const EVENTS: u64 = if cfg!(miri) { 24 } else { 200_000 };
const CAPACITIES: &[usize] = if cfg!(miri) {
    &[1, 4]
} else {
    &[1, 2, 64, 1024]
};

/// Several words, so that a torn event shows.
#[derive(Clone, Copy, Default, Event)]
#[repr(C)]
struct Wide {
    number: u64,
    words: [u64; 9],
}

impl Wide {
    fn new(number: u64) -> Self {
        Self {
            number,
            words: [!number; 9],
        }
    }

    fn check(&self, number: u64) {
        assert_eq!(self.number, number);
        assert_eq!(self.words, [!number; 9]);
    }
}

fn consumer(ring: &HeapRing<Wide>) -> Consumer<Wide, Heap> {
    ring.builder()
        .with_wait_strategy(AutoWaitStrategy::SpinThenYield { spins: 0 })
        .build_consumer()
        .unwrap()
}

/// Reads to the end; each event is the one that follows.
fn drain(mut rx: Consumer<Wide, Heap>) -> u64 {
    let mut next = (rx.current_sequence() + 1) as u64;
    loop {
        match rx.recv(Deadline::NEVER) {
            Ok(event) => event.check(next),
            Err(RecvError::Closed) => return next,
            Err(error) => panic!("{error}"),
        }
        next += 1;
    }
}

fn stream(consumers: usize, batch: usize) {
    for &capacity in CAPACITIES {
        let ring = HeapRing::<Wide>::new(capacity).unwrap();
        let mut tx = ring
            .builder()
            .with_wait_strategy(AutoWaitStrategy::SpinThenYield { spins: 0 })
            .build_zeroed_producer()
            .unwrap();
        let batch = batch.min(capacity) as u64;
        let consumers: Vec<_> = (0..consumers).map(|_| consumer(&ring)).collect();
        thread::scope(|scope| {
            let readers: Vec<_> = consumers
                .into_iter()
                .map(|rx| scope.spawn(|| drain(rx)))
                .collect();
            // more readers, fewer events: the machine may have two cores
            let events = EVENTS / readers.len() as u64;
            for first in (0..events / batch).map(|i| i * batch) {
                tx.publish_batch(batch as usize, |slot, index| {
                    *slot = Wide::new(first + index as u64)
                });
            }
            let count = tx.last_published_sequence() as u64 + 1;
            tx.close().unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), count);
            }
        });
    }
}

#[test]
fn one_to_one() {
    stream(1, 1);
}

#[test]
fn one_to_one_in_batches() {
    stream(1, 3);
}

#[test]
fn one_to_three() {
    stream(3, 1);
}

/// Consumers come and go while the producer runs; what each sees has no gap.
#[test]
fn join_and_leave_under_load() {
    for &capacity in CAPACITIES {
        let ring = HeapRing::<Wide>::new(capacity).unwrap();
        let mut tx = ring.producer().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let guests: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut visits = 0;
                        while !is_over.load(Ordering::Relaxed) || visits == 0 {
                            let mut rx = consumer(&ring);
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
                })
                .collect();
            for number in 0..EVENTS / 4 {
                tx.publish_value(Wide::new(number));
            }
            is_over.store(true, Ordering::Relaxed);
            for guest in guests {
                assert!(guest.join().unwrap() > 0);
            }
        });
        assert_eq!(tx.get_consumer_count(), 0);
    }
}

/// A durable consumer comes and goes; all its visits together see every event once.
#[test]
fn durable_consumer_comes_back_under_load() {
    let ring = HeapRing::<Wide>::new(4).unwrap();
    let mut tx = ring.producer().unwrap();
    let mut first = Some(ring.consumer("durable").unwrap());
    let count = EVENTS / 4;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0;
            while next < count {
                let rx = first.take().map(Ok);
                let mut rx = rx.unwrap_or_else(|| ring.consumer("durable")).unwrap();
                assert_eq!(rx.current_sequence() + 1, next as i64);
                for _ in 0..3 {
                    next +=
                        rx.process_available(|event, sequence| event.check(sequence as u64)) as u64;
                    thread::yield_now();
                }
            }
        });
        for number in 0..count {
            tx.publish_value(Wide::new(number));
        }
    });
}

/// A handler that panics has released what came before; the event that it panicked at comes again.
#[test]
fn panics_lose_nothing() {
    let ring = HeapRing::<Wide>::new(8).unwrap();
    let mut tx = ring.producer().unwrap();
    let mut rx = consumer(&ring);
    for number in 0..8 {
        tx.publish_value(Wide::new(number));
    }
    let handler = catch_unwind(AssertUnwindSafe(|| {
        rx.process_available(|_, sequence| assert!(sequence < 3, "on purpose"))
    }));
    assert!(handler.is_err());
    assert_eq!(rx.current_sequence(), 2);
    let lease = catch_unwind(AssertUnwindSafe(|| {
        let _lease = rx.try_consume_next_leased().unwrap();
        panic!("on purpose");
    }));
    assert!(lease.is_err());
    assert_eq!(rx.try_consume_next().unwrap().0, 3);

    let writer = catch_unwind(AssertUnwindSafe(|| tx.publish(|_| panic!("on purpose"))));
    assert!(writer.is_err());
    let batch = catch_unwind(AssertUnwindSafe(|| {
        tx.publish_batch(3, |_, index| assert!(index < 2, "on purpose"))
    }));
    assert!(batch.is_err());
    tx.publish_value(Wide::new(8));
    tx.close().unwrap();
    assert_eq!(drain(rx), 9);
}

/// A producer that dies by a panic is succeeded by another one, and a waiting consumer goes on.
#[test]
fn successor_goes_on() {
    let ring = HeapRing::<Wide>::new(4).unwrap();
    let tx = ring.producer().unwrap();
    let rx = ring.consumer("waits").unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rx = rx;
            for next in 0..EVENTS / 4 {
                rx.consume_next_leased().check(next);
            }
        });
        let died = scope.spawn(|| {
            let mut tx = tx;
            for number in 0..3 {
                tx.publish_value(Wide::new(number));
            }
            panic!("on purpose");
        });
        assert!(died.join().is_err());
        let mut tx = ring.producer().unwrap();
        for number in 3..EVENTS / 4 {
            tx.publish_value(Wide::new(number));
        }
        reader.join().unwrap();
    });
}
