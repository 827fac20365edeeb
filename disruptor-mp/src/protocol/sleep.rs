//! Sleeping and waking in the kernel: R9.
//!
//! The waiters line has a bit for each sleeping consumer, the sequence whose release a sleeping producer
//! waits for (its *wish*), and one futex word for each side. A party that is about to sleep reads its futex
//! word, sets its bit or its wish, runs a barrier that all others pass, checks once more whether it has to
//! sleep, and sleeps on the word as it was read. A party that has stored a stamp or released a sequence reads
//! the waiters line afterwards. If the other side sleeps, it takes the bits or the wish away, changes the
//! word, and wakes. The sleeper runs the barrier for both sides: a process that is registered for the barrier
//! needs no fence between its store and its read of the line.
//!
//! A sleeper that dies leaves a bit or a wish, which the next waker takes away. A waker that dies between
//! taking the bits away and waking leaves the sleepers asleep until their time limit, which is one liveness
//! interval at most; then each makes a liveness check.

use core::ptr::NonNull;
use std::time::Duration;

use crate::Sequence;
#[cfg(not(loom))]
use crate::clock;
use crate::layout::control::{Control, NOTHING_WANTED, WaitersLine};
use crate::sync::{AtomicI64, AtomicU64, Ordering, fence, kernel};
use crate::testing::fail::point;

/// The longest sleep where the barrier does not work, as a wake-up can be lost there.
const UNSURE: Duration = Duration::from_millis(1);

/// The word that a party reads after each store: one of the waiters line or, in a process that has to fence,
/// a static word whose value always leads to the slow path.
#[derive(Debug)]
pub(crate) struct Lookout<A: 'static>(NonNull<A>);

// SAFETY: the word is atomic; it lies in the segment, which outlives the party that reads it, or is static (R9).
unsafe impl<A: Sync> Send for Lookout<A> {}
// SAFETY: as for Send.
unsafe impl<A: Sync> Sync for Lookout<A> {}

#[cfg(not(loom))]
impl<A> Lookout<A> {
    /// Reads `word` if this process is registered for the barrier, else `closer`.
    ///
    /// # Safety
    ///
    /// `word` outlives the lookout.
    unsafe fn new(word: &A, closer: &'static A) -> Self {
        let watched = if kernel::register() { word } else { closer };
        Self(NonNull::from(watched))
    }

    #[inline(always)]
    fn word(&self) -> &A {
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        // SAFETY: `new` demands a word that outlives the lookout (R9).
        unsafe { self.0.as_ref() }
    }
}

/// The model checker has no barrier that is imposed on others: in models of sleeping every party takes the slow path.
#[cfg(loom)]
impl<A> Lookout<A> {
    unsafe fn new(word: &A) -> Self {
        Self(NonNull::from(word))
    }
}

/// The word by which a producer learns of sleeping consumers.
pub(crate) type SleepersLookout = Lookout<AtomicU64>;
/// The word by which a consumer learns of a sleeping producer.
pub(crate) type SpaceLookout = Lookout<AtomicI64>;

impl SleepersLookout {
    /// # Safety
    ///
    /// `control` outlives the lookout.
    pub(crate) unsafe fn over(control: &Control) -> Self {
        #[cfg(not(loom))]
        static CLOSER: AtomicU64 = AtomicU64::new(1);
        // SAFETY: the caller guarantees that `control` outlives the lookout (R9).
        unsafe {
            Self::new(
                &control.waiters.sleepers,
                #[cfg(not(loom))]
                &CLOSER,
            )
        }
    }

    /// After a stamp was stored: whether a consumer may be asleep.
    #[inline(always)]
    pub(crate) fn sees_somebody(&self) -> bool {
        #[cfg(not(loom))]
        return self.word().load(Ordering::Relaxed) != 0;
        #[cfg(loom)]
        !left_out!(SleeperSearch)
    }
}

