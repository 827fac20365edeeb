//! The bare stamped stream: the fastest loop that we know how to write by hand, with the payload work of the scenarios.
//!
//! Policy, found by trying the alternatives: event at the start of its slot, stamp behind it (no store crosses a
//! 32-byte boundary); one line for each event up to 56 bytes; commit per event; the gate reread with a pause only when
//! it has run out; one pause for each look at an unready stamp; a batch is written from its last event to its first,
//! each stamp right after its event, so that the consumer sees the batch whole and each line is written once.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::payload::{fill, fold, key};
use crate::watch::spin_until;

/// Said in every report that shows the floor.
pub(crate) const POLICY: &str = "stamp behind the event, commit per event, gate reread when out (pause), batches \
                                 from last to first";

/// Where the stamp of an event of `size` bytes is, and the distance of two slots.
pub(crate) const fn shape(size: usize) -> (usize, usize) {
    let used = size + 8;
    let unit = if used > 64 && used < 256 { 32 } else { 64 };
    (size, used.next_multiple_of(unit))
}

/// The slots of one bare stream, and the line in which its consumer commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    base: *mut u8,
    mask: u64,
    committed: &'a AtomicI64,
}

impl<'a> Slots<'a> {
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
        let (stamp_at, stride) = const { shape(W * 8) };
        let slot = self
            .base
            .wrapping_add((sequence & self.mask) as usize * stride);
        // SAFETY: masked, so inside the region that `new` was promised; aligned to 8, as region and stride are; the
        // stamp is accessed only as an atomic.
        let stamp = unsafe { AtomicU64::from_ptr(slot.wrapping_add(stamp_at).cast()) };
        (slot.cast(), stamp)
    }

    /// Publishes `first .. first + count`, `batch` at a time; everything before `first` is consumed.
    pub(crate) fn produce<const W: usize>(&self, first: u64, round: u64, count: u64, batch: u64) {
        let capacity = self.mask + 1;
        let (mut at, end, mut limit) = (first, first + count, first + capacity);
        while at < end {
            if at + batch > limit {
                spin_until(|| {
                    limit = (self.committed.load(Acquire) + 1) as u64 + capacity;
                    at + batch <= limit
                });
            }
            for sequence in (at..at + batch).rev() {
                let (event, stamp) = self.slot::<W>(sequence);
                // SAFETY: the gate says that the consumer has left this slot; it looks again only after the stamp.
                fill(unsafe { &mut *event }, key(round, sequence - first));
                stamp.store((sequence + 1) << 2, Release);
            }
            at += batch;
        }
    }

    /// Consumes as many and returns their hash.
    pub(crate) fn consume<const W: usize>(&self, first: u64, count: u64) -> u64 {
        let mut hash = 0;
        for sequence in first..first + count {
            let (event, stamp) = self.slot::<W>(sequence);
            spin_until(|| stamp.load(Acquire) == (sequence + 1) << 2);
            // SAFETY: the stamp says that the event is complete; the producer leaves it alone until the commit below.
            hash = fold(hash, unsafe { &*event });
            self.committed.store(sequence as i64, Release);
        }
        hash
    }
}
