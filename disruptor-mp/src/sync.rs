//! The one door to atomics, fences and spin hints.
//!
//! Protocol code imports from here only, so that the same source runs on the real machine, inside the model checker
//! (`--cfg loom`), and in simulations (feature `dst`), where each access is a step. The `process` module holds the few
//! that are private to this process and never modelled (flags of the fork guard, thread shutdown).

#[cfg(not(any(loom, feature = "dst")))]
mod imp {
    pub(crate) use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
    pub(crate) use std::thread::yield_now;
}

#[cfg(all(feature = "dst", not(loom)))]
mod imp {
    pub(crate) use crate::dst::atomic::{AtomicI64, AtomicU32, AtomicU64, yield_now};
}

#[cfg(not(loom))]
mod same {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{Ordering, fence};
    pub(crate) use std::sync::Mutex;
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::yield_now;
}

pub(crate) use imp::*;
#[cfg(not(loom))]
pub(crate) use same::*;

/// Atomics that no model sees: those that live and die with this process, and the words of a segment that are for
/// messages only, or reserved.
pub(crate) mod process {
    #[cfg(all(feature = "dst", not(loom)))]
    pub(crate) use core::sync::atomic::AtomicUsize;
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
}
