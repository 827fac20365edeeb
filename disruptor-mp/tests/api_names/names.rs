//! The names, as found in `crate::api`: `disruptor_mp` in its own test, `myelon` in that crate's test, which includes
//! this file.
//!
//! Most functions here are only compiled: the annotated type of a result and the types of the arguments check
//! a signature. The one `#[test]` of each group checks values.

#![allow(dead_code, reason = "names are checked by compiling")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{self, Deadline, Sequence};

/// A derived event, next to a type of the user's own that is also called `Event`.
mod derived {
    #[derive(Clone, Copy, Default, super::api::Event)]
    #[repr(C)]
    pub(crate) struct Tick {
        pub(crate) price: i64,
        pub(crate) quantity: u64,
    }

    pub(crate) struct Event;
}

use derived::Tick;

fn bounds<T: api::Event>() {}

fn seen_from_outside(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    use api::inspect::{self, InspectError, RemovalError};
    let opened: Result<inspect::Inspector, InspectError> = inspect::Inspector::open(path);
    let mut ring = opened?;
    let _: Result<inspect::Inspector, InspectError> =
        inspect::Inspector::open_shared_memory("ticks");
    let info: &inspect::RingInfo = ring.info();
    let (_, _): (&inspect::EventInfo, inspect::Process) = (&info.event, info.creator);
    let sighting: Result<inspect::Sighting, InspectError> = ring.read_event(0, &mut [0; 8]);
    let _ = [
        inspect::Sighting::Whole,
        inspect::Sighting::NotYet,
        inspect::Sighting::Gone,
        sighting?,
    ];
    let seen: inspect::Snapshot = ring.snapshot()?;
    let _: inspect::Phase = seen.phase();
    let _: Option<&inspect::ConsumerSeen> = seen.blocker();
    let _: Option<u64> = seen.largest_lag();
    let _: Option<inspect::HeldBy> = seen.held_by.clone();
    let producer: &inspect::ProducerSeen = &seen.producer;
    let _: inspect::Liveness = producer.liveness;
    let _: inspect::NameState = seen.name;
    let _: Vec<inspect::Presence> = seen.consumers.iter().map(|it| it.presence).collect();
    for found in inspect::rings_in(&inspect::shared_memory_directory())? {
        let inspect::Found { name, ring, .. } = found;
        let _: (String, Result<inspect::Inspector, InspectError>) = (name, ring);
    }
    let check: Result<inspect::RemovalCheck, InspectError> = inspect::check_removal(path);
    let inspect::RemovalCheck {
        in_use_by, losses, ..
    } = check?;
    let _: [Vec<String>; 2] = [in_use_by, losses];
    let _: Result<Vec<String>, RemovalError> = inspect::remove_dead(path, false);
    let memory: Option<inspect::MemoryLimit> = inspect::memory_limit();
    let _: Option<(u64, String)> = memory.map(|limit| (limit.free_bytes, limit.limited_by));
    let _: Option<usize> = inspect::cpu_quota();
    Ok(())
}

fn simple_case(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut tx: api::SharedProducer<Tick> = api::publisher::<Tick>(name, 4096)?;
    tx.publish(|t| t.price = 100);
    tx.publish_value(Tick::default());
    let _: Result<Sequence, api::SendError> = tx.send_value(Tick::default(), Deadline::NEVER);
    let _: Result<Sequence, api::RingBufferFull> = tx.try_send(|t: &mut Tick| t.price = 1);
    let mut claim: api::Claim<'_, Tick> = tx.claim(Deadline::NEVER)?;
    claim.quantity = 1;
    let _: Sequence = claim.publish();
    let _: Result<api::Claim<'_, Tick>, api::RingBufferFull> = tx.try_claim();
    let sent: Result<Sequence, api::SendError> = tx.send(Deadline::NEVER, |t| t.price = 1);
    let _ = sent;
    let _: Result<Sequence, api::SendError> =
        tx.send_batch(2, Deadline::NEVER, |_: &mut Tick, _: usize| {});
    let mut rx: api::SharedConsumer<Tick> = api::subscriber::<Tick>(name)?;
    let _: api::SharedConsumer<Tick> = api::subscribe_within::<Tick>(name, Duration::from_secs(1))?;
    while let Ok(tick) = rx.recv(Deadline::NEVER) {
        let _: i64 = tick.price;
    }
    let _: usize = tx.capacity() + rx.capacity();
    let _: Option<api::BlockedOn> = tx.blocked_on();
    tx.remove_consumer("id")?;
    rx.detach()?;
    tx.close()?;
    api::publisher::<Tick>(name, 4096)?.keep()?;
    api::publisher::<Tick>(name, 4096)?.close_and_keep()?;
    api::publisher::<Tick>(name, 4096)?.destroy()?;
    let _ = [
        api::StartFrom::Oldest,
        api::StartFrom::Latest,
        api::StartFrom::Sequence(0),
    ];
    let _: (Deadline, Deadline) = (
        Deadline::after(Duration::ZERO),
        Deadline::at(Instant::now()),
    );
    Ok(())
}

