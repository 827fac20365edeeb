// The map of this crate, lowest layer first: a folder may use the shared modules and, of the folders that stand before
// it, those that its last column names. `ci/imports` holds the code to that.
//
// | shared module | what it is | what it imports | used by |
// |---|---|---|---|
// | `sync` | the atomics, real, modelled or simulated, and the kernel's sleep and wake-up | `os` | all but `os` |
// | `clock` | the time, real or simulated | `os`, `sync` | all but `os` and `layout` |
// | `env` | the one place that reads the environment | nothing | all but `os` and `layout` |
// | `cause` | why the system refused | `os` | all but `os` and `layout` |
// | `error` | what a call returns | `cause` | all but `os` and `layout` |
// | `event` | what can travel in a slot | nothing | all but `os` and `layout` |
// | `testing` | fail points and simulation: nothing in an ordinary build | `os`, `sync`, `clock` | all |
//
// | folder | what it is | besides those it may use |
// |---|---|---|
// | `os` | one file for each kind of kernel object | nothing |
// | `layout` | the bytes of a segment | nothing |
// | `protocol` | the steps on those bytes, the rules R1 to R17 | `layout` |
// | `region` | memory and locks of one endpoint: a file, or the heap | `os`, `layout`, the traits of `protocol` |
// | `segment` | creating, taking over, attaching to and ending rings | `os` to `region` |
// | `waiting` | strategies, the wait loop, deadlines, cancel tokens | `os` to `segment` |
// | `liveness` | required consumers, and the watch over them | `os` to `waiting` |
// | `inspect` | rings seen from outside, without attaching | `os` to `segment` |
// | `observability` | counters, and files of counters | `os` to `inspect` |
// | `handles` | what a program holds: producers, consumers, observers | `os` to `observability` |
// | `open` | the simple calls and the builder, which make handles | `os` to `handles` |
// | `facade` | the pages that users see: re-exports only | all |
//
// `docs/architecture.md` shows the life of one event through these folders.
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
//! tx.send(Deadline::NEVER, |tick| *tick = Tick { price: 100, quantity: 1 })?;
//! assert_eq!(rx.recv(Deadline::NEVER)?.price, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Start here
//!
//! | name | what it is |
//! |---|---|
//! | [`Event`](trait@Event) | what can travel: a plain struct with the derive of this name |
//! | [`publisher`], [`subscriber`], [`subscribe_within`] | the two ends of a ring in shared memory |
//! | [`build_shared_single_producer`], [`attach_shared_consumer`] | the same with every option: a [`DisruptorBuilder`] |
//! | [`Producer`], [`Consumer`] | the handles |
//! | [`Claim`], [`Lease`] | a slot to write, an event to read in place |
//! | [`Deadline`], [`CancelToken`] | how a wait ends from outside |
//! | [`SendError`], [`RecvError`], [`MultiProcessError`] | how it ends otherwise, and why a ring cannot be opened |
//! | [`BlockedOn`] | what holds a full ring |
//! | [`prelude`] | these names and a few more |
//!
//! The calls that send and receive follow one pattern: first what is sent, then the deadline, and a closure last.
//!
//! | | until a deadline | never waits |
//! |---|---|---|
//! | publish, written in place | `send(deadline, write)` | `try_send(write)` |
//! | publish a value | `send_value(event, deadline)` | |
//! | publish many together | `send_batch(n, deadline, write)` | `try_send_batch(n, write)` |
//! | claim a slot | `claim(deadline)` | `try_claim()` |
//! | receive in place | `recv(deadline)` | `try_recv()` |
//! | receive a copy | `recv_owned(deadline)` | `try_recv_owned()` |
//! | handle all that is there | `process_within(deadline, handle)` | `process_available(handle)` |
//!
//! # By need
//!
//! - A file of your choice, or the heap, in place of shared memory: [`MmapProducer`], [`MmapConsumer`],
//!   [`MmapTransportLayout`], [`SyncPolicy`]; [`HeapRing`].
//! - Waiting: [`AutoWaitStrategy`]; one thread for many rings: [`RingSet`]; an event loop: `Readiness`; tokio:
//!   `AsyncConsumer`; a thread that calls a handler: [`AutoConsumer`], [`HandlerPanicPolicy`].
//! - Consumers to wait for: [`CoordinationMode`], [`DiscoveryMode`]; where one starts: [`StartFrom`]; readers that
//!   gate nobody: [`observer()`], [`Observer`].
//! - Required consumers: [`RequiredConsumerLivenessConfig`], [`RequiredConsumerError`], [`RequiredConsumerAlert`].
//! - Events whose type the program does not know, as bytes: [`UntypedProducer`], [`UntypedConsumer`], [`UntypedEvent`].
//! - Diagnosis: [`RingState`], [`MemoryReport`], [`CloseReport`], [`SystemCause`]; counters: [`observability`]; rings
//!   seen from outside: [`inspect`].
//! - How the parts work: [`producer`], [`consumer`], [`shared_memory`], [`backend`], [`lock_free`].
//!
//! # Kept for programs written against disruptor-mp 0.1
//!
//! These functions only repeat what a wait strategy and a deadline do: [`default_block_strategy_duration`],
//! [`default_consume_sleep_duration`], [`default_discovery_poll_duration`], [`perform_default_block_wait`],
//! [`perform_default_consume_sleep_wait`], [`perform_default_discovery_poll_wait`], [`perform_sleep_wait`]. Methods of
//! this kind are the last of their type, under this heading, and say which call replaces them.
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
mod testing;

