//! The scheduler's side of a session.

use std::path::Path;
use std::time::{Duration, Instant};

use disruptor_mp::{
    CloseReport, DEFAULT_MAX_CONSUMERS, Deadline, MappedFile, MultiProcessError,
    MultiProcessResult, RecvError, RingSet, Sequence, SharedMemory, perform_sleep_wait,
};

use super::config::{RunnerMyelonTransportConfig, WORKER_PREFIX};
use super::{Places, SCHEDULER_ID};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, Message,
    TransportError, TransportResult,
};
use crate::typed_transport::{
    DecodeError, TypedConsumer, TypedProducer, TypedPublishError, decode,
};

/// How often a scheduler checks whether the rings of missing workers exist.
const LOOK_FOR_WORKERS: Duration = Duration::from_millis(10);

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
    requests: TypedProducer<F, B>,
    answers: Answers<F, B>,
    /// The worker whose ring is polled first: the one after the worker that answered last.
    turn: usize,
    next_look: Instant,
}

/// The scheduler's places on its workers' rings. Dropping this gives the places up. If a panic drops it, the
/// places are kept for a successor, as after a death.
#[derive(Debug)]
struct Answers<F: FramedTransportFrame, B> {
    /// One entry for each worker: `None` until its ring is attached.
    rings: Vec<Option<TypedConsumer<F, B>>>,
    places: Places<F, B>,
    /// The process that owns the places; a forked child must not give them up.
    process: u32,
}

impl<F: FramedTransportFrame, B> Answers<F, B> {
    /// Attaches to the ring of the worker `rank`, if it exists.
    fn attach(&mut self, rank: usize) -> TransportResult<()> {
        let builder = self.places.responses(rank).with_consumer_id(SCHEDULER_ID);
        self.rings[rank] = match TypedConsumer::from_builder(builder.skip_absence()) {
            Ok(attached) => Some(attached),
            Err(TransportError::Ring(
                MultiProcessError::NotFound { .. }
                // a worker that is ending holds the scheduler's place for a moment (R15)
                | MultiProcessError::ConsumerAlreadyAttached { .. },
            )) => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The ranks of the workers whose rings are not attached.
    fn missing(&self) -> Vec<usize> {
        let ranks = 0..self.rings.len();
        ranks.filter(|rank| self.rings[*rank].is_none()).collect()
    }

    /// Gives up the answers that were not received, including those of workers that have started since the last
    /// check. If a worker has gone, its ring's name is removed, too. Returns the first error.
    fn give_up(&mut self) -> MultiProcessResult<()> {
        for rank in self.missing() {
            // a ring that does not fit does not belong to this session
            let _ = self.attach(rank);
        }
        let attached = self.rings.drain(..).flatten();
        attached
            .map(TypedConsumer::leave)
            .fold(Ok(()), MultiProcessResult::and)
    }
}

impl<F: FramedTransportFrame, B> Drop for Answers<F, B> {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.process == std::process::id() {
            // a drop cannot return the error; `close()` does
            let _ = self.give_up();
        }
    }
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

/// A worker that is not attached.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// drop(worker); // its place is kept
/// let missing = scheduler.missing_workers();
/// assert_eq!((missing[0].rank, &*missing[0].id, missing[0].is_away), (0, "worker_0", true));
/// # Worker::<FixedFrame<256>>::start(&config, 0)?.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingWorker {
    /// The worker's rank.
    pub rank: usize,
    /// The worker's consumer id.
    pub id: String,
    /// Whether the worker was attached before: its place in the ring is kept.
    pub is_away: bool,
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
        Ok(Self {
            requests,
            answers,
            turn: 0,
            next_look: Instant::now(),
        })
    }

