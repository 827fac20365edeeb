//! A received message of a session: its head, and what it lends.

use core::fmt;
use core::ops::Deref;

use disruptor_mp::{CounterId, RecvError, Sequence, SharedMemory};

use super::head::{GIVEN_UP, HEAD_BYTES, Head, LAST, RequestId};
use super::scheduler::ResponseReceiver;
use super::worker::RequestReceiver;
use crate::codec::{Codec, CodecError, ZeroCopyCodec};
use crate::transport::FramedTransportFrame;
use crate::typed_transport::{DecodeError, KindTable, TypedConsumer, TypedRecvError};

/// What a poll of a ring checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    /// Messages and the end: a caller that waits for the ring checks liveness meanwhile.
    Quick,
    /// Also for a death and a lost lock, once in a liveness interval: for a call that does not wait.
    AndLiveness,
}

/// What becomes of a message whose head was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The caller wants it.
    Fits,
    /// It was received before, or belongs to an earlier scheduler or session. It is dropped.
    IsOld,
    /// No member of a session sends it. It is dropped and counted.
    IsMalformed,
    /// It answers a request that was not sent. It is dropped and counted.
    IsUnknown,
}

impl Fit {
    /// Of a message that a member of a session sends only under this condition.
    #[inline(always)]
    pub(super) fn if_sound(is_sound: bool) -> Self {
        match is_sound {
            true => Self::Fits,
            false => Self::IsMalformed,
        }
    }
}

/// The messages of a ring that were dropped because something is wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    malformed: u64,
    unknown: u64,
}

impl Dropped {
    #[cold]
    fn count<F: FramedTransportFrame, B>(&mut self, fit: Fit, ring: &mut TypedConsumer<F, B>) {
        self.malformed += u64::from(fit == Fit::IsMalformed);
        self.unknown += u64::from(fit == Fit::IsUnknown);
        self.show_malformed(ring);
        if fit == Fit::IsUnknown {
            self.show_unknown(ring);
        }
    }

    /// The counters of a ring have these messages, from its attachment on.
    pub(super) fn show_malformed<F: FramedTransportFrame, B>(self, ring: &mut TypedConsumer<F, B>) {
        ring.raw()
            .show_counter(CounterId::SESSION_MALFORMED, self.malformed);
    }

    /// As `show_malformed`, of the ring of a worker's answers.
    pub(super) fn show_unknown<F: FramedTransportFrame, B>(self, ring: &mut TypedConsumer<F, B>) {
        ring.raw()
            .show_counter(CounterId::ANSWERS_UNKNOWN, self.unknown);
    }
}

/// The head of the next message, if there is one; `raw().lend_found()` then lends the message, which stays the next
/// one. A message without a head, or whose head and sequence `fit` refuses, is dropped. One call drops at most as many
/// as the ring holds.
#[inline(always)]
pub(super) fn next_head<F: FramedTransportFrame, B>(
    ring: &mut TypedConsumer<F, B>,
    checks: Checks,
    dropped: &mut Dropped,
    mut fit: impl FnMut(Head, Sequence) -> Fit,
) -> Result<Option<Head>, RecvError> {
    if checks == Checks::Quick && !may_have_news(ring) {
        return Ok(None);
    }
    for _ in 0..ring.raw().depth() {
        let sequence = next_sequence(ring);
        let raw = ring.raw();
        if !raw.find()? {
            return Ok(None);
        }
        let head = Head::of(raw.lent_bytes());
        let fit = head.map_or(Fit::IsMalformed, |head| fit(head, sequence));
        if fit == Fit::Fits {
            return Ok(head);
        }
        raw.lend_found().release();
        if fit != Fit::IsOld {
            dropped.count(fit, ring);
        }
    }
    Ok(None)
}

/// The next message's head, if the ring's next frame is there and is the message. As after [`next_head`], the message
/// can be lent, and stays the next one. This is what a call does first: it returns no error, so that what it finds
/// stays in registers. All else that the ring has to report is left to `next_head`, also an error that is met here,
/// which comes again.
#[inline(always)]
pub(super) fn head_at_once<F: FramedTransportFrame, B>(
    ring: &mut TypedConsumer<F, B>,
) -> Option<Head> {
    let raw = ring.raw();
    raw.as_ring().peek()?;
    match raw.find() {
        Ok(true) => Head::of(raw.lent_bytes()),
        _ => None,
    }
}

/// Whether a message may be there. If frames are held, the answer is yes: they may be a whole message, though no new
/// frame has come.
#[inline(always)]
pub(super) fn may_have_message<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> bool {
    let ring = ring.raw().as_ring();
    ring.may_have_event() || ring.held_count() > 0
}

