//! The head of a session's message: 16 bytes in front of the payload, which so keeps its alignment.
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | the number of the request; in an answer, of the request that it answers, or 0 |
//! | 8–11 | the number of the piece, from 0; in a notice, the rank of a worker |
//! | 12 | [`LAST`], [`NOTICE`] and [`GIVEN_UP`] |
//! | 13–15 | zero |

use core::fmt;

use crate::codec::{Codec, CodecError};
use crate::transport::TransportError;
use crate::typed_transport::{Encode, TypedPublishError};

/// The length of a head, in bytes.
pub(super) const HEAD_BYTES: usize = 16;

/// No piece of this answer follows.
pub(super) const LAST: u8 = 1;
/// The scheduler has made a ring for the requests to one worker. It carries no payload.
pub(super) const NOTICE: u8 = 2;
/// The worker answers nothing to this request: too many of its kind have died of it.
pub(super) const GIVEN_UP: u8 = 4;

/// The number of a request within its session. The numbers of one scheduler go up in the order in which it sends, and
/// those of its successor are higher.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// let to_all = scheduler.broadcast(b"weights", 1, Deadline::NEVER)?;
/// let to_one = scheduler.send_to(0, b"prompt", 2, Deadline::NEVER)?;
/// assert!(to_all < to_one && to_all.get() < to_one.get());
/// assert_eq!(worker.recv(Deadline::NEVER)?.id(), to_all);
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// How many bits of a number count the requests of one scheduler; those above are its epoch.
    const COUNT_BITS: u32 = 40;

    /// The first number of the scheduler with this epoch. It is not 0.
    pub(super) fn first(epoch: u64) -> Self {
        Self((epoch << Self::COUNT_BITS) + 1)
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether the scheduler whose first number is `first` or a successor of it has given this number.
    pub(super) fn is_since(self, first: Self) -> bool {
        self.0 >= first.0
    }

    /// The number as it is sent.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0 & ((1 << Self::COUNT_BITS) - 1);
        write!(f, "{}.{count}", self.0 >> Self::COUNT_BITS)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) request: Option<RequestId>,
    pub(super) piece: u32,
    pub(super) flags: u8,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let request = self.request.map_or(0, RequestId::get);
        bytes[..8].copy_from_slice(&request.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.piece.to_ne_bytes());
        bytes[12] = self.flags;
        bytes
    }

    /// The head of a message; `None` if no member of a session has sent these bytes.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        // a copy: a hostile peer may change the bytes while they are checked
        let bytes: [u8; HEAD_BYTES] = *message.first_chunk()?;
        let request = u64::from_ne_bytes(*bytes.first_chunk()?);
        let [.., a, b, c, d, flags, 0, 0, 0] = bytes else {
            return None;
        };
        let head = Self {
            request: (request != 0).then_some(RequestId(request)),
            piece: u32::from_ne_bytes([a, b, c, d]),
            flags,
        };
        (flags & !(LAST | NOTICE | GIVEN_UP) == 0).then_some(head)
    }
}

/// A head and the bytes behind it.
pub(super) struct HeadedBytes<'a>(pub(super) Head, pub(super) &'a [u8]);

impl Encode for HeadedBytes<'_> {
    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let Self(head, bytes) = self;
        let len = HEAD_BYTES + bytes.len();
        let Some(place) = out.get_mut(..len) else {
            return Ok(None);
        };
        place[..HEAD_BYTES].copy_from_slice(&head.to_bytes());
        place[HEAD_BYTES..].copy_from_slice(bytes);
        Ok(Some(len))
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&self.0.to_bytes());
        out.extend_from_slice(self.1);
        Ok(())
    }
}

/// A head and the value behind it.
pub(super) struct HeadedValue<'a, T>(pub(super) Head, pub(super) &'a T);

impl<T: Codec> Encode for HeadedValue<'_, T> {
    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let Some((head, rest)) = out.split_first_chunk_mut::<HEAD_BYTES>() else {
            return Ok(None);
        };
        *head = self.0.to_bytes();
        let len = Codec::encode_into(self.1, rest)?;
        Ok(len.map(|len| HEAD_BYTES + len))
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&self.0.to_bytes());
        Codec::encode_append(self.1, out)
    }
}

/// The error of bytes, which need no encoding.
pub(super) fn only_of_the_transport(error: TypedPublishError) -> TransportError {
    match error {
        TypedPublishError::Transport(error) => error,
        TypedPublishError::Encode { kind, source } => {
            unreachable!("bytes of kind {kind}: {source}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_way_and_nothing_else_is_a_head() {
        let head = Head {
            request: Some(RequestId::first(7).next()),
            piece: 3,
            flags: LAST,
        };
        let mut bytes = head.to_bytes();
        assert_eq!(Head::of(&bytes), Some(head));
        assert_eq!(Head::of(&bytes[..15]), None);
        for (at, value) in [(12, 8), (13, 1), (14, 1), (15, 1)] {
            let before = core::mem::replace(&mut bytes[at], value);
            assert_eq!(Head::of(&bytes), None, "{at}");
            bytes[at] = before;
        }
        assert_eq!(RequestId::first(7).next().to_string(), "7.2");
    }

    #[test]
    fn a_successor_has_higher_numbers() {
        let mut last = RequestId::first(1);
        for _ in 0..1000 {
            last = last.next();
        }
        assert!(RequestId::first(2) > last && RequestId::first(0).get() != 0);
    }
}
