//! A producer that always has space: it publishes event after event and wakes sleepers (R9). It serves the
//! models of sleepers.

use crate::checker::{Address, Cpu, Flow, Step, Word};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Publish,
    Check,
    Swap,
    Bump,
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Publisher {
    at: At,
    published: Word,
}

/// The addresses of its ring, and its variant of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many events there are.
    pub(crate) last: Word,
    pub(crate) published: Address,
    pub(crate) word: Address,
    pub(crate) bits: Address,
    /// Whether it has a fence between its store and its check for sleepers.
    pub(crate) has_fence: bool,
    /// Whether it changes the word before the wake.
    pub(crate) bumps: bool,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Publish,
            published: 0,
        }
    }

    pub(crate) fn at(&self) -> String {
        format!("{:?} (published {})", self.at, self.published)
    }

    /// One step. `wake` is the kernel's part of a wake-up.
    pub(crate) fn step<W>(
        &mut self,
        plan: Plan,
        cpu: &mut Cpu<'_, W>,
        wake: impl FnOnce(&mut W),
    ) -> Step {
        self.at = match self.at {
            At::Publish if self.published == plan.last => return Ok(Flow::Ends),
            At::Publish => {
                self.published += 1;
                cpu.store(plan.published, self.published)?;
                At::Check
            }
            At::Check => {
                if plan.has_fence {
                    cpu.fence()?;
                }
                match cpu.load(plan.bits) {
                    0 => At::Publish,
                    _ => At::Swap,
                }
            }
            At::Swap => {
                cpu.update(plan.bits, |_| 0)?;
                match plan.bumps {
                    true => At::Bump,
                    false => At::Call,
                }
            }
            At::Bump => {
                cpu.update(plan.word, |word| word + 1)?;
                At::Call
            }
            At::Call => {
                wake(cpu.system("wakes consumers")?);
                At::Publish
            }
        };
        Ok(Flow::Goes)
    }
}
