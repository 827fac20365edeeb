//! The receiving end of a typed transport: how it is attached, what it counts, and the transport below it.
//!
//! [`receiving`] receives one message, and [`bursts`] handles all that are available.

mod bursts;
mod receiving;

use disruptor_mp::{
    CounterId, CounterSnapshot, CountersFile, Deadline, DisruptorBuilder, MappedFile,
    MultiProcessResult, RecvError, SharedMemory,
};

pub(super) use receiving::failed;

use super::error::TypedRecvError;
use super::producer::SHOWN_EVERY;
use crate::codec::{Codec, ZeroCopyCodec};
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, MyelonWaitStrategy, ReassemblyBuffer, RingPlace,
    TransportResult,
};

/// Receives every message of a ring of frames, in order, as a value of any [`Codec`](crate::Codec).
/// [`MmapTypedConsumer`] is this type.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, MyelonWaitStrategy, TypedConsumer, TypedProducer};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = TypedProducer::<FixedFrame<1024>>::create(&name, 64)?;
/// let mut rx = TypedConsumer::<FixedFrame<1024>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
/// tx.raw().send(b"no pair of numbers", 9, Deadline::NEVER)?;
/// tx.send(&Bincode((1_u32, 2_u32)), 1, Deadline::NEVER)?;
/// let error = rx.recv::<Bincode<(u32, u32)>>(Deadline::NEVER).unwrap_err();
/// assert!(error.to_string().starts_with("a message of kind 9 and 18 bytes was dropped"));
/// let (kind, pair) = rx.recv::<Bincode<(u32, u32)>>(Deadline::NEVER)?;
/// assert_eq!((kind, pair.into_inner()), (1, (1, 2)));
/// println!("{:?}, {:?}", rx.raw().received(), rx.counters());
/// rx.detach()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TypedConsumer<F: FramedTransportFrame, B = SharedMemory> {
    raw: FramedTransportConsumer<F, B>,
    decoded: u64,
}

/// Receives values from a ring in a mapped file.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, MmapTransportLayout, MmapTypedConsumer, MyelonWaitStrategy, TypedProducer};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let mut tx = TypedProducer::<FixedFrame<64>, _>::create(&layout, 8)?;
/// let mut rx = MmapTypedConsumer::<FixedFrame<64>>::attach(&layout, 8, MyelonWaitStrategy::Block)?;
/// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
/// assert_eq!(rx.recv(Deadline::NEVER)?, (1, Bincode(7_u64)));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapTypedConsumer<F> = TypedConsumer<F, MappedFile>;

impl<F: FramedTransportFrame, B> TypedConsumer<F, B> {
    /// Attaches to the ring `place`: see [`FramedTransportConsumer::attach`]. Never waits.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    pub fn attach(
        place: impl RingPlace<B>,
        depth: usize,
        strategy: MyelonWaitStrategy,
    ) -> TransportResult<Self> {
        FramedTransportConsumer::attach(place, depth, strategy).map(Self::over)
    }

    /// As [`attach`](Self::attach), with an explicit id. The consumer's place in the ring outlives its process.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{MyelonWaitStrategy, TypedConsumer, TypedProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let _tx = TypedProducer::<FixedFrame<64>>::create(name, 8)?;
    /// let mut rx = TypedConsumer::<FixedFrame<64>>::attach_with_consumer_id(name, 8, "reader", MyelonWaitStrategy::Block)?;
    /// assert_eq!(rx.raw().consumer_id(), "reader");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_with_consumer_id(
        place: impl RingPlace<B>,
        depth: usize,
        id: &str,
        strategy: MyelonWaitStrategy,
    ) -> TransportResult<Self> {
        FramedTransportConsumer::attach_with_consumer_id(place, depth, id, strategy).map(Self::over)
    }

    /// The consumer that `builder` builds, with every option that layer 0 has.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::TypedConsumer;
    /// use myelon::transport::FixedFrame;
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let _tx = ring.producer()?;
    /// let rx = TypedConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_builder(builder: DisruptorBuilder<F, B>) -> TransportResult<Self> {
        FramedTransportConsumer::from_builder(builder).map(Self::over)
    }

    fn over(mut raw: FramedTransportConsumer<F, B>) -> Self {
        raw.show_counter(CounterId::CODEC_DECODED, 0);
        Self { raw, decoded: 0 }
    }

    #[inline(always)]
    pub(crate) fn count(&mut self) {
        self.decoded += 1;
        if self.decoded.is_multiple_of(SHOWN_EVERY) {
            self.show();
        }
    }

    fn count_burst(&mut self, decoded: u64) {
        if decoded > 0 {
            self.decoded += decoded;
            self.show();
        }
    }

    #[cold]
    fn show(&mut self) {
        self.raw
            .show_counter(CounterId::CODEC_DECODED, self.decoded);
    }

    /// Shows this consumer's counters in `file`: those of its ring, those of its frames, and the number of
    /// messages that were decoded. That number is brought up to date every 64 messages.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`](crate::TransportError::Counters); then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use myelon::{CounterId, CountersFile};
    ///
    /// let file = CountersFile::anonymous();
    /// rx.attach_counters(&file)?;
    /// assert!(file.snapshot().iter().any(|it| it.id == CounterId::CODEC_DECODED));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.show();
        self.raw.attach_counters(file)
    }

    /// This consumer's counters as they are now. If they are attached to a file, the file is brought up to
    /// date.
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.show();
        self.raw.counters()
    }

    /// The framed transport that carries the messages.
    pub fn raw(&mut self) -> &mut FramedTransportConsumer<F, B> {
        &mut self.raw
    }

    /// As [`raw`](Self::raw), to read what it has lent.
    #[inline(always)]
    pub(crate) fn lender(&self) -> &FramedTransportConsumer<F, B> {
        &self.raw
    }

    /// Detaches for good: see [`Consumer::leave`](disruptor_mp::Consumer::leave).
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// let rx = TypedConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    /// rx.leave()?;
    /// assert!(!tx.raw().notice_consumer_id("reader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leave(self) -> MultiProcessResult<()> {
        self.raw.leave()
    }

    /// Detaches, as dropping does, but returns the errors.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    pub fn detach(self) -> MultiProcessResult<()> {
        self.raw.detach()
    }
}

