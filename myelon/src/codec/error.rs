//! Why a message could not be made into bytes, or bytes into a message.

use std::error::Error;

/// Why a message could not be encoded, or bytes could not be decoded.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::{Bincode, Codec, CodecError};
///
/// let error = Bincode::<u8>::decode(&[1, 2]).unwrap_err();
/// assert!(matches!(error, CodecError::TrailingBytes { consumed: 1, len: 2, .. }));
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The format cannot express this message.
    #[error(
        "{codec} cannot encode this {message}: {source}; change the type or choose another codec"
    )]
    Encode {
        /// The codec's name.
        codec: &'static str,
        /// The message's type.
        message: &'static str,
        /// What the codec said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes are not such a message.
    #[error(
        "{len} bytes are no {message} in {codec}: {source}; use the same type and codec on both sides"
    )]
    Decode {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How many bytes were given.
        len: usize,
        /// What the codec said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The message ended before the bytes did.
    #[error(
        "{message} in {codec} took {consumed} of {len} bytes, expected all: use the same type and codec on both sides, and one message per call"
    )]
    TrailingBytes {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How many bytes the message took.
        consumed: usize,
        /// How many bytes were given.
        len: usize,
    },
    /// More bytes than one message may have.
    #[error(
        "a message of {len} bytes is too long for {codec}, which takes at most {limit}: split it"
    )]
    TooLong {
        /// The codec's name.
        codec: &'static str,
        /// How many bytes there are, or were needed.
        len: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The values are nested deeper than is read.
    #[error(
        "{message} in {codec} is nested more than {limit} deep: use a flatter type, or look who sent it"
    )]
    TooDeep {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How deep it may be.
        limit: usize,
    },
    /// A sequence or map claims more elements than the bytes could hold.
    #[error(
        "{message} in {codec} claims {claimed} elements where {len} bytes allow for {allowed} more: use the same type and codec on both sides"
    )]
    TooManyElements {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How many elements the bytes claim.
        claimed: usize,
        /// How many there might still be.
        allowed: usize,
        /// How many bytes were given.
        len: usize,
    },
    /// The bytes lie where the message cannot be read in place.
    #[error(
        "{message} in {codec} is read in place at a multiple of {needed}, these bytes lie {found} past one: receive into an AlignedFixedFrame, or decode, which copies"
    )]
    Misaligned {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// The alignment needed, in bytes.
        needed: usize,
        /// How far past a multiple of it the bytes begin.
        found: usize,
    },
    /// A codec of the user's own failed.
    #[error(transparent)]
    Custom(Box<dyn Error + Send + Sync>),
}

impl CodecError {
    /// An error of a codec of your own: an error type, or just a text.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = myelon::CodecError::custom("a price is 8 bytes, found 3");
    /// assert_eq!(error.to_string(), "a price is 8 bytes, found 3");
    /// ```
    pub fn custom(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Custom(source.into())
    }
}