/// Whether a message or something else to report may be there. Reads no clock.
#[inline(always)]
fn may_have_news<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> bool {
    let ring = ring.raw().as_ring();
    ring.may_have_news() || ring.held_count() > 0
}

/// The sequence of the first frame that this consumer has not released.
#[inline(always)]
pub(super) fn next_sequence<F: FramedTransportFrame, B>(
    ring: &mut TypedConsumer<F, B>,
) -> Sequence {
    ring.raw().as_ring().current_sequence() + 1
}

/// An answer that came before one that was waited for: a copy that [`recv_any`](super::Scheduler::recv_any) hands out.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) rank: usize,
    pub(super) head: Head,
    pub(super) kind: u8,
    /// With the head.
    pub(super) bytes: Vec<u8>,
}

/// A message that a receiver has lent, beside its bytes. It lies in the receiver, and a [`Request`] or a [`Response`]
/// is one word: callers move them through memory, and a load that is wider than the stores before it waits for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    pub(super) head: Head,
    pub(super) kind: u8,
    pub(super) is_in_place: bool,
}

impl Lent {
    /// Before the first message.
    pub(super) const NOTHING: Self = Self {
        head: Head::NOTHING,
        kind: 0,
        is_in_place: false,
    };

    /// The message that was found in this ring, and whose head was read. From here on it is lent until
    /// `raw().lend_found()` ends that; until then it stays the ring's next message.
    #[inline(always)]
    pub(super) fn of<F: FramedTransportFrame, B>(
        head: Head,
        ring: &mut TypedConsumer<F, B>,
    ) -> Self {
        let message = ring.raw().lend_found();
        let lent = Self {
            head,
            kind: message.kind(),
            is_in_place: message.meta().frames == 1,
        };
        core::mem::forget(message);
        lent
    }
}

/// Why an answer that was given up has no value.
const GAVE_UP: &str = "no value: the worker has given the request up";

macro_rules! received {
    ($name:ident) => {
        impl<F: FramedTransportFrame, B> $name<'_, F, B> {
            /// The kind of the message; the program chooses its meaning.
            #[inline]
            pub fn kind(&self) -> u8 {
                self.lent().kind
            }

            /// The value that the message carries, as a value of the caller's own. The message stays lent.
            ///
            /// # Errors
            ///
            /// [`DecodeError`] if it carries no `T`, or is an answer that was given up.
            pub fn decode<T: Codec>(&self) -> Result<T, DecodeError> {
                self.check_given()?;
                T::decode(self).map_err(|source| self.undecodable(source))
            }

            /// The value that the message carries, read in place.
            ///
            /// # Errors
            ///
            /// [`DecodeError`] if it carries no `T`, or is an answer that was given up.
            pub fn access<T: ZeroCopyCodec>(&self) -> Result<T::Archived<'_>, DecodeError> {
                self.check_given()?;
                T::access(self).map_err(|source| self.undecodable(source))
            }

            /// Hands the value that the message carries to the table's handler for the message's kind. The message
            /// stays lent.
            ///
            /// # Errors
            ///
            /// [`NoKinds`](TypedRecvError::NoKinds), [`UnknownKind`](TypedRecvError::UnknownKind), and the error of a
            /// value that cannot be decoded.
            pub fn dispatch(&self, table: &mut KindTable<'_>) -> Result<(), TypedRecvError> {
                if table.is_empty() {
                    return Err(TypedRecvError::NoKinds);
                }
                self.check_given()?;
                table.handle(self.kind(), self)
            }

            /// Refuses an answer that was given up, which carries no value.
            fn check_given(&self) -> Result<(), DecodeError> {
                match self.lent().head.has(GIVEN_UP) {
                    false => Ok(()),
                    true => Err(self.undecodable(CodecError::custom(GAVE_UP))),
                }
            }

            #[cold]
            fn undecodable(&self, source: CodecError) -> DecodeError {
                DecodeError {
                    kind: self.kind(),
                    len: self.len(),
                    source,
                }
            }

            /// Whether the bytes are read where their sender wrote them, without a copy.
            pub fn is_in_place(&self) -> bool {
                self.lent().is_in_place
            }

            #[inline(always)]
            fn lent(&self) -> &Lent {
                self.0.lent()
            }
        }

        impl<F: FramedTransportFrame, B> fmt::Debug for $name<'_, F, B> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("lent", self.lent())
                    .field("len", &self.len())
                    .finish_non_exhaustive()
            }
        }

        /// The bytes that the message carries.
        impl<F: FramedTransportFrame, B> Deref for $name<'_, F, B> {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                // the length was checked when the head was read
                self.0.lent_bytes().get(HEAD_BYTES..).unwrap_or_default()
            }
        }
    };
}

