//! The one door to the clock: what waits, waits by this. In a simulation (feature `dst`) time is simulated, too.

use std::time::{Duration, Instant};

/// The present.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(all(feature = "dst", not(loom)))]
    if let Some(now) = crate::dst::simulated_now() {
        return now;
    }
    Instant::now()
}

/// Sleeps for `duration`.
#[inline]
pub(crate) fn sleep(duration: Duration) {
    #[cfg(all(feature = "dst", not(loom)))]
    if crate::dst::simulated_sleep(duration) {
        return;
    }
    std::thread::sleep(duration);
}