fn ends_of_a_wait(error: api::RecvError) -> u64 {
    match error {
        api::RecvError::Closed | api::RecvError::ProducerDead { .. } => 0,
        api::RecvError::Lagged(n) => n,
        api::RecvError::InDoubt { events } => events,
        api::RecvError::Cancelled | api::RecvError::Timeout | api::RecvError::Forked => 1,
        _ => 2,
    }
}

fn writing_to_the_disk(mut tx: api::SharedProducer<Tick>) -> api::MultiProcessResult<Sequence> {
    let _: fn(
        api::SharedDisruptorBuilder<Tick>,
        api::SyncPolicy,
    ) -> api::SharedDisruptorBuilder<Tick> = api::SharedDisruptorBuilder::<Tick>::with_sync;
    let _ = [api::SyncPolicy::Never, api::SyncPolicy::KeepSynced];
    tx.sync()
}

fn functions() {
    let _: fn(&str, usize) -> api::SharedDisruptorBuilder<Tick> =
        api::build_shared_single_producer::<Tick>;
    let _: fn(&str, usize) -> api::SharedDisruptorBuilder<Tick> =
        api::attach_shared_consumer::<Tick>;
    let _: fn(&str) -> String = api::portable_shm_segment_name;
    let _: [fn() -> Duration; 3] = [
        api::default_block_strategy_duration,
        api::default_consume_sleep_duration,
        api::default_discovery_poll_duration,
    ];
    let _: [fn(); 3] = [
        api::perform_default_block_wait,
        api::perform_default_consume_sleep_wait,
        api::perform_default_discovery_poll_wait,
    ];
    let _: fn(Duration) = api::perform_sleep_wait;
}

fn builder(name: &str) -> api::MultiProcessResult<()> {
    let second = Duration::from_secs(1);
    let b: api::SharedDisruptorBuilder<Tick> = api::build_shared_single_producer::<Tick>(name, 8)
        .with_coordination(api::CoordinationMode::Immediate)
        .with_coordination_timeout(second)
        .wait_for_consumers(1_i64, second)
        .wait_for_single_consumer(second)
        .with_discovery(api::DiscoveryMode::default())
        .disable_discovery()
        .enable_discovery(4)
        .discover_consumer_with_prefix(4, "worker")
        .with_discovery_interval(second)
        .discover_consumer_with_prefix_and_interval(4, "worker", second)
        .with_consumer_id("worker_0")
        .with_consumer_core(0)
        .with_process_core(0)
        .with_wait_strategy(api::AutoWaitStrategy::Block)
        .with_start(api::StartFrom::Oldest);
    let mut made = 0_i64;
    let factory = || {
        made += 1;
        Tick {
            price: made,
            quantity: 0,
        }
    };
    let _: api::MultiProcessResult<api::SharedProducer<Tick>> = b.build_producer(factory);
    let attach = || api::attach_shared_consumer::<Tick>(name, 8);
    let _: api::MultiProcessResult<api::SharedConsumer<Tick>> = attach().build_consumer();
    let handler: api::AutoConsumer =
        attach().handle_events_with(|_: &Tick, _: Sequence, _: bool| {})?;
    let _: bool = handler.is_running();
    handler.shutdown();
    let _ = handler.join();
    let batch: api::MultiProcessResult<api::AutoConsumer> = attach().handle_events_batch(
        |_: &Tick, _: Sequence, _end_of_batch: bool| {},
        api::AutoWaitStrategy::BusySpin,
    );
    let _: u64 = batch.as_ref().map_or(0, api::AutoConsumer::panics);
    let _ = batch?.shutdown_and_join();
    let _: api::SharedDisruptorBuilder<Tick> =
        attach().with_panic_policy(api::HandlerPanicPolicy::Skip);
    Ok(())
}

