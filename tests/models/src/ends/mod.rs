//! The end of a ring (R11) and the removal of its name (R15): `Producer::finish`, `Consumer::wait_for_event`,
//! `check_liveness` and `Segment::unlink_if_drained`, against deaths and a successor.
//!
//! The ring is large enough for all events, so that no refresh happens. The name refers to a segment, at first
//! to segment 1. A creator that finds no name makes segment 2.

mod consumer;
mod drain;
mod producer;

use crate::checker::{Address, Cpu, End, Lock, Memory, Model, Process, Step, Word};
use consumer::Taking;
use producer::Making;

const CLOSED: Address = 0;
const KEPT: Address = 1;
/// The first stamp's address less one: the stamp of sequence s is at STAMPS + s.
const STAMPS: Address = 1;
const LAST: Word = 3;
const SEQUENCES: Address = 8;
const STATES: Address = 12;
const EPOCH: Address = 16;
/// Added to the number of published events, if the ring was also closed when the lock was found free.
const WAS_CLOSED: Word = 64;

/// The closed word of an open ring; otherwise it is the last sequence + 1.
const OPEN: Word = 0;
const ACTIVE: Word = 3;
const AWAY: Word = 4;

/// The producer's way to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Close,
    Keep,
    Destroy,
}

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The stamp is polled again after the lock was found free.
    StampAfterLock,
    /// The closed word is read again after the lock was found free.
    ClosedAfterLock,
    /// The closed word says which sequence is the last, and the stamp is polled again.
    StampAfterClosed,
    /// The epoch is read before and after, because a successor may have cleared the closed word in between.
    EpochAgain,
    /// A takeover increases the epoch before it clears the closed word.
    EpochFirst,
    /// A takeover clears the closed word.
    ClearClosed,
    /// The name is removed under the producer's lock.
    UnlinkLock,
    /// Under the lock the process checks again whether the ring is drained.
    DrainedAgain,
    /// The name is compared with the segment before it is removed.
    Compare,
    /// A process that releases the lock checks afterwards whether the ring was drained meanwhile.
    AfterUnlock,
    /// A fence between a consumer's last release and its check whether the ring is drained.
    DrainFence,
    /// A durable consumer with unread events keeps the name.
    Needed,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) ending: Ending,
    /// A second producer comes. It takes over the segment that the name refers to, or creates one.
    pub(crate) has_successor: bool,
    /// How many durable consumers there are, 1 or 2.
    pub(crate) consumers: usize,
    pub(crate) deaths: u8,
    /// Whether consumers may be killed, too.
    pub(crate) mortal_consumers: bool,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The segment that the name refers to, or 0.
    name: u8,
    /// The producer's lock of segments 1 and 2.
    producer: [Lock; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer {
        at: Making,
        next: Word,
        last: Word,
    },
    Consumer {
        at: Taking,
        position: Word,
        /// The closed word that it read, or the number of events published when the producer's lock was found free.
        saw: Word,
        epoch: Word,
    },
}

impl Ends {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }
}

impl Model for Ends {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let first = Local::Producer {
            at: Making::Claim,
            next: 1,
            last: if self.has_successor { LAST - 1 } else { LAST },
        };
        let second = Local::Producer {
            at: Making::Open,
            next: 0,
            last: LAST,
        };
        let consumer = Local::Consumer {
            at: Taking::Poll,
            position: 0,
            saw: 0,
            epoch: 0,
        };
        let mut all = vec![("producer", first)];
        if self.has_successor {
            all.push(("successor", second));
        }
        let names = ["consumer 0", "consumer 1"].into_iter();
        all.extend(names.take(self.consumers).map(|name| (name, consumer)));
        all
    }

    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for line in 0..self.consumers as Address {
            memory.set(STATES + line, ACTIVE);
        }
        memory
    }

    fn world(&self) -> World {
        World {
            name: 1,
            producer: [Lock::held_by(0), Lock::default()],
        }
    }

    fn word(&self, address: Address) -> String {
        match address {
            CLOSED => "closed".into(),
            KEPT => "kept".into(),
            EPOCH => "epoch".into(),
            at if at >= STATES => format!("line {} state", at - STATES),
            at if at >= SEQUENCES => format!("line {} sequence", at - SEQUENCES),
            at => format!("stamp {}", at - STAMPS),
        }
    }

    fn at(&self, local: &Local) -> String {
        match local {
            Local::Producer { at, .. } => format!("{at:?}"),
            Local::Consumer { at, .. } => format!("{at:?}"),
        }
    }

    fn deaths(&self) -> u8 {
        self.deaths
    }

    fn is_mortal(&self, who: usize, local: &Local) -> bool {
        match local {
            Local::Producer { .. } => who == 0,
            Local::Consumer { .. } => self.mortal_consumers,
        }
    }

    fn reap(&self, who: usize, world: &mut World) {
        world.producer.iter_mut().for_each(|lock| lock.unlock(who));
    }

    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer { at, next, last } => self.produce(at, next, last, cpu),
            Local::Consumer {
                at,
                position,
                saw,
                epoch,
            } => self.consume(at, position, saw, epoch, cpu),
        }
    }

    /// Without a death, the name must be gone when the ring is drained, unless it was to be kept or another
    /// segment has it.
    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        let drained = (0..self.consumers as Address)
            .all(|line| end.memory.get(SEQUENCES + line) + 1 >= end.memory.get(CLOSED));
        let left = end.world.name == 1 && end.memory.get(KEPT) == 0 && drained;
        match left && end.deaths == 0 {
            true => Err("the name of a drained ring stays for ever".into()),
            false => Ok(()),
        }
    }
}
