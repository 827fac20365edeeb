//! A scheduler that tasks share. [`desk`] is the thread that has its rings.

mod desk;
mod gathering;
mod limits;
mod unclaimed;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Instant;

#[cfg(doc)]
use disruptor_mp::RecvError;
use disruptor_mp::{CancelToken, Deadline};
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use desk::Desk;

use super::super::received::Piece;
use super::super::scheduler::{Scheduler, ShutdownReport, WorkerState};
use super::bell::Bell;
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// A stream of pieces: of the answers to one request, in the order in which they come; from
/// [`unasked`](AsyncScheduler::unasked), of messages that answer none; or, from [`earlier`](AsyncScheduler::earlier), of
/// the answers to earlier requests. It ends after the last piece of each answer, or
/// early when the session is shut down: [`Piece::is_last`] tells. Pieces that were not taken yet are kept in memory,
/// without a limit. Dropping it drops the pieces that are still to come, and the worker completes the request all the
/// same.
///
/// # Examples
///
/// See [`AsyncScheduler`].
#[derive(Debug)]
#[must_use = "it has the answer"]
pub struct Pieces(mpsc::UnboundedReceiver<TransportResult<Piece>>);

impl Pieces {
    /// The next piece. `None` after the last one, and if the session was shut down before. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`TransportError::WorkerGone`] and [`TransportError::WorkerDied`] end the answer of this worker alone, and
    /// errors of sending this request. [`RecvError::Cancelled`], and [`RecvError::System`] for a ring that does not
    /// fit, end the calls of all tasks.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub async fn next(&mut self) -> Option<TransportResult<Piece>> {
        self.0.recv().await
    }
}

impl Stream for Pieces {
    type Item = TransportResult<Piece>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Where the pieces of an answer go.
type Listener = mpsc::UnboundedSender<TransportResult<Piece>>;

/// A [`Scheduler`] for tasks. Clones are the same scheduler. Dropping the last one closes the session, as dropping a
/// [`Scheduler`] does, and ends a shutdown that goes on. It blocks until the thread has ended: a few milliseconds, or
/// up to 640 ms while a message of more than half a ring is being sent.
///
/// After the end, and in a forked child, no request is sent: `call` and `shutdown` return
/// [`SessionClosed`](TransportError::SessionClosed), streams and the state are empty.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{AsyncScheduler, AsyncWorker, Deadline, Piece, Pieces, RunnerMyelonTransportConfig, Scheduler};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
/// let mut news = scheduler.unasked();
/// # let working = tokio::spawn(async move {
/// #     let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
/// #     worker.respond(&b"ready"[..], 1).await?;
/// #     while let Ok(mut request) = worker.recv().await {
/// #         request.send(&b"two"[..], 1).await?;
/// #         request.finish(&b"words"[..], 1).await?;
/// #     }
/// #     worker.leave().await
/// # });
/// assert_eq!(news.next().await.expect("the session is open")?.bytes, b"ready");
///
/// // any number of tasks may do this at once
/// let mut pieces: Pieces = scheduler.call_streaming(0, &b"prompt"[..], 1); // of all workers: gather_streaming()
/// let mut text = String::new();
/// while let Some(piece) = pieces.next().await {
///     let piece: Piece = piece?;
///     text += std::str::from_utf8(&piece.bytes)?;
/// }
/// assert_eq!(text, "twowords");
/// let first = scheduler.call(0, &b"prompt"[..], 1).await?;
/// assert_eq!((first.rank, first.number, first.is_last), (0, 0, false));
/// assert!(scheduler.state().await[0].is_attached);
/// let mut words = scheduler.gather_streaming(&b"to all"[..], 1);
/// assert_eq!(words.next().await.expect("an answer")?.bytes, b"two");
/// let mut answers = Vec::new();
/// let found = scheduler.gather(&b"to all"[..], 1, Deadline::NEVER, |piece| answers.push(piece)).await?;
/// assert_eq!((answers.len(), found.missing), (1, vec![]));
/// let report = scheduler.shutdown(Deadline::NEVER).await?;
/// assert!(report.kept_for.is_empty());
/// # working.await??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AsyncScheduler(Arc<Handle>);

/// Shared by the clones; dropping it ends the thread, and waits until that has closed the session.
#[derive(Debug)]
struct Handle {
    /// The session's label.
    session: String,
    inbox: Arc<Inbox>,
    workers: usize,
    thread: OnceLock<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if self.inbox.bell.is_forked() {
            core::mem::forget(thread);
            return;
        }
        self.inbox.state().is_over = true;
        self.inbox.bell.ring();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Inbox {
    state: Mutex<State>,
    /// Wakes the thread.
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    /// Nobody is left who could give orders.
    is_over: bool,
    /// No order is taken any more.
    is_closed: bool,
}

#[derive(Debug)]
enum Order {
    Send(Outgoing),
    HearUnasked(Listener),
    HearEarlier(Listener),
    State(oneshot::Sender<Vec<WorkerState>>),
    Shutdown(Shutdown),
}

/// The session is to be shut down.
#[derive(Debug)]
struct Shutdown {
    deadline: Deadline,
    /// Ends it before the deadline.
    token: CancelToken,
    report: oneshot::Sender<TransportResult<ShutdownReport>>,
}

/// A request that was not sent yet.
#[derive(Debug)]
struct Outgoing {
    /// The worker, or all.
    to: Option<usize>,
    message: Vec<u8>,
    kind: u8,
    listener: Listener,
    /// Until when it waits for space and for answers.
    deadline: Deadline,
    attempts: u32,
    /// A message of several runs was tried in vain, and is not tried again before this.
    not_before: Option<Instant>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the order if no order is taken any more.
    fn order(&self, order: Order) {
        if self.bell.is_forked() {
            return;
        }
        {
            let mut state = self.state();
            if state.is_closed {
                return;
            }
            state.orders.push_back(order);
        }
        self.bell.ring();
    }

