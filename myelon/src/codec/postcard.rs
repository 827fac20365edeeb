//! Postcard of serde types.

use ::postcard::{Deserializer, Error, ser_flavors::Flavor, serialize_with_flavor, to_slice};
use ref_cast::RefCast;
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::DeserializeSeed};

use super::guard::Guard;
use super::{BorrowedForm, Codec, CodecError, ZeroCopyCodec, check_len};

const NAME: &str = "postcard";

/// A serde message in postcard, a documented wire format that is kept stable: integers of one byte or more, no
/// field names.
///
/// [`Codec`] and [`ZeroCopyCodec`] behave as they do for `Bincode` (feature `bincode`). Encoding does not
/// allocate. Decoding takes the whole input and is limited to [`MAX_DEPTH`](super::MAX_DEPTH) and
/// [`MAX_EMPTY_ELEMENTS`](super::MAX_EMPTY_ELEMENTS). With a [`BorrowedForm`], strings and byte slices are read
/// in place. Postcard drops the text of errors that a message's own `Serialize` and `Deserialize` make.
///
/// # Examples
///
/// ```
/// use myelon::codec::{Codec, Postcard};
///
/// let bytes = Postcard::of(&(7_u64, "gold".to_string())).encode()?;
/// assert_eq!(bytes, b"\x07\x04gold");
/// let (id, name) = Postcard::<(u64, String)>::decode(&bytes)?.into_inner();
/// assert_eq!((id, &name[..]), (7, "gold"));
/// # Ok::<(), myelon::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, RefCast)]
#[repr(transparent)]
pub struct Postcard<T>(
    /// The message.
    pub T,
);

impl<T> Postcard<T> {
    /// Views the message as a `Postcard`, without moving it.
    pub fn of(message: &T) -> &Self {
        Self::ref_cast(message)
    }

    /// The wrapped message.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::codec::Postcard;
    ///
    /// assert_eq!(Postcard(7_u64).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Serialize + DeserializeOwned> Codec for Postcard<T> {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.encode_append(&mut out)?;
        Ok(out)
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let written = serialize_with_flavor(&self.0, Append(out));
        let checked = written
            .map_err(encode_error::<T>)
            .and_then(|()| check_len(NAME, out.len() - start));
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        match to_slice(&self.0, out) {
            Ok(used) => check_len(NAME, used.len()).map(|()| Some(used.len())),
            Err(Error::SerializeBufferFull) => Ok(None),
            Err(e) => Err(encode_error::<T>(e)),
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes).map(Self)
    }
}

impl<T: Serialize + DeserializeOwned + BorrowedForm> ZeroCopyCodec for Postcard<T> {
    type Archived<'a> = T::Borrowed<'a>;

    fn access(bytes: &[u8]) -> Result<T::Borrowed<'_>, CodecError> {
        decode(bytes)
    }
}

/// The one decoder, for owned and for borrowed messages.
#[inline(always)]
fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let guard = Guard::new(NAME, bytes.len());
    if guard.is_too_long() {
        return guard.refused(Ok::<_, Error>(0));
    }
    let mut deserializer = Deserializer::from_bytes(bytes);
    let message = match guard.seed::<T>().deserialize(&mut deserializer) {
        Ok(message) => message,
        Err(e) => return guard.refused(Err(e)),
    };
    match deserializer.finalize() {
        Ok([]) => Ok(message),
        Ok(rest) => guard.refused(Ok::<_, Error>(bytes.len() - rest.len())),
        Err(e) => guard.refused(Err(e)),
    }
}

#[cold]
fn encode_error<T>(source: Error) -> CodecError {
    CodecError::Encode {
        codec: NAME,
        message: std::any::type_name::<T>(),
        source: source.into(),
    }
}

/// Appends to a vector that the caller keeps: postcard's own flavours take ownership of the vector.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> Result<(), Error> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<(), Error> {
        Ok(())
    }
}
