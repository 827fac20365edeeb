//! Rings in files after a power cut, as copies, and as backups. No torn event is delivered, each durable
//! consumer is told of the doubt once, and every new event arrives.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disruptor_mp::{
    AsyncConsumer, AutoWaitStrategy, Consumer, Deadline, HandlerPanicPolicy, MappedFile,
    MmapProducer, MmapTransportLayout, Producer, RecvError, RingSet, Sequence, SyncPolicy,
};
use fastrand::Rng;
use myelon_tests::{Record, power};

type Tx = Producer<Record, MappedFile>;
type Rx = Consumer<Record, MappedFile>;

const CAPACITY: usize = 256;
const NAME: &str = "ring";
const SOON: Duration = Duration::from_secs(10);
/// The offset of the producer's line, which begins with the floor.
const FLOOR_AT: usize = 4096;

/// A ring in a file, in a directory of its own.
struct Place {
    files: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        Self { files }
    }

    fn layout(&self) -> MmapTransportLayout {
        MmapTransportLayout::new(self.files.path(), NAME)
    }

    fn path(&self) -> PathBuf {
        self.layout().path()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("read")
    }

    fn producer(&self) -> Tx {
        self.producer_with(SyncPolicy::Never)
    }

    fn producer_with(&self, policy: SyncPolicy) -> Tx {
        let builder = MmapProducer::<Record>::builder(&self.layout(), CAPACITY).with_sync(policy);
        builder.build_producer(Record::default).expect("a producer")
    }

    fn consumer(&self, id: &str) -> Rx {
        let builder = MmapProducer::<Record>::builder(&self.layout(), CAPACITY);
        let builder = builder.with_wait_strategy(AutoWaitStrategy::Block);
        builder
            .with_consumer_id(id)
            .build_consumer()
            .expect("a consumer")
    }

    /// The ring after a restart of the machine with these bytes.
    fn after_power_cut(bytes: &[u8]) -> Self {
        let place = Self::new();
        power::restart_with(&place.path(), bytes);
        place
    }

    /// The ring after a power cut, when `reader` was away and had `n` unread events.
    fn cut_with_unread(n: usize) -> Self {
        let place = Self::new();
        let mut tx = place.producer();
        drop(place.consumer("reader"));
        publish(&mut tx, n);
        Self::after_power_cut(&place.bytes())
    }

    /// A copy of a ring's file.
    fn copy_of(bytes: &[u8]) -> Self {
        let place = Self::new();
        fs::write(place.path(), bytes).expect("write");
        place
    }
}

fn publish(tx: &mut Tx, n: usize) -> Sequence {
    for _ in 0..n {
        let next = tx.last_published_sequence() + 1;
        tx.send(Deadline::after(SOON), |event| event.write(next))
            .expect("space");
    }
    tx.last_published_sequence()
}

/// Reads `n` events, each of which holds its own sequence.
#[track_caller]
fn read(rx: &mut Rx, n: usize) {
    for _ in 0..n {
        let lease = rx.recv(Deadline::after(SOON)).expect("an event");
        assert!(lease.is_whole(), "{:?}", *lease);
        assert_eq!(lease.number, lease.sequence() as u64);
    }
}

/// Receives the report of a doubt, which must come first. Returns the number of events in doubt.
#[track_caller]
fn told(rx: &mut Rx) -> u64 {
    let error = rx
        .try_recv()
        .map(|lease| lease.map(|lease| *lease))
        .expect_err("a doubt");
    let RecvError::InDoubt { events } = error else {
        panic!("{error}");
    };
    events
}

