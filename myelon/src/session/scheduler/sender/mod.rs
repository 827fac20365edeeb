//! The half of a scheduler that sends requests. [`sending`] has the calls that send one, [`deaths`] what it does about
//! its workers, [`attendance`] which of them are away, [`managed`] the call that watches the required ones,
//! [`standstill`] which of them are alive and do not move, and [`ending`] its end.

mod attendance;
mod deaths;
mod ending;
mod managed;
mod sending;
mod standstill;

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use disruptor_mp::{
    CountersFile, Deadline, DiscoveryMode, MultiProcessError, Producer, SendError, Sequence,
    SharedMemory, fail_point,
};

use super::super::clock::coarse_now;
use super::super::head::{Head, HeadedBytes, NOTICE, RequestId, SentAt, SessionMark};
use super::super::{Places, check_rank, show_later};
use super::state::SentLog;
use crate::transport::{
    FramedTransportFrame, FramedTransportProducer, TransportError, TransportResult,
};
use crate::typed_transport::{Encode, TypedProducer, TypedPublishError};

use attendance::{Shared, WorkerCounters};
pub use deaths::WorkerDeath;
use ending::UntilTheEnd;

/// A worker that is not attached.
///
/// # Examples
///
/// See [`WorkerState`](super::WorkerState).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingWorker {
    /// The worker's rank.
    pub rank: usize,
    /// The worker's consumer id.
    pub id: String,
    /// Whether the worker was attached before: its place in the ring is kept.
    pub is_away: bool,
}

/// The half of a [`Scheduler`](super::Scheduler) that sends requests: [`Scheduler::split`](super::Scheduler::split)
/// returns it. Dropping it closes the session.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RequestSender, ResponseReceiver, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// let scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let (mut requests, mut responses): (RequestSender<_>, ResponseReceiver<_>) = scheduler.split();
/// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// requests.broadcast(b"load", 1, Deadline::NEVER)?;
/// let sent = requests.send_to(0, b"compute", 2, Deadline::NEVER)?;
/// assert!(requests.missing_workers().is_empty());
/// println!("{:?}", requests.transport().counters());
///
/// worker.serve(Deadline::NEVER, |_kind, _request| b"loaded")?;
/// worker.serve(Deadline::NEVER, |_kind, _request| b"computed")?;
/// let (rank, loaded) = responses.recv_any(Deadline::NEVER)?;
/// requests.broadcast(&loaded, loaded.kind(), Deadline::NEVER)?; // the answer is still lent
/// loaded.release();
/// let computed = responses.recv_answer(rank, sent, Deadline::NEVER)?;
/// assert_eq!((computed.request(), &*computed), (Some(sent), &b"computed"[..]));
/// drop(computed);
/// println!("{:?}", responses.transport(rank).map(|ring| ring.received()));
///
/// worker.leave()?;
/// requests.close()?; // before the other half goes
/// drop(responses);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RequestSender<F: FramedTransportFrame, B = SharedMemory> {
    /// Requests to all workers.
    common: UntilTheEnd<TypedProducer<F, B>>,
    /// Requests to one worker each: `None` until the first one.
    own: Vec<Option<TypedProducer<F, B>>>,
    /// Bit i: the ring of worker i exists, and the common ring does not tell of it.
    unannounced: u64,
    places: Places<F, B>,
    next: RequestId,
    /// When the last number was given.
    sent_at: Duration,
    /// The last number that was given, for the receiving half.
    last_sent: Arc<AtomicU64>,
    shared: Arc<Shared>,
    /// For each worker's ring and, last, the common ring: the sequences before and at the end of what follows the last
    /// request, if that is no request: a part of an abandoned message, or notices.
    parts: Vec<Option<(Sequence, Sequence)>>,
    /// What was sent in the ring of each worker, and, last in the list, in the common ring.
    logs: Vec<SentLog>,
    /// Where the counters of the rings are shown.
    counters: Option<CountersFile>,
    has_death_hook: bool,
    /// When a call that receives checks the workers next, on the coarse clock: such a call is short.
    next_check: Duration,
    /// The process that sends; a forked child must not make any ring.
    process: u32,
}

