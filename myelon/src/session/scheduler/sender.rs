//! The half of a scheduler that sends requests.

use disruptor_mp::{CloseReport, Deadline, MultiProcessResult, Sequence, SharedMemory};

use super::super::check_rank;
use super::super::config::RunnerMyelonTransportConfig;
use crate::codec::Codec;
use crate::transport::{FramedTransportFrame, FramedTransportProducer, TransportResult};
use crate::typed_transport::{TypedProducer, TypedPublishError};

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

/// The half of a [`Scheduler`](super::Scheduler) that sends requests: [`Scheduler::split`](super::Scheduler::split)
/// returns it. Dropping it closes the session.
///
/// # Examples
///
/// See [`Scheduler::split`](super::Scheduler::split).
#[derive(Debug)]
pub struct RequestSender<F: FramedTransportFrame, B = SharedMemory> {
    pub(super) requests: TypedProducer<F, B>,
    pub(super) config: RunnerMyelonTransportConfig,
}

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
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

    /// The workers that are not attached at present.
    pub fn missing_workers(&mut self) -> Vec<MissingWorker> {
        let config = &self.config;
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
        check_rank(&self.config, rank)?;
        let id = self.config.worker_id(rank);
        Ok(self.requests.raw().ring().remove_consumer(&id)?)
    }

    /// The transport on which messages to all workers are sent.
    pub fn transport(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.requests.raw()
    }

    /// Ends the session in order: workers receive the messages that were sent, and then the end. Never waits. Sent
    /// messages are kept for workers that have not come or are away.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.requests.close()
    }
}
