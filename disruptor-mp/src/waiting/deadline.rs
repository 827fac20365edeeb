//! When a wait ends.

use std::time::{Duration, Instant};

use crate::clock;

/// The instant up to which a call may wait.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use disruptor_mp::Deadline;
///
/// assert!(!Deadline::NEVER.has_passed());
/// assert!(Deadline::after(Duration::ZERO).has_passed());
/// assert!(Deadline::at(Instant::now()).has_passed());
/// assert!(Deadline::after(Duration::from_secs(60)).remaining() > Some(Duration::from_secs(59)));
/// assert!(Deadline::NEVER.within(Duration::from_secs(60)).remaining() <= Some(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Wait for as long as it takes.
    pub const NEVER: Self = Self(None);

    /// `duration` from now; never, if the clock cannot represent that instant.
    pub fn after(duration: Duration) -> Self {
        Self(clock::now().checked_add(duration))
    }

    /// At `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// This deadline, or `longest` from now if that is sooner.
    pub fn within(self, longest: Duration) -> Self {
        let Self(sooner) = Self::after(longest);
        match (self.0, sooner) {
            (Some(instant), Some(sooner)) => Self(Some(instant.min(sooner))),
            (instant, sooner) => Self(instant.or(sooner)),
        }
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.0.is_some_and(|instant| clock::now() >= instant)
    }

    /// How long until the deadline; `None` for [`NEVER`](Self::NEVER), zero when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.0
            .map(|instant| instant.saturating_duration_since(clock::now()))
    }
}

impl From<Duration> for Deadline {
    fn from(duration: Duration) -> Self {
        Self::after(duration)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::at(instant)
    }
}
