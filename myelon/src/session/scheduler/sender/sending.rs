//! The calls that send a request.

use std::io::IoSlice;

use disruptor_mp::{Deadline, fail_point};

use super::super::super::head::{
    Head, HeadedBytes, HeadedSlices, HeadedValue, RequestId, SentAt, check_len, check_len_of,
    only_of_the_transport,
};
use super::super::super::in_place::{RequestReservation, with_head, without_head};
use super::RequestSender;
use crate::codec::Codec;
use crate::transport::{FramedTransportFrame, TransportResult};
use crate::typed_transport::{Encode, TypedPublishError};

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// Sends a message to all workers. Waits for space until the deadline. Returns the number of the request,
    /// which its answers name. A worker that has not come, or is away, holds the ring until it comes or is
    /// [removed](Self::remove_worker).
    ///
    /// # Errors
    ///
    /// As [`FramedTransportProducer::send`](crate::FramedTransportProducer::send): the error names a worker that holds the ring.
    pub fn broadcast(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        check_len(message.len())?;
        let sent = self.broadcast_encoded(kind, deadline, |head| HeadedBytes(head, message));
        sent.map_err(only_of_the_transport)
    }

    /// As [`broadcast`](Self::broadcast), but sends a value: it is encoded once, into the frame that all
    /// workers read.
    ///
    /// # Errors
    ///
    /// As [`TypedProducer::send`](crate::TypedProducer::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// use myelon::codec::Bincode;
    /// use myelon::transport::FixedFrame;
    /// use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    ///
    /// # let session = myelon::portable_shm_segment_name("doc");
    /// let config = RunnerMyelonTransportConfig::new(&session, 1);
    /// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    ///
    /// scheduler.broadcast_value(&Bincode(vec![1_u64, 2, 3]), 1, Deadline::NEVER)?;
    /// worker.serve_value(Deadline::NEVER, |_kind, Bincode(numbers): Bincode<Vec<u64>>| {
    ///     Bincode(numbers.iter().sum::<u64>())
    /// })?;
    /// let (rank, kind, sum) = scheduler.recv_any_value::<Bincode<u64>>(Deadline::NEVER)?;
    /// assert_eq!((rank, kind, sum?), (0, 1, Bincode(6)));
    ///
    /// let sent = scheduler.send_value_to(0, &Bincode(7_u64), 2, Deadline::NEVER)?;
    /// let request = worker.recv(Deadline::NEVER)?;
    /// assert_eq!((request.id(), request.decode::<Bincode<u64>>()?), (sent, Bincode(7)));
    /// request.done();
    /// worker.respond_value(&Bincode(8_u64), 2, Deadline::NEVER)?;
    /// worker.leave()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<RequestId, TypedPublishError> {
        self.broadcast_encoded(kind, deadline, |head| HeadedValue(head, value))
    }

    #[inline]
    fn broadcast_encoded<T: Encode>(
        &mut self,
        kind: u8,
        deadline: Deadline,
        headed: impl FnOnce(Head) -> T,
    ) -> Result<RequestId, TypedPublishError> {
        if self.unannounced != 0 {
            self.announce_all(deadline)?;
        }
        let id = self.next;
        let message = headed(self.number());
        let last = match self.send_at_once(None, &message, kind) {
            Some(last) => last,
            None => self.until_sent(None, deadline, |sender, deadline| {
                sender.common.send_encoded(&message, kind, deadline)
            })?,
        };
        fail_point("session.sent");
        self.note_sent(None, last);
        Ok(id)
    }

    /// As [`broadcast`](Self::broadcast), but sends the slices one behind the other, as one message. Each slice is
    /// copied once, into the frames.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    ///
    /// # Examples
    ///
    /// See [`Reply::send_vectored`](crate::Reply::send_vectored).
    pub fn broadcast_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        check_len_of(slices)?;
        let sent = self.broadcast_encoded(kind, deadline, |head| HeadedSlices(head, slices));
        sent.map_err(only_of_the_transport)
    }

    /// Claims a frame for a request of at most `len` bytes to all workers, to write it in place. Waits for space until
    /// the deadline.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast); [`DoesNotFitFrame`](crate::TransportError::DoesNotFitFrame).
    ///
    /// # Examples
    ///
    /// See [`RequestReservation`].
    pub fn reserve(
        &mut self,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestReservation<'_, F>> {
        if self.unannounced != 0 {
            self.announce_all(deadline).map_err(only_of_the_transport)?;
        }
        let len = with_head(len);
        let waited = self.until_sent(None, deadline, |sender, deadline| {
            let claimed = sender.common.raw().reserve(len, kind, deadline);
            Ok(claimed.map(drop)?)
        });
        waited.map_err(|error| without_head(only_of_the_transport(error)))?;
        let id = self.take_number();
        // counted when it is claimed; only what is published counts in the end
        let next = self.published(None) + 1;
        self.note_sent(None, next);
        let sent_at = SentAt::of(self.sent_at);
        let frame = self.common.raw().reserve(len, kind, deadline)?;
        Ok(RequestReservation::new(frame, id, sent_at))
    }

    /// As [`reserve`](Self::reserve), for a request to the worker `rank` alone.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); [`DoesNotFitFrame`](crate::TransportError::DoesNotFitFrame).
    ///
    /// # Examples
    ///
    /// See [`RequestReservation`].
    pub fn reserve_to(
        &mut self,
        rank: usize,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestReservation<'_, F>> {
        self.prepare(rank).map_err(only_of_the_transport)?;
        let len = with_head(len);
        let waited = self.until_sent(Some(rank), deadline, |sender, deadline| {
            let own = sender.own[rank].as_mut();
            let claimed = own.map(|own| own.raw().reserve(len, kind, deadline).map(drop));
            Ok(claimed.transpose()?)
        });
        waited.map_err(|error| without_head(only_of_the_transport(error)))?;
        let id = self.take_number();
        let next = self.published(Some(rank)) + 1;
        self.note_sent(Some(rank), next);
        let sent_at = SentAt::of(self.sent_at);
        let own = self.own[rank].as_mut().expect("it is ready");
        let frame = own.raw().reserve(len, kind, deadline)?;
        Ok(RequestReservation::new(frame, id, sent_at))
    }

    /// Sends a message to the worker `rank` alone. Waits for space until the deadline. Workers receive what is sent to
    /// all and what is sent to them alone in the order in which it was sent. Only this worker holds up the messages
    /// that are sent to it alone.
    ///
    /// # Errors
    ///
    /// [`NoSuchWorker`](crate::TransportError::NoSuchWorker). [`WorkerGone`](crate::TransportError::WorkerGone) if the
    /// worker has left or was removed. As [`FramedTransportProducer::send`](crate::FramedTransportProducer::send): the error names what holds the ring.
    pub fn send_to(
        &mut self,
        rank: usize,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        check_len(message.len())?;
        let sent = self.send_encoded_to(rank, kind, deadline, |head| HeadedBytes(head, message));
        sent.map_err(only_of_the_transport)
    }

    /// As [`send_to`](Self::send_to), but sends a value: it is encoded into the frame that the worker reads.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); [`TypedPublishError::Encode`].
    ///
    /// # Examples
    ///
    /// See [`broadcast_value`](Self::broadcast_value).
    pub fn send_value_to<T: Codec>(
        &mut self,
        rank: usize,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<RequestId, TypedPublishError> {
        self.send_encoded_to(rank, kind, deadline, |head| HeadedValue(head, value))
    }

    /// As [`send_to`](Self::send_to), but sends the slices one behind the other, as one message. Each slice is
    /// copied once, into the frames.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Examples
    ///
    /// See [`Reply::send_vectored`](crate::Reply::send_vectored).
    pub fn send_vectored_to(
        &mut self,
        rank: usize,
        slices: &[IoSlice<'_>],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<RequestId> {
        check_len_of(slices)?;
        let sent = self.send_encoded_to(rank, kind, deadline, |head| HeadedSlices(head, slices));
        sent.map_err(only_of_the_transport)
    }

    #[inline]
    fn send_encoded_to<T: Encode>(
        &mut self,
        rank: usize,
        kind: u8,
        deadline: Deadline,
        headed: impl FnOnce(Head) -> T,
    ) -> Result<RequestId, TypedPublishError> {
        self.prepare(rank)?;
        let id = self.next;
        let message = headed(self.number());
        let last = match self.send_at_once(Some(rank), &message, kind) {
            Some(last) => last,
            None => {
                self.until_sent(Some(rank), deadline, |sender, deadline| {
                    match &mut sender.own[rank] {
                        Some(own) => own.send_encoded(&message, kind, deadline),
                        None => Ok(0),
                    }
                })?
            }
        };
        fail_point("session.sent");
        self.note_sent(Some(rank), last);
        Ok(id)
    }
}
