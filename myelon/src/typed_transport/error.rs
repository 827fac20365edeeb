//! Errors of typed messages.

use disruptor_mp::{MultiProcessError, RecvError};

use crate::codec::CodecError;
use crate::transport::TransportError;

debug_is_text!(
    TypedPublishError,
    DecodeError,
    TypedRecvError,
    TypedServeError,
    KindTaken
);

/// Why a typed message was not sent.
///
/// # Examples
///
/// ```
/// use myelon::{CodecError, TypedPublishError};
///
/// let error = TypedPublishError::Encode { kind: 7, source: CodecError::custom("no price") };
/// assert_eq!(error.to_string(), "a message of kind 7 was not sent: no price");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TypedPublishError {
    /// The message could not be encoded.
    #[error("a message of kind {kind} was not sent: {source}")]
    Encode {
        /// The message's kind.
        kind: u8,
        /// The codec's error.
        source: CodecError,
    },
    /// The transport did not accept the message.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// A message that could not be decoded. It is consumed; the next call continues after it.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// # use myelon::codec::Bincode;
/// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
/// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
/// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// # let mut tx = TypedProducer::from_builder(ring.builder())?;
/// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
/// tx.raw().send(b"\xFF", 7, Deadline::NEVER)?;
/// rx.process_available::<Bincode<u64>>(|kind, outcome| {
///     let error = outcome.unwrap_err();
///     assert_eq!((error.kind, error.len, kind), (7, 1, 7));
/// })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(thiserror::Error)]
#[error("a message of kind {kind} and {len} bytes was dropped: {source}")]
pub struct DecodeError {
    /// The message's kind.
    pub kind: u8,
    /// The message's length in bytes.
    pub len: usize,
    /// The codec's error.
    pub source: CodecError,
}

/// Why no typed message was received.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// # use myelon::codec::Bincode;
/// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
/// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
/// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// # let mut tx = TypedProducer::from_builder(ring.builder())?;
/// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
/// use myelon::{RecvError, TypedRecvError};
///
/// tx.raw().send(b"", 7, Deadline::NEVER)?;
/// tx.close()?;
/// let mut dropped = 0;
/// loop {
///     match rx.recv::<Bincode<u64>>(Deadline::NEVER) {
///         Ok((_kind, Bincode(number))) => println!("{number}"),
///         Err(TypedRecvError::Recv(RecvError::Closed)) => break,
///         Err(TypedRecvError::Decode(_)) => dropped += 1, // and continue
///         Err(error) => return Err(error.into()),
///     }
/// }
/// assert_eq!(dropped, 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TypedRecvError {
    /// No message was received.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// A message could not be decoded. It is consumed; the next call continues after it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The table has no handler for a message's kind. The message is consumed; the next call continues after
    /// it.
    #[error(
        "a message of kind {kind} and {len} bytes was dropped: the table has handlers for {known:?} only"
    )]
    UnknownKind {
        /// The message's kind.
        kind: u8,
        /// The message's length in bytes.
        len: usize,
        /// The kinds that have a handler.
        known: Vec<u8>,
    },
    /// The table has no handlers; nothing was received.
    #[error("the table has no handler for any kind: add one with on()")]
    NoKinds,
}

/// Why a typed request was not answered.
///
/// # Examples
///
/// ```
/// use myelon::{RecvError, TypedRecvError, TypedServeError};
///
/// /// Whether a worker continues.
/// fn goes_on(error: &TypedServeError) -> bool {
///     match error {
///         TypedServeError::Recv(TypedRecvError::Recv(end)) => *end == RecvError::Timeout,
///         TypedServeError::Recv(_) => true, // no request of this type: continue with the next one
///         _ => false,
///     }
/// }
///
/// assert!(!goes_on(&TypedRecvError::from(RecvError::Closed).into()));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TypedServeError {
    /// No request came, or a request came that is not of the type.
    #[error(transparent)]
    Recv(#[from] TypedRecvError),
    /// The answer was not sent.
    #[error(transparent)]
    Publish(#[from] TypedPublishError),
    /// The ring of the requests to this worker could not be attached.
    #[error(transparent)]
    Ring(MultiProcessError),
}

/// A kind already has a handler.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::{KindTable, KindTaken};
///
/// let table = KindTable::new().on(1, |_: Bincode<u64>| {})?;
/// assert_eq!(table.on(1, |_: Bincode<u32>| {}).unwrap_err(), KindTaken { kind: 1 });
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kind {kind} has a handler already: one kind is one type of message")]
pub struct KindTaken {
    /// The kind.
    pub kind: u8,
}
