//! Receiving messages: read in place if one frame holds them, read from a buffer if not, or copied to vectors.

use disruptor_mp::{
    AutoWaitStrategy, Consumer, CounterId, CounterSnapshot, CountersFile, Deadline,
    DisruptorBuilder, MappedFile, MultiProcessResult, RecvError, SharedMemory,
};

use super::assembly::{Assembler, Received, ReceivedMessageMeta, Single};
use super::buffer::ReassemblyBuffer;
use super::error::TransportResult;
use super::frame::{FramedTransportFrame, assert_carries_something};
use super::message::Message;
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
    /// Spins without giving up its core. Use it for the shortest delay, on a core of its own.
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
/// tx.publish(b"hello", 7)?;
/// let message = rx.recv(Deadline::NEVER)?;
/// assert_eq!((message.kind(), &*message), (7, &b"hello"[..]));
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
/// tx.publish(b"hello", 1)?;
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
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy};
    ///
    /// # let name = &myelon::portable_shm_segment_name("doc");
    /// # let attach = || FramedTransportConsumer::<FixedFrame<64>>::attach_with_consumer_id(name, 8, "reader", MyelonWaitStrategy::Block);
    /// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create(name, 8)?;
    /// drop(attach()?); // with the id "reader"
    /// tx.publish(b"while it was away", 1)?;
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
    /// tx.publish(&[0; 101], 1)?;
    /// tx.publish(&[0; 100], 1)?;
    /// assert_eq!(rx.recv(Deadline::NEVER)?.len(), 100);
    /// assert_eq!(rx.received().too_long, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limit_message_bytes(&mut self, bytes: usize) -> &mut Self {
        self.assembler.limit = bytes;
        self
    }

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
    /// tx.publish(b"hello", 7)?;
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
    /// tx.publish(b"hello", 7)?;
    /// assert!(rx.try_recv()?.is_some_and(|message| &*message == b"hello"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<Message<'_, F, B>>, RecvError> {
        if !self.has_message()? {
            return Ok(None);
        }
        if !self.assembler.is_between() {
            self.put_together();
        }
        Ok(Some(Message(self)))
    }

    /// Whether there is a whole message. Never waits. After `true` the message is ready to be lent, as after
    /// [`wait`](Self::wait).
    #[inline(always)]
    pub(crate) fn has_message(&mut self) -> Result<bool, RecvError> {
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

    /// Waits for the next message until the deadline. Afterwards there is a message to lend: either the ring's
    /// next frame, which stays in the ring, or the message that the assembler has.
    #[inline(always)]
    fn wait(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        if self.assembler.is_between() {
            let frame = self.ring.recv(deadline)?;
            if self.assembler.lend(frame) {
                return Ok(());
            }
        }
        self.assemble(deadline)
    }

    #[cold]
    #[inline(never)]
    fn assemble(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        self.assembler.wait(&mut self.ring, deadline).map(|_| ())
    }

    /// Copies a message of several frames that the assembler has into this consumer's buffer.
    #[cold]
    #[inline(never)]
    fn put_together(&mut self) {
        if let Some(whole) = self.assembler.whole() {
            let buffer = &mut self.buffer;
            self.assembler.put_together(&self.ring, whole, buffer);
        }
    }

    /// The kind of the message to be lent.
    #[inline(always)]
    pub(super) fn lent_kind(&self) -> u8 {
        match self.assembler.whole() {
            None => self.assembler.single.kind(),
            Some(whole) => whole.kind(),
        }
    }

    /// Everything that is known about the message to be lent.
    #[inline(always)]
    pub(super) fn lent_meta(&self) -> ReceivedMessageMeta {
        match self.assembler.whole() {
            None => self.assembler.single.meta(),
            Some(whole) => self.assembler.meta(&self.ring, whole),
        }
    }

    /// The bytes of the message to be lent.
    #[inline(always)]
    pub(super) fn lent_bytes(&self) -> &[u8] {
        match (self.assembler.is_between(), self.ring.peek()) {
            (true, Some(frame)) => self.assembler.single.message(frame),
            _ => self.assembled_bytes(),
        }
    }

    #[cold]
    #[inline(never)]
    fn assembled_bytes(&self) -> &[u8] {
        let whole = self.assembler.whole();
        whole.map_or(&[], |whole| {
            self.assembler.bytes(&self.ring, whole, &self.buffer)
        })
    }

    /// Releases the lent message, which was read.
    #[inline(always)]
    pub(super) fn take_back(&mut self) {
        if self.assembler.is_between() {
            if let Ok(Some(frame)) = self.ring.try_recv() {
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
    pub(super) fn put_back(&mut self) {
        if self.assembler.whole().is_some() {
            self.assembler.put_back(&mut self.ring);
        }
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
    /// tx.publish(b"hello", 7)?;
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (7, b"hello".to_vec()));
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
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(&[1; 100], 7)?;
    /// let (meta, message) = rx.recv_owned_with_meta(Deadline::NEVER)?;
    /// assert_eq!((meta.frames, message.len()), (2, 100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// tx.publish(&[1; 100], 7)?;
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

    /// The next message's kind and a copy of its bytes. Waits for as long as it takes, even if the producer
    /// dies. [`recv_owned`](Self::recv_owned) is the same call with a deadline and errors.
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
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_message_blocking_owned(&mut self) -> (u8, Vec<u8>) {
        let (meta, message) = self.recv_message_blocking_owned_with_meta();
        (meta.kind, message)
    }

    /// As [`recv_message_blocking_owned`](Self::recv_message_blocking_owned), with everything that is known
    /// about the message.
    ///
    /// # Panics
    ///
    /// As [`recv_message_blocking_owned`](Self::recv_message_blocking_owned).
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
    /// let (meta, message) = rx.recv_message_blocking_owned_with_meta();
    /// assert_eq!((meta.kind, meta.frames, &*message), (7, 1, &b"hello"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_message_blocking_owned_with_meta(&mut self) -> (ReceivedMessageMeta, Vec<u8>) {
        loop {
            match self.recv_owned_with_meta(Deadline::NEVER) {
                Ok(message) => return message,
                Err(error) => go_on_or_panic(error),
            }
        }
    }

    /// Hands the next message's kind and bytes to `handle`. Waits for as long as it takes, even if the producer
    /// dies. [`recv_leased`](Self::recv_leased) is the same call with a deadline and errors.
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

    /// As [`recv_message_blocking_leased`](Self::recv_message_blocking_leased), with everything that is known
    /// about the message.
    ///
    /// # Panics
    ///
    /// As [`recv_message_blocking_leased`](Self::recv_message_blocking_leased).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(&[7; 100], 1)?;
    /// let mut buffer = ReassemblyBuffer::new();
    /// let frames = rx.recv_message_blocking_leased_with_meta(&mut buffer, |meta, _message| meta.frames);
    /// assert_eq!(frames, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
    ///
    /// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// for message in ["a", "b", "c"] {
    ///     tx.publish(message.as_bytes(), 1)?;
    /// }
    /// let mut all = Vec::new();
    /// assert_eq!(rx.process_available_messages(|_kind, message| all.extend_from_slice(message))?, 3);
    /// assert_eq!(all, b"abc");
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
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.stamp_send_times(true).publish(b"hello", 7)?;
    /// rx.process_available_messages_with_meta(|meta, message| {
    ///     println!("{} bytes, sent at {:?}", message.len(), meta.sent_at_ns);
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        if self.assembler.is_between() {
            let Some(frame) = self.ring.try_recv()? else {
                return Ok(0);
            };
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

    fn release(&mut self) {
        self.assembler.release(&mut self.ring);
        let reassembled = self.assembler.received.reassembled;
        self.ring
            .set_counter(CounterId::FRAMES_REASSEMBLED, reassembled);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn delivered(&mut self) {
        self.assembler.delivered();
        self.release();
    }

    /// How many messages this consumer received, and how many were dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(&[1; 100], 7)?;
    /// rx.recv_owned(Deadline::NEVER)?;
    /// let received = rx.received();
    /// assert_eq!((received.messages, received.reassembled, received.dropped()), (1, 1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn received(&self) -> Received {
        self.assembler.received
    }

    /// The ring, for everything that layer 0 can do. The ring's position is this consumer's position: events
    /// that the caller reads from the ring are missing from the messages.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.publish(&[1; 100], 7)?;
    /// assert_eq!(rx.ring().ring_state().published, 1, "two frames");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// tx.publish(b"hello", 7)?;
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
    /// tx.publish(&[1; 100], 7)?;
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
    /// tx.publish(&[7; 100], 1)?; // two frames, one message
    /// rx.recv_owned(Deadline::NEVER)?;
    /// let counters = rx.counters();
    /// let value = |id: CounterId| counters.iter().find(|it| it.id == id).map(|it| it.value);
    /// assert_eq!(value(CounterId::EVENTS_CONSUMED), Some(2));
    /// assert_eq!(value(CounterId::FRAMES_REASSEMBLED), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        self.ring.counters()
    }

    /// This consumer's id.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// let builder = ring.builder().with_consumer_id("reader");
    /// assert_eq!(FramedTransportConsumer::from_builder(builder)?.consumer_id(), "reader");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn consumer_id(&self) -> String {
        self.ring.consumer_id()
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
    /// assert_eq!(rx.depth(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// assert!(tx.discover_consumer_id("reader"), "its place is kept");
    /// FramedTransportConsumer::from_builder(builder())?.leave()?;
    /// assert!(!tx.discover_consumer_id("reader"));
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// rx.detach()?;
    /// assert_eq!(tx.ring().get_consumer_count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(self) -> MultiProcessResult<()> {
        self.ring.detach()
    }
}

/// Returns after a producer's death, so that the caller goes on waiting; panics with any other error.
#[cold]
fn go_on_or_panic(error: RecvError) {
    if !matches!(error, RecvError::ProducerDead { .. }) {
        panic!("{error}");
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

/// A message of several frames that is lent to a closure. Unless it was delivered, dropping this makes it come
/// again.
struct Lent<'a, F: FramedTransportFrame, B>(&'a mut FramedTransportConsumer<F, B>);

impl<F: FramedTransportFrame, B> Drop for Lent<'_, F, B> {
    fn drop(&mut self) {
        self.0.put_back();
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
