//! How a ring ends (R11) and who takes its name along (R15): `Producer::finish`, `Consumer::wait_for_event`,
//! `look_around` and `Segment::unlink_if_drained`, against deaths and a successor.
//!
//! The ring is large enough for all events, so that nothing is refreshed. The name refers to a segment, 1 being ours;
//! a creator that finds no name makes segment 2.

use crate::checker::{
    Address, Cpu, End, Flow, Halt, Lock, Memory, Model, Process, Step, Word, broken,
};

const CLOSED: Address = 0;
const KEPT: Address = 1;
/// The first stamp's address less one: sequence s is at STAMPS + s.
const STAMPS: Address = 1;
const LAST: Word = 3;
const SEQUENCES: Address = 8;
const STATES: Address = 12;
const EPOCH: Address = 16;
/// Added to what was published: the ring was closed, too, when the lock was seen free.
const WAS_CLOSED: Word = 64;

/// The closed word of an open ring; otherwise it is the last sequence + 1.
const OPEN: Word = 0;
const ACTIVE: Word = 3;
const AWAY: Word = 4;

/// What a producer does when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Close,
    Keep,
    Destroy,
}

/// What a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The stamp is looked at again after the free lock.
    StampAfterLock,
    /// The closed word is looked at again after the free lock.
    ClosedAfterLock,
    /// The closed word says which sequence is the last, and the stamp is looked at again.
    StampAfterClosed,
    /// The epoch is looked at before and after: a successor may have cleared the closed word meanwhile.
    EpochAgain,
    /// A takeover moves the epoch before it clears the closed word.
    EpochFirst,
    /// A takeover clears the closed word.
    ClearClosed,
    /// The name is removed under the producer's lock.
    UnlinkLock,
    /// Under the lock it is looked at again whether the ring is drained.
    DrainedAgain,
    /// The name is compared with the segment before it is removed.
    Compare,
    /// Who gives the lock back looks whether the ring was drained meanwhile.
    AfterUnlock,
    /// A fence between a consumer's last release and its look whether the ring is drained.
    DrainFence,
    /// A durable consumer with unread events keeps the name.
    Needed,
}

/// Who takes part.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) ending: Ending,
    /// A second producer comes: takes over what the name refers to, or creates.
    pub(crate) has_successor: bool,
    /// How many durable consumers there are, 1 or 2.
    pub(crate) consumers: usize,
    pub(crate) deaths: u8,
    /// Consumers may be killed, too.
    pub(crate) mortal_consumers: bool,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Which segment the name refers to; 0 none.
    name: u8,
    /// The producer's lock of segments 1 and 2.
    producer: [Lock; 2],
}

/// A walk through `unlink_if_drained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Drain {
    /// What was released and said before is seen by whoever else looks: of two who are last, one sees both.
    Fence,
    Closed(bool),
    Kept(bool),
    /// `is_needed` loads the closed word once more, then the lines.
    Last(bool),
    State(bool, Word, u8),
    Sequence(bool, Word, u8),
    Name,
    Lock,
    Unlink,
    Unlock,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Making {
    Open,
    Lock,
    Compare,
    Epoch,
    Reopen,
    Head,
    Claim,
    Stamp,
    Kept,
    Close,
    State(u8),
    Sequence(u8),
    Unlink,
    Unlock,
    Drain(Drain),
    /// The producer of segment 2: it is there, and stays.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taking {
    Poll,
    Commit,
    Closed,
    Stamp,
    /// Looks at the epoch, then whether the producer is alive.
    Epoch,
    Alive,
    StampAgain,
    ClosedAgain,
    EpochAgain,
    Away,
    Detach,
    /// `Consumer::finish`: at the end?
    AtEnd,
    StampAtEnd,
    Drain(Drain),
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
        /// The closed word that it saw, or how much was published when the producer's lock was seen free.
        saw: Word,
        epoch: Word,
    },
}

