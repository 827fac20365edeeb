//! An actor that changes its working directory while it has rings in files that it named by relative paths.

use std::env::set_current_dir;
use std::path::Path;

use disruptor_mp::{CountersFile, Deadline, MmapProducer, MmapTransportLayout};
use myelon::transport::FixedFrame;
use myelon::{FixedTopology, RunnerMyelonTransportConfig, Scheduler, Worker, WorkerCount};

use crate::Answer;

type Frame = FixedFrame<64>;

/// `move-about`: every call that takes a path gets a relative one, and then the program changes its directory
/// to `/`. Reports how many files are left in the rings' directory at the end, and the path that the counters
/// report.
pub(crate) fn about(directory: &str) -> Answer {
    set_current_dir(directory)?;
    let layout = MmapTransportLayout::new("rings", "ring");
    let tx = MmapProducer::<u64>::create(&layout, 8, || 0)?;
    let topology = FixedTopology::in_files("rings", "topology", 8, WorkerCount::Two);
    let config = RunnerMyelonTransportConfig::new("moving", 2);
    let mut scheduler = Scheduler::<Frame, Frame, _>::start_in_files(&config, "rings")?;
    let first = Worker::<Frame, Frame, _>::start_in_files(&config, 0, "rings")?;
    let counters = CountersFile::create("counters")?;
    set_current_dir("/")?;

    // the scheduler finds a worker that starts later
    let mut late =
        Worker::<Frame, Frame, _>::start_in_files(&config, 1, Path::new(directory).join("rings"))?;
    late.respond(b"here", 1, Deadline::NEVER)?;
    let (rank, message) = scheduler.recv_any(Deadline::NEVER)?;
    assert_eq!((rank, &*message), (1, &b"here"[..]));
    drop(message);
    for worker in [first, late] {
        worker.leave()?;
    }
    scheduler.close()?;
    tx.close()?;
    topology.build_scheduler(|| 0_u64)?.destroy()?;
    let left = std::fs::read_dir(Path::new(directory).join("rings"))?.count();
    let is_there = layout.root() == Path::new(directory).join("rings");
    let counters = counters.path().map(|path| path.display().to_string());
    Ok(format!(
        "left={left} there={is_there} counters={}",
        counters.unwrap_or_default()
    ))
}
