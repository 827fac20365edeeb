//! The receiving end of a transport: how it is attached, what it counts, and the ring below it.
//!
//! [`receiving`] waits for messages and copies them, [`lending`] lends them to be read where they are, and [`bursts`]
//! handles all that are available.

mod bursts;
mod lending;
mod receiving;

use disruptor_mp::{
    AutoWaitStrategy, Consumer, CounterId, CounterSnapshot, CountersFile, Deadline,
    DisruptorBuilder, MappedFile, MultiProcessResult, RecvError, SharedMemory,
};

pub use receiving::recv_framed_message;

use super::assembly::{Assembler, Received, ReceivedMessageMeta};
use super::buffer::ReassemblyBuffer;
use super::error::TransportResult;
use super::frame::{FramedTransportFrame, assert_carries_something};
use super::place::RingPlace;

/// How a consumer waits for messages.
///
/// # Examples
///
/// ```
/// use myelon::{AutoWaitStrategy, MyelonWaitStrategy};
///
/// assert_eq!(MyelonWaitStrategy::default(), MyelonWaitStrategy::Block);
/// assert_eq!(AutoWaitStrategy::from(MyelonWaitStrategy::Block), AutoWaitStrategy::Block);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MyelonWaitStrategy {
    /// Spins without giving up its core. Use it for the shortest delay, on a core of its own. This is
    /// [`AutoWaitStrategy::BusySpinWithSpinLoopHint`], not [`AutoWaitStrategy::BusySpin`], which spins without the
    /// processor's hint; a transport gets that one by `from_builder`.
    BusySpin,
    /// Spins for about as long as a wake-up takes, then sleeps in the kernel.
    #[default]
    Block,
}

impl From<MyelonWaitStrategy> for AutoWaitStrategy {
    fn from(strategy: MyelonWaitStrategy) -> Self {
        match strategy {
            MyelonWaitStrategy::BusySpin => Self::BusySpinWithSpinLoopHint,
            MyelonWaitStrategy::Block => Self::Block,
        }
    }
}

/// Receives every message of a ring of frames, in order. [`MmapFramedTransportConsumer`] is this type.
///
/// A message is released after it was delivered. A message whose handling is interrupted by a panic is
/// delivered again. So is one whose handling is interrupted by the end of the process, unless it is longer than
/// the whole ring.
///
/// A message that cannot be delivered is dropped and [counted](Self::received), and the next message is
/// delivered. Such messages are those whose producer died in the middle, and those with a damaged frame.
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
/// println!("{} waits on a ring of {} frames", rx.consumer_id(), rx.depth());
/// tx.send(b"hello", 7, Deadline::NEVER)?;
/// let message = rx.recv(Deadline::NEVER)?;
/// assert_eq!((message.kind(), &*message), (7, &b"hello"[..]));
/// message.release();
/// assert_eq!((rx.received().messages, rx.received().dropped()), (1, 0));
/// println!("{:?}, {:?}", rx.ring().ring_state(), rx.counters());
/// rx.detach()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FramedTransportConsumer<F: FramedTransportFrame, B = SharedMemory> {
    pub(super) ring: Consumer<F, B>,
    pub(super) assembler: Assembler,
    /// Messages of several frames are put together here for callers that bring no buffer.
    pub(super) buffer: ReassemblyBuffer,
}

/// Receives the messages of a ring in a mapped file.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FixedFrame, FramedTransportProducer, MmapFramedTransportConsumer};
/// use myelon::{Deadline, MmapTransportLayout, MyelonWaitStrategy};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let mut tx = FramedTransportProducer::<FixedFrame<64>, _>::create(&layout, 8)?;
/// let mut rx = MmapFramedTransportConsumer::<FixedFrame<64>>::attach(&layout, 8, MyelonWaitStrategy::Block)?;
/// tx.send(b"hello", 1, Deadline::NEVER)?;
/// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapFramedTransportConsumer<F> = FramedTransportConsumer<F, MappedFile>;

impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// Attaches to the ring `place`, which must have `depth` frames of this type. The consumer gets an
    /// automatic id and leaves the ring when it is dropped. It starts with the oldest message that the ring
    /// still has. Never waits.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let _tx = FramedTransportProducer::<FixedFrame<64>>::create(name, 8)?;
    /// let rx = FramedTransportConsumer::<FixedFrame<64>>::attach(name, 8, MyelonWaitStrategy::Block)?;
    /// assert_eq!(rx.depth(), 8);
    /// let other_depth = FramedTransportConsumer::<FixedFrame<64>>::attach(name, 16, MyelonWaitStrategy::Block);
    /// assert!(other_depth.unwrap_err().to_string().contains("the capacity is 8 slots, expected 16 slots"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(
        place: impl RingPlace<B>,
        depth: usize,
        strategy: MyelonWaitStrategy,
    ) -> TransportResult<Self> {
        Self::from_builder(place.builder(depth).with_wait_strategy(strategy.into()))
    }

    /// As [`attach`](Self::attach), with an explicit id. The consumer's place in the ring outlives its process:
    /// until the consumer comes back or is removed, its position holds back the gate.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::Deadline;
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// # let attach = || FramedTransportConsumer::<FixedFrame<64>>::attach_with_consumer_id(name, 8, "reader", MyelonWaitStrategy::Block);
    /// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create(name, 8)?;
    /// drop(attach()?); // with the id "reader"
    /// tx.send(b"while it was away", 1, Deadline::NEVER)?;
    /// assert_eq!(attach()?.recv_owned(myelon::Deadline::NEVER)?.1, b"while it was away");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_with_consumer_id(
        place: impl RingPlace<B>,
        depth: usize,
        id: &str,
        strategy: MyelonWaitStrategy,
    ) -> TransportResult<Self> {
        let builder = place.builder(depth).with_wait_strategy(strategy.into());
        Self::from_builder(builder.with_consumer_id(id))
    }

    /// The consumer that `builder` builds, with every option that layer 0 has.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::AutoWaitStrategy;
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let _tx = ring.producer()?;
    /// let spins = AutoWaitStrategy::SpinThenYield { spins: 100 };
    /// let builder = ring.builder().with_consumer_id("reader").with_wait_strategy(spins);
    /// let rx = FramedTransportConsumer::from_builder(builder)?;
    /// assert_eq!(rx.consumer_id(), "reader");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_builder(builder: DisruptorBuilder<F, B>) -> TransportResult<Self> {
        assert_carries_something::<F>();
        let mut ring = builder.build_consumer()?;
        ring.set_counter(CounterId::FRAMES_REASSEMBLED, 0);
        Ok(Self {
            ring,
            assembler: Assembler::new(),
            buffer: ReassemblyBuffer::new(),
        })
    }

    /// Drops and counts messages longer than `bytes`. The default is
    /// [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// rx.limit_message_bytes(100);
    /// tx.send(&[0; 101], 1, Deadline::NEVER)?;
    /// tx.send(&[0; 100], 1, Deadline::NEVER)?;
    /// assert_eq!(rx.recv(Deadline::NEVER)?.len(), 100);
    /// assert_eq!(rx.received().too_long, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limit_message_bytes(&mut self, bytes: usize) -> &mut Self {
        self.assembler.limit = bytes;
        self
    }

    /// How many messages this consumer received, and how many were dropped.
    pub fn received(&self) -> Received {
        self.assembler.received
    }

    /// The ring, for everything that layer 0 can do. The ring's position is this consumer's position: events
    /// that the caller reads from the ring are missing from the messages.
    pub fn ring(&mut self) -> &mut Consumer<F, B> {
        self.assembler.lend_ring();
        &mut self.ring
    }

    /// The ring, to wait for it together with other rings: see [`RingSet`](disruptor_mp::RingSet). A message
    /// that was received but not released counts as available there, unless it was forgotten (`mem::forget`).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::RingSet;
    ///
    /// tx.send(b"hello", 7, Deadline::NEVER)?;
    /// let ready = RingSet::of([rx.as_ring()])?.wait(Deadline::NEVER)?;
    /// assert_eq!(ready, 0);
    /// assert!(rx.try_recv()?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn as_ring(&self) -> &Consumer<F, B> {
        &self.ring
    }

    /// Shows this consumer's counters in `file`, those of its ring and those of its frames: see
    /// [`Consumer::attach_counters`].
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
    /// let file = CountersFile::anonymous();
    /// rx.attach_counters(&file)?;
    /// tx.send(&[1; 100], 7, Deadline::NEVER)?;
    /// rx.recv_owned(Deadline::NEVER)?;
    /// let counters = rx.counters();
    /// assert!(counters.iter().any(|it| it.id.get() == 0x32 && it.value == 1), "one put together");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        Ok(self.ring.attach_counters(file)?)
    }

    /// Shows the count of a layer above. The ring is not lent for that, so its next frame stays the same.
    pub(crate) fn show_counter(&mut self, id: CounterId, value: u64) {
        self.ring.set_counter(id, value);
    }

    /// This consumer's counters as they are now. If they are attached to a file, the file is brought up to
    /// date.
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.ring.counters()
    }

    /// This consumer's id.
    pub fn consumer_id(&self) -> String {
        self.ring.consumer_id()
    }

    /// Number of frames that the ring holds.
    pub fn depth(&self) -> usize {
        self.ring.capacity()
    }

    /// Detaches for good: see [`Consumer::leave`].
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let builder = || ring.builder().with_consumer_id("reader");
    /// FramedTransportConsumer::from_builder(builder())?.detach()?;
    /// assert!(tx.notice_consumer_id("reader"), "its place is kept");
    /// FramedTransportConsumer::from_builder(builder())?.leave()?;
    /// assert!(!tx.notice_consumer_id("reader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leave(self) -> MultiProcessResult<()> {
        self.ring.leave()
    }

    /// Detaches, as dropping does, but returns the errors.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](super::TransportError::Ring).
    pub fn detach(self) -> MultiProcessResult<()> {
        self.ring.detach()
    }
}

