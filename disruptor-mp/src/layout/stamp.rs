//! The stamp: the 64-bit word in each slot that says which event the slot holds, and whether that event may
//! be read. Its place in the slot depends on the event ([`SlotShape`](super::slot::SlotShape)).
//!
//! ```text
//! bit 63                                          2 1 0
//!     [ sequence + 1                               | s ]    s: 0 published, 1 busy, 2 skipped
//! ```
//!
//! The producer that owns the claim writes it (R2), and every consumer reads it (R3). The word 0 means: never used.

use crate::Sequence;

/// The highest sequence. The next one would not fit in a stamp beside its two state bits.
pub(crate) const MAX_SEQUENCE: Sequence = (1 << 61) - 1;

/// The stamp of a slot whose event `sequence` may be read. Wraps on values that no producer writes.
#[inline(always)]
pub(crate) const fn published(sequence: Sequence) -> u64 {
    (sequence as u64).wrapping_add(1) << 2
}

/// The stamp of a slot while the event `sequence` is being written to it, in a ring with observers (R13).
#[inline(always)]
pub(crate) const fn busy(sequence: Sequence) -> u64 {
    published(sequence) | 1
}

/// The sequence in a stamp, whatever its state; `None` for the word 0 and for values that no producer writes.
pub(crate) const fn sequence_of(stamp: u64) -> Option<Sequence> {
    let plus_one = stamp >> 2;
    if plus_one == 0 || plus_one > MAX_SEQUENCE as u64 + 1 {
        return None;
    }
    Some((plus_one - 1) as Sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_sequence() {
        for sequence in [
            0,
            1,
            2,
            u32::MAX as i64 - 1,
            u32::MAX as i64,
            1 << 32,
            MAX_SEQUENCE,
        ] {
            assert_eq!(sequence_of(published(sequence)), Some(sequence));
            assert_eq!(sequence_of(busy(sequence)), Some(sequence));
        }
    }

    #[test]
    fn no_sequence_has_the_word_zero() {
        assert_eq!(sequence_of(0), None);
        assert_eq!(sequence_of(u64::MAX), None);
        assert_ne!(published(0), 0);
        assert_ne!(published(MAX_SEQUENCE), 0);
    }

    #[test]
    fn hostile_sequences_wrap() {
        let _ = published(i64::MAX);
        let _ = published(i64::MIN);
        assert_eq!(published(-1), 0);
    }
}