impl Ends {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    /// One step of `unlink_if_drained`, by a process that lets go of nothing else meanwhile.
    fn drain(&self, at: Drain, cpu: &mut Cpu<'_, World>) -> Result<Drain, Halt> {
        let me = cpu.me;
        Ok(match at {
            Drain::Fence => {
                if !self.lacks(LeftOut::DrainFence) {
                    cpu.fence()?;
                }
                Drain::Closed(false)
            }
            Drain::Closed(locked) => match cpu.load(CLOSED) {
                OPEN => Self::not_drained(locked),
                _ => Drain::Kept(locked),
            },
            Drain::Kept(locked) => match cpu.load(KEPT) {
                0 => Drain::Last(locked),
                _ => Self::not_drained(locked),
            },
            Drain::Last(locked) => Drain::State(locked, cpu.load(CLOSED), 0),
            Drain::State(locked, closed, line) => match cpu.load(STATES + line) {
                ACTIVE | AWAY => Drain::Sequence(locked, closed, line),
                _ => self.next_line(locked, closed, line),
            },
            Drain::Sequence(locked, closed, line) => {
                let is_needed = cpu.load(SEQUENCES + line) + 1 < closed;
                match is_needed && !self.lacks(LeftOut::Needed) {
                    true => Self::not_drained(locked),
                    false => self.next_line(locked, closed, line),
                }
            }
            Drain::Name => match cpu.system("looks at the name")?.name {
                1 if self.lacks(LeftOut::UnlinkLock) => Drain::Unlink,
                1 => Drain::Lock,
                _ if self.lacks(LeftOut::Compare) => Drain::Lock,
                _ => Drain::Done,
            },
            Drain::Lock => {
                match cpu.system("tries the producer's byte")?.producer[0].try_lock(me) {
                    true if self.lacks(LeftOut::DrainedAgain) => Drain::Unlink,
                    true => Drain::Closed(true),
                    false => Drain::Done,
                }
            }
            Drain::Unlink => {
                self.unlink(cpu)?;
                Drain::Unlock
            }
            Drain::Unlock => {
                cpu.system("unlocks the producer's byte")?.producer[0].unlock(me);
                match self.lacks(LeftOut::AfterUnlock) {
                    true => Drain::Done,
                    false => Drain::Closed(false),
                }
            }
            Drain::Done => Drain::Done,
        })
    }

    fn not_drained(locked: bool) -> Drain {
        match locked {
            true => Drain::Unlock,
            false => Drain::Done,
        }
    }

    fn next_line(&self, locked: bool, closed: Word, line: u8) -> Drain {
        match (usize::from(line) + 1 < self.consumers, locked) {
            (true, _) => Drain::State(locked, closed, line + 1),
            (false, true) => Drain::Unlink,
            (false, false) => Drain::Name,
        }
    }

    /// `unlink_if_ours`: the comparison and the removal are two calls; the lock keeps them together.
    fn unlink(&self, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let me = cpu.me;
        let closed = cpu.truth(CLOSED);
        let unread = (0..self.consumers as u8).any(|line| {
            matches!(cpu.truth(STATES + line), ACTIVE | AWAY)
                && cpu.truth(SEQUENCES + line) + 1 < closed
        });
        let world = cpu.system("removes the name if it is its own")?;
        if world.name != 1 && !self.lacks(LeftOut::Compare) {
            return Ok(());
        }
        let owner = world.producer[usize::from(world.name.max(1)) - 1];
        if world.name == 2 || (!owner.is_free() && owner != Lock::held_by(me)) {
            return broken("the name of somebody else's live ring was removed");
        }
        if world.name == 1 && closed == OPEN {
            return broken("the name of an open ring was removed");
        }
        if unread && self.ending != Ending::Destroy {
            return broken("the name was removed while a durable consumer has unread events");
        }
        world.name = 0;
        Ok(())
    }

