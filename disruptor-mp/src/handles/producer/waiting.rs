//! How a producer waits for space, and what it does meanwhile (R4, R5, R8). Reached only when the gate has
//! run out, and by each publication in a ring with observers.

use core::fmt;
use std::time::Duration;

use super::{FullSince, Producer};
use crate::Sequence;
use crate::clock;
use crate::error::SendError;
use crate::event::Event;
use crate::handles::diagnosis::{self, BlockedOn};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::liveness::fast_path::FastPath;
use crate::protocol::{lines, sleep};
use crate::sync::spin_loop;
use crate::testing::fail::reached;
use crate::waiting::check_timer::CheckTimer;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::{Participants, Role};
use crate::waiting::wait_loop::{Awaited, wait};
use crate::waiting::{AutoWaitStrategy, FIRST_CHECK, Habits, Waiter};

/// Upper bound of the spin hints between two checks of a full ring.
const HINTS_MAX: u32 = 64;
/// A refresh drains the processor's store buffer (R5). A blocked call that spins therefore first checks this
/// many times, a few microseconds in all, whether a refresh would gain an eighth of the ring. After that it
/// refreshes for any gain.
const POLLS_BEFORE_REFRESH: u32 = 12;
/// A consumer that has not come after this time is reported as missing.
const UNTIL_MISSED: Duration = Duration::from_secs(1);

