//! The kinds of memory that a ring lives in, as a type parameter of its handles.

/// Rings in POSIX shared memory.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Producer, SharedMemory, portable_shm_segment_name, publisher};
///
/// let tx: Producer<u64, SharedMemory> = publisher(&portable_shm_segment_name("doc"), 8)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemory;

/// Rings in mapped files.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{MappedFile, MmapProducer, MmapTransportLayout, Producer};
/// # let directory = tempfile::tempdir()?;
///
/// let layout = MmapTransportLayout::new(directory.path(), "ticks");
/// let tx: Producer<u64, MappedFile> = MmapProducer::create(&layout, 8, || 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedFile;

/// Rings on the heap of this process.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Heap, HeapRing, Producer};
///
/// let tx: Producer<u64, Heap> = HeapRing::new(8)?.producer()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap;
