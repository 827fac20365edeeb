//! Rings seen from outside (`disruptor_mp::inspect`): what is shown is true, nothing is changed by it, and no bytes
//! mislead it into more than a wrong word.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use disruptor_mp::inspect::{
    HeldBy, InspectError, Inspector, Liveness, NameState, Phase, Presence, RemovalError, Sighting,
    Snapshot, check_removal, remove_dead, rings_in,
};
use myelon_tests::{Record, World, assert_names, needs_root};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
const CONTROL_AT: u64 = 4096;

/// What one reading from outside shows.
#[track_caller]
fn seen(world: &World) -> Snapshot {
    let mut ring = Inspector::open(world.path()).expect("open");
    let seen = ring.snapshot().expect("read");
    assert_eq!(seen.faults, [""; 0]);
    seen
}

#[track_caller]
fn error(path: &Path) -> InspectError {
    Inspector::open(path).map(drop).expect_err("no ring")
}

/// The consumer of this id: its presence, position and lag.
#[track_caller]
fn consumer(seen: &Snapshot, id: &str) -> (Presence, i64, u64) {
    let found = seen.consumers.iter().find(|consumer| consumer.id == id);
    let found = found.unwrap_or_else(|| panic!("no '{id}' in {seen:?}"));
    (found.presence, found.position, found.lag)
}

#[test]
fn position_and_lag_are_true_while_the_ring_is_full_and_the_consumer_polls() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader strategy=busy");
        let mut published = -1;
        for released in [0, 1, 3, 8, 5, 2] {
            if released > 0 {
                rx.ok(&format!("recv n={released}"));
            }
            let position = published.min(rx.ok("state").number_of_consumer("reader"));
            let lag = (published - position) as u64;
            assert_eq!(
                consumer(&seen(&world), "reader"),
                (Presence::Attached, position, lag)
            );
            tx.ok("fill");
            published = position + 8;
            let full = seen(&world);
            assert_eq!((full.published, full.gate), (published, Some(position)));
            assert_eq!(consumer(&full, "reader"), (Presence::Attached, position, 8));
            assert_eq!(full.held_by, Some(HeldBy::Consumer(0)));
            assert_eq!(full.blocker().expect("one").process.pid, rx.pid());
        }
        // it polls for an event beyond the last one, and never waits in the kernel
        rx.ok("recv n=8");
        rx.tell("recv n=1");
        let polling = seen(&world);
        assert_eq!(
            consumer(&polling, "reader"),
            (Presence::Attached, published, 0)
        );
        assert!(!polling.consumers[0].is_asleep && polling.held_by.is_none());
        tx.ok("publish n=1");
        rx.expect_ok();
        rx.ok("leave");
        tx.ok("close");
    }
}

/// `state` lists `consumers=id:sequence,…`.
trait OfConsumer {
    fn number_of_consumer(&self, id: &str) -> i64;
}

impl OfConsumer for myelon_tests::Reply {
    #[track_caller]
    fn number_of_consumer(&self, id: &str) -> i64 {
        let all = self.word("consumers").split(',');
        let mut pairs = all.filter_map(|pair| pair.split_once(':'));
        let (_, sequence) = pairs.find(|(name, _)| *name == id).expect("the consumer");
        sequence.parse().expect("a sequence")
    }
}

#[test]
fn what_is_seen_of_a_busy_ring_is_possible() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=64");
    rx.ok("consume cap=64 id=reader strategy=yield");
    tx.tell("publish n=400000");
    rx.tell("recv n=400000");
    let mut ring = Inspector::open(world.path()).expect("open");
    let (mut published, mut position, mut readings) = (-1, -1, 0);
    let end = Instant::now() + Duration::from_secs(60);
    while published < 399_999 && Instant::now() < end {
        let seen = ring.snapshot().expect("read");
        assert_eq!(seen.faults, [""; 0]);
        let reader = consumer(&seen, "reader");
        assert_eq!(reader.0, Presence::Attached);
        assert!(
            seen.published >= published && reader.1 >= position,
            "nothing goes back: {seen:?}"
        );
        assert!(reader.1 <= seen.published && reader.2 <= 64, "{seen:?}");
        assert!(
            seen.floor <= seen.published && seen.phase() == Phase::Live,
            "{seen:?}"
        );
        (published, position) = (seen.published, reader.1);
        readings += 1;
    }
    assert_eq!(published, 399_999, "after {readings} readings");
    tx.expect_ok();
    rx.expect_ok().assert_saw(0, 399_999);
    assert_eq!(ring.snapshot().expect("read").consumers[0].lag, 0);
    rx.ok("leave");
    tx.ok("close");
}

