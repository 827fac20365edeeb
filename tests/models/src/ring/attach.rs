//! How a consumer gets a line: its own (R16), or a free one (R6).

use super::consumer::{At, Consumer};
use super::evict::is_evictable;
use super::{ACTIVE, AWAY, BITS, FLOOR, FREE, JOINING, LeftOut, Plan, Reader, SETTLING, World};
use crate::checker::{Cpu, Flow, Halt, Step, broken};

impl Consumer {
    /// A durable consumer searches for its own line first, and continues in it.
    pub(super) fn find(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
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
                    // the process that has the lock only checks the line
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
            0 => At::CheckState(false),
            _ => At::FindState,
        }
    }

    /// Takes the first line in which no consumer has a position.
    pub(super) fn claim(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let me = cpu.me;
        self.at = match self.at {
            At::CheckState(locked) => match cpu.load(Plan::state(self.line)) {
                FREE => Self::free_to_take(locked),
                ACTIVE => At::CheckId(locked),
                state if is_evictable(plan, state, 0) => Self::free_to_take(locked),
                _ => self.not_free_to_take(plan, locked),
            },
            At::CheckId(locked) => {
                let id = cpu.load(Plan::id(self.line));
                match is_evictable(plan, ACTIVE, id) {
                    true => Self::free_to_take(locked),
                    false => self.not_free_to_take(plan, locked),
                }
            }
            At::Lock => {
                let lock = &mut cpu.system("tries the line's byte")?.lines[self.line_lock()];
                match lock.try_lock(me) {
                    true if plan.lacks(LeftOut::TakeCheck) => At::Bit,
                    true => At::CheckState(true),
                    false => self.not_free_to_take(plan, false),
                }
            }
            _ => {
                cpu.system("unlocks the line's byte")?.lines[self.line_lock()].unlock(me);
                self.not_free_to_take(plan, false)
            }
        };
        Ok(())
    }

    fn free_to_take(locked: bool) -> At {
        match locked {
            true => At::Bit,
            false => At::Lock,
        }
    }

    /// All lines are in use, which is an error. The program tries again; one without a position may also stop.
    pub(super) fn give_up(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        if plan.reader(cpu.me).id == 0 && cpu.choose(2) == 1 {
            return Ok(Flow::Ends);
        }
        self.at = At::CheckState(false);
        Ok(Flow::Goes)
    }

    /// The next line, if there is one.
    fn not_free_to_take(&mut self, plan: &Plan, locked: bool) -> At {
        if locked {
            return At::GiveBack;
        }
        self.line = (self.line + 1) % plan.lines as u8;
        match self.line {
            0 => At::AllTaken,
            _ => At::CheckState(false),
        }
    }

    /// R6.
    pub(super) fn join(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let line = self.line;
        let reader = plan.reader(cpu.me);
        self.at = match self.at {
            At::Bit => {
                self.check_positions(reader, cpu)?;
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

    /// Asserts that taking this line loses no durable consumer's position.
    fn check_positions(&self, reader: &Reader, cpu: &Cpu<'_, World>) -> Result<(), Halt> {
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
}
