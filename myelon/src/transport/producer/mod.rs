//! The sending end of a transport: how it is created, which consumers it expects, what it counts, and its ring.
//!
//! [`sending`] sends messages and reserves frames.

mod sending;

use disruptor_mp::{
    CloseReport, CounterId, CounterSnapshot, CountersFile, Deadline, DiscoveryMode,
    DisruptorBuilder, MappedFile, MultiProcessResult, Producer, RequiredConsumerLivenessConfig,
    Sequence, SharedMemory,
};

pub use sending::publish_framed_payload;

use super::error::TransportResult;
use super::frame::{FramedTransportFrame, assert_carries_something};
use super::place::RingPlace;

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
/// let last = tx.send(&vec![0; tx.frame_limit() + 1], 8, Deadline::NEVER)?; // two frames
/// assert_eq!((last, tx.last_published_sequence(), tx.depth()), (2, 2, 64));
/// assert!(!tx.ring().is_consumed(last));
/// println!("{:?}", tx.counters());
/// tx.close()?;
///
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
/// use myelon::{Deadline, MmapTransportLayout};
/// use myelon::transport::{FixedFrame, MmapFramedTransportProducer};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let mut tx = MmapFramedTransportProducer::<FixedFrame<64>>::create(&layout, 8)?;
/// tx.send(b"hello", 1, Deadline::NEVER)?;
/// assert!(layout.path().exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapFramedTransportProducer<F> = FramedTransportProducer<F, MappedFile>;

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
    /// [`TransportError::Ring`](super::TransportError::Ring).
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
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create_with_consumers(name, 8, ["worker_0", "worker_1"])?;
    /// for _ in 0..8 {
    ///     tx.try_send(b"kept for them", 1)?;
    /// }
    /// assert!(tx.try_send(b"one too many", 1).is_err());
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
    ///     tx.try_send(b"whoever is there may read it", 1)?;
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
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::Deadline;
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// tx.send(b"hello", 1, Deadline::NEVER)?;
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
    /// tx.stamp_send_times(true).send(b"hello", 7, Deadline::NEVER)?;
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
    /// [`TransportError::Ring`](super::TransportError::Ring) for a text that is no id.
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
    /// assert!(tx.notice_consumer_id("reader") && !tx.notice_consumer_id("writer"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumers<I: AsRef<str>>(
        &mut self,
        ids: impl IntoIterator<Item = I>,
    ) -> TransportResult<usize> {
        let mut present = 0;
        for id in ids {
            self.ring.expect_consumer_id(id.as_ref())?;
            present += usize::from(self.ring.notice_consumer_id(id.as_ref()));
        }
        Ok(present)
    }

    /// Whether a consumer with this id is registered now, attached or away. If it was expected, the producer notes
    /// that it has come: see [`Producer::notice_consumer_id`].
    ///
    /// # Examples
    ///
    /// See [`discover_consumers`](Self::discover_consumers).
    pub fn notice_consumer_id(&mut self, id: &str) -> bool {
        self.ring.notice_consumer_id(id)
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

    /// The ring, for the queries of layer 0: which consumers hold it, which are attached, whether a sequence
    /// was consumed.
    pub fn ring(&mut self) -> &mut Producer<F, B> {
        &mut self.ring
    }

    /// Shows this producer's counters in `file`, those of its ring and those of its frames: see
    /// [`Producer::attach_counters`].
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`](super::TransportError::Counters); then nothing has changed.
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
    /// tx.send(&[1; 100], 7, Deadline::NEVER)?;
    /// let counters = tx.counters();
    /// assert!(counters.iter().any(|it| it.id.get() == 0x30 && it.value == 2), "two frames");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        Ok(self.ring.attach_counters(file)?)
    }

    /// This producer's counters as they are now. If they are attached to a file, the file is brought up to
    /// date.
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.ring.counters()
    }

    /// The sequence of the last frame that was published.
    pub fn last_published_sequence(&self) -> Sequence {
        self.ring.last_published_sequence()
    }

    /// Number of frames that the ring holds.
    pub fn depth(&self) -> usize {
        self.ring.capacity()
    }

    /// Ends the stream of messages, as dropping does, but returns the errors.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.ring.close()
    }
}

/// # Kept for programs written against disruptor-mp 0.1
impl<F: FramedTransportFrame, B> FramedTransportProducer<F, B> {
    /// [`send`](Self::send) without a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), except the time-out.
    ///
    /// # Examples
    ///
    /// See [`FramedTransportProducer::try_publish`].
    #[inline(always)]
    pub fn publish(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
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
    /// ```
    /// use myelon::Deadline;
    /// use myelon::transport::{FixedFrame, FramedTransportProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// tx.publish(b"hello", 7)?;
    /// tx.send(b"hello", 7, Deadline::NEVER)?;
    /// tx.try_publish(b"hello", 7)?;
    /// tx.try_send(b"hello", 7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_publish(&mut self, message: &[u8], kind: u8) -> TransportResult<Sequence> {
        self.try_send(message, kind)
    }

    /// The same as [`notice_consumer_id`](Self::notice_consumer_id).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::{FixedFrame, FramedTransportProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// assert_eq!(tx.discover_consumer_id("reader"), tx.notice_consumer_id("reader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumer_id(&mut self, id: &str) -> bool {
        self.notice_consumer_id(id)
    }
}
