//! The simple case: three calls that create, attach and wait.

use std::time::Duration;

use crate::Sequence;
#[cfg(doc)]
use crate::error::MultiProcessError;
use crate::error::MultiProcessResult;
use crate::event::Event;
use crate::handles::consumer::{Consumer, SharedConsumer};
use crate::handles::kinds::{Heap, MappedFile};
use crate::handles::observer::{Observer, SharedObserver};
use crate::handles::producer::{Producer, SharedProducer};
use crate::open::backing::{MmapTransportLayout, RingLocation};
use crate::open::builder::{DisruptorBuilder, SharedDisruptorBuilder};
use crate::region::heap::HeapMemory;
use crate::segment;

/// Creates the ring `name` with `capacity` slots, or takes over the one that a dead producer left. Never waits.
///
/// No event is lost, in whichever order the programs start and end. Until a consumer has come, the producer fills the
/// ring once and then waits; after a second a `tracing` warning says so, and [`blocked_on`](Producer::blocked_on)
/// says so at any time. If the producer ends first, the ring is kept until a consumer has drained it. A program that
/// can do without its early events calls [`free_running`](Producer::free_running).
///
/// # Errors
///
/// Any of [`MultiProcessError`]. If the name has a live producer, the error says its pid.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, portable_shm_segment_name, publisher, subscriber};
///
/// let name = portable_shm_segment_name("doc");
/// let mut tx = publisher::<u64>(&name, 4096)?;
/// let mut rx = subscriber::<u64>(&name)?;
/// tx.send(Deadline::NEVER, |event| *event = 100)?;
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn publisher<E: Event>(name: &str, capacity: usize) -> MultiProcessResult<SharedProducer<E>> {
    build_shared_single_producer(name, capacity)
        .enable_discovery(1)
        .build_zeroed_producer()
}

/// Attaches to the ring `name` with an automatic id: this consumer starts at the oldest retained event and leaves
/// when it is dropped. Never waits.
///
/// # Errors
///
/// Any of [`MultiProcessError`].
pub fn subscriber<E: Event>(name: &str) -> MultiProcessResult<SharedConsumer<E>> {
    any_consumer(name).build_consumer()
}

/// As [`subscriber`], but waits up to `timeout` for the ring to be created.
///
/// # Errors
///
/// As [`subscriber`]; [`MultiProcessError::NotFound`] when it was not created in time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{portable_shm_segment_name, publisher, subscribe_within};
///
/// let name = portable_shm_segment_name("doc");
/// std::thread::scope(|scope| {
///     let reader = scope.spawn(|| subscribe_within::<u64>(&name, Duration::from_secs(60))?.detach());
///     let _tx = publisher::<u64>(&name, 8)?;
///     reader.join().unwrap()
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn subscribe_within<E: Event>(
    name: &str,
    timeout: Duration,
) -> MultiProcessResult<SharedConsumer<E>> {
    any_consumer(name).wait_for_ring(timeout).build_consumer()
}

/// A builder for a consumer of the ring `name`, whatever its capacity.
fn any_consumer<E: Event>(name: &str) -> SharedDisruptorBuilder<E> {
    let name = name.to_owned();
    SharedDisruptorBuilder::new(RingLocation::Shared { name }, None)
}

/// A [`DisruptorBuilder`] for the producer of the ring `name` with `size` slots, a power of two.
///
/// # Examples
///
/// See [`DisruptorBuilder`].
pub fn build_shared_single_producer<E: Event>(
    name: &str,
    size: usize,
) -> SharedDisruptorBuilder<E> {
    SharedDisruptorBuilder::new(
        RingLocation::Shared {
            name: name.to_owned(),
        },
        Some(size),
    )
}

