//! A clock for decisions that may be late by a few milliseconds, and when such a decision is due.

use std::time::{Duration, Instant};

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

/// When something is due that is done now and then.
#[derive(Debug)]
pub(super) struct NextCheck(Instant);

impl NextCheck {
    /// Due at once.
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether it is due. If so, it is due again after the interval.
    pub(super) fn is_due(&mut self, interval: Duration) -> bool {
        let now = Instant::now();
        let is_due = self.0 <= now;
        if is_due {
            self.0 = now + interval;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_at_once_and_again_after_its_interval() {
        let mut check = NextCheck::now();
        assert!(check.is_due(Duration::ZERO) && check.is_due(Duration::from_secs(3600)));
        assert!(!check.is_due(Duration::ZERO));
    }
}
