//! The kinds of a ring's segment, and how to open a producer and a consumer on each.

use clap::ValueEnum;
use myelon::{Consumer, DisruptorBuilder, Event, MultiProcessResult, Producer};
use myelon::{MappedFile, MmapProducer, MmapTransportLayout, SharedMemory};
use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// A kind of segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// POSIX shared memory.
    Shm,
    /// A mapped file, on tmpfs unless `--mmap-root` says otherwise.
    Mmap,
    /// A mapped file on a disk. Only the commands that take a layer have a directory for it.
    #[value(skip)]
    Disk,
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
            Self::Disk => "disk",
            Self::None => "none",
        }
    }
}

/// Opening the two ends of a ring on a backend. Consumers have automatic ids: a dead one with an id of its own would
/// hold a full ring, and its producer, for ever.
pub(crate) trait Open: Sized + 'static {
    /// A builder for either end of the ring `name`.
    fn builder<E: Event>(spec: &Spec, name: &str) -> DisruptorBuilder<E, Self>;

    /// The same for ends that wait inside the library, with the strategy of the cell.
    fn waiting_builder<E: Event>(spec: &Spec, name: &str) -> DisruptorBuilder<E, Self> {
        let builder = Self::builder(spec, name).with_wait_strategy(spec.strategy.wait());
        if spec.maps_writable() {
            builder.with_writable_slots()
        } else {
            builder
        }
    }

    /// Creates the ring `name`.
    fn producer<E: Event>(spec: &Spec, name: &str) -> MultiProcessResult<Producer<E, Self>> {
        Self::builder(spec, name).build_zeroed_producer()
    }

    /// Attaches to the ring `name`.
    fn consumer<E: Event>(spec: &Spec, name: &str) -> MultiProcessResult<Consumer<E, Self>> {
        let builder = Self::builder(spec, name);
        if spec.maps_writable() {
            builder.with_writable_slots().build_consumer()
        } else {
            builder.build_consumer()
        }
    }
}

impl Open for SharedMemory {
    fn builder<E: Event>(spec: &Spec, name: &str) -> DisruptorBuilder<E, Self> {
        myelon::build_shared_single_producer(name, spec.capacity)
    }
}

impl Open for MappedFile {
    fn builder<E: Event>(spec: &Spec, name: &str) -> DisruptorBuilder<E, Self> {
        let layout = MmapTransportLayout::new(&spec.root, name);
        MmapProducer::builder(&layout, spec.capacity)
    }
}
