//! Messages in a ring in doubt: the reader is told once, and synced messages are whole, although their
//! sequences have risen.

use std::fs;

use disruptor_mp::{
    Deadline, MappedFile, MmapProducer, MmapTransportLayout, RecvError, SyncPolicy,
};
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
use myelon_tests::power;

type Frame = FixedFrame<64>;

#[test]
fn synced_messages_of_any_length_are_whole_after_a_power_cut() {
    let files = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(files.path(), "ring");
    let builder = |layout: &MmapTransportLayout| {
        MmapProducer::<Frame>::builder(layout, 64).with_sync(SyncPolicy::KeepSynced)
    };
    let reader = |layout: &MmapTransportLayout| {
        let builder = builder(layout).with_consumer_id("reader");
        FramedTransportConsumer::<Frame, MappedFile>::from_builder(builder).expect("a reader")
    };
    let mut tx = FramedTransportProducer::from_builder(builder(&layout)).expect("a producer");
    drop(reader(&layout));
    let messages: Vec<Vec<u8>> = [10, 300, 64, 1000].map(|n| vec![n as u8; n]).into();
    for message in &messages {
        tx.publish(message, 3).expect("sent");
    }
    tx.ring().sync().expect("a disk");
    tx.publish(&[7; 500], 3).expect("sent");
    let bytes = fs::read(layout.path()).expect("read");
    drop(tx);

    let files = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(files.path(), "ring");
    power::restart_with(&layout.path(), &bytes);
    let mut rx = reader(&layout);
    let told = rx.recv(Deadline::NEVER).map(drop).expect_err("a doubt");
    assert_eq!(
        told,
        RecvError::InDoubt {
            events: 500_u64.div_ceil(64)
        }
    );
    let mut tx = FramedTransportProducer::from_builder(builder(&layout)).expect("a producer");
    tx.publish(b"new", 4).expect("sent");
    for message in &messages {
        assert_eq!(&*rx.recv(Deadline::NEVER).expect("a message"), &message[..]);
    }
    assert_eq!(&*rx.recv(Deadline::NEVER).expect("a message"), b"new");
}
