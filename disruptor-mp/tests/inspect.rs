//! Rings seen from outside, in one process: the values one by one. `tests/tests/inspect.rs` does it with processes.

use std::fs;
use std::os::unix::fs::FileExt;

use disruptor_mp::inspect::{
    HeldBy, InspectError, Inspector, Liveness, Phase, Presence, RemovalError, Sighting, Snapshot,
    check_removal, remove_dead, rings_in,
};
use disruptor_mp::{
    AutoWaitStrategy, CountersFile, Deadline, Event, MmapConsumer, MmapProducer,
    MmapTransportLayout, UntypedConsumer,
};

/// An event of 24 bytes.
type Wide = [u64; 3];

struct Place {
    files: tempfile::TempDir,
    layout: MmapTransportLayout,
}

impl Place {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(files.path(), "ring");
        Self { files, layout }
    }

    fn producer<E: Event>(&self, capacity: usize, first: E) -> MmapProducer<E> {
        MmapProducer::create(&self.layout, capacity, move || first).expect("a producer")
    }

    fn consumer<E: Event>(&self, capacity: usize, id: &str) -> MmapConsumer<E> {
        MmapConsumer::attach(&self.layout, capacity, id).expect("a consumer")
    }

    #[track_caller]
    fn seen(&self) -> Snapshot {
        let mut ring = Inspector::open(self.layout.path()).expect("open");
        ring.snapshot().expect("read")
    }
}

#[test]
fn the_header_is_shown_as_it_is() {
    let place = Place::new();
    let builder = MmapProducer::<Wide>::builder(&place.layout, 32).with_observers();
    let tx = builder
        .with_first_sequence(5)
        .build_producer(|| [0; 3])
        .expect("a producer");
    let ring = Inspector::open(place.layout.path()).expect("open");
    let info = ring.info();
    assert_eq!(
        (info.name.as_str(), info.capacity, info.first_sequence),
        ("ring", 32, 5)
    );
    assert_eq!(
        (info.event.size, info.event.align, info.event.text.as_str()),
        (24, 8, "[u64; 3]")
    );
    assert_eq!(
        (info.event.layout_id, info.layout_version),
        (Wide::LAYOUT_ID, 1)
    );
    assert_eq!((info.stride, info.has_observers), (64, true));
    assert_eq!(
        info.segment_bytes,
        fs::metadata(ring.path()).expect("stat").len()
    );
    assert!(info.slots_offset >= 16_384 && info.page_bytes >= 4096);
    assert!(info.created.elapsed().is_ok_and(|age| age.as_secs() < 3600));
    assert_eq!(info.creator.is_in_this_namespace(), Some(true));
    assert_eq!(ring.path(), place.layout.path());
    let seen = place.seen();
    assert_eq!((seen.published, seen.floor, seen.gate), (4, 4, None));
    drop(tx);
}

#[test]
fn a_published_sequence_is_found_over_many_laps_and_in_large_slots() {
    let place = Place::new();
    let mut tx = place.producer(4, [0_u64; 512]);
    let mut rx = place.consumer::<[u64; 512]>(4, "reader");
    let mut ring = Inspector::open(place.layout.path()).expect("open");
    for round in 0..50 {
        for _ in 0..1 + round % 4 {
            tx.publish(|event| event[511] = round);
        }
        let seen = ring.snapshot().expect("read");
        assert_eq!(seen.published, tx.last_published_sequence());
        assert_eq!(seen.consumers[0].position, rx.current_sequence());
        assert_eq!(seen.consumers[0].lag, 1 + round % 4);
        assert_eq!(seen.floor, tx.ring_state().floor);
        let mut bytes = [0; 4096];
        assert_eq!(
            ring.read_event(seen.published, &mut bytes).expect("read"),
            Sighting::Whole
        );
        assert_eq!(bytes.last_chunk(), Some(&round.to_ne_bytes()));
        while rx.try_consume_next().is_some() {}
    }
    // one that opens it now finds the same
    assert_eq!(place.seen().published, tx.last_published_sequence());
    rx.leave().expect("left");
}

#[test]
fn a_long_way_to_the_published_sequence_is_read_in_chunks() {
    let place = Place::new();
    let mut tx = place.producer::<u64>(1 << 13, 0);
    let rx = place.consumer::<u64>(1 << 13, "reader");
    for count in [1, 15, 16, 17, 1000, 5000, 8192 - 6049] {
        tx.publish_batch(count, |event, _| *event = 9);
        let seen = place.seen();
        assert_eq!(seen.published, tx.last_published_sequence());
        assert_eq!(seen.largest_lag(), Some(seen.published as u64 + 1));
        assert_eq!(seen.held_by.is_some(), seen.published == 8191);
    }
    let mut bytes = [7; 12];
    let ring = Inspector::open(place.layout.path()).expect("open");
    assert_eq!(
        ring.read_event(8191, &mut bytes).expect("read"),
        Sighting::Whole
    );
    assert_eq!(
        bytes,
        [9, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7],
        "no more than the event"
    );
    for missing in [8192, -1, i64::MAX, i64::MIN] {
        assert_eq!(
            ring.read_event(missing, &mut bytes).expect("read"),
            Sighting::NotYet
        );
    }
    rx.leave().expect("left");
}

