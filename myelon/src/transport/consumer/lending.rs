//! Lending a received message: it is read in its frame if one frame holds it, otherwise in a buffer.

use disruptor_mp::{Deadline, RecvError};

use super::super::assembly::ReceivedMessageMeta;
use super::super::buffer::ReassemblyBuffer;
use super::super::frame::FramedTransportFrame;
use super::super::message::Message;
use super::FramedTransportConsumer;

impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// Hands the next message to `handle`; waits for it until the deadline. The message is read in place if one
    /// frame holds it, otherwise in `buffer`. It is released when `handle` returns, and delivered again if
    /// `handle` panics.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.send(&[1; 100], 7, Deadline::NEVER)?;
    /// let mut buffer = ReassemblyBuffer::new();
    /// let sum = rx.recv_leased(&mut buffer, Deadline::NEVER, |meta, message| {
    ///     assert_eq!(meta.kind, 7);
    ///     message.iter().map(|byte| u32::from(*byte)).sum::<u32>()
    /// })?;
    /// assert_eq!(sum, 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_leased<R>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        deadline: Deadline,
        handle: impl FnOnce(ReceivedMessageMeta, &[u8]) -> R,
    ) -> Result<R, RecvError> {
        self.wait(deadline)?;
        let Some(whole) = self.assembler.whole() else {
            let message = Message(self);
            let result = handle(message.meta(), &message);
            message.release();
            return Ok(result);
        };
        let lent = Lent(self);
        let (assembler, ring) = (&lent.0.assembler, &lent.0.ring);
        assembler.put_together(ring, whole, buffer);
        let meta = assembler.meta(ring, whole);
        let result = handle(meta, assembler.bytes(ring, whole, buffer));
        lent.0.assembler.give_back(whole, buffer);
        lent.0.delivered();
        Ok(result)
    }

    /// Copies a message of several frames that the assembler has into this consumer's buffer.
    #[cold]
    #[inline(never)]
    pub(super) fn put_together(&mut self) {
        if let Some(whole) = self.assembler.whole() {
            let buffer = &mut self.buffer;
            self.assembler.put_together(&self.ring, whole, buffer);
        }
    }

    /// The kind of the message to be lent.
    #[inline(always)]
    pub(in crate::transport) fn lent_kind(&self) -> u8 {
        match self.assembler.whole() {
            None => self.assembler.single.kind(),
            Some(whole) => whole.kind(),
        }
    }

    /// Everything that is known about the message to be lent.
    #[inline(always)]
    pub(in crate::transport) fn lent_meta(&self) -> ReceivedMessageMeta {
        match self.assembler.whole() {
            None => self.assembler.single.meta(),
            Some(whole) => self.assembler.meta(&self.ring, whole),
        }
    }

    /// The bytes of the message to be lent.
    #[inline(always)]
    pub(crate) fn lent_bytes(&self) -> &[u8] {
        match (self.assembler.is_between(), self.ring.peek()) {
            (true, Some(frame)) => self.assembler.single.message(frame),
            _ => self.assembled_bytes(),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn assembled_bytes(&self) -> &[u8] {
        let whole = self.assembler.whole();
        whole.map_or(&[], |whole| {
            self.assembler.bytes(&self.ring, whole, &self.buffer)
        })
    }

    /// Releases the lent message, which was read.
    #[inline(always)]
    pub(in crate::transport) fn take_back(&mut self) {
        if self.assembler.is_between() {
            if let Some(frame) = self.ring.lease_published() {
                self.assembler.count();
                frame.commit();
            }
        } else {
            self.delivered();
        }
    }

    /// Returns the lent message unread: it will be delivered again. Until then it is the ring's next message,
    /// also for callers that wait for the ring.
    #[cold]
    #[inline(never)]
    pub(in crate::transport) fn put_back(&mut self) {
        if self.assembler.whole().is_some() {
            self.assembler.put_back(&mut self.ring);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn delivered(&mut self) {
        self.assembler.delivered();
        self.release();
    }
}

/// A message of several frames that is lent to a closure. Unless it was delivered, dropping this makes it come
/// again.
struct Lent<'a, F: FramedTransportFrame, B>(&'a mut FramedTransportConsumer<F, B>);

impl<F: FramedTransportFrame, B> Drop for Lent<'_, F, B> {
    fn drop(&mut self) {
        self.0.put_back();
    }
}
