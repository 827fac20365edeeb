//! Streams from one thread to others, with every way to publish and to receive.

use std::thread;

use disruptor_mp::{Consumer, Producer, RecvError};

use super::{CAPACITIES, EVENTS, Sample, Site, drain, patience};

fn stream<S: Site>(readers: usize, batch: usize, capacities: &[usize]) {
    for &capacity in capacities {
        let site = S::new(capacity);
        let mut tx = site.producer();
        let batch = batch.min(capacity) as u64;
        let guests: Vec<_> = (0..readers).map(|_| site.guest()).collect();
        thread::scope(|scope| {
            let readers: Vec<_> = guests
                .into_iter()
                .map(|rx| scope.spawn(|| drain(rx)))
                .collect();
            // fewer events for more readers: the machine may have only two cores
            let events = if capacity < 64 { EVENTS } else { 10 * EVENTS };
            let events = events / readers.len() as u64;
            for first in (0..events / batch).map(|i| i * batch) {
                tx.publish_batch(batch as usize, |slot, index| {
                    *slot = Sample::new(first + index as u64)
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

pub(crate) fn one_to_one<S: Site>() {
    stream::<S>(1, 1, CAPACITIES);
}

pub(crate) fn one_to_one_in_batches<S: Site>() {
    stream::<S>(1, 3, CAPACITIES);
}

/// As in batches, for events whose slots have other shapes.
pub(crate) fn slots_of_other_shapes<S: Site>() {
    stream::<S>(1, 3, &[4]);
}

pub(crate) fn one_to_three<S: Site>() {
    stream::<S>(3, 1, CAPACITIES);
}

/// Publishes some events from `next` on, in a different way each turn, and returns how many.
fn put<E: Sample, B>(tx: &mut Producer<E, B>, next: u64, turn: u64) -> u64 {
    let write = |slot: &mut E| *slot = E::new(next);
    let nth = |slot: &mut E, index: usize| *slot = E::new(next + index as u64);
    let size = turn % tx.capacity() as u64 + 1;
    match turn % 7 {
        0 => tx.publish(write),
        1 => {
            let mut claim = tx.claim(patience()).unwrap();
            *claim = E::new(next);
            claim.publish();
        }
        2 => {
            // no reader sees what an abandoned claim wrote
            *tx.claim(patience()).unwrap() = E::new(!next);
            return 0;
        }
        3 => return u64::from(tx.try_publish(write).is_ok()),
        4 => {
            tx.send_batch(size as usize, patience(), nth).unwrap();
            return size;
        }
        5 => {
            let outcome = tx.try_batch_publish(size as usize, nth);
            return outcome.map_or(0, |_| size);
        }
        _ => tx.publish_value(E::new(next)),
    }
    1
}

/// Receives some events from `next` on, in a different way each turn, and returns how many; `None` at the end
/// of the ring.
fn take<E: Sample, B>(rx: &mut Consumer<E, B>, next: u64, turn: u64) -> Option<u64> {
    match turn % 5 {
        0 => match rx.recv(patience()) {
            Ok(event) => event.check(next),
            Err(RecvError::Closed) => return None,
            Err(error) => panic!("{error}"),
        },
        1 => match rx.process_within(patience(), |event, sequence, _| {
            event.check(sequence as u64)
        }) {
            Ok(count) => return Some(count as u64),
            Err(RecvError::Closed) => return None,
            Err(error) => panic!("{error}"),
        },
        2 => {
            let count = rx.process_available(|event, sequence| event.check(sequence as u64));
            return Some(count as u64);
        }
        3 => match rx.try_consume_next() {
            Some((_, event)) => event.check(next),
            None => return Some(0),
        },
        _ => match rx.try_consume_next_leased() {
            Some(lease) => lease.check(next),
            None => return Some(0),
        },
    }
    Some(1)
}

/// Two readers: each event comes whole and once, however it is published and received.
pub(crate) fn every_way_to_publish_and_to_receive<S: Site>() {
    for &capacity in CAPACITIES {
        let site = S::new(capacity);
        let mut tx = site.producer();
        let guests = [site.guest(), site.guest()];
        thread::scope(|scope| {
            let readers = guests.map(|mut rx| {
                scope.spawn(move || {
                    let (mut next, mut turn) = (0, 0);
                    while let Some(count) = take(&mut rx, next, turn) {
                        next += count;
                        turn += 1;
                    }
                    next
                })
            });
            let (mut next, mut turn) = (0, 0);
            while next < EVENTS / 2 {
                next += put(&mut tx, next, turn);
                turn += 1;
            }
            tx.close().unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), next);
            }
        });
    }
}
