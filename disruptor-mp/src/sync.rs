//! The only source of atomics, fences and spin hints.
//!
//! Protocol code imports from here only, so that the same source runs on the real machine, inside the model checker
//! (`--cfg loom`), and in simulations (feature `dst`), where each access is a step. The `process` module has the
//! few atomics that are private to this process and never modelled (flags of the fork guard, thread shutdown).

#[cfg(not(any(loom, feature = "dst")))]
mod imp {
    pub(crate) use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
    pub(crate) use std::thread::yield_now;
}

#[cfg(all(feature = "dst", not(loom)))]
mod imp {
    pub(crate) use crate::testing::dst::atomic::{AtomicI64, AtomicU32, AtomicU64, yield_now};
}

#[cfg(not(loom))]
mod same {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{Ordering, fence};
    pub(crate) use std::sync::Mutex;

    /// The kernel's part of sleeping and waking (R9).
    #[cfg(not(feature = "dst"))]
    pub(crate) mod kernel {
        pub(crate) use crate::os::barrier::{register, run};
        pub(crate) use crate::os::futex::{wait, wait_any, wake_all};
    }
    #[cfg(feature = "dst")]
    pub(crate) use crate::testing::dst::kernel;
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::yield_now;

    /// A model of the kernel's part: comparing and falling asleep are one step, no sleeper wakes by the clock,
    /// and no barrier can be imposed on others, so that every party fences. A lost wake-up is a deadlock.
    pub(crate) mod kernel {
        use std::time::Duration;

        use loom::sync::{Condvar, Mutex};

        use super::{AtomicU32, Ordering};

        loom::lazy_static! {
            static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
        }

        pub(crate) fn wait(word: &AtomicU32, expected: u32, _longest: Duration) {
            let guard = SLEEPERS.0.lock().expect("no panic while it is held");
            if word.load(Ordering::Relaxed) == expected {
                drop(SLEEPERS.1.wait(guard));
            }
        }

        pub(crate) fn wake_all(_word: &AtomicU32) {
            let _guard = SLEEPERS.0.lock().expect("no panic while it is held");
            SLEEPERS.1.notify_all();
        }

        pub(crate) fn register() -> bool {
            false
        }

        pub(crate) fn run() -> bool {
            false
        }
    }
}

pub(crate) use imp::*;
#[cfg(not(loom))]
pub(crate) use same::*;

/// Atomics that no model sees: those that live and die with this process, and the words of a segment that are
/// only for messages, or reserved.
pub(crate) mod process {
    pub(crate) use core::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering,
    };
}

/// The atomics of cancel tokens: modelled, but not steps of a simulation, because a signal handler uses them.
pub(crate) mod signal_safe {
    #[cfg(not(loom))]
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
}
