//! How fast one core can have what the other one has just written: blocks in shared memory, handed over by a stamp each.
//!
//! The producer copies a message of its own into the block, the consumer copies it out into memory of its own: no
//! transport between two memories does with less. A block's stamp has a line of its own before it.

use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::watch::spin_until;

/// The line before each block.
const STAMP_BYTES: usize = 64;

/// How far it is from block to block.
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
    /// `base` has room for `capacity` blocks, a power of two, at their [`stride`], and is aligned to 64.
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
        // SAFETY: masked, so inside the region that `new` was promised; aligned to 64, as region and stride are; the
        // stamp is accessed only as an atomic.
        let atomic = unsafe { AtomicU64::from_ptr(stamp.cast()) };
        (atomic, stamp.wrapping_add(STAMP_BYTES))
    }

    /// Writes `message`, a block's worth, once the consumer has left the block.
    pub(crate) fn send(&self, sequence: u64, message: &[u8]) {
        assert_eq!(message.len(), self.size_bytes);
        let oldest = sequence as i64 - self.mask as i64 - 1;
        spin_until(|| self.committed.load(Acquire) >= oldest);
        let (stamp, block) = self.block(sequence);
        // SAFETY: the lengths are equal, the message is private memory, and the consumer has left the block; it looks
        // again only after the stamp.
        unsafe { ptr::copy_nonoverlapping(message.as_ptr(), block, self.size_bytes) };
        stamp.store((sequence + 1) << 2, Release);
    }

    /// Reads the block into `message`, a block's worth, once it is there.
    pub(crate) fn receive(&self, sequence: u64, message: &mut [u8]) {
        assert_eq!(message.len(), self.size_bytes);
        let (stamp, block) = self.block(sequence);
        spin_until(|| stamp.load(Acquire) == (sequence + 1) << 2);
        // SAFETY: the lengths are equal, the message is private memory, and the stamp says that the block is complete;
        // the producer leaves it alone until the commit below.
        unsafe { ptr::copy_nonoverlapping(block, message.as_mut_ptr(), self.size_bytes) };
        self.committed.store(sequence as i64, Release);
    }
}
