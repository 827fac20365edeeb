//! Messages and values: `create` expects a consumer until one has come, and messages are kept for consumers
//! that come after the producer has ended.
#![cfg(feature = "bincode")]

use myelon::codec::Bincode;
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
use myelon::{
    Deadline, MyelonWaitStrategy, RecvError, TypedConsumer, TypedProducer,
    portable_shm_segment_name,
};

type Frame = FixedFrame<64>;
const DEPTH: usize = 8;

fn attach(name: &str, id: Option<&str>) -> FramedTransportConsumer<Frame> {
    let block = MyelonWaitStrategy::Block;
    match id {
        Some(id) => FramedTransportConsumer::attach_with_consumer_id(name, DEPTH, id, block),
        None => FramedTransportConsumer::attach(name, DEPTH, block),
    }
    .expect("a consumer")
}

#[test]
fn create_fills_the_ring_once_and_waits() {
    let name = portable_shm_segment_name("once");
    let mut tx = FramedTransportProducer::<Frame>::create(&name, DEPTH).expect("a producer");
    let count = (0..100)
        .take_while(|_| tx.try_publish(b"a message", 1).is_ok())
        .count();
    assert_eq!(count, DEPTH);
    let mut rx = attach(&name, None);
    for _ in 0..DEPTH {
        assert_eq!(
            rx.recv_owned(Deadline::NEVER).expect("a message").1,
            b"a message"
        );
    }
    tx.try_publish(b"another", 1).expect("it has come");
    tx.close().expect("closed");

    let mut tx = TypedProducer::<Frame>::create(&name, DEPTH).expect("a producer");
    let count = (0..100_u64)
        .take_while(|value| tx.try_publish(&Bincode(*value), 1).is_ok())
        .count();
    assert_eq!(count, DEPTH);
    let report = tx.close().expect("closed");
    assert_eq!(report.kept_for, ["any consumer"]);
    let mut rx = TypedConsumer::<Frame>::attach(&name, DEPTH, MyelonWaitStrategy::Block)
        .expect("a consumer");
    for value in 0..DEPTH as u64 {
        let received = rx.recv::<Bincode<u64>>(Deadline::NEVER).expect("a value");
        assert_eq!(received, (1, Bincode(value)));
    }
    assert!(rx.recv::<Bincode<u64>>(Deadline::NEVER).is_err());
}

#[test]
fn free_running_lets_early_messages_go() {
    let name = portable_shm_segment_name("free");
    let tx = FramedTransportProducer::<Frame>::create(&name, DEPTH).expect("a producer");
    let mut tx = tx.free_running();
    for _ in 0..100 {
        tx.try_publish(b"a message", 1).expect("it runs free");
    }
    drop(tx);
    let tx = TypedProducer::<Frame>::create(&name, DEPTH).expect("a producer");
    let mut tx = tx.free_running();
    for value in 0..100_u64 {
        tx.try_publish(&Bincode(value), 1).expect("it runs free");
    }
}

#[test]
fn messages_are_kept_for_consumers_that_have_not_come() {
    let name = portable_shm_segment_name("kept");
    let mut tx = FramedTransportProducer::<Frame>::create_with_consumers(&name, DEPTH, ["a", "b"])
        .expect("a producer");
    for message in [&b"one"[..], &[7; 100]] {
        tx.try_publish(message, 1).expect("space");
    }
    assert_eq!(tx.close().expect("closed").kept_for, ["a", "b"]);
    for id in ["a", "b"] {
        let mut rx = attach(&name, Some(id));
        assert_eq!(rx.recv_owned(Deadline::NEVER).expect("a message").1, b"one");
        assert_eq!(
            rx.recv_owned(Deadline::NEVER).expect("a message").1,
            [7; 100]
        );
        assert_eq!(rx.recv(Deadline::NEVER).map(drop), Err(RecvError::Closed));
    }
    assert!(!std::path::Path::new("/dev/shm").join(&name).exists());
}
