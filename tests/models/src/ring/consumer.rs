//! A consumer: it takes a line (R6, R16; see `attach`), reads (R3, R7), and leaves or detaches.

use super::evict::{clear_bit, set_free};
use super::{AWAY, LeftOut, Plan, Reader, World, sequence_of, writer_of};
use crate::checker::{Cpu, Flow, Halt, Step, Word, broken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Waits until the ring is full.
    Expected,
    LockId,
    /// Searches for its own line: loads the hint, then the state and id of each line.
    Bits,
    FindState,
    FindId,
    LockOwn,
    OwnSequence,
    Rejoin,
    Back,
    /// Checks whether it may take a line. The flag says whether it holds the line's lock.
    CheckState(bool),
    CheckId(bool),
    Lock,
    GiveBack,
    AllTaken,
    Bit,
    Joining,
    Id,
    Floor,
    Sequence,
    Settling,
    SecondRead,
    SecondSequence,
    LateBit,
    Active,
    Poll,
    Read,
    /// A control releases before it reads.
    Early,
    LeaseEnd,
    Commit,
    Free,
    ClearBit,
    Away,
    UnlockLine,
    UnlockId,
}

/// One life of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Consumer {
    pub(super) at: At,
    pub(super) line: u8,
    pub(super) bits: Word,
    /// The last sequence it has released.
    pub(super) position: Word,
    /// How many events it has read.
    pub(super) count: Word,
    /// The value that it found in the leased slot.
    pub(super) found: Word,
}

impl Consumer {
    pub(super) fn new(reader: &Reader, number: u8) -> Self {
        let at = match reader {
            _ if reader.is_present => At::Poll,
            _ if reader.is_expected => At::Expected,
            _ => Self::begin(reader),
        };
        Self {
            at,
            line: if reader.is_present { number } else { 0 },
            bits: 0,
            position: 0,
            count: 0,
            found: 0,
        }
    }

    pub(super) fn begin(reader: &Reader) -> At {
        match reader.id {
            0 => At::CheckState(false),
            _ => At::LockId,
        }
    }

    pub(super) fn step(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        match self.at {
            At::Expected
            | At::LockId
            | At::Bits
            | At::FindState
            | At::FindId
            | At::LockOwn
            | At::OwnSequence
            | At::Rejoin
            | At::Back => self.find(plan, cpu)?,
            At::CheckState(_) | At::CheckId(_) | At::Lock | At::GiveBack => {
                self.claim(plan, cpu)?
            }
            At::AllTaken => return self.give_up(plan, cpu),
            At::Poll | At::Early | At::Read | At::LeaseEnd | At::Commit => self.read(plan, cpu)?,
            At::Free | At::ClearBit | At::Away | At::UnlockLine | At::UnlockId => {
                return self.leave(plan, cpu);
            }
            _ => self.join(plan, cpu)?,
        }
        Ok(Flow::Goes)
    }

    pub(super) fn at(&self) -> String {
        format!("{:?} (position {})", self.at, self.position)
    }

    pub(super) fn line_lock(&self) -> usize {
        usize::from(self.line)
    }

    fn read(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let next = self.position + 1;
        let reader = plan.reader(cpu.me);
        self.at = match self.at {
            At::Poll if next > plan.last || reader.reads == Some(self.count) => {
                return self.go(plan, cpu, reader);
            }
            At::Poll => {
                let stamp = cpu.load(plan.stamp(next));
                if stamp > next {
                    return broken("an event was overwritten unread");
                }
                if stamp != next {
                    return Ok(());
                }
                self.check_whole(plan, cpu, next)?;
                match plan.lacks(LeftOut::ReleaseAfterRead) {
                    true => At::Early,
                    false => At::Read,
                }
            }
            At::Early => {
                cpu.store(Plan::sequence(self.line), next)?;
                At::Read
            }
            At::Read => {
                self.found = cpu.load(plan.event(next));
                self.check_event(plan, cpu, next)?;
                At::LeaseEnd
            }
            At::LeaseEnd => {
                if cpu.load(plan.event(next)) != self.found {
                    return broken("an event changed under its lease");
                }
                self.found = 0;
                At::Commit
            }
            _ => {
                cpu.store(Plan::sequence(self.line), next)?;
                if reader.id != 0 {
                    cpu.world.position[reader.id as usize - 1] = next + 1;
                }
                self.position = next;
                self.count += 1;
                At::Poll
            }
        };
        Ok(())
    }

    /// A batch must be seen whole: when its first stamp is stored, all others are.
    fn check_whole(&self, plan: &Plan, cpu: &Cpu<'_, World>, next: Word) -> Result<(), Halt> {
        let (first, count) = cpu.world.batch;
        let is_whole = (first..first + count).all(|s| cpu.truth(plan.stamp(s)) == s);
        match next == first && !is_whole {
            true => broken("a batch is seen in part"),
            false => Ok(()),
        }
    }

    fn check_event(&self, plan: &Plan, cpu: &mut Cpu<'_, World>, next: Word) -> Result<(), Halt> {
        if sequence_of(self.found) != next {
            return broken("a slot holds another event than its stamp says");
        }
        let void = cpu.world.void[writer_of(self.found)];
        if void != 0 && next >= void {
            return broken("an event was read that was never published");
        }
        if plan.producers.len() == 1 {
            return Ok(());
        }
        let seen = &mut cpu.world.seen[next as usize];
        if *seen == 0 {
            *seen = self.found + 1;
        }
        match *seen == self.found + 1 {
            true => Ok(()),
            false => broken("two consumers were given different events for one sequence"),
        }
    }

    /// The consumer has read enough. It takes the first step of leaving at once.
    fn go(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>, reader: &Reader) -> Result<(), Halt> {
        self.at = match reader.id != 0 && reader.reads.is_some() {
            true => At::Away,
            false => At::Free,
        };
        self.leave(plan, cpu).map(|_| ())
    }

    fn leave(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        let (me, line) = (cpu.me, self.line);
        let id = plan.reader(me).id;
        self.at = match self.at {
            At::Free => {
                set_free(plan, cpu, line, id)?;
                match plan.lacks(LeftOut::BitUnderLock) {
                    true => At::UnlockLine,
                    false => At::ClearBit,
                }
            }
            At::ClearBit => {
                clear_bit(plan, cpu, line, id)?;
                match plan.lacks(LeftOut::BitUnderLock) {
                    true if id == 0 => return Ok(Flow::Ends),
                    true => At::UnlockId,
                    false => At::UnlockLine,
                }
            }
            At::Away => {
                cpu.store(Plan::state(line), AWAY)?;
                At::UnlockLine
            }
            At::UnlockLine => {
                cpu.system("unlocks the line's byte")?.lines[self.line_lock()].unlock(me);
                match id {
                    _ if plan.lacks(LeftOut::BitUnderLock) => At::ClearBit,
                    0 => return Ok(Flow::Ends),
                    _ => At::UnlockId,
                }
            }
            _ => {
                cpu.system("unlocks the id's byte")?.ids[id as usize - 1].unlock(me);
                return Ok(Flow::Ends);
            }
        };
        Ok(Flow::Goes)
    }
}
