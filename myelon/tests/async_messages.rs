//! Receiving messages and values in tasks: none is lost, whole or in parts, and each end is told.
#![cfg(all(feature = "tokio", feature = "bincode", target_os = "linux", not(miri)))]

use std::future::poll_fn;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use futures_core::Stream;
use myelon::codec::Bincode;
use myelon::transport::FixedFrame;
use myelon::{
    AsyncTypedConsumer, CancelToken, Deadline, Heap, HeapRing, RecvError, TypedConsumer,
    TypedProducer, TypedRecvError,
};
use tokio::time::timeout;

type Frame = FixedFrame<32>;
type Result = std::result::Result<(), Box<dyn std::error::Error>>;

/// The clock wakes nobody within a test.
const INTERVAL: Duration = Duration::from_secs(60);

fn ring() -> HeapRing<Frame> {
    HeapRing::new(8).expect("a ring")
}

fn receiver(ring: &HeapRing<Frame>) -> AsyncTypedConsumer<Frame, Heap> {
    let builder = ring.builder().with_liveness_interval(INTERVAL);
    let rx = TypedConsumer::from_builder(builder).expect("a consumer");
    AsyncTypedConsumer::new(rx).expect("a descriptor")
}

fn sender(ring: &HeapRing<Frame>) -> TypedProducer<Frame, Heap> {
    TypedProducer::from_builder(ring.builder()).expect("a producer")
}

/// Message `number`: every third one takes several frames, and some more than the ring has.
fn message(number: usize) -> Vec<u8> {
    let len = match number % 3 {
        0 => 10 + number * 7,
        _ => number % 20,
    };
    vec![number as u8; len]
}

#[tokio::test]
async fn messages_of_any_length_wake_the_task() -> Result {
    let ring = ring();
    let mut rx = receiver(&ring);
    let mut tx = sender(&ring);
    let start = Instant::now();
    let sending = thread::spawn(move || {
        for number in 0..100 {
            // some find the task awake, others asleep
            thread::sleep(Duration::from_micros(number as u64 % 7 * 100));
            let sent = tx
                .raw()
                .send(&message(number), number as u8, Deadline::NEVER);
            sent.expect("sent");
        }
        tx.close()
    });
    for number in 0..100 {
        let received = rx.recv_raw().await?;
        assert_eq!(
            (received.kind(), &*received),
            (number as u8, &*message(number))
        );
    }
    assert_eq!(rx.recv_raw().await.unwrap_err(), RecvError::Closed);
    sending.join().expect("thread")?;
    assert!(start.elapsed() < INTERVAL / 2, "the clock woke it");
    Ok(())
}

