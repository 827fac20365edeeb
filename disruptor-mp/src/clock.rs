//! The only source of time: every wait uses it. In a simulation (feature `dst`) time is simulated, too.

use std::time::{Duration, Instant};

#[cfg(not(loom))]
pub(crate) use crate::os::clock::monotonic;

/// The current time.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(all(feature = "dst", not(loom)))]
    if let Some(now) = crate::testing::dst::simulated_now() {
        return now;
    }
    Instant::now()
}

/// Sleeps for `duration`, even if signals keep arriving.
#[inline]
pub(crate) fn sleep(duration: Duration) {
    #[cfg(all(feature = "dst", not(loom)))]
    if crate::testing::dst::simulated_sleep(duration) {
        return;
    }
    #[cfg(not(loom))]
    crate::os::clock::sleep(duration);
    #[cfg(loom)]
    let _ = duration;
    #[cfg(loom)]
    crate::sync::yield_now();
}
