//! Receiving one message: as a value, as bytes, in place, or by the table of its kind.

use disruptor_mp::{Deadline, RecvError};

use super::super::error::{DecodeError, TypedRecvError};
use super::super::kinds::KindTable;
use super::TypedConsumer;
use crate::codec::{Codec, CodecError, ZeroCopyCodec};
use crate::transport::{FramedTransportFrame, Message, ReassemblyBuffer};

impl<F: FramedTransportFrame, B> TypedConsumer<F, B> {
    /// The next message's kind and value; waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::Decode`] for a message that is no `T`: it is consumed. [`TypedRecvError::Recv`].
    #[inline]
    pub fn recv<T: Codec>(&mut self, deadline: Deadline) -> Result<(u8, T), TypedRecvError> {
        let message = match self.raw.recv(deadline) {
            Ok(message) => message,
            Err(error) => return ended(error),
        };
        let kind = message.kind();
        match T::decode(&message) {
            Ok(value) => {
                message.release();
                self.count();
                Ok(pair(kind, value))
            }
            Err(source) => undecodable(message, source),
        }
    }

    /// The next message's kind and value, if there is a whole one. Never waits.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except the time-out.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// assert_eq!(rx.try_recv::<Bincode<u64>>()?, None);
    /// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
    /// assert_eq!(rx.try_recv()?, Some((1, Bincode(7_u64))));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_recv<T: Codec>(&mut self) -> Result<Option<(u8, T)>, TypedRecvError> {
        let Some(message) = self.raw.try_recv()? else {
            return Ok(None);
        };
        let value = decode(message)?;
        self.count();
        Ok(Some(value))
    }

    /// The next message without decoding it; waits for it until the deadline: see
    /// [`FramedTransportConsumer::recv`](crate::FramedTransportConsumer::recv).
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`](crate::FramedTransportConsumer::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// tx.send(&Bincode(7_u16), 1, Deadline::NEVER)?;
    /// assert_eq!(&*rx.recv_raw(Deadline::NEVER)?, [7, 0], "bincode's 7");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw(&mut self, deadline: Deadline) -> Result<Message<'_, F, B>, RecvError> {
        self.raw.recv(deadline)
    }

    /// The next message's kind and a copy of its bytes; waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`](crate::FramedTransportConsumer::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// tx.raw().send(b"as it is", 1, Deadline::NEVER)?;
    /// assert_eq!(rx.recv_raw_owned(Deadline::NEVER)?, (1, b"as it is".to_vec()));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw_owned(&mut self, deadline: Deadline) -> Result<(u8, Vec<u8>), RecvError> {
        self.raw.recv_owned(deadline)
    }

    /// Hands `handle` the next message's kind and bytes; waits for the message until the deadline. If one frame
    /// holds the message, its bytes are read where their producer wrote them, otherwise in `buffer`. The
    /// message is released when `handle` returns, and delivered again if `handle` panics.
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`](crate::FramedTransportConsumer::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// let mut buffer = ReassemblyBuffer::new();
    /// tx.raw().send(&[7; 100], 1, Deadline::NEVER)?; // two frames: put together in the buffer
    /// let sum = rx.recv_raw_leased(&mut buffer, Deadline::NEVER, |_kind, bytes| {
    ///     bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>()
    /// })?;
    /// assert_eq!(sum, 700);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_raw_leased<R>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        deadline: Deadline,
        handle: impl FnOnce(u8, &[u8]) -> R,
    ) -> Result<R, RecvError> {
        self.raw
            .recv_leased(buffer, deadline, |meta, bytes| handle(meta.kind, bytes))
    }

    /// Hands `handle` the next message to read in place; waits for the message until the deadline. If one frame holds
    /// the message, it is read where its producer wrote it, otherwise in `buffer`. It is released when `handle`
    /// returns, and delivered again if `handle` panics.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::Decode`] for bytes that are no `T`, or that lie at an address where a `T` cannot be
    /// read: they are consumed. [`TypedRecvError::Recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::codec::Rkyv;
    /// # use myelon::transport::{AlignedFixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// use std::time::Duration;
    ///
    /// let mut buffer = ReassemblyBuffer::new();
    /// let soon = Deadline::after(Duration::from_secs(1));
    /// tx.send(&Rkyv("gold".to_owned()), 1, Deadline::NEVER)?;
    /// rx.recv_leased_within::<Rkyv<String>, _, _>(&mut buffer, soon, |_kind, text| assert_eq!(text, "gold"))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_leased_within<T: ZeroCopyCodec, R, H>(
        &mut self,
        buffer: &mut ReassemblyBuffer,
        deadline: Deadline,
        mut handle: H,
    ) -> Result<R, TypedRecvError>
    where
        H: for<'a> FnMut(u8, T::Archived<'a>) -> R,
    {
        let result = self.raw.recv_leased(buffer, deadline, |meta, bytes| {
            let archived = T::access(bytes).map_err(|source| failed(meta.kind, bytes, source))?;
            Ok::<_, DecodeError>(handle(meta.kind, archived))
        })??;
        self.count();
        Ok(result)
    }

    /// Hands the next message to the handler that `table` has for the message's kind, and returns the kind.
    /// Waits for the message until the deadline.
    ///
    /// # Errors
    ///
    /// [`TypedRecvError::NoKinds`] for an empty table. [`TypedRecvError::UnknownKind`] and
    /// [`TypedRecvError::Decode`]; the message is then consumed. [`TypedRecvError::Recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::codec::Bincode;
    /// # use myelon::transport::{FixedFrame, ReassemblyBuffer};
    /// # use myelon::{Deadline, KindTable, TypedConsumer, TypedProducer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// let mut texts = Vec::new();
    /// let mut table = KindTable::new().on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
    /// tx.send(&Bincode(7_u64), 1, Deadline::NEVER)?;
    /// tx.send(&Bincode("gold".to_owned()), 2, Deadline::NEVER)?;
    /// assert!(rx.dispatch(&mut table, Deadline::NEVER).is_err(), "a kind that the table does not have");
    /// assert_eq!(rx.dispatch(&mut table, Deadline::NEVER)?, 2);
    /// drop(table);
    /// assert_eq!(texts, ["gold"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatch(
        &mut self,
        table: &mut KindTable<'_>,
        deadline: Deadline,
    ) -> Result<u8, TypedRecvError> {
        if table.is_empty() {
            return Err(TypedRecvError::NoKinds);
        }
        let message = self.raw.recv(deadline)?;
        let kind = message.kind();
        let handled = table.handle(kind, &message);
        message.release();
        handled?;
        self.count();
        Ok(kind)
    }
}

