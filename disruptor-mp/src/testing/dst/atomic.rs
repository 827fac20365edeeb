//! The words of a segment in a simulation: each access is a step, at which the task may be interrupted or killed.
//!
//! A simulation covers the interleavings of accesses, and not the memory model: a load returns the last
//! store. The model checker covers weaker orderings.

use core::panic::Location;
use core::sync::atomic::{self, Ordering};

use super::baton::current;
use super::scheduler::Site;

/// A step for an access to something that other processes see.
#[inline]
#[track_caller]
pub(crate) fn access() {
    if let Some(task) = current() {
        task.step(Site::Access(Location::caller()));
    }
}

/// Yields to another task of the simulation; returns whether there is a simulation.
pub(crate) fn simulated_yield() -> bool {
    let task = current();
    if let Some(task) = &task {
        task.step(Site::Yield);
    }
    task.is_some()
}

/// Yields to another task or thread.
pub(crate) fn yield_now() {
    if !simulated_yield() {
        std::thread::yield_now();
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            #[inline]
            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                access();
                self.0.load(order)
            }

            #[inline]
            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                access();
                self.0.store(value, order);
            }
        }
    };
}

atomic!(AtomicI64, i64);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

impl AtomicU32 {
    #[inline]
    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        access();
        self.0.fetch_add(value, order)
    }

    /// The underlying atomic, for system calls.
    pub(crate) fn real(&self) -> &atomic::AtomicU32 {
        &self.0
    }
}

impl AtomicI64 {
    #[inline]
    #[track_caller]
    pub(crate) fn swap(&self, value: i64, order: Ordering) -> i64 {
        access();
        self.0.swap(value, order)
    }
}

impl AtomicU64 {
    #[inline]
    #[track_caller]
    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        access();
        self.0.swap(value, order)
    }

    #[inline]
    #[track_caller]
    pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        access();
        self.0.fetch_or(bits, order)
    }

    #[inline]
    #[track_caller]
    pub(crate) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        access();
        self.0.fetch_and(bits, order)
    }
}
