//! A consumer's counters, and the file that shows them.

use super::Consumer;
use crate::event::Event;
use crate::observability::endpoint::label;
use crate::observability::{CounterId, CounterSnapshot, CountersError, CountersFile};

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
        self.attach_counters_selected(file, &self.counters.ids())
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
        self.counters.set(id, value);
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
        let (label, next) = (self.counters_label(), self.next_to_read());
        self.counters.attach(file, ids, &label, next)
    }

    /// This consumer's own counters as they are now. Also brings the file up to date to which they are attached.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::Deadline;
    ///
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
    /// rx.process_available(|_, _| {});
    /// assert_eq!((rx.counters()[0].id.get(), rx.counters()[0].value), (0x20, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        let next = self.next_to_read();
        self.counters
            .sample_lag(self.producer_sequence() + 1 - next);
        self.counters.bring_up_to_date(next);
        self.counters.snapshot(&self.counters_label(), next)
    }

    fn counters_label(&self) -> String {
        label(&format!("{}/{}", self.name(), self.consumer_id()))
    }
}
