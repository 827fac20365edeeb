//! Handling the messages that are available.

use disruptor_mp::RecvError;

use super::super::error::DecodeError;
use super::TypedConsumer;
use super::receiving::failed;
use crate::codec::{Codec, ZeroCopyCodec};
use crate::transport::FramedTransportFrame;

impl<F: FramedTransportFrame, B> TypedConsumer<F, B> {
    /// Handles the messages that are available and returns how many there were, including those that could not
    /// be decoded. It takes in at most one ring's worth of frames. Never waits.
    ///
    /// # Errors
    ///
    /// As [`process_available_messages`](crate::FramedTransportConsumer::process_available_messages).
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
    /// for number in 1..4_u64 {
    ///     tx.send(&Bincode(number), 1, Deadline::NEVER)?;
    /// }
    /// let mut sum = 0;
    /// let count = rx.process_available::<Bincode<u64>>(|_kind, number| sum += number.map_or(0, |it| it.0))?;
    /// assert_eq!((count, sum), (3, 6));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_available<T: Codec>(
        &mut self,
        mut handle: impl FnMut(u8, Result<T, DecodeError>),
    ) -> Result<usize, RecvError> {
        let mut decoded = 0;
        let handled = self.raw.process_available_messages(|kind, bytes| {
            let value = T::decode(bytes).map_err(|source| failed(kind, bytes, source));
            decoded += u64::from(value.is_ok());
            handle(kind, value);
        });
        self.count_burst(decoded);
        handled
    }

    /// As [`process_available`](Self::process_available), but the messages are read in place.
    ///
    /// # Errors
    ///
    /// As [`process_available_messages`](crate::FramedTransportConsumer::process_available_messages).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "rkyv")] {
    /// # use myelon::codec::Rkyv;
    /// # use myelon::{Deadline, TypedConsumer, TypedProducer, transport::AlignedFixedFrame};
    /// # let ring = myelon::HeapRing::<AlignedFixedFrame<64>>::new(8)?;
    /// # let mut tx = TypedProducer::from_builder(ring.builder())?;
    /// # let mut rx = TypedConsumer::from_builder(ring.builder())?;
    /// tx.send(&Rkyv(vec![1_u32, 2]), 1, Deadline::NEVER)?;
    /// tx.send(&Rkyv(vec![3_u32]), 1, Deadline::NEVER)?;
    /// let mut count = 0;
    /// rx.process_available_zero_copy::<Rkyv<Vec<u32>>, _>(|_kind, numbers| {
    ///     count += numbers.map_or(0, |numbers| numbers.len());
    /// })?;
    /// assert_eq!(count, 3);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_available_zero_copy<T, H>(&mut self, mut handle: H) -> Result<usize, RecvError>
    where
        T: ZeroCopyCodec,
        H: for<'a> FnMut(u8, Result<T::Archived<'a>, DecodeError>),
    {
        let mut decoded = 0;
        let handled = self.raw.process_available_messages(|kind, bytes| {
            let archived = T::access(bytes).map_err(|source| failed(kind, bytes, source));
            decoded += u64::from(archived.is_ok());
            handle(kind, archived);
        });
        self.count_burst(decoded);
        handled
    }
}