impl<E: Event, B> Producer<E, B> {
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&mut self, n: usize) -> Option<Sequence> {
        if self.is_forked() {
            panic!("{}", SendError::Forked);
        }
        if self.has_lost {
            return None;
        }
        let is_vacant = self.core.vacant(n).is_some();
        if !is_vacant && !self.refresh_or_stay(n) && self.is_check_due() {
            self.check_liveness();
            if self.refresh_or_stay(n) {
                reached("publish.after_a_liveness_check");
            }
        }
        let vacant = self.core.vacant(n);
        if vacant.is_some() {
            self.stalled = None;
            self.timer = CheckTimer::default();
        } else {
            self.counters.count_full(self.core.next());
        }
        self.counters.bring_up_to_date();
        vacant
    }

    /// Whether a call that never waits is due for a liveness check because the ring has been full for a
    /// while: a dead consumer must not block for ever a program that only makes such calls.
    fn is_check_due(&mut self) -> bool {
        let interval = self.habits.liveness_interval;
        self.timer.is_due(clock::now(), FIRST_CHECK, interval)
    }

    /// Whether the program has closed the descriptor of the producer's lock (R8). Once this call has noticed
    /// that, the producer publishes nothing any more, as a successor may be writing. Not for hot calls.
    pub(crate) fn notice_loss(&mut self) -> bool {
        if !self.has_lost && self.segment.has_lost_locks() {
            self.has_lost = true;
            self.fast_path = FastPath::EVERY_CALL_CHECKS;
            self.liveness.halt();
        }
        self.has_lost
    }

    /// As [`notice_loss`](Self::notice_loss), but asks the system only if the ring has had another producer since.
    pub(crate) fn is_superseded(&mut self) -> bool {
        let epoch = &self.segment.view.control().producer.epoch;
        self.has_lost
            || (epoch.load(crate::sync::Ordering::Relaxed) != self.epoch && self.notice_loss())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn wait_or_panic(&mut self, n: usize) -> Sequence {
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
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        if self.has_lost {
            return Err(SendError::LockLost);
        }
        // in a ring with observers every publication calls this, so a waiter is made only if it is needed
        if let Some(first) = self.core.vacant(n) {
            return Ok(first);
        }
        let mut waiter = self.waiter(self.habits.strategy, deadline);
        if self.wait_until_space(n, &mut waiter)? {
            return Ok(self.core.next());
        }
        Err(self.timed_out())
    }

    /// The error of a wait that has ended without space.
    fn timed_out(&mut self) -> SendError {
        // not `blocked_on`: a batch can be blocked while some slots are free
        let blocked_on = self
            .diagnose()
            .map_or_else(String::new, |blocked| blocked.to_string());
        SendError::Timeout { blocked_on }
    }

    /// As [`wait_for_space`](Self::wait_for_space), but returns false when the waiter's deadline has passed.
    pub(crate) fn wait_until_space(
        &mut self,
        n: usize,
        waiter: &mut Waiter,
    ) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        let mut space = Space {
            n,
            // a batch that never fits is refused at once
            polls: if n > self.core.capacity() {
                POLLS_BEFORE_REFRESH
            } else {
                0
            },
            hints: 1,
            has_waited: false,
            tx: self,
        };
        if space.poll()?.is_some() {
            return Ok(true);
        }
        space.has_waited = true;
        // many short waits, one after the other, may come to no liveness check
        if space.tx.asked.is_due(space.tx.habits.liveness_interval) {
            space.ask()?;
        }
        if wait(&mut space, waiter)?.is_some() {
            return Ok(true);
        }
        // a wait that ends before its first liveness check still records since when the gate has not moved
        space.tx.note_stall();
        space.is_there()
    }

    /// A waiter for one call of this producer.
    pub(crate) fn waiter(&mut self, strategy: AutoWaitStrategy, deadline: Deadline) -> Waiter {
        let ring = (self.segment.control(), Role::Producer);
        let participants = Participants::of(core::iter::once(ring));
        Waiter::new(&mut self.habits, strategy, deadline, participants)
    }

    /// Sleeps until every consumer has released `sequence`, a consumer attaches or leaves (R9), or the wait
    /// is cancelled. Does not sleep if `is_needless` returns true. If it was woken, returns how long the wake-up took.
    pub(super) fn sleep_until(
        &mut self,
        sequence: Sequence,
        longest: Duration,
        is_needless: impl FnOnce(&mut Self) -> bool,
    ) -> Option<Duration> {
        let view = self.segment.view;
        sleep::sleep_until_space(view.control(), sequence, longest, || {
            self.habits.are_cancelled() || is_needless(self)
        })
    }

    /// Sleeps until the awaited consumers have come, and returns whether they have by the deadline. A consumer that
    /// attaches or leaves wakes this call (R9); besides, it checks once in each `interval`, and evicts dead consumers.
    ///
    /// # Errors
    ///
    /// [`SendError::Cancelled`], [`SendError::LockLost`] and [`SendError::Forked`].
    pub(crate) fn wait_for_arrival(
        &mut self,
        deadline: Deadline,
        interval: Duration,
        mut have_come: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        while !have_come(self) {
            if let Some(error) = self.cancelled() {
                return Err(error);
            }
            if self.notice_loss() {
                return Err(SendError::LockLost);
            }
            if deadline.has_passed() {
                return Ok(false);
            }
            let longest = deadline
                .remaining()
                .map_or(interval, |rest| rest.min(interval));
            let wake = self.sleep_until(MAX_SEQUENCE + 1, longest, &mut have_come);
            self.habits.learn(wake);
            self.evict_dead();
        }
        Ok(true)
    }

    /// Checks once for space. The errors are those that no wait can resolve.
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
        if self.refresh(n)? {
            self.stalled = None;
            self.counters.bring_up_to_date();
            return Ok(true);
        }
        if self.core.is_exhausted(n) {
            return Err(SendError::SequenceExhausted);
        }
        self.counters.count_full(self.core.next());
        Ok(false)
    }

    /// Records since when the gate has not moved.
    fn note_stall(&mut self) {
        let gate = self.core.gate();
        match self.stalled {
            Some(FullSince { gate: at, .. }) if at == gate => {}
            _ => {
                self.stalled = Some(FullSince {
                    since: clock::now(),
                    gate,
                    is_told: false,
                });
            }
        }
    }

    /// Logs, once in a stall, that a dead consumer holds the ring or that expected consumers have not come
    /// for a second: in both cases room may never be made.
    fn tell_of_the_absent(&mut self) {
        let Some(stall) = self.stalled.filter(|stall| !stall.is_told) else {
            return;
        };
        let is_absent = match self.core.expectation().was_pending() {
            true => clock::now().saturating_duration_since(stall.since) >= UNTIL_MISSED,
            false => diagnosis::is_held_by_the_dead(self.segment.control(), self.segment.locks()),
        };
        if !is_absent {
            return;
        }
        let Some(blocked) = self.diagnose() else {
            return;
        };
        let is_news = match &blocked {
            BlockedOn::Expected { .. } => true,
            BlockedOn::Consumer {
                id,
                is_alive: Some(false),
                lag: 1..,
                ..
            } => !self.liveness.alerts_of(id),
            _ => false,
        };
        if is_news {
            tracing::warn!(ring = %self.segment.shown, "{blocked}{}", self.advice);
            self.stalled = self.stalled.map(|stall| FullSince {
                is_told: true,
                ..stall
            });
        }
    }

    /// Logs once that the ring's name was removed from outside: a process that is not attached can no longer attach.
    fn tell_of_the_name(&mut self) {
        if !self.is_name_loss_told && self.segment.region().is_name_lost() {
            self.is_name_loss_told = true;
            tracing::warn!(ring = %self.segment.shown, "ring '{}' is in use{}", self.segment.shown, diagnosis::NAME_REMOVED);
        }
    }

    /// Runs a liveness check while the producer is blocked: removes dead automatic consumers from the gate,
    /// notes the time without progress, and reports a dead consumer that keeps its place, a missing consumer
    /// and a missing name. Does none of this when this producer's own lock is lost, which is noticed here:
    /// the producer then cannot tell which consumers are alive.
    pub(super) fn check_liveness(&mut self) {
        if self.notice_loss() {
            return;
        }
        self.counters.bring_up_to_date();
        self.note_stall();
        if self.evict_dead() > 0 {
            reached("evict.while_blocked");
        }
        self.tell_of_the_absent();
        self.tell_of_the_name();
    }

    /// As [`check_liveness`](Self::check_liveness), for a wait, which ends if the lock is lost.
    fn check_liveness_or_fail(&mut self) -> Result<(), SendError> {
        self.check_liveness();
        match self.has_lost {
            true => Err(SendError::LockLost),
            false => Ok(()),
        }
    }

    /// The error if a wait of this producer was cancelled.
    fn cancelled(&self) -> Option<SendError> {
        self.habits.are_cancelled().then_some(SendError::Cancelled)
    }

    /// Removes dead automatic consumers from the gate and returns how many they were.
    pub(crate) fn evict_dead(&self) -> usize {
        match lines::evict_dead(self.segment.control(), self.segment.locks()) {
            Ok(0) => 0,
            Ok(evicted) => {
                tracing::info!(ring = %self.segment.shown, evicted, "dead consumers left the gate");
                evicted
            }
            Err(error) => {
                tracing::warn!(ring = %self.segment.shown, %error, "could not probe the consumers' locks");
                0
            }
        }
    }
}

