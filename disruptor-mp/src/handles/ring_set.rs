//! Waiting on many rings at once.

use core::fmt;
use core::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::RecvError;
use crate::event::Event;
use crate::handles::consumer::Consumer;
use crate::layout::control::Control;
use crate::protocol::sleep;
use crate::waiting::check_timer::CheckTimer;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::{Participants, Role};
use crate::waiting::wait_loop::{Awaited, wait};
use crate::waiting::{AutoWaitStrategy, Habits, Waiter};

/// Calls that need not wait between two readings of the clock: a set that never waits reports dead producers, too.
const CALLS_PER_CHECK: u32 = 16;

/// Polls before a wait is prepared: a few microseconds, within which a party that is awake answers.
const BRIEF_POLLS: u32 = 128;

/// As many words as the system waits for in one call.
const RINGS_MAX: usize = 128;

mod sealed {
    /// A member as its set sees it.
    pub struct InnerRef<'a>(pub(super) &'a dyn super::Inner);

    impl core::fmt::Debug for InnerRef<'_> {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.debug_tuple("InnerRef").finish_non_exhaustive()
        }
    }

    /// Something that a set can wait for.
    pub trait Member {
        /// The member's inner side.
        fn inner(&self) -> InnerRef<'_>;
    }
}

use sealed::{InnerRef, Member};

/// The calls that a set makes to a member.
trait Inner {
    /// Whether the member's own calls would return at once.
    fn has_news(&self) -> bool;
    /// Whether an event may be there: the end and a death are not checked.
    fn may_have_event(&self) -> bool;
    /// Whether the member's producer is dead and nothing is left.
    fn is_orphaned(&self) -> bool;
    fn habits(&self) -> &Habits;
    /// Why the member can no longer be used; `None` while it can.
    fn refusal(&self) -> Option<RecvError>;
    /// The control lines, and the index of the consumer's line: with them the member sleeps.
    fn sleeper(&self) -> (&Control, usize);
}

/// Something that a [`RingSet`] can wait for: a consumer, or a reference to one. `&dyn RingMember` lets
/// consumers of different event types share a set.
///
/// # Examples
///
/// See [`RingSet`].
pub trait RingMember: Member {}

impl<M: Member + ?Sized> RingMember for M {}

impl<E: Event, B> Inner for Consumer<E, B> {
    fn has_news(&self) -> bool {
        self.has_news()
    }

    #[inline(always)]
    fn may_have_event(&self) -> bool {
        self.may_have_event()
    }

    fn is_orphaned(&self) -> bool {
        self.is_orphaned()
    }

    fn habits(&self) -> &Habits {
        self.habits()
    }

    fn refusal(&self) -> Option<RecvError> {
        self.refusal()
    }

    fn sleeper(&self) -> (&Control, usize) {
        (self.segment().control(), self.line())
    }
}

impl<E: Event, B> Member for Consumer<E, B> {
    fn inner(&self) -> InnerRef<'_> {
        InnerRef(self)
    }
}

impl<M: Member + ?Sized> Member for &M {
    fn inner(&self) -> InnerRef<'_> {
        (**self).inner()
    }
}

/// Consumers of up to [`RingSet::MAX`] rings that are waited for together, in one sleep.
///
/// The set returns the index of a ring that has something to report; the events come from that ring's
/// consumer. Rings take turns, so that a busy one does not hide the others.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, RingSet};
///
/// let rings = [HeapRing::<u64>::new(8)?, HeapRing::<u64>::new(8)?];
/// let mut senders = [rings[0].producer()?, rings[1].producer()?];
/// let mut set = RingSet::new();
/// for ring in &rings {
///     set.push(ring.consumer("scheduler")?)?;
/// }
/// senders[1].send(Deadline::NEVER, |event| *event = 7)?;
/// let ready = set.wait(Deadline::NEVER)?;
/// assert_eq!((ready, set[ready].recv_owned(Deadline::NEVER)?), (1, (0, 7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Rings can be added and removed:
///
/// ```
/// use disruptor_mp::{AutoWaitStrategy, Deadline, HeapRing, RingSet};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let consumers = [ring.consumer("first")?, ring.consumer("second")?];
/// let mut set = RingSet::of(consumers)?.with_wait_strategy(AutoWaitStrategy::BusySpin);
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert!(set.iter_mut().all(|rx| rx.recv_owned(Deadline::NEVER) == Ok((0, 7))));
/// assert_eq!(set.swap_remove(0).consumer_id(), "first");
/// assert_eq!((set.len(), set.is_empty()), (1, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Rings of different event types:
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, RingMember, RingSet};
///
/// let (orders, ticks) = (HeapRing::<u64>::new(8)?, HeapRing::<[u32; 4]>::new(8)?);
/// let (_orders_tx, mut ticks_tx) = (orders.producer()?, ticks.producer()?);
/// let (orders_rx, ticks_rx) = (orders.consumer("desk")?, ticks.consumer("desk")?);
/// ticks_tx.send(Deadline::NEVER, |event| event[0] = 7)?;
/// let ready = RingSet::of([&orders_rx as &dyn RingMember, &ticks_rx])?.wait(Deadline::NEVER)?;
/// assert_eq!(ready, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RingSet<M> {
    members: Vec<M>,
    waiter: RingWaiter,
}

