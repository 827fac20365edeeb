//! Which workers are away, as far as their scheduler has noticed.
//!
//! The scheduler shares this with its rings of requests. While one of its calls waits for space, the ring asks once in
//! a liveness interval: deaths are told then. The wait is over only if the session's policy says that the call fails or
//! that a worker is removed. Any other death leaves alone the wait, and the part of a long message that was sent.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disruptor_mp::observability::PartyCounter;
use disruptor_mp::{
    ConsumerPlace, CounterId, CountersError, CountersFile, PlaceReader, Producer, Sequence,
};

use super::super::super::config::{OnWorkerDeath, RunnerMyelonTransportConfig};
use super::super::state::WorkerState;
use super::WorkerDeath;
use super::standstill::{self, Sign, Standstill};
use crate::transport::FramedTransportFrame;

/// The places of a worker in the ring of the requests to all and in its own.
pub(super) type WorkerPlaces = [Option<ConsumerPlace>; 2];

/// What a scheduler shares with its rings.
#[derive(Debug)]
pub(super) struct Shared {
    attendance: Mutex<Attendance>,
    /// Whether a call of the scheduler sends: the policy is not for a program that uses the ring itself.
    is_sending: AtomicBool,
}

/// What is known of each worker, by rank.
#[derive(Debug)]
pub(super) struct Attendance {
    session: String,
    interval: Duration,
    policy: OnWorkerDeath,
    ids: Vec<String>,
    common: PlaceReader,
    /// `None` until the worker has a ring of its own.
    own: Vec<Option<PlaceReader>>,
    /// The absence that was counted and told, as long as it lasts.
    told: Vec<Option<Absence>>,
    deaths: Vec<u64>,
    /// Where each worker's figures are shown, if they are.
    counters: Vec<WorkerCounters>,
    on_death: Option<DeathHook>,
    /// Since when it is away, as far as a waiting call has noticed it.
    away_since: Vec<Option<(Instant, Absence)>>,
    /// How long each has stood still for calls that wait for space or for the end, and for calls that wait for an
    /// answer.
    standstills: Vec<[Standstill; 2]>,
}

/// The counters of a worker that its scheduler keeps in a file.
#[derive(Debug)]
pub(super) struct WorkerCounters {
    absences: PartyCounter,
    in_flight: PartyCounter,
    oldest_ms: PartyCounter,
    deliveries: PartyCounter,
}

impl WorkerCounters {
    /// Of the worker with this consumer id of the ring of the requests to all.
    pub(super) fn new(
        file: &CountersFile,
        ring: &str,
        id: &str,
        absences: u64,
    ) -> Result<Self, CountersError> {
        let counter = |counter| file.party_counter(counter, ring, "worker", id);
        let mut counters = Self {
            absences: counter(CounterId::WORKER_ABSENCES)?,
            in_flight: counter(CounterId::REQUESTS_IN_FLIGHT)?,
            oldest_ms: counter(CounterId::OLDEST_REQUEST_MS)?,
            deliveries: counter(CounterId::REQUEST_DELIVERIES)?,
        };
        counters.absences.set(absences);
        Ok(counters)
    }

    fn show(&mut self, state: &WorkerState) {
        let oldest = state.oldest.unwrap_or_default();
        self.in_flight.set(state.in_flight as u64);
        self.oldest_ms.set(oldest.as_millis() as u64);
        self.deliveries.set(state.deliveries.into());
    }
}

/// A scheduler that has ended checks no more: what it saw last must not stay in the file as if it were so.
impl Drop for WorkerCounters {
    fn drop(&mut self) {
        self.in_flight.set(0);
        self.oldest_ms.set(0);
        self.deliveries.set(0);
    }
}

/// What tells one absence of a worker from another: the process that has gone, by its number and its start, and what it
/// had released in each ring. A worker that comes back in the same process releases more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Absence {
    process: (u32, u64),
    released: [Option<Sequence>; 2],
}

impl Absence {
    /// Of a worker with these places, if it has come.
    fn of(places: WorkerPlaces) -> Option<Self> {
        let [common, own] = places;
        // a worker comes to its own ring first
        let mut there = [own, common].into_iter().flatten();
        let last = there.find(|place| place.has_come)?;
        Some(Self {
            process: last.owner,
            released: places.map(|place| Some(place?.released)),
        })
    }
}

