//! Asynchronous receiving on tokio: a [`Readiness`] under tokio's `AsyncFd`.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::RecvError;
use crate::event::Event;
use crate::handles::consumer::Consumer;
use crate::handles::guards::Lease;
use crate::handles::kinds::SharedMemory;
use crate::handles::readiness::Readiness;

/// A consumer whose wait is a future. It neither spins nor polls: between events a thread of this process
/// sleeps in the kernel.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{AsyncConsumer, Deadline, HeapRing, RecvError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let mut rx = AsyncConsumer::new(ring.consumer("task")?)?;
/// let sender = std::thread::spawn(move || {
///     tx.send(Deadline::NEVER, |event| *event = 7).unwrap();
///     tx.close()
/// });
/// assert_eq!(*rx.recv().await?, 7);
/// assert_eq!(rx.recv().await.unwrap_err(), RecvError::Closed);
/// # sender.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # .map(|()| ())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncConsumer<E: Event, B = SharedMemory> {
    // dropped before the consumer, as its thread reads the ring
    readiness: AsyncReadiness,
    rx: Consumer<E, B>,
}

/// A [`Readiness`] on a runtime, for the layers above.
#[doc(hidden)]
#[derive(Debug)]
pub struct AsyncReadiness(AsyncFd<Readiness>);

impl AsyncReadiness {
    /// On the runtime that this is called from; panics outside one. The consumer must outlive it.
    pub fn of<E: Event, B: 'static>(rx: &Consumer<E, B>) -> io::Result<Self> {
        let readiness = rx.readiness()?;
        // SAFETY: the eventfd is open as long as the `Readiness`, which the `AsyncFd` owns, and is always the
        // same one; this concerns no rule of the ring.
        let readiness = unsafe { AsyncFd::register_with_interest(readiness, Interest::READABLE) };
        Ok(Self(readiness.map_err(io::Error::from)?))
    }

    /// As [`Readiness::arm`].
    pub fn arm<E: Event, B>(&self, rx: &Consumer<E, B>) -> Result<bool, RecvError> {
        self.0.get_ref().arm(rx).map_err(system)
    }

    /// Waits for the wake-up that [`arm`](Self::arm) has asked for.
    pub async fn woken(&self) -> Result<(), RecvError> {
        self.0.readable().await.map_err(system)?.clear_ready();
        Ok(())
    }

    /// As [`woken`](Self::woken), for a type that polls: only the task that has polled last is woken.
    pub fn poll_woken(&self, context: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
        let woken = ready!(self.0.poll_read_ready(context));
        woken.map_err(system)?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl<E: Event, B: 'static> AsyncConsumer<E, B> {
    /// Makes a consumer asynchronous, on the runtime that this is called from.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor or a thread. The consumer is then dropped, and detaches.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub fn new(rx: Consumer<E, B>) -> io::Result<Self> {
        let readiness = AsyncReadiness::of(&rx)?;
        Ok(Self { readiness, rx })
    }

    /// The next event in place, when it is there. Cancel-safe: only its lease releases an event, so that a
    /// future that is dropped takes no event with it.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] and [`RecvError::ProducerDead`] after everything published was delivered,
    /// [`RecvError::Cancelled`], [`RecvError::Forked`], [`RecvError::System`]; [`RecvError::InDoubt`], once.
    pub async fn recv(&mut self) -> Result<Lease<'_, E>, RecvError> {
        let mut checks_liveness = false;
        while !self.rx.poll_news(checks_liveness)? {
            if self.readiness.arm(&self.rx)? {
                continue;
            }
            self.readiness.woken().await?;
            // a wake-up without an event may have come from the producer's end
            checks_liveness = true;
        }
        Ok(self.rx.lease())
    }

    /// The consumer, for calls that do not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let mut rx = disruptor_mp::AsyncConsumer::new(ring.consumer("task")?)?;
    /// assert!(rx.get_mut().try_recv()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut Consumer<E, B> {
        &mut self.rx
    }

    /// The consumer, without the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let rx = disruptor_mp::AsyncConsumer::new(ring.consumer("task")?)?;
    /// assert_eq!(rx.into_inner().consumer_id(), "task");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inner(self) -> Consumer<E, B> {
        self.rx
    }
}

fn system(error: io::Error) -> RecvError {
    RecvError::System {
        what: error.to_string(),
    }
}
