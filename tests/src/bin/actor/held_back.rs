//! How long the machine has kept processes from running. Tests of lateness must not attribute this time to the library.
//!
//! A thread that is ready to run waits for a processor, and the kernel counts how long (`schedstat`). A
//! hypervisor withholds processors from the whole machine, and reports that (`steal`). Neither counts a process
//! that sleeps, so the time of a lost wake-up is in neither. Where the kernel does not count, these times
//! are 0.

use std::fs::{File, read_dir, read_to_string};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The clock tick in which the kernel counts `steal`: 10 ms everywhere.
const TICK: Duration = Duration::from_millis(10);
/// The time after which the kernel has counted everything that a hypervisor withheld.
const COUNTED: Duration = Duration::from_millis(20);

/// How long the threads of a process have been ready without running. For threads that run now, the count is up
/// to date.
pub(crate) fn ready_time(process: u32) -> Duration {
    let threads = read_dir(format!("/proc/{process}/task"));
    let counts = threads.into_iter().flatten().filter_map(|thread| {
        let counts = read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        counts.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(counts.sum())
}

/// The time that the hypervisor withholds from this machine.
pub(crate) struct Steal {
    counts: Option<File>,
    ticks: u64,
}

impl Steal {
    pub(crate) fn from_now_on() -> Self {
        let counts = File::open("/proc/stat").ok();
        let mut steal = Self { counts, ticks: 0 };
        steal.ticks = steal.ticks_so_far();
        steal
    }

    /// The time that was withheld since the last call.
    pub(crate) fn since(&mut self) -> Duration {
        let ticks = self.ticks_so_far();
        let more = ticks - std::mem::replace(&mut self.ticks, ticks);
        // the first tick may have begun long before
        match more {
            0 => Duration::ZERO,
            more => TICK * (more as u32 + 1),
        }
    }

    /// Like [`since`](Self::since), after all of it has been counted.
    pub(crate) fn since_for_certain(&mut self) -> Duration {
        std::thread::sleep(COUNTED);
        self.since()
    }

    fn ticks_so_far(&self) -> u64 {
        let mut first_line = [0; 128];
        let counts = self.counts.as_ref();
        let len = counts.and_then(|counts| counts.read_at(&mut first_line, 0).ok());
        let text = String::from_utf8_lossy(&first_line[..len.unwrap_or(0)]);
        // cpu user nice system idle iowait irq softirq steal
        let steal = text.split_whitespace().nth(8);
        steal.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
    }
}
