//! A fixed group of workers that all take every event of one ring: the topology of layer 0, without messages.
//!
//! For messages, and answers to them, see [`session`](crate::session).

use core::marker::PhantomData;
use std::path::{Path, PathBuf};

use disruptor_mp::{
    Consumer, DisruptorBuilder, Event, MappedFile, MmapTransportLayout, MultiProcessError,
    Producer, SharedMemory,
};

use crate::transport::{RingPlace, WORKER_PREFIX};

/// The result of what a topology does.
///
/// # Examples
///
/// ```
/// use myelon::{FixedTopology, InferenceTopologyResult, SharedConsumer};
///
/// fn attach(topology: &FixedTopology) -> InferenceTopologyResult<SharedConsumer<u64>> {
///     topology.attach_worker(0)
/// }
/// ```
pub type InferenceTopologyResult<T> = Result<T, InferenceTopologyError>;

/// What can go wrong with a topology.
///
/// # Examples
///
/// ```
/// use myelon::{FixedTopology, InferenceTopologyError, WorkerCount};
///
/// let topology = FixedTopology::new("doc", 64, WorkerCount::Two);
/// let error = topology.worker_consumer_id(2).unwrap_err();
/// assert!(matches!(error, InferenceTopologyError::NoSuchWorker { index: 2, workers: 2 }));
/// assert_eq!(error.to_string(), "there is no worker 2: the topology has 2, numbered from 0");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceTopologyError {
    /// No topology has so many workers.
    #[error("a fixed topology has 2 to 8 workers, not {found}: take a session for other numbers")]
    WorkerCount {
        /// The number that was given.
        found: usize,
    },
    /// A worker that the topology does not have.
    #[error("there is no worker {index}: the topology has {workers}, numbered from 0")]
    NoSuchWorker {
        /// The number that was given.
        index: usize,
        /// How many there are.
        workers: usize,
    },
    /// The ring could not be created, opened or attached.
    #[error(transparent)]
    Ring(#[from] MultiProcessError),
}

/// How many workers a [`FixedTopology`] has.
///
/// # Examples
///
/// ```
/// use myelon::WorkerCount;
///
/// assert_eq!(WorkerCount::from_usize(4)?, WorkerCount::Four);
/// assert_eq!(WorkerCount::Four.as_usize(), 4);
/// assert!(WorkerCount::from_usize(9).is_err());
/// # Ok::<(), myelon::InferenceTopologyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerCount {
    /// 2
    Two = 2,
    /// 3
    Three,
    /// 4
    Four,
    /// 5
    Five,
    /// 6
    Six,
    /// 7
    Seven,
    /// 8
    Eight,
}

impl WorkerCount {
    /// The number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(myelon::WorkerCount::Eight.as_usize(), 8);
    /// ```
    pub const fn as_usize(self) -> usize {
        self as usize
    }

    /// The count that is this number.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::WorkerCount`] outside 2 to 8.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::WorkerCount;
    ///
    /// assert_eq!(WorkerCount::from_usize(8)?, WorkerCount::Eight);
    /// let error = WorkerCount::from_usize(1).unwrap_err();
    /// assert_eq!(error.to_string(), "a fixed topology has 2 to 8 workers, not 1: take a session for other numbers");
    /// # Ok::<(), myelon::InferenceTopologyError>(())
    /// ```
    pub const fn from_usize(workers: usize) -> InferenceTopologyResult<Self> {
        Ok(match workers {
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            5 => Self::Five,
            6 => Self::Six,
            7 => Self::Seven,
            8 => Self::Eight,
            found => return Err(InferenceTopologyError::WorkerCount { found }),
        })
    }
}

