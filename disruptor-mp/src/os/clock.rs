//! The monotonic clock as a number that processes of one machine share.

use std::time::Duration;

/// Time since some moment that is the same for every process of this machine.
#[cfg(unix)]
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the time that it is given, and touches nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
