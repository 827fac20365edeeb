//! The half of a worker that receives requests.
//!
//! Requests to all workers come in the common ring, and those to this worker in a ring of its own, which the scheduler
//! makes when it first needs it. Each request has a number, and the worker takes the smaller one first. The scheduler
//! publishes request n before request n + 1. So a worker that has found a request in one ring sees every request
//! with a smaller number in the other ring, if it polls that ring afterwards (`rfcs/0008`).

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use disruptor_mp::{
    CountersFile, Deadline, MultiProcessError, MultiProcessResult, NoteReader, RecvError,
    RingMember, RingWaiter, SharedMemory, fail_point,
};

use super::super::clock::{NextCheck, coarse_now};
use super::super::delivery;
use super::super::head::{Head, NOTICE, SchedulerNote, SessionMark};
use super::super::received::{
    Checks, Dropped, Fit, Lent, Request, head_at_once, may_have_message, next_head,
};
use super::super::{Places, show_later, until_it_is_free};
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, TransportError, TransportResult,
};
use crate::typed_transport::TypedConsumer;

/// The half of a [`Worker`](super::Worker) that receives requests: [`Worker::split`](super::Worker::split) returns it.
///
/// Dropping it keeps the worker's places in the scheduler's rings for a successor.
///
/// # Examples
///
/// See [`Reply`](super::Reply).
#[derive(Debug)]
pub struct RequestReceiver<F: FramedTransportFrame, B = SharedMemory> {
    /// Requests to all workers.
    common: TypedConsumer<F, B>,
    /// Requests to this worker, once there is a ring for them.
    own: Option<TypedConsumer<F, B>>,
    /// What was dropped of the one and of the other.
    dropped: [Dropped; 2],
    /// Where the counters of both are shown.
    counters: Option<CountersFile>,
    places: Places<F, B>,
    rank: usize,
    starts_anew: bool,
    waiter: RingWaiter,
    /// How often it has checked for a ring of its own since the last request.
    vain_polls: u32,
    next_check: NextCheck,
    /// The ring of the request that was handed out last.
    last: Source,
    /// What is lent of it, and which delivery of it this is.
    lent: Lent,
    delivery: u32,
    /// The scheduler's epoch before the last poll. A death is reported for this epoch, not for that of a successor,
    /// whose own death would otherwise go unreported.
    epoch: u64,
    /// The epoch of the scheduler whose death was told.
    dead: Option<u64>,
    /// The process that has the places; a forked child must not take or give up any.
    process: u32,
    /// Whether the sending half was refused because the scheduler has closed the session.
    is_over: Arc<AtomicBool>,
    /// What the scheduler notes on this worker's ring of answers.
    note: NoteReader,
    next_note: Duration,
    /// The end that was told.
    told_closing: Option<u64>,
}

/// A request that is delivered this many times, or a multiple of it, is reported in the log.
const SUSPICIOUS: u32 = 128;

/// A worker without requests checks for a ring of its own after each liveness interval at first, and less and less
/// often after that: at most 2 to the power of this many intervals apart.
const RARER_CHECKS_MAX: u32 = 3;

/// The ring that has the next request.
#[derive(Clone, Copy, Debug)]
enum Source {
    Common,
    Own,
}