/// The same methods for every backing.
macro_rules! producer_methods {
    ($name:ident, $producer:ty) => {
        fn $name(
            mut tx: $producer,
            file: &api::CountersFile,
        ) -> Result<(), Box<dyn std::error::Error>> {
            let second = Duration::from_secs(1);
            let _: Result<Sequence, api::RingBufferFull> =
                tx.try_publish(|t: &mut Tick| t.price = 1);
            tx.publish(|t: &mut Tick| t.price = 1);
            let _: Result<Sequence, api::SendError> =
                tx.publish_with_timeout(second, |t: &mut Tick| t.price = 1);
            let _: Result<Sequence, api::MissingFreeSlots> =
                tx.try_batch_publish(2, |t: &mut Tick, i: usize| t.price = i as i64);
            let _: Result<Sequence, api::MissingFreeSlots> =
                tx.try_send_batch(2, |t: &mut Tick, i: usize| t.price = i as i64);
            let _: Sequence = tx.publish_batch(2, |_: &mut Tick, _: usize| {});
            let _: Sequence = tx.batch_publish(2, |_: &mut Tick, _: usize| {});
            let _: Sequence = tx.last_published_sequence();
            let _: Sequence = tx.min_gating_sequence();
            let _: bool = tx.is_consumed(0);
            let _: bool =
                tx.wait_until_consumed_with_strategy(0, second, api::AutoWaitStrategy::Block);
            let _: Result<bool, api::SendError> = tx.wait_until_consumed(0, api::Deadline::NEVER);
            let _: Result<bool, api::SendError> = tx.wait_for_consumer("id", api::Deadline::NEVER);
            let _: bool = tx.discover_consumer_id("id") && tx.notice_consumer_id("id");
            let _: bool = tx.wait_for_consumer_id("id", second);
            let _: Option<Sequence> = tx.consumer_sequence("id");
            let _: usize = tx.get_consumer_count();
            let armed: &mut $producer = tx.enable_required_consumer_liveness(Default::default());
            let _: &mut $producer = armed.print_required_consumer_alerts(false);
            let _: Result<Sequence, api::RequiredConsumerError> =
                tx.publish_managed(|t: &mut Tick| t.price = 1);
            let _: Result<Sequence, api::RequiredConsumerError> =
                tx.publish_batch_managed(2, |_: &mut Tick, _: usize| {});
            let _: Result<(), api::CountersError> = tx.attach_counters(file);
            tx.attach_counters_selected(file, &[api::CounterId::EVENTS_PUBLISHED])?;
            let _: Vec<api::CounterSnapshot> = tx.counters();
            let _: api::RingState = tx.ring_state();
            let _: api::MemoryReport = tx.memory_report();
            let _: &str = tx.name();
            Ok(())
        }
    };
}

producer_methods!(shared_producer, api::SharedProducer<Tick>);
producer_methods!(mmap_producer, api::MmapProducer<Tick>);

