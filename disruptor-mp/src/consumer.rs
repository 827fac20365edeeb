//! The consumer's handle: copies, leases, batches, and how a wait ends.
//!
//! A consumer owns one line of the segment. With an explicit id the line and the position outlive the
//! process; with an automatic id they go with it, at the latest when a blocked producer checks liveness.

use core::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backing::SharedMemory;
use crate::blocked::{self, RingState};
use crate::cancel::Watch;
use crate::claim::Lease;
use crate::clock;
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::fail::reached;
use crate::layout::control::{ConsumerId, MAX_ID_BYTES};
use crate::layout::lock_bytes::id_byte;
use crate::observability::ConsumerCounters;
use crate::os::descriptor::lost_locks;
use crate::os::step::{Failed, Step};
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines;
use crate::region::MemoryReport;
use crate::segment::Segment;
use crate::sync::process::{AtomicBool, AtomicU64, Ordering};
use crate::wait::{AutoWaitStrategy, Habits, Pause, Waiter};
use crate::{Event, Sequence};

/// Polls of the next stamp between two checks of everything else.
const LOOKS: u32 = 16;

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
    next_look: Option<Instant>,
    /// The event that such a call last found missing.
    missed: Sequence,
    /// Set by a party that waits in this consumer's place and finds the producer dead: the next call that
    /// finds no event checks liveness, too.
    suspicion: Arc<AtomicBool>,
    /// How many events are in doubt, and where this consumer continues once it has been told (R17).
    untold: Option<(u64, Sequence)>,
    pub(crate) counters: ConsumerCounters,
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
            next_look: None,
            missed: -1,
            suspicion: Arc::default(),
            untold,
            counters: ConsumerCounters::new(next, size_of::<E>()),
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
    #[inline]
    pub fn try_consume_next_leased(&mut self) -> Option<Lease<'_, E>> {
        if self.is_ready() {
            Some(Lease::new(&mut self.core))
        } else {
            if self.untold.is_some() {
                self.panic_in_doubt();
            }
            None
        }
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
    #[inline]
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
    #[inline]
    pub fn recv(&mut self, deadline: Deadline) -> Result<Lease<'_, E>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            self.wait_for_event(self.habits.strategy, deadline)?;
        }
        Ok(Lease::new(&mut self.core))
    }

    /// The next event in place, if there is one, or the ring's end. Never waits: for event loops. Checks once
    /// in a liveness interval whether the producer is alive, and also when a [`RingSet`](crate::RingSet) or a
    /// descriptor has reported its death.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except for the timeout.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        if (self.is_forked() || !self.core.is_ready()) && !self.look_for_news()? {
            return Ok(None);
        }
        Ok(Some(Lease::new(&mut self.core)))
    }

    /// Whether the next event has come since a first poll found none.
    #[cold]
    #[inline(never)]
    fn look_for_news(&mut self) -> Result<bool, RecvError> {
        let looks_around = !self.is_forked() && self.is_look_due();
        self.poll_news(looks_around)
    }

    /// Whether the next event is there. Returns an error at the ring's end, when a token is cancelled, and,
    /// if `looks_around`, when the producer is dead.
    pub(crate) fn poll_news(&mut self, looks_around: bool) -> Result<bool, RecvError> {
        if self.is_forked() {
            return Err(refusal(self.has_lost));
        }
        self.tell_of_doubt()?;
        if self.core.is_ready() {
            return Ok(true);
        }
        self.core.let_producer_go_on();
        if self.core.is_at_end() {
            if let Err(failed) = self.unlink_if_last() {
                let error = self.segment.refused(failed);
                tracing::warn!("{error}");
            }
            return Err(RecvError::Closed);
        }
        if looks_around {
            self.look_around()?;
        }
        if self.core.is_ready() {
            return Ok(true);
        }
        match self.habits.are_cancelled() {
            true => Err(RecvError::Cancelled),
            false => Ok(false),
        }
    }

    /// Reports a doubt, once (R17).
    fn tell_of_doubt(&mut self) -> Result<(), RecvError> {
        match self.untold.take() {
            None => Ok(()),
            Some((events, next)) => {
                self.core.go_on_at(next);
                self.counters.start_at(next);
                Err(RecvError::InDoubt { events })
            }
        }
    }

    /// Called by calls that cannot return an error and have found no event: panics, once, if events are in doubt.
    #[cold]
    #[inline(never)]
    fn panic_in_doubt(&mut self) {
        if let Err(error) = self.tell_of_doubt() {
            panic!("{error}");
        }
    }

    /// A lease of the next event, which the caller has found published.
    #[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
    pub(crate) fn lease(&mut self) -> Lease<'_, E> {
        debug_assert!(self.core.is_ready());
        Lease::new(&mut self.core)
    }

    /// Waits for the next event.
    #[cold]
    #[inline(never)]
    fn wait_for_event(
        &mut self,
        strategy: AutoWaitStrategy,
        deadline: Deadline,
    ) -> Result<(), RecvError> {
        if self.is_forked() {
            return Err(refusal(self.has_lost));
        }
        let participants = self.participants();
        let mut waiter = Waiter::new(&mut self.habits, strategy, deadline, participants);
        self.counters.bring_up_to_date(self.core.next());
        let mut looks_around = self.is_suspicious();
        loop {
            if self.poll_news(looks_around)? {
                return Ok(());
            }
            looks_around = false;
            let pause = waiter.pause();
            self.counters.count_parks(waiter.take_sleeps());
            match pause {
                Pause::Again if self.looks_quickly(strategy) => return Ok(()),
                Pause::Again => {}
                Pause::Sleep(longest) => {
                    let wake = self
                        .core
                        .sleep_until_event(longest, || self.habits.are_cancelled());
                    self.habits.learn(wake);
                }
                Pause::LookAround => self.look_around()?,
                Pause::TimedOut if self.core.is_ready() => {
                    reached("recv.at_the_last_moment");
                    return Ok(());
                }
                Pause::TimedOut if self.is_look_due() => {
                    self.look_around()?;
                    return Err(RecvError::Timeout);
                }
                Pause::TimedOut => return Err(RecvError::Timeout),
            }
            self.counters.count_empty();
        }
    }

    /// Polls the next event's stamp for a while, with nothing in between, and returns whether the event has
    /// come. A spinning call gets the event sooner by the time that all the other checks take.
    #[inline(always)]
    fn looks_quickly(&self, strategy: AutoWaitStrategy) -> bool {
        strategy.spins()
            && (0..LOOKS).any(|_| {
                strategy.hint();
                self.core.is_ready()
            })
    }

    /// Whether a call that times out at once is due for a liveness check because nothing has come for a
    /// while. The first such call after an event does not even read the clock, so that a caller that polls
    /// once more after each event pays nothing for it.
    fn is_look_due(&mut self) -> bool {
        if self.is_suspicious() {
            return true;
        }
        let next = self.next_to_read();
        if self.missed != next {
            self.missed = next;
            return false;
        }
        let now = clock::now();
        let is_due = self.next_look.is_some_and(|at| now >= at);
        if is_due || self.next_look.is_none() {
            self.next_look = Some(now + self.habits.liveness_interval);
        }
        is_due
    }

    /// Whether a call that waits for the next event would return at once, with the event or with the ring's
    /// end. The caller of this method waits in the consumer's place, so the method lets the producer go on as
    /// that call would (R9).
    pub(crate) fn has_news(&self) -> bool {
        if self.core.is_ready() || self.untold.is_some() {
            return true;
        }
        self.core.let_producer_go_on();
        self.core.is_at_end()
    }

    /// Whether the producer is dead and nothing is left, or this consumer's lock is lost. For a caller that
    /// waits in this consumer's place: the consumer's next call returns the error.
    pub(crate) fn is_orphaned(&self) -> bool {
        let is_orphaned =
            self.segment.has_lost_locks() || (!self.core.is_ready() && self.is_left_alone());
        if is_orphaned {
            self.suspicion.store(true, Ordering::Relaxed);
        }
        is_orphaned
    }

    /// The flag by which parties that wait in this consumer's place report that its producer is dead.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn suspicion(&self) -> &Arc<AtomicBool> {
        &self.suspicion
    }

    /// Whether that flag is set; clears it.
    fn is_suspicious(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) && self.suspicion.swap(false, Ordering::Relaxed)
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

    /// How many endpoints share the ring.
    pub(crate) fn participants(&self) -> usize {
        1 + blocked::registered(self.core.control()).count()
    }

    /// R11: returns an error if the producer is dead and nothing is left. Also notices a lost lock: a
    /// consumer that has lost its lock cannot tell whether the producer is alive.
    fn look_around(&mut self) -> Result<(), RecvError> {
        if self.segment.has_lost_locks() {
            static LOST: AtomicU64 = AtomicU64::new(0);
            (self.has_lost, self.live) = (true, &LOST);
            return Err(RecvError::LockLost);
        }
        self.counters.bring_up_to_date(self.core.next());
        if self.is_left_alone() {
            return Err(self.segment.orphaned());
        }
        Ok(())
    }

    /// R11: as [`ConsumerCore::is_abandoned`]; false if the system cannot tell.
    fn is_left_alone(&self) -> bool {
        self.core.is_abandoned(self.segment.locks()).unwrap_or_else(|error| {
            tracing::warn!(ring = %self.segment.shown, %error, "could not probe the producer's lock");
            false
        })
    }

    /// Removes the name of a closed ring if this consumer is the last to drain it (R15). This consumer is at
    /// the ring's end; events that it holds are not released yet.
    fn unlink_if_last(&self) -> Result<(), Failed> {
        let has_drained = self.core.held().is_empty();
        let unlinked = self.segment.unlink_if_drained(has_drained);
        unlinked.map_err(|error| Step::RemoveName.failed(error))
    }

    /// Waits for the next event, also after the producer has died, and panics with every other error.
    fn wait_or_panic(&mut self, strategy: AutoWaitStrategy) {
        loop {
            match self.wait_for_event(strategy, Deadline::NEVER) {
                Ok(()) => return,
                Err(RecvError::ProducerDead { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A copy of the next event. Waits for it for as long as it takes, also after the producer has died.
    /// [`recv`](Self::recv) returns errors instead.
    ///
    /// # Panics
    ///
    /// When the ring is closed and drained, once when events are in doubt, and in a forked process.
    pub fn consume_next(&mut self) -> (Sequence, E) {
        self.consume_next_by(self.habits.strategy)
    }

    /// As [`consume_next`](Self::consume_next), but sleeps for `pause` between two polls.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_with_sleep(&mut self, pause: Duration) -> (Sequence, E) {
        self.consume_next_by(AutoWaitStrategy::Sleep(pause))
    }

    fn consume_next_by(&mut self, strategy: AutoWaitStrategy) -> (Sequence, E) {
        loop {
            if let Some(next) = self.try_consume_next() {
                return next;
            }
            self.wait_or_panic(strategy);
        }
    }

    /// The next event in place, waiting for it for as long as it takes.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_leased(&mut self) -> Lease<'_, E> {
        if !self.is_ready() {
            self.wait_or_panic(self.habits.strategy);
        }
        Lease::new(&mut self.core)
    }

    /// As [`consume_next_leased`](Self::consume_next_leased), but sleeps for `pause` between two polls.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_leased_with_sleep(&mut self, pause: Duration) -> Lease<'_, E> {
        if !self.is_ready() {
            self.wait_or_panic(AutoWaitStrategy::Sleep(pause));
        }
        Lease::new(&mut self.core)
    }

    /// Handles the events that are there, at most one ring's worth, and returns how many. Never waits.
    ///
    /// Events are released together when the call ends, and within the call at every eighth of the ring: a
    /// consumer that dies in the closure sees at most that many again. If the closure panics, all events
    /// before the one at hand are released. While the producer is blocked and watches its required consumers,
    /// each event is released by itself.
    ///
    /// # Panics
    ///
    /// In a forked process, once when events are in doubt ([`RecvError::InDoubt`]), and with the closure.
    #[inline]
    pub fn process_available<F: FnMut(&E, Sequence)>(&mut self, mut handle: F) -> usize {
        if !self.is_ready() {
            if self.untold.is_some() {
                self.panic_in_doubt();
            }
            return 0;
        }
        self.process_ready::<false, _>(|| false, |event, sequence, _| handle(event, sequence))
    }

    /// As [`process_available`](Self::process_available), but waits for the first event and tells the closure
    /// of each event whether it is the last of this call.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next), and with the closure.
    pub fn process_available_blocking<F: FnMut(&E, Sequence, bool)>(&mut self, handle: F) -> usize {
        if !self.is_ready() {
            self.wait_or_panic(self.habits.strategy);
        }
        self.process_ready::<true, _>(|| false, handle)
    }

    /// Waits for events until the deadline and handles those that are there; the flag is true for the last of them.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.publish_batch(3, |event, i| *event = i as u64);
    /// let mut seen = Vec::new();
    /// rx.process_within(Deadline::NEVER, |event, _, is_last| seen.push((*event, is_last)))?;
    /// assert_eq!(seen, [(0, false), (1, false), (2, true)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_within<F: FnMut(&E, Sequence, bool)>(
        &mut self,
        deadline: Deadline,
        handle: F,
    ) -> Result<usize, RecvError> {
        self.process_until(deadline, || false, handle)
    }

    /// As [`process_within`](Self::process_within), but if `is_over` is true before an event is handled, that
    /// event is the last.
    pub(crate) fn process_until<F: FnMut(&E, Sequence, bool)>(
        &mut self,
        deadline: Deadline,
        is_over: impl Fn() -> bool,
        handle: F,
    ) -> Result<usize, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            self.wait_for_event(self.habits.strategy, deadline)?;
        }
        Ok(self.process_ready::<true, _>(is_over, handle))
    }

    /// Waits for one event and handles it in place.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next), and with the closure; in that case the event is delivered again.
    pub fn process_next_blocking<F: FnOnce(&E, Sequence) -> R, R>(&mut self, handle: F) -> R {
        let lease = self.consume_next_leased();
        let result = handle(&lease, lease.sequence());
        lease.commit();
        result
    }

    /// Handles ready events; at least one is ready. With `TELLS_LAST` the closure is told which event is the
    /// last, which is the one at hand if `is_over` is true; for that, the next stamp is polled before an
    /// event is handled. Otherwise it is polled afterwards: by then its cache line is more likely to be
    /// complete, and is not taken from the producer half written.
    #[inline(always)]
    fn process_ready<const TELLS_LAST: bool, F>(
        &mut self,
        is_over: impl Fn() -> bool,
        mut handle: F,
    ) -> usize
    where
        F: FnMut(&E, Sequence, bool),
    {
        let first = self.core.next();
        let last_of_call = first + self.core.capacity() as i64 - 1;
        let commit_every = (self.core.capacity() as i64 / 8).max(1);
        let mut burst = Burst {
            core: &mut self.core,
            done: first - 1,
        };
        let mut commit_at = first + commit_every - 1;
        loop {
            let sequence = burst.done + 1;
            let is_last = TELLS_LAST
                && (sequence == last_of_call
                    || is_over()
                    || !burst.core.is_published(sequence + 1));
            burst.core.prefetch_after(sequence);
            // SAFETY: the stamp of `sequence` was seen, and it is not released before the burst says so (R3, R7).
            let event = unsafe { burst.core.event(sequence).as_ref() };
            handle(event, sequence, is_last);
            burst.done = sequence;
            if sequence == commit_at || burst.core.is_watched() {
                if sequence == last_of_call {
                    break;
                }
                burst.core.commit(sequence);
                // events that are released one by one move this point, which must not pass the last event of the call
                commit_at = (sequence + commit_every).min(last_of_call);
            }
            if is_last || (!TELLS_LAST && !burst.core.is_published(sequence + 1)) {
                break;
            }
        }
        let done = burst.done;
        core::mem::forget(burst);
        self.core.commit(done);
        (done + 1 - first) as usize
    }

    /// How many events are held: see [`Lease::hold`].
    #[inline]
    pub fn held_count(&self) -> usize {
        (self.next_to_read() - 1 - self.current_sequence()) as usize
    }

    /// The held event `index`, the oldest one being 0.
    #[inline]
    pub fn held(&self, index: usize) -> Option<&E> {
        if index >= self.held_count() {
            return None;
        }
        let sequence = self.core.held().start + index as Sequence;
        // SAFETY: its stamp was seen before it was held, and the gate cannot pass it before it is released, for which
        // this consumer must be borrowed mutably (R3, R7); any bytes are an `E`.
        Some(unsafe { self.core.event(sequence).as_ref() })
    }

    /// Releases the `count` oldest held events, or as many as there are.
    #[inline]
    pub fn release_held(&mut self, count: usize) {
        if !self.is_forked() {
            self.core.release_held(count);
        }
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

    /// The held events are delivered again, as if they had not been read.
    pub fn redeliver_held(&mut self) {
        if !self.is_forked() {
            self.core.rewind();
        }
    }

    /// Releases everything up to `sequence` unread. `sequence` was published.
    pub(crate) fn skip_to(&mut self, sequence: Sequence) {
        self.core.commit(sequence);
        self.counters.start_at(self.core.next());
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

    /// The same as [`current_sequence`](Self::current_sequence).
    #[inline]
    pub fn consumer_sequence(&self) -> Sequence {
        self.current_sequence()
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
        blocked::ring_state(&self.segment, self.producer_sequence())
    }

    /// Detaches, as dropping does, but returns errors. A durable consumer keeps its position.
    ///
    /// # Errors
    ///
    /// When the system fails, and in a forked process. [`MultiProcessError::Io`] where this consumer was the
    /// last to drain a closed ring and may not remove its name, for example that of another user's ring in a
    /// sticky directory: the consumer is detached all the same, and the file stays. When the program has
    /// closed the descriptor of this consumer's lock: its line is then left as after a death.
    pub fn detach(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(self.refusal_to(Step::Detach));
        }
        let finished = self.finish();
        finished.map_err(|failed| self.segment.refused(failed))
    }

    /// Detaches for good: a durable consumer also gives up its position and its unread events. The last
    /// durable consumer that needed the name of a closed ring removes that name.
    ///
    /// # Errors
    ///
    /// As [`detach`](Self::detach).
    pub fn leave(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(self.refusal_to(Step::Detach));
        }
        let was_durable = core::mem::replace(&mut self.is_durable, false);
        let left = self.finish();
        if was_durable {
            let _ = self.segment.locks().unlock(id_byte(&self.id.text()));
        }
        // the unread events of this consumer no longer keep the name of a closed ring
        let left = left.and_then(|()| {
            let unlinked = self.segment.unlink_if_drained(false);
            unlinked.map_err(|error| Step::RemoveName.failed(error))
        });
        left.map_err(|failed| self.segment.refused(failed))
    }

    /// The error for ending a consumer whose live word is zero.
    fn refusal_to(&self, step: Step) -> MultiProcessError {
        match self.has_lost {
            true => self.segment.io_error(step)(lost_locks()),
            false => MultiProcessError::Forked,
        }
    }

    fn finish(&mut self) -> Result<(), Failed> {
        if core::mem::replace(&mut self.is_detached, true) {
            return Ok(());
        }
        if self.segment.has_lost_locks() {
            // other processes count it as dead and may have given its line to another consumer
            return Err(Step::Detach.failed(lost_locks()));
        }
        self.counters
            .sample_lag(self.core.newest() + 1 - self.core.next());
        self.counters.bring_up_to_date(self.core.next());
        let (control, locks) = (self.core.control(), self.segment.locks());
        let left = if self.is_durable {
            lines::go_away(control, locks, self.core.line(), &self.id)
        } else {
            lines::leave(control, locks, self.core.line())
        };
        let left = left.map_err(|error| Step::Detach.failed(error));
        match self.core.is_at_end() {
            true => left.and(self.unlink_if_last()),
            false => left,
        }
    }
}

