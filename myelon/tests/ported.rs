//! Programs written as the documentation of myelon 0.1.0-alpha shows, with only the derive added to their
//! events: the names and calls of each row of its table, from one `use` line.

#![cfg(feature = "bincode")]

use std::time::Duration;

use myelon::prelude::*;

type Outcome = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Frame = FixedFrame<256>;

#[derive(Clone, Copy, Default, Event)]
#[repr(C)]
struct InferenceEvent {
    token_id: u32,
    worker_id: u16,
    is_last: u16,
}

/// The names that the prelude promises: transport, codec, typed and observability. Compiled, not called.
#[allow(dead_code, unused_imports, reason = "names are checked by compiling")]
mod names {
    mod of_the_prelude {
        #[cfg(feature = "flatbuffers")]
        use myelon::prelude::FlatBuffer;
        #[cfg(feature = "postcard")]
        use myelon::prelude::Postcard;
        #[cfg(feature = "rkyv")]
        use myelon::prelude::Rkyv;
        use myelon::prelude::{
            AlignedFixedFrame, AutoWaitStrategy, Bincode, Codec, CodecError, CoordinationMode,
            CounterHandle, CounterId, CounterSnapshot, CountersError, CountersFile, Deadline,
            DiscoveryMode, Event, FixedFrame, FixedTopology, FrameMeta, FramedTransportConsumer,
            FramedTransportFrame, FramedTransportProducer, InferenceTopologyError,
            InferenceTopologyResult, KindTable, MmapConsumer, MmapFramedTransportConsumer,
            MmapFramedTransportProducer, MmapProducer, MmapTransportLayout, MmapTypedConsumer,
            MmapTypedProducer, MultiProcessError, MultiProcessResult, MyelonTransportConfig,
            MyelonTransportLayout, MyelonWaitStrategy, ReassemblyBuffer, ReceivedMessageMeta,
            RecvError, RequiredConsumerError, RequiredConsumerLivenessConfig,
            RunnerMyelonTransportConfig, SendError, Sequence, SharedConsumer,
            SharedDisruptorBuilder, SharedProducer, StartFrom, TransportError, TransportResult,
            TypedConsumer, TypedProducer, TypedPublishError, TypedRecvError, WorkerCount,
            ZeroCopyCodec, attach_shared_consumer, build_shared_single_producer,
            portable_shm_segment_name, publisher, subscribe_within, subscriber,
        };
    }

    /// Imports the prelude and the crate root together: every name that is in both is the same item, so none is
    /// ambiguous.
    mod beside_the_root {
        use myelon::prelude::*;
        use myelon::*;

        fn all(_: &FixedTopology, _: &CountersFile, _: MyelonWaitStrategy, _: &CodecError) {}
        fn layer_0(_: &SharedProducer<u64>, _: CoordinationMode, _: &MmapTransportLayout) {}
    }

    /// Names that programs often give to their own types, in a module that another one imports by glob.
    mod of_a_program {
        pub(super) struct Message;
        pub(super) struct Worker;
        pub(super) struct Scheduler;
        pub(super) struct Order;
        pub(super) mod codec {}
        pub(super) mod transport {}

        mod tests {
            use super::*;
            use myelon::prelude::*;

            fn all(_: Message, _: Worker, _: Scheduler, _: Order, _: Deadline) {}
            use codec as _;
            use transport as _;
        }
    }
}

#[test]
fn the_table_raw() -> Outcome {
    let name = portable_shm_segment_name("raw");
    let mut producer = build_shared_single_producer::<InferenceEvent>(&name, 8)
        .build_producer(InferenceEvent::default)?;
    let mut consumer = attach_shared_consumer::<InferenceEvent>(&name, 8).build_consumer()?;
    producer.publish(|event| event.token_id = 7);
    let (sequence, event) = consumer.consume_next();
    assert_eq!((sequence, event.token_id), (0, 7));
    assert_eq!((event.worker_id, event.is_last), (0, 0));
    Ok(())
}

