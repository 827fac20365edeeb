//! A worker whose requests are handled by a task.

mod hands;

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use disruptor_mp::{CancelToken, MappedFile, RecvError};
use tokio::sync::oneshot;

use super::super::config::{OnHandlerPanic, RunnerMyelonTransportConfig};
use super::super::head::RequestId;
use super::super::worker::{DeliveryLimit, Worker};
use super::bell::Bell;
use crate::codec::Codec;
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};
use crate::typed_transport::{DecodeError, KindTable, TypedPublishError, TypedRecvError};

use hands::Hands;

/// A [`Worker`] for a task. Dropping it does not block. Its thread ends soon after and keeps the places for a
/// successor; until then the rank is taken.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{AsyncRequest, AsyncWorker, Deadline, RunnerMyelonTransportConfig, Scheduler};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let sent = scheduler.send_to(0, b"one two", 1, Deadline::NEVER)?;
/// let poison = scheduler.send_to(0, b"poison", 1, Deadline::NEVER)?;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
/// let mut request: AsyncRequest<'_> = worker.recv().await?;
/// let prompt = request.bytes().to_vec();
/// assert_eq!((request.id(), request.kind(), request.delivery()), (sent, 1, 1));
/// for word in prompt.split(|byte| *byte == b' ') {
///     request.send(word, 1).await?;
/// }
/// request.finish(&b""[..], 1).await?; // until then the request is not done, and comes again if the worker dies
///
/// drop(worker.recv().await?); // as if the worker had died of it
/// let request = worker.recv().await?;
/// assert_eq!(request.delivery(), 2);
/// request.give_up().await?;
/// worker.respond(&b"by itself"[..], 2).await?;
/// println!("worker {} starts anew: {}", worker.rank(), worker.starts_anew());
/// worker.leave().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// for expected in [&b"one"[..], b"two", b""] {
///     assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, expected);
/// }
/// assert!(scheduler.recv_answer(0, poison, Deadline::NEVER)?.is_given_up());
/// assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, b"by itself");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Rings in files are those of a scheduler that was started by [`Scheduler::start_in_files`](super::super::Scheduler):
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{AsyncWorker, MappedFile, RunnerMyelonTransportConfig, Scheduler};
/// type Frame = FixedFrame<256>;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let root = tempfile::tempdir()?;
/// # let root = root.path();
/// let config = RunnerMyelonTransportConfig::new("a session", 1);
/// let scheduler = Scheduler::<Frame, Frame, MappedFile>::start_in_files(&config, root)?;
/// let worker = AsyncWorker::start_in_files::<Frame, Frame>(&config, 0, root).await?;
/// worker.leave().await?;
/// scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncWorker {
    pub(super) orders: Orders,
    /// Ends the waits of the thread.
    stop: CancelToken,
    rank: usize,
    starts_anew: bool,
    /// For `serve`: when a request is given up.
    pub(super) given_up: Option<DeliveryLimit>,
    /// For `serve`: what a panic of its handler means.
    pub(super) on_panic: OnHandlerPanic,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    to_thread: mpsc::Sender<Order>,
    /// Wakes the thread where it waits for a request.
    bell: Arc<Bell>,
}

/// What the task asks of the thread.
#[derive(Debug)]
enum Order {
    Next(oneshot::Sender<TransportResult<Handed>>),
    Respond(Vec<u8>, u8, Told),
    Piece {
        bytes: Vec<u8>,
        kind: u8,
        is_last: bool,
        told: Told,
    },
    GiveUp(Told),
    Return,
    Leave(Told),
}

type Told = oneshot::Sender<TransportResult<()>>;

/// A request on its way from the thread to the task.
#[derive(Debug)]
struct Handed {
    id: RequestId,
    kind: u8,
    delivery: u32,
    bytes: Vec<u8>,
}

