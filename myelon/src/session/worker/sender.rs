//! The half of a worker that sends answers.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use disruptor_mp::{
    CloseReport, Deadline, MultiProcessError, MultiProcessResult, SendError, Sequence,
    SharedMemory, perform_sleep_wait,
};

use super::super::SCHEDULER_ID;
use super::super::head::{
    GIVEN_UP, Head, HeadedBytes, HeadedSlices, HeadedValue, LAST, RequestId, SessionMark,
    check_len, check_len_of, only_of_the_transport,
};
use super::super::in_place::{PieceReservation, with_head, without_head};
use crate::codec::Codec;
use crate::transport::{
    FramedTransportFrame, FramedTransportProducer, Reservation, TransportError, TransportResult,
};
use crate::typed_transport::{Encode, TypedProducer, TypedPublishError};

/// How often a worker checks whether a scheduler that has closed the session has given up its place.
const UNTIL_IT_HAS_LEFT: Duration = Duration::from_millis(1);

/// The half of a [`Worker`](super::Worker) that sends answers: [`Worker::split`](super::Worker::split) returns it.
///
/// Dropping it closes the worker's ring; the answers are kept for the scheduler.
///
/// # Examples
///
/// See [`Reply`].
#[derive(Debug)]
pub struct ResponseSender<F: FramedTransportFrame, B = SharedMemory> {
    pub(super) responses: TypedProducer<F, B>,
    /// The session's label.
    pub(super) label: String,
    pub(super) rank: usize,
    pub(super) session: SessionMark,
    /// Whether the last message was refused because the scheduler has closed the session. The receiving half reads it.
    pub(super) is_over: Arc<AtomicBool>,
}

impl<F: FramedTransportFrame, B> ResponseSender<F, B> {
    /// Sends a message to the scheduler: see [`Worker::respond`](super::Worker::respond).
    ///
    /// # Errors
    ///
    /// As [`Worker::respond`](super::Worker::respond).
    pub fn respond(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        check_len(message.len())?;
        let message = HeadedBytes(self.unasked(), message);
        self.send(&message, kind, deadline)
            .map_err(only_of_the_transport)
    }

