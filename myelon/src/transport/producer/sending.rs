//! Sending messages, and reserving frames in which the caller writes a message in place.

use std::io::IoSlice;

use disruptor_mp::{CounterId, Deadline, Producer, Sequence};

use super::super::clock;
use super::super::error::{TransportError, TransportResult};
use super::super::frame::{FramedTransportFrame, TIME_BYTES, assert_carries_something};
use super::super::outgoing::{Outgoing, Patience, Slices, is_short, send_in};
use super::super::reservation::Reservation;
use super::FramedTransportProducer;

impl<F: FramedTransportFrame, B> FramedTransportProducer<F, B> {
    /// Sends a message, waiting for space until the deadline. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// [`TransportError::Send`] names the consumer that held the ring, or says what else is wrong with the
    /// ring; [`TransportError::MessageTooLong`]. After an error the message is not received: if it is longer
    /// than half the ring and a part of it was published, consumers drop that part.
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
    ///
    /// let soon = || Deadline::after(Duration::from_millis(1));
    /// for _ in 0..8 {
    ///     tx.send(b"hello", 7, soon())?;
    /// }
    /// let error = tx.send(b"hello", 7, soon()).unwrap_err();
    /// assert!(error.to_string().starts_with("the ring stayed full until the deadline"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn send(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        if self.is_short(message.len())
            && let Some(frame) = self.ring.claim_vacant()
        {
            return Ok(send_in(frame, message, kind));
        }
        self.send_slowly(message, kind, Patience::Until(deadline))
    }

    /// As [`send`](Self::send), but sends the slices one behind the other, as one message. Each is copied once, into the
    /// frames. It is meant for a few slices: each frame of the message goes through all of them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<4>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use std::io::IoSlice;
    ///
    /// let (header, body) = (b"3 bytes: ", [1, 2, 3]);
    /// tx.send_vectored(&[IoSlice::new(header), IoSlice::new(&body)], 7, Deadline::NEVER)?;
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"3 bytes: \x01\x02\x03");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        let slices = Slices {
            first: &[],
            rest: slices,
        };
        self.send_slices(slices, kind, Patience::Until(deadline))
    }

    /// Sends a message if there is space for all of it. Never waits. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// [`TransportError::Full`]; [`TransportError::NeedsRuns`] for a message that takes more than half of the
    /// ring; [`TransportError::MessageTooLong`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::TransportError;
    ///
    /// tx.try_send(b"hello", 7)?;
    /// let half_a_ring = 4 * 64;
    /// let error = tx.try_send(&vec![0; half_a_ring + 1], 7).unwrap_err();
    /// assert!(matches!(error, TransportError::NeedsRuns { frames: 5, limit: 4, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_send(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        if self.is_short(message.len())
            && let Some(frame) = self.ring.claim_vacant()
        {
            return Ok(send_in(frame, message, kind));
        }
        self.send_slowly(message, kind, Patience::None)
    }

    /// Sends a message. Waits for space for as long as the required consumers make progress. Returns the sequence
    /// of the message's last frame.
    ///
    /// # Errors
    ///
    /// [`TransportError::RequiredConsumer`], [`TransportError::MessageTooLong`]. After an error the message is
    /// not received.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::RequiredConsumerLivenessConfig;
    /// # let reader = FramedTransportConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    ///
    /// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
    ///     required_consumer_ids: vec!["reader".into()],
    ///     ..Default::default()
    /// });
    /// tx.publish_managed(b"hello", 7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn publish_managed(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        if self.is_short(message.len())
            && let Some(frame) = self.ring.claim_vacant_managed()
        {
            return Ok(send_in(frame, message, kind));
        }
        self.send_slowly(message, kind, Patience::Managed)
    }

    /// Claims a frame in which the caller writes a message of `len` bytes in place. Waits for space until the
    /// deadline.
    ///
    /// # Errors
    ///
    /// [`TransportError::DoesNotFitFrame`], [`TransportError::Send`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::Deadline;
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// let name = myelon::portable_shm_segment_name("doc");
    /// let mut tx = FramedTransportProducer::<FixedFrame<1024>>::create(&name, 64)?;
    /// let mut message = tx.reserve(5, 7, Deadline::NEVER)?;
    /// message.copy_from_slice(b"hello");
    /// message.publish();
    /// # std::fs::remove_file(std::path::Path::new("/dev/shm").join(&*name))?; // without consumers the ring is kept
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn reserve(
        &mut self,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Reservation<'_, F>> {
        self.check_reservation(len)?;
        let is_timed = self.is_timed;
        Reservation::new(self.ring.claim(deadline)?, len, kind, is_timed)
    }

    /// As [`reserve`](Self::reserve), but waits for as long as the required consumers make progress.
    ///
    /// # Errors
    ///
    /// [`TransportError::DoesNotFitFrame`], [`TransportError::RequiredConsumer`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let mut message = tx.reserve_managed(5, 7)?;
    /// message.copy_from_slice(b"hello");
    /// message.publish();
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn reserve_managed(&mut self, len: usize, kind: u8) -> TransportResult<Reservation<'_, F>> {
        self.check_reservation(len)?;
        let is_timed = self.is_timed;
        Reservation::new(self.ring.claim_managed()?, len, kind, is_timed)
    }

    /// As [`reserve`](Self::reserve), but only if a frame is free. Never waits.
    ///
    /// # Errors
    ///
    /// [`TransportError::DoesNotFitFrame`], [`TransportError::Full`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let mut message = tx.try_reserve(5, 7)?;
    /// message.copy_from_slice(b"hello");
    /// message.publish();
    /// assert!(tx.try_reserve(65, 7).is_err(), "larger than a frame");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_reserve(&mut self, len: usize, kind: u8) -> TransportResult<Reservation<'_, F>> {
        self.check_reservation(len)?;
        let is_timed = self.is_timed;
        let depth = self.ring.capacity();
        let frame = self
            .ring
            .try_claim()
            .map_err(|_| TransportError::Full { frames: 1, depth })?;
        Reservation::new(frame, len, kind, is_timed)
    }

    #[inline(always)]
    fn check_reservation(&self, len: usize) -> TransportResult<()> {
        match self.fits(len) {
            true => Ok(()),
            false => Err(TransportError::DoesNotFitFrame {
                len,
                limit: self.frame_limit(),
            }),
        }
    }

    /// The longest message that takes one frame, in bytes.
    pub fn frame_limit(&self) -> usize {
        let time = if self.is_timed { TIME_BYTES } else { 0 };
        F::PAYLOAD_BYTES.saturating_sub(time)
    }

    /// Whether a message of `len` bytes can be sent without a call.
    #[inline(always)]
    fn is_short(&self, len: usize) -> bool {
        is_short::<F>(len) && !self.is_timed
    }

    #[inline(always)]
    fn fits(&self, len: usize) -> bool {
        let time = if self.is_timed { TIME_BYTES } else { 0 };
        len.saturating_add(time) <= F::PAYLOAD_BYTES
    }

    /// Sends a message that is not short, or one for which there is no free frame yet.
    #[inline(never)]
    fn send_slowly(
        &mut self,
        message: &[u8],
        kind: u8,
        patience: Patience,
    ) -> TransportResult<Sequence> {
        if message.len() <= F::PAYLOAD_BYTES && !self.is_timed {
            let depth = self.ring.capacity();
            let frame = match patience {
                Patience::None => self
                    .ring
                    .try_claim()
                    .map_err(|_| TransportError::Full { frames: 1, depth })?,
                Patience::Until(deadline) => self.ring.claim(deadline)?,
                Patience::Managed => self.ring.claim_managed()?,
            };
            return Ok(send_in(frame, message, kind));
        }
        self.send_slices(Slices::one(message), kind, patience)
    }

    /// Sends a message in as many frames as it takes, together as far as possible.
    pub(crate) fn send_slices(
        &mut self,
        slices: Slices<'_>,
        kind: u8,
        patience: Patience,
    ) -> TransportResult<Sequence> {
        let time = self.is_timed.then(|| clock::now_ns().to_ne_bytes());
        let outgoing = Outgoing::new(slices, kind, time);
        let last = outgoing.send_over(&mut self.ring, patience)?;
        if outgoing.frames::<F>() > 1 {
            self.fragmented += 1;
            self.ring
                .set_counter(CounterId::FRAMES_FRAGMENTED, self.fragmented);
        }
        Ok(last)
    }
}

/// Sends a message over a ring of frames that the caller has as a plain ring: see
/// [`FramedTransportProducer::send`].
///
/// # Errors
///
/// As [`FramedTransportProducer::send`].
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, publish_framed_payload, recv_framed_message};
///
/// let ring = myelon::HeapRing::<FixedFrame<4>>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// publish_framed_payload(&mut tx, b"three frames", 7, Deadline::NEVER)?;
/// let message = recv_framed_message(&mut rx, Deadline::NEVER)?;
/// assert_eq!(message, (7, b"three frames".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn publish_framed_payload<F: FramedTransportFrame, B>(
    ring: &mut Producer<F, B>,
    message: &[u8],
    kind: u8,
    deadline: Deadline,
) -> TransportResult<Sequence> {
    assert_carries_something::<F>();
    let outgoing = Outgoing::new(Slices::one(message), kind, None);
    outgoing.send_over(ring, Patience::Until(deadline))
}
