//! The consumer's handle: copies, leases, batches, and how a wait ends.
//!
//! A consumer owns one line of the segment. With an explicit id the line and the position outlive its process; with
//! an automatic one they go with it, at the latest when the producer is blocked and looks.

use core::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backing::SharedMemory;
use crate::blocked::{self, RingState};
use crate::claim::Lease;
use crate::clock;
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::fail::reached;
use crate::layout::control::{ConsumerId, MAX_ID_BYTES};
use crate::layout::lock_bytes::id_byte;
use crate::observability::ConsumerCounters;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines;
use crate::region::MemoryReport;
use crate::segment::Segment;
use crate::sync::process::{AtomicBool, AtomicU64, Ordering};
use crate::wait::{AutoWaitStrategy, Habits, Pause, Waiter};
use crate::{Event, Sequence};

/// Looks at a stamp between two looks at everything else.
const LOOKS: u32 = 16;

/// A consumer of a ring in shared memory.
pub type SharedConsumer<E> = Consumer<E, SharedMemory>;

/// A consumer of a ring: it sees every event, in order. [`SharedConsumer`] and
/// [`MmapConsumer`](crate::MmapConsumer) are this type.
///
/// Dropping it detaches: an automatic id leaves the gate, an explicit one keeps its position and gates until it
/// comes back or is removed.
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
/// assert!(rx.try_recv()?.is_none());                               // never waits, and tells of the end
///
/// assert_eq!((rx.current_sequence(), rx.producer_sequence(), rx.capacity()), (2, 2, 8));
/// assert_eq!((rx.consumer_sequence(), rx.consumer_id().as_str()), (2, "reader"));
/// assert_eq!(rx.name(), tx.name());
/// rx.detach()?;                                                    // it may come back, and goes on where it was
/// tx.publish(|event| *event = 3);
/// let mut rx = ring.consumer("reader")?;
/// assert_eq!(rx.ring_state().consumers, [(String::from("reader"), 2)]);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 3);
/// rx.leave()?;                                                     // for good
/// assert_eq!(tx.get_consumer_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Calls that panic where [`recv`](Self::recv) returns an error, for programs written against them:
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
/// Events that are held are read and not released:
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
    live: &'static AtomicU64,
    habits: Habits,
    segment: Segment<E>,
    id: ConsumerId,
    is_durable: bool,
    is_detached: bool,
    /// When a call that times out is to look around next.
    next_look: Option<Instant>,
    /// The event that such a call missed last.
    missed: Sequence,
    /// Who waited in this consumer's place has found its producer dead: the next call that finds nothing looks, too.
    suspicion: Arc<AtomicBool>,
    pub(crate) counters: ConsumerCounters,
    backing: PhantomData<fn() -> B>,
}

