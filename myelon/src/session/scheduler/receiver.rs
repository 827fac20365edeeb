//! The half of a scheduler that receives answers.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use disruptor_mp::{
    CountersFile, Deadline, RecvError, RingMember, RingWaiter, Sequence, SharedMemory, fail_point,
};

use super::super::check_rank;
use super::super::clock::coarse_now;
use super::super::head::{Head, LAST, RequestId};
use super::super::received::{
    Checks, Fit, Kept, Lent, Response, head_at_once, next_head, next_sequence,
};
use super::answers::Answers;
use super::calls::UNTIL_IT_SAYS_SO;
use crate::codec::Codec;
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, TransportError, TransportResult,
};
use crate::typed_transport::DecodeError;

/// A worker that sends without a pause is received for many messages before the next one's turn: it runs beside this
/// process then, and neither has to wake the other. After this many messages it is decided whether its turn goes on...
const IN_A_STRETCH: usize = 64;

/// ...which it does until the coarse clock goes on, every few milliseconds, and until all workers, if each of them sends
/// without a pause, would have had this many messages in all.
const IN_A_ROUND: usize = 1 << 16;

/// How often a scheduler checks whether the rings of missing workers exist.
const WORKER_CHECK_INTERVAL: Duration = Duration::from_millis(10);

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
    next_check: Instant,
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

/// What was handed out of one worker's answers. A worker that dies before it has completed a request answers it again,
/// when it comes back. Only one request can be answered again: the one that it had received last. So it is enough to
/// know the highest number that was answered, and how far.
#[derive(Clone, Copy, Debug, Default)]
struct HandedOut {
    request: Option<RequestId>,
    /// The piece that has not been handed out.
    next_piece: u32,
    is_complete: bool,
    /// The sequence of the last piece. A piece with this sequence is delivered again: the program has returned it.
    at: Sequence,
}

/// Where the message is that is lent.
#[derive(Clone, Copy, Debug)]
enum LentFrom {
    /// It is the next one in the ring of the worker of this rank.
    Ring(usize),
    /// It is this one of the kept ones.
    Kept(usize),
}

/// No sequence.
const NOWHERE: Sequence = -1;

impl HandedOut {
    /// What becomes of a message with this head, at this sequence of its ring, by the first request whose answers are
    /// received and the last number that was given.
    #[inline(always)]
    fn fit(&self, first: RequestId, last_sent: &AtomicU64, head: Head, sequence: Sequence) -> Fit {
        if head.session() != first.session() {
            return Fit::IsOld;
        }
        let Some(request) = head.request() else {
            return Fit::Fits;
        };
        // read after the answer, which cannot come before its request has its number
        if request.get() > last_sent.load(Ordering::Relaxed) {
            return Fit::IsUnknown;
        }
        match request >= first && !self.has(head, sequence) {
            true => Fit::Fits,
            false => Fit::IsOld,
        }
    }

    /// Whether this piece was handed out before, from another place in the ring. If a repeated answer is shorter, its
    /// last piece counts as new.
    #[inline(always)]
    fn has(&self, head: Head, sequence: Sequence) -> bool {
        let is_last = head.has(LAST);
        head.request().is_some()
            && head.request() == self.request
            && (self.is_complete || head.piece() < self.next_piece && !is_last)
            && sequence != self.at
    }

    #[inline(always)]
    fn add(&mut self, head: Head, sequence: Sequence) {
        if head.request().is_some() && head.request() >= self.request {
            *self = Self {
                request: head.request(),
                next_piece: head.piece().saturating_add(1),
                is_complete: head.has(LAST),
                at: sequence,
            };
        }
    }
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
            next_check: Instant::now(),
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

    /// The next message of any worker, with that worker's rank; waits for it until the deadline. Workers take
    /// turns: a turn ends when the worker has sent nothing more, after a few milliseconds, or after 65,536 messages
    /// divided by the number of workers. If a worker has died or left, its remaining answers are received first, and
    /// then those of the next worker with its rank. A worker that dies before it has completed a request answers it again
    /// when it comes back; what was received before is dropped. So are answers to the requests of a scheduler before
    /// this one, unless this one was started by [`Scheduler::resume`](super::Scheduler::resume). If there are no
    /// workers, the call waits until the deadline for one to come. After a second the log names the workers that have
    /// died. [`missing_workers`](super::RequestSender::missing_workers) names the workers that are not attached.
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

