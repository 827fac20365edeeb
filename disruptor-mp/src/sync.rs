//! The one door to atomics, fences and spin hints.
//!
//! Protocol code imports from here only, so that the same source runs on the real machine and, under
//! `--cfg loom`, inside the model checker. The `process` module holds the few that are private to this process
//! and never modelled (flags of the fork guard, thread shutdown).

#[cfg(not(loom))]
mod imp {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use std::sync::Mutex;
    pub(crate) use std::thread::yield_now;
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::yield_now;
}

pub(crate) use imp::*;

/// Atomics that no model sees: those that live and die with this process, and the words of a segment that are for
/// messages only, or reserved.
pub(crate) mod process {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
}
