// The map of this crate, lowest layer first: a module may use layer 0 (`disruptor-mp`) and what its line names.
// `ci/imports` holds the code to that. `docs/architecture.md` shows them above the rings, and where something new goes.
//
// transport         layer 1, messages over rings of frames: nothing else; it re-exports `session`'s names and settings
// delivery          how often a message was delivered: `transport`
// codec             layer 2, values as bytes and bytes as values: `transport`'s limit of a message
// typed_transport   layer 3, values over messages: `transport`, `delivery`, `codec`
// session           one scheduler and its workers: `transport`, `delivery`, `codec`, `typed_transport`
// inference         a fixed group of workers on one ring of events: `transport`'s places, `session`'s prefix of workers
// prelude           the names that most programs need, of all of these

//! Messages between processes on one machine: rings in shared memory that carry fixed-size events, messages of any
//! length, and values.
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
//! # Start here
//!
//! | name | what it is |
//! |---|---|
//! | [`Event`](trait@Event), [`publisher`], [`subscriber`], [`subscribe_within`] | layer 0: fixed-size events |
//! | [`FramedTransportProducer`], [`FramedTransportConsumer`] | layer 1: messages of any length |
//! | [`FixedFrame`], [`AlignedFixedFrame`] | the frames that carry them |
//! | [`Codec`], [`ZeroCopyCodec`] | layer 2: values as bytes |
//! | [`TypedProducer`], [`TypedConsumer`], [`KindTable`] | layer 3: values, of several types |
//! | [`Scheduler`], [`Worker`] | one scheduler and its workers, over all of these |
//! | [`Deadline`] | how long a call waits |
//! | [`SendError`], [`RecvError`], [`TransportError`] | why nothing was sent or received |
//! | [`prelude`] | these names and a few more |
//!
//! The calls have the same names on all layers. The deadline is the last argument, or comes just before a closure.
//!
//! | | events | messages | values |
//! |---|---|---|---|
//! | send | `send(deadline, write)` | `send(message, kind, deadline)` | `send(&value, kind, deadline)` |
//! | send, never wait | `try_send(write)` | `try_send(message, kind)` | `try_send(&value, kind)` |
//! | write in place | `claim(deadline)` | `reserve(len, kind, deadline)` | `send`, if the codec can |
//! | receive | `recv(deadline)`: a lease | `recv(deadline)`: lent | `recv(deadline)`: a value of your own |
//! | receive, never wait | `try_recv()` | `try_recv()` | `try_recv()` |
//! | receive a copy | `recv_owned(deadline)` | `recv_owned(deadline)` | `recv(deadline)` |
//! | read in place | `recv(deadline)` | `recv_leased(buffer, deadline, handle)` | `recv_leased_within(buffer, deadline, handle)` |
//!
//! # By need
//!
//! - Everything that layer 0 offers, by need: [`disruptor_mp`].
//! - Files in place of shared memory: [`MmapFramedTransportProducer`], [`MmapFramedTransportConsumer`],
//!   [`MmapTypedProducer`], [`MmapTypedConsumer`].
//! - What is known about a message: [`ReceivedMessageMeta`], [`Received`]; a buffer for long ones:
//!   [`ReassemblyBuffer`]; a message that comes again until it is done: [`HeldMessage`].
//! - Sessions: [`RunnerMyelonTransportConfig`], [`MyelonTransportConfig`], [`MyelonTransportLayout`]; messages:
//!   [`Request`], [`RequestId`], [`Response`], [`Reply`]; the halves of a scheduler and of a worker: [`RequestSender`],
//!   [`ResponseReceiver`], [`RequestReceiver`], [`ResponseSender`]; requests and pieces that are written in place:
//!   [`RequestReservation`], [`PieceReservation`]; the pieces of an answer: [`AnswerPieces`], [`Piece`]; frames whose
//!   size is chosen at run time: [`with_frames_for`], [`WithFrames`], [`FRAME_CLASSES`]; requests seen from outside:
//!   [`requests_seen`], [`RequestsSeen`]; what [`Gathered`] answers lack; what a death means: [`OnWorkerDeath`],
//!   [`WorkerDeath`]; what a panic of a handler means: [`OnHandlerPanic`]; what a shutdown has left:
//!   [`ShutdownReport`]; members for tasks, with the feature `tokio`: `AsyncScheduler`, `AsyncWorker`. Messages and
//!   values in tasks, on Linux: `AsyncTypedConsumer`.
//! - Workers on a ring of events: [`FixedTopology`], [`WorkerCount`].
//! - Frames of your own: [`FramedTransportFrame`], [`FrameMeta`]; a plain ring of frames:
//!   [`publish_framed_payload`], [`recv_framed_message`].
//!
//! # Kept for programs written against disruptor-mp 0.1
//!
//! Methods that only repeat another call, or panic where another call returns an error, are the last of their type,
//! under this heading, and say which call replaces them: `publish` and `try_publish` on the layers above events,
//! `recv_message_blocking_…`, `recv_owned` and `recv_leased` of values. So are those of layer 0.
//!
//! # Layers
//!
//! Layer 0, rings of events, is the crate `disruptor-mp`. This crate re-exports all of it under the same names,
//! and the types are the same: a `disruptor_mp::SharedConsumer` is a [`SharedConsumer`]. The crate itself is
//! not re-exported as a path of this one:
//!
//! ```compile_fail,E0433
//! let _ = myelon::disruptor_mp::portable_shm_segment_name("ticks");
//! ```

/// `Debug` for errors as for users: the sentence. A program whose `main` returns an error ends with its `Debug` text.
macro_rules! debug_is_text {
    ($($error:ty),+) => {$(
        impl core::fmt::Debug for $error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

pub mod codec;
mod delivery;
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

/// The examples of this crate's own README compile and run.
#[cfg(all(doctest, feature = "bincode"))]
#[doc = include_str!("../README.md")]
mod readme_of_the_crate {}

/// The guide's examples compile and run.
#[cfg(all(doctest, feature = "bincode", feature = "rkyv"))]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}

/// The examples of the page on sessions compile and run.
#[cfg(all(doctest, feature = "bincode"))]
#[doc = include_str!("../../docs/sessions.md")]
mod sessions {}

/// The examples of the page on operations compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/operations.md")]
mod operations {}

/// The examples of the book's other pages compile and run. `tests/tests/ten_minutes.rs` also runs the program of the
/// first one, which waits for a second process.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../docs/choosing-a-layer.md")]
    mod choosing_a_layer {}
    #[doc = include_str!("../../docs/choosing-a-wait-strategy.md")]
    mod choosing_a_wait_strategy {}
    #[doc = include_str!("../../docs/sizing.md")]
    mod sizing {}
    #[doc = include_str!("../../docs/losing-nothing.md")]
    mod losing_nothing {}
    #[doc = include_str!("../../docs/liveness.md")]
    mod liveness_and_restarts {}
    #[doc = include_str!("../../docs/placement.md")]
    mod placement {}
    #[doc = include_str!("../../docs/permissions.md")]
    mod permissions {}
    #[doc = include_str!("../../docs/migrating-from-lmax.md")]
    mod migrating_from_lmax {}
}

/// The examples for programs written against the crates of these names before 0.1.0 compile and run.
#[cfg(all(doctest, feature = "bincode"))]
#[doc = include_str!("../../docs/migrating.md")]
mod migrating {}
