//! How fast a core copies: data of its own, and data that the other core has just written. The latter are blocks in
//! shared memory, each handed over by a stamp.
//!
//! The producer copies a message of its own into the block, and the consumer copies it out into its own memory.
//! No transport between two private memories does less work. A block's stamp has a line of its own before the
//! block.

use std::hint::black_box;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::clock::Clock;
use crate::scenario::{Outcome, in_blocks};
use crate::watch::spin_until;

/// Bytes of the line before each block.
const STAMP_BYTES: usize = 64;

/// Bytes from one block to the next.
pub(crate) const fn stride(size_bytes: usize) -> usize {
    STAMP_BYTES + size_bytes
}

/// The blocks, and the line in which their consumer commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'a> {
    base: *mut u8,
    size_bytes: usize,
    mask: u64,
    committed: &'a AtomicI64,
}

impl<'a> Blocks<'a> {
    /// `base` must have room for `capacity` blocks at their [`stride`], and be aligned to 64. `capacity` is a
    /// power of two.
    pub(crate) fn new(
        base: *mut u8,
        size_bytes: usize,
        capacity: usize,
        committed: &'a AtomicI64,
    ) -> Self {
        let mask = capacity as u64 - 1;
        Self {
            base,
            size_bytes,
            mask,
            committed,
        }
    }

    fn block(&self, sequence: u64) -> (&'a AtomicU64, *mut u8) {
        let at = (sequence & self.mask) as usize * stride(self.size_bytes);
        let stamp = self.base.wrapping_add(at);
        // SAFETY: the sequence is masked, so the address is inside the region that `new` was promised. It is
        // aligned to 64, as region and stride are. The stamp is accessed only as an atomic.
        let atomic = unsafe { AtomicU64::from_ptr(stamp.cast()) };
        (atomic, stamp.wrapping_add(STAMP_BYTES))
    }

    /// Writes `message`, which fills a block, once the consumer has left the block.
    pub(crate) fn send(&self, sequence: u64, message: &[u8]) {
        assert_eq!(message.len(), self.size_bytes);
        let oldest = sequence as i64 - self.mask as i64 - 1;
        spin_until(|| self.committed.load(Acquire) >= oldest);
        let (stamp, block) = self.block(sequence);
        // SAFETY: the lengths are equal, the message is private memory, and the consumer has left the block. It
        // reads the block again only after the stamp.
        unsafe { ptr::copy_nonoverlapping(message.as_ptr(), block, self.size_bytes) };
        stamp.store((sequence + 1) << 2, Release);
    }

    /// Reads the block into `message`, which has the size of a block, once the block is complete.
    pub(crate) fn receive(&self, sequence: u64, message: &mut [u8]) {
        assert_eq!(message.len(), self.size_bytes);
        let (stamp, block) = self.block(sequence);
        spin_until(|| stamp.load(Acquire) == (sequence + 1) << 2);
        // SAFETY: the lengths are equal, the message is private memory, and the stamp says that the block is
        // complete. The producer does not write it until the commit below.
        unsafe { ptr::copy_nonoverlapping(block, message.as_mut_ptr(), self.size_bytes) };
        self.committed.store(sequence as i64, Release);
    }
}

/// Copies a buffer that is in this core's caches, as far as it fits there, `count` times.
pub(crate) fn copy_hot(clock: &Clock, size_bytes: usize, count: u64) -> Outcome {
    let from = vec![1_u8; size_bytes];
    let mut to = vec![0_u8; size_bytes];
    let outcome = in_blocks(clock, count, |block| {
        for _ in block {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        }
    });
    Outcome {
        hash: u64::from(to == from),
        expected: 1,
        ..outcome
    }
}
