//! The time that a cache line takes to move from one core to another and back.

use std::sync::atomic::Ordering::{Acquire, Release};

use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::scenario::Outcome;
use crate::watch::spin_until;

/// `count` round trips on one line (both write it) or on two (each writes its own).
pub(crate) fn run(arena: &Arena, clock: &Clock, two_lines: bool, count: u64) -> Outcome {
    let (ping, pong) = arena.bounce_lines();
    let pong = if two_lines { pong } else { ping };
    if arena.role() == Role::Peer {
        for trip in 0..count {
            spin_until(|| ping.load(Acquire) == 2 * trip + 1);
            pong.store(2 * trip + 2, Release);
        }
        return Outcome::default();
    }
    let mut ticks = Vec::with_capacity(count as usize);
    let mut before = clock.ticks();
    for trip in 0..count {
        ping.store(2 * trip + 1, Release);
        spin_until(|| pong.load(Acquire) == 2 * trip + 2);
        let now = clock.ticks();
        ticks.push(now.wrapping_sub(before));
        before = now;
    }
    // Reset for the next round. The peer has seen every value, so no other process touches the lines now.
    ping.store(0, Release);
    pong.store(0, Release);
    Outcome {
        ticks,
        ..Outcome::default()
    }
}
