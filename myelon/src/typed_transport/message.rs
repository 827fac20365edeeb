//! What a lent message carries, as a value.

use super::error::{DecodeError, TypedRecvError};
use super::kinds::KindTable;
use crate::codec::{Codec, CodecError, ZeroCopyCodec};
use crate::transport::{FramedTransportFrame, Message};

impl DecodeError {
    /// What `decode` finds in these bytes, which are a message of this kind.
    #[inline]
    pub(crate) fn of<'a, T>(
        kind: u8,
        bytes: &'a [u8],
        decode: impl FnOnce(&'a [u8]) -> Result<T, CodecError>,
    ) -> Result<T, Self> {
        decode(bytes).map_err(|source| Self {
            kind,
            len: bytes.len(),
            source,
        })
    }
}

impl<F: FramedTransportFrame, B> Message<'_, F, B> {
    /// The value that the message carries, as a value of the caller's own. The message stays lent.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer};
    /// # use myelon::{Deadline, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::codec::Bincode;
    ///
    /// tx.send(&Bincode((7_u64, "gold".to_owned())), 1, Deadline::NEVER)?;
    /// let message = rx.recv(Deadline::NEVER)?;
    /// let Bincode((id, symbol)) = message.decode::<Bincode<(u64, String)>>()?;
    /// assert_eq!((id, &*symbol), (7, "gold"));
    /// assert!(message.decode::<Bincode<[u64; 4]>>().is_err()); // it is shorter than that
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn decode<T: Codec>(&self) -> Result<T, DecodeError> {
        DecodeError::of(self.kind(), self, T::decode)
    }

    /// The value that the message carries, read in place.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::transport::{AlignedFixedFrame, FramedTransportConsumer};
    /// # use myelon::{Deadline, TypedProducer};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::codec::Rkyv;
    ///
    /// tx.send(&Rkyv("gold".to_owned()), 1, Deadline::NEVER)?;
    /// assert_eq!(rx.recv(Deadline::NEVER)?.access::<Rkyv<String>>()?, "gold");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn access<T: ZeroCopyCodec>(&self) -> Result<T::Archived<'_>, DecodeError> {
        DecodeError::of(self.kind(), self, T::access)
    }

    /// Hands the value that the message carries to the table's handler for the message's kind. The message stays lent.
    ///
    /// # Errors
    ///
    /// [`NoKinds`](TypedRecvError::NoKinds), [`UnknownKind`](TypedRecvError::UnknownKind), and the error of a value that
    /// cannot be decoded.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer};
    /// # use myelon::{Deadline, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// use myelon::KindTable;
    /// use myelon::codec::Bincode;
    ///
    /// let mut prices = Vec::new();
    /// let mut table = KindTable::new().on(1, |Bincode(price): Bincode<u64>| prices.push(price))?;
    /// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
    /// rx.recv(Deadline::NEVER)?.dispatch(&mut table)?;
    /// drop(table);
    /// assert_eq!(prices, [7]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatch(&self, table: &mut KindTable<'_>) -> Result<(), TypedRecvError> {
        table.dispatch(self.kind(), self)
    }
}
