//! Layer 2: messages as bytes and back.
//!
//! A [`Codec`] is a message type that knows its bytes. Four come with the crate, each behind a feature and each a
//! transparent wrapper around the message; anything else is a few lines in an implementation of your own.
//!
//! | codec | feature | for | in place ([`ZeroCopyCodec`]) |
//! |---|---|---|---|
//! | `Bincode` | `bincode` (default) | serde types; compact and quick | strings and byte slices, by `BorrowedForm` |
//! | `Postcard` | `postcard` | serde types; the maintained alternative to bincode | the same |
//! | `Rkyv` | `rkyv` | rkyv's own derives; large messages read where they lie | the whole message, checked first |
//! | `FlatBuffer` | `flatbuffers` | schemas shared with other languages and versions | tables, verified first |
//!
//! Bincode's development has ended: 2.0.1 is the last release that does anything (3.0.0 is an empty shell), and it is pinned.
//! Its format is stable and small, so it stays the default; who wants a codec with a future takes postcard.
//!
//! Nothing here blocks. What is decoded may come from anyone: lengths, depths and references are checked against the
//! bytes that are there, before memory is set aside for them, the whole input must be used, and what does not hold is a
//! [`CodecError`], never a panic. A message has at most [`MAX_MESSAGE_BYTES`].
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "bincode")] {
//! use myelon::codec::{Bincode, Codec};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Order {
//!     id: u64,
//!     symbol: String,
//! }
//!
//! let order = Order { id: 7, symbol: "XAU".into() };
//! let mut frame = [0; 64];
//! let used = Bincode::of(&order).encode_into(&mut frame)?.expect("it fits");
//! assert_eq!(Bincode::<Order>::decode(&frame[..used])?.into_inner(), order);
//! # }
//! # Ok::<(), myelon::CodecError>(())
//! ```

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(any(feature = "bincode", feature = "postcard"))]
mod borrowed;
mod error;
#[cfg(feature = "flatbuffers")]
mod flatbuffers;
#[cfg(any(feature = "bincode", feature = "postcard"))]
mod guard;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "rkyv")]
mod rkyv;

#[cfg(feature = "bincode")]
pub use bincode::Bincode;
#[cfg(any(feature = "bincode", feature = "postcard"))]
pub use borrowed::BorrowedForm;
pub use error::CodecError;
#[cfg(feature = "flatbuffers")]
pub use flatbuffers::{AnyTable, FlatBuffer, FlatRoot};
#[cfg(any(feature = "bincode", feature = "postcard"))]
pub use guard::MAX_EMPTY_ELEMENTS;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "rkyv")]
pub use rkyv::{Rkyv, RkyvMessage};

pub use crate::transport::MAX_MESSAGE_BYTES;

/// How deep the values of a message may be nested to be decoded or read: 128.
///
/// Of serde messages, each struct, tuple, sequence, map, enum and `Some` is one deeper; of archives, each reference; of
/// flatbuffers, each table.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::{Bincode, Codec, CodecError, MAX_DEPTH};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Link(Option<Box<Link>>);
///
/// let deep = vec![1; MAX_DEPTH + 1];
/// let error = Bincode::<Link>::decode(&deep).map(drop).unwrap_err();
/// assert!(matches!(error, CodecError::TooDeep { limit: MAX_DEPTH, .. }));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_DEPTH: usize = 128;

