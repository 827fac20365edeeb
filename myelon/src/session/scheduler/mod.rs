//! The scheduler's side of a session.

mod receiver;
mod sender;

use std::path::Path;

use disruptor_mp::{
    CloseReport, DEFAULT_MAX_CONSUMERS, Deadline, MappedFile, MultiProcessError,
    MultiProcessResult, SharedMemory,
};

use super::Places;
use super::config::{RunnerMyelonTransportConfig, WORKER_PREFIX};
use super::head::RequestId;
use super::received::Response;
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, TransportError,
    TransportResult,
};
use crate::typed_transport::{DecodeError, TypedProducer, TypedPublishError};

pub use receiver::ResponseReceiver;
pub use sender::{MissingWorker, RequestSender};

use receiver::Answers;

/// The scheduler of a session: sends each message to all its [`Worker`](super::Worker)s, and receives messages
/// from each of them.
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
pub struct Scheduler<F: FramedTransportFrame, B = SharedMemory> {
    // the first field, so that it is dropped first: the ring must be closed before the answers are given up
    sender: RequestSender<F, B>,
    receiver: ResponseReceiver<F, B>,
}

/// Checks the number of workers. A ring has one line for each worker, and a `RingSet` can wait for as many
/// rings.
fn check_workers(workers: usize) -> TransportResult<()> {
    let limit = DEFAULT_MAX_CONSUMERS;
    match (1..=limit).contains(&workers) {
        true => Ok(()),
        false => Err(TransportError::WorkerCount { workers, limit }),
    }
}

impl<F: FramedTransportFrame> Scheduler<F> {
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
        Self::start_in(Places::in_shared_memory(config)?)
    }
}

impl<F: FramedTransportFrame> Scheduler<F, MappedFile> {
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
    /// let scheduler = Scheduler::<FixedFrame<256>, _>::start_in_files(&config, root)?;
    /// let worker = Worker::<FixedFrame<256>, _>::start_in_files(&config, 0, root)?;
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_in_files(
        config: &RunnerMyelonTransportConfig,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        Self::start_in(Places::in_files(config, root.as_ref())?)
    }
}

impl<F: FramedTransportFrame, B> Scheduler<F, B> {
    fn start_in(places: Places<F, B>) -> TransportResult<Self> {
        let workers = places.config.workers;
        check_workers(workers)?;
        let requests = places
            .requests()
            .discover_consumer_with_prefix(workers, WORKER_PREFIX);
        // from here on this process is the only scheduler of the session
        let requests = TypedProducer::from_builder(requests)?;
        let mut answers = Answers {
            rings: (0..workers).map(|_| None).collect(),
            places,
            process: std::process::id(),
        };
        for rank in 0..workers {
            // workers that stay from a predecessor keep the answers that they send from now on; `recv_any`
            // returns the errors
            let _ = answers.attach(rank);
        }
        let sender = RequestSender::new(requests, answers.places.clone());
        Ok(Self {
            sender,
            receiver: ResponseReceiver::new(answers),
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
    pub fn split(self) -> (RequestSender<F, B>, ResponseReceiver<F, B>) {
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

    /// The next message of any worker, with that worker's rank: see [`ResponseReceiver::recv_any`].
    ///
    /// # Errors
    ///
    /// As [`ResponseReceiver::recv_any`].
    pub fn recv_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Response<'_, F, B>)> {
        self.receiver.recv_any(deadline)
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
    pub fn requests(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.sender.transport()
    }

    /// The transport on which a worker's messages are received; `None` until its ring is attached.
    pub fn responses(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<F, B>> {
        self.receiver.transport(rank)
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
