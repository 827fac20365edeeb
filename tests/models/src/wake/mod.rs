//! Sleeping and waking (R9): the specification.
//!
//! Consumers sleep on one futex word, with a bit for each sleeper. The producer sleeps on another word, and
//! stores the sequence that it waits for. A waker either has a fence between its store and its check for
//! sleepers, or has none because each sleeper makes the other processors fence (`membarrier`). Stamps are one
//! counter here: the number of published events.
//!
//! A wake-up by time-out does not count. No sleep ends by itself, so that a lost wake-up is a wait without an
//! end. Only after a death may a sleeper make a liveness check, because the waker may have died between its
//! store and the wake.

mod consumer;
mod producer;

use crate::checker::{Address, Cpu, Halt, Lock, Memory, Model, Process, Step, Word};
use consumer::Consumer;
use producer::Producer;

const PUBLISHED: Address = 0;
const CLOSED: Address = 1;
const WORD: Address = 2;
const BITS: Address = 3;
const WANTED: Address = 4;
const SPACE: Address = 5;
const SEQUENCES: Address = 6;
const COUNTED: Address = 8;

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The fence between a store and the check for sleepers, or the sleeper's membarrier in its place.
    Fence,
    /// A sleeper polls again after it has set its bit.
    PollAgain,
    /// The futex word is read before the bit is set.
    WordFirst,
    /// The futex word is changed before the wake.
    Bump,
    /// The bits are swapped before the word is changed.
    SwapFirst,
    /// All sleepers are woken.
    WakeAll,
    /// Closing wakes.
    CloseWakes,
    /// A takeover wakes.
    TakeoverWakes,
    /// A consumer that is about to wait wakes the producer if it has released any event.
    AboutToWait,
    /// Detaching wakes the producer.
    DetachWakes,
    /// Removing a consumer wakes the producer.
    RemoveWakes,
    /// A consumer whose release reaches the wanted sequence wakes the producer.
    ReleaseWakes,
    /// After a death, sleepers make a liveness check.
    LivenessChecks,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    pub(crate) slots: Word,
    /// max(1, N/4): how many slots more than it has the producer waits for.
    pub(crate) quarter: Word,
    /// As in the library: the producer waits for nothing beyond what was published. A consumer that drains the
    /// ring therefore wakes the producer with its last release, and need not do so when it is about to wait.
    /// Only the release that reaches the wish wakes.
    pub(crate) clamps: bool,
    pub(crate) batch: Word,
    pub(crate) last: Word,
    /// How many events each consumer reads before it detaches. A consumer that reads all of them reads to the end.
    pub(crate) readers: &'static [Word],
    /// Whether the second line belongs to a durable consumer that is away, and a process removes it.
    pub(crate) removes: bool,
    pub(crate) has_successor: bool,
    pub(crate) deaths: u8,
    /// Whether consumers may be killed, too.
    pub(crate) mortal_consumers: bool,
    /// Wakers have a fence; otherwise sleepers have a membarrier.
    pub(crate) fences: bool,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    producer: Lock,
    /// Bit i: process i sleeps in the kernel.
    asleep: u8,
    /// Bit i: process i is dead.
    dead: u8,
}

/// The steps of a process that removes a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Removing {
    Free,
    Check,
    Wake(Waking),
}

/// The steps of waking the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Waking {
    Swap,
    Bump,
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer(Producer),
    Consumer(Consumer),
    Remover(Removing),
}

impl Wake {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn producers(&self) -> usize {
        1 + usize::from(self.has_successor)
    }

    fn lines(&self) -> Address {
        self.readers.len() as Address + Address::from(self.removes)
    }

    /// The fence of a waker before it checks for sleepers.
    fn waker_fence(&self, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        match self.fences && !self.lacks(LeftOut::Fence) {
            true => cpu.fence(),
            false => Ok(()),
        }
    }

    /// `membarrier`: waits until each of `others` has been seen without waiting stores. Its bits are the
    /// processes that have not been seen yet.
    fn barrier(&self, others: &mut u8, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        cpu.fence()?;
        if self.fences || self.lacks(LeftOut::Fence) {
            *others = 0;
        }
        for who in 0..8 {
            if *others & (1 << who) != 0 && cpu.has_drained(who) {
                *others &= !(1 << who);
            }
        }
        Ok(())
    }