impl<F: FramedTransportFrame, B> RequestReceiver<F, B> {
    /// Waits for the scheduler's ring.
    pub(super) fn attach(
        places: Places<F, B>,
        rank: usize,
        note: NoteReader,
    ) -> TransportResult<Self> {
        let id = places.config.worker_id(rank);
        // first: once the scheduler finds this worker in the common ring, the worker receives what is sent to it alone
        let own = attach_to_own(&places, rank)?;
        let common = until_it_is_free(|| {
            let builder = places.requests().with_consumer_id(&id).skip_absence();
            let patience = places.config.transport.start_timeout;
            TypedConsumer::from_builder(builder.wait_for_ring(patience))
        })?;
        let mut receiver = Self {
            common,
            own,
            dropped: Default::default(),
            counters: None,
            waiter: RingWaiter::new(places.config.transport.wait_strategy.into()),
            vain_polls: 0,
            next_check: NextCheck::now(),
            places,
            rank,
            starts_anew: false,
            last: Source::Common,
            lent: Lent::NOTHING,
            delivery: 0,
            epoch: 0,
            dead: None,
            process: std::process::id(),
            is_over: Arc::default(),
            note,
            next_note: Duration::ZERO,
            told_closing: None,
        };
        receiver.epoch = receiver.common.raw().as_ring().ring_epoch();
        receiver.starts_anew = receiver.common.raw().as_ring().has_skipped_absence();
        receiver.dropped[0].show_malformed(&mut receiver.common);
        receiver.count_own();
        // the scheduler announces a ring that it makes after this in the common ring
        receiver.attach_own()?;
        Ok(receiver)
    }

