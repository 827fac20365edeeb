//! How the rings of a session are named.

use core::hash::Hasher;
use std::path::Path;

use disruptor_mp::MmapTransportLayout;
use siphasher::sip::SipHasher24;

use crate::transport::{
    SEGMENT_NAME_LIMIT_MACOS, TransportResult, invalid_name, validate_segment_name,
};

/// The default prefix of the names of a session's rings.
pub const DEFAULT_TRANSPORT_PREFIX: &str = "myl";

/// Letters and digits that stay distinct on every file system and that readers do not confuse (Crockford's base
/// 32).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits of a session's tag, which has 64 bits: five bits a digit.
const TAG_DIGITS: usize = 13;

/// The longest prefix in bytes: the room that the rest of a ring's longest name leaves.
const PREFIX_BYTES_MAX: usize = SEGMENT_NAME_LIMIT_MACOS - TAG_DIGITS - "--r9999".len();

/// A short name for a session, computed from its whole label: 13 lower-case letters and digits. The same label
/// has the same tag in every build and on every machine (SipHash-2-4 with a key of zeros). Among a million
/// labels, the chance that any two have the same tag is less than one in ten million.
///
/// # Errors
///
/// [`TransportError::InvalidName`](crate::TransportError::InvalidName) for an empty label. Any other text is accepted.
///
/// # Examples
///
/// ```
/// use myelon::transport::compact_session_tag;
///
/// assert_eq!(compact_session_tag("llama-70b")?, compact_session_tag("llama-70b")?);
/// assert_ne!(compact_session_tag("a-session")?, compact_session_tag("b-session")?);
/// # Ok::<(), myelon::TransportError>(())
/// ```
pub fn compact_session_tag(label: &str) -> TransportResult<String> {
    if label.is_empty() {
        return Err(invalid_name(label, "a session's label is not empty"));
    }
    let mut hasher = SipHasher24::new();
    hasher.write(label.as_bytes());
    let hash = hasher.finish();
    let digit = |place: usize| char::from(DIGITS[(hash >> (5 * place)) as usize & 31]);
    Ok((0..TAG_DIGITS).rev().map(digit).collect())
}

/// Whether a ring of this name has a session's requests, to all workers or to one.
pub(super) fn is_of_requests(name: &str) -> bool {
    let kind = name.rsplit_once('-').map(|(_, kind)| kind);
    let rank = kind.and_then(|kind| kind.strip_prefix('q'));
    rank.is_some_and(|rank| rank.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name of the ring of the requests to all workers, beside a ring of requests with this name.
pub(super) fn common_ring_of(name: &str) -> &str {
    name.trim_end_matches(|rank: char| rank.is_ascii_digit())
}

/// The names of a session's rings: one ring on which the scheduler sends to all workers, and for each worker one ring
/// for its answers and one for the requests to it alone. Both sides compute the names from the same label.
///
/// # Examples
///
/// ```
/// use myelon::MyelonTransportLayout;
///
/// let layout = MyelonTransportLayout::for_session("llama-70b")?;
/// assert_eq!(layout.rpc_ring_name(), "myl-6mahex05sx5f8-q");
/// assert_eq!(layout.response_ring_name(3), "myl-6mahex05sx5f8-r3");
/// assert_eq!(layout.request_ring_name(3), "myl-6mahex05sx5f8-q3");
/// assert_eq!(layout.rpc_mmap_layout("/rings").path().to_str(), Some("/rings/myl-6mahex05sx5f8-q"));
/// assert_eq!(layout.response_mmap_layout("/rings", 3).path().to_str(), Some("/rings/myl-6mahex05sx5f8-r3"));
/// # Ok::<(), myelon::TransportError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MyelonTransportLayout {
    stem: String,
}

impl MyelonTransportLayout {
    /// The names for a session's label.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidName`](crate::TransportError::InvalidName) for an empty label.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::MyelonTransportLayout;
    ///
    /// assert_eq!(MyelonTransportLayout::for_session("a")?, MyelonTransportLayout::for_session("a")?);
    /// assert!(MyelonTransportLayout::for_session("").is_err());
    /// # Ok::<(), myelon::TransportError>(())
    /// ```
    pub fn for_session(label: &str) -> TransportResult<Self> {
        Self::for_session_with_prefix(DEFAULT_TRANSPORT_PREFIX, label)
    }

    /// The names for a session's label, with another prefix: up to 9 ASCII letters and digits.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidName`](crate::TransportError::InvalidName).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::MyelonTransportLayout;
    ///
    /// let layout = MyelonTransportLayout::for_session_with_prefix("prod", "llama-70b")?;
    /// assert_eq!(layout.rpc_ring_name(), "prod-6mahex05sx5f8-q");
    /// assert!(MyelonTransportLayout::for_session_with_prefix("ten-letters", "llama-70b").is_err());
    /// # Ok::<(), myelon::TransportError>(())
    /// ```
    pub fn for_session_with_prefix(prefix: &str, label: &str) -> TransportResult<Self> {
        validate_segment_name(prefix)?;
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(invalid_name(prefix, "a prefix has 9 bytes at the most"));
        }
        let tag = compact_session_tag(label)?;
        Ok(Self {
            stem: format!("{prefix}-{tag}"),
        })
    }

    /// The ring from the scheduler to all workers.
    pub fn rpc_ring_name(&self) -> String {
        format!("{}-q", self.stem)
    }

    /// The ring from the worker `rank` to the scheduler.
    pub fn response_ring_name(&self, rank: usize) -> String {
        format!("{}-r{rank}", self.stem)
    }

    /// The ring of the requests to the worker `rank` alone.
    pub fn request_ring_name(&self, rank: usize) -> String {
        format!("{}-q{rank}", self.stem)
    }

    /// The file of the ring from the scheduler to all workers, in the directory `root`.
    pub fn rpc_mmap_layout(&self, root: impl AsRef<Path>) -> MmapTransportLayout {
        MmapTransportLayout::new(root, self.rpc_ring_name())
    }

    /// The file of the ring from the worker `rank` to the scheduler, in the directory `root`.
    pub fn response_mmap_layout(&self, root: impl AsRef<Path>, rank: usize) -> MmapTransportLayout {
        MmapTransportLayout::new(root, self.response_ring_name(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected value was computed once with another implementation, which passed the test vector of
    /// SipHash-2-4's authors.
    #[test]
    fn tags_are_the_same_in_every_build() {
        assert_eq!(
            compact_session_tag("llama-70b").expect("a tag"),
            "6mahex05sx5f8"
        );
    }

    #[test]
    fn every_name_fits_every_system() {
        let prefix = "x".repeat(PREFIX_BYTES_MAX);
        let layout = MyelonTransportLayout::for_session_with_prefix(&prefix, "s").expect("names");
        for rank in [0, 9, 9999] {
            let names = [
                layout.response_ring_name(rank),
                layout.request_ring_name(rank),
            ];
            for name in &names {
                validate_segment_name(name).expect(name);
            }
            assert_eq!(names.map(|name| is_of_requests(&name)), [false, true]);
        }
        validate_segment_name(&layout.rpc_ring_name()).expect("fits");
        assert!(is_of_requests(&layout.rpc_ring_name()) && !is_of_requests("orders"));
        for name in [layout.rpc_ring_name(), layout.request_ring_name(12)] {
            assert_eq!(common_ring_of(&name), layout.rpc_ring_name());
        }
    }
}
