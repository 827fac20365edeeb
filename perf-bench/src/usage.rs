//! What a process takes from the system.

use std::ops::{Add, AddAssign, Sub};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

/// Processor time, page faults and context switches. A field is zero where the system, or a file of an earlier version,
/// does not tell. The serialised names are a contract with programs that read rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(rename = "cpu_user_s")]
    pub(crate) user_s: f64,
    #[serde(rename = "cpu_sys_s")]
    pub(crate) system_s: f64,
    /// Faults without input or output, such as the first access to a page.
    pub(crate) minor_faults: i64,
    /// Faults for which something was read from a disk.
    pub(crate) major_faults: i64,
    /// Times that a thread gave its core away, because it slept or yielded.
    pub(crate) voluntary_switches: i64,
    /// Times that a thread's core was taken away.
    pub(crate) involuntary_switches: i64,
}

impl Usage {
    /// What this process has taken so far.
    pub(crate) fn read() -> Self {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
            return Self::default();
        };
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Self {
            user_s: seconds(usage.user_time()),
            system_s: seconds(usage.system_time()),
            minor_faults: usage.minor_page_faults(),
            major_faults: usage.major_page_faults(),
            voluntary_switches: usage.voluntary_context_switches(),
            involuntary_switches: usage.involuntary_context_switches(),
        }
    }

    /// As words of an event.
    pub(crate) fn to_words(self) -> [u64; 6] {
        [
            self.user_s.to_bits(),
            self.system_s.to_bits(),
            self.minor_faults as u64,
            self.major_faults as u64,
            self.voluntary_switches as u64,
            self.involuntary_switches as u64,
        ]
    }

    /// What these words say.
    pub(crate) fn from_words(words: [u64; 6]) -> Self {
        let [user_s, system_s, minor, major, voluntary, involuntary] = words;
        Self {
            user_s: f64::from_bits(user_s),
            system_s: f64::from_bits(system_s),
            minor_faults: minor as i64,
            major_faults: major as i64,
            voluntary_switches: voluntary as i64,
            involuntary_switches: involuntary as i64,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.user_s += other.user_s;
        self.system_s += other.system_s;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user_s: self.user_s - before.user_s,
            system_s: self.system_s - before.system_s,
            minor_faults: self.minor_faults - before.minor_faults,
            major_faults: self.major_faults - before.major_faults,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
            involuntary_switches: self.involuntary_switches - before.involuntary_switches,
        }
    }
}
