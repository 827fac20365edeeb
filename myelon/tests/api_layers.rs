//! Every name of layers 1 to 3, with the types it takes and returns. The functions here are compiled, not
//! called.

#![cfg(all(
    feature = "bincode",
    feature = "postcard",
    feature = "rkyv",
    feature = "flatbuffers"
))]
#![allow(dead_code, reason = "names are checked by compiling")]

use std::error::Error;
use std::time::Duration;

use myelon::codec::{self, Bincode, FlatBuffer, Postcard, Rkyv};
use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MmapFramedTransportConsumer, MmapFramedTransportProducer,
    MyelonWaitStrategy, ReassemblyBuffer, ReceivedMessageMeta, TransportError, TransportResult,
    frame_flags, is_last_frame, is_single_frame, publish_framed_payload, recv_framed_message,
};
use myelon::typed_transport::{
    MmapTypedConsumer, MmapTypedProducer, TypedConsumer, TypedProducer, TypedPublishError,
};
use myelon::{
    Codec, CodecError, CountersFile, Deadline, Message, MmapTransportLayout, RecvError,
    RequiredConsumerLivenessConfig, Sequence, ZeroCopyCodec,
};

type Frame = FixedFrame<64>;

fn framed(name: &str, layout: &MmapTransportLayout) -> Result<(), Box<dyn Error>> {
    let mut tx: FramedTransportProducer<Frame> = FramedTransportProducer::create(name, 64)?;
    let _: TransportResult<FramedTransportProducer<Frame>> =
        FramedTransportProducer::create_with_consumers(name, 64, ["a", "b"]);
    let _: usize = tx.discover_consumers(["a", "b"])?;
    let _: bool = tx.discover_consumer_id("a");
    let _: Result<Sequence, TransportError> = tx.publish(b"", 1);
    let _: Result<Sequence, TransportError> = tx.publish_managed(b"", 1);
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig::default());
    let _: TransportResult<()> = tx.attach_counters(&CountersFile::anonymous());

    let mut rx: FramedTransportConsumer<Frame> =
        FramedTransportConsumer::attach(name, 64, MyelonWaitStrategy::BusySpin)?;
    let _: TransportResult<FramedTransportConsumer<Frame>> =
        FramedTransportConsumer::attach_with_consumer_id(name, 64, "a", MyelonWaitStrategy::Block);
    let _: TransportResult<()> = rx.attach_counters(&CountersFile::anonymous());
    let mut buffer = ReassemblyBuffer::new();
    let _: (u8, Vec<u8>) = rx.recv_message_blocking_owned();
    let _: (ReceivedMessageMeta, Vec<u8>) = rx.recv_message_blocking_owned_with_meta();
    let _: usize = rx.recv_message_blocking_leased(&mut buffer, |_: u8, bytes: &[u8]| bytes.len());
    let _: Option<u64> = rx.recv_message_blocking_leased_with_meta(&mut buffer, |meta, _| {
        let meta: ReceivedMessageMeta = meta;
        meta.sent_at_ns
    });
    rx.process_available_messages(|_: u8, _: &[u8]| {})?;
    rx.process_available_messages_with_meta(|_: ReceivedMessageMeta, _: &[u8]| {})?;

    let _: MmapFramedTransportProducer<Frame> = FramedTransportProducer::create(layout, 64)?;
    let _: MmapFramedTransportConsumer<Frame> =
        FramedTransportConsumer::attach(layout, 64, MyelonWaitStrategy::default())?;
    let mut raw_tx = myelon::publisher::<AlignedFixedFrame<64>>(name, 64)?;
    publish_framed_payload(&mut raw_tx, b"", 1, Deadline::NEVER)?;
    let mut raw_rx = myelon::subscriber::<AlignedFixedFrame<64>>(name)?;
    let _: (u8, Vec<u8>) = recv_framed_message(&mut raw_rx, Deadline::NEVER)?;
    let _: usize = <Frame as FramedTransportFrame>::PAYLOAD_BYTES;
    let flags: u8 = frame_flags::START | frame_flags::END;
    let _: u8 = const { frame_flags(true, true) };
    let _ = (
        is_single_frame(flags),
        is_last_frame(flags),
        FrameMeta::from_bytes(&[0; 12]),
    );
    Ok(())
}

