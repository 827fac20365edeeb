//! Holds serde decoding to its input: depth, counts and what is set aside for them.
//!
//! Bincode and postcard believe the lengths they read: a claimed string is allocated before its bytes are looked for, 2^60 units
//! are counted out one by one, a list in a list in a list ends the stack. The [`Guard`] stands between the format and the
//! message's own `Deserialize`, and sees each nested value. It allocates nothing.

mod walk;

use std::any::type_name;
use std::cell::Cell;
use std::error::Error;
use std::marker::PhantomData;

use walk::Guarded;

use super::{CodecError, MAX_DEPTH, MAX_MESSAGE_BYTES};

/// How many elements a serde message may have on top of one for each of its bytes: 65,536.
///
/// Only elements of sequences and maps count. One that takes a byte or more is always within the limit, so this is for
/// those that take none, such as `()`.
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

/// What may still come, for one message.
pub(super) struct Guard {
    codec: &'static str,
    len: usize,
    elements_left: Cell<usize>,
    /// Formats drop the text of a custom error, so the reason is kept here.
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

    /// Decodes a whole message under this guard.
    #[inline]
    pub(super) fn seed<T>(&self) -> Guarded<'_, PhantomData<T>> {
        Guarded::new(PhantomData, self)
    }

    /// The error of a decoding that failed with `source`.
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

    /// Why there is no message, given how many bytes one took. The whole result comes from here, which keeps the way of a
    /// message free of the shapes of errors: otherwise its words are taken apart and put together again.
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
