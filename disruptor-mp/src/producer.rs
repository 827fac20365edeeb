//! The producer's handle: `publish` and everything that asks how far the consumers are.
//!
//! One process has the ring's producer at a time; it holds lock byte 0. When it dies the byte falls, consumers drain
//! what was published and are told, and the next producer on the name takes over (R14).

use core::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::backing::SharedMemory;
use crate::blocked::{self, BlockedOn, RingState};
use crate::claim::Claim;
use crate::deadline::Deadline;
use crate::error::{
    MissingFreeSlots, MultiProcessError, MultiProcessResult, RingBufferFull, SendError,
};
use crate::fail::point;
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::liveness::Liveness;
use crate::observability::ProducerCounters;
use crate::protocol::expect::Expectation;
use crate::protocol::lines;
use crate::protocol::publish::ProducerCore;
use crate::protocol::takeover::Inheritance;
use crate::region::MemoryReport;
use crate::segment::Segment;
use crate::sync::process::{AtomicU64, Ordering};
use crate::sync::spin_loop;
use crate::wait::{
    AutoWaitStrategy, FIRST_LOOK, LIVENESS_INTERVAL, Pause, Waiter,
    default_discovery_poll_duration, perform_sleep_wait,
};
use crate::{Event, Sequence};

/// The producer of a ring in shared memory.
pub type SharedProducer<E> = Producer<E, SharedMemory>;

/// The one producer of a ring. [`SharedProducer`] and [`MmapProducer`](crate::MmapProducer) are this type.
///
/// Dropping it closes the ring: consumers drain what is left and see the end. The name goes too, unless a durable
/// consumer has unread events. Dropped by a panic, it leaves the ring as a death would: consumers are told that the
/// producer died, and a successor may take over.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish(|event| *event = 7);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Producer<E: Event, B = SharedMemory> {
    pub(crate) core: ProducerCore<E>,
    live: &'static AtomicU64,
    pub(crate) strategy: AutoWaitStrategy,
    pub(crate) segment: Segment<E>,
    /// Since when the ring has been full without a gate that moved, and where the gate was.
    stalled: Option<(Instant, Sequence)>,
    /// When a call that never waits, on a full ring, looks around next.
    next_look: Option<Instant>,
    pub(crate) liveness: Liveness,
    pub(crate) counters: ProducerCounters,
    ending: Ending,
    has_ended: bool,
    backing: PhantomData<fn() -> B>,
}

/// Spin hints between two looks at a full ring, at the most.
const HINTS_MAX: u32 = 64;
/// A refresh drains the processor's store buffer (R5). So a blocked call looks this often, a few microseconds in all,
/// for an eighth of the ring to be gained by it, before it takes what there is.
const PATIENCE: u32 = 12;

/// What becomes of the ring when its producer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Closed; the name goes when no durable consumer needs it.
    Close,
    /// Closed, the name stays.
    Keep,
    /// Closed, the name goes now.
    Destroy,
}

impl<E: Event, B> Producer<E, B> {
    /// The segment has the producer's lock.
    pub(crate) fn new(
        segment: Segment<E>,
        start: Inheritance,
        expected: Expectation,
        strategy: AutoWaitStrategy,
    ) -> Self {
        tracing::debug!(ring = %segment.name, next = start.next, epoch = start.epoch, "producer starts");
        Self {
            core: ProducerCore::new(segment.view, start.next, start.floor, expected),
            live: segment.region().live_word(),
            strategy,
            liveness: Liveness::new(segment.region().live_word()),
            segment,
            stalled: None,
            next_look: None,
            counters: ProducerCounters::new(start.next, size_of::<E>()),
            ending: Ending::Close,
            has_ended: false,
            backing: PhantomData,
        }
    }

    /// The next sequence if `n` slots may be written now, without a refresh of the gate (R4), in the process that
    /// made this producer.
    #[inline(always)]
    fn vacant(&self, n: usize) -> Option<Sequence> {
        // first of all: the position is read from the ring, which a forked child has not mapped (R8)
        if self.live.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.core.vacant(n)
    }