/// Waits for several rings whose consumers the caller has: a [`RingSet`] is a waiter with consumers of its own. Keep a
/// waiter for each group of rings. From call to call it keeps what it has learnt about spinning, and, by index, the
/// ring that is polled first and how far its liveness check has come. Consumers may come and go between calls.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{AutoWaitStrategy, Deadline, HeapRing, RingMember, RingWaiter};
///
/// let rings = [HeapRing::<u64>::new(8)?, HeapRing::<u64>::new(8)?];
/// let mut senders = [rings[0].producer()?, rings[1].producer()?];
/// let mut consumers = [rings[0].consumer("desk")?, rings[1].consumer("desk")?];
/// let mut waiter = RingWaiter::new(AutoWaitStrategy::Block);
/// for sent in 0..3 {
///     senders[1].send(Deadline::NEVER, |event| *event = sent)?;
///     let ready = waiter.wait(&[&consumers[0] as &dyn RingMember, &consumers[1]], Deadline::NEVER)?;
///     assert_eq!((ready, consumers[ready].recv_owned(Deadline::NEVER)?.1), (1, sent));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RingWaiter {
    habits: Habits,
    /// The member that is checked first next time.
    turn: usize,
    calls: u32,
    /// When the next liveness check is due. Kept from wait to wait, as few of a set's many waits last for a
    /// whole interval.
    timer: CheckTimer,
    /// How many members, counted from the first one, the present liveness check has not reached yet.
    unasked: usize,
    /// Whether the last wait that took longer spun.
    spins: bool,
}

/// The error for adding a ring to a set that has as many as it can wait for.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{HeapRing, RingSet, RingSetFull};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let rx = ring.consumer("reader")?;
/// let full: RingSetFull = RingSet::of([&rx; 129]).unwrap_err();
/// assert_eq!(full.max, 128);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a RingSet waits on {max} rings at the most: use another set on another thread for more")]
#[non_exhaustive]
pub struct RingSetFull {
    /// How many rings a set can wait for.
    pub max: usize,
}

crate::error::debug_is_text!(RingSetFull);

impl<M> fmt::Debug for RingSet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSet")
            .field("rings", &self.members.len())
            .field("strategy", &self.waiter.habits.strategy)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RingWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingWaiter")
            .field("strategy", &self.habits.strategy)
            .finish_non_exhaustive()
    }
}

impl<M> Default for RingSet<M> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            waiter: RingWaiter::new(AutoWaitStrategy::default()),
        }
    }
}

impl<M: RingMember> RingSet<M> {
    /// How many rings a set can wait for: as many as the system takes in one call.
    pub const MAX: usize = RINGS_MAX;

    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of these members.
    ///
    /// # Errors
    ///
    /// [`RingSetFull`] for more than [`MAX`](Self::MAX).
    pub fn of(members: impl IntoIterator<Item = M>) -> Result<Self, RingSetFull> {
        let mut set = Self::new();
        members
            .into_iter()
            .try_for_each(|member| set.push(member))?;
        Ok(set)
    }

    /// How [`wait`](Self::wait) waits; the members' own strategies are for their own calls.
    pub fn with_wait_strategy(mut self, strategy: AutoWaitStrategy) -> Self {
        self.waiter.habits.strategy = strategy;
        self
    }

    /// Adds a ring; its index is the number of rings before it.
    ///
    /// # Errors
    ///
    /// [`RingSetFull`]; the consumer is dropped then, and detaches.
    pub fn push(&mut self, member: M) -> Result<(), RingSetFull> {
        if self.members.len() == Self::MAX {
            return Err(RingSetFull { max: Self::MAX });
        }
        self.members.push(member);
        Ok(())
    }

    /// Removes a ring; the last ring of the set gets its index.
    ///
    /// # Panics
    ///
    /// When there is no such index.
    pub fn swap_remove(&mut self, index: usize) -> M {
        self.members.swap_remove(index)
    }

