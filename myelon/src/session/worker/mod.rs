//! The worker's side of a session.

mod receiver;
mod sender;

use std::fmt;
use std::path::Path;

use disruptor_mp::{
    Deadline, DiscoveryMode, MappedFile, MultiProcessResult, Sequence, SharedMemory,
};

use super::config::RunnerMyelonTransportConfig;
use super::head::{Head, HeadedBytes, HeadedValue, RequestId, only_of_the_transport};
use super::received::Request;
use super::{Places, SCHEDULER_ID, check_rank};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, TransportError,
    TransportResult,
};
use crate::typed_transport::{TypedProducer, TypedPublishError, TypedServeError};

pub use receiver::RequestReceiver;
pub use sender::{Reply, ResponseSender};

use sender::{given_up, is_cancelled, is_for_want_of_space, send_answer};

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
#[derive(Debug)]
pub struct Worker<Req: FramedTransportFrame, Resp: FramedTransportFrame = Req, B = SharedMemory> {
    receiver: RequestReceiver<Req, B>,
    sender: ResponseSender<Resp, B>,
    given_up: Option<DeliveryLimit>,
}

/// Is told the number, the kind and the bytes of a request that was given up.
type Tell = dyn FnMut(RequestId, u8, &[u8]) + Send;

/// When a worker gives a request up, and whom it tells.
struct DeliveryLimit {
    deliveries: u32,
    tell: Box<Tell>,
}

