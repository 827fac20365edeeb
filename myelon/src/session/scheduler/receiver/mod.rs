//! The half of a scheduler that receives answers. [`polling`] has what the rings of the workers have, [`handed_out`]
//! what was handed out of them.

mod handed_out;
mod polling;

use core::sync::atomic::AtomicU64;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use disruptor_mp::{CountersFile, Deadline, RecvError, RingWaiter, SharedMemory, fail_point};

use super::super::check_rank;
use super::super::clock::NextCheck;
use super::super::head::{Head, RequestId};
use super::super::received::{Checks, Kept, Lent, Response, next_sequence};
use super::answers::Answers;
use super::calls::UNTIL_IT_SAYS_SO;
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, TransportError, TransportResult,
};
use crate::typed_transport::DecodeError;

use handed_out::HandedOut;

/// The half of a [`Scheduler`](super::Scheduler) that receives answers: [`Scheduler::split`](super::Scheduler::split)
/// returns it.
///
/// Drop or close the [sending half](super::RequestSender) first. Dropping this half gives up the answers that were not
/// received, and what the workers that are there send from then on. A worker that starts after that keeps its answers
/// for a scheduler, until the session is closed. If a panic drops it, they are kept for a successor, as after a death.
///
/// # Examples
///
/// See [`RequestSender`](super::RequestSender).
#[derive(Debug)]
pub struct ResponseReceiver<F: FramedTransportFrame, B = SharedMemory> {
    pub(super) answers: Answers<F, B>,
    /// The worker whose turn it is, and how many messages and then how many stretches may follow in this turn.
    turn: usize,
    left_in_stretch: usize,
    stretches_left: usize,
    /// When the first stretch of the turn was over.
    turn_began: Option<Duration>,
    waiter: RingWaiter,
    next_check: NextCheck,
    /// Whether the rings of all workers are attached.
    is_complete: bool,
    /// What came before an answer that was waited for, oldest first.
    kept: VecDeque<Kept>,
    /// What was handed out last.
    lent: Lent,
    lent_from: LentFrom,
    /// Of the answers from each worker: what was handed out.
    handed_out: Vec<HandedOut>,
    /// The first request whose answers are received.
    first: RequestId,
    /// The last number that the sending half has given.
    last_sent: Arc<AtomicU64>,
    /// Bit i: worker i has answered a request that was not sent, and the log says so.
    told_of_unknown: u64,
    /// The workers that died after their last message, in words.
    dead: Vec<Option<String>>,
    /// Bit i: worker i is one of them.
    are_dead: u64,
    /// Bit i: worker i was found dead in the last polls.
    found_dead: u64,
    /// Bit i: the log says of this absence of worker i that a call waits for it.
    told_of_absence: u64,
}

/// Where the message is that is lent.
#[derive(Clone, Copy, Debug)]
enum LentFrom {
    /// It is the next one in the ring of the worker of this rank.
    Ring(usize),
    /// It is this one of the kept ones.
    Kept(usize),
}

/// Where a message is that a call hands out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// The index among the kept ones.
    Kept(usize),
    /// It is the next one in its worker's ring.
    InRing(Head),
}

impl<F: FramedTransportFrame, B> ResponseReceiver<F, B> {
    /// How many workers the session has.
    pub(super) fn workers(&self) -> usize {
        self.answers.rings.len()
    }

    /// Lets the workers know that no request with this number or a greater one comes.
    pub(super) fn say_closing(&mut self, next: RequestId) {
        self.answers.say_closing(next);
    }

    /// Drops the messages that are there, and returns how many of each worker they are.
    pub(super) fn count_unread(&mut self) -> Vec<usize> {
        let mut counts = vec![0; self.workers()];
        let now = Deadline::after(Duration::ZERO);
        self.attach_workers_now();
        for _ in 0..self.kept.len().saturating_add(self.answers_max()) {
            let (rank, message) = match self.recv_any(now) {
                Ok(found) => found,
                // told once for each ring
                Err(TransportError::Recv(RecvError::InDoubt { .. })) => continue,
                Err(_) => break,
            };
            message.release();
            counts[rank] += 1;
        }
        counts
    }

    /// As many messages as all workers' rings hold.
    pub(super) fn answers_max(&self) -> usize {
        let depth = self.answers.places.config.transport.response_depth;
        self.workers().saturating_mul(depth)
    }