    /// The rank of the worker whose turn it is, and the head of its next message, if that is there at first sight and
    /// no answer was kept.
    #[inline(always)]
    pub(super) fn next_in_turn(&mut self) -> Option<(usize, Head)> {
        if !self.kept.is_empty() || self.left_in_stretch == 0 && !self.begins_stretch() {
            return None;
        }
        self.left_in_stretch -= 1;
        let rank = self.turn;
        Some((rank, self.next_at_once(rank)?))
    }

    /// Whether the turn goes on. If it does, a stretch begins.
    #[cold]
    #[inline(never)]
    fn begins_stretch(&mut self) -> bool {
        let now = coarse_now();
        if self.stretches_left == 0 || *self.turn_began.get_or_insert(now) != now {
            self.stretches_left = 0;
            return false;
        }
        self.stretches_left -= 1;
        self.left_in_stretch = IN_A_STRETCH;
        true
    }

    /// As [`next_of`](Self::next_of), if that is the ring's next frame, and is there.
    #[inline(always)]
    fn next_at_once(&mut self, rank: usize) -> Option<Head> {
        let ring = self.answers.rings.get_mut(rank)?.as_mut()?;
        let sequence = next_sequence(ring);
        let head = head_at_once(ring)?;
        let fit = self.handed_out[rank].fit(self.first, &self.last_sent, head, sequence);
        (fit == Fit::Fits && self.are_dead & 1 << rank == 0).then_some(head)
    }

