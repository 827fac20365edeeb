//! A scheduler that tasks share.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use disruptor_mp::{CloseReport, Consumer, Deadline, Heap, RecvError, SendError};
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use super::super::head::RequestId;
use super::super::received::Response;
use super::super::scheduler::{Awaits, Scheduler, WorkerState};
use super::bell::{Bell, silence};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// The first pause before the thread tries again to send what has found no space, unless an answer comes.
const UNTIL_IT_TRIES_AGAIN: Duration = Duration::from_millis(1);

/// How often the pause is doubled.
const LONGER_PAUSES_MAX: u32 = 5;

/// How long the first attempt to send a message of several runs may take. Meanwhile no answers are taken in.
const FIRST_RUNS: Duration = Duration::from_millis(10);

/// How often that time is doubled.
const LONGER_RUNS_MAX: u32 = 6;

/// After an attempt in vain that has taken a time, the message is not tried again for this many times as long: other
/// calls go on meanwhile.
const PAUSE_PER_RUNS: u32 = 8;

/// How many answers are taken in before orders are looked at again.
const ANSWERS_AT_ONCE: usize = 256;

/// A piece of an answer: a copy.
///
/// # Examples
///
/// See [`AsyncScheduler`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// The worker that has sent it.
    pub rank: usize,
    /// The request that it answers. `None` if the worker has sent it by itself.
    pub request: Option<RequestId>,
    /// The number of the piece within its answer, from 0: see [`Response::piece`].
    pub number: u32,
    /// The kind of the message; the program chooses its meaning.
    pub kind: u8,
    /// What it carries.
    pub bytes: Vec<u8>,
    /// Whether the answer is complete with this piece.
    pub is_last: bool,
    /// Whether the worker has given the request up: see [`Response::is_given_up`].
    pub is_given_up: bool,
}

/// A stream of pieces: of the answers to one request, in the order in which they come, or, from
/// [`unasked`](AsyncScheduler::unasked), of messages that answer none. It ends after the last piece of each answer, or
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
/// up to 640 ms while a message of more than half a ring is being sent. No task waits for the answers to a
/// predecessor's requests, which [`Scheduler::resume`] receives: they are dropped.
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
/// # let working = tokio::spawn(async move {
/// #     let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
/// #     while let Ok(mut request) = worker.recv().await {
/// #         request.send(&b"two"[..], 1).await?;
/// #         request.finish(&b"words"[..], 1).await?;
/// #     }
/// #     worker.leave().await
/// # });
/// // any number of tasks may do this at once
/// let mut pieces: Pieces = scheduler.call_streaming(0, &b"prompt"[..], 1);
/// let mut text = String::new();
/// while let Some(piece) = pieces.next().await {
///     let piece: Piece = piece?;
///     text += std::str::from_utf8(&piece.bytes)?;
/// }
/// assert_eq!(text, "twowords");
/// let first = scheduler.call(0, &b"prompt"[..], 1).await?;
/// assert_eq!((first.rank, first.number, first.is_last), (0, 0, false));
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
    inbox: Arc<Inbox>,
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
    State(oneshot::Sender<Vec<WorkerState>>),
    Shutdown {
        deadline: Deadline,
        report: oneshot::Sender<TransportResult<CloseReport>>,
    },
}

