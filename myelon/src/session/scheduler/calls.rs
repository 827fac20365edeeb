//! Calls: a request and its answers.

use core::iter::FusedIterator;
use std::time::{Duration, Instant};

use disruptor_mp::{Deadline, RecvError, SharedMemory};

use super::super::head::RequestId;
use super::super::received::{Checks, Piece, Response};
use super::Scheduler;
use super::receiver::Found;
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// How long a call waits for the answer of an absent worker before it logs a warning.
pub(in crate::session) const UNTIL_IT_SAYS_SO: Duration = Duration::from_secs(1);

/// What a [gathering](Scheduler::gather) has found.
///
/// # Examples
///
/// See [`Scheduler`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered {
    /// The number of the request.
    pub request: RequestId,
    /// The workers whose answers have not come, by rank.
    pub missing: Vec<usize>,
}

/// The pieces of one answer, in the order in which they come: [`Scheduler::call_streaming`] returns it. Each is a copy.
/// It ends after the last piece, or after the first error. Pieces that come later can still be received by
/// [`Scheduler::recv_answer`] or [`Scheduler::recv_any`].
///
/// # Examples
///
/// See [`Scheduler`].
#[derive(Debug)]
#[must_use = "it has the answer"]
pub struct AnswerPieces<'a, Req: FramedTransportFrame, Resp: FramedTransportFrame, B = SharedMemory>
{
    scheduler: &'a mut Scheduler<Req, Resp, B>,
    rank: usize,
    request: RequestId,
    deadline: Deadline,
    is_over: bool,
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> AnswerPieces<'_, Req, Resp, B> {
    /// The number of the request.
    pub fn request(&self) -> RequestId {
        self.request
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Iterator
    for AnswerPieces<'_, Req, Resp, B>
{
    type Item = TransportResult<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let answer = self
            .scheduler
            .recv_answer(self.rank, self.request, self.deadline);
        let piece = answer.map(|answer| Piece::of(self.rank, &answer));
        self.is_over = piece.as_ref().map_or(true, |piece| piece.is_last);
        Some(piece)
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> FusedIterator
    for AnswerPieces<'_, Req, Resp, B>
{
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    /// The next piece of the answer of the worker `rank` to `request`; waits for it until the deadline. Messages that
    /// this worker sends before it are copied for [`recv_any`](Self::recv_any), at most as many as its ring has frames.
    /// Other workers' messages stay in their rings. So an answer in pieces is received in a loop until
    /// [`Response::is_last`].
    ///
    /// # Errors
    ///
    /// [`NoAnswer`](TransportError::NoAnswer) after the deadline: the answer can still be received by this call or by
    /// [`recv_any`](Self::recv_any). [`WorkerDied`](TransportError::WorkerDied) as [`OnWorkerDeath`](crate::OnWorkerDeath)
    /// says. [`WorkerGone`](TransportError::WorkerGone) if the worker has left or was removed without an answer.
    /// [`TooManyUnread`](TransportError::TooManyUnread). [`NoSuchWorker`](TransportError::NoSuchWorker). As
    /// [`recv_any`](Self::recv_any).
    pub fn recv_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Response<'_, Resp, B>> {
        if let Some(head) = self.receiver.answer_at_once(rank, request) {
            return self.receiver.lend(rank, head);
        }
        let found = self.wait_for_answer(rank, request, deadline)?;
        self.receiver.hand_out(rank, found)
    }

    /// Waits for the answer of the worker `rank`; meanwhile it asks now and then what that worker's death means.
    #[cold]
    #[inline(never)]
    fn wait_for_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Found> {
        let mut started = None;
        let mut is_told = false;
        loop {
            self.sender.check_now_and_then();
            let until = self.sender.until_next_check(deadline);
            match self.receiver.wait_for_answer(rank, request, until) {
                Err(TransportError::NoAnswer { .. }) if !deadline.has_passed() => {}
                found => return found.map_err(|error| self.sender.explained(error)),
            }
            if self.sender.is_forked() {
                return Err(RecvError::Forked.into());
            }
            if let Err(error) = self.go_on_waiting_for(rank, request) {
                // it may have answered before it went, in a ring that was not attached
                self.receiver.attach_workers_now();
                return self
                    .receiver
                    .find_answer(rank, request, Checks::AndLiveness)?
                    .ok_or(error);
            }
            let has_waited = started.get_or_insert_with(Instant::now).elapsed();
            if !is_told && has_waited >= UNTIL_IT_SAYS_SO && self.is_missing(rank) {
                is_told = true;
                self.say_what_it_waits_for(rank, request);
            }
        }
    }

    /// Whether the worker `rank` is not attached.
    pub(in crate::session) fn is_missing(&mut self, rank: usize) -> bool {
        let missing = self.missing_workers();
        missing.iter().any(|missing| missing.rank == rank)
    }

    /// Warns that a call waits for the answer of a worker that is not there.
    #[cold]
    pub(in crate::session) fn say_what_it_waits_for(&mut self, rank: usize, request: RequestId) {
        self.warn_of_absence(
            rank,
            &format!("a call waits for its answer to request {request}"),
        );
    }

    /// Warns of what waits for a worker that is not there.
    pub(super) fn warn_of_absence(&mut self, rank: usize, what_waits: &str) {
        let state = match self.sender.pid_of_the_dead(rank) {
            Some(pid) => format!("has died (pid {pid})"),
            None => String::from("has not come"),
        };
        let advice = self.sender.advice(what_waits);
        tracing::warn!(
            session = self.sender.session(),
            "worker {rank} {state}{advice}"
        );
    }

    /// Sends a request to the worker `rank` and waits for its answer until the deadline: [`send_to`](Self::send_to) and
    /// [`recv_answer`](Self::recv_answer). An answer in pieces goes on with [`recv_answer`](Self::recv_answer) and the
    /// number of the request, which the response names. An answer that [is given up](Response::is_given_up) is empty.
    ///
    /// # Errors
    ///
    /// As those two.
    pub fn call(
        &mut self,
        rank: usize,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<Response<'_, Resp, B>> {
        let request = self.send_to(rank, message, kind, deadline)?;
        self.recv_answer(rank, request, deadline)
    }

    /// As [`call`](Self::call), for an answer in pieces: sends a request to the worker `rank`, and returns an iterator
    /// of the pieces, each of which it waits for until the deadline.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). The items of the iterator have the errors of [`recv_answer`](Self::recv_answer).
    pub fn call_streaming(
        &mut self,
        rank: usize,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
    ) -> TransportResult<AnswerPieces<'_, Req, Resp, B>> {
        let request = self.send_to(rank, message, kind, deadline)?;
        Ok(AnswerPieces {
            scheduler: self,
            rank,
            request,
            deadline,
            is_over: false,
        })
    }

    /// Sends a request to all workers and hands the first piece of each worker's answer to `each`, with the worker's
    /// rank; waits until the deadline. Returns the number of the request, and the ranks of the workers whose answers
    /// have not come: those can still be received with [`recv_answer`](Self::recv_answer) or
    /// [`recv_any`](Self::recv_any). An answer that [is given up](Response::is_given_up) is empty, and is handed over,
    /// too.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast) and [`recv_answer`](Self::recv_answer), except
    /// [`NoAnswer`](TransportError::NoAnswer), [`WorkerDied`](TransportError::WorkerDied) and
    /// [`WorkerGone`](TransportError::WorkerGone).
    pub fn gather(
        &mut self,
        message: &[u8],
        kind: u8,
        deadline: Deadline,
        mut each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<Gathered> {
        let ranks = 0..self.receiver.workers();
        // a worker that attaches after the request was sent does not receive it
        let gone: Vec<_> = ranks
            .clone()
            .filter(|rank| !self.sender.is_kept_for(*rank))
            .collect();
        let request = self.broadcast(message, kind, deadline)?;
        let mut missing = Vec::new();
        for rank in ranks {
            if gone.contains(&rank) {
                missing.push(rank);
                continue;
            }
            match self.recv_answer(rank, request, deadline) {
                Ok(response) => each(rank, response),
                Err(
                    TransportError::NoAnswer { .. }
                    | TransportError::WorkerDied { .. }
                    | TransportError::WorkerGone { .. },
                ) => {
                    missing.push(rank);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Gathered { request, missing })
    }
}