    /// As [`respond`](Self::respond), but sends a value: it is encoded into the frame that the scheduler reads.
    ///
    /// # Errors
    ///
    /// As [`respond`](Self::respond); [`TypedPublishError::Encode`].
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`](crate::RequestSender::broadcast_value).
    pub fn respond_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.send(&HeadedValue(self.unasked(), value), kind, deadline)
    }

    /// Gives up a request, which the scheduler learns by an empty answer that
    /// [is given up](super::super::Response::is_given_up): one that was [delivered](super::super::Request::delivery) too
    /// often, or that this worker cannot do. Complete the request afterwards. `serve` does this by itself for a worker
    /// with a [limit](super::Worker::set_delivery_limit).
    ///
    /// # Errors
    ///
    /// As [`Worker::respond`](super::Worker::respond).
    ///
    /// # Examples
    ///
    /// See [`Reply`].
    pub fn give_up(
        &mut self,
        request: RequestId,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        self.send(&HeadedBytes(given_up(request), &[]), kind, deadline)
            .map_err(only_of_the_transport)
    }

    /// Whether the scheduler has closed the session: it receives no more answers, and requests may be left. While a
    /// scheduler [shuts down](crate::Scheduler::shutdown), the session is not closed yet.
    ///
    /// # Examples
    ///
    /// See [`Reply`].
    pub fn is_closing(&mut self) -> bool {
        is_closing(&mut self.responses)
    }

    /// Begins the answer to a request, which goes out piece by piece.
    ///
    /// # Examples
    ///
    /// See [`Reply`].
    pub fn reply(&mut self, request: RequestId) -> Reply<'_, F, B> {
        Reply {
            sender: self,
            request,
            piece: 0,
            is_complete: false,
        }
    }

    /// The head of a message that answers no request.
    fn unasked(&self) -> Head {
        Head::new(None, self.session, 0, LAST)
    }

    #[inline(always)]
    fn send<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.check_open()?;
        match self.responses.send_at_once(message, kind) {
            Some(sequence) => Ok(sequence),
            None => self.send_slowly(message, kind, deadline),
        }
    }

    /// Sends a message that is long, or for which there is no free frame yet.
    #[cold]
    #[inline(never)]
    fn send_slowly<T: Encode>(
        &mut self,
        message: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        match self.responses.send_encoded(message, kind, deadline) {
            Err(TypedPublishError::Transport(error)) if is_cancelled(&error) => {
                self.check_open()?;
                Err(error.into())
            }
            sent => sent,
        }
    }

    /// Claims a frame, as [`send`](Self::send) does.
    fn reserve(
        &mut self,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Reservation<'_, F>> {
        self.check_open()?;
        // a claim that was dropped has no effect, and its frame is free for the next one
        let waited = self.responses.raw().reserve(len, kind, deadline).map(drop);
        match waited {
            Err(error) if is_cancelled(&error) => {
                self.check_open()?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => self.responses.raw().reserve(len, kind, deadline),
        }
    }

    /// Refuses a message of a session that the scheduler has closed, and lets the receiving half know: a request that
    /// is dropped from then on is done.
    #[inline(always)]
    fn check_open(&mut self) -> TransportResult<()> {
        let is_over = self.is_closing();
        if is_over != self.is_over.load(Ordering::Relaxed) {
            self.is_over.store(is_over, Ordering::Relaxed);
        }
        match is_over {
            true => Err(self.closed()),
            false => Ok(()),
        }
    }

    #[cold]
    fn closed(&self) -> TransportError {
        TransportError::SessionClosed {
            session: self.label.clone(),
        }
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The transport on which answers are sent. Once the scheduler has closed the session, a wait for space fails with
    /// [`Cancelled`](disruptor_mp::SendError::Cancelled).
    pub fn transport(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.responses.raw()
    }

    /// Closes the worker's ring. The answers are kept for the scheduler, unless it has closed the session.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    pub fn close(mut self) -> MultiProcessResult<CloseReport> {
        if self.is_closing() {
            self.give_up_answers();
        }
        self.responses.close()
    }

    /// Gives up the answers that are not received: see [`give_up_answers`].
    pub(super) fn give_up_answers(&mut self) {
        give_up_answers(&mut self.responses);
    }
}

/// The head of the answer that gives a request up.
pub(super) fn given_up(request: RequestId) -> Head {
    Head::new(Some(request), request.session(), 0, LAST | GIVEN_UP)
}

/// An answer that goes out piece by piece. The scheduler knows the answer to be complete when it has received the last
/// piece, which [`finish`](Self::finish) sends. Dropping a reply sends nothing.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// # use myelon::codec::Bincode;
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RequestReceiver, ResponseSender, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// let (mut requests, mut responses): (RequestReceiver<_>, ResponseSender<_>) = worker.split();
/// responses.respond(b"ready", 1, Deadline::NEVER)?; // a message that answers no request
/// assert_eq!(scheduler.recv_any(Deadline::NEVER)?.1.request(), None);
/// scheduler.broadcast(b"one two", 1, Deadline::NEVER)?;
///
/// let request = requests.recv(Deadline::NEVER)?;
/// let mut reply = responses.reply(request.id());
/// for word in request.split(|byte| *byte == b' ') {
///     reply.send(word, 1, Deadline::NEVER)?; // the request is still lent
/// }
/// reply.send_value(&Bincode(2_u64), 2, Deadline::NEVER)?;
/// reply.finish_value(&Bincode(3_u64), 2, Deadline::NEVER)?; // or finish(b"", 1, deadline)
/// request.done(); // a worker that returns or dies before this receives the request again
///
/// for number in 0..4 {
///     let (_rank, piece) = scheduler.recv_any(Deadline::NEVER)?;
///     assert_eq!((piece.piece(), piece.is_last()), (number, number == 3));
/// }
///
/// let poison = scheduler.send_to(0, b"poison", 1, Deadline::NEVER)?;
/// drop(requests.recv(Deadline::NEVER)?); // as if the worker had died of it
/// let request = requests.recv(Deadline::NEVER)?;
/// if request.delivery() > 1 {
///     responses.give_up(request.id(), request.kind(), Deadline::NEVER)?;
/// }
/// request.done();
/// assert!(scheduler.recv_answer(0, poison, Deadline::NEVER)?.is_given_up());
///
/// println!("worker {}: {:?}", requests.rank(), requests.transport().received());
/// println!("worker {}: {:?}", responses.rank(), responses.transport().counters());
/// assert!(!responses.is_closing());
/// scheduler.close()?;
/// assert!(responses.is_closing());
/// requests.leave()?;
/// responses.close()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reply<'a, F: FramedTransportFrame, B = SharedMemory> {
    sender: &'a mut ResponseSender<F, B>,
    request: RequestId,
    piece: u32,
    is_complete: bool,
}

impl<F: FramedTransportFrame, B> Reply<'_, F, B> {
    /// Sends the next piece. Waits for space until the deadline.
    ///
    /// # Errors
    ///
    /// As [`Worker::respond`](super::Worker::respond); then the piece was not sent, and may be sent again.
    /// [`AnswerComplete`](TransportError::AnswerComplete) after the last piece.
    pub fn send(
        &mut self,
        piece: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        check_len(piece.len())?;
        let piece = HeadedBytes(self.head(0), piece);
        self.send_piece(&piece, kind, deadline)
            .map_err(only_of_the_transport)
    }

    /// As [`send`](Self::send), but sends a value.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`TypedPublishError::Encode`].
    pub fn send_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        let piece = HeadedValue(self.head(0), value);
        self.send_piece(&piece, kind, deadline)
    }

    /// Sends the last piece.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn finish(
        &mut self,
        piece: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        check_len(piece.len())?;
        let piece = HeadedBytes(self.head(LAST), piece);
        self.send_last(&piece, kind, deadline)
            .map_err(only_of_the_transport)
    }

    /// As [`finish`](Self::finish), but sends a value.
    ///
    /// # Errors
    ///
    /// As [`send_value`](Self::send_value).
    pub fn finish_value<T: Codec>(
        &mut self,
        value: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        let piece = HeadedValue(self.head(LAST), value);
        self.send_last(&piece, kind, deadline)
    }

    /// As [`send`](Self::send), but sends the slices one behind the other, as one piece. Each slice is copied
    /// once, into the frames.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let (mut requests, mut responses) = Worker::<FixedFrame<256>>::start(&config, 0)?.split();
    /// use std::io::IoSlice;
    ///
    /// let parts = [IoSlice::new(b"header, "), IoSlice::new(b"body")];
    /// let (mut sender, mut receiver) = scheduler.split();
    /// sender.broadcast_vectored(&parts, 1, Deadline::NEVER)?;
    /// requests.recv(Deadline::NEVER)?.done();
    /// let sent = sender.send_vectored_to(0, &parts, 1, Deadline::NEVER)?;
    /// let request = requests.recv(Deadline::NEVER)?;
    /// assert_eq!(&*request, b"header, body");
    /// let mut reply = responses.reply(request.id());
    /// reply.send_vectored(&parts, 1, Deadline::NEVER)?;
    /// reply.finish(b"", 1, Deadline::NEVER)?;
    /// request.done();
    /// assert_eq!(&*receiver.recv_answer(0, sent, Deadline::NEVER)?, b"header, body");
    /// # drop((requests, responses));
    /// # sender.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Sequence> {
        check_len_of(slices)?;
        let piece = HeadedSlices(self.head(0), slices);
        self.send_piece(&piece, kind, deadline)
            .map_err(only_of_the_transport)
    }

    /// Claims a frame for the next piece, of at most `len` bytes, to write it in place. Waits for space until the
    /// deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`DoesNotFitFrame`](TransportError::DoesNotFitFrame).
    ///
    /// # Examples
    ///
    /// See [`RequestReservation`](crate::RequestReservation).
    pub fn reserve(
        &mut self,
        len: usize,
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<PieceReservation<'_, F>> {
        self.check_open()?;
        let head = self.head(0);
        let frame = self.sender.reserve(with_head(len), kind, deadline);
        let frame = frame.map_err(without_head)?;
        Ok(PieceReservation::new(
            frame,
            head,
            &mut self.piece,
            &mut self.is_complete,
        ))
    }

    /// The half of the worker that sends this answer.
    #[cfg(feature = "tokio")]
    pub(in crate::session) fn sender(&mut self) -> &mut ResponseSender<F, B> {
        self.sender
    }

    #[inline(always)]
    fn check_open(&self) -> TransportResult<()> {
        match self.is_complete {
            true => Err(TransportError::AnswerComplete {
                session: self.sender.label.clone(),
                request: self.request,
            }),
            false => Ok(()),
        }
    }

    #[inline(always)]
    fn head(&self, flags: u8) -> Head {
        Head::new(
            Some(self.request),
            self.request.session(),
            self.piece,
            flags,
        )
    }

    #[inline(always)]
    fn send_last<T: Encode>(
        &mut self,
        piece: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        let sent = self.send_piece(piece, kind, deadline);
        self.is_complete |= sent.is_ok();
        sent
    }

    #[inline(always)]
    fn send_piece<T: Encode>(
        &mut self,
        piece: &T,
        kind: u8,
        deadline: Deadline,
    ) -> Result<Sequence, TypedPublishError> {
        self.check_open()?;
        let sequence = self.sender.send(piece, kind, deadline)?;
        self.piece += 1;
        Ok(sequence)
    }
}

/// Sends the answer to a request. A scheduler that has closed the session receives no answers; its place is then given
/// up, so that it does not hold up the requests that are left.
pub(super) fn send_answer<F: FramedTransportFrame, B, T: Encode>(
    sender: &mut ResponseSender<F, B>,
    answer: &T,
    kind: u8,
    deadline: Deadline,
) -> Result<Sequence, TypedPublishError> {
    let mut is_given_up = false;
    loop {
        match sender.responses.send_encoded(answer, kind, deadline) {
            Err(TypedPublishError::Transport(error))
                if is_cancelled(&error) && sender.is_closing() => {}
            sent => return sent,
        }
        if is_given_up {
            // a consumer outside the session holds the ring
            return Err(sender.closed().into());
        }
        is_given_up = give_up_answers(&mut sender.responses);
        if !is_given_up {
            if deadline.has_passed() || sender.transport().ring().is_token_cancelled() {
                return Err(sender.closed().into());
            }
            perform_sleep_wait(UNTIL_IT_HAS_LEFT);
        }
    }
}

/// Whether the scheduler has closed the session to whose worker this ring belongs.
#[inline]
fn is_closing<F: FramedTransportFrame, B>(responses: &mut TypedProducer<F, B>) -> bool {
    responses.raw().ring().is_peer_closed()
}

/// Whether a request is returned only because its answer finds no space.
pub(super) fn is_for_want_of_space(error: &TransportError) -> bool {
    let waited = matches!(
        error,
        TransportError::Send(SendError::Timeout { .. } | SendError::Cancelled)
    );
    waited || matches!(error, TransportError::SessionClosed { .. })
}

/// Whether a wait for space was cancelled: because the scheduler has closed the session, or by the program's token.
fn is_cancelled(error: &TransportError) -> bool {
    matches!(error, TransportError::Send(SendError::Cancelled))
}

/// Gives up the scheduler's place, so that no more answers are kept for it. Called after the scheduler has
/// closed the session. Returns false while the scheduler itself is still attached and about to leave.
fn give_up_answers<F: FramedTransportFrame, B>(responses: &mut TypedProducer<F, B>) -> bool {
    let removed = responses.raw().ring().remove_consumer(SCHEDULER_ID);
    !matches!(
        removed,
        Err(MultiProcessError::ConsumerAlreadyAttached { .. })
    )
}
