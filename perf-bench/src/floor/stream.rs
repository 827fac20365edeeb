//! The bare stamped stream: the fastest loop that we know how to write by hand, with the same payload work as the
//! scenarios.
//!
//! Policy, found by trying the alternatives:
//! - The event is at the start of its slot, with the stamp after it, so that no store crosses a 32-byte boundary.
//! - Each event of up to 56 bytes has one line.
//! - The consumer commits every event.
//! - The producer rereads the gate, with a pause, only when no free slot is left.
//! - The consumer pauses once after each poll of an unready stamp.
//! - A batch is written from its last event to its first, each stamp right after its event, so that the consumer
//!   sees the batch whole and each line is written once.
//! - Packed slots share lines, and their consumer prefetches 256 bytes ahead.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::payload::{fill, fold};
use crate::watch::spin_until;

/// Bytes by which the consumer of packed slots prefetches.
const AHEAD_BYTES: usize = 256;

/// Offset of the stamp in the slot of an event of `size` bytes, and the distance of two slots, in bytes.
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
    /// `base` must have room for `capacity` slots of events of `W` words, and be aligned to 64. `capacity` is a
    /// power of two.
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
        // SAFETY: the sequence is masked, so the address is inside the region that `new` was promised. It is
        // aligned to 8, as region and stride are. The stamp is accessed only as an atomic.
        let stamp = unsafe { AtomicU64::from_ptr(slot.wrapping_add(stamp_at).cast()) };
        (slot.cast(), stamp)
    }

    /// Publishes the events of `range` one at a time, each with the key `key + sequence`. Takes and returns the
    /// limit: the first sequence for which there is no room yet, which is one ring beyond the last known commit.
    #[inline(always)]
    pub(crate) fn produce<const W: usize>(&self, range: Range<u64>, key: u64, limit: u64) -> u64 {
        self.produce_by(range, limit, |sequence| self.write::<W>(sequence, key))
    }

    /// The same, each event by a call.
    #[inline(always)]
    pub(crate) fn produce_by_calls<const W: usize>(
        &self,
        range: Range<u64>,
        key: u64,
        limit: u64,
    ) -> u64 {
        self.produce_by(range, limit, |sequence| {
            self.write_called::<W>(sequence, key);
        })
    }

    #[inline(always)]
    fn produce_by(&self, range: Range<u64>, mut limit: u64, write: impl Fn(u64)) -> u64 {
        for sequence in range {
            if sequence >= limit {
                limit = self.refill(sequence + 1);
            }
            write(sequence);
        }
        limit
    }

    #[inline(never)]
    fn write_called<const W: usize>(&self, sequence: u64, key: u64) {
        self.write::<W>(sequence, key);
    }

    /// The same, `BATCH` events at a time. `BATCH` is a constant, so that the loop stores to nothing but the slots.
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

    /// The slot's stamp comes after its event, so the stores move upwards through the slot's lines.
    #[inline(always)]
    fn write<const W: usize>(&self, sequence: u64, key: u64) {
        let (event, stamp) = self.slot::<W>(sequence);
        // SAFETY: the gate says that the consumer has left this slot. It reads the slot again only after the stamp.
        fill(unsafe { &mut *event }, key.wrapping_add(sequence));
        stamp.store((sequence + 1) << 2, Release);
    }

    /// Waits until all sequences below `end` fit; returns the new limit. This is a separate function so that the
    /// loops above keep all their variables in registers: on some processors each private store between slots
    /// costs a fifth of the rate.
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

    /// Consumes the events of `range` and folds them into `hash`.
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
            // SAFETY: the stamp says that the event is complete. The producer does not write it until the commit below.
            hash = fold(hash, unsafe { &*event });
            self.committed.store(sequence as i64, Release);
        }
        hash
    }
}

/// A prefetch hint. It does nothing on processors without a stable intrinsic for it.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that the program can observe, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A separate function for the same reason as `refill`.
#[cold]
#[inline(never)]
fn wait(stamp: &AtomicU64, expected: u64) {
    spin_until(|| stamp.load(Acquire) == expected);
}
