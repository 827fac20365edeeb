//! The limits that control groups set for this process: memory, and processor time (versions 1 and 2).
//!
//! If a group exceeds its memory limit, the kernel kills a process of its own choice: so the limits are read
//! before memory is taken. The limits of all enclosing groups apply, too, as far up as they are visible: a
//! container sees its own groups, and not those of its host.

use std::path::{Path, PathBuf};

/// The memory that is still available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// The directory of the group whose limit it is; `None`: the machine's own memory.
    pub(crate) cgroup: Option<PathBuf>,
    /// The bytes that its limit leaves. File pages count as free, as the kernel reclaims them first.
    pub(crate) available: u64,
}

/// What the machine's memory or the tightest limit of this process's groups leaves; `None` if the system does not say.
pub(crate) fn memory_limit() -> Option<MemoryLimit> {
    let groups = Groups::of_this_process()?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name| Some(field(&meminfo, name)?.saturating_mul(1024));
    let free_swap = bytes("SwapFree:").unwrap_or(0);
    let machine = bytes("MemAvailable:").map(|available| MemoryLimit {
        cgroup: None,
        available: available.saturating_add(free_swap),
    });
    let limits = [machine, groups.memory_limit(free_swap)];
    limits
        .into_iter()
        .flatten()
        .min_by_key(|limit| limit.available)
}

/// The number of cores that the quota of this process's groups can keep busy, rounded down, at least 1;
/// `None` without a quota.
pub(crate) fn cpu_quota() -> Option<u64> {
    Groups::of_this_process()?.cpu_quota()
}

/// Two texts that the kernel provides.
struct Groups {
    /// /proc/self/cgroup
    membership: String,
    /// /proc/self/mountinfo
    mounts: String,
}

impl Groups {
    fn of_this_process() -> Option<Self> {
        if cfg!(any(miri, not(target_os = "linux"))) {
            return None;
        }
        Some(Self {
            membership: std::fs::read_to_string("/proc/self/cgroup").ok()?,
            mounts: std::fs::read_to_string("/proc/self/mountinfo").ok()?,
        })
    }

    /// This process's group under a controller and all enclosing groups, the innermost first, each with
    /// whether it is of version 2. Version 2 has one hierarchy for all controllers. A system may have both
    /// versions; each controller is in one.
    fn path(&self, controller: &str) -> Vec<(PathBuf, bool)> {
        let mut path = Vec::new();
        for unified in [false, true] {
            let Some((top, group)) = self.find(controller, unified) else {
                continue;
            };
            let dirs = group.ancestors().take_while(|dir| dir.starts_with(&top));
            path.extend(dirs.map(|dir| (dir.to_owned(), unified)));
        }
        path
    }

    /// The mount point of a controller's hierarchy, and this process's group in it.
    fn find(&self, controller: &str, unified: bool) -> Option<(PathBuf, PathBuf)> {
        let inside = self.membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let is_it = if unified {
                id == "0" && controllers.is_empty()
            } else {
                controllers.split(',').any(|name| name == controller)
            };
            is_it.then_some(path)
        })?;
        self.mounts.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let (kind, options) = (kind.next()?, kind.nth(1)?);
            let is_it = if unified {
                kind == "cgroup2"
            } else {
                kind == "cgroup" && options.split(',').any(|name| name == controller)
            };
            let mut fields = mount.split(' ').skip(3);
            let (root, top) = (fields.next()?, fields.next()?);
            let top = PathBuf::from(unescaped(top));
            // the mounted part may be a subtree, which need not contain this process's group
            let inside = Path::new(inside)
                .strip_prefix(unescaped(root))
                .ok()
                .filter(|inside| !inside.starts_with(".."))
                .unwrap_or(Path::new(""));
            is_it.then(|| (top.clone(), top.join(inside)))
        })
    }

    /// `free_swap`: the free swap of the machine, in bytes.
    fn memory_limit(&self, free_swap: u64) -> Option<MemoryLimit> {
        self.path("memory")
            .into_iter()
            .filter_map(|(cgroup, unified)| {
                let available = if unified {
                    left(&cgroup, free_swap)
                } else {
                    left_v1(&cgroup, free_swap)
                }?;
                Some(MemoryLimit {
                    cgroup: Some(cgroup),
                    available,
                })
            })
            .min_by_key(|limit| limit.available)
    }

    fn cpu_quota(&self) -> Option<u64> {
        let quotas = self.path("cpu").into_iter().filter_map(|(dir, unified)| {
            let (quota, period) = if unified {
                let text = text(&dir, "cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            } else {
                (
                    number(&dir, "cpu.cfs_quota_us")?,
                    number(&dir, "cpu.cfs_period_us")?,
                )
            };
            u64::checked_div(quota, period)
        });
        quotas.min().map(|cores| cores.max(1))
    }
}

