//! The scheduler's side of a session.

mod answers;
mod calls;
mod ending;
#[cfg(feature = "tokio")]
mod for_tasks;
mod receiver;
mod sender;
pub(super) mod state;

use std::path::Path;

use disruptor_mp::{
    CountersFile, DEFAULT_MAX_CONSUMERS, Deadline, MappedFile, RecvError, SharedMemory,
};

use super::config::{RunnerMyelonTransportConfig, WORKER_PREFIX};
use super::head::RequestId;
use super::in_place::RequestReservation;
use super::received::{Dropped, Response};
use super::{Places, refused};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, TransportError,
    TransportResult,
};
use crate::typed_transport::{DecodeError, TypedProducer, TypedPublishError};

pub use calls::{AnswerPieces, Gathered};
pub use ending::ShutdownReport;
pub use receiver::ResponseReceiver;
pub use sender::{MissingWorker, RequestSender, WorkerDeath};
pub use state::WorkerState;

use answers::Answers;
use receiver::Found;
#[cfg(feature = "tokio")]
pub(super) use {calls::UNTIL_IT_SAYS_SO, sender::Awaits};

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
/// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?; // or resume()
/// let mut workers = [Worker::<FixedFrame<256>>::start(&config, 0)?, Worker::start(&config, 1)?];
/// let second = Scheduler::<FixedFrame<256>>::start(&config).unwrap_err();
/// assert!(second.to_string().contains(&std::process::id().to_string()), "there is one");
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
///
/// scheduler.broadcast(b"the last", 1, Deadline::NEVER)?;
/// scheduler.close()?;
/// for mut worker in workers {
///     worker.recv(Deadline::NEVER)?.done(); // what was sent is received before the end
///     assert!(worker.recv(Deadline::NEVER).is_err(), "closed");
///     worker.leave()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Requests whose answers are waited for:
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{AnswerPieces, Deadline, Gathered, Piece, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let workers = [0, 1].map(|rank| {
///     let mut worker = Worker::<FixedFrame<256>>::start(&config, rank).expect("it starts");
///     std::thread::spawn(move || {
///         while worker.serve(Deadline::NEVER, |_kind, request| request.to_ascii_uppercase()).is_ok() {}
///         worker.leave()
///     })
/// });
/// assert_eq!(*scheduler.call(1, b"hello", 1, Deadline::NEVER)?, *b"HELLO");
///
/// let sent = scheduler.send_to(0, b"prompt", 1, Deadline::NEVER)?;
/// let piece = scheduler.recv_answer(0, sent, Deadline::NEVER)?;
/// assert!(*piece == *b"PROMPT" && piece.is_last()); // before the last one the call is repeated
/// piece.release();
///
/// let pieces: AnswerPieces<'_, _, _> = scheduler.call_streaming(1, b"two words", 1, Deadline::NEVER)?;
/// let request = pieces.request();
/// for piece in pieces {
///     let piece: Piece = piece?;
///     assert_eq!((piece.rank, piece.request, &*piece.bytes), (1, Some(request), &b"TWO WORDS"[..]));
/// }
///
/// let mut answers = 0;
/// let found = scheduler.gather(b"your name", 1, Deadline::NEVER, |_rank, _answer| answers += 1)?;
/// let Gathered { missing, .. } = found;
/// assert_eq!((answers, missing), (2, vec![]));
///
/// scheduler.broadcast(b"the last", 1, Deadline::NEVER)?;
/// let report = scheduler.shutdown(Deadline::NEVER, |_rank, answer| assert_eq!(*answer, *b"THE LAST"))?;
/// assert!(report.kept_for.is_empty());
/// # for worker in workers { worker.join().unwrap()?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scheduler<Req: FramedTransportFrame, Resp: FramedTransportFrame = Req, B = SharedMemory>
{
    // the first field, so that it is dropped first: the ring must be closed before the answers are given up
    sender: RequestSender<Req, B>,
    receiver: ResponseReceiver<Resp, B>,
}

/// Checks the number of workers. A ring has one line for each worker, and a `RingSet` can wait for as many
/// rings.
fn check_workers(config: &RunnerMyelonTransportConfig) -> TransportResult<()> {
    let workers = config.workers;
    let limit = DEFAULT_MAX_CONSUMERS;
    match (1..=limit).contains(&workers) {
        true => Ok(()),
        false => Err(TransportError::WorkerCount {
            session: config.session.clone(),
            workers,
            limit,
        }),
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Scheduler<Req, Resp> {
    /// Starts the scheduler: creates its ring, or takes over the ring that a dead predecessor left. The
    /// scheduler attaches to its workers' rings when these exist. Never waits.
    ///
    /// # Errors
    ///
    /// [`MemberExists`](TransportError::MemberExists) names both processes if a scheduler of this session is alive.
    /// [`TransportError::Ring`].
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
    /// use myelon::{MappedFile, RunnerMyelonTransportConfig, Scheduler, Worker};
    ///
    /// type Frame = FixedFrame<256>;
    ///
    /// # let root = tempfile::tempdir()?;
    /// # let root = root.path();
    /// let config = RunnerMyelonTransportConfig::new("a session", 1);
    /// let scheduler = Scheduler::<Frame, Frame, MappedFile>::start_in_files(&config, root)?; // or resume_in_files()
    /// let worker = Worker::<Frame, Frame, MappedFile>::start_in_files(&config, 0, root)?;
    /// worker.leave()?;
    /// scheduler.close()?;
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
    /// See [`start_in_files`](Self::start_in_files).
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
        check_workers(&places.config)?;
        let workers = places.config.workers;
        let requests = places
            .requests()
            .discover_consumer_with_prefix(workers, WORKER_PREFIX);
        // from here on this process is the only scheduler of the session
        let mut requests = TypedProducer::from_builder(requests)
            .map_err(|error| refused(&places.config, None, error))?;
        let mut answers = Answers {
            rings: (0..workers).map(|_| None).collect(),
            places: places_of_answers,
            dropped: vec![Dropped::default(); workers],
            counters: None,
            process: std::process::id(),
            epoch: requests.raw().ring().epoch(),
            closing: None,
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
        let receiver = ResponseReceiver::new(answers, first, sender.last_sent());
        Ok(Self { sender, receiver })
    }

    /// Parts the scheduler into a half that sends requests and a half that receives answers: an answer stays lent
    /// while requests go out. They may live in different threads. Drop or close the sending half first: that closes the
    /// session.
    ///
    /// # Examples
    ///
    /// See [`RequestSender`].
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

    /// Sends a message to all workers, and watches the required ones meanwhile: see
    /// [`RequestSender::broadcast_managed`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::broadcast_managed`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_managed`].
    pub fn broadcast_managed(&mut self, message: &[u8], kind: u8) -> TransportResult<RequestId> {
        self.sender.broadcast_managed(message, kind)
    }

    /// Sends a message to one worker: see [`RequestSender::send_to`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::send_to`].
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
    /// See [`RequestSender::broadcast_value`].
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
    /// See [`RequestReservation`].
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
        if !self.sender.is_to_check()
            && let Some((rank, head)) = self.receiver.next_in_turn()
        {
            return Ok((rank, self.receiver.lend(rank, head)?));
        }
        let (rank, found) = self.find_any(deadline)?;
        Ok((rank, self.receiver.hand_out(rank, found)?))
    }

    /// The next message. While it waits, it calls the death hook for each death.
    fn find_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Found)> {
        if !self.sender.is_to_check() {
            return self.receiver.find_any(deadline);
        }
        loop {
            self.sender.check_now_and_then();
            let until = self.sender.until_next_check(deadline);
            match self.receiver.find_any(until) {
                Err(TransportError::Recv(RecvError::Timeout)) if !deadline.has_passed() => {}
                found => return found,
            }
        }
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
        let (rank, found) = self.find_any(deadline)?;
        self.receiver.decode(rank, found)
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

    /// Shows the counters of the session in `file`, which any process of the same user can read: those of each of this
    /// scheduler's ends of a ring, also of rings that come later, and of each worker:
    ///
    /// - how many absences the scheduler has noticed ([`WORKER_ABSENCES`](crate::CounterId::WORKER_ABSENCES));
    /// - how many requests it had not completed when the scheduler last checked
    ///   ([`REQUESTS_IN_FLIGHT`](crate::CounterId::REQUESTS_IN_FLIGHT)), the age of the oldest
    ///   ([`OLDEST_REQUEST_MS`](crate::CounterId::OLDEST_REQUEST_MS)), and how often that one was delivered
    ///   ([`REQUEST_DELIVERIES`](crate::CounterId::REQUEST_DELIVERIES)).
    ///
    /// The scheduler checks in [`state`](Self::state), and once in a liveness interval while its calls receive. It does
    /// not check while it sends, and a killed one leaves what it saw last: [`requests_seen`](crate::requests_seen) has
    /// the figures of any moment. A file has room for 1024 counters: enough for the scheduler of 44 workers, or for 19
    /// workers that show theirs in the same file.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`]. For a ring that comes later, the log tells of an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// use myelon::{CounterId, CountersFile};
    ///
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// let file = CountersFile::anonymous(); // or CountersFile::create("/dev/shm/llama.counters")?
    /// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// scheduler.attach_counters(&file)?;
    /// drop(Worker::<FixedFrame<256>>::start(&config, 0)?); // as if it had died
    /// let soon = Deadline::after(Duration::from_millis(300));
    /// assert!(scheduler.call(0, b"compute", 1, soon).is_err());
    ///
    /// let counters = file.snapshot(); // also in another process that has opened the file
    /// let absences = counters.iter().find(|it| it.id == CounterId::WORKER_ABSENCES).expect("it is there");
    /// assert!(absences.label.ends_with("-q/worker/worker_0") && absences.value == 1);
    /// # scheduler.remove_worker(0)?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.sender.attach_counters(file)?;
        self.receiver.attach_counters(file)
    }

    /// Forgets a worker that will not come back: see [`RequestSender::remove_worker`].
    ///
    /// # Errors
    ///
    /// As [`RequestSender::remove_worker`].
    ///
    /// # Examples
    ///
    /// See [`WorkerState`].
    pub fn remove_worker(&mut self, rank: usize) -> TransportResult<()> {
        self.sender.remove_worker(rank)
    }

    /// From now on, `tell` is called once for each absence of a worker that this scheduler notices, whatever the
    /// [policy](crate::OnWorkerDeath): the worker has died, or has ended without leaving. It is noticed within a
    /// liveness interval while a call waits or receives, and in [`state`](Self::state) and
    /// [`missing_workers`](Self::missing_workers). A worker that is back by then has not died. `tell` runs within that
    /// call, or in the thread of an `AsyncScheduler` that this scheduler becomes: it should
    /// not block.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`].
    pub fn set_death_hook(&mut self, tell: impl FnMut(WorkerDeath) + Send + 'static) {
        self.sender.set_death_hook(tell);
    }

    /// The transport on which messages to all workers are sent.
    pub fn requests(&mut self) -> &mut FramedTransportProducer<Req, B> {
        self.sender.transport()
    }

    /// The transport on which a worker's messages are received; `None` until its ring is attached.
    pub fn responses(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<Resp, B>> {
        self.receiver.transport(rank)
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    /// The reason why a call must not go on waiting for this answer.
    #[cold]
    pub(super) fn go_on_waiting_for(
        &mut self,
        rank: usize,
        request: RequestId,
    ) -> TransportResult<()> {
        let heard = self.receiver.heard(rank);
        self.sender.go_on_waiting_for(rank, request, heard)
    }
}