/// Is told each death.
pub(super) struct DeathHook(Box<dyn FnMut(WorkerDeath) + Send>);

impl DeathHook {
    pub(super) fn new(tell: impl FnMut(WorkerDeath) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl fmt::Debug for DeathHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeathHook").finish_non_exhaustive()
    }
}

/// What the policy says of the absence of a worker that holds a call up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Fail,
    /// The worker is removed: it was away for this time.
    Remove(Duration),
}

impl Shared {
    pub(super) fn new(config: &RunnerMyelonTransportConfig, common: PlaceReader) -> Arc<Self> {
        let workers = config.workers;
        let attendance = Attendance {
            session: config.session.clone(),
            interval: config.liveness_interval(),
            policy: config.on_worker_death,
            ids: (0..workers).map(|rank| config.worker_id(rank)).collect(),
            common,
            own: vec![None; workers],
            told: vec![None; workers],
            deaths: vec![0; workers],
            counters: Vec::new(),
            on_death: None,
            away_since: vec![None; workers],
            standstills: vec![Default::default(); workers],
        };
        Arc::new(Self {
            attendance: Mutex::new(attendance),
            is_sending: AtomicBool::new(false),
        })
    }

    /// Not for a forked child: another thread of its parent may have been within a call that waits.
    pub(super) fn attendance(&self) -> MutexGuard<'_, Attendance> {
        // a hook that has panicked leaves nothing half done
        let attendance = self.attendance.lock();
        attendance.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the policy may end a wait for space from now on.
    #[inline(always)]
    pub(super) fn set_sending(&self, is_sending: bool) {
        self.is_sending.store(is_sending, Ordering::Relaxed);
    }

    /// Has the ring of the worker `only`, or the ring of the requests to all, ask while a call waits for space.
    pub(super) fn watch<F: FramedTransportFrame, B>(
        self: &Arc<Self>,
        ring: &mut Producer<F, B>,
        only: Option<usize>,
    ) {
        if let Some(rank) = only {
            self.attendance().own[rank] = Some(ring.place_reader());
        }
        let shared = Arc::clone(self);
        ring.ask_while_waiting(move || {
            shared.is_sending.load(Ordering::Relaxed) && shared.attendance().ends_a_wait(only)
        });
    }
}

impl Attendance {
    pub(super) fn set_hook(&mut self, hook: DeathHook) {
        self.on_death = Some(hook);
    }

    pub(super) fn deaths(&self) -> &[u64] {
        &self.deaths
    }

    /// From now on each worker's figures are shown by its counters.
    pub(super) fn show_in(&mut self, counters: Vec<WorkerCounters>) {
        self.counters = counters;
    }

    /// Shows what the scheduler has just seen of a worker.
    pub(super) fn show(&mut self, state: &WorkerState) {
        if let Some(counters) = self.counters.get_mut(state.rank) {
            counters.show(state);
        }
    }

    /// Counts each absence, and tells of it.
    pub(super) fn notice_all(&mut self) {
        for rank in 0..self.ids.len() {
            self.sight_of(rank);
        }
    }

    /// The places of the worker `rank`, and whether it is away or dead. Counts each absence once, and tells of it.
    pub(super) fn sight_of(&mut self, rank: usize) -> (WorkerPlaces, bool) {
        let places = self.places_of(rank);
        let there = || places.iter().flatten();
        if there().any(|place| place.is_attached.is_none()) {
            // nothing is known: an absence that was told is not over
            return (places, false);
        }
        // a worker that comes attaches to its own ring first, and one that leaves is there last
        let is_away = there().any(|place| place.has_come)
            && there().all(|place| place.is_attached == Some(false));
        let absence = Absence::of(places).filter(|_| is_away);
        let is_news = absence.is_some() && self.told[rank] != absence;
        self.told[rank] = absence;
        if is_news {
            self.deaths[rank] += 1;
            if let Some(counter) = self.counters.get_mut(rank) {
                counter.absences.set(self.deaths[rank]);
            }
            if let (Some(DeathHook(tell)), Some(absence)) = (&mut self.on_death, absence) {
                let (pid, policy) = (absence.process.0, self.policy);
                tell(WorkerDeath { rank, pid, policy });
            }
        }
        (places, is_away)
    }