/// Asserts that a consumer that was told is not told again, and that no event is there.
#[track_caller]
fn is_calm(rx: &mut Rx) {
    match rx.recv(Deadline::after(Duration::ZERO)).map(|lease| *lease) {
        Err(RecvError::Timeout | RecvError::ProducerDead { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// A ring in use at two moments, with readers at several distances, and its state at the second moment.
struct Moments {
    earlier: Vec<u8>,
    later: Vec<u8>,
    last: Sequence,
    /// The position of each reader at the first moment, and at the second.
    read: BTreeMap<&'static str, (Sequence, Sequence)>,
}

const IDS: [&str; 3] = ["fast", "slow", "slower"];

fn some_moments(rng: &mut Rng) -> Moments {
    let place = Place::new();
    let mut tx = place.producer();
    let mut readers: Vec<Rx> = IDS.iter().map(|id| place.consumer(id)).collect();
    let mut play = |tx: &mut Tx, steps: usize| {
        for _ in 0..steps {
            let free = tx.blocked_on().is_none();
            if free {
                let n = rng.usize(1..40);
                for _ in 0..n {
                    let next = tx.last_published_sequence() + 1;
                    let _ = tx.try_publish(|event| event.write(next));
                }
            }
            for (index, rx) in readers.iter_mut().enumerate() {
                let most = rng.usize(0..60) >> index;
                for _ in 0..most {
                    let _ = rx.try_consume_next();
                }
            }
        }
        let positions: Vec<Sequence> = readers.iter().map(|rx| rx.current_sequence()).collect();
        positions
    };
    let first = play(&mut tx, 30);
    let earlier = place.bytes();
    let second = play(&mut tx, 20);
    let later = place.bytes();
    let last = tx.last_published_sequence();
    let read = IDS.into_iter().zip(first.into_iter().zip(second)).collect();
    Moments {
        earlier,
        later,
        last,
        read,
    }
}

/// All parties come back, each reader is told once, and every new event arrives at a higher sequence than every
/// old one.
fn go_on(place: &Place, moments: &Moments, rng: &mut Rng, seed: u64) {
    let mut readers = BTreeMap::new();
    let mut tx = None;
    let mut order: Vec<Option<&'static str>> = IDS.into_iter().map(Some).chain([None]).collect();
    rng.shuffle(&mut order);
    for who in order {
        match who {
            None => tx = Some(place.producer()),
            Some(id) => drop(readers.insert(id, place.consumer(id))),
        }
        // events that a producer publishes before other consumers have come must not hide what those must be told
        if let Some(tx) = &mut tx {
            publish(tx, 10);
        }
    }
    let mut tx = tx.expect("a producer");
    for (id, rx) in &mut readers {
        let events = told(rx);
        let (at_least, _) = moments.read[id];
        let most = (moments.last - at_least) as u64;
        assert!(events <= most, "seed {seed}, {id}: {events} of {most}");
        assert!(rx.current_sequence() > moments.last, "seed {seed}, {id}");
    }
    let newest = publish(&mut tx, 50);
    assert!(newest > moments.last + 90);
    for rx in readers.values_mut() {
        let unread = (newest - rx.current_sequence()) as usize;
        assert!((90..=50 + 40).contains(&unread) || unread >= 50, "{unread}");
        read(rx, unread);
        is_calm(rx);
    }
    // three more laps
    for _ in 0..3 {
        publish(&mut tx, CAPACITY);
        for rx in readers.values_mut() {
            read(rx, CAPACITY);
        }
    }
    drop(readers);
    for id in IDS {
        is_calm(&mut place.consumer(id));
    }
    tx.destroy().expect("destroy");
}

#[test]
fn a_mixture_of_two_moments_delivers_nothing_torn() {
    for round in 0..20 {
        let mut rng = Rng::with_seed(round);
        let moments = some_moments(&mut rng);
        for seed in 0..15 {
            let bytes = power::mixture(&moments.earlier, &moments.later, seed);
            let place = Place::after_power_cut(&bytes);
            go_on(&place, &moments, &mut rng, round * 100 + seed);
        }
    }
}

#[test]
fn a_copy_of_a_live_file_delivers_nothing_torn() {
    let place = Place::new();
    let mut tx = place.producer();
    let mut rx = place.consumer("reader");
    let is_over = AtomicBool::new(false);
    let copies: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                publish(&mut tx, 50);
                read(&mut rx, 40);
                publish(&mut tx, 10);
                read(&mut rx, 20);
            }
        });
        let copies = (0..20).map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            place.bytes()
        });
        let copies = copies.collect();
        is_over.store(true, Ordering::Relaxed);
        live.join().expect("the live ring");
        copies
    });
    let last = tx.last_published_sequence();
    for (index, copy) in copies.iter().enumerate() {
        let place = Place::copy_of(copy);
        let mut reader = None;
        if index % 2 == 0 {
            reader = Some(place.consumer("reader"));
        }
        let mut tx = place.producer();
        let mut reader = reader.unwrap_or_else(|| place.consumer("reader"));
        assert!(told(&mut reader) <= last as u64 + 1);
        assert!(publish(&mut tx, 60) > last, "no sequence is used twice");
        read(&mut reader, 60);
        is_calm(&mut reader);
    }
    // the ring itself is not affected
    publish(&mut tx, 5);
    read(&mut rx, 5);
}

