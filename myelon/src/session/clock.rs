//! A clock for decisions that may be late by a few milliseconds.

use std::time::Duration;

use nix::libc::{clock_gettime, clockid_t, timespec};

#[cfg(target_os = "linux")]
const CLOCK: clockid_t = nix::libc::CLOCK_MONOTONIC_COARSE;
#[cfg(not(target_os = "linux"))]
const CLOCK: clockid_t = nix::libc::CLOCK_MONOTONIC;

/// The time on a clock that costs a few nanoseconds to read and goes on every few milliseconds. A call of the system's
/// function without a wrapper, because each request reads it.
#[inline(always)]
pub(super) fn coarse_now() -> Duration {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to the place that it is given, which is a local variable. The clock exists.
    unsafe { clock_gettime(CLOCK, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
