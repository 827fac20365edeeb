//! One scheduler and its workers: one ring on which the scheduler sends to all workers, one ring from each worker back
//! to the scheduler, and one ring of requests to each worker alone, which the scheduler makes when it first needs it.
//!
//! Each request has a number ([`RequestId`]). A worker receives what is sent to all and what is sent to it alone in the
//! order of the numbers, which is the order in which it was sent. Each answer names its request. A head of 16
//! bytes in front of each message has the number, so a frame carries 16 bytes less.
//!
//! The scheduler's ring belongs to the scheduler; each worker is a durable consumer of it, with an id made from
//! its rank. A worker's ring belongs to the worker; the scheduler is its one durable consumer. Each ring's
//! producer expects these consumers by id from the start. So the members may start in any order and miss
//! nothing: until a consumer has come, the ring fills once and no further.
//!
//! A worker that dies keeps its place, so the scheduler blocks once its ring is full. The next process that
//! starts with that rank continues where the dead worker was, and receives the message that the dead worker was
//! handling again. A worker that has left, or was removed, and comes again receives only messages that are sent
//! after it has come again. If the scheduler dies, a successor takes over the same ring. Workers keep their
//! answers for the successor, and wait for it once their rings are full.
//!
//! A member that ends in order closes its ring, and the ring's name is removed when the ring is drained. A
//! scheduler that closes the session, or is dropped, gives up the answers that it has not received. Workers
//! still receive every request that was sent, no process receives their answers to those requests, and then
//! they receive the end. From the close on, no worker waits for space, whatever its deadline, and a message
//! that a worker sends without a request is refused with [`TransportError::SessionClosed`].

#[cfg(feature = "tokio")]
mod asynchronous;
mod clock;
pub(crate) mod config;
mod frames;
mod head;
mod in_place;
pub(crate) mod names;
mod outside;
mod received;
mod scheduler;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use disruptor_mp::inspect::shared_memory_directory;
use disruptor_mp::{
    CountersFile, Deadline, DisruptorBuilder, MappedFile, MmapTransportLayout, MultiProcessError,
    SharedMemory, perform_sleep_wait,
};

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncRequest, AsyncScheduler, AsyncWorker, Pieces};
pub(crate) use config::WORKER_PREFIX;
pub use config::{OnHandlerPanic, OnWorkerDeath};
pub use frames::{FRAME_CLASSES, WithFrames, with_frames_for};
pub use in_place::{PieceReservation, RequestReservation};
pub use outside::{RequestsSeen, requests_seen};
pub use received::{Piece, Request, Response};
pub use scheduler::{
    AnswerPieces, Gathered, MissingWorker, RequestSender, ResponseReceiver, Scheduler,
    ShutdownReport, WorkerDeath, WorkerState,
};
pub use worker::{Reply, RequestReceiver, ResponseSender, Worker};

use config::RunnerMyelonTransportConfig;
use names::MyelonTransportLayout;

use crate::delivery;
pub use crate::transport::request::RequestId;
use crate::transport::{FramedTransportFrame, RingPlace, TransportError, TransportResult};

/// The scheduler's id on its workers' rings.
const SCHEDULER_ID: &str = "scheduler";

/// The places of a session's rings, and how to build them.
#[derive(Debug)]
struct Places<F: FramedTransportFrame, B> {
    config: RunnerMyelonTransportConfig,
    layout: MyelonTransportLayout,
    root: PathBuf,
    /// Makes a builder of the ring with this name and depth in the directory.
    builder: fn(&Path, &str, usize) -> DisruptorBuilder<F, B>,
    /// The path of the ring with this name in the directory.
    path: fn(&Path, &str) -> PathBuf,
}

// a derived implementation would ask the frame and the backing for it
impl<F: FramedTransportFrame, B> Clone for Places<F, B> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            layout: self.layout.clone(),
            root: self.root.clone(),
            ..*self
        }
    }
}

impl<F: FramedTransportFrame> Places<F, SharedMemory> {
    fn in_shared_memory(config: &RunnerMyelonTransportConfig) -> TransportResult<Self> {
        let path = |_: &Path, name: &str| shared_memory_directory().join(name);
        Self::new(
            config,
            Path::new(""),
            |_, name, depth| name.builder(depth),
            path,
        )
    }
}

impl<F: FramedTransportFrame> Places<F, MappedFile> {
    fn in_files(config: &RunnerMyelonTransportConfig, root: &Path) -> TransportResult<Self> {
        let builder =
            |root: &Path, name: &str, depth| MmapTransportLayout::new(root, name).builder(depth);
        Self::new(config, root, builder, |root, name| root.join(name))
    }
}

