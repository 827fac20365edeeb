//! A barrier that one process imposes on others: Linux's `membarrier`, in its global expedited form.
//!
//! A party that stores often and reads the waiters line after each store registers its process once, and
//! needs no fence. A party that is about to sleep, which is rare, runs the barrier: before the call returns,
//! every core that runs a registered process passes a full fence.

#[cfg(all(target_os = "linux", not(miri)))]
mod imp {
    // <linux/membarrier.h>
    const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
    const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes a command and two zeros and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn register() -> bool {
        membarrier(REGISTER_GLOBAL_EXPEDITED)
    }

    pub(super) fn run() -> bool {
        membarrier(GLOBAL_EXPEDITED)
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod imp {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() -> bool {
        false
    }
}

/// Registers this process, so that [`run`] reaches it. Returns whether that worked; if not, the process needs fences
/// of its own. Registering again costs one short system call, and a forked process has to register again.
pub(crate) fn register() -> bool {
    imp::register()
}

/// Runs a full fence on every core that runs a registered process. Returns whether it worked.
pub(crate) fn run() -> bool {
    imp::run()
}

#[cfg(all(test, target_os = "linux", not(miri), not(loom)))]
mod tests {
    #[test]
    fn the_second_call_has_the_same_answer() {
        assert_eq!(super::register(), super::register());
        assert_eq!(super::run(), super::run());
    }
}
