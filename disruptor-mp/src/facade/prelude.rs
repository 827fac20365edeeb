//! The items that most programs need: `use disruptor_mp::prelude::*;`.
//!
//! ```
//! use disruptor_mp::prelude::*;
//!
//! #[derive(Clone, Copy, Default, Event)]
//! #[repr(C)]
//! struct Tick {
//!     price: i64,
//!     quantity: u64,
//! }
//!
//! # let name = &disruptor_mp::portable_shm_segment_name("doc");
//! let mut tx = publisher::<Tick>(name, 4096)?;
//! let mut rx = subscriber::<Tick>(name)?;
//! tx.send(Deadline::NEVER, |tick| *tick = Tick { price: 100, quantity: 1 })?;
//! assert_eq!(rx.recv(Deadline::NEVER)?.price, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use crate::error::{MultiProcessError, MultiProcessResult, RecvError, SendError};
pub use crate::handles::consumer::SharedConsumer;
pub use crate::handles::producer::SharedProducer;
pub use crate::handles::start::StartFrom;
pub use crate::liveness::{RequiredConsumerError, RequiredConsumerLivenessConfig};
pub use crate::observability::{
    CounterHandle, CounterId, CounterSnapshot, CountersError, CountersFile,
};
pub use crate::open::backing::{MmapTransportLayout, portable_shm_segment_name};
pub use crate::open::builder::{CoordinationMode, DiscoveryMode, SharedDisruptorBuilder};
pub use crate::open::simple::{
    MmapConsumer, MmapProducer, attach_shared_consumer, build_shared_single_producer, publisher,
    subscribe_within, subscriber,
};
pub use crate::waiting::AutoWaitStrategy;
pub use crate::waiting::deadline::Deadline;
pub use crate::{Event, Sequence};