    /// As [`vacant`](Self::vacant), after a refresh if need be.
    #[inline(always)]
    fn try_vacant(&mut self, n: usize) -> Option<Sequence> {
        self.vacant(n).or_else(|| self.refill(n))
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: usize) -> Option<Sequence> {
        if self.is_forked() {
            panic!("{}", SendError::Forked);
        }
        if !self.core.refresh(n) && self.is_look_due() {
            self.look_around();
            self.core.refresh(n);
        }
        let vacant = self.core.vacant(n);
        if vacant.is_some() {
            self.stalled = None;
            self.next_look = None;
        } else {
            self.counters.count_full(self.core.next());
        }
        self.counters.bring_up_to_date(self.core.next());
        vacant
    }

    /// Calls that never wait look around, too, when the ring has been full for a while: a program that only tries
    /// must not be held by a dead consumer for ever.
    fn is_look_due(&mut self) -> bool {
        let now = Instant::now();
        let due = *self.next_look.get_or_insert(now + FIRST_LOOK);
        let is_due = now >= due;
        if is_due {
            self.next_look = Some(now + LIVENESS_INTERVAL);
        }
        is_due
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// Publishes one event if a slot is free. Never waits.
    ///
    /// The closure is handed the slot as the last lap left it, not cleared: write every field, or use
    /// [`publish_value`](Self::publish_value).
    ///
    /// # Errors
    ///
    /// [`RingBufferFull`] when no slot is free; [`blocked_on`](Self::blocked_on) says who holds it.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that made this producer.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(1)?;
    /// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(tx.try_publish(|event| *event = 1), Ok(0));
    /// assert!(tx.try_publish(|event| *event = 2).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_publish<F: FnOnce(&mut E)>(&mut self, write: F) -> Result<Sequence, RingBufferFull> {
        match self.try_vacant(1) {
            Some(sequence) => Ok(self.write_one(sequence, write)),
            None => Err(RingBufferFull),
        }
    }

    /// The caller has seen that there is space.
    #[inline(always)]
    pub(crate) fn write_one<F: FnOnce(&mut E)>(
        &mut self,
        sequence: Sequence,
        write: F,
    ) -> Sequence {
        point("publish.claimed");
        let mut event = self.core.event(sequence);
        // SAFETY: the slot is claimed by this producer alone, and no consumer reads it before its stamp (R2, R3);
        // any bytes are an `E` by the contract of `Event`.
        write(unsafe { event.as_mut() });
        self.core.publish_one(sequence);
        sequence
    }

    /// Publishes one event, waiting for a free slot for as long as it takes.
    ///
    /// The slot is handed over as the last lap left it, not cleared. The twin that returns its errors is
    /// [`send`](Self::send).
    ///
    /// # Panics
    ///
    /// When sequences are exhausted, and in a forked process.
    #[inline]
    pub fn publish<F: FnOnce(&mut E)>(&mut self, write: F) {
        let sequence = match self.vacant(1) {
            Some(sequence) => sequence,
            None => self.wait_or_panic(1),
        };
        self.write_one(sequence, write);
    }

    /// Publishes a whole event by value, waiting for a free slot for as long as it takes.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish).
    #[inline]
    pub fn publish_value(&mut self, event: E) {
        self.publish(|slot| *slot = event);
    }

