//! A producer: takeover (R14), finding its own position, claims, single events and batches (R2, R4).

use super::evict::Eviction;
use super::refresh::{Refresh, Refreshed};
use super::{FLOOR, LeftOut, Plan, WRITERS, World, event_of};
use crate::checker::{Cpu, Flow, Halt, Step, Word, broken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Waits for the producer's lock.
    Lock,
    /// Finds the head.
    Head,
    /// Zeroes the stamps above the head, from this slot on.
    Clear(Word),
    /// Finds its position and claims.
    Claim,
    Refresh(Refresh),
    Evict(Eviction),
    /// Writes the first event of a batch in place.
    First,
    /// Writes this event of the batch.
    Write(Word),
    /// Stamps it.
    Stamp(Word),
    /// Moves the first event into its slot.
    Move,
    /// Stores the first event's stamp, last of all.
    Publish,
    /// The writer panicked: takes back the stamps from this one up to that one.
    Undo(Word, Word),
    Unlock,
}

/// One producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Producer {
    at: At,
    /// Private words of `ProducerCore`.
    pub(super) base: Word,
    pub(super) limit: Word,
    pub(super) gate: Word,
    pub(super) floor: Word,
    /// Whether all expected consumers have come.
    pub(super) is_latched: bool,
    /// The claim: its first sequence and its number of slots.
    pub(super) first: Word,
    pub(super) count: Word,
    has_panicked: bool,
    /// The true next sequence, to judge by.
    due: Word,
}

impl Producer {
    pub(super) fn new() -> Self {
        Self {
            at: At::Lock,
            base: 0,
            limit: 0,
            gate: 0,
            floor: 0,
            is_latched: false,
            first: 0,
            count: 0,
            has_panicked: false,
            due: 0,
        }
    }

    pub(super) fn at(&self) -> String {
        match &self.at {
            At::Refresh(refresh) => refresh.at(),
            at => format!("{at:?} (first {}, limit {})", self.first, self.limit),
        }
    }

