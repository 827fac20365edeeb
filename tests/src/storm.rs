//! A storm: random kills and stops of everybody in a ring, while it is in use, and a judgement at the end.
//!
//! A round is one ring from its creation to its end, with a producer, a durable consumer that leases, a durable one that
//! takes batches, and an automatic one that comes and goes. A seed decides everything that is done to them: whom, how,
//! after which delay, who takes over, how the ring ends. The same seed makes the same decisions as long as everybody
//! answers the same; when a signal meets its process is the system's.

mod cast;
mod round;

use std::time::Duration;

pub use round::{Count, play};

/// What a planted fault makes of a round: the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing is wrong.
    Nothing,
    /// The producer acknowledges before it publishes.
    Early,
    /// The leasing consumer releases before it writes down.
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

/// The longest time between a deed and the next signal.
const DELAY_MAX: Duration = Duration::from_millis(3);

/// A random delay, short ones more often than long ones.
pub(crate) fn delay(random: &mut fastrand::Rng) -> Duration {
    let most = DELAY_MAX.as_micros() as u64;
    Duration::from_micros(match random.u8(..4) {
        0 => 0,
        1 => random.u64(..most / 10),
        _ => random.u64(..most),
    })
}

/// Lets a delay pass to the microsecond, as far as the system lets it.
pub(crate) fn pass(delay: Duration) {
    let end = std::time::Instant::now() + delay;
    while std::time::Instant::now() < end {
        // a core that spins is a core that the storm has not
        match delay < Duration::from_micros(200) {
            true => std::hint::spin_loop(),
            false => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}