    /// How many rings there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The consumers, by their index.
    pub fn iter_mut(&mut self) -> core::slice::IterMut<'_, M> {
        self.members.iter_mut()
    }

    /// Waits until one of the rings has something to report, and returns its index. A ring reports an event,
    /// or its end, which its consumer's next call returns. A ring that has ended is reported again until it
    /// is removed from the set. A ring whose producer died is reported once in a liveness interval, as a
    /// successor may come. The interval is the shortest of the members'. While other rings are busy, some
    /// calls may pass before a death is reported.
    ///
    /// # Errors
    ///
    /// [`RecvError::Timeout`], [`RecvError::Cancelled`] by any member's token, [`RecvError::Forked`], and
    /// [`RecvError::LockLost`] after a member's call has returned it. An empty set waits until its deadline;
    /// without a deadline it returns [`RecvError::NothingToWaitFor`].
    pub fn wait(&mut self, deadline: Deadline) -> Result<usize, RecvError> {
        self.waiter.wait(&self.members, deadline)
    }
}

impl RingWaiter {
    /// A waiter that has learnt nothing yet.
    pub fn new(strategy: AutoWaitStrategy) -> Self {
        let mut habits = Habits::default();
        habits.strategy = strategy;
        Self {
            habits,
            turn: 0,
            calls: 0,
            timer: CheckTimer::default(),
            unasked: 0,
            spins: true,
        }
    }

    /// If spinning pays, spins for a few microseconds. Returns whether one of these consumers may have an event. For
    /// the layers above: an answer that comes at once needs no preparation of a wait.
    #[doc(hidden)]
    #[inline]
    pub fn poll_briefly<M: RingMember>(&mut self, members: &[M]) -> bool {
        self.spins
            && Waiting {
                waiter: self,
                members,
            }
            .poll_briefly()
    }

    /// As [`RingSet::wait`], for these consumers, up to [`RingSet::MAX`]: returns the index of one of them.
    ///
    /// # Errors
    ///
    /// As [`RingSet::wait`]; [`RecvError::System`] for more than [`RingSet::MAX`].
    pub fn wait<M: RingMember>(
        &mut self,
        members: &[M],
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        if members.len() > RINGS_MAX {
            let count = members.len();
            return Err(RecvError::System {
                what: format!("a wait for {count} rings: the system takes {RINGS_MAX}"),
            });
        }
        let waiter = self;
        Waiting { waiter, members }.wait(deadline)
    }

    /// As [`wait`](Self::wait), but also ends when a liveness check is due, once in an interval: that check is made,
    /// and if it finds nothing, the call returns [`RecvError::Timeout`]. For a caller that has checks of its own to
    /// make: it wakes up once for all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{AutoWaitStrategy, Deadline, HeapRing, RecvError, RingWaiter};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let rx = ring.consumer("reader")?;
    /// let _tx = ring.producer()?;
    /// let mut waiter = RingWaiter::new(AutoWaitStrategy::Block);
    /// assert_eq!(waiter.wait_until_check(&[&rx], Deadline::NEVER), Err(RecvError::Timeout)); // after an interval
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_until_check<M: RingMember>(
        &mut self,
        members: &[M],
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        let waiter = &mut *self;
        let interval = Waiting { waiter, members }.interval();
        let left = self.timer.left(clock::now(), interval);
        self.wait(members, deadline.within(left))
    }
}

/// A wait for these members.
struct Waiting<'a, M> {
    waiter: &'a mut RingWaiter,
    members: &'a [M],
}