#[test]
fn the_table_framed() -> Outcome {
    let name = portable_shm_segment_name("framed");
    let mut producer = FramedTransportProducer::<Frame>::create(&name, 8)?;
    let mut consumer =
        FramedTransportConsumer::<Frame>::attach(&name, 8, MyelonWaitStrategy::Block)?;
    producer.publish(&[7; 1000], 1)?;
    assert_eq!(consumer.recv_message_blocking_owned(), (1, vec![7; 1000]));
    // a frame's flags: the function, and the names beside it
    use myelon::transport::{frame_flags, is_last_frame, is_single_frame};
    assert_eq!(frame_flags(true, false), frame_flags::START);
    assert_eq!(frame_flags(false, true), frame_flags::END);
    assert!(is_single_frame(frame_flags(true, true)) && !is_last_frame(frame_flags(false, false)));
    Ok(())
}

#[test]
fn the_table_typed() -> Outcome {
    let name = portable_shm_segment_name("typed");
    let mut producer = TypedProducer::<Frame>::create(&name, 8)?;
    let mut consumer = TypedConsumer::<Frame>::attach(&name, 8, MyelonWaitStrategy::Block)?;
    let file = CountersFile::anonymous();
    producer.attach_counters(&file)?;
    producer.publish(&Bincode(7_u64), 1)?;
    let (kind, Bincode(value)) = consumer.recv::<Bincode<u64>>(Deadline::NEVER)?;
    assert_eq!((kind, value), (1, 7));
    let counters: Vec<CounterSnapshot> = file.snapshot();
    assert!(!counters.is_empty());
    Ok(())
}

#[cfg(feature = "rkyv")]
#[test]
fn the_table_typed_zero_copy() -> Outcome {
    type Aligned = AlignedFixedFrame<256>;

    let name = portable_shm_segment_name("zero");
    let mut producer = TypedProducer::<Aligned>::create(&name, 8)?;
    let mut consumer = TypedConsumer::<Aligned>::attach(&name, 8, MyelonWaitStrategy::Block)?;
    producer.publish(&Rkyv(String::from("gold")), 1)?;
    let mut buffer = ReassemblyBuffer::new();
    let length = consumer
        .recv_leased::<Rkyv<String>, _, _>(&mut buffer, |_kind, archived| archived.len())?;
    assert_eq!(length, 4);
    Ok(())
}

#[test]
fn the_table_topology() -> Outcome {
    let name = portable_shm_segment_name("infer_demo");
    let topology = FixedTopology::new(&name, 1024, WorkerCount::Three)
        .with_coordination_timeout(Duration::from_secs(60));
    assert_eq!(topology.segment_name(), name);
    assert_eq!(topology.buffer_size(), 1024);
    assert_eq!(topology.worker_count(), WorkerCount::Three);
    let workers = topology.worker_count().as_usize();
    assert_eq!(WorkerCount::from_usize(workers), Some(WorkerCount::Three));
    assert_eq!(WorkerCount::from_usize(9), None);
    std::thread::scope(|scope| -> Outcome {
        let scheduler = scope.spawn(|| topology.build_scheduler(InferenceEvent::default));
        let mut workers = Vec::new();
        for worker_index in topology.worker_indices() {
            let builder = topology.worker_builder::<InferenceEvent>(worker_index)?;
            let builder = builder.wait_for_ring(Duration::from_secs(60));
            workers.push(builder.build_consumer()?);
        }
        let mut scheduler = scheduler.join().expect("no panic")?;
        scheduler.publish(|event| event.token_id = 7);
        for worker in &mut workers {
            assert_eq!(worker.consume_next().1.token_id, 7);
        }
        scheduler.destroy()?;
        Ok(())
    })
}

#[test]
fn the_table_names_and_wiring() -> Outcome {
    let config = MyelonTransportConfig::new(64, 16, MyelonWaitStrategy::BusySpin);
    assert_eq!((config.rpc_depth, config.response_depth), (64, 16));
    assert_eq!(config.wait_strategy, MyelonWaitStrategy::BusySpin);
    let runner = RunnerMyelonTransportConfig::new("llama-70b", 4).with_transport(config);
    let layout = MyelonTransportLayout::for_session("llama-70b")?;
    assert_eq!(runner.layout()?, layout);
    Ok(())
}
