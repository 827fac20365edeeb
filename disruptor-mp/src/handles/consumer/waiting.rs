//! How a consumer waits for its next event, and what it checks meanwhile (R9, R11, R17). Reached only when the next
//! event is not there yet.

use std::time::Duration;

use super::{Consumer, refusal};
use crate::clock;
use crate::error::RecvError;
use crate::event::Event;
use crate::liveness::fast_path::FastPath;
#[cfg(doc)]
use crate::protocol::consume::ConsumerCore;
use crate::sync::process::Ordering;
use crate::testing::fail::reached;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::{Participants, Role};
use crate::waiting::wait_loop::{Awaited, wait};
use crate::waiting::{AutoWaitStrategy, Habits, Waiter};

/// Polls of the next stamp between two checks of everything else.
const POLLS: u32 = 16;

impl<E: Event, B> Consumer<E, B> {
    /// Whether the next event has come since a first poll found none.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_for_news(&mut self) -> Result<bool, RecvError> {
        let checks_liveness = !self.is_forked() && self.is_check_due();
        self.poll_news(checks_liveness)
    }

    /// Whether the next event is there. Returns an error at the ring's end, when a token is cancelled, and,
    /// if `checks_liveness`, when the producer is dead.
    pub(crate) fn poll_news(&mut self, checks_liveness: bool) -> Result<bool, RecvError> {
        if self.poll_event(checks_liveness)? {
            return Ok(true);
        }
        self.cancelled().map_or(Ok(false), Err)
    }

    /// As [`poll_news`](Self::poll_news), whether or not a token is cancelled.
    fn poll_event(&mut self, checks_liveness: bool) -> Result<bool, RecvError> {
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
        if checks_liveness {
            self.check_liveness()?;
        }
        Ok(self.core.is_ready())
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
    pub(super) fn panic_in_doubt(&mut self) {
        if let Err(error) = self.tell_of_doubt() {
            panic!("{error}");
        }
    }

    /// Waits for the next event.
    #[cold]
    #[inline(never)]
    pub(super) fn wait_for_event(
        &mut self,
        strategy: AutoWaitStrategy,
        deadline: Deadline,
    ) -> Result<(), RecvError> {
        if self.is_forked() {
            return Err(refusal(self.has_lost));
        }
        let mut waiter = self.waiter(strategy, deadline);
        self.counters.bring_up_to_date();
        let is_suspicious = self.is_suspicious();
        if self.poll_event(is_suspicious)? || wait(self, &mut waiter)?.is_some() {
            return Ok(());
        }
        if self.core.is_ready() {
            reached("recv.at_the_last_moment");
            return Ok(());
        }
        if self.is_check_due() {
            self.check_liveness()?;
        }
        Err(RecvError::Timeout)
    }

    /// What a call needs that waits on this ring.
    pub(crate) fn waiter(&mut self, strategy: AutoWaitStrategy, deadline: Deadline) -> Waiter {
        let ring = (self.core.control(), Role::Consumer(self.line()));
        let participants = Participants::of(core::iter::once(ring));
        Waiter::new(&mut self.habits, strategy, deadline, participants)
    }

    /// Sleeps by R9 as a call that waits does, unless `is_needless` says, after this consumer's bit is set, that there
    /// is no need to.
    pub(crate) fn sleep_unless(
        &self,
        longest: Duration,
        is_needless: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        self.core
            .sleep_until_event(longest, || self.habits.are_cancelled() || is_needless())
    }

    /// Whether a call that times out at once is due for a liveness check because nothing has come for a
    /// while. The first such call after an event does not even read the clock, so that a caller that polls
    /// once more after each event pays nothing for it.
    fn is_check_due(&mut self) -> bool {
        if self.is_suspicious() {
            return true;
        }
        let next = self.next_to_read();
        if self.missed != next {
            self.missed = next;
            return false;
        }
        let interval = self.habits.liveness_interval;
        self.timer.is_due(clock::now(), interval, interval)
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

    /// Whether there is anything but an event to report, or to check for.
    #[inline(never)]
    pub(super) fn may_have_other_news(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) || self.has_news()
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

    /// Whether that flag is set; clears it.
    fn is_suspicious(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) && self.suspicion.swap(false, Ordering::Relaxed)
    }

    /// R11: as [`ConsumerCore::is_abandoned`]; false if the system cannot tell.
    fn is_left_alone(&self) -> bool {
        self.core.is_abandoned(self.segment.locks()).unwrap_or_else(|error| {
            tracing::warn!(ring = %self.segment.shown, %error, "could not probe the producer's lock");
            false
        })
    }

    /// Waits for the next event, also after the producer has died, and panics with every other error.
    pub(super) fn wait_or_panic(&mut self, strategy: AutoWaitStrategy) {
        loop {
            match self.wait_for_event(strategy, Deadline::NEVER) {
                Ok(()) => return,
                Err(RecvError::ProducerDead { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The next event.
impl<E: Event, B> Awaited for Consumer<E, B> {
    type News = ();
    type Error = RecvError;

    fn habits_mut(&mut self) -> &mut Habits {
        &mut self.habits
    }

    fn cancelled(&self) -> Option<RecvError> {
        self.habits.are_cancelled().then_some(RecvError::Cancelled)
    }

    fn poll(&mut self) -> Result<Option<()>, RecvError> {
        // the previous poll found none
        self.counters.count_empty();
        Ok(self.poll_event(false)?.then_some(()))
    }

    /// Polls the next event's stamp for a while, with nothing in between. A spinning call gets the event sooner by the
    /// time that all the other checks take.
    #[inline(always)]
    fn poll_tightly(&self, strategy: AutoWaitStrategy) -> Option<()> {
        let has_come = strategy.spins()
            && (0..POLLS).any(|_| {
                strategy.hint();
                self.core.is_ready()
            });
        has_come.then_some(())
    }

    /// R11: returns an error if the producer is dead and nothing is left. Also notices a lost lock: a
    /// consumer that has lost its lock cannot tell whether the producer is alive.
    fn check_liveness(&mut self) -> Result<(), RecvError> {
        if self.segment.has_lost_locks() {
            (self.has_lost, self.fast_path) = (true, FastPath::EVERY_CALL_CHECKS);
            return Err(RecvError::LockLost);
        }
        self.counters.bring_up_to_date();
        if self.is_left_alone() {
            return Err(self.segment.orphaned());
        }
        Ok(())
    }

    fn sleep(&mut self, longest: Duration) -> Option<Duration> {
        self.sleep_unless(longest, || false)
    }

    fn count_sleeps(&mut self, sleeps: u64) {
        self.counters.count_parks(sleeps);
    }
}