/// A request that a task has received: a copy. The request is done when [`finish`](Self::finish) or
/// [`give_up`](Self::give_up) has returned `Ok`. A request that is dropped before is delivered again, unless the
/// scheduler has closed the session. If the future of `finish` is dropped, the request may be done.
///
/// # Examples
///
/// See [`AsyncWorker`].
#[derive(Debug)]
#[must_use = "dropping a request returns it"]
pub struct AsyncRequest<'a> {
    request: Handed,
    orders: Orders,
    is_done: bool,
    /// A worker has one request at a time.
    worker: PhantomData<&'a mut AsyncWorker>,
}

impl AsyncWorker {
    /// Starts the worker `rank` on a thread of its own: see [`Worker::start`]. Requests travel in frames of the type
    /// `Req`, answers in frames of the type `Resp`.
    ///
    /// # Errors
    ///
    /// As [`Worker::start`], whose waiting holds up no task; [`RecvError::System`] if the system refuses a thread or
    /// memory.
    pub async fn start<Req: FramedTransportFrame, Resp: FramedTransportFrame>(
        config: &RunnerMyelonTransportConfig,
        rank: usize,
    ) -> TransportResult<Self> {
        Self::start_by(config, rank, move |config| {
            Worker::<Req, Resp>::start(config, rank)
        })
        .await
    }

    /// As [`start`](Self::start), with rings in files in the directory `root`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_in_files<Req: FramedTransportFrame, Resp: FramedTransportFrame>(
        config: &RunnerMyelonTransportConfig,
        rank: usize,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        // the program may change its working directory before the thread runs
        let root = std::path::absolute(&root).unwrap_or_else(|_| root.as_ref().to_owned());
        Self::start_by(config, rank, move |config| {
            Worker::<Req, Resp, MappedFile>::start_in_files(config, rank, root)
        })
        .await
    }

    async fn start_by<Req: FramedTransportFrame, Resp: FramedTransportFrame, B: 'static>(
        config: &RunnerMyelonTransportConfig,
        rank: usize,
        start: impl FnOnce(&RunnerMyelonTransportConfig) -> TransportResult<Worker<Req, Resp, B>>
        + Send
        + 'static,
    ) -> TransportResult<Self> {
        let stop = CancelToken::new();
        let config = config.clone().with_cancel_token(&stop);
        let (bell, heard) =
            Bell::new(config.liveness_interval()).map_err(|error| RecvError::System {
                what: format!("a ring on the heap for worker {rank}: {error}"),
            })?;
        let (to_thread, orders) = mpsc::channel();
        let (told, has_started) = oneshot::channel();
        let mut worker = Self {
            orders: Orders {
                to_thread,
                bell: Arc::new(bell),
            },
            stop,
            rank,
            starts_anew: false,
            given_up: None,
            on_panic: OnHandlerPanic::default(),
        };
        let name = format!("worker {rank} of {}", config.session.escape_debug());
        let thread = thread::Builder::new().name(name);
        let spawned = thread.spawn(move || match start(&config) {
            Ok(worker) => {
                // whoever has started it may have gone; then there are no orders
                let _ = told.send(Ok(worker.starts_anew()));
                let (requests, responses) = worker.split();
                let hands = Hands {
                    requests,
                    responses,
                    orders,
                    heard,
                    untold: None,
                };
                hands.run();
            }
            Err(error) => {
                let _ = told.send(Err(error));
            }
        });
        spawned.map_err(|error| RecvError::System {
            what: format!("a thread for worker {rank}: {error}"),
        })?;
        worker.starts_anew = has_started.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(worker)
    }

    /// The scheduler's next request. Cancel-safe: a future that is dropped takes no request along, and none counts as
    /// delivered to it.
    ///
    /// # Errors
    ///
    /// As [`Worker::recv`].
    pub async fn recv(&mut self) -> TransportResult<AsyncRequest<'_>> {
        self.orders.next().await
    }

    /// Sends a message to the scheduler that answers no request: see [`Worker::respond`]. Waits for space.
    ///
    /// # Errors
    ///
    /// As [`Worker::respond`].
    pub async fn respond(&mut self, message: impl Into<Vec<u8>>, kind: u8) -> TransportResult<()> {
        let message = message.into();
        self.orders
            .ask(|told| Order::Respond(message, kind, told))
            .await
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether a worker of this rank had left, or was removed: see [`Worker::starts_anew`].
    pub fn starts_anew(&self) -> bool {
        self.starts_anew
    }

    /// Ends this worker for good: see [`Worker::leave`].
    ///
    /// # Errors
    ///
    /// As [`Worker::leave`].
    pub async fn leave(self) -> TransportResult<()> {
        if self.orders.bell.is_forked() {
            return Err(RecvError::Forked.into());
        }
        self.stop.cancel();
        self.orders.ask(Order::Leave).await
    }
}

