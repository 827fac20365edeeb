//! A fixed group of workers in which each worker receives every event of one ring: the topology of layer 0,
//! without messages.
//!
//! For messages and answers to them, see [`session`](crate::session).

use core::marker::PhantomData;
use core::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use disruptor_mp::{
    Consumer, DisruptorBuilder, Event, MappedFile, MmapTransportLayout, MultiProcessError,
    Producer, SharedMemory,
};

use crate::transport::{RingPlace, WORKER_PREFIX};

/// The result of a topology's calls.
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

/// Errors of a topology.
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
    /// The number of workers is outside the range of a topology.
    #[error("a fixed topology has 2 to 8 workers, not {found}: use a session for other numbers")]
    WorkerCount {
        /// The number that was given.
        found: usize,
    },
    /// A worker that the topology does not have.
    #[error("there is no worker {index}: the topology has {workers}, numbered from 0")]
    NoSuchWorker {
        /// The number that was given.
        index: usize,
        /// How many workers the topology has.
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
/// assert_eq!(WorkerCount::from_usize(4), Some(WorkerCount::Four));
/// assert_eq!(WorkerCount::Four.as_usize(), 4);
/// let error = WorkerCount::try_from(9).unwrap_err();
/// assert_eq!(error.to_string(), "a fixed topology has 2 to 8 workers, not 9: use a session for other numbers");
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
    /// The count as a number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(myelon::WorkerCount::Eight.as_usize(), 8);
    /// ```
    pub const fn as_usize(self) -> usize {
        self as usize
    }

    /// The count with this number; `None` outside 2 to 8. `try_from` returns an error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::WorkerCount;
    ///
    /// assert_eq!(WorkerCount::from_usize(8), Some(WorkerCount::Eight));
    /// assert_eq!(WorkerCount::from_usize(1), None);
    /// ```
    pub const fn from_usize(workers: usize) -> Option<Self> {
        Some(match workers {
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            5 => Self::Five,
            6 => Self::Six,
            7 => Self::Seven,
            8 => Self::Eight,
            _ => return None,
        })
    }
}

impl TryFrom<usize> for WorkerCount {
    type Error = InferenceTopologyError;

    fn try_from(found: usize) -> InferenceTopologyResult<Self> {
        Self::from_usize(found).ok_or(InferenceTopologyError::WorkerCount { found })
    }
}

/// One scheduler and a fixed number of workers on one ring of events. Each worker receives every event, and a
/// worker that comes late or comes back misses none.
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
///     let mut worker = topology.attach_worker::<u64>(index)?; // it is late, and still misses nothing
///     assert_eq!(*worker.recv(Deadline::NEVER)?, 7);
/// }
/// # scheduler.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedTopology<B = SharedMemory> {
    name: String,
    /// The directory of the ring's file; empty for shared memory.
    root: PathBuf,
    size: usize,
    workers: WorkerCount,
    /// How long the scheduler waits for its workers. `None`: it does not wait.
    coordination_timeout: Option<Duration>,
    backing: PhantomData<B>,
}

mod sealed {
    use super::{DisruptorBuilder, Event, Path};

    /// The kind of memory that a topology's ring is in.
    pub trait Backing: Sized {
        /// A builder of the ring with this name and size, in the directory `root`.
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
    /// The ring `name` in shared memory with `size` slots, a power of two, and `workers` workers. Nothing is
    /// created yet.
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
    /// As [`new`](FixedTopology::new), with the ring in a file in the directory `root`. A relative path is
    /// resolved now, against the current working directory.
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
        let root = root.into();
        let root = std::path::absolute(&root).unwrap_or(root);
        Self::at(name.into(), root, size, workers)
    }
}

impl<B> FixedTopology<B> {
    fn at(name: String, root: PathBuf, size: usize, workers: WorkerCount) -> Self {
        Self {
            name,
            root,
            size,
            workers,
            coordination_timeout: None,
            backing: PhantomData,
        }
    }