/// Also of a message of which a part has come, and of one that was returned.
#[tokio::test]
async fn a_future_that_is_dropped_takes_no_message_along() -> Result {
    let ring = ring();
    let (mut tx, mut rx) = (sender(&ring), receiver(&ring));
    for number in 0..20 {
        let is_there = timeout(Duration::from_millis(2), rx.recv_raw())
            .await
            .is_ok();
        assert!(!is_there, "nothing has come");
        // longer than the ring: it is sent while it is received
        let whole = vec![number; 32 * 12];
        let sending = thread::spawn({
            let whole = whole.clone();
            move || {
                tx.raw().send(&whole, 1, Deadline::NEVER).expect("sent");
                tx
            }
        });
        // futures that are dropped, some of them in the middle of the message
        loop {
            let waiting = timeout(Duration::from_micros(50), rx.recv_raw());
            if let Ok(received) = waiting.await {
                received?.release_uncommitted();
                break;
            }
        }
        assert_eq!(*rx.recv_raw().await?, whole);
        tx = sending.join().expect("thread");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_no_such_value_is_dropped() -> Result {
    let ring = ring();
    let (mut tx, mut rx) = (sender(&ring), receiver(&ring));
    tx.raw().send(b"", 1, Deadline::NEVER)?;
    tx.send(&Bincode(7_u64), 2, Deadline::NEVER)?;
    let error = rx.recv::<Bincode<u64>>().await.unwrap_err();
    assert!(matches!(error, TypedRecvError::Decode(_)), "{error}");
    let (kind, value) = rx.recv::<Bincode<u64>>().await?;
    assert_eq!((kind, value.into_inner()), (2, 7));
    Ok(())
}

#[tokio::test]
async fn a_death_and_a_token_end_the_wait() -> Result {
    let ring = ring();
    let interval = Duration::from_millis(5);
    let token = CancelToken::new();
    let builder = ring.builder().with_liveness_interval(interval);
    let rx = TypedConsumer::from_builder(builder.with_cancel_token(&token))?;
    let mut rx = AsyncTypedConsumer::new(rx)?;
    let mut tx = sender(&ring);
    tx.raw().send(b"last", 1, Deadline::NEVER)?;
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
    assert_eq!(*rx.recv_raw().await?, *b"last");
    let end = rx.recv_raw().await.unwrap_err();
    assert!(matches!(end, RecvError::ProducerDead { .. }), "{end}");
    let mut tx = sender(&ring);
    tx.raw().send(b"of a successor", 1, Deadline::NEVER)?;
    assert_eq!(*rx.recv_raw().await?, *b"of a successor");
    let canceller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        token.cancel();
    });
    let end = timeout(INTERVAL / 2, rx.recv_raw()).await?;
    assert_eq!(end.unwrap_err(), RecvError::Cancelled);
    canceller.join().expect("thread");
    Ok(())
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Of any length, some while the task waits, and with a message among them that is no such value.
#[tokio::test]
async fn values_come_as_a_stream() -> Result {
    const VALUES: u64 = 50;
    let ring = ring();
    let (mut tx, mut rx) = (sender(&ring), receiver(&ring));
    let start = Instant::now();
    let sending = thread::spawn(move || {
        for number in 0..VALUES {
            thread::sleep(Duration::from_micros(number % 7 * 100));
            let numbers = Bincode(vec![number; number as usize]);
            tx.send(&numbers, 1, Deadline::NEVER).expect("sent");
            tx.raw().send(b"", 2, Deadline::NEVER).expect("sent");
        }
        tx.close()
    });
    let mut values = rx.values::<Bincode<Vec<u64>>>();
    for number in 0..VALUES {
        // futures that are dropped take nothing along
        let received = loop {
            if let Ok(received) = timeout(Duration::from_micros(100), next(&mut values)).await {
                break received.expect("it goes on");
            }
        };
        assert_eq!(received?, (1, Bincode(vec![number; number as usize])));
        let received = next(&mut values).await.expect("it goes on");
        assert!(
            matches!(&received, Err(TypedRecvError::Decode(error)) if error.kind == 2),
            "{received:?}"
        );
    }
    for _ in 0..2 {
        assert!(next(&mut values).await.is_none(), "the ring is closed");
    }
    sending.join().expect("thread")?;
    assert!(start.elapsed() < INTERVAL / 2, "the clock woke it");
    Ok(())
}

#[tokio::test]
async fn a_stream_of_values_ends_with_its_producer_and_the_next_one_has_the_successor() -> Result {
    let ring = ring();
    let interval = Duration::from_millis(5);
    let builder = ring.builder().with_liveness_interval(interval);
    let mut rx = AsyncTypedConsumer::new(TypedConsumer::from_builder(builder)?)?;
    for number in 0..3 {
        let mut tx = sender(&ring);
        tx.send(&Bincode(number), 1, Deadline::NEVER)?;
        let dead = thread::spawn(move || {
            let _tx = tx;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(dead.join().is_err());
        let mut values = rx.values::<Bincode<u64>>();
        let value = next(&mut values).await.expect("a value")?;
        assert_eq!(value, (1, Bincode(number)));
        let end = next(&mut values).await.expect("it is told");
        let is_death = |error: &_| matches!(error, RecvError::ProducerDead { .. });
        assert!(
            matches!(&end, Err(TypedRecvError::Recv(error)) if is_death(error)),
            "{end:?}"
        );
        assert!(next(&mut values).await.is_none());
    }
    Ok(())
}