/// What a layer above is asked once in a liveness interval, while calls wait for space: whether the wait is over.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) is_over: Option<Box<dyn FnMut() -> bool + Send + Sync>>,
    timer: CheckTimer,
}

impl Asked {
    fn is_due(&mut self, interval: Duration) -> bool {
        self.is_over.is_some() && self.timer.is_due(clock::now(), interval, interval)
    }

    fn restart(&mut self, interval: Duration) {
        if self.is_over.is_some() {
            self.timer.restart(clock::now(), interval);
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").finish_non_exhaustive()
    }
}

/// Space for `n` events.
struct Space<'a, E: Event, B> {
    tx: &'a mut Producer<E, B>,
    n: usize,
    polls: u32,
    /// Spin hints before the next poll.
    hints: u32,
    has_waited: bool,
}

impl<E: Event, B> Space<'_, E, B> {
    /// Refreshes the gate, and returns whether there is space.
    fn is_there(&mut self) -> Result<bool, SendError> {
        let is_there = self.tx.poll_space(self.n)?;
        if is_there && self.has_waited && self.tx.habits.is_peer_closed() {
            // the peer's ring is closed: its consumer made this room by giving up what it had not read
            return Err(SendError::Cancelled);
        }
        Ok(is_there)
    }

    /// Asks the layer above whether the wait is over. The error is that of a deadline that has passed.
    fn ask(&mut self) -> Result<(), SendError> {
        let is_over = self.tx.asked.is_over.as_mut();
        match is_over.is_some_and(|is_over| is_over()) && !self.is_there()? {
            true => Err(self.tx.timed_out()),
            false => Ok(()),
        }
    }
}

impl<E: Event, B> Awaited for Space<'_, E, B> {
    type News = ();
    type Error = SendError;

    fn habits_mut(&mut self) -> &mut Habits {
        &mut self.tx.habits
    }

    fn cancelled(&self) -> Option<SendError> {
        self.tx.cancelled()
    }

    fn poll(&mut self) -> Result<Option<()>, SendError> {
        self.polls = self.polls.saturating_add(1);
        let refreshes =
            self.polls > POLLS_BEFORE_REFRESH || self.tx.core.is_refresh_worthwhile(self.n);
        if refreshes && self.is_there()? {
            return Ok(Some(()));
        }
        // each check moves the consumers' cache lines to this core, so the time between checks grows
        for _ in 0..self.hints {
            spin_loop();
        }
        self.hints = (self.hints * 2).min(HINTS_MAX);
        Ok(None)
    }

    fn check_liveness(&mut self) -> Result<(), SendError> {
        self.tx.check_liveness_or_fail()?;
        self.tx.asked.restart(self.tx.habits.liveness_interval);
        self.ask()
    }

    fn sleep(&mut self, longest: Duration) -> Option<Duration> {
        let tx = &mut *self.tx;
        tx.core
            .sleep_until_space(self.n, longest, || tx.habits.are_cancelled())
    }

    fn count_sleeps(&mut self, sleeps: u64) {
        self.tx.counters.count_parks(sleeps);
        if sleeps > 0 {
            // a call that has slept refreshes at once: it must not sleep that many times first
            self.polls = POLLS_BEFORE_REFRESH;
        }
    }
}

