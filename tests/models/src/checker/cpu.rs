//! One process's view of memory. Its loads see its own buffered stores first, its stores wait in a buffer, and
//! fences and locked instructions drain the buffer.

use core::hash::{Hash, Hasher};

use super::{Address, Halt, Order, Word};

/// How many words a model may have.
const WORDS: usize = 24;
/// How many stores may wait in one process's buffer. A model that needs more fails with that message.
const WAITING: usize = 16;

/// All words of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory([Word; WORDS]);

impl Default for Memory {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Hash for Memory {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.map(|word| word as u8));
    }
}

impl Memory {
    pub(crate) fn get(&self, address: Address) -> Word {
        self.0[usize::from(address)]
    }

    pub(crate) fn set(&mut self, address: Address, value: Word) {
        self.0[usize::from(address)] = value;
    }
}

/// A store that waits, or a barrier between stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    Store(Address, Word),
    Barrier,
}

/// The stores of one process that have not reached memory, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Buffer(arrayvec::ArrayVec<Waiting, WAITING>);

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn newest(&self, address: Address) -> Option<Word> {
        self.0.iter().rev().find_map(|waiting| match *waiting {
            Waiting::Store(at, value) if at == address => Some(value),
            _ => None,
        })
    }

    fn push(&mut self, waiting: Waiting) -> Result<(), Halt> {
        self.0
            .try_push(waiting)
            .map_err(|_| Halt::Broken("the model's store buffer is too small".into()))
    }

    /// The indexes of the stores that may reach memory next.
    pub(crate) fn arriving(&self, order: Order) -> impl Iterator<Item = usize> {
        let open = match order {
            Order::Total => self.0.len().min(1),
            Order::PerWord => self
                .0
                .iter()
                .position(|waiting| *waiting == Waiting::Barrier)
                .unwrap_or(self.0.len()),
        };
        (0..open).filter(|place| {
            let same = |other: &Waiting| match (other, &self.0[*place]) {
                (Waiting::Store(a, _), Waiting::Store(b, _)) => a == b,
                _ => true,
            };
            !self.0[..*place].iter().any(same)
        })
    }

    /// Lets the store at index `place` reach memory.
    pub(crate) fn arrive(&mut self, place: usize, memory: &mut Memory) -> (Address, Word) {
        let Waiting::Store(address, value) = self.0.remove(place) else {
            unreachable!("a barrier never arrives");
        };
        memory.set(address, value);
        while self.0.first() == Some(&Waiting::Barrier) {
            self.0.remove(0);
        }
        (address, value)
    }
}

/// The context of a step.
pub(crate) struct Cpu<'a, W> {
    /// The process that takes the step.
    pub(crate) me: usize,
    /// The world, in which the model keeps what it judges by. The kernel's part is reached through
    /// [`system`](Self::system).
    pub(crate) world: &'a mut W,
    /// How many processes were killed so far.
    pub(crate) deaths: u8,
    pub(super) memory: &'a mut Memory,
    pub(super) buffer: &'a mut Buffer,
    /// Bit i: process i has stores waiting.
    pub(super) busy: u8,
    pub(super) order: Order,
    /// Which of its choices this step makes, and how many there are.
    pub(super) choice: u8,
    pub(super) choices: u8,
    /// How many operations this step has made: at most one.
    pub(super) operations: u8,
    pub(super) log: Option<&'a mut Vec<String>>,
    pub(super) names: &'a dyn Fn(Address) -> String,
}

impl<W> Cpu<'_, W> {
    fn count(&mut self) {
        self.operations += 1;
        assert!(self.operations == 1, "two operations in one step");
    }

    fn note(&mut self, text: impl FnOnce(&dyn Fn(Address) -> String) -> String) {
        if let Some(log) = self.log.as_deref_mut() {
            log.push(text(self.names));
        }
    }

    /// Reads a word.
    pub(crate) fn load(&mut self, address: Address) -> Word {
        self.count();
        let value = self.peek(address);
        self.note(|name| format!("{} = {value}", name(address)));
        value
    }

    /// Reads a word that no other process writes meanwhile, so that the moment of the read does not matter.
    pub(crate) fn peek(&self, address: Address) -> Word {
        let own = self.buffer.newest(address);
        own.unwrap_or_else(|| self.memory.get(address))
    }

    /// What memory holds now. The judgement uses it, the protocol must not.
    pub(crate) fn truth(&self, address: Address) -> Word {
        self.memory.get(address)
    }

    /// Writes a word; the store waits in the buffer.
    pub(crate) fn store(&mut self, address: Address, value: Word) -> Result<(), Halt> {
        self.count();
        self.note(|name| format!("{} := {value}", name(address)));
        self.buffer.push(Waiting::Store(address, value))
    }

    /// Writes a word that reaches memory after everything that was stored before.
    pub(crate) fn store_release(&mut self, address: Address, value: Word) -> Result<(), Halt> {
        self.barrier()?;
        self.store(address, value)
    }

    /// Keeps later stores behind earlier ones. This is needed where stores overtake each other.
    pub(crate) fn barrier(&mut self) -> Result<(), Halt> {
        if self.order == Order::PerWord && !self.buffer.is_empty() {
            self.note(|_| "barrier".into());
            self.buffer.push(Waiting::Barrier)?;
        }
        Ok(())
    }

    /// Waits until all of the process's own stores have reached memory.
    pub(crate) fn fence(&mut self) -> Result<(), Halt> {
        match self.buffer.is_empty() {
            true => Ok(()),
            false => Err(Halt::Waits),
        }
    }

    /// A locked instruction on one word. Returns the word's old value.
    pub(crate) fn update(
        &mut self,
        address: Address,
        change: impl FnOnce(Word) -> Word,
    ) -> Result<Word, Halt> {
        self.fence()?;
        self.count();
        let old = self.memory.get(address);
        let new = change(old);
        self.memory.set(address, new);
        self.note(|name| format!("{} = {old}, := {new} at once", name(address)));
        Ok(old)
    }

    /// A system call. In every call that the models use, the kernel takes a lock of its own, so stores drain.
    pub(crate) fn system(&mut self, what: &str) -> Result<&mut W, Halt> {
        self.fence()?;
        self.count();
        self.note(|_| format!("system: {what}"));
        Ok(self.world)
    }

    /// `membarrier`, for one other process at a time: whether process `who` has no waiting store at this moment.
    pub(crate) fn has_drained(&self, who: usize) -> bool {
        self.busy & (1 << who) == 0
    }

    /// Returns one of `choices` ways to continue; the search takes each of them.
    pub(crate) fn choose(&mut self, choices: u8) -> u8 {
        debug_assert!(self.choices == 1, "one choice a step");
        self.choices = choices;
        self.choice
    }
}

/// A lock that the kernel releases when its owner dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lock(u8);

impl Lock {
    /// A lock that `who` holds from the start.
    pub(crate) fn held_by(who: usize) -> Self {
        Self(who as u8 + 1)
    }

    pub(crate) fn is_free(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn try_lock(&mut self, who: usize) -> bool {
        let free = self.is_free();
        if free {
            *self = Self::held_by(who);
        }
        free
    }

    /// Does nothing if another process holds the lock.
    pub(crate) fn unlock(&mut self, who: usize) {
        if *self == Self::held_by(who) {
            self.0 = 0;
        }
    }
}