    /// What the sending half sets when it is refused because the scheduler has closed the session.
    pub(super) fn over_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_over)
    }

    pub(super) fn session(&mut self) -> SessionMark {
        SessionMark::of(self.common.raw().as_ring().ring_created())
    }

    /// Attaches to the ring of the requests to this worker, if it exists.
    fn attach_own(&mut self) -> TransportResult<()> {
        if self.process != std::process::id() {
            return Err(MultiProcessError::Forked.into());
        }
        if self.own.is_none() {
            self.own = attach_to_own(&self.places, self.rank)?;
            self.count_own();
        }
        Ok(())
    }

    /// Begins to count what comes in the ring of the requests to this worker, if there is one.
    fn count_own(&mut self) {
        if let Some(own) = &mut self.own {
            self.dropped[1].show_malformed(own);
            show_later(
                self.counters.as_ref(),
                &self.places.config.session,
                |file| own.attach_counters(file),
            );
        }
    }

    /// Shows the counters of the worker's places in the scheduler's rings in `file`: in the common ring, and in that of
    /// the requests to this worker, also if that is made later.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`](crate::TransportError::Counters).
    ///
    /// # Examples
    ///
    /// See [`Worker::attach_counters`](super::Worker::attach_counters).
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.common.attach_counters(file)?;
        if let Some(own) = &mut self.own {
            own.attach_counters(file)?;
        }
        self.counters = Some(file.clone());
        Ok(())
    }

    /// The scheduler's next request: see [`Worker::recv`](super::Worker::recv).
    ///
    /// # Errors
    ///
    /// As [`Worker::recv`](super::Worker::recv).
    pub fn recv(&mut self, deadline: Deadline) -> TransportResult<Request<'_, F, B>> {
        let (source, head) = match self.next_at_once() {
            Some(found) => found,
            None => self.wait(deadline)?,
        };
        self.last = source;
        self.vain_polls = 0;
        let ring = match (source, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        };
        let delivery = delivery::count_next(ring.raw().as_ring());
        if delivery.is_multiple_of(SUSPICIOUS) {
            tell_of_repetition(&self.places.config.session, self.rank, delivery);
        }
        fail_point("session.noted");
        self.lent = Lent::of(head, ring);
        self.delivery = delivery;
        Ok(Request(self))
    }

    #[inline(always)]
    pub(in crate::session) fn lent(&self) -> &Lent {
        &self.lent
    }

    /// The bytes of the lent request, with its head.
    #[inline(always)]
    pub(in crate::session) fn lent_bytes(&self) -> &[u8] {
        let ring = match (self.last, &self.own) {
            (Source::Own, Some(own)) => own,
            _ => &self.common,
        };
        ring.lender().lent_bytes()
    }

    pub(in crate::session) fn delivery_of_lent(&self) -> u32 {
        self.delivery
    }

    /// Completes the lent request.
    #[inline(always)]
    pub(in crate::session) fn release_lent(&mut self) {
        self.ring(self.last).raw().lend_found().release();
    }

    /// Has the lent request delivered again.
    pub(in crate::session) fn return_lent(&mut self) {
        let ring = self.ring(self.last);
        ring.raw().lend_found().release_uncommitted();
    }

    /// Whether an answer was refused because the scheduler has closed the session.
    pub(in crate::session) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn ring(&mut self, source: Source) -> &mut TypedConsumer<F, B> {
        match (source, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        }
    }

    /// Takes the last delivery out of the count: the program returned the request, but no attempt to handle it failed.
    pub(in crate::session) fn uncount_delivery(&mut self) {
        let place = self.ring(self.last).raw().as_ring();
        if let Some(before) = delivery::of_next(place).checked_sub(1) {
            delivery::set_of_next(place, before);
        }
    }

    /// How often the next request was delivered; waits for it until the deadline.
    pub(super) fn deliveries_of_next(&mut self, deadline: Deadline) -> TransportResult<u32> {
        let (source, _) = match self.next_at_once() {
            Some(found) => found,
            None => self.wait(deadline)?,
        };
        Ok(delivery::of_next(self.ring(source).raw().as_ring()))
    }

    /// Where the next request is, and its head, if it comes at once and is nothing but the next frame of its ring: else
    /// [`wait`](Self::wait) finds it.
    #[inline(always)]
    fn next_at_once(&mut self) -> Option<(Source, Head)> {
        let mut has_waited = false;
        loop {
            // each ring is polled after the other one has shown a request: see above
            let (found, is_alone) = match self.own.as_mut().and_then(head_at_once) {
                Some(own) => ((Source::Own, own), !may_have_message(&mut self.common)),
                None => match head_at_once(&mut self.common) {
                    Some(common) => ((Source::Common, common), !self.has_own()),
                    None if core::mem::replace(&mut has_waited, true) => return None,
                    None if self.poll_briefly() => continue,
                    None => return None,
                },
            };
            let (_, head) = found;
            return (is_alone && head.request().is_some() && !head.has(NOTICE)).then_some(found);
        }
    }

    /// Whether the ring of the requests to this worker may have a message.
    #[inline(always)]
    fn has_own(&mut self) -> bool {
        self.own.as_mut().is_some_and(may_have_message)
    }

    /// Waits until there is a request, and returns where it is.
    #[cold]
    fn wait(&mut self, deadline: Deadline) -> TransportResult<(Source, Head)> {
        loop {
            if let Some(found) = self.poll(Checks::Quick)? {
                return Ok(found);
            }
            match self.places.config.go_on_until(deadline) {
                Ok(()) => {
                    if let Some(found) = self.read_note()? {
                        return Ok(found);
                    }
                    self.sleep(None, deadline)?;
                }
                Err(RecvError::Timeout) => {
                    self.epoch = self.common.raw().as_ring().ring_epoch();
                    let found = match self.poll(Checks::AndLiveness)? {
                        None => self.read_note()?,
                        found => found,
                    };
                    return found.ok_or_else(|| RecvError::Timeout.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether there is a request. If there is none, waits until there may be one, or the bell rings.
    #[cfg(feature = "tokio")]
    pub(in crate::session) fn has_next_beside(
        &mut self,
        bell: &dyn RingMember,
    ) -> TransportResult<bool> {
        if self.poll(Checks::Quick)?.is_some() {
            return Ok(true);
        }
        self.places.config.go_on_until(Deadline::NEVER)?;
        if self.read_note()?.is_some() {
            return Ok(true);
        }
        self.sleep(Some(bell), Deadline::NEVER)?;
        Ok(false)
    }

    /// Tells what the scheduler has noted, when it is time to read it: another number of workers, or, once and behind
    /// the last request, that it shuts the session down.
    fn read_note(&mut self) -> TransportResult<Option<(Source, Head)>> {
        let now = coarse_now();
        if now < self.next_note {
            return Ok(None);
        }
        self.next_note = now.saturating_add(self.places.config.liveness_interval());
        let note = SchedulerNote::of_word(self.note.note());
        // read after the note: a successor that has not noted anything yet has taken over the common ring
        if !note.is_of(self.common.raw().as_ring().ring_epoch()) {
            return Ok(None);
        }
        let workers = self.places.config.workers;
        if let Some(of_scheduler) = note.workers().filter(|it| *it != workers) {
            self.next_note = now;
            return Err(TransportError::WorkerCountDiffers {
                session: self.places.config.session.clone(),
                rank: self.rank,
                workers,
                of_scheduler,
            });
        }
        if note.closing().is_none() || note.closing() == self.told_closing {
            return Ok(None);
        }
        // read after the note, which was set after the last request was sent
        self.attach_own()?;
        if let Some(found) = self.poll(Checks::Quick)? {
            self.next_note = now;
            return Ok(Some(found));
        }
        self.told_closing = note.closing();
        Err(TransportError::SessionClosing {
            session: self.places.config.session.clone(),
        })
    }

    /// The request with the smallest number, if there is one.
    fn poll(&mut self, checks: Checks) -> TransportResult<Option<(Source, Head)>> {
        loop {
            let own = self.poll_own(checks)?;
            let fit = |head: Head, _| Fit::if_sound(head.request().is_some());
            let common = match next_head(&mut self.common, checks, &mut self.dropped[0], fit) {
                Ok(common) => common,
                // a wait is cancelled, not a request that is there
                Err(RecvError::Cancelled) => None,
                // everything was sent before the end: requests to this worker are received first
                Err(error @ (RecvError::Closed | RecvError::ProducerDead { .. })) => {
                    self.attach_own()?;
                    let own = own.map_or_else(|| self.poll_own(checks), |head| Ok(Some(head)))?;
                    return match own {
                        Some(own) => Ok(Some((Source::Own, own))),
                        None => self.tell_of(error),
                    };
                }
                Err(error) => return Err(error.into()),
            };
            let Some(common) = common else {
                return Ok(own.map(|head| (Source::Own, head)));
            };
            // polled again: a request that was not there before may have a smaller number
            let own = match own {
                Some(head) => Some(head),
                None => self.poll_own(checks)?,
            };
            if let Some(own) = own.filter(|own| own.request() < common.request()) {
                return Ok(Some((Source::Own, own)));
            }
            if !common.has(NOTICE) {
                return Ok(Some((Source::Common, common)));
            }
            if common.piece() as usize == self.rank {
                // before the notice is released: it is found again if this fails
                self.attach_own()?;
            }
            let notice = self.common.raw().lend_found();
            match Head::of(&notice) == Some(common) {
                true => notice.release(),
                false => notice.release_uncommitted(),
            }
        }
    }

    /// The end of the session, or the death of its scheduler: each death is told once.
    fn tell_of(&mut self, error: RecvError) -> TransportResult<Option<(Source, Head)>> {
        if matches!(error, RecvError::ProducerDead { .. }) {
            if self.dead == Some(self.epoch) {
                return Ok(None);
            }
            self.dead = Some(self.epoch);
        }
        Err(error.into())
    }

    fn poll_own(&mut self, checks: Checks) -> TransportResult<Option<Head>> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        let fit = |head: Head, _| Fit::if_sound(head.request().is_some() && !head.has(NOTICE));
        match next_head(own, checks, &mut self.dropped[1], fit) {
            Ok(head) => Ok(head),
            // the common ring tells of its producer's death; a wait is cancelled, not a request that is there
            Err(RecvError::ProducerDead { .. } | RecvError::Cancelled) => Ok(None),
            Err(RecvError::Closed) => {
                self.own = None;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether one of the rings has something at once.
    #[inline(always)]
    fn poll_briefly(&mut self) -> bool {
        let common = self.common.raw().as_ring();
        match &mut self.own {
            None => self.waiter.poll_briefly(&[common]),
            Some(own) => self.waiter.poll_briefly(&[common, own.raw().as_ring()]),
        }
    }

    /// Waits until one of the rings has news, the bell rings, or it is time for a liveness check. All that is done now
    /// and then is done at those times, so that an idle worker wakes up once in an interval.
    fn sleep(&mut self, bell: Option<&dyn RingMember>, deadline: Deadline) -> TransportResult<()> {
        let rings = [Some(&mut self.common), self.own.as_mut()];
        let rings = rings.into_iter().flatten();
        let rings = rings.map(|ring| ring.raw().as_ring() as &dyn RingMember);
        let rings: Vec<_> = rings.chain(bell).collect();
        match self.waiter.wait_until_check(&rings, deadline) {
            Ok(_) | Err(RecvError::Timeout) => {}
            Err(error) => return Err(error.into()),
        }
        // while the common ring is full, no notice of it can come
        self.find_own()?;
        self.epoch = self.common.raw().as_ring().ring_epoch();
        Ok(())
    }

    /// Attaches to a ring of its own if there is one, when a check for it is due.
    fn find_own(&mut self) -> TransportResult<()> {
        let interval = self.places.config.liveness_interval();
        let intervals = 1 << self.vain_polls.min(RARER_CHECKS_MAX);
        if self.own.is_some() || !self.next_check.is_due(interval.saturating_mul(intervals)) {
            return Ok(());
        }
        self.vain_polls = self.vain_polls.saturating_add(1);
        self.attach_own()
    }

    /// Counts a request that was decoded and done.
    pub(super) fn count(&mut self) {
        self.common.count();
    }

    /// See [`Worker::starts_anew`](super::Worker::starts_anew).
    ///
    /// # Examples
    ///
    /// See [`WorkerState`](super::super::WorkerState).
    pub fn starts_anew(&self) -> bool {
        self.starts_anew
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The transport on which the requests to all workers are received.
    pub fn transport(&mut self) -> &mut FramedTransportConsumer<F, B> {
        self.common.raw()
    }

    /// Gives up the worker's places in the scheduler's rings for good.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    pub fn leave(self) -> MultiProcessResult<()> {
        let is_forked = self.process != std::process::id();
        let left = self.common.leave();
        if is_forked {
            return left;
        }
        fail_point("session.left");
        // The scheduler may have made the ring of this worker's requests since the last poll. One that it makes from
        // now on does not wait for this worker, which is not in the common ring any more.
        let own = match self.own {
            Some(own) => Ok(Some(own)),
            None => attach_to_own(&self.places, self.rank),
        };
        let own = match own {
            Ok(own) => own.map_or(Ok(()), TypedConsumer::leave),
            Err(TransportError::Ring(error)) => Err(error),
            Err(_) => Ok(()),
        };
        left.and(own)
    }
}

/// Attaches to the ring of the requests to the worker `rank`, if it exists.
fn attach_to_own<F: FramedTransportFrame, B>(
    places: &Places<F, B>,
    rank: usize,
) -> TransportResult<Option<TypedConsumer<F, B>>> {
    if !places.has_addressed(rank) {
        return Ok(None);
    }
    let id = places.config.worker_id(rank);
    let attached = until_it_is_free(|| {
        let builder = places.addressed(rank).with_consumer_id(&id);
        TypedConsumer::from_builder(builder.skip_absence())
    });
    match attached {
        Ok(attached) => Ok(Some(attached)),
        Err(TransportError::Ring(MultiProcessError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says in the log that a request comes again and again.
#[cold]
fn tell_of_repetition(session: &str, rank: usize, deliveries: u32) {
    tracing::warn!(
        session,
        "worker {rank} was handed the same request {deliveries} times: a request that is dropped comes again, until \
         done() is called"
    );
}
