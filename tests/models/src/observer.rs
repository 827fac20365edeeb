//! Observers (R13), a specification: they read without being registered, and may be overtaken.
//!
//! The producer writes an event of two words between a busy stamp and its stamp. An observer reads the stamp,
//! the words and the stamp again. Where a successor has cleared a stamp, the floor says whether there was an
//! event. There are two orders of memory: x86-TSO, and one in which stores to different words overtake each
//! other, and so do an observer's loads, unless a fence orders them. Only the second shows what the fences are
//! for.

use crate::checker::{
    Address, Cpu, Flow, Halt, Lock, Memory, Model, Order, Process, Step, Word, broken,
};

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The busy stamp is stored before the words.
    Busy,
    /// The fence between the busy stamp and the words.
    WriterFence,
    /// The stamp is stored with Release.
    Release,
    /// The first stamp is loaded with Acquire.
    Acquire,
    /// The fence between the words and the second stamp.
    ReaderFence,
    /// The second load of the stamp.
    SecondStamp,
    /// R5: the floor is stored before a slot is used again, so that a successor finds the head.
    Floor,
    /// The load of the floor where the stamp says nothing.
    FloorLoad,
    /// The load of the stamp after that.
    StampAfterFloor,
    /// The floor is stored with Release.
    FloorRelease,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    pub(crate) order: Order,
    pub(crate) slots: Word,
    pub(crate) last: Word,
    /// The producer may be killed, and a successor takes over.
    pub(crate) has_successor: bool,
    /// Whether the successor publishes nothing and closes the ring.
    pub(crate) gives_up: bool,
    pub(crate) left_out: Option<LeftOut>,
}

const FLOOR: Address = 0;
/// A busy stamp is this plus its sequence.
const BUSY: Word = 32;
const WORDS: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    producer: Lock,
    /// How many producers have had the lock.
    producers: u8,
    /// The last sequence of a ring that was given up.
    closed: Option<Word>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writing {
    Lock,
    Head,
    Clear(Word),
    Floor,
    Fence,
    Busy,
    Word(u8),
    Stamp,
    Unlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reading {
    /// Loads that have not been made: bit 0 the first stamp, bits 1 and 2 the words, bit 3 the second stamp.
    Loads(u8),
    /// The first stamp said nothing. Three steps follow: load the floor, load the stamp again, and report the
    /// event as missed.
    Floor,
    Again,
    Missed,
    /// Checks whether the ring has ended.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Producer(Writing),
    Observer(Reading),
}

/// A process: its next sequence, and the values that an observer has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    role: Role,
    next: Word,
    stamps: [Word; 2],
    words: [Word; WORDS],
}

const FIRST: u8 = 1;
const SECOND: u8 = 8;
const BOTH_WORDS: u8 = 6;

impl Observers {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn stamp(&self, sequence: Word) -> Address {
        1 + 3 * (sequence % self.slots) as Address
    }

