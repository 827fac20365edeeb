//! Refusals by the system are reported by their cause: the call that failed, the limit or permission behind it,
//! and what to do. Each of these errors has an errno that other causes have, too.

#[path = "../../disruptor-mp/tests/warnings/mod.rs"]
mod warnings;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use myelon_tests::{World, assert_names, needs_root, permissions_of_mappings};
use warnings::Warnings;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
const NOBODY: &str = "user id=65534";

const EPERM: i32 = libc::EPERM;

/// A ring in a file, in a directory that every user may write.
fn open_to_all() -> World {
    let world = World::mapped_file(ACTOR);
    world.open_directory(0o777);
    world
}

/// Asserts that the text has none of the words.
#[track_caller]
fn assert_lacks(text: &str, words: &[&str]) {
    for word in words {
        assert!(!text.contains(word), "'{word}' in: {text}");
    }
}

/// The error text of creating a ring after the actor got `lines`.
#[track_caller]
fn refused(world: &World, kind: &str, lines: &[&str]) -> String {
    let mut actor = world.actor();
    for line in lines {
        actor.ok(line);
    }
    let reply = actor.err(kind, "produce cap=8");
    reply.text().to_owned()
}

#[test]
fn the_error_for_another_users_ring_names_that_user() {
    if !needs_root("the_error_for_another_users_ring_names_that_user") {
        return;
    }
    for world in World::both(ACTOR) {
        world.open_directory(0o777);
        let (mut tx, mut root) = (world.actor(), world.actor());
        tx.ok(NOBODY);
        tx.ok("produce cap=8 observers");
        tx.ok("publish n=2");
        for line in [
            "consume cap=8 id=reader",
            "observe cap=8",
            "produce cap=8",
            "produce cap=8 recreate",
        ] {
            let reply = root.err("ForeignOwner", line);
            let path = world.path().display().to_string();
            let words = [
                &path,
                "user 65534 (nobody)",
                "user 0 (root)",
                "allow_any_owner",
            ];
            assert_names(reply.text(), &words);
            assert_lacks(reply.text(), &["remove", "is not a ring"]);
        }
        root.ok("consume cap=8 id=reader any-owner");
        root.ok("recv n=2").assert_saw(0, 1);
        root.ok("leave");
        tx.ok("close");
    }
}

#[test]
fn an_observer_needs_permission_to_read_and_no_more() {
    if !needs_root("an_observer_needs_permission_to_read_and_no_more") {
        return;
    }
    for world in World::both(ACTOR) {
        world.open_directory(0o777);
        let (mut tx, mut observer, mut other) = (world.actor(), world.actor(), world.actor());
        observer.ok(NOBODY);
        other.ok(NOBODY);
        tx.ok("produce cap=8 mode=644 observers");
        tx.ok("publish n=3");
        observer.err("ForeignOwner", "observe cap=8");
        observer.ok("observe cap=8 any-owner start=oldest strategy=block");
        assert_eq!(
            permissions_of_mappings(observer.pid(), &world.path()),
            ["r--s"],
            "nothing can be stored to"
        );
        for sequence in 0..3 {
            let seen = observer.ok("see");
            assert_eq!(seen.text(), format!("ok sequence={sequence} whole=true"));
        }
        // it waits for later events, although no process can wake it
        observer.tell("see");
        assert!(observer.is_silent_for(Duration::from_millis(50)));
        tx.ok("publish n=1");
        assert_eq!(observer.expect_ok().number("sequence"), 3);
        observer.err("Timeout", "see ms=20");
        let cancelled = other.ok("cancel-observer cap=8 any-owner start=latest strategy=block");
        assert_eq!(cancelled.text(), "ok end=Cancelled");
        // it is overtaken, and then the ring ends
        tx.ok("publish n=30");
        observer.err("Lagged", "see");
        observer.ok("see");
        tx.ok("close");
        assert_names(observer.ok("watch").text(), &["end=Closed"]);
    }
}