/// What a call of the scheduler waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) enum Awaits {
    /// Space in the ring of one worker, or in the common ring.
    Space { only: Option<usize> },
    /// An answer of one worker.
    Answer { rank: usize, request: RequestId },
    /// Everything that the workers have to do.
    End,
}

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// Takes over the rings that a dead predecessor has left.
    pub(super) fn new(mut common: TypedProducer<F, B>, places: Places<F, B>) -> Self {
        let ring = common.raw().ring();
        let next = RequestId::first(ring.epoch(), SessionMark::of(ring.ring_created()));
        let shared = Shared::new(&places.config, ring.place_reader());
        shared.watch(ring, None);
        let mut sender = Self {
            common: UntilTheEnd(Some(common)),
            own: (0..places.config.workers).map(|_| None).collect(),
            unannounced: 0,
            shared,
            parts: vec![None; places.config.workers + 1],
            logs: (0..=places.config.workers)
                .map(|_| SentLog::new(places.config.transport.rpc_depth))
                .collect(),
            counters: None,
            has_death_hook: false,
            next_check: Duration::ZERO,
            places,
            next,
            sent_at: Duration::ZERO,
            last_sent: Arc::new(AtomicU64::new(next.get() - 1)),
            process: std::process::id(),
        };
        let advice = sender.advice("requests to all workers wait for it");
        let common = sender.common.raw().ring();
        common.advise_about_the_absent(advice);
        // a ring that cannot be taken over now is tried again when it is needed, and that call reports why
        let _ = sender.open_all();
        sender
    }

    /// Takes over the rings of requests to one worker that a dead predecessor has left. Returns the first error.
    fn open_all(&mut self) -> TransportResult<()> {
        let mut result = Ok(());
        for rank in 0..self.own.len() {
            if self.own[rank].is_none() && self.places.has_addressed(rank) {
                result = result.and(self.open(rank));
            }
        }
        result
    }

    /// Makes the ring of the requests to the worker `rank`, or takes it over.
    fn open(&mut self, rank: usize) -> TransportResult<()> {
        if self.is_forked() {
            return Err(MultiProcessError::Forked.into());
        }
        let id = self.places.config.worker_id(rank);
        let builder = self.places.addressed(rank);
        let discovery = DiscoveryMode::Ids(vec![id.clone()]);
        let mut ring = TypedProducer::from_builder(builder.with_discovery(discovery))?;
        let advice = self.advice("requests to it wait");
        ring.raw().ring().advise_about_the_absent(advice);
        // A worker that has left, or was removed, is missed by nobody. One that leaves after this finds its ring.
        if !self.common.raw().ring().keeps_for(&id) {
            match ring.raw().ring().remove_consumer(&id) {
                Ok(())
                | Err(
                    MultiProcessError::NoSuchConsumer { .. }
                    | MultiProcessError::ConsumerAlreadyAttached { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fail_point("session.opened");
        self.shared.watch(ring.raw().ring(), Some(rank));
        let file = self.counters.as_ref();
        show_later(file, &self.places.config.session, |file| {
            ring.attach_counters(file)
        });
        self.own[rank] = Some(ring);
        self.unannounced |= 1 << rank;
        Ok(())
    }

    /// What waits for a worker that is not there, and what may be done, for the log.
    pub(super) fn advice(&self, what_waits: &str) -> String {
        let policy = self.places.config.on_worker_death;
        format!(
            ": {what_waits}. Start a worker of this rank, or give it up with remove_worker(). The policy is \
             OnWorkerDeath::{policy:?}: Wait goes on waiting, RemoveAfter(duration) removes the worker, Fail ends the \
             call"
        )
    }

    /// The session's label.
    pub(super) fn session(&self) -> &str {
        &self.places.config.session
    }

    pub(super) fn liveness_interval(&self) -> Duration {
        self.places.config.liveness_interval()
    }

    /// The number of the next request.
    pub(super) fn next_request(&self) -> RequestId {
        self.next
    }

    /// The last number that was given: of the last request that was sent, or is about to be.
    pub(super) fn last_sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.last_sent)
    }

    #[inline]
    fn take_number(&mut self) -> RequestId {
        let id = self.next;
        // before the request is published, so that whoever receives its answer knows the number
        self.last_sent.store(id.get(), Ordering::Relaxed);
        self.next = id.next();
        self.sent_at = coarse_now();
        fail_point("session.numbered");
        id
    }

    #[inline]
    fn number(&mut self) -> Head {
        let id = self.take_number();
        Head::of_request(id, SentAt::of(self.sent_at))
    }

    /// Whether requests to the worker `rank` are kept for it.
    pub(super) fn is_kept_for(&mut self, rank: usize) -> bool {
        let id = self.places.config.worker_id(rank);
        [None, Some(rank)].into_iter().any(|only| {
            let ring = self.ring(only);
            ring.is_some_and(|ring| ring.keeps_for(&id))
        })
    }

    /// Makes the ring of the worker `rank` ready for a request.
    #[inline]
    fn prepare(&mut self, rank: usize) -> Result<(), TypedPublishError> {
        let is_ready = match self.own.get_mut(rank) {
            Some(Some(own)) => self.unannounced == 0 && !own.raw().ring().is_unregarded(),
            _ => false,
        };
        match is_ready {
            true => Ok(()),
            false => self.prepare_slowly(rank),
        }
    }

    #[cold]
    #[inline(never)]
    fn prepare_slowly(&mut self, rank: usize) -> Result<(), TypedPublishError> {
        check_rank(&self.places.config, rank)?;
        if self.own[rank].is_none() {
            self.open(rank)?;
        }
        if self.unannounced & 1 << rank != 0 {
            match self.announce(rank, Deadline::after(Duration::ZERO)) {
                // another worker keeps the common ring full: this worker finds its own ring at its next check
                Ok(()) | Err(TypedPublishError::Transport(TransportError::Send(_))) => {}
                Err(error) => return Err(error),
            }
        }
        let own = self.own[rank].as_mut();
        match own.is_none_or(|own| own.raw().ring().is_unregarded()) {
            true => self.refuse_if_gone(rank),
            false => Ok(()),
        }
    }

    /// Refuses a request that nothing keeps for its worker. A ring without a consumer runs free: the worker would never
    /// see the request.
    #[cold]
    fn refuse_if_gone(&mut self, rank: usize) -> Result<(), TypedPublishError> {
        match self.is_kept_for(rank) {
            true => Ok(()),
            false => Err(TransportError::WorkerGone {
                session: self.places.config.session.clone(),
                rank,
                request: None,
            }
            .into()),
        }
    }

    /// Calls `send`, and again if the death of a worker that holds the space has ended its wait: of the worker `only`,
    /// or of any. A message that was sent in part starts again then: once for each worker that is removed.
    #[inline(always)]
    fn until_sent<T>(
        &mut self,
        only: Option<usize>,
        deadline: Deadline,
        mut send: impl FnMut(&mut Self, Deadline) -> Result<T, TypedPublishError>,
    ) -> Result<T, TypedPublishError> {
        let before = self.published(only);
        let mut attempt = |sender: &mut Self| {
            sender.shared.set_sending(true);
            let sent = send(sender, deadline);
            sender.shared.set_sending(false);
            sent
        };
        let mut sent = attempt(self);
        while is_timeout(&sent) && !deadline.has_passed() {
            sent = match self.check_for_deaths(Awaits::Space { only }) {
                Ok(()) => attempt(self),
                Err(error) => Err(error.into()),
            };
        }
        if sent.is_err() {
            self.note_part(only, before);
        }
        sent
    }

    /// Sends a message in the ring of the worker `only`, or in the common ring, if a frame is free: then there is
    /// nothing to wait for, and no error that could say more than the attempt of [`until_sent`](Self::until_sent) that
    /// follows.
    #[inline(always)]
    fn send_at_once<T: Encode>(
        &mut self,
        only: Option<usize>,
        message: &T,
        kind: u8,
    ) -> Option<Sequence> {
        let ring = match only {
            None => self.common.0.as_mut(),
            Some(rank) => self.own.get_mut(rank)?.as_mut(),
        };
        ring?.send_at_once(message, kind)
    }

    /// The ring of the worker `only`, if there is one, or the common ring.
    #[inline]
    fn ring(&mut self, only: Option<usize>) -> Option<&mut Producer<F, B>> {
        let ring = match only {
            None => Some(&mut *self.common),
            Some(rank) => self.own[rank].as_mut(),
        };
        ring.map(|ring| ring.raw().ring())
    }

    /// The last sequence that was published in the ring of the worker `only`, or in the common ring.
    #[inline]
    fn published(&mut self, only: Option<usize>) -> Sequence {
        let ring = self.ring(only);
        ring.map_or(-1, |ring| ring.last_published_sequence())
    }

    /// Notes the part of a long message that a call has left in a ring. Its workers do not release it before the next
    /// message.
    #[cold]
    fn note_part(&mut self, only: Option<usize>, before: Sequence) {
        let after = self.published(only);
        if after != before {
            let place = only.unwrap_or(self.own.len());
            self.parts[place] = Some((before, after));
        }
    }

    /// Notes a message in the ring of the worker `only`, or in the common ring.
    #[inline]
    fn note_sent(&mut self, only: Option<usize>, last: Sequence) {
        let place = only.unwrap_or(self.own.len());
        self.logs[place].note(last, self.sent_at);
    }

    /// Tells the workers of the rings that they may not know of. Each broadcast needs that before it: a worker that has
    /// received the broadcast knows of its ring, and has received the requests with smaller numbers.
    #[cold]
    fn announce_all(&mut self, deadline: Deadline) -> Result<(), TypedPublishError> {
        while self.unannounced != 0 {
            let rank = self.unannounced.trailing_zeros() as usize;
            self.until_sent(None, deadline, |sender, deadline| {
                sender.announce(rank, deadline)
            })?;
        }
        Ok(())
    }

    /// Tells the worker `rank` in the common ring that there is a ring of requests to it.
    #[cold]
    fn announce(&mut self, rank: usize, deadline: Deadline) -> Result<(), TypedPublishError> {
        let number = self.take_number();
        let head = Head::new(Some(number), number.session(), rank as u32, NOTICE);
        let before = self.last_whole(None);
        let after = self
            .common
            .send_encoded(&HeadedBytes(head, &[]), 0, deadline)?;
        // a worker that receives no more need not release it
        self.parts[self.own.len()] = Some((before, after));
        self.unannounced &= !(1 << rank);
        Ok(())
    }

    /// Whether each worker that is there, away or expected has done every request.
    pub(super) fn is_everything_done(&mut self) -> bool {
        let mut ranks = 0..self.own.len();
        ranks.all(|rank| self.has_done_everything(rank))
    }

    /// Whether the worker `rank` has done every request, also those of earlier schedulers.
    pub(super) fn has_done_everything(&mut self, rank: usize) -> bool {
        let id = self.places.config.worker_id(rank);
        [None, Some(rank)].into_iter().all(|only| {
            let last = self.last_whole(only);
            let Some(ring) = self.ring(only) else {
                return true;
            };
            match ring.consumer_sequence(&id) {
                Some(released) => released >= last,
                // an expected worker that has not come has done nothing; asked after its place was not found
                None => last < 0 || !ring.keeps_for(&id),
            }
        })
    }

    /// Whether this is a forked child, which must not use the rings.
    pub(super) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// The workers that are not attached at present.
    pub fn missing_workers(&mut self) -> Vec<MissingWorker> {
        let attached = self.common.raw().ring().attached_consumer_ids();
        let mut missing = Vec::new();
        for rank in 0..self.places.config.workers {
            let id = self.places.config.worker_id(rank);
            if !attached.contains(&id) {
                let is_away = self.is_away(rank);
                missing.push(MissingWorker { rank, id, is_away });
            }
        }
        missing
    }

    /// Forgets a worker that will not come back, or that has not come and never will: it no longer holds the
    /// ring, and messages that were sent are not kept for it. If it comes after all, it receives only messages
    /// that are sent after it has come. A scheduler that succeeds this one expects all workers again.
    ///
    /// # Errors
    ///
    /// [`NoSuchWorker`](crate::TransportError::NoSuchWorker). [`Ring`](crate::TransportError::Ring) with
    /// [`MultiProcessError::ConsumerAlreadyAttached`] while the worker is attached, and with
    /// [`MultiProcessError::NoSuchConsumer`] if it is neither away nor expected, because it has left or was
    /// removed before.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`](super::WorkerState).
    pub fn remove_worker(&mut self, rank: usize) -> TransportResult<()> {
        check_rank(&self.places.config, rank)?;
        let id = self.places.config.worker_id(rank);
        // the common ring first: nothing is given up of a worker that is attached there
        let removed = self.common.raw().ring().remove_consumer(&id);
        if !matches!(
            removed,
            Ok(()) | Err(MultiProcessError::NoSuchConsumer { .. })
        ) {
            return Ok(removed?);
        }
        match &mut self.own[rank] {
            None => Ok(removed?),
            Some(own) => match own.raw().ring().remove_consumer(&id) {
                // a worker that comes has its place there first
                Err(
                    MultiProcessError::NoSuchConsumer { .. }
                    | MultiProcessError::ConsumerAlreadyAttached { .. },
                ) => Ok(removed?),
                removed_there => Ok(removed_there?),
            },
        }
    }

    /// Shows the counters of the rings of requests in `file`, also of those that are made later, and of each worker how
    /// many absences this scheduler has noticed, and which requests it has not completed.
    ///
    /// # Errors
    ///
    /// [`TransportError::Counters`].
    ///
    /// # Examples
    ///
    /// See [`Scheduler::attach_counters`](super::Scheduler::attach_counters).
    pub fn attach_counters(&mut self, file: &CountersFile) -> TransportResult<()> {
        self.common.attach_counters(file)?;
        for own in self.own.iter_mut().flatten() {
            own.attach_counters(file)?;
        }
        let ring = self.places.layout.rpc_ring_name();
        let counters = |(rank, deaths): (usize, &u64)| {
            let id = self.places.config.worker_id(rank);
            WorkerCounters::new(file, &ring, &id, *deaths)
        };
        let mut attendance = self.shared.attendance();
        let counters: Result<Vec<_>, _> = attendance
            .deaths()
            .iter()
            .enumerate()
            .map(counters)
            .collect();
        attendance.show_in(counters?);
        drop(attendance);
        self.counters = Some(file.clone());
        self.state();
        Ok(())
    }

    /// The transport on which messages to all workers are sent.
    pub fn transport(&mut self) -> &mut FramedTransportProducer<F, B> {
        self.common.raw()
    }
}

/// Whether a request found no space in time.
fn is_timeout<T>(sent: &Result<T, TypedPublishError>) -> bool {
    matches!(
        sent,
        Err(TypedPublishError::Transport(TransportError::Send(
            SendError::Timeout { .. }
        )))
    )
}
