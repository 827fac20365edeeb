//! The byte locks that say which parties of a segment are alive (R8). The same in every layout version.
//!
//! A lock touches no data, and its byte need not exist in the file.

/// The byte that the producer holds.
pub(crate) const PRODUCER_BYTE: u64 = 0;

/// The producer also holds this byte once it vouches for the ring (R17): from then on, other processes need
/// not know in which boot that was. Containers may have boot ids of their own.
pub(crate) const VOUCHED_BYTE: u64 = 1 << 39;

/// The first of the bytes for explicit consumer ids.
pub(crate) const ID_BYTES_FROM: u64 = 1 << 40;

/// The end of all lock bytes: no lock covers a byte from here on.
pub(crate) const LOCK_BYTES_END: u64 = 1 << 62;

/// The byte of consumer line `line`.
pub(crate) const fn line_byte(line: usize) -> u64 {
    1 + line as u64
}

/// The byte of an explicit consumer id: 2^40 plus the upper 61 bits of its FNV-1a 64 hash, so below 2^62.
///
/// Two ids may share a byte; the id that is stored in the line decides. The function is part of the layout
/// and never changes.
pub(crate) const fn id_byte(id: &str) -> u64 {
    let bytes = id.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    ID_BYTES_FROM + (hash >> 3)
}