#[test]
fn an_observer_that_may_only_read_is_told_of_a_death_and_a_successor() {
    if !needs_root("an_observer_that_may_only_read_is_told_of_a_death_and_a_successor") {
        return;
    }
    let world = open_to_all();
    let (mut tx, mut observer, mut successor) = (world.actor(), world.actor(), world.actor());
    observer.ok(NOBODY);
    tx.ok("produce cap=8 mode=644 observers");
    tx.ok("publish n=1");
    observer.ok("observe cap=8 any-owner start=oldest strategy=block interval_ms=5");
    observer.ok("see");
    observer.tell("see");
    tx.kill();
    assert_names(observer.expect_err("ProducerDead").text(), &["successor"]);
    successor.ok("produce cap=8");
    successor.ok("publish n=1");
    assert_eq!(observer.ok("see").number("sequence"), 1);
    successor.ok("close");
    observer.err("Closed", "see");
}

#[test]
fn an_observer_attaches_where_the_file_system_is_read_only() {
    if !needs_root("an_observer_attaches_where_the_file_system_is_read_only") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    let (mut tx, mut observer) = (world.actor(), world.actor());
    tx.ok("produce cap=8 observers");
    tx.ok("publish n=1");
    observer.ok("read-only");
    let refused = observer.err("Io", "consume cap=8 id=reader");
    let directory = world.directory().display().to_string();
    let words = [
        "could not open its file",
        "read-only",
        &directory,
        "an observer of a ring can",
    ];
    assert_names(refused.text(), &words);
    observer.ok("observe cap=8 start=oldest");
    assert_eq!(observer.ok("see").number("sequence"), 0);
    tx.ok("close");
}

#[test]
fn a_consumer_is_told_that_it_needs_to_write_and_a_group_lets_it() {
    if !needs_root("a_consumer_is_told_that_it_needs_to_write_and_a_group_lets_it") {
        return;
    }
    for mode in ["600", "644", "640", "660"] {
        let world = open_to_all();
        let (mut tx, mut member, mut stranger) = (world.actor(), world.actor(), world.actor());
        member.ok("user id=65534 group=0");
        stranger.ok(NOBODY);
        tx.ok(&format!("produce cap=8 observers mode={mode}"));
        let named = format!("mode 0{mode}");
        let words = [
            "user 0 (root)",
            &named,
            "write",
            "with_mode(0o660)",
            "group",
        ];
        for line in [
            "consume cap=8 id=reader any-owner",
            "produce cap=8 any-owner",
        ] {
            let refused = stranger.err("PermissionDenied", line);
            assert_names(refused.text(), &words);
        }
        match mode {
            "660" => {
                member.ok("consume cap=8 id=reader any-owner");
                member.ok("leave");
            }
            _ => {
                let refused = member.err("PermissionDenied", "consume cap=8 any-owner");
                assert_names(refused.text(), &words);
            }
        }
        let reads = "observe cap=8 any-owner";
        match mode {
            "600" => {
                let refused = member.err("PermissionDenied", reads);
                assert_names(refused.text(), &["read", "with_mode(0o640)", "mode 0600"]);
            }
            _ => drop(member.ok(reads)),
        }
        match mode {
            "644" => drop(stranger.ok(reads)),
            _ => drop(stranger.err("PermissionDenied", reads)),
        }
        tx.ok("close");
    }
}

#[test]
fn a_forbidden_call_is_named_and_is_no_matter_of_the_rings_mode() {
    for (call, step) in [
        ("linkat", "give its file its name (linkat)"),
        ("fallocate", "reserve its space (fallocate)"),
        (
            "fstatfs",
            "ask what kind of file system it lies on (fstatfs)",
        ),
        ("madvise", "keep its mapping from forked children (madvise)"),
    ] {
        for world in World::both(ACTOR) {
            for errno in [EPERM, libc::EACCES, libc::ENOSYS] {
                if call == "fallocate" && errno == libc::ENOSYS {
                    continue; // the library writes zeros in this case
                }
                let forbid = format!("forbid call={call} errno={errno}");
                let text = refused(&world, "Io", &[&forbid]);
                let denies = format!("denies {call}");
                assert_names(&text, &[step, &denies, "seccomp", "security module"]);
                assert_lacks(&text, &["private", "with_mode"]);
            }
        }
    }
}