impl<M: RingMember> Waiting<'_, M> {
    fn wait(&mut self, deadline: Deadline) -> Result<usize, RecvError> {
        if let Some(refusal) = self.each().find_map(Inner::refusal) {
            return Err(refusal);
        }
        self.waiter.calls = self.waiter.calls.wrapping_add(1);
        if self.waiter.calls.is_multiple_of(CALLS_PER_CHECK) {
            self.check_liveness_if_due();
        }
        if let Some(ready) = self.ask().or_else(|| self.find_ready()) {
            return Ok(ready);
        }
        if self.members.is_empty() {
            let rest = deadline.remaining().ok_or(RecvError::NothingToWaitFor)?;
            clock::sleep(rest);
            return Err(RecvError::Timeout);
        }
        self.wait_for_any(deadline)
    }

    #[inline]
    fn poll_briefly(&self) -> bool {
        let strategy = self.waiter.habits.strategy;
        (0..BRIEF_POLLS).any(|_| {
            strategy.hint();
            self.each().any(Inner::may_have_event)
        })
    }

    /// Waits, as no member has anything to report yet.
    #[cold]
    #[inline(never)]
    fn wait_for_any(&mut self, deadline: Deadline) -> Result<usize, RecvError> {
        self.waiter.habits.liveness_interval = self.interval();
        let rings = self.each().map(|member| {
            let (control, line) = member.sleeper();
            (control, Role::Consumer(line))
        });
        let participants = Participants::of(rings);
        let timer = self.waiter.timer;
        let habits = &mut self.waiter.habits;
        let strategy = habits.strategy;
        let mut waiter = Waiter::new(habits, strategy, deadline, participants).with_timer(timer);
        self.waiter.spins = waiter.spins();
        if let Some(ready) = wait(self, &mut waiter)? {
            // the liveness interval that this wait has begun continues in the next wait
            self.waiter.timer = waiter.timer();
            return Ok(ready);
        }
        if let Some(ready) = self.find_ready() {
            return Ok(ready);
        }
        self.check_liveness_if_due();
        self.ask().ok_or(RecvError::Timeout)
    }

    /// The first member that has something to report, beginning with the next in turn.
    fn find_ready(&mut self) -> Option<usize> {
        let turn = self.waiter.turn.min(self.members.len());
        let (before, from) = self.members.split_at(turn);
        let has_news = |member: &M| member.inner().0.has_news();
        let ready = match from.iter().position(has_news) {
            Some(ahead) => turn + ahead,
            None => before.iter().position(has_news)?,
        };
        self.waiter.turn = ready + 1;
        Some(ready)
    }

    /// Begins a liveness check: each member is to be asked whether its producer is dead.
    fn begin_check(&mut self, now: Instant) {
        self.waiter.unasked = self.members.len();
        let interval = self.interval();
        self.waiter.timer.restart(now, interval);
    }

    /// Begins a liveness check if one is due, or if there has been none.
    fn check_liveness_if_due(&mut self) {
        let now = clock::now();
        if self.waiter.timer.left(now, Duration::ZERO).is_zero() {
            self.begin_check(now);
        }
    }

    /// The shortest liveness interval of the members.
    fn interval(&self) -> Duration {
        let intervals = self.each().map(|member| member.habits().liveness_interval);
        intervals.min().unwrap_or_default()
    }

    /// Continues the present liveness check: asks the remaining members whether their producers are dead.
    /// Returns the first member that is found and leaves the others to the next call.
    fn ask(&mut self) -> Option<usize> {
        let mut unasked = self.waiter.unasked.min(self.members.len());
        let mut dead = None;
        while dead.is_none() && unasked > 0 {
            unasked -= 1;
            dead = self.members[unasked]
                .inner()
                .0
                .is_orphaned()
                .then_some(unasked);
        }
        self.waiter.unasked = unasked;
        dead
    }

    fn each(&self) -> impl Iterator<Item = &dyn Inner> + Clone {
        self.members.iter().map(|member| member.inner().0)
    }

    fn is_cancelled(&self) -> bool {
        self.each().any(|member| member.habits().are_cancelled())
    }
}

/// The first member that has something to report.
impl<M: RingMember> Awaited for Waiting<'_, M> {
    type News = usize;
    type Error = RecvError;

    fn habits_mut(&mut self) -> &mut Habits {
        &mut self.waiter.habits
    }

    fn cancelled(&self) -> Option<RecvError> {
        self.is_cancelled().then_some(RecvError::Cancelled)
    }

    fn poll(&mut self) -> Result<Option<usize>, RecvError> {
        // nobody is left to ask unless a liveness check has just begun
        Ok(self.find_ready().or_else(|| self.ask()))
    }

    fn check_liveness(&mut self) -> Result<(), RecvError> {
        self.begin_check(clock::now());
        Ok(())
    }

    fn sleep(&mut self, longest: Duration) -> Option<Duration> {
        let is_needless = || self.each().any(Inner::has_news) || self.is_cancelled();
        if let [only] = self.members {
            let (control, line) = only.inner().0.sleeper();
            return sleep::sleep_until_event(control, line, longest, is_needless);
        }
        let sleepers: Vec<_> = self.each().map(Inner::sleeper).collect();
        sleep::sleep_until_any(&sleepers, longest, is_needless);
        None
    }
}

impl<M> Index<usize> for RingSet<M> {
    type Output = M;

    fn index(&self, index: usize) -> &M {
        &self.members[index]
    }
}

impl<M> IndexMut<usize> for RingSet<M> {
    fn index_mut(&mut self, index: usize) -> &mut M {
        &mut self.members[index]
    }
}
