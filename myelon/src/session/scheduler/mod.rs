//! The scheduler's side of a session.

mod receiver;
mod sender;
pub(super) mod state;

use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use disruptor_mp::RingMember;
use disruptor_mp::{
    CloseReport, DEFAULT_MAX_CONSUMERS, Deadline, MappedFile, MultiProcessError,
    MultiProcessResult, RecvError, SharedMemory, perform_sleep_wait,
};

use super::Places;
use super::config::{RunnerMyelonTransportConfig, WORKER_PREFIX};
#[cfg(feature = "tokio")]
use super::head::HEAD_BYTES;
use super::head::RequestId;
use super::in_place::RequestReservation;
use super::received::{Look, Response};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, TransportError,
    TransportResult,
};
use crate::typed_transport::{DecodeError, TypedProducer, TypedPublishError};

pub use receiver::ResponseReceiver;
pub use sender::{MissingWorker, RequestSender};
pub use state::WorkerState;

use receiver::{Answers, Found};
pub(super) use sender::Awaits;

/// The scheduler of a session: sends requests to all its [`Worker`](super::Worker)s or to one of them, and receives
/// their answers.
///
/// Requests travel in frames of the type `Req`, answers in frames of the type `Resp`. Without a second type both are
/// the same. Short answers to long requests take less memory in a type of their own:
/// `Scheduler::<AlignedFixedFrame<65536>, FixedFrame<112>>`. All members of a session name the same types.
///
/// # Examples
///
/// ```
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
///
/// # let session = myelon::portable_shm_segment_name("doc");
/// let config = RunnerMyelonTransportConfig::new(&session, 2);
/// // usually each member is a process of its own; they may start in any order
/// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let mut workers = [Worker::<FixedFrame<256>>::start(&config, 0)?, Worker::start(&config, 1)?];
///
/// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// for (rank, worker) in workers.iter_mut().enumerate() {
///     worker.serve(Deadline::NEVER, |_kind, _request| [rank as u8])?;
/// }
/// for _ in 0..2 {
///     let (rank, response) = scheduler.recv_any(Deadline::NEVER)?;
///     assert_eq!(*response, [rank as u8]);
/// }
/// assert!(scheduler.missing_workers().is_empty());
/// assert_eq!(scheduler.responses(1).map(|it| it.received().messages), Some(1));
/// println!("{:?}", scheduler.requests().counters());
/// # for worker in workers { worker.leave()?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scheduler<Req: FramedTransportFrame, Resp: FramedTransportFrame = Req, B = SharedMemory>
{
    // the first field, so that it is dropped first: the ring must be closed before the answers are given up
    sender: RequestSender<Req, B>,
    receiver: ResponseReceiver<Resp, B>,
}

/// What a [gathering](Scheduler::gather) has found.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, Gathered, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let soon = Deadline::after(Duration::from_millis(10));
/// let Gathered { request, missing, .. } = scheduler.gather(b"who?", 1, soon, |_rank, _answer| ())?;
/// assert_eq!(missing, [0], "it has not come");
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// # worker.serve(Deadline::NEVER, |_, _| b"late")?;
/// assert_eq!(&*scheduler.recv_answer(0, request, Deadline::NEVER)?, b"late");
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered {
    /// The number of the request.
    pub request: RequestId,
    /// The workers whose answers have not come, by rank.
    pub missing: Vec<usize>,
}

/// When a call that waits for a worker that is not there says so in the log.
const UNTIL_IT_SAYS_SO: Duration = Duration::from_secs(1);

/// How often a scheduler that shuts down polls once everything is done.
const POLLS_AT_THE_END: u32 = 3;

/// How often a scheduler that shuts down asks whether everything is done.
const UNTIL_IT_ASKS_AGAIN: Duration = Duration::from_millis(1);

