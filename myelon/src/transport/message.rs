//! A received message that is lent to the caller: where its bytes are, and what ends the loan.

use core::ops::Deref;

use disruptor_mp::SharedMemory;

use super::assembly::ReceivedMessageMeta;
use super::consumer::FramedTransportConsumer;
use super::frame::FramedTransportFrame;

/// A lent message: its bytes are in the ring or in the consumer's buffer. Dropping it releases it. If it is
/// dropped during a panic, or forgotten (`mem::forget`), it is delivered again instead.
///
/// The type is one word, and everything else is in the consumer. The reason: callers move a message through
/// memory, and a load in pieces of another size than the bytes were stored in has to wait for those stores.
///
/// # Examples
///
/// ```
/// # use myelon::Deadline;
/// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
/// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
/// use myelon::transport::Message;
///
/// fn sum<F: myelon::FramedTransportFrame, B>(message: Message<'_, F, B>) -> u32 {
///     let sum = message.iter().map(|byte| u32::from(*byte)).sum(); // a message derefs to its bytes
///     message.release(); // as dropping does
///     sum
/// }
///
/// tx.send(&[1, 2, 3], 7, Deadline::NEVER)?;
/// let message = rx.recv(Deadline::NEVER)?;
/// assert_eq!((message.kind(), message.meta().frames, message.is_in_place()), (7, 1, true));
/// message.release_uncommitted(); // it is delivered again
/// assert_eq!(sum(rx.recv(Deadline::NEVER)?), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a message releases it"]
pub struct Message<'a, F: FramedTransportFrame, B = SharedMemory>(
    /// Has a message to lend until this is dropped.
    pub(super) &'a mut FramedTransportConsumer<F, B>,
);

impl<F: FramedTransportFrame, B> Message<'_, F, B> {
    /// The kind of the message; the program chooses its meaning.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.0.lent_kind()
    }

    /// Everything that is known about the message.
    #[inline]
    pub fn meta(&self) -> ReceivedMessageMeta {
        self.0.lent_meta()
    }

    /// Whether the bytes are read where their producer wrote them, without a copy.
    pub fn is_in_place(&self) -> bool {
        self.meta().frames == 1
    }

    /// Releases the message, even during a panic.
    #[inline(always)]
    pub fn release(self) {
        self.0.take_back();
        core::mem::forget(self);
    }

    /// Returns the message to be delivered again. A caller that waits for the
    /// [ring](FramedTransportConsumer::as_ring) is told of it.
    pub fn release_uncommitted(self) {
        self.0.put_back();
        core::mem::forget(self);
    }
}

impl<F: FramedTransportFrame, B> Deref for Message<'_, F, B> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.0.lent_bytes()
    }
}

impl<F: FramedTransportFrame, B> Drop for Message<'_, F, B> {
    #[inline(always)]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.take_back();
        } else {
            self.0.put_back();
        }
    }
}
