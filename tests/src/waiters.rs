//! Sleepers of a ring, as its waiters line shows them, and how a test knows that a process was woken.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Actor, World, wait_until};

/// A liveness interval that no test reaches. Controls do reach it, and the deadline of their calls, 30 s, comes later.
pub const NEVER_MS: u64 = 20_000;
/// A process that continues only after [`NEVER_MS`] has not continued by then.
pub const WOKEN: Duration = Duration::from_millis(NEVER_MS / 2);

/// The offset of the waiters line: see docs/segment-layout.md.
const LINE_AT: u64 = 4096 + 128;
/// The time that a process needs from its entry in the waiters line until it sleeps in the kernel.
const FALL_ASLEEP: Duration = Duration::from_millis(30);

impl World {
    fn waiters_word(&self, index: u64) -> [u8; 8] {
        let mut word = [0; 8];
        let ring = File::open(self.path()).expect("the ring");
        ring.read_exact_at(&mut word, LINE_AT + index * 8)
            .expect("its waiters line");
        word
    }

    /// How many consumers sleep, or are about to.
    pub fn sleepers(&self) -> u32 {
        u64::from_ne_bytes(self.waiters_word(0)).count_ones()
    }

    /// Whether the producer sleeps, or is about to.
    pub fn is_space_wanted(&self) -> bool {
        i64::from_ne_bytes(self.waiters_word(1)) != i64::MAX
    }

    /// How often consumers, and the producer, were woken. Each wake changes the word that they sleep on.
    pub fn wakes(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.waiters_word(2);
        (
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        )
    }
}

/// Waits until `count` consumers sleep.
#[track_caller]
pub fn wait_for_sleepers(world: &World, count: u32) {
    wait_until("consumers sleep", || world.sleepers() == count);
    thread::sleep(FALL_ASLEEP);
}

/// Waits until the producer sleeps.
#[track_caller]
pub fn wait_for_wish(world: &World) {
    wait_until("the producer sleeps", || world.is_space_wanted());
    thread::sleep(FALL_ASLEEP);
}

/// Asserts that `act` returns because of a wake-up, not after [`NEVER_MS`].
#[track_caller]
pub fn woken<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = act();
    let took = start.elapsed();
    assert!(took < WOKEN, "{what}: only after {took:?}");
    result
}

/// Makes one actor a producer and the other a consumer with the id `reader`. Both sleep when they wait, and
/// make a liveness check every `interval_ms`.
pub fn attach(mut tx: Actor, mut rx: Actor, capacity: usize, interval_ms: u64) -> (Actor, Actor) {
    let words = format!("cap={capacity} strategy=block interval_ms={interval_ms}");
    tx.ok(&format!("produce {words}"));
    rx.ok(&format!("consume {words} id=reader"));
    (tx, rx)
}
