//! Sending messages: how a message is cut into frames, and how the frames are published.
//!
//! The frames of a message are claimed in runs of at most half the ring and at least one frame, and the frames
//! of a run are published together. So consumers see a message of up to half the ring whole or not at all,
//! whenever its producer dies. A longer message is published run by run as consumers make room. If its producer
//! dies between two runs, consumers drop the part that they have when the next message starts.

use disruptor_mp::{
    Claim, CloseReport, CounterId, CounterSnapshot, CountersFile, Deadline, DiscoveryMode,
    DisruptorBuilder, MappedFile, MultiProcessResult, Producer, RequiredConsumerLivenessConfig,
    Sequence, SharedMemory,
};

use super::clock;
use super::error::{TransportError, TransportResult};
use super::frame::{
    FrameMeta, FramedTransportFrame, TIME_BYTES, assert_carries_something, frame_flags,
};
use super::place::RingPlace;

/// The longest message, in bytes.
///
/// # Examples
///
/// ```
/// assert_eq!(myelon::MAX_MESSAGE_BYTES, 1024 * 1024 * 1024);
/// ```
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// Sends messages of any length over a ring of frames. [`MmapFramedTransportProducer`] is this type.
///
/// A message has a `kind`, any byte, by which its receivers distinguish messages.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = FramedTransportProducer::<FixedFrame<1024>>::create(&name, 64)?;
/// let mut rx = FramedTransportConsumer::<FixedFrame<1024>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
/// tx.send(b"hello", 7, Deadline::NEVER)?;
/// let message = rx.recv(Deadline::NEVER)?;
/// assert_eq!((message.kind(), &*message), (7, &b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FramedTransportProducer<F: FramedTransportFrame, B = SharedMemory> {
    ring: Producer<F, B>,
    is_timed: bool,
    fragmented: u64,
}

/// Sends messages over a ring in a mapped file.
///
/// # Examples
///
/// ```
/// use myelon::MmapTransportLayout;
/// use myelon::transport::{FixedFrame, MmapFramedTransportProducer};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let mut tx = MmapFramedTransportProducer::<FixedFrame<64>>::create(&layout, 8)?;
/// tx.publish(b"hello", 1)?;
/// assert!(layout.path().exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapFramedTransportProducer<F> = FramedTransportProducer<F, MappedFile>;

/// How long a publish may wait.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Deadline),
    /// As long as the required consumers make progress.
    Managed,
}