#[test]
fn a_forbidden_call_of_an_attaching_consumer_is_named_too() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok(&format!("forbid call=fstatfs errno={EPERM}"));
    let text = rx.err("Io", "consume cap=8").text().to_owned();
    assert_names(&text, &["could not ask", "denies fstatfs"]);
    tx.ok("close");
}

#[test]
fn missing_locks_are_named() {
    for world in World::both(ACTOR) {
        let forbid = format!("forbid call=locks errno={}", libc::EINVAL);
        let words = ["lock its file", "F_OFD_SETLK", "Linux 3.15"];
        let text = refused(&world, "Io", &[&forbid]);
        assert_names(&text, &words);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8 observers");
        rx.ok(&forbid);
        for line in ["consume cap=8 id=reader", "observe cap=8"] {
            assert_names(rx.err("Io", line).text(), &words);
        }
        tx.ok("close");
    }
}

/// How a process comes to a ring that is there.
const ATTACHING: [&str; 2] = [
    "consume cap=65536 id=reader any-owner",
    "observe cap=65536 any-owner",
];

#[test]
fn a_limit_of_locked_memory_is_named_with_its_number() {
    if !needs_root("a_limit_of_locked_memory_is_named_with_its_number") {
        return;
    }
    let world = open_to_all();
    let mut actor = world.actor();
    actor.ok("limit what=locked max=1048576");
    actor.ok(NOBODY);
    actor.ok("lock-all");
    let text = actor.err("Io", "produce cap=65536").text().to_owned();
    let words = [
        "map its file (mmap)",
        "RLIMIT_MEMLOCK",
        "1048576",
        "mlockall",
        "ulimit -l",
    ];
    assert_names(&text, &words);
    let mut tx = world.actor();
    tx.ok("produce cap=65536 observers mode=666");
    for line in ATTACHING {
        assert_names(actor.err("Io", line).text(), &words);
    }
    tx.ok("close");
}

#[test]
fn a_limit_of_address_space_is_named_with_its_number() {
    let world = World::shared_memory(ACTOR);
    let mut actor = world.actor();
    let limit = actor.ok("limit what=address-space more=2000000");
    let max = limit.number("max").to_string();
    let words = ["map its file (mmap)", "RLIMIT_AS", &max, "ulimit -v"];
    let text = actor.err("Io", "produce cap=65536").text().to_owned();
    assert_names(&text, &words);
    let mut tx = world.actor();
    tx.ok("produce cap=65536 observers");
    for line in ATTACHING {
        assert_names(actor.err("Io", line).text(), &words);
    }
    tx.ok("close");
}

#[test]
fn a_limit_of_mappings_is_named_with_its_number() {
    let name = "a_limit_of_mappings_is_named_with_its_number";
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    let limit = limit.trim();
    if limit.parse().is_ok_and(|limit: u64| limit > 1 << 21) {
        return myelon_tests::skip(name, "vm.max_map_count is too large to be reached");
    }
    let world = World::shared_memory(ACTOR);
    let text = refused(&world, "Io", &["fill-maps"]);
    assert_names(&text, &["vm.max_map_count", limit, "mappings"]);
}

#[test]
fn a_limit_of_descriptors_is_named_with_its_number() {
    let world = World::shared_memory(ACTOR);
    let text = refused(&world, "Io", &["limit what=files max=3"]);
    assert_names(&text, &["RLIMIT_NOFILE", "3 descriptors", "ulimit -n"]);
    let forbid = format!("forbid call=openat errno={}", libc::ENFILE);
    let text = refused(&world, "Io", &[&forbid]);
    assert_names(&text, &["fs.file-max"]);
    assert_lacks(&text, &["RLIMIT_NOFILE"]);
}

