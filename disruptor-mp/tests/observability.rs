//! Counters: files, slots, and what endpoints count.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disruptor_mp::observability::{
    COUNTERS_FILE_SLOTS, CounterId, CounterSnapshot, CountersError, CountersFile,
};
use disruptor_mp::{
    AutoWaitStrategy, Deadline, HeapRing, MmapConsumer, MmapProducer, MmapTransportLayout,
};

fn value(counters: &[CounterSnapshot], id: CounterId) -> Option<u64> {
    counters
        .iter()
        .find(|counter| counter.id == id)
        .map(|counter| counter.value)
}

/// Ends the thread that asks for it, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn text(error: CountersError) -> String {
    error.to_string()
}

#[test]
fn every_handle_of_a_file_sees_all_its_counters() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let mine = CountersFile::create(&path).expect("create");
    let theirs = CountersFile::open(&path).expect("open");
    let orders = mine.counter(0x100, "orders").expect("counter");
    let trades = theirs.counter(0x101, "trades").expect("counter");
    orders.add(2);
    orders.add(3);
    trades.set(7);
    for file in [&mine, &theirs] {
        let seen: Vec<_> = file
            .snapshot()
            .into_iter()
            .map(|counter| (counter.id.get(), counter.label, counter.value))
            .collect();
        assert_eq!(
            seen,
            [(0x100, "orders".into(), 5), (0x101, "trades".into(), 7)]
        );
    }
    assert_eq!((orders.get(), mine.path()), (5, Some(path.as_path())));
    let again = CountersFile::create(&path).expect("what is there is opened");
    assert_eq!(again.snapshot().len(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_handle_outlives_the_file_and_its_name() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let file = CountersFile::create(&path).expect("create");
    let orders = file.counter(0x100, "orders").expect("counter");
    drop(file);
    std::fs::remove_file(&path).expect("remove");
    orders.add(5);
    assert_eq!(orders.get(), 5);
    let moved = std::thread::spawn(move || {
        orders.add(1);
        orders.get()
    });
    assert_eq!(moved.join().expect("no panic"), 6);
}

#[test]
fn a_dropped_counter_is_readable_until_its_slot_is_taken() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    for file in [
        CountersFile::anonymous(),
        CountersFile::create(&path).expect("create"),
    ] {
        let mut handles: Vec<_> = (0..COUNTERS_FILE_SLOTS)
            .map(|n| file.counter(0x100, &format!("number {n}")).expect("free"))
            .collect();
        let full = file.counter(0x100, "one more").expect_err("full");
        assert_eq!(
            text(full),
            "all 1024 counters are in use by processes that are alive; drop some handles, or use another file"
        );
        assert_eq!(file.snapshot().len(), COUNTERS_FILE_SLOTS);
        handles[17].add(9);
        drop(handles.remove(17));
        assert_eq!(file.snapshot()[17].value, 9, "its last value");
        let reused = file.counter(0x200, "another").expect("free again");
        assert_eq!(reused.get(), 0, "the last owner's value is gone");
        let seen = &file.snapshot()[17];
        assert_eq!((seen.id.get(), seen.label.as_str()), (0x200, "another"));
        assert_eq!(file.sweep().expect("sweep"), 0, "nobody has died");
        drop((handles, reused));
        assert_eq!(file.snapshot().len(), COUNTERS_FILE_SLOTS);
        assert_eq!(file.sweep().expect("sweep"), COUNTERS_FILE_SLOTS);
        assert!(file.snapshot().is_empty());
    }
}

#[test]
fn two_of_a_name_are_two_counters() {
    let file = CountersFile::anonymous();
    let (a, b) = (
        file.counter(0x100, "x").expect("counter"),
        file.counter(0x100, "x").expect("counter"),
    );
    a.add(1);
    b.add(2);
    let values: Vec<_> = file
        .snapshot()
        .iter()
        .map(|counter| counter.value)
        .collect();
    assert_eq!(values, [1, 2]);
}

