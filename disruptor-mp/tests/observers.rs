//! Observers: they hold up no other party, see no torn event, and are told what they missed.

use std::thread;

use disruptor_mp::{Deadline, Event, HeapRing, MultiProcessError, Observer, RecvError, StartFrom};
#[cfg(not(miri))]
use disruptor_mp::{build_shared_single_producer, observer, portable_shm_segment_name, publisher};

/// An event whose words belong together, and whose size is not a multiple of eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Event)]
#[repr(C)]
struct Odd {
    words: [u32; 3],
}

impl Odd {
    fn of(number: u32) -> Self {
        let words = [number, number ^ 0x5555_5555, number.wrapping_mul(7)];
        Self { words }
    }
}

const EVENTS: u32 = if cfg!(miri) { 60 } else { 300_000 };

/// Receives until the end; returns how many events were seen and how many were missed.
fn drain<B>(rx: &mut Observer<Odd, B>) -> (u64, u64) {
    let (mut seen, mut missed, mut next) = (0, 0, rx.next_sequence());
    loop {
        match rx.recv(Deadline::NEVER) {
            Ok((sequence, event)) => {
                assert_eq!(sequence, next, "a gap that was not told");
                assert_eq!(event, Odd::of(sequence as u32), "torn or foreign");
                seen += 1;
                next += 1;
            }
            Err(RecvError::Lagged(count)) => {
                assert!(count > 0);
                missed += count;
                next += count as i64;
            }
            Err(end) => {
                assert_eq!(end, RecvError::Closed);
                return (seen, missed);
            }
        }
    }
}

#[test]
fn a_running_producer_and_two_observers() {
    for capacity in [1, 2, 64] {
        let ring = HeapRing::<Odd>::with_observers(capacity).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        thread::scope(|scope| {
            for _ in 0..2 {
                let mut rx = ring.observer().expect("an observer");
                scope.spawn(move || {
                    let (seen, missed) = drain(&mut rx);
                    assert_eq!(seen + missed, u64::from(EVENTS));
                });
            }
            for number in 0..EVENTS {
                // no consumer gates, so that there is always space
                match number % 3 {
                    0 => assert!(tx.try_publish(|event| *event = Odd::of(number)).is_ok()),
                    1 => {
                        let mut claim = tx.try_claim().expect("space");
                        *claim = Odd::of(number);
                        claim.publish();
                    }
                    _ => tx.publish_value(Odd::of(number)),
                }
            }
            tx.close().expect("closed");
        });
    }
}

#[test]
fn batches_come_whole_and_beside_a_strict_consumer() {
    let ring = HeapRing::<Odd>::with_observers(16).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut strict = ring.consumer("strict").expect("a consumer");
    let mut rx = ring.observer().expect("an observer");
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0;
            while let Ok(event) = strict.recv(Deadline::NEVER) {
                assert_eq!(*event, Odd::of(next));
                next += 1;
            }
            assert_eq!(next, EVENTS / 5 * 5);
        });
        scope.spawn(move || {
            let (seen, missed) = drain(&mut rx);
            assert_eq!(seen + missed, u64::from(EVENTS / 5 * 5));
        });
        for batch in 0..EVENTS / 5 {
            tx.publish_batch(5, |event, index| *event = Odd::of(batch * 5 + index as u32));
        }
        tx.close().expect("closed");
    });
}

