//! A durable consumer until its end: `Consumer::wait_for_event`, `check_liveness` and `finish`.

use super::drain::Drain;
use super::{
    AWAY, CLOSED, EPOCH, Ends, LAST, LeftOut, OPEN, SEQUENCES, STAMPS, STATES, WAS_CLOSED, World,
};
use crate::checker::{Address, Cpu, Flow, Halt, Step, Word, broken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taking {
    Poll,
    Commit,
    Closed,
    Stamp,
    /// Reads the epoch, then probes the producer.
    Epoch,
    Alive,
    StampAgain,
    ClosedAgain,
    EpochAgain,
    Away,
    Detach,
    /// `Consumer::finish`: has it drained the ring?
    AtEnd,
    StampAtEnd,
    Drain(Drain),
}

impl Ends {
    pub(super) fn consume(
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
                        self.check_closed(cpu, *saw)?;
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
                match cpu.system("probes the producer's byte")?.producer[0].is_free() {
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

    /// Asserts that nothing was published after the closed word was stored.
    fn check_closed(&self, cpu: &Cpu<'_, World>, closed: Word) -> Result<(), Halt> {
        match closed <= LAST && cpu.truth(STAMPS + closed as Address) == closed {
            true => broken("a ring that goes on is taken for closed"),
            false => Ok(()),
        }
    }

    /// The call removes the name if this consumer is the last. Then the program keeps the handle, or detaches,
    /// which checks again.
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
