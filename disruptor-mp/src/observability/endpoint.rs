//! The counters of producers and consumers: counted privately, and copied to a counters file from time to time.
//!
//! Nothing here runs in a publish or a consume that does not wait (R12).

use super::file::Slot;
use super::ids::between;
use super::slot::COUNTER_LABEL_BYTES_MAX;
use super::{CounterId, CounterSnapshot, CountersError, CountersFile};
use crate::Sequence;

/// The ids that every producer counts.
pub(crate) const OF_PRODUCERS: [CounterId; 5] = between(0x10, 0x20);
/// The ids that every consumer counts.
pub(crate) const OF_CONSUMERS: [CounterId; 6] = between(0x20, 0x30);

/// A producer's counters.
#[derive(Debug)]
pub(crate) struct ProducerCounters {
    first: Sequence,
    event_bytes: u64,
    full: u64,
    /// The sequence of the last event that was counted as having found the ring full.
    full_at: Sequence,
    parks: u64,
    pub(crate) above: Above,
    pub(crate) copies: Copies,
}

/// A consumer's counters.
#[derive(Debug)]
pub(crate) struct ConsumerCounters {
    first: Sequence,
    event_bytes: u64,
    empty: u64,
    parks: u64,
    lag_max: u64,
    pub(crate) above: Above,
    pub(crate) copies: Copies,
}

/// The counters that a layer above keeps at an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Above(Vec<(CounterId, u64)>);

impl Above {
    pub(crate) fn set(&mut self, id: CounterId, value: u64) {
        match self.0.iter_mut().find(|(counted, _)| *counted == id) {
            Some((_, counter)) => *counter = value,
            None => self.0.push((id, value)),
        }
    }

    fn get(&self, id: CounterId) -> u64 {
        let counter = self.0.iter().find(|(counted, _)| *counted == id);
        counter.map_or(0, |(_, value)| *value)
    }

    /// All ids that the endpoint counts.
    pub(crate) fn join(&self, own: &[CounterId]) -> Vec<CounterId> {
        own.iter()
            .copied()
            .chain(self.0.iter().map(|(id, _)| *id))
            .collect()
    }
}

/// The slots of a counters file that an endpoint keeps up to date.
pub(crate) type Copies = Vec<(CounterId, Slot)>;

impl ProducerCounters {
    /// `next` is the first sequence that this producer will publish.
    pub(crate) fn new(next: Sequence, event_bytes: usize) -> Self {
        Self {
            first: next,
            event_bytes: event_bytes as u64,
            full: 0,
            full_at: Sequence::MIN,
            parks: 0,
            above: Above::default(),
            copies: Vec::new(),
        }
    }

    /// Counts that the event `next` found the ring full: once, however often that happens.
    pub(crate) fn count_full(&mut self, next: Sequence) {
        if self.full_at != next {
            self.full_at = next;
            self.full += 1;
        }
    }

    pub(crate) fn count_parks(&mut self, parks: u64) {
        self.parks += parks;
    }

    /// Copies every counter to its slot.
    pub(crate) fn bring_up_to_date(&mut self, next: Sequence) {
        for (id, slot) in &self.copies {
            slot.set(self.value(*id, next));
        }
    }

    pub(crate) fn value(&self, id: CounterId, next: Sequence) -> u64 {
        let events = next.wrapping_sub(self.first) as u64;
        match id {
            // in a ring of frames, each event is one frame
            CounterId::EVENTS_PUBLISHED | CounterId::FRAMES_PUBLISHED => events,
            CounterId::BYTES_PUBLISHED => events.wrapping_mul(self.event_bytes),
            CounterId::PRODUCER_FULL_EVENTS => self.full,
            CounterId::PRODUCER_PARKS | CounterId::PRODUCER_UNPARKS => self.parks,
            _ => self.above.get(id),
        }
    }
}

impl ConsumerCounters {
    /// `next` is the first sequence that this consumer will read.
    pub(crate) fn new(next: Sequence, event_bytes: usize) -> Self {
        Self {
            first: next,
            event_bytes: event_bytes as u64,
            empty: 0,
            parks: 0,
            lag_max: 0,
            above: Above::default(),
            copies: Vec::new(),
        }
    }

    /// Events before `next` were skipped, not consumed.
    pub(crate) fn start_at(&mut self, next: Sequence) {
        self.first = next;
    }

    pub(crate) fn count_empty(&mut self) {
        self.empty += 1;
    }

    pub(crate) fn count_parks(&mut self, parks: u64) {
        self.parks += parks;
    }

    /// Notes how many published events are unread.
    pub(crate) fn sample_lag(&mut self, lag: Sequence) {
        self.lag_max = self.lag_max.max(lag.max(0) as u64);
    }

    /// Copies every counter to its slot.
    pub(crate) fn bring_up_to_date(&mut self, next: Sequence) {
        for (id, slot) in &self.copies {
            slot.set(self.value(*id, next));
        }
    }

    pub(crate) fn value(&self, id: CounterId, next: Sequence) -> u64 {
        let events = next.wrapping_sub(self.first) as u64;
        match id {
            CounterId::EVENTS_CONSUMED => events,
            CounterId::BYTES_CONSUMED => events.wrapping_mul(self.event_bytes),
            CounterId::CONSUMER_EMPTY_SPINS => self.empty,
            CounterId::CONSUMER_PARKS | CounterId::CONSUMER_UNPARKS => self.parks,
            CounterId::CONSUMER_LAG_MAX => self.lag_max,
            _ => self.above.get(id),
        }
    }
}

/// Claims a slot for each id, or none at all.
pub(crate) fn claim(
    file: &CountersFile,
    wanted: &[CounterId],
    counted: &[CounterId],
    endpoint: &'static str,
    label: &str,
) -> Result<Copies, CountersError> {
    if let Some(id) = wanted.iter().find(|id| !counted.contains(id)) {
        return Err(CountersError::NotCounted { id: *id, endpoint });
    }
    wanted
        .iter()
        .map(|id| Ok((*id, file.claim(*id, label)?)))
        .collect()
}

/// The beginning of the text, as far as a label can hold it.
pub(crate) fn label(text: &str) -> String {
    let mut end = text.len().min(COUNTER_LABEL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

pub(crate) fn snapshot(
    counted: &[CounterId],
    label: String,
    value: impl Fn(CounterId) -> u64,
) -> Vec<CounterSnapshot> {
    counted
        .iter()
        .map(|id| CounterSnapshot {
            id: *id,
            label: label.clone(),
            value: value(*id),
        })
        .collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_an_endpoint_has_a_value() {
        let mut producer = ProducerCounters::new(10, 8);
        producer.count_full(12);
        producer.count_full(12);
        producer.count_parks(3);
        let values = OF_PRODUCERS.map(|id| producer.value(id, 15));
        assert_eq!(values, [5, 40, 1, 3, 3]);
        let mut consumer = ConsumerCounters::new(10, 8);
        consumer.count_empty();
        consumer.count_parks(2);
        consumer.sample_lag(7);
        consumer.sample_lag(4);
        consumer.start_at(12);
        let values = OF_CONSUMERS.map(|id| consumer.value(id, 15));
        assert_eq!(values, [3, 24, 1, 2, 2, 7]);
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        assert_eq!(label("ticks"), "ticks");
        assert_eq!(label(&"x".repeat(60)).len(), 48);
        assert_eq!(label(&"ü".repeat(30)), "ü".repeat(24));
        assert_eq!(label(&format!("x{}", "ü".repeat(30))).len(), 47);
    }
}
