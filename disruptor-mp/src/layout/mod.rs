//! The layout of a segment, byte by byte: `const fn` and plain structs only, no system calls.
//!
//! `docs/segment-layout.md` says the same in prose. A change here bumps [`LAYOUT_VERSION`].

pub(crate) mod control;
pub(crate) mod event_record;
pub(crate) mod header;
pub(crate) mod lock_bytes;
pub(crate) mod slot;
pub(crate) mod stamp;

/// Version of everything in this directory. Peers with different versions refuse each other.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// Bytes from the segment's start to the control lines: page 0 holds the header alone.
pub(crate) const CONTROL_OFFSET: usize = 4096;

/// The unit that one party writes: two 64-byte cache lines, as adjacent-line prefetchers fetch them in pairs.
pub(crate) const LINE_BYTES: usize = 128;

/// The most consumers that one ring can have, attached and away together.
#[cfg(not(loom))]
pub const DEFAULT_MAX_CONSUMERS: usize = 64;
/// As many as a model needs: each word costs the model checker time.
#[cfg(loom)]
pub const DEFAULT_MAX_CONSUMERS: usize = 3;

/// Rounds `value` up to a multiple of `to`, a power of two.
pub(crate) const fn align_up(value: usize, to: usize) -> usize {
    (value + to - 1) & !(to - 1)
}
