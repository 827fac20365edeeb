//! Sending values.

use disruptor_mp::{
    CloseReport, CounterId, CounterSnapshot, CountersFile, Deadline, DisruptorBuilder, MappedFile,
    MultiProcessResult, RequiredConsumerLivenessConfig, Sequence, SharedMemory,
};

use super::error::TypedPublishError;
use crate::codec::{Codec, CodecError};
use crate::transport::{
    FrameMeta, FramedTransportFrame, FramedTransportProducer, Patience, Reservation, RingPlace,
    Slices, TransportError, TransportResult, frame_flags,
};

/// The shown count of messages is brought up to date each time this many messages have passed: a power of two.
pub(super) const SHOWN_EVERY: u64 = 64;

/// What can be written into a frame, or sent in slices: each value with a codec, and more.
pub(crate) trait Encode {
    /// As [`Codec::encode_into`].
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError>;
    /// As [`encode_into`](Self::encode_into), of which it returns the length alone: a length stays in a register.
    #[inline(always)]
    fn encode_at_once(&self, out: &mut [u8]) -> Option<usize> {
        self.encode_into(out).ok().flatten()
    }
    /// Hands the encoded bytes to `send`. `scratch` is an empty buffer for what is not in memory yet.
    fn in_slices<R>(
        &self,
        scratch: &mut Vec<u8>,
        send: impl FnOnce(Slices<'_>) -> R,
    ) -> Result<R, CodecError>;
}

impl<T: Codec> Encode for T {
    #[inline(always)]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        Codec::encode_into(self, out)
    }

    fn in_slices<R>(
        &self,
        scratch: &mut Vec<u8>,
        send: impl FnOnce(Slices<'_>) -> R,
    ) -> Result<R, CodecError> {
        self.encode_append(scratch)?;
        Ok(send(Slices::one(scratch)))
    }
}

/// Sends values of any [`Codec`] over a ring of frames. [`MmapTypedProducer`] is this type.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, TypedProducer};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = TypedProducer::<FixedFrame<1024>>::create(&name, 64)?;
/// let prices = vec![101_u64, 102];
/// tx.send(Bincode::of(&prices), 1, Deadline::NEVER)?; // the values are not moved
/// tx.stamp_send_times(true).send(&Bincode((7_u64, true)), 1, Deadline::NEVER)?;
/// tx.raw().send(b"as it is", 2, Deadline::NEVER)?;
/// println!("{:?}, at most {} bytes in a frame", tx.counters(), tx.raw().frame_limit());
/// tx.close()?;
/// # std::fs::remove_file(std::path::Path::new("/dev/shm").join(&*name))?; // without consumers the ring is kept
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TypedProducer<F: FramedTransportFrame, B = SharedMemory> {
    raw: FramedTransportProducer<F, B>,
    /// Messages that do not fit a frame are encoded here.
    scratch: Vec<u8>,
    /// Whether the last message did not fit a frame. If so, the next one is not tried in a frame first.
    is_long: bool,
    encoded: u64,
}

/// Sends values over a ring in a mapped file.
///
/// # Examples
///
/// ```
/// use myelon::transport::FixedFrame;
/// use myelon::{MmapTransportLayout, MmapTypedProducer};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let tx = MmapTypedProducer::<FixedFrame<64>>::create(&layout, 8)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapTypedProducer<F> = TypedProducer<F, MappedFile>;

impl<F: FramedTransportFrame, B> TypedProducer<F, B> {
    /// Creates the ring `place` with `depth` frames, a power of two, or takes over the ring that a dead
    /// producer left.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    pub fn create(place: impl RingPlace<B>, depth: usize) -> TransportResult<Self> {
        FramedTransportProducer::create(place, depth).map(Self::over)
    }