impl SpaceLookout {
    /// # Safety
    ///
    /// `control` outlives the lookout.
    pub(crate) unsafe fn over(control: &Control) -> Self {
        #[cfg(not(loom))]
        static CLOSER: AtomicI64 = AtomicI64::new(i64::MIN);
        // SAFETY: the caller guarantees that `control` outlives the lookout (R9).
        unsafe {
            Self::new(
                &control.waiters.space_wanted,
                #[cfg(not(loom))]
                &CLOSER,
            )
        }
    }

    /// After `sequence` was released: whether the producer may be asleep with a wish at or below it.
    #[inline(always)]
    pub(crate) fn sees_wish(&self, sequence: Sequence) -> bool {
        #[cfg(not(loom))]
        return self.word().load(Ordering::Relaxed) <= sequence;
        #[cfg(loom)]
        {
            let _ = sequence;
            !left_out!(SleeperSearch)
        }
    }
}

/// Wakes the consumers that sleep. The fence is for a process that is not registered for the barrier.
#[cold]
#[inline(never)]
pub(crate) fn wake_consumers(control: &Control) {
    step!(SleeperSearch, wake_sleeping_consumers(&control.waiters));
}

#[inline(always)]
fn wake_sleeping_consumers(waiters: &WaitersLine) {
    step!(WakeFence, fence(Ordering::SeqCst));
    if waiters.sleepers.load(Ordering::Relaxed) == 0
        || waiters.sleepers.swap(0, Ordering::AcqRel) == 0
    {
        return;
    }
    point("wake.taken");
    note_time(waiters);
    step!(WakeBump, waiters.event_word.fetch_add(1, Ordering::Release));
    point("wake.bumped");
    kernel::wake_all(&waiters.event_word);
    point("wake.woken");
}

/// Wakes the producer if its wish is above `before` and at most `released`: only a release that crosses the
/// wish wakes. A consumer that had passed the wish before need not wake: its earlier release woke the
/// producer, or the producer saw that release before it fell asleep.
#[cold]
#[inline(never)]
pub(crate) fn wake_producer_for(control: &Control, before: Sequence, released: Sequence) {
    step!(WakeFence, fence(Ordering::SeqCst));
    let wanted = control.waiters.space_wanted.load(Ordering::Relaxed);
    if before < wanted && wanted <= released {
        wake_producer(control);
    }
}

/// Wakes the producer if it sleeps, because something has changed that it may wait for.
#[cold]
#[inline(never)]
pub(crate) fn wake_producer(control: &Control) {
    step!(SleeperSearch, wake_sleeping_producer(&control.waiters));
}

#[inline(always)]
fn wake_sleeping_producer(waiters: &WaitersLine) {
    step!(WakeFence, fence(Ordering::SeqCst));
    if waiters.space_wanted.load(Ordering::Relaxed) == NOTHING_WANTED
        || waiters.space_wanted.swap(NOTHING_WANTED, Ordering::AcqRel) == NOTHING_WANTED
    {
        return;
    }
    point("wake.wish_taken");
    note_time(waiters);
    step!(WakeBump, waiters.space_word.fetch_add(1, Ordering::Release));
    point("wake.space_bumped");
    kernel::wake_all(&waiters.space_word);
    point("wake.space_woken");
}

/// Wakes every sleeper on this ring for a reason outside the ring: each checks again whether its wait is over.
pub(crate) fn wake_everybody(control: &Control) {
    for word in [&control.waiters.event_word, &control.waiters.space_word] {
        word.fetch_add(1, Ordering::Release);
        kernel::wake_all(word);
    }
}

/// Sleeps until the producer wakes the consumer of `line`, unless `is_needless` says that there is no need to sleep.
/// If it was woken, returns how long the wake-up took.
pub(crate) fn sleep_until_event(
    control: &Control,
    line: usize,
    longest: Duration,
    is_needless: impl FnOnce() -> bool,
) -> Option<Duration> {
    let waiters = &control.waiters;
    let word = announce_sleep(control, line);
    let longest = barrier(longest);
    point("sleep.fenced");
    let slept = if !left_out!(SleepCheck) && is_needless() {
        None
    } else {
        point("sleep.checked");
        kernel::wait(&waiters.event_word, word, longest);
        since(waiters, waiters.event_word.load(Ordering::Acquire) != word)
    };
    point("sleep.over");
    slept
}

