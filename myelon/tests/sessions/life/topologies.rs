//! A fixed group of workers on one ring of events.

use std::sync::mpsc;
use std::time::Duration;

use myelon::{
    FixedTopology, InferenceTopologyError, MultiProcessError, WorkerCount,
    portable_shm_segment_name,
};

use crate::shared::Result;

/// The same test on either backing. It is a macro because the types of the two topologies differ, while the
/// calls are the same.
macro_rules! fixed_topology {
    ($topology:expr, $workers:expr) => {{
        let (topology, workers): (_, usize) = ($topology, $workers);
        let mut scheduler = topology.build_scheduler(|| 0_u64)?;
        for event in 0..4 {
            scheduler.publish_value(event);
        }
        assert!(
            scheduler.try_publish(|_| {}).is_err(),
            "workers are expected"
        );
        for index in 0..workers {
            let mut worker = topology.attach_worker::<u64>(index)?;
            let seen: Vec<_> = std::iter::from_fn(|| worker.try_consume_next()).collect();
            assert_eq!(seen, [(0, 0), (1, 1), (2, 2), (3, 3)]);
        }
        assert!(scheduler.try_publish(|_| {}).is_ok());
        scheduler.destroy()?;
    }};
}

#[test]
fn a_fixed_topology_of_every_size_in_shared_memory() -> Result {
    for workers in 2..=8 {
        let name = portable_shm_segment_name("test");
        let count = WorkerCount::try_from(workers)?;
        fixed_topology!(FixedTopology::new(&name, 4, count), workers);
    }
    Ok(())
}

#[test]
fn a_fixed_topology_of_every_size_in_files() -> Result {
    let root = tempfile::tempdir()?;
    for workers in 2..=8 {
        let count = WorkerCount::try_from(workers)?;
        let topology = FixedTopology::in_files(root.path(), "events", 4, count);
        assert_eq!(topology.name(), "events");
        assert_eq!(topology.clone(), topology);
        fixed_topology!(topology, workers);
        assert_eq!(std::fs::read_dir(root.path())?.count(), 0, "destroyed");
    }
    Ok(())
}

/// A limit longer than any successful step takes.
const PATIENT: Duration = Duration::from_secs(60);

#[test]
fn a_scheduler_of_a_topology_waits_for_its_workers_when_told_to() -> Result {
    let name = portable_shm_segment_name("test");
    let topology = FixedTopology::new(&name, 4, WorkerCount::Two);
    let topology = topology.with_coordination_timeout(PATIENT);
    let (built, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let scheduler = topology.build_scheduler(|| 0_u64);
            built.send(()).expect("the test listens");
            scheduler
        });
        let worker = topology.worker_builder::<u64>(0)?;
        let mut first = worker.wait_for_ring(PATIENT).build_consumer()?;
        let early = told.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "worker_1 has not come");
        // a consumer that is no worker does not count
        let stranger = myelon::attach_shared_consumer::<u64>(&name, 4)
            .with_consumer_id("stranger")
            .build_consumer()?;
        let early = told.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "worker_1 has not come");
        stranger.leave()?;
        let mut second = topology.attach_worker::<u64>(1)?;
        let mut scheduler = waits.join().expect("no panic")?;
        scheduler.publish_value(7);
        assert_eq!(first.try_consume_next(), Some((0, 7)));
        assert_eq!(second.try_consume_next(), Some((0, 7)));
        scheduler.destroy()?;
        Ok(())
    })
}

#[test]
fn a_scheduler_whose_workers_do_not_come_fails_by_their_names() -> Result {
    let root = tempfile::tempdir()?;
    let patient = FixedTopology::in_files(root.path(), "events", 4, WorkerCount::Three);
    let hasty = patient
        .clone()
        .with_coordination_timeout(Duration::from_millis(20));
    let missing = |error| match error {
        InferenceTopologyError::Ring(MultiProcessError::CoordinationTimeout {
            missing, ..
        }) => missing,
        other => panic!("{other}"),
    };
    let error = hasty.build_scheduler(|| 0_u64).expect_err("nobody came");
    assert_eq!(missing(error), ["worker_0", "worker_1", "worker_2"]);
    assert_eq!(
        std::fs::read_dir(root.path())?.count(),
        0,
        "nothing is left"
    );

    patient.build_scheduler(|| 0_u64)?.keep()?;
    let worker = hasty.attach_worker::<u64>(1)?;
    let error = hasty
        .build_scheduler(|| 0_u64)
        .expect_err("two did not come");
    assert_eq!(missing(error), ["worker_0", "worker_2"]);

    drop(worker);
    let scheduler = patient.build_scheduler(|| 0_u64)?;
    scheduler.destroy()?;
    Ok(())
}

#[test]
fn numbers_that_no_fixed_topology_has() -> Result {
    for found in [0, 1, 9] {
        let error = WorkerCount::try_from(found).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "a fixed topology has 2 to 8 workers, not {found}: use a session for other numbers"
            )
        );
    }
    let topology = FixedTopology::new("unused", 4, WorkerCount::Three);
    let error = topology.attach_worker::<u64>(3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no worker 3: the topology has 3, numbered from 0"
    );
    assert!(matches!(
        error,
        InferenceTopologyError::NoSuchWorker {
            index: 3,
            workers: 3
        }
    ));
    assert_eq!(topology.worker_consumer_id(2)?, "worker_2");
    Ok(())
}
