//! What the scheduler knows of its workers, and what it does about those that have died.

use std::time::Instant;

use disruptor_mp::{Deadline, MultiProcessError, Sequence};

use super::super::super::clock::coarse_now;
use super::super::super::config::OnWorkerDeath;
use super::super::super::head::RequestId;
use super::super::state::{WorkerState, deliveries_at};
use super::attendance::{DeathHook, Verdict};
use super::{Awaits, RequestSender};
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

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// From now on, `tell` is called once for each death of a worker: see
    /// [`Scheduler::set_death_hook`](crate::Scheduler::set_death_hook). The receiving half does not check for deaths.
    ///
    /// # Examples
    ///
    /// See [`WorkerState`](crate::WorkerState).
    pub fn set_death_hook(&mut self, tell: impl FnMut(WorkerDeath) + Send + 'static) {
        self.has_death_hook = true;
        self.shared.attendance().set_hook(DeathHook::new(tell));
    }

    /// Whether the program wants to be told of deaths, or to show what its workers have.
    pub(in crate::session) fn is_to_check(&self) -> bool {
        self.has_death_hook || self.counters.is_some()
    }

    /// Notices each death and shows what each worker has, once in a liveness interval, if that is wanted.
    pub(in crate::session) fn check_now_and_then(&mut self) {
        if !self.is_to_check() {
            return;
        }
        let now = coarse_now();
        if now >= self.next_check {
            self.next_check = now.saturating_add(self.liveness_interval());
            match self.counters {
                Some(_) => drop(self.state()),
                None => self.shared.attendance().notice_all(),
            }
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
            let (places, is_away) = self.shared.attendance().sight_of(rank);
            let deaths = self.shared.attendance().deaths()[rank];
            let mut state = WorkerState {
                rank,
                is_attached: places[0].is_some_and(|place| place.is_attached != Some(false)),
                is_away,
                position: places[0].map_or(-1, |place| place.released),
                lag: 0,
                in_flight: 0,
                oldest: None,
                deliveries: 0,
                deaths,
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
            self.shared.attendance().show(&state);
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

    /// How long a receiving call waits before it checks for deaths: one liveness interval.
    pub(in crate::session) fn until_next_check(&self, deadline: Deadline) -> Deadline {
        deadline.within(self.liveness_interval())
    }

    /// Warns of an absent worker that holds the ring of the worker `only`, or the ring of the requests to all.
    #[cfg(feature = "tokio")]
    pub(in crate::session) fn warn_of_the_absent(&mut self, only: Option<usize>) {
        if let Some(ring) = self.ring(only) {
            ring.check_liveness_now();
        }
    }

    /// The reason why a call must not go on waiting for this answer. `heard` says how far what the worker sends was
    /// received: the log tells of a live worker that stands still.
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
        heard: Option<Sequence>,
    ) -> TransportResult<()> {
        if !self.is_kept_for(rank) {
            return Err(TransportError::WorkerGone {
                session: self.places.config.session.clone(),
                rank,
                request: Some(request),
            });
        }
        self.notice_a_standstill(rank, request, heard);
        self.check_for_deaths(Awaits::Answer { rank, request })
    }

    /// Whether the worker `rank` is away or dead.
    pub(super) fn is_away(&mut self, rank: usize) -> bool {
        let (_, is_away) = self.shared.attendance().sight_of(rank);
        is_away
    }

    /// The process of the worker `rank`, if it is away or dead.
    pub(in crate::session) fn pid_of_the_dead(&mut self, rank: usize) -> Option<u32> {
        self.shared.attendance().pid_of_the_dead(rank)
    }

    /// Does what the session's policy says about each worker that has died and holds up the caller.
    #[cold]
    pub(in crate::session) fn check_for_deaths(&mut self, awaits: Awaits) -> TransportResult<()> {
        let now = Instant::now();
        for rank in 0..self.own.len() {
            let (verdict, request) = match awaits {
                Awaits::Space { only } => {
                    let mut attendance = self.shared.attendance();
                    (attendance.verdict_on_space(rank, now, only), None)
                }
                Awaits::Answer { rank: of, request } => {
                    let mut attendance = self.shared.attendance();
                    let verdict = attendance.verdict(rank, now, None, |_| of == rank);
                    (verdict, Some(request))
                }
                Awaits::End => {
                    // also in a ring of its own to which it has not come
                    let has_more = !self.has_done_everything(rank);
                    let mut attendance = self.shared.attendance();
                    let what_waits = "the shutdown waits for it to complete its requests";
                    (
                        attendance.verdict(rank, now, Some(what_waits), |_| has_more),
                        None,
                    )
                }
            };
            let is_removed = match verdict {
                Verdict::GoOn => continue,
                Verdict::Fail => false,
                Verdict::Remove(patience) => {
                    self.shared.attendance().forget_since_when(rank);
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
