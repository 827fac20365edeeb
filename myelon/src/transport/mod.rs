//! Layer 1: messages of any length over rings of frames.
//!
//! A frame is an event that carries a piece of a message. A message of one frame is written in the slot where
//! its receivers read it. A longer message takes a run of frames, which are published together. Only the bytes
//! of the message itself are copied, at most once on each side.
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
//! The producer writes only frames. A consumer writes only the position up to which it has released frames. If
//! a producer dies while it sends a message of up to half the ring, either the whole message is published or
//! none of it. Of a longer message, consumers may have received a part; they drop and count it when the next
//! message starts or the ring ends. A consumer with an explicit id that dies receives the message it was
//! handling again when it comes back. The exception is a message longer than the whole ring: the rest of it is
//! dropped.
//!
//! # Choosing a frame
//!
//! A message that fits one frame costs least, and a short message in a large frame costs no more, because only
//! its own bytes are touched. So choose a frame size that fits most messages. The price is memory: depth times
//! frame size.

mod assembly;
mod buffer;
mod clock;
mod consumer;
mod copy;
mod error;
mod frame;
mod message;
mod names;
mod outgoing;
mod place;
mod producer;
pub(crate) mod request;
mod reservation;

pub use assembly::{Received, ReceivedMessageMeta};
pub use buffer::{REASSEMBLY_ALIGN, ReassemblyBuffer};
pub use consumer::{
    FramedTransportConsumer, MmapFramedTransportConsumer, MyelonWaitStrategy, recv_framed_message,
};
pub use error::{TransportError, TransportResult};
pub use frame::{
    AlignedFixedFrame, FRAME_HEADER_BYTES, FixedFrame, FrameMeta, FramedTransportFrame,
    frame_flags, is_last_frame, is_single_frame,
};
pub use message::Message;
pub(crate) use names::invalid_name;
pub use names::{
    SEGMENT_NAME_LIMIT_MACOS, coordination_cursor_name, ensure_coordination_cursor,
    validate_segment_name,
};
pub use outgoing::MAX_MESSAGE_BYTES;
pub(crate) use outgoing::{Patience, Slices};
pub use place::RingPlace;
pub use producer::{FramedTransportProducer, MmapFramedTransportProducer, publish_framed_payload};
pub use reservation::Reservation;

// What concerns a session belongs to it, and has its public names here.
pub use crate::session::config::{
    DEFAULT_MYELON_RESPONSE_DEPTH, DEFAULT_MYELON_RPC_DEPTH, MyelonTransportConfig,
    RunnerMyelonTransportConfig,
};
pub use crate::session::names::{
    DEFAULT_TRANSPORT_PREFIX, MyelonTransportLayout, compact_session_tag,
};
