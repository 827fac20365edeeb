//! Time stamps that are cheap enough to take one for each round trip.

use std::time::{Duration, Instant};

/// Reads the processor's counter if it ticks at a constant rate, or else the system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// Nanoseconds per tick of the counter; `None` if the counter's rate is not known to be constant.
    nanos_per_tick: Option<f64>,
}

impl Clock {
    /// Calibrates the counter for 20 ms.
    pub(crate) fn calibrate() -> Self {
        let origin = Instant::now();
        let steady = std::fs::read_to_string("/proc/cpuinfo")
            .is_ok_and(|text| text.contains("constant_tsc") && text.contains("nonstop_tsc"));
        let nanos_per_tick = steady.then(counter).flatten().and_then(|first| {
            std::thread::sleep(Duration::from_millis(20));
            let last = counter()?;
            Some(origin.elapsed().as_nanos() as f64 / (last.checked_sub(first)? as f64))
        });
        Self {
            origin,
            nanos_per_tick: nanos_per_tick.filter(|n| n.is_finite() && *n > 0.0),
        }
    }

    /// A clock whose ticks are nanoseconds.
    #[cfg(test)]
    pub(crate) fn of_nanoseconds() -> Self {
        Self {
            origin: Instant::now(),
            nanos_per_tick: None,
        }
    }

    /// The time now, in ticks.
    #[inline(always)]
    pub(crate) fn ticks(&self) -> u64 {
        match (self.nanos_per_tick, counter()) {
            (Some(_), Some(ticks)) => ticks,
            _ => self.origin.elapsed().as_nanos() as u64,
        }
    }

    /// The difference of two [`ticks`](Self::ticks) in nanoseconds.
    pub(crate) fn nanos(&self, ticks: u64) -> u64 {
        match self.nanos_per_tick {
            Some(n) => (ticks as f64 * n) as u64,
            None => ticks,
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> Option<u64> {
    // SAFETY: every x86-64 processor has the instruction. Linux leaves it enabled for user space; a kernel that
    // does not would deliver a signal, which is not undefined behaviour.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

/// The time of the monotonic clock in ns, which is comparable between processes.
pub(crate) fn monotonic_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

/// The processor time of this process so far in ns, at a finer resolution than that of `getrusage`.
pub(crate) fn process_cpu_ns() -> u64 {
    read_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// As [`process_cpu_ns`], of this thread: without what watches that the run does not hang.
pub(crate) fn thread_cpu_ns() -> u64 {
    read_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local structure that the call fills in.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
