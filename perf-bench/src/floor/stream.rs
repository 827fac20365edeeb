//! The bare stamped stream: the fastest loop that we know how to write by hand, with the payload work of the scenarios.
//!
//! Policy, found by trying the alternatives: event at the start of its slot, stamp behind it (no store crosses a
//! 32-byte boundary); one line for each event up to 56 bytes; commit per event; the gate reread with a pause only when
//! it has run out; one pause for each look at an unready stamp; a batch is written from its last event to its first,
//! each stamp right after its event, so that the consumer sees the batch whole and each line is written once. Packed
//! slots share lines, and their consumer fetches 256 bytes ahead.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::payload::{fill, fold};
use crate::watch::spin_until;

/// How far ahead the consumer of packed slots fetches.
const AHEAD_BYTES: usize = 256;

/// Where the stamp of an event of `size` bytes is, and the distance of two slots.
pub(crate) const fn shape(size: usize, packed: bool) -> (usize, usize) {
    let used = size + 8;
    let unit = if packed {
        16
    } else if used > 64 && used < 256 {
        32
    } else {
        64
    };
    (size, used.next_multiple_of(unit))
}

/// The slots of one bare stream, and the line in which its consumer commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a, const PACKED: bool> {
    base: *mut u8,
    mask: u64,
    committed: &'a AtomicI64,
}

impl<'a, const PACKED: bool> Slots<'a, PACKED> {
    /// `base` has room for `capacity` slots of events of `W` words, a power of two, aligned to 64.
    pub(crate) fn new(base: *mut u8, capacity: usize, committed: &'a AtomicI64) -> Self {
        let mask = capacity as u64 - 1;
        Self {
            base,
            mask,
            committed,
        }
    }

    #[inline(always)]
    fn slot<const W: usize>(&self, sequence: u64) -> (*mut [u64; W], &'a AtomicU64) {
        let (stamp_at, stride) = const { shape(W * 8, PACKED) };
        let slot = self
            .base
            .wrapping_add((sequence & self.mask) as usize * stride);
        // SAFETY: masked, so inside the region that `new` was promised; aligned to 8, as region and stride are; the
        // stamp is accessed only as an atomic.
        let stamp = unsafe { AtomicU64::from_ptr(slot.wrapping_add(stamp_at).cast()) };
        (slot.cast(), stamp)
    }

    /// Publishes `range` one at a time, with `key + sequence` as each one's key. Takes and returns the limit, the first
    /// sequence for which there is no room yet: a ring beyond what is known to be consumed.
    #[inline(always)]
    pub(crate) fn produce<const W: usize>(
        &self,
        range: Range<u64>,
        key: u64,
        mut limit: u64,
    ) -> u64 {
        for sequence in range {
            if sequence >= limit {
                limit = self.refill(sequence + 1);
            }
            self.write::<W>(sequence, key);
        }
        limit
    }

    /// The same, `BATCH` at a time: a constant, so that nothing but the slots is stored to in the loop.
    pub(crate) fn produce_batches<const W: usize, const BATCH: u64>(
        &self,
        range: Range<u64>,
        key: u64,
        mut limit: u64,
    ) -> u64 {
        for at in range.step_by(BATCH as usize) {
            if at + BATCH > limit {
                limit = self.refill(at + BATCH);
            }
            for back in 1..=BATCH {
                self.write::<W>(at + BATCH - back, key);
            }
        }
        limit
    }

    /// The slot's stamp is behind its event, so the stores go upwards through its lines.
    #[inline(always)]
    fn write<const W: usize>(&self, sequence: u64, key: u64) {
        let (event, stamp) = self.slot::<W>(sequence);
        // SAFETY: the gate says that the consumer has left this slot; it looks again only after the stamp.
        fill(unsafe { &mut *event }, key.wrapping_add(sequence));
        stamp.store((sequence + 1) << 2, Release);
    }

    /// Waits until sequences below `end` fit; returns how far they fit now. Apart, so that the loops above keep all
    /// they need in registers: on some processors each private store between slots costs a fifth.
    #[cold]
    #[inline(never)]
    fn refill(&self, end: u64) -> u64 {
        let mut limit = 0;
        spin_until(|| {
            limit = (self.committed.load(Acquire) + 1) as u64 + self.mask + 1;
            end <= limit
        });
        limit
    }

    /// Consumes `range` and folds it into `hash`.
    #[inline(always)]
    pub(crate) fn consume_into<const W: usize>(&self, mut hash: u64, range: Range<u64>) -> u64 {
        for sequence in range {
            let (event, stamp) = self.slot::<W>(sequence);
            if PACKED {
                let ahead = const { AHEAD_BYTES / shape(W * 8, PACKED).1 };
                prefetch(self.slot::<W>(sequence + ahead as u64).0.cast());
            }
            if stamp.load(Acquire) != (sequence + 1) << 2 {
                wait(stamp, (sequence + 1) << 2);
            }
            // SAFETY: the stamp says that the event is complete; the producer leaves it alone until the commit below.
            hash = fold(hash, unsafe { &*event });
            self.committed.store(sequence as i64, Release);
        }
        hash
    }
}

/// A hint; on processors without a stable one, nothing.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Apart for the same reason.
#[cold]
#[inline(never)]
fn wait(stamp: &AtomicU64, expected: u64) {
    spin_until(|| stamp.load(Acquire) == expected);
}
