//! A consumer's side: it releases and wakes the producer, and sleeps until an event is published.

use super::{
    BITS, CLOSED, COUNTED, LeftOut, PUBLISHED, SEQUENCES, WANTED, WORD, Wake, Waking, World,
};
use crate::checker::{Address, Cpu, Flow, Halt, Step, Word};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Poll,
    Release,
    /// Checks whether the producer waits for what it has released.
    Wanted,
    Closed,
    /// R11: polls again.
    AfterClosed,
    /// About to wait: does the producer wait for any release?
    About,
    ReadWord,
    Bit,
    Barrier(u8),
    PollAgain,
    ClosedAgain,
    Wait,
    Asleep,
    ClearBit,
    /// After a liveness check has begun: is the producer dead?
    Alive,
    AfterDead,
    Free,
    Detached,
    /// Wakes the producer, then continues.
    Wake(Waking, After),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum After {
    Poll,
    ReadWord,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Consumer {
    at: At,
    position: Word,
    read: Word,
    /// Whether it has released an event since it last woke the producer.
    owes: bool,
}

impl Consumer {
    pub(super) fn new() -> Self {
        Self {
            at: At::Poll,
            position: 0,
            read: 0,
            owes: false,
        }
    }

    pub(super) fn at(&self) -> String {
        format!("{:?} (position {})", self.at, self.position)
    }

    pub(super) fn step(&mut self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Step {
        let number = cpu.me - plan.producers();
        let line = number as Address;
        self.at = match self.at {
            At::Poll if self.position == plan.readers[number] => At::Free,
            At::Poll => match cpu.load(PUBLISHED) > self.position {
                true => At::Release,
                false => At::Closed,
            },
            At::Release => {
                self.position += 1;
                self.owes = true;
                cpu.store(SEQUENCES + line, self.position)?;
                match plan.lacks(LeftOut::ReleaseWakes) {
                    true => At::Poll,
                    false => At::Wanted,
                }
            }
            At::Wanted => {
                plan.waker_fence(cpu)?;
                match cpu.load(WANTED) {
                    0 => At::Poll,
                    // a consumer that was past the wanted sequence already was counted when the producer went to sleep
                    wanted if plan.clamps && self.position > wanted => At::Poll,
                    wanted if self.position < wanted => At::Poll,
                    _ => At::Wake(Waking::Swap, After::Poll),
                }
            }
            At::Closed => match cpu.load(CLOSED) {
                0 if self.owes && !plan.clamps && !plan.lacks(LeftOut::AboutToWait) => At::About,
                0 => self.begin_sleep(plan),
                _ => At::AfterClosed,
            },
            At::AfterClosed => match cpu.load(PUBLISHED) > self.position {
                true => At::Release,
                false => At::Free,
            },
            At::About => {
                plan.waker_fence(cpu)?;
                self.owes = false;
                match cpu.load(WANTED) {
                    0 => self.begin_sleep(plan),
                    _ => At::Wake(Waking::Swap, After::ReadWord),
                }
            }
            At::ReadWord | At::Bit | At::Barrier(_) | At::PollAgain | At::ClosedAgain => {
                self.prepare(plan, cpu)?
            }
            At::Wait => match Wake::wait(cpu, WORD, self.read)? {
                true => At::Asleep,
                false => At::ClearBit,
            },
            At::Asleep => {
                let is_woken = cpu.world.asleep & (1 << cpu.me) == 0;
                plan.sleep(cpu)?;
                match is_woken {
                    true => At::ClearBit,
                    false => At::Alive,
                }
            }
            At::ClearBit => {
                cpu.update(BITS, |bits| bits & !(1 << line))?;
                At::Poll
            }
            At::Alive => match cpu.system("probes the producer's byte")?.producer.is_free() {
                true => At::AfterDead,
                false => At::ClearBit,
            },
            At::AfterDead => match cpu.load(PUBLISHED) > self.position {
                true => At::ClearBit,
                false => At::Free,
            },
            At::Free => {
                cpu.store(COUNTED + line, 0)?;
                match plan.lacks(LeftOut::DetachWakes) {
                    true => return Ok(Flow::Ends),
                    false => At::Detached,
                }
            }
            At::Detached => {
                plan.waker_fence(cpu)?;
                match cpu.load(WANTED) {
                    0 => return Ok(Flow::Ends),
                    _ => At::Wake(Waking::Swap, After::End),
                }
            }
            At::Wake(waking, after) => match (plan.wake_producer(waking, cpu)?, after) {
                (Some(waking), _) => At::Wake(waking, after),
                (None, After::End) => return Ok(Flow::Ends),
                (None, After::Poll) => {
                    self.owes = false;
                    At::Poll
                }
                (None, After::ReadWord) => self.begin_sleep(plan),
            },
        };
        Ok(Flow::Goes)
    }

    fn begin_sleep(&self, plan: &Wake) -> At {
        match plan.lacks(LeftOut::WordFirst) {
            true => At::Bit,
            false => At::ReadWord,
        }
    }

    /// Sets its bit, and polls again.
    fn prepare(&mut self, plan: &Wake, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        let line = cpu.me - plan.producers();
        Ok(match self.at {
            At::ReadWord => {
                self.read = cpu.load(WORD);
                match plan.lacks(LeftOut::WordFirst) {
                    true => At::Wait,
                    false => At::Bit,
                }
            }
            At::Bit => {
                cpu.update(BITS, |bits| bits | 1 << line)?;
                At::Barrier((1 << plan.producers()) - 1)
            }
            At::Barrier(mut others) => {
                let before = others;
                plan.barrier(&mut others, cpu)?;
                match others {
                    0 if plan.lacks(LeftOut::PollAgain) => At::Wait,
                    0 => At::PollAgain,
                    _ if others == before => return Err(Halt::Waits),
                    _ => At::Barrier(others),
                }
            }
            At::PollAgain => match cpu.load(PUBLISHED) > self.position {
                true => At::ClearBit,
                false => At::ClosedAgain,
            },
            _ => match cpu.load(CLOSED) {
                0 if plan.lacks(LeftOut::WordFirst) => At::ReadWord,
                0 => At::Wait,
                _ => At::ClearBit,
            },
        })
    }
}