    /// As [`create`](Self::create), but expects the consumers with these ids. Until each of them has come, the
    /// ring is filled once and no further, so that a consumer that comes late misses nothing.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::TypedProducer;
    /// use myelon::transport::FixedFrame;
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let mut tx = TypedProducer::<FixedFrame<64>>::create_with_consumers(name, 8, ["worker_0"])?;
    /// assert!(!tx.raw().notice_consumer_id("worker_0"), "expected, and not there yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_with_consumers<I: AsRef<str>>(
        place: impl RingPlace<B>,
        depth: usize,
        ids: impl IntoIterator<Item = I>,
    ) -> TransportResult<Self> {
        FramedTransportProducer::create_with_consumers(place, depth, ids).map(Self::over)
    }

    /// Stops expecting consumers: see [`FramedTransportProducer::free_running`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::TypedProducer;
    /// use myelon::transport::FixedFrame;
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let mut tx = TypedProducer::<FixedFrame<64>>::create(name, 8)?.free_running();
    /// for _ in 0..100 {
    ///     tx.raw().try_send(b"whoever is there may read it", 1)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.raw = self.raw.free_running();
        self
    }

    /// The producer that `builder` builds, with every option that layer 0 has.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::TypedProducer;
    /// use myelon::transport::FixedFrame;
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let tx = TypedProducer::from_builder(ring.builder().discover_consumer_with_prefix(2, "worker"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_builder(builder: DisruptorBuilder<F, B>) -> TransportResult<Self> {
        FramedTransportProducer::from_builder(builder).map(Self::over)
    }

    fn over(mut raw: FramedTransportProducer<F, B>) -> Self {
        raw.ring().set_counter(CounterId::CODEC_ENCODED, 0);
        Self {
            raw,
            scratch: Vec::new(),
            is_long: false,
            encoded: 0,
        }
    }

    /// Sends a value, waiting for space until the deadline. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// [`TypedPublishError`]; then the message is not received.
    #[inline]
    pub fn send<T: Codec>(
        &mut self,
        message: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.send_by(message, kind, Patience::Until(deadline))
    }

    /// Sends a value if there is space for all of it. Never waits. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// [`TypedPublishError`], with [`TransportError::Full`] or [`TransportError::NeedsRuns`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use myelon::{TransportError, TypedPublishError};
    ///
    /// while tx.raw().try_send(b"something else", 2).is_ok() {}
    /// let error = tx.try_send(&Bincode(7_u64), 1).unwrap_err();
    /// assert!(matches!(error, TypedPublishError::Transport(TransportError::Full { .. })));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_send<T: Codec>(
        &mut self,
        message: &T,
        kind: u8,
    ) -> Result<Sequence, TypedPublishError> {
        self.send_by(message, kind, Patience::None)
    }

    /// Sends a value. Waits for space for as long as the required consumers make progress. Returns the sequence of
    /// the message's last frame.
    ///
    /// # Errors
    ///
    /// [`TypedPublishError`], with [`TransportError::RequiredConsumer`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use myelon::RequiredConsumerLivenessConfig;
    /// # let reader = TypedConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    ///
    /// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
    ///     required_consumer_ids: vec!["reader".into()],
    ///     ..Default::default()
    /// });
    /// tx.publish_managed(&Bincode(7_u64), 1)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn publish_managed<T: Codec>(
        &mut self,
        message: &T,
        kind: u8,
    ) -> Result<Sequence, TypedPublishError> {
        self.send_by(message, kind, Patience::Managed)
    }

    /// As [`send`](Self::send), for what has no codec of its own.
    #[inline(always)]
    pub(crate) fn send_encoded<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        match self.send_at_once(message, kind) {
            Some(sequence) => Ok(sequence),
            None => self.send_slowly(message, kind, Patience::Until(deadline)),
        }
    }

    /// Encodes the message straight into a frame, if a frame is free and the message fits it. What it finds stays in
    /// registers, because it returns no error: the slow half meets the same error again.
    #[inline(always)]
    pub(crate) fn send_at_once<T: Encode>(&mut self, message: &T, kind: u8) -> Option<Sequence> {
        // a frame that carries the time of sending has less room
        if self.is_long || self.raw.frame_limit() != F::PAYLOAD_BYTES {
            return None;
        }
        let mut frame = self.raw.ring().claim_vacant()?;
        let place = frame.payload_mut().get_mut(..F::PAYLOAD_BYTES)?;
        let len = message.encode_at_once(place)?;
        let meta = FrameMeta {
            len: len.min(F::PAYLOAD_BYTES) as u32,
            kind,
            flags: frame_flags(true, true),
            msg_id: frame.sequence() as u32,
        };
        *frame.header_mut() = meta.to_bytes();
        let sequence = frame.publish();
        self.count();
        Some(sequence)
    }

    #[cold]
    #[inline(never)]
    fn send_slowly<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        patience: Patience,
    ) -> Result<Sequence, TypedPublishError> {
        self.send_by(message, kind, patience)
    }

    /// As [`publish_managed`](Self::publish_managed), for what has no codec of its own.
    pub(crate) fn send_managed<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
    ) -> Result<Sequence, TypedPublishError> {
        self.send_by(message, kind, Patience::Managed)
    }

    /// Encodes the message straight into a frame if it fits one.
    #[inline(always)]
    fn send_by<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        patience: Patience,
    ) -> Result<Sequence, TypedPublishError> {
        if !self.is_long {
            match reserve(&mut self.raw, kind, patience) {
                Ok(mut place) => {
                    let encoded = message.encode_into(&mut place);
                    if let Some(len) = encoded.map_err(|source| not_sent(kind, source))? {
                        place.truncate(len);
                        let sequence = place.publish();
                        self.count();
                        return Ok(sequence);
                    }
                }
                // the frame is too small even for the time of sending
                Err(TransportError::DoesNotFitFrame { limit: 0, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.send_long(message, kind, patience)
    }

    #[cold]
    #[inline(never)]
    fn send_long<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        patience: Patience,
    ) -> Result<Sequence, TypedPublishError> {
        self.scratch.clear();
        let (raw, is_long) = (&mut self.raw, &mut self.is_long);
        let sent = message.in_slices(&mut self.scratch, |slices| {
            *is_long = slices.len() > raw.frame_limit();
            raw.send_slices(slices, kind, patience)
        });
        let sequence = sent.map_err(|source| not_sent(kind, source))??;
        self.count();
        Ok(sequence)
    }

    #[inline(always)]
    fn count(&mut self) {
        self.encoded += 1;
        if self.encoded.is_multiple_of(SHOWN_EVERY) {
            self.show();
        }
    }

    #[cold]
    fn show(&mut self) {
        let encoded = self.encoded;
        self.raw
            .ring()
            .set_counter(CounterId::CODEC_ENCODED, encoded);
    }

    /// Names the consumers that this producer depends on: see
    /// [`Producer::enable_required_consumer_liveness`](disruptor_mp::Producer::enable_required_consumer_liveness).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use myelon::{RequiredConsumerLivenessConfig, TypedPublishError};
    /// use std::time::Duration;
    ///
    /// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
    ///     required_consumer_ids: vec!["risk".to_owned()],
    ///     startup_wait_timeout: Duration::from_millis(1),
    ///     ..Default::default()
    /// });
    /// let error = tx.publish_managed(&Bincode(7_u64), 1).unwrap_err();
    /// assert!(matches!(error, TypedPublishError::Transport(_)), "it has not come");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enable_required_consumer_liveness(
        &mut self,
        config: RequiredConsumerLivenessConfig,
    ) -> &mut Self {
        self.raw.enable_required_consumer_liveness(config);
        self
    }

    /// From now on, each message carries the time at which it was sent: see
    /// [`FramedTransportProducer::stamp_send_times`].
    pub fn stamp_send_times(&mut self, is_timed: bool) -> &mut Self {
        self.raw.stamp_send_times(is_timed);
        self
    }

    /// Shows this producer's counters in `file`: those of its ring, those of its frames, and the number of
    /// messages that were encoded. That number is brought up to date every 64 messages.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`]; then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use myelon::CountersFile;
    ///
    /// tx.attach_counters(&CountersFile::anonymous())?;
    /// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
    /// let counters = tx.counters();
    /// assert!(counters.iter().any(|it| it.id.get() == 0x33 && it.value == 1), "one encoded");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.show();
        self.raw.attach_counters(file)
    }

    /// This producer's counters as they are now. If they are attached to a file, the file is brought up to
    /// date.
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.show();
        self.raw.counters()
    }

    /// The framed transport that carries the messages.
    pub fn raw(&mut self) -> &mut FramedTransportProducer<F, B> {
        &mut self.raw
    }

    /// Ends the stream of messages, as dropping does, but returns the errors.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.raw.close()
    }
}

