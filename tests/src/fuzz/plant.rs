//! Negative controls: three mistakes that a party could make with a peer's values, planted in the drivers on demand.
//!
//! `MYELON_FUZZ_PLANT=read|loop|panic` plants one. A harness that does not notice it proves nothing.

use std::fs::File;
use std::sync::LazyLock;

use memmap2::MmapOptions;

use super::mutation::{Ring, WAITERS_AT, at_consumer};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A slot is found by a peer's sequence without a mask.
    Read,
    /// A wait for a peer's word that never looks at the clock.
    Loop,
    /// Checked arithmetic on a peer's sequence.
    Panic,
}

/// What the environment asks for.
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
    /// Makes the mistake, on the words that are in the segment now.
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
                // SAFETY: none: this is the mistake. Nothing is mapped there, or a guard, for most values.
                unsafe { slot.read_volatile() };
            }
            Self::Loop => while ring.word(file, WAITERS_AT) != 0 {},
            Self::Panic => {
                // any of several lines: what an input comes to store in one alone depends on its races
                let sequences = (0..8).map(|line| ring.word(file, at_consumer(line, 0)));
                for sequence in sequences {
                    let last = (sequence as i64).checked_mul(4);
                    assert!(last.is_some(), "planted: {sequence:#x} overflowed");
                }
            }
        }
    }
}
