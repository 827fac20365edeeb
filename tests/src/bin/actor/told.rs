//! Help for calls that run until the next line of input arrives: whether it has arrived, and whether there is
//! still progress.

use std::io::stdin;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Failure;
use crate::options::Words;

/// How long a call waits before this process checks for a line of input.
pub(crate) const SLICE: Duration = Duration::from_millis(5);

/// Whether a line of input has arrived, or the input has ended.
pub(crate) fn is_told() -> bool {
    let input = stdin();
    let mut descriptors = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut descriptors, PollTimeout::ZERO).expect("poll") > 0
}

/// The time of the last progress.
pub(crate) struct Progress {
    at: Instant,
    patience: Duration,
}

impl Progress {
    /// The longest time without progress: `stall_ms=`, by default 30 s. A process that died or was stopped is
    /// replaced or continued within milliseconds.
    pub(crate) fn new(words: &Words<'_>) -> Self {
        Self {
            at: Instant::now(),
            patience: Duration::from_millis(words.number_or("stall_ms", 30_000) as u64),
        }
    }

    pub(crate) fn made(&mut self) {
        self.at = Instant::now();
    }

    pub(crate) fn check(&self, before: &dyn std::fmt::Display, why: &str) -> Result<(), Failure> {
        if self.at.elapsed() < self.patience {
            return Ok(());
        }
        Err(Failure {
            kind: String::from("Stuck"),
            before: before.to_string(),
            text: format!("no progress for {:?}: {why}", self.patience),
        })
    }
}