/// A request that a worker has received. [`done`](Self::done) completes it. A request that is dropped before that, by
/// an early return or a panic, is delivered again: to this worker at its next call, or to its successor if it dies.
///
/// There are two exceptions. Once a message was refused because the scheduler has closed the session
/// ([`SessionClosed`](crate::TransportError::SessionClosed)), a request that is dropped is done: nobody waits for its
/// answer. And only this worker gets a request again that has more frames than its ring: parts of it were released
/// while it was received.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// let sent = scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// let request = worker.recv(Deadline::NEVER)?;
/// assert_eq!((request.id(), request.kind(), &*request), (sent, 1, &b"compute"[..]));
/// drop(request); // it is not done
/// let request = worker.recv(Deadline::NEVER)?;
/// assert_eq!((request.id(), request.delivery()), (sent, 2));
/// request.done();
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a request that is dropped is delivered again: call `done()`"]
pub struct Request<'a, F: FramedTransportFrame, B = SharedMemory>(
    /// Has lent a message until this is dropped.
    pub(super) &'a mut RequestReceiver<F, B>,
);

received!(Request);

/// An answer that a scheduler has received. Dropping it releases it.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let (mut requests, mut responses) = Worker::<FixedFrame<256>>::start(&config, 0)?.split();
/// let sent = scheduler.send_to(0, b"two words", 1, Deadline::NEVER)?;
///
/// // the worker answers in two pieces
/// let request = requests.recv(Deadline::NEVER)?;
/// let mut reply = responses.reply(request.id());
/// reply.send(b"two", 1, Deadline::NEVER)?;
/// reply.finish(b"words", 1, Deadline::NEVER)?;
/// request.done();
///
/// let (rank, response) = scheduler.recv_any(Deadline::NEVER)?;
/// assert_eq!((rank, response.request(), &*response), (0, Some(sent), &b"two"[..]));
/// assert_eq!((response.piece(), response.is_last()), (0, false));
/// response.release_uncommitted(); // it comes again
/// let (_, response) = scheduler.recv_any(Deadline::NEVER)?;
/// assert_eq!(&*response, b"two");
/// response.release(); // as a drop does, but even during a panic
/// let (_, response) = scheduler.recv_any(Deadline::NEVER)?;
/// assert_eq!((response.piece(), response.is_last(), &*response), (1, true, &b"words"[..]));
/// # drop(response);
/// # drop((requests, responses));
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a message releases it"]
pub struct Response<'a, F: FramedTransportFrame, B = SharedMemory>(
    /// Has lent a message until this is dropped.
    pub(super) &'a mut ResponseReceiver<F, B>,
);

received!(Response);

impl<F: FramedTransportFrame, B> Request<'_, F, B> {
    /// Completes the request, even during a panic. Answer it first: a request that is done is not delivered again.
    #[inline]
    pub fn done(self) {
        self.0.release_lent();
        core::mem::forget(self);
    }

    /// Which delivery of this request this is, from 1. It is more than 1 if a worker of this rank has received the
    /// request before, and has died or returned it. A worker that dies in the middle of a receiving call counts as
    /// one that has received the request. Counts to 65,535.
    pub fn delivery(&self) -> u32 {
        self.0.delivery_of_lent()
    }

    /// The number of this request. The scheduler knows it from the call that sent the request.
    #[inline]
    pub fn id(&self) -> RequestId {
        let head = self.lent().head;
        // requests without a number are dropped
        let request = head.request();
        request.unwrap_or(RequestId::first(0, head.session()))
    }
}

impl<F: FramedTransportFrame, B> Drop for Request<'_, F, B> {
    fn drop(&mut self) {
        match self.0.is_over() && !std::thread::panicking() {
            // nobody waits for its answer, and it would come again for ever
            true => self.0.release_lent(),
            false => self.0.return_lent(),
        }
    }
}

