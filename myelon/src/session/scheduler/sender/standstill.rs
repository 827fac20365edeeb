//! Workers that are alive and stand still while a call waits for them. Nothing is done about them: a deadline ends the
//! call, and the program may end the worker's process. The log names them.

use std::time::{Duration, Instant};

use disruptor_mp::Sequence;

use super::super::super::head::RequestId;
use super::super::calls::UNTIL_IT_SAYS_SO;
use super::RequestSender;
use super::attendance::WorkerPlaces;
use crate::transport::{FramedTransportFrame, TransportError};

/// What changes when a worker takes a request, completes one, or sends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// Of each ring of requests, what it has released, and its note.
    places: [Option<(Sequence, u64)>; 2],
    /// How far what it sends was received, where that is known.
    heard: Option<Sequence>,
}

impl Sign {
    pub(super) fn of(places: WorkerPlaces, heard: Option<Sequence>) -> Self {
        Self {
            places: places.map(|place| place.map(|place| (place.released, place.note))),
            heard,
        }
    }
}

/// How long a worker has shown the same sign to calls that wait for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    /// The sign, since when it is there, and when it was seen last.
    seen: Option<(Sign, Instant, Instant)>,
    /// After this time the log says so next.
    next: Duration,
    /// That time of a standstill that begins. Each word in the log doubles it, so that a worker that often takes long
    /// is not reported each time.
    patience: Duration,
}

/// The longest time from one word in the log to the next one.
const PATIENCE_MAX: Duration = Duration::from_secs(64);

/// Two calls wait one after the other if there is no more time between them than this, and two liveness intervals.
const BETWEEN_CALLS: Duration = Duration::from_millis(200);

impl Default for Standstill {
    fn default() -> Self {
        Self {
            seen: None,
            next: UNTIL_IT_SAYS_SO,
            patience: UNTIL_IT_SAYS_SO,
        }
    }
}

impl Standstill {
    /// Notes what a waiting call sees, once in a liveness interval. Returns for how long the worker has stood still, if
    /// it is time to say so.
    pub(super) fn see(&mut self, sign: Sign, now: Instant, interval: Duration) -> Option<Duration> {
        let pause_max = interval.saturating_mul(2).saturating_add(BETWEEN_CALLS);
        let goes_on = self.seen.filter(|(seen, _, last)| {
            // otherwise no call waited meanwhile, and perhaps there was nothing to do
            *seen == sign && now.saturating_duration_since(*last) <= pause_max
        });
        let Some((_, since, _)) = goes_on else {
            self.seen = Some((sign, now, now));
            self.next = self.patience;
            return None;
        };
        self.seen = Some((sign, since, now));
        let time = now.saturating_duration_since(since);
        if time < self.next {
            return None;
        }
        self.next = time.saturating_add(time.min(PATIENCE_MAX));
        self.patience = self.patience.saturating_mul(2).min(PATIENCE_MAX);
        Some(time)
    }
}

/// Says in the log that a worker stands still.
#[cold]
pub(super) fn tell(session: &str, rank: usize, pid: u32, time: Duration, what_waits: &str) {
    tracing::warn!(
        session,
        "worker {rank} is alive (pid {pid}) and has not moved for {time:.1?}: {what_waits}. If it waits for space \
         itself, receive its answers. OnWorkerDeath is not about a live worker: give the call a deadline, or end the \
         process to have the worker replaced"
    );
}

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// Notes that a call waits for the answer of the worker `rank`. `heard` says how far what it sends was received.
    pub(super) fn notice_a_standstill(
        &mut self,
        rank: usize,
        request: RequestId,
        heard: Option<Sequence>,
    ) {
        let mut attendance = self.shared.attendance();
        attendance.notice_a_standstill(
            rank,
            heard,
            &format!("a call waits for its answer to request {request}"),
        );
    }

    /// The error of a call whose answer has not come, with what is known of its worker.
    #[cold]
    pub(in crate::session) fn explained(&mut self, error: TransportError) -> TransportError {
        match error {
            TransportError::NoAnswer {
                session,
                rank,
                request,
                why,
            } if why.is_empty() => TransportError::NoAnswer {
                session,
                rank,
                request,
                why: self.why_no_answer(rank),
            },
            error => error,
        }
    }

    /// What a live worker does in place of an answer.
    #[cold]
    pub(in crate::session) fn why_no_answer(&mut self, rank: usize) -> String {
        let states = self.state();
        let Some(state) = states.get(rank).filter(|state| state.is_attached) else {
            return String::new();
        };
        let pid = self.shared.attendance().pid_of(rank).unwrap_or(0);
        let has_received = match state.deliveries {
            0 => String::from("it has not received it"),
            1 => String::from("it has received it"),
            times => format!("it has received it {times} times"),
        };
        match (state.in_flight, state.oldest) {
            (0, _) | (_, None) => {
                format!(" (it is alive, pid {pid}, and has completed every request)")
            }
            (count, Some(oldest)) => format!(
                " (it is alive, pid {pid}: {count} not completed, the oldest was sent {oldest:.1?} ago, and \
                 {has_received})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// The seconds after which the log says something, if a worker shows these signs for these times.
    fn told(signs: &[(Sequence, u64)]) -> Vec<u64> {
        let mut standstill = Standstill::default();
        let start = Instant::now();
        let mut now = start;
        let mut told = Vec::new();
        for (sign, tenths) in signs {
            let sign = Sign {
                places: [Some((*sign, 0)), None],
                heard: None,
            };
            for _ in 0..*tenths {
                now += INTERVAL;
                let time = standstill.see(sign, now, INTERVAL);
                told.extend(time.map(|time| time.as_secs()));
            }
        }
        told
    }

    #[test]
    fn the_log_says_less_and_less() {
        assert_eq!(told(&[(0, 200)]), [1, 2, 4, 8, 16]);
        // it moves each three seconds
        let moving: Vec<_> = (0..20).map(|sign| (sign, 30)).collect();
        assert_eq!(told(&moving), [1, 2]);
        assert_eq!(told(&[(0, 9), (1, 9), (2, 9)]), [0; 0]);
        // at last once in about a minute
        assert_eq!(told(&[(0, 3000)])[5..], [32, 64, 128, 192, 256]);
    }

    #[test]
    fn a_time_in_which_no_call_waits_does_not_count() {
        let sign = Sign {
            places: [None; 2],
            heard: Some(7),
        };
        let (mut standstill, now) = (Standstill::default(), Instant::now());
        for seconds in [0, 3, 6] {
            let now = now + Duration::from_secs(seconds);
            assert_eq!(standstill.see(sign, now, INTERVAL), None);
        }
    }
}
