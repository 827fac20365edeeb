//! The consumer's handle: copies, leases, batches, and how a wait ends.
//!
//! A consumer owns one line of the segment. With an explicit id the line and the position outlive the
//! process; with an automatic id they go with it, at the latest when a blocked producer checks liveness.

mod bursts;
mod compat;
mod counters;
mod ending;
mod held;
mod waiting;

use core::marker::PhantomData;
use std::sync::Arc;

use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::event::Event;
use crate::handles::diagnosis::{self, RingState};
use crate::handles::guards::Lease;
use crate::handles::kinds::SharedMemory;
use crate::layout::control::{ConsumerId, MAX_ID_BYTES};
use crate::observability::{EndpointCounters, Role};
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines;
use crate::region::MemoryReport;
use crate::segment::Segment;
use crate::sync::process::{AtomicBool, AtomicU64, Ordering};
use crate::waiting::Habits;
use crate::waiting::cancel::Watch;
use crate::waiting::check_timer::CheckTimer;
use crate::waiting::deadline::Deadline;

/// A consumer of a ring in shared memory.
pub type SharedConsumer<E> = Consumer<E, SharedMemory>;

/// A consumer of a ring: it sees every event, in order. [`SharedConsumer`] and
/// [`MmapConsumer`](crate::MmapConsumer) are this type.
///
/// Dropping the consumer detaches it: with an automatic id it leaves the gate; with an explicit one it keeps
/// its position, and gates until it comes back or is removed.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish_batch(3, |event, i| *event = i as u64);
/// assert_eq!(rx.try_consume_next(), Some((0, 0)));                 // a copy
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 1);                       // in place
/// assert_eq!(rx.process_available(|event, _| assert_eq!(*event, 2)), 1);
/// assert!(rx.try_recv()?.is_none());                               // never waits; the ring's end is an error
///
/// assert_eq!((rx.current_sequence(), rx.producer_sequence(), rx.capacity()), (2, 2, 8));
/// assert_eq!((rx.consumer_sequence(), rx.consumer_id().as_str()), (2, "reader"));
/// assert_eq!(rx.name(), tx.name());
/// rx.detach()?;                                                    // it may come back, and continues where it was
/// tx.publish(|event| *event = 3);
/// let mut rx = ring.consumer("reader")?;
/// assert_eq!(rx.ring_state().consumers, [(String::from("reader"), 2)]);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 3);
/// rx.leave()?;                                                     // for good
/// assert_eq!(tx.get_consumer_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Calls for existing programs. They panic where [`recv`](Self::recv) returns an error:
///
/// ```
/// use disruptor_mp::{HeapRing, default_consume_sleep_duration};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// rx.signal_readiness();
/// tx.publish_batch(6, |event, i| *event = i as u64);
/// let pause = default_consume_sleep_duration();
/// assert_eq!(rx.consume_next(), (0, 0));
/// assert_eq!(rx.consume_next_with_sleep(pause), (1, 1));
/// assert_eq!(*rx.consume_next_leased(), 2);
/// assert_eq!(*rx.consume_next_leased_with_sleep(pause), 3);
/// assert_eq!(rx.process_next_blocking(|event, _| *event), 4);
/// assert_eq!(rx.process_available_blocking(|event, _, is_last| assert!(*event == 5 && is_last)), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Held events have been read, but are not released:
///
/// ```
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish_batch(2, |event, i| *event = i as u64);
/// rx.try_consume_next_leased().expect("published").hold();
/// rx.try_consume_next_leased().expect("published").hold();
/// assert_eq!((rx.held_count(), rx.held(1)), (2, Some(&1)));
/// rx.release_held(1);
/// rx.redeliver_held();
/// assert_eq!((rx.held_count(), rx.try_consume_next()), (0, Some((1, 1))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Consumer<E: Event, B = SharedMemory> {
    core: ConsumerCore<E>,
    /// Zero in a forked child, and after a lost lock was noticed.
    live: &'static AtomicU64,
    /// Whether this consumer has noticed that the descriptor of its lock was closed; it reads nothing after
    /// that (R8).
    has_lost: bool,
    habits: Habits,
    /// The registrations by which cancelled tokens wake this consumer.
    _watches: Vec<Watch>,
    segment: Segment<E>,
    id: ConsumerId,
    is_durable: bool,
    is_detached: bool,
    /// When the next liveness check is due in a call that times out.
    timer: CheckTimer,
    /// The event that such a call last found missing.
    missed: Sequence,
    /// Set by a party that waits in this consumer's place and finds the producer dead: the next call that
    /// finds no event checks liveness, too.
    suspicion: Arc<AtomicBool>,
    /// How many events are in doubt, and where this consumer continues once it has been told (R17).
    untold: Option<(u64, Sequence)>,
    pub(crate) counters: EndpointCounters,
    backing: PhantomData<fn() -> B>,
}

