//! Sleeping on a word of shared memory: the futex, shared between processes.
//!
//! The futexes of the standard library and of `atomic-wait` are private to a process, and wake no sleeper of another
//! one. The kernel compares the word and falls asleep on it in one step; a waker changes the word before it wakes.

use core::sync::atomic::AtomicU32;
use std::io;
use std::time::Duration;

/// Sleeps until this word is woken, at most for `longest`. Returns at once if the word is no longer
/// `expected`. May return early, and does so at each signal: the caller checks again whether its wait is
/// over, and the clock.
pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) {
    imp::wait(word, expected, longest);
}

/// Wakes every sleeper on this word, in any process.
pub(crate) fn wake_all(word: &AtomicU32) {
    imp::wake_all(word);
}

/// Sleeps until one of these words is woken, at most for `longest`. Returns at once if one of them no longer
/// has its expected value.
///
/// # Errors
///
/// `Unsupported` where the system has no such call, or for more words than it takes.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], longest: Duration) -> io::Result<()> {
    imp::wait_any(words, longest)
}

#[cfg(target_os = "linux")]
mod imp {
    use super::*;
    use crate::os::clock::{monotonic, timespec};

    pub(super) fn wait(word: &AtomicU32, expected: u32, longest: Duration) {
        let longest = timespec(longest);
        // SAFETY: FUTEX_WAIT reads an aligned word that the reference keeps alive, and the time, which lives until
        // the call returns. No FUTEX_PRIVATE_FLAG: the word is shared with other processes (R9).
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                expected,
                &raw const longest,
            )
        };
    }

    pub(super) fn wake_all(word: &AtomicU32) {
        // SAFETY: FUTEX_WAKE uses only the word's address (R9).
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE,
                libc::c_int::MAX,
            )
        };
    }

    /// `struct futex_waitv` of the kernel's interface.
    #[repr(C)]
    struct WaitWord {
        expected: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }

    const FUTEX_32: u32 = 2;
    const SYS_FUTEX_WAITV: libc::c_long = 449;

    pub(super) fn wait_any(words: &[(&AtomicU32, u32)], longest: Duration) -> io::Result<()> {
        let waits: Vec<WaitWord> = words
            .iter()
            .map(|(word, expected)| WaitWord {
                expected: u64::from(*expected),
                address: word.as_ptr().expose_provenance() as u64,
                flags: FUTEX_32,
                reserved: 0,
            })
            .collect();
        let until = timespec(monotonic().saturating_add(longest));
        // SAFETY: the words are aligned and their references keep them alive, and the arrays live until the
        // call returns; without FUTEX2_PRIVATE the words are shared between processes (R9).
        let result = unsafe {
            libc::syscall(
                SYS_FUTEX_WAITV,
                waits.as_ptr(),
                waits.len() as libc::c_uint,
                0,
                &raw const until,
                libc::CLOCK_MONOTONIC,
            )
        };
        match (result, io::Error::last_os_error()) {
            (-1, error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)
                ) =>
            {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            _ => Ok(()),
        }
    }
}

/// Other systems sleep by the clock, for a millisecond at most.
#[cfg(not(target_os = "linux"))]
mod imp {
    use super::*;
    use core::sync::atomic::Ordering;

    const BOUND: Duration = Duration::from_millis(1);

    pub(super) fn wait(word: &AtomicU32, expected: u32, longest: Duration) {
        if word.load(Ordering::Acquire) == expected {
            crate::os::clock::sleep(longest.min(BOUND));
        }
    }

    pub(super) fn wake_all(_word: &AtomicU32) {}

    pub(super) fn wait_any(_words: &[(&AtomicU32, u32)], _longest: Duration) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use core::sync::atomic::Ordering;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_changed_word_is_not_slept_on() {
        let start = Instant::now();
        wait(&AtomicU32::new(1), 0, LONG);
        assert!(start.elapsed() < LONG / 2);
    }

    #[test]
    fn sleeps_no_longer_than_told() {
        wait(&AtomicU32::new(0), 0, Duration::from_millis(1));
    }

    #[test]
    fn wakes() {
        let start = Instant::now();
        let word = Arc::new(AtomicU32::new(0));
        let other = Arc::clone(&word);
        let sleeper = std::thread::spawn(move || {
            while other.load(Ordering::Acquire) == 0 {
                wait(&other, 0, LONG);
            }
        });
        word.store(1, Ordering::Release);
        wake_all(&word);
        sleeper.join().expect("thread");
        assert!(start.elapsed() < LONG / 2);
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn wakes_from_any_of_several() {
        let start = Instant::now();
        let words: Arc<[AtomicU32; 3]> = Arc::default();
        let others = Arc::clone(&words);
        let sleeper = std::thread::spawn(move || {
            while others[2].load(Ordering::Acquire) == 0 {
                let all: Vec<_> = others.iter().map(|word| (word, 0)).collect();
                if let Err(error) = wait_any(&all, LONG) {
                    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                    std::thread::yield_now();
                }
            }
        });
        words[2].store(1, Ordering::Release);
        wake_all(&words[2]);
        sleeper.join().expect("thread");
        assert!(start.elapsed() < LONG / 2);
    }
}
