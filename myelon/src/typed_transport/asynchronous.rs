//! Receiving messages and values in tasks: the wait of a ring's consumer as a future.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use disruptor_mp::{AsyncReadiness, RecvError, SharedMemory};
use futures_core::Stream;

use super::consumer::TypedConsumer;
use super::error::TypedRecvError;
use super::held::HeldMessage;
use crate::codec::Codec;
use crate::transport::{FramedTransportFrame, Message};

/// A [`TypedConsumer`] whose wait is a future, for values and for messages as bytes. While there is no message it uses
/// no processor time: a thread of this process sleeps in the kernel.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::transport::FixedFrame;
/// use myelon::{AsyncTypedConsumer, Deadline, HeapRing, RecvError, TypedConsumer, TypedProducer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
/// let ring = HeapRing::<FixedFrame<64>>::new(8)?;
/// let mut tx = TypedProducer::from_builder(ring.builder())?;
/// let mut rx = AsyncTypedConsumer::new(TypedConsumer::from_builder(ring.builder())?)?;
/// let sender = std::thread::spawn(move || {
///     tx.raw().send(b"as it is", 1, Deadline::NEVER).unwrap();
///     tx.send(&Bincode((1_u32, 2_u32)), 2, Deadline::NEVER).unwrap();
///     tx.close()
/// });
/// assert_eq!(*rx.recv_raw().await?, *b"as it is");
/// let (kind, pair) = rx.recv::<Bincode<(u32, u32)>>().await?;
/// assert_eq!((kind, pair.into_inner()), (2, (1, 2)));
/// assert_eq!(rx.recv_raw().await.unwrap_err(), RecvError::Closed);
/// sender.join().unwrap()?;
/// assert_eq!(rx.get_mut().raw().received().messages, 2);
/// rx.into_inner().detach()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncTypedConsumer<F: FramedTransportFrame, B = SharedMemory> {
    // dropped before the consumer, as its thread reads the ring
    readiness: AsyncReadiness,
    /// The thread was told to wake the task, which has not seen it yet.
    is_armed: bool,
    rx: TypedConsumer<F, B>,
}

