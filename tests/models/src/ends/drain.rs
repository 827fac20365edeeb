//! Removing the name of a drained ring (R15): `Segment::unlink_if_drained`, `unlink_if_ours`, `is_drained`.

use super::{ACTIVE, AWAY, CLOSED, Ending, Ends, KEPT, LeftOut, OPEN, SEQUENCES, STATES, World};
use crate::checker::{Cpu, Halt, Lock, Word, broken};

/// The steps of `unlink_if_drained`. The flag says whether the producer's lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Drain {
    /// A fence makes this process's earlier releases and states visible to every other process that checks: of
    /// two processes that are last, one sees both.
    Fence,
    Closed(bool),
    Kept(bool),
    /// `is_needed` loads the closed word again, then the lines.
    Last(bool),
    State(bool, Word, u8),
    Sequence(bool, Word, u8),
    Name,
    Lock,
    Unlink,
    Unlock,
    Done,
}

impl Ends {
    /// One step of `unlink_if_drained`, by a process that releases nothing else meanwhile.
    pub(super) fn drain(&self, at: Drain, cpu: &mut Cpu<'_, World>) -> Result<Drain, Halt> {
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
            Drain::Name => match cpu.system("checks the name")?.name {
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

    /// `unlink_if_ours`: the comparison and the removal are two calls, and the lock keeps other removals out
    /// between them.
    pub(super) fn unlink(&self, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
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
}
