//! The head of a session's message: 16 bytes in front of the payload, which so keeps its alignment.
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | the number of the request; in an answer, of the request that it answers, or 0 |
//! | 8–11 | an answer: the number of the piece, from 0; a notice: the rank of a worker; a request: its [`SentAt`] |
//! | 12 | [`LAST`], [`NOTICE`] and [`GIVEN_UP`] |
//! | 13–15 | the mark of the common ring: [`SessionMark`] |

use std::io::IoSlice;
use std::time::Duration;

use crate::codec::{Codec, CodecError};
pub(super) use crate::transport::request::{RequestId, SessionMark};
use crate::transport::{MAX_MESSAGE_BYTES, Slices, TransportError, TransportResult};
use crate::typed_transport::{Encode, TypedPublishError};

/// The length of a head, in bytes.
pub(super) const HEAD_BYTES: usize = 16;

/// No piece of this answer follows.
pub(super) const LAST: u8 = 1;
/// The scheduler has made a ring for the requests to one worker. It carries no payload.
pub(super) const NOTICE: u8 = 2;
/// The worker has given this request up: the answer is empty.
pub(super) const GIVEN_UP: u8 = 4;

/// When a request was sent, for readers outside of the session: 32 bits of the coarse monotonic clock's milliseconds.
/// They begin anew after 49 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentAt(u32);

impl SentAt {
    #[inline]
    pub(super) fn of(monotonic: Duration) -> Self {
        Self(
            (monotonic.as_secs() as u32)
                .wrapping_mul(1_000)
                .wrapping_add(monotonic.subsec_millis()),
        )
    }

    /// The time from then to `now`; zero if `now` is earlier, as it may be in another time namespace.
    pub(super) fn until(self, now: Self) -> Duration {
        let passed = now.0.wrapping_sub(self.0);
        match passed > u32::MAX / 2 {
            true => Duration::ZERO,
            false => Duration::from_millis(passed.into()),
        }
    }
}

/// What a scheduler notes in its places in the rings of answers, of which it is the consumer: its number of workers in
/// the lowest byte, and above it the number that its next request would have, once it shuts the session down. Until
/// then that number counts no request: it has the scheduler's epoch alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SchedulerNote(u64);

/// A number of a request counts the requests of one scheduler in so many bits. Above them is the scheduler's epoch, of
/// which a note has the lower 16 bits.
const COUNT_BITS: u32 = 40;

impl SchedulerNote {
    pub(super) fn new(workers: usize, epoch: u64, closing: Option<RequestId>) -> Self {
        let number = closing.map_or(epoch << COUNT_BITS, RequestId::get);
        // a session has at most 64 workers
        Self(number << 8 | workers as u64)
    }

    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn to_word(self) -> u64 {
        self.0
    }

    /// Whether the scheduler with this epoch has noted it. A successor takes the place over with the note that it
    /// finds, and notes its own a moment later; its epoch is in the common ring before that.
    pub(super) fn is_of(self, epoch: u64) -> bool {
        self.0 >> (COUNT_BITS + 8) == epoch & 0xffff
    }

    /// The scheduler's number of workers, if there has been a scheduler.
    pub(super) fn workers(self) -> Option<usize> {
        let workers = (self.0 & 0xff) as usize;
        (workers != 0).then_some(workers)
    }

    /// The lower 56 bits of the number that the next request would have.
    pub(super) fn closing(self) -> Option<u64> {
        let number = self.0 >> 8;
        let count = number & ((1 << COUNT_BITS) - 1);
        (count != 0).then_some(number)
    }
}

/// A head as the two words that are sent. Callers pass it through memory, and a load that follows a store of another
/// size stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    number: u64,
    /// From the lowest bit: the number of the piece, the flags, and the mark.
    rest: u64,
}

impl Head {
    /// No member of a session sends it.
    pub(super) const NOTHING: Self = Self { number: 0, rest: 0 };

    /// The lowest bit of the flags, and that of the mark.
    const FLAGS: u32 = 32;
    const MARK: u32 = 40;

    #[inline(always)]
    pub(super) fn new(
        request: Option<RequestId>,
        session: SessionMark,
        piece: u32,
        flags: u8,
    ) -> Self {
        let mark = u64::from(session.bits()) << Self::MARK;
        Self {
            number: request.map_or(0, RequestId::get),
            rest: mark | u64::from(flags) << Self::FLAGS | u64::from(piece),
        }
    }

    /// The head of a request.
    #[inline]
    pub(super) fn of_request(request: RequestId, sent_at: SentAt) -> Self {
        Self::new(Some(request), request.session(), sent_at.0, 0)
    }

