//! The identity of a process, for messages.
//!
//! It never decides whether a process is alive: only the kernel's locks do (R8). A pid is reused, and means
//! nothing in another pid namespace.

use std::ptr;
use std::sync::OnceLock;

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::fork::live_word;

/// A process as it describes itself in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The process id in its own pid namespace.
    pub(crate) pid: u32,
    /// The inode number of the pid namespace, or 0 if it is not known.
    pub(crate) pid_namespace: u64,
    /// When the process started, in clock ticks since boot, or 0 if it is not known.
    pub(crate) start_ticks: u64,
}

/// The identity that was computed in one process.
struct Cached {
    identity: Identity,
    /// Reads 0 in every other process.
    live: &'static AtomicU64,
}

/// The newest cached identity, leaked: one for each process in a chain of forks.
static CACHED: AtomicPtr<Cached> = AtomicPtr::new(ptr::null_mut());

impl Identity {
    /// The identity of this process. Cached; a forked child computes its own.
    pub(crate) fn current() -> Self {
        let seen = CACHED.load(Ordering::Acquire);
        // SAFETY: null or leaked by an earlier call, here or in the process that this one was forked from.
        let cached = unsafe { seen.as_ref() };
        if let Some(cached) = cached
            && cached.live.load(Ordering::Relaxed) != 0
            && cached.identity.pid == std::process::id()
        {
            return cached.identity;
        }
        let identity = Self {
            pid: std::process::id(),
            pid_namespace: pid_namespace(),
            start_ticks: start_ticks(),
        };
        let fresh = Box::into_raw(Box::new(Cached {
            identity,
            live: live_word(),
        }));
        let stored = CACHED.compare_exchange(seen, fresh, Ordering::Release, Ordering::Relaxed);
        if stored.is_err() {
            // SAFETY: another thread of this process was faster, so that no thread has seen this one.
            drop(unsafe { Box::from_raw(fresh) });
        }
        identity
    }

    /// For error texts: the pid if it means something to the reader, else a note that it belongs to another namespace.
    pub(crate) fn describe(&self) -> String {
        let mine = Self::current().pid_namespace;
        if self.pid_namespace == 0 || mine == 0 || self.pid_namespace == mine {
            format!("pid {}", self.pid)
        } else {
            format!(
                "a process of another pid namespace (pid {} there)",
                self.pid
            )
        }
    }
}

/// The inode number of this process's pid namespace, or 0 if it is not known. Computed once: the child of a fork is
/// taken for a process of its parent's namespace.
pub(crate) fn own_namespace() -> u64 {
    static NAMESPACE: OnceLock<u64> = OnceLock::new();
    *NAMESPACE.get_or_init(pid_namespace)
}

/// The inode number of this process's pid namespace.
#[cfg(all(target_os = "linux", not(miri)))]
fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Field 22 of this process's stat line.
#[cfg(all(target_os = "linux", not(miri)))]
fn start_ticks() -> u64 {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|line| parse_start_ticks(&line))
        .unwrap_or(0)
}

#[cfg(any(not(target_os = "linux"), miri))]
fn pid_namespace() -> u64 {
    0
}

#[cfg(any(not(target_os = "linux"), miri))]
fn start_ticks() -> u64 {
    0
}

/// Field 22; the second field is the command in parentheses and may itself hold spaces and parentheses.
#[allow(dead_code, reason = "only Linux has the file")]
fn parse_start_ticks(line: &str) -> Option<u64> {
    let (_, from_field_3) = line.rsplit_once(')')?;
    from_field_3
        .split_ascii_whitespace()
        .nth(22 - 3)?
        .parse()
        .ok()
}

/// The type of a resource number.
#[cfg(target_env = "gnu")]
pub(crate) type Resource = libc::__rlimit_resource_t;
/// The type of a resource number.
#[cfg(not(target_env = "gnu"))]
pub(crate) type Resource = libc::c_int;

/// A soft limit of this process; `u64::MAX` if there is none, or the system does not say.
pub(crate) fn soft_limit(resource: Resource) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid resource number and a pointer to an initialised struct; on failure nothing is written.
    unsafe { libc::getrlimit(resource, &mut limit) };
    if limit.rlim_cur == libc::RLIM_INFINITY {
        u64::MAX
    } else {
        limit.rlim_cur
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_may_hold_anything() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_start_ticks(line), Some(4242));
        assert_eq!(parse_start_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn describes_both_kinds() {
        let me = Identity::current();
        assert_eq!(me, Identity::current());
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.describe(), format!("pid {}", me.pid));
        if me.pid_namespace != 0 {
            assert!(me.start_ticks > 0);
            let stranger = Identity {
                pid: 5,
                pid_namespace: me.pid_namespace + 1,
                start_ticks: 0,
            };
            assert_eq!(
                stranger.describe(),
                "a process of another pid namespace (pid 5 there)"
            );
        }
    }
}
