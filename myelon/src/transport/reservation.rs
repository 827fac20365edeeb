//! Writing a message in place: in the claimed frame from which its receivers read it.

use disruptor_mp::{Claim, Sequence};

use super::clock;
use super::error::{TransportError, TransportResult};
use super::frame::{FrameMeta, FramedTransportFrame, TIME_BYTES, frame_flags};
use super::outgoing::put;

/// A frame that was claimed to write a message in place. If it is dropped unpublished, nothing is sent.
///
/// The frame still holds the bytes of an earlier message: write every byte.
///
/// # Examples
///
/// ```
/// # use myelon::Deadline;
/// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
/// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
/// use std::io::Write;
///
/// let mut message = tx.reserve(tx.frame_limit(), 7, Deadline::NEVER)?;
/// let mut rest = &mut message[..];
/// write!(rest, "{} + {} = {}", 1, 2, 1 + 2)?;
/// let unused = rest.len();
/// message.truncate(64 - unused);
/// assert_eq!(message.publish(), 0);
/// tx.reserve(5, 7, Deadline::NEVER)?.copy_from_slice(b"never"); // dropped: nothing is sent
/// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"1 + 2 = 3");
/// assert!(rx.try_recv()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a message is sent by `publish()`"]
pub struct Reservation<'a, F: FramedTransportFrame> {
    frame: Claim<'a, F>,
    len: usize,
    kind: u8,
    is_timed: bool,
}

impl<'a, F: FramedTransportFrame> Reservation<'a, F> {
    #[inline(always)]
    pub(super) fn new(
        frame: Claim<'a, F>,
        len: usize,
        kind: u8,
        is_timed: bool,
    ) -> TransportResult<Self> {
        let limit = frame.payload().len();
        if len > limit {
            return Err(TransportError::DoesNotFitFrame { len, limit });
        }
        Ok(Self {
            frame,
            len,
            kind,
            is_timed,
        })
    }

    /// Shortens the message to its first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sends the message, and returns the sequence of its frame.
    #[inline(always)]
    pub fn publish(mut self) -> Sequence {
        let mut meta = FrameMeta {
            len: self.len as u32,
            kind: self.kind,
            flags: frame_flags::START | frame_flags::END,
            msg_id: self.frame.sequence() as u32,
        };
        if self.is_timed {
            meta.len += TIME_BYTES as u32;
            meta.flags |= frame_flags::TIMED;
            put(&mut *self.frame, self.len, &clock::now_ns().to_ne_bytes());
        }
        *self.frame.header_mut() = meta.to_bytes();
        self.frame.publish()
    }
}

impl<F: FramedTransportFrame> core::ops::Deref for Reservation<'_, F> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.frame.payload().get(..self.len).unwrap_or_default()
    }
}

impl<F: FramedTransportFrame> core::ops::DerefMut for Reservation<'_, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.frame.payload_mut().get_mut(..len).unwrap_or_default()
    }
}
