//! Receiving values, and messages that are read in place.

use disruptor_mp::{
    CounterId, CounterSnapshot, CountersFile, Deadline, DisruptorBuilder, MappedFile,
    MultiProcessResult, RecvError, SharedMemory,
};

use super::error::{DecodeError, TypedRecvError};
use super::kinds::KindTable;
use super::producer::SHOWN_EVERY;
use crate::codec::{Codec, CodecError, ZeroCopyCodec};
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, Message, MyelonWaitStrategy, ReassemblyBuffer,
    RingPlace, TransportResult,
};

/// Receives every message of a ring of frames, in order, as a value of any [`Codec`]. [`MmapTypedConsumer`] is
/// this type.
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
/// tx.publish_raw(b"no pair of numbers", 9)?;
/// tx.publish(&Bincode((1_u32, 2_u32)), 1)?;
/// let error = rx.recv::<Bincode<(u32, u32)>>(Deadline::NEVER).unwrap_err();
/// assert!(error.to_string().starts_with("a message of kind 9 and 18 bytes was dropped"));
/// let (kind, pair) = rx.recv::<Bincode<(u32, u32)>>(Deadline::NEVER)?;
/// assert_eq!((kind, pair.into_inner()), (1, (1, 2)));
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
/// tx.publish(&Bincode(7_u64), 1)?;
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
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{MyelonWaitStrategy, TypedConsumer, TypedProducer};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// let _tx = TypedProducer::<FixedFrame<64>>::create(name, 8)?;
    /// let rx = TypedConsumer::<FixedFrame<64>>::attach(name, 8, MyelonWaitStrategy::Block)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// The next message's kind and value; waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::Decode`] for a message that is no `T`: it is consumed. [`TypedRecvError::Recv`].
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
    /// use myelon::TypedRecvError;
    ///
    /// tx.publish_raw(b"", 1)?; // not a number
    /// tx.publish(&Bincode(7_u64), 1)?;
    /// assert!(matches!(rx.recv::<Bincode<u64>>(Deadline::NEVER), Err(TypedRecvError::Decode(_))));
    /// assert_eq!(rx.recv(Deadline::NEVER)?, (1, Bincode(7_u64)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn recv<T: Codec>(&mut self, deadline: Deadline) -> Result<(u8, T), TypedRecvError> {
        let message = match self.raw.recv(deadline) {
            Ok(message) => message,
            Err(error) => return ended(error),
        };
        let kind = message.kind();
        match T::decode(&message) {
            Ok(value) => {
                message.release();
                self.count();
                Ok(pair(kind, value))
            }
            Err(source) => undecodable(message, source),
        }
    }

    /// Hands `handle` the next message's kind and value. The message is released if `handle` returns `true`, or
    /// if the message is no `T`. Otherwise, and if `handle` panics, it is delivered again.
    pub(crate) fn recv_with<T: Codec, R>(
        &mut self,
        deadline: Deadline,
        handle: impl FnOnce(u8, T) -> (bool, R),
    ) -> Result<R, TypedRecvError> {
        let message = self.raw.recv(deadline)?;
        let kind = message.kind();
        let value = match T::decode(&message) {
            Ok(value) => value,
            Err(source) => return undecodable(message, source),
        };
        let (is_done, result) = handle(kind, value);
        if is_done {
            message.release();
            self.count();
        } else {
            message.release_uncommitted();
        }
        Ok(result)
    }

    /// The next message's kind and value, if there is a whole one. Never waits.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except the time-out.
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
    /// assert_eq!(rx.try_recv::<Bincode<u64>>()?, None);
    /// tx.publish(&Bincode(7_u64), 1)?;
    /// assert_eq!(rx.try_recv()?, Some((1, Bincode(7_u64))));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_recv<T: Codec>(&mut self) -> Result<Option<(u8, T)>, TypedRecvError> {
        let Some(message) = self.raw.try_recv()? else {
            return Ok(None);
        };
        let value = decode(message)?;
        self.count();
        Ok(Some(value))
    }

    /// The next message's kind and value. Waits for as long as it takes, even if the producer dies.
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

    /// The next message without decoding it; waits for it until the deadline: see
    /// [`FramedTransportConsumer::recv`].
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`].
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
    /// tx.publish(&Bincode(7_u16), 1)?;
    /// assert_eq!(&*rx.recv_raw(Deadline::NEVER)?, [7, 0], "bincode's 7");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw(&mut self, deadline: Deadline) -> Result<Message<'_, F, B>, RecvError> {
        self.raw.recv(deadline)
    }

    /// The next message's kind and a copy of its bytes; waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`].
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
    /// tx.publish_raw(b"as it is", 1)?;
    /// assert_eq!(rx.recv_raw_owned(Deadline::NEVER)?, (1, b"as it is".to_vec()));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw_owned(&mut self, deadline: Deadline) -> Result<(u8, Vec<u8>), RecvError> {
        self.raw.recv_owned(deadline)
    }

    /// Hands `handle` the next message's kind and bytes; waits for the message until the deadline. If one frame
    /// holds the message, its bytes are read where their producer wrote them, otherwise in `buffer`. The
    /// message is released when `handle` returns, and delivered again if `handle` panics.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// let mut buffer = ReassemblyBuffer::new();
    /// tx.publish_raw(&[7; 100], 1)?; // two frames: put together in the buffer
    /// let sum = rx.recv_raw_leased(&mut buffer, Deadline::NEVER, |_kind, bytes| {
    ///     bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>()
    /// })?;
    /// assert_eq!(sum, 700);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw_leased<R>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        deadline: Deadline,
        handle: impl FnOnce(u8, &[u8]) -> R,
    ) -> Result<R, RecvError> {
        self.raw
            .recv_leased(buffer, deadline, |meta, bytes| handle(meta.kind, bytes))
    }

    /// Hands `handle` the next message to read in place. Waits for as long as it takes, even if the producer
    /// dies. If one frame holds the message, it is read where its producer wrote it, otherwise in `buffer`. It
    /// is released when `handle` returns, and delivered again if `handle` panics.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::Decode`] for bytes that are no `T`, or that lie at an address where a `T` cannot be
    /// read: they are consumed. [`TypedRecvError::Recv`], except a producer's death.
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

    /// As [`recv_leased`](Self::recv_leased), but waits only until the deadline.
    ///
    /// # Errors
    ///
    /// As [`recv_leased`](Self::recv_leased), and every [`TypedRecvError::Recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::codec::Rkyv;
    /// # use myelon::transport::{AlignedFixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use std::time::Duration;
    ///
    /// let mut buffer = ReassemblyBuffer::new();
    /// let soon = Deadline::after(Duration::from_secs(1));
    /// tx.publish(&Rkyv("gold".to_owned()), 1)?;
    /// rx.recv_leased_within::<Rkyv<String>, _, _>(&mut buffer, soon, |_kind, text| assert_eq!(text, "gold"))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_leased_within<T: ZeroCopyCodec, R, H>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        deadline: Deadline,
        mut handle: H,
    ) -> Result<R, TypedRecvError>
    where
        H: for<'a> FnMut(u8, T::Archived<'a>) -> R,
    {
        let result = self.raw.recv_leased(buffer, deadline, |meta, bytes| {
            let archived = T::access(bytes).map_err(|source| failed(meta.kind, bytes, source))?;
            Ok::<_, DecodeError>(handle(meta.kind, archived))
        })??;
        self.count();
        Ok(result)
    }

    /// Handles the messages that are available and returns how many there were, including those that could not
    /// be decoded. It takes in at most one ring's worth of frames. Never waits.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::process_available_messages`].
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
    /// for number in 1..4_u64 {
    ///     tx.publish(&Bincode(number), 1)?;
    /// }
    /// let mut sum = 0;
    /// let count = rx.process_available::<Bincode<u64>>(|_kind, number| sum += number.map_or(0, |it| it.0))?;
    /// assert_eq!((count, sum), (3, 6));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_available<T: Codec>(
        &mut self,
        mut handle: impl FnMut(u8, Result<T, DecodeError>),
    ) -> Result<usize, RecvError> {
        let mut decoded = 0;
        let handled = self.raw.process_available_messages(|kind, bytes| {
            let value = T::decode(bytes).map_err(|source| failed(kind, bytes, source));
            decoded += u64::from(value.is_ok());
            handle(kind, value);
        });
        self.count_burst(decoded);
        handled
    }

    /// As [`process_available`](Self::process_available), but the messages are read in place.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::process_available_messages`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::codec::Rkyv;
    /// # use myelon::{TypedConsumer, TypedProducer, transport::AlignedFixedFrame};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// tx.publish(&Rkyv(vec![1_u32, 2]), 1)?;
    /// tx.publish(&Rkyv(vec![3_u32]), 1)?;
    /// let mut count = 0;
    /// rx.process_available_zero_copy::<Rkyv<Vec<u32>>, _>(|_kind, numbers| {
    ///     count += numbers.map_or(0, |numbers| numbers.len());
    /// })?;
    /// assert_eq!(count, 3);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_available_zero_copy<T, H>(&mut self, mut handle: H) -> Result<usize, RecvError>
    where
        T: ZeroCopyCodec,
        H: for<'a> FnMut(u8, Result<T::Archived<'a>, DecodeError>),
    {
        let mut decoded = 0;
        let handled = self.raw.process_available_messages(|kind, bytes| {
            let archived = T::access(bytes).map_err(|source| failed(kind, bytes, source));
            decoded += u64::from(archived.is_ok());
            handle(kind, archived);
        });
        self.count_burst(decoded);
        handled
    }

    /// Hands the next message to the handler that `table` has for the message's kind, and returns the kind.
    /// Waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::NoKinds`] for an empty table. [`TypedRecvError::UnknownKind`] and
    /// [`TypedRecvError::Decode`]; the message is then consumed. [`TypedRecvError::Recv`].
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
    /// let mut texts = Vec::new();
    /// let mut table = KindTable::new().on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
    /// tx.publish(&Bincode(7_u64), 1)?;
    /// tx.publish(&Bincode("gold".to_owned()), 2)?;
    /// assert!(rx.dispatch(&mut table, Deadline::NEVER).is_err(), "a kind that the table does not have");
    /// assert_eq!(rx.dispatch(&mut table, Deadline::NEVER)?, 2);
    /// drop(table);
    /// assert_eq!(texts, ["gold"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatch(
        &mut self,
        table: &mut KindTable<'_>,
        deadline: Deadline,
    ) -> Result<u8, TypedRecvError> {
        if table.is_empty() {
            return Err(TypedRecvError::NoKinds);
        }
        let message = self.raw.recv(deadline)?;
        let kind = message.kind();
        let handled = table.handle(kind, &message);
        message.release();
        handled?;
        self.count();
        Ok(kind)
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
    /// tx.publish(&Bincode(7_u64), 1)?;
    /// rx.recv::<Bincode<u64>>(Deadline::NEVER)?;
    /// let counters = rx.counters();
    /// assert!(counters.iter().any(|it| it.id.get() == 0x34 && it.value == 1), "one decoded");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.show();
        self.raw.counters()
    }

    /// The framed transport that carries the messages.
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
    /// rx.raw().limit_message_bytes(1 << 20);
    /// assert_eq!(rx.raw().received().messages, 0);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn raw(&mut self) -> &mut FramedTransportConsumer<F, B> {
        &mut self.raw
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
    /// assert!(!tx.raw().discover_consumer_id("reader"));
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// let builder = || ring.builder().with_consumer_id("reader");
    /// TypedConsumer::from_builder(builder())?.detach()?;
    /// assert!(tx.raw().discover_consumer_id("reader"), "its place is kept");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(self) -> MultiProcessResult<()> {
        self.raw.detach()
    }
}

