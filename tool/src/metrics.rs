//! What `serve` measures of all rings, and its text for Prometheus.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use disruptor_mp::inspect::{InspectError, Liveness, Presence};
use myelon::requests_seen;

use crate::Failure;
use crate::list::{read, type_name};
use crate::options::In;
use crate::pace::has_position;

/// The families of metrics: name, type and meaning.
pub(crate) const FAMILIES: [(&str, &str, &str); 18] = [
    (
        "myelon_ring_readable",
        "gauge",
        "Whether the ring can be read; the reason has a word for why not.",
    ),
    (
        "myelon_ring_info",
        "gauge",
        "Always 1; the labels say what the ring is.",
    ),
    (
        "myelon_ring_published_total",
        "counter",
        "Events that were published since the ring was made.",
    ),
    (
        "myelon_ring_reusable_total",
        "counter",
        "Events whose slots may be written again.",
    ),
    ("myelon_ring_slots", "gauge", "Slots of the ring."),
    ("myelon_ring_bytes", "gauge", "Bytes of the ring's segment."),
    (
        "myelon_ring_producer_alive",
        "gauge",
        "Whether a producer holds the ring; missing if unknown.",
    ),
    (
        "myelon_ring_producers_total",
        "counter",
        "Producers that the ring has had.",
    ),
    (
        "myelon_ring_closed",
        "gauge",
        "Whether its producer has ended the ring.",
    ),
    ("myelon_ring_full", "gauge", "Whether no slot is free."),
    (
        "myelon_ring_faults",
        "gauge",
        "Values in the ring that cannot be true.",
    ),
    (
        "myelon_consumer_position",
        "gauge",
        "Events that the consumer has released, counted from the ring's first; it goes back when an id leaves and returns.",
    ),
    (
        "myelon_consumer_lag",
        "gauge",
        "Published events that this consumer has not released.",
    ),
    (
        "myelon_consumer_alive",
        "gauge",
        "Whether a process holds the consumer's lock; missing if unknown.",
    ),
    (
        "myelon_consumer_away",
        "gauge",
        "Whether the consumer is away and keeps its place.",
    ),
    (
        "myelon_worker_requests",
        "gauge",
        "Requests of a session that the worker has not completed.",
    ),
    (
        "myelon_worker_oldest_request_milliseconds",
        "gauge",
        "The time since the oldest of these was sent; 0 if there are none, missing if unknown.",
    ),
    (
        "myelon_worker_deliveries",
        "gauge",
        "How often the oldest of these was delivered to the worker.",
    ),
];

/// One value.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: u64,
    /// When its ring was made, from which on counters count; none for a ring that cannot be read.
    pub(crate) since: Option<SystemTime>,
}

/// The samples of each family.
pub(crate) type Samples = [Vec<Sample>; FAMILIES.len()];

/// Reads all rings.
pub(crate) fn samples(place: &In) -> Result<Samples, Failure> {
    let mut samples = Samples::default();
    let mut add =
        |family: &str, since: Option<SystemTime>, labels: &[(&'static str, &str)], value: u64| {
            let index = FAMILIES.iter().position(|(name, ..)| *name == family);
            let labels = labels
                .iter()
                .map(|(name, text)| (*name, String::from(*text)));
            samples[index.expect("a family of the table")].push(Sample {
                labels: labels.collect(),
                value,
                since,
            });
        };
    for found in place.rings()? {
        let name = found.name.clone();
        let of_ring = [("ring", &*name)];
        let of_producer = [("ring", &*name), ("role", "producer")];
        let (ring, seen) = match read(found) {
            Ok(read) => read,
            // any user's private files are in shared memory: nothing says that this is a ring
            Err(InspectError::Unreadable { .. }) => continue,
            Err(error) => {
                let labels = [("ring", &*name), ("reason", error.word())];
                add("myelon_ring_readable", None, &labels, 0);
                continue;
            }
        };
        let info = ring.info();
        let mut add = |family: &str, labels: &[(&'static str, &str)], value: u64| {
            add(family, Some(info.created), labels, value);
        };
        let count = |to: i64| {
            to.saturating_sub(info.first_sequence)
                .saturating_add(1)
                .max(0) as u64
        };
        add(
            "myelon_ring_readable",
            &[("ring", &name), ("reason", "")],
            1,
        );
        let (phase, event) = (seen.phase().to_string(), type_name(&info.event.text));
        add(
            "myelon_ring_info",
            &[("ring", &name), ("state", &phase), ("event", &event)],
            1,
        );
        add(
            "myelon_ring_published_total",
            &of_producer,
            count(seen.published),
        );
        add("myelon_ring_reusable_total", &of_ring, count(seen.floor));
        add("myelon_ring_slots", &of_ring, info.capacity);
        add("myelon_ring_bytes", &of_ring, info.segment_bytes);
        if seen.producer.liveness != Liveness::Unknown {
            let is_alive = seen.producer.liveness == Liveness::Alive;
            add("myelon_ring_producer_alive", &of_producer, is_alive.into());
        }
        add(
            "myelon_ring_producers_total",
            &of_producer,
            seen.producer.epoch.saturating_add(1),
        );
        add("myelon_ring_closed", &of_ring, seen.closed.is_some().into());
        add("myelon_ring_full", &of_ring, seen.held_by.is_some().into());
        add("myelon_ring_faults", &of_ring, seen.faults.len() as u64);
        // without them where the ring was cut off meanwhile
        let requests = requests_seen(&ring, &seen).unwrap_or_default();
        for consumer in &seen.consumers {
            // two lines may have one id for a moment, or if a peer forged it
            let line = consumer.line.to_string();
            let labels = [
                ("ring", &*name),
                ("role", "consumer"),
                ("id", &consumer.id),
                ("line", &line),
            ];
            if has_position(consumer) {
                add(
                    "myelon_consumer_position",
                    &labels,
                    count(consumer.position),
                );
            }
            add("myelon_consumer_lag", &labels, consumer.lag);
            if consumer.presence != Presence::Unknown {
                let is_alive = matches!(consumer.presence, Presence::Attached | Presence::Joining);
                add("myelon_consumer_alive", &labels, is_alive.into());
                let is_away = matches!(consumer.presence, Presence::Away | Presence::Expected);
                add("myelon_consumer_away", &labels, is_away.into());
            }
            if let Some(requests) = requests.iter().find(|it| it.line == consumer.line) {
                add("myelon_worker_requests", &labels, requests.in_flight);
                let oldest = match requests.in_flight {
                    0 => Some(Duration::ZERO),
                    _ => requests.oldest,
                };
                if let Some(oldest) = oldest {
                    let family = "myelon_worker_oldest_request_milliseconds";
                    add(family, &labels, oldest.as_millis() as u64);
                }
                add(
                    "myelon_worker_deliveries",
                    &labels,
                    requests.deliveries.into(),
                );
            }
        }
    }
    Ok(samples)
}

/// Prometheus text, version 0.0.4. The samples of one family stand together, as the format asks.
pub(crate) fn prometheus(samples: &Samples) -> String {
    let mut text = String::new();
    for ((name, kind, help), samples) in FAMILIES.iter().zip(samples) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in samples {
            let labels = sample.labels.iter();
            let labels: Vec<_> = labels
                .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
                .collect();
            let _ = writeln!(text, "{name}{{{}}} {}", labels.join(","), sample.value);
        }
    }
    text
}

/// A label's value as the format wants it: any text, in one line.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_in_their_quotes() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }
}
