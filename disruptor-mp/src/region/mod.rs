//! The memory of a segment: POSIX shared memory, a mapped file, or this process's heap. All three implement
//! one trait, so that everything above is written once.

pub(crate) mod file;
pub(crate) mod heap;

use core::ptr::NonNull;
use std::io;
use std::path::Path;

use crate::layout::control::Control;
use crate::layout::header::HEADER_BYTES;
use crate::protocol::Locks;
use crate::sync::process::AtomicU64;

/// One endpoint's hold on a segment's memory and locks. Dropping it unmaps the memory and frees the locks.
pub(crate) trait Region: core::fmt::Debug + Send + Sync {
    /// The control lines; writable where [`is_writable`](Self::is_writable) says so.
    fn control(&self) -> NonNull<Control>;
    /// Whether the control lines may be stored to: false for an observer that may only read the file (R13).
    fn is_writable(&self) -> bool {
        true
    }
    /// The path of the segment's file, if it has one.
    fn path(&self) -> Option<&Path> {
        None
    }
    /// The first slot. Only a producer's region may be written through it.
    fn slots(&self) -> NonNull<u8>;
    /// This endpoint's locks.
    fn locks(&self) -> &dyn Locks;
    /// A word that is zero in a forked child (R8).
    fn live_word(&self) -> &'static AtomicU64;
    /// Writes page 0 of a segment that no other process knows yet, its state word last.
    fn write_header(&self, header: &[u8; HEADER_BYTES]);
    /// Whether the segment's name still refers to this segment.
    fn is_name_ours(&self) -> io::Result<bool>;
    /// Whether the name, which this segment had, no longer refers to it. Allocates nothing.
    fn is_name_lost(&self) -> bool {
        false
    }
    /// Removes the name. The caller holds the producer's lock and has checked that the name refers to this
    /// segment (R15).
    fn unlink(&self) -> io::Result<()>;
    /// Writes the control lines to the disk, and returns when they are there. Does nothing where there is no
    /// disk. For a producer's region.
    fn sync_control(&self) -> io::Result<()>;
    /// Like [`sync_control`](Self::sync_control), for the whole segment and its name.
    fn sync(&self) -> io::Result<()>;
    /// The memory that the system gave.
    fn memory(&self) -> MemoryReport;
}

/// The memory that a ring got, which may differ from what was asked for.
///
/// # Examples
///
/// ```
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let tx = ring.producer()?;
/// assert!(tx.memory_report().segment_bytes >= 8 * 64);
/// assert_eq!(tx.memory_report().huge_bytes, 0);
/// # Ok::<(), disruptor_mp::MultiProcessError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryReport {
    /// Bytes of the whole segment.
    pub segment_bytes: u64,
    /// Bytes of it that huge pages back in this process, as the kernel reports them.
    pub huge_bytes: u64,
    /// Whether the pages are locked in memory.
    pub is_locked: bool,
    /// Whether the slots are mapped read-only. A consumer's are, except on hugetlbfs, which cannot be split,
    /// on the heap, and where writable slots were asked for.
    pub is_read_only: bool,
}

/// Whether to ask for huge pages.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{HugePages, attach_shared_consumer};
///
/// let builder = attach_shared_consumer::<u64>("ticks", 1 << 20).with_huge_pages(HugePages::Try);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    No,
    /// Huge pages where the system gives them; `memory_report()` says how many it gave.
    Try,
}

/// How to create and map a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryOptions {
    /// Permission bits of a new segment.
    pub(crate) mode: u32,
    pub(crate) huge_pages: HugePages,
    pub(crate) lock: bool,
    /// Whether a consumer's slots are mapped writable.
    pub(crate) writable_slots: bool,
    /// Whether a segment that another user owns is accepted.
    pub(crate) any_owner: bool,
    /// Whether a core dump of this process contains the segment.
    pub(crate) core_dump: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            mode: 0o600,
            huge_pages: HugePages::No,
            lock: false,
            writable_slots: false,
            any_owner: false,
            core_dump: false,
        }
    }
}
