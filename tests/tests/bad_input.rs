//! Mistakes of callers: names, capacities, layouts, ids, and names that another file has.
//!
//! Each error names what was found, what was expected and what to do.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use disruptor_mp::{
    Deadline, Event, HeapRing, MmapConsumer, MmapProducer, MmapTransportLayout, MultiProcessError,
    attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name, publisher,
    subscribe_within, subscriber,
};
use myelon_tests::assert_names;

#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
struct Tick {
    price: i64,
    quantity: u64,
}

#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
struct Quote {
    price: i64,
    volume: u64,
}

#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
struct Wide {
    words: [u64; 30],
}

fn shm(name: &str) -> std::path::PathBuf {
    std::path::Path::new("/dev/shm").join(name)
}

#[track_caller]
fn text_of<T>(
    result: Result<T, MultiProcessError>,
    is_kind: fn(&MultiProcessError) -> bool,
) -> String {
    let error = result.map(drop).expect_err("must be refused");
    assert!(is_kind(&error), "{error:?}");
    error.to_string()
}

#[test]
fn unknown_name() {
    let name = portable_shm_segment_name("none");
    let is_not_found = |error: &_| matches!(error, MultiProcessError::NotFound { .. });
    let path = shm(&name).display().to_string();
    let words = [
        "no ring named",
        &name,
        &path,
        "start its producer first",
        "subscribe_within",
    ];
    assert_names(&text_of(subscriber::<Tick>(&name), is_not_found), &words);
    let attach = attach_shared_consumer::<Tick>(&name, 8)
        .with_consumer_id("a")
        .build_consumer();
    assert_names(&text_of(attach, is_not_found), &words);
    let layout = MmapTransportLayout::new("/nonexistent/directory", "ring");
    let attach = MmapConsumer::<Tick>::attach(&layout, 8, "a");
    assert_names(
        &text_of(attach, is_not_found),
        &["'ring'", "/nonexistent/directory/ring"],
    );
    assert!(!std::path::Path::new("/nonexistent").exists());
    let begun = Instant::now();
    let patience = Duration::from_millis(30);
    assert_names(
        &text_of(subscribe_within::<Tick>(&name, patience), is_not_found),
        &words,
    );
    assert!(begun.elapsed() >= patience);
}

#[test]
fn a_consumer_that_waits_for_its_ring_gets_it() {
    let name = portable_shm_segment_name("late");
    let later = name.clone();
    let producer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut tx = publisher::<Tick>(&later, 8).expect("create");
        tx.publish(|tick| tick.price = 7);
        tx
    });
    let mut rx = subscribe_within::<Tick>(&name, Duration::from_secs(60)).expect("it came");
    assert_eq!(rx.recv(Deadline::NEVER).expect("published").price, 7);
    drop(producer.join().expect("no panic"));
    assert!(!shm(&name).exists());
}

#[test]
fn wrong_capacity() {
    let name = portable_shm_segment_name("cap");
    let tx = publisher::<Tick>(&name, 64).expect("create");
    let attach = attach_shared_consumer::<Tick>(&name, 128).build_consumer();
    let text = text_of(attach, |e| {
        matches!(e, MultiProcessError::IncompatibleLayout { .. })
    });
    assert_names(
        &text,
        &[
            &name,
            "capacity",
            "is 64 slots",
            "expected 128 slots",
            "use the same on both sides",
        ],
    );
    let rx =
        subscriber::<Tick>(&name).expect("a consumer that asks for no capacity takes the ring's");
    assert_eq!((rx.capacity(), tx.get_consumer_count()), (64, 1));
}

#[test]
fn wrong_event_layout_prints_both() {
    let name = portable_shm_segment_name("evt");
    let tx = publisher::<Tick>(&name, 64).expect("create");
    let incompatible = |e: &_| matches!(e, MultiProcessError::IncompatibleLayout { .. });
    let renamed = text_of(subscriber::<Quote>(&name), incompatible);
    let words = [
        "event layout",
        "Tick",
        "price",
        "quantity",
        "Quote",
        "volume",
        "layout id",
    ];
    assert_names(&renamed, &words);
    let wider = text_of(subscriber::<Wide>(&name), incompatible);
    assert_names(&wider, &["Tick", "Wide", "words", "30"]);
    assert_eq!(tx.get_consumer_count(), 0);
}

