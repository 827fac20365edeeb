//! The counters of producers and consumers: counted privately, and copied to a counters file from time to time.
//!
//! Nothing here runs in a publish or a consume that does not wait (R12).

use super::file::Slot;
use super::ids::between;
use super::slot::COUNTER_LABEL_BYTES_MAX;
use super::{CounterId, CounterSnapshot, CountersError, CountersFile};
use crate::consumer::Consumer;
use crate::producer::Producer;
use crate::{Event, Sequence};

/// The ids that every producer counts.
const OF_PRODUCERS: [CounterId; 5] = between(0x10, 0x20);
/// The ids that every consumer counts.
const OF_CONSUMERS: [CounterId; 6] = between(0x20, 0x30);

/// A producer's counters.
#[derive(Debug)]
pub(crate) struct ProducerCounters {
    first: Sequence,
    event_bytes: u64,
    full: u64,
    /// The sequence of the last event that was counted as having found the ring full.
    full_at: Sequence,
    parks: u64,
    above: Above,
    copies: Copies,
}

/// A consumer's counters.
#[derive(Debug)]
pub(crate) struct ConsumerCounters {
    first: Sequence,
    event_bytes: u64,
    empty: u64,
    parks: u64,
    lag_max: u64,
    above: Above,
    copies: Copies,
}

/// The counters that a layer above keeps at an endpoint.
#[derive(Debug, Default)]
struct Above(Vec<(CounterId, u64)>);

impl Above {
    fn set(&mut self, id: CounterId, value: u64) {
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
    fn join(&self, own: &[CounterId]) -> Vec<CounterId> {
        own.iter()
            .copied()
            .chain(self.0.iter().map(|(id, _)| *id))
            .collect()
    }
}

/// The slots of a counters file that an endpoint keeps up to date.
type Copies = Vec<(CounterId, Slot)>;

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

