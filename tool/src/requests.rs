//! The requests that the workers of a session have not completed.

use disruptor_mp::inspect::{ConsumerSeen, InspectError};
use myelon::{RequestsSeen, requests_seen};
use serde_json::{Value, json};

use crate::pace::Watch;
use crate::text::age;

/// The requests in a ring, by worker. None in a ring that has no requests of a session.
pub(crate) struct Requests(Vec<RequestsSeen>);

impl Requests {
    /// Those of the last snapshot.
    pub(crate) fn of(watch: &Watch) -> Result<Self, InspectError> {
        requests_seen(&watch.ring, &watch.seen).map(Self)
    }

    fn of_consumer(&self, consumer: &ConsumerSeen) -> Option<&RequestsSeen> {
        self.0.iter().find(|seen| seen.line == consumer.line)
    }

    /// What the consumer has to do, in a few words; `None` for a consumer that is no worker.
    pub(crate) fn text(&self, consumer: &ConsumerSeen) -> Option<String> {
        let seen = self.of_consumer(consumer)?;
        let mut text = format!("{} requests", seen.in_flight);
        if let Some(oldest) = seen.oldest {
            text += &format!(", the oldest sent {} ago", age(oldest));
        }
        if seen.deliveries > 0 {
            text += &format!(", delivered {} times", seen.deliveries);
        }
        Some(text)
    }

    /// Adds the values to the object of a consumer.
    pub(crate) fn add_to(&self, consumer: &ConsumerSeen, object: &mut Value) {
        if let Some(seen) = self.of_consumer(consumer) {
            object["requests"] = json!({
                "in_flight": seen.in_flight,
                "oldest_seconds": seen.oldest.map(|age| age.as_secs_f64()),
                "deliveries": seen.deliveries,
            });
        }
    }
}
