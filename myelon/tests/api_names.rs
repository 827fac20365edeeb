//! Layer 0 as this crate re-exports it: the same names and the same types.

use myelon as api;

#[path = "../../disruptor-mp/tests/api_names/names.rs"]
mod names;

#[allow(dead_code, reason = "compiled, not called")]
mod identity {
    pub(crate) fn producer(x: disruptor_mp::SharedProducer<u64>) -> myelon::SharedProducer<u64> {
        x
    }

    pub(crate) fn consumer(x: disruptor_mp::SharedConsumer<u64>) -> myelon::SharedConsumer<u64> {
        x
    }

    pub(crate) fn mapped(x: disruptor_mp::MmapProducer<u64>) -> myelon::MmapProducer<u64> {
        x
    }

    pub(crate) fn error(x: disruptor_mp::MultiProcessError) -> myelon::MultiProcessError {
        x
    }

    pub(crate) fn counters(x: disruptor_mp::CountersFile) -> myelon::CountersFile {
        x
    }

    pub(crate) fn event<E: disruptor_mp::Event>() {
        fn same<E: myelon::Event>() {}
        same::<E>();
    }
}
