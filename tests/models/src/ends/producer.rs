//! A producer's end, and a successor: `Producer::finish`, `take_existing`, `take_over`.

use super::drain::Drain;
use super::{
    ACTIVE, AWAY, CLOSED, EPOCH, Ending, Ends, KEPT, LAST, LeftOut, OPEN, SEQUENCES, STAMPS,
    STATES, World,
};
use crate::checker::{Address, Cpu, Flow, Halt, Lock, Step, Word};

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
    /// The producer of segment 2, which stays alive.
    Elsewhere,
}

impl Ends {
    pub(super) fn produce(
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
                // the rest is its own: no other process writes stamps
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
}