/// A message type that knows its bytes.
///
/// Two methods make a codec; the others are provided by way of [`encode`](Self::encode), and worth writing where
/// publishing must not allocate: a transport asks `encode_into` first, with the claimed frame.
///
/// # Examples
///
/// ```
/// use myelon::{Codec, CodecError};
///
/// /// A price in ticks: eight bytes, little-endian.
/// #[derive(Debug, PartialEq)]
/// struct Price(u64);
///
/// impl Codec for Price {
///     fn encode(&self) -> Result<Vec<u8>, CodecError> {
///         Ok(self.0.to_le_bytes().to_vec())
///     }
///
///     fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
///         let Some(place) = out.first_chunk_mut() else { return Ok(None) };
///         *place = self.0.to_le_bytes();
///         Ok(Some(8))
///     }
///
///     fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
///         Ok(Self(u64::from_le_bytes(bytes.try_into().map_err(CodecError::custom)?)))
///     }
/// }
///
/// let mut frame = [0; 16];
/// assert_eq!(Price(101).encode_into(&mut frame)?, Some(8));
/// assert_eq!(Price::decode(&frame[..8])?, Price(101));
/// assert!(matches!(Price::decode(&frame), Err(CodecError::Custom(_))));
/// # Ok::<(), CodecError>(())
/// ```
pub trait Codec: Sized {
    /// The message's bytes.
    ///
    /// # Errors
    ///
    /// What the format cannot express, or more than its limit allows.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// assert_eq!(Bincode((7_u16, [1_u8, 2])).encode()?, [7, 0, 1, 2]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn encode(&self) -> Result<Vec<u8>, CodecError>;

    /// Appends the message's bytes to `out`; after an error `out` is as it was.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// let mut bytes = vec![0xFF];
    /// Bincode(7_u8).encode_append(&mut bytes)?;
    /// assert_eq!(bytes, [0xFF, 7]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&self.encode()?);
        Ok(())
    }

    /// Writes the message's bytes to the start of `out`: `Some` of their number, or `None` if they do not fit, and then
    /// `out` holds anything.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// let mut frame = [0; 4];
    /// assert_eq!(Bincode([1_u8; 4]).encode_into(&mut frame)?, Some(4));
    /// assert_eq!(Bincode([1_u8; 5]).encode_into(&mut frame)?, None);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let bytes = self.encode()?;
        let Some(place) = out.get_mut(..bytes.len()) else {
            return Ok(None);
        };
        place.copy_from_slice(&bytes);
        Ok(Some(bytes.len()))
    }

    /// The message that exactly these bytes stand for.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or more than one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// assert_eq!(Bincode::<(u8, bool)>::decode(&[7, 1])?.into_inner(), (7, true));
    /// assert!(Bincode::<(u8, bool)>::decode(&[7, 2]).is_err(), "2 is no bool");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;
}

/// A codec whose messages can be read where they lie, without a copy.
///
/// # Examples
///
/// ```
/// use myelon::{Codec, CodecError, ZeroCopyCodec};
///
/// struct Text(String);
///
/// impl Codec for Text {
///     fn encode(&self) -> Result<Vec<u8>, CodecError> {
///         Ok(self.0.clone().into_bytes())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
///         Self::access(bytes).map(|text| Self(text.to_owned()))
///     }
/// }
///
/// impl ZeroCopyCodec for Text {
///     type Archived<'a> = &'a str;
///
///     fn access(bytes: &[u8]) -> Result<&str, CodecError> {
///         str::from_utf8(bytes).map_err(CodecError::custom)
///     }
/// }
///
/// assert_eq!(Text::access(b"gold")?, "gold");
/// # Ok::<(), CodecError>(())
/// ```
pub trait ZeroCopyCodec: Codec {
    /// The message as it lies in bytes that live for `'a`.
    type Archived<'a>;

    /// Checks that exactly these bytes are a message, and gives it to read in place.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or lie where it cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// use myelon::codec::{Codec, Rkyv, ZeroCopyCodec};
    ///
    /// let bytes = Rkyv("a text that is read in place".to_owned()).encode()?;
    /// assert_eq!(Rkyv::<String>::access(&bytes)?.len(), 28);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn access(bytes: &[u8]) -> Result<Self::Archived<'_>, CodecError>;
}

#[cfg(any(
    feature = "bincode",
    feature = "postcard",
    feature = "rkyv",
    feature = "flatbuffers"
))]
/// Refuses a message of more than [`MAX_MESSAGE_BYTES`].
fn check_len(codec: &'static str, len: usize) -> Result<(), CodecError> {
    if len > MAX_MESSAGE_BYTES {
        return Err(CodecError::TooLong {
            codec,
            len,
            limit: MAX_MESSAGE_BYTES,
        });
    }
    Ok(())
}