/// A [`DisruptorBuilder`] for a consumer of the ring `name`, which must have `size` slots.
///
/// # Examples
///
/// See [`DisruptorBuilder`].
pub fn attach_shared_consumer<E: Event>(name: &str, size: usize) -> SharedDisruptorBuilder<E> {
    SharedDisruptorBuilder::new(
        RingLocation::Shared {
            name: name.to_owned(),
        },
        Some(size),
    )
}

/// The producer of a ring in a mapped file.
///
/// # Examples
///
/// See [`MmapProducer::create`].
pub type MmapProducer<E> = Producer<E, MappedFile>;

/// A consumer of a ring in a mapped file.
///
/// # Examples
///
/// See [`MmapProducer::create`].
pub type MmapConsumer<E> = Consumer<E, MappedFile>;

impl<E: Event> MmapProducer<E> {
    /// A [`DisruptorBuilder`] for the ring in the file `layout` with `size` slots; `build_producer` ends it.
    ///
    /// # Examples
    ///
    /// See [`MmapObserver`].
    pub fn builder(layout: &MmapTransportLayout, size: usize) -> DisruptorBuilder<E, MappedFile> {
        DisruptorBuilder::new(RingLocation::File(layout.clone()), Some(size))
    }

    /// Creates the ring in the file `layout`, or takes over that of a dead producer.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, MmapConsumer, MmapProducer, MmapTransportLayout};
    /// # let directory = tempfile::tempdir()?;
    ///
    /// let layout = MmapTransportLayout::new(directory.path(), "ticks");
    /// let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0)?;
    /// let mut rx = MmapConsumer::<u64>::attach(&layout, 8, "reader")?;
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create<F: FnMut() -> E>(
        layout: &MmapTransportLayout,
        size: usize,
        factory: F,
    ) -> MultiProcessResult<Self> {
        Self::builder(layout, size).build_producer(factory)
    }
}

impl<E: Event> MmapConsumer<E> {
    /// A [`DisruptorBuilder`] for a consumer of the ring in the file `layout`, which must have `size` slots;
    /// `build_consumer` ends it.
    ///
    /// # Examples
    ///
    /// See [`MmapObserver`].
    pub fn builder(layout: &MmapTransportLayout, size: usize) -> DisruptorBuilder<E, MappedFile> {
        MmapProducer::builder(layout, size)
    }

    /// Attaches the durable consumer `id` to the ring in the file `layout`, which must have `size` slots.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    ///
    /// # Examples
    ///
    /// See [`MmapProducer::create`].
    pub fn attach(layout: &MmapTransportLayout, size: usize, id: &str) -> MultiProcessResult<Self> {
        Self::builder(layout, size)
            .with_consumer_id(id)
            .build_consumer()
    }
}

/// Attaches an observer to the ring `name`, whose producer must have created it
/// [`with_observers`](DisruptorBuilder::with_observers). The observer sees the newest events, never holds the
/// producer up, and learns how many events it missed when it is too slow. Never waits.
///
/// # Errors
///
/// Any of [`MultiProcessError`].
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, SharedObserver, build_shared_single_producer, observer, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("doc");
/// let mut tx = build_shared_single_producer::<u64>(&name, 8).with_observers().build_producer(|| 0)?;
/// let mut watch: SharedObserver<u64> = observer(&name)?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(watch.recv(Deadline::NEVER)?, (0, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn observer<E: Event>(name: &str) -> MultiProcessResult<SharedObserver<E>> {
    any_consumer(name).build_observer()
}

/// An observer of a ring in a mapped file.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, MmapConsumer, MmapObserver, MmapProducer, MmapTransportLayout};
/// # let directory = tempfile::tempdir()?;
///
/// let layout = MmapTransportLayout::new(directory.path(), "ticks");
/// let mut tx = MmapProducer::<u64>::builder(&layout, 8).with_observers().build_producer(|| 0)?;
/// let mut rx = MmapConsumer::<u64>::builder(&layout, 8).build_consumer()?;
/// let mut watch = MmapObserver::<u64>::builder(&layout, 8).build_observer()?;
/// tx.send_value(7, Deadline::NEVER)?;
/// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
/// assert_eq!(watch.recv(Deadline::NEVER)?, (0, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MmapObserver<E> = Observer<E, MappedFile>;

