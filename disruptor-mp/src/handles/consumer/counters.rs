//! A consumer's counters, and the file that shows them.

use super::Consumer;
use crate::event::Event;
use crate::observability::{CounterId, CounterSnapshot, CountersError, CountersFile, Standing};

impl<E: Event, B> Consumer<E, B> {
    /// Shows this consumer's counters in `file`, under the label `ring/consumer/id`, until the consumer is attached to
    /// another file. When it is dropped, its counters stay until another owner takes their slots.
    /// [`observability`](crate::observability) says how fresh they are.
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
    /// assert_eq!(file.snapshot()[0].label, "heap/consumer/reader");
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
        let (line, id) = (self.line(), self.id.text());
        self.counters
            .attach(file, ids, &self.segment, Some((line, &id)))
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
        let standing = self.standing();
        self.counters.sample_lag(standing);
        self.counters.bring_up_to_date();
        let id = self.id.text();
        self.counters.snapshot(&self.segment, Some(&id), standing)
    }

    pub(super) fn standing(&self) -> Standing {
        let (published, released) = (self.producer_sequence(), self.current_sequence());
        Standing::new(published, released, self.capacity())
    }
}
