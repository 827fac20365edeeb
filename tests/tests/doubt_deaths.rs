//! Rings in doubt, with a process that settles the doubt and dies at each step. The next process must find the
//! same result.
#![cfg(debug_assertions)]

use std::fs;
use std::time::Duration;

use disruptor_mp::{
    Consumer, Deadline, FAIL_POINTS, MappedFile, MmapProducer, MmapTransportLayout, RecvError,
    SyncPolicy,
};
use myelon_tests::{Record, World, power};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
const CAPACITY: usize = 16;
const PUBLISHED: i64 = 12;
/// The two readers and their positions.
const READERS: [(&str, i64); 2] = [("left", 3), ("right", 7)];

/// The bytes of a ring in use with two readers. The first `synced` events are known to be on the disk.
fn ring_in_use(synced: Option<i64>) -> Vec<u8> {
    let files = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(files.path(), "ring");
    let policy = synced.map_or(SyncPolicy::Never, |_| SyncPolicy::KeepSynced);
    let builder = || MmapProducer::<Record>::builder(&layout, CAPACITY);
    let tx = builder().with_sync(policy).build_producer(Record::default);
    let mut tx = tx.expect("a producer");
    let join = |(id, _)| {
        builder()
            .with_consumer_id(id)
            .build_consumer()
            .expect("a consumer")
    };
    let mut readers = READERS.map(join);
    for sequence in 0..PUBLISHED {
        tx.try_publish(|event| event.write(sequence))
            .expect("space");
        if Some(sequence + 1) == synced {
            assert_eq!(tx.sync().expect("a disk"), sequence);
        }
    }
    for (rx, (_, read)) in readers.iter_mut().zip(READERS) {
        for _ in 0..read {
            rx.try_consume_next().expect("published");
        }
    }
    fs::read(layout.path()).expect("read")
}

/// The number of events in doubt that the reader is told, and the numbers of the events that it then gets.
fn account(mut rx: Consumer<Record, MappedFile>) -> (u64, Vec<u64>) {
    let first = rx.try_recv().map(|lease| lease.map(|lease| *lease));
    let Err(RecvError::InDoubt { events }) = first else {
        panic!("{first:?}");
    };
    let mut numbers = Vec::new();
    while let Ok(lease) = rx.recv(Deadline::after(Duration::ZERO)) {
        assert!(lease.is_whole());
        numbers.push(lease.number);
    }
    (events, numbers)
}

fn settle_and_die(synced: Option<i64>, kind: &str, point: &str, times: usize) {
    let world = World::mapped_file(ACTOR);
    power::restart_with(&world.path(), &ring_in_use(synced));
    let verb = match kind {
        "producer" => "produce",
        _ => "consume id=left",
    };
    // the second process either dies at the same step or no longer reaches it
    let mut died = 0;
    for _ in 0..2 {
        let mut actor = world.actor_with(&format!("{point}:{times}:kill"));
        actor.tell(&format!("{verb} cap={CAPACITY}"));
        match actor.expect_killed() {
            Ok(()) => died += 1,
            Err(said) => {
                assert!(said.contains("ok"), "{said}");
                actor.kill();
            }
        }
    }
    assert!(died > 0 || times > 1, "{point} is never reached");

    let layout = MmapTransportLayout::new(world.directory(), world.name());
    let builder = || MmapProducer::<Record>::builder(&layout, CAPACITY);
    for (id, read) in READERS {
        let rx = builder()
            .with_consumer_id(id)
            .build_consumer()
            .expect("a consumer");
        let sound = synced.unwrap_or(0).max(read);
        let what = format!("{kind} {point}:{times}, {synced:?}: {id}");
        let (events, numbers) = account(rx);
        assert_eq!(events, (PUBLISHED - sound) as u64, "{what}");
        assert_eq!(
            numbers,
            (read as u64..sound as u64).collect::<Vec<_>>(),
            "{what}"
        );
    }
    let tx = builder()
        .build_producer(Record::default)
        .expect("a producer");
    assert!(tx.last_published_sequence() >= PUBLISHED);
    assert_eq!(tx.get_consumer_count(), READERS.len());
    tx.destroy().expect("destroy");
}

fn steps() -> impl Iterator<Item = &'static str> {
    FAIL_POINTS
        .iter()
        .copied()
        .filter(|point| point.starts_with("settle."))
}

#[test]
fn a_death_at_any_step_of_settling_is_made_good() {
    assert!(steps().count() >= 9);
    for point in steps() {
        for kind in ["producer", "consumer"] {
            settle_and_die(None, kind, point, 1);
        }
    }
}

#[test]
fn a_death_at_any_step_loses_nothing_that_was_synced() {
    for point in steps() {
        for times in [1, 2] {
            settle_and_die(Some(9), "producer", point, times);
        }
    }
}
