//! Which core each process runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of the driver and the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) driver: usize,
    pub(crate) peer: usize,
}

/// The two cores of `wanted`, or the first two that this process may use; `None` if there are fewer than two. It is an
/// error if the wanted ones cannot be used.
pub(crate) fn two_cores(wanted: Option<&[usize]>) -> Result<Option<Cores>, String> {
    let Ok(allowed) = sched_getaffinity(Pid::this()) else {
        return Ok(None);
    };
    let is_usable = |core: usize| allowed.is_set(core).unwrap_or(false);
    let usable: Vec<usize> = (0..CpuSet::count())
        .filter(|&core| is_usable(core))
        .collect();
    match wanted {
        Some(&[driver, peer]) => {
            if let Some(core) = [driver, peer]
                .into_iter()
                .find(|core| !usable.contains(core))
            {
                return Err(format!(
                    "core {core} cannot be used: this process may use the cores {usable:?}; choose two of them"
                ));
            }
            if driver == peer {
                return Err(format!(
                    "two different cores are needed, and --cores gives core {driver} twice"
                ));
            }
            Ok(Some(Cores { driver, peer }))
        }
        Some(_) => Err("--cores takes two cores, as in --cores 0,1".to_owned()),
        None => Ok(match usable[..] {
            [driver, peer, ..] => Some(Cores { driver, peer }),
            _ => None,
        }),
    }
}

/// Pins this process to `core`; returns whether that worked.
pub(crate) fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core).is_ok() && sched_setaffinity(Pid::this(), &set).is_ok()
}

/// Lets this thread alone run on these cores.
pub(crate) fn keep_thread_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    if cores.iter().all(|&core| set.set(core).is_ok()) {
        // 0 is the calling thread; where it may not choose, it stays where it is
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
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
