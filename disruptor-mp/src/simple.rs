//! The simple case: three calls that create, attach and wait.

use std::time::Duration;

use crate::backing::{Heap, MappedFile, MmapTransportLayout, Place};
use crate::builder::{DisruptorBuilder, SharedDisruptorBuilder};
use crate::consumer::{Consumer, SharedConsumer};
#[cfg(doc)]
use crate::error::MultiProcessError;
use crate::error::MultiProcessResult;
use crate::observer::{Observer, SharedObserver};
use crate::producer::{Producer, SharedProducer};
use crate::region::heap::HeapMemory;
use crate::segment;
use crate::{Event, Sequence};

/// Creates the ring `name` with `capacity` slots, or takes over the one that a dead producer left.
///
/// # Errors
///
/// Any of [`MultiProcessError`]: a live producer on the name is refused with its pid.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, portable_shm_segment_name, publisher, subscriber};
///
/// let name = portable_shm_segment_name("doc");
/// let mut tx = publisher::<u64>(&name, 4096)?;
/// let mut rx = subscriber::<u64>(&name)?;
/// tx.publish(|event| *event = 100);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn publisher<E: Event>(name: &str, capacity: usize) -> MultiProcessResult<SharedProducer<E>> {
    build_shared_single_producer(name, capacity).build_zeroed_producer()
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

/// As [`subscriber`], but waits up to `patience` for the ring to be created.
///
/// # Errors
///
/// As [`subscriber`]; [`MultiProcessError::NotFound`] when it was not created in time.
pub fn subscribe_within<E: Event>(
    name: &str,
    patience: Duration,
) -> MultiProcessResult<SharedConsumer<E>> {
    any_consumer(name).wait_for_ring(patience).build_consumer()
}

/// A builder for a consumer of the ring `name`, whatever its capacity.
fn any_consumer<E: Event>(name: &str) -> SharedDisruptorBuilder<E> {
    let name = name.to_owned();
    SharedDisruptorBuilder::new(Place::Shared { name }, None)
}

/// A builder for the producer of the ring `name` with `size` slots, a power of two.
pub fn build_shared_single_producer<E: Event>(
    name: &str,
    size: usize,
) -> SharedDisruptorBuilder<E> {
    SharedDisruptorBuilder::new(
        Place::Shared {
            name: name.to_owned(),
        },
        Some(size),
    )
}

/// A builder for a consumer of the ring `name`, which must have `size` slots.
pub fn attach_shared_consumer<E: Event>(name: &str, size: usize) -> SharedDisruptorBuilder<E> {
    SharedDisruptorBuilder::new(
        Place::Shared {
            name: name.to_owned(),
        },
        Some(size),
    )
}

/// The producer of a ring in a mapped file.
pub type MmapProducer<E> = Producer<E, MappedFile>;

/// A consumer of a ring in a mapped file.
pub type MmapConsumer<E> = Consumer<E, MappedFile>;

impl<E: Event> MmapProducer<E> {
    /// A builder for the ring in the file `layout` with `size` slots; also for its consumers.
    pub fn builder(layout: &MmapTransportLayout, size: usize) -> DisruptorBuilder<E, MappedFile> {
        DisruptorBuilder::new(Place::File(layout.clone()), Some(size))
    }

    /// Creates the ring in the file `layout`, or takes over a dead producer's.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    pub fn create<F: FnMut() -> E>(
        layout: &MmapTransportLayout,
        size: usize,
        factory: F,
    ) -> MultiProcessResult<Self> {
        Self::builder(layout, size).build_producer(factory)
    }
}

impl<E: Event> MmapConsumer<E> {
    /// Attaches the durable consumer `id` to the ring in the file `layout`, which must have `size` slots.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`].
    pub fn attach(layout: &MmapTransportLayout, size: usize, id: &str) -> MultiProcessResult<Self> {
        MmapProducer::builder(layout, size)
            .with_consumer_id(id)
            .build_consumer()
    }
}

/// Attaches an observer to the ring `name`, whose producer must have made it
/// [`with_observers`](DisruptorBuilder::with_observers): it sees the newest events, holds nobody up, and is told when it
/// was too slow. Never waits.
///
/// # Errors
///
/// Any of [`MultiProcessError`].
pub fn observer<E: Event>(name: &str) -> MultiProcessResult<SharedObserver<E>> {
    any_consumer(name).build_observer()
}

/// An observer of a ring in a mapped file.
pub type MmapObserver<E> = Observer<E, MappedFile>;

/// A ring on this process's heap: for threads, for tests of programs, for Miri. Byte for byte as in shared memory.
///
/// # Examples
///
/// ```
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish(|event| *event = 7);
/// assert_eq!(rx.try_consume_next(), Some((0, 7)));
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
    /// [`MultiProcessError::InvalidCapacity`].
    pub fn new(capacity: usize) -> MultiProcessResult<Self> {
        Self::with_first_sequence(capacity, 0)
    }

    /// A ring whose first event has the sequence `first`.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidCapacity`].
    pub fn with_first_sequence(capacity: usize, first: Sequence) -> MultiProcessResult<Self> {
        Self::create(capacity, first, false)
    }

    /// A ring that [`observer`](Self::observer)s can read.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidCapacity`].
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

    /// A builder for this ring's producer and consumers.
    pub fn builder(&self) -> DisruptorBuilder<E, Heap> {
        let place = Place::Heap {
            memory: self.memory.clone(),
            capacity: self.capacity,
        };
        DisruptorBuilder::new(place, Some(self.capacity))
    }

    /// The ring's producer.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::AlreadyExists`] while there is one.
    pub fn producer(&self) -> MultiProcessResult<Producer<E, Heap>> {
        self.builder().build_zeroed_producer()
    }

    /// An observer, of a ring that was made [`with_observers`](Self::with_observers).
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