/// A request that was not sent yet.
#[derive(Debug)]
struct Outgoing {
    /// The worker, or all.
    to: Option<usize>,
    message: Vec<u8>,
    kind: u8,
    listener: Listener,
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
        let name = format!("session {}", scheduler.label().escape_debug());
        let desk = Desk {
            scheduler,
            inbox: Arc::clone(&inbox),
            heard,
            waiting: VecDeque::new(),
            pauses: 0,
            under_way: HashMap::new(),
            unasked: None,
            next_look: Instant::now(),
        };
        // made before the thread: if there is no thread, dropping it does no harm
        let handle = Self(Arc::new(Handle {
            inbox,
            thread: OnceLock::new(),
        }));
        let thread = thread::Builder::new().name(name);
        let thread = thread.spawn(move || desk.run())?;
        // it is empty until now
        let _ = handle.0.thread.set(thread);
        Ok(handle)
    }

    /// Sends a request to the worker `rank`, and returns the first piece of its answer. Its further pieces are dropped:
    /// [`call_streaming`](Self::call_streaming) has them all. If the future is dropped, the request is sent all the same,
    /// and its answer is dropped.
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
        first.unwrap_or(Err(TransportError::SessionClosed))
    }

    /// Sends a request to the worker `rank`, and returns the pieces of its answer as they come. If the pieces are
    /// dropped, the request is sent all the same. Returns at once: requests that find no space are kept in memory,
    /// without a limit, and errors come as items of the stream.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub fn call_streaming(&self, rank: usize, message: impl Into<Vec<u8>>, kind: u8) -> Pieces {
        self.send(Some(rank), message.into(), kind)
    }

    /// Sends a request to all workers, and returns the pieces of their answers as they come, those of all workers in
    /// one stream. For a worker that has left or was removed, [`TransportError::WorkerGone`] comes. A worker that has
    /// not come is waited for without a limit, and for one that is away [`OnWorkerDeath`](super::super::OnWorkerDeath)
    /// decides. Dropping the stream ends the wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// # let workers = [0, 1].map(|rank| {
    /// #     let mut worker = Worker::<FixedFrame<256>>::start(&config, rank).unwrap();
    /// #     std::thread::spawn(move || {
    /// #         worker.serve(Deadline::NEVER, |_, _| [rank as u8 + 10]).unwrap();
    /// #         worker.leave().unwrap();
    /// #     })
    /// # });
    /// let mut sum = 0;
    /// let mut answers = scheduler.gather(&b"how many?"[..], 1);
    /// while let Some(answer) = answers.next().await {
    ///     sum += answer?.bytes[0];
    /// }
    /// assert_eq!(sum, 21);
    /// # for worker in workers { worker.join().unwrap(); }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gather(&self, message: impl Into<Vec<u8>>, kind: u8) -> Pieces {
        self.send(None, message.into(), kind)
    }

    fn send(&self, to: Option<usize>, message: Vec<u8>, kind: u8) -> Pieces {
        let (listener, pieces) = mpsc::unbounded_channel();
        self.0.inbox.order(Order::Send(Outgoing {
            to,
            message,
            kind,
            listener,
            attempts: 0,
            not_before: None,
        }));
        Pieces(pieces)
    }

    /// The messages that workers send by themselves, from now on. Only the stream that was asked for last gets them;
    /// while there is none, they are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// let mut news = scheduler.unasked();
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.respond(b"ready", 1, Deadline::NEVER)?;
    /// let first = news.next().await.expect("the session is open")?;
    /// assert_eq!((first.rank, &*first.bytes), (0, &b"ready"[..]));
    /// # worker.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unasked(&self) -> Pieces {
        let (listener, pieces) = mpsc::unbounded_channel();
        self.0.inbox.order(Order::HearUnasked(listener));
        Pieces(pieces)
    }

    /// Each worker as the scheduler sees it now: see [`Scheduler::state`]. Requests that wait in memory for space are
    /// not among those in flight. Empty after the end of the session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, AsyncWorker, Deadline, RunnerMyelonTransportConfig, Scheduler};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// let answer = scheduler.call_streaming(0, &b"prompt"[..], 1);
    /// let states = scheduler.state().await;
    /// assert_eq!((states[0].is_attached, states[0].in_flight), (false, 1)); // worker 0 has not come
    /// # let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
    /// # worker.recv().await?.finish(&b""[..], 1).await?;
    /// # worker.leave().await?;
    /// # drop(answer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    pub async fn shutdown(self, deadline: Deadline) -> TransportResult<CloseReport> {
        let (report, reported) = oneshot::channel();
        self.0.inbox.order(Order::Shutdown { deadline, report });
        reported.await.unwrap_or(Err(TransportError::SessionClosed))
    }
}

