//! What the system leaves this process: the numbers that decide whether a ring is created, and whether a wait spins.

use crate::os::cpu::quota;
use crate::os::memory::check_memory;

/// The memory that is left for rings.
///
/// # Examples
///
/// See [`memory_limit`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLimit {
    /// Bytes that are free. File pages that the kernel can reclaim count as free.
    pub free_bytes: u64,
    /// What sets the tightest limit, as words that follow the number: "below the memory limit of cgroup
    /// /sys/fs/cgroup/a", "in this machine's memory".
    pub limited_by: String,
}

/// What the machine and the control groups of this process leave, in version 1 and in version 2; `None` if the system
/// does not say. A ring in shared memory, or a large one on the heap, that does not fit is not created.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{MemoryLimit, memory_limit};
///
/// let limit: Option<MemoryLimit> = memory_limit();
/// # #[cfg(target_os = "linux")]
/// assert!(limit.is_some_and(|limit| limit.free_bytes > 0));
/// ```
pub fn memory_limit() -> Option<MemoryLimit> {
    // so many bytes never fit
    let shortage = check_memory(u64::MAX).err()?;
    Some(MemoryLimit {
        free_bytes: shortage.free,
        limited_by: shortage.limit.to_string(),
    })
}

/// The number of cores that the quota of processor time of this process's control groups keeps busy, rounded down, at
/// least 1; `None` without a quota. Read once in a process.
///
/// # Examples
///
/// ```
/// let cores = disruptor_mp::inspect::cpu_quota();
/// assert!(cores.is_none_or(|cores| cores >= 1));
/// ```
pub fn cpu_quota() -> Option<usize> {
    Some(quota()).filter(|cores| *cores != usize::MAX)
}