/// # Kept for programs written against disruptor-mp 0.1
impl<F: FramedTransportFrame, B> TypedProducer<F, B> {
    /// [`send`](Self::send) without a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), except the time-out.
    ///
    /// # Examples
    ///
    /// See [`TypedProducer::publish_raw`].
    #[inline]
    pub fn publish<T: Codec>(
        &mut self,
        message: &T,
        kind: u8,
    ) -> Result<Sequence, TypedPublishError> {
        self.send(message, kind, Deadline::NEVER)
    }

    /// The same as [`try_send`](Self::try_send).
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    ///
    /// # Examples
    ///
    /// See [`TypedProducer::publish_raw`].
    #[inline]
    pub fn try_publish<T: Codec>(
        &mut self,
        message: &T,
        kind: u8,
    ) -> Result<Sequence, TypedPublishError> {
        self.try_send(message, kind)
    }

    /// Sends bytes as they are, without a deadline. Replaced by [`FramedTransportProducer::send`] of
    /// [`raw`](Self::raw).
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`], except the time-out.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::Bincode;
    /// use myelon::transport::FixedFrame;
    /// use myelon::{Deadline, TypedProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// tx.publish(&Bincode(7_u64), 1)?;
    /// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
    /// tx.try_publish(&Bincode(7_u64), 1)?;
    /// tx.try_send(&Bincode(7_u64), 1)?;
    /// tx.publish_raw(b"as it is", 2)?;
    /// tx.raw().send(b"as it is", 2, Deadline::NEVER)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_raw(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        self.raw.send(message, kind, Deadline::NEVER)
    }
}

/// Claims a whole frame to encode into.
#[inline(always)]
fn reserve<F: FramedTransportFrame, B>(
    raw: &mut FramedTransportProducer<F, B>,
    kind: u8,
    patience: Patience,
) -> Result<Reservation<'_, F>, TransportError> {
    let room = raw.frame_limit();
    match patience {
        Patience::None => raw.try_reserve(room, kind),
        Patience::Until(deadline) => raw.reserve(room, kind, deadline),
        Patience::Managed => raw.reserve_managed(room, kind),
    }
}

#[cold]
fn not_sent(kind: u8, source: CodecError) -> TypedPublishError {
    TypedPublishError::Encode { kind, source }
}