/// Checks that `id` is valid for a consumer.
pub(crate) fn check_id(id: &str) -> MultiProcessResult<ConsumerId> {
    ConsumerId::new(id).ok_or_else(|| MultiProcessError::InvalidConsumerId {
        id: id.to_owned(),
        reason: match id.len() {
            0 => "it is empty",
            n if n > MAX_ID_BYTES => "it is longer than 48 bytes",
            _ => "it contains a NUL",
        },
    })
}

impl<E: Event, B> Consumer<E, B> {
    /// The caller owns the line, and the line is registered.
    pub(crate) fn new(
        segment: Segment<E>,
        place: lines::Place,
        id: ConsumerId,
        is_durable: bool,
        habits: Habits,
    ) -> Self {
        tracing::debug!(ring = %segment.shown, id = %id.text(), next = place.next, rejoined = place.rejoined, "consumer attached");
        let mut core = ConsumerCore::new(segment.view, place.line, place.next);
        let untold = core.stand_in_doubt();
        let next = core.next();
        Self {
            _watches: habits.watch(segment.region()),
            core,
            live: segment.region().live_word(),
            has_lost: false,
            habits,
            segment,
            id,
            is_durable,
            is_detached: false,
            timer: CheckTimer::default(),
            missed: -1,
            suspicion: Arc::default(),
            untold,
            counters: EndpointCounters::new(Role::Consumer, next, size_of::<E>()),
            backing: PhantomData,
        }
    }

    /// Whether the next event may be read.
    #[inline(always)]
    fn is_ready(&mut self) -> bool {
        if self.live.load(Ordering::Relaxed) == 0 {
            refuse(self.has_lost);
        }
        self.core.is_ready()
    }

    /// Whether this process is a forked child, or the lock is lost: then nothing in the ring may be touched.
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// Why this consumer can no longer read; `None` while it can.
    pub(crate) fn refusal(&self) -> Option<RecvError> {
        self.is_forked().then(|| refusal(self.has_lost))
    }