#[test]
fn a_restored_backup_goes_on_above_what_was_seen_since() {
    let place = Place::new();
    let mut tx = place.producer();
    let mut rx = place.consumer("reader");
    publish(&mut tx, 20);
    read(&mut rx, 10);
    let backup = place.files.path().join("backup");
    fs::copy(place.path(), &backup).expect("copy");
    for _ in 0..10 {
        publish(&mut tx, 200);
        read(&mut rx, 200);
    }
    let seen = rx.current_sequence();
    drop(rx);
    tx.destroy().expect("destroy");
    fs::rename(&backup, place.path()).expect("restore");

    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 10, "as far as the backup knows");
    is_calm(&mut rx);
    let mut tx = place.producer();
    assert!(publish(&mut tx, 10) - 10 > seen);
    read(&mut rx, 10);
}

#[test]
fn a_ring_that_was_ended_in_order_keeps_everything_over_a_restart() {
    for keeps in [true, false] {
        let place = Place::new();
        let mut tx = place.producer();
        let mut rx = place.consumer("reader");
        publish(&mut tx, 20);
        read(&mut rx, 5);
        drop(rx);
        match keeps {
            true => tx.keep(),
            false => tx.close().map(drop),
        }
        .expect("an end");
        power::restart(&place.path());
        let mut rx = place.consumer("reader");
        read(&mut rx, 5);
        let mut tx = place.producer();
        assert_eq!(tx.last_published_sequence(), 19);
        publish(&mut tx, 5);
        read(&mut rx, 15);
        // the next producer is in use, so the previous producer's end in order no longer counts
        let bytes = place.bytes();
        let place = Place::after_power_cut(&bytes);
        assert_eq!(told(&mut place.consumer("reader")), 0);
    }
}

#[test]
fn a_ring_that_was_closed_over_nothing_is_ended_in_order_too() {
    let place = Place::new();
    place.producer().keep().expect("an end");
    power::restart(&place.path());
    assert_eq!(place.producer().last_published_sequence(), -1);
}

#[test]
fn a_copy_of_an_ended_ring_is_in_doubt_and_open() {
    let place = Place::new();
    let mut tx = place.producer();
    drop(place.consumer("reader"));
    publish(&mut tx, 20);
    tx.keep().expect("an end");
    let copy = Place::copy_of(&place.bytes());
    let mut rx = copy.consumer("reader");
    assert_eq!(told(&mut rx), 20);
    let end = rx
        .recv(Deadline::NEVER)
        .map(|lease| *lease)
        .expect_err("an end");
    assert!(matches!(end, RecvError::ProducerDead { .. }), "{end}");
    assert!(copy.path().exists(), "a drained copy is not removed");
    // when the copy is renamed, it is the same as before
    let moved = Place::new();
    fs::rename(place.path(), moved.path()).expect("rename");
    read(&mut moved.consumer("reader"), 20);
}

#[test]
fn a_second_doubt_before_the_first_was_reported_adds_up() {
    let place = Place::cut_with_unread(20);
    let mut tx = place.producer();
    publish(&mut tx, 7);
    let place = Place::after_power_cut(&place.bytes());
    let mut tx = place.producer();
    publish(&mut tx, 3);
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 27);
    read(&mut rx, 3);
}