/// The bytes that a group of version 2 leaves. Above `memory.high` the kernel kills nobody, but slows the group's
/// processes down until they hardly run.
fn left(dir: &Path, free_swap: u64) -> Option<u64> {
    let limits = [number(dir, "memory.max"), number(dir, "memory.high")];
    let limit = limits.into_iter().flatten().min()?;
    let used = number(dir, "memory.current")?;
    let stat = text(dir, "memory.stat")?;
    let files = field(&stat, "inactive_file")? + field(&stat, "active_file")?;
    let swap = match number(dir, "memory.swap.max") {
        Some(limit) => limit.saturating_sub(number(dir, "memory.swap.current").unwrap_or(0)),
        None => u64::MAX,
    };
    let memory = limit.saturating_sub(used.saturating_sub(files));
    Some(memory.saturating_add(swap.min(free_swap)))
}

/// The bytes that a group of version 1 leaves. A limit that no machine reaches stands for no limit.
fn left_v1(dir: &Path, free_swap: u64) -> Option<u64> {
    const UNLIMITED: u64 = 1 << 62;
    let limit = number(dir, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED)?;
    let used = number(dir, "memory.usage_in_bytes")?;
    let stat = text(dir, "memory.stat")?;
    let files = field(&stat, "total_inactive_file")? + field(&stat, "total_active_file")?;
    let memory = limit.saturating_sub(used.saturating_sub(files));
    let with_swap = match number(dir, "memory.memsw.limit_in_bytes") {
        Some(limit) => {
            let used = number(dir, "memory.memsw.usage_in_bytes").unwrap_or(0);
            limit.saturating_sub(used.saturating_sub(files))
        }
        None => u64::MAX,
    };
    Some(memory.saturating_add(free_swap).min(with_swap))
}

fn text(dir: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(dir.join(name)).ok()
}