fn typed<T: Codec, Z: ZeroCopyCodec>(
    name: &str,
    layout: &MmapTransportLayout,
    message: &T,
) -> Result<(), Box<dyn Error>> {
    let mut tx: TypedProducer<Frame> = TypedProducer::create(name, 64)?;
    let _: TransportResult<TypedProducer<Frame>> =
        TypedProducer::create_with_consumers(name, 64, ["a"]);
    let _: Result<Sequence, TypedPublishError> = tx.publish(message, 1);
    let _: Result<Sequence, TypedPublishError> = tx.publish_managed(message, 1);
    let _: TransportResult<Sequence> = tx.publish_raw(b"", 1);
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig::default());
    let _: TransportResult<()> = tx.attach_counters(&CountersFile::anonymous());
    let _: &mut FramedTransportProducer<Frame> = tx.raw();

    let mut rx: TypedConsumer<Frame> = TypedConsumer::attach(name, 64, MyelonWaitStrategy::Block)?;
    let _: TransportResult<TypedConsumer<Frame>> =
        TypedConsumer::attach_with_consumer_id(name, 64, "a", MyelonWaitStrategy::Block);
    let _: (u8, T) = rx.recv(Deadline::after(Duration::ZERO))?;
    let _: (u8, T) = rx.recv_owned()?;
    let _: (u8, Vec<u8>) = rx.recv_raw_owned(Deadline::NEVER)?;
    let raw: Result<Message<'_, Frame>, RecvError> = rx.recv_raw(Deadline::NEVER);
    let _: (u8, &[u8]) = raw.as_deref().map_or((0, &[]), |bytes| (1, bytes));
    drop(raw);
    let mut buffer = ReassemblyBuffer::new();
    let _: Result<usize, RecvError> =
        rx.recv_raw_leased(&mut buffer, Deadline::NEVER, |_: u8, bytes: &[u8]| {
            bytes.len()
        });
    let _: TransportResult<()> = rx.attach_counters(&CountersFile::anonymous());
    let _: &mut FramedTransportConsumer<Frame> = rx.raw();
    rx.recv_leased::<Z, _, _>(&mut buffer, |_: u8, _: Z::Archived<'_>| ())?;
    let _: usize = rx.process_available::<T>(|_, _| {})?;
    let _: usize = rx.process_available_zero_copy::<Z, _>(|_, _| {})?;

    let _: MmapTypedProducer<Frame> = TypedProducer::create(layout, 64)?;
    let _: MmapTypedConsumer<Frame> = TypedConsumer::attach(layout, 64, MyelonWaitStrategy::Block)?;
    Ok(())
}

fn codecs() {
    fn is<T: Codec>() {}
    fn is_read_in_place<T: ZeroCopyCodec>() {}
    is::<Bincode<Vec<u64>>>();
    is::<Postcard<Vec<u64>>>();
    is::<Rkyv<Vec<u64>>>();
    is::<FlatBuffer<codec::AnyTable>>();
    is_read_in_place::<Rkyv<Vec<u64>>>();
    is_read_in_place::<FlatBuffer<codec::AnyTable>>();
    let value = Bincode(7_u8);
    let _: Result<Vec<u8>, CodecError> = value.encode();
    let _: Result<Option<usize>, CodecError> = value.encode_into(&mut [0; 8]);
    let _: Result<u8, CodecError> = Bincode::<u8>::decode(&[]).map(Bincode::into_inner);
    let _: Result<<Rkyv<String> as ZeroCopyCodec>::Archived<'_>, CodecError> =
        Rkyv::<String>::access(&[]);
    let _ = (
        size_of::<myelon::rkyv::util::AlignedVec>(),
        myelon::flatbuffers::SIZE_UOFFSET,
    );
}

#[test]
fn what_is_at_the_root_is_what_is_in_its_module() {
    fn same<T>(_: T, _: T) {}
    same(
        myelon::FrameMeta::from_bytes,
        myelon::transport::FrameMeta::from_bytes,
    );
    same(
        myelon::KindTable::kinds,
        myelon::typed_transport::KindTable::kinds,
    );
    same(size_of::<myelon::FixedFrame<64>>(), size_of::<Frame>());
}
