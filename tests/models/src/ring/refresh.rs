//! Refresh (R5), and the consumers that the producer expects. Each load of a line is a step of its own.

use super::producer::Producer;
use super::{BITS, FLOOR, LeftOut, Plan, World, is_registered};
use crate::checker::{Cpu, Halt, Word};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Loads the hint.
    Bits,
    /// Checks which expected consumers are registered, in these lines.
    Expect,
    State,
    Sequence,
    Floor,
    Fence,
}

/// The result of a step of a refresh.
pub(super) enum Refreshed {
    /// There are more steps.
    Not,
    /// The claim is possible.
    Done,
    /// The claim is not possible: refresh again later.
    Full,
}

/// A refresh in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refresh {
    at: At,
    is_second: bool,
    is_pending: bool,
    /// The lines that have not been read yet.
    bits: Word,
    /// The smallest sequence so far; `Word::MAX` if no consumer is registered.
    smallest: Word,
}

impl Refresh {
    pub(super) fn new() -> Self {
        Self {
            at: At::Bits,
            is_second: false,
            is_pending: true,
            bits: 0,
            smallest: Word::MAX,
        }
    }

    pub(super) fn at(&self) -> String {
        let scan = if self.is_second { "second" } else { "first" };
        format!("Refresh {:?}, {scan} scan", self.at)
    }

    pub(super) fn step(
        &mut self,
        of: &mut Producer,
        plan: &Plan,
        cpu: &mut Cpu<'_, World>,
    ) -> Result<Refreshed, Halt> {
        let line = self.bits.trailing_zeros() as u8;
        match self.at {
            At::Bits => {
                self.bits = cpu.load(BITS);
                let expects = plan.is_expecting() && !of.is_latched;
                self.is_pending &= expects;
                self.at = match self.is_pending {
                    true => At::Expect,
                    false => At::State,
                };
                return Ok(self.go_on(of, plan));
            }
            At::Expect => {
                if is_registered(cpu.load(Plan::state(line))) {
                    of.is_latched = true;
                }
                self.bits &= self.bits - 1;
                return Ok(self.go_on(of, plan));
            }
            At::State if is_registered(cpu.load(Plan::state(line))) => self.at = At::Sequence,
            At::State => {
                self.bits &= self.bits - 1;
                return Ok(self.go_on(of, plan));
            }
            At::Sequence => {
                // no consumer can have released an event that was not published
                let sequence = cpu.load(Plan::sequence(line)).min(of.first - 1);
                self.smallest = self.smallest.min(sequence);
                self.bits &= self.bits - 1;
                self.at = At::State;
                return Ok(self.go_on(of, plan));
            }
            At::Floor => {
                cpu.store(FLOOR, of.floor)?;
                return Ok(self.after_floor(of, plan));
            }
            At::Fence => {
                if !plan.lacks(LeftOut::RefreshFence) {
                    cpu.fence()?;
                }
                self.bits = cpu.load(BITS);
                self.at = At::State;
                return Ok(self.go_on(of, plan));
            }
        }
        Ok(Refreshed::Not)
    }

    /// Continues after a line, with the next line or with the result of this scan. Private to the producer, so
    /// no step of its own.
    fn go_on(&mut self, of: &mut Producer, plan: &Plan) -> Refreshed {
        if self.bits != 0 {
            return Refreshed::Not;
        }
        if self.at == At::Expect {
            // the scan loads the hint again
            self.is_pending = !of.is_latched;
            self.at = At::Bits;
            if self.is_pending {
                return self.decide(of, plan);
            }
            return Refreshed::Not;
        }
        match self.is_second {
            false => self.decide(of, plan),
            true => {
                let second = match self.smallest {
                    Word::MAX => of.floor,
                    smallest => smallest,
                };
                Self::finish(of, plan, second)
            }
        }
    }

    /// R5 (1): how far the floor may move, and whether that suffices for the claim.
    fn decide(&mut self, of: &mut Producer, plan: &Plan) -> Refreshed {
        let last = of.first - 1;
        let m = match self.smallest {
            _ if self.is_pending && !plan.lacks(LeftOut::ExpectedFloor) => of.floor,
            Word::MAX => {
                let gives = (plan.slots / 8).max(of.count).clamp(1, plan.slots);
                of.floor.max(last - plan.slots + gives)
            }
            smallest => smallest.max(of.floor),
        };
        let needed = last + of.count - plan.slots;
        if m < needed || (m <= of.floor && of.gate >= of.floor) {
            Self::set_limit(of, plan);
            return Self::told(of);
        }
        self.is_second = true;
        self.smallest = Word::MAX;
        if m > of.floor {
            of.floor = m;
            self.at = At::Floor;
            return Refreshed::Not;
        }
        self.after_floor(of, plan)
    }

    fn after_floor(&mut self, of: &mut Producer, plan: &Plan) -> Refreshed {
        if plan.lacks(LeftOut::SecondScan) {
            let floor = of.floor;
            return Self::finish(of, plan, floor);
        }
        self.at = At::Fence;
        Refreshed::Not
    }

    /// R5 (4).
    fn finish(of: &mut Producer, plan: &Plan, second: Word) -> Refreshed {
        of.gate = of.gate.max(of.floor.min(second));
        Self::set_limit(of, plan);
        Self::told(of)
    }

    fn set_limit(of: &mut Producer, plan: &Plan) {
        of.limit = (of.gate + plan.slots).max(of.first - 1);
    }

    fn told(of: &Producer) -> Refreshed {
        match of.limit - of.first + 1 >= of.count {
            true => Refreshed::Done,
            false => Refreshed::Full,
        }
    }
}
