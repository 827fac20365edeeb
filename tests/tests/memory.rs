//! The memory of a ring: read-only for readers, locked and with huge pages where requested, and reported as it is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use disruptor_mp::{HugePages, MmapProducer, MmapTransportLayout};
use myelon_tests::permissions_of_mappings;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{major, minor};

type Ring = MmapProducer<u64>;

fn in_shared_memory() -> (tempfile::TempDir, MmapTransportLayout) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let layout = MmapTransportLayout::new(directory.path(), "ring");
    (directory, layout)
}

#[test]
fn consumers_map_the_slots_read_only_unless_asked() {
    let (_directory, layout) = in_shared_memory();
    let tx = Ring::create(&layout, 8, || 0).expect("create");
    assert!(!tx.memory_report().is_read_only);
    let builder = || Ring::builder(&layout, 8);
    let rx = builder().build_consumer().expect("attach");
    let mut seen = permissions_of_mappings(std::process::id(), &layout.path());
    seen.sort();
    assert_eq!(seen, ["r--s", "rw-s"], "slots and control lines");
    assert!(rx.memory_report().is_read_only);
    drop(rx);
    let rx = builder()
        .with_writable_slots()
        .build_consumer()
        .expect("attach");
    assert_eq!(
        permissions_of_mappings(std::process::id(), &layout.path()),
        ["rw-s", "rw-s"]
    );
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

/// Uses a file system that backs files with huge pages. It is mounted for one thread alone.
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
    // in the thread's namespace the directory is a mount point, so only this thread can remove it
    directory.close().expect("nothing is left of it");
}

/// The flags of each mapping of the file `path` in this process. They are found by the file's number, because a
/// creator maps the file before it gives it its name.
fn flags(path: &Path) -> Vec<Vec<String>> {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let file = std::fs::metadata(path).expect("the ring's file");
    let (major, minor) = (major(file.dev()), minor(file.dev()));
    let device = format!("{major:02x}:{minor:02x}");
    let inode = file.ino().to_string();
    let mut is_ours = false;
    let mut all = Vec::new();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["VmFlags:", ref flags @ ..] if is_ours => {
                all.push(flags.iter().map(|flag| (*flag).to_owned()).collect());
            }
            [name, ..] if name.ends_with(':') => {}
            [_, _, _, its_device, its_inode, ..] => {
                is_ours = (its_device, its_inode) == (&*device, &*inode);
            }
            _ => {}
        }
    }
    all
}

/// For each mapping of the file, whether core dumps leave it out.
fn left_out(path: &Path) -> Vec<bool> {
    let all = flags(path).into_iter();
    all.map(|flags| flags.iter().any(|flag| flag == "dd"))
        .collect()
}

#[test]
fn a_core_dump_holds_no_ring_unless_asked() {
    let (_directory, layout) = in_shared_memory();
    let path = layout.path();
    let builder = || Ring::builder(&layout, 8);
    let tx = Ring::create(&layout, 8, || 0).expect("create");
    assert_eq!(left_out(&path), [true], "the creator's whole mapping");
    let rx = builder().build_consumer().expect("attach");
    let all = [true, true, true];
    assert_eq!(left_out(&path), all, "also slots and control lines");
    drop(rx);
    let rx = builder().with_core_dump().build_consumer();
    let mut seen = left_out(&path);
    seen.sort();
    assert_eq!(seen, [false, false, true], "only what was asked for");
    drop((rx, tx));
    let tx = builder().with_core_dump().build_zeroed_producer();
    assert_eq!(left_out(&path), [false], "the creator asked for it");
    tx.expect("create").keep().expect("it ends");
    // a successor opens the file that is there
    let tx = Ring::create(&layout, 8, || 0).expect("take over");
    assert_eq!(left_out(&path), [true]);
    drop(tx);
}