/// The thread that has the rings.
struct Desk<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> {
    scheduler: Scheduler<Req, Resp, B>,
    inbox: Arc<Inbox>,
    /// The bell.
    heard: Consumer<u64, Heap>,
    /// What has found no space, in the order in which it was asked for.
    waiting: VecDeque<Outgoing>,
    /// How often it has waited for space since something was sent.
    pauses: u32,
    under_way: UnderWay,
    unasked: Option<Listener>,
    /// When it asks next what the absence of a worker means.
    next_look: Instant,
}

/// The requests that were sent and not answered, by worker.
type UnderWay = HashMap<(usize, RequestId), Listener>;

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Desk<Req, Resp, B> {
    fn run(mut self) {
        /// No order is taken any more when the thread ends, however it ends.
        struct Closing(Arc<Inbox>);
        impl Drop for Closing {
            fn drop(&mut self) {
                drop(self.0.close());
            }
        }
        let closing = Closing(Arc::clone(&self.inbox));
        let shutdown = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(End::Over)) => break None,
                Ok(Some(End::Shutdown(deadline, report))) => break Some((deadline, report)),
                Err(error) => self.fail_all(&error),
            }
        };
        drop(closing);
        self.waiting.clear();
        let Self {
            scheduler,
            inbox,
            mut under_way,
            mut unasked,
            ..
        } = self;
        if let Some((deadline, report)) = shutdown {
            let take = |rank, response: Response<'_, Resp, B>| {
                deliver(&mut under_way, &mut unasked, rank, &response);
            };
            let is_over = || inbox.state().is_over;
            let ended = scheduler.shutdown_unless(deadline, take, is_over);
            // whoever has asked may have gone
            let _ = report.send(ended);
        }
    }

    /// Does what there is to do, and then waits.
    fn turn(&mut self) -> TransportResult<Option<End>> {
        silence(&mut self.heard);
        let end = self.take_orders();
        // what was asked for before the end is sent before the end, if there is space
        self.send_waiting(end.is_some());
        if end.is_some() {
            return Ok(end);
        }
        let mut taken = 0;
        let now = Deadline::after(Duration::ZERO);
        while taken < ANSWERS_AT_ONCE {
            match self.scheduler.recv_any(now) {
                Ok((rank, response)) => {
                    deliver(&mut self.under_way, &mut self.unasked, rank, &response);
                    taken += 1;
                }
                Err(TransportError::Recv(RecvError::Timeout)) => break,
                Err(error) => return Err(error),
            }
        }
        let interval = self.scheduler.liveness_interval();
        let is_idle = self.waiting.is_empty() && self.under_way.is_empty();
        if !is_idle && self.next_look <= Instant::now() {
            self.next_look = Instant::now() + interval;
            self.look_for_deaths();
        }
        if taken == 0 {
            let until = match (self.waiting.is_empty(), is_idle) {
                (false, _) => {
                    let longer = 1 << self.pauses.min(LONGER_PAUSES_MAX);
                    self.pauses += 1;
                    Deadline::after(UNTIL_IT_TRIES_AGAIN.saturating_mul(longer).min(interval))
                }
                (true, false) => Deadline::after(interval),
                (true, true) => Deadline::NEVER,
            };
            self.scheduler.sleep_beside(&self.heard, until)?;
        }
        Ok(None)
    }

    fn take_orders(&mut self) -> Option<End> {
        loop {
            let (order, is_over) = {
                let mut state = self.inbox.state();
                (state.orders.pop_front(), state.is_over)
            };
            match order {
                Some(Order::Send(outgoing)) => self.waiting.push_back(outgoing),
                Some(Order::HearUnasked(listener)) => self.unasked = Some(listener),
                Some(Order::State(told)) => {
                    self.send_waiting(false);
                    // whoever has asked may have gone
                    let _ = told.send(self.scheduler.state());
                }
                Some(Order::Shutdown { deadline, report }) => {
                    return Some(End::Shutdown(deadline, report));
                }
                None if is_over => return Some(End::Over),
                None => return None,
            }
        }
    }

    /// Sends what finds space. Requests to one worker keep their order, and nothing overtakes a request to all. At the
    /// end it waits for nobody.
    fn send_waiting(&mut self, is_end: bool) {
        // bit i: worker i has a request that waits
        let mut full = 0_u64;
        let mut left = VecDeque::new();
        while let Some(mut outgoing) = self.waiting.pop_front() {
            let has_to_wait = match outgoing.to {
                None => full != 0,
                Some(rank) => rank < 64 && full & 1 << rank != 0,
            };
            let is_early = outgoing
                .not_before
                .is_some_and(|instant| Instant::now() < instant);
            if !has_to_wait && !is_early && self.try_send(&mut outgoing, is_end) {
                self.pauses = 0;
                continue;
            }
            full |= match outgoing.to {
                None => u64::MAX,
                Some(rank) => 1 << rank,
            };
            left.push_back(outgoing);
        }
        self.waiting = left;
    }

    /// Whether there is nothing left to do for this request: it was sent, or cannot be.
    fn try_send(&mut self, outgoing: &mut Outgoing, is_end: bool) -> bool {
        let patience = match self.scheduler.takes_runs(outgoing.message.len()) {
            _ if is_end => Duration::ZERO,
            false => Duration::ZERO,
            // its parts are lost if it is not sent as a whole, and meanwhile no answers are taken in
            true => FIRST_RUNS.saturating_mul(1 << outgoing.attempts.min(LONGER_RUNS_MAX)),
        };
        outgoing.attempts = outgoing.attempts.saturating_add(1);
        let (message, kind, deadline) =
            (&outgoing.message, outgoing.kind, Deadline::after(patience));
        let ranks = match outgoing.to {
            None => 0..self.scheduler.workers(),
            Some(_) => 0..0,
        };
        // those that come after the request was sent do not see it
        let gone: Vec<_> = ranks
            .filter(|rank| !self.scheduler.is_kept_for(*rank))
            .collect();
        let sent = match outgoing.to {
            None => self.scheduler.broadcast(message, kind, deadline),
            Some(rank) => self.scheduler.send_to(rank, message, kind, deadline),
        };
        let listener = &outgoing.listener;
        match (sent, outgoing.to) {
            (Err(TransportError::Send(SendError::Timeout { .. })), _) => {
                let pause = patience.saturating_mul(PAUSE_PER_RUNS);
                outgoing.not_before = (!pause.is_zero()).then(|| Instant::now() + pause);
                return false;
            }
            (Err(error), _) => tell(listener, Err(error)),
            (Ok(id), Some(rank)) => {
                self.under_way.insert((rank, id), listener.clone());
            }
            (Ok(id), None) => {
                for rank in 0..self.scheduler.workers() {
                    if gone.contains(&rank) {
                        let request = Some(id);
                        tell(listener, Err(TransportError::WorkerGone { rank, request }));
                    } else {
                        self.under_way.insert((rank, id), listener.clone());
                    }
                }
            }
        }
        true
    }

    /// Ends what waits for a worker that is gone, or whose death means an end.
    fn look_for_deaths(&mut self) {
        // nobody listens any more: the answer is dropped when it comes
        self.under_way.retain(|_, listener| !listener.is_closed());
        let mut ranks: Vec<_> = self.under_way.keys().map(|(rank, _)| *rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for rank in ranks {
            let Some(request) = self.under_way.keys().find(|(of, _)| *of == rank) else {
                continue;
            };
            let request = request.1;
            let Err(error) = self.scheduler.go_on_waiting_for(rank, request) else {
                continue;
            };
            // it may have answered before it went, in a ring that was not attached
            self.take_in_what_is_there();
            let ended: Vec<_> = self
                .under_way
                .extract_if(|(of, _), _| *of == rank)
                .collect();
            for ((rank, id), listener) in ended {
                let request = Some(id);
                let error = match error {
                    TransportError::WorkerDied { is_removed, .. } => TransportError::WorkerDied {
                        rank,
                        request,
                        is_removed,
                    },
                    TransportError::WorkerGone { .. } => {
                        TransportError::WorkerGone { rank, request }
                    }
                    _ => again(&error).into(),
                };
                tell(&listener, Err(error));
            }
        }
        let mut places: Vec<_> = self.waiting.iter().map(|outgoing| outgoing.to).collect();
        places.sort_unstable();
        places.dedup();
        for only in places {
            let Err(TransportError::WorkerDied {
                rank, is_removed, ..
            }) = self.scheduler.look_for_deaths(Awaits::Space { only })
            else {
                continue;
            };
            for outgoing in self.waiting.iter().filter(|outgoing| outgoing.to == only) {
                let request = None;
                let error = TransportError::WorkerDied {
                    rank,
                    request,
                    is_removed,
                };
                tell(&outgoing.listener, Err(error));
            }
            self.waiting.retain(|outgoing| outgoing.to != only);
        }
    }

    fn take_in_what_is_there(&mut self) {
        let now = Deadline::after(Duration::ZERO);
        self.scheduler.look_for_workers_now();
        for _ in 0..self.scheduler.answers_max() {
            let Ok((rank, response)) = self.scheduler.recv_any(now) else {
                return;
            };
            deliver(&mut self.under_way, &mut self.unasked, rank, &response);
        }
    }

    /// The rings cannot be used, or the program's token is cancelled: ends all that waits, and waits for orders.
    fn fail_all(&mut self, error: &TransportError) {
        if let TransportError::Recv(error @ RecvError::InDoubt { .. }) = error {
            // told once; what is certain goes on
            tracing::warn!(
                session = self.scheduler.label(),
                "of one worker's answers: {error}"
            );
            return;
        }
        let is_final = matches!(
            error,
            TransportError::Recv(RecvError::Cancelled | RecvError::Forked | RecvError::LockLost)
        );
        let waiting = self.waiting.drain(..).map(|outgoing| outgoing.listener);
        let under_way = self.under_way.drain().map(|(_, listener)| listener);
        let unasked = self.unasked.take_if(|_| is_final);
        for listener in waiting.chain(under_way).chain(unasked) {
            tell(&listener, Err(again(error).into()));
        }
        let until = match is_final {
            true => Deadline::NEVER,
            // a ring that does not fit may go
            false => Deadline::after(self.scheduler.liveness_interval()),
        };
        let _ = self.heard.recv(until).map(drop);
    }
}