    /// From now on orders are dropped. Returns those that are left.
    fn close(&self) -> VecDeque<Order> {
        let mut state = self.state();
        state.is_closed = true;
        core::mem::take(&mut state.orders)
    }
}

impl AsyncScheduler {
    /// Hands the scheduler to a thread of its own, which waits for all rings of the session.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread. The scheduler is then dropped, and the session is closed.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub fn new<Req, Resp, B>(scheduler: Scheduler<Req, Resp, B>) -> io::Result<Self>
    where
        Req: FramedTransportFrame,
        Resp: FramedTransportFrame,
        B: 'static,
        Scheduler<Req, Resp, B>: Send,
    {
        let (bell, heard) = Bell::new(scheduler.liveness_interval())?;
        let inbox = Arc::new(Inbox {
            state: Mutex::default(),
            bell,
        });
        let session = scheduler.label().to_owned();
        let name = format!("session {}", session.escape_debug());
        let workers = scheduler.workers();
        let desk = Desk::new(scheduler, Arc::clone(&inbox), heard);
        // made before the thread: if there is no thread, dropping it does no harm
        let handle = Self(Arc::new(Handle {
            session,
            inbox,
            workers,
            thread: OnceLock::new(),
        }));
        let thread = thread::Builder::new().name(name);
        let thread = thread.spawn(move || desk.run())?;
        // it is empty until now
        let _ = handle.0.thread.set(thread);
        Ok(handle)
    }

    /// Sends a request to the worker `rank`, and returns the first piece of its answer. Its further pieces are
    /// dropped: [`call_streaming`](Self::call_streaming) has them all. If the future is dropped, the request is sent
    /// all the same, and its answer is dropped.
    ///
    /// # Errors
    ///
    /// As [`Pieces::next`]; [`TransportError::SessionClosed`] if the session was shut down before the answer came.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub async fn call(
        &self,
        rank: usize,
        message: impl Into<Vec<u8>>,
        kind: u8,
    ) -> TransportResult<Piece> {
        let mut pieces = self.call_streaming(rank, message, kind);
        let first = pieces.next().await;
        first.unwrap_or_else(|| Err(self.closed()))
    }

    /// Sends a request to the worker `rank`, and returns the pieces of its answer as they come. If the pieces are
    /// dropped, the request is sent all the same. Returns at once: requests that find no space are kept in memory,
    /// without a limit, and errors come as items of the stream.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub fn call_streaming(&self, rank: usize, message: impl Into<Vec<u8>>, kind: u8) -> Pieces {
        self.send(Some(rank), message.into(), kind, Deadline::NEVER)
    }

