//! The clock of timed messages, which all processes of the machine share.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since a point in time that all processes share, usually the start of the machine; 0 if the
/// system call fails.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}
