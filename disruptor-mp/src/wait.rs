//! How a call waits: spin, yield or sleep, and how often it looks up to see who has died.
//!
//! Nothing here is reached by a publish or a consume that does not wait (R12).

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::fail::buggify;
use crate::sync::{spin_loop, yield_now};
use crate::{clock, env};

/// How a blocked call passes its time.
///
/// # Examples
///
/// ```
/// use disruptor_mp::AutoWaitStrategy;
///
/// assert_eq!(AutoWaitStrategy::default(), AutoWaitStrategy::Block);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoWaitStrategy {
    /// Look again at once. Needs a core of its own.
    BusySpin,
    /// Look again after the processor's spin hint.
    BusySpinWithSpinLoopHint,
    /// Spin, then give the core to whoever wants it between two looks.
    SpinThenYield {
        /// How many times to spin first.
        spins: u32,
    },
    /// Sleep this long between two looks.
    Sleep(Duration),
    /// Spin, then yield, then sleep in the kernel, each sleep longer than the one before, up to one millisecond.
    #[default]
    Block,
}

/// How often a blocked call looks whether those it waits for are alive.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_millis(10);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 256;
/// Yields between two looks at the clock: each can last as long as somebody else's turn.
const YIELDS_PER_LOOK: u32 = 16;
const BLOCK_SPINS: u32 = 200;
const BLOCK_YIELDS: u32 = 32;
const BLOCK_SLEEP_MAX: Duration = Duration::from_millis(1);
/// Until then a wait is taken for short, and nobody's life is doubted.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(1);

/// What a waiting call does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Look again at what it waits for.
    Again,
    /// Look at who is alive as well.
    LookAround,
    /// The deadline has passed.
    TimedOut,
}

/// One wait of one call.
#[derive(Debug)]
pub(crate) struct Waiter {
    strategy: AutoWaitStrategy,
    deadline: Deadline,
    rounds: u32,
    next_look: Option<Instant>,
    sleeps: u64,
}

impl Waiter {
    pub(crate) fn new(strategy: AutoWaitStrategy, deadline: Deadline) -> Self {
        Self {
            strategy,
            deadline,
            rounds: 0,
            next_look: None,
            sleeps: 0,
        }
    }

    /// How often it has slept since the last call, for the counters.
    pub(crate) fn take_sleeps(&mut self) -> u64 {
        core::mem::take(&mut self.sleeps)
    }

    /// Passes a moment.
    pub(crate) fn pause(&mut self) -> Pause {
        self.rounds = self.rounds.wrapping_add(1);
        let spun = self.pass();
        if spun && !self.rounds.is_multiple_of(SPINS_PER_LOOK) {
            return Pause::Again;
        }
        self.look_at_clock()
    }

    /// Whether the moment was too short to be worth a look at the clock.
    fn pass(&mut self) -> bool {
        match self.strategy {
            AutoWaitStrategy::BusySpin => {}
            AutoWaitStrategy::BusySpinWithSpinLoopHint => spin_loop(),
            AutoWaitStrategy::SpinThenYield { spins } if self.rounds <= spins => spin_loop(),
            AutoWaitStrategy::SpinThenYield { .. } => {
                yield_now();
                return !self.rounds.is_multiple_of(YIELDS_PER_LOOK);
            }
            AutoWaitStrategy::Sleep(duration) => return self.sleep(duration),
            AutoWaitStrategy::Block if self.rounds <= BLOCK_SPINS => spin_loop(),
            AutoWaitStrategy::Block if self.rounds <= BLOCK_SPINS + BLOCK_YIELDS => yield_now(),
            AutoWaitStrategy::Block => {
                let doubled = (self.rounds - BLOCK_SPINS - BLOCK_YIELDS).min(16);
                return self.sleep((env::block_sleep() * (1 << doubled) / 2).min(BLOCK_SLEEP_MAX));
            }
        }
        true
    }

    fn sleep(&mut self, duration: Duration) -> bool {
        self.sleeps += 1;
        clock::sleep(
            self.deadline
                .remaining()
                .map_or(duration, |rest| rest.min(duration)),
        );
        false
    }

    fn look_at_clock(&mut self) -> Pause {
        let now = clock::now();
        let next_look = *self.next_look.get_or_insert(now + FIRST_LOOK);
        if self.deadline.has_passed() {
            return Pause::TimedOut;
        }
        if now < next_look && !buggify("wait.looks_around") {
            return Pause::Again;
        }
        self.next_look = Some(now + LIVENESS_INTERVAL);
        Pause::LookAround
    }
}

/// How long the default blocking strategy sleeps at first: 50 µs, or `MYELON_BLOCK_STRATEGY_US`.
pub fn default_block_strategy_duration() -> Duration {
    env::block_sleep()
}

/// How long `consume_next_with_sleep` sleeps between two looks: 50 µs, or `MYELON_CONSUME_SLEEP_US`.
pub fn default_consume_sleep_duration() -> Duration {
    env::consume_sleep()
}

/// How long discovery sleeps between two looks: 1 ms, or `MYELON_DISCOVERY_POLL_MS`.
pub fn default_discovery_poll_duration() -> Duration {
    env::discovery_poll()
}

/// Sleeps for [`default_block_strategy_duration`].
pub fn perform_default_block_wait() {
    perform_sleep_wait(default_block_strategy_duration());
}

/// Sleeps for [`default_consume_sleep_duration`].
pub fn perform_default_consume_sleep_wait() {
    perform_sleep_wait(default_consume_sleep_duration());
}

/// Sleeps for [`default_discovery_poll_duration`].
pub fn perform_default_discovery_poll_wait() {
    perform_sleep_wait(default_discovery_poll_duration());
}

/// Sleeps for `duration`; for zero it only yields.
pub fn perform_sleep_wait(duration: Duration) {
    if duration.is_zero() {
        yield_now();
    } else {
        clock::sleep(duration);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn strategies(sleep: Duration) -> [AutoWaitStrategy; 5] {
        [
            AutoWaitStrategy::BusySpin,
            AutoWaitStrategy::BusySpinWithSpinLoopHint,
            AutoWaitStrategy::SpinThenYield { spins: 10 },
            AutoWaitStrategy::Sleep(sleep),
            AutoWaitStrategy::Block,
        ]
    }

    #[test]
    fn every_strategy_ends_at_its_deadline() {
        for strategy in strategies(Duration::from_secs(60)) {
            let mut waiter = Waiter::new(strategy, Deadline::after(Duration::from_millis(5)));
            while waiter.pause() != Pause::TimedOut {}
        }
    }

    #[test]
    fn every_strategy_looks_around() {
        for strategy in strategies(Duration::from_micros(100)) {
            let mut waiter = Waiter::new(strategy, Deadline::NEVER);
            for _ in 0..2 {
                while waiter.pause() != Pause::LookAround {}
            }
        }
    }
}
