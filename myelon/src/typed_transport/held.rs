//! Messages that come again until the program says that they are done, and how often each was delivered. The count is
//! in the consumer's place in the ring: see [`delivery`](crate::delivery).

use core::ops::Deref;

use disruptor_mp::{Deadline, RecvError, SharedMemory};

use super::error::{DecodeError, TypedRecvError};
use super::kinds::KindTable;
use crate::codec::{Codec, ZeroCopyCodec};
use crate::delivery::count_next;
use crate::transport::{FramedTransportConsumer, FramedTransportFrame, Message};

/// A message that is delivered again unless it is [done](Self::done): after a drop by an early return or a panic to this
/// consumer, and after a death to the next consumer of its id. A message with more frames than the ring comes again
/// only to the same consumer: parts of it were released while it was received.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
/// use myelon::{Deadline, HeldMessage, MyelonWaitStrategy};
///
/// type Frame = FixedFrame<64>;
///
/// # let name = &myelon::portable_shm_segment_name("doc");
/// let attach = || FramedTransportConsumer::<Frame>::attach_with_consumer_id(name, 8, "reader", MyelonWaitStrategy::Block);
/// let mut tx = FramedTransportProducer::<Frame>::create(name, 8)?;
/// tx.send(b"dangerous", 1, Deadline::NEVER)?;
///
/// let mut rx = attach()?;
/// let message: HeldMessage<'_, Frame> = rx.recv_held(Deadline::NEVER)?;
/// assert_eq!((message.kind(), &*message, message.delivery()), (1, &b"dangerous"[..], 1));
/// drop(message);
/// drop(rx); // as if its process had died
///
/// let mut rx = attach()?;
/// let message = rx.recv_held(Deadline::NEVER)?;
/// if message.delivery() > 1 {
///     eprintln!("{:?} is left out: it was delivered before", &*message);
/// }
/// message.done();
/// assert!(rx.try_recv_held()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a message that is dropped is delivered again: call `done()`"]
pub struct HeldMessage<'a, F: FramedTransportFrame, B = SharedMemory> {
    /// Until it is done.
    message: Option<Message<'a, F, B>>,
    delivery: u32,
}

impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// As [`recv`](Self::recv), but the message is delivered again unless [`HeldMessage::done`] completes it, and it
    /// knows for which time it comes. The count outlives the process of a consumer with an explicit id. Messages that
    /// other calls receive do not count.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// See [`HeldMessage`].
    pub fn recv_held(&mut self, deadline: Deadline) -> Result<HeldMessage<'_, F, B>, RecvError> {
        // forgotten, it stays the next one
        core::mem::forget(self.recv(deadline)?);
        Ok(self.hold_found())
    }

    /// As [`try_recv`](Self::try_recv), of a message as [`recv_held`](Self::recv_held) returns it.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    ///
    /// # Examples
    ///
    /// See [`HeldMessage`].
    pub fn try_recv_held(&mut self) -> Result<Option<HeldMessage<'_, F, B>>, RecvError> {
        match self.find()? {
            true => Ok(Some(self.hold_found())),
            false => Ok(None),
        }
    }

    /// The message that was found, which is delivered now.
    pub(crate) fn hold_found(&mut self) -> HeldMessage<'_, F, B> {
        HeldMessage {
            delivery: count_next(self.as_ring()),
            message: Some(self.lend_found()),
        }
    }
}

impl<F: FramedTransportFrame, B> HeldMessage<'_, F, B> {
    /// Completes the message, even during a panic: it is not delivered again.
    pub fn done(mut self) {
        if let Some(message) = self.message.take() {
            message.release();
        }
    }

    /// Which delivery of this message this is, from 1. It is more than 1 if this consumer, or an earlier one of its id,
    /// has received the message by `recv_held` before and has not completed it. A consumer that dies in the middle of
    /// that call counts as one that has received it. Counts to 65,535.
    pub fn delivery(&self) -> u32 {
        self.delivery
    }

    /// The kind of the message; the program chooses its meaning.
    pub fn kind(&self) -> u8 {
        self.message.as_ref().map_or(0, Message::kind)
    }

    /// Whether the bytes are read where their producer wrote them, without a copy.
    ///
    /// # Examples
    ///
    /// See [`Message`], which has the same call.
    pub fn is_in_place(&self) -> bool {
        self.message.as_ref().is_some_and(Message::is_in_place)
    }

    /// The value that the message carries, as a value of the caller's own. The message stays held.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`.
    ///
    /// # Examples
    ///
    /// See [`Message::decode`], which is the same call.
    pub fn decode<T: Codec>(&self) -> Result<T, DecodeError> {
        DecodeError::of(self.kind(), self, T::decode)
    }

    /// The value that the message carries, read in place.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`.
    ///
    /// # Examples
    ///
    /// See [`Message::access`], which is the same call.
    pub fn access<T: ZeroCopyCodec>(&self) -> Result<T::Archived<'_>, DecodeError> {
        DecodeError::of(self.kind(), self, T::access)
    }

    /// Hands the value that the message carries to the table's handler for the message's kind. The message stays held.
    ///
    /// # Errors
    ///
    /// As [`Message::dispatch`].
    ///
    /// # Examples
    ///
    /// See [`Message::dispatch`], which is the same call.
    pub fn dispatch(&self, table: &mut KindTable<'_>) -> Result<(), TypedRecvError> {
        table.dispatch(self.kind(), self)
    }
}

impl<F: FramedTransportFrame, B> Deref for HeldMessage<'_, F, B> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.message.as_deref().unwrap_or_default()
    }
}

impl<F: FramedTransportFrame, B> Drop for HeldMessage<'_, F, B> {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            message.release_uncommitted();
        }
    }
}