impl<F: FramedTransportFrame, B> FramedTransportProducer<F, B> {
    /// Creates the ring `place` with `depth` frames, a power of two, or takes over the ring that a dead
    /// producer left. Never waits.
    ///
    /// No message is lost, in whatever order the programs start and end. Until the first consumer has come, the
    /// producer fills the ring once and then waits. If the producer ends first, the ring is kept until a
    /// consumer has drained it. A program whose early messages may be lost calls
    /// [`free_running`](Self::free_running).
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let tx = FramedTransportProducer::<FixedFrame<64>>::create(name, 8)?;
    /// assert_eq!(tx.depth(), 8);
    /// let second = FramedTransportProducer::<FixedFrame<64>>::create(name, 8);
    /// assert!(second.unwrap_err().to_string().contains("already has a live producer"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(place: impl RingPlace<B>, depth: usize) -> TransportResult<Self> {
        Self::from_builder(place.builder(depth).enable_discovery(1))
    }

    /// As [`create`](Self::create), but expects the consumers with these ids. Until each of them has come, the
    /// ring is filled once and no further. If the producer ends earlier, the messages are kept for the expected
    /// consumers that come later.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create_with_consumers(name, 8, ["worker_0", "worker_1"])?;
    /// for _ in 0..8 {
    ///     tx.try_publish(b"kept for them", 1)?;
    /// }
    /// assert!(tx.try_publish(b"one too many", 1).is_err());
    /// # std::fs::remove_file(std::path::Path::new("/dev/shm").join(&*name))?; // without consumers the ring is kept
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_with_consumers<I: AsRef<str>>(
        place: impl RingPlace<B>,
        depth: usize,
        ids: impl IntoIterator<Item = I>,
    ) -> TransportResult<Self> {
        let ids = ids.into_iter().map(|id| id.as_ref().to_owned());
        let expected = DiscoveryMode::Ids(ids.collect());
        Self::from_builder(place.builder(depth).with_discovery(expected))
    }

    /// Stops expecting consumers: while no consumer is attached, the producer overwrites old messages instead
    /// of waiting. The first consumer to come misses the messages that the ring no longer retains. See
    /// [`Producer::free_running`](disruptor_mp::Producer::free_running).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create(name, 8)?.free_running();
    /// for _ in 0..100 {
    ///     tx.try_publish(b"whoever is there may read it", 1)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.ring = self.ring.free_running();
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
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// tx.publish(b"hello", 1)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_builder(builder: DisruptorBuilder<F, B>) -> TransportResult<Self> {
        assert_carries_something::<F>();
        let mut ring = builder.build_zeroed_producer()?;
        ring.set_counter(CounterId::FRAMES_PUBLISHED, 0);
        ring.set_counter(CounterId::FRAMES_FRAGMENTED, 0);
        Ok(Self {
            ring,
            is_timed: false,
            fragmented: 0,
        })
    }

    /// From now on, each message carries the time at which it was sent: see
    /// [`ReceivedMessageMeta::sent_at_ns`]. This costs one read of the clock and 8 bytes for each message.
    ///
    /// [`ReceivedMessageMeta::sent_at_ns`]: super::ReceivedMessageMeta::sent_at_ns
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
    /// assert_eq!((meta.len, meta.sent_at_ns.is_some()), (5, true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stamp_send_times(&mut self, is_timed: bool) -> &mut Self {
        self.is_timed = is_timed;
        self
    }

    /// From now on, expects the consumers with these ids. Returns how many of them are registered already.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`] for a text that is no id.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let reader = FramedTransportConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    /// assert_eq!(tx.discover_consumers(["reader", "writer"])?, 1);
    /// assert!(tx.discover_consumer_id("reader") && !tx.discover_consumer_id("writer"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumers<I: AsRef<str>>(
        &mut self,
        ids: impl IntoIterator<Item = I>,
    ) -> TransportResult<usize> {
        let mut present = 0;
        for id in ids {
            self.ring.expect_consumer_id(id.as_ref())?;
            present += usize::from(self.ring.discover_consumer_id(id.as_ref()));
        }
        Ok(present)
    }

    /// Whether a consumer with this id is registered now, attached or away.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// assert!(!tx.discover_consumer_id("reader"));
    /// let builder = ring.builder().with_consumer_id("reader");
    /// let _reader = FramedTransportConsumer::from_builder(builder)?;
    /// assert!(tx.discover_consumer_id("reader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumer_id(&mut self, id: &str) -> bool {
        self.ring.discover_consumer_id(id)
    }

    /// Sends a message, waiting for space for as long as it takes. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), except the time-out.
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
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (7, b"hello".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn publish(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        self.send(message, kind, Deadline::NEVER)
    }

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
        if self.is_plain(message.len()) {
            return Ok(send_in(self.ring.claim(deadline)?, message, kind));
        }
        self.send_slowly(message, kind, Patience::Until(deadline))
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
    /// tx.try_publish(b"hello", 7)?;
    /// let half_a_ring = 4 * 64;
    /// let error = tx.try_publish(&vec![0; half_a_ring + 1], 7).unwrap_err();
    /// assert!(matches!(error, TransportError::NeedsRuns { frames: 5, limit: 4, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_publish(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        if self.is_plain(message.len())
            && let Ok(frame) = self.ring.try_claim()
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
    #[inline]
    pub fn publish_managed(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        if self.is_plain(message.len()) {
            return Ok(send_in(self.ring.claim_managed()?, message, kind));
        }
        self.send_slowly(message, kind, Patience::Managed)
    }

    /// Names the consumers that this producer depends on: see [`Producer::enable_required_consumer_liveness`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::{RequiredConsumerLivenessConfig, TransportError};
    /// use std::time::Duration;
    ///
    /// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
    ///     required_consumer_ids: vec!["risk".to_owned()],
    ///     startup_wait_timeout: Duration::from_millis(1),
    ///     ..Default::default()
    /// });
    /// let error = tx.publish_managed(b"hello", 7).unwrap_err();
    /// assert!(matches!(error, TransportError::RequiredConsumer(_)), "it has not come");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enable_required_consumer_liveness(
        &mut self,
        config: RequiredConsumerLivenessConfig,
    ) -> &mut Self {
        self.ring.enable_required_consumer_liveness(config);
        self
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
    #[inline]
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
    #[inline]
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
    #[inline]
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// assert_eq!(tx.frame_limit(), 64);
    /// assert_eq!(tx.stamp_send_times(true).frame_limit(), 56);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn frame_limit(&self) -> usize {
        let time = if self.is_timed { TIME_BYTES } else { 0 };
        F::PAYLOAD_BYTES.saturating_sub(time)
    }

    /// Whether a message of `len` bytes fits one frame and carries no time.
    #[inline(always)]
    fn is_plain(&self, len: usize) -> bool {
        len <= F::PAYLOAD_BYTES && !self.is_timed
    }

    #[inline(always)]
    fn fits(&self, len: usize) -> bool {
        let time = if self.is_timed { TIME_BYTES } else { 0 };
        len.saturating_add(time) <= F::PAYLOAD_BYTES
    }

    /// Sends a message of several frames, or one that carries a time.
    #[cold]
    #[inline(never)]
    fn send_slowly(
        &mut self,
        message: &[u8],
        kind: u8,
        patience: Patience,
    ) -> TransportResult<Sequence> {
        let outgoing = Outgoing {
            message,
            time: self.is_timed.then(|| clock::now_ns().to_ne_bytes()),
            kind,
        };
        let last = outgoing.send_over(&mut self.ring, patience)?;
        if outgoing.frames::<F>() > 1 {
            self.fragmented += 1;
            self.ring
                .set_counter(CounterId::FRAMES_FRAGMENTED, self.fragmented);
        }
        Ok(last)
    }

    /// The ring, for the queries of layer 0: which consumers hold it, which are attached, whether a sequence
    /// was consumed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// while tx.try_publish(b"hello", 7).is_ok() {}
    /// let blocked = tx.ring().blocked_on().expect("it is full");
    /// println!("{blocked}");
    /// let last = tx.last_published_sequence();
    /// assert!(!tx.ring().is_consumed(last));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ring(&mut self) -> &mut Producer<F, B> {
        &mut self.ring
    }

    /// Shows this producer's counters in `file`, those of its ring and those of its frames: see
    /// [`Producer::attach_counters`].
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`]; then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::CountersFile;
    ///
    /// tx.attach_counters(&CountersFile::anonymous())?;
    /// tx.publish(&[1; 100], 7)?;
    /// let counters = tx.counters();
    /// assert!(counters.iter().any(|it| it.id.get() == 0x30 && it.value == 2), "two frames");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        Ok(self.ring.attach_counters(file)?)
    }

    /// This producer's counters as they are now. If they are attached to a file, the file is brought up to
    /// date.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::CounterId;
    ///
    /// tx.publish(&[7; 100], 1)?; // two frames
    /// let counters = tx.counters();
    /// let value = |id: CounterId| counters.iter().find(|it| it.id == id).map(|it| it.value);
    /// assert_eq!(value(CounterId::FRAMES_PUBLISHED), Some(2));
    /// assert_eq!(value(CounterId::FRAMES_FRAGMENTED), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.ring.counters()
    }

    /// The sequence of the last frame that was published.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// assert_eq!(tx.last_published_sequence(), -1);
    /// tx.publish(&[7; 100], 1)?; // two frames
    /// assert_eq!(tx.last_published_sequence(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn last_published_sequence(&self) -> Sequence {
        self.ring.last_published_sequence()
    }

    /// Number of frames that the ring holds.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// assert_eq!(tx.depth(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn depth(&self) -> usize {
        self.ring.capacity()
    }

    /// Ends the stream of messages, as dropping does, but returns the errors.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(b"the last one", 7)?;
    /// tx.close()?;
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"the last one");
    /// assert_eq!(rx.try_recv().unwrap_err(), myelon::RecvError::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.ring.close()
    }
}

/// Sends a message of one frame in the claimed frame.
#[inline(always)]
fn send_in<F: FramedTransportFrame>(mut frame: Claim<'_, F>, message: &[u8], kind: u8) -> Sequence {
    let meta = FrameMeta {
        len: message.len() as u32,
        kind,
        flags: frame_flags::START | frame_flags::END,
        msg_id: frame.sequence() as u32,
    };
    *frame.header_mut() = meta.to_bytes();
    put(&mut *frame, 0, message);
    frame.publish()
}

/// Copies `piece` into the payload. A piece that does not fit a payload that is shorter than it should be is
/// left out; consumers then count the frame as malformed.
#[inline(always)]
fn put<F: FramedTransportFrame>(frame: &mut F, at: usize, piece: &[u8]) {
    let payload = frame.payload_mut();
    if let Some(to) = payload.get_mut(at..at + piece.len()) {
        to.copy_from_slice(piece);
    }
}

/// A message that is being cut into frames.
struct Outgoing<'a> {
    message: &'a [u8],
    time: Option<[u8; TIME_BYTES]>,
    kind: u8,
}

impl Outgoing<'_> {
    fn len(&self) -> usize {
        self.message.len() + self.time.map_or(0, |time| time.len())
    }

    fn frames<F: FramedTransportFrame>(&self) -> usize {
        self.len().div_ceil(F::PAYLOAD_BYTES).max(1)
    }

    /// Publishes the message's frames, run by run, and returns the last one's sequence.
    fn send_over<F: FramedTransportFrame, B>(
        &self,
        ring: &mut Producer<F, B>,
        patience: Patience,
    ) -> TransportResult<Sequence> {
        let (len, frames) = (self.message.len(), self.frames::<F>());
        if len > MAX_MESSAGE_BYTES {
            let limit = MAX_MESSAGE_BYTES;
            return Err(TransportError::MessageTooLong { len, limit });
        }
        let limit = (ring.capacity() / 2).max(1);
        if matches!(patience, Patience::None) && frames > limit {
            return Err(TransportError::NeedsRuns { len, frames, limit });
        }
        let depth = ring.capacity();
        let id = (ring.last_published_sequence() + 1) as u32;
        let mut done = 0;
        loop {
            let run = (frames - done).min(limit);
            let write = |frame: &mut F, index| self.write(frame, done + index, id);
            let last = match patience {
                Patience::None => ring
                    .try_batch_publish(run, write)
                    .map_err(|_| TransportError::Full { frames, depth })?,
                Patience::Until(deadline) => ring.send_batch(run, deadline, write)?,
                Patience::Managed => ring.publish_batch_managed(run, write)?,
            };
            done += run;
            if done == frames {
                return Ok(last);
            }
        }
    }

    /// Writes the message's frame `index`.
    #[inline(always)]
    fn write<F: FramedTransportFrame>(&self, frame: &mut F, index: usize, msg_id: u32) {
        let from = index * F::PAYLOAD_BYTES;
        let rest = self.len() - from;
        let here = rest.min(F::PAYLOAD_BYTES);
        let mut flags = 0;
        if index == 0 {
            flags |= frame_flags::START;
        }
        if here == rest {
            flags |= frame_flags::END;
        }
        if self.time.is_some() {
            flags |= frame_flags::TIMED;
        }
        let meta = FrameMeta {
            len: rest as u32,
            kind: self.kind,
            flags,
            msg_id,
        };
        *frame.header_mut() = meta.to_bytes();
        let piece =
            &self.message[from.min(self.message.len())..(from + here).min(self.message.len())];
        put(frame, 0, piece);
        if let Some(time) = &self.time {
            // the time may lie in two frames
            let before = from.max(self.message.len()) - self.message.len();
            let after = (from + here).max(self.message.len()) - self.message.len();
            put(frame, piece.len(), &time[before..after]);
        }
    }
}

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
/// message.publish();
/// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"1 + 2 = 3");
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
    fn new(frame: Claim<'a, F>, len: usize, kind: u8, is_timed: bool) -> TransportResult<Self> {
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let mut message = tx.reserve(tx.frame_limit(), 7, Deadline::NEVER)?;
    /// message[..5].copy_from_slice(b"hello");
    /// message.truncate(5);
    /// message.publish();
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sends the message, and returns the sequence of its frame.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.reserve(5, 7, Deadline::NEVER)?.copy_from_slice(b"never"); // dropped: nothing is sent
    /// let mut message = tx.reserve(5, 7, Deadline::NEVER)?;
    /// message.copy_from_slice(b"hello");
    /// assert_eq!(message.publish(), 0);
    /// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
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
    let outgoing = Outgoing {
        message,
        time: None,
        kind,
    };
    outgoing.send_over(ring, Patience::Until(deadline))
}