/// The things that a program waits on beside a ring: several rings, an event loop, a token that ends its waits.
fn waiting(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let token: api::CancelToken = api::CancelToken::new();
    let attach = || api::attach_shared_consumer::<Tick>(name, 8);
    let mut rx: api::SharedConsumer<Tick> = attach()
        .with_liveness_interval(Duration::from_millis(10))
        .with_cancel_token(&token)
        .build_consumer()?;
    token.clone().cancel();
    let _: bool = token.is_cancelled();
    let polled: Result<Option<api::Lease<'_, Tick>>, api::RecvError> = rx.try_recv();
    drop(polled);
    #[cfg(target_os = "linux")]
    {
        let readiness: api::Readiness = rx.readiness()?;
        let _: bool = readiness.arm(&rx)?;
        fn descriptor<T: std::os::fd::AsFd>(_: &T) {}
        descriptor(&readiness);
    }
    let others: Result<api::RingSet<&dyn api::RingMember>, api::RingSetFull> =
        api::RingSet::of([&rx as &dyn api::RingMember]);
    drop(others);
    let mut set: api::RingSet<api::SharedConsumer<Tick>> =
        api::RingSet::new().with_wait_strategy(api::AutoWaitStrategy::Block);
    let pushed: Result<(), api::RingSetFull> = set.push(rx);
    pushed?;
    let ready: Result<usize, api::RecvError> = set.wait(Deadline::NEVER);
    let _: Option<(Sequence, Tick)> = set[ready?].try_consume_next();
    let _: usize = set.len() + set.iter_mut().count() + usize::from(set.is_empty());
    let _: usize = api::RingSet::<api::SharedConsumer<Tick>>::MAX;
    let _: api::SharedConsumer<Tick> = set.swap_remove(0);
    Ok(())
}

/// Asynchronous receiving, if the test is built with the feature.
#[cfg(all(feature = "tokio", target_os = "linux"))]
async fn asynchronous(rx: api::SharedConsumer<Tick>) -> Result<(), Box<dyn std::error::Error>> {
    let mut rx: api::AsyncConsumer<Tick> = api::AsyncConsumer::new(rx)?;
    let received: Result<api::Lease<'_, Tick>, api::RecvError> = rx.recv().await;
    let _: i64 = received?.price;
    let _: &mut api::SharedConsumer<Tick> = rx.get_mut();
    let _: api::SharedConsumer<Tick> = rx.into_inner();
    Ok(())
}

fn observers(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let _: api::SharedProducer<Tick> = api::build_shared_single_producer::<Tick>(name, 8)
        .with_observers()
        .build_producer(Tick::default)?;
    let mut rx: api::SharedObserver<Tick> = api::observer::<Tick>(name)?;
    let _: Result<Option<(Sequence, Tick)>, api::RecvError> = rx.try_recv();
    let _: Result<(Sequence, Tick), api::RecvError> = rx.recv(Deadline::NEVER);
    let _: (Sequence, u64, usize, &str) =
        (rx.next_sequence(), rx.epoch(), rx.capacity(), rx.name());
    let _: api::Observer<Tick> = api::attach_shared_consumer::<Tick>(name, 8)
        .with_start(api::StartFrom::Latest)
        .build_observer()?;
    let _ = |x: api::MmapObserver<Tick>| -> Sequence { x.next_sequence() };
    Ok(())
}

macro_rules! consumer_methods {
    ($name:ident, $consumer:ty) => {
        fn $name(
            mut rx: $consumer,
            file: &api::CountersFile,
        ) -> Result<(), Box<dyn std::error::Error>> {
            let second = Duration::from_secs(1);
            let _: Option<(Sequence, Tick)> = rx.try_consume_next();
            let _: (Sequence, Tick) = rx.consume_next();
            let _: Result<(Sequence, Tick), api::RecvError> = rx.recv_owned(Deadline::NEVER);
            let _: Result<Option<(Sequence, Tick)>, api::RecvError> = rx.try_recv_owned();
            if let Some(lease) = rx.try_consume_next_leased() {
                let lease: api::Lease<'_, Tick> = lease;
                let _: (Sequence, &Tick) = (lease.sequence(), &*lease);
            }
            rx.consume_next_leased().commit();
            rx.consume_next_leased().release_uncommitted();
            let _: (Sequence, Tick) = rx.consume_next_with_sleep(second);
            let _: Sequence = rx.consume_next_leased_with_sleep(second).sequence();
            let _: usize = rx.process_available(|_: &Tick, _: Sequence| {});
            rx.process_available_blocking(|_: &Tick, _: Sequence, _: bool| {});
            rx.process_next_blocking(|_: &Tick, _: Sequence| {});
            let _: Result<usize, api::RecvError> =
                rx.process_within(Deadline::NEVER, |_: &Tick, _: Sequence, _: bool| {});
            rx.signal_readiness();
            let _: bool = rx.has_coordination_support() && rx.try_attach_coordination("name");
            let _: [Sequence; 3] = [
                rx.current_sequence(),
                rx.producer_sequence(),
                rx.consumer_sequence(),
            ];
            let _: String = rx.consumer_id();
            let _: Result<(), api::CountersError> = rx.attach_counters(file);
            rx.attach_counters_selected(file, &[api::CounterId::EVENTS_CONSUMED])?;
            let _: Vec<api::CounterSnapshot> = rx.counters();
            let _: api::RingState = rx.ring_state();
            let _: api::MemoryReport = rx.memory_report();
            let _: &str = rx.name();
            Ok(())
        }
    };
}