    pub(super) fn step(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Step {
        if matches!(self.at, At::First | At::Write(_)) && self.panics(plan, cpu) {
            return Ok(Flow::Goes);
        }
        match self.at {
            At::Lock => return self.lock(cpu),
            At::Head => self.find_head(plan, cpu),
            At::Clear(slot) => self.clear(plan, cpu, slot)?,
            At::Claim => self.claim(plan, cpu)?,
            At::Refresh(mut refresh) => match refresh.step(self, plan, cpu)? {
                Refreshed::Not => self.at = At::Refresh(refresh),
                Refreshed::Done => self.at = At::Claim,
                Refreshed::Full if plan.evicts => self.at = At::Evict(Eviction::new()),
                Refreshed::Full => self.at = At::Claim,
            },
            At::Evict(mut eviction) => match eviction.step(plan, cpu)? {
                Flow::Goes => self.at = At::Evict(eviction),
                Flow::Ends => self.at = At::Claim,
            },
            At::First => {
                self.write(plan, cpu, self.first)?;
                self.at = self.after_first(plan);
            }
            At::Write(index) => {
                self.write(plan, cpu, self.first + index)?;
                self.at = At::Stamp(index);
            }
            At::Stamp(index) => {
                self.stamp(plan, cpu, self.first + index)?;
                self.at = match index + 1 < self.count {
                    true => At::Write(index + 1),
                    false => self.after_rest(plan),
                };
            }
            At::Move => {
                self.write(plan, cpu, self.first)?;
                self.at = At::Publish;
            }
            At::Publish => self.publish(plan, cpu)?,
            At::Undo(ahead, written) => self.undo(plan, cpu, ahead, written)?,
            At::Unlock => {
                let me = cpu.me;
                cpu.system("unlocks the producer's byte")?
                    .producer
                    .unlock(me);
                return Ok(Flow::Ends);
            }
        }
        Ok(Flow::Goes)
    }

    /// The first producer takes over a fresh ring by the same steps.
    fn lock(&mut self, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let world = cpu.system("locks the producer's byte")?;
        if world.is_complete {
            return Ok(Flow::Ends);
        }
        // producers come in their order: each is the successor of the one before
        match world.producer.try_lock(me) {
            true => self.at = At::Head,
            false => return Err(Halt::Waits),
        }
        Ok(Flow::Goes)
    }

    /// While the lock is held, no other process writes stamps or the floor, and the dead producer's stores have
    /// arrived. Therefore all these loads may be one step.
    fn find_head(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) {
        self.floor = cpu.load(FLOOR);
        let newest = (0..plan.slots).map(|slot| cpu.peek(plan.stamp(slot))).max();
        let mut head = self.floor;
        while head - self.floor < plan.slots && cpu.peek(plan.stamp(head + 1)) == head + 1 {
            head += 1;
        }
        if plan.lacks(LeftOut::Contiguous) {
            head = head.max(newest.unwrap_or(0));
        }
        self.base = head + 1;
        self.due = head + 1;
        self.limit = head;
        self.gate = head - plan.slots;
        if plan.lacks(LeftOut::GateBehind) || plan.lacks(LeftOut::FirstRefresh) {
            self.gate = self.floor;
        }
        if plan.lacks(LeftOut::FirstRefresh) {
            self.limit = self.gate + plan.slots;
        }
        for writer in 0..WRITERS {
            let has_owned = cpu.world.owners & (1 << (writer % (WRITERS / 2))) != 0;
            let void = &mut cpu.world.void[writer];
            if has_owned && *void == 0 {
                *void = head + 1;
            }
        }
        cpu.world.owners |= 1 << cpu.me;
        self.at = At::Clear(0);
    }

    fn clear(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>, from: Word) -> Result<(), Halt> {
        let head = self.base - 1;
        let slot = (from..plan.slots).find(|slot| {
            let stamp = cpu.peek(plan.stamp(*slot));
            stamp > head || (plan.lacks(LeftOut::ClearOnlyAbove) && stamp != 0)
        });
        let slot = slot.filter(|_| !plan.lacks(LeftOut::Clear));
        self.at = match slot {
            None => At::Claim,
            Some(slot) => {
                cpu.store(plan.stamp(slot), 0)?;
                At::Clear(slot + 1)
            }
        };
        Ok(())
    }

    /// The next sequence, found by this producer's own stamps, which only it writes.
    fn next(&self, plan: &Plan, cpu: &Cpu<'_, World>) -> Word {
        let mut sequence = self.base;
        let last = self.base + plan.step - 1;
        while sequence < last && cpu.peek(plan.stamp(sequence)) == sequence {
            sequence += 1;
        }
        sequence
    }

    fn claim(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        self.first = self.next(plan, cpu);
        if self.first != self.due {
            return broken("a producer has lost its position");
        }
        let is_single = self.has_panicked || (plan.is_mixed && self.first - self.base < 2);
        let count = if is_single { 1 } else { plan.producers[cpu.me] };
        self.count = count.min(plan.last + 1 - self.first);
        if self.count <= 0 {
            cpu.world.is_complete = true;
            self.at = At::Unlock;
        } else if self.limit - self.first + 1 < self.count {
            self.at = At::Refresh(Refresh::new());
        } else {
            self.at = self.begin(plan, cpu);
        }
        Ok(())
    }

    /// `publish_one`, or the beginning of `publish_batch`.
    fn begin(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> At {
        cpu.world.batch = (self.first, self.count);
        if self.count == 1 && plan.lacks(LeftOut::EventFirst) {
            return At::Publish;
        }
        if self.count == 1 {
            return At::First;
        }
        let reuses = self.first + self.count - self.base > plan.slots;
        if reuses && !plan.lacks(LeftOut::BaseBeforeReuse) {
            self.base = self.first;
        }
        match plan.apart {
            true => At::Write(1),
            false => At::First,
        }
    }

    fn after_first(&self, plan: &Plan) -> At {
        match self.count {
            1 if plan.lacks(LeftOut::EventFirst) => At::Claim,
            1 => At::Publish,
            _ if plan.lacks(LeftOut::FirstStampLast) => At::Publish,
            _ => At::Write(1),
        }
    }

    fn after_rest(&mut self, plan: &Plan) -> At {
        if plan.lacks(LeftOut::FirstStampLast) {
            self.base = self.first + self.count;
            self.due = self.base;
            return At::Claim;
        }
        match plan.apart {
            true => At::Move,
            false => At::Publish,
        }
    }

    fn write(&self, plan: &Plan, cpu: &mut Cpu<'_, World>, sequence: Word) -> Result<(), Halt> {
        let writer = cpu.me + WRITERS / 2 * usize::from(self.has_panicked);
        cpu.store(plan.event(sequence), event_of(sequence, writer))
    }

    fn stamp(&self, plan: &Plan, cpu: &mut Cpu<'_, World>, sequence: Word) -> Result<(), Halt> {
        cpu.store(plan.stamp(sequence), sequence)
    }

    fn publish(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        self.stamp(plan, cpu, self.first)?;
        self.due = self.first + self.count;
        if self.count > 1 && plan.lacks(LeftOut::FirstStampLast) {
            self.at = At::Write(1);
            return Ok(());
        }
        if self.count > 1 {
            self.base = self.first + self.count;
        } else if self.first == self.base + plan.step - 1 {
            self.base = self.first + 1;
        }
        self.at = match self.count {
            1 if plan.lacks(LeftOut::EventFirst) => At::First,
            _ => At::Claim,
        };
        Ok(())
    }

    /// Whether the closure that writes an event panics here. The stamps before that event are then taken back.
    fn panics(&mut self, plan: &Plan, cpu: &mut Cpu<'_, World>) -> bool {
        if !plan.panics || self.has_panicked || cpu.choose(2) == 0 {
            return false;
        }
        self.has_panicked = true;
        cpu.world.void[cpu.me] = self.first;
        self.at = match self.at {
            At::Write(written) if !plan.lacks(LeftOut::Undo) => At::Undo(1, written),
            _ => At::Claim,
        };
        true
    }

    fn undo(
        &mut self,
        plan: &Plan,
        cpu: &mut Cpu<'_, World>,
        ahead: Word,
        written: Word,
    ) -> Result<(), Halt> {
        cpu.store(plan.stamp(self.first + ahead), 0)?;
        self.at = match ahead < written {
            true => At::Undo(ahead + 1, written),
            false => At::Claim,
        };
        Ok(())
    }
}