#[test]
fn lag_is_told_and_the_middle_comes_next() {
    let ring = HeapRing::<u64>::with_observers(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = ring.observer().expect("an observer");
    for event in 0..20 {
        tx.publish_value(event);
    }
    // the newest event is 19, so that the next one is 19 − 8/2
    assert_eq!(rx.try_recv(), Err(RecvError::Lagged(15)));
    let rest: Vec<_> = std::iter::from_fn(|| rx.try_recv().expect("no end")).collect();
    assert_eq!(rest, [(15, 15), (16, 16), (17, 17), (18, 18), (19, 19)]);
}

#[test]
fn starts_where_it_is_told() {
    let ring = HeapRing::<u64>::with_observers(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    for event in 0..5 {
        tx.publish_value(event);
    }
    let start = |from| ring.builder().with_start(from).build_observer();
    let next = |from| start(from).expect("an observer").next_sequence();
    assert_eq!(next(StartFrom::Oldest), 0);
    assert_eq!(next(StartFrom::Latest), 5);
    assert_eq!(next(StartFrom::Sequence(3)), 3);
    let error = start(StartFrom::Sequence(7)).expect_err("not there yet");
    assert!(
        matches!(
            error,
            MultiProcessError::SequenceNotRetained { newest: 4, .. }
        ),
        "{error}"
    );
}

/// A batch whose writer panics takes its stamps back, in slots that held older events: those events are
/// missed. Later events are seen, and the end is reported.
#[test]
fn what_a_batch_took_back_is_missed_and_the_rest_is_seen() {
    let ring = HeapRing::<u64>::with_observers(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let builder = ring.builder().with_start(StartFrom::Oldest);
    let mut rx = builder.build_observer().expect("an observer");
    tx.publish_batch(8, |event, index| *event = index as u64);
    let torn = std::panic::AssertUnwindSafe(|| {
        tx.publish_batch(8, |event, index| match index {
            5 => std::panic::resume_unwind(Box::new("on purpose")),
            _ => *event = 8 + index as u64,
        })
    });
    assert!(std::panic::catch_unwind(torn).is_err());
    tx.close().expect("closed");
    let (mut seen, mut missed) = (Vec::new(), 0);
    loop {
        match rx.try_recv() {
            Ok(Some(event)) => seen.push(event),
            Err(RecvError::Lagged(count)) => missed += count,
            end => {
                assert_eq!(end, Err(RecvError::Closed), "{seen:?} and {missed} missed");
                break;
            }
        }
    }
    // slot 0 is marked busy; slots 1 to 5 have no stamp
    assert_eq!((seen, missed), (vec![(6, 6), (7, 7)], 6));
    assert_eq!(rx.recv(Deadline::NEVER), Err(RecvError::Closed));
}

#[cfg(not(miri))]
#[test]
fn a_ring_without_observers_refuses_them() {
    let name = portable_shm_segment_name("test");
    let tx = publisher::<u64>(&name, 8).expect("a producer");
    let text = observer::<u64>(&name).expect_err("refused").to_string();
    assert!(
        text.contains("with_observers()") && text.contains("one without observers"),
        "{text}"
    );
    tx.destroy().expect("gone");
    let heap = HeapRing::<u64>::new(8).expect("a ring");
    assert!(heap.observer().is_err());
}

#[cfg(not(miri))]
#[test]
fn a_successor_keeps_the_observers_and_they_learn_of_it() {
    let name = portable_shm_segment_name("test");
    let builder = || build_shared_single_producer::<u64>(&name, 8);
    let mut tx = builder()
        .with_observers()
        .build_zeroed_producer()
        .expect("a producer");
    let mut rx = observer::<u64>(&name).expect("an observer");
    tx.publish_value(0);
    assert_eq!(rx.try_recv(), Ok(Some((0, 0))));
    assert_eq!(rx.epoch(), 0);
    // a panic leaves the ring as a death would
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
    let end = rx.recv(Deadline::NEVER).unwrap_err();
    assert!(matches!(end, RecvError::ProducerDead { .. }), "{end}");
    // a successor need not know that the ring has observers
    let mut successor = builder().build_zeroed_producer().expect("a successor");
    successor.publish_value(1);
    assert_eq!(rx.recv(Deadline::NEVER), Ok((1, 1)));
    assert_eq!(rx.epoch(), 1);
    successor.close().expect("closed");
    assert_eq!(rx.recv(Deadline::NEVER), Err(RecvError::Closed));
}
