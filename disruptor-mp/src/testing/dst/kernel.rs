//! The kernel's part of sleeping (R9) in a simulation: a sleeper checks its word repeatedly while simulated
//! time passes.

use std::io;
use std::time::Duration;

use super::atomic::AtomicU32;
use super::baton::current;
use crate::clock;
pub(crate) use crate::os::barrier::{register, run};
use crate::os::futex;
use crate::sync::Ordering;

/// How often a simulated sleeper checks its word: a simulated wake-up takes half of this on average.
const PAUSE: Duration = Duration::from_micros(50);

pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) {
    if current().is_none() {
        return futex::wait(word.real(), expected, longest);
    }
    let end = clock::now() + longest;
    while word.load(Ordering::Relaxed) == expected && clock::now() < end {
        clock::sleep(PAUSE);
    }
}

pub(crate) fn wake_all(word: &AtomicU32) {
    if current().is_none() {
        futex::wake_all(word.real());
    }
}

/// In a simulation callers check by the clock, as on a system without this call.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], longest: Duration) -> io::Result<()> {
    if current().is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let words: Vec<_> = words
        .iter()
        .map(|(word, expected)| (word.real(), *expected))
        .collect();
    futex::wait_any(&words, longest)
}