impl<E: Event> MmapObserver<E> {
    /// A [`DisruptorBuilder`] for an observer of the ring in the file `layout`, which must have `size` slots;
    /// `build_observer` ends it.
    ///
    /// # Examples
    ///
    /// See [`MmapObserver`].
    pub fn builder(layout: &MmapTransportLayout, size: usize) -> DisruptorBuilder<E, MappedFile> {
        MmapProducer::builder(layout, size)
    }
}

/// A ring on this process's heap: for threads, for tests of programs, for Miri. Its bytes are laid out as in
/// shared memory.
///
/// # Examples
///
/// ```
/// use disruptor_mp::Deadline;
///
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A ring whose sequences are about to pass 2³², and one that can be observed:
///
/// ```
/// use disruptor_mp::Deadline;
///
/// let ring = disruptor_mp::HeapRing::<u64>::with_first_sequence(8, (1 << 32) - 1)?;
/// assert_eq!(ring.builder().build_producer(|| 0)?.send_batch(2, Deadline::NEVER, |_, _| {})?, 1 << 32);
///
/// let ring = disruptor_mp::HeapRing::<u64>::with_observers(8)?;
/// let (mut tx, mut watch) = (ring.producer()?, ring.observer()?);
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(watch.try_recv()?, Some((0, 7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeapRing<E: Event> {
    memory: std::sync::Arc<HeapMemory>,
    capacity: usize,
    event: core::marker::PhantomData<fn() -> E>,
}

impl<E: Event> HeapRing<E> {
    /// A ring with `capacity` slots, a power of two.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidCapacity`]; [`MultiProcessError::NoSpace`] if the machine or a memory cgroup has
    /// less memory left.
    pub fn new(capacity: usize) -> MultiProcessResult<Self> {
        Self::with_first_sequence(capacity, 0)
    }

    /// A ring whose first event has the sequence `first`.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidCapacity`]; [`MultiProcessError::NoSpace`] if the machine or a memory cgroup has
    /// less memory left.
    pub fn with_first_sequence(capacity: usize, first: Sequence) -> MultiProcessResult<Self> {
        Self::create(capacity, first, false)
    }

    /// A ring that [`observer`](Self::observer)s can read.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidCapacity`]; [`MultiProcessError::NoSpace`] if the machine or a memory cgroup has
    /// less memory left.
    pub fn with_observers(capacity: usize) -> MultiProcessResult<Self> {
        Self::create(capacity, 0, true)
    }

    fn create(capacity: usize, first: Sequence, is_observed: bool) -> MultiProcessResult<Self> {
        let memory = segment::create_on_heap::<E>(capacity, first, is_observed)?;
        Ok(Self {
            memory,
            capacity,
            event: core::marker::PhantomData,
        })
    }

    /// A [`DisruptorBuilder`] for this ring's producer, consumers and observers.
    pub fn builder(&self) -> DisruptorBuilder<E, Heap> {
        let place = RingLocation::Heap {
            memory: self.memory.clone(),
            capacity: self.capacity,
        };
        DisruptorBuilder::new(place, Some(self.capacity))
    }

    /// The ring's producer.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::AlreadyExists`] while the ring has a producer.
    pub fn producer(&self) -> MultiProcessResult<Producer<E, Heap>> {
        self.builder().build_zeroed_producer()
    }

    /// An observer, for a ring that was created [`with_observers`](Self::with_observers).
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    pub fn observer(&self) -> MultiProcessResult<Observer<E, Heap>> {
        self.builder().build_observer()
    }

    /// A durable consumer.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    pub fn consumer(&self, id: &str) -> MultiProcessResult<Consumer<E, Heap>> {
        self.builder().with_consumer_id(id).build_consumer()
    }
}