#[test]
fn bad_input_is_named() {
    let file = CountersFile::anonymous();
    let reserved = file.counter(CounterId::EVENTS_PUBLISHED, "mine");
    assert_eq!(
        text(reserved.expect_err("reserved")),
        "counter id events_published (0x10) is reserved: a program's own begin at 0x100"
    );
    assert!(matches!(
        file.counter(0xff, "mine"),
        Err(CountersError::ReservedId { .. })
    ));
    let long = "x".repeat(49);
    assert_eq!(
        text(file.counter(0x100, &long).expect_err("too long")),
        format!("a counter's label has at most 48 bytes, and '{long}' has 49")
    );
    assert_eq!(
        text(file.counter(0x100, "a\0b").expect_err("a NUL")),
        "a counter's label cannot contain a NUL: \"a\\0b\""
    );
    assert!(file.counter(0x100, &"x".repeat(48)).is_ok());
    assert_eq!(file.sweep().expect("sweep"), 1);
    let ring = HeapRing::<u64>::new(8).expect("ring");
    let mut tx = ring.producer().expect("producer");
    let foreign = tx.attach_counters_selected(&file, &[CounterId::EVENTS_CONSUMED]);
    assert_eq!(
        text(foreign.expect_err("a consumer's")),
        "a producer does not count events_consumed (0x20)"
    );
    assert!(file.snapshot().is_empty(), "nothing was claimed");
}

#[test]
fn what_is_no_counters_file_is_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let refused = |what: &str| {
        let before = std::fs::read(&path).ok();
        for error in [
            CountersFile::open(&path).expect_err(what),
            CountersFile::create(&path).expect_err(what),
        ] {
            assert!(
                matches!(error, CountersError::NotACountersFile { .. }),
                "{what}: {error:?}"
            );
            let text = error.to_string();
            assert!(text.contains(what) && text.contains("counters"), "{text}");
        }
        assert_eq!(std::fs::read(&path).ok(), before);
    };
    let absent = CountersFile::open(&path).expect_err("absent");
    assert!(matches!(absent, CountersError::NotFound { .. }));
    let nowhere = CountersFile::create(Path::new("/nowhere/at/all")).expect_err("no directory");
    assert!(
        matches!(nowhere, CountersError::NotFound { .. }),
        "{nowhere:?}"
    );

    std::fs::write(&path, b"").expect("write");
    refused("it has 0 bytes, too few for a header");
    std::fs::write(&path, [b'x'; 4096]).expect("write");
    refused("it does not begin as one");

    let good_path = directory.path().join("good");
    drop(CountersFile::create(&good_path).expect("create"));
    let good = std::fs::read(&good_path).expect("read");
    std::fs::write(&path, &good[..200]).expect("write");
    refused("it was cut to 200 bytes of 524416");
    for (at, what) in [
        (8, "its version is"),
        (12, "its header is damaged"),
        (16, "its header is damaged"),
        (20, "its header is damaged"),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        std::fs::write(&path, bad).expect("write");
        refused(what);
    }
    std::fs::remove_file(&path).expect("remove");
    std::os::unix::fs::symlink(&good_path, &path).expect("symlink");
    refused("symbolic link");
    std::fs::remove_file(&path).expect("remove");
    std::fs::create_dir(&path).expect("directory");
    refused("directory");
}

#[test]
fn a_new_file_has_the_documented_bytes() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let file = CountersFile::create(&path).expect("create");
    let orders = file.counter(0x100, "orders").expect("counter");
    orders.set(5);
    let bytes = std::fs::read(&path).expect("read");
    assert_eq!(bytes.len(), 128 + COUNTERS_FILE_SLOTS * 512);
    assert_eq!(&bytes[..8], b"MYLNCNT\0");
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four"));
    assert_eq!([word(8), word(12), word(16), word(20)], [2, 1024, 512, 128]);
    assert_eq!((word(128), word(132) & 3, word(136)), (0x100, 2, 5));
    assert_eq!(&bytes[208..215], b"orders\0");
}