#[test]
fn a_party_that_sleeps_is_shown() {
    let place = Place::new();
    let builder = MmapProducer::<u64>::builder(&place.layout, 2);
    let builder = builder
        .with_wait_strategy(AutoWaitStrategy::Block)
        .enable_discovery(1);
    let mut tx = builder.build_producer(|| 0).expect("a producer");
    tx.publish_batch(2, |_, _| {});
    assert_eq!(place.seen().held_by, Some(HeldBy::Nobody));
    let until = |what: &str, is_so: &dyn Fn(&Snapshot) -> bool| {
        let begun = std::time::Instant::now();
        while !is_so(&place.seen()) {
            assert!(
                begun.elapsed().as_secs() < 60,
                "waited in vain until {what}"
            );
            std::thread::yield_now();
        }
    };
    let wait = Deadline::after(std::time::Duration::from_secs(60));
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || tx.send_value(3, wait).map(|_| tx));
        until("the producer sleeps", &|seen| {
            seen.producer.sleeps_for == Some(0) && seen.held_by == Some(HeldBy::FirstConsumer)
        });
        let mut rx = place.consumer::<u64>(2, "reader");
        until("it waits for the consumer", &|seen| {
            seen.held_by == Some(HeldBy::Consumer(0))
        });
        rx.recv(wait).expect("an event").commit();
        let mut tx = sent.join().expect("no panic").expect("sent");
        for _ in 0..2 {
            rx.recv(wait).expect("an event").commit();
        }
        let rest = scope.spawn(move || {
            rx.recv(wait).expect("an event").commit();
            rx.leave().expect("left");
        });
        until("the consumer sleeps", &|seen| seen.consumers[0].is_asleep);
        tx.publish(|_| {});
        rest.join().expect("no panic");
        assert_eq!(place.seen().consumers, []);
        assert!(place.seen().has_had_consumers);
    });
}

#[test]
fn what_is_slow_or_gone_does_not_count_as_attached() {
    let place = Place::new();
    let mut tx = place.producer::<u64>(8, 0);
    let rx = place.consumer::<u64>(8, "durable");
    let automatic = MmapConsumer::<u64>::builder(&place.layout, 8)
        .build_consumer()
        .expect("it attaches");
    tx.publish_batch(5, |_, _| {});
    let presences = |seen: &Snapshot| {
        let all = seen
            .consumers
            .iter()
            .map(|it| (it.presence, it.is_durable, it.is_gating, it.lag));
        all.collect::<Vec<_>>()
    };
    let seen = place.seen();
    assert_eq!(
        presences(&seen),
        [
            (Presence::Attached, true, true, 5),
            (Presence::Attached, false, true, 5)
        ]
    );
    assert_eq!((seen.consumers[0].line, seen.consumers[1].line), (0, 1));
    rx.detach().expect("detached");
    drop(automatic);
    let seen = place.seen();
    assert_eq!(presences(&seen), [(Presence::Away, true, true, 5)]);
    assert_eq!(
        (seen.is_in_doubt, seen.producer.liveness),
        (Some(false), Liveness::Alive)
    );
    tx.close().expect("closed");
    let seen = place.seen();
    assert_eq!(
        (seen.phase(), seen.closed, seen.is_kept),
        (Phase::Closed, Some(4), false)
    );
    assert_eq!((seen.kept_for.len(), seen.held_by), (1, None));
    let check = check_removal(place.layout.path()).expect("checked");
    assert_eq!(check.in_use_by, [""; 0]);
    assert!(check.losses[0].contains("5 unread events"), "{check:?}");
    assert!(matches!(
        remove_dead(place.layout.path(), false),
        Err(RemovalError::WouldLose { .. })
    ));
    assert_eq!(
        remove_dead(place.layout.path(), true).expect("removed"),
        check.losses
    );
    assert!(matches!(
        Inspector::open(place.layout.path()),
        Err(InspectError::NotFound { .. })
    ));
}

#[test]
fn a_ring_is_not_in_doubt_while_a_process_is_in_it() {
    let place = Place::new();
    let tx = place.producer::<u64>(8, 0);
    let rx = place.consumer::<u64>(8, "reader");
    tx.close_and_keep().expect("closed");
    // the inode of another file, as a copy has it
    let file = fs::OpenOptions::new()
        .write(true)
        .open(place.layout.path())
        .expect("open");
    file.write_all_at(&1_u64.to_ne_bytes(), 4096 + 80)
        .expect("write");
    let ring = Inspector::open(place.layout.path()).expect("open");
    assert_eq!(place.seen().is_in_doubt, Some(false));
    let other = UntypedConsumer::attach(&ring, None).expect("it attaches");
    other.detach().expect("detached");
    drop(rx);
    assert_eq!(place.seen().is_in_doubt, Some(true));
    assert!(UntypedConsumer::attach(&ring, None).is_err());
}

