//! The producer's side: it publishes and wakes sleepers, and sleeps until there is space.

use super::{
    BITS, CLOSED, COUNTED, LeftOut, PUBLISHED, SEQUENCES, SPACE, WANTED, WORD, Wake, World,
};
use crate::checker::{Address, Cpu, Flow, Halt, Step, Word, broken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Lock,
    Head,
    Claim,
    Publish,
    Fence,
    Swap,
    Bump,
    Call,
    /// Reads a line. The flag says whether the producer has already stored its wish.
    Line(bool, Address),
    Sequence(bool, Address),
    ReadWord,
    Want,
    Barrier(u8),
    Wait,
    Asleep,
    /// Woken, or making a liveness check: evicts dead consumers.
    Evict(Address),
    Unwant,
    Close,
    Unlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Producer {
    at: At,
    published: Word,
    gate: Word,
    /// The smallest sequence of a scan.
    smallest: Word,
    /// The futex word's value before the producer sleeps.
    read: Word,
    is_closed: bool,
}

impl Producer {
    pub(super) fn new() -> Self {
        Self {
            at: At::Lock,
            published: 0,
            gate: 0,
            smallest: Word::MAX,
            read: 0,
            is_closed: false,
        }
    }

    pub(super) fn at(&self) -> String {
        format!("{:?}", self.at)
    }

    fn count(&self, plan: &Wake) -> Word {
        plan.batch.min(plan.last - self.published)
    }

    fn needed(&self, plan: &Wake) -> Word {
        self.published + self.count(plan) - plan.slots
    }

    pub(super) fn step(&mut self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        self.at = match self.at {
            At::Lock => match cpu
                .system("locks the producer's byte")?
                .producer
                .try_lock(me)
            {
                true => At::Head,
                false => return Err(Halt::Waits),
            },
            At::Head => {
                self.published = cpu.load(PUBLISHED);
                match me > 0 && !plan.lacks(LeftOut::TakeoverWakes) {
                    true => At::Swap,
                    false => At::Claim,
                }
            }
            At::Claim => self.claim(plan),
            At::Publish => {
                self.published += self.count(plan);
                cpu.store(PUBLISHED, self.published)?;
                At::Fence
            }
            At::Fence | At::Swap | At::Bump | At::Call => self.wake(plan, cpu)?,
            At::Line(..) | At::Sequence(..) => self.scan(plan, cpu)?,
            At::ReadWord | At::Want | At::Barrier(_) | At::Wait | At::Asleep => {
                self.sleep(plan, cpu)?
            }
            At::Evict(line) => {
                let first = plan.producers() as Address;
                let dead = (line..plan.readers.len() as Address)
                    .find(|line| cpu.world.dead & (1 << (first + line)) != 0);
                match dead {
                    None => At::Claim,
                    Some(line) => {
                        cpu.store(COUNTED + line, 0)?;
                        At::Evict(line + 1)
                    }
                }
            }
            At::Unwant => {
                cpu.store(WANTED, 0)?;
                At::Claim
            }
            At::Close => {
                cpu.store(CLOSED, 1)?;
                self.is_closed = true;
                match plan.lacks(LeftOut::CloseWakes) {
                    true => At::Unlock,
                    false => At::Fence,
                }
            }
            At::Unlock => {
                cpu.system("unlocks the producer's byte")?
                    .producer
                    .unlock(me);
                return Ok(Flow::Ends);
            }
        };
        Ok(Flow::Goes)
    }

    fn claim(&self, plan: &Wake) -> At {
        if self.published >= plan.last {
            At::Close
        } else if self.gate >= self.needed(plan) {
            At::Publish
        } else {
            At::Line(false, 0)
        }
    }

    fn woken(&self) -> At {
        match self.is_closed {
            true => At::Unlock,
            false => At::Claim,
        }
    }

    fn wake(&self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        let swap_first = !plan.lacks(LeftOut::SwapFirst);
        Ok(match self.at {
            At::Fence => {
                plan.waker_fence(cpu)?;
                match cpu.load(BITS) {
                    0 => self.woken(),
                    _ if swap_first => At::Swap,
                    _ => At::Bump,
                }
            }
            At::Swap => {
                cpu.update(BITS, |_| 0)?;
                match swap_first && !plan.lacks(LeftOut::Bump) {
                    true => At::Bump,
                    false => At::Call,
                }
            }
            At::Bump => {
                cpu.update(WORD, |word| word + 1)?;
                match swap_first {
                    true => At::Call,
                    false => At::Swap,
                }
            }
            _ => {
                let first = plan.producers();
                let all = ((1_u8 << plan.readers.len()) - 1) << first;
                let world = cpu.system("wakes consumers")?;
                let sleepers = world.asleep & all;
                let woken = match plan.lacks(LeftOut::WakeAll) {
                    true => sleepers & sleepers.wrapping_neg(),
                    false => sleepers,
                };
                world.asleep &= !woken;
                self.woken()
            }
        })
    }

    /// The smallest sequence of the counted lines; the number of published events if no line is counted.
    fn scan(&mut self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        match self.at {
            At::Line(waits, line) => {
                if cpu.load(COUNTED + line) != 0 {
                    return Ok(At::Sequence(waits, line));
                }
                Ok(self.next_line(plan, waits, line))
            }
            At::Sequence(waits, line) => {
                self.smallest = self.smallest.min(cpu.load(SEQUENCES + line));
                Ok(self.next_line(plan, waits, line))
            }
            _ => broken("not a scan"),
        }
    }

    fn next_line(&mut self, plan: &Wake, waits: bool, line: Address) -> At {
        if line + 1 < plan.lines() {
            return At::Line(waits, line + 1);
        }
        let smallest = core::mem::replace(&mut self.smallest, Word::MAX);
        self.gate = self.gate.max(smallest.min(self.published));
        match (self.gate >= self.needed(plan), waits) {
            (true, true) => At::Unwant,
            (true, false) => At::Claim,
            (false, false) if plan.lacks(LeftOut::WordFirst) => At::Want,
            (false, false) => At::ReadWord,
            (false, true) if plan.lacks(LeftOut::WordFirst) => At::ReadWord,
            (false, true) => At::Wait,
        }
    }

    fn sleep(&mut self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        Ok(match self.at {
            At::ReadWord => {
                self.read = cpu.load(SPACE);
                match plan.lacks(LeftOut::WordFirst) {
                    true => At::Wait,
                    false => At::Want,
                }
            }
            At::Want => {
                let quarter = self.gate + plan.quarter;
                let wanted = match plan.clamps {
                    true => quarter.max(self.needed(plan)).min(self.published),
                    false => quarter,
                };
                cpu.store(WANTED, wanted)?;
                let consumers = plan.readers.len() + usize::from(plan.removes);
                At::Barrier(((1 << consumers) - 1) << plan.producers())
            }
            At::Barrier(mut others) => {
                let before = others;
                plan.barrier(&mut others, cpu)?;
                match others {
                    0 if plan.lacks(LeftOut::PollAgain) => At::Wait,
                    0 => At::Line(true, 0),
                    _ if others == before => return Err(Halt::Waits),
                    _ => At::Barrier(others),
                }
            }
            At::Wait => match Wake::wait(cpu, SPACE, self.read)? {
                true => At::Asleep,
                false => At::Claim,
            },
            _ => {
                plan.sleep(cpu)?;
                At::Evict(0)
            }
        })
    }
}