/// One scheduler and a fixed number of workers on one ring of events: each worker takes every event, and none is missed
/// by a worker that comes late or comes back.
///
/// # Examples
///
/// ```
/// use myelon::{Deadline, FixedTopology, WorkerCount};
///
/// # let name = myelon::portable_shm_segment_name("doc");
/// let topology = FixedTopology::new(&name, 64, WorkerCount::Two);
/// let mut scheduler = topology.build_scheduler(|| 0_u64)?;
/// scheduler.send(Deadline::NEVER, |event| *event = 7)?;
/// for index in 0..topology.workers() {
///     let mut worker = topology.attach_worker::<u64>(index)?; // late, and yet it misses nothing
///     assert_eq!(*worker.recv(Deadline::NEVER)?, 7);
/// }
/// # scheduler.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedTopology<B = SharedMemory> {
    name: String,
    /// Where the ring's file is; empty in shared memory.
    root: PathBuf,
    size: usize,
    workers: WorkerCount,
    backing: PhantomData<B>,
}

mod sealed {
    use super::{DisruptorBuilder, Event, Path};

    /// Where the ring of a topology is.
    pub trait Backing: Sized {
        /// A builder of the ring with this name and size in the directory.
        fn builder<E: Event>(root: &Path, name: &str, size: usize) -> DisruptorBuilder<E, Self>;
    }
}

impl sealed::Backing for SharedMemory {
    fn builder<E: Event>(_: &Path, name: &str, size: usize) -> DisruptorBuilder<E, Self> {
        name.builder(size)
    }
}

impl sealed::Backing for MappedFile {
    fn builder<E: Event>(root: &Path, name: &str, size: usize) -> DisruptorBuilder<E, Self> {
        MmapTransportLayout::new(root, name).builder(size)
    }
}

impl FixedTopology {
    /// The ring `name` in shared memory with `size` slots, a power of two, and so many workers. Nothing is created yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// let topology = FixedTopology::new("batches", 1024, WorkerCount::Four);
    /// assert_eq!((topology.name(), topology.size(), topology.workers()), ("batches", 1024, 4));
    /// ```
    pub fn new(name: impl Into<String>, size: usize, workers: WorkerCount) -> Self {
        Self::at(name.into(), PathBuf::new(), size, workers)
    }
}

impl FixedTopology<MappedFile> {
    /// As [`new`](FixedTopology::new), with the ring in a file in the directory `root`.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// # let name = myelon::portable_shm_segment_name("doc");
    /// let topology = FixedTopology::in_files(std::env::temp_dir(), &name, 64, WorkerCount::Two);
    /// let mut scheduler = topology.build_scheduler(|| 0_u64)?;
    /// let mut worker = topology.attach_worker::<u64>(1)?;
    /// scheduler.publish_value(7);
    /// assert_eq!(worker.try_consume_next(), Some((0, 7)));
    /// # scheduler.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_files(
        root: impl Into<PathBuf>,
        name: impl Into<String>,
        size: usize,
        workers: WorkerCount,
    ) -> Self {
        Self::at(name.into(), root.into(), size, workers)
    }
}

impl<B> FixedTopology<B> {
    fn at(name: String, root: PathBuf, size: usize, workers: WorkerCount) -> Self {
        Self {
            name,
            root,
            size,
            workers,
            backing: PhantomData,
        }
    }

    /// The ring's name.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// assert_eq!(FixedTopology::new("batches", 1024, WorkerCount::Four).name(), "batches");
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many slots it has.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// assert_eq!(FixedTopology::new("batches", 1024, WorkerCount::Four).size(), 1024);
    /// ```
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many workers take its events.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// assert_eq!(FixedTopology::new("batches", 1024, WorkerCount::Four).workers(), 4);
    /// ```
    pub fn workers(&self) -> usize {
        self.workers.as_usize()
    }

    /// The consumer id of the worker `index`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::NoSuchWorker`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{Deadline, FixedTopology, WorkerCount};
    /// # let topology = FixedTopology::new(myelon::portable_shm_segment_name("doc"), 64, WorkerCount::Two);
    /// assert_eq!(topology.worker_consumer_id(1)?, "worker_1");
    /// assert!(topology.worker_consumer_id(2).is_err());
    /// # Ok::<(), myelon::InferenceTopologyError>(())
    /// ```
    pub fn worker_consumer_id(&self, index: usize) -> InferenceTopologyResult<String> {
        let workers = self.workers();
        match index < workers {
            true => Ok(format!("{WORKER_PREFIX}_{index}")),
            false => Err(InferenceTopologyError::NoSuchWorker { index, workers }),
        }
    }
}

