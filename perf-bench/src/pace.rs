//! Rounds at a fixed rate.
//!
//! Each message has a time at which it should be sent, whether the one before it was late or not. Its latency counts
//! from that time, so a message that waits because another one was held up is not counted as a quick one.

use std::sync::atomic::Ordering::{Acquire, Release};

use crate::arena::Arena;
use crate::clock::monotonic_ns;
use crate::watch::spin_until;

/// The times of the messages of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start_ns: u64,
    per_s: u64,
}

impl Pace {
    /// Begins a round of so many messages per second, and tells the other process its first time. The driver calls this
    /// before it sends the first message.
    pub(crate) fn begin(arena: &Arena, per_s: u64) -> Self {
        let pace = Self {
            start_ns: monotonic_ns(),
            per_s,
        };
        arena.pace_start().store(pace.start_ns, Release);
        pace
    }

    /// The pace of the round of which a message has been received.
    pub(crate) fn of_round(arena: &Arena, per_s: u64) -> Self {
        Self {
            start_ns: arena.pace_start().load(Acquire),
            per_s,
        }
    }

    /// The time at which the message should be sent.
    fn due_ns(self, index: u64) -> u64 {
        let after = u128::from(index) * 1_000_000_000 / u128::from(self.per_s);
        self.start_ns + after as u64
    }

    /// Waits until the message should be sent.
    pub(crate) fn wait_for(self, index: u64) {
        let due_ns = self.due_ns(index);
        spin_until(|| monotonic_ns() >= due_ns);
    }

    /// The time from that at which the message should have been sent until `at_ns`.
    pub(crate) fn latency_ns(self, index: u64, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.due_ns(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_up_message_is_late_by_its_whole_wait() {
        let pace = Pace {
            start_ns: 1_000,
            per_s: 1_000_000,
        };
        // one per µs; the first takes 5 µs, and the two after it are sent at once
        let arrivals = [6_000, 6_100, 6_200, 4_100];
        let latencies = (0..).zip(arrivals).map(|(i, at)| pace.latency_ns(i, at));
        assert!(latencies.eq([5_000, 4_100, 3_200, 100]));
    }
}
