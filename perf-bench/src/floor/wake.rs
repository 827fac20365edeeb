//! Waking another process through a word of shared memory, and nothing else: the cost of the kernel itself.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crate::arena::Arena;
use crate::clock::monotonic_ns;
use crate::watch;

/// No wake-up comes this late. A process that waits for a wake-up that never comes is ended by its parent.
const LONG: Duration = Duration::from_secs(1);

/// The present value of the word, for [`receive`].
pub(crate) fn word(arena: &Arena) -> u32 {
    arena.wake_word().load(Acquire)
}

/// Sleeps until each of `count` wake-ups; `first` is the word's value before them. Returns the ns that each took
/// on its way.
pub(crate) fn receive(arena: &Arena, first: u32, count: usize) -> Vec<u64> {
    let word = arena.wake_word();
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        loop {
            let seen = word.load(Acquire);
            if seen.wrapping_sub(first) as usize > number {
                break;
            }
            wait(word, seen, LONG);
        }
        let now = monotonic_ns();
        took.push(now.saturating_sub(arena.sent_at(number).load(Acquire)));
    }
    took
}

/// Sends wake-up `number` of a round.
pub(crate) fn send(arena: &Arena, number: usize) {
    let word = arena.wake_word();
    arena.sent_at(number).store(monotonic_ns(), Release);
    word.fetch_add(1, Release);
    wake(word);
}

/// Sleeps until each of `count` wake-ups, and answers it: the other side of [`ask`].
pub(crate) fn answer(arena: &Arena, count: usize) {
    let word = arena.turn_word();
    for number in 0..count as u32 {
        loop {
            let seen = word.load(Acquire);
            if seen == 2 * number + 1 {
                break;
            }
            wait(word, seen, LONG);
        }
        word.store(2 * number + 2, Release);
    }
}

/// Sends wake-up `number` to the party that answers them, and spins until it has. Returns how long that took, in ns.
pub(crate) fn ask(arena: &Arena, number: usize) -> u64 {
    let word = arena.turn_word();
    let turn = 2 * number as u32 + 1;
    let start = monotonic_ns();
    word.store(turn, Release);
    wake(word);
    watch::spin_until(|| word.load(Acquire) == turn + 1);
    monotonic_ns() - start
}

/// The next wake-up that is answered is number 0 again.
pub(crate) fn reset(arena: &Arena) {
    arena.turn_word().store(0, Release);
}

/// Wakes one process or thread that sleeps on the word.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses only the word's address; without FUTEX_PRIVATE_FLAG it reaches other processes.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Sleeps for `duration` without a wake-up, `interval` at a time. This gives the cost of periodic checks by themselves.
pub(crate) fn idle(duration: Duration, interval: Duration) {
    let word = AtomicU32::new(0);
    let end = monotonic_ns() + duration.as_nanos() as u64;
    loop {
        let rest = end.saturating_sub(monotonic_ns());
        if rest == 0 {
            return;
        }
        wait(&word, 0, interval.min(Duration::from_nanos(rest)));
    }
}

/// Sleeps while the word has the value `old`, but not longer than this.
pub(crate) fn wait(word: &AtomicU32, old: u32, longest: Duration) {
    let longest = libc::timespec {
        tv_sec: longest.as_secs() as libc::time_t,
        tv_nsec: longest.subsec_nanos().into(),
    };
    // SAFETY: FUTEX_WAIT reads an aligned word, which the reference keeps alive, and the time, which lives until
    // the call returns.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            old,
            &raw const longest,
        )
    };
}
