//! What can go wrong with typed messages.

use disruptor_mp::RecvError;

use crate::codec::CodecError;
use crate::transport::TransportError;

/// Why a typed message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedPublishError {
    /// It could not be encoded.
    #[error("a message of kind {kind} was not sent: {source}")]
    Encode {
        /// Its kind.
        kind: u8,
        /// What the codec said.
        source: CodecError,
    },
    /// The transport did not take it.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// A message that could not be decoded. It is consumed; the next one follows.
#[derive(Debug, thiserror::Error)]
#[error("a message of kind {kind} and {len} bytes was dropped: {source}")]
pub struct DecodeError {
    /// Its kind.
    pub kind: u8,
    /// Its length in bytes.
    pub len: usize,
    /// What the codec said.
    pub source: CodecError,
}

/// Why no typed message was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedRecvError {
    /// None came.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// One came that could not be decoded. It is consumed; the next call goes on behind it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// One came that the table has no handler for. It is consumed; the next call goes on behind it.
    #[error(
        "a message of kind {kind} and {len} bytes was dropped: the table has handlers for {known:?} only"
    )]
    UnknownKind {
        /// Its kind.
        kind: u8,
        /// Its length in bytes.
        len: usize,
        /// The kinds that have a handler.
        known: Vec<u8>,
    },
    /// The table has no handlers; nothing was received.
    #[error("the table has no handler for any kind: add one with on()")]
    NoKinds,
}

/// A kind has two handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kind {kind} has a handler already: one kind is one type of message")]
pub struct KindTaken {
    /// The kind.
    pub kind: u8,
}
