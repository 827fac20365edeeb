//! A consumer: it takes a line (R6, R16), reads (R3, R7), and leaves or goes away.

use super::evict::{clear_bit, is_evictable, set_free};
use super::{
    ACTIVE, AWAY, BITS, FLOOR, FREE, JOINING, LeftOut, Plan, Reader, SETTLING, World, sequence_of,
    writer_of,
};
use crate::checker::{Cpu, Flow, Halt, Step, Word, broken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Until the ring is full.
    Expected,
    LockId,
    /// Looks for its own line: the hint, then state and id of each.
    Bits,
    FindState,
    FindId,
    LockOwn,
    OwnSequence,
    Rejoin,
    Back,
    /// Looks for a line to claim; whether under its lock.
    LookState(bool),
    LookId(bool),
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
    at: At,
    line: u8,
    bits: Word,
    /// The last sequence it has released.
    position: Word,
    /// How many events it has read.
    count: Word,
    /// What it found in the slot that it has a lease on.
    found: Word,
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

    fn begin(reader: &Reader) -> At {
        match reader.id {
            0 => At::LookState(false),
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
            At::LookState(_) | At::LookId(_) | At::Lock | At::GiveBack => self.claim(plan, cpu)?,
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

    fn line_lock(&self) -> usize {
        usize::from(self.line)
    }

    /// A durable one looks for its own line first, and goes on in it.
    fn find(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let me = cpu.me;
        let reader = plan.reader(me);
        let candidate = self.bits.trailing_zeros() as u8;
        self.at = match self.at {
            At::Expected => match cpu.load(plan.stamp(plan.slots)) == plan.slots {
                true => Self::begin(reader),
                false => return Ok(()),
            },
            At::LockId => {
                let lock = &mut cpu.system("tries the id's byte")?.ids[reader.id as usize - 1];
                match lock.try_lock(me) {
                    true => At::Bits,
                    // already attached: the program tries again
                    false => return Err(Halt::Waits),
                }
            }
            At::Bits => {
                self.bits = cpu.load(BITS);
                self.next_candidate()
            }
            At::FindState => match cpu.load(Plan::state(candidate)) {
                ACTIVE | AWAY => At::FindId,
                _ => self.skip_candidate(),
            },
            At::FindId if cpu.load(Plan::id(candidate)) == reader.id => {
                self.line = candidate;
                self.bits = 0;
                At::LockOwn
            }
            At::FindId => self.skip_candidate(),
            At::LockOwn => {
                let lock = &mut cpu.system("locks its own line's byte")?.lines[self.line_lock()];
                match lock.try_lock(me) {
                    true => At::OwnSequence,
                    // who has it only looks
                    false => return Err(Halt::Waits),
                }
            }
            At::OwnSequence => {
                let word = match plan.lacks(LeftOut::OwnSequence) {
                    true => FLOOR,
                    false => Plan::sequence(self.line),
                };
                self.position = cpu.load(word);
                if cpu.world.position[reader.id as usize - 1] != self.position + 1 {
                    return broken("rejoins at another position than it had");
                }
                At::Rejoin
            }
            At::Rejoin => {
                let state = match plan.lacks(LeftOut::StraightRejoin) {
                    true => JOINING,
                    false => ACTIVE,
                };
                cpu.store(Plan::state(self.line), state)?;
                match state {
                    JOINING => At::Back,
                    _ => At::Poll,
                }
            }
            _ => {
                cpu.store(Plan::state(self.line), ACTIVE)?;
                At::Poll
            }
        };
        Ok(())
    }

    fn skip_candidate(&mut self) -> At {
        self.bits &= self.bits - 1;
        self.next_candidate()
    }

    fn next_candidate(&self) -> At {
        match self.bits {
            0 => At::LookState(false),
            _ => At::FindState,
        }
    }

    /// Takes the first line that nobody has a position in.
    fn claim(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let me = cpu.me;
        self.at = match self.at {
            At::LookState(locked) => match cpu.load(Plan::state(self.line)) {
                FREE => Self::claimable(locked),
                ACTIVE => At::LookId(locked),
                state if is_evictable(plan, state, 0) => Self::claimable(locked),
                _ => self.not_claimable(plan, locked),
            },
            At::LookId(locked) => {
                let id = cpu.load(Plan::id(self.line));
                match is_evictable(plan, ACTIVE, id) {
                    true => Self::claimable(locked),
                    false => self.not_claimable(plan, locked),
                }
            }
            At::Lock => {
                let lock = &mut cpu.system("tries the line's byte")?.lines[self.line_lock()];
                match lock.try_lock(me) {
                    true if plan.lacks(LeftOut::ClaimLook) => At::Bit,
                    true => At::LookState(true),
                    false => self.not_claimable(plan, false),
                }
            }
            _ => {
                cpu.system("unlocks the line's byte")?.lines[self.line_lock()].unlock(me);
                self.not_claimable(plan, false)
            }
        };
        Ok(())
    }

    fn claimable(locked: bool) -> At {
        match locked {
            true => At::Bit,
            false => At::Lock,
        }
    }

    /// All lines are in use, an error. The program tries again; one without a position may also leave it at that.
    fn give_up(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        if plan.reader(cpu.me).id == 0 && cpu.choose(2) == 1 {
            return Ok(Flow::Ends);
        }
        self.at = At::LookState(false);
        Ok(Flow::Goes)
    }

    /// The next line, if there is one.
    fn not_claimable(&mut self, plan: &Plan, locked: bool) -> At {
        if locked {
            return At::GiveBack;
        }
        self.line = (self.line + 1) % plan.lines as u8;
        match self.line {
            0 => At::AllTaken,
            _ => At::LookState(false),
        }
    }

    /// R6.
    fn join(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let line = self.line;
        let reader = plan.reader(cpu.me);
        self.at = match self.at {
            At::Bit => {
                self.look_at_positions(reader, cpu)?;
                if !plan.lacks(LeftOut::BitFirst) {
                    cpu.update(BITS, |bits| bits | 1 << line)?;
                }
                At::Joining
            }
            At::Joining => {
                cpu.store(Plan::state(line), JOINING)?;
                At::Id
            }
            At::Id => {
                cpu.store(Plan::id(line), reader.id)?;
                At::Floor
            }
            At::Floor => {
                self.position = cpu.load(FLOOR);
                At::Sequence
            }
            At::Sequence => {
                cpu.store(Plan::sequence(line), self.position)?;
                At::Settling
            }
            At::Settling => {
                let state = match plan.lacks(LeftOut::Settling) {
                    true => ACTIVE,
                    false => SETTLING,
                };
                cpu.store(Plan::state(line), state)?;
                match plan.lacks(LeftOut::SecondRead) {
                    true => At::Active,
                    false => At::SecondRead,
                }
            }
            At::SecondRead => {
                if !plan.lacks(LeftOut::JoinFence) {
                    cpu.fence()?;
                }
                self.position = cpu.load(FLOOR);
                At::SecondSequence
            }
            At::SecondSequence => {
                cpu.store(Plan::sequence(line), self.position)?;
                match plan.lacks(LeftOut::BitFirst) {
                    true => At::LateBit,
                    false => At::Active,
                }
            }
            At::LateBit => {
                cpu.update(BITS, |bits| bits | 1 << line)?;
                At::Active
            }
            _ => {
                cpu.store(Plan::state(line), ACTIVE)?;
                if reader.id != 0 {
                    cpu.world.position[reader.id as usize - 1] = self.position + 1;
                }
                if reader.is_expected && self.position != 0 {
                    return broken("an expected consumer came too late for the first event");
                }
                At::Poll
            }
        };
        Ok(())
    }

    /// Whose position would be lost by this claim?
    fn look_at_positions(&self, reader: &Reader, cpu: &Cpu<'_, World>) -> Result<(), Halt> {
        let own = reader.id != 0 && cpu.world.position[(reader.id - 1) as usize] != 0;
        let id = cpu.truth(Plan::id(self.line));
        let state = cpu.truth(Plan::state(self.line));
        let other =
            id != 0 && matches!(state, ACTIVE | AWAY) && cpu.world.position[(id - 1) as usize] != 0;
        match own || other {
            true => broken("the position of a durable consumer is lost"),
            false => Ok(()),
        }
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
                self.look_whole(plan, cpu, next)?;
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
                self.look_at_event(plan, cpu, next)?;
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

    /// A batch is seen whole: with its first stamp all others are there.
    fn look_whole(&self, plan: &Plan, cpu: &Cpu<'_, World>, next: Word) -> Result<(), Halt> {
        let (first, count) = cpu.world.batch;
        let is_whole = (first..first + count).all(|s| cpu.truth(plan.stamp(s)) == s);
        match next == first && !is_whole {
            true => broken("a batch is seen in part"),
            false => Ok(()),
        }
    }

    fn look_at_event(&self, plan: &Plan, cpu: &mut Cpu<'_, World>, next: Word) -> Result<(), Halt> {
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

    /// It has read enough. The first step of going is taken at once.
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
