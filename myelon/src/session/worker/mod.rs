//! The worker's side of a session.

mod receiver;
mod sender;
mod serving;

use std::path::Path;

use disruptor_mp::{
    CountersFile, Deadline, DiscoveryMode, MappedFile, MultiProcessResult, Sequence, SharedMemory,
};

use super::config::{OnHandlerPanic, RunnerMyelonTransportConfig};
use super::received::Request;
use super::{Places, SCHEDULER_ID, check_rank, refused};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, TransportResult,
};
use crate::typed_transport::{TypedProducer, TypedPublishError};

pub use receiver::RequestReceiver;
pub use sender::{Reply, ResponseSender};

pub(super) use serving::DeliveryLimit;
#[cfg(feature = "tokio")]
pub(super) use serving::{not_received, tell_of_a_panic};

/// A worker of a session: receives the requests of its [`Scheduler`](super::Scheduler), and answers on a ring of its own.
/// It names the same frame types as the scheduler.
///
/// # Examples
///
/// ```
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, TransportError, Worker};
///
/// # let session = myelon::portable_shm_segment_name("doc");
/// let config = RunnerMyelonTransportConfig::new(&session, 1); // the same as the scheduler's
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// # scheduler.broadcast(b"7", 1, Deadline::NEVER)?;
/// # let closer = std::thread::spawn(move || {
/// #     assert_eq!(&*scheduler.recv_any(Deadline::NEVER).unwrap().1, b"7 done");
/// #     scheduler.close().unwrap();
/// # });
/// loop {
///     match worker.serve(Deadline::NEVER, |_kind, request| [request, b" done"].concat()) {
///         Ok(_) => {}
///         Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {} // told once; another scheduler may come
///         Err(TransportError::Recv(RecvError::Closed)) => break,
///         Err(error) => return Err(error.into()),
///     }
/// }
/// println!("worker {}: {:?}", worker.rank(), worker.requests().received());
/// println!("{:?}", worker.responses().counters());
/// worker.leave()?;
/// # closer.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Requests that the program takes itself, and a message that answers none:
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// assert!(Worker::<FixedFrame<256>>::start(&config, 1).is_err(), "the session has one");
/// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// let request = worker.recv(Deadline::NEVER)?;
/// assert_eq!((request.kind(), &*request), (1, &b"compute"[..]));
/// request.done();
/// worker.respond(b"ready", 2, Deadline::NEVER)?;
/// assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, b"ready");
/// worker.leave()?;
/// assert!(!scheduler.missing_workers()[0].is_away, "no place is kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Worker<Req: FramedTransportFrame, Resp: FramedTransportFrame = Req, B = SharedMemory> {
    receiver: RequestReceiver<Req, B>,
    sender: ResponseSender<Resp, B>,
    given_up: Option<DeliveryLimit>,
    on_panic: OnHandlerPanic,
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Worker<Req, Resp> {
    /// Starts the worker `rank`, counted from 0. It creates the worker's ring, or takes over the ring that a
    /// dead predecessor left, and attaches to the scheduler's ring. It waits for that ring up to
    /// [`start_timeout`](crate::MyelonTransportConfig::start_timeout).
    ///
    /// # Errors
    ///
    /// [`MemberExists`](crate::TransportError::MemberExists) names both processes if a worker of this rank is alive.
    /// [`NoSuchWorker`](crate::TransportError::NoSuchWorker), [`Ring`](crate::TransportError::Ring).
    pub fn start(config: &RunnerMyelonTransportConfig, rank: usize) -> TransportResult<Self> {
        Self::start_in(
            Places::in_shared_memory(config)?,
            &Places::in_shared_memory(config)?,
            rank,
        )
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Worker<Req, Resp, MappedFile> {
    /// As [`start`](Worker::start), with rings in files in the directory `root`.
    ///
    /// # Errors
    ///
    /// As [`start`](Worker::start).
    ///
    /// # Examples
    ///
    /// See [`Scheduler::start_in_files`](super::Scheduler::start_in_files).
    pub fn start_in_files(
        config: &RunnerMyelonTransportConfig,
        rank: usize,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        Self::start_in(
            Places::in_files(config, root.as_ref())?,
            &Places::in_files(config, root.as_ref())?,
            rank,
        )
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Worker<Req, Resp, B> {
    fn start_in(
        places: Places<Req, B>,
        places_of_answers: &Places<Resp, B>,
        rank: usize,
    ) -> TransportResult<Self> {
        check_rank(&places.config, rank)?;
        // create the worker's own ring first, as the scheduler may be waiting for it; answers are kept for a
        // scheduler that has not come yet, even if the worker ends before it comes
        let scheduler = DiscoveryMode::Ids(vec![SCHEDULER_ID.to_owned()]);
        let responses = places_of_answers.responses(rank).with_discovery(scheduler);
        let config = places.config.clone();
        let refused = |error| refused(&config, Some(rank), error);
        let mut responses = TypedProducer::from_builder(responses).map_err(refused)?;
        let note = responses.raw().ring().note_reader(SCHEDULER_ID);
        let mut receiver = RequestReceiver::attach(places, rank, note).map_err(refused)?;
        let mut sender = ResponseSender {
            responses,
            label: config.session,
            rank,
            session: receiver.session(),
            is_over: receiver.over_flag(),
        };
        let responses = sender.responses.raw().ring();
        responses.cancel_waits_when_closed(receiver.transport().as_ring());
        if sender.is_closing() {
            // the scheduler has left the rings that existed when it closed the session; this one may not have
            // existed
            sender.give_up_answers();
        }
        Ok(Self {
            receiver,
            sender,
            given_up: None,
            on_panic: OnHandlerPanic::default(),
        })
    }

    /// Parts the worker into a half that receives requests and a half that sends answers. Both can be held at once: a
    /// request stays lent while its answer goes out piece by piece. They may live in different threads.
    ///
    /// # Examples
    ///
    /// See [`Reply`].
    pub fn split(self) -> (RequestReceiver<Req, B>, ResponseSender<Resp, B>) {
        (self.receiver, self.sender)
    }

    /// The scheduler's next request, to all workers or to this one; waits for it until the deadline.
    /// [`Request::done`] completes it. A request that is dropped before that comes again at the next call. If the
    /// worker dies, it comes again when a worker of this rank is back.
    ///
    /// # Errors
    ///
    /// [`Recv`](crate::TransportError::Recv) as [`FramedTransportConsumer::recv`], except that the death of a scheduler
    /// is told once: the next call waits for another one. [`SessionClosing`](crate::TransportError::SessionClosing),
    /// once, if the scheduler [shuts the session down](crate::Scheduler::shutdown): this worker has received every
    /// request that was sent to it, and may leave. [`WorkerCountDiffers`](crate::TransportError::WorkerCountDiffers) if
    /// it finds no request and its scheduler is configured for another number of workers.
    /// [`Ring`](crate::TransportError::Ring) if the ring of the requests to this worker does not fit.
    pub fn recv(&mut self, deadline: Deadline) -> TransportResult<Request<'_, Req, B>> {
        self.receiver.recv(deadline)
    }

    /// Sends a message to the scheduler. Waits for space until the deadline. It waits also while the scheduler
    /// has died or has not come, as the scheduler's place is kept. Returns the sequence of the message's last
    /// frame.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`]. [`SessionClosed`](crate::TransportError::SessionClosed) once the scheduler has closed
    /// the session, also for a call that is waiting at that moment; the message is then not sent.
    pub fn respond(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        self.sender.respond(message, kind, deadline)
    }

    /// As [`respond`](Self::respond), but sends a value: it is encoded into the frame that the scheduler reads.
    ///
    /// # Errors
    ///
    /// As [`respond`](Self::respond); [`TypedPublishError::Encode`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`](super::RequestSender::broadcast_value).
    pub fn respond_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.sender.respond_value(value, kind, deadline)
    }

    /// Whether the scheduler has closed the session: see [`ResponseSender::is_closing`].
    ///
    /// # Examples
    ///
    /// See [`Reply`].
    pub fn is_closing(&mut self) -> bool {
        self.sender.is_closing()
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.receiver.rank()
    }

    /// Whether an earlier worker of this rank left or was removed. The requests that were sent before this worker came
    /// are then not for it. Act on the answer before the first request is done: if this worker dies, its successor
    /// finds `false`. `false` also if another scheduler has taken over since the departure and another consumer has
    /// needed the place.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`](super::WorkerState).
    pub fn starts_anew(&self) -> bool {
        self.receiver.starts_anew()
    }

    /// Shows the counters of this worker's ends of the session's rings in `file`, which any process of the same user
    /// can read.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`](crate::TransportError::Counters).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// use myelon::{CounterId, CountersFile};
    ///
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let file = CountersFile::anonymous(); // or CountersFile::create("/dev/shm/llama.counters")?
    /// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.attach_counters(&file)?;
    /// scheduler.requests().send(b"no head", 1, Deadline::NEVER)?; // which no scheduler sends
    /// # scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
    /// assert_eq!(&*worker.recv(Deadline::NEVER)?, b"compute");
    /// worker.requests().counters(); // brings the file up to date
    /// let dropped = file.snapshot().into_iter().find(|it| it.id == CounterId::SESSION_MALFORMED);
    /// assert_eq!(dropped.map(|it| it.value), Some(1));
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.receiver.attach_counters(file)?;
        self.sender.responses.attach_counters(file)
    }

    /// The transport on which the scheduler's messages are received.
    pub fn requests(&mut self) -> &mut FramedTransportConsumer<Req, B> {
        self.receiver.transport()
    }

    /// The transport on which answers are sent. Once the scheduler has closed the session, a wait for space fails with
    /// [`Cancelled`](disruptor_mp::SendError::Cancelled).
    pub fn responses(&mut self) -> &mut FramedTransportProducer<Resp, B> {
        self.sender.transport()
    }

    /// Ends this worker for good: closes its ring and gives up its place in the scheduler's ring. The place is
    /// given up even if the worker's ring cannot be closed. The answers are kept for the scheduler, unless it
    /// has closed the session. Dropping the worker closes its ring too, but keeps its place for a successor.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    pub fn leave(self) -> MultiProcessResult<()> {
        let closed = self.sender.close();
        closed.and(self.receiver.leave())
    }
}
