//! Asynchronous receiving: no wake-up is lost, none comes from a timeout, and a dropped future loses no event.
#![cfg(all(feature = "tokio", target_os = "linux", not(miri)))]

use std::time::{Duration, Instant};

use disruptor_mp::{AsyncConsumer, CancelToken, Heap, HeapRing, RecvError};
use tokio::time::timeout;

const INTERVAL: Duration = Duration::from_secs(60);

fn consumer(ring: &HeapRing<u64>) -> AsyncConsumer<u64, Heap> {
    let builder = ring.builder().with_liveness_interval(INTERVAL);
    AsyncConsumer::new(builder.build_consumer().expect("a consumer")).expect("a descriptor")
}

#[tokio::test]
async fn events_that_come_one_by_one_wake_the_task() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut rx = consumer(&ring);
    let mut tx = ring.producer().expect("a producer");
    let start = Instant::now();
    let sender = std::thread::spawn(move || {
        for event in 0..200 {
            // some events find the task awake, others asleep
            std::thread::sleep(Duration::from_micros(event % 7 * 100));
            tx.publish_value(event);
        }
        tx.close()
    });
    for expected in 0..200 {
        assert_eq!(*rx.recv().await.expect("an event"), expected);
    }
    assert_eq!(rx.recv().await.unwrap_err(), RecvError::Closed);
    sender.join().expect("thread").expect("closed");
    assert!(start.elapsed() < INTERVAL / 2, "the clock woke it");
}

#[tokio::test]
async fn a_future_that_is_dropped_takes_no_event_along() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let (mut tx, mut rx) = (ring.producer().expect("a producer"), consumer(&ring));
    for event in 0..20 {
        // the task waits, and then the future is dropped
        let given_up = timeout(Duration::from_millis(2), rx.recv()).await.is_err();
        assert!(given_up, "nothing has come");
        tx.publish_value(event);
        // an event that was not taken is still there for the next call
        assert_eq!(*rx.recv().await.expect("an event"), event);
    }
}

#[tokio::test]
async fn two_tasks_on_one_thread_share_it() {
    let (there, back) = (
        HeapRing::<u64>::new(8).expect("a ring"),
        HeapRing::<u64>::new(8).expect("a ring"),
    );
    let (mut there_tx, mut back_tx) = (
        there.producer().expect("a producer"),
        back.producer().expect("a producer"),
    );
    let (mut there_rx, mut back_rx) = (consumer(&there), consumer(&back));
    let echo = async {
        for _ in 0..50 {
            let event = *there_rx.recv().await.expect("an event");
            back_tx.publish_value(event + 1);
        }
    };
    let ask = async {
        for event in 0..50 {
            there_tx.publish_value(event);
            assert_eq!(*back_rx.recv().await.expect("an event"), event + 1);
        }
    };
    timeout(INTERVAL, async { tokio::join!(echo, ask) })
        .await
        .expect("in time");
}

#[tokio::test]
async fn the_producers_death_is_told() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let interval = Duration::from_millis(5);
    let builder = ring.builder().with_liveness_interval(interval);
    let mut rx =
        AsyncConsumer::new(builder.build_consumer().expect("a consumer")).expect("a descriptor");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_value(7);
    let dead = std::thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
    assert_eq!(*rx.recv().await.expect("drained first"), 7);
    let end = rx.recv().await.unwrap_err();
    assert!(matches!(end, RecvError::ProducerDead { .. }), "{end}");
    let mut successor = ring.producer().expect("a successor");
    successor.publish_value(8);
    assert_eq!(*rx.recv().await.expect("an event"), 8);
}

#[tokio::test]
async fn a_token_ends_the_wait() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let token = CancelToken::new();
    let builder = ring.builder().with_liveness_interval(INTERVAL);
    let rx = builder.with_cancel_token(&token).build_consumer();
    let mut rx = AsyncConsumer::new(rx.expect("a consumer")).expect("a descriptor");
    let start = Instant::now();
    let canceller = std::thread::spawn(move || {
        // the task has gone to sleep by then
        std::thread::sleep(Duration::from_millis(20));
        token.cancel();
    });
    let end = timeout(INTERVAL / 2, rx.recv()).await.expect("in time");
    assert_eq!(end.unwrap_err(), RecvError::Cancelled);
    assert!(start.elapsed() < INTERVAL / 2, "the clock woke it");
    canceller.join().expect("thread");
    // the token stays cancelled, and published events still come
    tx.publish_value(7);
    assert_eq!(*rx.recv().await.expect("an event"), 7);
    assert_eq!(rx.recv().await.unwrap_err(), RecvError::Cancelled);
}
