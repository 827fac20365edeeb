//! The calls that receive a request, hand it to a handler, and send back the answer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use disruptor_mp::{Deadline, Sequence, fail_point};

use super::super::config::OnHandlerPanic;
use super::super::head::{
    Head, HeadedBytes, HeadedValue, RequestId, check_len, only_of_the_transport,
};
use super::super::received::Request;
use super::Worker;
use super::sender::{ResponseSender, given_up, is_for_want_of_space, send_answer};
use crate::codec::Codec;
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};
use crate::typed_transport::{TypedPublishError, TypedServeError};

/// Is told the number, the kind and the bytes of a request that was given up.
pub(in crate::session) type Tell = dyn FnMut(RequestId, u8, &[u8]) + Send;

/// When a worker gives a request up, and whom it tells.
pub(in crate::session) struct DeliveryLimit {
    pub(in crate::session) deliveries: u32,
    pub(in crate::session) tell: Box<Tell>,
}

impl DeliveryLimit {
    pub(in crate::session) fn new(
        deliveries: u32,
        tell: impl FnMut(RequestId, u8, &[u8]) + Send + 'static,
    ) -> Self {
        Self {
            deliveries,
            tell: Box::new(tell),
        }
    }
}

impl fmt::Debug for DeliveryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryLimit")
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Worker<Req, Resp, B> {
    /// Hands the scheduler's next request to `answer`, and sends back the result under the request's kind.
    /// Waits for the request until the deadline, and returns the answer's sequence. The request is done
    /// only after the answer is sent. So a worker that dies between the two answers again when it comes back:
    /// each request has at least one answer.
    ///
    /// If the scheduler has died or has not come, its place is kept, and an answer that finds no space waits
    /// for space until the deadline. Once the scheduler has closed the session, no answer waits: the requests
    /// that are left are served, no process receives their answers, and then this call returns
    /// [`Closed`](disruptor_mp::RecvError::Closed).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv) and [`FramedTransportProducer::send`](crate::FramedTransportProducer::send); if sending
    /// fails, the request is delivered again, but for [`TransportError::MessageTooLong`]: then it is given up.
    /// [`TransportError::SessionClosed`] if a consumer outside the session holds the ring of answers; the request is
    /// delivered again.
    pub fn serve<A: AsRef<[u8]>>(
        &mut self,
        deadline: Deadline,
        mut answer: impl FnMut(u8, &[u8]) -> A,
    ) -> TransportResult<Sequence> {
        loop {
            self.give_up_repeated(deadline)?;
            let request = self.receiver.recv(deadline)?;
            let kind = request.kind();
            let sender = &mut self.sender;
            let Some(reply) = unless_it_panics(self.on_panic, || answer(kind, &request)) else {
                match after_a_panic(sender, request, self.on_panic, deadline) {
                    None => continue,
                    Some(given_up) => return given_up.map_err(only_of_the_transport),
                }
            };
            let reply = reply.as_ref();
            let sent = match check_len(reply.len()) {
                Ok(()) => {
                    let message = HeadedBytes(Head::answer_to(request.id()), reply);
                    send_answer(sender, &message, kind, deadline)
                }
                Err(error) => Err(error.into()),
            };
            let ended = end(sender, request, Some(sent), deadline);
            self.note_end(&ended);
            return ended.sent.map_err(only_of_the_transport);
        }
    }

    /// As [`serve`](Self::serve), but with values: the request is decoded, and the answer is encoded.
    ///
    /// # Errors
    ///
    /// [`TypedServeError::Recv`], also for a request that is no `Q`. [`TypedServeError::Publish`]: the request is
    /// delivered again. A request that is no `Q`, and one whose answer cannot be encoded or is too long, are given up,
    /// because the next attempt would fail in the same way: the scheduler gets an empty answer that
    /// [is given up](crate::Response::is_given_up). If that fails, its error is returned, and the request is delivered
    /// again.
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`](crate::RequestSender::broadcast_value).
    pub fn serve_value<Q: Codec, A: Codec>(
        &mut self,
        deadline: Deadline,
        mut answer: impl FnMut(u8, Q) -> A,
    ) -> Result<Sequence, TypedServeError> {
        loop {
            self.give_up_repeated(deadline).map_err(not_received)?;
            let request = self.receiver.recv(deadline).map_err(not_received)?;
            let kind = request.kind();
            let sender = &mut self.sender;
            let value = match request.decode::<Q>() {
                Ok(value) => value,
                Err(error) => {
                    let ended = end(sender, request, None, deadline);
                    self.note_end(&ended);
                    ended.sent?;
                    return Err(TypedServeError::Recv(error.into()));
                }
            };
            let Some(reply) = unless_it_panics(self.on_panic, || answer(kind, value)) else {
                match after_a_panic(sender, request, self.on_panic, deadline) {
                    None => continue,
                    Some(given_up) => return Ok(given_up?),
                }
            };
            let message = HeadedValue(Head::answer_to(request.id()), &reply);
            let sent = send_answer(sender, &message, kind, deadline);
            let ended = end(sender, request, Some(sent), deadline);
            self.note_end(&ended);
            if ended.is_done {
                self.receiver.count();
            }
            return Ok(ended.sent?);
        }
    }

    /// Takes the count of a delivery back that had no effect.
    fn note_end(&mut self, ended: &Ended) {
        if ended.is_uncounted {
            self.receiver.uncount_delivery();
        }
    }

    /// From now on, `serve` and `serve_value` give up a request that was delivered more than `deliveries` times: `tell`
    /// gets its number, kind and bytes, the scheduler gets an empty answer that
    /// [is given up](crate::Response::is_given_up), and the request is done. So a request that kills its workers does
    /// not kill them for ever. Without a limit each request is served however often it was delivered. A program that
    /// receives requests itself, also after [`split`](Self::split), reads [`Request::delivery`], and calls
    /// [`ResponseSender::give_up`](crate::ResponseSender::give_up).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// worker.set_delivery_limit(2, |request, _kind, _bytes| eprintln!("gave up request {request}"));
    /// let poison = scheduler.send_to(0, b"poison", 1, Deadline::NEVER)?;
    /// for _ in 0..2 {
    ///     drop(worker.recv(Deadline::NEVER)?); // as if the worker had died of it
    /// }
    /// worker.set_panic_policy(myelon::OnHandlerPanic::GiveUp);
    /// let odd = scheduler.send_to(0, b"7", 1, Deadline::NEVER)?;
    /// worker.serve(Deadline::NEVER, |_kind, request| -> [u8; 0] { panic!("cannot do {request:?}") })?;
    /// for request in [poison, odd] {
    ///     assert!(scheduler.recv_answer(0, request, Deadline::NEVER)?.is_given_up());
    /// }
    /// worker.leave()?;
    /// scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_delivery_limit(
        &mut self,
        deliveries: u32,
        tell: impl FnMut(RequestId, u8, &[u8]) + Send + 'static,
    ) {
        self.given_up = Some(DeliveryLimit::new(deliveries, tell));
    }

    /// From now on, `serve` and `serve_value` do this if the handler panics. If the answer that gives a request up
    /// cannot be sent, they return why, and the request is delivered again.
    ///
    /// # Examples
    ///
    /// See [`OnHandlerPanic`].
    pub fn set_panic_policy(&mut self, policy: OnHandlerPanic) {
        self.on_panic = policy;
    }

    /// Gives up the requests at the head of the ring that were delivered too often.
    fn give_up_repeated(&mut self, deadline: Deadline) -> TransportResult<()> {
        let Some(limit) = &mut self.given_up else {
            return Ok(());
        };
        while self.receiver.deliveries_of_next(deadline)? >= limit.deliveries {
            let request = self.receiver.recv(deadline)?;
            if let Err(error) = send_given_up(&mut self.sender, &request, deadline) {
                drop(request);
                self.receiver.uncount_delivery();
                return Err(only_of_the_transport(error));
            }
            (limit.tell)(request.id(), request.kind(), &request);
            request.done();
        }
        Ok(())
    }
}

/// Calls the handler of a request. `None` if it panics and the policy goes on.
fn unless_it_panics<A>(policy: OnHandlerPanic, handler: impl FnOnce() -> A) -> Option<A> {
    if policy == OnHandlerPanic::Stop {
        return Some(handler());
    }
    // the program has chosen this policy, whose documentation says what the handler must guarantee
    let answer = catch_unwind(AssertUnwindSafe(handler)).ok();
    if answer.is_none() {
        tell_of_a_panic(policy);
    }
    answer
}

/// Says in the log that a handler has panicked.
#[cold]
pub(in crate::session) fn tell_of_a_panic(policy: OnHandlerPanic) {
    tracing::error!(on_panic = ?policy, "the handler of a request panicked");
}

/// Returns a request whose handler has panicked, or gives it up and tells of that. If that fails, the request is
/// delivered again, and this delivery counts.
#[cold]
fn after_a_panic<Req: FramedTransportFrame, Resp: FramedTransportFrame, B>(
    sender: &mut ResponseSender<Resp, B>,
    request: Request<'_, Req, B>,
    policy: OnHandlerPanic,
    deadline: Deadline,
) -> Option<Result<Sequence, TypedPublishError>> {
    if !policy.gives_up(request.delivery()) {
        drop(request);
        return None;
    }
    let given_up = send_given_up(sender, &request, deadline);
    if given_up.is_ok() {
        request.done();
    }
    Some(given_up)
}

/// Sends the answer of a request that is given up.
fn send_given_up<Req: FramedTransportFrame, Resp: FramedTransportFrame, B>(
    sender: &mut ResponseSender<Resp, B>,
    request: &Request<'_, Req, B>,
    deadline: Deadline,
) -> Result<Sequence, TypedPublishError> {
    let answer = HeadedBytes(given_up(request.id()), &[]);
    send_answer(sender, &answer, request.kind(), deadline)
}

/// How a request has ended.
struct Ended {
    /// What became of its answer, or of the one that gives it up.
    sent: Result<Sequence, TypedPublishError>,
    /// Whether it is done; otherwise it is delivered again.
    is_done: bool,
    /// Whether this delivery does not count, because the answer only found no space.
    is_uncounted: bool,
}

/// Ends a request. `sent` says what became of its answer; there is none to a request that is no value. A request that
/// would fail in the same way at the next attempt is given up.
fn end<Req: FramedTransportFrame, Resp: FramedTransportFrame, B>(
    sender: &mut ResponseSender<Resp, B>,
    request: Request<'_, Req, B>,
    sent: Option<Result<Sequence, TypedPublishError>>,
    deadline: Deadline,
) -> Ended {
    let (sent, is_done) = match sent {
        Some(Ok(sequence)) => (Ok(sequence), true),
        Some(Err(TypedPublishError::Transport(error)))
            if !matches!(error, TransportError::MessageTooLong { .. }) =>
        {
            (Err(error.into()), false)
        }
        hopeless => match send_given_up(sender, &request, deadline) {
            Ok(sequence) => (hopeless.unwrap_or(Ok(sequence)), true),
            Err(error) => (Err(error), false),
        },
    };
    fail_point("session.answered");
    match is_done {
        true => request.done(),
        false => drop(request),
    }
    let is_uncounted = match &sent {
        Err(TypedPublishError::Transport(error)) => !is_done && is_for_want_of_space(error),
        _ => false,
    };
    Ended {
        sent,
        is_done,
        is_uncounted,
    }
}

/// A request was not received, as an error of values.
pub(in crate::session) fn not_received(error: TransportError) -> TypedServeError {
    match error {
        TransportError::Recv(error) => TypedServeError::Recv(error.into()),
        TransportError::Ring(error) => TypedServeError::Ring(error),
        error => TypedPublishError::Transport(error).into(),
    }
}
