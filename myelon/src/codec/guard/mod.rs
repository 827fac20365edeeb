//! Limits serde decoding to its input: the depth of values, the number of elements, and the memory allocated
//! for them.
//!
//! Bincode and postcard trust the lengths that they read. They allocate a string of the claimed length before
//! they check that its bytes are present, they count out 2^60 units one by one, and deeply nested lists
//! overflow the stack. The [`Guard`] stands between the format and the message's own `Deserialize`, and checks
//! each nested value. It allocates nothing.

mod walk;

use std::any::type_name;
use std::cell::Cell;
use std::error::Error;
use std::marker::PhantomData;

use walk::Guarded;

use super::{CodecError, MAX_DEPTH, MAX_MESSAGE_BYTES};

/// How many elements a serde message may have in addition to one for each of its bytes: 65,536.
///
/// Only elements of sequences and maps count. Elements that take a byte or more never exceed the limit, so it
/// matters only for elements that take no bytes, such as `()`.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::{Bincode, Codec, CodecError, MAX_EMPTY_ELEMENTS};
///
/// let too_many = Bincode(vec![(); MAX_EMPTY_ELEMENTS + 20]).encode()?;
/// let error = Bincode::<Vec<()>>::decode(&too_many).unwrap_err();
/// assert!(matches!(error, CodecError::TooManyElements { .. }));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_EMPTY_ELEMENTS: usize = 1 << 16;

/// What one message may still contain.
pub(super) struct Guard {
    codec: &'static str,
    len: usize,
    elements_left: Cell<usize>,
    /// Why decoding was refused. It is kept here because formats drop the text of a custom error.
    refused: Cell<Option<Refused>>,
}

#[derive(Clone, Copy)]
enum Refused {
    TooDeep,
    TooMany { claimed: usize, allowed: usize },
}

impl Guard {
    #[inline]
    pub(super) fn new(codec: &'static str, len: usize) -> Self {
        Self {
            codec,
            len,
            elements_left: Cell::new(len + MAX_EMPTY_ELEMENTS),
            refused: Cell::new(None),
        }
    }

    /// The seed that decodes a whole message under this guard.
    #[inline]
    pub(super) fn seed<T>(&self) -> Guarded<'_, PhantomData<T>> {
        Guarded::new(PhantomData, self)
    }

    /// The error for a decoding that failed with `source`.
    #[cold]
    fn error<T>(&self, source: impl Error + Send + Sync + 'static) -> CodecError {
        let (codec, len, message) = (self.codec, self.len, type_name::<T>());
        match self.refused.get() {
            None => CodecError::Decode {
                codec,
                message,
                len,
                source: source.into(),
            },
            Some(Refused::TooDeep) => CodecError::TooDeep {
                codec,
                message,
                limit: MAX_DEPTH,
            },
            Some(Refused::TooMany { claimed, allowed }) => CodecError::TooManyElements {
                codec,
                message,
                claimed,
                allowed,
                len,
            },
        }
    }

    /// Whether the input is longer than any message.
    #[inline]
    pub(super) fn is_too_long(&self) -> bool {
        self.len > MAX_MESSAGE_BYTES
    }

    /// The error result for a message that cannot be returned; `consumed` is how many bytes decoding took, or
    /// why it failed. This cold function builds the whole result, so that the path of a message contains no
    /// error values: otherwise the compiler takes the message's words apart and puts them together again.
    #[cold]
    #[inline(never)]
    pub(super) fn refused<T, E>(&self, consumed: Result<usize, E>) -> Result<T, CodecError>
    where
        E: Error + Send + Sync + 'static,
    {
        super::check_len(self.codec, self.len)?;
        let consumed = consumed.map_err(|e| self.error::<T>(e))?;
        Err(CodecError::TrailingBytes {
            codec: self.codec,
            message: type_name::<T>(),
            consumed,
            len: self.len,
        })
    }

    #[inline]
    fn take_elements<E: serde::de::Error>(&self, claimed: usize) -> Result<(), E> {
        let allowed = self.elements_left.get();
        match allowed.checked_sub(claimed) {
            Some(left) => self.elements_left.set(left),
            None => return Err(self.refuse(Refused::TooMany { claimed, allowed })),
        }
        Ok(())
    }

    #[cold]
    fn refuse<E: serde::de::Error>(&self, why: Refused) -> E {
        self.refused.set(Some(why));
        E::custom("refused")
    }
}