impl<B: sealed::Backing> FixedTopology<B> {
    /// A builder of the scheduler's end, which expects all workers.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{Deadline, FixedTopology, WorkerCount};
    /// # let topology = FixedTopology::new(myelon::portable_shm_segment_name("doc"), 64, WorkerCount::Two);
    /// use std::time::Duration;
    ///
    /// let scheduler = topology
    ///     .scheduler_builder::<u64>()
    ///     .with_liveness_interval(Duration::from_millis(10))
    ///     .build_producer(|| 0)?;
    /// # scheduler.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scheduler_builder<E: Event>(&self) -> DisruptorBuilder<E, B> {
        B::builder(&self.root, &self.name, self.size)
            .discover_consumer_with_prefix(self.workers(), WORKER_PREFIX)
    }

    /// The scheduler's end: creates the ring, filled by `factory`, or takes over the one that a dead scheduler left. Does
    /// not wait for the workers; until all have come it fills the ring once and no further.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{Deadline, FixedTopology, WorkerCount};
    /// # let topology = FixedTopology::new(myelon::portable_shm_segment_name("doc"), 64, WorkerCount::Two);
    /// let mut scheduler = topology.build_scheduler(|| 0_u64)?;
    /// scheduler.send(Deadline::NEVER, |event| *event = 7)?; // kept for both workers
    /// # scheduler.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build_scheduler<E: Event>(
        &self,
        factory: impl FnMut() -> E,
    ) -> InferenceTopologyResult<Producer<E, B>> {
        Ok(self.scheduler_builder().build_producer(factory)?)
    }

    /// A builder of the end of the worker `index`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::NoSuchWorker`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{Deadline, FixedTopology, WorkerCount};
    /// # let topology = FixedTopology::new(myelon::portable_shm_segment_name("doc"), 64, WorkerCount::Two);
    /// # let scheduler = topology.build_scheduler(|| 0_u64)?;
    /// use myelon::AutoWaitStrategy;
    ///
    /// let worker = topology
    ///     .worker_builder::<u64>(0)?
    ///     .with_wait_strategy(AutoWaitStrategy::BusySpin)
    ///     .build_consumer()?;
    /// assert_eq!(worker.consumer_id(), "worker_0");
    /// # scheduler.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_builder<E: Event>(
        &self,
        index: usize,
    ) -> InferenceTopologyResult<DisruptorBuilder<E, B>> {
        let id = self.worker_consumer_id(index)?;
        Ok(B::builder(&self.root, &self.name, self.size).with_consumer_id(&id))
    }

    /// The end of the worker `index`, counted from 0; one that was here before goes on where it was. Never waits.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::NoSuchWorker`], [`InferenceTopologyError::Ring`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{Deadline, FixedTopology, WorkerCount};
    /// # let topology = FixedTopology::new(myelon::portable_shm_segment_name("doc"), 64, WorkerCount::Two);
    /// # let mut scheduler = topology.build_scheduler(|| 0_u64)?;
    /// scheduler.send_batch(2, Deadline::NEVER, |event, i| *event = i as u64)?;
    /// let mut worker = topology.attach_worker::<u64>(0)?;
    /// assert_eq!(*worker.recv(Deadline::NEVER)?, 0);
    /// drop(worker);
    /// let mut successor = topology.attach_worker::<u64>(0)?;
    /// assert_eq!(*successor.recv(Deadline::NEVER)?, 1);
    /// # scheduler.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_worker<E: Event>(&self, index: usize) -> InferenceTopologyResult<Consumer<E, B>> {
        Ok(self.worker_builder(index)?.build_consumer()?)
    }
}