#[test]
fn a_limit_of_file_sizes_is_named_with_its_number() {
    let world = World::shared_memory(ACTOR);
    let mut actor = world.actor();
    actor.ok("limit what=file-size max=8192");
    let text = actor.err("Io", "produce cap=64").text().to_owned();
    assert_names(&text, &["RLIMIT_FSIZE", "8192", "ulimit -f"]);
    assert_lacks(&text, &["free some"]);
}

#[test]
fn a_file_system_without_inodes_is_not_said_to_be_full() {
    if !needs_root("a_file_system_without_inodes_is_not_said_to_be_full") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    let mut actor = world.actor();
    actor.ok("tmpfs size=1m inodes=1");
    let text = actor.err("Io", "produce cap=8").text().to_owned();
    let words = ["create its file", "0 inodes", "df -i", "nr_inodes"];
    assert_names(&text, &words);
}

#[test]
fn a_quota_is_named() {
    let world = World::shared_memory(ACTOR);
    let forbid = format!("forbid call=fallocate errno={}", libc::EDQUOT);
    let text = refused(&world, "Io", &[&forbid]);
    assert_names(&text, &["reserve its space", "quota of user"]);
}

#[test]
fn a_read_only_file_system_is_named() {
    if !needs_root("a_read_only_file_system_is_named") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    let text = refused(&world, "Io", &["read-only"]);
    let directory = world.directory().display().to_string();
    assert_names(&text, &["create its file", &directory, "mounted read-only"]);
}

#[test]
fn a_missing_directory_of_shared_memory_is_named() {
    if !needs_root("a_missing_directory_of_shared_memory_is_named") {
        return;
    }
    let world = World::shared_memory(ACTOR);
    let mut actor = world.actor();
    actor.ok("no-shared-memory");
    for line in ["produce cap=8", "consume cap=8", "observe cap=8"] {
        let text = actor.err("Io", line).text().to_owned();
        assert_names(&text, &["'/dev/shm' is missing", "tmpfs"]);
        assert_lacks(&text, &["start its producer first"]);
    }
}

#[test]
fn a_closed_directory_is_named_with_its_owner() {
    if !needs_root("a_closed_directory_is_named_with_its_owner") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    for (mode, what, lines) in [
        (0o755, "create or remove files in", &["produce cap=8"][..]),
        (
            0o700,
            "enter",
            &["produce cap=8", "consume cap=8", "observe cap=8"],
        ),
    ] {
        world.open_directory(mode);
        let mut actor = world.actor();
        actor.ok(NOBODY);
        for line in lines {
            let text = actor.err("PermissionDenied", line).text().to_owned();
            let directory = format!("'{}'", world.directory().display());
            let shown = format!("mode {mode:04o}");
            let words = [
                &*directory,
                what,
                "user 65534 (nobody)",
                "user 0 (root)",
                &shown,
            ];
            assert_names(&text, &words);
            assert_lacks(&text, &["private", "with_mode"]);
        }
    }
}

/// Counters files are handled like any other file: their errors name the same causes.
#[test]
fn counters_files_name_the_cause_as_well() {
    let world = World::mapped_file(ACTOR);
    let path = world.directory().join("counters");
    let line = format!("counters path={}", path.display());
    let mut actor = world.actor();
    actor.ok(&format!("forbid call=fallocate errno={EPERM}"));
    let text = actor.err("Io", &line).text().to_owned();
    assert_names(&text, &["reserve its space (fallocate)", "seccomp"]);
    assert!(!path.exists());

    fs::write(&path, [7; 4096]).expect("write");
    let mut actor = world.actor();
    let text = actor.err("NotACountersFile", &line).text().to_owned();
    assert_names(&text, &["choose another path", "it was left as it is"]);
    fs::remove_file(&path).expect("remove");
    if !needs_root("counters_files_name_the_cause_as_well") {
        return;
    }
    world.open_directory(0o777);
    world.actor().ok(&line);
    let mut actor = world.actor();
    actor.ok(NOBODY);
    let text = actor.err("PermissionDenied", &line).text().to_owned();
    assert_names(&text, &["user 0 (root)", "mode 0600"]);
}