consumer_methods!(shared_consumer, api::SharedConsumer<Tick>);
consumer_methods!(mmap_consumer, api::MmapConsumer<Tick>);

fn mapped_files(root: &Path) -> api::MultiProcessResult<()> {
    let layout: api::MmapTransportLayout = api::MmapTransportLayout::new(root, "ticks");
    let _: api::MmapProducer<Tick> = api::MmapProducer::create(&layout, 8, Tick::default)?;
    let _: api::MmapConsumer<Tick> = api::MmapConsumer::attach(&layout, 8, "reader")?;
    type Builder =
        fn(&api::MmapTransportLayout, usize) -> api::DisruptorBuilder<Tick, api::MappedFile>;
    let _: [Builder; 3] = [
        api::MmapProducer::<Tick>::builder,
        api::MmapConsumer::<Tick>::builder,
        api::MmapObserver::<Tick>::builder,
    ];
    layout.ensure_directories()?;
    let _: (&Path, &str) = (layout.root_dir(), layout.segment_name());
    Ok(())
}

fn send<T: Send>() {}

fn handles_move_between_threads() {
    send::<api::SharedProducer<Tick>>();
    send::<api::SharedConsumer<Tick>>();
    send::<api::SharedObserver<Tick>>();
    send::<api::RingSet<api::SharedConsumer<Tick>>>();
    send::<api::CancelToken>();
    send::<api::CountersFile>();
    send::<api::CounterHandle>();
    bounds::<Tick>();
}

/// Each variant by name; each of these enums may get more variants.
fn variants() {
    let second = Duration::from_secs(1);
    let _ = [
        api::CoordinationMode::Immediate,
        api::CoordinationMode::WaitForConsumers {
            min_consumers: 1,
            timeout: second,
        },
        api::CoordinationMode::BufferUntilConsumers { max_buffer: 8 },
    ];
    let _ = [
        api::AutoWaitStrategy::BusySpin,
        api::AutoWaitStrategy::BusySpinWithSpinLoopHint,
        api::AutoWaitStrategy::SpinThenYield { spins: 10 },
        api::AutoWaitStrategy::Sleep(second),
        api::AutoWaitStrategy::Block,
    ];
    let _: [api::CoordinationMode; 2] = [
        api::CoordinationMode::wait_for_consumers(1_i64, second),
        api::CoordinationMode::wait_for_single_consumer(second),
    ];
    let _: [api::DiscoveryMode; 3] = [
        api::DiscoveryMode::disabled(),
        api::DiscoveryMode::enabled(4),
        api::DiscoveryMode::with_prefix(4, "worker"),
    ];
    let _: [api::AutoWaitStrategy; 8] = [
        api::AutoWaitStrategy::high_performance(),
        api::AutoWaitStrategy::high_performance_with_hints(),
        api::AutoWaitStrategy::spin_then_yield(10_usize),
        api::AutoWaitStrategy::cpu_efficient(),
        api::AutoWaitStrategy::sleep(second),
        api::AutoWaitStrategy::sleep_nanos(1_u64),
        api::AutoWaitStrategy::sleep_micros(1_u64),
        api::AutoWaitStrategy::from_env_or(api::AutoWaitStrategy::Block),
    ];
    let _ = |error: api::MultiProcessError| match error {
        api::MultiProcessError::NotFound { .. }
        | api::MultiProcessError::AlreadyExists { .. }
        | api::MultiProcessError::IncompatibleLayout { .. }
        | api::MultiProcessError::PermissionDenied { .. }
        | api::MultiProcessError::NoSpace { .. } => Vec::new(),
        api::MultiProcessError::CoordinationTimeout { missing, .. } => missing,
        _ => Vec::new(),
    };
    let _ = |error: api::RequiredConsumerError| match error {
        api::RequiredConsumerError::StartupTimeout { missing } => missing.len(),
        api::RequiredConsumerError::GracefulShutdownTriggered {
            consumer_id,
            last_sequence,
            stalled_for,
            ..
        } => {
            let _: (String, Sequence, Duration) = (consumer_id, last_sequence, stalled_for);
            0
        }
        api::RequiredConsumerError::BatchTooLarge { requested, .. } => requested,
        _ => 0,
    };
}

