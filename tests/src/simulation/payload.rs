//! The events: each carries its writer's tag, and a check that it is whole.

use disruptor_mp::{Event, Sequence, dst};

/// An event of one size.
pub(super) trait Payload: Event {
    /// Writes the event word by word.
    fn fill(&mut self, sequence: Sequence, tag: u64);
    /// The sequence and the tag; `None` when the words do not belong together.
    fn read(&self) -> Option<(Sequence, u64)>;
}

fn check_of(sequence: Sequence, tag: u64) -> u64 {
    !(sequence as u64).rotate_left(17) ^ tag
}

/// An event that shares its slot's line with the stamp. Consumers store their position at every eighth event.
#[derive(Clone, Copy, Default, Event)]
#[repr(C)]
pub(super) struct Small {
    sequence: i64,
    tag: u64,
    check: u64,
}

impl Payload for Small {
    fn fill(&mut self, sequence: Sequence, tag: u64) {
        self.sequence = sequence;
        dst::point("event.begun");
        self.tag = tag;
        self.check = check_of(sequence, tag);
    }

    fn read(&self) -> Option<(Sequence, u64)> {
        (self.check == check_of(self.sequence, self.tag)).then_some((self.sequence, self.tag))
    }
}

/// An event that is too large for a batch to write it apart from its slot. Its stamp has a line of its own, and
/// consumers store their position at each event.
#[derive(Clone, Copy, Event)]
#[repr(C)]
pub(super) struct Large {
    sequence: i64,
    tag: u64,
    checks: [u64; 40],
}

impl Payload for Large {
    fn fill(&mut self, sequence: Sequence, tag: u64) {
        self.sequence = sequence;
        self.tag = tag;
        let (head, tail) = self.checks.split_at_mut(20);
        head.fill(check_of(sequence, tag));
        dst::point("event.begun");
        tail.fill(check_of(sequence, tag));
    }

    fn read(&self) -> Option<(Sequence, u64)> {
        let check = check_of(self.sequence, self.tag);
        let is_whole = self.checks.iter().all(|word| *word == check);
        is_whole.then_some((self.sequence, self.tag))
    }
}
