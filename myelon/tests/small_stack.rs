//! Frames of 1 MiB on a stack of 256 KiB: no frame is ever built by value on the stack, sent or received, on
//! any backing.

use std::thread;

use myelon::transport::{
    AlignedFixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy,
    ReassemblyBuffer, RingPlace, publish_framed_payload, recv_framed_message,
};
use myelon::{
    Deadline, DisruptorBuilder, HeapRing, MmapTransportLayout, TypedConsumer, TypedProducer,
    portable_shm_segment_name,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MIB: usize = 1 << 20;
type Frame = AlignedFixedFrame<MIB>;

const DEPTH: usize = 4;
const STACK: usize = 256 << 10;

/// Runs `work` on a small stack.
fn on_a_small_stack(work: impl FnOnce() -> Result + Send + 'static) -> Result {
    let thread = thread::Builder::new().stack_size(STACK).spawn(work)?;
    thread.join().expect("no panic")
}

/// Sends and receives bytes and values in every way that there is.
fn every_way<B>(
    mut tx: FramedTransportProducer<Frame, B>,
    mut rx: FramedTransportConsumer<Frame, B>,
) -> Result {
    let deadline = || Deadline::NEVER;
    let mut buffer = ReassemblyBuffer::new();
    // messages of one frame and of two
    for len in [5, MIB, MIB + 5] {
        let message = vec![7; len];
        tx.publish(&message, 1)?;
        assert_eq!(&*rx.recv(deadline())?, message);
        tx.try_publish(&message, 1)?;
        assert_eq!(rx.recv_owned(deadline())?.1, message);
        tx.publish_managed(&message, 1)?;
        rx.recv_leased(&mut buffer, deadline(), |_, got| assert_eq!(got, message))?;
        tx.publish(&message, 1)?;
        rx.try_recv()?.expect("a message").release_uncommitted();
        let count = rx.process_available_messages(|_, got| assert_eq!(got, message))?;
        assert_eq!(count, 1);
        assert_eq!((tx.depth(), rx.depth()), (DEPTH, DEPTH));
    }
    let mut place = tx.reserve(MIB, 1, deadline())?;
    place.fill(9);
    place.publish();
    assert!(rx.recv(deadline())?.iter().all(|byte| *byte == 9));
    tx.stamp_send_times(true).publish(&vec![7; MIB], 1)?;
    assert!(rx.recv(deadline())?.meta().sent_at_ns.is_some());
    Ok(())
}

#[cfg(feature = "bincode")]
fn values<B>(tx: &mut TypedProducer<Frame, B>, rx: &mut TypedConsumer<Frame, B>) -> Result {
    use myelon::codec::Bincode;

    for len in [5, MIB / 2, 3 * MIB / 2] {
        let text = Bincode("x".repeat(len));
        tx.publish(&text, 1)?;
        assert_eq!(rx.recv::<Bincode<String>>(Deadline::NEVER)?, (1, text));
        tx.publish(&Bincode("x".repeat(len)), 1)?;
        let mut seen = 0;
        rx.process_available::<Bincode<String>>(|_, text| seen = text.map_or(0, |it| it.0.len()))?;
        assert_eq!(seen, len);
    }
    Ok(())
}

#[cfg(feature = "rkyv")]
fn archives<B>(tx: &mut TypedProducer<Frame, B>, rx: &mut TypedConsumer<Frame, B>) -> Result {
    use myelon::codec::Rkyv;

    let mut buffer = ReassemblyBuffer::new();
    for len in [5, MIB / 2, 3 * MIB / 2] {
        tx.publish(&Rkyv(vec![7_u8; len]), 1)?;
        let seen = rx.recv_leased::<Rkyv<Vec<u8>>, _, _>(&mut buffer, |_, bytes| bytes.len())?;
        assert_eq!(seen, len);
    }
    Ok(())
}

/// Producers and consumers that are made without a builder.
fn attached<B>(place: impl RingPlace<B> + Copy) -> Result {
    let mut tx = FramedTransportProducer::<Frame, B>::create(place, DEPTH)?;
    let mut rx =
        FramedTransportConsumer::<Frame, B>::attach(place, DEPTH, MyelonWaitStrategy::Block)?;
    tx.publish(b"as it is", 1)?;
    assert_eq!(&*rx.recv(Deadline::NEVER)?, b"as it is");
    tx.close()?;
    Ok(())
}

/// All of this file's checks on the rings that these builders build.
fn everything<B>(builder: impl Fn() -> DisruptorBuilder<Frame, B>) -> Result {
    let reader = || builder().with_consumer_id("reader");
    let tx = FramedTransportProducer::from_builder(builder())?;
    every_way(tx, FramedTransportConsumer::from_builder(reader())?)?;

    let mut tx = TypedProducer::from_builder(builder())?;
    let mut rx = TypedConsumer::from_builder(reader())?;
    #[cfg(feature = "bincode")]
    values(&mut tx, &mut rx)?;
    #[cfg(feature = "rkyv")]
    archives(&mut tx, &mut rx)?;
    tx.publish_raw(b"as it is", 1)?;
    assert_eq!(&*rx.recv_raw(Deadline::NEVER)?, b"as it is");
    tx.close()?;
    drop(rx);

    let mut tx = builder().build_zeroed_producer()?;
    let mut rx = reader().build_consumer()?;
    publish_framed_payload(&mut tx, &vec![7; MIB + 5], 1, Deadline::NEVER)?;
    assert_eq!(
        recv_framed_message(&mut rx, Deadline::NEVER)?.1.len(),
        MIB + 5
    );
    Ok(rx.leave()?)
}

#[test]
fn frames_of_a_mebibyte_on_the_heap() -> Result {
    on_a_small_stack(|| {
        let ring = HeapRing::<Frame>::new(DEPTH)?;
        everything(|| ring.builder())
    })
}

#[test]
fn frames_of_a_mebibyte_in_shared_memory() -> Result {
    on_a_small_stack(|| {
        let name = portable_shm_segment_name("stack");
        attached(&name)?;
        everything(|| (&name).builder(DEPTH))
    })
}

#[test]
fn frames_of_a_mebibyte_in_a_mapped_file() -> Result {
    on_a_small_stack(|| {
        let directory = tempfile::tempdir()?;
        let layout = MmapTransportLayout::new(directory.path(), "stack");
        attached(&layout)?;
        everything(|| (&layout).builder(DEPTH))
    })
}