#[test]
fn a_consumer_that_may_not_remove_a_drained_rings_name_is_told() {
    if !needs_root("a_consumer_that_may_not_remove_a_drained_rings_name_is_told") {
        return;
    }
    for world in World::both(ACTOR) {
        world.open_directory(0o1777);
        // a consumer that detaches keeps its place, and one that leaves gives it up, also with events unread
        for (drains, ending, places) in
            [(true, "detach", 1), (true, "leave", 0), (false, "leave", 0)]
        {
            let (mut tx, mut rx) = (world.actor(), world.actor());
            rx.ok(NOBODY);
            tx.ok("produce cap=8 mode=666");
            rx.ok("consume cap=8 id=reader any-owner");
            tx.ok("publish n=3");
            assert_names(tx.ok("close").text(), &["kept=reader"]);
            if drains {
                assert_names(rx.ok("drain").text(), &["end=Closed"]);
            }
            let text = rx.err("Io", ending).text().to_owned();
            assert_names(&text, &STAYS);
            assert!(world.is_named(), "it is said because it is so");
            // the consumer has gone, and the owner of the name removes it
            let mut next = world.actor();
            next.ok("produce cap=8");
            assert_eq!(next.ok("count").number("consumers"), places, "{ending}");
            next.ok("destroy");
            assert!(!world.is_named());
        }
        // where every user may remove names from the directory, the last consumer removes the name
        if world.directory() != Path::new("/dev/shm") {
            world.open_directory(0o777);
            for ending in ["detach", "leave"] {
                let (mut tx, mut rx) = (world.actor(), world.actor());
                rx.ok(NOBODY);
                tx.ok("produce cap=8 mode=666");
                rx.ok("consume cap=8 id=reader any-owner");
                tx.ok("publish n=3");
                tx.ok("close");
                rx.ok("drain");
                rx.ok(ending);
                assert!(!world.is_named());
            }
        }
    }
}

/// What a consumer is told that may not remove the name of a ring that it has drained.
const STAYS: [&str; 4] = [
    "remove its name (unlink)",
    "sticky",
    "user 0 (root)",
    "stays",
];

#[test]
fn a_consumer_of_messages_that_may_not_remove_the_name_is_told() {
    if !needs_root("a_consumer_of_messages_that_may_not_remove_the_name_is_told") {
        return;
    }
    for what in ["messages", "values"] {
        for ending in ["detach", "leave"] {
            let world = World::shared_memory(ACTOR);
            let name = world.name();
            let line = format!("drain-as-another what={what} ending={ending} name={name}");
            let told = world.actor().err("Io", &line);
            assert_names(told.text(), &STAYS);
            assert!(world.is_named(), "it is said because it is so");
            fs::remove_file(world.path()).expect("the owner removes it");
        }
    }
}

#[test]
fn relative_paths_stay_where_they_are_when_the_program_moves() {
    let world = World::mapped_file(ACTOR);
    let said = world.actor().ok("move-about");
    let counters = world.directory().join("counters");
    let expected = format!("ok left=0 there=true counters={}", counters.display());
    assert_eq!(said.text(), expected);
}

