//! Layer 3: messages as values, by way of a [codec](crate::codec), and as what can be read in place.
//!
//! A typed transport is a framed one that encodes what it sends and decodes what it receives. A message that fits one
//! frame is encoded straight into the frame, and decoded from it or read where it lies; nothing is allocated for it but
//! what its own type needs. Several types share a transport by `kind`, a byte that goes with each message.
//!
//! A message that cannot be decoded is an error that names its kind and length; the next one follows.
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
//! tx.publish(&Bincode((7_u64, "gold".to_owned())), ORDER)?;
//! let (kind, Bincode(order)) = rx.recv::<Bincode<(u64, String)>>(Deadline::NEVER)?;
//! assert_eq!((kind, order), (ORDER, (7, "gold".to_owned())));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod consumer;
mod error;
mod kinds;
mod producer;

pub(crate) use consumer::decode;
pub use consumer::{MmapTypedConsumer, TypedConsumer};
pub use error::{DecodeError, KindTaken, TypedPublishError, TypedRecvError, TypedServeError};
pub use kinds::KindTable;
pub use producer::{MmapTypedProducer, TypedProducer};