    /// Sends a message to all workers. Waits for space until the deadline. Returns the sequence of the
    /// message's last frame. A worker that has not come, or is away, holds the ring until it comes or is
    /// [removed](Self::remove_worker).
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`]: the error names a worker that holds the ring.
    pub fn broadcast(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        self.requests.raw().send(message, kind, deadline)
    }

    /// As [`broadcast`](Self::broadcast), but sends a value: it is encoded once, into the frame that all
    /// workers read.
    ///
    /// # Errors
    ///
    /// As [`TypedProducer::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::Bincode;
    /// use myelon::transport::FixedFrame;
    /// use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    ///
    /// # let session = myelon::portable_shm_segment_name("doc");
    /// let config = RunnerMyelonTransportConfig::new(&session, 1);
    /// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    ///
    /// scheduler.broadcast_value(&Bincode(vec![1_u64, 2, 3]), 1, Deadline::NEVER)?;
    /// worker.serve_value(Deadline::NEVER, |_kind, Bincode(numbers): Bincode<Vec<u64>>| {
    ///     Bincode(numbers.iter().sum::<u64>())
    /// })?;
    /// let (rank, kind, sum) = scheduler.recv_any_value::<Bincode<u64>>(Deadline::NEVER)?;
    /// assert_eq!((rank, kind, sum?), (0, 1, Bincode(6)));
    /// # worker.leave()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.requests.send(value, kind, deadline)
    }

    /// The next message of any worker, with that worker's rank; waits for it until the deadline. Workers take
    /// turns. If a worker has died or left, its remaining answers are received first, and then those of the
    /// next worker with its rank. If there are no workers, the call waits until the deadline for one to come.
    /// [`missing_workers`](Self::missing_workers) names the workers that are not attached.
    ///
    /// # Errors
    ///
    /// [`TransportError::Recv`] for a time-out or a fork; [`TransportError::Ring`] if a worker's ring does not
    /// fit.
    pub fn recv_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Message<'_, F, B>)> {
        let rank = self.wait_for_any(deadline)?;
        match &mut self.answers.rings[rank] {
            Some(responses) => Ok((rank, responses.recv_raw(deadline)?)),
            None => Err(RecvError::Timeout.into()),
        }
    }

    /// As [`recv_any`](Self::recv_any), but decodes a value. Returns the worker's rank, the message's kind, and
    /// the value or the error of decoding it. A message that cannot be decoded is consumed.
    ///
    /// # Errors
    ///
    /// As [`recv_any`](Self::recv_any).
    ///
    /// # Examples
    ///
    /// See [`broadcast_value`](Self::broadcast_value).
    pub fn recv_any_value<T: Codec>(
        &mut self,
        deadline: Deadline,
    ) -> TransportResult<(usize, u8, Result<T, DecodeError>)> {
        let (rank, message) = self.recv_any(deadline)?;
        let kind = message.kind();
        let value = decode(message).map(|(_, value)| value);
        if let (Ok(_), Some(responses)) = (&value, &mut self.answers.rings[rank]) {
            responses.count();
        }
        Ok((rank, kind, value))
    }

    /// Waits for a worker that has a whole message, and returns its rank.
    fn wait_for_any(&mut self, deadline: Deadline) -> TransportResult<usize> {
        loop {
            self.attach_workers()?;
            if let Some(rank) = self.poll()? {
                self.turn = rank + 1;
                return Ok(rank);
            }
            if deadline.has_passed() {
                return Err(RecvError::Timeout.into());
            }
            self.sleep(deadline)?;
        }
    }

    /// Attaches to the rings of workers that have started since the last check.
    fn attach_workers(&mut self) -> TransportResult<()> {
        let now = Instant::now();
        if self.answers.rings.iter().all(Option::is_some) || now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK_FOR_WORKERS;
        let mut missing = self.answers.missing().into_iter();
        missing.try_for_each(|rank| self.answers.attach(rank))
    }

    /// The rank of a worker that has a whole message, if there is one.
    fn poll(&mut self) -> TransportResult<Option<usize>> {
        let workers = self.answers.rings.len();
        for rank in (self.turn..self.turn + workers).map(|turn| turn % workers) {
            let Some(responses) = &mut self.answers.rings[rank] else {
                continue;
            };
            match responses.raw().has_message() {
                Ok(true) => return Ok(Some(rank)),
                // a successor of the worker continues in the same ring
                Ok(false) | Err(RecvError::ProducerDead { .. }) => {}
                // a successor of the worker creates another ring
                Err(RecvError::Closed) => self.answers.rings[rank] = None,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Waits until one of the rings has news, or until it is time to check for missing workers again.
    fn sleep(&mut self, deadline: Deadline) -> TransportResult<()> {
        let is_complete = self.answers.rings.iter().all(Option::is_some);
        let rest = deadline.remaining().unwrap_or(Duration::MAX);
        let longest = match is_complete {
            true => rest,
            false => rest.min(LOOK_FOR_WORKERS),
        };
        let rings = self.answers.rings.iter_mut().flatten();
        let mut set = RingSet::of(rings.map(|responses| responses.raw().as_ring()))
            .expect("no more workers than a ring has consumers")
            .with_wait_strategy(self.answers.places.config.transport.wait_strategy.into());
        if set.is_empty() {
            perform_sleep_wait(longest);
            return Ok(());
        }
        match set.wait(Deadline::after(longest)) {
            Ok(_) | Err(RecvError::Timeout) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The workers that are not attached at present.
    pub fn missing_workers(&mut self) -> Vec<MissingWorker> {
        let config = self.answers.places.config.clone();
        let requests = self.requests.raw();
        let attached = requests.ring().attached_consumer_ids();
        (0..config.workers)
            .map(|rank| (rank, config.worker_id(rank)))
            .filter(|(_, id)| !attached.contains(id))
            .map(|(rank, id)| MissingWorker {
                rank,
                is_away: requests.notice_consumer_id(&id),
                id,
            })
            .collect()
    }

    /// Forgets a worker that will not come back, or that has not come and never will: it no longer holds the
    /// ring, and messages that were sent are not kept for it. If it comes after all, it receives only messages
    /// that are sent after it has come. A scheduler that succeeds this one expects all workers again.
    ///
    /// # Errors
    ///
    /// [`TransportError::NoSuchWorker`]. [`TransportError::Ring`] with
    /// [`MultiProcessError::ConsumerAlreadyAttached`] while the worker is attached, and with
    /// [`MultiProcessError::NoSuchConsumer`] if it is neither away nor expected, because it has left or was
    /// removed before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// assert!(scheduler.remove_worker(0).is_err(), "it is attached");
    /// drop(worker);
    /// scheduler.remove_worker(0)?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_worker(&mut self, rank: usize) -> TransportResult<()> {
        self.answers.places.check_rank(rank)?;
        let id = self.answers.places.config.worker_id(rank);
        Ok(self.requests.raw().ring().remove_consumer(&id)?)
    }

    /// The transport on which messages to all workers are sent.
    pub fn requests(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.requests.raw()
    }

    /// The transport on which a worker's messages are received; `None` until its ring is attached.
    pub fn responses(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<F, B>> {
        Some(self.answers.rings.get_mut(rank)?.as_mut()?.raw())
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
    /// use myelon::RecvError;
    ///
    /// scheduler.broadcast(b"the last", 1, Deadline::NEVER)?;
    /// scheduler.close()?;
    /// worker.recv(Deadline::NEVER)?.release();
    /// assert!(matches!(worker.recv(Deadline::NEVER), Err(RecvError::Closed)));
    /// # worker.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        let Self {
            requests,
            mut answers,
            ..
        } = self;
        let closed = requests.close();
        if matches!(closed, Err(MultiProcessError::Forked)) {
            return closed;
        }
        let given_up = answers.give_up();
        let report = closed?;
        given_up.map(|()| report)
    }
}
