//! A message that was received and is lent: where its bytes are, and what ends the loan.

use core::ops::Deref;

use disruptor_mp::SharedMemory;

use super::assembly::ReceivedMessageMeta;
use super::consumer::FramedTransportConsumer;
use super::frame::FramedTransportFrame;

/// A message, lent: its bytes are in the ring, or in the consumer's buffer. Dropping it releases it, except during a
/// panic: then it comes again. One that is forgotten comes again, too.
///
/// It is one word, and all else is in the consumer: a caller moves a message through memory, and what is moved in pieces of
/// another size than it was stored in waits for those stores.
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
///     message.iter().map(|byte| u32::from(*byte)).sum() // it is its bytes
/// }
///
/// tx.publish(&[1, 2, 3], 7)?;
/// assert_eq!(sum(rx.recv(Deadline::NEVER)?), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a message releases it"]
pub struct Message<'a, F: FramedTransportFrame, B = SharedMemory>(
    /// Has a message to lend, until this is dropped.
    pub(super) &'a mut FramedTransportConsumer<F, B>,
);

impl<F: FramedTransportFrame, B> Message<'_, F, B> {
    /// What the message is; the program's choice.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(b"hello", 7)?;
    /// assert_eq!(rx.recv(Deadline::NEVER)?.kind(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn kind(&self) -> u8 {
        self.0.lent_kind()
    }

    /// Everything that is known of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.stamp_send_times(true).publish(b"hello", 7)?;
    /// let meta = rx.recv(Deadline::NEVER)?.meta();
    /// assert_eq!((meta.kind, meta.frames, meta.sent_at_ns.is_some()), (7, 1, true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn meta(&self) -> ReceivedMessageMeta {
        self.0.lent_meta()
    }

    /// Whether the bytes are read where their producer wrote them, without a copy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(&[7; 64], 1)?;
    /// tx.publish(&[7; 65], 1)?;
    /// assert!(rx.recv(Deadline::NEVER)?.is_in_place());
    /// assert!(!rx.recv(Deadline::NEVER)?.is_in_place(), "put together from two frames");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_in_place(&self) -> bool {
        self.meta().frames == 1
    }

    /// Releases the message, during a panic, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(b"hello", 7)?;
    /// rx.recv(Deadline::NEVER)?.release();
    /// assert!(rx.try_recv()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn release(self) {
        self.0.take_back();
        core::mem::forget(self);
    }

    /// Lets the message come again. Who waits for the [ring](FramedTransportConsumer::as_ring) is told of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(b"hello", 7)?;
    /// rx.recv(Deadline::NEVER)?.release_uncommitted();
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
