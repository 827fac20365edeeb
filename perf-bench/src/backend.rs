//! What a ring's segment is made of: opening a producer and a consumer on each kind.

use clap::ValueEnum;
use myelon::{Consumer, MultiProcessResult, Producer};
use myelon::{MappedFile, MmapConsumer, MmapProducer, MmapTransportLayout, SharedMemory};
use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// The id of the only consumer.
const CONSUMER: &str = "bench";

/// A kind of segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// POSIX shared memory.
    Shm,
    /// A mapped file, on tmpfs unless `--mmap-root` says otherwise.
    Mmap,
    /// No ring: a bare loop in nameless shared memory.
    #[value(skip)]
    None,
}

impl Backend {
    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shm => "shm",
            Self::Mmap => "mmap",
            Self::None => "none",
        }
    }
}

/// The event of every scenario: `W` words and nothing else.
#[derive(Clone, Copy, Debug, myelon::Event)]
#[repr(C)]
pub(crate) struct Words<const W: usize>(pub(crate) [u64; W]);

/// How each backend opens its two ends.
pub(crate) trait Open: Sized + 'static {
    /// Creates the ring `name`.
    fn producer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Producer<Words<W>, Self>>;
    /// Attaches to it.
    fn consumer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Consumer<Words<W>, Self>>;
}

impl Open for SharedMemory {
    fn producer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Producer<Words<W>, Self>> {
        myelon::build_shared_single_producer(name, spec.capacity).build_producer(|| Words([0; W]))
    }

    fn consumer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Consumer<Words<W>, Self>> {
        myelon::attach_shared_consumer(name, spec.capacity)
            .with_consumer_id(CONSUMER)
            .build_consumer()
    }
}

impl Open for MappedFile {
    fn producer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Producer<Words<W>, Self>> {
        let layout = MmapTransportLayout::new(&spec.root, name);
        MmapProducer::create(&layout, spec.capacity, || Words([0; W]))
    }

    fn consumer<const W: usize>(
        spec: &Spec,
        name: &str,
    ) -> MultiProcessResult<Consumer<Words<W>, Self>> {
        let layout = MmapTransportLayout::new(&spec.root, name);
        MmapConsumer::attach(&layout, spec.capacity, CONSUMER)
    }
}
