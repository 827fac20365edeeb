//! Consuming.
//!
//! Each of up to [`DEFAULT_MAX_CONSUMERS`] consumers sees every event, in order, at its own pace. A slow
//! consumer holds up the producer, but not the other consumers.
//!
//! ```
//! use disruptor_mp::{Deadline, HeapRing, RecvError};
//!
//! let ring = HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
//! tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
//! tx.close()?;
//!
//! assert_eq!(*rx.recv(Deadline::NEVER)?, 0);                      // in place; released when the lease is dropped
//! assert_eq!(rx.recv_owned(Deadline::NEVER)?, (1, 1));            // a copy
//! rx.process_within(Deadline::NEVER, |event, sequence, is_last| {
//!     assert_eq!((*event, sequence, is_last), (2, 2, true)); // all that is there
//! })?;
//! assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! A consumer has a line of its own in the segment. It polls the stamp of the next slot, reads the event in
//! place, and stores its position in its line. It writes nothing else: the slots are mapped read-only.
//!
//! A [`Lease`] is an event that is read in place. The producer cannot reuse its slot before the lease ends.
//! Dropping the lease releases the event, except in a panic: then, as after [`Lease::release_uncommitted`],
//! the event is delivered again.
//!
//! # Ids
//!
//! With an id of its own (`with_consumer_id`) a consumer is *durable*: its position outlives its process, it gates
//! while it is away, and a consumer that attaches with the id goes on there. Without one it gets an automatic id
//! and goes with its process. An id belongs to one live consumer; a second attach is refused with the owner's pid.
//!
//! # The three ends
//!
//! [`RecvError::Closed`]: everything was delivered, and no more will come. [`RecvError::ProducerDead`]: everything
//! was delivered, a successor may come, and calling again waits for it. [`RecvError::Lagged`]: for observers only.

pub use crate::error::RecvError;
pub use crate::handles::auto::AutoConsumer;
pub use crate::handles::consumer::{Consumer, SharedConsumer};
pub use crate::handles::guards::Lease;
pub use crate::handles::start::StartFrom;
pub use crate::layout::DEFAULT_MAX_CONSUMERS;
pub use crate::open::simple::MmapConsumer;
pub use crate::waiting::AutoWaitStrategy;
