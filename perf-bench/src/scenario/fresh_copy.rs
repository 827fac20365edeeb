//! Blocks from one core to the other, without a ring: the floor of all scenarios that move long messages.

use std::sync::atomic::Ordering::SeqCst;

use super::stream::wait_for_progress;
use super::{Endpoint, Outcome, in_blocks};
use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::fault::Round;
use crate::floor::copy::{Blocks, stride};
use crate::sample;
use crate::spec::Spec;

/// Either end.
pub(crate) struct FreshCopy {
    spec: Spec,
    next: u64,
    /// The driver's message, or the peer's copy of it.
    message: Vec<u8>,
}

impl FreshCopy {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            spec: spec.clone(),
            next: 0,
            message: vec![0; spec.size_bytes],
        }
    }
}

impl Endpoint for FreshCopy {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        let Round { number, count, .. } = round;
        let is_faulty = round.has_faulty_messages();
        let first = self.next;
        self.next += count;
        if arena.role() == Role::Driver {
            arena.progress().store(first as i64 - 1, SeqCst);
        }
        arena.meet();
        let Spec {
            size_bytes,
            capacity,
            arena_offset,
            ..
        } = self.spec;
        let base = arena.slots(arena_offset, stride(size_bytes) * capacity);
        let blocks = Blocks::new(base, size_bytes, capacity, arena.progress());
        if arena.role() == Role::Driver {
            let outcome = in_blocks(clock, count, |part| {
                for index in part {
                    if is_faulty {
                        round.write_sample::<true>(&mut self.message, index, 0);
                    } else {
                        round.write_sample::<false>(&mut self.message, index, 0);
                    }
                    blocks.send(first + index, &self.message);
                }
            });
            wait_for_progress(arena, first + count - 1);
            return outcome;
        }
        let hash = (0..count).fold(0, |hash, index| {
            blocks.receive(first + index, &mut self.message);
            sample::fold(hash, &self.message, number, index)
        });
        Outcome {
            hash,
            expected: sample::expected(size_bytes, number, count),
            ..Outcome::default()
        }
    }
}