/// Checks the number of workers. A ring has one line for each worker, and a `RingSet` can wait for as many
/// rings.
fn check_workers(workers: usize) -> TransportResult<()> {
    let limit = DEFAULT_MAX_CONSUMERS;
    match (1..=limit).contains(&workers) {
        true => Ok(()),
        false => Err(TransportError::WorkerCount { workers, limit }),
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Scheduler<Req, Resp> {
    /// Starts the scheduler: creates its ring, or takes over the ring that a dead predecessor left. The
    /// scheduler attaches to its workers' rings when these exist. Never waits.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`]. If a scheduler of this session is alive, the error names its pid.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{RunnerMyelonTransportConfig, Scheduler};
    ///
    /// # let session = myelon::portable_shm_segment_name("doc");
    /// let config = RunnerMyelonTransportConfig::new(&session, 2);
    /// let scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let second = Scheduler::<FixedFrame<256>>::start(&config).unwrap_err();
    /// assert!(second.to_string().contains(&std::process::id().to_string()));
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(config: &RunnerMyelonTransportConfig) -> TransportResult<Self> {
        Self::start_in(
            Places::in_shared_memory(config)?,
            Places::in_shared_memory(config)?,
            false,
        )
    }

    /// As [`start`](Self::start), and also receives the answers to a dead predecessor's requests that no process has
    /// received: all that are unread, whether the predecessor has received other pieces of them or not.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{RunnerMyelonTransportConfig, Scheduler};
    ///
    /// # let session = myelon::portable_shm_segment_name("doc");
    /// let config = RunnerMyelonTransportConfig::new(&session, 1);
    /// let scheduler = Scheduler::<FixedFrame<256>>::resume(&config)?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(config: &RunnerMyelonTransportConfig) -> TransportResult<Self> {
        Self::start_in(
            Places::in_shared_memory(config)?,
            Places::in_shared_memory(config)?,
            true,
        )
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Scheduler<Req, Resp, MappedFile> {
    /// As [`start`](Scheduler::start), with rings in files in the directory `root`.
    ///
    /// # Errors
    ///
    /// As [`start`](Scheduler::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{RunnerMyelonTransportConfig, Scheduler, Worker};
    ///
    /// # let root = tempfile::tempdir()?;
    /// # let root = root.path();
    /// let config = RunnerMyelonTransportConfig::new("a session", 1);
    /// let scheduler = Scheduler::<FixedFrame<256>, FixedFrame<256>, _>::start_in_files(&config, root)?;
    /// let worker = Worker::<FixedFrame<256>, FixedFrame<256>, _>::start_in_files(&config, 0, root)?;
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_in_files(
        config: &RunnerMyelonTransportConfig,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        Self::start_in(
            Places::in_files(config, root.as_ref())?,
            Places::in_files(config, root.as_ref())?,
            false,
        )
    }

    /// As [`resume`](Scheduler::resume), with rings in files in the directory `root`.
    ///
    /// # Errors
    ///
    /// As [`start`](Scheduler::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{RunnerMyelonTransportConfig, Scheduler};
    ///
    /// # let root = tempfile::tempdir()?;
    /// # let root = root.path();
    /// let config = RunnerMyelonTransportConfig::new("a session", 1);
    /// let scheduler = Scheduler::<FixedFrame<256>, FixedFrame<256>, _>::resume_in_files(&config, root)?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume_in_files(
        config: &RunnerMyelonTransportConfig,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        Self::start_in(
            Places::in_files(config, root.as_ref())?,
            Places::in_files(config, root.as_ref())?,
            true,
        )
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    fn start_in(
        places: Places<Req, B>,
        places_of_answers: Places<Resp, B>,
        resumes: bool,
    ) -> TransportResult<Self> {
        let workers = places.config.workers;
        check_workers(workers)?;
        let requests = places
            .requests()
            .discover_consumer_with_prefix(workers, WORKER_PREFIX);
        // from here on this process is the only scheduler of the session
        let requests = TypedProducer::from_builder(requests)?;
        let mut answers = Answers {
            rings: (0..workers).map(|_| None).collect(),
            places: places_of_answers,
            process: std::process::id(),
        };
        for rank in 0..workers {
            // workers that stay from a predecessor keep the answers that they send from now on; `recv_any`
            // returns the errors
            let _ = answers.attach(rank);
        }
        let sender = RequestSender::new(requests, places);
        let first = match resumes {
            true => RequestId::first(0, sender.next_request().session()),
            false => sender.next_request(),
        };
        Ok(Self {
            sender,
            receiver: ResponseReceiver::new(answers, first),
        })
    }

    /// Parts the scheduler into a half that sends requests and a half that receives answers: an answer stays lent
    /// while requests go out. They may live in different threads. Drop or close the sending half first: that closes the
    /// session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// let (mut requests, mut responses) = Scheduler::<FixedFrame<256>>::start(&config)?.split();
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// # worker.respond(b"ready", 1, Deadline::NEVER)?;
    /// let (rank, answer) = responses.recv_any(Deadline::NEVER)?;
    /// requests.broadcast(&answer, answer.kind(), Deadline::NEVER)?;
    /// answer.release();
    /// # assert_eq!((rank, &*worker.recv(Deadline::NEVER)?), (0, &b"ready"[..]));
    /// # worker.leave()?;
    /// requests.close()?;
    /// # drop(responses);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(self) -> (RequestSender<Req, B>, ResponseReceiver<Resp, B>) {
        (self.sender, self.receiver)
    }

    /// Sends a message to all workers: see [`RequestSender::broadcast`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::broadcast`].
    pub fn broadcast(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        self.sender.broadcast(message, kind, deadline)
    }

    /// Sends a value to all workers: see [`RequestSender::broadcast_value`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::broadcast_value`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`].
    pub fn broadcast_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<RequestId, TypedPublishError> {
        self.sender.broadcast_value(value, kind, deadline)
    }

    /// Sends a message to one worker: see [`RequestSender::send_to`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::send_to`].
    ///
    /// # Examples
    ///
    /// See [`Response`].
    pub fn send_to(
        &mut self,
        rank: usize,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        self.sender.send_to(rank, message, kind, deadline)
    }

    /// Sends a value to one worker: see [`RequestSender::send_value_to`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::send_value_to`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut workers = [Worker::<FixedFrame<256>>::start(&config, 0)?, Worker::start(&config, 1)?];
    /// let sent = scheduler.send_value_to(1, &Bincode(vec![1_u64, 2, 3]), 7, Deadline::NEVER)?;
    /// let request = workers[1].recv(Deadline::NEVER)?;
    /// assert_eq!((request.id(), request.kind()), (sent, 7));
    /// assert_eq!(request.decode::<Bincode<Vec<u64>>>()?.0, [1, 2, 3]);
    /// request.release();
    /// # scheduler.close()?;
    /// # for worker in workers { worker.leave()?; }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_value_to<T: Codec>(
        &mut self,
        rank: usize,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<RequestId, TypedPublishError> {
        self.sender.send_value_to(rank, value, kind, deadline)
    }

    /// Claims a frame for a request to all workers: see [`RequestSender::reserve`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::reserve`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::reserve`].
    pub fn reserve(
        &mut self,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestReservation<'_, Req>> {
        self.sender.reserve(len, kind, deadline)
    }

    /// Claims a frame for a request to one worker: see [`RequestSender::reserve_to`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::reserve_to`].
    ///
    /// # Examples
    ///
    /// See [`RequestReservation`].
    pub fn reserve_to(
        &mut self,
        rank: usize,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestReservation<'_, Req>> {
        self.sender.reserve_to(rank, len, kind, deadline)
    }

    /// The next message of any worker, with that worker's rank: see [`ResponseReceiver::recv_any`].
    ///
    /// # Errors
    ///
    /// As [`ResponseReceiver::recv_any`].
    pub fn recv_any(
        &mut self,
        deadline: Deadline,
    ) -> TransportResult<(usize, Response<'_, Resp, B>)> {
        self.receiver.recv_any(deadline)
    }

    /// The next piece of the answer of the worker `rank` to `request`; waits for it until the deadline. Of what this
    /// worker sends before it, a copy is kept for [`recv_any`](Self::recv_any): as many messages as its ring has frames.
    /// Other workers' messages stay in their rings. So an answer in pieces is received in a loop until
    /// [`Response::is_last`].
    ///
    /// # Errors
    ///
    /// [`NoAnswer`](TransportError::NoAnswer) after the deadline: the answer can still be received by this call or by
    /// [`recv_any`](Self::recv_any). [`WorkerDied`](TransportError::WorkerDied) as [`OnWorkerDeath`](super::OnWorkerDeath)
    /// says. [`WorkerGone`](TransportError::WorkerGone) if the worker has left or was removed without an answer.
    /// [`TooManyUnread`](TransportError::TooManyUnread). [`NoSuchWorker`](TransportError::NoSuchWorker). As
    /// [`recv_any`](Self::recv_any).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let (mut requests, mut responses) = Worker::<FixedFrame<256>>::start(&config, 0)?.split();
    /// let sent = scheduler.send_to(0, b"prompt", 1, Deadline::NEVER)?;
    /// # let request = requests.recv(Deadline::NEVER)?;
    /// # let mut reply = responses.reply(request.id());
    /// # reply.send(b"two", 1, Deadline::NEVER)?;
    /// # reply.finish(b"words", 1, Deadline::NEVER)?;
    /// # request.release();
    /// let mut text = String::new();
    /// loop {
    ///     let piece = scheduler.recv_answer(0, sent, Deadline::NEVER)?;
    ///     text += std::str::from_utf8(&piece)?;
    ///     if piece.is_last() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(text, "twowords");
    /// # drop((requests, responses));
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Response<'_, Resp, B>> {
        let mut found = self.receiver.find_answer(rank, request, Look::Quick)?;
        if found.is_none() && self.receiver.look_briefly(rank) {
            found = self.receiver.find_answer(rank, request, Look::Quick)?;
        }
        let found = match found {
            Some(found) => found,
            None => self.wait_for_answer(rank, request, deadline)?,
        };
        self.receiver.hand_out(rank, found)
    }

    /// Waits for the answer of the worker `rank`; meanwhile it asks now and then what that worker's death means.
    fn wait_for_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Found> {
        let mut started = None;
        let mut is_told = false;
        loop {
            let until = self.sender.until_next_look(deadline, 0);
            match self.receiver.wait_for_answer(rank, request, until) {
                Err(TransportError::NoAnswer { .. }) if !deadline.has_passed() => {}
                found => return found,
            }
            if self.sender.is_forked() {
                return Err(RecvError::Forked.into());
            }
            if let Err(error) = self.sender.go_on_waiting_for(rank, request) {
                // it may have answered before it went, in a ring that was not attached
                self.receiver.look_for_workers_now();
                return self
                    .receiver
                    .find_answer(rank, request, Look::AndLiveness)?
                    .ok_or(error);
            }
            let has_waited = started.get_or_insert_with(Instant::now).elapsed();
            if !is_told && has_waited >= UNTIL_IT_SAYS_SO {
                is_told = true;
                self.say_what_it_waits_for(rank, request);
            }
        }
    }

    /// Warns that a call waits for the answer of a worker that is not there.
    #[cold]
    fn say_what_it_waits_for(&mut self, rank: usize, request: RequestId) {
        let missing = self.missing_workers();
        let Some(missing) = missing.iter().find(|missing| missing.rank == rank) else {
            return;
        };
        let state = if missing.is_away {
            "is away"
        } else {
            "has not come"
        };
        tracing::warn!(
            session = self.sender.session(),
            "a call waits for the answer of worker {rank} to request {request}, and the worker {state}: start it, or \
             remove it with remove_worker({rank}); OnWorkerDeath says what a call does then"
        );
    }

    /// Sends a request to the worker `rank` and waits for its answer until the deadline: [`send_to`](Self::send_to) and
    /// [`recv_answer`](Self::recv_answer). An answer in pieces goes on with [`recv_answer`](Self::recv_answer) and the
    /// number of the request, which the response names.
    ///
    /// # Errors
    ///
    /// As those two.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// # let serving = std::thread::spawn(move || {
    /// #     worker.serve(Deadline::NEVER, |_, request| request.to_ascii_uppercase()).unwrap();
    /// #     worker.leave().unwrap();
    /// # });
    /// let answer = scheduler.call(0, b"hello", 1, Deadline::NEVER)?;
    /// assert_eq!(&*answer, b"HELLO");
    /// # drop(answer);
    /// # serving.join().unwrap();
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call(
        &mut self,
        rank: usize,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Response<'_, Resp, B>> {
        let request = self.send_to(rank, message, kind, deadline)?;
        self.recv_answer(rank, request, deadline)
    }

    /// Sends a request to all workers and hands the first piece of each worker's answer to `each`, with the worker's
    /// rank; waits until the deadline. Returns the number of the request, and the ranks of the workers whose answers
    /// have not come: those can still be received with [`recv_answer`](Self::recv_answer) or
    /// [`recv_any`](Self::recv_any).
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast) and [`recv_answer`](Self::recv_answer), except
    /// [`NoAnswer`](TransportError::NoAnswer), [`WorkerDied`](TransportError::WorkerDied) and
    /// [`WorkerGone`](TransportError::WorkerGone).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let workers = [0, 1].map(|rank| {
    /// #     let mut worker = Worker::<FixedFrame<256>>::start(&config, rank).unwrap();
    /// #     std::thread::spawn(move || {
    /// #         worker.serve(Deadline::NEVER, |_, _| [rank as u8 + 10]).unwrap();
    /// #         worker.leave().unwrap();
    /// #     })
    /// # });
    /// let mut sum = 0;
    /// let gathered = scheduler.gather(b"how many?", 1, Deadline::NEVER, |_rank, answer| sum += answer[0])?;
    /// assert_eq!((sum, gathered.missing), (21, vec![]));
    /// # for worker in workers { worker.join().unwrap(); }
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gather(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
        mut each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<Gathered> {
        let ranks = 0..self.receiver.workers();
        // those that come after the request was sent do not see it
        let gone: Vec<_> = ranks
            .clone()
            .filter(|rank| !self.sender.is_kept_for(*rank))
            .collect();
        let request = self.broadcast(message, kind, deadline)?;
        let mut missing = Vec::new();
        for rank in ranks {
            if gone.contains(&rank) {
                missing.push(rank);
                continue;
            }
            match self.recv_answer(rank, request, deadline) {
                Ok(response) => each(rank, response),
                Err(
                    TransportError::NoAnswer { .. }
                    | TransportError::WorkerDied { .. }
                    | TransportError::WorkerGone { .. },
                ) => {
                    missing.push(rank);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Gathered { request, missing })
    }

    /// As [`recv_any`](Self::recv_any), but decodes a value: see [`ResponseReceiver::recv_any_value`].
    ///
    /// # Errors
    ///
    /// As [`ResponseReceiver::recv_any_value`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`].
    pub fn recv_any_value<T: Codec>(
        &mut self,
        deadline: Deadline,
    ) -> TransportResult<(usize, u8, Result<T, DecodeError>)> {
        self.receiver.recv_any_value(deadline)
    }

    /// The workers that are not attached at present.
    pub fn missing_workers(&mut self) -> Vec<MissingWorker> {
        self.sender.missing_workers()
    }

    /// Each worker as this scheduler sees it now: see [`RequestSender::state`].
    ///
    /// # Examples
    ///
    /// See [`WorkerState`].
    pub fn state(&mut self) -> Vec<WorkerState> {
        self.sender.state()
    }

    /// Forgets a worker that will not come back: see [`RequestSender::remove_worker`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::remove_worker`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::remove_worker`].
    pub fn remove_worker(&mut self, rank: usize) -> TransportResult<()> {
        self.sender.remove_worker(rank)
    }

    /// The transport on which messages to all workers are sent.
    pub fn requests(&mut self) -> &mut FramedTransportProducer<Req, B> {
        self.sender.transport()
    }

    /// The transport on which a worker's messages are received; `None` until its ring is attached.
    pub fn responses(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<Resp, B>> {
        self.receiver.transport(rank)
    }

    /// Lets the workers finish what they have, and then [closes](Self::close) the session. Until the deadline it hands
    /// each answer to `each`, with the worker's rank; it returns sooner if all requests are done and all answers
    /// received. The result names the workers with requests that were not done: they have not come, are away, or have
    /// not finished. A cancelled token does not end this call.
    ///
    /// # Errors
    ///
    /// As [`recv_any`](Self::recv_any), except for the time-out, and as [`close`](Self::close). The session is closed all
    /// the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// # scheduler.broadcast(b"the last", 1, Deadline::NEVER)?;
    /// # let serving = std::thread::spawn(move || {
    /// #     worker.serve(Deadline::NEVER, |_, _| b"done").unwrap();
    /// #     worker.leave().unwrap();
    /// # });
    /// let mut answers = Vec::new();
    /// let report = scheduler.shutdown(Deadline::NEVER, |rank, answer| answers.push((rank, answer.to_vec())))?;
    /// assert_eq!(answers, [(0, b"done".to_vec())]);
    /// assert!(report.kept_for.is_empty());
    /// # serving.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(
        self,
        deadline: Deadline,
        each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<CloseReport> {
        self.shutdown_unless(deadline, each, || false)
    }

    /// As [`shutdown`](Self::shutdown), but no longer than until `is_over`.
    pub(super) fn shutdown_unless(
        mut self,
        deadline: Deadline,
        mut each: impl FnMut(usize, Response<'_, Resp, B>),
        is_over: impl Fn() -> bool,
    ) -> TransportResult<CloseReport> {
        if self.sender.is_forked() {
            return Err(MultiProcessError::Forked.into());
        }
        let mut quiet = 0;
        let mut next_look = Instant::now();
        let received = loop {
            // asked first: an answer is sent before its request is done
            let is_done = self.sender.is_everything_done();
            if is_done {
                // a worker may have come, done everything and gone since the last look
                self.receiver.look_for_workers_now();
            }
            let now = Deadline::after(match is_done {
                true => Duration::ZERO,
                false => UNTIL_IT_ASKS_AGAIN.min(deadline.remaining().unwrap_or(Duration::MAX)),
            });
            match self.recv_any(now) {
                Ok((rank, response)) => {
                    quiet = 0;
                    each(rank, response);
                }
                Err(TransportError::Recv(error @ (RecvError::Cancelled | RecvError::Timeout))) => {
                    // one call may find the end of a ring, and only the next one its successor
                    quiet += u32::from(is_done);
                    if error == RecvError::Cancelled {
                        // the program's token ends waits, and this is how such a program ends
                        perform_sleep_wait(now.remaining().unwrap_or_default());
                    }
                }
                Err(error) => break Err(error),
            }
            if deadline.has_passed() || quiet == POLLS_AT_THE_END || is_over() {
                break Ok(());
            }
            if !is_done && next_look <= Instant::now() {
                next_look = Instant::now() + self.sender.liveness_interval();
                if let Err(error) = self.sender.look_for_deaths(Awaits::End) {
                    break Err(error);
                }
            }
        };
        let report = self.close()?;
        received.map(|()| report)
    }

    /// Ends the session in order: workers receive the messages that were sent, and then the end. Answers that
    /// were not received are given up, and so are the answers to requests that workers have not handled yet:
    /// receive the answers you need before you close. Dropping the scheduler does the same. If a panic drops
    /// it, the session is left as after a death. Never waits.
    ///
    /// Sent messages are kept for workers that have not come or are away;
    /// [`remove_worker`](Self::remove_worker) gives up a worker that will not come.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`]; the session is closed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// use myelon::{RecvError, TransportError};
    ///
    /// scheduler.broadcast(b"the last", 1, Deadline::NEVER)?;
    /// scheduler.close()?;
    /// worker.recv(Deadline::NEVER)?.release();
    /// let end = worker.recv(Deadline::NEVER).map(drop);
    /// assert!(matches!(end, Err(TransportError::Recv(RecvError::Closed))));
    /// # worker.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        let Self {
            sender,
            mut receiver,
        } = self;
        let closed = sender.close();
        if matches!(closed, Err(MultiProcessError::Forked)) {
            return closed;
        }
        let given_up = receiver.answers.give_up();
        let report = closed?;
        given_up.map(|()| report)
    }
}

/// What the thread of an [`AsyncScheduler`](super::AsyncScheduler) needs.
#[cfg(feature = "tokio")]
impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    pub(super) fn label(&self) -> &str {
        self.sender.session()
    }

    pub(super) fn workers(&self) -> usize {
        self.receiver.workers()
    }

    pub(super) fn liveness_interval(&self) -> Duration {
        self.sender.liveness_interval()
    }

    pub(super) fn is_kept_for(&mut self, rank: usize) -> bool {
        self.sender.is_kept_for(rank)
    }

    pub(super) fn go_on_waiting_for(
        &mut self,
        rank: usize,
        request: RequestId,
    ) -> TransportResult<()> {
        self.sender.go_on_waiting_for(rank, request)
    }

    pub(super) fn look_for_deaths(&mut self, awaits: Awaits) -> TransportResult<()> {
        self.sender.look_for_deaths(awaits)
    }

    /// As many messages as all workers' rings hold.
    pub(super) fn answers_max(&self) -> usize {
        self.receiver.answers_max()
    }

    pub(super) fn look_for_workers_now(&mut self) {
        self.receiver.look_for_workers_now();
    }

    /// Waits until a worker's ring has news or the bell rings, or until it is time to check for missing workers.
    pub(super) fn sleep_beside(
        &mut self,
        bell: &dyn RingMember,
        deadline: Deadline,
    ) -> TransportResult<()> {
        self.receiver.sleep_beside(None, Some(bell), deadline)
    }

    /// Whether a message of `len` bytes is sent in several runs: a call that does not wait cannot send it.
    pub(super) fn takes_runs(&mut self, len: usize) -> bool {
        let ring = self.sender.transport();
        let frames = (ring.depth() / 2).max(1);
        len.saturating_add(HEAD_BYTES) > ring.frame_limit().saturating_mul(frames)
    }
}
