//! One scheduler and its workers: a ring on which the scheduler sends to all of them, and one from each worker back.
//!
//! The scheduler's ring belongs to the scheduler, and each worker is a durable consumer of it by its rank; a worker's ring
//! belongs to the worker, and the scheduler is its one durable consumer. All are expected by name before they have come,
//! so that members may start in any order and miss nothing; the rings fill until then, and no further.
//!
//! A worker that dies keeps its place: the scheduler is held up once the ring is full, and whoever starts with that rank
//! goes on where the dead one was, with the message at hand again. A scheduler that dies is succeeded on the same ring;
//! workers wait. Whoever ends in order closes its ring, and its name goes when it is drained.

mod scheduler;
mod worker;

use std::path::{Path, PathBuf};

use disruptor_mp::{DisruptorBuilder, MappedFile, MmapTransportLayout, SharedMemory};

pub use scheduler::{MissingWorker, Scheduler};
pub use worker::Worker;

use crate::transport::{
    FramedTransportFrame, MyelonTransportLayout, RingPlace, RunnerMyelonTransportConfig,
    TransportError, TransportResult,
};

/// The scheduler's id on its workers' rings.
const SCHEDULER_ID: &str = "scheduler";

/// Where a session's rings are, and how one gets at them.
#[derive(Debug)]
struct Places<F: FramedTransportFrame, B> {
    config: RunnerMyelonTransportConfig,
    layout: MyelonTransportLayout,
    root: PathBuf,
    /// A builder of the ring with this name and depth in the directory.
    builder: fn(&Path, &str, usize) -> DisruptorBuilder<F, B>,
}

impl<F: FramedTransportFrame> Places<F, SharedMemory> {
    fn in_shared_memory(config: &RunnerMyelonTransportConfig) -> TransportResult<Self> {
        Self::new(config, Path::new(""), |_, name, depth| name.builder(depth))
    }
}

impl<F: FramedTransportFrame> Places<F, MappedFile> {
    fn in_files(config: &RunnerMyelonTransportConfig, root: &Path) -> TransportResult<Self> {
        Self::new(config, root, |root, name, depth| {
            MmapTransportLayout::new(root, name).builder(depth)
        })
    }
}

impl<F: FramedTransportFrame, B> Places<F, B> {
    fn new(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
        builder: fn(&Path, &str, usize) -> DisruptorBuilder<F, B>,
    ) -> TransportResult<Self> {
        Ok(Self {
            layout: config.layout()?,
            config: config.clone(),
            root: root.to_owned(),
            builder,
        })
    }

    /// The ring from the scheduler to all workers.
    fn requests(&self) -> DisruptorBuilder<F, B> {
        self.ring(
            &self.layout.rpc_ring_name(),
            self.config.transport.rpc_depth,
        )
    }

    /// The ring from the worker `rank` to the scheduler.
    fn responses(&self, rank: usize) -> DisruptorBuilder<F, B> {
        let name = self.layout.response_ring_name(rank);
        self.ring(&name, self.config.transport.response_depth)
    }

    fn ring(&self, name: &str, depth: usize) -> DisruptorBuilder<F, B> {
        let config = &self.config.transport;
        (self.builder)(&self.root, name, depth)
            .with_liveness_interval(config.liveness_interval)
            .with_wait_strategy(config.wait_strategy.into())
    }

    /// Refuses a worker that the session does not have.
    fn check_rank(&self, rank: usize) -> TransportResult<()> {
        let workers = self.config.workers;
        match rank < workers {
            true => Ok(()),
            false => Err(TransportError::NoSuchWorker { rank, workers }),
        }
    }
}
