//! Several types of messages on one transport.

use core::fmt;

use super::consumer::failed;
use super::error::{KindTaken, TypedRecvError};
use crate::codec::{Codec, CodecError, ZeroCopyCodec};

/// A handler of a message's bytes.
type Handler<'h> = Box<dyn FnMut(&[u8]) -> Result<(), CodecError> + 'h>;

/// A handler for each kind of message: see [`TypedConsumer::dispatch`](super::TypedConsumer::dispatch).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::Bincode;
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, KindTable, MyelonWaitStrategy, TypedConsumer, TypedProducer};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = TypedProducer::<FixedFrame<256>>::create(&name, 64)?;
/// let mut rx = TypedConsumer::<FixedFrame<256>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
/// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
/// tx.send(&Bincode("stop".to_owned()), 2, Deadline::NEVER)?;
///
/// let (mut prices, mut texts) = (Vec::new(), Vec::new());
/// let mut table = KindTable::new()
///     .on(1, |Bincode(price): Bincode<u64>| prices.push(price))?
///     .on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
/// assert_eq!(table.kinds(), [1, 2]);
/// assert_eq!(rx.dispatch(&mut table, Deadline::NEVER)?, 1);
/// assert_eq!(rx.dispatch(&mut table, Deadline::NEVER)?, 2);
/// drop(table);
/// assert_eq!((prices, texts), (vec![7], vec!["stop".to_owned()]));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a table does nothing until messages are dispatched by it"]
pub struct KindTable<'h> {
    handlers: Vec<Option<Handler<'h>>>,
}

impl<'h> KindTable<'h> {
    /// A table without handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(myelon::KindTable::new().kinds().is_empty());
    /// ```
    pub fn new() -> Self {
        Self {
            handlers: Vec::new(),
        }
    }

    /// Decodes messages of this kind as `T` and hands them to `handle`.
    ///
    /// # Errors
    ///
    /// [`KindTaken`].
    pub fn on<T: Codec>(self, kind: u8, mut handle: impl FnMut(T) + 'h) -> Result<Self, KindTaken> {
        self.put(
            kind,
            Box::new(move |bytes| {
                handle(T::decode(bytes)?);
                Ok(())
            }),
        )
    }

    /// Hands messages of this kind to `handle` to be read in place.
    ///
    /// # Errors
    ///
    /// [`KindTaken`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::codec::Rkyv;
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer, transport::AlignedFixedFrame};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// let mut table = KindTable::new().on_access::<Rkyv<String>>(1, |text| assert_eq!(text, "gold"))?;
    /// tx.send(&Rkyv("gold".to_owned()), 1, Deadline::NEVER)?;
    /// rx.dispatch(&mut table, Deadline::NEVER)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_access<T: ZeroCopyCodec>(
        self,
        kind: u8,
        mut handle: impl for<'a> FnMut(T::Archived<'a>) + 'h,
    ) -> Result<Self, KindTaken> {
        self.put(
            kind,
            Box::new(move |bytes| {
                handle(T::access(bytes)?);
                Ok(())
            }),
        )
    }

    fn put(mut self, kind: u8, handler: Handler<'h>) -> Result<Self, KindTaken> {
        let index = usize::from(kind);
        if self.handlers.len() <= index {
            self.handlers.resize_with(index + 1, || None);
        }
        match &mut self.handlers[index] {
            Some(_) => Err(KindTaken { kind }),
            place => {
                *place = Some(handler);
                Ok(self)
            }
        }
    }

    /// Hands a message to its handler.
    pub(crate) fn dispatch(&mut self, kind: u8, bytes: &[u8]) -> Result<(), TypedRecvError> {
        match self.is_empty() {
            true => Err(TypedRecvError::NoKinds),
            false => self.handle(kind, bytes),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// The kinds that have a handler, in ascending order.
    pub fn kinds(&self) -> Vec<u8> {
        (0..=u8::MAX)
            .zip(&self.handlers)
            .filter_map(|(kind, handler)| handler.is_some().then_some(kind))
            .collect()
    }

    pub(crate) fn handle(&mut self, kind: u8, bytes: &[u8]) -> Result<(), TypedRecvError> {
        match self.handlers.get_mut(usize::from(kind)) {
            Some(Some(handler)) => {
                Ok(handler(bytes).map_err(|source| failed(kind, bytes, source))?)
            }
            _ => Err(TypedRecvError::UnknownKind {
                kind,
                len: bytes.len(),
                known: self.kinds(),
            }),
        }
    }
}

impl Default for KindTable<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KindTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindTable")
            .field("kinds", &self.kinds())
            .finish()
    }
}