    /// Sends a request to all workers, and returns the pieces of their answers as they come, those of all workers in
    /// one stream. For a worker that has left or was removed, [`TransportError::WorkerGone`] comes. A worker that has
    /// not come is waited for without a limit, and for one that is away [`OnWorkerDeath`](super::super::OnWorkerDeath)
    /// decides. Dropping the stream ends the wait; [`gather`](Self::gather) has a deadline.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub fn gather_streaming(&self, message: impl Into<Vec<u8>>, kind: u8) -> Pieces {
        self.send(None, message.into(), kind, Deadline::NEVER)
    }

    fn closed(&self) -> TransportError {
        TransportError::SessionClosed {
            session: self.0.session.clone(),
        }
    }

    fn send(&self, to: Option<usize>, message: Vec<u8>, kind: u8, deadline: Deadline) -> Pieces {
        let (listener, pieces) = mpsc::unbounded_channel();
        self.0.inbox.order(Order::Send(Outgoing {
            to,
            message,
            kind,
            listener,
            deadline,
            attempts: 0,
            not_before: None,
        }));
        Pieces(pieces)
    }

    /// The messages that workers send by themselves, from now on. Only the stream that was asked for last gets them;
    /// while there is none, they are dropped.
    pub fn unasked(&self) -> Pieces {
        let (listener, pieces) = mpsc::unbounded_channel();
        self.0.inbox.order(Order::HearUnasked(listener));
        Pieces(pieces)
    }

    /// The answers to requests that were sent before [`new`](Self::new): those of a dead predecessor, if this scheduler
    /// was started by [`Scheduler::resume`], and those that it has sent itself. Only the stream that was asked for last
    /// gets them. While there is none, they are kept in memory for the next one, without a limit: so no answer is lost
    /// that was unread at the death of the predecessor.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut predecessor = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// # let sent = predecessor.send_to(0, b"prompt", 1, Deadline::NEVER)?;
    /// # let dies = std::thread::spawn(move || {
    /// #     let _predecessor = predecessor;
    /// #     std::panic::resume_unwind(Box::new(()));
    /// # });
    /// # assert!(dies.join().is_err());
    /// # worker.serve(Deadline::NEVER, |_kind, _prompt| b"answer")?;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// // the predecessor has died before it had received the answer
    /// let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::resume(&config)?)?;
    /// let mut earlier = scheduler.earlier();
    /// let piece = earlier.next().await.expect("the session is open")?;
    /// assert_eq!((piece.request, &*piece.bytes), (Some(sent), &b"answer"[..]));
    /// scheduler.shutdown(Deadline::NEVER).await?;
    /// assert!(earlier.next().await.is_none());
    /// # worker.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn earlier(&self) -> Pieces {
        let (listener, pieces) = mpsc::unbounded_channel();
        self.0.inbox.order(Order::HearEarlier(listener));
        Pieces(pieces)
    }

    /// Each worker as the scheduler sees it now: see [`Scheduler::state`]. Requests that wait in memory for space are
    /// not among those in flight. Empty after the end of the session.
    pub async fn state(&self) -> Vec<WorkerState> {
        let (told, states) = oneshot::channel();
        self.0.inbox.order(Order::State(told));
        states.await.unwrap_or_default()
    }

    /// Lets the workers finish what they have, and then closes the session: see [`Scheduler::shutdown`]. Requests that
    /// wait for space are sent if there is some at once, and are dropped otherwise; so are those that come from now on.
    /// Until the deadline, answers go where they were asked for.
    ///
    /// # Errors
    ///
    /// As [`Scheduler::shutdown`]. [`TransportError::SessionClosed`] if another clone shuts down.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub async fn shutdown(self, deadline: Deadline) -> TransportResult<ShutdownReport> {
        self.shutdown_unless(deadline, &CancelToken::new()).await
    }

    /// As [`shutdown`](Self::shutdown), and ends as at its deadline once `token` is cancelled: see
    /// [`Scheduler::shutdown_unless`].
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    ///
    /// # Examples
    ///
    /// See [`Scheduler::shutdown_unless`].
    pub async fn shutdown_unless(
        self,
        deadline: Deadline,
        token: &CancelToken,
    ) -> TransportResult<ShutdownReport> {
        let (report, reported) = oneshot::channel();
        self.0.inbox.order(Order::Shutdown(Shutdown {
            deadline,
            token: token.clone(),
            report,
        }));
        reported.await.unwrap_or_else(|_| Err(self.closed()))
    }
}
