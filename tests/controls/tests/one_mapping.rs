//! The thread scenarios with one memory for all endpoints, on the heap or in one mapping. They are for
//! ThreadSanitizer, which identifies memory by its address.
#![cfg(one_mapping)]

#[path = "../../../disruptor-mp/tests/threads/heap.rs"]
mod heap;
#[path = "../../../disruptor-mp/tests/threads/mapped.rs"]
mod mapped;
#[path = "../src/one_mapping.rs"]
mod one_mapping;
#[macro_use]
#[path = "../../../disruptor-mp/tests/threads/mod.rs"]
mod threads;

use std::fs;
use std::os::unix::fs::MetadataExt;

use threads::{Site, Wide};

mod on_heap {
    use super::{heap::OnHeap, threads};

    scenarios!(OnHeap);
}

mod shared_memory {
    use super::{mapped::InSharedMemory, threads};

    scenarios!(InSharedMemory);
}

mod mapped_file {
    use super::{mapped::InFile, threads};

    scenarios!(InFile);
}

/// The kernel must report that a producer and two consumers have mapped the file once.
#[test]
fn endpoints_share_one_mapping() {
    let site = mapped::InSharedMemory::<Wide>::new(8);
    let (tx, _guest, _durable) = (site.producer(), site.guest(), site.durable("third"));
    let inode = fs::metadata(format!("/dev/shm/{}", tx.name()))
        .unwrap()
        .ino();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps
        .lines()
        .filter(|line| line.split_whitespace().nth(4) == Some(&inode.to_string()));
    assert_eq!(mappings.count(), 1, "{maps}");
}
