//! Which cores this process may use, and pinning to one of them.

use std::io;
use std::num::NonZeroUsize;

use crate::sync::process::{AtomicUsize, Ordering};

#[cfg(target_os = "linux")]
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// What [`usable_cpus`] has found; 0 before it was asked.
static USABLE: AtomicUsize = AtomicUsize::new(0);

/// How many cores this process can keep busy: its affinity and its cgroup quota, at least 1. Asked once, and known anew
/// when the process is pinned.
pub(crate) fn usable_cpus() -> usize {
    match USABLE.load(Ordering::Relaxed) {
        0 => {
            let found = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            // another thread may have pinned the process meanwhile: that stays
            match USABLE.compare_exchange(0, found, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => found,
                Err(known) => known,
            }
        }
        known => known,
    }
}

/// How many cores the machine has, for those who run elsewhere, too; at least 1. Asked once.
#[cfg(target_os = "linux")]
pub(crate) fn online_cpus() -> usize {
    use std::sync::OnceLock;

    use nix::unistd::{SysconfVar, sysconf};
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| match sysconf(SysconfVar::_NPROCESSORS_ONLN) {
        Ok(Some(count)) => usize::try_from(count).unwrap_or(1).max(1),
        _ => usable_cpus(),
    })
}

/// No process is kept from a core here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn online_cpus() -> usize {
    usable_cpus()
}

/// The cores that the calling thread may run on, in ascending order.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn available_cores() -> Vec<usize> {
    match nix::sched::sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count())
            .filter(|&core| set.is_set(core).unwrap_or(false))
            .collect(),
        // More cores than a fixed set can name.
        Err(_) => (0..usable_cpus()).collect(),
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
    // A thread that is started meanwhile by one not yet pinned is seen by the second pass.
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
    USABLE.store(1, Ordering::Relaxed);
    Ok(())
}

/// The set of one core.
#[cfg(target_os = "linux")]
fn only(core: usize) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(set)
}

/// The cores that the calling thread may run on: all of them.
#[cfg(all(test, not(target_os = "linux")))]
pub(crate) fn available_cores() -> Vec<usize> {
    (0..usable_cpus()).collect()
}

/// Not possible on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_current_thread(_core: usize) -> io::Result<()> {
    Err(no_affinity())
}

/// Not possible on this system.
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
        assert!(usable_cpus() >= 1);
        assert!(online_cpus() >= usable_cpus());
    }

    /// Set in a process that this test program runs again to pin it.
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
        assert!(usable_cpus() >= 1, "asked before");
        pin_process(available_cores()[0]).expect("pinned");
        assert_eq!(usable_cpus(), 1);
        assert_eq!(available_cores().len(), 1);
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
