//! Helpers that the tests of sessions share: members on either backing, and the rings that they leave behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use myelon::transport::FixedFrame;
use myelon::{
    Deadline, MappedFile, MyelonTransportConfig, RunnerMyelonTransportConfig, Scheduler,
    SharedMemory, TransportResult, Worker, portable_shm_segment_name,
};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
pub(crate) type Frame = FixedFrame<64>;

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// The bytes of the worker's next request, which is done.
pub(crate) fn take<B>(worker: &mut Worker<Frame, Frame, B>) -> TransportResult<Vec<u8>> {
    let request = worker.recv(soon())?;
    let bytes = request.to_vec();
    request.done();
    Ok(bytes)
}

/// A session with a label of its own.
pub(crate) fn session(workers: usize) -> RunnerMyelonTransportConfig {
    let rings = MyelonTransportConfig::default()
        .with_rpc_depth(16)
        .with_response_depth(16)
        .with_start_timeout(Duration::from_secs(20));
    RunnerMyelonTransportConfig::new(portable_shm_segment_name("test"), workers)
        .with_transport(rings)
}

/// The same test on either backing.
pub(crate) trait Backing: Sized + 'static {
    fn scheduler(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>>;
    /// A scheduler that receives its predecessor's answers, too.
    fn resumed(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>>;
    fn worker(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
        rank: usize,
    ) -> TransportResult<Worker<Frame, Frame, Self>>;
    /// The directory in which its rings have their names.
    fn directory(root: &Path) -> PathBuf;

    /// The rings of this session that have a name.
    fn rings(config: &RunnerMyelonTransportConfig, root: &Path) -> Vec<String> {
        let layout = config.layout().expect("names");
        let ranks = 0..config.workers;
        let of_workers = ranks.flat_map(|rank| {
            [
                layout.response_ring_name(rank),
                layout.request_ring_name(rank),
            ]
        });
        let mut names: Vec<_> = of_workers.chain([layout.rpc_ring_name()]).collect();
        names.retain(|name| Self::directory(root).join(name).exists());
        names
    }
}

/// Waits for a condition that must come true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Backing for SharedMemory {
    fn scheduler(
        config: &RunnerMyelonTransportConfig,
        _: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::start(config)
    }
    fn resumed(
        config: &RunnerMyelonTransportConfig,
        _: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::resume(config)
    }
    fn worker(
        config: &RunnerMyelonTransportConfig,
        _: &Path,
        rank: usize,
    ) -> TransportResult<Worker<Frame, Frame, Self>> {
        Worker::start(config, rank)
    }
    fn directory(_: &Path) -> PathBuf {
        PathBuf::from("/dev/shm")
    }
}

impl Backing for MappedFile {
    fn scheduler(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::start_in_files(config, root)
    }
    fn resumed(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
    ) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::resume_in_files(config, root)
    }
    fn worker(
        config: &RunnerMyelonTransportConfig,
        root: &Path,
        rank: usize,
    ) -> TransportResult<Worker<Frame, Frame, Self>> {
        Worker::start_in_files(config, rank, root)
    }
    fn directory(root: &Path) -> PathBuf {
        root.to_owned()
    }
}
