//! Where a segment lives: POSIX shared memory, a mapped file, or this process's heap. One trait, so that everything
//! above is one implementation.

pub(crate) mod file;
pub(crate) mod heap;

use core::ptr::NonNull;
use std::io;

use crate::layout::control::Control;
use crate::layout::header::HEADER_BYTES;
use crate::protocol::Locks;
use crate::sync::process::AtomicU64;

/// One endpoint's hold on a segment's memory and locks. Dropping it unmaps, and the locks fall.
pub(crate) trait Region: core::fmt::Debug + Send + Sync {
    /// The control lines, writable.
    fn control(&self) -> NonNull<Control>;
    /// The first slot; writable for a producer's region only.
    fn slots(&self) -> NonNull<u8>;
    /// This endpoint's locks.
    fn locks(&self) -> &dyn Locks;
    /// A word that is zero in a forked child (R8).
    fn live_word(&self) -> &'static AtomicU64;
    /// Writes page 0 of a segment that nobody else knows yet, its state word last.
    fn write_header(&self, header: &[u8; HEADER_BYTES]);
    /// Whether the segment's name still refers to this segment.
    fn is_name_ours(&self) -> io::Result<bool>;
    /// Removes the name. The caller holds the producer's lock and has seen that the name is ours (R15).
    fn unlink(&self) -> io::Result<()>;
    /// What was obtained from the system.
    fn memory(&self) -> MemoryReport;
}

/// What memory a ring got, beside what was asked for.
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
    /// Whether the slots are mapped read-only: a consumer's are, but on hugetlbfs, which cannot be split, on the heap,
    /// and when writable ones were asked for.
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

/// How a segment is to be created and mapped.
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
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            mode: 0o600,
            huge_pages: HugePages::No,
            lock: false,
            writable_slots: false,
            any_owner: false,
        }
    }
}