#[test]
fn a_producer_counts() {
    let file = CountersFile::anonymous();
    let ring = HeapRing::<u64>::new(4).expect("ring");
    let mut tx = ring
        .builder()
        .with_wait_strategy(AutoWaitStrategy::Sleep(Duration::from_millis(1)))
        .build_zeroed_producer()
        .expect("producer");
    let mut rx = ring.consumer("reader").expect("consumer");
    tx.attach_counters(&file).expect("attach");
    tx.publish_batch(4, |event, i| *event = i as u64);
    assert!(tx.try_publish(|_| {}).is_err());
    assert!(tx.try_publish(|_| {}).is_err());
    let timeout = tx.publish_with_timeout(Duration::from_millis(200), |_| {});
    assert!(timeout.is_err());
    let counters = tx.counters();
    assert_eq!(value(&counters, CounterId::EVENTS_PUBLISHED), Some(4));
    assert_eq!(value(&counters, CounterId::BYTES_PUBLISHED), Some(32));
    assert_eq!(
        value(&counters, CounterId::PRODUCER_FULL_EVENTS),
        Some(1),
        "one event, however often it was tried"
    );
    assert!(value(&counters, CounterId::PRODUCER_PARKS) > Some(0));
    assert_eq!(file.snapshot(), counters, "the file was brought up to date");

    // without counters(): the position is that of the ring
    rx.process_available(|_, _| {});
    tx.publish(|_| {});
    assert_eq!(
        value(&file.snapshot(), CounterId::EVENTS_PUBLISHED),
        Some(5)
    );
    tx.attach_counters_selected(&file, &[CounterId::EVENTS_PUBLISHED])
        .expect("attach anew");
    let selected = file.snapshot();
    assert_eq!(selected.len(), 1, "the former slots are free");
    let label = selected[0].label.as_str();
    assert_eq!((selected[0].value, label), (5, "heap/producer"));
    drop(tx);
    assert_eq!(file.snapshot(), selected, "its last position");
}

#[test]
fn a_consumer_counts() {
    let file = CountersFile::anonymous();
    let ring = HeapRing::<u64>::new(8).expect("ring");
    let (mut tx, mut rx) = (
        ring.producer().expect("producer"),
        ring.consumer("reader").expect("consumer"),
    );
    rx.attach_counters(&file).expect("attach");
    tx.publish_batch(6, |event, i| *event = i as u64);
    for counters in [file.snapshot(), rx.counters()] {
        assert_eq!(value(&counters, CounterId::CONSUMER_LAG), Some(6));
        assert_eq!(value(&counters, CounterId::CONSUMER_LAG_MAX), Some(6));
    }
    rx.process_available(|_, _| {});
    let seen = file.snapshot();
    assert_eq!(value(&seen, CounterId::EVENTS_CONSUMED), Some(6));
    assert_eq!(value(&seen, CounterId::CONSUMER_LAG), Some(0));
    assert!(
        rx.recv(Deadline::after(Duration::from_millis(200)))
            .is_err()
    );
    // the wait brought the file up to date
    let seen = file.snapshot();
    assert_eq!(value(&seen, CounterId::EVENTS_CONSUMED), Some(6));
    assert_eq!(value(&seen, CounterId::BYTES_CONSUMED), Some(48));
    assert_eq!(value(&seen, CounterId::CONSUMER_LAG_MAX), Some(6));
    assert_eq!(seen[0].label, "heap/consumer/reader");
    let counters = rx.counters();
    assert!(value(&counters, CounterId::CONSUMER_EMPTY_SPINS) > Some(0));
    assert!(value(&counters, CounterId::CONSUMER_PARKS) > Some(0));
    assert_eq!(
        value(&counters, CounterId::CONSUMER_PARKS),
        value(&counters, CounterId::CONSUMER_UNPARKS)
    );
    drop(rx);
    assert_eq!(file.snapshot(), counters, "its last values");

    // a consumer that rejoins counts from its new start, and skipped events do not count as consumed
    let mut rx = ring.consumer("reader").expect("rejoin");
    assert_eq!(value(&rx.counters(), CounterId::EVENTS_CONSUMED), Some(0));
    rx.attach_counters(&file).expect("attach");
    assert_eq!(
        file.snapshot().len(),
        counters.len(),
        "in the slots that it had"
    );
    assert_eq!(value(&file.snapshot(), CounterId::EVENTS_CONSUMED), Some(0));
    let mut latest = ring
        .builder()
        .with_start(disruptor_mp::StartFrom::Latest)
        .build_consumer()
        .expect("consumer");
    assert_eq!(latest.current_sequence(), 5);
    assert_eq!(
        value(&latest.counters(), CounterId::EVENTS_CONSUMED),
        Some(0)
    );
}

