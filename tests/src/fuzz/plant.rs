//! Negative controls: three mistakes in handling a peer's values, planted in the drivers on demand.
//!
//! `MYELON_FUZZ_PLANT=read|loop|panic` plants one. A harness that does not notice it proves nothing.

use std::fs::File;
use std::sync::LazyLock;

use memmap2::MmapOptions;

use super::mutation::{Ring, WAITERS_AT, at_consumer};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Computes a slot's address from a peer's sequence without a mask.
    Read,
    /// Waits for a peer's word and never checks the clock.
    Loop,
    /// Uses checked arithmetic on a peer's sequence.
    Panic,
}

/// The mistake that `MYELON_FUZZ_PLANT` asks for.
pub static PLANT: LazyLock<Option<Plant>> = LazyLock::new(|| {
    let name = std::env::var("MYELON_FUZZ_PLANT").ok()?;
    Some(match name.as_str() {
        "read" => Plant::Read,
        "loop" => Plant::Loop,
        "panic" => Plant::Panic,
        other => panic!("MYELON_FUZZ_PLANT={other}: want read, loop or panic"),
    })
});

impl Plant {
    /// Makes the mistake with the words that are in the segment now.
    pub fn act(self, file: &File, ring: &Ring) {
        let sequence = ring.word(file, at_consumer(0, 0));
        match self {
            Self::Read => {
                let Ok(map) = MmapOptions::new().map_raw_read_only(file) else {
                    return;
                };
                let offset = (sequence as usize).wrapping_mul(ring.stride);
                let slot = map
                    .as_ptr()
                    .wrapping_add(ring.slots_offset)
                    .wrapping_add(offset);
                // SAFETY: none: this read is the planted mistake. For most values nothing is mapped at the
                // address, or a guard page is.
                unsafe { slot.read_volatile() };
            }
            Self::Loop => while ring.word(file, WAITERS_AT) != 0 {},
            Self::Panic => {
                // of any of eight lines: whether an input stores in one particular line depends on its races
                let sequences = (0..8).map(|line| ring.word(file, at_consumer(line, 0)));
                for sequence in sequences {
                    let last = (sequence as i64).checked_mul(4);
                    assert!(last.is_some(), "planted: {sequence:#x} overflowed");
                }
            }
        }
    }
}
