//! Where a transport's ring is: a name in shared memory, or a file.

use disruptor_mp::{
    DisruptorBuilder, Event, MappedFile, MmapProducer, MmapTransportLayout, SharedMemory,
    build_shared_single_producer,
};

mod sealed {
    pub trait Sealed {}
}

/// The place of a ring: a text names a ring in shared memory, and a [`MmapTransportLayout`] names one in a
/// mapped file. The type of the place determines `B`.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FixedFrame, FramedTransportProducer, MmapFramedTransportProducer};
/// use myelon::MmapTransportLayout;
///
/// type Frame = FixedFrame<1024>;
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let in_memory: FramedTransportProducer<Frame> = FramedTransportProducer::create(&name, 8)?;
/// let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
/// let in_a_file: MmapFramedTransportProducer<Frame> = FramedTransportProducer::create(&layout, 8)?;
/// # in_a_file.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RingPlace<B>: sealed::Sealed {
    /// A builder of the ring's producer, or of a consumer, for a ring of `depth` events.
    fn builder<E: Event>(self, depth: usize) -> DisruptorBuilder<E, B>;
}

impl<T: ?Sized> sealed::Sealed for &T {}

impl<T: AsRef<str> + ?Sized> RingPlace<SharedMemory> for &T {
    fn builder<E: Event>(self, depth: usize) -> DisruptorBuilder<E, SharedMemory> {
        build_shared_single_producer(self.as_ref(), depth)
    }
}

impl RingPlace<MappedFile> for &MmapTransportLayout {
    fn builder<E: Event>(self, depth: usize) -> DisruptorBuilder<E, MappedFile> {
        MmapProducer::builder(self, depth)
    }
}