#[test]
fn a_consumer_that_goes_before_it_was_told_is_told_when_it_comes_back() {
    let place = Place::cut_with_unread(20);
    for _ in 0..3 {
        let rx = place.consumer("reader");
        assert_eq!(rx.peek(), None);
        drop(rx.readiness().expect("a descriptor"));
        rx.signal_readiness();
    }
    assert_eq!(told(&mut place.consumer("reader")), 20);
    is_calm(&mut place.consumer("reader"));
    // another consumer starts where there was no event
    is_calm(&mut place.consumer("another"));
}

#[test]
fn a_control_page_that_never_came_to_the_disk() {
    let place = Place::new();
    let mut tx = place.producer();
    drop(place.consumer("reader"));
    let last = publish(&mut tx, 100);
    let mut bytes = place.bytes();
    bytes[4096..16384].fill(0);
    let place = Place::after_power_cut(&bytes);
    // no consumer is known, and the ring is not closed
    let mut rx = place.consumer("reader");
    is_calm(&mut rx);
    let mut tx = place.producer();
    assert!(publish(&mut tx, 10) > last + 10);
    read(&mut rx, 10);
}

#[test]
fn a_forged_stamp_or_position_uses_no_sequences_up() {
    let place = Place::new();
    let mut tx = place.producer();
    drop(place.consumer("reader"));
    publish(&mut tx, 20);
    let mut bytes = place.bytes();
    let slots = bytes.len() - CAPACITY * 64;
    let forged = ((1_u64 << 61) - 1) << 2;
    for at in (slots - slots % 64..bytes.len() - 7).step_by(8) {
        if at % 1024 == 56 {
            bytes[at..at + 8].copy_from_slice(&forged.to_ne_bytes());
        }
    }
    let line = 4096 + 1024;
    bytes[line..line + 8].copy_from_slice(&(i64::MAX - 3).to_ne_bytes());
    let place = Place::after_power_cut(&bytes);
    let mut rx = place.consumer("reader");
    told(&mut rx);
    let mut tx = place.producer();
    assert!(publish(&mut tx, 10) < 1 << 60);
    read(&mut rx, 10);
}

#[test]
fn calls_that_cannot_fail_panic_once() {
    type Call = fn(&mut Rx) -> bool;
    let calls: [Call; 6] = [
        |rx| rx.try_consume_next().is_some(),
        |rx| rx.try_consume_next_leased().is_some(),
        |rx| rx.process_available(|_, _| {}) > 0,
        |rx| rx.consume_next().1.is_whole(),
        |rx| rx.process_available_blocking(|_, _, _| {}) > 0,
        |rx| rx.consume_next_leased().is_whole(),
    ];
    for call in calls {
        let place = Place::new();
        let mut tx = place.producer();
        drop(place.consumer("reader"));
        publish(&mut tx, 20);
        let place = Place::after_power_cut(&place.bytes());
        let mut tx = place.producer();
        publish(&mut tx, 5);
        let mut rx = place.consumer("reader");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(&mut rx)));
        let thrown = outcome.expect_err("a panic");
        let said = thrown.downcast_ref::<String>().expect("a text");
        assert!(said.contains("20 events or more are in doubt"), "{said}");
        read(&mut rx, 5);
    }
}

#[test]
fn sets_descriptors_and_batches_report_the_doubt() {
    let place = Place::new();
    let mut tx = place.producer();
    for id in IDS {
        drop(place.consumer(id));
    }
    publish(&mut tx, 20);
    let place = Place::after_power_cut(&place.bytes());
    let _tx = place.producer();
    let [mut fast, slow, mut slower] = IDS.map(|id| place.consumer(id));
    let mut set = RingSet::of([slow]).expect("a set");
    assert_eq!(set.wait(Deadline::after(SOON)), Ok(0));
    assert_eq!(told(&mut set[0]), 20);
    assert_eq!(
        set.wait(Deadline::after(Duration::ZERO)),
        Err(RecvError::Timeout)
    );
    let readiness = fast.readiness().expect("a descriptor");
    assert!(readiness.arm(&fast).expect("armed"));
    assert_eq!(told(&mut fast), 20);
    assert!(!readiness.arm(&fast).expect("armed"));
    let outcome = slower.process_within(Deadline::after(SOON), |_, _, _| {});
    assert_eq!(outcome, Err(RecvError::InDoubt { events: 20 }));
}