/// # Kept for programs written against disruptor-mp 0.1
impl<F: FramedTransportFrame, B> FramedTransportConsumer<F, B> {
    /// [`recv_owned`](Self::recv_owned) without a deadline: waits for as long as it takes, even if the producer dies,
    /// and panics where that call returns another error.
    ///
    /// # Panics
    ///
    /// If the ring is closed and drained, and in a forked process.
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
    /// assert_eq!(rx.recv_message_blocking_owned(), (7, b"hello".to_vec()));
    /// tx.publish(b"again", 7)?;
    /// let (meta, message) = rx.recv_message_blocking_owned_with_meta();
    /// assert_eq!((meta.kind, meta.frames, &*message), (7, 1, &b"again"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_message_blocking_owned(&mut self) -> (u8, Vec<u8>) {
        let (meta, message) = self.recv_message_blocking_owned_with_meta();
        (meta.kind, message)
    }

    /// [`recv_owned_with_meta`](Self::recv_owned_with_meta) without a deadline, as
    /// [`recv_message_blocking_owned`](Self::recv_message_blocking_owned).
    ///
    /// # Panics
    ///
    /// As [`recv_message_blocking_owned`](Self::recv_message_blocking_owned).
    ///
    /// # Examples
    ///
    /// See [`recv_message_blocking_owned`](Self::recv_message_blocking_owned).
    pub fn recv_message_blocking_owned_with_meta(&mut self) -> (ReceivedMessageMeta, Vec<u8>) {
        loop {
            match self.recv_owned_with_meta(Deadline::NEVER) {
                Ok(message) => return message,
                Err(error) => go_on_or_panic(error),
            }
        }
    }

    /// [`recv_leased`](Self::recv_leased) without a deadline, as
    /// [`recv_message_blocking_owned`](Self::recv_message_blocking_owned); `handle` gets the kind alone.
    ///
    /// # Panics
    ///
    /// As [`recv_message_blocking_owned`](Self::recv_message_blocking_owned). It also panics when the closure
    /// does; the message is then delivered again.
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
    /// let mut buffer = ReassemblyBuffer::new();
    /// assert_eq!(rx.recv_message_blocking_leased(&mut buffer, |_kind, message| message.len()), 5);
    /// tx.publish(&[7; 100], 1)?;
    /// let frames = rx.recv_message_blocking_leased_with_meta(&mut buffer, |meta, _message| meta.frames);
    /// assert_eq!(frames, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_message_blocking_leased<R>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        handle: impl FnOnce(u8, &[u8]) -> R,
    ) -> R {
        self.recv_message_blocking_leased_with_meta(buffer, |meta, message| {
            handle(meta.kind, message)
        })
    }

    /// [`recv_leased`](Self::recv_leased) without a deadline, as
    /// [`recv_message_blocking_owned`](Self::recv_message_blocking_owned).
    ///
    /// # Panics
    ///
    /// As [`recv_message_blocking_leased`](Self::recv_message_blocking_leased).
    ///
    /// # Examples
    ///
    /// See [`recv_message_blocking_leased`](Self::recv_message_blocking_leased).
    pub fn recv_message_blocking_leased_with_meta<R>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        handle: impl FnOnce(ReceivedMessageMeta, &[u8]) -> R,
    ) -> R {
        while let Err(error) = self.wait(Deadline::NEVER) {
            go_on_or_panic(error);
        }
        match self.recv_leased(buffer, Deadline::NEVER, handle) {
            Ok(result) => result,
            Err(error) => unreachable!("a whole message is there: {error}"),
        }
    }
}

/// Returns after a producer's death, so that the caller goes on waiting; panics with any other error.
#[cold]
fn go_on_or_panic(error: RecvError) {
    if !matches!(error, RecvError::ProducerDead { .. }) {
        panic!("{error}");
    }
}
