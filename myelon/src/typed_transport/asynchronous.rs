//! Receiving messages and values in tasks: the wait of a ring's consumer as a future.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use disruptor_mp::{AsyncReadiness, RecvError, SharedMemory};

use super::consumer::TypedConsumer;
use super::error::TypedRecvError;
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
        Ok(Self { readiness, rx })
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
        loop {
            self.until_it_is_there().await?;
            if let Some(received) = self.rx.try_recv()? {
                return Ok(received);
            }
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
        self.until_it_is_there().await?;
        Ok(self.rx.raw().lend_found())
    }

    async fn until_it_is_there(&mut self) -> Result<(), RecvError> {
        while !self.rx.raw().find()? {
            if self.readiness.arm(self.rx.raw().as_ring())? {
                // frames that are no message may come faster than they are dropped: other tasks go on meanwhile
                let mut has_yielded = false;
                poll_fn(|context| {
                    if core::mem::replace(&mut has_yielded, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            } else {
                self.readiness.woken().await?;
            }
        }
        Ok(())
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
