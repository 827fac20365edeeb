//! Single operations of the processor and the kernel that a transport is made of, each in a loop of its own.

use std::hint::black_box;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::time::Duration;

use memmap2::{MmapMut, MmapOptions};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Role};
use crate::clock::{Clock, monotonic_ns};
use crate::floor::wake;
use crate::scenario::{Failure, Outcome, in_blocks};
use crate::watch;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// Reading the processor's counter, or the clock where there is none.
    Counter,
    /// Reading the monotonic clock.
    Clock,
    /// An atomic addition to a line that no other core has.
    Add,
    /// An atomic compare-and-exchange on such a line.
    CompareExchange,
    /// An atomic exchange on such a line.
    Exchange,
    /// A full fence.
    Fence,
    /// The pause between two polls.
    Pause,
    /// `sched_yield` without another process on the core.
    Yield,
    /// `FUTEX_WAKE` without a sleeper.
    FutexWake,
    /// `FUTEX_WAIT` on a word that has changed already.
    FutexWait,
    /// Writing to an eventfd and reading it again.
    EventFd,
    /// From one sleeping process to the other and back, on two cores.
    FutexRoundTrip,
    /// From one thread to another one on the same core.
    ContextSwitch,
    /// The first write to a private page.
    PageFault,
    /// The first write to a page of shared memory that exists already.
    SharedPageFault,
}

impl Operation {
    /// All operations.
    pub(crate) const ALL: [Self; 15] = [
        Self::Counter,
        Self::Clock,
        Self::Add,
        Self::CompareExchange,
        Self::Exchange,
        Self::Fence,
        Self::Pause,
        Self::Yield,
        Self::FutexWake,
        Self::FutexWait,
        Self::EventFd,
        Self::FutexRoundTrip,
        Self::ContextSwitch,
        Self::PageFault,
        Self::SharedPageFault,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "read_counter",
            Self::Clock => "read_clock",
            Self::Add => "lock_add",
            Self::CompareExchange => "lock_compare_exchange",
            Self::Exchange => "lock_exchange",
            Self::Fence => "full_fence",
            Self::Pause => "pause",
            Self::Yield => "yield",
            Self::FutexWake => "futex_wake_nobody",
            Self::FutexWait => "futex_wait_changed",
            Self::EventFd => "eventfd_write_read",
            Self::FutexRoundTrip => "futex_round_trip",
            Self::ContextSwitch => "context_switch",
            Self::PageFault => "page_fault",
            Self::SharedPageFault => "page_fault_shared",
        }
    }

    /// How often a round does it: for some milliseconds.
    pub(crate) fn times(self) -> u64 {
        match self {
            Self::Counter
            | Self::Clock
            | Self::Add
            | Self::CompareExchange
            | Self::Exchange
            | Self::Fence
            | Self::Pause => 65_536,
            Self::Yield | Self::FutexWake | Self::FutexWait | Self::EventFd => 8_192,
            Self::FutexRoundTrip | Self::ContextSwitch => 1_024,
            Self::PageFault | Self::SharedPageFault => 4_096,
        }
    }
}

