//! The worker's side of a session.

use std::path::Path;

use disruptor_mp::{
    Deadline, MappedFile, MultiProcessError, MultiProcessResult, RecvError, Sequence, SharedMemory,
};

use super::{Places, SCHEDULER_ID};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, Message,
    RunnerMyelonTransportConfig, TransportResult,
};
use crate::typed_transport::{TypedConsumer, TypedProducer, TypedPublishError, TypedServeError};

/// A worker of a session: takes each message of its [`Scheduler`](super::Scheduler), and answers on a ring of its own.
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
///         Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {} // another one may come
///         Err(TransportError::Recv(RecvError::Closed)) => break,
///         Err(error) => return Err(error.into()),
///     }
/// }
/// worker.leave()?;
/// # closer.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Worker<F: FramedTransportFrame, B = SharedMemory> {
    requests: TypedConsumer<F, B>,
    responses: TypedProducer<F, B>,
    rank: usize,
}

impl<F: FramedTransportFrame> Worker<F> {
    /// Starts the worker `rank`, counted from 0: creates its ring, or takes over the one that a dead predecessor left, and
    /// attaches to the scheduler's, waiting for that up to
    /// [`start_timeout`](crate::MyelonTransportConfig::start_timeout).
    ///
    /// # Errors
    ///
    /// [`TransportError::NoSuchWorker`](crate::TransportError::NoSuchWorker),
    /// [`TransportError::Ring`](crate::TransportError::Ring): while a worker of this rank is alive, its pid is named.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// assert_eq!(worker.rank(), 0);
    /// assert!(Worker::<FixedFrame<256>>::start(&config, 1).is_err(), "the session has one");
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(config: &RunnerMyelonTransportConfig, rank: usize) -> TransportResult<Self> {
        Self::start_in(&Places::in_shared_memory(config)?, rank)
    }
}

impl<F: FramedTransportFrame> Worker<F, MappedFile> {
    /// As [`start`](Worker::start), with rings in files in the directory `root`.
    ///
    /// # Errors
    ///
    /// As [`start`](Worker::start).
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
    /// # let scheduler = Scheduler::<FixedFrame<256>, _>::start_in_files(&config, root)?;
    /// let worker = Worker::<FixedFrame<256>, _>::start_in_files(&config, 0, root)?;
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_in_files(
        config: &RunnerMyelonTransportConfig,
        rank: usize,
        root: impl AsRef<Path>,
    ) -> TransportResult<Self> {
        Self::start_in(&Places::in_files(config, root.as_ref())?, rank)
    }
}

impl<F: FramedTransportFrame, B> Worker<F, B> {
    fn start_in(places: &Places<F, B>, rank: usize) -> TransportResult<Self> {
        places.check_rank(rank)?;
        // its own ring first: the scheduler may be waiting for it
        let responses = TypedProducer::from_builder(places.responses(rank))?;
        keep_a_place_for_the_scheduler(places, rank)?;
        let requests = places
            .requests()
            .with_consumer_id(&places.config.worker_id(rank))
            .wait_for_ring(places.config.transport.start_timeout);
        Ok(Self {
            requests: TypedConsumer::from_builder(requests)?,
            responses,
            rank,
        })
    }

    /// The scheduler's next message, waiting for it until the deadline. It is released when it is dropped: a worker that
    /// dies before gets it again when it comes back.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
    /// let message = worker.recv(Deadline::NEVER)?;
    /// assert_eq!((message.kind(), &*message), (1, &b"compute"[..]));
    /// # drop(message);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv(&mut self, deadline: Deadline) -> Result<Message<'_, F, B>, RecvError> {
        self.requests.recv_raw(deadline)
    }

    /// Hands the scheduler's next message to `answer`, waiting for it until the deadline, and sends back what that returns,
    /// under the message's kind, before the message is released: a worker that dies in between answers again when it comes
    /// back, so that each request has one answer at least. Returns the answer's sequence.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`] and [`FramedTransportProducer::send`]; in the latter case the message comes
    /// again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// scheduler.broadcast(b"7", 1, Deadline::NEVER)?;
    /// worker.serve(Deadline::NEVER, |_kind, request| [request, b" done"].concat())?;
    /// let (_rank, answer) = scheduler.recv_any(Deadline::NEVER)?;
    /// assert_eq!((answer.kind(), &*answer), (1, &b"7 done"[..]));
    /// # drop(answer);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve<A: AsRef<[u8]>>(
        &mut self,
        deadline: Deadline,
        answer: impl FnOnce(u8, &[u8]) -> A,
    ) -> TransportResult<Sequence> {
        let request = self.requests.recv_raw(deadline)?;
        let kind = request.kind();
        let reply = answer(kind, &request);
        match self.responses.raw().send(reply.as_ref(), kind, deadline) {
            Ok(sequence) => {
                request.release();
                Ok(sequence)
            }
            Err(error) => {
                request.release_uncommitted();
                Err(error)
            }
        }
    }

    /// As [`serve`](Self::serve), of values: the request is decoded, and the answer encoded.
    ///
    /// # Errors
    ///
    /// [`TypedServeError::Recv`], for a request that is none of `Q`, too: it is consumed. [`TypedServeError::Publish`]: the
    /// request comes again, unless its answer cannot be encoded, which it could not be the next time, either.
    ///
    /// # Examples
    ///
    /// See [`Scheduler::broadcast_value`](super::Scheduler::broadcast_value).
    pub fn serve_value<Q: Codec, A: Codec>(
        &mut self,
        deadline: Deadline,
        answer: impl FnOnce(u8, Q) -> A,
    ) -> Result<Sequence, TypedServeError> {
        let responses = &mut self.responses;
        self.requests
            .recv_with(deadline, |kind, request| {
                let sent = responses.send(&answer(kind, request), kind, deadline);
                let is_done = !matches!(sent, Err(TypedPublishError::Transport(_)));
                (is_done, sent)
            })?
            .map_err(TypedServeError::Publish)
    }

    /// Sends to the scheduler, waiting for space until the deadline. Returns the sequence of the last frame.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.respond(b"ready", 2, Deadline::NEVER)?;
    /// assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, b"ready");
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn respond(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        self.responses.raw().send(message, kind, deadline)
    }

    /// The worker's number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// assert_eq!(worker.rank(), 0);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The transport that the scheduler's messages come by.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
    /// worker.recv(Deadline::NEVER)?.release();
    /// assert_eq!(worker.requests().received().messages, 1);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn requests(&mut self) -> &mut FramedTransportConsumer<F, B> {
        self.requests.raw()
    }

    /// The transport that answers go by.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.responses().stamp_send_times(true);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn responses(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.responses.raw()
    }

    /// Ends this worker for good: closes its ring and gives up its place in the scheduler's, that also when its ring cannot
    /// be closed. Dropping it closes the ring, but keeps the place for a successor.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.leave()?;
    /// assert!(!scheduler.missing_workers()[0].is_away, "no place is kept");
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leave(self) -> MultiProcessResult<()> {
        let closed = self.responses.close();
        closed.and(self.requests.leave())
    }
}

/// What is answered before the scheduler has come is kept for it, also when the worker is gone by then.
fn keep_a_place_for_the_scheduler<F: FramedTransportFrame, B>(
    places: &Places<F, B>,
    rank: usize,
) -> TransportResult<()> {
    let scheduler = places.responses(rank).with_consumer_id(SCHEDULER_ID);
    match scheduler.build_consumer() {
        Ok(place) => Ok(place.detach()?),
        Err(MultiProcessError::ConsumerAlreadyAttached { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