    /// The next event in place, if there is one. Never waits.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that made this consumer, and once when events are in doubt
    /// ([`RecvError::InDoubt`]).
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert!(rx.try_consume_next_leased().is_none());
    /// tx.publish(|event| *event = 7);
    /// let lease = rx.try_consume_next_leased().expect("published");
    /// assert_eq!((lease.sequence(), *lease), (0, 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_consume_next_leased(&mut self) -> Option<Lease<'_, E>> {
        if self.is_ready() {
            return Some(Lease::new(&mut self.core));
        }
        if self.untold.is_some() {
            self.panic_in_doubt();
        }
        None
    }

    /// The next event in place, if there is one. It stays the next event. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.publish(|event| *event = 7);
    /// assert_eq!(rx.peek(), Some(&7));
    /// assert_eq!(rx.try_consume_next(), Some((0, 7)));
    /// assert_eq!(rx.peek(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn peek(&self) -> Option<&E> {
        if self.is_forked() || !self.core.is_ready() {
            return None;
        }
        let event = self.core.event(self.core.next());
        // SAFETY: the stamp was seen, and the gate cannot pass the event before it is released, and a release
        // needs a mutable borrow of this consumer (R3, R7); any bytes are an `E`.
        Some(unsafe { event.as_ref() })
    }

    /// A copy of the next event and its sequence, if there is one. Never waits.
    ///
    /// # Panics
    ///
    /// In a forked process, and once when events are in doubt ([`RecvError::InDoubt`]).
    #[inline(always)]
    pub fn try_consume_next(&mut self) -> Option<(Sequence, E)> {
        if !self.is_ready() {
            if self.untold.is_some() {
                self.panic_in_doubt();
            }
            return None;
        }
        let sequence = self.core.next();
        self.core.prefetch_after(sequence);
        // SAFETY: the stamp was seen and the event is not released yet (R3, R7); any bytes are an `E`.
        let event = unsafe { self.core.event(sequence).read() };
        self.core.commit(sequence);
        Some((sequence, event))
    }

    /// The next event in place, waiting for it until the deadline.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] and [`RecvError::ProducerDead`] after everything published was delivered,
    /// [`RecvError::Timeout`], [`RecvError::Cancelled`], [`RecvError::Forked`], [`RecvError::LockLost`];
    /// [`RecvError::InDoubt`], once, before anything else.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing, RecvError};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.publish(|event| *event = 7);
    /// tx.close()?;
    /// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
    /// assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn recv(&mut self, deadline: Deadline) -> Result<Lease<'_, E>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.recv_slowly(deadline);
        }
        Ok(Lease::new(&mut self.core))
    }

    #[cold]
    #[inline(never)]
    fn recv_slowly(&mut self, deadline: Deadline) -> Result<Lease<'_, E>, RecvError> {
        self.wait_for_event(self.habits.strategy, deadline)?;
        Ok(Lease::new(&mut self.core))
    }

    /// The next event in place, if there is one, or the ring's end. Never waits: for event loops. Checks once
    /// in a liveness interval whether the producer is alive, and also when a [`RingSet`](crate::RingSet) or a
    /// descriptor has reported its death.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except for the timeout.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.try_recv_slowly();
        }
        Ok(Some(Lease::new(&mut self.core)))
    }

    #[cold]
    #[inline(never)]
    fn try_recv_slowly(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        match self.look_for_news()? {
            true => Ok(Some(Lease::new(&mut self.core))),
            false => Ok(None),
        }
    }

    /// A lease of the next event, which the caller has found published.
    #[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
    pub(crate) fn lease(&mut self) -> Lease<'_, E> {
        debug_assert!(self.core.is_ready());
        Lease::new(&mut self.core)
    }

    /// The flag by which parties that wait in this consumer's place report that its producer is dead.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn suspicion(&self) -> &Arc<AtomicBool> {
        &self.suspicion
    }

    pub(crate) fn segment(&self) -> &Segment<E> {
        &self.segment
    }

    pub(crate) fn habits(&self) -> &Habits {
        &self.habits
    }

    pub(crate) fn line(&self) -> usize {
        self.core.line()
    }

    /// Whether the producer is blocked and watches for progress. While it does, a consumer that otherwise releases
    /// several events together releases each event by itself as soon as it is handled. For the layers above.
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        !self.is_forked() && self.core.is_watched()
    }

    /// Whether one of this consumer's tokens is cancelled. For the layers above, whose loops skip events that
    /// they do not use.
    #[doc(hidden)]
    pub fn is_cancelled(&self) -> bool {
        self.habits.are_cancelled()
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
    /// tx.publish(|event| *event = 7);
    /// assert!(!rx.is_closed());
    /// tx.close()?;
    /// assert!(rx.is_closed());
    /// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        !self.is_forked() && self.core.closed_at().is_some()
    }

    /// The last sequence this consumer has released.
    #[inline]
    pub fn current_sequence(&self) -> Sequence {
        match self.is_forked() {
            true => self.core.next() - 1,
            false => self.core.held().start - 1,
        }
    }

    /// The sequence that is delivered next. Events between the last released one and this one are held.
    pub(crate) fn next_to_read(&self) -> Sequence {
        self.core.next()
    }

    /// The last published sequence, found by polling the stamps that follow this consumer's position.
    pub fn producer_sequence(&self) -> Sequence {
        if self.is_forked() {
            self.next_to_read() - 1
        } else {
            self.core.newest()
        }
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
}

#[cold]
#[inline(never)]
fn refuse(has_lost: bool) -> ! {
    panic!("{}", refusal(has_lost))
}

/// The error for reading with a consumer whose live word is zero.
fn refusal(has_lost: bool) -> RecvError {
    match has_lost {
        true => RecvError::LockLost,
        false => RecvError::Forked,
    }
}
