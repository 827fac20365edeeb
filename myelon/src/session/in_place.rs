//! Messages of a session that are written where their receivers read them.

use core::ops::{Deref, DerefMut};

use disruptor_mp::Sequence;

use super::head::{HEAD_BYTES, Head, RequestId, SentAt};
use crate::transport::{FramedTransportFrame, Reservation, TransportError};

/// A frame with room for a message, and the head that comes before the message.
#[derive(Debug)]
pub(super) struct HeadedFrame<'a, F: FramedTransportFrame> {
    frame: Reservation<'a, F>,
    head: Head,
}

impl<'a, F: FramedTransportFrame> HeadedFrame<'a, F> {
    pub(super) fn new(frame: Reservation<'a, F>, head: Head) -> Self {
        Self { frame, head }
    }

    fn truncate(&mut self, len: usize) {
        self.frame.truncate(len.saturating_add(HEAD_BYTES));
    }

    fn publish(mut self) -> Sequence {
        if let Some(head) = self.frame.first_chunk_mut() {
            *head = self.head.to_bytes();
        }
        self.frame.publish()
    }

    fn bytes(&self) -> &[u8] {
        self.frame.get(HEAD_BYTES..).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.frame.get_mut(HEAD_BYTES..).unwrap_or_default()
    }
}

/// The length of a frame for a message of `len` bytes.
pub(super) fn with_head(len: usize) -> usize {
    len.saturating_add(HEAD_BYTES)
}

/// A limit of a frame tells how long a message may be.
pub(super) fn without_head(error: TransportError) -> TransportError {
    match error {
        TransportError::DoesNotFitFrame { len, limit } => TransportError::DoesNotFitFrame {
            len: len.saturating_sub(HEAD_BYTES),
            limit: limit.saturating_sub(HEAD_BYTES),
        },
        error => error,
    }
}

/// A frame that was claimed to write a request in place: in it the workers read the request, without a copy. If it is
/// dropped unpublished, nothing is sent.
///
/// The frame still holds the bytes of an earlier message: write every byte.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, PieceReservation, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<4096>>::start(&config)?;
/// # let (mut requests, mut responses) = Worker::<FixedFrame<4096>>::start(&config, 0)?.split();
/// let mut tensor = scheduler.reserve_to(0, 4000, 7, Deadline::NEVER)?; // or reserve(), for all workers
/// tensor.fill(1);
/// tensor.truncate(1000);
/// let id = tensor.id(); // known before the request is sent
/// assert_eq!(tensor.publish(), id);
///
/// let request = requests.recv(Deadline::NEVER)?;
/// assert_eq!((request.id(), &*request, request.is_in_place()), (id, &[1; 1000][..], true));
/// let mut reply = responses.reply(id);
/// for number in [2, 3] {
///     let mut piece: PieceReservation<'_, _> = reply.reserve(4000, 7, Deadline::NEVER)?;
///     piece.fill(number);
///     piece.truncate(1000);
///     if number == 2 { piece.publish() } else { piece.finish() };
/// }
/// request.done();
/// assert_eq!(&*scheduler.recv_answer(0, id, Deadline::NEVER)?, [2; 1000]);
/// assert_eq!(&*scheduler.recv_answer(0, id, Deadline::NEVER)?, [3; 1000]);
/// # drop((requests, responses));
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a request is sent by `publish()`"]
pub struct RequestReservation<'a, F: FramedTransportFrame> {
    frame: HeadedFrame<'a, F>,
    id: RequestId,
}

impl<'a, F: FramedTransportFrame> RequestReservation<'a, F> {
    pub(super) fn new(frame: Reservation<'a, F>, id: RequestId, sent_at: SentAt) -> Self {
        Self {
            frame: HeadedFrame::new(frame, Head::of_request(id, sent_at)),
            id,
        }
    }

    /// The number that the request will have.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Shortens the request to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.frame.truncate(len);
    }

    /// Sends the request.
    pub fn publish(self) -> RequestId {
        self.frame.publish();
        self.id
    }
}

/// A frame that was claimed to write a piece of an answer in place. If it is dropped unpublished, nothing is sent.
///
/// The frame still holds the bytes of an earlier message: write every byte.
///
/// # Examples
///
/// See [`RequestReservation`].
#[derive(Debug)]
#[must_use = "a piece is sent by `publish()`"]
pub struct PieceReservation<'a, F: FramedTransportFrame> {
    frame: HeadedFrame<'a, F>,
    next: &'a mut u32,
    is_complete: &'a mut bool,
}

impl<'a, F: FramedTransportFrame> PieceReservation<'a, F> {
    pub(super) fn new(
        frame: Reservation<'a, F>,
        head: Head,
        next: &'a mut u32,
        is_complete: &'a mut bool,
    ) -> Self {
        Self {
            frame: HeadedFrame::new(frame, head),
            next,
            is_complete,
        }
    }

    /// Shortens the piece to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.frame.truncate(len);
    }

    /// Sends the piece, and returns the sequence of its frame.
    pub fn publish(self) -> Sequence {
        *self.next += 1;
        self.frame.publish()
    }

    /// Sends the piece as the last one of the answer, and returns the sequence of its frame.
    pub fn finish(mut self) -> Sequence {
        *self.is_complete = true;
        self.frame.head = self.frame.head.as_last();
        self.publish()
    }
}

macro_rules! lends_its_bytes {
    ($($name:ident),+) => {$(
        impl<F: FramedTransportFrame> Deref for $name<'_, F> {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                self.frame.bytes()
            }
        }

        impl<F: FramedTransportFrame> DerefMut for $name<'_, F> {
            #[inline]
            fn deref_mut(&mut self) -> &mut [u8] {
                self.frame.bytes_mut()
            }
        }
    )+};
}

lends_its_bytes!(RequestReservation, PieceReservation);