    /// Makes [`build_scheduler`](Self::build_scheduler) wait this long for all workers to come. If some are
    /// missing then, it fails, and the error names them. A worker can attach as soon as the ring exists. If a
    /// worker may start before the scheduler, call [`wait_for_ring`](DisruptorBuilder::wait_for_ring) on the
    /// worker's builder.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use myelon::{Deadline, FixedTopology, WorkerCount};
    ///
    /// # let name = myelon::portable_shm_segment_name("doc");
    /// let topology = FixedTopology::new(&name, 64, WorkerCount::Two);
    /// let topology = topology.with_coordination_timeout(Duration::from_secs(30));
    /// std::thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
    ///     for index in topology.worker_indices() {
    ///         let worker = topology.worker_builder::<u64>(index)?.wait_for_ring(Duration::from_secs(30));
    ///         scope.spawn(|| assert_eq!(*worker.build_consumer().unwrap().recv(Deadline::NEVER).unwrap(), 7));
    ///     }
    ///     let mut scheduler = topology.build_scheduler(|| 0_u64)?; // both have come
    ///     scheduler.send(Deadline::NEVER, |event| *event = 7)?;
    ///     Ok(())
    /// })?;
    ///
    /// # let name = myelon::portable_shm_segment_name("doc");
    /// let alone = FixedTopology::new(&name, 64, WorkerCount::Two);
    /// let alone = alone.with_coordination_timeout(Duration::from_millis(5));
    /// let missing = alone.build_scheduler(|| 0_u64).unwrap_err().to_string();
    /// assert!(missing.contains("worker_0") && missing.contains("worker_1"), "{missing}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_coordination_timeout(mut self, timeout: Duration) -> Self {
        self.coordination_timeout = Some(timeout);
        self
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

    /// How many slots the ring has.
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

    /// How many workers receive the events.
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

    /// How many workers receive the events, as the [`WorkerCount`] that was given.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// assert_eq!(FixedTopology::new("batches", 1024, WorkerCount::Four).worker_count(), WorkerCount::Four);
    /// ```
    pub fn worker_count(&self) -> WorkerCount {
        self.workers
    }

    /// The indices of the workers.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{FixedTopology, WorkerCount};
    ///
    /// assert_eq!(FixedTopology::new("batches", 1024, WorkerCount::Four).worker_indices(), 0..4);
    /// ```
    pub fn worker_indices(&self) -> Range<usize> {
        0..self.workers()
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
    /// A builder of the scheduler's producer. It expects all workers, and waits for them if
    /// [`with_coordination_timeout`](Self::with_coordination_timeout) was called.
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
        let builder = B::builder(&self.root, &self.name, self.size)
            .discover_consumer_with_prefix(self.workers(), WORKER_PREFIX);
        match self.coordination_timeout {
            // the builder waits for the consumers that it expects by id, and for 0 others
            Some(timeout) => builder.wait_for_consumers(0, timeout),
            None => builder,
        }
    }

    /// Creates the ring with events made by `factory`, or takes over the ring that a dead scheduler left, and
    /// returns the scheduler's producer. Waits for the workers if
    /// [`with_coordination_timeout`](Self::with_coordination_timeout) was called. Otherwise it does not wait,
    /// and until all workers have come the scheduler fills the ring once and no further.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::Ring`]. A [`MultiProcessError::CoordinationTimeout`] in it names the missing
    /// workers by id.
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

    /// A builder of the consumer of the worker `index`, counted from 0.
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

    /// The consumer of the worker `index`, counted from 0. A worker that was attached before continues where it
    /// was. Never waits.
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

/// Kept for programs written against disruptor-mp 0.1 and myelon 0.1.
impl<B> FixedTopology<B> {
    /// [`name`](Self::name).
    ///
    /// # Examples
    ///
    /// ```
    /// let topology = myelon::FixedTopology::new("batches", 1024, myelon::WorkerCount::Four);
    /// assert_eq!(topology.segment_name(), topology.name());
    /// ```
    pub fn segment_name(&self) -> &str {
        self.name()
    }

    /// [`size`](Self::size).
    ///
    /// # Examples
    ///
    /// ```
    /// let topology = myelon::FixedTopology::new("batches", 1024, myelon::WorkerCount::Four);
    /// assert_eq!(topology.buffer_size(), topology.size());
    /// ```
    pub fn buffer_size(&self) -> usize {
        self.size()
    }
}