/// No `..` here: another field would break programs that name all of them.
fn required_consumers() -> api::RequiredConsumerLivenessConfig {
    let hook: api::RequiredConsumerAlertHook = Arc::new(|alert: &api::RequiredConsumerAlert| {
        let _: (&String, Sequence, Duration) =
            (&alert.consumer_id, alert.last_sequence, alert.stalled_for);
    });
    api::RequiredConsumerLivenessConfig {
        required_consumer_ids: vec!["risk".to_string()],
        startup_wait_timeout: Duration::from_secs(5),
        progress_timeout: Duration::from_millis(250),
        progress_check_interval: Duration::from_millis(5),
        shutdown_grace_period: Duration::from_secs(1),
        failure_action: api::RequiredConsumerFailureAction::GracefulShutdown,
        alert_hook: Some(hook),
    }
}

/// The same configuration by calls instead of fields.
fn required_consumers_by_calls(
    hook: api::RequiredConsumerAlertHook,
) -> api::RequiredConsumerLivenessConfig {
    let second = Duration::from_secs(1);
    let _ = api::RequiredConsumerLivenessConfig::new(vec![String::from("risk")]);
    api::RequiredConsumerLivenessConfig::new(["risk"])
        .with_startup_wait_timeout(second)
        .with_progress_timeout(second)
        .with_progress_check_interval(second)
        .with_shutdown_grace_period(second)
        .with_failure_action(api::RequiredConsumerFailureAction::AlertOnly)
        .with_alert_hook(hook)
}

fn counters(path: &Path) -> Result<(), api::CountersError> {
    let file: api::CountersFile = api::CountersFile::create(path)?;
    let _: api::CountersFile = api::CountersFile::open(path)?;
    let _: api::CountersFile = api::CountersFile::anonymous();
    let handle: api::CounterHandle = file.counter(0x100, "mine")?;
    handle.add(1);
    handle.set(2);
    let _: u64 = handle.get();
    let snapshot: Vec<api::CounterSnapshot> = file.snapshot();
    let _: Option<(api::CounterId, String, u64)> = snapshot
        .into_iter()
        .map(|s| (s.id, s.label, s.value))
        .next();
    Ok(())
}

