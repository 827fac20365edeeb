//! The pace of a ring's parties: how fast each moves, and when it was last seen to move.

use std::time::{Duration, Instant};

use disruptor_mp::inspect::{ConsumerSeen, InspectError, Inspector, Snapshot};
use serde_json::{Value, json};

use crate::Failure;
use crate::ring::{open, ring_json};
use crate::text::{age, rate};

/// A ring that is read more than once.
pub(crate) struct Watch {
    pub(crate) ring: Inspector,
    /// The last snapshot.
    pub(crate) seen: Snapshot,
    /// The time between the last two snapshots.
    pub(crate) interval: Duration,
    pub(crate) producer: Pace,
    at: Instant,
    /// As many as there are consumers in `seen`, in their order.
    consumers: Vec<Pace>,
}

impl Watch {
    pub(crate) fn new(ring: Inspector, seen: Snapshot) -> Self {
        Self {
            ring,
            interval: Duration::ZERO,
            producer: Pace::default(),
            at: Instant::now(),
            consumers: vec![Pace::default(); seen.consumers.len()],
            seen,
        }
    }

    pub(crate) fn open(ring: &str) -> Result<Self, Failure> {
        let mut ring = open(ring)?;
        let seen = ring.snapshot()?;
        Ok(Self::new(ring, seen))
    }

    /// Reads the ring once more.
    pub(crate) fn refresh(&mut self) -> Result<(), InspectError> {
        let seen = self.ring.snapshot()?;
        let now = Instant::now();
        // a picture may follow another one at once
        let interval = (now - self.at).max(Duration::from_millis(1));
        let pace_of = |consumer: &ConsumerSeen| {
            let is_same = |(earlier, _): &(&ConsumerSeen, Pace)| {
                (earlier.line, &earlier.id) == (consumer.line, &consumer.id)
            };
            match self.consumers().find(is_same) {
                Some((earlier, pace)) if has_position(earlier) && has_position(consumer) => {
                    pace.after(interval, earlier.position, consumer.position)
                }
                _ => Pace::default(),
            }
        };
        let consumers = seen.consumers.iter().map(pace_of).collect();
        let (before, after) = (self.seen.published, seen.published);
        self.producer = self.producer.after(interval, before, after);
        self.consumers = consumers;
        self.seen = seen;
        self.interval = interval;
        self.at = now;
        Ok(())
    }

    /// The consumers of the last snapshot.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = (&ConsumerSeen, Pace)> {
        self.seen
            .consumers
            .iter()
            .zip(self.consumers.iter().copied())
    }

    /// What was seen of the ring, and the pace of each party.
    pub(crate) fn json(&self, name: &str) -> Value {
        let mut object = ring_json(name, &self.ring, &self.seen);
        self.producer.add_to(&mut object["producer"]);
        for (index, pace) in self.consumers.iter().enumerate() {
            pace.add_to(&mut object["consumers"][index]);
        }
        object
    }
}

/// Whether its position is a sequence: a consumer that is just joining has none yet, and one that has not been told of
/// a doubt stands at a sequence that no event has.
pub(crate) fn has_position(consumer: &ConsumerSeen) -> bool {
    consumer.is_gating && consumer.in_doubt.is_none()
}

/// How a producer or a consumer moves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// Events between the last two snapshots.
    moved: u64,
    /// The time between them; zero if the party was in the last one only.
    interval: Duration,
    /// The time from the first snapshot to the last.
    watched: Duration,
    /// The time from the snapshot that showed its last movement to the last one; none if it was never seen to move.
    since_progress: Option<Duration>,
}

impl Pace {
    /// The pace after one more snapshot.
    fn after(self, interval: Duration, from: i64, to: i64) -> Self {
        let moved = to.saturating_sub(from).max(0) as u64;
        Self {
            moved,
            interval,
            watched: self.watched + interval,
            since_progress: match moved {
                0 => self.since_progress.map(|time| time + interval),
                _ => Some(Duration::ZERO),
            },
        }
    }

    fn per_second(&self) -> Option<f64> {
        (!self.interval.is_zero()).then(|| self.moved as f64 / self.interval.as_secs_f64())
    }

    /// Events per second, in a few characters.
    pub(crate) fn rate(&self) -> String {
        let rate = self.per_second().map(|it| format!("{}/s", rate(it)));
        rate.unwrap_or_default()
    }

    /// When it last moved: a snapshot shows that it has moved since the one before, not at which moment.
    pub(crate) fn last_progress(&self) -> String {
        match self.since_progress {
            _ if self.interval.is_zero() => String::new(),
            Some(Duration::ZERO) => format!("within {}", age(self.interval)),
            Some(time) => format!("{} ago", age(time)),
            None => format!("not in {}", age(self.watched)),
        }
    }

    /// Adds its values to the object of a producer or a consumer.
    pub(crate) fn add_to(&self, object: &mut Value) {
        object["rate_per_second"] = json!(self.per_second());
        object["since_progress_seconds"] = json!(self.since_progress.map(|it| it.as_secs_f64()));
        object["watched_seconds"] = json!(self.watched.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_that_stands_still_is_told_from_one_that_was_never_seen_to_move() {
        let (second, new) = (Duration::from_secs(1), Pace::default());
        assert_eq!(
            (new.rate(), new.last_progress()),
            (String::new(), String::new())
        );
        let still = new.after(second, -1, -1).after(second, -1, -1);
        assert_eq!(
            (&*still.rate(), &*still.last_progress()),
            ("0/s", "not in 2 s")
        );
        let moving = still.after(second, -1, 1499);
        assert_eq!(
            (&*moving.rate(), &*moving.last_progress()),
            ("1.5k/s", "within 1 s")
        );
        let stopped = (0..3).fold(moving, |pace, _| pace.after(second, 1499, 1499));
        assert_eq!(
            (&*stopped.rate(), &*stopped.last_progress()),
            ("0/s", "3 s ago")
        );
        // a position that another process has set back, or to any value
        assert_eq!(stopped.after(second, 1499, 3).moved, 0);
        assert_eq!(
            stopped.after(second, i64::MIN, i64::MAX).moved,
            i64::MAX as u64
        );
    }

    #[test]
    fn values_that_are_not_known_are_null() {
        let mut object = json!({});
        Pace::default().add_to(&mut object);
        assert_eq!(
            object,
            json!({"rate_per_second": null, "since_progress_seconds": null, "watched_seconds": 0.0})
        );
    }
}