#[test]
fn a_full_table_changes_nothing() {
    let file = CountersFile::anonymous();
    let ring = HeapRing::<u64>::new(8).expect("ring");
    let mut tx = ring.producer().expect("producer");
    tx.attach_counters_selected(&file, &[CounterId::BYTES_PUBLISHED])
        .expect("attach");
    let _others: Vec<_> = (0..COUNTERS_FILE_SLOTS - 3)
        .map(|_| file.counter(0x100, "other").expect("free"))
        .collect();
    let full = tx.attach_counters(&file);
    assert!(matches!(full, Err(CountersError::Full { .. })));
    let seen = file.snapshot();
    assert_eq!(seen.len(), COUNTERS_FILE_SLOTS - 2);
    assert_eq!(value(&seen, CounterId::BYTES_PUBLISHED), Some(0));
}

const CHILD: &str = "OBSERVABILITY_TEST_FILE";

/// A child that is killed when the test ends, passed or failed.
struct Killed(std::process::Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the child: claims counters, says so, and hangs until it is killed.
fn child(path: &str) {
    let file = CountersFile::open(path).expect("open");
    let orders = file.counter(0x100, "orders").expect("counter");
    let _trades = file.counter(0x101, "trades").expect("counter");
    orders.add(42);
    let ready = file.counter(0x1ff, "ready").expect("counter");
    ready.set(1);
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_dead_owners_slots_are_readable_and_then_reused() {
    if let Ok(path) = std::env::var(CHILD) {
        return child(&path);
    }
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let file = CountersFile::create(&path).expect("create");
    let child = Command::new(std::env::current_exe().expect("own path"))
        .args([
            "--exact",
            "a_dead_owners_slots_are_readable_and_then_reused",
        ])
        .env(CHILD, &path)
        .spawn()
        .expect("a child");
    let mut child = Killed(child);
    let deadline = Deadline::after(Duration::from_secs(60));
    while value(&file.snapshot(), CounterId::from(0x1ff)) != Some(1) {
        assert!(!deadline.has_passed(), "the child has not started");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(file.sweep().expect("sweep"), 0, "it is alive");
    child.kill();
    assert_eq!(
        value(&file.snapshot(), CounterId::from(0x100)),
        Some(42),
        "readable after the death"
    );
    let orders = file.counter(0x100, "orders").expect("counter");
    assert_eq!(orders.get(), 0);
    assert_eq!(
        file.snapshot().len(),
        3,
        "its successor has taken the same slot"
    );
    assert_eq!(file.sweep().expect("sweep"), 2);
    let left: Vec<_> = file
        .snapshot()
        .iter()
        .map(|counter| counter.id.get())
        .collect();
    assert_eq!(left, [0x100]);
}

#[test]
fn a_forked_child_writes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::create(directory.path().join("counters")).expect("create");
    let orders = file.counter(0x100, "orders").expect("counter");
    orders.add(1);
    // SAFETY: the child calls only what needs no lock, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        orders.add(10);
        let is_inert = orders.get() == 0 && file.snapshot().is_empty();
        drop(orders);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(if is_inert { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is our own, and the status has a place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child saw nothing");
    assert_eq!((orders.get(), file.snapshot().len()), (1, 1));
}

/// The ring is not mapped in the child: a read there would end it with a signal.
#[test]
fn a_forked_child_reads_no_position_in_a_ring_of_its_parent() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::anonymous();
    let layout = MmapTransportLayout::new(directory.path(), "ticks");
    let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("producer");
    tx.attach_counters(&file).expect("attach");
    // SAFETY: the child only reads counters, for which it takes no lock of another thread, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let seen = value(&file.snapshot(), CounterId::EVENTS_PUBLISHED);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(if seen.is_none() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is our own, and the status has a place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child saw nothing");
    assert_eq!(
        value(&file.snapshot(), CounterId::EVENTS_PUBLISHED),
        Some(0)
    );
}

#[test]
fn endpoints_of_two_attaches_have_slots_of_their_own() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::create(directory.path().join("counters")).expect("create");
    let layout = MmapTransportLayout::new(directory.path(), "ticks");
    let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("producer");
    let mut a = MmapConsumer::<u64>::attach(&layout, 8, "a").expect("consumer");
    let mut b = MmapConsumer::<u64>::attach(&layout, 8, "b").expect("consumer");
    tx.attach_counters(&file).expect("attach");
    a.attach_counters(&file).expect("attach");
    b.attach_counters(&file).expect("attach");
    tx.publish_batch(3, |event, i| *event = i as u64);
    a.process_available(|_, _| {});
    let outside = CountersFile::open(file.path().expect("a file")).expect("open");
    for file in [&file, &outside] {
        let consumed: Vec<_> = file
            .snapshot()
            .into_iter()
            .filter(|counter| counter.id == CounterId::EVENTS_CONSUMED)
            .map(|counter| (counter.label, counter.value))
            .collect();
        assert_eq!(
            consumed,
            [
                ("ticks/consumer/a".into(), 3),
                ("ticks/consumer/b".into(), 0)
            ]
        );
    }
}

/// The longest name of a ring, and the longest ids.
#[test]
fn labels_are_whole_however_long_a_rings_name_is() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::create(directory.path().join("counters")).expect("create");
    let name = "r".repeat(200);
    let layout = MmapTransportLayout::new(directory.path(), &name);
    let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("producer");
    let ids = ["a", "b"].map(|end| format!("{}{end}", "i".repeat(47)));
    let mut consumers = ids
        .clone()
        .map(|id| MmapConsumer::<u64>::attach(&layout, 8, &id).expect("consumer"));
    tx.attach_counters_selected(&file, &[CounterId::EVENTS_PUBLISHED])
        .expect("attach");
    for rx in &mut consumers {
        rx.attach_counters_selected(&file, &[CounterId::EVENTS_CONSUMED])
            .expect("attach");
    }
    let labels: Vec<_> = file.snapshot().into_iter().map(|it| it.label).collect();
    let [a, b] = ids.map(|id| format!("{name}/consumer/{id}"));
    assert_eq!(labels, [format!("{name}/producer"), a, b]);
}

/// Another thread reads positions while both ends are busy, and the lines alone say how far they are.
#[test]
fn positions_are_read_while_both_ends_are_busy() {
    const EVENTS: u64 = if cfg!(miri) { 200 } else { 200_000 };
    let (file, ring) = (
        CountersFile::anonymous(),
        HeapRing::<u64>::new(4).expect("ring"),
    );
    let (mut tx, mut rx) = (
        ring.producer().expect("producer"),
        ring.consumer("reader").expect("consumer"),
    );
    tx.attach_counters(&file).expect("attach");
    rx.attach_counters(&file).expect("attach");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for event in 0..EVENTS {
                tx.send_value(event, Deadline::NEVER).expect("sent");
            }
        });
        scope.spawn(move || {
            for _ in 0..EVENTS {
                drop(rx.recv(Deadline::NEVER).expect("received"));
            }
        });
        let mut before = (0, 0);
        while before.1 < EVENTS {
            let all = file.snapshot();
            let of = |id| value(&all, id).expect("shown");
            let now = (
                of(CounterId::EVENTS_PUBLISHED),
                of(CounterId::EVENTS_CONSUMED),
            );
            assert!(
                now.0 >= before.0 && now.1 >= before.1,
                "{now:?} after {before:?}"
            );
            before = now;
        }
    });
    assert_eq!(
        value(&file.snapshot(), CounterId::EVENTS_PUBLISHED),
        Some(EVENTS)
    );
}