#[test]
fn a_future_reports_the_doubt() {
    let place = Place::cut_with_unread(20);
    let mut tx = place.producer();
    publish(&mut tx, 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut rx = AsyncConsumer::new(place.consumer("reader")).expect("a future");
        let first = rx.recv().await.map(|lease| *lease);
        assert_eq!(first, Err(RecvError::InDoubt { events: 20 }));
        assert!(rx.recv().await.expect("an event").is_whole());
    });
}

#[test]
fn a_handler_thread_ends_with_the_doubt_or_skips_it() {
    for policy in [HandlerPanicPolicy::Redeliver, HandlerPanicPolicy::Skip] {
        let place = Place::new();
        let mut tx = place.producer();
        drop(place.consumer("reader"));
        publish(&mut tx, 20);
        let place = Place::after_power_cut(&place.bytes());
        let mut tx = place.producer();
        let newest = publish(&mut tx, 5);
        let handler = |place: &Place| {
            MmapProducer::<Record>::builder(&place.layout(), CAPACITY)
                .with_consumer_id("reader")
                .with_panic_policy(policy)
                .handle_events_with(|event, _, _| assert!(event.is_whole()))
                .expect("a thread")
        };
        let mut thread = handler(&place);
        if policy == HandlerPanicPolicy::Redeliver {
            let said = thread.join().expect_err("told").to_string();
            assert!(said.contains("20 events or more are in doubt"), "{said}");
            thread = handler(&place);
        }
        let strategy = AutoWaitStrategy::default();
        assert!(tx.wait_until_consumed_with_strategy(newest, SOON, strategy));
        thread.shutdown_and_join().expect("no panic");
    }
}

/// Events that are known to be on the disk, because they were synced, are delivered from the reader's position
/// on. Then the rest is reported as in doubt.
#[test]
fn synced_events_are_delivered_after_a_power_cut() {
    for seed in 0..40_u64 {
        let mut rng = Rng::with_seed(seed);
        let place = Place::new();
        let mut tx = place.producer_with(SyncPolicy::KeepSynced);
        let mut rx = place.consumer("reader");
        for _ in 0..rng.usize(0..6) {
            let n = rng.usize(1..200);
            publish(&mut tx, n);
            read(&mut rx, n);
        }
        publish(&mut tx, rng.usize(1..CAPACITY / 2));
        let synced = tx.sync().expect("a disk");
        let earlier = place.bytes();
        let position = rx.current_sequence();
        // the producer continues as far as the ring allows, and the reader reads on
        let reads = rng.usize(0..=(synced - position) as usize);
        read(&mut rx, reads);
        for _ in 0..rng.usize(0..300) {
            let next = tx.last_published_sequence() + 1;
            let _ = tx.try_publish(|event| event.write(next));
        }
        let last = tx.last_published_sequence();
        let later = place.bytes();
        // the floor has been written to the disk since, and the slots may have been
        let mut bytes = power::mixture(&earlier, &later, seed);
        power::set_control(&mut bytes, &later);
        let at = rx.current_sequence();
        drop((tx, rx));

        let place = Place::after_power_cut(&bytes);
        let mut tx = None;
        if rng.bool() {
            tx = Some(place.producer_with(SyncPolicy::KeepSynced));
        }
        let mut rx = place.consumer("reader");
        let mut tx = tx.unwrap_or_else(|| place.producer_with(SyncPolicy::KeepSynced));
        let doubtful = told(&mut rx);
        assert!(doubtful <= (last - synced.max(at)) as u64, "seed {seed}");
        let new = tx.last_published_sequence() + 1;
        for number in at + 1..=synced {
            let lease = rx.recv(Deadline::after(SOON)).expect("a sound event");
            assert!(lease.is_whole(), "seed {seed}: {:?}", *lease);
            assert_eq!(lease.number, number as u64, "seed {seed}");
            assert_eq!((lease.sequence() - number) % (1 << 32), 0, "seed {seed}");
        }
        is_calm(&mut rx);
        assert!(new > last);
        assert_eq!(rx.current_sequence() + 1, new);
        publish(&mut tx, 30);
        read(&mut rx, 30);
    }
}

