// The modules, from the lowest layer up. Each may use layer 0 (`disruptor-mp`), and beside it only what its line names.
// `docs/architecture.md` shows them above the rings, and where something new goes.
//
// transport         layer 1, messages over rings of frames: nothing else; it re-exports `session`'s names and settings
// codec             layer 2, values as bytes and bytes as values: `transport`'s limit of a message
// typed_transport   layer 3, values over messages: `transport`, `codec`
// session           one scheduler and its workers: `transport`, `codec`, `typed_transport`
// inference         a fixed group of workers on one ring of events: `transport`'s places, `session`'s prefix of workers
// prelude           the names that most programs need, of all of these

//! The fastest trusted way to move messages between processes on one machine.
//!
//! ```
//! use myelon::prelude::*;
//!
//! #[derive(Clone, Copy, Default, myelon::Event)]
//! #[repr(C)]
//! struct Tick {
//!     price: i64,
//!     quantity: u64,
//! }
//!
//! # let name = &myelon::portable_shm_segment_name("doc");
//! // one process                                           another one
//! let mut tx = myelon::publisher::<Tick>(name, 4096)?;
//! let mut rx = myelon::subscriber::<Tick>(name)?;
//! tx.send(Deadline::NEVER, |tick| *tick = Tick { price: 100, quantity: 1 })?;
//! assert_eq!(rx.recv(Deadline::NEVER)?.price, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Layer 0, rings of events, is the crate `disruptor-mp`. This crate re-exports all of it under the same names,
//! and the types are the same: a `disruptor_mp::SharedConsumer` is a [`SharedConsumer`]. The crate itself is
//! not re-exported as a path of this one:
//!
//! ```compile_fail,E0433
//! let _ = myelon::disruptor_mp::portable_shm_segment_name("ticks");
//! ```

pub mod codec;
pub mod inference;
pub mod prelude;
pub mod session;
pub mod transport;
pub mod typed_transport;

pub use codec::{Codec, CodecError, ZeroCopyCodec};
#[doc(inline)]
pub use disruptor_mp::*;
#[cfg(feature = "flatbuffers")]
pub use flatbuffers;
#[doc(inline)]
pub use inference::*;
#[cfg(feature = "rkyv")]
pub use rkyv;
#[doc(inline)]
pub use session::*;
#[doc(inline)]
pub use transport::*;
#[doc(inline)]
pub use typed_transport::*;

/// The README's examples compile.
#[cfg(all(doctest, feature = "bincode"))]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The guide's examples compile and run.
#[cfg(all(doctest, feature = "bincode", feature = "rkyv"))]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}

/// The examples of the page on operations compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/operations.md")]
mod operations {}

/// The examples for programs written against the crates of these names before 0.1.0 compile and run.
#[cfg(all(doctest, feature = "bincode"))]
#[doc = include_str!("../../docs/migrating.md")]
mod migrating {}
