//! The monotonic clock, whose time all processes of one machine share, and sleeping until it shows a given time.

use std::time::Duration;

/// The time since a moment that is the same for every process of this machine.
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

/// Sleeps for `duration`, however many signals come. Sleeps until a time of the clock: a relative sleep
/// rounds its rest up after each signal, so that a signal every 50 µs would keep it from ever ending.
pub(crate) fn sleep(duration: Duration) {
    let end = monotonic().saturating_add(duration);
    while monotonic() < end {
        sleep_until(end);
    }
}

/// Sleeps until the clock shows `end`, or a signal comes.
#[cfg(all(target_os = "linux", not(miri)))]
fn sleep_until(end: Duration) {
    let end = timespec(end);
    // SAFETY: the time lives until the call returns; an absolute sleep reports no rest.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const end,
            std::ptr::null_mut(),
        )
    };
}

/// The same on systems that cannot sleep until a time of the clock.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn sleep_until(end: Duration) {
    let rest = timespec(end.saturating_sub(monotonic()));
    // SAFETY: the time lives until the call returns, and no rest is asked for.
    unsafe { libc::nanosleep(&raw const rest, std::ptr::null_mut()) };
}

/// A duration in the system's form; one that is too long becomes the longest.
pub(super) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_for_as_long_as_it_was_told() {
        for micros in [0, 1, 2_000] {
            let (begun, duration) = (monotonic(), Duration::from_micros(micros));
            sleep(duration);
            assert!(monotonic() - begun >= duration, "{micros}");
        }
    }

    #[test]
    fn the_longest_time_is_one_for_the_system() {
        assert_eq!(timespec(Duration::MAX).tv_sec, libc::time_t::MAX);
    }
}
