//! Handling the messages that are available, and releasing them together.

use disruptor_mp::{CounterId, RecvError};

use super::super::assembly::{ReceivedMessageMeta, Single};
use super::super::frame::FramedTransportFrame;
use super::FramedTransportConsumer;

impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// Handles the messages that are available and returns how many there were. It takes in at most one ring's
    /// worth of frames, dropped ones included. Never waits.
    ///
    /// Messages are released together when the call ends, and during the call after every eighth of the ring.
    /// While the producer is blocked and checks for progress, each message is released by itself. If the
    /// closure panics, the message that it was handling is delivered again.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), if no message was handled.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::Deadline;
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// for message in ["a", "b", "c"] {
    ///     tx.send(message.as_bytes(), 1, Deadline::NEVER)?;
    /// }
    /// let mut all = Vec::new();
    /// assert_eq!(rx.process_available_messages(|_kind, message| all.extend_from_slice(message))?, 3);
    /// assert_eq!(all, b"abc");
    ///
    /// tx.stamp_send_times(true).send(b"d", 1, Deadline::NEVER)?;
    /// rx.process_available_messages_with_meta(|meta, message| {
    ///     println!("{} bytes, sent at {:?}", message.len(), meta.sent_at_ns);
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_available_messages(
        &mut self,
        mut handle: impl FnMut(u8, &[u8]),
    ) -> Result<usize, RecvError> {
        self.process(|meta, message| handle(meta.kind, message))
    }

    /// As [`process_available_messages`](Self::process_available_messages), with everything that is known about
    /// each message.
    ///
    /// # Errors
    ///
    /// As [`process_available_messages`](Self::process_available_messages).
    ///
    /// # Examples
    ///
    /// See [`process_available_messages`](Self::process_available_messages).
    pub fn process_available_messages_with_meta(
        &mut self,
        handle: impl FnMut(ReceivedMessageMeta, &[u8]),
    ) -> Result<usize, RecvError> {
        self.process(handle)
    }

    #[inline(always)]
    fn process(
        &mut self,
        mut handle: impl FnMut(ReceivedMessageMeta, &[u8]),
    ) -> Result<usize, RecvError> {
        let burst = Burst(self);
        let depth = burst.0.ring.capacity();
        let (mut messages, mut frames) = (0, 0);
        while frames < depth {
            match burst.0.process_next(&mut handle, depth - frames) {
                Ok(0) => break,
                Ok(taken) => frames += taken,
                Err(error) if messages == 0 => return Err(error),
                Err(_) => break,
            }
            messages += 1;
            // a blocked producer must see this consumer's progress, or it takes the consumer for stuck
            if burst.0.assembler.done() > depth / 8 || burst.0.ring.is_watched() {
                burst.0.release();
            }
        }
        Ok(messages)
    }

    /// Handles the next message, if there is a whole one in the next `left` frames, and holds its frames.
    /// Returns how many frames were taken in for it, dropped ones included: at least one if a message was
    /// handled, otherwise 0.
    #[inline(always)]
    fn process_next(
        &mut self,
        handle: &mut impl FnMut(ReceivedMessageMeta, &[u8]),
        left: usize,
    ) -> Result<usize, RecvError> {
        if self.assembler.is_between()
            && let Some(frame) = self.ring.lease_published()
        {
            if let Some(single) = Single::of(&frame, self.assembler.limit) {
                handle(single.meta(), single.message(&*frame));
                frame.hold();
                self.assembler.keep_frame();
                return Ok(1);
            }
            frame.release_uncommitted();
        }
        self.process_assembled(handle, left)
    }

    #[cold]
    #[inline(never)]
    fn process_assembled(
        &mut self,
        handle: &mut impl FnMut(ReceivedMessageMeta, &[u8]),
        left: usize,
    ) -> Result<usize, RecvError> {
        let mut unused = left;
        if self.assembler.poll(&mut self.ring, &mut unused)?.is_none() {
            return Ok(0);
        }
        self.put_together();
        handle(self.lent_meta(), self.assembled_bytes());
        self.assembler.delivered();
        // the message may have been taken in whole before this call
        Ok((left - unused).max(1))
    }

    pub(super) fn release(&mut self) {
        self.assembler.release(&mut self.ring);
        let reassembled = self.assembler.received.reassembled;
        self.ring
            .set_counter(CounterId::FRAMES_REASSEMBLED, reassembled);
    }
}

/// Releases the delivered messages when it is dropped, also if the closure panics. The message that the closure
/// was handling is then delivered again.
struct Burst<'a, F: FramedTransportFrame, B>(&'a mut FramedTransportConsumer<F, B>);

impl<F: FramedTransportFrame, B> Drop for Burst<'_, F, B> {
    fn drop(&mut self) {
        self.0.release();
        self.0.put_back();
    }
}