#[test]
fn errors_of_a_session_name_the_session_and_the_direction() {
    use myelon::transport::FixedFrame;
    use myelon::{RunnerMyelonTransportConfig, Scheduler, Worker};
    type Frame = FixedFrame<64>;

    let label = format!(
        "llama-70b of {}",
        disruptor_mp::portable_shm_segment_name("names")
    );
    let config = RunnerMyelonTransportConfig::new(&label, 2);
    let name = config.layout().expect("names");
    let scheduler = Scheduler::<Frame>::start(&config).expect("a scheduler");
    let second = Scheduler::<Frame>::start(&config).expect_err("one is alive");
    let session = format!("session {label}");
    let pid = format!("pid {}", std::process::id());
    assert_names(&second.to_string(), &["the scheduler", &label, &pid]);
    let worker = Worker::<Frame>::start(&config, 1).expect("a worker");
    let second = Worker::<Frame>::start(&config, 1).expect_err("one is alive");
    assert_names(&second.to_string(), &["worker 1", &label, &pid]);
    let other = Scheduler::<FixedFrame<128>>::start(&config).expect_err("another frame");
    assert_names(&other.to_string(), &[&label]);

    let layout = disruptor_mp::attach_shared_consumer::<u64>(&name.response_ring_name(1), 8);
    let misfit = layout.build_consumer().expect_err("another event");
    assert_names(&misfit.to_string(), &["expected u64 (layout id"]);
    assert_lacks(&misfit.to_string(), &["u64 u64"]);
    let deep = config.transport.clone().with_rpc_depth(8);
    let deep = config.clone().with_transport(deep);
    let misfit = Worker::<Frame>::start(&deep, 0).expect_err("another depth");
    assert_names(
        &misfit.to_string(),
        &[&session, "to its workers", "8 slots"],
    );
    worker.leave().expect("it leaves");
    scheduler.close().expect("it closes");
}

/// What a full ring of a session waits for, in the error of the call that waited and by `blocked_on()`.
#[test]
fn what_a_session_waits_for_names_the_session_and_the_direction() {
    use disruptor_mp::Deadline;
    use myelon::transport::{FixedFrame, FramedTransportProducer};
    use myelon::{RunnerMyelonTransportConfig, Scheduler, Worker};
    type Frame = FixedFrame<64>;

    fn fill(ring: &mut FramedTransportProducer<Frame>) {
        while ring.try_publish(b"request", 1).is_ok() {}
    }

    /// Asserts that both texts name the ring, its session and its direction.
    #[track_caller]
    fn assert_says(ring: &mut FramedTransportProducer<Frame>, words: &[&str]) {
        let waited = ring.send(b"late", 1, Deadline::after(Duration::from_millis(20)));
        assert_names(&waited.expect_err("it is full").to_string(), words);
        let blocked = ring.ring().blocked_on().expect("it is full");
        assert_names(&blocked.to_string(), words);
    }

    let label = format!(
        "llama-70b of {}",
        disruptor_mp::portable_shm_segment_name("waits")
    );
    let session = format!("session {label}");
    let config = RunnerMyelonTransportConfig::new(&label, 1);
    let names = config.layout().expect("names");
    let requests = names.rpc_ring_name();
    let worker_id = config.worker_id(0);
    let mut scheduler = Scheduler::<Frame>::start(&config).expect("a scheduler");
    fill(scheduler.requests());
    let words = [&*requests, &session, "to its workers", &worker_id];
    assert_says(scheduler.requests(), &words);
    let mut worker = Worker::<Frame>::start(&config, 0).expect("a worker");
    assert_says(scheduler.requests(), &words);
    fill(worker.responses());
    let answers = names.response_ring_name(0);
    assert_says(
        worker.responses(),
        &[&answers, &session, "from worker 0", "scheduler"],
    );
    scheduler.close().expect("it closes");
    worker.leave().expect("it leaves");
}