/// The events and the bytes of a producer are two counters: both follow from what one search found.
#[test]
fn a_snapshot_shows_a_ring_at_one_moment() {
    const SNAPSHOTS: u64 = if cfg!(miri) { 20 } else { 2_000 };
    let (file, ring) = (
        CountersFile::anonymous(),
        HeapRing::<u64>::new(1024).expect("ring"),
    );
    let mut tx = ring.producer().expect("producer");
    tx.attach_counters(&file).expect("attach");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                tx.publish(|event| *event = 1);
            }
        });
        let _over = Over(&is_over);
        for _ in 0..SNAPSHOTS {
            let all = file.snapshot();
            let of = |id| value(&all, id).expect("shown");
            assert_eq!(
                of(CounterId::BYTES_PUBLISHED),
                8 * of(CounterId::EVENTS_PUBLISHED)
            );
        }
    });
}

#[test]
fn a_position_that_was_forged_is_forgotten() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::create(directory.path().join("counters")).expect("create");
    let layout = MmapTransportLayout::new(directory.path(), "ticks");
    let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("producer");
    tx.attach_counters(&file).expect("attach");
    let published = || value(&file.snapshot(), CounterId::EVENTS_PUBLISHED);
    tx.publish_batch(3, |event, i| *event = i as u64);
    assert_eq!(published(), Some(3));
    let ring = OpenOptions::new()
        .write(true)
        .open(directory.path().join("ticks"))
        .expect("open");
    // the floor is the first word of the producer line
    let set_floor = |floor: i64| {
        ring.write_all_at(&floor.to_ne_bytes(), 4096)
            .expect("written");
    };
    set_floor(1_000_000);
    assert_eq!(published(), Some(1_000_001), "it is seen");
    set_floor(-1);
    tx.publish(|event| *event = 3);
    assert_eq!(published(), Some(4));
}