impl<F: FramedTransportFrame, B: 'static> AsyncTypedConsumer<F, B> {
    /// Makes a consumer asynchronous, on the runtime that this is called from.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor or a thread. The consumer is then dropped, and detaches.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    ///
    /// # Examples
    ///
    /// See [`AsyncTypedConsumer`].
    pub fn new(mut rx: TypedConsumer<F, B>) -> io::Result<Self> {
        let readiness = AsyncReadiness::of(rx.raw().as_ring())?;
        Ok(Self {
            readiness,
            is_armed: false,
            rx,
        })
    }

    /// The next message's kind and value, when it is there. Cancel-safe: a future that is dropped takes no message
    /// along.
    ///
    /// # Errors
    ///
    /// As [`TypedConsumer::recv`], except the time-out; [`RecvError::System`] if the descriptor fails. A message that
    /// is no `T` is consumed.
    ///
    /// # Examples
    ///
    /// See [`AsyncTypedConsumer`].
    pub async fn recv<T: Codec>(&mut self) -> Result<(u8, T), TypedRecvError> {
        poll_fn(|context| self.poll_value(context)).await
    }

    fn poll_value<T: Codec>(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(u8, T), TypedRecvError>> {
        loop {
            ready!(self.poll_found(context))?;
            if let Some(received) = self.rx.try_recv()? {
                return Poll::Ready(Ok(received));
            }
        }
    }

    /// The messages' kinds and values, as [`recv`](Self::recv) returns them, as a stream. A message that is no `T` is an
    /// error, and the stream goes on. The stream ends after the last message of a ring that is closed, and after any
    /// other error. This may be called again then: after the death of the producer for what its successor sends. A
    /// stream that is dropped takes no message along.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use std::future::poll_fn;
    /// use std::pin::pin;
    /// use futures_core::Stream;
    /// use myelon::codec::Bincode;
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncTypedConsumer, Deadline, HeapRing, TypedConsumer, TypedProducer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// # let ring = HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = AsyncTypedConsumer::new(TypedConsumer::from_builder(ring.builder())?)?;
    /// tx.send(&Bincode(1_u64), 1, Deadline::NEVER)?;
    /// tx.send(&Bincode(2_u64), 1, Deadline::NEVER)?;
    /// tx.close()?;
    /// let mut numbers = pin!(rx.values::<Bincode<u64>>());
    /// let mut sum = 0;
    /// // with futures-util: numbers.next().await
    /// while let Some(received) = poll_fn(|context| numbers.as_mut().poll_next(context)).await {
    ///     let (_kind, Bincode(number)) = received?;
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn values<T: Codec>(&mut self) -> impl Stream<Item = Result<(u8, T), TypedRecvError>> {
        Values {
            rx: self,
            is_over: false,
            value: PhantomData,
        }
    }

    /// The next message, when it is there: it is read in place if one frame holds it. Cancel-safe: a future that is
    /// dropped takes no message along.
    ///
    /// # Errors
    ///
    /// As [`TypedConsumer::recv_raw`], except the time-out.
    ///
    /// # Examples
    ///
    /// See [`AsyncTypedConsumer`].
    pub async fn recv_raw(&mut self) -> Result<Message<'_, F, B>, RecvError> {
        poll_fn(|context| self.poll_found(context)).await?;
        Ok(self.rx.raw().lend_found())
    }

    /// The next message, when it is there, which is delivered again unless it is done: see
    /// [`recv_held`](crate::FramedTransportConsumer::recv_held). Cancel-safe, and a future that is dropped counts no
    /// delivery.
    ///
    /// # Errors
    ///
    /// As [`recv_raw`](Self::recv_raw).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncTypedConsumer, Deadline, HeapRing, TypedConsumer, TypedProducer};
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// # let ring = HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = AsyncTypedConsumer::new(TypedConsumer::from_builder(ring.builder())?)?;
    /// tx.raw().send(b"work", 1, Deadline::NEVER)?;
    /// drop(rx.recv_held().await?); // as by an early return
    /// let message = rx.recv_held().await?;
    /// assert_eq!((&*message, message.delivery()), (&b"work"[..], 2));
    /// message.done();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn recv_held(&mut self) -> Result<HeldMessage<'_, F, B>, RecvError> {
        poll_fn(|context| self.poll_found(context)).await?;
        Ok(self.rx.raw().hold_found())
    }

    /// Whether there is a whole message, which `raw().lend_found()` lends then.
    fn poll_found(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
        while !self.rx.raw().find()? {
            if self.is_armed {
                ready!(self.readiness.poll_woken(context))?;
                self.is_armed = false;
            } else if self.readiness.arm(self.rx.raw().as_ring())? {
                // frames that are no message may come faster than they are dropped: other tasks go on meanwhile
                context.waker().wake_by_ref();
                return Poll::Pending;
            } else {
                self.is_armed = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The consumer, for calls that do not wait: one that waits would block the runtime's thread.
    ///
    /// # Examples
    ///
    /// See [`AsyncTypedConsumer`].
    pub fn get_mut(&mut self) -> &mut TypedConsumer<F, B> {
        &mut self.rx
    }

    /// The consumer, without the runtime.
    ///
    /// # Examples
    ///
    /// See [`AsyncTypedConsumer`].
    pub fn into_inner(self) -> TypedConsumer<F, B> {
        self.rx
    }
}

/// See [`AsyncTypedConsumer::values`].
struct Values<'a, T, F: FramedTransportFrame, B> {
    rx: &'a mut AsyncTypedConsumer<F, B>,
    is_over: bool,
    value: PhantomData<fn() -> T>,
}

impl<T: Codec, F: FramedTransportFrame, B: 'static> Stream for Values<'_, T, F, B> {
    type Item = Result<(u8, T), TypedRecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let received = ready!(self.rx.poll_value(context));
        self.is_over = matches!(received, Err(TypedRecvError::Recv(_)));
        match received {
            Err(TypedRecvError::Recv(RecvError::Closed)) => Poll::Ready(None),
            received => Poll::Ready(Some(received)),
        }
    }
}