    /// Answers to requests before `first`, and to numbers that were not given yet, are dropped.
    pub(super) fn new(answers: Answers<F, B>, first: RequestId, last_sent: Arc<AtomicU64>) -> Self {
        Self {
            turn: answers.rings.len().saturating_sub(1),
            left_in_stretch: 0,
            stretches_left: 0,
            turn_began: None,
            waiter: RingWaiter::new(answers.places.config.transport.wait_strategy.into()),
            next_check: NextCheck::now(),
            is_complete: false,
            kept: VecDeque::new(),
            lent: Lent::NOTHING,
            lent_from: LentFrom::Kept(0),
            handed_out: vec![HandedOut::default(); answers.rings.len()],
            dead: vec![None; answers.rings.len()],
            are_dead: 0,
            found_dead: 0,
            told_of_absence: 0,
            first,
            last_sent,
            told_of_unknown: 0,
            answers,
        }
    }

    /// Shows the counters of the scheduler's places in its workers' rings in `file`, also of those that come later.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`].
    ///
    /// # Examples
    ///
    /// See [`Scheduler::attach_counters`](super::Scheduler::attach_counters).
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        for ring in self.answers.rings.iter_mut().flatten() {
            ring.attach_counters(file)?;
        }
        self.answers.counters = Some(file.clone());
        Ok(())
    }

    /// The next message of any worker, with that worker's rank; waits for it until the deadline. Workers take turns: a
    /// turn ends when the worker has sent nothing more, after a few milliseconds, or after 65,536 messages divided by
    /// the number of workers. If a worker has died or left, its remaining answers are received first, and then those of
    /// the next worker with its rank. A worker that dies before it has completed a request answers it again when it
    /// comes back; what was received before is dropped. So are answers to the requests of a scheduler before this one,
    /// unless this one was started by [`Scheduler::resume`](super::Scheduler::resume). If there are no workers, the
    /// call waits until the deadline for one to come. After a second the log names the workers that have died.
    /// [`missing_workers`](super::RequestSender::missing_workers) names the workers that are not attached.
    ///
    /// # Errors
    ///
    /// [`TransportError::Recv`] for a time-out or a fork; [`TransportError::Ring`] if a worker's ring does not
    /// fit.
    pub fn recv_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Response<'_, F, B>)> {
        if let Some((rank, head)) = self.next_in_turn() {
            return Ok((rank, self.lend(rank, head)?));
        }
        let (rank, found) = self.find_any(deadline)?;
        Ok((rank, self.hand_out(rank, found)?))
    }

    /// The message that [`recv_any`](Self::recv_any) hands out.
    pub(super) fn find_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Found)> {
        if let Some(rank) = self.kept.front().map(|kept| kept.rank) {
            return Ok((rank, Found::Kept(0)));
        }
        let (rank, head) = match self.next_in_turn() {
            Some(found) => found,
            None => self.wait_for_any(deadline)?,
        };
        Ok((rank, Found::InRing(head)))
    }

    /// A message that was found.
    pub(super) fn hand_out(
        &mut self,
        rank: usize,
        found: Found,
    ) -> TransportResult<Response<'_, F, B>> {
        let head = match found {
            Found::InRing(head) => head,
            Found::Kept(_) if self.answers.process != std::process::id() => {
                return Err(RecvError::Forked.into());
            }
            Found::Kept(index) => {
                let kept = &self.kept[index];
                self.lent = Lent {
                    head: kept.head,
                    kind: kept.kind,
                    is_in_place: false,
                };
                self.lent_from = LentFrom::Kept(index);
                return Ok(Response(self));
            }
        };
        self.lend(rank, head)
    }

    /// The message whose head was found in the ring of the worker `rank`.
    #[inline(always)]
    pub(super) fn lend(&mut self, rank: usize, head: Head) -> TransportResult<Response<'_, F, B>> {
        let Some(responses) = &mut self.answers.rings[rank] else {
            return Err(RecvError::Timeout.into());
        };
        let sequence = next_sequence(responses);
        self.lent = Lent::of(head, responses);
        self.lent_from = LentFrom::Ring(rank);
        self.handed_out[rank].add(head, sequence);
        Ok(Response(self))
    }

    #[inline(always)]
    pub(in crate::session) fn lent(&self) -> &Lent {
        &self.lent
    }

    /// The bytes of the lent message, with its head.
    #[inline(always)]
    pub(in crate::session) fn lent_bytes(&self) -> &[u8] {
        match self.lent_from {
            LentFrom::Ring(rank) => match &self.answers.rings[rank] {
                Some(ring) => ring.lender().lent_bytes(),
                None => &[],
            },
            LentFrom::Kept(index) => self.kept.get(index).map_or(&[], |kept| &kept.bytes),
        }
    }

    /// Releases the lent message.
    #[inline(always)]
    pub(in crate::session) fn release_lent(&mut self) {
        match self.lent_from {
            LentFrom::Ring(rank) => {
                if let Some(ring) = &mut self.answers.rings[rank] {
                    ring.raw().lend_found().release();
                }
            }
            LentFrom::Kept(index) => drop(self.kept.remove(index)),
        }
    }

    /// Has the lent message delivered again.
    pub(in crate::session) fn return_lent(&mut self) {
        if let LentFrom::Ring(rank) = self.lent_from
            && let Some(ring) = &mut self.answers.rings[rank]
        {
            ring.raw().lend_found().release_uncommitted();
        }
    }

    /// The next piece of the answer of the worker `rank` to `request`; waits for it until the deadline. Messages that
    /// this worker sends before it are copied for [`recv_any`](Self::recv_any), at most as many as its ring has frames.
    /// Other workers' messages stay in their rings.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`](TransportError::NoAnswer) after the deadline: the answer can still be received by this call or by
    /// [`recv_any`](Self::recv_any). [`TooManyUnread`](TransportError::TooManyUnread).
    /// [`NoSuchWorker`](TransportError::NoSuchWorker). As [`recv_any`](Self::recv_any).
    ///
    /// # Examples
    ///
    /// See [`Scheduler`](super::Scheduler).
    pub fn recv_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Response<'_, F, B>> {
        if let Some(head) = self.answer_at_once(rank, request) {
            return self.lend(rank, head);
        }
        let found = loop {
            self.found_dead = 0;
            let until = deadline.within(UNTIL_IT_SAYS_SO);
            match self.wait_for_answer(rank, request, until) {
                Err(TransportError::NoAnswer { .. }) if !deadline.has_passed() => {
                    let workers = match self.answers.rings[rank] {
                        Some(_) => self.found_dead & 1 << rank,
                        None => 1 << rank,
                    };
                    self.say_what_it_waits_for(workers);
                }
                found => break found?,
            }
        };
        self.hand_out(rank, found)
    }

    /// Says in the log, once of each absence, that a call waits for these workers: bit i is worker i.
    #[cold]
    fn say_what_it_waits_for(&mut self, workers: u64) {
        for rank in 0..self.workers() {
            if workers & !self.told_of_absence & 1 << rank == 0 {
                continue;
            }
            self.told_of_absence |= 1 << rank;
            let state = match (&self.answers.rings[rank], &self.dead[rank]) {
                (Some(_), Some(owner)) => format!("has died ({owner})"),
                _ => String::from("has not come, or has left"),
            };
            tracing::warn!(
                session = self.answers.places.config.session,
                "worker {rank} {state}: a call waits for what it sends. Start a worker of this rank, or give it up \
                 with remove_worker()"
            );
        }
    }

    /// The message that [`recv_answer`](Self::recv_answer) hands out, if it has come.
    pub(super) fn find_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        checks: Checks,
    ) -> TransportResult<Option<Found>> {
        check_rank(&self.answers.places.config, rank)?;
        let is_it = |kept: &Kept| kept.rank == rank && kept.head.request() == Some(request);
        if let Some(index) = self.kept.iter().position(is_it) {
            return Ok(Some(Found::Kept(index)));
        }
        self.attach_workers()?;
        while let Some(head) = self.next_of(rank, checks)? {
            if head.request() == Some(request) {
                return Ok(Some(Found::InRing(head)));
            }
            self.keep(rank, head)?;
        }
        Ok(None)
    }

    /// The head of the answer of the worker `rank` to `request`, if it is the worker's next message and comes at once,
    /// and no answer was kept.
    #[inline(always)]
    pub(super) fn answer_at_once(&mut self, rank: usize, request: RequestId) -> Option<Head> {
        if !self.kept.is_empty() {
            return None;
        }
        let mut has_waited = false;
        loop {
            if let Some(head) = self.next_at_once(rank) {
                return (head.request() == Some(request)).then_some(head);
            }
            if core::mem::replace(&mut has_waited, true) || !self.poll_briefly(rank) {
                return None;
            }
        }
    }

    /// Whether the worker `rank` sends something at once. Attaches to the rings of workers that have started.
    #[inline(always)]
    fn poll_briefly(&mut self, rank: usize) -> bool {
        if !self.is_complete && self.attach_workers().is_err() {
            // the next attempt, which this call makes at once, returns the error
            self.attach_workers_now();
            return false;
        }
        match self.answers.rings.get_mut(rank) {
            Some(Some(ring)) => self.waiter.poll_briefly(&[ring.raw().as_ring()]),
            _ => false,
        }
    }

    /// Waits for that message.
    pub(super) fn wait_for_answer(
        &mut self,
        rank: usize,
        request: RequestId,
        deadline: Deadline,
    ) -> TransportResult<Found> {
        loop {
            if let Some(found) = self.find_answer(rank, request, Checks::Quick)? {
                return Ok(found);
            }
            match self.answers.places.config.go_on_until(deadline) {
                Ok(()) => self.sleep(Some(rank), deadline)?,
                Err(RecvError::Timeout) => {
                    let found = self.find_answer(rank, request, Checks::AndLiveness)?;
                    return found.ok_or_else(|| self.no_answer(rank, request));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[cold]
    fn no_answer(&self, rank: usize, request: RequestId) -> TransportError {
        let why = match (&self.answers.rings[rank], &self.dead[rank]) {
            (None, _) => String::from(" (it has not started, or has left)"),
            (Some(_), Some(owner)) => format!(" (it has died: {owner})"),
            (Some(_), None) => String::new(),
        };
        TransportError::NoAnswer {
            session: self.answers.places.config.session.clone(),
            rank,
            request,
            why,
        }
    }

    /// Copies the message whose head was found in the ring of the worker `rank`.
    fn keep(&mut self, rank: usize, head: Head) -> TransportResult<()> {
        let Some(responses) = &mut self.answers.rings[rank] else {
            return Ok(());
        };
        let limit = self.answers.places.config.transport.response_depth;
        if self.kept.iter().filter(|kept| kept.rank == rank).count() >= limit {
            responses.raw().lend_found().release_uncommitted();
            return Err(TransportError::TooManyUnread {
                session: self.answers.places.config.session.clone(),
                rank,
                limit,
            });
        }
        let sequence = next_sequence(responses);
        let message = responses.raw().lend_found();
        self.handed_out[rank].add(head, sequence);
        self.kept.push_back(Kept {
            rank,
            head,
            kind: message.kind(),
            bytes: message.to_vec(),
        });
        fail_point("session.kept");
        message.release();
        Ok(())
    }

    /// As [`recv_any`](Self::recv_any), but decodes a value. Returns the worker's rank, the message's kind, and
    /// the value or the error of decoding it. A message that cannot be decoded is consumed. An answer that
    /// [is given up](Response::is_given_up) is such an error, too.
    ///
    /// # Errors
    ///
    /// As [`recv_any`](Self::recv_any).
    ///
    /// # Examples
    ///
    /// See [`RequestSender::broadcast_value`](super::RequestSender::broadcast_value).
    pub fn recv_any_value<T: Codec>(
        &mut self,
        deadline: Deadline,
    ) -> TransportResult<(usize, u8, Result<T, DecodeError>)> {
        let (rank, found) = self.find_any(deadline)?;
        self.decode(rank, found)
    }

    /// The value of a message that was found.
    pub(super) fn decode<T: Codec>(
        &mut self,
        rank: usize,
        found: Found,
    ) -> TransportResult<(usize, u8, Result<T, DecodeError>)> {
        let response = self.hand_out(rank, found)?;
        let kind = response.kind();
        let value = response.decode();
        response.release();
        if let (Ok(_), Some(responses)) = (&value, &mut self.answers.rings[rank]) {
            responses.count();
        }
        Ok((rank, kind, value))
    }

    /// The transport on which a worker's messages are received; `None` until its ring is attached.
    pub fn transport(&mut self, rank: usize) -> Option<&mut FramedTransportConsumer<F, B>> {
        Some(self.answers.rings.get_mut(rank)?.as_mut()?.raw())
    }
}
