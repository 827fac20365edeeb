//! A storm: processes of a ring in use are killed and stopped at random, and the ledgers are judged at the end.
//!
//! A round is one ring from its creation to its end. On a ring of events there are a producer, a durable consumer that
//! leases, a durable consumer that takes batches, and an automatic consumer that comes and goes. Over messages of all
//! sizes, some of them longer than the ring, there is a durable consumer for each way to receive. A seed decides
//! everything that is done to them: which process, how and after which delay, which process takes over, and how the
//! ring ends.
//! The same seed makes the same decisions as long as every process gives the same answers. The system decides
//! at which instruction a signal arrives.

mod cast;
mod round;

use std::time::Duration;

pub use round::{Count, play};

/// What flows through the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// Events.
    Events,
    /// Messages over frames.
    Messages,
}

impl Cargo {
    /// The verb of an actor that does this to a ring of this kind.
    fn verb(self, verb: &str) -> String {
        match self {
            Self::Events => verb.to_owned(),
            Self::Messages => format!("message-{verb}"),
        }
    }
}

/// The fault that is planted in a round, for the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No fault.
    Nothing,
    /// The producer acknowledges before it publishes.
    Early,
    /// The leasing consumer releases an event before it writes it down.
    Late,
    /// The leasing consumer is stopped for good.
    Hang,
}

impl Wrong {
    /// The word for the producer's line.
    fn pouring(self) -> &'static str {
        match self {
            Self::Early => "wrong=early",
            Self::Hang => "stall_ms=300",
            Self::Nothing | Self::Late => "",
        }
    }

    /// The word for the leasing consumer's line.
    fn consuming(self) -> &'static str {
        match self {
            Self::Late => "wrong=late",
            _ => "",
        }
    }
}

/// The longest time from one action to the next signal.
const DELAY_MAX: Duration = Duration::from_millis(3);

/// A random delay. Short delays are more frequent than long ones.
pub(crate) fn delay(random: &mut fastrand::Rng) -> Duration {
    let most = DELAY_MAX.as_micros() as u64;
    Duration::from_micros(match random.u8(..4) {
        0 => 0,
        1 => random.u64(..most / 10),
        _ => random.u64(..most),
    })
}

/// Waits for a delay with microsecond precision, as far as the system allows.
pub(crate) fn pass(delay: Duration) {
    let end = std::time::Instant::now() + delay;
    while std::time::Instant::now() < end {
        // a core that spins here is not available to the storm, so only short delays spin
        match delay < Duration::from_micros(200) {
            true => std::hint::spin_loop(),
            false => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}
