//! Every name of topologies, sessions and rings' names: the types it takes and returns, and its texts.
//! Functions here without `#[test]` are compiled, not called.

#![allow(dead_code, reason = "names are checked by compiling")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use myelon::transport::{
    DEFAULT_MYELON_RESPONSE_DEPTH, DEFAULT_MYELON_RPC_DEPTH, DEFAULT_TRANSPORT_PREFIX, FixedFrame,
    MyelonTransportConfig, MyelonTransportLayout, MyelonWaitStrategy, RunnerMyelonTransportConfig,
    SEGMENT_NAME_LIMIT_MACOS, TransportError, TransportResult, compact_session_tag,
    coordination_cursor_name, ensure_coordination_cursor, validate_segment_name,
};
use myelon::{
    Deadline, FixedTopology, InferenceTopologyError, InferenceTopologyResult, MissingWorker,
    MmapProducer, MmapTransportLayout, MultiProcessResult, Request, RequestId, Response, RingState,
    Scheduler, Sequence, SharedConsumer, SharedDisruptorBuilder, SharedProducer, Worker,
    WorkerCount, portable_shm_segment_name,
};

type Frame = FixedFrame<64>;

fn topology(name: &str) -> InferenceTopologyResult<()> {
    let topology: FixedTopology = FixedTopology::new(name, 64, WorkerCount::Two);
    let _: SharedDisruptorBuilder<u64> = topology.scheduler_builder();
    let _: InferenceTopologyResult<SharedProducer<u64>> = topology.build_scheduler(|| 0);
    let _: InferenceTopologyResult<SharedDisruptorBuilder<u64>> = topology.worker_builder(0);
    let _: InferenceTopologyResult<SharedConsumer<u64>> = topology.attach_worker(0);
    let _: String = topology.worker_consumer_id(0)?;
    let _: (&str, usize, usize) = (topology.name(), topology.size(), topology.workers());
    let _: (&str, usize, WorkerCount) = (
        topology.segment_name(),
        topology.buffer_size(),
        topology.worker_count(),
    );
    let _: Vec<usize> = topology.worker_indices().collect();
    let _: FixedTopology = topology.with_coordination_timeout(Duration::from_secs(1));
    let _: Option<WorkerCount> = WorkerCount::from_usize(2);
    Ok(())
}

fn ends_of_a_topology(error: InferenceTopologyError) -> usize {
    match error {
        InferenceTopologyError::WorkerCount { found } => found,
        InferenceTopologyError::NoSuchWorker { index, workers } => index + workers,
        InferenceTopologyError::Ring(error) => error.to_string().len(),
        _ => 0,
    }
}