    fn produce(
        &self,
        at: &mut Making,
        next: &mut Word,
        last: &mut Word,
        cpu: &mut Cpu<'_, World>,
    ) -> Step {
        let me = cpu.me;
        let is_second = me == 1;
        *at = match *at {
            Making::Open => match cpu.system("opens the name")? {
                World { name: 1, .. } => Making::Lock,
                world if world.name == 0 => {
                    world.name = 2;
                    world.producer[1] = Lock::held_by(me);
                    Making::Elsewhere
                }
                _ => return Ok(Flow::Ends),
            },
            Making::Lock => match cpu.system("locks the producer's byte")?.producer[0].try_lock(me)
            {
                true => Making::Compare,
                false => return Err(Halt::Waits),
            },
            Making::Compare => match cpu.system("compares the name")? {
                World { name: 1, .. } if self.lacks(LeftOut::EpochFirst) => Making::Reopen,
                World { name: 1, .. } => Making::Epoch,
                world => {
                    world.producer[0].unlock(me);
                    Making::Open
                }
            },
            Making::Reopen => {
                if !self.lacks(LeftOut::ClearClosed) {
                    cpu.store(CLOSED, OPEN)?;
                }
                match self.lacks(LeftOut::EpochFirst) {
                    true => Making::Epoch,
                    false => Making::Head,
                }
            }
            Making::Epoch => {
                cpu.store(EPOCH, 1)?;
                match self.lacks(LeftOut::EpochFirst) {
                    true => Making::Head,
                    false => Making::Reopen,
                }
            }
            Making::Head => {
                // its own part from here on: nobody else writes stamps
                *next = (1..=LAST)
                    .find(|s| cpu.peek(STAMPS + *s as Address) == 0)
                    .unwrap_or(LAST + 1);
                cpu.store(KEPT, 0)?;
                *last = LAST;
                Making::Claim
            }
            Making::Claim if *next > *last => Making::Kept,
            Making::Claim => Making::Stamp,
            Making::Stamp => {
                cpu.store(STAMPS + *next as Address, *next)?;
                *next += 1;
                Making::Claim
            }
            Making::Kept => {
                let keeps = self.ending == Ending::Keep && !is_second;
                cpu.store(KEPT, Word::from(keeps))?;
                Making::Close
            }
            Making::Close => {
                cpu.store(CLOSED, *next)?;
                match self.ending {
                    _ if is_second => Making::State(0),
                    Ending::Close => Making::State(0),
                    Ending::Keep => Making::Unlock,
                    Ending::Destroy => Making::Unlink,
                }
            }
            Making::State(line) => match cpu.load(STATES + line) {
                ACTIVE | AWAY => Making::Sequence(line),
                _ => self.after_line(line),
            },
            Making::Sequence(line) => {
                let needed = cpu.load(SEQUENCES + line) + 1 < *next;
                match needed && !self.lacks(LeftOut::Needed) {
                    true => Making::Unlock,
                    false => self.after_line(line),
                }
            }
            Making::Unlink => {
                self.unlink(cpu)?;
                Making::Unlock
            }
            Making::Unlock => {
                cpu.system("unlocks the producer's byte")?.producer[0].unlock(me);
                match self.lacks(LeftOut::AfterUnlock) {
                    true => return Ok(Flow::Ends),
                    false => Making::Drain(Drain::Fence),
                }
            }
            Making::Drain(Drain::Done) => return Ok(Flow::Ends),
            Making::Drain(drain) => Making::Drain(self.drain(drain, cpu)?),
            Making::Elsewhere => return Ok(Flow::Ends),
        };
        Ok(Flow::Goes)
    }

    fn after_line(&self, line: u8) -> Making {
        match usize::from(line) + 1 < self.consumers {
            true => Making::State(line + 1),
            false => Making::Unlink,
        }
    }

