//! Rings that threads find by name: in shared memory, and in a file.

use std::marker::PhantomData;

use disruptor_mp::{
    DisruptorBuilder, MappedFile, MmapProducer, MmapTransportLayout, SharedMemory,
    build_shared_single_producer, portable_shm_segment_name,
};

use crate::threads::{Sample, Site};

/// A ring in shared memory.
pub(crate) struct InSharedMemory<E: Sample> {
    name: String,
    capacity: usize,
    event: PhantomData<fn() -> E>,
}

impl<E: Sample> Site for InSharedMemory<E> {
    type Event = E;
    type Backing = SharedMemory;

    fn new(capacity: usize) -> Self {
        Self {
            name: portable_shm_segment_name("thrd"),
            capacity,
            event: PhantomData,
        }
    }

    fn endpoint(&self) -> DisruptorBuilder<E, SharedMemory> {
        build_shared_single_producer(&self.name, self.capacity)
    }
}

impl<E: Sample> Drop for InSharedMemory<E> {
    /// Takes the ring over and removes the name, which the unread events of a durable consumer would keep.
    fn drop(&mut self) {
        if let Ok(tx) = self.builder().build_zeroed_producer() {
            let _ = tx.destroy();
        }
    }
}

/// A ring in a file, in its own directory.
pub(crate) struct InFile<E: Sample> {
    directory: tempfile::TempDir,
    capacity: usize,
    event: PhantomData<fn() -> E>,
}

impl<E: Sample> Site for InFile<E> {
    type Event = E;
    type Backing = MappedFile;

    fn new(capacity: usize) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            capacity,
            event: PhantomData,
        }
    }

    fn endpoint(&self) -> DisruptorBuilder<E, MappedFile> {
        let layout = MmapTransportLayout::new(self.directory.path(), "ring");
        MmapProducer::builder(&layout, self.capacity)
    }
}