#[test]
fn nothing_is_changed_by_looking() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16 observers");
        rx.ok("consume cap=16 id=reader");
        tx.ok("publish n=5");
        rx.ok("recv n=2");
        let before = (fs::read(world.path()).expect("read"), stat(&world.path()));
        let mut ring = Inspector::open(world.path()).expect("open");
        let mut event = [0; size_of::<Record>()];
        for _ in 0..3 {
            ring.snapshot().expect("read");
            assert_eq!(
                ring.read_event(4, &mut event).expect("read"),
                Sighting::Whole
            );
            check_removal(world.path()).expect("checked");
            rings_in(world.directory()).expect("read").for_each(drop);
        }
        let after = (fs::read(world.path()).expect("read"), stat(&world.path()));
        assert_eq!(before, after);
        // no lock was taken, and none is left
        rx.ok("leave");
        tx.kill();
        let mut successor = world.actor();
        successor.ok("produce cap=16");
        assert_eq!(
            ring.snapshot().expect("read").producer.process.pid,
            successor.pid()
        );
        successor.ok("close");
    }
}

fn stat(path: &Path) -> (u64, u64, i64, i64, u32) {
    let found = fs::metadata(path).expect("stat");
    (
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.mode(),
    )
}

#[test]
fn the_life_of_a_ring_is_told() {
    for mut world in World::both(ACTOR) {
        let (mut tx, mut away, mut automatic) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=8");
        away.ok("consume cap=8 id=away");
        automatic.ok("consume cap=8");
        tx.ok("publish n=6");
        away.ok("recv n=2");
        away.ok("detach");
        let live = seen(&world);
        assert_eq!(
            (live.phase(), live.producer.process.pid),
            (Phase::Live, tx.pid())
        );
        assert_eq!(consumer(&live, "away"), (Presence::Away, 1, 4));
        automatic.kill();
        tx.kill();
        let orphaned = seen(&world);
        assert_eq!(
            (orphaned.phase(), orphaned.producer.liveness),
            (Phase::Orphaned, Liveness::Dead)
        );
        assert_eq!(orphaned.consumers.len(), 2);
        assert_eq!(orphaned.consumers[1].presence, Presence::Dead);
        let mut successor = world.actor();
        successor.ok("produce cap=8");
        successor.ok("publish n=1");
        let taken = seen(&world);
        assert_eq!(
            (taken.phase(), taken.producer.epoch, taken.published),
            (Phase::Live, 1, 6)
        );
        let mut ring = Inspector::open(world.path()).expect("open");
        successor.ok("close");
        let closed = seen(&world);
        assert_eq!((closed.phase(), closed.closed), (Phase::Closed, Some(6)));
        assert_eq!(closed.kept_for, ["away"]);
        away.ok("consume cap=8 id=away");
        away.ok("recv n=5");
        away.ok("leave");
        let removed = ring.snapshot().expect("the file is still open");
        assert_eq!(
            (removed.phase(), removed.name),
            (Phase::Removed, NameState::Gone)
        );
        world.leaves_the_name();
        let mut other = world.actor();
        other.ok("produce cap=8");
        assert_eq!(ring.snapshot().expect("still").name, NameState::Other);
        other.ok("keep");
        assert!(seen(&world).is_kept);
    }
}

#[test]
fn a_place_that_was_kept_is_not_taken_for_a_consumer() {
    let mut world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=4 ids=late");
    tx.ok("fill");
    let full = seen(&world);
    assert_eq!(
        (full.held_by.clone(), full.blocker()),
        (Some(HeldBy::Nobody), None)
    );
    tx.ok("close");
    let kept = seen(&world);
    assert_eq!(consumer(&kept, "late"), (Presence::Expected, -1, 4));
    assert_eq!(kept.consumers[0].process.to_string(), "no process");
    assert_eq!(kept.kept_for, ["late"]);
    world.leaves_the_name();
}

