//! The bare cursor stream: the other way to say that an event is complete. The producer counts its events in one line,
//! and the consumer polls that line; slots hold nothing but events.
//!
//! Policy, as for [`super::stream`]: the producer rereads the gate only when no free slot is left, and the consumer
//! commits every event. It reads all events up to the cursor before it polls again, and pauses after each empty poll.

use std::ops::Range;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::payload::{fill, fold};
use crate::watch::spin_until;

/// Bytes from one slot to the next, for events of `size` bytes.
pub(crate) const fn stride(size: usize) -> usize {
    size.next_multiple_of(64)
}

/// The slots of one bare cursor stream, the line in which its producer publishes and that in which its consumer
/// commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    base: *mut u8,
    mask: u64,
    published: &'a AtomicI64,
    committed: &'a AtomicI64,
}

impl<'a> Slots<'a> {
    /// `base` must have room for `capacity` slots of events of `W` words, and be aligned to 64. `capacity` is a
    /// power of two.
    pub(crate) fn new(
        base: *mut u8,
        capacity: usize,
        published: &'a AtomicI64,
        committed: &'a AtomicI64,
    ) -> Self {
        let mask = capacity as u64 - 1;
        Self {
            base,
            mask,
            published,
            committed,
        }
    }

    #[inline(always)]
    fn slot<const W: usize>(&self, sequence: u64) -> *mut [u64; W] {
        let stride = const { stride(W * 8) };
        let at = (sequence & self.mask) as usize * stride;
        self.base.wrapping_add(at).cast()
    }

    /// Publishes the events of `range`, each with the key `key + sequence`. Takes and returns the first sequence for
    /// which there is no room yet.
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
            // SAFETY: the sequence is masked, so the slot is inside the region that `new` was promised, and aligned to
            // 64. The gate says that the consumer has left it. The consumer reads it again only after the cursor.
            fill(
                unsafe { &mut *self.slot::<W>(sequence) },
                key.wrapping_add(sequence),
            );
            self.published.store(sequence as i64, Release);
        }
        limit
    }

    /// Waits until all sequences below `end` fit; returns the new limit.
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

    /// Consumes the events of `range` and returns their hash.
    #[inline(always)]
    pub(crate) fn consume<const W: usize>(&self, range: Range<u64>) -> u64 {
        let (mut hash, mut next) = (0, range.start);
        while next < range.end {
            let mut published = self.published.load(Acquire);
            if published < next as i64 {
                published = self.wait(next);
            }
            for sequence in next..published as u64 + 1 {
                // SAFETY: the slot is in the region, as in `produce`. The cursor says that the event is complete, and
                // the producer does not write it until the commit below.
                hash = fold(hash, unsafe { &*self.slot::<W>(sequence) });
                self.committed.store(sequence as i64, Release);
            }
            next = published as u64 + 1;
        }
        hash
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, next: u64) -> i64 {
        let mut published = 0;
        spin_until(|| {
            published = self.published.load(Acquire);
            published >= next as i64
        });
        published
    }
}