    /// One step of waking the producer; `None` after the last.
    fn wake_producer(&self, at: Waking, cpu: &mut Cpu<'_, World>) -> Result<Option<Waking>, Halt> {
        Ok(match at {
            Waking::Swap => {
                cpu.update(WANTED, |_| 0)?;
                match self.lacks(LeftOut::Bump) {
                    true => Some(Waking::Call),
                    false => Some(Waking::Bump),
                }
            }
            Waking::Bump => {
                cpu.update(SPACE, |word| word + 1)?;
                Some(Waking::Call)
            }
            Waking::Call => {
                let producers = (1 << self.producers()) - 1;
                cpu.system("wakes the producer")?.asleep &= !producers;
                None
            }
        })
    }

    /// FUTEX_WAIT: returns whether the process sleeps now.
    fn wait(cpu: &mut Cpu<'_, World>, word: Address, read: Word) -> Result<bool, Halt> {
        let me = cpu.me;
        let sleeps = cpu.peek(word) == read;
        let world = cpu.system("waits on the futex word")?;
        if sleeps {
            world.asleep |= 1 << me;
        }
        Ok(sleeps)
    }

    /// Sleeps until woken; after a death, until the next liveness check.
    fn sleep(&self, cpu: &mut Cpu<'_, World>) -> Result<(), Halt> {
        let mine = 1 << cpu.me;
        let may_check =
            cpu.deaths > 0 && !self.has_successor && !self.lacks(LeftOut::LivenessChecks);
        if cpu.world.asleep & mine != 0 && !may_check {
            return Err(Halt::Waits);
        }
        cpu.system("is awake")?.asleep &= !mine;
        Ok(())
    }

    fn remove(&self, at: &mut Removing, cpu: &mut Cpu<'_, World>) -> Step {
        use crate::checker::Flow;
        *at = match *at {
            Removing::Free => {
                cpu.store(COUNTED + self.lines() - 1, 0)?;
                match self.lacks(LeftOut::RemoveWakes) {
                    true => return Ok(Flow::Ends),
                    false => Removing::Check,
                }
            }
            Removing::Check => {
                self.waker_fence(cpu)?;
                match cpu.load(WANTED) {
                    0 => return Ok(Flow::Ends),
                    _ => Removing::Wake(Waking::Swap),
                }
            }
            Removing::Wake(waking) => match self.wake_producer(waking, cpu)? {
                None => return Ok(Flow::Ends),
                Some(waking) => Removing::Wake(waking),
            },
        };
        Ok(Flow::Goes)
    }
}

impl Model for Wake {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let producers = ["producer", "successor"].into_iter().take(self.producers());
        let mut all: Vec<_> = producers
            .map(|name| (name, Local::Producer(Producer::new())))
            .collect();
        for (name, _) in ["consumer 0", "consumer 1"].into_iter().zip(self.readers) {
            all.push((name, Local::Consumer(Consumer::new())));
        }
        if self.removes {
            all.push(("remover", Local::Remover(Removing::Free)));
        }
        all
    }
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for line in 0..self.lines() {
            memory.set(COUNTED + line, 1);
        }
        memory
    }
    fn world(&self) -> World {
        World::default()
    }
    fn word(&self, address: Address) -> String {
        match address {
            PUBLISHED => "published".into(),
            CLOSED => "closed".into(),
            WORD => "futex word".into(),
            BITS => "sleeper bits".into(),
            WANTED => "space wanted".into(),
            SPACE => "space futex".into(),
            at if at >= COUNTED => format!("line {} counted", at - COUNTED),
            at => format!("line {} sequence", at - SEQUENCES),
        }
    }
    fn at(&self, local: &Local) -> String {
        match local {
            Local::Producer(producer) => producer.at(),
            Local::Consumer(consumer) => consumer.at(),
            Local::Remover(at) => format!("{at:?}"),
        }
    }
    fn deaths(&self) -> u8 {
        self.deaths
    }
    fn is_mortal(&self, who: usize, local: &Local) -> bool {
        match local {
            Local::Producer(_) => who == 0,
            Local::Consumer(_) => self.mortal_consumers,
            Local::Remover(_) => false,
        }
    }
    fn reap(&self, who: usize, world: &mut World) {
        world.producer.unlock(who);
        world.asleep &= !(1 << who);
        world.dead |= 1 << who;
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer(producer) => producer.step(self, cpu),
            Local::Consumer(consumer) => consumer.step(self, cpu),
            Local::Remover(at) => self.remove(at, cpu),
        }
    }
}