impl fmt::Debug for DeliveryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryLimit")
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame> Worker<Req, Resp> {
    /// Starts the worker `rank`, counted from 0. It creates the worker's ring, or takes over the ring that a
    /// dead predecessor left, and attaches to the scheduler's ring. It waits for that ring up to
    /// [`start_timeout`](crate::MyelonTransportConfig::start_timeout).
    ///
    /// # Errors
    ///
    /// [`TransportError::NoSuchWorker`](crate::TransportError::NoSuchWorker),
    /// [`TransportError::Ring`](crate::TransportError::Ring). If a worker of this rank is alive, the error
    /// names its pid.
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
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{RunnerMyelonTransportConfig, Scheduler, Worker};
    ///
    /// # let root = tempfile::tempdir()?;
    /// # let root = root.path();
    /// let config = RunnerMyelonTransportConfig::new("a session", 1);
    /// # let scheduler = Scheduler::<FixedFrame<256>, FixedFrame<256>, _>::start_in_files(&config, root)?;
    /// let worker = Worker::<FixedFrame<256>, FixedFrame<256>, _>::start_in_files(&config, 0, root)?;
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let responses = TypedProducer::from_builder(responses)?;
        let mut receiver = RequestReceiver::attach(places, rank)?;
        let mut sender = ResponseSender {
            responses,
            rank,
            session: receiver.session(),
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
        })
    }

    /// Parts the worker into a half that receives requests and a half that sends answers. Both can be held at once: a
    /// request stays lent while its answer goes out piece by piece. They may live in different threads.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let (mut requests, mut responses) = Worker::<FixedFrame<256>>::start(&config, 0)?.split();
    /// # scheduler.broadcast(b"one two three", 1, Deadline::NEVER)?;
    /// let request = requests.recv(Deadline::NEVER)?;
    /// let mut reply = responses.reply(request.id());
    /// for word in request.split(|byte| *byte == b' ') {
    ///     reply.send(word, request.kind(), Deadline::NEVER)?;
    /// }
    /// reply.finish(b"", request.kind(), Deadline::NEVER)?;
    /// request.release(); // a worker that dies before this receives the request again
    /// # assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, b"one");
    /// # drop((requests, responses));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(self) -> (RequestReceiver<Req, B>, ResponseSender<Resp, B>) {
        (self.receiver, self.sender)
    }

    /// The scheduler's next request, to all workers or to this one; waits for it until the deadline. The request is
    /// released when it is dropped. A worker that dies before that receives the request again when it comes back.
    ///
    /// # Errors
    ///
    /// [`TransportError::Recv`] as [`FramedTransportConsumer::recv`], except that the death of a scheduler is told
    /// once: the next call waits for another one. [`TransportError::Ring`] if the ring of the requests to this worker
    /// does not fit.
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
    pub fn recv(&mut self, deadline: Deadline) -> TransportResult<Request<'_, Req, B>> {
        self.receiver.recv(deadline)
    }

    /// Hands the scheduler's next request to `answer`, and sends back the result under the request's kind.
    /// Waits for the message until the deadline, and returns the answer's sequence. The message is released
    /// only after the answer is sent. So a worker that dies between the two answers again when it comes back:
    /// each request has at least one answer.
    ///
    /// If the scheduler has died or has not come, its place is kept, and an answer that finds no space waits
    /// for space until the deadline. Once the scheduler has closed the session, no answer waits: the requests
    /// that are left are served, no process receives their answers, and then this call returns
    /// [`Closed`](disruptor_mp::RecvError::Closed).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv) and [`FramedTransportProducer::send`]; if sending fails, the
    /// message is delivered again. [`TransportError::SessionClosed`] if a consumer outside the session holds
    /// the ring of answers; the message is delivered again.
    pub fn serve<A: AsRef<[u8]>>(
        &mut self,
        deadline: Deadline,
        answer: impl FnOnce(u8, &[u8]) -> A,
    ) -> TransportResult<Sequence> {
        self.give_up_repeated(deadline)?;
        let request = self.receiver.recv(deadline)?;
        let kind = request.kind();
        let head = Head::answer_to(request.id());
        let reply = answer(kind, &request);
        let reply = HeadedBytes(head, reply.as_ref());
        let sent = send_answer(
            &mut self.sender.responses,
            deadline,
            is_cancelled,
            |responses| {
                let sent = responses.send_encoded(&reply, kind, deadline);
                sent.map_err(only_of_the_transport)
            },
        );
        match sent {
            Ok(sequence) => {
                request.release();
                Ok(sequence)
            }
            Err(error) => {
                request.release_uncommitted();
                if is_for_want_of_space(&error) {
                    self.receiver.uncount_delivery();
                }
                Err(error)
            }
        }
    }

    /// As [`serve`](Self::serve), but with values: the request is decoded, and the answer is encoded.
    ///
    /// # Errors
    ///
    /// [`TypedServeError::Recv`], also for a request that is no `Q`, which is consumed.
    /// [`TypedServeError::Publish`]: the request is delivered again. If the answer cannot be encoded, the
    /// request is consumed instead, because the next attempt would fail in the same way.
    ///
    /// # Examples
    ///
    /// See [`Scheduler::broadcast_value`](super::Scheduler::broadcast_value).
    pub fn serve_value<Q: Codec, A: Codec>(
        &mut self,
        deadline: Deadline,
        answer: impl FnOnce(u8, Q) -> A,
    ) -> Result<Sequence, TypedServeError> {
        self.give_up_repeated(deadline).map_err(not_received)?;
        let request = self.receiver.recv(deadline).map_err(not_received)?;
        let kind = request.kind();
        let value = match request.decode::<Q>() {
            Ok(value) => value,
            Err(error) => {
                request.release();
                return Err(TypedServeError::Recv(error.into()));
            }
        };
        let head = Head::answer_to(request.id());
        let reply = answer(kind, value);
        let is_cancelled = |error: &TypedPublishError| match error {
            TypedPublishError::Transport(error) => is_cancelled(error),
            TypedPublishError::Encode { .. } => false,
        };
        let sent = send_answer(
            &mut self.sender.responses,
            deadline,
            is_cancelled,
            |responses| responses.send_encoded(&HeadedValue(head, &reply), kind, deadline),
        );
        match &sent {
            // the next attempt would fail in the same way
            Ok(_) | Err(TypedPublishError::Encode { .. }) => {
                request.release();
                self.receiver.count();
            }
            Err(TypedPublishError::Transport(error)) => {
                request.release_uncommitted();
                if is_for_want_of_space(error) {
                    self.receiver.uncount_delivery();
                }
            }
        }
        sent.map_err(TypedServeError::Publish)
    }

    /// From now on, `serve` and `serve_value` give up a request that was delivered more than `deliveries` times: `tell`
    /// gets its number, kind and bytes, the scheduler gets an empty answer that
    /// [is given up](super::Response::is_given_up), and the request is done. So a request that kills its workers does
    /// not kill them for ever. Without a limit each request is served however often it was delivered. A program that
    /// receives requests itself looks at [`Request::delivery`], and calls [`ResponseSender::give_up`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.set_delivery_limit(2, |request, _kind, _bytes| eprintln!("gave up request {request}"));
    /// let sent = scheduler.send_to(0, b"poison", 1, Deadline::NEVER)?;
    /// for _ in 0..2 {
    ///     worker.recv(Deadline::NEVER)?.release_uncommitted(); // as if the worker had died of it
    /// }
    /// # scheduler.send_to(0, b"food", 1, Deadline::NEVER)?;
    /// worker.serve(Deadline::NEVER, |_kind, _request| b"done")?;
    /// let (_, answer) = scheduler.recv_any(Deadline::NEVER)?;
    /// assert!(answer.request() == Some(sent) && answer.is_given_up());
    /// # drop(answer);
    /// # assert_eq!(&*scheduler.recv_any(Deadline::NEVER)?.1, b"done");
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_delivery_limit(
        &mut self,
        deliveries: u32,
        tell: impl FnMut(RequestId, u8, &[u8]) + Send + 'static,
    ) {
        self.given_up = Some(DeliveryLimit {
            deliveries,
            tell: Box::new(tell),
        });
    }

    /// Gives up the requests at the head of the ring that were delivered too often.
    fn give_up_repeated(&mut self, deadline: Deadline) -> TransportResult<()> {
        let Some(limit) = &mut self.given_up else {
            return Ok(());
        };
        while self.receiver.deliveries_of_next(deadline)? >= limit.deliveries {
            let request = self.receiver.recv(deadline)?;
            let head = given_up(request.id());
            let kind = request.kind();
            let answer = HeadedBytes(head, &[]);
            let sent = send_answer(
                &mut self.sender.responses,
                deadline,
                is_cancelled,
                |responses| {
                    let sent = responses.send_encoded(&answer, kind, deadline);
                    sent.map_err(only_of_the_transport)
                },
            );
            match sent {
                Ok(_) => {
                    (limit.tell)(request.id(), kind, &request);
                    request.release();
                }
                Err(error) => {
                    request.release_uncommitted();
                    self.receiver.uncount_delivery();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sends a message to the scheduler. Waits for space until the deadline. It waits also while the scheduler
    /// has died or has not come, as the scheduler's place is kept. Returns the sequence of the message's last
    /// frame.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`]. [`TransportError::SessionClosed`] once the scheduler has closed
    /// the session, also for a call that is waiting at that moment; the message is then not sent.
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
    /// See [`ResponseSender::respond_value`].
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
    /// See [`ResponseSender::is_closing`].
    pub fn is_closing(&mut self) -> bool {
        self.sender.is_closing()
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.receiver.rank()
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
        let closed = self.sender.close();
        closed.and(self.receiver.leave())
    }
}

/// A request was not received, as an error of values.
fn not_received(error: TransportError) -> TypedServeError {
    match error {
        TransportError::Recv(error) => TypedServeError::Recv(error.into()),
        TransportError::Ring(error) => TypedServeError::Ring(error),
        error => TypedPublishError::Transport(error).into(),
    }
}