fn sessions(config: &RunnerMyelonTransportConfig, root: &Path) -> Result<(), Box<dyn Error>> {
    let mut scheduler: Scheduler<Frame> = Scheduler::start(config)?;
    let _ = Scheduler::<Frame, Frame, _>::start_in_files(config, root)?;
    let _: TransportResult<RequestId> = scheduler.broadcast(b"", 1, Deadline::NEVER);
    let _: (usize, Response<'_, Frame>) = scheduler.recv_any(Deadline::NEVER)?;
    let missing: Vec<MissingWorker> = scheduler.missing_workers();
    let _: Option<(usize, String, bool)> = missing
        .into_iter()
        .map(|it| (it.rank, it.id, it.is_away))
        .next();
    let _: TransportResult<()> = scheduler.remove_worker(0);
    let _ = (
        scheduler.requests().depth(),
        scheduler.responses(0).is_some(),
    );
    let _: MultiProcessResult<myelon::CloseReport> = scheduler.close();

    let mut worker: Worker<Frame> = Worker::start(config, 0)?;
    let _ = Worker::<Frame, Frame, _>::start_in_files(config, 0, root)?;
    let _: Request<'_, Frame> = worker.recv(Deadline::NEVER)?;
    let _: TransportResult<Sequence> =
        worker.serve(Deadline::NEVER, |_: u8, request: &[u8]| request.to_vec());
    let _: TransportResult<Sequence> = worker.respond(b"", 1, Deadline::NEVER);
    let _: usize = worker.rank() + worker.requests().depth() + worker.responses().depth();
    let _: MultiProcessResult<()> = worker.leave();
    Ok(())
}

/// Items at the crate root are the same as the items in their modules.
mod identity {
    macro_rules! same {
        ($($function:ident: $module:ident::$item:ident;)*) => {
            $(fn $function(x: myelon::$item) -> myelon::$module::$item { x })*
        };
    }
    same! {
        layout: transport::MyelonTransportLayout;
        config: transport::MyelonTransportConfig;
        runner: transport::RunnerMyelonTransportConfig;
        strategy: transport::MyelonWaitStrategy;
        transport_error: transport::TransportError;
        meta: transport::ReceivedMessageMeta;
        buffer: transport::ReassemblyBuffer;
        topology: inference::FixedTopology;
        count: inference::WorkerCount;
        topology_error: inference::InferenceTopologyError;
        missing: session::MissingWorker;
        publish_error: typed_transport::TypedPublishError;
        codec_error: codec::CodecError;
        counter: observability::CounterHandle;
    }

    type Frame = myelon::AlignedFixedFrame<64>;

    fn fixed(x: myelon::FixedFrame<8>) -> myelon::transport::FixedFrame<8> {
        x
    }

    fn aligned(x: Frame) -> myelon::transport::AlignedFixedFrame<64> {
        x
    }

    fn sender(
        x: myelon::MmapFramedTransportProducer<Frame>,
    ) -> myelon::transport::MmapFramedTransportProducer<Frame> {
        x
    }

    fn receiver(
        x: myelon::MmapFramedTransportConsumer<Frame>,
    ) -> myelon::transport::MmapFramedTransportConsumer<Frame> {
        x
    }

    fn typed_sender(
        x: myelon::MmapTypedProducer<Frame>,
    ) -> myelon::typed_transport::MmapTypedProducer<Frame> {
        x
    }

    fn typed_receiver(
        x: myelon::MmapTypedConsumer<Frame>,
    ) -> myelon::typed_transport::MmapTypedConsumer<Frame> {
        x
    }

    fn traits<F: myelon::FramedTransportFrame, C: myelon::ZeroCopyCodec>() {
        fn same<F: myelon::transport::FramedTransportFrame, C: myelon::codec::Codec>() {}
        same::<F, C>();
    }

    /// Constants and functions of `transport` at the crate root.
    fn others() -> impl Sized {
        use myelon::{
            DEFAULT_MYELON_RESPONSE_DEPTH, DEFAULT_MYELON_RPC_DEPTH, DEFAULT_TRANSPORT_PREFIX,
            SEGMENT_NAME_LIMIT_MACOS, compact_session_tag, coordination_cursor_name,
            ensure_coordination_cursor, frame_flags, is_last_frame, is_single_frame,
            publish_framed_payload, recv_framed_message, validate_segment_name,
        };
        (
            (DEFAULT_MYELON_RPC_DEPTH, DEFAULT_MYELON_RESPONSE_DEPTH),
            (DEFAULT_TRANSPORT_PREFIX, SEGMENT_NAME_LIMIT_MACOS),
            (compact_session_tag, coordination_cursor_name),
            ensure_coordination_cursor::<u64, myelon::SharedMemory>,
            (frame_flags::START, frame_flags(true, false)),
            (is_last_frame, is_single_frame),
            publish_framed_payload::<Frame, myelon::SharedMemory>,
            recv_framed_message::<Frame, myelon::SharedMemory>,
            validate_segment_name,
        )
    }
}

/// The files in a directory of rings.
fn objects(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).expect("the directory");
    entries
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .collect::<Result<_, _>>()
        .expect("names of ours")
}

#[test]
fn worker_counts_are_two_to_eight() {
    let counts = [
        WorkerCount::Two,
        WorkerCount::Three,
        WorkerCount::Four,
        WorkerCount::Five,
        WorkerCount::Six,
        WorkerCount::Seven,
        WorkerCount::Eight,
    ];
    for (count, number) in counts.into_iter().zip(2..) {
        assert_eq!(count.as_usize(), number);
        assert_eq!(WorkerCount::from_usize(number), Some(count));
        assert_eq!(WorkerCount::try_from(number).expect("a count"), count);
    }
    for found in [0, 1, 9, usize::MAX] {
        assert_eq!(WorkerCount::from_usize(found), None);
        assert!(matches!(
            WorkerCount::try_from(found),
            Err(InferenceTopologyError::WorkerCount { found: said }) if said == found
        ));
    }
}

#[test]
fn a_topology_broadcasts_to_the_workers_that_its_builders_name() {
    let name = portable_shm_segment_name("topology");
    let topology = FixedTopology::new(&name, 8, WorkerCount::Three);
    assert_eq!(topology.worker_consumer_id(2).expect("an id"), "worker_2");
    assert_eq!((topology.name(), topology.segment_name()), (&*name, &*name));
    assert!(matches!(
        topology.attach_worker::<u64>(3),
        Err(InferenceTopologyError::NoSuchWorker {
            index: 3,
            workers: 3
        })
    ));

    let builder = topology.scheduler_builder::<u64>();
    let mut scheduler = builder.build_producer(|| 0).expect("a scheduler");
    assert!(matches!(
        topology.build_scheduler(|| 0_u64),
        Err(InferenceTopologyError::Ring(_))
    ));
    for event in 0..8 {
        scheduler
            .try_publish(|it| *it = event)
            .expect("the first lap");
    }
    scheduler
        .try_publish(|_| {})
        .expect_err("all three are expected");

    let mut workers = [
        topology.attach_worker::<u64>(0).expect("attached"),
        (topology
            .worker_builder(1)
            .and_then(|it| Ok(it.build_consumer()?)))
        .expect("built"),
        topology.attach_worker(2).expect("attached"),
    ];
    for (index, worker) in workers.iter_mut().enumerate() {
        let id = topology.worker_consumer_id(index).expect("an id");
        assert_eq!(worker.consumer_id(), id);
        assert_eq!(worker.process_available(|_, _| {}), 8);
    }
    scheduler.try_publish(|_| {}).expect("all have room");
    scheduler.destroy().expect("removed");
}

