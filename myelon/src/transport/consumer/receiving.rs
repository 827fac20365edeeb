//! Receiving one message: waiting for it, and copying it to a vector.

use disruptor_mp::{Consumer, Deadline, RecvError};

use super::super::assembly::{Assembler, ReceivedMessageMeta};
use super::super::frame::{FramedTransportFrame, assert_carries_something};
use super::super::message::Message;
use super::FramedTransportConsumer;

impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// The next message; waits for it until the deadline. A message of a single frame is read in place. A
    /// longer one is put together in this consumer's own buffer, which is aligned.
    ///
    /// Frames that are dropped instead of being delivered do not keep this call past its deadline: at every
    /// 64th of them it checks the deadline and the consumer's cancel tokens. A message that the ring holds by
    /// then is still delivered. If the message is longer than the ring, the part that has come is kept for the
    /// next call.
    ///
    /// # Errors
    ///
    /// Those of [`Consumer::recv`], and only after every whole message was delivered.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use std::time::Duration;
    /// use myelon::RecvError;
    ///
    /// tx.send(b"hello", 7, Deadline::NEVER)?;
    /// let message = rx.recv(Deadline::after(Duration::from_secs(1)))?;
    /// assert_eq!((message.kind(), &*message), (7, &b"hello"[..]));
    /// drop(message); // releases it
    /// tx.close()?;
    /// assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn recv(&mut self, deadline: Deadline) -> Result<Message<'_, F, B>, RecvError> {
        self.wait(deadline)?;
        if !self.assembler.is_between() {
            self.put_together();
        }
        Ok(Message(self))
    }

    /// The next message, if there is a whole one. Never waits, and takes in at most one ring's worth of frames.
    /// If these are all dropped, or belong to a message longer than the ring, this returns `None` and leaves
    /// further frames to the next call. A caller that waits for the [ring](Self::as_ring) between the calls
    /// learns that there are more frames.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except the time-out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// assert!(rx.try_recv()?.is_none());
    /// tx.send(b"hello", 7, Deadline::NEVER)?;
    /// assert!(rx.try_recv()?.is_some_and(|message| &*message == b"hello"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<Message<'_, F, B>>, RecvError> {
        match self.find()? {
            true => Ok(Some(self.lend_found())),
            false => Ok(None),
        }
    }

    /// Whether there is a whole message, whose [bytes](Self::lent_bytes) can then be read. Never waits.
    #[inline(always)]
    pub(crate) fn find(&mut self) -> Result<bool, RecvError> {
        if !self.has_message()? {
            return Ok(false);
        }
        if !self.assembler.is_between() {
            self.put_together();
        }
        Ok(true)
    }

    /// The message that [`find`](Self::find) has found since the last one was released.
    #[inline(always)]
    pub(crate) fn lend_found(&mut self) -> Message<'_, F, B> {
        Message(self)
    }

    /// Whether there is a whole message. Never waits. After `true` the message is ready to be lent, as after
    /// [`wait`](Self::wait).
    #[inline(always)]
    pub(crate) fn has_message(&mut self) -> Result<bool, RecvError> {
        if self.lend_published() {
            return Ok(true);
        }
        self.poll_slowly()
    }

    #[cold]
    #[inline(never)]
    fn poll_slowly(&mut self) -> Result<bool, RecvError> {
        if self.assembler.is_between() {
            let Some(frame) = self.ring.try_recv()? else {
                return Ok(false);
            };
            if self.assembler.lend(frame) {
                return Ok(true);
            }
        }
        let mut left = self.ring.capacity();
        Ok(self.assembler.poll(&mut self.ring, &mut left)?.is_some())
    }

    /// Whether the ring's next frame is there and is a whole message, which is ready to be lent.
    #[inline(always)]
    fn lend_published(&mut self) -> bool {
        if self.assembler.is_between()
            && let Some(frame) = self.ring.lease_published()
        {
            return self.assembler.lend(frame);
        }
        false
    }

    /// Waits for the next message until the deadline. Afterwards there is a message to lend: either the ring's
    /// next frame, which stays in the ring, or the message that the assembler has.
    #[inline(always)]
    pub(super) fn wait(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        if self.lend_published() {
            return Ok(());
        }
        self.wait_slowly(deadline)
    }

    #[cold]
    #[inline(never)]
    fn wait_slowly(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        if self.assembler.is_between() {
            let frame = self.ring.recv(deadline)?;
            if self.assembler.lend(frame) {
                return Ok(());
            }
        }
        self.assembler.wait(&mut self.ring, deadline).map(|_| ())
    }

    /// The next message's kind and a copy of its bytes; waits for it until the deadline.
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
    /// tx.send(b"hello", 7, Deadline::NEVER)?;
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (7, b"hello".to_vec()));
    /// tx.send(&[1; 100], 7, Deadline::NEVER)?;
    /// let (meta, message) = rx.recv_owned_with_meta(Deadline::NEVER)?;
    /// assert_eq!((meta.frames, message.len()), (2, 100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_owned(&mut self, deadline: Deadline) -> Result<(u8, Vec<u8>), RecvError> {
        let (meta, message) = self.recv_owned_with_meta(deadline)?;
        Ok((meta.kind, message))
    }

    /// As [`recv_owned`](Self::recv_owned), with everything that is known about the message.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// See [`recv_owned`](Self::recv_owned).
    pub fn recv_owned_with_meta(
        &mut self,
        deadline: Deadline,
    ) -> Result<(ReceivedMessageMeta, Vec<u8>), RecvError> {
        self.wait(deadline)?;
        if let Some(whole) = self.assembler.whole() {
            let meta = self.lent_meta();
            let message = self.assembler.take_vec(&self.ring, whole);
            self.delivered();
            return Ok((meta, message));
        }
        let message = Message(self);
        let owned = (message.meta(), message.to_vec());
        message.release();
        Ok(owned)
    }
}

/// Receives a message from a ring of frames that the caller has as a plain ring: the message's kind and a copy
/// of its bytes. Waits for it until the deadline. Events that the caller holds are delivered again. Frames
/// before the first whole message are dropped. After an error, the part of the next message that was received
/// is dropped as well if the ring cannot hold that message.
///
/// # Errors
///
/// As [`Consumer::recv`].
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, publish_framed_payload, recv_framed_message};
///
/// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// publish_framed_payload(&mut tx, b"hello", 7, Deadline::NEVER)?;
/// assert_eq!(recv_framed_message(&mut rx, Deadline::NEVER)?, (7, b"hello".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn recv_framed_message<F: FramedTransportFrame, B>(
    ring: &mut Consumer<F, B>,
    deadline: Deadline,
) -> Result<(u8, Vec<u8>), RecvError> {
    assert_carries_something::<F>();
    let mut assembler = Assembler::new();
    assembler.lend_ring();
    let outcome = assembler.wait(ring, deadline).map(|whole| {
        let message = assembler.take_vec(ring, whole);
        assembler.delivered();
        assembler.release(ring);
        (whole.kind(), message)
    });
    // frames held for an incomplete message are delivered again
    ring.redeliver_held();
    outcome
}
