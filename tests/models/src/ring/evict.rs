//! Clearing the lines of other parties: eviction of dead consumers, and removal of a durable consumer (R16).

use super::{ACTIVE, AWAY, BITS, FREE, JOINING, LeftOut, Plan, SETTLING, World};
use crate::checker::{Cpu, Flow, Halt, Step, Word};

/// Whether any process that gets the lock may clear a line with this state and id.
pub(super) fn is_evictable(plan: &Plan, state: Word, id: Word) -> bool {
    match state {
        JOINING | SETTLING => true,
        ACTIVE => id == 0 || plan.lacks(LeftOut::DurableStays),
        _ => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Evicting {
    Bits,
    /// Reads the state. The flag says whether the lock is held.
    State(bool),
    /// The line is active: is it durable?
    Id(bool),
    Lock,
    Free,
    Bit,
    Unlock,
}

/// The steps of a blocked producer through the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Eviction {
    at: Evicting,
    bits: Word,
}

impl Eviction {
    pub(super) fn new() -> Self {
        Self {
            at: Evicting::Bits,
            bits: 0,
        }
    }

    pub(super) fn step(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        let line = self.bits.trailing_zeros() as u8;
        let me = cpu.me;
        match self.at {
            Evicting::Bits => {
                self.bits = cpu.load(BITS);
                self.at = Evicting::State(false);
                return Ok(self.go_on());
            }
            Evicting::State(locked) => {
                let state = cpu.load(Plan::state(line));
                if state == ACTIVE {
                    self.at = Evicting::Id(locked);
                    return Ok(Flow::Goes);
                }
                return Ok(self.after_check(plan, cpu, locked, is_evictable(plan, state, 0)));
            }
            Evicting::Id(locked) => {
                let evictable = is_evictable(plan, ACTIVE, cpu.load(Plan::id(line)));
                return Ok(self.after_check(plan, cpu, locked, evictable));
            }
            Evicting::Lock => {
                let world = cpu.system("tries the line's byte")?;
                if !world.lines[usize::from(line)].try_lock(me) {
                    return Ok(self.skip());
                }
                self.at = match plan.lacks(LeftOut::EvictCheck) {
                    true => Evicting::Free,
                    false => Evicting::State(true),
                };
            }
            Evicting::Free => {
                set_free(plan, cpu, line, 0)?;
                self.at = Evicting::Bit;
            }
            Evicting::Bit => {
                clear_bit(plan, cpu, line, 0)?;
                self.at = Evicting::Unlock;
            }
            Evicting::Unlock => {
                let world = cpu.system("unlocks the line's byte")?;
                world.lines[usize::from(line)].unlock(me);
                return Ok(self.skip());
            }
        }
        Ok(Flow::Goes)
    }

    /// Continues after the check of a line, with its lock or before it is taken.
    fn after_check(
        &mut self,
        plan: &Plan,
        cpu: &Cpu<'_, World>,
        locked: bool,
        is_evictable: bool,
    ) -> Flow {
        let line = self.bits.trailing_zeros() as usize;
        self.at = match (locked, is_evictable) {
            (false, false) => return self.skip(),
            // the lock is probed, and not taken
            (false, true) if plan.lacks(LeftOut::EvictLock) => {
                if !cpu.world.lines[line].is_free() {
                    return self.skip();
                }
                Evicting::Free
            }
            (false, true) => Evicting::Lock,
            (true, false) => Evicting::Unlock,
            (true, true) => Evicting::Free,
        };
        Flow::Goes
    }

    fn skip(&mut self) -> Flow {
        self.bits &= self.bits - 1;
        self.at = Evicting::State(false);
        self.go_on()
    }

    fn go_on(&self) -> Flow {
        match self.bits {
            0 => Flow::Ends,
            _ => Flow::Goes,
        }
    }
}

/// The first of two steps that clear a line: FREE. The durable id that it held, if not 0, has no position from here on.
pub(super) fn set_free(
    plan: &Plan,
    cpu: &mut Cpu<'_, World>,
    line: u8,
    id: Word,
) -> Result<(), Halt> {
    match plan.lacks(LeftOut::FreeFirst) {
        true => clear(cpu, line),
        false => free(cpu, line, id),
    }
}

/// The second step: the hint.
pub(super) fn clear_bit(
    plan: &Plan,
    cpu: &mut Cpu<'_, World>,
    line: u8,
    id: Word,
) -> Result<(), Halt> {
    match plan.lacks(LeftOut::FreeFirst) {
        true => free(cpu, line, id),
        false => clear(cpu, line),
    }
}

fn free(cpu: &mut Cpu<'_, World>, line: u8, id: Word) -> Result<(), Halt> {
    cpu.store(Plan::state(line), FREE)?;
    if id != 0 {
        cpu.world.position[id as usize - 1] = 0;
    }
    Ok(())
}

fn clear(cpu: &mut Cpu<'_, World>, line: u8) -> Result<(), Halt> {
    cpu.update(BITS, |bits| bits & !(1 << line)).map(|_| ())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Removing {
    LockId,
    Bits,
    State,
    Id,
    LockLine,
    CheckState,
    CheckId,
    Free,
    Bit,
    UnlockLine,
    UnlockId,
}

/// A process that removes a durable consumer that is not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remover {
    at: Removing,
    bits: Word,
}

impl Remover {
    pub(super) fn new() -> Self {
        Self {
            at: Removing::LockId,
            bits: 0,
        }
    }

    pub(super) fn step(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let id = plan.removes.unwrap_or(1);
        let lock = id as usize - 1;
        let line = self.bits.trailing_zeros() as u8;
        self.at = match self.at {
            Removing::LockId if plan.lacks(LeftOut::RemoveIdLock) => {
                match cpu.system("probes the id's byte")?.ids[lock].is_free() {
                    true => Removing::Bits,
                    false => return Ok(Flow::Ends),
                }
            }
            Removing::LockId => match cpu.system("tries the id's byte")?.ids[lock].try_lock(me) {
                true => Removing::Bits,
                // the consumer is attached, which is an error
                false => return Ok(Flow::Ends),
            },
            Removing::Bits => {
                self.bits = cpu.load(BITS);
                self.next_line()
            }
            Removing::State => match cpu.load(Plan::state(line)) {
                ACTIVE | AWAY => Removing::Id,
                _ => self.skip(),
            },
            Removing::Id => match cpu.load(Plan::id(line)) == id {
                true => Removing::LockLine,
                false => self.skip(),
            },
            Removing::LockLine => {
                let world = cpu.system("locks the line's byte")?;
                match world.lines[usize::from(line)].try_lock(me) {
                    true => Removing::CheckState,
                    false => return Err(Halt::Waits),
                }
            }
            Removing::CheckState => match cpu.load(Plan::state(line)) {
                ACTIVE | AWAY => Removing::CheckId,
                _ => Removing::UnlockLine,
            },
            Removing::CheckId => match cpu.load(Plan::id(line)) == id {
                true => Removing::Free,
                false => Removing::UnlockLine,
            },
            Removing::Free => {
                set_free(plan, cpu, line, id)?;
                Removing::Bit
            }
            Removing::Bit => {
                clear_bit(plan, cpu, line, id)?;
                Removing::UnlockLine
            }
            Removing::UnlockLine => {
                let world = cpu.system("unlocks the line's byte")?;
                world.lines[usize::from(line)].unlock(me);
                Removing::UnlockId
            }
            Removing::UnlockId => {
                cpu.system("unlocks the id's byte")?.ids[lock].unlock(me);
                return Ok(Flow::Ends);
            }
        };
        Ok(Flow::Goes)
    }

    pub(super) fn at(&self) -> String {
        format!("{:?}", self.at)
    }

    fn skip(&mut self) -> Removing {
        self.bits &= self.bits - 1;
        self.next_line()
    }

    fn next_line(&self) -> Removing {
        match self.bits {
            0 => Removing::UnlockId,
            _ => Removing::State,
        }
    }
}