    /// Publishes one event, waiting for a free slot until the deadline.
    ///
    /// # Errors
    ///
    /// [`SendError::Timeout`] with who held the ring, [`SendError::SequenceExhausted`], [`SendError::Forked`].
    /// Nothing was published then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::{Deadline, HeapRing, SendError};
    ///
    /// let ring = HeapRing::<u64>::new(1)?;
    /// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send(Deadline::NEVER, |event| *event = 1)?;
    /// let full = tx.send(Deadline::after(Duration::from_millis(1)), |event| *event = 2);
    /// assert!(full.unwrap_err().to_string().contains("'reader'"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn send<F: FnOnce(&mut E)>(
        &mut self,
        deadline: Deadline,
        write: F,
    ) -> Result<Sequence, SendError> {
        let sequence = match self.vacant(1) {
            Some(sequence) => sequence,
            None => self.wait_for_space(1, deadline)?,
        };
        Ok(self.write_one(sequence, write))
    }

    /// [`send`](Self::send) with a timeout in place of a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn publish_with_timeout<F: FnOnce(&mut E)>(
        &mut self,
        timeout: Duration,
        write: F,
    ) -> Result<Sequence, SendError> {
        self.send(Deadline::after(timeout), write)
    }

    /// Claims the next slot, waiting for it until the deadline: write through the guard, then publish it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// let mut slot = tx.claim(Deadline::NEVER)?;
    /// *slot = 7;
    /// assert_eq!(slot.publish(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn claim(&mut self, deadline: Deadline) -> Result<Claim<'_, E>, SendError> {
        let sequence = match self.vacant(1) {
            Some(sequence) => sequence,
            None => self.wait_for_space(1, deadline)?,
        };
        Ok(Claim::new(&mut self.core, sequence))
    }

    /// Claims the next slot if it is free. Never waits.
    ///
    /// # Errors
    ///
    /// [`RingBufferFull`].
    pub fn try_claim(&mut self) -> Result<Claim<'_, E>, RingBufferFull> {
        match self.try_vacant(1) {
            Some(sequence) => Ok(Claim::new(&mut self.core, sequence)),
            None => Err(RingBufferFull),
        }
    }

    /// Publishes `n` events together if that many slots are free; consumers see all of them or none. Never waits.
    /// The closure is handed memory of unspecified content for each event, the lowest index first: write every field.
    /// Zero events are no operation and return the last published sequence.
    ///
    /// # Errors
    ///
    /// [`MissingFreeSlots`], with how many are free; a batch larger than the ring never fits.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(tx.try_batch_publish(4, |event, i| *event = i as u64), Ok(3));
    /// assert_eq!(rx.process_available(|event, sequence| assert_eq!(*event, sequence as u64)), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_batch_publish<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        write: F,
    ) -> Result<Sequence, MissingFreeSlots> {
        match self.try_vacant(n) {
            Some(first) => Ok(self.write_many(first, n, write)),
            None => Err(self.missing(n)),
        }
    }

    #[cold]
    fn missing(&self, n: usize) -> MissingFreeSlots {
        MissingFreeSlots {
            requested: n,
            available: self.core.free(),
            capacity: self.core.capacity(),
        }
    }

    /// The caller has seen that there is space.
    #[inline(always)]
    pub(crate) fn write_many<F: FnMut(&mut E, usize)>(
        &mut self,
        first: Sequence,
        n: usize,
        mut write: F,
    ) -> Sequence {
        self.core.publish_batch(first, n, |mut event, index| {
            // SAFETY: as in `write_one`; each slot of the claim is handed out once (R2).
            write(unsafe { event.as_mut() }, index);
        })
    }

    /// Publishes `n` events together, waiting until they fit.
    ///
    /// # Panics
    ///
    /// When the batch is larger than the ring, when sequences are exhausted, and in a forked process.
    #[inline]
    pub fn publish_batch<F: FnMut(&mut E, usize)>(&mut self, n: usize, write: F) -> Sequence {
        let first = match self.vacant(n) {
            Some(first) => first,
            None => self.wait_or_panic(n),
        };
        self.write_many(first, n, write)
    }

    /// The same as [`publish_batch`](Self::publish_batch), under its older name.
    ///
    /// # Panics
    ///
    /// As [`publish_batch`](Self::publish_batch).
    pub fn batch_publish<F: FnMut(&mut E, usize)>(&mut self, n: usize, write: F) -> Sequence {
        self.publish_batch(n, write)
    }

    /// Publishes `n` events together, waiting until they fit or the deadline passes.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::BatchTooLarge`].
    pub fn send_batch<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        deadline: Deadline,
        write: F,
    ) -> Result<Sequence, SendError> {
        let first = match self.vacant(n) {
            Some(first) => first,
            None => self.wait_for_space(n, deadline)?,
        };
        Ok(self.write_many(first, n, write))
    }

    #[cold]
    #[inline(never)]
    fn wait_or_panic(&mut self, n: usize) -> Sequence {
        match self.wait_for_space(n, Deadline::NEVER) {
            Ok(first) => first,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until `n` slots may be written, and returns the first one's sequence.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_for_space(
        &mut self,
        n: usize,
        deadline: Deadline,
    ) -> Result<Sequence, SendError> {
        if self.wait_until_space(n, deadline)? {
            return Ok(self.core.next());
        }
        // a batch can be blocked while some slots are free
        let blocked_on = self
            .diagnose()
            .map_or_else(String::new, |blocked| blocked.to_string());
        Err(SendError::Timeout { blocked_on })
    }

    /// As [`wait_for_space`](Self::wait_for_space), but says false when the deadline has passed.
    pub(crate) fn wait_until_space(
        &mut self,
        n: usize,
        deadline: Deadline,
    ) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        let mut waiter = Waiter::new(self.strategy, deadline);
        let mut hints = 1;
        let mut looks = 0_u32;
        loop {
            looks = looks.saturating_add(1);
            if (looks > PATIENCE || self.core.is_refresh_worthwhile(n)) && self.poll_space(n)? {
                return Ok(true);
            }
            // each look takes the consumers' lines from them: look less and less often
            for _ in 0..hints {
                spin_loop();
            }
            hints = (hints * 2).min(HINTS_MAX);
            let pause = waiter.pause();
            self.counters.count_parks(waiter.take_sleeps());
            match pause {
                Pause::Again => {}
                Pause::LookAround => self.look_around(),
                Pause::TimedOut => return self.poll_space(n),
            }
        }
    }

    /// One look for space; errors are those that no waiting heals.
    pub(crate) fn poll_space(&mut self, n: usize) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        if n > self.core.capacity() {
            return Err(SendError::BatchTooLarge {
                requested: n,
                capacity: self.core.capacity(),
            });
        }
        if self.core.refresh(n) {
            self.stalled = None;
            self.counters.bring_up_to_date(self.core.next());
            return Ok(true);
        }
        if self.core.is_exhausted(n) {
            return Err(SendError::SequenceExhausted);
        }
        self.counters.count_full(self.core.next());
        Ok(false)
    }

    /// While blocked: dead automatic consumers leave the gate, and the time without progress is noted.
    pub(crate) fn look_around(&mut self) {
        self.counters.bring_up_to_date(self.core.next());
        let gate = self.core.gate();
        match self.stalled {
            Some((_, at)) if at == gate => {}
            _ => self.stalled = Some((Instant::now(), gate)),
        }
        match lines::evict_dead(self.segment.control(), self.segment.locks()) {
            Ok(0) => {}
            Ok(evicted) => {
                tracing::info!(ring = %self.segment.name, evicted, "dead consumers left the gate")
            }
            Err(error) => {
                tracing::warn!(ring = %self.segment.name, %error, "could not look who is alive")
            }
        }
    }

    /// Who keeps the next event from being published; `None` when a slot is free. Looks at the lines and the locks:
    /// for diagnosis, not for a hot loop.
    pub fn blocked_on(&mut self) -> Option<BlockedOn> {
        if self.is_forked() || self.core.is_obtainable(1) {
            return None;
        }
        self.diagnose()
    }

    /// Who would have to move for more slots to become free.
    fn diagnose(&mut self) -> Option<BlockedOn> {
        let since = self
            .stalled
            .map(|(since, _)| since.elapsed())
            .unwrap_or_default();
        let is_exhausted = self.core.is_exhausted(1);
        let last = self.last_published_sequence();
        let expectation = self.core.expectation().clone();
        blocked::find(&self.segment, last, &expectation, is_exhausted, since)
    }

    /// The last sequence that was published, −1 before the first (or one less than a configured first sequence).
    #[inline]
    pub fn last_published_sequence(&self) -> Sequence {
        if self.is_forked() {
            panic!("{}", SendError::Forked);
        }
        self.core.next() - 1
    }

    /// The smallest sequence among all registered consumers; the last published one when there is none.
    pub fn min_gating_sequence(&self) -> Sequence {
        blocked::smallest(self.segment.control()).unwrap_or(self.last_published_sequence())
    }

    /// Whether every registered consumer has released `sequence`. Without consumers: whether it was published, and
    /// nobody is expected.
    pub fn is_consumed(&mut self, sequence: Sequence) -> bool {
        let is_pending = self.core.expectation().is_pending(self.segment.control());
        let released = self
            .min_gating_sequence()
            .min(self.last_published_sequence());
        !is_pending && sequence <= released
    }

    /// Waits until [`is_consumed`](Self::is_consumed), for `timeout` at the most; says whether it is.
    pub fn wait_until_consumed_with_strategy(
        &mut self,
        sequence: Sequence,
        timeout: Duration,
        strategy: AutoWaitStrategy,
    ) -> bool {
        let mut waiter = Waiter::new(strategy, Deadline::after(timeout));
        loop {
            if self.is_consumed(sequence) {
                return true;
            }
            match waiter.pause() {
                Pause::Again => {}
                Pause::LookAround => self.look_around(),
                Pause::TimedOut => return self.is_consumed(sequence),
            }
        }
    }

    /// Whether a consumer with this id is registered now, attached or away. It counts as seen from then on.
    pub fn discover_consumer_id(&mut self, id: &str) -> bool {
        let control = self.segment.control();
        self.core.expectation().is_pending(control);
        self.consumer_sequence(id).is_some()
    }

    /// Waits up to `timeout` for a consumer with this id; says whether it is registered.
    pub fn wait_for_consumer_id(&mut self, id: &str, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        while !self.discover_consumer_id(id) {
            if deadline.has_passed() {
                return false;
            }
            perform_sleep_wait(default_discovery_poll_duration());
        }
        true
    }

    /// Expects a consumer with this id from now on: until it has come, the ring is filled once and no further.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InvalidConsumerId`].
    pub fn expect_consumer_id(&mut self, id: &str) -> MultiProcessResult<()> {
        let id = crate::consumer::check_id(id)?;
        self.core.expectation().add(id);
        Ok(())
    }

    /// The last sequence that the consumer with this id has released; `None` when nobody has the id.
    pub fn consumer_sequence(&self, id: &str) -> Option<Sequence> {
        blocked::registered(self.segment.control())
            .find(|line| line.id().text() == id)
            .map(|line| line.sequence.load(crate::sync::Ordering::Acquire))
    }

    /// How many consumers are registered, attached and away.
    pub fn get_consumer_count(&self) -> usize {
        blocked::registered(self.segment.control()).count()
    }

    /// Every cursor of the ring, as it is now.
    pub fn ring_state(&self) -> RingState {
        blocked::ring_state(&self.segment, self.last_published_sequence())
    }

    /// Forgets a durable consumer that will not come back: its place in the gate and its position.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::ConsumerAlreadyAttached`] while it is attached,
    /// [`MultiProcessError::NoSuchConsumer`] when nobody has the id.
    pub fn remove_consumer(&mut self, id: &str) -> MultiProcessResult<()> {
        let id = crate::consumer::check_id(id)?;
        blocked::remove(&self.segment, &id)
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

    /// What memory the ring got.
    pub fn memory_report(&self) -> MemoryReport {
        self.segment.region().memory()
    }

    /// Closes the ring: consumers drain what is left and see the end. The same as dropping the producer, but with
    /// its errors.
    ///
    /// # Errors
    ///
    /// When the system does not let the name go.
    pub fn close(self) -> MultiProcessResult<()> {
        self.end(Ending::Close)
    }

    /// Closes the ring and keeps its name and its retained events: who subscribes later drains those, and the next
    /// producer goes on with the sequence.
    ///
    /// # Errors
    ///
    /// When the system fails.
    pub fn keep(self) -> MultiProcessResult<()> {
        self.end(Ending::Keep)
    }

    /// Closes the ring and removes its name, whatever is unread. Attached consumers still drain.
    ///
    /// # Errors
    ///
    /// When the system does not let the name go.
    pub fn destroy(self) -> MultiProcessResult<()> {
        self.end(Ending::Destroy)
    }

    fn end(mut self, ending: Ending) -> MultiProcessResult<()> {
        self.ending = ending;
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        self.finish().map_err(self.segment.io_error("end the ring"))
    }

    /// Close, then the name, then the lock: who waits for the lock finds everything said.
    fn finish(&mut self) -> std::io::Result<()> {
        if core::mem::replace(&mut self.has_ended, true) {
            return Ok(());
        }
        self.counters.bring_up_to_date(self.core.next());
        let control = self.segment.control();
        control.producer.kept.store(
            u32::from(self.ending == Ending::Keep),
            crate::sync::Ordering::Relaxed,
        );
        self.core.close();
        point("close.closed");
        let removes = match self.ending {
            Ending::Close => !blocked::is_needed(self.segment.control()),
            Ending::Keep => false,
            Ending::Destroy => true,
        };
        let removed = if removes {
            self.segment.unlink_if_ours()
        } else {
            Ok(())
        };
        tracing::debug!(ring = %self.segment.name, last = self.last_published_sequence(), removes, "producer ends");
        point("close.unlinked");
        self.segment.locks().unlock(PRODUCER_BYTE)?;
        point("close.unlocked");
        removed?;
        // the last one to drain may have come while the lock was ours
        self.segment.unlink_if_drained()
    }
}

impl<E: Event, B> Drop for Producer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() || std::thread::panicking() {
            return;
        }
        if let Err(error) = self.finish() {
            tracing::warn!(ring = %self.segment.name, %error, "could not end the ring");
        }
    }
}
