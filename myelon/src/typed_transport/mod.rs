//! Layer 3: messages as values, encoded by a [codec](crate::codec), and messages that are read in place.
//!
//! A typed transport is a framed transport that encodes the values it sends and decodes those it receives. A
//! message that fits one frame is encoded straight into the frame, and is decoded from the frame or read in
//! place. It allocates nothing except memory that its own type needs. Several types can share a transport: a
//! byte, the `kind`, goes with each message and says which type it is.
//!
//! A message that cannot be decoded gives an error with the message's kind and length; the next call continues
//! with the next message.
//!
//! ```
//! # #[cfg(feature = "bincode")] {
//! use myelon::codec::Bincode;
//! use myelon::transport::FixedFrame;
//! use myelon::{Deadline, MyelonWaitStrategy, TypedConsumer, TypedProducer};
//!
//! const ORDER: u8 = 1;
//!
//! let name = myelon::portable_shm_segment_name("doc");
//! let mut tx = TypedProducer::<FixedFrame<1024>>::create(&name, 64)?;
//! let mut rx = TypedConsumer::<FixedFrame<1024>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
//! tx.send(&Bincode((7_u64, "gold".to_owned())), ORDER, Deadline::NEVER)?;
//! let (kind, Bincode(order)) = rx.recv::<Bincode<(u64, String)>>(Deadline::NEVER)?;
//! assert_eq!((kind, order), (ORDER, (7, "gold".to_owned())));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(all(feature = "tokio", target_os = "linux"))]
mod asynchronous;
mod consumer;
mod error;
mod held;
mod kinds;
mod message;
mod producer;

#[cfg(all(feature = "tokio", target_os = "linux"))]
pub use asynchronous::AsyncTypedConsumer;
pub use consumer::{MmapTypedConsumer, TypedConsumer};
pub use error::{DecodeError, KindTaken, TypedPublishError, TypedRecvError, TypedServeError};
pub use held::HeldMessage;
pub use kinds::KindTable;
pub(crate) use producer::Encode;
pub use producer::{MmapTypedProducer, TypedProducer};
