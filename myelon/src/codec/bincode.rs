//! Bincode 2.0.1 of serde types.

use ::bincode::{
    config,
    error::{DecodeError, EncodeError},
    serde as format,
};
use ref_cast::RefCast;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::guard::Guard;
use super::{BorrowedForm, Codec, CodecError, ZeroCopyCodec, check_len};

const NAME: &str = "bincode";

/// Integers of fixed width: decoding one needs no branch, and a field is one load and one store.
const FORMAT: config::Configuration<config::LittleEndian, config::Fixint> =
    config::standard().with_fixed_int_encoding();

/// A serde message in bincode 2.0.1: little-endian, integers of fixed width, lengths of 8 bytes, variant
/// numbers of 4 bytes (the crate's standard configuration with `with_fixed_int_encoding`). `Postcard` is the
/// compact format.
///
/// Encoding allocates only the vector that [`encode`](Codec::encode) returns or
/// [`encode_append`](Codec::encode_append) extends, if the message's own `Serialize` allocates nothing.
/// Decoding takes the whole input or fails. It limits lengths and depth to [`MAX_DEPTH`](super::MAX_DEPTH) and
/// [`MAX_EMPTY_ELEMENTS`](super::MAX_EMPTY_ELEMENTS), and never allocates memory for more elements at a time
/// than there are input bytes. With a [`BorrowedForm`], strings and byte slices are read in place.
///
/// The format has no field names: both sides need the same type, and serde's `flatten`, `untagged`, `tag` and
/// `skip_…_if` do not work. A `Vec<u8>` is encoded element by element unless `serde_bytes` is used. Bincode is
/// no longer developed; `Postcard` (feature `postcard`) is the maintained alternative.
///
/// # Examples
///
/// ```
/// use myelon::codec::{Bincode, Codec};
///
/// let bytes = Bincode::of(&(7_u64, "gold".to_string())).encode()?;
/// assert_eq!(bytes, b"\x07\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0gold");
/// let (id, name) = Bincode::<(u64, String)>::decode(&bytes)?.into_inner();
/// assert_eq!((id, &name[..]), (7, "gold"));
/// # Ok::<(), myelon::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, RefCast)]
#[repr(transparent)]
pub struct Bincode<T>(
    /// The message.
    pub T,
);

impl<T> Bincode<T> {
    /// Views the message as a `Bincode`, without moving it.
    pub fn of(message: &T) -> &Self {
        Self::ref_cast(message)
    }

    /// The wrapped message.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::codec::Bincode;
    ///
    /// assert_eq!(Bincode(7_u64).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Serialize + DeserializeOwned> Codec for Bincode<T> {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.encode_append(&mut out)?;
        Ok(out)
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let written = format::encode_into_std_write(&self.0, out, FORMAT);
        let checked = written
            .map_err(encode_error::<T>)
            .and_then(|n| check_len(NAME, n));
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        match format::encode_into_slice(&self.0, out, FORMAT) {
            Ok(n) => check_len(NAME, n).map(|()| Some(n)),
            Err(EncodeError::UnexpectedEnd) => Ok(None),
            Err(e) => Err(encode_error::<T>(e)),
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes).map(Self)
    }
}

impl<T: Serialize + DeserializeOwned + BorrowedForm> ZeroCopyCodec for Bincode<T> {
    type Archived<'a> = T::Borrowed<'a>;

    #[inline]
    fn access(bytes: &[u8]) -> Result<T::Borrowed<'_>, CodecError> {
        decode(bytes)
    }
}

/// The one decoder, for owned and for borrowed messages.
///
/// Bincode's own limit is not used: it is part of a type, and it limits neither depth nor elements that take no
/// bytes. The guard limits both.
#[inline(always)]
fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let guard = Guard::new(NAME, bytes.len());
    if guard.is_too_long() {
        return guard.refused(Ok::<_, DecodeError>(0));
    }
    match format::seed_decode_from_slice(guard.seed::<T>(), bytes, FORMAT) {
        Ok((message, consumed)) if consumed == bytes.len() => Ok(message),
        Ok((_, consumed)) => guard.refused(Ok::<_, DecodeError>(consumed)),
        Err(e) => guard.refused(Err(e)),
    }
}

#[cold]
fn encode_error<T>(source: EncodeError) -> CodecError {
    CodecError::Encode {
        codec: NAME,
        message: std::any::type_name::<T>(),
        source: source.into(),
    }
}
