//! The topology itself: its ring, its scheduler and its workers.

use core::marker::PhantomData;
use core::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use disruptor_mp::{
    Consumer, DisruptorBuilder, Event, MappedFile, MmapTransportLayout, Producer, SharedMemory,
};

use super::error::{InferenceTopologyError, InferenceTopologyResult};
use super::worker_count::WorkerCount;
use crate::session::WORKER_PREFIX;
use crate::transport::RingPlace;

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
/// assert_eq!((topology.name(), topology.size(), topology.workers()), (&*name, 64, 2));
/// assert_eq!(topology.worker_count(), WorkerCount::Two);
/// let mut scheduler = topology.build_scheduler(|| 0_u64)?;
/// scheduler.send(Deadline::NEVER, |event| *event = 7)?; // kept for both workers
/// for index in topology.worker_indices() {
///     let mut worker = topology.attach_worker::<u64>(index)?; // it is late, and still misses nothing
///     assert_eq!(worker.consumer_id(), topology.worker_consumer_id(index)?);
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
    /// use myelon::{Deadline, FixedTopology, WorkerCount};
    ///
    /// # let name = myelon::portable_shm_segment_name("doc");
    /// let topology = FixedTopology::in_files(std::env::temp_dir(), &name, 64, WorkerCount::Two);
    /// let mut scheduler = topology.build_scheduler(|| 0_u64)?;
    /// let mut worker = topology.attach_worker::<u64>(1)?;
    /// scheduler.send_value(7, Deadline::NEVER)?;
    /// assert_eq!(worker.recv_owned(Deadline::NEVER)?, (0, 7));
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
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many slots the ring has.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many workers receive the events.
    pub fn workers(&self) -> usize {
        self.workers.as_usize()
    }

    /// How many workers receive the events, as the [`WorkerCount`] that was given.
    pub fn worker_count(&self) -> WorkerCount {
        self.workers
    }

    /// The indices of the workers.
    pub fn worker_indices(&self) -> Range<usize> {
        0..self.workers()
    }

    /// The consumer id of the worker `index`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`InferenceTopologyError::NoSuchWorker`].
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
    /// [`MultiProcessError::CoordinationTimeout`]: disruptor_mp::MultiProcessError::CoordinationTimeout
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

/// # Kept for programs written against disruptor-mp 0.1
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