impl Drop for AsyncWorker {
    fn drop(&mut self) {
        if !self.orders.bell.is_forked() {
            // the thread finds that there are no orders any more
            self.stop.cancel();
        }
    }
}

impl AsyncRequest<'_> {
    /// The number of this request.
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub fn id(&self) -> RequestId {
        self.request.id
    }

    /// The kind of the message; the program chooses its meaning.
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub fn kind(&self) -> u8 {
        self.request.kind
    }

    /// Which delivery of this request this is, from 1: see [`Request::delivery`](crate::Request::delivery).
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub fn delivery(&self) -> u32 {
        self.request.delivery
    }

    /// What the request carries.
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub fn bytes(&self) -> &[u8] {
        &self.request.bytes
    }

    /// The value that the request carries.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, AsyncWorker, Deadline, RunnerMyelonTransportConfig, Scheduler};
    /// use myelon::KindTable;
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// # let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
    /// let mut sum = scheduler.call_streaming(0, Bincode((2_u32, 3_u32)).encode()?, 1);
    /// let mut stop = scheduler.call_streaming(0, Bincode(String::from("stop")).encode()?, 2);
    ///
    /// let mut request = worker.recv().await?;
    /// let Bincode((left, right)) = request.decode::<Bincode<(u32, u32)>>()?;
    /// request.send_value(&Bincode(left + right), 1).await?;
    /// request.finish_value(&Bincode(left * right), 1).await?;
    /// let mut texts = Vec::new();
    /// let mut table = KindTable::new().on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
    /// let request = worker.recv().await?;
    /// request.dispatch(&mut table)?;
    /// request.finish(&b""[..], 2).await?;
    /// drop(table);
    /// assert_eq!(texts, ["stop"]);
    ///
    /// let piece = sum.next().await.expect("the sum")?;
    /// assert_eq!(piece.decode::<Bincode<u32>>()?, Bincode(5));
    /// let mut numbers = Vec::new();
    /// let mut table = KindTable::new().on(1, |Bincode(number): Bincode<u32>| numbers.push(number))?;
    /// sum.next().await.expect("the product")?.dispatch(&mut table)?;
    /// drop(table);
    /// assert_eq!(numbers, [6]);
    /// # stop.next().await.expect("the end")?;
    /// # worker.leave().await?;
    /// # scheduler.shutdown(Deadline::NEVER).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<T: Codec>(&self) -> Result<T, DecodeError> {
        DecodeError::of(self.kind(), self.bytes(), T::decode)
    }

    /// Hands the value that the request carries to the table's handler for the request's kind.
    ///
    /// # Errors
    ///
    /// As [`Request::dispatch`](crate::Request::dispatch).
    ///
    /// # Examples
    ///
    /// See [`decode`](Self::decode).
    pub fn dispatch(&self, table: &mut KindTable<'_>) -> Result<(), TypedRecvError> {
        table.dispatch(self.kind(), self.bytes())
    }

    /// As [`send`](Self::send), but sends a value.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`TypedPublishError::Encode`].
    ///
    /// # Examples
    ///
    /// See [`decode`](Self::decode).
    pub async fn send_value<T: Codec>(
        &mut self,
        piece: &T,
        kind: u8,
    ) -> Result<(), TypedPublishError> {
        Ok(self.piece(encoded(piece, kind)?, kind, false).await?)
    }

    /// As [`finish`](Self::finish), but sends a value.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish); [`TypedPublishError::Encode`]: the request is delivered again.
    ///
    /// # Examples
    ///
    /// See [`decode`](Self::decode).
    pub async fn finish_value<T: Codec>(
        self,
        piece: &T,
        kind: u8,
    ) -> Result<(), TypedPublishError> {
        Ok(self.finish(encoded(piece, kind)?, kind).await?)
    }

    /// Takes the bytes out.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.request.bytes)
    }

    /// Sends the next piece of the answer. Waits for space. If the future is dropped, the piece may have been sent.
    ///
    /// # Errors
    ///
    /// As [`Reply::send`](super::super::Reply::send).
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub async fn send(&mut self, piece: impl Into<Vec<u8>>, kind: u8) -> TransportResult<()> {
        self.piece(piece.into(), kind, false).await
    }

    /// Sends the last piece of the answer: the request is done. Waits for space.
    ///
    /// # Errors
    ///
    /// As [`Reply::finish`](super::super::Reply::finish): the request is delivered again, unless the scheduler has
    /// closed the session.
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub async fn finish(mut self, piece: impl Into<Vec<u8>>, kind: u8) -> TransportResult<()> {
        self.piece(piece.into(), kind, true).await?;
        self.is_done = true;
        Ok(())
    }

    /// Gives the request up, which is done then: see [`ResponseSender::give_up`](crate::ResponseSender::give_up).
    ///
    /// # Errors
    ///
    /// As [`ResponseSender::give_up`](crate::ResponseSender::give_up): the request is delivered again, unless the scheduler has closed the session.
    ///
    /// # Examples
    ///
    /// See [`AsyncWorker`].
    pub async fn give_up(mut self) -> TransportResult<()> {
        self.orders.ask(Order::GiveUp).await?;
        self.is_done = true;
        Ok(())
    }

    async fn piece(&mut self, bytes: Vec<u8>, kind: u8, is_last: bool) -> TransportResult<()> {
        let order = |told| Order::Piece {
            bytes,
            kind,
            is_last,
            told,
        };
        self.orders.ask(order).await
    }
}

