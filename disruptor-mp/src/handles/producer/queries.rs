//! A producer's queries about its ring: what blocks it, how far the consumers are, and which of them are
//! attached. They read lines and locks and are not for the hot path.

use std::sync::Arc;

use super::Producer;
use super::waiting::Consumption;
use crate::Sequence;
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult, SendError};
use crate::event::Event;
use crate::handles::consumer::{Consumer, check_id};
use crate::handles::diagnosis::{self, BlockedOn, ConsumerPlace, RingState};
use crate::layout::control::Control;
use crate::protocol::registered::{registered, smallest};
use crate::region::{MemoryReport, Region};
use crate::sync::Ordering;
use crate::waiting::AutoWaitStrategy;
use crate::waiting::cancel::CancelToken;
use crate::waiting::deadline::Deadline;
use crate::waiting::peer::Peer;
use crate::waiting::wait_loop::wait;

/// Reads the places of a ring's consumers, beside the producer. For the layers above.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct PlaceReader {
    region: Arc<dyn Region>,
}

impl PlaceReader {
    /// The place of the consumer with this id; `None` without one, and in a forked child.
    pub fn place(&self, id: &str) -> Option<ConsumerPlace> {
        diagnosis::place_of(self.control()?, self.region.locks(), id)
    }

    /// See [`RingState::gate`]; `None` also in a forked child.
    pub fn gate(&self) -> Option<Sequence> {
        smallest(self.control()?)
    }

    fn control(&self) -> Option<&Control> {
        // a forked child has not mapped the region (R8)
        let is_mapped = self.region.live_word().load(Ordering::Relaxed) != 0;
        // SAFETY: the region is held, and mapped in this process; its control words are all atomic (R1).
        is_mapped.then(|| unsafe { self.region.control().as_ref() })
    }
}

/// Reads the note of a consumer's place, beside the producer. For the layers above.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct NoteReader {
    places: PlaceReader,
    id: String,
}

impl NoteReader {
    /// The note, as [`Consumer::set_note`] has set it; 0 while the consumer is not attached, and in a forked child.
    pub fn note(&self) -> u64 {
        let place = self.places.place(&self.id);
        // the line of a dead consumer keeps what it wrote, which is no news from it
        let place = place.filter(|place| place.is_attached != Some(false));
        place.map_or(0, |place| place.note)
    }
}

impl<E: Event, B> Producer<E, B> {
    /// What keeps the next event from being published; `None` when a slot is free. Reads the lines and probes
    /// the locks: for diagnosis, not for a hot loop.
    pub fn blocked_on(&mut self) -> Option<BlockedOn> {
        if self.is_forked() || (!self.notice_loss() && self.core.is_obtainable(1)) {
            return None;
        }
        self.diagnose()
    }

    /// What must change before more slots become free.
    pub(super) fn diagnose(&mut self) -> Option<BlockedOn> {
        let since = self
            .stalled
            .map(|stall| clock::now().saturating_duration_since(stall.since))
            .unwrap_or_default();
        let is_exhausted = self.core.is_exhausted(1);
        let last = self.last_published_sequence();
        let expectation = self.core.expectation().clone();
        diagnosis::find(&self.segment, last, &expectation, is_exhausted, since)
    }

    /// The last sequence that was published, −1 before the first (or one less than a configured first sequence).
    #[inline]
    pub fn last_published_sequence(&self) -> Sequence {
        if self.is_forked() {
            panic!("{}", SendError::Forked);
        }
        self.core.next() - 1
    }

    /// The smallest sequence of all registered consumers; the last published sequence when there is none.
    pub fn min_gating_sequence(&self) -> Sequence {
        smallest(self.segment.control()).unwrap_or(self.last_published_sequence())
    }

    /// Whether every registered consumer has released `sequence`; without consumers, whether it was
    /// published. False while expected consumers have not come.
    pub fn is_consumed(&mut self, sequence: Sequence) -> bool {
        let is_pending = self.core.expectation().is_pending(self.segment.control());
        let released = self
            .min_gating_sequence()
            .min(self.last_published_sequence());
        !is_pending && sequence <= released
    }

    /// Waits until [`is_consumed`](Self::is_consumed) is true, and returns whether it is by the deadline.
    ///
    /// # Errors
    ///
    /// [`SendError::Cancelled`], [`SendError::LockLost`] and [`SendError::Forked`].
    pub fn wait_until_consumed(
        &mut self,
        sequence: Sequence,
        deadline: Deadline,
    ) -> Result<bool, SendError> {
        self.wait_until_consumed_by(self.habits.strategy, sequence, deadline)
    }

