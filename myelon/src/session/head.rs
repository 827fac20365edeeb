//! The head of a session's message: 16 bytes in front of the payload, which so keeps its alignment.
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | the number of the request; in an answer, of the request that it answers, or 0 |
//! | 8–11 | the number of the piece, from 0; in a notice, the rank of a worker |
//! | 12 | [`LAST`], [`NOTICE`] and [`GIVEN_UP`] |
//! | 13–15 | the mark of the common ring: [`SessionMark`] |

use core::fmt;
use std::io::IoSlice;

use crate::codec::{Codec, CodecError};
use crate::transport::{MAX_MESSAGE_BYTES, TransportError, TransportResult};
use crate::typed_transport::{Encode, TypedPublishError};

/// The length of a head, in bytes.
pub(super) const HEAD_BYTES: usize = 16;

/// No piece of this answer follows.
pub(super) const LAST: u8 = 1;
/// The scheduler has made a ring for the requests to one worker. It carries no payload.
pub(super) const NOTICE: u8 = 2;
/// The worker answers nothing to this request.
pub(super) const GIVEN_UP: u8 = 4;

/// Tells a session from earlier ones of the same label, whose answers may still be unread: 24 bits made from the time
/// at which the common ring was created. Numbers of requests go up as long as that ring lives, and begin anew with the
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionMark(u32);

impl SessionMark {
    pub(super) fn of(common_ring_created: u64) -> Self {
        // all bits of the time count
        let mixed = common_ring_created.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed >> 40) as u32)
    }
}

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
/// let request = worker.recv(Deadline::NEVER)?;
/// assert_eq!(request.id(), to_all);
/// request.done();
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    number: u64,
    session: SessionMark,
}

impl RequestId {
    /// How many bits of a number count the requests of one scheduler; those above are its epoch.
    const COUNT_BITS: u32 = 40;

    /// The first number of the scheduler with this epoch. It is not 0.
    pub(super) fn first(epoch: u64, session: SessionMark) -> Self {
        Self {
            number: (epoch << Self::COUNT_BITS) + 1,
            session,
        }
    }

    pub(super) fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }

    pub(super) fn session(self) -> SessionMark {
        self.session
    }

    /// The number as it is sent.
    pub fn get(self) -> u64 {
        self.number
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.number & ((1 << Self::COUNT_BITS) - 1);
        write!(f, "{}.{count}", self.number >> Self::COUNT_BITS)
    }
}

/// What a scheduler notes in its places in the rings of answers, of which it is the consumer: its number of workers in
/// the lowest byte, and above it the number that its next request would have, once it shuts the session down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SchedulerNote(u64);

impl SchedulerNote {
    pub(super) fn new(workers: usize, closing: Option<RequestId>) -> Self {
        // a session has at most 64 workers
        Self(closing.map_or(0, RequestId::get) << 8 | workers as u64)
    }

    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn to_word(self) -> u64 {
        self.0
    }

    /// The scheduler's number of workers, if there has been a scheduler.
    pub(super) fn workers(self) -> Option<usize> {
        let workers = (self.0 & 0xff) as usize;
        (workers != 0).then_some(workers)
    }

    /// The lower 56 bits of the number that the next request would have.
    pub(super) fn closing(self) -> Option<u64> {
        let number = self.0 >> 8;
        (number != 0).then_some(number)
    }
}

/// A head, in two words as it is sent: callers move it through memory, and a load waits for stores of another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    number: u64,
    /// From the lowest bit: the number of the piece, the flags, and the mark.
    rest: u64,
}

impl Head {
    /// The lowest bit of the flags, and that of the mark.
    const FLAGS: u32 = 32;
    const MARK: u32 = 40;

    pub(super) fn new(
        request: Option<RequestId>,
        session: SessionMark,
        piece: u32,
        flags: u8,
    ) -> Self {
        let mark = u64::from(session.0) << Self::MARK;
        Self {
            number: request.map_or(0, RequestId::get),
            rest: mark | u64::from(flags) << Self::FLAGS | u64::from(piece),
        }
    }

    /// The head of a request.
    pub(super) fn of_request(request: RequestId) -> Self {
        Self::new(Some(request), request.session, 0, 0)
    }

    /// The head of an answer in one piece.
    pub(super) fn answer_to(request: RequestId) -> Self {
        Self::new(Some(request), request.session, 0, LAST)
    }

