//! The ways to wait that a program can choose.

use std::sync::OnceLock;
use std::time::Duration;

use crate::env;
use crate::sync::spin_loop;

/// How a blocked call waits.
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
    /// Poll again at once. Needs a core of its own.
    BusySpin,
    /// Poll again after the processor's spin hint.
    BusySpinWithSpinLoopHint,
    /// Spin first, then yield the core between two polls.
    SpinThenYield {
        /// How many times to spin first.
        spins: usize,
    },
    /// Sleep this long between two polls, but no longer than a liveness interval or 100 ms: no process wakes
    /// a call that sleeps by the clock, and the call must notice a cancelled token and a death.
    Sleep(Duration),
    /// Spin for about as long as a wake-up takes, then sleep in the kernel until woken. If spinning keeps being
    /// in vain, as on a core that both sides share, only a few waits still spin, until one of those pays. Where
    /// the endpoints of the ring that are awake outnumber the cores, calls do not spin: they yield a few times first.
    #[default]
    Block,
}

impl AutoWaitStrategy {
    /// The strategy that `MYELON_WAIT_STRATEGY` names, or else `default`: a program can leave the choice to
    /// its operator. The variable is read once in a process. Its value is `busy-spin`, `busy-spin-with-hint`,
    /// `spin-then-yield:` and a number of spins, `sleep:` and a number of microseconds, or `block`. Any other
    /// value is reported as a `tracing` warning and ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{AutoWaitStrategy, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let strategy = AutoWaitStrategy::from_env_or(AutoWaitStrategy::Block);
    /// let rx = ring.builder().with_wait_strategy(strategy).build_consumer()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env_or(default: Self) -> Self {
        static VALUE: OnceLock<Option<AutoWaitStrategy>> = OnceLock::new();
        let named = *VALUE.get_or_init(|| env::wait_strategy(Self::named));
        named.unwrap_or(default)
    }

    /// Parses a value of `MYELON_WAIT_STRATEGY`; `None` if it names no strategy.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let number = |rest: &str| rest.parse::<u64>().ok();
        Some(match text.split_once(':') {
            None if text == "busy-spin" => Self::BusySpin,
            None if text == "busy-spin-with-hint" => Self::BusySpinWithSpinLoopHint,
            None if text == "block" => Self::Block,
            Some(("spin-then-yield", spins)) => Self::SpinThenYield {
                spins: usize::try_from(number(spins)?).ok()?,
            },
            Some(("sleep", micros)) => Self::Sleep(Duration::from_micros(number(micros)?)),
            _ => return None,
        })
    }

    /// Whether a call that waits in this way never gives up its core.
    pub(crate) fn spins(self) -> bool {
        matches!(self, Self::BusySpin | Self::BusySpinWithSpinLoopHint)
    }

    /// The pause between two polls of a spinning call.
    #[inline(always)]
    pub(crate) fn hint(self) {
        if self != Self::BusySpin {
            spin_loop();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_has_a_name_and_nothing_else_has() {
        for (text, strategy) in [
            ("busy-spin", AutoWaitStrategy::BusySpin),
            (
                "busy-spin-with-hint",
                AutoWaitStrategy::BusySpinWithSpinLoopHint,
            ),
            (
                "spin-then-yield:7",
                AutoWaitStrategy::SpinThenYield { spins: 7 },
            ),
            (
                "sleep:50",
                AutoWaitStrategy::Sleep(Duration::from_micros(50)),
            ),
            ("block", AutoWaitStrategy::Block),
        ] {
            assert_eq!(AutoWaitStrategy::named(text), Some(strategy));
        }
        for text in [
            "",
            "Block",
            "busy-spin:1",
            "sleep",
            "sleep:",
            "spin-then-yield:-1",
            "block:1",
        ] {
            assert_eq!(AutoWaitStrategy::named(text), None, "{text}");
        }
    }

    #[test]
    fn without_the_variable_the_default_is_taken() {
        assert!(
            std::env::var_os("MYELON_WAIT_STRATEGY").is_none(),
            "unset it for the tests"
        );
        let chosen = AutoWaitStrategy::from_env_or(AutoWaitStrategy::BusySpin);
        assert_eq!(chosen, AutoWaitStrategy::BusySpin);
    }
}