// only debug builds have fail points
#[cfg(debug_assertions)]
#[test]
fn a_ring_that_is_being_created_is_told_from_one_that_was_left() {
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor_with("create.locked:1:stop");
    tx.ok("forbid-nameless");
    tx.tell("produce cap=8");
    tx.expect_stopped().expect("half-way");
    let left = world.leftovers();
    let [path] = &left[..] else {
        panic!("{left:?}");
    };
    assert!(matches!(error(path), InspectError::BeingCreated { .. }));
    let found: Vec<_> = rings_in(world.directory()).expect("read").collect();
    assert_eq!(found.len(), 1);
    match remove_dead(path, true) {
        Err(RemovalError::InUse { .. } | RemovalError::Inspect(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(path.exists());
    tx.kill();
    assert!(matches!(error(path), InspectError::HalfMade { .. }));
    assert_eq!(check_removal(path).expect("checked").in_use_by, [""; 0]);
    remove_dead(path, false).expect("removed");
    assert!(!path.exists());
}

// only debug builds have fail points
#[cfg(debug_assertions)]
#[test]
fn a_lock_that_no_producer_holds_is_no_living_producer() {
    for world in World::both(ACTOR) {
        let taken = |world: &World| {
            let ring = seen(world);
            assert_eq!(
                (ring.phase(), ring.producer.liveness),
                (Phase::Locked, Liveness::Dead)
            );
            let check = check_removal(world.path()).expect("checked");
            assert_eq!(
                check.in_use_by,
                ["a living process that holds a lock of it"]
            );
            ring
        };
        let mut tx = world.actor();
        tx.ok("produce cap=8");
        tx.kill();
        let mut successor = world.actor_with("takeover.locked:1:stop");
        successor.tell("produce cap=8");
        successor.expect_stopped().expect("half-way");
        assert_eq!(taken(&world).closed, None);
        successor.resume();
        successor.expect_ok();
        assert_eq!(seen(&world).phase(), Phase::Live);
        // the last consumer of a ring that has ended removes its name
        let mut rx = world.actor();
        rx.ok("consume cap=8 id=reader");
        successor.ok("publish n=1");
        successor.ok("close");
        assert_eq!(seen(&world).phase(), Phase::Closed);
        rx.ok("arm at=drain.locked:1:stop");
        rx.tell("leave");
        rx.expect_stopped().expect("before the name is gone");
        assert_eq!(taken(&world).closed, Some(0));
        rx.resume();
        rx.expect_ok();
        assert!(!world.is_named());
    }
}

#[test]
fn other_files_are_told_apart() {
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=8");
    tx.ok("publish n=3");
    let sound = fs::read(world.path()).expect("read");
    let copy = world.directory().join("copy");
    let changed = |at: usize, bytes: &[u8], is_summed: bool| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        if is_summed {
            let sum = crc32fast::hash(&file[..480]);
            file[480..484].copy_from_slice(&sum.to_ne_bytes());
        }
        fs::write(&copy, file).expect("write");
        error(&copy)
    };
    let newer = changed(12, &2_u32.to_ne_bytes(), true);
    assert!(
        matches!(&newer, InspectError::OtherVersion { found, in_use: Liveness::Dead, .. } if found == "2")
    );
    assert_names(
        &newer.to_string(),
        &["layout version is 2", "no process holds a lock"],
    );
    for (at, bytes, is_summed, named) in [
        (80, 7_u64.to_ne_bytes(), true, "capacity"),
        (88, 0_u64.to_ne_bytes(), true, "event size and alignment"),
        (32, 1_u64.to_ne_bytes(), true, "segment length"),
        (24, 1_u64.to_ne_bytes(), true, "checksum of the label"),
        (200, 1_u64.to_ne_bytes(), false, "checksum"),
        (488, 0_u64.to_ne_bytes(), false, "state"),
    ] {
        match changed(at, &bytes, is_summed) {
            InspectError::Damaged { field, .. } => assert_eq!(field, named),
            other => panic!("{named}: {other:?}"),
        }
    }
    assert!(matches!(
        changed(0, b"not ring", false),
        InspectError::NotARing { .. }
    ));
    for length in [0, 7, 100, 511] {
        fs::write(&copy, &sound[..length]).expect("write");
        let found = error(&copy);
        let is_fit = matches!(
            &found,
            InspectError::NotARing { .. } | InspectError::Damaged { .. }
        );
        assert!(is_fit, "{length}: {found:?}");
    }
    // a living process uses the damaged one
    let file = fs::OpenOptions::new()
        .write(true)
        .open(world.path())
        .expect("open");
    file.write_all_at(&[0xff], 100).expect("write");
    assert!(matches!(
        error(&world.path()),
        InspectError::Damaged {
            in_use: Liveness::Alive,
            ..
        }
    ));
    let refused = remove_dead(world.path(), true).expect_err("in use");
    assert!(matches!(refused, RemovalError::InUse { .. }), "{refused:?}");
    file.write_all_at(&sound[100..101], 100).expect("write");
    for (path, found) in [
        (world.directory().to_owned(), "directory"),
        (world.directory().join("missing"), "there is no ring"),
        ("/dev/null".into(), "character device"),
        ("/".into(), "directory"),
    ] {
        assert_names(&error(&path).to_string(), &[found]);
    }
    fs::remove_file(&copy).expect("remove");
    std::os::unix::fs::symlink(world.path(), &copy).expect("link");
    assert_names(&error(&copy).to_string(), &["a symbolic link"]);
    // neither is counted as a ring
    let names: Vec<_> = rings_in(world.directory())
        .expect("read")
        .map(|found| found.name)
        .collect();
    assert_eq!(names, ["ring"]);
    tx.ok("close");
}

#[test]
fn a_copy_is_in_doubt_and_the_ring_is_not() {
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=8");
    assert_eq!(seen(&world).is_in_doubt, Some(false));
    let copy = world.directory().join("copy");
    fs::copy(world.path(), &copy).expect("copy");
    let mut ring = Inspector::open(&copy).expect("open");
    let copied = ring.snapshot().expect("read");
    assert_eq!(
        (copied.is_in_doubt, copied.producer.liveness),
        (Some(true), Liveness::Dead)
    );
    tx.kill();
    assert_eq!(seen(&world).is_in_doubt, Some(false));
    let mut successor = world.actor();
    successor.ok("produce cap=8");
    successor.ok("close");
}

#[test]
fn a_user_that_may_read_sees_all_and_another_one_is_told_the_owner() {
    if !needs_root("a_user_that_may_read_sees_all_and_another_one_is_told_the_owner") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    world.open_directory(0o755);
    let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
    other.ok("user id=65534");
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=reader");
    let refused = other.err("Unreadable", "inspect name=ring");
    assert_names(
        refused.text(),
        &["may not be read by user 65534 (nobody), it belongs to user 0 (root)"],
    );
    assert_eq!(refused.number("unreadable"), 1);
    // with permission to read alone, liveness is known, too
    fs::set_permissions(world.path(), fs::Permissions::from_mode(0o604)).expect("chmod");
    let shown = other.ok("inspect name=ring");
    assert_eq!(
        shown.text(),
        "ok state=live producer=alive consumers=1 unreadable=0"
    );
    rx.ok("leave");
    tx.kill();
    let shown = other.ok("inspect name=ring");
    assert_eq!(
        shown.text(),
        "ok state=orphaned producer=dead consumers=0 unreadable=0"
    );
    remove_dead(world.path(), false).expect("removed");
}

#[test]
fn a_file_that_is_cut_off_is_an_error_and_no_signal() {
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=1024");
    tx.ok("publish n=1000");
    let copy = world.directory().join("copy");
    fs::copy(world.path(), &copy).expect("copy");
    let mut ring = Inspector::open(&copy).expect("open");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&copy)
        .expect("open");
    for length in [40_000, 16_384, 8_000, 4096, 100, 0] {
        file.set_len(length).expect("cut");
        match ring.snapshot() {
            Err(InspectError::Damaged { field, .. }) => assert_eq!(field, "file length"),
            other => panic!("{length}: {other:?}"),
        }
        assert!(ring.read_event(999, &mut [0; 8]).is_err());
    }
    tx.ok("close");
}

#[test]
fn any_words_in_the_lines_are_shown_or_named() {
    let world = World::mapped_file(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=reader");
    tx.ok("publish n=6");
    rx.ok("recv n=2");
    let sound = fs::read(world.path()).expect("read");
    let copy = world.directory().join("copy");
    fs::write(&copy, &sound).expect("write");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&copy)
        .expect("open");
    let mut ring = Inspector::open(&copy).expect("open");
    let mut random = fastrand::Rng::with_seed(7);
    let mut faults = 0;
    for round in 0..2000 {
        let mut lines = sound[4096..].to_vec();
        for _ in 0..random.usize(1..20) {
            let words = if round % 2 == 0 { 200 } else { lines.len() / 8 };
            let at = random.usize(..words) * 8;
            let likely = [
                0,
                1,
                u64::MAX,
                1 << 62,
                1 << 63,
                1 << 40,
                i64::MAX as u64,
                random.u64(..),
            ];
            lines[at..at + 8].copy_from_slice(&likely[random.usize(..8)].to_ne_bytes());
        }
        file.write_all_at(&lines, CONTROL_AT).expect("write");
        let seen = ring.snapshot().expect("any words can be read");
        assert!(seen.consumers.len() <= 64);
        assert!(seen.consumers.iter().all(|consumer| consumer.lag <= 8));
        faults += usize::from(!seen.faults.is_empty());
        let _ = ring
            .read_event(random.i64(..), &mut [0; 100])
            .expect("any sequence");
        check_removal(&copy).expect("checked");
    }
    assert!(faults > 20, "{faults}");
    // a position that no event has is named
    let mut lines = sound[4096..].to_vec();
    lines[1024..1032].copy_from_slice(&77_i64.to_ne_bytes());
    file.write_all_at(&lines, CONTROL_AT).expect("write");
    let seen = ring.snapshot().expect("read");
    assert_names(
        &seen.faults.join(" "),
        &["consumer line 0 has released 77", "5 is the last"],
    );
    rx.ok("leave");
    tx.ok("close");
}

#[test]
fn events_are_whole_or_gone_while_the_producer_laps() {
    for observers in ["", " observers"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok(&format!("produce cap=16{observers}"));
        rx.ok("consume cap=16 id=reader strategy=yield");
        tx.tell("publish n=300000");
        rx.tell("recv n=300000");
        let mut ring = Inspector::open(world.path()).expect("open");
        let mut bytes = [0; size_of::<Record>()];
        let (mut whole, mut next) = (0, 0);
        let end = Instant::now() + Duration::from_secs(60);
        while next < 300_000 && Instant::now() < end {
            match ring.read_event(next, &mut bytes).expect("read") {
                Sighting::Whole => {
                    assert_eq!(bytes, bytes_of(&Record::of(next)), "event {next}");
                    whole += 1;
                    next += 1;
                }
                Sighting::NotYet => std::thread::yield_now(),
                _ => next = (ring.snapshot().expect("read").published - 4).max(next + 1),
            }
        }
        // the last one is whole, as nothing follows it
        assert!(whole > 0, "no event was read");
        println!("{whole} events were read");
        tx.expect_ok();
        rx.expect_ok();
        rx.ok("leave");
        tx.ok("close");
    }
}

/// A record's words in order.
fn bytes_of(record: &Record) -> [u8; size_of::<Record>()] {
    let words = [
        record.number,
        record.writer,
        record.batch_first,
        record.batch_len,
    ];
    let words = words
        .iter()
        .chain(&record.words)
        .flat_map(|word| word.to_ne_bytes());
    words.collect::<Vec<_>>().try_into().expect("seven words")
}

#[test]
fn only_dead_rings_are_removed_and_losses_are_named() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=3");
        let in_use = |named: &str| match remove_dead(world.path(), true) {
            Err(RemovalError::InUse { by, .. }) => assert_names(&by.join(", "), &[named]),
            other => panic!("{other:?}"),
        };
        in_use("its producer, pid");
        tx.kill();
        in_use("consumer \"reader\"");
        rx.ok("recv n=1");
        rx.kill();
        match remove_dead(world.path(), false) {
            Err(RemovalError::WouldLose { losses, .. }) => {
                let text = losses.join("; ");
                assert_names(
                    &text,
                    &[
                        "place of consumer \"reader\", which is away",
                        "2 unread events",
                    ],
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(world.is_named());
        assert_eq!(remove_dead(world.path(), true).expect("removed").len(), 1);
        assert!(!world.is_named());
        assert!(matches!(
            remove_dead(world.path(), true),
            Err(RemovalError::Inspect(InspectError::NotFound { .. }))
        ));
    }
}

#[test]
fn events_that_no_consumer_has_read_are_a_loss_and_read_ones_are_none() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    tx.ok("publish n=3");
    tx.kill();
    let check = check_removal(world.path()).expect("checked");
    assert_eq!(check.losses, ["3 events that no consumer has read"]);
    let mut tx = world.actor();
    tx.ok("produce cap=8");
    rx.ok("consume cap=8");
    rx.ok("recv n=3");
    tx.kill();
    rx.kill();
    assert_eq!(
        check_removal(world.path()).expect("checked"),
        Default::default()
    );
    assert_eq!(remove_dead(world.path(), false).expect("removed"), [""; 0]);
}
