//! The counters of producers and consumers. Positions are in the ring's lines, from which every reader takes them. The
//! rest is counted privately, in waits, and copied to a counters file there.
//!
//! Nothing here runs in a publish or a consume that does not wait (R12).

use std::path::Path;
use std::sync::Arc;

use super::ids::between;
use super::position::{Mapped, OpenRing, Source, Standing};
use super::slot::Text;
use super::table::Slot;
use super::{CounterId, CounterSnapshot, CountersError, CountersFile};
use crate::Sequence;
use crate::event::Event;
use crate::segment::Segment;
use crate::sync::process::Ordering;

/// The ids that every producer counts.
const OF_PRODUCERS: [CounterId; 5] = between(0x10, 0x20);
/// The ids that every consumer counts.
const OF_CONSUMERS: [CounterId; 7] = between(0x20, 0x30);

/// The kind of an endpoint, which decides what its counters are called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EndpointKind {
    Producer,
    Consumer,
}

impl EndpointKind {
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
    kind: EndpointKind,
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
    pub(crate) fn new(kind: EndpointKind, next: Sequence, event_bytes: usize) -> Self {
        Self {
            kind,
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
        for (_, slot) in &self.copies {
            slot.set_first(next);
        }
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
    pub(crate) fn sample_lag(&mut self, at: Standing) {
        self.lag_max = self.lag_max.max(at.lag());
    }

    /// Sets a counter of a layer above.
    pub(crate) fn set(&mut self, id: CounterId, value: u64) {
        match self.above.iter_mut().find(|(counted, _)| *counted == id) {
            Some((_, counter)) => *counter = value,
            None => self.above.push((id, value)),
        }
    }

    /// Copies every counter to its slot, except for those that readers take from the ring.
    pub(crate) fn bring_up_to_date(&self) {
        for (id, slot) in &self.copies {
            slot.set(self.counted(*id));
        }
    }

    /// The endpoint ends, and stands here: leaves every counter in its slot. The lag of a consumer that keeps its line
    /// goes on, and readers take it from there.
    pub(crate) fn settle(&mut self, at: Standing, keeps_line: bool) {
        self.bring_up_to_date();
        for (id, slot) in core::mem::take(&mut self.copies) {
            let is_lag = id == CounterId::CONSUMER_LAG || id == CounterId::CONSUMER_LAG_MAX;
            if !(is_lag && keeps_line) {
                slot.settle(self.value(id, at));
            }
        }
    }

    /// All ids that the endpoint counts.
    pub(crate) fn ids(&self) -> Vec<CounterId> {
        let own = self.kind.ids().iter().copied();
        own.chain(self.above.iter().map(|(id, _)| *id)).collect()
    }

    fn value(&self, id: CounterId, at: Standing) -> u64 {
        let value = at.value(id, self.first, self.event_bytes);
        value.unwrap_or_else(|| self.counted(id))
    }

    /// The value of a counter that is counted here; 0 for every other one.
    fn counted(&self, id: CounterId) -> u64 {
        match id {
            CounterId::PRODUCER_FULL_EVENTS | CounterId::CONSUMER_EMPTY_SPINS => self.in_vain,
            CounterId::PRODUCER_PARKS
            | CounterId::PRODUCER_UNPARKS
            | CounterId::CONSUMER_PARKS
            | CounterId::CONSUMER_UNPARKS => self.parks,
            CounterId::CONSUMER_LAG_MAX => self.lag_max,
            _ => {
                let counter = self.above.iter().find(|(counted, _)| *counted == id);
                counter.map_or(0, |(_, value)| *value)
            }
        }
    }

    /// Shows the counters `wanted` in `file`, in place of those that were shown before. `consumer` is the line and the
    /// id of a consumer.
    pub(crate) fn attach<E: Event>(
        &mut self,
        file: &CountersFile,
        wanted: &[CounterId],
        segment: &Segment<E>,
        consumer: Option<(usize, &str)>,
    ) -> Result<(), CountersError> {
        let endpoint = self.kind.name();
        let counted = self.ids();
        if let Some(id) = wanted.iter().find(|id| !counted.contains(id)) {
            return Err(CountersError::NotCounted { id: *id, endpoint });
        }
        // the lines are read below, and a forked child has none (R8)
        if segment.region().live_word().load(Ordering::Relaxed) == 0 {
            return Err(CountersError::Forked);
        }
        let label = self.label(&segment.name, consumer.map(|(_, id)| id));
        let text = Text::of_ring(segment.region().path(), &label);
        let ring: Arc<dyn OpenRing> = Arc::new(Mapped::of(segment));
        let mut claimed = Copies::new();
        for id in wanted {
            let source = Source::of(*id, segment, consumer.map(|(line, _)| line), self.first);
            match file.claim(*id, &text, source.map(|source| (source, Arc::clone(&ring)))) {
                Ok(slot) => claimed.push((*id, slot)),
                Err(error) => {
                    free(claimed);
                    return Err(error);
                }
            }
        }
        free(core::mem::replace(&mut self.copies, claimed));
        self.bring_up_to_date();
        Ok(())
    }

    /// Every counter, as it is now.
    pub(crate) fn snapshot<E: Event>(
        &self,
        segment: &Segment<E>,
        id: Option<&str>,
        at: Standing,
    ) -> Vec<CounterSnapshot> {
        let label = self.label(&segment.name, id);
        let directory = segment.region().path().and_then(Path::parent);
        let counter = |id| CounterSnapshot {
            id,
            label: label.clone(),
            directory: directory.map(Path::to_owned),
            value: self.value(id, at),
        };
        self.ids().into_iter().map(counter).collect()
    }

    /// Ring, kind and id. Neither a ring's name nor a kind has a slash, so that exports can split them again.
    fn label(&self, ring: &str, id: Option<&str>) -> String {
        let kind = self.kind.name();
        match id {
            None => format!("{ring}/{kind}"),
            Some(id) => format!("{ring}/{kind}/{id}"),
        }
    }
}

fn free(copies: Copies) {
    copies.into_iter().for_each(|(_, slot)| slot.free());
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_an_endpoint_has_a_value() {
        let mut producer = EndpointCounters::new(EndpointKind::Producer, 10, 8);
        producer.count_full(12);
        producer.count_full(12);
        producer.count_parks(3);
        let at = |published, released| Standing::new(published, released, 8);
        let values = OF_PRODUCERS.map(|id| producer.value(id, at(14, 14)));
        assert_eq!(values, [5, 40, 1, 3, 3]);
        let mut consumer = EndpointCounters::new(EndpointKind::Consumer, 10, 8);
        consumer.count_empty();
        consumer.count_parks(2);
        consumer.sample_lag(at(16, 9));
        consumer.sample_lag(at(16, 12));
        consumer.start_at(12);
        let values = OF_CONSUMERS.map(|id| consumer.value(id, at(16, 14)));
        assert_eq!(values, [3, 24, 1, 2, 2, 7, 2]);
    }
}
