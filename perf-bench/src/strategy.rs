//! The wait strategies by name.

use std::time::Duration;

use clap::ValueEnum;
use myelon::AutoWaitStrategy;
use serde::{Deserialize, Serialize};

/// How the ends of a ring wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Strategy {
    /// Poll with the processor's spin hint in between; needs a core for each process.
    #[value(name = "busy_spin")]
    BusySpin,
    /// Poll, and yield the core in between.
    #[value(name = "spin_then_yield")]
    SpinThenYield,
    /// Sleep for 50 µs between two polls.
    #[value(name = "sleep")]
    Sleep,
    /// Sleep in the kernel until woken.
    #[value(name = "block")]
    Block,
}

impl Strategy {
    /// The strategy for the builder.
    pub(crate) fn wait(self) -> AutoWaitStrategy {
        match self {
            Self::BusySpin => AutoWaitStrategy::BusySpinWithSpinLoopHint,
            // with four processes on two cores, 100 spins would reduce this reference to a third of its rate
            Self::SpinThenYield => AutoWaitStrategy::SpinThenYield { spins: 10 },
            Self::Sleep => AutoWaitStrategy::Sleep(Duration::from_micros(50)),
            Self::Block => AutoWaitStrategy::Block,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BusySpin => "busy_spin",
            Self::SpinThenYield => "spin_then_yield",
            Self::Sleep => "sleep",
            Self::Block => "block",
        }
    }
}