#[test]
fn a_producer_that_panicked_leaves_its_counters() {
    let (file, ring) = (
        CountersFile::anonymous(),
        HeapRing::<u64>::new(8).expect("ring"),
    );
    let mut tx = ring.producer().expect("producer");
    tx.attach_counters(&file).expect("attach");
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        tx.publish_batch(3, |event, i| *event = i as u64);
        tx.publish(|_| panic!("an event that cannot be written"));
    }));
    assert!(panicked.is_err());
    let left = value(&file.snapshot(), CounterId::EVENTS_PUBLISHED);
    assert_eq!(left, Some(3));
}

/// Two rings with another number of events each, whose producers have the first slot by turns.
fn take_turns(file: &CountersFile, directory: &Path, is_over: &AtomicBool) {
    let elsewhere = CountersFile::anonymous();
    let mut producers = [3, 5].map(|events| {
        let layout = MmapTransportLayout::new(directory, events.to_string());
        let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("producer");
        tx.publish_batch(events, |event, i| *event = i as u64);
        tx
    });
    while !is_over.load(Ordering::Relaxed) {
        for tx in &mut producers {
            for file in [file, &elsewhere] {
                tx.attach_counters_selected(file, &[CounterId::EVENTS_PUBLISHED])
                    .expect("attach");
            }
        }
    }
}

/// Reads until it has seen both rings often; each has its own number of events.
fn read_turns(file: &CountersFile) {
    let often = if cfg!(miri) { 3 } else { 300 };
    let deadline = Deadline::after(Duration::from_secs(60));
    let mut seen = [0; 2];
    while seen.iter().any(|count| *count < often) {
        assert!(!deadline.has_passed(), "{seen:?}");
        for counter in file.snapshot() {
            let index = match (&*counter.label, counter.value) {
                ("3/producer", 3) => 0,
                ("5/producer", 5) => 1,
                _ => panic!("{counter:?}"),
            };
            seen[index] += 1;
        }
    }
}

#[test]
fn a_slot_that_changes_hands_shows_no_owner_with_the_value_of_another() {
    let directory = tempfile::tempdir().expect("directory");
    let file = CountersFile::create(directory.path().join("counters")).expect("create");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| take_turns(&file, directory.path(), &is_over));
        let _over = Over(&is_over);
        read_turns(&file);
    });
}

#[test]
fn a_slot_that_changes_hands_shows_other_processes_no_mixture() {
    let test = "a_slot_that_changes_hands_shows_other_processes_no_mixture";
    if let Ok(path) = std::env::var(CHILD) {
        let file = CountersFile::open(&path).expect("open");
        let directory = Path::new(&path).parent().expect("a directory");
        return take_turns(&file, directory, &AtomicBool::new(false));
    }
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("counters");
    let file = CountersFile::create(&path).expect("create");
    let child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", test])
        .env(CHILD, &path)
        .spawn()
        .expect("a child");
    let mut child = Killed(child);
    read_turns(&file);
    child.kill();
}