/// The façade modules export the same items.
fn modules(name: &str) {
    let _ = |x: api::shared_memory::SharedProducer<Tick>| -> api::SharedProducer<Tick> { x };
    let _ =
        |x: api::backend::shared_memory::SharedConsumer<Tick>| -> api::SharedConsumer<Tick> { x };
    let _ = |x: api::backend::mmap::MmapProducer<Tick>| -> api::MmapProducer<Tick> { x };
    let _ = |x: api::backend::mmap::MmapConsumer<Tick>| -> api::MmapConsumer<Tick> { x };
    let _ = |x: api::backend::mmap::MmapTransportLayout| -> api::MmapTransportLayout { x };
    let _ = |x: api::lock_free::RingState| -> api::RingState { x };
    let _ = |x: api::lock_free::BlockedOn| -> api::BlockedOn { x };
    let _ = |x: api::producer::SharedProducer<Tick>| -> api::SharedProducer<Tick> { x };
    let _ = |x: api::producer::CoordinationMode| -> api::CoordinationMode { x };
    let _ = |x: api::producer::DiscoveryMode| -> api::DiscoveryMode { x };
    let _ = |x: api::producer::RequiredConsumerError| -> api::RequiredConsumerError { x };
    let _ = |x: api::consumer::SharedConsumer<Tick>| -> api::SharedConsumer<Tick> { x };
    let _ = |x: api::consumer::AutoConsumer| -> api::AutoConsumer { x };
    let _ = |x: api::observability::CountersFile| -> api::CountersFile { x };
    let _ = |x: api::observability::CounterHandle| -> api::CounterHandle { x };
    {
        use crate::api::prelude::*;
        #[derive(Clone, Copy, Default, Event)]
        #[repr(C)]
        struct Quote {
            bid: i64,
        }
        let _: MultiProcessResult<SharedProducer<Quote>> = publisher::<Quote>(name, 8);
        let _: MultiProcessResult<SharedConsumer<Quote>> = subscriber::<Quote>(name);
        let _ = Deadline::NEVER;
        let _ = CoordinationMode::wait_for_single_consumer(Duration::from_secs(1));
        let _: (DiscoveryMode, AutoWaitStrategy, StartFrom) = Default::default();
        let _: SharedDisruptorBuilder<Quote> = build_shared_single_producer(name, 8);
        let _: SharedDisruptorBuilder<Quote> = attach_shared_consumer(name, 8);
        let _: fn(&str) -> String = portable_shm_segment_name;
        let _: Option<(MmapProducer<Quote>, MmapConsumer<Quote>)> = None;
        let _: Option<(MmapTransportLayout, RequiredConsumerLivenessConfig)> = None;
        let _: Option<(CountersFile, CounterHandle, CounterId, CounterSnapshot)> = None;
        let _: Option<(CountersError, MultiProcessError, RequiredConsumerError)> = None;
    }
}

#[test]
fn constants_and_defaults() {
    assert_eq!(api::DEFAULT_MAX_CONSUMERS, 64);
    assert_eq!(api::PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, 14);
    assert_eq!(api::RingSet::<api::SharedConsumer<Tick>>::MAX, 128);
    assert_eq!(
        api::HandlerPanicPolicy::default(),
        api::HandlerPanicPolicy::Redeliver
    );
    assert_eq!(
        api::AutoWaitStrategy::default(),
        api::AutoWaitStrategy::Block
    );
    assert_eq!(
        api::CoordinationMode::default(),
        api::CoordinationMode::Immediate
    );
    assert_eq!(api::StartFrom::default(), api::StartFrom::Oldest);
    assert_eq!(
        api::RequiredConsumerFailureAction::default(),
        api::RequiredConsumerFailureAction::GracefulShutdown
    );
    assert_ne!(
        api::RequiredConsumerFailureAction::AlertOnly,
        api::RequiredConsumerFailureAction::default()
    );
    let _: i64 = 0 as Sequence;
}

#[test]
fn every_counter_id_is_in_the_table() {
    use crate::api::observability::{APPLICATION_IDS_FROM, COUNTERS};
    let ids: Vec<u32> = COUNTERS.iter().map(|info| info.id.get()).collect();
    let documented = (0x10..=0x14)
        .chain(0x20..=0x26)
        .chain(0x30..=0x34)
        .chain(0x40..=0x45);
    assert_eq!(ids, documented.collect::<Vec<u32>>());
    assert_eq!(APPLICATION_IDS_FROM, 0x100);
    let named = [
        (0x10, "events_published"),
        (0x12, "producer_full_events"),
        (0x20, "events_consumed"),
        (0x22, "consumer_empty_spins"),
        (0x25, "consumer_lag_max"),
    ];
    for (id, name) in named {
        assert_eq!(api::CounterId::from(id).name(), Some(name));
    }
    let mut names: Vec<&str> = COUNTERS.iter().map(|info| info.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COUNTERS.len(), "a name twice");
}