/// The number in a file; `None` for anything else, such as `max` and -1.
fn number(dir: &Path, name: &str) -> Option<u64> {
    text(dir, name)?.trim().parse().ok()
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

/// A path from mountinfo, in which blanks, tabs and backslashes are written in octal.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A made-up machine below a directory.
    struct Machine {
        dir: tempfile::TempDir,
        groups: Groups,
        free_swap: u64,
    }

    impl Machine {
        /// `mounts`: for each mount its root, directory, kind and options, as in "/ memory cgroup rw,memory".
        fn new(membership: &str, mounts: &[(&str, &str, &str, &str)]) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let top = dir.path().display();
            let line = |(root, at, kind, options): &(&str, &str, &str, &str)| {
                format!(
                    "30 25 0:26 {root} {top}/{at} rw,nosuid shared:9 - {kind} cgroup {options}\n"
                )
            };
            let groups = Groups {
                membership: membership.to_owned(),
                mounts: format!(
                    "22 1 0:20 / / rw - ext4 /dev/vda rw\n{}",
                    mounts.iter().map(line).collect::<String>()
                ),
            };
            Self {
                dir,
                groups,
                free_swap: 0,
            }
        }

        fn write(&self, dir: &str, files: &[(&str, &str)]) {
            let dir = self.dir.path().join(dir);
            std::fs::create_dir_all(&dir).expect("a directory");
            for (name, text) in files {
                std::fs::write(dir.join(name), text).expect("written");
            }
        }

        fn limit(&self) -> Option<(String, u64)> {
            let limit = self.groups.memory_limit(self.free_swap)?;
            let cgroup = limit.cgroup.expect("a group's");
            let cgroup = cgroup.strip_prefix(self.dir.path()).expect("below it");
            Some((cgroup.display().to_string(), limit.available))
        }
    }

    fn unified(membership: &str) -> Machine {
        Machine::new(membership, &[("/", "cgroup", "cgroup2", "rw,nsdelegate")])
    }

    #[test]
    fn the_tightest_of_a_path_counts_and_files_are_free() {
        let machine = unified("0::/app.slice/server\n");
        let stat = "anon 5\nfile 900\ninactive_file 100\nactive_file 50\n";
        machine.write(
            "cgroup/app.slice/server",
            &[
                ("memory.max", "max\n"),
                ("memory.current", "1000\n"),
                ("memory.stat", stat),
            ],
        );
        assert_eq!(machine.limit(), None);
        machine.write(
            "cgroup/app.slice",
            &[
                ("memory.max", "3000\n"),
                ("memory.current", "1000\n"),
                ("memory.stat", stat),
            ],
        );
        assert_eq!(machine.limit(), Some(("cgroup/app.slice".into(), 2150)));
        let server = "cgroup/app.slice/server";
        machine.write(server, &[("memory.max", "900\n")]);
        assert_eq!(machine.limit(), Some((server.into(), 50)));
        machine.write(server, &[("memory.high", "890\n")]);
        assert_eq!(machine.limit(), Some((server.into(), 40)));
    }

    #[test]
    fn the_machine_has_memory() {
        let limit = memory_limit().expect("the system says");
        assert!(limit.available > 1 << 20, "{limit:?}");
    }

    #[test]
    fn swap_counts_as_memory_up_to_its_limit() {
        let mut machine = unified("0::/\n");
        machine.write(
            "cgroup",
            &[
                ("memory.max", "3000"),
                ("memory.current", "1000"),
                ("memory.stat", "inactive_file 0\nactive_file 0"),
            ],
        );
        machine.free_swap = 500;
        assert_eq!(machine.limit().expect("one").1, 2500);
        machine.write(
            "cgroup",
            &[
                ("memory.swap.max", "300\n"),
                ("memory.swap.current", "100\n"),
            ],
        );
        assert_eq!(machine.limit().expect("one").1, 2200);
        machine.write("cgroup", &[("memory.swap.max", "0\n")]);
        assert_eq!(machine.limit().expect("one").1, 2000);
    }

    #[test]
    fn version_1_in_a_container_that_sees_its_own_group_alone() {
        let machine = Machine::new(
            "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n",
            &[
                ("/docker/abc", "memory", "cgroup", "rw,memory"),
                ("/docker/abc", "cpu", "cgroup", "rw,cpu,cpuacct"),
                ("/", "unified", "cgroup2", "rw"),
            ],
        );
        let stat = "inactive_file 7\ntotal_inactive_file 100\ntotal_active_file 0\n";
        machine.write(
            "memory",
            &[
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.stat", stat),
            ],
        );
        assert_eq!(machine.limit(), None);
        machine.write("memory", &[("memory.limit_in_bytes", "1073741824\n")]);
        assert_eq!(machine.limit(), Some(("memory".into(), GIB - 900)));
        machine.write(
            "cpu",
            &[
                ("cpu.cfs_quota_us", "-1\n"),
                ("cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(machine.groups.cpu_quota(), None);
        machine.write("cpu", &[("cpu.cfs_quota_us", "250000\n")]);
        assert_eq!(machine.groups.cpu_quota(), Some(2));
    }

    #[test]
    fn version_1_with_a_limit_on_memory_and_swap() {
        let mut machine = Machine::new("4:memory:/\n", &[("/", "memory", "cgroup", "rw,memory")]);
        machine.write(
            "memory",
            &[
                ("memory.limit_in_bytes", "3000"),
                ("memory.usage_in_bytes", "1000"),
                ("memory.memsw.limit_in_bytes", "3000"),
                ("memory.memsw.usage_in_bytes", "1000"),
                (
                    "memory.stat",
                    "total_inactive_file 0\ntotal_active_file 0\n",
                ),
            ],
        );
        machine.free_swap = GIB;
        assert_eq!(machine.limit().expect("one").1, 2000);
    }

    #[test]
    fn less_than_a_core_is_one() {
        let machine = unified("0::/a\n");
        machine.write("cgroup/a", &[("cpu.max", "max 100000\n")]);
        assert_eq!(machine.groups.cpu_quota(), None);
        machine.write("cgroup", &[("cpu.max", "50000 100000\n")]);
        assert_eq!(machine.groups.cpu_quota(), Some(1));
    }

    /// The process's group lies outside of the mounted part: only the mount itself is visible.
    #[test]
    fn a_group_that_cannot_be_seen_is_taken_for_the_topmost() {
        let machine = Machine::new("0::/../other\n", &[("/mine", "cgroup", "cgroup2", "rw")]);
        machine.write("cgroup", &[("cpu.max", "300000 100000\n")]);
        assert_eq!(machine.groups.cpu_quota(), Some(3));
        let machine = unified("0::/../other\n");
        machine.write("other", &[("cpu.max", "100000 100000\n")]);
        assert_eq!(machine.groups.cpu_quota(), None);
    }
}
