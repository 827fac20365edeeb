//! For calls that go on until their test says something: whether it has, and whether anything still gets on.

use std::io::stdin;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Failure;
use crate::options::Words;

/// How long a call waits until this process looks whether it is told something.
pub(crate) const SLICE: Duration = Duration::from_millis(5);

/// Whether the test has said something, or has gone.
pub(crate) fn is_told() -> bool {
    let input = stdin();
    let mut looks = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut looks, PollTimeout::ZERO).expect("poll") > 0
}

/// When something last went on.
pub(crate) struct Progress {
    at: Instant,
    patience: Duration,
}

impl Progress {
    /// `stall_ms=`, or half a minute: whatever died or stopped is replaced or goes on within milliseconds.
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
