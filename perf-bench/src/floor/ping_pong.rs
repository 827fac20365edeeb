//! The cost that two rings add to a two-line bounce: a message there and back on two bare streams.

use std::sync::atomic::Ordering::SeqCst;

use super::stream::{Slots, shape};
use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::fault::Round;
use crate::payload::{REPLY, expected};
use crate::scenario::Outcome;
use crate::spec::Spec;

/// Makes the trips of a round, from sequence `first` on.
pub(crate) fn run<const FAULTY: bool, const W: usize>(
    arena: &mut Arena,
    clock: &Clock,
    spec: &Spec,
    first: u64,
    round: Round,
) -> Outcome {
    if arena.role() == Role::Driver {
        arena.progress().store(first as i64 - 1, SeqCst);
        arena.driver_progress().store(first as i64 - 1, SeqCst);
    }
    arena.meet();
    let bytes = (shape(spec.size_bytes, false).1 * spec.capacity).next_multiple_of(4096);
    let base = arena.slots(spec.arena_offset, 2 * bytes);
    let there = Slots::<false>::new(base, spec.capacity, arena.progress());
    let back = Slots::<false>::new(
        base.wrapping_add(bytes),
        spec.capacity,
        arena.driver_progress(),
    );
    let count = round.count;
    // a stream adds the sequence to the key
    let key = |sequence: u64| round.sent_key::<FAULTY>(sequence - first);
    let mut limit = first + spec.capacity as u64;
    let mut hash = 0;
    if arena.role() == Role::Peer {
        for sequence in first..first + count {
            hash = there.consume_into::<W>(hash, sequence..sequence + 1);
            let reply = (key(sequence) ^ REPLY).wrapping_sub(sequence);
            limit = back.produce::<W>(sequence..sequence + 1, reply, limit);
        }
        let expected = expected::<W>(round.number, count, 0);
        return Outcome {
            hash,
            expected,
            ..Outcome::default()
        };
    }
    let mut ticks = Vec::with_capacity(count as usize);
    let mut before = clock.ticks();
    for sequence in first..first + count {
        let request = key(sequence).wrapping_sub(sequence);
        limit = there.produce::<W>(sequence..sequence + 1, request, limit);
        hash = back.consume_into::<W>(hash, sequence..sequence + 1);
        let now = clock.ticks();
        ticks.push(now.wrapping_sub(before));
        before = now;
    }
    let expected = expected::<W>(round.number, count, REPLY);
    Outcome {
        ticks,
        hash,
        expected,
        ..Outcome::default()
    }
}
