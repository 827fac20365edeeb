//! Programs as written against the documentation of disruptor-mp 0.1.0-alpha.2, with the derive added to
//! their events. They use the import of its Quick start, and the names and calls of each row of its table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The page asks for `Copy + Default + 'static` with a stable layout, `repr(C)`. Only the derive is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, disruptor_mp::Event)]
#[repr(C)]
struct Tick {
    price: i64,
    quantity: u64,
}

/// Longer than anything takes that works.
const PATIENT: Duration = Duration::from_secs(60);

/// Two processes, here two threads, that meet by `CoordinationMode`, imported from where the Quick start imports it.
#[test]
fn the_quick_start() -> Outcome {
    use disruptor_mp::producer::CoordinationMode;
    use disruptor_mp::{
        attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name,
    };

    let name = portable_shm_segment_name("ticks");
    let other_process = thread::spawn({
        let name = name.clone();
        move || -> disruptor_mp::MultiProcessResult<Vec<(i64, Tick)>> {
            let builder = attach_shared_consumer::<Tick>(&name, 1024);
            let consumer = builder.wait_for_ring(PATIENT).build_consumer();
            let mut consumer = consumer?;
            consumer.signal_readiness();
            Ok((0..3).map(|_| consumer.consume_next()).collect())
        }
    });
    let mut producer = build_shared_single_producer::<Tick>(&name, 1024)
        .enable_discovery(4)
        .with_coordination(CoordinationMode::WaitForConsumers {
            min_consumers: 1,
            timeout: PATIENT,
        })
        .build_producer(Tick::default)?;
    for price in 0..3 {
        producer.publish(|tick| *tick = Tick { price, quantity: 1 });
    }
    let seen = other_process.join().expect("no panic")?;
    let expected = (0..3).map(|price| (price, Tick { price, quantity: 1 }));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    Ok(())
}

/// The row "Raw ring (SHM)".
#[test]
fn the_table_raw_rings_in_shared_memory() -> Outcome {
    use disruptor_mp::{SharedConsumer, SharedProducer};

    let name = disruptor_mp::portable_shm_segment_name("raw");
    let mut producer: SharedProducer<Tick> =
        disruptor_mp::build_shared_single_producer(&name, 8).build_producer(Tick::default)?;
    let mut consumer: SharedConsumer<Tick> =
        disruptor_mp::attach_shared_consumer(&name, 8).build_consumer()?;
    assert!(consumer.has_coordination_support() || consumer.try_attach_coordination(&name));
    producer.publish(|tick| tick.price = 7);
    let lease = consumer.try_consume_next_leased().expect("an event");
    assert_eq!((lease.sequence(), lease.price), (0, 7));
    Ok(())
}

/// The row "Raw ring (mmap)". Only the layout's constructor differs: it cannot fail.
#[test]
fn the_table_raw_rings_in_files() -> Outcome {
    use disruptor_mp::{MmapConsumer, MmapProducer, MmapTransportLayout};

    let directory = tempfile::tempdir()?;
    let layout = MmapTransportLayout::new(directory.path().join("rings"), "raw");
    layout.ensure_directories()?;
    assert!(layout.root_dir().is_dir());
    assert_eq!(layout.segment_name(), "raw");
    let mut producer = MmapProducer::<Tick>::create(&layout, 8, Tick::default)?;
    let mut consumer = MmapConsumer::<Tick>::attach(&layout, 8, "reader")?;
    producer.publish(|tick| tick.price = 7);
    let seen = consumer.try_consume_next();
    assert_eq!(
        seen.map(|(sequence, tick)| (sequence, tick.price)),
        Some((0, 7))
    );

    // if a file is in the way, the error says so
    std::fs::write(directory.path().join("file"), "")?;
    let layout = MmapTransportLayout::new(directory.path().join("file"), "raw");
    let error = layout.ensure_directories().expect_err("no directory");
    assert!(
        error.to_string().contains("create its directory"),
        "{error}"
    );
    Ok(())
}

/// The row "Builders".
#[test]
fn the_table_builders() -> Outcome {
    use disruptor_mp::{AutoWaitStrategy, SharedDisruptorBuilder};

    let name = disruptor_mp::portable_shm_segment_name("built");
    let builder: SharedDisruptorBuilder<Tick> =
        disruptor_mp::build_shared_single_producer(&name, 8);
    let mut producer = builder
        .discover_consumer_with_prefix(1, "worker")
        .with_discovery_interval(Duration::from_millis(1))
        .build_producer(Tick::default)?;
    let total = Arc::new(AtomicU64::new(0));
    let sum = total.clone();
    let worker = disruptor_mp::attach_shared_consumer::<Tick>(&name, 8)
        .with_consumer_id("worker_0")
        .handle_events_batch(
            move |tick, _sequence, _end_of_batch| {
                sum.fetch_add(tick.quantity, Ordering::Relaxed);
            },
            AutoWaitStrategy::spin_then_yield(64),
        )?;
    assert!(producer.wait_for_consumer_id("worker_0", PATIENT));
    for quantity in 1..=20 {
        producer.publish(|tick| tick.quantity = quantity);
    }
    let last = producer.last_published_sequence();
    let strategy = AutoWaitStrategy::sleep_micros(50);
    assert!(producer.wait_until_consumed_with_strategy(last, PATIENT, strategy));
    worker.shutdown_and_join().expect("no panic");
    assert_eq!(total.load(Ordering::Relaxed), 210);
    // the worker is durable and has read everything: the ring is not kept for it
    producer.destroy()?;
    Ok(())
}