/// Refuses what is no id for a consumer.
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
    /// The line is owned and registered.
    pub(crate) fn new(
        segment: Segment<E>,
        place: lines::Place,
        id: ConsumerId,
        is_durable: bool,
        habits: Habits,
    ) -> Self {
        tracing::debug!(ring = %segment.name, id = %id.text(), next = place.next, rejoined = place.rejoined, "consumer attached");
        habits.watch(segment.region());
        Self {
            core: ConsumerCore::new(segment.view, place.line, place.next),
            live: segment.region().live_word(),
            habits,
            segment,
            id,
            is_durable,
            is_detached: false,
            next_look: None,
            missed: -1,
            suspicion: Arc::default(),
            counters: ConsumerCounters::new(place.next, size_of::<E>()),
            backing: PhantomData,
        }
    }

    /// Whether the next event may be read.
    #[inline(always)]
    fn is_ready(&mut self) -> bool {
        if self.live.load(Ordering::Relaxed) == 0 {
            forked();
        }
        self.core.is_ready()
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// The next event in place, if there is one. Never waits.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that made this consumer.
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
            None
        }
    }

    /// The next event in place, if there is one; it stays the next one. Never waits.
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
    #[inline]
    pub fn peek(&self) -> Option<&E> {
        if self.is_forked() || !self.core.is_ready() {
            return None;
        }
        let event = self.core.event(self.core.next());
        // SAFETY: the stamp was seen, and the gate cannot pass the event before it is released, for which this consumer
        // must be borrowed mutably (R3, R7); any bytes are an `E`.
        Some(unsafe { event.as_ref() })
    }

    /// A copy of the next event and its sequence, if there is one. Never waits.
    ///
    /// # Panics
    ///
    /// In a forked process.
    #[inline]
    pub fn try_consume_next(&mut self) -> Option<(Sequence, E)> {
        if !self.is_ready() {
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
    /// [`RecvError::Timeout`], [`RecvError::Cancelled`], [`RecvError::Forked`].
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

    /// The next event in place, if there is one, or the ring's end. Never waits: for event loops. Looks whether the
    /// producer is alive once in a liveness interval, and when a [`RingSet`](crate::RingSet) or a descriptor has told of its
    /// death.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), but for the time-out.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        if (self.is_forked() || !self.core.is_ready()) && !self.look_for_news()? {
            return Ok(None);
        }
        Ok(Some(Lease::new(&mut self.core)))
    }

    /// Whether the next event is there, though it was not just now.
    #[cold]
    #[inline(never)]
    fn look_for_news(&mut self) -> Result<bool, RecvError> {
        let looks_around = !self.is_forked() && self.is_look_due();
        self.poll_news(looks_around)
    }

    /// Whether the next event is there; or the end, `looks_around`: the producer's death, too, or a cancelled token.
    pub(crate) fn poll_news(&mut self, looks_around: bool) -> Result<bool, RecvError> {
        if self.is_forked() {
            return Err(RecvError::Forked);
        }
        if self.core.is_ready() {
            return Ok(true);
        }
        self.core.let_producer_go_on();
        if self.core.is_at_end() {
            self.unlink_if_last();
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

    /// The next event, which the caller has seen.
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
            return Err(RecvError::Forked);
        }
        let mut waiter = Waiter::new(&self.habits, strategy, deadline, self.participants());
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

    /// Whether the next event comes while its stamp alone is looked at for a while, with nothing in between: who spins has
    /// it sooner by what all the rest takes.
    #[inline(always)]
    fn looks_quickly(&self, strategy: AutoWaitStrategy) -> bool {
        strategy.spins()
            && (0..LOOKS).any(|_| {
                strategy.hint();
                self.core.is_ready()
            })
    }

    /// Calls that time out at once look around, too, when nothing has come for a while. The first of them after an event
    /// does not even look at the clock: who polls once more behind each event pays nothing for it.
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

    /// Whether a call that waits for the next event would return at once, with it or with the ring's end. Who asks waits in
    /// this consumer's place, and lets the producer go on as it would (R9).
    pub(crate) fn has_news(&self) -> bool {
        if self.core.is_ready() {
            return true;
        }
        self.core.let_producer_go_on();
        self.core.is_at_end()
    }

    /// Whether the producer is dead and nothing is left, for who waits in this consumer's place: the next call says so.
    pub(crate) fn is_orphaned(&self) -> bool {
        let is_orphaned = !self.core.is_ready() && self.is_left_alone();
        if is_orphaned {
            self.suspicion.store(true, Ordering::Relaxed);
        }
        is_orphaned
    }

    /// Where those who wait in this consumer's place say that its producer is dead.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn suspicion(&self) -> &Arc<AtomicBool> {
        &self.suspicion
    }

    /// Whether somebody has said so; once.
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

    /// How many share the ring.
    pub(crate) fn participants(&self) -> usize {
        1 + blocked::registered(self.core.control()).count()
    }

    /// R11: whether the producer is dead and nothing is left.
    fn look_around(&mut self) -> Result<(), RecvError> {
        self.counters.bring_up_to_date(self.core.next());
        if self.is_left_alone() {
            return Err(RecvError::ProducerDead {
                owner: self.segment.producer_text(),
            });
        }
        Ok(())
    }

    /// R11: as [`ConsumerCore::is_abandoned`]; not, if the system does not say.
    fn is_left_alone(&self) -> bool {
        self.core.is_abandoned(self.segment.locks()).unwrap_or_else(|error| {
            tracing::warn!(ring = %self.segment.name, %error, "could not look whether the producer is alive");
            false
        })
    }

    /// The last one to drain a closed ring takes its name along (R15).
    fn unlink_if_last(&self) {
        if let Err(error) = self.segment.unlink_if_drained() {
            tracing::warn!(ring = %self.segment.name, %error, "could not remove the drained ring's name");
        }
    }

    /// Waits through a producer's death, and panics with the other ends.
    fn wait_or_panic(&mut self, strategy: AutoWaitStrategy) {
        loop {
            match self.wait_for_event(strategy, Deadline::NEVER) {
                Ok(()) => return,
                Err(RecvError::ProducerDead { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A copy of the next event, waiting for it for as long as it takes, through a producer's death too.
    /// The twin that returns its errors is [`recv`](Self::recv).
    ///
    /// # Panics
    ///
    /// When the ring is closed and drained, and in a forked process.
    pub fn consume_next(&mut self) -> (Sequence, E) {
        self.consume_next_by(self.habits.strategy)
    }

    /// As [`consume_next`](Self::consume_next), sleeping for `pause` between two looks.
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

    /// As [`consume_next_leased`](Self::consume_next_leased), sleeping for `pause` between two looks.
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

    /// Handles the events that are there, one ring's worth at the most, and returns how many. Never waits.
    ///
    /// Events are released together when the call ends, and within it at every eighth of the ring: a consumer that
    /// dies in the closure sees at most that many again. One whose closure panics has released what came before. While
    /// the producer is blocked and watches its required consumers, each event is released by itself.
    ///
    /// # Panics
    ///
    /// In a forked process, and with the closure.
    #[inline]
    pub fn process_available<F: FnMut(&E, Sequence)>(&mut self, mut handle: F) -> usize {
        if !self.is_ready() {
            return 0;
        }
        self.process_ready::<false, _>(|| false, |event, sequence, _| handle(event, sequence))
    }

    /// As [`process_available`](Self::process_available), but waits for the first event, and says of each whether
    /// it is the last of this call.
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

    /// As [`process_within`](Self::process_within), but the next event is the last one when `is_over`.
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
    /// As [`consume_next`](Self::consume_next), and with the closure; the event is delivered again then.
    pub fn process_next_blocking<F: FnOnce(&E, Sequence) -> R, R>(&mut self, handle: F) -> R {
        let lease = self.consume_next_leased();
        let result = handle(&lease, lease.sequence());
        lease.commit();
        result
    }

    /// Handles ready events; at least one is ready. `TELLS_LAST`: the closure is told which one is the last, the one at hand
    /// when `is_over`, so the next stamp is looked at before an event is handled. Otherwise it is looked at afterwards: its line is more
    /// likely to be complete by then, and is not taken from the producer half written.
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
                commit_at = sequence + commit_every;
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

    /// Releases the `count` oldest of the held events, or as many as there are.
    #[inline]
    pub fn release_held(&mut self, count: usize) {
        if !self.is_forked() {
            self.core.release_held(count);
        }
    }

    /// Whether the producer is blocked and looks for progress: who releases several events together releases what it has
    /// handled, each by itself, while that is so. For the layers above.
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        !self.is_forked() && self.core.is_watched()
    }

    /// The held events are delivered again, as if they had not been read.
    pub fn redeliver_held(&mut self) {
        if !self.is_forked() {
            self.core.rewind();
        }
    }

    /// Releases everything up to `sequence`, which was published, unread.
    pub(crate) fn skip_to(&mut self, sequence: Sequence) {
        self.core.commit(sequence);
        self.counters.start_at(self.core.next());
    }

    /// Says that this consumer is ready. Attaching has said so already: kept for programs that call it.
    pub fn signal_readiness(&mut self) {}

    /// The last sequence this consumer has released.
    #[inline]
    pub fn current_sequence(&self) -> Sequence {
        match self.is_forked() {
            true => self.core.next() - 1,
            false => self.core.held().start - 1,
        }
    }

    /// The sequence that is delivered next. What lies between is held.
    pub(crate) fn next_to_read(&self) -> Sequence {
        self.core.next()
    }

    /// The same as [`current_sequence`](Self::current_sequence).
    #[inline]
    pub fn consumer_sequence(&self) -> Sequence {
        self.current_sequence()
    }

    /// The last sequence that was published, found by looking at the stamps that follow this consumer's position.
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

    /// What memory this consumer's mapping got.
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

    /// Detaches, as dropping does, but with its errors. A durable consumer keeps its position.
    ///
    /// # Errors
    ///
    /// When the system fails, and in a forked process.
    pub fn detach(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        self.finish().map_err(self.segment.io_error("detach"))
    }

    /// Detaches for good: a durable consumer gives up its position as well.
    ///
    /// # Errors
    ///
    /// As [`detach`](Self::detach).
    pub fn leave(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        let was_durable = core::mem::replace(&mut self.is_durable, false);
        let left = self.finish();
        if was_durable {
            let _ = self.segment.locks().unlock(id_byte(&self.id.text()));
        }
        left.map_err(self.segment.io_error("leave"))
    }

    fn finish(&mut self) -> std::io::Result<()> {
        if core::mem::replace(&mut self.is_detached, true) {
            return Ok(());
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
        if self.core.is_at_end() {
            self.unlink_if_last();
        }
        left
    }
}

impl<E: Event, B> Drop for Consumer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        if let Err(error) = self.finish() {
            tracing::warn!(ring = %self.segment.name, %error, "could not detach");
        }
    }
}

/// Releases what was handled when the closure panics.
struct Burst<'a, E: Event> {
    core: &'a mut ConsumerCore<E>,
    done: Sequence,
}

impl<E: Event> Drop for Burst<'_, E> {
    #[cold]
    fn drop(&mut self) {
        // nothing was handled since the last release: that would release what is held
        if self.done >= self.core.next() {
            self.core.commit(self.done);
        }
    }
}

#[cold]
#[inline(never)]
fn forked() -> ! {
    panic!("{}", RecvError::Forked)
}
