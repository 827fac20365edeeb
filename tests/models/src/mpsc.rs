//! Ordered claims of several producers (R10). This is a specification: the layout has room for it, but none of
//! it is built.
//!
//! A producer announces the claim that it is about to make (its *intent*), moves the tail with a locked
//! compare-and-swap, writes its slots and takes the intent back. If it dies in between, the claimed slots stay
//! holes. The consumer fills a hole with SKIPPED once no live producer's intent covers it. The ring does not
//! wrap in this model.

use crate::checker::{Address, Cpu, End, Flow, Memory, Model, Process, Step, Word, broken};

const TAIL: Address = 0;
const INTENTS: Address = 1;
/// An intent is 1 + the first sequence of a claim; the claim's length is in the bits from here on.
const LENGTH: Word = 16;
const DONE: Address = 4;
const SLOTS: Address = 7;
const PUBLISHED: Word = 1;
const SKIPPED: Word = 2;
const PRODUCERS: usize = 3;

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The intent is stored before the claim; here after it.
    IntentFirst,
    /// The slot is polled again after the intents were read.
    PollAgain,
    /// The intent is taken back after the slots were written; here before.
    ClearLast,
    /// A live producer's intent is respected.
    Intents,
    /// Holes are filled.
    Repair,
    /// The claim is one compare-and-swap; here a load and a store.
    CompareAndSwap,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Mpsc {
    /// Number of slots. Claims end there.
    pub(crate) slots: Word,
    /// How many slots each producer claims at a time, and how many times.
    pub(crate) claims: &'static [(Word, u8)],
    pub(crate) deaths: u8,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Bit i: producer i is dead, which its free lock shows.
    dead: u8,
    /// 1 + the producer that claimed each slot.
    owner: [u8; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer {
        at: Producing,
        left: u8,
        tail: Word,
        index: Word,
    },
    Consumer {
        at: Consuming,
        head: Word,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Producing {
    Tail,
    Intent,
    Claim,
    /// A control claims with a load and a store.
    Store,
    LateIntent,
    Write,
    Clear,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Consuming {
    Poll,
    Tail,
    /// No slot is claimed: is this producer done, or dead?
    IsDone(u8),
    IsGone(u8),
    LastTail,
    /// A hole: is this producer dead, and does its intent cover the hole?
    IsDead(u8),
    Intent(u8),
    PollAgain,
    Skip,
}

impl Mpsc {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn produce(
        &self,
        at: &mut Producing,
        left: &mut u8,
        tail: &mut Word,
        index: &mut Word,
        cpu: &mut Cpu<'_, World>,
    ) -> Step {
        let me = cpu.me;
        let count = self.claims[me].0;
        let intent = INTENTS + me as Address;
        let claimed = match self.lacks(LeftOut::IntentFirst) {
            true => Producing::LateIntent,
            false => Producing::Write,
        };
        *at = match *at {
            Producing::Tail if *left == 0 => Producing::Done,
            Producing::Tail => {
                *tail = cpu.load(TAIL);
                match *tail + count > self.slots {
                    true => Producing::Done,
                    false if self.lacks(LeftOut::IntentFirst) => Producing::Claim,
                    false => Producing::Intent,
                }
            }
            Producing::Intent | Producing::LateIntent => {
                cpu.store(intent, *tail + 1 + LENGTH * count)?;
                match *at {
                    Producing::Intent => Producing::Claim,
                    _ => Producing::Write,
                }
            }
            Producing::Claim if self.lacks(LeftOut::CompareAndSwap) => {
                match cpu.load(TAIL) == *tail {
                    true => Producing::Store,
                    false => Producing::Tail,
                }
            }
            Producing::Store => {
                cpu.store(TAIL, *tail + count)?;
                self.own(me, *tail, count, cpu.world)?;
                *left -= 1;
                claimed
            }
            Producing::Claim => {
                let (from, to) = (*tail, *tail + count);
                let found = cpu.update(TAIL, |now| if now == from { to } else { now })?;
                match found == from {
                    true => {
                        self.own(me, from, count, cpu.world)?;
                        *left -= 1;
                        match self.lacks(LeftOut::ClearLast) {
                            true => Producing::Clear,
                            false => claimed,
                        }
                    }
                    false => Producing::Tail,
                }
            }
            Producing::Write => {
                let slot = SLOTS + (*tail + *index) as Address;
                if cpu.truth(slot) == SKIPPED {
                    return broken("a live producer finds its slot skipped");
                }
                cpu.store(slot, PUBLISHED)?;
                *index += 1;
                match *index < count {
                    true => Producing::Write,
                    false => {
                        *index = 0;
                        match self.lacks(LeftOut::ClearLast) {
                            true => Producing::Tail,
                            false => Producing::Clear,
                        }
                    }
                }
            }
            Producing::Clear => {
                cpu.store(intent, 0)?;
                match self.lacks(LeftOut::ClearLast) {
                    true => Producing::Write,
                    false => Producing::Tail,
                }
            }
            Producing::Done => {
                cpu.store(DONE + me as Address, 1)?;
                return Ok(Flow::Ends);
            }
        };
        Ok(Flow::Goes)
    }

    fn own(
        &self,
        me: usize,
        from: Word,
        count: Word,
        world: &mut World,
    ) -> Result<(), crate::checker::Halt> {
        for slot in from..from + count {
            let owner = &mut world.owner[slot as usize];
            if *owner != 0 {
                return broken("two producers have claimed one slot");
            }
            *owner = me as u8 + 1;
        }
        Ok(())
    }

    fn consume(&self, at: &mut Consuming, head: &mut Word, cpu: &mut Cpu<'_, World>) -> Step {
        let slot = SLOTS + *head as Address;
        let producers = self.claims.len() as u8;
        *at = match *at {
            Consuming::Poll => match cpu.load(slot) {
                0 => Consuming::Tail,
                _ => {
                    *head += 1;
                    match *head < self.slots {
                        true => Consuming::Poll,
                        false => return Ok(Flow::Ends),
                    }
                }
            },
            Consuming::Tail => match cpu.load(TAIL) <= *head {
                true => Consuming::IsDone(0),
                false if self.lacks(LeftOut::Repair) => Consuming::Poll,
                false => Consuming::IsDead(0),
            },
            Consuming::IsDone(producer) if producer == producers => Consuming::LastTail,
            Consuming::IsDone(producer) => match cpu.load(DONE + producer) {
                0 => Consuming::IsGone(producer),
                _ => Consuming::IsDone(producer + 1),
            },
            Consuming::IsGone(producer) => {
                match cpu.system("probes a producer's byte")?.dead & (1 << producer) {
                    0 => Consuming::Poll,
                    _ => Consuming::IsDone(producer + 1),
                }
            }
            Consuming::LastTail => match cpu.load(TAIL) <= *head {
                true => return Ok(Flow::Ends),
                false => Consuming::Poll,
            },
            Consuming::IsDead(producer) if producer == producers => {
                match self.lacks(LeftOut::PollAgain) {
                    true => Consuming::Skip,
                    false => Consuming::PollAgain,
                }
            }
            Consuming::IsDead(producer) => {
                let dead = cpu.system("probes a producer's byte")?.dead & (1 << producer) != 0;
                match dead || self.lacks(LeftOut::Intents) {
                    true => Consuming::IsDead(producer + 1),
                    false => Consuming::Intent(producer),
                }
            }
            Consuming::Intent(producer) => {
                let intent = cpu.load(INTENTS + producer);
                let (from, count) = (intent % LENGTH - 1, intent / LENGTH);
                match intent != 0 && (from..from + count).contains(head) {
                    true => Consuming::Poll,
                    false => Consuming::IsDead(producer + 1),
                }
            }
            Consuming::PollAgain => match cpu.load(slot) {
                0 => Consuming::Skip,
                _ => Consuming::Poll,
            },
            Consuming::Skip => {
                let owner = cpu.world.owner[*head as usize];
                if owner == 0 {
                    return broken("a slot was skipped that nobody has claimed");
                }
                if cpu.world.dead & (1 << (owner - 1)) == 0 {
                    return broken("a live producer's slot was skipped");
                }
                if cpu.truth(slot) == PUBLISHED {
                    return broken("a published slot was skipped");
                }
                cpu.store(slot, SKIPPED)?;
                Consuming::Poll
            }
        };
        Ok(Flow::Goes)
    }
}

impl Model for Mpsc {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let names: [_; PRODUCERS] = ["producer 0", "producer 1", "producer 2"];
        let producer = |left| Local::Producer {
            at: Producing::Tail,
            left,
            tail: 0,
            index: 0,
        };
        let producers = names.into_iter().zip(self.claims);
        let consumer = Local::Consumer {
            at: Consuming::Poll,
            head: 0,
        };
        producers
            .map(|(name, (_, times))| (name, producer(*times)))
            .chain([("consumer", consumer)])
            .collect()
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> World {
        World::default()
    }
    fn word(&self, address: Address) -> String {
        match address {
            TAIL => "tail".into(),
            at if at >= SLOTS => format!("slot {}", at - SLOTS),
            at if at >= DONE => format!("done {}", at - DONE),
            at => format!("intent {}", at - INTENTS),
        }
    }
    fn deaths(&self) -> u8 {
        self.deaths
    }
    fn is_mortal(&self, _: usize, local: &Local) -> bool {
        matches!(local, Local::Producer { .. })
    }
    fn reap(&self, who: usize, world: &mut World) {
        world.dead |= 1 << who;
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer {
                at,
                left,
                tail,
                index,
            } => self.produce(at, left, tail, index, cpu),
            Local::Consumer { at, head } => self.consume(at, head, cpu),
        }
    }

    /// Every claimed slot must have been published or, if its claimer is dead, skipped.
    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        for slot in 0..end.memory.get(TAIL) {
            let found = end.memory.get(SLOTS + slot as Address);
            let owner = end.world.owner[slot as usize];
            let is_dead = owner != 0 && end.world.dead & (1 << (owner - 1)) != 0;
            match found {
                PUBLISHED => {}
                SKIPPED if is_dead => {}
                _ => return Err(format!("slot {slot} is a hole for ever")),
            }
        }
        Ok(())
    }
}