impl<F: FramedTransportFrame, B> Places<F, B> {
    fn new(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
        builder: fn(&Path, &str, usize) -> DisruptorBuilder<F, B>,
        path: fn(&Path, &str) -> PathBuf,
    ) -> TransportResult<Self> {
        Ok(Self {
            layout: config.layout()?,
            config: config.clone(),
            // workers' rings are opened later, when the program may have changed its working directory
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            builder,
            path,
        })
    }

    /// The ring from the scheduler to all workers.
    fn requests(&self) -> DisruptorBuilder<F, B> {
        let name = self.layout.rpc_ring_name();
        self.ring(&name, "to its workers", self.config.transport.rpc_depth)
    }

    /// The ring of the requests to the worker `rank` alone.
    fn addressed(&self, rank: usize) -> DisruptorBuilder<F, B> {
        let name = self.layout.request_ring_name(rank);
        let what = format!("to worker {rank}");
        self.ring(&name, &what, self.config.transport.rpc_depth)
    }

    /// Whether a scheduler has made the ring of the requests to the worker `rank` alone.
    fn has_addressed(&self, rank: usize) -> bool {
        self.has_ring(&self.layout.request_ring_name(rank))
    }

    /// Whether the worker `rank` has made its ring of answers. Much cheaper than to attach to a ring that is not there.
    fn has_responses(&self, rank: usize) -> bool {
        self.has_ring(&self.layout.response_ring_name(rank))
    }

    /// Also if the system does not say: attaching tells why.
    fn has_ring(&self, name: &str) -> bool {
        (self.path)(&self.root, name).try_exists().unwrap_or(true)
    }

    /// The ring from the worker `rank` to the scheduler.
    fn responses(&self, rank: usize) -> DisruptorBuilder<F, B> {
        let name = self.layout.response_ring_name(rank);
        let what = format!("from worker {rank}");
        self.ring(&name, &what, self.config.transport.response_depth)
    }

    /// `what` is the ring's direction. It goes into the ring's description, because the ring's name, made from
    /// the session's tag, does not show it.
    fn ring(&self, name: &str, what: &str, depth: usize) -> DisruptorBuilder<F, B> {
        let config = &self.config.transport;
        let builder = (self.builder)(&self.root, name, depth)
            .described_as(&format!("session {}, {what}", self.config.session))
            .with_liveness_interval(self.config.liveness_interval())
            .with_wait_strategy(config.wait_strategy.into());
        let tokens = self.config.cancels.iter();
        tokens.fold(builder, DisruptorBuilder::with_cancel_token)
    }
}

/// How long a member waits for a place that another process has for a moment.
const FOR_A_MOMENT: Duration = Duration::from_millis(20);

/// Attaches to a ring. If another process has this consumer's place, it may be a producer that ends and keeps the place
/// for the consumer (R15): then it is tried again for a moment.
fn until_it_is_free<T>(mut attach: impl FnMut() -> TransportResult<T>) -> TransportResult<T> {
    let deadline = Deadline::after(FOR_A_MOMENT);
    loop {
        match attach() {
            Err(TransportError::Ring(MultiProcessError::ConsumerAlreadyAttached { .. }))
                if !deadline.has_passed() =>
            {
                perform_sleep_wait(Duration::from_millis(1));
            }
            attached => return attached,
        }
    }
}

/// Shows the counters of a ring that came after a member's counters were attached. If that fails,
/// the log says so, and the caller goes on.
fn show_later(
    file: Option<&CountersFile>,
    session: &str,
    attach: impl FnOnce(&CountersFile) -> TransportResult<()>,
) {
    if let Some(Err(error)) = file.map(attach) {
        tracing::warn!(session, %error, "the counters of a ring of the session are not shown");
    }
}

/// The error for a member that is refused because another process is this member: the scheduler, or the worker `rank`.
/// Any other error stays as it is.
fn refused(
    config: &RunnerMyelonTransportConfig,
    rank: Option<usize>,
    error: TransportError,
) -> TransportError {
    match error {
        TransportError::Ring(
            MultiProcessError::AlreadyExists { owner, .. }
            | MultiProcessError::ConsumerAlreadyAttached { owner, .. },
        ) => TransportError::MemberExists {
            session: config.session.clone(),
            rank,
            owner,
            pid: std::process::id(),
        },
        error => error,
    }
}

/// Refuses the rank of a worker that the session does not have.
fn check_rank(config: &RunnerMyelonTransportConfig, rank: usize) -> TransportResult<()> {
    let workers = config.workers;
    match rank < workers {
        true => Ok(()),
        false => Err(TransportError::NoSuchWorker {
            session: config.session.clone(),
            rank,
            workers,
        }),
    }
}
