//! Where the two cores are, and how much of them this program gets.
//!
//! A virtual machine may move its cores while a program runs, and its kernel does not say so. A bounce of two cache
//! lines shows it: it takes about 60 ns between two threads of one core, about 100 ns within a cluster, and several
//! hundred further away. Never compare figures of rounds in different placements.

use std::fmt;
use std::fs;

use crate::affinity::Cores;

/// The distance of the two cores, by the time of a two-line bounce before a round and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Placement {
    /// Below [`SIBLINGS_BELOW_NS`].
    Siblings,
    /// Below [`NEAR_BELOW_NS`].
    Near,
    /// Everything else.
    Far,
    /// One before the round, another one after it.
    Moved,
}

const SIBLINGS_BELOW_NS: f64 = 75.0;
const NEAR_BELOW_NS: f64 = 200.0;

impl Placement {
    /// The placement of a round, by the bounces around it.
    pub(crate) fn of(before_ns: f64, after_ns: f64) -> Self {
        let of = |ns| match ns {
            _ if ns < SIBLINGS_BELOW_NS => Self::Siblings,
            _ if ns < NEAR_BELOW_NS => Self::Near,
            _ => Self::Far,
        };
        let (before, after) = (of(before_ns), of(after_ns));
        if before == after { before } else { Self::Moved }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Siblings => "siblings",
            Self::Near => "near",
            Self::Far => "far",
            Self::Moved => "moved",
        }
    }
}

/// What was measured around the rounds of one placement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// The shortest and the longest bounce.
    pub(crate) bounce_ns: (f64, f64),
    /// The largest share of a round in which the hypervisor ran something else on one of the cores.
    pub(crate) steal_percent: f64,
    /// The largest number of processes that wanted to run, on average over a minute.
    pub(crate) load: f64,
}

impl Around {
    /// Nothing measured yet.
    pub(crate) const NONE: Self = Self {
        bounce_ns: (f64::INFINITY, 0.0),
        steal_percent: 0.0,
        load: 0.0,
    };

    /// Adds what was measured around one round.
    pub(crate) fn add(&mut self, before_ns: f64, after_ns: f64, steal_percent: f64, load: f64) {
        let (shortest, longest) = self.bounce_ns;
        self.bounce_ns = (
            shortest.min(before_ns).min(after_ns),
            longest.max(before_ns).max(after_ns),
        );
        self.steal_percent = self.steal_percent.max(steal_percent);
        self.load = self.load.max(load);
    }
}

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shortest, longest) = self.bounce_ns;
        write!(
            f,
            "two-line bounce {shortest:.0} to {longest:.0} ns, at most {:.1} % stolen, load at most {:.1}",
            self.steal_percent, self.load
        )
    }
}

/// The time of all processors so far, in ticks of the kernel: the stolen part and all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// Reads the times now; all zero where the kernel does not tell.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; the rest is contained in these
        let times = line.split_whitespace().skip(1).take(8);
        let times: Vec<u64> = times.filter_map(|time| time.parse().ok()).collect();
        Self {
            stolen: times.get(7).copied().unwrap_or(0),
            all: times.iter().sum(),
        }
    }

    /// The stolen share of the time since `before`, in percent.
    pub(crate) fn stolen_percent_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let stolen = self.stolen.saturating_sub(before.stolen);
        stolen as f64 * 100.0 / all.max(1) as f64
    }
}

/// The load of the last minute; 0 where the kernel does not tell.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What the kernel says about the distance of two cores, in one line.
pub(crate) fn topology(Cores { driver, peer }: Cores) -> String {
    let read = |core: usize, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/{name}");
        fs::read_to_string(path).ok()
    };
    let has_peer = |list: Option<String>| list.map(|list| contains(list.trim(), peer));
    let siblings = match has_peer(read(driver, "topology/thread_siblings_list")) {
        Some(true) => "threads of one core",
        Some(false) => "two cores",
        None => "cores",
    };
    let shared_level = (0..8)
        .filter(|index| {
            let list = read(driver, &format!("cache/index{index}/shared_cpu_list"));
            has_peer(list) == Some(true)
        })
        .filter_map(|index| read(driver, &format!("cache/index{index}/level")))
        .filter_map(|level| level.trim().parse::<u32>().ok())
        .min();
    let cache = shared_level.map_or_else(
        || "no shared cache known".to_owned(),
        |level| format!("a shared cache of level {level}"),
    );
    let node = |core| {
        let directory = format!("/sys/devices/system/cpu/cpu{core}");
        let names = fs::read_dir(directory).ok()?;
        let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.find_map(|name| name.strip_prefix("node")?.parse::<usize>().ok())
    };
    let nodes = match (node(driver), node(peer)) {
        (Some(one), Some(other)) if one == other => format!("NUMA node {one}"),
        (Some(one), Some(other)) => format!("NUMA nodes {one} and {other}"),
        _ => "NUMA nodes unknown".to_owned(),
    };
    format!("{siblings}, {cache}, {nodes}")
}

/// Whether a list of the kernel such as `0,2-3` contains `core`.
fn contains(list: &str, core: usize) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&core),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_between_two_placements_belongs_to_neither() {
        for (before, after, expected) in [
            (60.0, 70.0, Placement::Siblings),
            (90.0, 110.0, Placement::Near),
            (390.0, 700.0, Placement::Far),
            (90.0, 390.0, Placement::Moved),
            (390.0, 60.0, Placement::Moved),
        ] {
            assert_eq!(Placement::of(before, after), expected);
        }
    }

    #[test]
    fn lists_of_cores() {
        assert!(contains("0-1", 1) && contains("0,2-3", 2) && contains("5", 5));
        assert!(!contains("0,2-3", 1) && !contains("", 0));
    }

    #[test]
    fn the_stolen_share_is_that_of_the_time_in_between() {
        let before = Ticks::parse("cpu  100 0 50 800 0 0 0 50 7 7\ncpu0 1 2 3\n");
        assert_eq!(
            before,
            Ticks {
                stolen: 50,
                all: 1000
            }
        );
        let after = Ticks::parse("cpu  150 0 50 825 0 0 0 75 9 9\n");
        assert_eq!(after.stolen_percent_since(before), 25.0);
        assert_eq!(before.stolen_percent_since(before), 0.0);
    }

    #[test]
    fn the_extremes_of_all_rounds_are_kept() {
        let mut around = Around::NONE;
        around.add(90.0, 100.0, 0.0, 1.5);
        around.add(80.0, 95.0, 2.0, 0.5);
        assert_eq!(around.bounce_ns, (80.0, 100.0));
        assert_eq!((around.steal_percent, around.load), (2.0, 1.5));
    }
}