    fn value(&self, id: CounterId, next: Sequence) -> u64 {
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

    fn value(&self, id: CounterId, next: Sequence) -> u64 {
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
fn label(text: &str) -> String {
    let mut end = text.len().min(COUNTER_LABEL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn snapshot(
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

impl<E: Event, B> Producer<E, B> {
    /// Shows this producer's counters in `file`, under the ring's name, until the producer is dropped or
    /// attached to another file. [`observability`](crate::observability) says how fresh they are.
    ///
    /// # Errors
    ///
    /// [`CountersError::Full`], [`CountersError::Forked`], [`CountersError::Io`]; nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CountersFile, HeapRing};
    ///
    /// let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
    /// let mut tx = ring.producer()?;
    /// tx.attach_counters(&file)?;
    /// tx.publish(|event| *event = 7);
    /// tx.counters();                                         // up to date now, not by and by
    /// assert_eq!(file.snapshot()[0].value, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> Result<(), CountersError> {
        self.attach_counters_selected(file, &self.counters.above.join(&OF_PRODUCERS))
    }

    /// For a layer above: sets the counter `id` of this producer, which it counts from now on, to `value`.
    /// Call this before [`attach_counters`](Self::attach_counters) for the first time; the file gets the
    /// value with the other counters.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CounterId, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// tx.set_counter(CounterId::FRAMES_FRAGMENTED, 5);
    /// let counters = tx.counters();
    /// assert!(counters.iter().any(|counter| counter.id == CounterId::FRAMES_FRAGMENTED && counter.value == 5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_counter(&mut self, id: CounterId, value: u64) {
        self.counters.above.set(id, value);
    }

    /// As [`attach_counters`](Self::attach_counters), but shows only these ids.
    ///
    /// # Errors
    ///
    /// As [`attach_counters`](Self::attach_counters), and [`CountersError::NotCounted`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CounterId, CountersFile, HeapRing};
    ///
    /// let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
    /// let mut tx = ring.producer()?;
    /// tx.attach_counters_selected(&file, &[CounterId::EVENTS_PUBLISHED])?;
    /// assert_eq!(file.snapshot().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters_selected(
        &mut self,
        file: &CountersFile,
        ids: &[CounterId],
    ) -> Result<(), CountersError> {
        if self.is_forked() {
            return Err(CountersError::Forked);
        }
        let label = label(self.name());
        let counted = self.counters.above.join(&OF_PRODUCERS);
        self.counters.copies = claim(file, ids, &counted, "producer", &label)?;
        self.counters.bring_up_to_date(self.core.next());
        Ok(())
    }

    /// This producer's own counters as they are now. Also brings the file up to date to which they are
    /// attached. Empty in a forked process.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// tx.publish_batch(3, |event, i| *event = i as u64);
    /// assert_eq!((tx.counters()[0].id.get(), tx.counters()[0].value), (0x10, 3));
    /// # Ok::<(), disruptor_mp::MultiProcessError>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        // the position is read from the ring, which is not mapped in a forked child (R8)
        if self.is_forked() {
            return Vec::new();
        }
        let next = self.core.next();
        self.counters.bring_up_to_date(next);
        let counted = self.counters.above.join(&OF_PRODUCERS);
        snapshot(&counted, label(self.name()), |id| {
            self.counters.value(id, next)
        })
    }
}

impl<E: Event, B> Consumer<E, B> {
    /// Shows this consumer's counters in `file`, under the ring's name and its id, until the consumer is
    /// dropped or attached to another file. [`observability`](crate::observability) says how fresh they are.
    ///
    /// # Errors
    ///
    /// [`CountersError::Full`], [`CountersError::Forked`], [`CountersError::Io`]; nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CountersFile, HeapRing};
    ///
    /// let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
    /// let mut rx = ring.consumer("reader")?;
    /// rx.attach_counters(&file)?;
    /// assert!(file.snapshot()[0].label.ends_with("reader"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> Result<(), CountersError> {
        self.attach_counters_selected(file, &self.counters.above.join(&OF_CONSUMERS))
    }

    /// For a layer above: sets the counter `id` of this consumer, which it counts from now on, to `value`.
    /// Call this before [`attach_counters`](Self::attach_counters) for the first time; the file gets the
    /// value with the other counters.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CounterId, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let mut rx = ring.consumer("reader")?;
    /// rx.set_counter(CounterId::FRAMES_REASSEMBLED, 5);
    /// let counters = rx.counters();
    /// assert!(counters.iter().any(|counter| counter.id == CounterId::FRAMES_REASSEMBLED && counter.value == 5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_counter(&mut self, id: CounterId, value: u64) {
        self.counters.above.set(id, value);
    }

    /// As [`attach_counters`](Self::attach_counters), but shows only these ids.
    ///
    /// # Errors
    ///
    /// As [`attach_counters`](Self::attach_counters), and [`CountersError::NotCounted`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{CounterId, CountersFile, HeapRing};
    ///
    /// let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
    /// let mut rx = ring.consumer("reader")?;
    /// rx.attach_counters_selected(&file, &[CounterId::EVENTS_CONSUMED])?;
    /// assert_eq!(file.snapshot().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters_selected(
        &mut self,
        file: &CountersFile,
        ids: &[CounterId],
    ) -> Result<(), CountersError> {
        let label = self.counters_label();
        let counted = self.counters.above.join(&OF_CONSUMERS);
        self.counters.copies = claim(file, ids, &counted, "consumer", &label)?;
        self.counters.bring_up_to_date(self.next_to_read());
        Ok(())
    }

    /// This consumer's own counters as they are now. Also brings the file up to date to which they are attached.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.publish_batch(3, |event, i| *event = i as u64);
    /// rx.process_available(|_, _| {});
    /// assert_eq!((rx.counters()[0].id.get(), rx.counters()[0].value), (0x20, 3));
    /// # Ok::<(), disruptor_mp::MultiProcessError>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        let next = self.next_to_read();
        self.counters
            .sample_lag(self.producer_sequence() + 1 - next);
        self.counters.bring_up_to_date(next);
        let counted = self.counters.above.join(&OF_CONSUMERS);
        snapshot(&counted, self.counters_label(), |id| {
            self.counters.value(id, next)
        })
    }

    fn counters_label(&self) -> String {
        label(&format!("{}/{}", self.name(), self.consumer_id()))
    }
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