/// # Kept for programs written against disruptor-mp 0.1
impl<F: FramedTransportFrame, B> TypedConsumer<F, B> {
    /// [`recv`](Self::recv) without a deadline: waits for as long as it takes, even if the producer dies.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except the time-out and a producer's death.
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
    /// tx.publish(&Bincode(vec!["a", "b"].join("-")), 1)?;
    /// let (_kind, Bincode(text)) = rx.recv_owned::<Bincode<String>>()?;
    /// assert_eq!(text, "a-b");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_owned<T: Codec>(&mut self) -> Result<(u8, T), TypedRecvError> {
        loop {
            match self.recv(Deadline::NEVER) {
                Err(TypedRecvError::Recv(RecvError::ProducerDead { .. })) => {}
                outcome => return outcome,
            }
        }
    }

    /// [`recv_leased_within`](Self::recv_leased_within) without a deadline: waits for as long as it takes, even if
    /// the producer dies.
    ///
    /// # Errors
    ///
    /// As [`recv_leased_within`](Self::recv_leased_within), except the time-out and a producer's death.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// use myelon::codec::Rkyv;
    /// use myelon::transport::{AlignedFixedFrame, ReassemblyBuffer};
    /// use myelon::{MyelonWaitStrategy, TypedConsumer, TypedProducer};
    ///
    /// type Frame = AlignedFixedFrame<4096>;
    ///
    /// let name = myelon::portable_shm_segment_name("doc");
    /// let mut tx = TypedProducer::<Frame>::create(&name, 64)?;
    /// let mut rx = TypedConsumer::<Frame>::attach(&name, 64, MyelonWaitStrategy::Block)?;
    /// tx.publish(&Rkyv(vec![1_u32, 2, 3]), 1)?;
    /// let mut buffer = ReassemblyBuffer::new();
    /// let sum = rx.recv_leased::<Rkyv<Vec<u32>>, _, _>(&mut buffer, |_kind, numbers| {
    ///     numbers.iter().map(|number| number.to_native()).sum::<u32>()
    /// })?;
    /// assert_eq!(sum, 6);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_leased<T: ZeroCopyCodec, R, H>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        mut handle: H,
    ) -> Result<R, TypedRecvError>
    where
        H: for<'a> FnMut(u8, T::Archived<'a>) -> R,
    {
        loop {
            match self.recv_leased_within::<T, R, _>(buffer, Deadline::NEVER, &mut handle) {
                Err(TypedRecvError::Recv(RecvError::ProducerDead { .. })) => {}
                outcome => return outcome,
            }
        }
    }
}
