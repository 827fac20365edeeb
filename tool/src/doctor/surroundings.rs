//! What is around this process: the system, a container, and the memory that they leave.

use std::fs;
use std::os::unix::fs::MetadataExt;

use disruptor_mp::inspect::MemoryLimit;

use super::host::Host;
use super::{Level, Report, SPACE_MIN, report};
use crate::text::bytes;

/// The inode number of the first pid namespace of a machine.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Users with lower numbers are the system's own, which systemd leaves alone.
const FIRST_LOGIN_USER: u32 = 1000;

/// The memory that the library finds before it creates a ring.
pub(super) fn memory(limit: Option<MemoryLimit>) -> Report {
    let name = "memory limit";
    let Some(limit) = limit else {
        return report(name, Level::Note, "the system does not say");
    };
    let text = format!(
        "{} free {}, which rings count against",
        bytes(limit.free_bytes),
        limit.limited_by
    );
    let level = match limit.free_bytes {
        ..SPACE_MIN => Level::Warning,
        _ => Level::Ok,
    };
    report(name, level, text)
}

pub(super) fn huge_pages(host: &Host) -> Report {
    let name = "huge pages";
    let modes = host.word("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    let chosen = |modes: &str| Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned());
    match modes.as_deref().and_then(chosen).as_deref() {
        Some(mode @ ("never" | "deny")) => report(
            name,
            Level::Note,
            format!(
                "shared memory gets none (shmem_enabled is {mode}): `HugePages::Try` has no effect on it"
            ),
        ),
        Some(mode) => report(name, Level::Ok, format!("shared memory: {mode}")),
        None => report(name, Level::Note, "the kernel does not say"),
    }
}

pub(super) fn proc_mounted(host: &Host) -> Report {
    let name = "/proc";
    match host.has("/proc/self/fd") {
        true => report(name, Level::Ok, "mounted"),
        false => report(
            name,
            Level::Warning,
            "not mounted: handles cannot open their locks, and nothing attaches",
        ),
    }
}

pub(super) fn namespaces(host: &Host) -> Report {
    let name = "pid namespace";
    match fs::metadata(host.path("/proc/self/ns/pid")).map(|found| found.ino()) {
        Ok(FIRST_PID_NAMESPACE) => report(name, Level::Ok, "the machine's first"),
        Ok(number) => report(
            name,
            Level::Note,
            format!(
                "number {number}, of a container: process ids of other namespaces mean nothing here"
            ),
        ),
        Err(error) => report(name, Level::Note, format!("not known: {error}")),
    }
}

/// `kubernetes`: whether its variable is set.
pub(super) fn container(host: &Host, kubernetes: bool) -> Report {
    let name = "container";
    let marks = [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/systemd/container",
    ];
    let mark = marks.into_iter().find(|mark| host.has(mark));
    match mark.or(kubernetes.then_some("KUBERNETES_SERVICE_HOST")) {
        Some(mark) => report(
            name,
            Level::Note,
            format!(
                "this is one ({mark}): only containers with the same /dev/shm and user share its rings"
            ),
        ),
        None => report(name, Level::Ok, "no sign of one"),
    }
}

pub(super) fn boot_id(host: &Host) -> Report {
    let name = "boot id";
    match host.text("/proc/sys/kernel/random/boot_id") {
        Ok(_) => report(name, Level::Ok, "readable"),
        Err(error) => report(
            name,
            Level::Warning,
            format!(
                "not readable ({error}): rings in files cannot tell whether the machine was restarted"
            ),
        ),
    }
}

/// systemd removes the shared memory of users that log out.
pub(super) fn removal_at_logout(host: &Host, user: u32) -> Option<Report> {
    let is_login = user >= FIRST_LOGIN_USER && host.has("/run/systemd/system");
    let configured = host.text("/etc/systemd/logind.conf").unwrap_or_default();
    let is_off = configured.lines().any(|line| line.trim() == "RemoveIPC=no");
    (is_login && !is_off).then(|| {
        report(
            "logout",
            Level::Note,
            "systemd removes this user's rings at the last logout, unless RemoveIPC=no is set or lingering is enabled",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::host::tests::made_up;
    use super::*;

    #[track_caller]
    fn is(report: &Report, level: Level, text: &str) {
        assert_eq!(report.level, level, "{}", report.text);
        assert!(report.text.contains(text), "{}", report.text);
    }

    /// The report of a machine with this one file.
    fn with<T>(path: &str, text: &str, check: impl Fn(&Host) -> T) -> T {
        let (_root, host) = made_up(&[(path, text)]);
        check(&host)
    }

    /// The report of a machine without files.
    fn without<T>(check: impl Fn(&Host) -> T) -> T {
        let (_root, host) = made_up(&[]);
        check(&host)
    }

    #[test]
    fn little_memory_is_a_warning_and_the_group_is_named() {
        // only the library makes a value of this type
        let mut limit = disruptor_mp::inspect::memory_limit().expect("the system says");
        limit.limited_by = "below the memory limit of cgroup /a".into();
        for (free_bytes, level, text) in [
            (
                1 << 30,
                Level::Ok,
                "1.0 GiB free below the memory limit of cgroup /a",
            ),
            (
                1 << 20,
                Level::Warning,
                "1.0 MiB free below the memory limit of cgroup /a",
            ),
        ] {
            limit.free_bytes = free_bytes;
            is(&memory(Some(limit.clone())), level, text);
        }
        is(&memory(None), Level::Note, "does not say");
    }

    #[test]
    fn modes_of_huge_pages_are_told() {
        let file = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
        for (modes, level, text) in [
            (
                "always within_size [advise] never deny force\n",
                Level::Ok,
                "advise",
            ),
            (
                "always within_size advise [never] deny force\n",
                Level::Note,
                "is never",
            ),
            (
                "always within_size advise never [deny] force\n",
                Level::Note,
                "is deny",
            ),
            ("always\n", Level::Note, "does not say"),
            ("", Level::Note, "does not say"),
        ] {
            is(&with(file, modes, huge_pages), level, text);
        }
        is(&without(huge_pages), Level::Note, "does not say");
    }

    #[test]
    fn a_system_without_proc_is_warned_of() {
        is(&without(proc_mounted), Level::Warning, "not mounted");
        is(
            &with("/proc/self/fd/0", "", proc_mounted),
            Level::Ok,
            "mounted",
        );
        is(&without(boot_id), Level::Warning, "not readable");
        let file = "/proc/sys/kernel/random/boot_id";
        is(&with(file, "b0\n", boot_id), Level::Ok, "readable");
    }

    #[test]
    fn a_container_is_told_by_its_marks() {
        is(&without(namespaces), Level::Note, "not known");
        let other = with("/proc/self/ns/pid", "", namespaces);
        is(&other, Level::Note, "of a container");
        for mark in [
            "/.dockerenv",
            "/run/.containerenv",
            "/run/systemd/container",
        ] {
            let found = with(mark, "", |host| container(host, false));
            is(&found, Level::Note, &format!("this is one ({mark})"));
        }
        let found = without(|host| container(host, true));
        is(&found, Level::Note, "this is one (KUBERNETES_SERVICE_HOST)");
        is(
            &without(|host| container(host, false)),
            Level::Ok,
            "no sign",
        );
    }

    #[test]
    fn users_that_log_out_are_told_what_is_lost() {
        let with_systemd = |user| {
            with("/run/systemd/system/a", "", |host| {
                removal_at_logout(host, user)
            })
        };
        is(
            &with_systemd(1000).expect("a note"),
            Level::Note,
            "RemoveIPC=no",
        );
        assert!(with_systemd(999).is_none());
        assert!(without(|host| removal_at_logout(host, 1000)).is_none());
        for (setting, is_told) in [
            ("RemoveIPC=no", false),
            ("#RemoveIPC=no", true),
            ("RemoveIPC=yes", true),
        ] {
            let (_root, host) = made_up(&[
                ("/run/systemd/system/a", ""),
                ("/etc/systemd/logind.conf", &format!("[Login]\n{setting}\n")),
            ]);
            assert_eq!(
                removal_at_logout(&host, 1000).is_some(),
                is_told,
                "{setting}"
            );
        }
    }
}
