//! How a producer waits for space, and what it does meanwhile (R4, R5, R8). Reached only when the gate has run out.

use std::time::Duration;

use super::{Producer, Stall};
use crate::blocked::BlockedOn;
use crate::deadline::Deadline;
use crate::error::SendError;
use crate::fail::reached;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::protocol::{lines, sleep};
use crate::sync::spin_loop;
use crate::wait::{AutoWaitStrategy, Pause, Waiter};
use crate::{Event, Sequence};
use crate::{blocked, clock};

/// Spin hints between two looks at a full ring, at the most.
const HINTS_MAX: u32 = 64;
/// A refresh drains the processor's store buffer (R5). So a blocked call that spins looks this often, a few
/// microseconds in all, for an eighth of the ring to be gained by it, before it takes what there is.
const PATIENCE: u32 = 12;

impl<E: Event, B> Producer<E, B> {
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
        // in a ring with observers every publication comes by here: a wait is made when there is one
        if let Some(first) = self.core.vacant(n) {
            return Ok(first);
        }
        let mut waiter = self.waiter(self.habits.strategy, deadline);
        if self.wait_until_space(n, &mut waiter)? {
            return Ok(self.core.next());
        }
        // a batch can be blocked while some slots are free
        let blocked_on = self
            .diagnose()
            .map_or_else(String::new, |blocked| blocked.to_string());
        Err(SendError::Timeout { blocked_on })
    }

    /// As [`wait_for_space`](Self::wait_for_space), but says false when the waiter's deadline has passed.
    pub(crate) fn wait_until_space(
        &mut self,
        n: usize,
        waiter: &mut Waiter,
    ) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Forked);
        }
        let mut hints = 1;
        // a batch that never fits is refused at once
        let mut looks = if n > self.core.capacity() {
            PATIENCE
        } else {
            0
        };
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
            if self.habits.are_cancelled() {
                return Err(SendError::Cancelled);
            }
            let pause = waiter.pause();
            let sleeps = waiter.take_sleeps();
            self.counters.count_parks(sleeps);
            if sleeps > 0 {
                // who has slept has been patient: not for so many sleeps
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
                Pause::LookAround => self.look_around(),
                Pause::TimedOut => {
                    // who waits for less than a look around takes still says for how long nothing has moved
                    self.note_stall();
                    return self.poll_space(n);
                }
            }
        }
    }

    /// A wait of this producer.
    pub(crate) fn waiter(&self, strategy: AutoWaitStrategy, deadline: Deadline) -> Waiter {
        let participants = 1 + blocked::registered(self.segment.control()).count();
        Waiter::new(&self.habits, strategy, deadline, participants)
    }

    /// Sleeps until every consumer has released `sequence`, or somebody comes or goes (R9), or cancels; not if `look` is
    /// true.
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

    /// Sleeps until a consumer comes or goes (R9), for `longest` and until the deadline at the most; not if `look` is
    /// true.
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

    /// Since when the gate has stood where it stands.
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

    /// Says once in a stall that it is a consumer that is not there who holds the ring: nobody may ever make room then.
    fn tell_of_the_dead(&mut self) {
        if self.stalled.is_none_or(|stall| stall.is_told)
            || !blocked::is_held_by_the_dead(&self.segment)
        {
            return;
        }
        let Some(blocked) = self.diagnose() else {
            return;
        };
        if let BlockedOn::Consumer {
            id,
            is_alive: false,
            lag: 1..,
            ..
        } = &blocked
            && !self.liveness.alerts_of(id)
        {
            tracing::warn!(ring = %self.segment.name, "{blocked}");
            self.stalled = self.stalled.map(|stall| Stall {
                is_told: true,
                ..stall
            });
        }
    }

    /// While blocked: dead automatic consumers leave the gate, the time without progress is noted, and a dead one that
    /// keeps its place is reported.
    pub(crate) fn look_around(&mut self) {
        self.counters.bring_up_to_date(self.core.next());
        self.note_stall();
        if self.evict_dead() > 0 {
            reached("evict.while_blocked");
        }
        self.tell_of_the_dead();
    }

    /// Dead automatic consumers leave the gate; says how many.
    pub(crate) fn evict_dead(&self) -> usize {
        match lines::evict_dead(self.segment.control(), self.segment.locks()) {
            Ok(0) => 0,
            Ok(evicted) => {
                tracing::info!(ring = %self.segment.name, evicted, "dead consumers left the gate");
                evicted
            }
            Err(error) => {
                tracing::warn!(ring = %self.segment.name, %error, "could not look who is alive");
                0
            }
        }
    }
}