#[test]
fn a_warning_about_a_sessions_ring_names_the_session_and_the_direction() {
    use disruptor_mp::RequiredConsumerLivenessConfig;
    use myelon::transport::FixedFrame;
    use myelon::{RunnerMyelonTransportConfig, Scheduler};

    let label = format!(
        "llama-70b of {}",
        disruptor_mp::portable_shm_segment_name("warns")
    );
    let config = RunnerMyelonTransportConfig::new(&label, 1);
    let name = config.layout().expect("names").rpc_ring_name();
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let mut scheduler = Scheduler::<FixedFrame<64>>::start(&config).expect("a scheduler");
        let required = RequiredConsumerLivenessConfig::new(["nobody"])
            .with_startup_wait_timeout(Duration::from_millis(1));
        let requests = scheduler.requests();
        requests.enable_required_consumer_liveness(required);
        requests
            .publish_managed(b"request", 1)
            .expect_err("nobody is not there");
        scheduler.close().expect("it closes");
    });
    let warnings = warnings.texts();
    let session = format!("session {label}");
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_names(warning, &[&name, &session, "to its workers", "nobody"]);
}

#[test]
fn ids_of_counters_have_names_in_debug_output() {
    use disruptor_mp::{CounterId, CountersFile};

    let id = CounterId::EVENTS_PUBLISHED;
    assert_eq!(format!("{id:?}"), "CounterId(events_published 0x10)");
    let file = CountersFile::anonymous();
    let mine = file.counter(0x102, "orders").expect("a counter");
    assert_names(
        &format!("{:?} {mine:?}", file.snapshot()),
        &["CounterId(0x102)"],
    );
    let refused = file.counter(id, "mine").expect_err("not a program's own");
    assert_names(&format!("{refused:?}"), &["events_published"]);
}

/// Counts how often a directory is read, as inotify reports it.
struct Readings(nix::sys::inotify::Inotify);

impl Readings {
    fn of(directory: &Path) -> Self {
        use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
        let inotify =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
        let flags = AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, flags).expect("a watch");
        Self(inotify)
    }

    /// How often the directory was read since the last call. Two readings in direct succession may count as one.
    fn count(&self) -> usize {
        use nix::sys::inotify::AddWatchFlags;
        let events = self.0.read_events().unwrap_or_default();
        let of_directory = |event: &&nix::sys::inotify::InotifyEvent| {
            event.mask.contains(AddWatchFlags::IN_ISDIR) && event.name.is_none()
        };
        events.iter().filter(of_directory).count()
    }
}

#[test]
fn creating_a_ring_does_not_read_its_directory() {
    let world = World::mapped_file(ACTOR);
    let readings = Readings::of(world.directory());
    let mut tx = world.actor();
    let mut rx = world.actor();
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=reader");
    tx.ok("publish n=1");
    rx.ok("recv n=1");
    tx.ok("close");
    rx.err("Closed", "recv");
    assert_eq!(readings.count(), 0, "from the creation to the end");
    // without nameless files the creator must search for leftovers, and the watch must report that
    let mut old = world.actor();
    old.ok("forbid-nameless");
    old.ok("produce cap=8");
    assert!(readings.count() > 0, "the control");
    old.ok("destroy");
}

/// Measured in time: beside many files, creating a ring takes as long as without them.
#[test]
fn many_files_beside_a_ring_do_not_slow_its_creation() {
    use disruptor_mp::{MmapProducer, MmapTransportLayout};
    const FILES: usize = 30_000;

    let empty = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let crowded = tempfile::tempdir_in("/dev/shm").expect("a directory");
    for index in 0..FILES {
        fs::File::create(crowded.path().join(index.to_string())).expect("a file");
    }
    let took = |directory: &Path| {
        let layout = MmapTransportLayout::new(directory, "ring");
        let begun = Instant::now();
        let tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("a ring");
        let took = begun.elapsed();
        tx.close().expect("it closes");
        took
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..60 {
        best[0] = best[0].min(took(empty.path()));
        best[1] = best[1].min(took(crowded.path()));
    }
    let [alone, beside] = best;
    assert!(
        beside <= alone * 3 / 2,
        "{beside:?} beside {FILES} files, {alone:?} alone"
    );
}