/// Sets the sleeper's bit of `line`, and returns the futex word that the consumer may sleep on. The waker
/// clears the bit, and not the woken consumer, as several consumers may sleep behind one bit. A bit that is
/// left although its consumer did not sleep costs the next event one call.
fn announce_sleep(control: &Control, line: usize) -> u32 {
    let word = control.waiters.event_word.load(Ordering::Acquire);
    point("sleep.word");
    step!(
        SleepBit,
        control
            .waiters
            .sleepers
            .fetch_or(1 << line, Ordering::Relaxed)
    );
    point("sleep.bit");
    word
}

/// As [`sleep_until_event`], for consumers of several rings at once. Where the kernel cannot sleep on several
/// words, this sleeps by the clock, for 1 ms at most.
#[cfg(not(loom))]
pub(crate) fn sleep_until_any(
    lines: &[(&Control, usize)],
    longest: Duration,
    is_needless: impl FnOnce() -> bool,
) {
    let words: Vec<_> = lines
        .iter()
        .map(|(control, line)| (&control.waiters.event_word, announce_sleep(control, *line)))
        .collect();
    let longest = barrier(longest);
    point("sleep.fenced");
    if !is_needless() {
        point("sleep.checked");
        if kernel::wait_any(&words, longest).is_err() {
            clock::sleep(longest.min(UNSURE));
        }
    }
    point("sleep.over");
}

/// Sleeps until consumers have released everything up to `wanted`, unless `is_needless` says that there is no need
/// to sleep. If it was woken, returns how long the wake-up took.
pub(crate) fn sleep_until_space(
    control: &Control,
    wanted: Sequence,
    longest: Duration,
    is_needless: impl FnOnce() -> bool,
) -> Option<Duration> {
    let waiters = &control.waiters;
    let word = waiters.space_word.load(Ordering::Acquire);
    point("sleep.space_word");
    waiters.space_wanted.store(wanted, Ordering::Relaxed);
    point("sleep.wish");
    let longest = barrier(longest);
    point("sleep.space_fenced");
    let slept = if !left_out!(SleepCheck) && is_needless() {
        None
    } else {
        point("sleep.space_checked");
        kernel::wait(&waiters.space_word, word, longest);
        since(waiters, waiters.space_word.load(Ordering::Acquire) != word)
    };
    waiters
        .space_wanted
        .store(NOTHING_WANTED, Ordering::Relaxed);
    point("sleep.space_over");
    slept
}

/// Imposes the barrier on all other parties: either they see everything that was stored before, or their
/// stores are visible from here on. Returns how long a sleep may be that relies on it.
fn barrier(longest: Duration) -> Duration {
    let mut is_imposed = true;
    step!(SleepFence, {
        fence(Ordering::SeqCst);
        is_imposed = kernel::run();
    });
    if is_imposed || cfg!(loom) {
        longest
    } else {
        longest.min(UNSURE)
    }
}

#[cfg(not(loom))]
fn note_time(waiters: &WaitersLine) {
    let now = clock::monotonic();
    waiters
        .woken_at_ns
        .store(now.as_nanos() as u64, Ordering::Relaxed);
}

#[cfg(not(loom))]
fn since(waiters: &WaitersLine, is_woken: bool) -> Option<Duration> {
    let woken_at = Duration::from_nanos(waiters.woken_at_ns.load(Ordering::Relaxed));
    // in another time namespace the waker's clock may be ahead of this one
    clock::monotonic()
        .checked_sub(woken_at)
        .filter(|_| is_woken)
}

#[cfg(loom)]
fn note_time(_waiters: &WaitersLine) {}

#[cfg(loom)]
fn since(_waiters: &WaitersLine, _is_woken: bool) -> Option<Duration> {
    None
}