    /// The head of an answer in one piece.
    pub(super) fn answer_to(request: RequestId) -> Self {
        Self::new(Some(request), request.session(), 0, LAST)
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
        (self.number != 0).then_some(RequestId::of(self.number, self.session()))
    }

    #[inline(always)]
    pub(super) fn piece(self) -> u32 {
        self.rest as u32
    }

    /// When this request was sent.
    pub(super) fn sent_at(self) -> SentAt {
        SentAt(self.piece())
    }

    #[inline(always)]
    pub(super) fn has(self, flag: u8) -> bool {
        self.rest & u64::from(flag) << Self::FLAGS != 0
    }

    #[inline(always)]
    pub(super) fn session(self) -> SessionMark {
        SessionMark::from_bits((self.rest >> Self::MARK) as u32)
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
        let number = u64::from_le_bytes(*bytes.first_chunk()?);
        let rest = u64::from_le_bytes(*bytes.last_chunk()?);
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
        Ok(self.encode_at_once(out))
    }

    #[inline(always)]
    fn encode_at_once(&self, out: &mut [u8]) -> Option<usize> {
        let Self(head, bytes) = self;
        let (place, rest) = out.split_first_chunk_mut::<HEAD_BYTES>()?;
        let rest = rest.get_mut(..bytes.len())?;
        *place = head.to_bytes();
        copy(rest, bytes);
        Some(HEAD_BYTES + bytes.len())
    }

    fn in_slices<R>(
        &self,
        scratch: &mut Vec<u8>,
        send: impl FnOnce(Slices<'_>) -> R,
    ) -> Result<R, CodecError> {
        HeadedSlices(self.0, &[IoSlice::new(self.1)]).in_slices(scratch, send)
    }
}

/// Copies to a place of the same length; a message of a common short length without a call, in two pieces that may
/// overlap.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    fn in_two<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
        *to.first_chunk_mut::<N>()? = *from.first_chunk()?;
        *to.last_chunk_mut::<N>()? = *from.last_chunk()?;
        Some(())
    }
    let copied = match from.len() {
        8..=16 => in_two::<8>(to, from),
        17..=32 => in_two::<16>(to, from),
        33..=64 => in_two::<32>(to, from),
        _ => None,
    };
    if copied.is_none() {
        to.copy_from_slice(from);
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

    fn in_slices<R>(
        &self,
        _: &mut Vec<u8>,
        send: impl FnOnce(Slices<'_>) -> R,
    ) -> Result<R, CodecError> {
        let Self(head, rest) = self;
        let first = &head.to_bytes();
        Ok(send(Slices { first, rest }))
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

    fn in_slices<R>(
        &self,
        scratch: &mut Vec<u8>,
        send: impl FnOnce(Slices<'_>) -> R,
    ) -> Result<R, CodecError> {
        scratch.extend_from_slice(&self.0.to_bytes());
        self.1.encode_append(scratch)?;
        Ok(send(Slices::one(scratch)))
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
    }

    #[test]
    fn a_note_says_whose_it_is_and_whether_it_ends_the_session() {
        let mark = SessionMark::of(1);
        for epoch in [0, 1, 7, 0xffff, 0x1_0000, u64::MAX >> COUNT_BITS] {
            let first = RequestId::first(epoch, mark);
            let open = SchedulerNote::new(64, epoch, None);
            let closing = SchedulerNote::new(64, epoch, Some(first));
            for note in [open, closing] {
                let note = SchedulerNote::of_word(note.to_word());
                assert_eq!(note.workers(), Some(64));
                assert!(note.is_of(epoch) && !note.is_of(epoch + 1));
            }
            assert_eq!(open.closing(), None);
            assert_eq!(closing.closing(), Some(first.get() << 8 >> 8));
        }
        // the place of a scheduler that has not come
        let nothing = SchedulerNote::of_word(0);
        assert_eq!((nothing.workers(), nothing.closing()), (None, None));
    }

    #[test]
    fn ages_are_right_when_the_clock_begins_anew() {
        let at = |milliseconds| SentAt::of(Duration::from_millis(milliseconds));
        let begins_anew = 1 << 32;
        assert_eq!(at(7).until(at(12)), Duration::from_millis(5));
        assert_eq!(
            at(begins_anew - 2).until(at(begins_anew + 3)),
            Duration::from_millis(5)
        );
        assert_eq!(at(12).until(at(7)), Duration::ZERO);
        let request = RequestId::first(1, SessionMark::of(1));
        assert_eq!(Head::of_request(request, at(9)).sent_at(), at(9));
    }
}
