//! A consumer's queries about itself and its ring.

use super::Consumer;
use crate::Sequence;
use crate::event::Event;
use crate::handles::diagnosis::{self, RingState};
use crate::region::MemoryReport;
use crate::sync::Ordering;

impl<E: Event, B> Consumer<E, B> {
    /// The last sequence this consumer has released.
    #[inline]
    pub fn current_sequence(&self) -> Sequence {
        match self.is_forked() {
            true => self.core.next() - 1,
            false => self.core.held().start - 1,
        }
    }

    /// The last published sequence, found by polling the stamps that follow this consumer's position.
    pub fn producer_sequence(&self) -> Sequence {
        if self.is_forked() {
            self.next_to_read() - 1
        } else {
            self.core.newest()
        }
    }

    /// Whether the producer has closed the ring in order, even if events are still unread. A successor that
    /// takes the ring over opens it again.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert!(!rx.is_closed());
    /// tx.close()?;
    /// assert!(rx.is_closed());
    /// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        !self.is_forked() && self.core.closed_at().is_some()
    }

    /// This consumer's id; an automatic one names its process.
    pub fn consumer_id(&self) -> String {
        self.id.text()
    }

    /// Number of slots.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.core.capacity()
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.segment.name
    }

    /// The memory that this consumer's mapping got.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// assert!(!ring.consumer("reader")?.memory_report().is_read_only); // in shared memory it is
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_report(&self) -> MemoryReport {
        self.segment.region().memory()
    }

    /// Every cursor of the ring, as it is now.
    pub fn ring_state(&self) -> RingState {
        diagnosis::ring_state(&self.segment, self.producer_sequence())
    }

    /// Whether the producer is blocked and watches for progress. While it does, a consumer that otherwise releases
    /// several events together releases each event by itself as soon as it is handled. For the layers above.
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        !self.is_forked() && self.core.is_watched()
    }

    /// When the ring was created: see `Producer::ring_created`.
    #[doc(hidden)]
    pub fn ring_created(&self) -> u64 {
        self.segment().created_unix_ns
    }

    /// How many producers the ring has had before the present one. For the layers above.
    #[doc(hidden)]
    pub fn ring_epoch(&self) -> u64 {
        match self.is_forked() {
            true => 0,
            false => self
                .segment()
                .control()
                .producer
                .epoch
                .load(Ordering::Acquire),
        }
    }

    /// Whether this consumer had left, or was removed, under the ring's present producer, and so starts behind what was
    /// published meanwhile (`DisruptorBuilder::skip_absence`). For the layers above.
    #[doc(hidden)]
    pub fn has_skipped_absence(&self) -> bool {
        self.has_skipped_absence
    }

    /// A number that stays with this consumer's place in the ring, and that the next consumer in this place finds. 0
    /// until one is set. For the layers above, which count there how often an event was handed out.
    #[doc(hidden)]
    #[inline]
    pub fn note(&self) -> u64 {
        match self.is_forked() {
            true => 0,
            false => self.core.note(),
        }
    }

    /// See [`note`](Self::note).
    #[doc(hidden)]
    #[inline]
    pub fn set_note(&self, note: u64) {
        if !self.is_forked() {
            self.core.set_note(note);
        }
    }

    /// Whether one of this consumer's tokens is cancelled. For the layers above, whose loops skip events that
    /// they do not use.
    #[doc(hidden)]
    pub fn is_cancelled(&self) -> bool {
        self.habits.are_cancelled()
    }
}