/// The row "Coordination".
#[test]
fn the_table_coordination() -> Outcome {
    use disruptor_mp::{CoordinationMode, DiscoveryMode, MultiProcessError};

    let name = disruptor_mp::portable_shm_segment_name("coord");
    let soon = Duration::from_millis(5);
    let build = |mode: CoordinationMode, discovery: DiscoveryMode| {
        disruptor_mp::build_shared_single_producer::<Tick>(&name, 8)
            .with_coordination(mode)
            .with_discovery(discovery)
            .build_producer(Tick::default)
    };
    build(CoordinationMode::Immediate, DiscoveryMode::disabled())?;
    for mode in [
        CoordinationMode::wait_for_single_consumer(soon),
        CoordinationMode::wait_for_consumers(1, soon),
    ] {
        let alone = build(mode, DiscoveryMode::enabled(2));
        assert!(matches!(
            alone,
            Err(MultiProcessError::CoordinationTimeout { .. })
        ));
    }
    // a number below zero counts as zero
    build(
        CoordinationMode::wait_for_consumers(-1, soon),
        DiscoveryMode::disabled(),
    )?;
    let mode = CoordinationMode::BufferUntilConsumers { max_buffer: 2 };
    let mut producer = build(mode, DiscoveryMode::with_prefix(1, "worker"))?;
    producer.publish_batch(2, |_, _| {});
    assert!(producer.try_publish(|_| {}).is_err(), "two, and no more");
    producer.destroy()?; // otherwise the ring is kept for the worker
    Ok(())
}

/// The row "Liveness".
#[test]
fn the_table_liveness() -> Outcome {
    use disruptor_mp::{
        RequiredConsumerAlert, RequiredConsumerError, RequiredConsumerFailureAction,
        RequiredConsumerLivenessConfig,
    };

    let name = disruptor_mp::portable_shm_segment_name("live");
    let mut producer = disruptor_mp::build_shared_single_producer::<Tick>(&name, 1)
        .build_producer(Tick::default)?;
    let alerts = Arc::new(AtomicU64::new(0));
    let count = alerts.clone();
    let config = RequiredConsumerLivenessConfig::new(vec!["risk".to_owned()])
        .with_startup_wait_timeout(PATIENT)
        .with_progress_timeout(Duration::from_millis(5))
        .with_progress_check_interval(Duration::from_millis(1))
        .with_shutdown_grace_period(Duration::from_millis(5))
        .with_failure_action(RequiredConsumerFailureAction::GracefulShutdown)
        .with_alert_hook(Arc::new(move |alert: &RequiredConsumerAlert| {
            assert_eq!(alert.consumer_id, "risk");
            count.fetch_add(1, Ordering::Relaxed);
        }));
    producer
        .enable_required_consumer_liveness(config)
        .print_required_consumer_alerts(false);
    let risk = disruptor_mp::attach_shared_consumer::<Tick>(&name, 1)
        .with_consumer_id("risk")
        .build_consumer()?;
    producer.publish_managed(|tick| tick.price = 1)?;
    let stalled = producer.publish_managed(|tick| tick.price = 2);
    assert!(matches!(
        stalled,
        Err(RequiredConsumerError::GracefulShutdownTriggered { .. })
    ));
    assert_eq!(alerts.load(Ordering::Relaxed), 1);
    risk.leave()?;
    Ok(())
}

/// The row "Naming".
#[test]
fn the_table_naming() {
    use disruptor_mp::{PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, portable_shm_segment_name};

    let name = portable_shm_segment_name("a label of any length, with blanks");
    assert!(name.len() <= PORTABLE_SHM_SEGMENT_NAME_MAX_LEN);
}

/// The row "Observability".
#[test]
fn the_table_observability() -> Outcome {
    use disruptor_mp::observability::{CounterId, CountersFile};

    let name = disruptor_mp::portable_shm_segment_name("obs");
    let mut producer = disruptor_mp::build_shared_single_producer::<Tick>(&name, 8)
        .build_producer(Tick::default)?;
    let file = CountersFile::anonymous();
    producer.attach_counters(&file)?;
    producer.publish(|tick| tick.price = 7);
    producer.counters();
    let published = file
        .snapshot()
        .into_iter()
        .find(|counter| counter.id == CounterId::EVENTS_PUBLISHED);
    assert_eq!(published.map(|counter| counter.value), Some(1));
    Ok(())
}

/// One line imports what a ported program names; the program's own names take precedence.
#[test]
fn the_prelude_and_names_of_ones_own() -> Outcome {
    use disruptor_mp::prelude::*;

    /// The prelude has this name, too.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum CoordinationMode {
        Mine,
    }

    let name = portable_shm_segment_name("prelude");
    let mut producer = build_shared_single_producer::<Tick>(&name, 8)
        .with_discovery(DiscoveryMode::enabled(1))
        .build_producer(Tick::default)?;
    let mut consumer: SharedConsumer<Tick> = attach_shared_consumer(&name, 8).build_consumer()?;
    let file = CountersFile::anonymous();
    consumer.attach_counters(&file)?;
    producer.send(Deadline::NEVER, |tick| tick.price = 7)?;
    assert_eq!(consumer.recv(Deadline::NEVER)?.price, 7);
    assert_eq!(CoordinationMode::Mine, CoordinationMode::Mine);
    Ok(())
}
