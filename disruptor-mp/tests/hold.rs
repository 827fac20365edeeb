//! Held events: none is released before the consumer releases it, whatever the consumer reads meanwhile.

use std::thread;
use std::time::Duration;

use disruptor_mp::{Consumer, Deadline, Event, Heap, HeapRing, Producer};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A full ring with the events 0, 1, 2, …
fn full(capacity: usize) -> Result<(Producer<u64, Heap>, Consumer<u64, Heap>)> {
    let ring = HeapRing::<u64>::new(capacity)?;
    let (mut tx, rx) = (ring.producer()?, ring.consumer("reader")?);
    tx.publish_batch(capacity, |event, i| *event = i as u64);
    Ok((tx, rx))
}

fn hold<E: Event>(rx: &mut Consumer<E, Heap>, count: usize) -> Result {
    for _ in 0..count {
        rx.recv(Deadline::NEVER)?.hold();
    }
    Ok(())
}

#[test]
fn held_events_are_readable_and_gate() -> Result {
    let (mut tx, mut rx) = full(4)?;
    hold(&mut rx, 3)?;
    let held: Vec<_> = (0..5).map(|i| rx.held(i).copied()).collect();
    assert_eq!(held, [Some(0), Some(1), Some(2), None, None]);
    assert_eq!((rx.held_count(), rx.current_sequence()), (3, -1));
    assert!(tx.try_publish(|_| {}).is_err(), "nothing was released");
    rx.release_held(2);
    assert_eq!(
        (rx.held_count(), rx.held(0), rx.current_sequence()),
        (1, Some(&2), 1)
    );
    assert!(tx.try_batch_publish(2, |_, _| {}).is_ok());
    assert!(tx.try_publish(|_| {}).is_err(), "the third one is held");
    rx.release_held(usize::MAX);
    assert_eq!((rx.held_count(), rx.held(0)), (0, None));
    assert_eq!(rx.try_consume_next(), Some((3, 3)));
    Ok(())
}

#[test]
fn a_later_event_releases_what_is_held() -> Result {
    let (mut tx, mut rx) = full(4)?;
    hold(&mut rx, 2)?;
    assert_eq!(rx.try_consume_next(), Some((2, 2)));
    assert_eq!((rx.held_count(), rx.held(0)), (0, None));
    assert!(tx.is_consumed(2));
    hold(&mut rx, 1)?;
    assert_eq!((rx.held_count(), rx.held(0)), (1, Some(&3)));
    Ok(())
}

#[test]
fn held_events_come_again() -> Result {
    let (_tx, mut rx) = full(4)?;
    hold(&mut rx, 3)?;
    rx.release_held(1);
    rx.redeliver_held();
    assert_eq!(rx.held_count(), 0);
    assert_eq!(rx.try_consume_next(), Some((1, 1)));
    rx.redeliver_held();
    assert_eq!(rx.try_consume_next(), Some((2, 2)), "nothing was held");
    Ok(())
}

/// A consumer that died continues at the first event that it had not released.
#[test]
fn a_successor_gets_what_was_held() -> Result {
    let ring = HeapRing::<u64>::new(4)?;
    let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    tx.publish_batch(4, |event, i| *event = i as u64);
    hold(&mut rx, 3)?;
    rx.release_held(1);
    drop(rx);
    assert_eq!(ring.consumer("reader")?.try_consume_next(), Some((1, 1)));
    Ok(())
}

/// The producer sleeps until a quarter of the ring is free. The consumer has released less, and waits for
/// more. Without a wake-up, each would wait for the other until the next liveness check.
#[test]
fn a_consumer_that_waits_while_it_holds_lets_the_producer_go_on() -> Result {
    let ring = HeapRing::<u64>::new(64)?;
    let patient = Duration::from_secs(30);
    let mut tx = ring
        .builder()
        .with_liveness_interval(patient)
        .build_producer(|| 0)?;
    let mut rx = ring
        .builder()
        .with_consumer_id("reader")
        .with_liveness_interval(patient)
        .build_consumer()?;
    tx.publish_batch(64, |event, i| *event = i as u64);
    let sender = thread::spawn(move || {
        tx.send(Deadline::after(patient), |event| *event = 64)
            .map(|_| tx)
    });
    // the producer has gone to sleep by then, or finds the space by itself
    thread::sleep(Duration::from_millis(50));
    assert_eq!(rx.try_consume_next(), Some((0, 0)));
    hold(&mut rx, 63)?;
    assert_eq!(*rx.recv(Deadline::after(patient / 3))?, 64);
    sender.join().expect("the sender")?;
    Ok(())
}

/// No event of the burst was handled: neither the event nor the events held before it are released.
#[test]
fn a_panic_on_the_first_event_of_a_burst_releases_nothing_that_is_held() -> Result {
    let (tx, mut rx) = full(4)?;
    hold(&mut rx, 2)?;
    let mut burst = |fails_at: i64| {
        let handle = std::panic::AssertUnwindSafe(|| {
            rx.process_available(|_, sequence| {
                if sequence == fails_at {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            })
        });
        assert!(std::panic::catch_unwind(handle).is_err());
        (rx.held_count(), rx.held(0).copied(), rx.current_sequence())
    };
    assert_eq!(burst(2), (2, Some(0), -1));
    assert_eq!(tx.consumer_sequence("reader"), Some(-1));
    // a later event was handled, which releases the held events as well
    assert_eq!(burst(3), (0, None, 2));
    assert_eq!(rx.try_consume_next(), Some((3, 3)));
    Ok(())
}
