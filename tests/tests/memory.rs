//! What a ring's memory is: read-only for readers, locked and huge where asked for, and said truthfully.

use std::path::Path;

use disruptor_mp::{HugePages, MmapProducer, MmapTransportLayout};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};

type Ring = MmapProducer<u64>;

fn in_shared_memory() -> (tempfile::TempDir, MmapTransportLayout) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let layout = MmapTransportLayout::new(directory.path(), "ring");
    (directory, layout)
}

/// The permissions of each of this process's mappings that were opened by the name `path`: its creator's has none.
fn permissions(path: &Path) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let path = path.to_str().expect("utf-8");
    maps.lines()
        .filter(|line| line.ends_with(path))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn consumers_map_the_slots_read_only_unless_asked() {
    let (_directory, layout) = in_shared_memory();
    let tx = Ring::create(&layout, 8, || 0).expect("create");
    assert!(!tx.memory_report().is_read_only);
    let builder = || Ring::builder(&layout, 8);
    let rx = builder().build_consumer().expect("attach");
    let mut seen = permissions(&layout.path());
    seen.sort();
    assert_eq!(seen, ["r--s", "rw-s"], "slots and control lines");
    assert!(rx.memory_report().is_read_only);
    drop(rx);
    let rx = builder()
        .with_writable_slots()
        .build_consumer()
        .expect("attach");
    assert_eq!(permissions(&layout.path()), ["rw-s", "rw-s"]);
    assert!(!rx.memory_report().is_read_only);
}

#[test]
fn memory_is_locked_when_asked() {
    let locked_kib = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find(|line| line.starts_with("VmLck:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    let (_directory, layout) = in_shared_memory();
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).expect("limit");
    let builder = Ring::builder(&layout, 8).with_memory_lock();
    match builder.build_zeroed_producer() {
        Ok(tx) => {
            assert!(tx.memory_report().is_locked);
            assert!(locked_kib() * 1024 >= tx.memory_report().segment_bytes);
        }
        Err(error) => assert!(soft < 64 * 1024, "limit {soft}: {error}"),
    }
    assert!(
        !layout.path().exists(),
        "nothing is left, whatever came of it"
    );
}

/// On a file system that backs files with huge pages; mounted for one thread alone.
#[test]
fn huge_pages_are_reported_as_they_are() {
    let test = "huge_pages_are_reported_as_they_are";
    if !myelon_tests::needs_root(test) {
        return;
    }
    let (directory, layout) = in_shared_memory();
    let plain = Ring::builder(&layout, 8).with_huge_pages(HugePages::Try);
    let tx = plain.build_zeroed_producer().expect("create");
    let report = tx.memory_report();
    assert!(
        report.huge_bytes < report.segment_bytes,
        "too small for a huge page"
    );
    drop(tx);
    let place = directory.path().to_owned();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
        let options = Some("size=64m,huge=always");
        mount(
            Some("tmpfs"),
            &place,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .expect("a file system with huge pages");
        let tx = Ring::builder(&layout, 1 << 18)
            .with_huge_pages(HugePages::Try)
            .build_zeroed_producer()
            .expect("16 MiB of 64 fit");
        let report = tx.memory_report();
        println!(
            "{} of {} bytes are huge",
            report.huge_bytes, report.segment_bytes
        );
        assert!(report.huge_bytes > 0 && report.huge_bytes <= report.segment_bytes + (2 << 20));
    });
    thread.join().expect("the thread");
    // where the thread was it is in use
    directory.close().expect("nothing is left of it");
}