impl<F: FramedTransportFrame, B> Response<'_, F, B> {
    /// Releases the message, even during a panic.
    #[inline]
    pub fn release(self) {
        self.0.release_lent();
        core::mem::forget(self);
    }

    /// Returns the message to be delivered again.
    pub fn release_uncommitted(self) {
        self.0.return_lent();
        core::mem::forget(self);
    }

    /// The request that this message answers. `None` for a message that a worker has sent by itself.
    #[inline]
    pub fn request(&self) -> Option<RequestId> {
        self.lent().head.request()
    }

    /// The number of this piece of the answer, from 0. A worker that answers again after a death should send the same
    /// pieces: those that were received before are dropped. If its answer is shorter this time, its last piece has a
    /// number that was there before.
    #[inline]
    pub fn piece(&self) -> u32 {
        self.lent().head.piece()
    }

    /// Whether the answer is complete with this piece.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.lent().head.has(LAST)
    }

    /// Whether the worker has given the request up: this is all of its answer, and it is empty. The request was
    /// delivered more often than the worker's [limit](super::Worker::set_delivery_limit) allows, was no value of the
    /// type that the worker serves, its answer could not be encoded or was too long, its handler panicked
    /// ([`set_panic_policy`](super::Worker::set_panic_policy)), or the program gave it up itself.
    ///
    /// # Examples
    ///
    /// See [`Reply`](super::Reply).
    pub fn is_given_up(&self) -> bool {
        self.lent().head.has(GIVEN_UP)
    }
}

impl<F: FramedTransportFrame, B> Drop for Response<'_, F, B> {
    #[inline]
    fn drop(&mut self) {
        match std::thread::panicking() {
            false => self.0.release_lent(),
            true => self.0.return_lent(),
        }
    }
}

/// A piece of an answer: a copy.
///
/// # Examples
///
/// See [`Scheduler`](crate::Scheduler).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// The worker that has sent it.
    pub rank: usize,
    /// The request that it answers. `None` if the worker has sent it by itself.
    pub request: Option<RequestId>,
    /// The number of the piece within its answer, from 0: see [`Response::piece`].
    pub number: u32,
    /// The kind of the message; the program chooses its meaning.
    pub kind: u8,
    /// What it carries.
    pub bytes: Vec<u8>,
    /// Whether the answer is complete with this piece.
    pub is_last: bool,
    /// Whether the worker has given the request up: see [`Response::is_given_up`].
    pub is_given_up: bool,
}

impl Piece {
    /// A copy of what the worker `rank` has sent.
    pub(super) fn of<F: FramedTransportFrame, B>(
        rank: usize,
        response: &Response<'_, F, B>,
    ) -> Self {
        Self {
            rank,
            request: response.request(),
            number: response.piece(),
            kind: response.kind(),
            bytes: response.to_vec(),
            is_last: response.is_last(),
            is_given_up: response.is_given_up(),
        }
    }

    /// The value that the piece carries.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it carries no `T`, or is an answer that was given up.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// use myelon::KindTable;
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// # let working = std::thread::spawn(move || {
    /// #     worker.serve_value(Deadline::NEVER, |_, Bincode(number): Bincode<u32>| Bincode(number + 1)).unwrap();
    /// #     worker.leave()
    /// # });
    /// let question = Bincode(41_u32).encode()?;
    /// let mut pieces = scheduler.call_streaming(0, &question, 1, Deadline::NEVER)?;
    /// let piece = pieces.next().expect("an answer")?;
    /// assert_eq!(piece.decode::<Bincode<u32>>()?, Bincode(42));
    /// let mut numbers = Vec::new();
    /// let mut table = KindTable::new().on(1, |Bincode(number): Bincode<u32>| numbers.push(number))?;
    /// piece.dispatch(&mut table)?;
    /// drop(table);
    /// assert_eq!(numbers, [42]);
    /// # working.join().unwrap()?;
    /// # scheduler.close()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<T: Codec>(&self) -> Result<T, DecodeError> {
        self.check_given()?;
        DecodeError::of(self.kind, &self.bytes, T::decode)
    }

    /// Hands the value that the piece carries to the table's handler for the piece's kind.
    ///
    /// # Errors
    ///
    /// As [`Response::dispatch`].
    ///
    /// # Examples
    ///
    /// See [`decode`](Self::decode).
    pub fn dispatch(&self, table: &mut KindTable<'_>) -> Result<(), TypedRecvError> {
        if !table.is_empty() {
            self.check_given()?;
        }
        table.dispatch(self.kind, &self.bytes)
    }

    /// Refuses an answer that was given up, which carries no value.
    fn check_given(&self) -> Result<(), DecodeError> {
        match self.is_given_up {
            false => Ok(()),
            true => Err(DecodeError {
                kind: self.kind,
                len: self.bytes.len(),
                source: CodecError::custom(GAVE_UP),
            }),
        }
    }
}
