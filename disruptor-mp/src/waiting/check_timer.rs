//! When an endpoint's next liveness check is due.

use std::time::{Duration, Instant};

/// A timer that runs from the first time it is asked until it is reset by its owner; each check restarts it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckTimer(Option<Instant>);

impl CheckTimer {
    /// How long until the next check, zero if it is due. If the timer does not run, it starts now, and the check is
    /// due after `first`.
    pub(crate) fn left(&mut self, now: Instant, first: Duration) -> Duration {
        let due = *self.0.get_or_insert(now + first);
        due.saturating_duration_since(now)
    }

    /// A check is made now; the next one is due after `interval`.
    pub(crate) fn restart(&mut self, now: Instant, interval: Duration) {
        self.0 = Some(now + interval);
    }

    /// Whether a check is due, which the caller then makes: the timer restarts with `interval`. If it does not run, it
    /// starts with `first`.
    pub(crate) fn is_due(&mut self, now: Instant, first: Duration, interval: Duration) -> bool {
        let is_due = self.left(now, first).is_zero();
        if is_due {
            self.restart(now, interval);
        }
        is_due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_after_the_first_period_and_then_after_each_interval() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut timer = CheckTimer::default();
        let mut is_due = |millis| {
            timer.is_due(
                at(millis),
                Duration::from_millis(1),
                Duration::from_millis(100),
            )
        };
        assert!(!is_due(0), "it starts here");
        assert!(is_due(1) && !is_due(1) && !is_due(100));
        // a late check delays the next one
        assert!(is_due(150) && !is_due(249) && is_due(250));
    }

    #[test]
    fn a_first_period_of_zero_makes_the_first_check_due_at_once() {
        let mut timer = CheckTimer::default();
        assert!(timer.is_due(Instant::now(), Duration::ZERO, Duration::from_secs(1)));
    }
}
