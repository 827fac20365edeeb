//! Where a ring can live. One implementation serves all: the backing is a type parameter of the handles, and their
//! methods are the same.
//!
//! | backing | module | named by | after a reboot |
//! |---|---|---|---|
//! | POSIX shared memory | [`shared_memory`](mod@shared_memory) | a name | gone |
//! | a mapped file | [`mmap`] | a directory and a name | there, if its file system is |
//! | the heap of one process | [`HeapRing`](crate::HeapRing) | nothing: for threads and tests | gone |
//!
//! On Linux shared memory is a file in `/dev/shm`; other systems have it in their temporary directory. Network file
//! systems are refused: a mapping there is not shared.

/// Rings in POSIX shared memory: the same as [`shared_memory`](mod@crate::shared_memory).
pub mod shared_memory {
    pub use crate::facade::shared_memory::*;
}

/// Rings in mapped files: in a directory of your choice, for rings that outlive a reboot, or where `/dev/shm` is small.
///
/// ```
/// use disruptor_mp::Deadline;
/// use disruptor_mp::backend::mmap::{MmapConsumer, MmapProducer, MmapTransportLayout};
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path();
///
/// let layout = MmapTransportLayout::new(root, "ticks");
/// let mut tx = MmapProducer::<u64>::create(&layout, 64, || 0)?;
/// let mut rx = MmapConsumer::<u64>::attach(&layout, 64, "reader")?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Events are in the page cache as soon as they are published, so they survive every process; they are not synced to
/// the disk, so a power cut may lose them.
pub mod mmap {
    pub use crate::handles::kinds::MappedFile;
    pub use crate::open::backing::MmapTransportLayout;
    pub use crate::open::simple::{MmapConsumer, MmapProducer};
}