#[test]
fn depths_and_limits_are_what_programs_rely_on() {
    assert_eq!(DEFAULT_MYELON_RPC_DEPTH, 1024);
    assert_eq!(DEFAULT_MYELON_RESPONSE_DEPTH, 256);
    assert_eq!(DEFAULT_TRANSPORT_PREFIX, "myl");
    assert_eq!(SEGMENT_NAME_LIMIT_MACOS, 29);
    let config = MyelonTransportConfig::default();
    assert_eq!((config.rpc_depth, config.response_depth), (1024, 256));
    assert_eq!(config.wait_strategy, MyelonWaitStrategy::Block);
    let new = MyelonTransportConfig::new(1024, 256, MyelonWaitStrategy::Block);
    assert_eq!(new, config);
    let config = config
        .with_rpc_depth(8)
        .with_response_depth(4)
        .with_wait_strategy(MyelonWaitStrategy::BusySpin)
        .with_start_timeout(Duration::from_secs(1))
        .with_liveness_interval(Duration::from_millis(7));
    let MyelonTransportConfig {
        rpc_depth: 8,
        response_depth: 4,
        wait_strategy: MyelonWaitStrategy::BusySpin,
        start_timeout,
        liveness_interval,
        ..
    } = config.clone()
    else {
        panic!("not as set: {config:?}");
    };
    assert_eq!(start_timeout, Duration::from_secs(1));
    assert_eq!(liveness_interval, Duration::from_millis(7));
    let runner = RunnerMyelonTransportConfig::new("a session", 3)
        .with_prefix("mine")
        .with_transport(config.clone());
    assert_eq!((&*runner.session, runner.workers), ("a session", 3));
    assert_eq!((&*runner.prefix, &runner.transport), ("mine", &config));
    assert_eq!(runner.worker_id(2), "worker_2");
}

#[test]
fn a_layout_names_its_rings_and_their_files() {
    let layout: MyelonTransportLayout = MyelonTransportLayout::for_session("a").expect("names");
    let tag: String = compact_session_tag("a").expect("a tag");
    assert_eq!(layout.rpc_ring_name(), format!("myl-{tag}-q"));
    assert_eq!(layout.response_ring_name(3), format!("myl-{tag}-r3"));
    let other = MyelonTransportLayout::for_session_with_prefix("mine", "a").expect("names");
    assert_eq!(other.rpc_ring_name(), format!("mine-{tag}-q"));
    let config = RunnerMyelonTransportConfig::new("a", 2).with_prefix("mine");
    assert_eq!(config.layout().expect("names"), other);

    let root = tempfile::tempdir().expect("a directory");
    let files: [MmapTransportLayout; 2] = [
        layout.rpc_mmap_layout(root.path()),
        layout.response_mmap_layout(root.path(), 3),
    ];
    let names = [layout.rpc_ring_name(), layout.response_ring_name(3)];
    for (file, name) in files.into_iter().zip(names) {
        let tx = MmapProducer::create(&file, 8, || 0_u64).expect("a ring");
        assert_eq!(objects(root.path()), [name]);
        tx.destroy().expect("removed");
    }

    for refused in ["", "a/b", ".a", &"x".repeat(SEGMENT_NAME_LIMIT_MACOS + 1)] {
        let refused: TransportResult<()> = validate_segment_name(refused);
        assert!(matches!(refused, Err(TransportError::InvalidName { .. })));
    }
    validate_segment_name(&"x".repeat(SEGMENT_NAME_LIMIT_MACOS)).expect("just fits");
}

/// The coordination name is the name of the ring's own segment, and the coordination line is in that segment:
/// there is no second object.
#[test]
fn coordination_is_a_line_of_the_rings_own_segment() {
    let root = tempfile::tempdir().expect("a directory");
    let ring = |name: &str| MmapTransportLayout::new(root.path(), name);
    let tx = MmapProducer::create(&ring("ring"), 8, || 0_u64).expect("a ring");
    let name: String = coordination_cursor_name("ring");
    let state: RingState = ensure_coordination_cursor(&tx);
    assert!(state.consumers.is_empty());

    let reader = myelon::MmapConsumer::<u64>::attach(&ring(&name), 8, "reader");
    let reader = reader.expect("the name is that of a ring");
    let state = ensure_coordination_cursor(&tx);
    assert_eq!(
        state.consumers.len(),
        1,
        "the consumer of that name is seen"
    );
    assert_eq!(objects(root.path()), ["ring"]);
    reader.leave().expect("left");
    tx.destroy().expect("removed");
    assert_eq!(objects(root.path()), [""; 0], "nothing is left of either");
}