    fn write(&self, at: Writing, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let stamp = self.stamp(local.next);
        let next = match at {
            Writing::Lock => {
                let world = cpu.system("locks the producer's byte")?;
                if !world.producer.try_lock(me) {
                    return Err(Halt::Waits);
                }
                world.producers += 1;
                Writing::Head
            }
            // R14; no other process writes meanwhile
            Writing::Head => {
                let floor = cpu.peek(FLOOR);
                local.next = floor + 1;
                while local.next <= floor + self.slots
                    && cpu.peek(self.stamp(local.next)) == local.next
                {
                    local.next += 1;
                }
                Writing::Clear(0)
            }
            Writing::Clear(slot) => {
                let found = cpu.peek(self.stamp(slot));
                if found % BUSY >= local.next {
                    cpu.store(self.stamp(slot), 0)?;
                }
                match slot + 1 < self.slots {
                    true => Writing::Clear(slot + 1),
                    false => Writing::Floor,
                }
            }
            Writing::Floor if local.next > self.last || self.is_given_up_by(me) => Writing::Unlock,
            // without consumers the producer runs free
            Writing::Floor => {
                let floor = local.next - self.slots;
                match floor > cpu.peek(FLOOR) && !self.lacks(LeftOut::Floor) {
                    false => Writing::Busy,
                    true => {
                        match self.lacks(LeftOut::FloorRelease) {
                            true => cpu.store(FLOOR, floor)?,
                            false => cpu.store_release(FLOOR, floor)?,
                        }
                        Writing::Fence
                    }
                }
            }
            Writing::Fence => {
                cpu.fence()?;
                Writing::Busy
            }
            Writing::Busy => {
                if !self.lacks(LeftOut::Busy) {
                    cpu.store(stamp, BUSY + local.next)?;
                }
                Writing::Word(0)
            }
            Writing::Word(word) => {
                if word == 0 && !self.lacks(LeftOut::WriterFence) {
                    cpu.barrier()?;
                }
                cpu.store(stamp + 1 + word, local.next + 16 * me as Word)?;
                match usize::from(word) + 1 < WORDS {
                    true => Writing::Word(word + 1),
                    false => Writing::Stamp,
                }
            }
            Writing::Stamp => {
                match self.lacks(LeftOut::Release) {
                    true => cpu.store(stamp, local.next)?,
                    false => cpu.store_release(stamp, local.next)?,
                }
                local.next += 1;
                Writing::Floor
            }
            Writing::Unlock => {
                let world = cpu.system("unlocks the producer's byte")?;
                world.producer.unlock(me);
                if self.is_given_up_by(me) {
                    world.closed = Some(local.next - 1);
                }
                return Ok(Flow::Ends);
            }
        };
        local.role = Role::Producer(next);
        Ok(Flow::Goes)
    }

    /// Whether this is a successor that publishes nothing.
    fn is_given_up_by(&self, who: usize) -> bool {
        self.gives_up && who > 0
    }

    /// The loads that may come next, out of those that have not been made.
    fn open(&self, left: u8) -> u8 {
        let mut open = left;
        let strict = self.order == Order::Total;
        if left & FIRST != 0 && (strict || !self.lacks(LeftOut::Acquire)) {
            return FIRST;
        }
        if left & BOTH_WORDS != 0 && (strict || !self.lacks(LeftOut::ReaderFence)) {
            open &= !SECOND;
        }
        // loads of one word keep their order
        if left & FIRST != 0 {
            open &= !SECOND;
        }
        if strict {
            open &= open.wrapping_neg();
        }
        open
    }

    fn read(&self, left: u8, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let stamp = self.stamp(local.next);
        let open = self.open(left);
        let choice = cpu.choose(open.count_ones() as u8);
        let load = (0..4)
            .filter(|i| open & (1 << i) != 0)
            .nth(usize::from(choice))
            .unwrap_or(0);
        match load {
            0 => local.stamps[0] = cpu.load(stamp),
            3 => local.stamps[1] = cpu.load(stamp),
            word => local.words[word - 1] = cpu.load(stamp + word as Address),
        }
        let mut left = left & !(1 << load);
        if load == 0 && local.stamps[0] != local.next {
            if local.stamps[0] % BUSY <= local.next {
                local.role = Role::Observer(self.after_not_yet());
                return Ok(Flow::Goes);
            }
            self.check_other(local)?;
            left = self.begin();
            local.words = [0; WORDS];
            local.stamps = [0; 2];
        } else if left == 0 {
            self.take(local)?;
            left = self.begin();
        }
        if local.next > self.last {
            return Ok(Flow::Ends);
        }
        local.role = Role::Observer(Reading::Loads(left));
        Ok(Flow::Goes)
    }

    fn begin(&self) -> u8 {
        match self.lacks(LeftOut::SecondStamp) {
            true => FIRST | BOTH_WORDS,
            false => FIRST | BOTH_WORDS | SECOND,
        }
    }

