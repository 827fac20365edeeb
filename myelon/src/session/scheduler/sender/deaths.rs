//! What the scheduler knows of its workers, and what it does about those that have died.

use core::fmt;
use std::time::Instant;

use disruptor_mp::{ConsumerPlace, Deadline, MultiProcessError, Sequence};

use super::super::super::clock::coarse_now;
use super::super::super::config::OnWorkerDeath;
use super::super::super::head::RequestId;
use super::super::state::{WorkerState, deliveries_at};
use super::{Awaits, LONGER_ATTEMPTS_MAX, RequestSender};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// A worker that has died, or has ended without leaving: what a [hook](crate::Scheduler::set_death_hook) is told.
///
/// # Examples
///
/// See [`WorkerState`](crate::WorkerState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerDeath {
    /// The worker's rank.
    pub rank: usize,
    /// The process that has died, in its own pid namespace.
    pub pid: u32,
    /// What the scheduler does about it.
    pub policy: OnWorkerDeath,
}

/// The program's hook, called for each death.
pub(super) struct DeathHook(Box<dyn FnMut(WorkerDeath) + Send>);

impl fmt::Debug for DeathHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeathHook").finish_non_exhaustive()
    }
}

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// From now on, `tell` is called once for each death of a worker: see
    /// [`Scheduler::set_death_hook`](crate::Scheduler::set_death_hook). The receiving half does not check for deaths.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`](crate::WorkerState).
    pub fn set_death_hook(&mut self, tell: impl FnMut(WorkerDeath) + Send + 'static) {
        self.on_death = Some(DeathHook(Box::new(tell)));
    }

    /// Whether the program wants to be told of deaths.
    pub(in crate::session) fn has_death_hook(&self) -> bool {
        self.on_death.is_some()
    }

    /// Notices each death, once in a liveness interval.
    pub(in crate::session) fn notice_deaths_now_and_then(&mut self) {
        let now = coarse_now();
        if now >= self.next_check {
            self.next_check = now.saturating_add(self.liveness_interval());
            self.notice_deaths();
        }
    }

    /// Counts each absence, and tells of it.
    fn notice_deaths(&mut self) {
        for rank in 0..self.own.len() {
            self.absence(rank);
        }
    }

    /// Each worker as this scheduler sees it now, by rank. Reads each worker's lines and asks the system whether it is
    /// alive: a few microseconds for each.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`].
    pub fn state(&mut self) -> Vec<WorkerState> {
        if self.is_forked() {
            return Vec::new();
        }
        let now = coarse_now();
        let mut states = Vec::with_capacity(self.own.len());
        for rank in 0..self.own.len() {
            let (places, is_away) = self.sight_of(rank);
            let mut state = WorkerState {
                rank,
                is_attached: places[0].is_some_and(|place| place.is_attached),
                is_away,
                position: places[0].map_or(-1, |place| place.released),
                lag: 0,
                in_flight: 0,
                oldest: None,
                deliveries: 0,
                deaths: self.deaths[rank],
            };
            for (place, only) in places.into_iter().zip([None, Some(rank)]) {
                let published = self.published(only);
                let released = match place {
                    Some(place) => place.released,
                    // it has not come, and all is kept for it
                    None if self.is_kept_for(rank) => -1,
                    None => published,
                };
                let log = &self.logs[only.unwrap_or(self.own.len())];
                let (count, since) = log.after(released, published);
                let capacity = self.ring(only).map_or(0, |ring| ring.capacity()) as u64;
                let behind = published.saturating_sub(released).max(0) as u64;
                // a ring that was taken over holds no more than its last frames
                state.lag += behind.min(capacity);
                state.in_flight += count;
                let age = since.map(|since| now.saturating_sub(since));
                state.oldest = state.oldest.max(age);
                let deliveries = place.as_ref().map_or(0, deliveries_at);
                state.deliveries = state.deliveries.max(deliveries);
            }
            states.push(state);
        }
        states
    }

    /// The last sequence of the last request in a ring.
    pub(super) fn last_whole(&mut self, only: Option<usize>) -> Sequence {
        let published = self.published(only);
        match self.parts[only.unwrap_or(self.own.len())] {
            Some((before, after)) if after == published => before,
            _ => published,
        }
    }

    /// How long a call waits before it checks for deaths: one liveness interval at first. A message of more than half a
    /// ring starts again after an attempt that has sent only a part of it, so each attempt gets twice as long as the
    /// one before. In all, such a message takes at most about twice the time that it needs, however slowly the workers
    /// read.
    pub(in crate::session) fn until_next_check(
        &self,
        deadline: Deadline,
        attempts: u32,
    ) -> Deadline {
        let interval = self.liveness_interval();
        let interval = interval.saturating_mul(1 << attempts.min(LONGER_ATTEMPTS_MAX));
        deadline.within(interval)
    }

    /// The reason why a call must not go on waiting for this answer.
    ///
    /// # Errors
    ///
    /// [`TransportError::WorkerGone`] if nothing is kept for the worker; [`TransportError::WorkerDied`] as
    /// [`OnWorkerDeath`] says.
    #[cold]
    pub(in crate::session) fn go_on_waiting_for(
        &mut self,
        rank: usize,
        request: RequestId,
    ) -> TransportResult<()> {
        if !self.is_kept_for(rank) {
            return Err(TransportError::WorkerGone {
                session: self.places.config.session.clone(),
                rank,
                request: Some(request),
            });
        }
        self.check_for_deaths(Awaits::Answer { rank, request })
    }

    /// The places of the worker `rank` in the common ring and in its own.
    fn places_of(&mut self, rank: usize) -> [Option<ConsumerPlace>; 2] {
        let id = self.places.config.worker_id(rank);
        [None, Some(rank)].map(|only| self.ring(only)?.consumer_place(&id))
    }

    /// The places of the worker `rank`, and whether it is away or dead. Counts each absence once.
    fn sight_of(&mut self, rank: usize) -> ([Option<ConsumerPlace>; 2], bool) {
        let places = self.places_of(rank);
        let mut there = places.iter().flatten();
        // a worker that comes attaches to its own ring first, and one that leaves is there last
        let is_away =
            there.clone().any(|place| place.has_come) && there.all(|place| !place.is_attached);
        let absence = is_away.then_some(places);
        let is_news = is_away && self.absences[rank] != absence;
        self.absences[rank] = absence;
        if is_news {
            self.deaths[rank] += 1;
            if let Some((_, absences)) = &mut self.counters {
                absences[rank].set(self.deaths[rank]);
            }
            if let (Some(DeathHook(tell)), Some(pid)) = (&mut self.on_death, pid_of(places)) {
                let policy = self.places.config.on_worker_death;
                tell(WorkerDeath { rank, pid, policy });
            }
        }
        (places, is_away)
    }

    /// Its places, which change when it comes back, if the worker `rank` is away or dead.
    pub(super) fn absence(&mut self, rank: usize) -> Option<[Option<ConsumerPlace>; 2]> {
        let (places, is_away) = self.sight_of(rank);
        is_away.then_some(places)
    }

    /// The process of the worker `rank`, if it is away or dead.
    pub(in crate::session) fn pid_of_the_dead(&mut self, rank: usize) -> Option<u32> {
        pid_of(self.absence(rank)?)
    }

    /// Notes for a call that waits whether the worker `rank` is away; returns its places, and since when such a call
    /// has known that.
    fn note_absence(
        &mut self,
        rank: usize,
        now: Instant,
    ) -> Option<(Instant, [Option<ConsumerPlace>; 2])> {
        self.away_since[rank] = match (self.absence(rank), self.away_since[rank]) {
            (None, _) => None,
            (Some(absence), Some((since, seen))) if seen == absence => Some((since, seen)),
            (Some(absence), _) => Some((now, absence)),
        };
        self.away_since[rank]
    }

    /// Does what the session's policy says about each worker that has died and holds up the caller.
    #[cold]
    pub(in crate::session) fn check_for_deaths(&mut self, awaits: Awaits) -> TransportResult<()> {
        if self.places.config.on_worker_death == OnWorkerDeath::Wait {
            self.notice_deaths();
            return Ok(());
        }
        let now = Instant::now();
        let gate = self.common.raw().ring().ring_state().gate;
        for rank in 0..self.away_since.len() {
            let Some((since, absence)) = self.note_absence(rank, now) else {
                continue;
            };
            let (holds_up, request) = match awaits {
                Awaits::Space { only: Some(only) } => (only == rank, None),
                Awaits::Space { only: None } => {
                    let released = absence[0].map(|place| place.released);
                    (released.is_some_and(|it| Some(it) == gate), None)
                }
                Awaits::Answer { rank: of, request } => (of == rank, Some(request)),
                Awaits::End => {
                    let published = [self.last_whole(None), self.last_whole(Some(rank))];
                    let mut rings = absence.iter().zip(published);
                    let has_more = rings.any(|(place, published)| {
                        place.is_some_and(|place| place.released < published)
                    });
                    (has_more, None)
                }
            };
            let is_removed = match self.places.config.on_worker_death {
                _ if !holds_up => continue,
                OnWorkerDeath::Wait => continue,
                OnWorkerDeath::Fail => false,
                OnWorkerDeath::RemoveAfter(patience) if now.duration_since(since) < patience => {
                    continue;
                }
                OnWorkerDeath::RemoveAfter(patience) => {
                    self.away_since[rank] = None;
                    match self.remove_worker(rank) {
                        Ok(()) => {}
                        // it has come back, or left
                        Err(TransportError::Ring(
                            MultiProcessError::ConsumerAlreadyAttached { .. }
                            | MultiProcessError::NoSuchConsumer { .. },
                        )) => continue,
                        Err(error) => return Err(error),
                    }
                    tracing::warn!(
                        session = self.places.config.session,
                        "worker {rank} was away for {patience:?} and is removed: its requests are given up"
                    );
                    true
                }
            };
            match awaits {
                Awaits::Space { only: None } | Awaits::End if is_removed => {}
                _ => {
                    return Err(TransportError::WorkerDied {
                        session: self.places.config.session.clone(),
                        rank,
                        request,
                        is_removed,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The process that has come last to these places.
fn pid_of(places: [Option<ConsumerPlace>; 2]) -> Option<u32> {
    let mut there = places.iter().flatten();
    there
        .find(|place| place.has_come)
        .map(|place| place.owner.0)
}