    pub(super) fn wait_until_consumed_by(
        &mut self,
        strategy: AutoWaitStrategy,
        sequence: Sequence,
        deadline: Deadline,
    ) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        let mut waiter = self.waiter(strategy, deadline);
        if self.is_consumed(sequence) {
            return Ok(true);
        }
        if self.has_lost {
            return Err(SendError::LockLost);
        }
        let mut consumption = Consumption { tx: self, sequence };
        match wait(&mut consumption, &mut waiter)? {
            Some(()) => Ok(true),
            None => Ok(self.is_consumed(sequence)),
        }
    }

    /// Whether a consumer with this id is registered now, attached or away. If it was expected, the producer notes
    /// that it has come, for good: from then on it is not expected, even if it leaves. To ask without noting
    /// anything, use [`consumer_sequence`](Self::consumer_sequence).
    pub fn notice_consumer_id(&mut self, id: &str) -> bool {
        let control = self.segment.control();
        self.core.expectation().is_pending(control);
        self.consumer_sequence(id).is_some()
    }

    /// Whether events are kept for the consumer with this id: it is attached, or away with a place in the ring, or
    /// expected and has not come. For the layers above.
    #[doc(hidden)]
    pub fn keeps_for(&mut self, id: &str) -> bool {
        self.notice_consumer_id(id)
            || check_id(id).is_ok_and(|id| self.core.expectation().ids().contains(&id))
    }

    /// Waits for a consumer with this id, and returns whether one is registered by the deadline: see
    /// [`notice_consumer_id`](Self::notice_consumer_id).
    ///
    /// # Errors
    ///
    /// [`SendError::Cancelled`], [`SendError::LockLost`] and [`SendError::Forked`].
    pub fn wait_for_consumer(&mut self, id: &str, deadline: Deadline) -> Result<bool, SendError> {
        let interval = self.habits.liveness_interval;
        self.wait_for_arrival(deadline, interval, |tx| tx.notice_consumer_id(id))
    }

    /// Expects a consumer with this id from now on: until it has come, the ring is filled once and no
    /// further. If the producer ends first, the published events are kept for that consumer.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidConsumerId`].
    pub fn expect_consumer_id(&mut self, id: &str) -> MultiProcessResult<()> {
        let id = check_id(id)?;
        self.core.expectation().add(id);
        Ok(())
    }

    /// Stops expecting consumers. Without consumers the producer then runs free, and a first consumer that
    /// comes later misses the events that the ring no longer retains.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, portable_shm_segment_name, publisher, subscriber};
    ///
    /// let name = portable_shm_segment_name("doc");
    /// let mut tx = publisher::<u64>(&name, 8)?.free_running();
    /// tx.send_batch(8, Deadline::NEVER, |_, _| {})?;
    /// tx.send(Deadline::NEVER, |event| *event = 8)?;     // no consumer has come, and the producer goes on
    /// assert_ne!(subscriber::<u64>(&name)?.recv_owned(Deadline::NEVER)?, (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.core.expectation().forget_all();
        self
    }

    /// The last sequence that the consumer with this id has released; `None` when no consumer has the id.
    pub fn consumer_sequence(&self, id: &str) -> Option<Sequence> {
        registered(self.segment.control())
            .find(|line| line.id().text() == id)
            .map(|line| line.sequence.load(Ordering::Acquire))
    }

    /// Reads the places of this ring's consumers. For the layers above.
    #[doc(hidden)]
    pub fn place_reader(&self) -> PlaceReader {
        PlaceReader {
            region: self.segment.region().clone(),
        }
    }

    /// When the ring was created, in nanoseconds since 1970: rings of one name differ in it. For the layers above.
    #[doc(hidden)]
    pub fn ring_created(&self) -> u64 {
        self.segment.created_unix_ns
    }

    /// The ids of the consumers that are attached: registered, with a live process. Reads each line and
    /// probes each lock. A consumer whose lock cannot be probed counts as attached.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let tx = ring.producer()?;
    /// let (_here, away) = (ring.consumer("here")?, ring.consumer("away")?);
    /// drop(away);
    /// assert_eq!(tx.attached_consumer_ids(), ["here"]);
    /// assert_eq!(tx.ring_state().consumers.len(), 2);
    /// # Ok::<(), disruptor_mp::MultiProcessError>(())
    /// ```
    pub fn attached_consumer_ids(&self) -> Vec<String> {
        match self.is_forked() {
            true => Vec::new(),
            false => diagnosis::attached(self.segment.control(), self.segment.locks()),
        }
    }

    /// Every cursor of the ring, as it is now.
    pub fn ring_state(&self) -> RingState {
        diagnosis::ring_state(&self.segment, self.last_published_sequence())
    }

    /// Makes the end of the ring that `other` reads cancel this producer's waits for space, as a cancelled
    /// token does: once that ring is closed in order, such a wait returns [`SendError::Cancelled`], even if
    /// space has become free since. A call that need not wait still succeeds. For the layers above.
    #[doc(hidden)]
    pub fn cancel_waits_when_closed<P: Event, C>(&mut self, other: &Consumer<P, C>) {
        self.habits.peer = Some(Peer::new(other.segment().region().clone()));
    }

    /// Reads the note of the consumer with this id. For the layers above.
    #[doc(hidden)]
    pub fn note_reader(&self, id: &str) -> NoteReader {
        NoteReader {
            places: self.place_reader(),
            id: id.to_owned(),
        }
    }

    /// From now on `is_over` is asked once in a liveness interval while calls wait for space. If it returns true, the
    /// call ends as if its deadline had passed; a managed publication has none, and must not be ended. For the layers
    /// above, which so learn of a death without losing the part of a long message that was sent.
    #[doc(hidden)]
    pub fn ask_while_waiting(&mut self, is_over: impl FnMut() -> bool + Send + Sync + 'static) {
        self.asked.is_over = Some(Box::new(is_over));
    }

    /// Does what a call that waits for space does at each liveness check: it drops dead consumers that have no place to
    /// keep, and warns of the absent. For the layers above, whose calls do not wait.
    #[doc(hidden)]
    pub fn check_liveness_now(&mut self) {
        if !self.is_forked() {
            self.check_liveness();
        }
    }

    /// What a warning that a consumer is not there says at its end. For the layers above, which know what may be done.
    #[doc(hidden)]
    pub fn advise_about_the_absent(&mut self, advice: String) {
        self.advice = advice;
    }

    /// Whether no consumer is registered: unless one is expected, nothing is kept for anybody. Reads one word. For the
    /// layers above.
    #[doc(hidden)]
    #[inline]
    pub fn is_unregarded(&self) -> bool {
        let registered = &self.segment.view.control().registered;
        !self.is_forked() && registered.bits.load(Ordering::Acquire) == 0
    }

    /// Whether one of this producer's own tokens is cancelled. For the layers above.
    #[doc(hidden)]
    pub fn is_token_cancelled(&self) -> bool {
        self.habits.cancels.iter().any(CancelToken::is_cancelled)
    }

    /// Whether the ring whose end cancels this producer's waits is closed. For the layers above.
    #[doc(hidden)]
    #[inline]
    pub fn is_peer_closed(&self) -> bool {
        self.habits.is_peer_closed()
    }

    /// How many producers this ring has had before this one. The ring of a [`HeapRing`](crate::HeapRing) is made before
    /// its first producer, which counts as a successor.
    ///
    /// # Examples
    ///
    /// ```
    /// let name = disruptor_mp::portable_shm_segment_name("doc");
    /// let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
    /// assert_eq!(tx.epoch(), 0);
    /// tx.destroy()?;
    /// # Ok::<(), disruptor_mp::MultiProcessError>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Removes a durable consumer that will not come back: it leaves the gate and loses its position. A
    /// consumer that was expected and has not come is no longer expected.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::ConsumerAlreadyAttached`] while it is attached,
    /// [`MultiProcessError::NoSuchConsumer`] when no consumer has the id.
    pub fn remove_consumer(&mut self, id: &str) -> MultiProcessResult<()> {
        let id = check_id(id)?;
        match diagnosis::remove(&self.segment, &id) {
            Ok(()) => {
                self.core.expectation().forget(&id);
                Ok(())
            }
            Err(MultiProcessError::NoSuchConsumer { .. })
                if self.core.expectation().forget(&id) =>
            {
                diagnosis::leave_word(&self.segment, &id);
                Ok(())
            }
            Err(error) => Err(error),
        }
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

    /// The memory that the ring got.
    ///
    /// # Examples
    ///
    /// ```
    /// let tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
    /// assert!(!tx.memory_report().is_read_only);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_report(&self) -> MemoryReport {
        self.segment.region().memory()
    }
}