#[test]
fn only_what_begins_as_a_ring_is_removed_under_a_creators_name() {
    let place = Place::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = place.files.path().join(name);
        fs::write(&path, bytes).expect("write");
        path
    };
    let empty = file(".ring.0123456789abcdef", b"");
    let begun = file(".ring.fedcba9876543210", b"DISRPTMP");
    let names: Vec<_> = rings_in(place.files.path())
        .expect("read")
        .map(|found| found.name)
        .collect();
    assert_eq!(names, [".ring.fedcba9876543210"]);
    let refused = remove_dead(&empty, true).expect_err("it is no ring");
    assert!(
        matches!(
            refused,
            RemovalError::Inspect(InspectError::NotARing { .. })
        ),
        "{refused}"
    );
    assert_eq!(remove_dead(&begun, false).expect("removed"), [""; 0]);
    assert!(empty.exists() && !begun.exists());
    // a file that has another name is not a creator's
    let begun = file(".ring.fedcba9876543210", b"DISRPTMP");
    fs::hard_link(&begun, place.files.path().join("mine")).expect("link");
    let refused = remove_dead(&begun, true).expect_err("it is linked");
    assert!(refused.to_string().contains("a second name"), "{refused}");
    assert!(begun.exists());
}

#[test]
fn lines_that_lie_are_named() {
    let place = Place::new();
    let mut tx = place.producer::<u64>(8, 0);
    let rx = place.consumer::<u64>(8, "reader");
    tx.publish_batch(3, |_, _| {});
    let sound = fs::read(place.layout.path()).expect("read");
    let copy = place.files.path().join("copy");
    fs::write(&copy, &sound).expect("write");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&copy)
        .expect("open");
    let mut ring = Inspector::open(&copy).expect("open");
    assert_eq!(ring.snapshot().expect("read").faults, [""; 0]);
    for (at, word, named) in [
        (4096, -9, "the floor is -9"),
        (4096, 1 << 61, "the floor is 2305843009213693952"),
        (4096 + 8, -7, "it was closed at -7"),
        (4096 + 1024, -2, "consumer line 0 has released -2, but 2 is"),
        (4096 + 1024, 3, "consumer line 0 has released 3, but 2 is"),
    ] {
        file.write_all_at(&i64::to_ne_bytes(word), at)
            .expect("write");
        let seen = ring.snapshot().expect("read");
        assert!(
            seen.faults.iter().any(|fault| fault.starts_with(named)),
            "{named}: {seen:?}"
        );
        file.write_all_at(&sound[at as usize..at as usize + 8], at)
            .expect("write");
    }
    assert_eq!(ring.snapshot().expect("read").faults, [""; 0]);
    let names: Vec<_> = rings_in(place.files.path())
        .expect("read")
        .map(|found| found.name)
        .collect();
    assert_eq!(names, ["copy", "ring"]);
    rx.leave().expect("left");
}

#[test]
fn each_error_has_a_word_and_a_text() {
    let place = Place::new();
    let tx = place.producer::<u64>(8, 0);
    let sound = fs::read(place.layout.path()).expect("read");
    let copy = place.files.path().join("copy");
    for (at, bytes, word, text) in [
        (12, &[9, 0][..], "version", "its layout version is 9"),
        (200, b"?", "damaged", "its checksum is"),
        (
            0,
            b"?",
            "foreign",
            "is not a ring but a file that starts with",
        ),
    ] {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&copy, file).expect("write");
        let error = Inspector::open(&copy).map(drop).expect_err(word);
        assert_eq!(error.word(), word);
        assert!(error.to_string().contains(text), "{error}");
    }
    for (length, word) in [(0, "foreign"), (100, "damaged"), (8192, "damaged")] {
        fs::write(&copy, &sound[..length]).expect("write");
        assert_eq!(
            Inspector::open(&copy).map(drop).expect_err(word).word(),
            word,
            "{length}"
        );
    }
    drop(tx);
}

#[test]
fn a_counters_file_of_any_version_is_named() {
    let place = Place::new();
    let path = place.files.path().join("ticks.counters");
    let counters = CountersFile::create(&path).expect("a counters file");
    let sound = fs::read(&path).expect("read");
    for version in [1, 2, u32::MAX] {
        let mut file = sound.clone();
        file[8..12].copy_from_slice(&version.to_ne_bytes());
        fs::write(&path, &file).expect("write");
        let error = Inspector::open(&path).map(drop).expect_err("no ring");
        assert_eq!(error.word(), "counters");
        let text = format!(
            "{} is not a ring but a counters file of version {version}: CountersFile::open reads version 2",
            path.display()
        );
        assert_eq!(error.to_string(), text);
        let refused = remove_dead(&path, true).expect_err("it is no ring");
        assert_eq!(refused.to_string(), text);
        assert_eq!(fs::read(&path).expect("read"), file);
    }
    // it is no ring, so no listing has it
    assert_eq!(rings_in(place.files.path()).expect("read").count(), 0);
    // without its version, it is only a short file
    fs::write(&path, &sound[..11]).expect("write");
    let error = Inspector::open(&path).map(drop).expect_err("no ring");
    assert_eq!(error.word(), "foreign");
    drop(counters);
}
