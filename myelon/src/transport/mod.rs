//! Layer 1: messages of any length, over rings of frames.
//!
//! A frame is an event that carries a piece of a message. A message of one frame is written where its receivers read it,
//! and read where it was written; a longer one takes a run of frames, which are published together. Only the bytes that a
//! message has are copied, once on each side at the most.
//!
//! ```
//! use myelon::Deadline;
//! use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy};
//!
//! let name = myelon::portable_shm_segment_name("doc");
//! let mut tx = FramedTransportProducer::<FixedFrame<1024>>::create(&name, 64)?;
//! let mut rx = FramedTransportConsumer::<FixedFrame<1024>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
//! tx.send(b"hello", 7, Deadline::NEVER)?;
//! let message = rx.recv(Deadline::NEVER)?;
//! assert_eq!((message.kind(), &*message), (7, &b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who writes what, and what happens when someone dies
//!
//! The producer writes frames and nothing else; a consumer writes how far it has released frames. A producer that dies in
//! a message of up to half the ring has published none of it or all. Of a longer message consumers have a part, which they
//! drop and count when the next message starts, or the ring ends. A consumer with an explicit id that dies gets the message
//! at hand again when it comes back, but for the rest of a message that is longer than the whole ring: that is dropped.
//!
//! # Choosing a frame
//!
//! A message that fits one frame costs least, and short messages do not pay for large frames: their bytes are all that is
//! touched. So take frames that most messages fit, and memory is what it costs: depth times frame size.

mod assembly;
mod buffer;
mod clock;
mod config;
mod consumer;
mod error;
mod frame;
mod message;
mod names;
mod place;
mod producer;

pub use assembly::{Received, ReceivedMessageMeta};
pub use buffer::{REASSEMBLY_ALIGN, ReassemblyBuffer};
pub(crate) use config::WORKER_PREFIX;
pub use config::{
    DEFAULT_MYELON_RESPONSE_DEPTH, DEFAULT_MYELON_RPC_DEPTH, MyelonTransportConfig,
    RunnerMyelonTransportConfig,
};
pub use consumer::{
    FramedTransportConsumer, MmapFramedTransportConsumer, MyelonWaitStrategy, recv_framed_message,
};
pub use error::{TransportError, TransportResult};
pub use frame::{
    AlignedFixedFrame, FRAME_HEADER_BYTES, FixedFrame, FrameMeta, FramedTransportFrame,
    frame_flags, is_last_frame, is_single_frame,
};
pub use message::Message;
pub use names::{
    DEFAULT_TRANSPORT_PREFIX, MyelonTransportLayout, SEGMENT_NAME_LIMIT_MACOS, compact_session_tag,
    coordination_cursor_name, ensure_coordination_cursor, validate_segment_name,
};
pub use place::RingPlace;
pub use producer::{
    FramedTransportProducer, MAX_MESSAGE_BYTES, MmapFramedTransportProducer, Reservation,
    publish_framed_payload,
};
