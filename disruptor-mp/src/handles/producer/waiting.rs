//! How a producer waits for space, and what it does meanwhile (R4, R5, R8). Reached only when the gate has
//! run out, and by each publication in a ring with observers.

use std::time::Duration;

use super::{NEVER_CALM, Producer, Stall};
use crate::Sequence;
use crate::clock;
use crate::error::SendError;
use crate::event::Event;
use crate::handles::diagnosis::{self, BlockedOn};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::protocol::{lines, sleep};
use crate::sync::spin_loop;
use crate::testing::fail::reached;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::Participants;
use crate::waiting::{AutoWaitStrategy, FIRST_LOOK, Pause, Waiter};

/// Upper bound of the spin hints between two checks of a full ring.
const HINTS_MAX: u32 = 64;
/// A refresh drains the processor's store buffer (R5). A blocked call that spins therefore first checks this
/// many times, a few microseconds in all, whether a refresh would gain an eighth of the ring. After that it
/// refreshes for any gain.
const PATIENCE: u32 = 12;
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
        if !is_vacant && !self.refresh_or_stay(n) && self.is_look_due() {
            self.look_around();
            if self.refresh_or_stay(n) {
                reached("publish.after_a_look_around");
            }
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

    /// Whether a call that never waits is due for a liveness check because the ring has been full for a
    /// while: a dead consumer must not block for ever a program that only makes such calls.
    fn is_look_due(&mut self) -> bool {
        let now = clock::now();
        let due = *self.next_look.get_or_insert(now + FIRST_LOOK);
        let is_due = now >= due;
        if is_due {
            self.next_look = Some(now + self.habits.liveness_interval);
        }
        is_due
    }

    /// Whether the program has closed the descriptor of the producer's lock (R8). Once this call has noticed
    /// that, the producer publishes nothing any more, as a successor may be writing. Not for hot calls.
    pub(crate) fn notice_loss(&mut self) -> bool {
        if !self.has_lost && self.segment.has_lost_locks() {
            self.has_lost = true;
            self.calm = &NEVER_CALM;
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
        // not `blocked_on`: a batch can be blocked while some slots are free
        let blocked_on = self
            .diagnose()
            .map_or_else(String::new, |blocked| blocked.to_string());
        Err(SendError::Timeout { blocked_on })
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
        let mut hints = 1;
        let mut has_waited = false;
        // a batch that never fits is refused at once
        let mut looks = if n > self.core.capacity() {
            PATIENCE
        } else {
            0
        };
        loop {
            looks = looks.saturating_add(1);
            if (looks > PATIENCE || self.core.is_refresh_worthwhile(n)) && self.poll_space(n)? {
                if has_waited && self.habits.is_peer_closed() {
                    // the peer's ring is closed: its consumer made this room by giving up what it had not read
                    return Err(SendError::Cancelled);
                }
                return Ok(true);
            }
            has_waited = true;
            // each check moves the consumers' cache lines to this core, so the time between checks grows
            for _ in 0..hints {
                spin_loop();
            }
            hints = (hints * 2).min(HINTS_MAX);
            if self.habits.are_cancelled() {
                return Err(SendError::Cancelled);
            }
            let pause = waiter.pause();
            let sleeps = waiter.take_sleeps();
            self.counters.count_parks(sleeps);
            if sleeps > 0 {
                // a call that has slept refreshes at once: it must not sleep `PATIENCE` times first
                looks = PATIENCE;
            }
            match pause {
                Pause::Again => {}
                Pause::Sleep(longest) => {
                    let wake = self
                        .core
                        .sleep_until_space(n, longest, || self.habits.are_cancelled());
                    self.habits.learn(wake);
                }
                Pause::LookAround => {
                    self.look_around();
                    if self.has_lost {
                        return Err(SendError::LockLost);
                    }
                }
                Pause::TimedOut => {
                    // a wait that ends before its first liveness check still records since when the gate has
                    // not moved
                    self.note_stall();
                    return self.poll_space(n);
                }
            }
        }
    }

    /// A waiter for one call of this producer.
    pub(crate) fn waiter(&mut self, strategy: AutoWaitStrategy, deadline: Deadline) -> Waiter {
        let participants = Participants::of(self.segment.control(), 0);
        Waiter::new(&mut self.habits, strategy, deadline, participants)
    }

    /// Sleeps until every consumer has released `sequence`, a consumer attaches or leaves (R9), or the wait
    /// is cancelled. Does not sleep if `look` returns true.
    pub(super) fn sleep_until(
        &mut self,
        sequence: Sequence,
        longest: Duration,
        look: impl FnOnce(&mut Self) -> bool,
    ) {
        let view = self.segment.view;
        let wake = sleep::sleep_until_space(view.control(), sequence, longest, || {
            self.habits.are_cancelled() || look(self)
        });
        self.habits.learn(wake);
    }

    /// Sleeps until a consumer attaches or leaves (R9), for at most `longest` and at most until the deadline.
    /// Does not sleep if `look` returns true.
    pub(crate) fn sleep_until_somebody_comes(
        &mut self,
        deadline: Deadline,
        longest: Duration,
        look: impl FnOnce(&mut Self) -> bool,
    ) {
        let longest = deadline
            .remaining()
            .map_or(longest, |rest| rest.min(longest));
        self.sleep_until(MAX_SEQUENCE + 1, longest, look);
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
            self.counters.bring_up_to_date(self.core.next());
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
            Some(Stall { gate: at, .. }) if at == gate => {}
            _ => {
                self.stalled = Some(Stall {
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
            false => diagnosis::is_held_by_the_dead(&self.segment),
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
                is_alive: false,
                lag: 1..,
                ..
            } => !self.liveness.alerts_of(id),
            _ => false,
        };
        if is_news {
            tracing::warn!(ring = %self.segment.shown, "{blocked}");
            self.stalled = self.stalled.map(|stall| Stall {
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
    pub(crate) fn look_around(&mut self) {
        if self.notice_loss() {
            return;
        }
        self.counters.bring_up_to_date(self.core.next());
        self.note_stall();
        if self.evict_dead() > 0 {
            reached("evict.while_blocked");
        }
        self.tell_of_the_absent();
        self.tell_of_the_name();
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