#[test]
fn a_floor_that_came_too_late_is_noticed() {
    // a disk that reported the floor as written although it was not; slots above that floor were used again
    let place = Place::new();
    let mut tx = place.producer_with(SyncPolicy::KeepSynced);
    let mut rx = place.consumer("reader");
    publish(&mut tx, CAPACITY);
    tx.sync().expect("a disk");
    let earlier = place.bytes();
    read(&mut rx, CAPACITY);
    publish(&mut tx, CAPACITY / 2);
    let mut bytes = place.bytes();
    power::set_control(&mut bytes, &earlier);
    let place = Place::after_power_cut(&bytes);
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), (CAPACITY + CAPACITY / 2) as u64);
    is_calm(&mut rx);
}

#[test]
fn a_process_with_another_boot_id_trusts_processes_that_are_alive() {
    let place = Place::new();
    let mut tx = place.producer();
    let mut first = place.consumer("first");
    publish(&mut tx, 20);
    power::restart(&place.path());
    let mut second = place.consumer("second");
    read(&mut first, 20);
    read(&mut second, 20);
    // a producer that died, and a consumer that is alive
    let place = Place::new();
    let mut tx = place.producer();
    let mut first = place.consumer("first");
    publish(&mut tx, 20);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _tx = tx;
        panic!("as a death would");
    }));
    assert!(died.is_err());
    power::restart(&place.path());
    let mut second = place.consumer("second");
    read(&mut second, 20);
    assert_eq!(place.producer().last_published_sequence(), 19);
    read(&mut first, 20);
}

#[test]
fn the_name_of_a_ring_stays_for_a_consumer_that_is_to_be_told() {
    let place = Place::cut_with_unread(20);
    place.producer().close().expect("closed");
    assert!(place.path().exists());
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 20);
    assert_eq!(rx.try_recv().map(|_| ()), Err(RecvError::Closed));
    assert!(!place.path().exists(), "the last one takes it along");
}

#[test]
fn without_the_policy_nothing_is_taken_for_sound() {
    let place = Place::new();
    let mut tx = place.producer_with(SyncPolicy::KeepSynced);
    drop(place.consumer("reader"));
    publish(&mut tx, 20);
    assert_eq!(tx.sync().expect("a disk"), 19);
    tx.keep().expect("keep");
    // this producer does not keep the floor on the disk
    let mut tx = place.producer();
    assert_eq!(tx.sync().expect("a disk"), 19);
    publish(&mut tx, 1);
    let place = Place::after_power_cut(&place.bytes());
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 21);
    is_calm(&mut rx);
}

#[test]
fn a_power_cut_over_a_doubt_leaves_nothing_that_is_taken_for_sound() {
    let place = Place::new();
    let mut tx = place.producer_with(SyncPolicy::KeepSynced);
    drop(place.consumer("reader"));
    publish(&mut tx, 20);
    tx.sync().expect("a disk");
    let mut bytes = place.bytes();
    // a process had begun to settle the doubt, in a boot that ended
    let tag = FLOOR_AT + 120;
    bytes[tag..tag + 8].copy_from_slice(&77_u64.to_ne_bytes());
    let place = Place::after_power_cut(&bytes);
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 20);
    is_calm(&mut rx);
}

#[test]
fn a_line_that_was_left_for_another_one_is_counted_once() {
    let place = Place::new();
    let mut tx = place.producer();
    let rx = place.consumer("reader");
    publish(&mut tx, 20);
    let mut bytes = place.bytes();
    drop(rx);
    // line 0 and line 30 are from two moments
    let (from, to) = (4096 + 1024, 4096 + 1024 + 30 * 128);
    let line = bytes[from..from + 128].to_vec();
    bytes[to..to + 128].copy_from_slice(&line);
    let place = Place::after_power_cut(&bytes);
    let mut rx = place.consumer("reader");
    assert_eq!(told(&mut rx), 20);
    let mut tx = place.producer();
    assert_eq!(tx.get_consumer_count(), 1);
    for _ in 0..3 {
        publish(&mut tx, CAPACITY);
        read(&mut rx, CAPACITY);
    }
}
