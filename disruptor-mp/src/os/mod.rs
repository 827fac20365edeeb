//! The operating system's part of the rules: who is alive, what is mapped, which file a name means.
//!
//! Nothing here knows the protocol or the layout. Each file wraps one kind of kernel object and says what happens to it
//! when its process dies or forks:
//!
//! | file | object | after a crash | in a forked child |
//! |---|---|---|---|
//! | `fork` | the live word, the registry of lock descriptors | gone | the word reads 0, the descriptors are closed |
//! | `lock` | byte locks on a description of its own (R8) | the kernel frees them | every call fails, nothing is unlocked |
//! | `memory`, `reserve` | mappings and reserved space | unmapped | not inherited |
//! | `filesystem` | what kind a file lies on, and how much is free | | |
//! | `names`, `new_file` | files and their names (R15) | nameless files vanish, fallback temporaries are left over | names stay |
//! | `process` | pid, namespace and start time, for messages only | | computed anew |
//! | `cpu` | affinity | | inherited |
//! | `futex` | sleepers on a shared word (R9) | nobody sleeps | not inherited |
//! | `barrier` | registration for a barrier that others run (R9) | | registered anew |
//! | `clock` | the monotonic clock | | the same |

#[cfg(not(loom))]
pub(crate) mod barrier;
#[cfg(not(loom))]
pub(crate) mod clock;
pub(crate) mod cpu;
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

#[cfg(all(test, target_os = "linux", not(miri)))]
mod fork_tests;
