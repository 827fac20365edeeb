//! Which core each process runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of the driver and the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) driver: usize,
    pub(crate) peer: usize,
}

/// The first two cores that this process may use; `None` if there are fewer than two.
pub(crate) fn two_cores() -> Option<Cores> {
    let allowed = sched_getaffinity(Pid::this()).ok()?;
    let mut usable = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    Some(Cores {
        driver: usable.next()?,
        peer: usable.next()?,
    })
}

/// Pins this process to `core`; returns whether that worked.
pub(crate) fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core).is_ok() && sched_setaffinity(Pid::this(), &set).is_ok()
}

/// Pins another process to `core`. Existing threads other than its main thread are not moved; the processes here
/// have only one thread each.
pub(crate) fn pin_other(pid: i32, core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(pid), &set)
}

/// The cores that this process may use now, for [`allow`].
pub(crate) fn allowed() -> Option<CpuSet> {
    sched_getaffinity(Pid::this()).ok()
}

/// Lets this process use these cores again.
pub(crate) fn allow(cores: &Option<CpuSet>) {
    if let Some(cores) = cores {
        let _ = sched_setaffinity(Pid::this(), cores);
    }
}

/// Pins this process, and the processes that it starts, to these two cores.
pub(crate) fn keep_to(cores: Cores) -> bool {
    let mut set = CpuSet::new();
    let both = [cores.driver, cores.peer];
    both.iter().all(|&core| set.set(core).is_ok()) && sched_setaffinity(Pid::this(), &set).is_ok()
}
