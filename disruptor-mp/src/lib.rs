//! Broadcast rings of fixed-size events between processes on one machine, in shared memory or in a mapped file.
//!
//! One producer publishes; up to 64 consumers each see every event, in order. Any process may die at any
//! instruction: the others go on.
//!
//! ```
//! use disruptor_mp::{Deadline, Event, portable_shm_segment_name};
//!
//! #[derive(Clone, Copy, Default, Event)]
//! #[repr(C)]
//! struct Tick {
//!     price: i64,
//!     quantity: u64,
//! }
//!
//! # let name = &portable_shm_segment_name("doc");
//! // one process                                           another one
//! let mut tx = disruptor_mp::publisher::<Tick>(name, 4096)?;
//! let mut rx = disruptor_mp::subscriber::<Tick>(name)?;
//! tx.publish(|tick| *tick = Tick { price: 100, quantity: 1 });
//! assert_eq!(rx.recv(Deadline::NEVER)?.price, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`publisher`], [`subscriber`] and [`subscribe_within`] are the simple case; [`build_shared_single_producer`] and
//! [`attach_shared_consumer`] return a builder for the rest; [`MmapProducer`] and [`MmapConsumer`] put the ring into a
//! file of your choice; [`HeapRing`] keeps it in this process.
//!
//! # Features
//!
//! - `dst`: deterministic simulation of processes that share a ring, for tests of programs and of this crate (module
//!   `dst`).
//! - `metrics`, `opentelemetry`: counters as Prometheus text, and as OpenTelemetry instruments (module
//!   [`observability`]).
//! - `tokio`: `AsyncConsumer`, whose wait is a future.
//! - `fail-points`: named steps at which tests end or stop a process; in debug builds only.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "disruptor-mp needs a 64-bit target: mappings, lock bytes and sequences are 64 bits wide"
);

// The derive writes `::disruptor_mp`, also inside this crate.
extern crate self as disruptor_mp;

#[macro_use]
mod protocol;

#[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
mod async_consumer;
mod auto;
mod backing;
mod blocked;
mod builder;
mod cancel;
mod cause;
mod claim;
mod clock;
#[path = "consumer.rs"]
mod consumer_handle;
mod deadline;
#[cfg(all(feature = "dst", not(loom)))]
pub mod dst;
mod env;
mod error;
mod event;
mod facade;
mod fail;
mod layout;
mod liveness;
pub mod observability;
mod observer;
mod os;
#[path = "producer.rs"]
mod producer_handle;
#[cfg(all(target_os = "linux", not(loom)))]
mod readiness;
mod region;
#[cfg(not(loom))]
mod ring_set;
mod segment;
mod simple;
mod sync;
mod wait;

/// The position of an event in its ring: the first is 0, and −1 is none.
///
/// # Examples
///
/// ```
/// let first: disruptor_mp::Sequence = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?.publish_batch(1, |_, _| {});
/// assert_eq!(first, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Sequence = i64;

#[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
pub use async_consumer::AsyncConsumer;
pub use auto::{AutoConsumer, HandlerPanicPolicy};
pub use backing::{
    Heap, MappedFile, MmapTransportLayout, PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, SharedMemory,
    portable_shm_segment_name,
};
pub use blocked::{BlockedOn, RingState};
pub use builder::{
    CoordinationMode, DiscoveryMode, DisruptorBuilder, SharedDisruptorBuilder, StartFrom,
};
pub use cancel::CancelToken;
pub use cause::SystemCause;
pub use claim::{Claim, Lease};
pub use consumer_handle::{Consumer, SharedConsumer};
pub use deadline::Deadline;
pub use disruptor_mp_derive::Event;
pub use error::{
    MissingFreeSlots, MultiProcessError, MultiProcessResult, RecvError, RingBufferFull, SendError,
};
#[doc(hidden)]
pub use event::derived as __event;
pub use event::{EVENT_ALIGN_MAX, Event, EventLayout, LayoutId};
pub use facade::{backend, consumer, lock_free, prelude, producer, shared_memory};
#[cfg(feature = "fail-points")]
#[doc(hidden)]
pub use fail::FAIL_POINTS;
#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
#[doc(hidden)]
pub use fail::{arm_fail_points, fail_points_fired};
pub use layout::DEFAULT_MAX_CONSUMERS;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use layout::header::ring_in_header;
pub use liveness::{
    RequiredConsumerAlert, RequiredConsumerAlertHook, RequiredConsumerError,
    RequiredConsumerFailureAction, RequiredConsumerLivenessConfig,
};
pub use observability::{CounterHandle, CounterId, CounterSnapshot, CountersError, CountersFile};
pub use observer::{Observer, SharedObserver};
pub use producer_handle::{CloseReport, Producer, SharedProducer, SyncPolicy};
#[cfg(all(target_os = "linux", not(loom)))]
pub use readiness::Readiness;
pub use region::{HugePages, MemoryReport};
#[cfg(not(loom))]
pub use ring_set::{RingMember, RingSet, RingSetFull};
pub use simple::{
    HeapRing, MmapConsumer, MmapObserver, MmapProducer, attach_shared_consumer,
    build_shared_single_producer, observer, publisher, subscribe_within, subscriber,
};
pub use wait::{
    AutoWaitStrategy, default_block_strategy_duration, default_consume_sleep_duration,
    default_discovery_poll_duration, perform_default_block_wait,
    perform_default_consume_sleep_wait, perform_default_discovery_poll_wait, perform_sleep_wait,
};