    /// The head of the last piece of the answer.
    pub(super) fn as_last(self) -> Self {
        Self {
            rest: self.rest | u64::from(LAST) << Self::FLAGS,
            ..self
        }
    }

    #[inline(always)]
    pub(super) fn request(self) -> Option<RequestId> {
        (self.number != 0).then_some(RequestId {
            number: self.number,
            session: self.session(),
        })
    }

    #[inline(always)]
    pub(super) fn piece(self) -> u32 {
        self.rest as u32
    }

    #[inline(always)]
    pub(super) fn has(self, flag: u8) -> bool {
        self.rest & u64::from(flag) << Self::FLAGS != 0
    }

    #[inline(always)]
    pub(super) fn session(self) -> SessionMark {
        SessionMark((self.rest >> Self::MARK) as u32)
    }

    #[inline(always)]
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.rest.to_le_bytes());
        bytes
    }

    /// The head of a message; `None` if no member of a session has sent these bytes.
    #[inline(always)]
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        // a copy: a hostile peer may change the bytes while they are checked
        let bytes: [u8; HEAD_BYTES] = *message.first_chunk()?;
        let [number, rest] =
            [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|index| bytes[at + index])));
        let known = u64::from(LAST | NOTICE | GIVEN_UP) << Self::FLAGS;
        let flags = u64::from(u8::MAX) << Self::FLAGS;
        (rest & flags & !known == 0).then_some(Self { number, rest })
    }
}

/// Refuses a message that is too long with its head, before it waits for space or is copied.
#[inline]
pub(super) fn check_len(len: usize) -> TransportResult<()> {
    let limit = MAX_MESSAGE_BYTES - HEAD_BYTES;
    match len <= limit {
        true => Ok(()),
        false => Err(TransportError::MessageTooLong { len, limit }),
    }
}

/// As [`check_len`], of slices that are one message.
#[inline]
pub(super) fn check_len_of(slices: &[IoSlice<'_>]) -> TransportResult<()> {
    let lens = slices.iter().map(|slice| slice.len());
    check_len(lens.fold(0, usize::saturating_add))
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

/// A head and the slices behind it, one after the other.
pub(super) struct HeadedSlices<'a>(pub(super) Head, pub(super) &'a [IoSlice<'a>]);

impl Encode for HeadedSlices<'_> {
    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let Self(head, slices) = self;
        let Some((place, mut rest)) = out.split_first_chunk_mut::<HEAD_BYTES>() else {
            return Ok(None);
        };
        *place = head.to_bytes();
        let room = rest.len();
        for slice in *slices {
            let Some((place, behind)) = rest.split_at_mut_checked(slice.len()) else {
                return Ok(None);
            };
            place.copy_from_slice(slice);
            rest = behind;
        }
        Ok(Some(HEAD_BYTES + room - rest.len()))
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&self.0.to_bytes());
        self.1.iter().for_each(|slice| out.extend_from_slice(slice));
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
        let session = SessionMark::of(1_700_000_000_000_000_000);
        let id = RequestId::first(7, session).next();
        for request in [Some(id), None] {
            let head = Head::new(request, session, 3, LAST);
            assert_eq!(
                (head.request(), head.session(), head.piece()),
                (request, session, 3)
            );
            assert!(head.has(LAST) && !head.has(NOTICE | GIVEN_UP));
            assert_eq!(Head::new(request, session, 3, 0).as_last(), head);
            let mut bytes = head.to_bytes();
            assert_eq!(Head::of(&bytes), Some(head));
            assert_eq!(Head::of(&bytes[..15]), None);
            bytes[12] = 8;
            assert_eq!(Head::of(&bytes), None);
        }
        assert_eq!(id.to_string(), "7.2");
    }

    #[test]
    fn rings_that_were_created_at_different_times_have_different_marks() {
        let now = 1_700_000_000_000_000_000;
        let marks: std::collections::BTreeSet<_> = (0..1000)
            .map(|step| SessionMark::of(now + step * 1_000))
            .collect();
        assert_eq!(marks.len(), 1000);
    }

    #[test]
    fn a_successor_has_higher_numbers() {
        let session = SessionMark::of(1);
        let mut last = RequestId::first(1, session);
        for _ in 0..1000 {
            last = last.next();
        }
        assert!(RequestId::first(2, session) > last && RequestId::first(0, session).get() != 0);
    }
}