#[test]
fn invalid_names_are_refused() {
    let long = "x".repeat(201);
    for (name, reason) in [
        ("", "it is empty"),
        (long.as_str(), "longer than 200 bytes"),
        ("a/b", "slash"),
        ("/ticks", "slash"),
        ("..", "dot"),
        (".", "dot"),
        (".hidden", "dot"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
    ] {
        let invalid = |e: &_| matches!(e, MultiProcessError::InvalidName { .. });
        let words = ["is not a valid ring name", reason];
        assert_names(&text_of(publisher::<Tick>(name, 8), invalid), &words);
        assert_names(&text_of(subscriber::<Tick>(name), invalid), &words);
        let files = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(files.path(), name);
        assert_names(
            &text_of(
                MmapProducer::<Tick>::create(&layout, 8, Tick::default),
                invalid,
            ),
            &words,
        );
        assert_names(
            &text_of(MmapConsumer::<Tick>::attach(&layout, 8, "a"), invalid),
            &words,
        );
        assert_eq!(fs::read_dir(files.path()).expect("list").count(), 0);
    }
    let longest = format!("{}{}", portable_shm_segment_name("long"), "x".repeat(186));
    let tx = publisher::<Tick>(&longest, 8).expect("200 bytes are a name");
    drop(tx);
    assert!(!shm(&longest).exists());
}

#[test]
fn invalid_capacities_are_refused() {
    let name = portable_shm_segment_name("cap");
    for (capacity, reason) in [
        (0, "at least one slot"),
        (3, "power of two"),
        (1000, "power of two"),
        (1 << 45, "too large to map"),
        (1 << 63, "too large to map"),
    ] {
        let invalid = |e: &_| matches!(e, MultiProcessError::InvalidCapacity { .. });
        let words = [&format!("{capacity} slots"), "16 bytes", reason];
        assert_names(
            &text_of(publisher::<Tick>(&name, capacity), invalid),
            &words,
        );
        assert_names(
            &text_of(HeapRing::<Tick>::new(capacity), invalid),
            &[reason],
        );
        assert!(!shm(&name).exists());
    }
    let first = build_shared_single_producer::<Tick>(&name, 8)
        .with_first_sequence(-1)
        .build_zeroed_producer();
    let text = text_of(first, |e| {
        matches!(e, MultiProcessError::InvalidCapacity { .. })
    });
    assert_names(&text, &["first sequence"]);
}

#[test]
fn a_ring_larger_than_the_machines_memory_is_refused() {
    let name = portable_shm_segment_name("huge");
    let result = publisher::<Tick>(&name, 1 << 39);
    let text = text_of(result, |e| matches!(e, MultiProcessError::NoSpace { .. }));
    assert_names(
        &text,
        &["no space", &name, "bytes needed", "free", "make it smaller"],
    );
    assert!(!shm(&name).exists());
}

#[test]
fn invalid_ids_are_refused() {
    let name = portable_shm_segment_name("ids");
    let mut tx = publisher::<Tick>(&name, 8).expect("create");
    let long = "i".repeat(49);
    for (id, reason) in [
        ("", "it is empty"),
        (long.as_str(), "longer than 48 bytes"),
        ("a\0b", "NUL"),
    ] {
        let invalid = |e: &_| matches!(e, MultiProcessError::InvalidConsumerId { .. });
        let words = ["is not a valid consumer id", reason];
        let attach = attach_shared_consumer::<Tick>(&name, 8)
            .with_consumer_id(id)
            .build_consumer();
        assert_names(&text_of(attach, invalid), &words);
        assert_names(&text_of(tx.remove_consumer(id), invalid), &words);
        assert_names(&text_of(tx.expect_consumer_id(id), invalid), &words);
    }
    let longest = "i".repeat(48);
    let rx = attach_shared_consumer::<Tick>(&name, 8)
        .with_consumer_id(&longest)
        .build_consumer();
    assert_eq!(rx.expect("48 bytes are an id").consumer_id(), longest);
    assert_eq!(tx.get_consumer_count(), 1);
}

#[test]
fn same_id_attached_twice() {
    let name = portable_shm_segment_name("twice");
    let tx = publisher::<Tick>(&name, 8).expect("create");
    let attach = || {
        attach_shared_consumer::<Tick>(&name, 8)
            .with_consumer_id("reader")
            .build_consumer()
    };
    let first = attach().expect("the first one");
    let text = text_of(attach(), |e| {
        matches!(e, MultiProcessError::ConsumerAlreadyAttached { .. })
    });
    let pid = format!("pid {}", std::process::id());
    assert_names(
        &text,
        &[
            "'reader'",
            &name,
            "already attached",
            &pid,
            "one id is one consumer",
        ],
    );
    drop(first);
    attach()
        .expect("after the first one has gone")
        .leave()
        .expect("leave");
    drop(tx);
    assert!(!shm(&name).exists());
}

#[test]
fn the_error_of_consumer_65_names_the_consumers_that_are_away() {
    let name = portable_shm_segment_name("many");
    let tx = publisher::<Tick>(&name, 8).expect("create");
    let attach = |id: String| {
        attach_shared_consumer::<Tick>(&name, 8)
            .with_consumer_id(&id)
            .build_consumer()
    };
    for index in 0..3 {
        drop(attach(format!("away-{index}")).expect("attach"));
    }
    let here: Vec<_> = (0..61)
        .map(|index| attach(format!("here-{index}")).expect("attach"))
        .collect();
    let too_many = |e: &_| matches!(e, MultiProcessError::TooManyConsumers { .. });
    let words = [
        &name,
        "its maximum of 64 consumers",
        "away-0",
        "away-1",
        "away-2",
        "remove_consumer",
    ];
    for result in [attach(String::from("one-more")), subscriber(&name)] {
        let text = text_of(result, too_many);
        assert_names(&text, &words);
        assert!(!text.contains("here-"), "{text}");
    }
    drop(attach(String::from("away-1")).expect("one of the 64 may always come back"));
    let mut tx = tx;
    tx.remove_consumer("away-1").expect("remove");
    attach(String::from("one-more"))
        .expect("room for one")
        .leave()
        .expect("leave");
    drop(here);
    tx.destroy().expect("destroy");
}

#[test]
fn names_that_something_else_has() {
    let files = tempfile::tempdir().expect("a directory");
    let root = files.path();
    fs::write(root.join("notes"), "mine").expect("write");
    symlink(root.join("notes"), root.join("link")).expect("link");
    symlink(root.join("nowhere"), root.join("dangling")).expect("link");
    fs::create_dir(root.join("folder")).expect("mkdir");
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("socket");
    for (name, found) in [
        ("notes", "a file of 4 bytes"),
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("folder", "directory"),
        ("pipe", "FIFO"),
        ("socket", "socket"),
    ] {
        let not_a_ring = |e: &_| matches!(e, MultiProcessError::NotARing { .. });
        let layout = MmapTransportLayout::new(root, name);
        let path = layout.path().display().to_string();
        let words = [
            &path,
            "is not a ring",
            found,
            "choose another name or another directory",
            "left as it is",
        ];
        let builder = || MmapProducer::<Tick>::builder(&layout, 8);
        assert_names(
            &text_of(builder().build_zeroed_producer(), not_a_ring),
            &words,
        );
        assert_names(
            &text_of(builder().recreate().build_zeroed_producer(), not_a_ring),
            &words,
        );
        assert_names(
            &text_of(MmapConsumer::<Tick>::attach(&layout, 8, "a"), not_a_ring),
            &words,
        );
    }
    assert_eq!(
        fs::read_to_string(root.join("notes")).expect("read"),
        "mine"
    );
    assert!(!root.join("nowhere").exists(), "no link was followed");
    assert_eq!(fs::read_dir(root).expect("list").count(), 6);
}

#[test]
fn squatters_in_shared_memory() {
    let name = portable_shm_segment_name("squat");
    fs::write(shm(&name), "mine").expect("write");
    let not_a_ring = |e: &_| matches!(e, MultiProcessError::NotARing { .. });
    assert_names(
        &text_of(publisher::<Tick>(&name, 8), not_a_ring),
        &["a file of 4 bytes"],
    );
    assert_names(
        &text_of(subscriber::<Tick>(&name), not_a_ring),
        &["a file of 4 bytes"],
    );
    assert_eq!(fs::read_to_string(shm(&name)).expect("read"), "mine");
    fs::remove_file(shm(&name)).expect("remove");
}
