//! A producer's counters, and the file that shows them.

use super::Producer;
use crate::event::Event;
use crate::observability::{CounterId, CounterSnapshot, CountersError, CountersFile, Standing};

impl<E: Event, B> Producer<E, B> {
    /// Shows this producer's counters in `file`, under the label `ring/producer`, until the producer is attached to
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
    /// use disruptor_mp::{CountersFile, Deadline, HeapRing};
    ///
    /// let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
    /// let mut tx = ring.producer()?;
    /// tx.attach_counters(&file)?;
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert_eq!(file.snapshot()[0].value, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_counters(&mut self, file: &CountersFile) -> Result<(), CountersError> {
        self.attach_counters_selected(file, &self.counters.ids())
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
        self.counters.attach(file, ids, &self.segment, None)
    }

    /// This producer's own counters as they are now. Also brings the file up to date to which they are
    /// attached. Empty in a forked process.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::Deadline;
    ///
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
    /// assert_eq!((tx.counters()[0].id.get(), tx.counters()[0].value), (0x10, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&mut self) -> Vec<CounterSnapshot> {
        // the position is read from the ring, which is not mapped in a forked child (R8)
        if self.is_forked() {
            return Vec::new();
        }
        self.counters.bring_up_to_date();
        self.counters.snapshot(&self.segment, None, self.standing())
    }

    pub(super) fn standing(&self) -> Standing {
        let last = self.core.next() - 1;
        Standing::new(last, last, self.core.capacity())
    }
}
