//! Errors of converting a message to bytes, or bytes to a message.

use std::error::Error;

debug_is_text!(CodecError);

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
#[derive(thiserror::Error)]
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
        /// The codec's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes are not such a message.
    #[error(
        "{len} bytes are not a valid {message} in {codec}: {source}; use the same type and codec on both sides"
    )]
    Decode {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How many bytes were given.
        len: usize,
        /// The codec's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The message ended before the end of the bytes.
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
    /// There are more bytes than one message may have.
    #[error(
        "a message of {len} bytes is too long for {codec}, which takes at most {limit}: split it"
    )]
    TooLong {
        /// The codec's name.
        codec: &'static str,
        /// How many bytes there are, or were needed.
        len: usize,
        /// How many bytes there may be.
        limit: usize,
    },
    /// The values are nested more deeply than the codec reads.
    #[error(
        "{message} in {codec} is nested more than {limit} levels deep: use a flatter type, or check where the bytes come from"
    )]
    TooDeep {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// How deep it may be.
        limit: usize,
    },
    /// A sequence or map claims more elements than the bytes can hold.
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
        /// How many more elements the bytes can hold at most.
        allowed: usize,
        /// How many bytes were given.
        len: usize,
    },
    /// The bytes lie at an address where the message cannot be read in place.
    #[error(
        "{message} in {codec} is read in place at a multiple of {needed} bytes, but these bytes begin {found} past one: receive into an AlignedFixedFrame, or decode, which copies"
    )]
    Misaligned {
        /// The codec's name.
        codec: &'static str,
        /// The expected message's type.
        message: &'static str,
        /// The alignment needed, in bytes.
        needed: usize,
        /// How far past a multiple of this alignment the bytes begin, in bytes.
        found: usize,
    },
    /// An error of a codec that the program implements itself.
    #[error(transparent)]
    Custom(Box<dyn Error + Send + Sync>),
}

impl CodecError {
    /// An error of a codec that the program implements itself: an error type, or just a text.
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