/// Kept for programs written against disruptor-mp 0.1.
impl<E: Event, B> Consumer<E, B> {
    /// Does nothing: attaching has already signalled that this consumer is ready. The call can be removed.
    pub fn signal_readiness(&self) {}

    /// True: the segment of every ring includes coordination. The call can be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let rx = disruptor_mp::HeapRing::<u64>::new(8)?.consumer("reader")?;
    /// assert!(rx.has_coordination_support());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn has_coordination_support(&self) -> bool {
        true
    }

    /// True, whatever the name is: attaching has found the coordination in the ring's own segment. The call
    /// can be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut rx = disruptor_mp::HeapRing::<u64>::new(8)?.consumer("reader")?;
    /// assert!(rx.try_attach_coordination("ticks"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_attach_coordination(&mut self, _base_name: &str) -> bool {
        true
    }
}

impl<E: Event, B> Drop for Consumer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        if let Err(failed) = self.finish() {
            let error = self.segment.refused(failed);
            tracing::warn!("{error}");
        }
    }
}

/// Releases the handled events if the closure panics.
struct Burst<'a, E: Event> {
    core: &'a mut ConsumerCore<E>,
    done: Sequence,
}

impl<E: Event> Drop for Burst<'_, E> {
    #[cold]
    fn drop(&mut self) {
        // if nothing was handled since the last release, a commit would release events that are held
        if self.done >= self.core.next() {
            self.core.commit(self.done);
        }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::HeapRing;
    use crate::sync::process::Ordering;

    #[test]
    fn a_burst_that_was_watched_for_a_while_ends_after_one_ring() {
        const CAPACITY: usize = 64;
        for watched in [0, 3, 7, 8, 30, CAPACITY - 1] {
            let ring = HeapRing::<u64>::new(CAPACITY).expect("a ring");
            let mut tx = ring.producer().expect("a producer");
            let mut rx = ring.consumer("reader").expect("a consumer");
            let view = rx.segment.view;
            let is_watching = &view.control().waiters.is_watching;
            tx.publish_batch(CAPACITY, |_, _| {});
            let mut handled = 0;
            let count = rx.process_available(|_, _| {
                is_watching.store(u32::from(handled == watched), Ordering::Relaxed);
                handled += 1;
                assert!(handled <= CAPACITY, "{watched}");
                while tx.try_publish(|_| {}).is_ok() {}
            });
            assert_eq!((count, handled), (CAPACITY, CAPACITY), "{watched}");
        }
    }
}