/// Decodes a message and releases it, whether or not it can be decoded.
#[inline(always)]
fn decode<T: Codec, F: FramedTransportFrame, B>(
    message: Message<'_, F, B>,
) -> Result<(u8, T), DecodeError> {
    let kind = message.kind();
    match T::decode(&message) {
        Ok(value) => {
            message.release();
            Ok(pair(kind, value))
        }
        Err(source) => undecodable(message, source),
    }
}

/// Puts the two side by side, in a function that is never inlined. If it were, the compiler would move the
/// value together with the padding before it, as one piece from an odd address. No store of the value's own
/// words is as wide as that piece, so the processor could not forward those stores and would read the piece
/// from the cache. That read has to wait until the release, which was stored before the value's words, has
/// reached the cache.
#[inline(never)]
fn pair<T>(kind: u8, value: T) -> (u8, T) {
    (kind, value)
}

/// Builds the whole error result in a cold function, away from the path of a value: otherwise the compiler
/// takes the value's words apart and puts them together again.
#[cold]
#[inline(never)]
fn undecodable<T, E: From<DecodeError>, F: FramedTransportFrame, B>(
    message: Message<'_, F, B>,
    source: CodecError,
) -> Result<T, E> {
    let error = failed(message.kind(), &message, source);
    message.release();
    Err(error.into())
}

#[cold]
#[inline(never)]
fn ended<T>(error: RecvError) -> Result<T, TypedRecvError> {
    Err(error.into())
}

#[cold]
pub(in crate::typed_transport) fn failed(
    kind: u8,
    bytes: &[u8],
    source: CodecError,
) -> DecodeError {
    DecodeError {
        kind,
        len: bytes.len(),
        source,
    }
}