/// Does the operation `count` times; the times are those of its blocks. The peer takes part in one operation and
/// sleeps during all others.
pub(crate) fn run(
    operation: Operation,
    arena: &mut Arena,
    clock: &Clock,
    count: u64,
) -> Result<Outcome, Failure> {
    let is_two_sided = operation == Operation::FutexRoundTrip;
    if arena.role() == Role::Peer && !is_two_sided {
        return Ok(Outcome::default());
    }
    let line = Line::default();
    let word = &line.word;
    let done = |outcome: Outcome, done: u64, expected: u64| Outcome {
        hash: done,
        expected,
        ..outcome
    };
    Ok(match operation {
        Operation::Counter => times(clock, count, || {
            black_box(clock.ticks());
        }),
        Operation::Clock => times(clock, count, || {
            black_box(monotonic_ns());
        }),
        Operation::Add => {
            let outcome = times(clock, count, || {
                word.fetch_add(1, AcqRel);
            });
            done(outcome, word.load(Acquire), count)
        }
        Operation::CompareExchange => {
            let mut old = 0;
            let outcome = times(clock, count, || {
                if word.compare_exchange(old, old + 1, AcqRel, Acquire).is_ok() {
                    old += 1;
                }
            });
            done(outcome, old, count)
        }
        Operation::Exchange => times(clock, count, || {
            black_box(word.swap(1, AcqRel));
        }),
        Operation::Fence => times(clock, count, || {
            fence(SeqCst);
            // without anything in between, the compiler merges fences
            black_box(word);
        }),
        Operation::Pause => times(clock, count, core::hint::spin_loop),
        Operation::Yield => times(clock, count, std::thread::yield_now),
        Operation::FutexWake => {
            let word = AtomicU32::new(0);
            times(clock, count, || wake::wake(&word))
        }
        Operation::FutexWait => {
            let word = AtomicU32::new(1);
            times(clock, count, || wake::wait(&word, 0, LONG))
        }
        Operation::EventFd => {
            let descriptor = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?;
            let mut sum = 0;
            let outcome = times(clock, count, || {
                if descriptor.write(1).is_ok() {
                    sum += descriptor.read().unwrap_or(0);
                }
            });
            done(outcome, sum, count)
        }
        Operation::FutexRoundTrip => take_turns(arena, clock, count),
        Operation::ContextSwitch => switch(clock, count)?,
        Operation::PageFault => touch(clock, MmapOptions::new().len(bytes_of(count)).map_anon()?),
        Operation::SharedPageFault => {
            let file = std::fs::File::from(nix::sys::memfd::memfd_create(
                c"perf-bench-pages",
                nix::sys::memfd::MFdFlags::MFD_CLOEXEC,
            )?);
            let len = bytes_of(count);
            file.set_len(len as u64)?;
            // SAFETY: nothing else has the nameless object, so it does not change while it is mapped.
            let mut pages = unsafe { MmapMut::map_mut(&file)? };
            // from now on the pages exist
            pages.fill(1);
            drop(pages);
            // SAFETY: as above.
            touch(clock, unsafe { MmapMut::map_mut(&file)? })
        }
    })
}

const PAGE_BYTES: usize = 4096;
const LONG: Duration = Duration::from_secs(1);

/// A line that nothing else uses.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line {
    word: AtomicU64,
}

#[inline(always)]
fn times(clock: &Clock, count: u64, mut once: impl FnMut()) -> Outcome {
    in_blocks(clock, count, |block| {
        for _ in block {
            once();
        }
    })
}

fn bytes_of(pages: u64) -> usize {
    pages as usize * PAGE_BYTES
}

/// Writes to each page once.
fn touch(clock: &Clock, mut pages: MmapMut) -> Outcome {
    let count = (pages.len() / PAGE_BYTES) as u64;
    in_blocks(clock, count, |block| {
        for page in block {
            pages[page as usize * PAGE_BYTES] = 2;
        }
    })
}

/// Waits until `word` has the value.
fn await_turn(word: &AtomicU32, turn: u32) {
    loop {
        let seen = word.load(Acquire);
        if seen == turn {
            return;
        }
        wake::wait(word, seen, LONG);
        watch::check();
    }
}

/// The driver and the peer wake each other in turn.
fn take_turns(arena: &Arena, clock: &Clock, count: u64) -> Outcome {
    let word = arena.turn_word();
    if arena.role() == Role::Peer {
        for trip in 0..count as u32 {
            await_turn(word, 2 * trip + 1);
            word.store(2 * trip + 2, Release);
            wake::wake(word);
        }
        return Outcome::default();
    }
    let mut trip = 0;
    let outcome = times(clock, count, || {
        word.store(2 * trip + 1, Release);
        wake::wake(word);
        await_turn(word, 2 * trip + 2);
        trip += 1;
    });
    word.store(0, Release);
    outcome
}

/// Two threads on this core wake each other in turn. Each of `count` operations is one switch.
fn switch(clock: &Clock, count: u64) -> Result<Outcome, Failure> {
    let word = AtomicU32::new(0);
    let trips = count as u32 / 2;
    std::thread::scope(|scope| {
        // the thread inherits the core of this one
        let other = std::thread::Builder::new().spawn_scoped(scope, || {
            for trip in 0..trips {
                await_turn(&word, 2 * trip + 1);
                word.store(2 * trip + 2, Release);
                wake::wake(&word);
            }
        })?;
        let mut trip = 0;
        let outcome = times(clock, u64::from(trips), || {
            word.store(2 * trip + 1, Release);
            wake::wake(&word);
            await_turn(&word, 2 * trip + 2);
            trip += 1;
        });
        other.join().map_err(|_| "a thread panicked")?;
        Ok(outcome)
    })
}