    /// The process of the worker `rank`, if it is away or dead.
    pub(super) fn pid_of_the_dead(&mut self, rank: usize) -> Option<u32> {
        let (places, is_away) = self.sight_of(rank);
        let absence = Absence::of(places).filter(|_| is_away)?;
        Some(absence.process.0)
    }

    /// The process of the worker `rank`, if it is attached.
    pub(super) fn pid_of(&mut self, rank: usize) -> Option<u32> {
        pid_of(self.places_of(rank))
    }

    /// Says in the log, when it is time, that the worker `rank` is alive and does not answer.
    pub(super) fn notice_a_standstill(
        &mut self,
        rank: usize,
        heard: Option<Sequence>,
        what_waits: &str,
    ) {
        let places = self.places_of(rank);
        let [_, standstill] = &mut self.standstills[rank];
        let sign = Sign::of(places, heard);
        if let Some(pid) = pid_of(places)
            && let Some(time) = standstill.see(sign, Instant::now(), self.interval)
        {
            standstill::tell(&self.session, rank, pid, time, what_waits);
        }
    }

    /// What the policy says of the worker `rank`, if it is away and holds the caller up by these places. Says in the
    /// log, when it is time, what waits for it though it is alive.
    pub(super) fn verdict(
        &mut self,
        rank: usize,
        now: Instant,
        what_waits: Option<&str>,
        holds_up: impl FnOnce(WorkerPlaces) -> bool,
    ) -> Verdict {
        let (places, is_away) = self.sight_of(rank);
        let holds_up = holds_up(places);
        let [standstill, _] = &mut self.standstills[rank];
        if let Some(what_waits) = what_waits.filter(|_| holds_up)
            && let Some(pid) = pid_of(places)
            && let Some(time) = standstill.see(Sign::of(places, None), now, self.interval)
        {
            standstill::tell(&self.session, rank, pid, time, what_waits);
        }
        let absence = Absence::of(places).filter(|_| is_away);
        let since = match (absence, self.away_since[rank]) {
            (None, _) => None,
            (Some(absence), Some((since, seen))) if seen == absence => Some((since, seen)),
            (Some(absence), _) => Some((now, absence)),
        };
        self.away_since[rank] = since;
        match (since, self.policy) {
            (Some((since, _)), policy) if holds_up => match policy {
                OnWorkerDeath::Wait => Verdict::GoOn,
                OnWorkerDeath::Fail => Verdict::Fail,
                OnWorkerDeath::RemoveAfter(patience) => {
                    match now.duration_since(since) < patience {
                        true => Verdict::GoOn,
                        false => Verdict::Remove(patience),
                    }
                }
            },
            _ => Verdict::GoOn,
        }
    }

    /// As [`verdict`](Self::verdict), of a call that waits for space in the ring of the worker `only`, or in the ring
    /// of the requests to all.
    pub(super) fn verdict_on_space(
        &mut self,
        rank: usize,
        now: Instant,
        only: Option<usize>,
    ) -> Verdict {
        let gate = self.common.gate();
        let what_waits = match only {
            None => "requests to all workers wait for it",
            Some(_) => "requests to it wait",
        };
        self.verdict(rank, now, Some(what_waits), |[common, _]| match only {
            Some(only) => only == rank,
            None => common.is_some_and(|place| Some(place.released) == gate),
        })
    }

    /// The time of the absence of the worker `rank` begins anew.
    pub(super) fn forget_since_when(&mut self, rank: usize) {
        self.away_since[rank] = None;
    }

    /// Whether a wait for space is over. Notices each death.
    fn ends_a_wait(&mut self, only: Option<usize>) -> bool {
        let now = Instant::now();
        let verdicts = (0..self.ids.len()).map(|rank| self.verdict_on_space(rank, now, only));
        // of every worker, as each death is told
        verdicts.filter(|it| *it != Verdict::GoOn).count() > 0
    }

    fn places_of(&self, rank: usize) -> WorkerPlaces {
        let rings = [Some(&self.common), self.own[rank].as_ref()];
        rings.map(|ring| ring?.place(&self.ids[rank]))
    }
}

/// The process of a worker with these places, if it is attached.
fn pid_of(places: WorkerPlaces) -> Option<u32> {
    let mut there = places.iter().flatten();
    let attached = there.find(|place| place.is_attached == Some(true))?;
    Some(attached.owner.0)
}
