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
use disruptor_mp::{ConsumerPlace, PlaceReader, Producer, Sequence};

use super::super::super::config::{OnWorkerDeath, RunnerMyelonTransportConfig};
use super::WorkerDeath;
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
    policy: OnWorkerDeath,
    ids: Vec<String>,
    common: PlaceReader,
    /// `None` until the worker has a ring of its own.
    own: Vec<Option<PlaceReader>>,
    /// The absence that was counted and told, as long as it lasts.
    told: Vec<Option<Absence>>,
    deaths: Vec<u64>,
    /// Where the deaths are shown, if they are.
    counters: Vec<PartyCounter>,
    on_death: Option<DeathHook>,
    /// Since when it is away, as far as a waiting call has noticed it.
    away_since: Vec<Option<(Instant, Absence)>>,
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
            policy: config.on_worker_death,
            ids: (0..workers).map(|rank| config.worker_id(rank)).collect(),
            common,
            own: vec![None; workers],
            told: vec![None; workers],
            deaths: vec![0; workers],
            counters: Vec::new(),
            on_death: None,
            away_since: vec![None; workers],
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

    /// From now on each worker's deaths are shown by its counter.
    pub(super) fn show(&mut self, counters: Vec<PartyCounter>) {
        self.counters = counters;
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
                counter.set(self.deaths[rank]);
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

    /// What the policy says of the worker `rank`, if it is away and holds the caller up by these places.
    pub(super) fn verdict(
        &mut self,
        rank: usize,
        now: Instant,
        holds_up: impl FnOnce(WorkerPlaces) -> bool,
    ) -> Verdict {
        let (places, is_away) = self.sight_of(rank);
        let absence = Absence::of(places).filter(|_| is_away);
        let since = match (absence, self.away_since[rank]) {
            (None, _) => None,
            (Some(absence), Some((since, seen))) if seen == absence => Some((since, seen)),
            (Some(absence), _) => Some((now, absence)),
        };
        self.away_since[rank] = since;
        match (since, self.policy) {
            (Some((since, _)), policy) if holds_up(places) => match policy {
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
        self.verdict(rank, now, |[common, _]| match only {
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