// before the handles, the last block of whose pages is for programs written against 0.1
mod open;

mod cause;
mod clock;
mod env;
mod error;
mod event;
mod facade;
mod handles;
#[cfg(not(loom))]
pub mod inspect;
mod layout;
mod liveness;
pub mod observability;
mod os;
mod protocol;
mod region;
mod segment;
mod sync;
mod waiting;

/// The position of an event in its ring: the first is 0, and −1 is none.
///
/// # Examples
///
/// ```
/// use disruptor_mp::Deadline;
///
/// let mut tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
/// let first: disruptor_mp::Sequence = tx.send_value(7, Deadline::NEVER)?;
/// assert_eq!(first, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Sequence = i64;

pub use cause::SystemCause;
pub use disruptor_mp_derive::Event;
pub use error::{
    MissingFreeSlots, MultiProcessError, MultiProcessResult, RecvError, RingBufferFull, SendError,
};
#[doc(hidden)]
pub use event::derived as __event;
pub use event::{EVENT_ALIGN_MAX, Event, EventLayout, LayoutId};
pub use facade::{backend, consumer, lock_free, prelude, producer, shared_memory};
#[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
pub use handles::async_consumer::AsyncConsumer;
#[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
#[doc(hidden)]
pub use handles::async_consumer::AsyncReadiness;
pub use handles::auto::{AutoConsumer, HandlerPanicPolicy};
pub use handles::consumer::{Consumer, SharedConsumer};
#[doc(hidden)]
pub use handles::diagnosis::ConsumerPlace;
pub use handles::diagnosis::{BlockedOn, RingState};
pub use handles::guards::{Claim, Lease};
pub use handles::kinds::{Heap, MappedFile, SharedMemory};
pub use handles::observer::{Observer, SharedObserver};
pub use handles::producer::{CloseReport, Producer, SharedProducer, SyncPolicy};
#[doc(hidden)]
pub use handles::producer::{NoteReader, PlaceReader};
#[cfg(all(target_os = "linux", not(loom)))]
pub use handles::readiness::Readiness;
#[cfg(not(loom))]
pub use handles::ring_set::{RingMember, RingSet, RingSetFull, RingWaiter};
pub use handles::start::StartFrom;
pub use layout::DEFAULT_MAX_CONSUMERS;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use layout::header::ring_in_header;
pub use liveness::{
    RequiredConsumerAlert, RequiredConsumerAlertHook, RequiredConsumerError,
    RequiredConsumerFailureAction, RequiredConsumerLivenessConfig,
};
pub use observability::{CounterHandle, CounterId, CounterSnapshot, CountersError, CountersFile};
pub use open::backing::{
    MmapTransportLayout, PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, portable_shm_segment_name,
};
pub use open::builder::{
    CoordinationMode, DiscoveryMode, DisruptorBuilder, SharedDisruptorBuilder,
};
pub use open::simple::{
    HeapRing, MmapConsumer, MmapObserver, MmapProducer, attach_shared_consumer,
    build_shared_single_producer, observer, publisher, subscribe_within, subscriber,
};
#[cfg(not(loom))]
pub use open::untyped::{UntypedConsumer, UntypedEvent, UntypedProducer};
pub use region::{HugePages, MemoryReport};
#[cfg(all(feature = "dst", not(loom)))]
pub use testing::dst;
#[cfg(feature = "fail-points")]
#[doc(hidden)]
pub use testing::fail::FAIL_POINTS;
#[cfg(not(loom))]
#[doc(hidden)]
pub use testing::fail::point as fail_point;
#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
#[doc(hidden)]
pub use testing::fail::{arm_fail_points, fail_points_fired, fail_points_passed};
pub use waiting::cancel::CancelToken;
pub use waiting::deadline::Deadline;
pub use waiting::{
    AutoWaitStrategy, default_block_strategy_duration, default_consume_sleep_duration,
    default_discovery_poll_duration, perform_default_block_wait,
    perform_default_consume_sleep_wait, perform_default_discovery_poll_wait, perform_sleep_wait,
};

/// The README's examples compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