    /// Waits for a worker that has a whole message, and returns its rank.
    fn wait_for_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Head)> {
        let mut started = None;
        loop {
            self.attach_workers()?;
            self.found_dead = 0;
            if let Some(found) = self.poll(Checks::Quick)? {
                return Ok(found);
            }
            match self.answers.places.config.go_on_until(deadline) {
                Ok(()) => {
                    let started = *started.get_or_insert_with(Instant::now);
                    // the wait for a ring ends once in a liveness interval while its worker is dead
                    if self.found_dead != 0 && started.elapsed() >= UNTIL_IT_SAYS_SO {
                        self.say_what_it_waits_for(self.found_dead);
                    }
                    self.sleep(None, deadline)?;
                }
                Err(RecvError::Timeout) => {
                    let found = self.poll(Checks::AndLiveness)?;
                    return found.ok_or_else(|| RecvError::Timeout.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The last frame that was released of what the worker `rank` sends.
    pub(super) fn heard(&mut self, rank: usize) -> Option<Sequence> {
        let ring = self.answers.rings[rank].as_mut()?;
        Some(next_sequence(ring) - 1)
    }

    /// The next call attaches to the rings of workers that have started, whenever the last check was.
    pub(super) fn attach_workers_now(&mut self) {
        self.next_check = Instant::now();
    }

    /// Attaches to the rings of workers that have started since the last check.
    #[inline]
    fn attach_workers(&mut self) -> TransportResult<()> {
        match self.is_complete {
            true => Ok(()),
            false => self.attach_missing(),
        }
    }

    #[cold]
    fn attach_missing(&mut self) -> TransportResult<()> {
        let now = Instant::now();
        if now < self.next_check {
            return Ok(());
        }
        self.next_check = now + WORKER_CHECK_INTERVAL;
        let mut missing = self.answers.missing().into_iter();
        missing.try_for_each(|rank| self.answers.attach(rank))?;
        self.is_complete = self.answers.missing().is_empty();
        Ok(())
    }

    /// The rank of a worker that has a whole message, if there is one: the next one after the last turn. It is this
    /// worker's turn then.
    fn poll(&mut self, checks: Checks) -> TransportResult<Option<(usize, Head)>> {
        let workers = self.answers.rings.len();
        let next = self.turn + 1;
        for rank in (next..workers).chain(0..next.min(workers)) {
            if let Some(head) = self.next_of(rank, checks)? {
                self.turn = rank;
                self.left_in_stretch = IN_A_STRETCH - 1;
                self.stretches_left = IN_A_ROUND / IN_A_STRETCH / workers;
                self.turn_began = None;
                return Ok(Some((rank, head)));
            }
        }
        Ok(None)
    }

    /// The head of the next message from the worker `rank`, if there is one.
    fn next_of(&mut self, rank: usize, checks: Checks) -> TransportResult<Option<Head>> {
        let Some(responses) = &mut self.answers.rings[rank] else {
            return Ok(None);
        };
        let handed_out = &self.handed_out[rank];
        let mut unknown = None;
        let fit = |head: Head, sequence| {
            let fit = handed_out.fit(self.first, &self.last_sent, head, sequence);
            if fit == Fit::IsUnknown {
                unknown = head.request();
            }
            fit
        };
        let found = next_head(responses, checks, &mut self.answers.dropped[rank], fit);
        if let Some(request) = unknown {
            self.tell_of_unknown(rank, request);
        }
        match found {
            Ok(head) => {
                if head.is_some() && self.are_dead & 1 << rank != 0 {
                    self.are_dead &= !(1 << rank);
                    self.dead[rank] = None;
                }
                Ok(head)
            }
            Err(error) => self.end_of(rank, error),
        }
    }

    /// What the end of the ring of the worker `rank`, or another error of it, means.
    #[cold]
    fn end_of(&mut self, rank: usize, error: RecvError) -> TransportResult<Option<Head>> {
        match error {
            // a successor of the worker continues in the same ring
            RecvError::ProducerDead { owner } => {
                self.found_dead |= 1 << rank;
                if self.dead[rank].as_ref() != Some(&owner) {
                    self.dead[rank] = Some(owner);
                    self.are_dead |= 1 << rank;
                    self.told_of_absence &= !(1 << rank);
                }
                Ok(None)
            }
            // a wait is cancelled, not an answer that is there
            RecvError::Cancelled => Ok(None),
            // a successor of the worker creates another ring, whose sequences start anew
            RecvError::Closed => {
                self.answers.rings[rank] = None;
                self.is_complete = false;
                self.handed_out[rank].at = NOWHERE;
                Ok(None)
            }
            error => Err(error.into()),
        }
    }

    /// Says in the log, once of each worker, that it has answered a request that was not sent. A worker that keeps to
    /// the protocol does not.
    #[cold]
    fn tell_of_unknown(&mut self, rank: usize, request: RequestId) {
        if self.told_of_unknown & 1 << rank == 0 {
            self.told_of_unknown |= 1 << rank;
            tracing::warn!(
                session = self.answers.places.config.session,
                "worker {rank} has answered request {request}, which was not sent: such answers are dropped"
            );
        }
    }

    /// Waits until one of the rings, or that of the worker `only`, has news, or until it is time to check for missing
    /// workers again.
    fn sleep(&mut self, only: Option<usize>, deadline: Deadline) -> TransportResult<()> {
        self.sleep_beside(only, None, deadline)
    }

    /// As `sleep`; a `bell` that rings ends the wait as well.
    pub(super) fn sleep_beside(
        &mut self,
        only: Option<usize>,
        bell: Option<&dyn RingMember>,
        deadline: Deadline,
    ) -> TransportResult<()> {
        let until = match self.is_complete {
            true => deadline,
            false => deadline.within(WORKER_CHECK_INTERVAL),
        };
        let rings = self.answers.rings.iter_mut().enumerate();
        let rings = rings
            .filter(|(rank, _)| only.is_none_or(|only| only == *rank))
            .filter_map(|(_, ring)| ring.as_mut())
            .map(|ring| ring.raw().as_ring() as &dyn RingMember);
        let rings: Vec<_> = rings.chain(bell).collect();
        match self.waiter.wait(&rings, until) {
            Ok(_) | Err(RecvError::Timeout) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