/// A value as a message of this kind.
pub(super) fn encoded<T: Codec>(value: &T, kind: u8) -> Result<Vec<u8>, TypedPublishError> {
    let bytes = value.encode();
    bytes.map_err(|source| TypedPublishError::Encode { kind, source })
}

impl Drop for AsyncRequest<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // without a thread, the request is with the worker's places
            let _ = self.orders.give(Order::Return);
        }
    }
}

impl Orders {
    fn give(&self, order: Order) -> TransportResult<()> {
        if self.bell.is_forked() {
            return Err(RecvError::Forked.into());
        }
        self.to_thread.send(order).map_err(|_| gone())?;
        self.bell.ring();
        Ok(())
    }

    /// The next request. The caller lets it borrow the worker.
    pub(super) async fn next(&self) -> TransportResult<AsyncRequest<'static>> {
        let (handed, is_handed) = oneshot::channel();
        self.give(Order::Next(handed))?;
        let request = is_handed.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(AsyncRequest {
            request,
            orders: self.clone(),
            is_done: false,
            worker: PhantomData,
        })
    }

    /// Gives an order, and waits until it is carried out.
    async fn ask(&self, order: impl FnOnce(Told) -> Order) -> TransportResult<()> {
        let (told, is_done) = oneshot::channel();
        self.give(order(told))?;
        is_done.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The error for a thread that has ended: it has panicked, or was told to leave.
fn gone() -> TransportError {
    TransportError::Recv(RecvError::Cancelled)
}
