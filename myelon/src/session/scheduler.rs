//! The scheduler's side of a session.

use std::path::Path;
use std::time::{Duration, Instant};

use disruptor_mp::{
    DEFAULT_MAX_CONSUMERS, Deadline, MappedFile, MultiProcessError, MultiProcessResult, RecvError,
    RingSet, Sequence, SharedMemory, perform_sleep_wait,
};

use super::{Places, SCHEDULER_ID};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, Message,
    RunnerMyelonTransportConfig, TransportError, TransportResult, WORKER_PREFIX,
};
use crate::typed_transport::{
    DecodeError, TypedConsumer, TypedProducer, TypedPublishError, decode,
};

/// How often a scheduler looks for the rings of workers that have not started.
const LOOK_FOR_WORKERS: Duration = Duration::from_millis(10);

/// The scheduler of a session: sends each message to all its [`Worker`](super::Worker)s, and receives from each.
///
/// # Examples
///
/// ```
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
///
/// # let session = myelon::portable_shm_segment_name("doc");
/// let config = RunnerMyelonTransportConfig::new(&session, 2);
/// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?; // processes of their own, in any order
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
/// # for worker in workers { worker.leave()?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scheduler<F: FramedTransportFrame, B = SharedMemory> {
    requests: TypedProducer<F, B>,
    /// Of each worker, once its ring is there.
    responses: Vec<Option<TypedConsumer<F, B>>>,
    places: Places<F, B>,
    /// Which worker is asked first: the one after the last that answered.
    turn: usize,
    next_look: Instant,
}

/// A ring has a line for each worker; so many rings one can wait for at once, too.
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
    /// Its number.
    pub rank: usize,
    /// Its consumer id.
    pub id: String,
    /// Whether it was here before: its place in the ring is kept.
    pub is_away: bool,
}

impl<F: FramedTransportFrame> Scheduler<F> {
    /// Starts the scheduler: creates its ring, or takes over the one that a dead predecessor left. Workers are attached to
    /// when they come. Never waits.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`]: while a scheduler of this session is alive, its pid is named.
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
        Ok(Self {
            requests: TypedProducer::from_builder(requests)?,
            responses: (0..workers).map(|_| None).collect(),
            places,
            turn: 0,
            next_look: Instant::now(),
        })
    }

    /// Sends a message to all workers, waiting for space until the deadline. Returns the sequence of its last frame.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`]: a worker that holds the ring is named.
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
    /// assert_eq!(&*worker.recv(Deadline::NEVER)?, b"compute");
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        self.requests.raw().send(message, kind, deadline)
    }

    /// As [`broadcast`](Self::broadcast), of a value: it is encoded once, into the frame that all workers read.
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

    /// The next message of any worker, and that worker's rank, waiting for it until the deadline. Workers take turns.
    /// Answers of a worker that has died are received, and then those of its successor.
    ///
    /// # Errors
    ///
    /// [`TransportError::Recv`], with the time-out or a fork; [`TransportError::Ring`] when a worker's ring does not fit.
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
    /// let (rank, message) = scheduler.recv_any(Deadline::NEVER)?;
    /// assert_eq!((rank, message.kind(), &*message), (0, 2, &b"ready"[..]));
    /// # drop(message);
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Message<'_, F, B>)> {
        let rank = self.wait_for_any(deadline)?;
        match &mut self.responses[rank] {
            Some(responses) => Ok((rank, responses.recv_raw(deadline)?)),
            None => Err(RecvError::Timeout.into()),
        }
    }

    /// As [`recv_any`](Self::recv_any), of a value: its worker's rank, its kind, and what became of it. What cannot be
    /// decoded is consumed.
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
        if let (Ok(_), Some(responses)) = (&value, &mut self.responses[rank]) {
            responses.count();
        }
        Ok((rank, kind, value))
    }

    /// The rank of a worker that has a whole message.
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

    /// Attaches to the rings of workers that have started since.
    fn attach_workers(&mut self) -> TransportResult<()> {
        let now = Instant::now();
        if self.responses.iter().all(Option::is_some) || now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK_FOR_WORKERS;
        for (rank, responses) in self.responses.iter_mut().enumerate() {
            if responses.is_none() {
                let builder = self.places.responses(rank).with_consumer_id(SCHEDULER_ID);
                *responses = match TypedConsumer::from_builder(builder) {
                    Ok(attached) => Some(attached),
                    Err(TransportError::Ring(
                        MultiProcessError::NotFound { .. }
                        // a worker that is just starting keeps the place
                        | MultiProcessError::ConsumerAlreadyAttached { .. },
                    )) => None,
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(())
    }

    /// A worker that has a whole message, if there is one.
    fn poll(&mut self) -> TransportResult<Option<usize>> {
        let workers = self.responses.len();
        for rank in (self.turn..self.turn + workers).map(|turn| turn % workers) {
            let Some(responses) = &mut self.responses[rank] else {
                continue;
            };
            match responses.raw().has_message() {
                Ok(true) => return Ok(Some(rank)),
                // a successor goes on in the same ring
                Ok(false) | Err(RecvError::ProducerDead { .. }) => {}
                // a successor makes another one
                Err(RecvError::Closed) => self.responses[rank] = None,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Until one of the rings has news, or it is time to look for workers that are missing.
    fn sleep(&mut self, deadline: Deadline) -> TransportResult<()> {
        let is_complete = self.responses.iter().all(Option::is_some);
        let rest = deadline.remaining().unwrap_or(Duration::MAX);
        let longest = match is_complete {
            true => rest,
            false => rest.min(LOOK_FOR_WORKERS),
        };
        let rings = self.responses.iter_mut().flatten();
        let mut set = RingSet::of(rings.map(|responses| responses.raw().as_ring()))
            .expect("no more workers than a ring has consumers")
            .with_wait_strategy(self.places.config.transport.wait_strategy.into());
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// assert!(scheduler.missing_workers().is_empty());
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn missing_workers(&mut self) -> Vec<MissingWorker> {
        let config = self.places.config.clone();
        let requests = self.requests.raw();
        let attached = requests.ring().attached_consumer_ids();
        (0..config.workers)
            .map(|rank| (rank, config.worker_id(rank)))
            .filter(|(_, id)| !attached.contains(id))
            .map(|(rank, id)| MissingWorker {
                rank,
                is_away: requests.discover_consumer_id(&id),
                id,
            })
            .collect()
    }

    /// Forgets a worker that will not come back: it holds the ring no longer.
    ///
    /// # Errors
    ///
    /// [`TransportError::NoSuchWorker`]; [`TransportError::Ring`] while it is attached, or when it never came.
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
        self.places.check_rank(rank)?;
        let id = self.places.config.worker_id(rank);
        Ok(self.requests.raw().ring().remove_consumer(&id)?)
    }

    /// The transport that messages to all workers go by.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// use myelon::CountersFile;
    ///
    /// scheduler.requests().attach_counters(&CountersFile::anonymous())?;
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn requests(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.requests.raw()
    }

    /// The transport that a worker's messages come by, once its ring is there.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// assert!(scheduler.responses(0).is_none(), "nothing was received yet");
    /// worker.respond(b"ready", 2, Deadline::NEVER)?;
    /// scheduler.recv_any(Deadline::NEVER)?.1.release();
    /// assert_eq!(scheduler.responses(0).map(|it| it.received().messages), Some(1));
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn responses(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<F, B>> {
        Some(self.responses.get_mut(rank)?.as_mut()?.raw())
    }

    /// Ends the session in order: workers receive what was sent, and then its end.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
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
    pub fn close(self) -> MultiProcessResult<()> {
        self.requests.close()
    }
}
