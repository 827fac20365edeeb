//! The first bytes of a counters file, to tell one from other files that are no rings.

/// What each of them begins with, whatever its version.
pub(crate) const MAGIC: [u8; 8] = *b"MYLNCNT\0";
/// The version that `CountersFile` writes and reads.
pub(crate) const VERSION: u32 = 2;

/// The version of a counters file that begins with these bytes; `None` if they do not begin as one.
pub(super) fn version_of(bytes: &[u8]) -> Option<u32> {
    let version = bytes.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(u32::from_ne_bytes(*version))
}
