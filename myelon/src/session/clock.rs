//! A clock for decisions that may be late by a few milliseconds.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time on a clock that costs a few nanoseconds to read and goes on every few milliseconds.
#[inline]
pub(super) fn coarse_now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // the clock exists
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
