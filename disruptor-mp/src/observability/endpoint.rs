//! The counters of producers and consumers: counted privately, and copied to a counters file from time to time.
//!
//! Nothing here runs in a publish or a consume that does not wait (R12).

use super::file::Slot;
use super::ids::between;
use super::slot::COUNTER_LABEL_BYTES_MAX;
use super::{CounterId, CounterSnapshot, CountersError, CountersFile};
use crate::Sequence;

/// The ids that every producer counts.
const OF_PRODUCERS: [CounterId; 5] = between(0x10, 0x20);
/// The ids that every consumer counts.
const OF_CONSUMERS: [CounterId; 6] = between(0x20, 0x30);

/// The kind of an endpoint, which decides what its counters are called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

impl Role {
    fn ids(self) -> &'static [CounterId] {
        match self {
            Self::Producer => &OF_PRODUCERS,
            Self::Consumer => &OF_CONSUMERS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// An endpoint's counters.
#[derive(Debug)]
pub(crate) struct EndpointCounters {
    role: Role,
    first: Sequence,
    event_bytes: u64,
    /// Events that found the ring full, or polls that found it empty.
    in_vain: u64,
    /// The sequence of the last event that was counted as having found the ring full.
    full_at: Sequence,
    parks: u64,
    lag_max: u64,
    above: Above,
    copies: Copies,
}

/// The counters that a layer above keeps at an endpoint.
type Above = Vec<(CounterId, u64)>;

/// The slots of a counters file that an endpoint keeps up to date.
type Copies = Vec<(CounterId, Slot)>;

impl EndpointCounters {
    /// `next` is the first sequence that this endpoint will publish or read.
    pub(crate) fn new(role: Role, next: Sequence, event_bytes: usize) -> Self {
        Self {
            role,
            first: next,
            event_bytes: event_bytes as u64,
            in_vain: 0,
            full_at: Sequence::MIN,
            parks: 0,
            lag_max: 0,
            above: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Events before `next` were skipped, not consumed.
    pub(crate) fn start_at(&mut self, next: Sequence) {
        self.first = next;
    }

    /// Counts that the event `next` found the ring full: once, however often that happens.
    pub(crate) fn count_full(&mut self, next: Sequence) {
        if self.full_at != next {
            self.full_at = next;
            self.in_vain += 1;
        }
    }

    /// Counts a poll that found the ring empty.
    pub(crate) fn count_empty(&mut self) {
        self.in_vain += 1;
    }

    pub(crate) fn count_parks(&mut self, parks: u64) {
        self.parks += parks;
    }

    /// Notes how many published events are unread.
    pub(crate) fn sample_lag(&mut self, lag: Sequence) {
        self.lag_max = self.lag_max.max(lag.max(0) as u64);
    }

    /// Sets a counter of a layer above.
    pub(crate) fn set(&mut self, id: CounterId, value: u64) {
        match self.above.iter_mut().find(|(counted, _)| *counted == id) {
            Some((_, counter)) => *counter = value,
            None => self.above.push((id, value)),
        }
    }

    /// Copies every counter to its slot.
    pub(crate) fn bring_up_to_date(&mut self, next: Sequence) {
        for (id, slot) in &self.copies {
            slot.set(self.value(*id, next));
        }
    }

    /// All ids that the endpoint counts.
    pub(crate) fn ids(&self) -> Vec<CounterId> {
        let own = self.role.ids().iter().copied();
        own.chain(self.above.iter().map(|(id, _)| *id)).collect()
    }

    fn value(&self, id: CounterId, next: Sequence) -> u64 {
        use Role::{Consumer, Producer};
        let events = next.wrapping_sub(self.first) as u64;
        match (self.role, id) {
            // in a ring of frames, each event is one frame
            (Producer, CounterId::EVENTS_PUBLISHED | CounterId::FRAMES_PUBLISHED)
            | (Consumer, CounterId::EVENTS_CONSUMED) => events,
            (Producer, CounterId::BYTES_PUBLISHED) | (Consumer, CounterId::BYTES_CONSUMED) => {
                events.wrapping_mul(self.event_bytes)
            }
            (Producer, CounterId::PRODUCER_FULL_EVENTS)
            | (Consumer, CounterId::CONSUMER_EMPTY_SPINS) => self.in_vain,
            (Producer, CounterId::PRODUCER_PARKS | CounterId::PRODUCER_UNPARKS)
            | (Consumer, CounterId::CONSUMER_PARKS | CounterId::CONSUMER_UNPARKS) => self.parks,
            (Consumer, CounterId::CONSUMER_LAG_MAX) => self.lag_max,
            _ => {
                let counter = self.above.iter().find(|(counted, _)| *counted == id);
                counter.map_or(0, |(_, value)| *value)
            }
        }
    }

    /// Shows the counters `wanted` in `file`, in place of those that were shown before.
    pub(crate) fn attach(
        &mut self,
        file: &CountersFile,
        wanted: &[CounterId],
        label: &str,
        next: Sequence,
    ) -> Result<(), CountersError> {
        self.copies = claim(file, wanted, &self.ids(), self.role.name(), label)?;
        self.bring_up_to_date(next);
        Ok(())
    }

    /// Every counter, as it is now.
    pub(crate) fn snapshot(&self, label: &str, next: Sequence) -> Vec<CounterSnapshot> {
        let counter = |id| CounterSnapshot {
            id,
            label: label.to_owned(),
            value: self.value(id, next),
        };
        self.ids().into_iter().map(counter).collect()
    }
}

/// Claims a slot for each id, or none at all.
fn claim(
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_an_endpoint_has_a_value() {
        let mut producer = EndpointCounters::new(Role::Producer, 10, 8);
        producer.count_full(12);
        producer.count_full(12);
        producer.count_parks(3);
        let values = OF_PRODUCERS.map(|id| producer.value(id, 15));
        assert_eq!(values, [5, 40, 1, 3, 3]);
        let mut consumer = EndpointCounters::new(Role::Consumer, 10, 8);
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