    fn consume(
        &self,
        at: &mut Taking,
        position: &mut Word,
        saw: &mut Word,
        epoch: &mut Word,
        cpu: &mut Cpu<'_, World>,
    ) -> Step {
        let line = (cpu.me - 1 - usize::from(self.has_successor)) as Address;
        let next = *position + 1;
        let is_ready =
            |cpu: &mut Cpu<'_, World>| next <= LAST && cpu.load(STAMPS + next as Address) == next;
        *at = match *at {
            Taking::Poll => match is_ready(cpu) {
                true => Taking::Commit,
                false => Taking::Closed,
            },
            Taking::Commit => {
                cpu.store(SEQUENCES + line, next)?;
                *position = next;
                Taking::Poll
            }
            Taking::Closed => {
                *saw = cpu.load(CLOSED);
                match *saw {
                    OPEN => Taking::Epoch,
                    // the word is the last sequence + 1
                    closed if next >= closed || self.lacks(LeftOut::StampAfterClosed) => {
                        self.look_closed(cpu, *saw)?;
                        match self.lacks(LeftOut::StampAfterClosed) {
                            true => self.report_closed(next, saw, cpu)?,
                            false => Taking::Stamp,
                        }
                    }
                    _ => Taking::Poll,
                }
            }
            Taking::Stamp => match is_ready(cpu) {
                true => self.again(saw),
                false => self.report_closed(next, saw, cpu)?,
            },
            Taking::Epoch => {
                *epoch = cpu.load(EPOCH);
                Taking::Alive
            }
            Taking::Alive => {
                let was_closed = cpu.truth(CLOSED) != OPEN;
                let published = (1..=LAST)
                    .take_while(|s| cpu.truth(STAMPS + *s as Address) == *s)
                    .last()
                    .unwrap_or(0);
                match cpu.system("looks at the producer's byte")?.producer[0].is_free() {
                    false => Taking::Poll,
                    true => {
                        *saw = published + WAS_CLOSED * Word::from(was_closed);
                        match self.lacks(LeftOut::StampAfterLock) {
                            true => Taking::ClosedAgain,
                            false => Taking::StampAgain,
                        }
                    }
                }
            }
            Taking::StampAgain => match is_ready(cpu) {
                true => self.again(saw),
                false if self.lacks(LeftOut::ClosedAfterLock) => Taking::EpochAgain,
                false => Taking::ClosedAgain,
            },
            Taking::ClosedAgain => match cpu.load(CLOSED) {
                OPEN if self.lacks(LeftOut::EpochAgain) => self.report_dead(next, saw, cpu)?,
                OPEN => Taking::EpochAgain,
                _ => self.again(saw),
            },
            Taking::EpochAgain => match cpu.load(EPOCH) == *epoch {
                true => self.report_dead(next, saw, cpu)?,
                false => self.again(saw),
            },
            Taking::Away => {
                cpu.store(STATES + line, AWAY)?;
                Taking::Detach
            }
            Taking::Detach => {
                cpu.system("unlocks its bytes")?;
                Taking::AtEnd
            }
            Taking::AtEnd => match cpu.load(CLOSED) {
                OPEN => return Ok(Flow::Ends),
                closed if next < closed => return Ok(Flow::Ends),
                _ => Taking::StampAtEnd,
            },
            Taking::StampAtEnd => match is_ready(cpu) {
                true => return Ok(Flow::Ends),
                false => Taking::Drain(Drain::Fence),
            },
            Taking::Drain(Drain::Done) => return Ok(Flow::Ends),
            Taking::Drain(drain) => Taking::Drain(self.drain(drain, cpu)?),
        };
        Ok(Flow::Goes)
    }

    fn again(&self, saw: &mut Word) -> Taking {
        *saw = 0;
        Taking::Poll
    }

    /// The closed word must not be older than what was published after it.
    fn look_closed(&self, cpu: &Cpu<'_, World>, closed: Word) -> Result<(), Halt> {
        match closed <= LAST && cpu.truth(STAMPS + closed as Address) == closed {
            true => broken("a ring that goes on is taken for closed"),
            false => Ok(()),
        }
    }

    /// The call takes the name along if it is the last; the program keeps the handle, or detaches, which looks again.
    fn report_closed(
        &self,
        next: Word,
        saw: &mut Word,
        cpu: &mut Cpu<'_, World>,
    ) -> Result<Taking, Halt> {
        if next < *saw {
            return broken("closed was reported with an unread event");
        }
        *saw = 0;
        Ok(match cpu.choose(2) {
            0 => Taking::Drain(Drain::Fence),
            _ => Taking::Away,
        })
    }

    /// The program may give up, or wait for a successor.
    fn report_dead(
        &self,
        next: Word,
        saw: &mut Word,
        cpu: &mut Cpu<'_, World>,
    ) -> Result<Taking, Halt> {
        if *saw >= WAS_CLOSED {
            return broken("dead was reported of a producer that closed");
        }
        if next <= *saw {
            return broken("dead was reported with an unread event");
        }
        *saw = 0;
        Ok(match cpu.choose(2) {
            0 => Taking::Poll,
            _ => Taking::Away,
        })
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

    /// Without a death the name is gone when all is drained, unless it was to be kept or somebody else has it.
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
