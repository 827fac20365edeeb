//! Layer 2: messages as bytes, and bytes as messages.
//!
//! A [`Codec`] is a message type that can be converted to bytes and back. Four come with the crate. Each of
//! them is behind a feature, and is a transparent wrapper around the message. For any other format, implement
//! the trait yourself in a few lines.
//!
//! | codec | feature | for | in place ([`ZeroCopyCodec`]) |
//! |---|---|---|---|
//! | `Bincode` | `bincode` (default) | serde types; compact and quick | strings and byte slices, by `BorrowedForm` |
//! | `Postcard` | `postcard` | serde types; the maintained alternative to bincode | the same |
//! | `Rkyv` | `rkyv` | rkyv's own derives; large messages that are read in place | the whole message, checked first |
//! | `FlatBuffer` | `flatbuffers` | schemas shared with other languages and versions | tables, verified first |
//!
//! Bincode's development has ended: 2.0.1 is the last usable release (3.0.0 is an empty crate), and
//! it is pinned here. Its format is stable and small, so it stays the default. A program that needs a
//! maintained codec should use postcard.
//!
//! Nothing here blocks. The decoders accept bytes from any source. They check lengths, depths and references
//! against the bytes that are present before they allocate memory for them, and they require that the whole
//! input is used. Input that fails a check gives a [`CodecError`], never a panic. A message has at most
//! [`MAX_MESSAGE_BYTES`].
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
/// In a serde message each struct, tuple, sequence, map, enum and `Some` counts as one level; in an archive
/// each reference does; in a flatbuffer each table does.
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

/// A message type that can be converted to bytes and back.
///
/// Two methods make a codec. The others have default implementations that call [`encode`](Self::encode).
/// Implement them as well if publishing must not allocate: a transport calls `encode_into` first, with the
/// claimed frame.
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
    /// The format cannot express the message, or the message exceeds the format's limit.
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

    /// Appends the message's bytes to `out`. After an error, `out` is unchanged.
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

    /// Writes the message's bytes to the start of `out`. Returns how many there are, or `None` if they do not
    /// fit; the contents of `out` are then unspecified.
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

    /// The message that exactly these bytes represent.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or contain more than one message.
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

/// A codec whose messages can be read in place, without a copy.
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
    /// The message, read in place in bytes that live for `'a`.
    type Archived<'a>;

    /// Checks that exactly these bytes are a message, and returns the message to be read in place.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or lie at an address where it cannot be read.
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