/// Decodes a message and releases it, whether or not it can be decoded.
#[inline(always)]
pub(crate) fn decode<T: Codec, F: FramedTransportFrame, B>(
    message: Message<'_, F, B>,
) -> Result<(u8, T), DecodeError> {
    let kind = message.kind();
    match T::decode(&message) {
        Ok(value) => {
            message.release();
            Ok(pair(kind, value))
        }
        Err(source) => undecodable(message, source),
    }
}

/// Puts the two side by side, in a function that is never inlined. If it were, the compiler would move the
/// value together with the padding before it, as one piece from an odd address. No store of the value's own
/// words is as wide as that piece, so the processor could not forward those stores and would read the piece
/// from the cache. That read has to wait until the release, which was stored before the value's words, has
/// reached the cache.
#[inline(never)]
fn pair<T>(kind: u8, value: T) -> (u8, T) {
    (kind, value)
}

/// Builds the whole error result in a cold function, away from the path of a value: otherwise the compiler
/// takes the value's words apart and puts them together again.
#[cold]
#[inline(never)]
fn undecodable<T, E: From<DecodeError>, F: FramedTransportFrame, B>(
    message: Message<'_, F, B>,
    source: CodecError,
) -> Result<T, E> {
    let error = failed(message.kind(), &message, source);
    message.release();
    Err(error.into())
}

#[cold]
#[inline(never)]
fn ended<T>(error: RecvError) -> Result<T, TypedRecvError> {
    Err(error.into())
}

#[cold]
pub(super) fn failed(kind: u8, bytes: &[u8], source: CodecError) -> DecodeError {
    DecodeError {
        kind,
        len: bytes.len(),
        source,
    }
}
