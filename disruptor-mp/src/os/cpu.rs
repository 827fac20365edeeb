//! The number of cores, and pinning to one of them.

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use super::cgroup;

#[cfg(target_os = "linux")]
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The number of cores that the machine has online; at least 1. Computed once.
pub(crate) fn online_cpus() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        #[cfg(target_os = "linux")]
        if let Ok(Some(count)) = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN) {
            return usize::try_from(count).unwrap_or(1).max(1);
        }
        std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
    })
}

/// How many cores the quota of this process's cgroups can keep busy, at least 1; `usize::MAX` without a quota. Computed
/// once.
pub(crate) fn quota() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| cgroup::cpu_quota().map_or(usize::MAX, |quota| quota as usize))
}

/// The cores that the calling thread may run on, in ascending order.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn available_cores() -> Vec<usize> {
    match nix::sched::sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count())
            .filter(|&core| set.is_set(core).unwrap_or(false))
            .collect(),
        // There are more cores than a fixed-size set can name.
        Err(_) => (0..online_cpus()).collect(),
    }
}

/// Runs the calling thread on `core` only. Threads that it starts later inherit this.
#[cfg(target_os = "linux")]
pub(crate) fn pin_current_thread(core: usize) -> io::Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), &only(core)?)?)
}

/// Runs every thread of this process on `core` only.
#[cfg(target_os = "linux")]
pub(crate) fn pin_process(core: usize) -> io::Result<()> {
    let set = only(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    // The second pass catches threads that another thread started before it was pinned.
    for _ in 0..2 {
        for task in std::fs::read_dir("/proc/self/task")? {
            let Some(thread) = task?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            match sched_setaffinity(Pid::from_raw(thread), &set) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// The set that contains only `core`.
#[cfg(target_os = "linux")]
fn only(core: usize) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(set)
}

/// The cores that the calling thread may run on: all of them.
#[cfg(all(test, not(target_os = "linux")))]
pub(crate) fn available_cores() -> Vec<usize> {
    (0..online_cpus()).collect()
}

/// Unsupported on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_current_thread(_core: usize) -> io::Result<()> {
    Err(no_affinity())
}

/// Unsupported on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_process(_core: usize) -> io::Result<()> {
    Err(no_affinity())
}

#[cfg(not(target_os = "linux"))]
fn no_affinity() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this system cannot pin a thread to a core",
    )
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn pins_one_thread_and_only_that() {
        let before = available_cores();
        let core = before[before.len() - 1];
        let inside =
            std::thread::spawn(move || pin_current_thread(core).map(|()| available_cores())).join();
        assert_eq!(inside.expect("thread").expect("pinned"), [core]);
        assert_eq!(available_cores(), before);
        assert!(online_cpus() >= 1 && quota() >= 1);
    }

    /// Set in the environment of a process that runs this test program again in order to pin itself.
    const PINNED: &str = "OS_TEST_PINNED";

    #[test]
    fn a_process_that_is_pinned_has_one_core() {
        let name = "os::cpu::tests::a_process_that_is_pinned_has_one_core";
        if std::env::var_os(PINNED).is_none() {
            let program = std::env::current_exe().expect("this program");
            let mut pinned = std::process::Command::new(program);
            pinned.args(["--exact", name]).env(PINNED, "1");
            let output = pinned.output().expect("it runs");
            assert!(output.status.success(), "{output:?}");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let before = online_cpus();
        pin_process(available_cores()[0]).expect("pinned");
        assert_eq!(available_cores().len(), 1);
        assert_eq!(online_cpus(), before, "others run elsewhere");
    }

    #[test]
    fn an_unknown_core_is_an_error() {
        let nowhere =
            std::thread::spawn(|| (pin_current_thread(1_000_000), pin_current_thread(1023))).join();
        let (beyond, absent) = nowhere.expect("thread");
        assert!(beyond.is_err());
        assert!(absent.is_err());
    }
}
