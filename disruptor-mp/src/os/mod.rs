//! The operating system's part of the rules: which process is alive, what is mapped, which file a name refers to.
//!
//! Nothing here knows the protocol or the layout. Each file wraps one kind of kernel object and says what happens to it
//! when its process dies or forks:
//!
//! | file | object | after a crash | in a forked child |
//! |---|---|---|---|
//! | `descriptor` | whether a number still refers to the file that was opened under it | | |
//! | `fork` | the live word, the registry of lock descriptors | gone | the word reads 0, the descriptors are closed |
//! | `lock` | byte locks on a description of its own (R8) | the kernel frees them | calls fail, nothing is unlocked |
//! | `memory`, `reserve` | mappings and reserved space | unmapped | not inherited |
//! | `boot` | the boot's id, and the identity of a file | | the same |
//! | `filesystem` | the kind of file system, and its free space | | |
//! | `names`, `new_file` | files and their names (R15) | nameless files vanish, temporary ones stay | names stay |
//! | `step`, `user` | steps that the system may refuse, and users, for messages only | | |
//! | `process` | pid, namespace and start time, for messages only | | computed anew |
//! | `cgroup` | the memory and processor time that are still available | | the same |
//! | `cpu` | cores and affinity | | inherited |
//! | `futex` | sleepers on a shared word (R9) | its sleepers are gone | not inherited |
//! | `barrier` | registration for a barrier that others run (R9) | | registered anew |
//! | `clock` | the monotonic clock | | the same |

#[cfg(not(loom))]
pub(crate) mod barrier;
pub(crate) mod boot;
mod cgroup;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod descriptor;
pub(crate) mod filesystem;
pub(crate) mod fork;
#[cfg(not(loom))]
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod names;
mod new_file;
pub(crate) mod process;
mod reserve;
pub(crate) mod step;
pub(crate) mod user;

/// Repeats a system call as long as a signal interrupts it. Only for calls that change nothing when
/// interrupted, and that are shorter than the pauses between signals: else this would never return. File
/// systems in user space, and locks on them, are the only ones that interrupt such calls at all.
pub(crate) fn retry_on_signal<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod fork_tests;