/// The release of `sequence` by every consumer.
pub(super) struct Consumption<'a, E: Event, B> {
    pub(super) tx: &'a mut Producer<E, B>,
    pub(super) sequence: Sequence,
}

impl<E: Event, B> Awaited for Consumption<'_, E, B> {
    type News = ();
    type Error = SendError;

    fn habits_mut(&mut self) -> &mut Habits {
        &mut self.tx.habits
    }

    fn cancelled(&self) -> Option<SendError> {
        self.tx.cancelled()
    }

    fn poll(&mut self) -> Result<Option<()>, SendError> {
        Ok(self.tx.is_consumed(self.sequence).then_some(()))
    }

    fn check_liveness(&mut self) -> Result<(), SendError> {
        self.tx.check_liveness_or_fail()
    }

    fn sleep(&mut self, longest: Duration) -> Option<Duration> {
        let sequence = self.sequence;
        self.tx
            .sleep_until(sequence, longest, |tx| tx.is_consumed(sequence))
    }

    fn count_sleeps(&mut self, sleeps: u64) {
        self.tx.counters.count_parks(sleeps);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::open::simple::HeapRing;

    #[test]
    fn room_that_the_end_of_the_peers_ring_made_does_not_end_a_wait_well() {
        let (ring, peer) = (HeapRing::<u64>::new(1), HeapRing::<u64>::new(1));
        let (ring, peer) = (ring.expect("a ring"), peer.expect("a ring"));
        let mut tx = ring.producer().expect("a producer");
        let mut rx = ring.consumer("reader").expect("a consumer");
        let requests = peer.producer().expect("a producer");
        tx.cancel_waits_when_closed(&peer.consumer("peer").expect("a consumer"));
        tx.publish_value(1);
        requests.close().expect("the peer's ring ends");
        assert_eq!(rx.try_consume_next(), Some((0, 1)));
        let mut space = Space {
            tx: &mut tx,
            n: 1,
            polls: POLLS_BEFORE_REFRESH,
            hints: 1,
            has_waited: true,
        };
        assert_eq!(space.is_there(), Err(SendError::Cancelled));
        space.has_waited = false;
        assert_eq!(space.is_there(), Ok(true), "a call that need not wait");
    }

    #[test]
    fn a_layer_above_ends_a_wait_for_space_as_a_deadline_does() {
        let ring = HeapRing::<u64>::new(1).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let _rx = ring.consumer("reader").expect("a consumer");
        tx.habits.liveness_interval = Duration::from_millis(1);
        tx.publish_value(1);
        let mut asked = 0;
        tx.ask_while_waiting(move || {
            asked += 1;
            asked == 3
        });
        let ended = tx.send_value(2, Deadline::NEVER);
        assert!(
            matches!(&ended, Err(SendError::Timeout { blocked_on }) if blocked_on.contains("'reader'")),
            "{ended:?}"
        );
    }

    #[test]
    fn a_layer_above_is_asked_though_each_wait_is_short() {
        let ring = HeapRing::<u64>::new(1).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let mut rx = ring.consumer("reader").expect("a consumer");
        tx.habits.strategy = AutoWaitStrategy::Block;
        tx.habits.liveness_interval = Duration::from_millis(50);
        let (told, asked) = std::sync::mpsc::channel();
        tx.ask_while_waiting(move || told.send(()).is_err());
        let reading = std::thread::spawn(move || {
            while rx.recv(Deadline::NEVER).is_ok() {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // far more waits than fill three intervals
        let mut times = 0;
        for event in 0..10_000 {
            tx.send_value(event, Deadline::NEVER).expect("sent");
            times += asked.try_iter().count();
            if times == 3 {
                break;
            }
        }
        assert_eq!(times, 3);
        drop(tx);
        reading.join().expect("no panic");
    }

    #[test]
    fn a_producer_that_has_lost_its_lock_is_superseded() {
        let ring = HeapRing::<u64>::new(8).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        assert!(!tx.is_superseded());
        tx.has_lost = true;
        assert!(tx.is_superseded());
    }
}