/// The same error, for one more listener.
fn again(error: &TransportError) -> RecvError {
    match error {
        TransportError::Recv(error) => error.clone(),
        error => RecvError::System {
            what: error.to_string(),
        },
    }
}

/// How the thread ends.
enum End {
    /// No handle is left: the scheduler is dropped.
    Over,
    Shutdown(Deadline, oneshot::Sender<TransportResult<CloseReport>>),
}

/// Whoever has asked may have gone.
fn tell(listener: &Listener, what: TransportResult<Piece>) {
    let _ = listener.send(what);
}

/// Copies a piece for whoever waits for it.
fn deliver<F: FramedTransportFrame, B>(
    under_way: &mut UnderWay,
    unasked: &mut Option<Listener>,
    rank: usize,
    response: &Response<'_, F, B>,
) {
    let piece = || Piece {
        rank,
        request: response.request(),
        number: response.piece(),
        kind: response.kind(),
        bytes: response.to_vec(),
        is_last: response.is_last(),
        is_given_up: response.is_given_up(),
    };
    let Some(request) = response.request() else {
        if let Some(listener) = unasked
            && listener.send(Ok(piece())).is_err()
        {
            *unasked = None;
        }
        return;
    };
    let Some(listener) = under_way.get(&(rank, request)) else {
        return;
    };
    if listener.send(Ok(piece())).is_err() || response.is_last() {
        under_way.remove(&(rank, request));
    }
}
