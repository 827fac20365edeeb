//! Publishing.
//!
//! A ring has one [`Producer`] at a time. It holds a lock that the kernel frees when its process dies,
//! however that happens. A second producer on the same name is refused with the first one's pid. The ring of
//! a dead producer is taken over: the successor goes on with the next sequence.
//!
//! ```
//! use disruptor_mp::{Deadline, HeapRing};
//!
//! let ring = HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
//! tx.send(Deadline::NEVER, |event| *event = 1)?;             // writes in place
//! let mut slot = tx.claim(Deadline::NEVER)?;                 // the same in two steps
//! *slot = 2;
//! slot.publish();
//! tx.send_batch(3, Deadline::NEVER, |event, i| *event = 3 + i as u64)?; // seen together
//! let mut sum = 0;
//! rx.process_within(Deadline::NEVER, |event, _, _| sum += event)?;
//! assert_eq!(sum, 1 + 2 + 3 + 4 + 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! Each slot has a *stamp* beside its event. The producer writes the event, then the stamp; a consumer that finds the
//! stamp it expects may read. No cursor is shared for that, so one message costs one transfer of a cache line.
//!
//! A slot may be written again when every registered consumer has released its event. The smallest of the
//! sequences that they have released is the *gate*. The producer keeps a private copy of the gate and reads
//! the consumers' lines only when that copy has run out: once per lap if the consumers keep up.
//!
//! # When the ring is full
//!
//! | call | full ring |
//! |---|---|
//! | `try_send`, `try_claim`, `try_send_batch` | returns at once |
//! | `send`, `send_value`, `send_batch`, `claim` | waits until its deadline |
//! | `publish_managed`, `publish_batch_managed` | waits while the [required consumers] make progress |
//! | `publish`, `publish_value`, `publish_batch`, for existing programs | waits; panics on an error that no wait resolves |
//!
//! [required consumers]: RequiredConsumerLivenessConfig
//!
//! The [`AutoWaitStrategy`] says how the producer waits. While it waits, dead consumers with automatic ids
//! leave the gate; those with ids of their own keep their place until they come back or
//! [`Producer::remove_consumer`] removes them. [`Producer::blocked_on`] says what holds the ring.
//!
//! # The end
//!
//! Dropping the producer closes the ring: consumers drain it and then see the end. [`Producer::close_and_keep`]
//! leaves the name, [`Producer::destroy`] removes it, even if events are unread.

pub use crate::error::{MissingFreeSlots, RingBufferFull, SendError};
pub use crate::handles::diagnosis::BlockedOn;
pub use crate::handles::guards::Claim;
pub use crate::handles::producer::{Producer, SharedProducer};
pub use crate::liveness::{
    RequiredConsumerAlert, RequiredConsumerAlertHook, RequiredConsumerError,
    RequiredConsumerFailureAction, RequiredConsumerLivenessConfig,
};
pub use crate::open::builder::{CoordinationMode, DiscoveryMode};
pub use crate::open::simple::MmapProducer;
pub use crate::waiting::AutoWaitStrategy;
