//! What a scheduler knows of its workers: how far each is behind, since when, and how often it was tried.

use std::collections::VecDeque;
use std::time::Duration;

use disruptor_mp::{ConsumerPlace, Sequence};

use super::super::delivery::deliveries;

/// A worker, as its scheduler sees it.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, MissingWorker, OnWorkerDeath, RunnerMyelonTransportConfig, Scheduler, Worker, WorkerDeath,
/// #     WorkerState};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// scheduler.broadcast(b"weights", 1, Deadline::NEVER)?;
/// scheduler.send_to(0, b"prompt", 1, Deadline::NEVER)?;
/// worker.recv(Deadline::NEVER)?.done();
/// let states: Vec<WorkerState> = scheduler.state();
/// let laggard = states.iter().max_by_key(|state| state.in_flight).expect("there are workers");
/// println!("worker {} has {} requests, the oldest sent {:?} ago", laggard.rank, laggard.in_flight, laggard.oldest);
/// assert_eq!((states[0].is_attached, states[0].in_flight), (true, 1)); // it has completed the first of two
/// assert_eq!((states[1].is_attached, states[1].in_flight), (false, 1)); // it has not come
///
/// assert!(scheduler.remove_worker(0).is_err(), "it is attached");
/// let (told, deaths) = std::sync::mpsc::channel::<WorkerDeath>();
/// scheduler.set_death_hook(move |death| _ = told.send(death)); // for instance, to start the worker again
/// drop(worker); // as if it had died: its place is kept
/// let missing: Vec<MissingWorker> = scheduler.missing_workers();
/// assert_eq!((missing[0].rank, &*missing[0].id, missing[0].is_away), (0, "worker_0", true));
/// assert_eq!((missing[1].rank, missing[1].is_away), (1, false));
/// let death = deaths.try_recv()?;
/// assert_eq!((death.rank, death.pid, death.policy), (0, std::process::id(), OnWorkerDeath::Wait));
/// scheduler.remove_worker(0)?;
/// scheduler.remove_worker(1)?;
///
/// let worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// assert!(worker.starts_anew(), "it must load again what it needs");
/// worker.leave()?;
/// scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerState {
    /// The worker's rank.
    pub rank: usize,
    /// Whether it is attached, with a live process. Also `true` if its lock cannot be probed: then neither its life nor
    /// its death is known.
    pub is_attached: bool,
    /// Whether it has come before and is away: its place is kept.
    pub is_away: bool,
    /// The last frame that it has released in the ring of the requests to all, by its sequence; −1 before the first,
    /// and if it has no place there.
    pub position: Sequence,
    /// Frames that it has not released, in the ring of the requests to all and in that of the requests to it.
    pub lag: u64,
    /// Requests of this scheduler that it has not completed.
    pub in_flight: usize,
    /// The age of the oldest, from the start of the call that sent it, exact to a tick of the kernel (1 to 10 ms);
    /// `None` if there are none.
    pub oldest: Option<Duration>,
    /// How often the oldest request that it has not completed was delivered to it; 0 if it was not yet.
    pub deliveries: u32,
    /// How many absences of the worker this scheduler has noticed: in [`state`](super::Scheduler::state), and in calls
    /// that have waited for a liveness interval.
    pub deaths: u64,
}

/// When the last messages of a ring were sent: as many as it has frames, because all before them are released.
#[derive(Debug)]
pub(super) struct SentLog {
    sent: VecDeque<(Sequence, Duration)>,
    depth: usize,
}

impl SentLog {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            sent: VecDeque::new(),
            depth,
        }
    }

    /// Notes a message whose last frame has this sequence. A reservation that was dropped is replaced by the next
    /// message.
    #[inline]
    pub(super) fn note(&mut self, last: Sequence, at: Duration) {
        while self.sent.back().is_some_and(|(before, _)| *before >= last) {
            self.sent.pop_back();
        }
        if self.sent.len() >= self.depth {
            self.sent.pop_front();
        }
        self.sent.push_back((last, at));
    }

    /// The messages up to `published` that are not released, and when the first of them was sent.
    pub(super) fn after(
        &self,
        released: Sequence,
        published: Sequence,
    ) -> (usize, Option<Duration>) {
        let left = self.sent.iter();
        let mut left = left.filter(|(last, _)| released < *last && *last <= published);
        match left.next() {
            None => (0, None),
            Some((_, sent_at)) => (1 + left.count(), Some(*sent_at)),
        }
    }
}

/// How often the next request of a place was delivered.
pub(super) fn deliveries_at(place: &ConsumerPlace) -> u32 {
    deliveries(place.note, place.released.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_knows_the_messages_that_are_left() {
        let mut log = SentLog::new(4);
        for last in [0, 3, 4, 9, 10] {
            log.note(last, Duration::ZERO);
        }
        assert_eq!(log.after(-1, 10).0, 4, "the first one is forgotten");
        assert_eq!(log.after(3, 10).0, 3);
        assert_eq!(log.after(10, 10), (0, None));
        // a reservation that was not published, and another message in its place
        log.note(11, Duration::ZERO);
        assert_eq!(log.after(9, 10).0, 1);
        log.note(12, Duration::ZERO);
        log.note(11, Duration::ZERO);
        assert_eq!(log.after(9, 11).0, 2);
        assert!(log.after(9, 11).1.is_some());
    }
}
