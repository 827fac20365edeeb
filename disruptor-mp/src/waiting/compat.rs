//! Names for programs that were written against disruptor-mp 0.1: other names for strategies, and the pauses of a
//! program's own loops.

use std::time::Duration;

use super::AutoWaitStrategy;
use crate::sync::yield_now;
use crate::{clock, env};

/// # Kept for programs written against disruptor-mp 0.1
impl AutoWaitStrategy {
    /// [`BusySpin`](Self::BusySpin).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::high_performance(), AutoWaitStrategy::BusySpin);
    /// ```
    pub const fn high_performance() -> Self {
        Self::BusySpin
    }

    /// [`BusySpinWithSpinLoopHint`](Self::BusySpinWithSpinLoopHint).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::high_performance_with_hints(), AutoWaitStrategy::BusySpinWithSpinLoopHint);
    /// ```
    pub const fn high_performance_with_hints() -> Self {
        Self::BusySpinWithSpinLoopHint
    }

    /// [`SpinThenYield`](Self::SpinThenYield).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::spin_then_yield(100), AutoWaitStrategy::SpinThenYield { spins: 100 });
    /// ```
    pub const fn spin_then_yield(spins: usize) -> Self {
        Self::SpinThenYield { spins }
    }

    /// [`Block`](Self::Block), which takes less processor time than sleeping by the clock, and wakes sooner.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::cpu_efficient(), AutoWaitStrategy::Block);
    /// ```
    pub const fn cpu_efficient() -> Self {
        Self::Block
    }

    /// [`Sleep`](Self::Sleep).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// let millisecond = Duration::from_millis(1);
    /// assert_eq!(AutoWaitStrategy::sleep(millisecond), AutoWaitStrategy::Sleep(millisecond));
    /// ```
    pub const fn sleep(duration: Duration) -> Self {
        Self::Sleep(duration)
    }

    /// [`Sleep`](Self::Sleep), in nanoseconds; 0 is [`BusySpinWithSpinLoopHint`](Self::BusySpinWithSpinLoopHint).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::sleep_nanos(500), AutoWaitStrategy::Sleep(Duration::from_nanos(500)));
    /// assert_eq!(AutoWaitStrategy::sleep_nanos(0), AutoWaitStrategy::BusySpinWithSpinLoopHint);
    /// ```
    pub const fn sleep_nanos(nanos: u64) -> Self {
        match nanos {
            0 => Self::BusySpinWithSpinLoopHint,
            _ => Self::Sleep(Duration::from_nanos(nanos)),
        }
    }

    /// [`Sleep`](Self::Sleep), in microseconds; 0 is [`BusySpinWithSpinLoopHint`](Self::BusySpinWithSpinLoopHint).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::AutoWaitStrategy;
    ///
    /// assert_eq!(AutoWaitStrategy::sleep_micros(50), AutoWaitStrategy::Sleep(Duration::from_micros(50)));
    /// assert_eq!(AutoWaitStrategy::sleep_micros(0), AutoWaitStrategy::BusySpinWithSpinLoopHint);
    /// ```
    pub const fn sleep_micros(micros: u64) -> Self {
        match micros {
            0 => Self::BusySpinWithSpinLoopHint,
            _ => Self::Sleep(Duration::from_micros(micros)),
        }
    }
}

/// How long a program's own blocking loop sleeps between two polls: 50 µs, or `MYELON_BLOCK_STRATEGY_US`.
/// This crate's own calls sleep in the kernel until they are woken: with [`AutoWaitStrategy::Block`] no loop is needed.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_block_strategy_duration().is_zero());
/// ```
pub fn default_block_strategy_duration() -> Duration {
    env::block_sleep()
}

/// How long a program that calls `consume_next_with_sleep` may let it sleep between two polls: 50 µs, or
/// `MYELON_CONSUME_SLEEP_US`. Replaced by [`AutoWaitStrategy::Sleep`].
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_consume_sleep_duration().is_zero());
/// ```
pub fn default_consume_sleep_duration() -> Duration {
    env::consume_sleep()
}

/// How long discovery sleeps between two attempts: 1 ms, or `MYELON_DISCOVERY_POLL_MS`. A program's own loop is
/// replaced by `wait_for_ring` of the builder, and by `wait_for_consumer` of the producer.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_discovery_poll_duration().is_zero());
/// ```
pub fn default_discovery_poll_duration() -> Duration {
    env::discovery_poll()
}

/// Sleeps for [`default_block_strategy_duration`]. Replaced by the calls that take a [`Deadline`](crate::Deadline).
///
/// # Examples
///
/// ```
/// let mut polls = 0;
/// while polls < 2 {
///     polls += 1;
///     disruptor_mp::perform_default_block_wait();
/// }
/// ```
pub fn perform_default_block_wait() {
    perform_sleep_wait(default_block_strategy_duration());
}

/// Sleeps for [`default_consume_sleep_duration`]. Replaced by the calls that take a [`Deadline`](crate::Deadline).
///
/// # Examples
///
/// ```
/// let mut polls = 0;
/// while polls < 2 {
///     polls += 1;
///     disruptor_mp::perform_default_consume_sleep_wait();
/// }
/// ```
pub fn perform_default_consume_sleep_wait() {
    perform_sleep_wait(default_consume_sleep_duration());
}

/// Sleeps for [`default_discovery_poll_duration`]. Replaced as that function is.
///
/// # Examples
///
/// ```
/// let mut polls = 0;
/// while polls < 2 {
///     polls += 1;
///     disruptor_mp::perform_default_discovery_poll_wait();
/// }
/// ```
pub fn perform_default_discovery_poll_wait() {
    perform_sleep_wait(default_discovery_poll_duration());
}

/// Sleeps for `duration`; if that is zero it only yields. Replaced by [`std::thread::sleep`].
///
/// # Examples
///
/// ```
/// disruptor_mp::perform_sleep_wait(std::time::Duration::from_micros(50));
/// ```
pub fn perform_sleep_wait(duration: Duration) {
    if duration.is_zero() {
        yield_now();
    } else {
        clock::sleep(duration);
    }
}
