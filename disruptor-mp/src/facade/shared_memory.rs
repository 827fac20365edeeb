//! The segment and its configuration.
//!
//! A ring is one named object, the *segment*: a header, the control lines and the slots. The segment contains
//! everything; there is no second object for a cursor and nothing to scan for. `docs/segment-layout.md` has
//! every byte.
//!
//! ```
//! use disruptor_mp::shared_memory::{
//!     SharedConsumer, SharedDisruptorBuilder, SharedProducer, attach_shared_consumer, build_shared_single_producer,
//!     portable_shm_segment_name,
//! };
//!
//! let name = portable_shm_segment_name("ticks");
//! let mut tx: SharedProducer<u64> = build_shared_single_producer(&name, 1024)
//!     .discover_consumer_with_prefix(2, "worker") // worker_0 and worker_1 start at the first event, however late
//!     .build_producer(|| 0)?;
//! let consumer: SharedDisruptorBuilder<u64> = attach_shared_consumer(&name, 1024);
//! let rx: SharedConsumer<u64> = consumer.with_consumer_id("worker_0").build_consumer()?;
//! assert!(tx.notice_consumer_id("worker_0"));
//!
//! let second = build_shared_single_producer::<u64>(&name, 1024).build_producer(|| 0);
//! assert!(second.unwrap_err().to_string().contains("already has a live producer"));
//! # Ok::<(), disruptor_mp::MultiProcessError>(())
//! ```
//!
//! # Creating and taking over
//!
//! A segment is built without a name, complete, and then named: no process ever sees half of one, and a
//! creator that dies leaves nothing. Its space is reserved, so that a full file system is an error with two
//! numbers and not a crash later. It is private to its user unless `with_mode` says otherwise.
//!
//! A file that has the name already is examined before anything is changed. If the ring has a live producer,
//! the error says its pid. The ring of a dead producer is taken over. A ring that does not fit is an error
//! that says what was found, and `recreate()` replaces it.
//!
//! # Who is waited for
//!
//! | | the producer |
//! |---|---|
//! | nothing said | runs free while no consumer is registered |
//! | [`DiscoveryMode`] | fills the ring once, and waits there until the announced consumers have come |
//! | [`CoordinationMode::WaitForConsumers`] | is handed out once they have come; else an error names the missing ones |
//! | [`CoordinationMode::BufferUntilConsumers`] | takes this many events until the first consumer has come |

pub use crate::error::{MultiProcessError, MultiProcessResult};
pub use crate::handles::consumer::SharedConsumer;
pub use crate::handles::kinds::SharedMemory;
pub use crate::handles::producer::SharedProducer;
pub use crate::handles::start::StartFrom;
pub use crate::open::backing::{PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, portable_shm_segment_name};
pub use crate::open::builder::{
    CoordinationMode, DiscoveryMode, DisruptorBuilder, SharedDisruptorBuilder,
};
pub use crate::open::simple::{
    attach_shared_consumer, build_shared_single_producer, publisher, subscribe_within, subscriber,
};
pub use crate::region::{HugePages, MemoryReport};