    /// The stamp is a later one than expected: the observer lagged, and continues with the sequence that the
    /// slot holds or will hold.
    fn check_other(&self, local: &mut Local) -> Result<(), Halt> {
        let found = local.stamps[0] % BUSY;
        if found % self.slots != local.next % self.slots {
            return broken("a slot has a stamp that is none of its own");
        }
        local.next = found;
        Ok(())
    }

    fn after_not_yet(&self) -> Reading {
        match self.lacks(LeftOut::FloorLoad) {
            true => self.after_floor(),
            false => Reading::Floor,
        }
    }

    /// Only a ring that is given up ends before its last sequence.
    fn after_floor(&self) -> Reading {
        match self.gives_up {
            true => Reading::End,
            false => Reading::Loads(self.begin()),
        }
    }

    /// The stamp said nothing: the floor says whether there was an event.
    fn check_floor(&self, at: Reading, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let stamp = self.stamp(local.next);
        let begin = Reading::Loads(self.begin());
        let next = match at {
            Reading::Floor if cpu.load(FLOOR) < local.next => self.after_floor(),
            Reading::Floor if self.lacks(LeftOut::StampAfterFloor) => Reading::Missed,
            Reading::Floor => Reading::Again,
            // it may have come between the two loads
            Reading::Again if cpu.load(stamp) == local.stamps[0] => Reading::Missed,
            Reading::Again | Reading::Loads(_) => begin,
            Reading::Missed => {
                let found = cpu.truth(stamp) % BUSY;
                let is_taken_over = cpu.system("judges")?.producers > 1;
                if found <= local.next && !(found == 0 && is_taken_over) {
                    return broken("an observer has missed an event that is there or comes");
                }
                local.next += 1;
                begin
            }
            Reading::End => match cpu.system("checks whether the ring has ended")?.closed {
                Some(last) if local.next > last => return Ok(Flow::Ends),
                _ => begin,
            },
        };
        if next == begin {
            local.words = [0; WORDS];
            local.stamps = [0; 2];
        }
        if local.next > self.last {
            return Ok(Flow::Ends);
        }
        local.role = Role::Observer(next);
        Ok(Flow::Goes)
    }

    /// All loads are made. The event is good if the stamp is unchanged; otherwise it was overtaken, and the
    /// observer starts again.
    fn take(&self, local: &mut Local) -> Result<(), Halt> {
        let is_same = local.stamps[1] == local.next || self.lacks(LeftOut::SecondStamp);
        if is_same {
            if local.words[0] != local.words[1] || local.words[0] % 16 != local.next {
                return broken("an observer has taken a torn event");
            }
            local.next += 1;
        }
        local.words = [0; WORDS];
        local.stamps = [0; 2];
        Ok(())
    }
}

impl Model for Observers {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let local = |role, next| Local {
            role,
            next,
            stamps: [0; 2],
            words: [0; WORDS],
        };
        let producer = local(Role::Producer(Writing::Lock), 0);
        let observer = local(Role::Observer(Reading::Loads(self.begin())), 1);
        let mut all = vec![("producer", producer)];
        if self.has_successor {
            all.push(("successor", producer));
        }
        all.push(("observer", observer));
        all
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> World {
        World::default()
    }
    fn word(&self, address: Address) -> String {
        let Some(at) = address.checked_sub(1) else {
            return "floor".into();
        };
        let word = ["stamp", "word 0", "word 1"][usize::from(at) % 3];
        format!("slot {} {word}", at / 3)
    }
    fn at(&self, local: &Local) -> String {
        format!("{:?} (next {})", local.role, local.next)
    }
    fn order(&self) -> Order {
        self.order
    }
    fn deaths(&self) -> u8 {
        u8::from(self.has_successor)
    }
    fn is_mortal(&self, who: usize, _: &Local) -> bool {
        who == 0
    }
    fn reap(&self, who: usize, world: &mut World) {
        world.producer.unlock(who);
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local.role {
            Role::Producer(at) => self.write(at, local, cpu),
            Role::Observer(Reading::Loads(left)) => self.read(left, local, cpu),
            Role::Observer(at) => self.check_floor(at, local, cpu),
        }
    }
}
