//! The bounds of a wait, whatever its strategy and its settings: the deadline, a token, and the other side's death.
#![cfg(all(target_os = "linux", not(miri)))]

use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, CoordinationMode, Deadline, DisruptorBuilder, Heap, HeapRing,
    MultiProcessError, Producer, RecvError, SendError, SharedMemory, attach_shared_consumer,
    build_shared_single_producer, portable_shm_segment_name, subscribe_within,
};

/// Nothing here takes as long as this.
const LONG: Duration = Duration::from_secs(3600);
/// Long enough for a thread to have fallen asleep.
const NAP: Duration = Duration::from_millis(20);
const PROMPT: Duration = Duration::from_secs(60);

fn assert_prompt(start: Instant) {
    assert!(start.elapsed() < PROMPT, "only after {:?}", start.elapsed());
}

/// Drops a producer by a panic, which leaves its ring as a death would.
fn die(tx: Producer<u64, Heap>) {
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
}

fn sleeping(ring: &HeapRing<u64>) -> DisruptorBuilder<u64, Heap> {
    let builder = ring.builder();
    builder.with_wait_strategy(AutoWaitStrategy::Sleep(LONG))
}

#[test]
fn a_long_sleep_is_no_longer_than_a_token_lets_it() {
    let ring = HeapRing::<u64>::new(1).expect("a ring");
    let token = CancelToken::new();
    let build = || {
        sleeping(&ring)
            .with_liveness_interval(LONG)
            .with_cancel_token(&token)
    };
    let mut tx = build().build_zeroed_producer().expect("a producer");
    let _holds_back = ring.consumer("idle").expect("a consumer");
    tx.publish_value(0);
    let mut rx = build().build_consumer().expect("a consumer");
    assert!(rx.try_consume_next().is_some());
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(|| tx.send(Deadline::NEVER, |_| {}));
        let receiving = scope.spawn(|| rx.recv(Deadline::NEVER).map(|_| ()));
        thread::sleep(NAP);
        token.cancel();
        let sent = sending.join().expect("the producer's thread");
        let received = receiving.join().expect("the consumer's thread");
        assert_eq!(sent, Err(SendError::Cancelled));
        assert_eq!(received, Err(RecvError::Cancelled));
    });
    assert_prompt(start);
}

#[test]
fn a_long_sleep_is_no_longer_than_the_liveness_interval() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let tx = ring.producer().expect("a producer");
    let mut rx = sleeping(&ring).build_consumer().expect("a consumer");
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(NAP);
            die(tx);
        });
        let end = rx.recv(Deadline::NEVER).map(|_| ());
        assert!(matches!(end, Err(RecvError::ProducerDead { .. })));
    });
    assert_prompt(start);
}

#[test]
fn an_interval_beyond_all_clocks_is_never() {
    let strategies = [
        AutoWaitStrategy::Block,
        AutoWaitStrategy::BusySpin,
        AutoWaitStrategy::Sleep(Duration::from_millis(1)),
    ];
    let soon = || Deadline::after(Duration::from_millis(5));
    for strategy in strategies {
        let ring = HeapRing::<u64>::new(1).expect("a ring");
        let builder = || {
            let builder = ring.builder().with_wait_strategy(strategy);
            builder.with_liveness_interval(Duration::MAX)
        };
        let mut tx = builder().build_zeroed_producer().expect("a producer");
        let mut rx = builder().build_consumer().expect("a consumer");
        assert_eq!(rx.recv(soon()).unwrap_err(), RecvError::Timeout);
        for _ in 0..3 {
            assert!(rx.try_recv().expect("alive").is_none());
        }
        tx.publish_value(7);
        assert!(tx.send(soon(), |_| {}).is_err(), "it is full");
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1));
            assert!(tx.try_publish(|_| {}).is_err(), "it is full");
        }
    }
}

#[test]
fn a_token_ends_the_wait_for_a_ring() {
    let name = portable_shm_segment_name("test");
    let token = CancelToken::new();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(NAP);
            token.cancel();
        });
        let waiting = attach_shared_consumer::<u64>(&name, 8)
            .with_cancel_token(&token)
            .wait_for_ring(LONG);
        let error = waiting.build_consumer().expect_err("nobody made it");
        assert!(
            matches!(error, MultiProcessError::CoordinationCancelled { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(&name), "{error}");
    });
    assert_prompt(start);
}

#[test]
fn a_ring_that_comes_late_is_found() {
    let name = portable_shm_segment_name("test");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| subscribe_within::<u64>(&name, PROMPT));
        thread::sleep(NAP);
        let builder: DisruptorBuilder<u64, SharedMemory> = build_shared_single_producer(&name, 8);
        let mut tx = builder.build_zeroed_producer().expect("a producer");
        tx.publish_value(7);
        let rx = waiting.join().expect("thread").expect("it has come");
        assert_eq!(rx.peek(), Some(&7));
        tx.destroy().expect("destroyed");
    });
    let start = Instant::now();
    let error = subscribe_within::<u64>(&name, NAP).expect_err("it has gone");
    assert!(matches!(error, MultiProcessError::NotFound { .. }));
    assert!(start.elapsed() >= NAP);
}

/// A coordination has its own timeout, and the one that overrides it.
#[test]
fn the_coordination_timeout_is_the_one_that_was_set_last() {
    let wait = |timeout: Duration, overridden: Option<Duration>| {
        let ring = HeapRing::<u64>::new(8).expect("a ring");
        let builder = ring.builder().with_liveness_interval(LONG);
        let builder = builder.with_coordination(CoordinationMode::WaitForConsumers {
            min_consumers: 1,
            timeout,
        });
        let builder = match overridden {
            Some(overridden) => builder.with_coordination_timeout(overridden),
            None => builder,
        };
        let start = Instant::now();
        match builder.build_zeroed_producer().expect_err("nobody came") {
            MultiProcessError::CoordinationTimeout { waited, .. } => (waited, start.elapsed()),
            other => panic!("{other}"),
        }
    };
    // much longer than the short timeout, and short enough to fail soon
    let bound = Duration::from_secs(20);
    for (timeout, overridden, expected) in [
        (NAP, None, NAP),
        (bound, Some(NAP), NAP),
        (NAP, Some(2 * NAP), 2 * NAP),
    ] {
        let (waited, took) = wait(timeout, overridden);
        assert_eq!(waited, expected);
        assert!((expected..bound).contains(&took), "{expected:?}: {took:?}");
    }
}

/// A nap ends at the deadline, however long it is set: otherwise each wait would take a tenth of a second.
#[test]
fn a_long_sleep_is_no_longer_than_the_deadline() {
    let ring = HeapRing::<u64>::new(1).expect("a ring");
    let build = || sleeping(&ring).with_liveness_interval(LONG);
    let mut tx = build().build_zeroed_producer().expect("a producer");
    let mut rx = build().build_consumer().expect("a consumer");
    let soon = || Deadline::after(Duration::from_millis(1));
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(rx.recv(soon()).unwrap_err(), RecvError::Timeout);
    }
    tx.publish_value(0);
    for _ in 0..200 {
        let sent = tx.send(soon(), |_| {});
        assert!(matches!(sent, Err(SendError::Timeout { .. })));
    }
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "{took:?} for 400 milliseconds"
    );
}
