//! How a consumer waits for its next event, and what it checks meanwhile (R9, R11, R17). Reached only when the next
//! event is not there yet.

use super::{Consumer, refusal};
use crate::clock;
use crate::error::RecvError;
use crate::event::Event;
#[cfg(doc)]
use crate::protocol::consume::ConsumerCore;
use crate::sync::process::{AtomicU64, Ordering};
use crate::testing::fail::reached;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::Participants;
use crate::waiting::{AutoWaitStrategy, Pause, Waiter};

/// Polls of the next stamp between two checks of everything else.
const LOOKS: u32 = 16;

impl<E: Event, B> Consumer<E, B> {
    /// Whether the next event has come since a first poll found none.
    #[cold]
    #[inline(never)]
    pub(super) fn look_for_news(&mut self) -> Result<bool, RecvError> {
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

    /// Whether that flag is set; clears it.
    fn is_suspicious(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) && self.suspicion.swap(false, Ordering::Relaxed)
    }

    /// The endpoints that share the ring.
    pub(crate) fn participants(&self) -> Participants {
        Participants::of(self.core.control(), 0)
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
