//! A ring with its producers and consumers, as the library runs it (R2, R4, R5, R6, R14, R16). The steps are
//! those of `protocol/publish/mod.rs`, `takeover.rs` and `lines.rs`, and each makes one operation on shared memory.
//!
//! Sequences start at 1 here, and 0 is none. An event is its sequence and its writer's number, so that a torn,
//! stale or repeated event is detected. A *plan* is a configuration; controls leave a step out.

mod attach;
mod consumer;
mod evict;
mod producer;
mod refresh;

use crate::checker::{Address, Cpu, End, Lock, Memory, Model, Process, Step, Word};
use consumer::Consumer;
use evict::Remover;
use producer::Producer;

/// How many lines, ids and sequences a plan may have.
const LINES: usize = 2;
const IDS: usize = 2;
const SEQUENCES: usize = 10;

/// A step of the protocol that a control leaves out or does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// R5: the fence between the floor and the second scan.
    RefreshFence,
    /// R5: the second scan.
    SecondScan,
    /// R6: the fence between SETTLING and the second read of the floor.
    JoinFence,
    /// R6: the second read of the floor.
    SecondRead,
    /// R5: with an expected consumer still to come, m is the floor; here as if none were expected.
    ExpectedFloor,
    /// R14: stamps above the head stay.
    Clear,
    /// R14: stamps at and below the head are zeroed, too.
    ClearOnlyAbove,
    /// R14: the head is the newest stamp, contiguous or not.
    Contiguous,
    /// R14: the gate starts at h − N; here at the floor.
    GateBehind,
    /// R14: the refresh before the first write.
    FirstRefresh,
    /// R2: the first event's stamp comes last; here in order.
    FirstStampLast,
    /// R2: an event is written before its stamp.
    EventFirst,
    /// A batch whose writer panics takes its stamps back.
    Undo,
    /// A batch that reuses the slots by which the position is found moves the base first.
    BaseBeforeReuse,
    /// R7: the gate does not pass a lease; here the sequence is stored before the event was read.
    ReleaseAfterRead,
    /// R6: a line is SETTLING, not ACTIVE, until it has a position.
    Settling,
    /// R16: a rejoin leaves the sequence alone; here it starts at the floor.
    OwnSequence,
    /// R16: a rejoin is one store; here it goes through JOINING.
    StraightRejoin,
    /// R16: a line is evicted under its lock.
    EvictLock,
    /// R16: an evictor checks again under the lock.
    EvictCheck,
    /// R16: a consumer that takes a line checks it again under the lock.
    TakeCheck,
    /// R16: a durable line with a free lock is away, not evictable.
    DurableStays,
    /// R16: the id's byte is locked before a durable consumer is removed.
    RemoveIdLock,
    /// R6: the bit is set before the state; here after SETTLING and the second read.
    BitFirst,
    /// R6: the bit is cleared after FREE.
    FreeFirst,
    /// R6: the bit is cleared under the line's lock; here after the lock was released.
    BitUnderLock,
}

/// A consumer in a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// 0 for an automatic consumer, otherwise an explicit id.
    pub(crate) id: Word,
    /// How many events it reads before it detaches. With `None` it reads all, and leaves for good.
    pub(crate) reads: Option<Word>,
    /// Whether it is registered when the model starts, in the line of its number.
    pub(crate) is_present: bool,
    /// Whether it may be killed.
    pub(crate) is_mortal: bool,
    /// Whether it comes when the ring is full, and was promised every event.
    pub(crate) is_expected: bool,
}

impl Reader {
    /// An automatic consumer that joins and reads to the end.
    pub(crate) const JOINER: Self = Self {
        id: 0,
        reads: None,
        is_present: false,
        is_mortal: false,
        is_expected: false,
    };
    /// An automatic consumer that is registered from the start.
    pub(crate) const PRESENT: Self = Self {
        is_present: true,
        ..Self::JOINER
    };
    pub(crate) const EXPECTED: Self = Self {
        is_expected: true,
        ..Self::JOINER
    };

    pub(crate) const fn durable(id: Word) -> Self {
        Self { id, ..Self::JOINER }
    }
    pub(crate) const fn reads(self, count: Word) -> Self {
        Self {
            reads: Some(count),
            ..self
        }
    }
    pub(crate) const fn mortal(self) -> Self {
        Self {
            is_mortal: true,
            ..self
        }
    }
}

/// A configuration: the processes, the ring, and what may happen.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Number of slots.
    pub(crate) slots: Word,
    /// Number of consumer lines.
    pub(crate) lines: usize,
    /// The last sequence, after which producers end.
    pub(crate) last: Word,
    /// The batch size of each producer. All but the last may be killed. Each waits until the one before has gone.
    pub(crate) producers: &'static [Word],
    /// The number of events after which the producer stores its position.
    pub(crate) step: Word,
    /// Whether a batch's first event is written apart and moved into its slot at the end.
    pub(crate) apart: bool,
    /// Two single events precede each batch.
    pub(crate) is_mixed: bool,
    /// Whether a writer may panic once.
    pub(crate) panics: bool,
    /// Whether a blocked producer evicts dead consumers.
    pub(crate) evicts: bool,
    /// The durable id that a process removes, if any.
    pub(crate) removes: Option<Word>,
    pub(crate) readers: Vec<Reader>,
    /// The largest number of processes that are killed.
    pub(crate) deaths: u8,
    pub(crate) left_out: Option<LeftOut>,
}

impl Plan {
    /// Two slots, one line, single events, one producer.
    pub(crate) fn new(last: Word, readers: &[Reader]) -> Self {
        Self {
            slots: 2,
            lines: readers.len().clamp(1, LINES),
            last,
            producers: &[1],
            step: 2,
            apart: true,
            is_mixed: false,
            panics: false,
            evicts: false,
            removes: None,
            readers: readers.to_vec(),
            deaths: 0,
            left_out: None,
        }
    }

    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn is_expecting(&self) -> bool {
        self.readers.iter().any(|reader| reader.is_expected)
    }

    fn state(line: u8) -> Address {
        2 + 3 * line
    }
    fn sequence(line: u8) -> Address {
        3 + 3 * line
    }
    fn id(line: u8) -> Address {
        4 + 3 * line
    }
    fn stamp(&self, sequence: Word) -> Address {
        2 + 3 * self.lines as u8 + 2 * (sequence % self.slots) as u8
    }
    fn event(&self, sequence: Word) -> Address {
        self.stamp(sequence) + 1
    }
}

const FLOOR: Address = 0;
const BITS: Address = 1;

/// States of a line (R16).
const FREE: Word = 0;
const JOINING: Word = 1;
const SETTLING: Word = 2;
const ACTIVE: Word = 3;
const AWAY: Word = 4;

fn is_registered(state: Word) -> bool {
    matches!(state, SETTLING | ACTIVE | AWAY)
}

/// The number of writers that events distinguish: three producers, each before and after a panic.
const WRITERS: usize = 6;

/// An event's content: its sequence and its writer.
fn event_of(sequence: Word, writer: usize) -> Word {
    sequence + 16 * writer as Word
}

fn writer_of(event: Word) -> usize {
    (event / 16) as usize
}

fn sequence_of(event: Word) -> Word {
    event % 16
}

/// The kernel's locks, and the values by which the model judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    producer: Lock,
    lines: [Lock; LINES],
    ids: [Lock; IDS],
    /// Whether all events were published.
    is_complete: bool,
    /// For each durable id: 1 + the last sequence it has released; 0 while it has no position.
    position: [Word; IDS],
    /// The current claim: its first sequence and its number of slots.
    batch: (Word, Word),
    /// Bit i: producer i has had the ring.
    owners: u8,
    /// For each writer, the sequence from which on its events are void, because its batch was taken back or it
    /// died before.
    void: [Word; WRITERS],
    /// The event that the first reader of each sequence has found.
    seen: [Word; SEQUENCES],
}

impl World {
    fn unlock_all(&mut self, who: usize) {
        self.producer.unlock(who);
        self.lines.iter_mut().for_each(|lock| lock.unlock(who));
        self.ids.iter_mut().for_each(|lock| lock.unlock(who));
    }
}

/// A process of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer(Producer),
    Consumer(Consumer),
    Remover(Remover),
}

impl Plan {
    /// The reader that process `who` is.
    fn reader(&self, who: usize) -> &Reader {
        &self.readers[who - self.producers.len()]
    }
}

impl Model for Plan {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let producers = ["producer", "successor", "third"].into_iter();
        let producers = producers
            .zip(self.producers)
            .map(|(name, _)| (name, Local::Producer(Producer::new())));
        let consumers = ["consumer 0", "consumer 1", "consumer 2"].into_iter();
        let consumers = consumers
            .zip(self.readers.iter().enumerate())
            .map(|(name, (at, reader))| (name, Local::Consumer(Consumer::new(reader, at as u8))));
        let remover = self
            .removes
            .map(|_| ("remover", Local::Remover(Remover::new())));
        producers.chain(consumers).chain(remover).collect()
    }

    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for (line, reader) in (0..).zip(&self.readers) {
            if reader.is_present {
                memory.set(Self::state(line), ACTIVE);
                memory.set(Self::id(line), reader.id);
                memory.set(BITS, memory.get(BITS) | 1 << line);
            }
        }
        memory
    }

    fn world(&self) -> World {
        let mut world = World::default();
        for (line, reader) in self.readers.iter().enumerate() {
            if reader.is_present {
                world.lines[line] = Lock::held_by(self.producers.len() + line);
            }
        }
        world
    }

    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer(producer) => producer.step(self, cpu),
            Local::Consumer(consumer) => consumer.step(self, cpu),
            Local::Remover(remover) => remover.step(self, cpu),
        }
    }

    fn word(&self, address: Address) -> String {
        let lines = 2 + 3 * self.lines as u8;
        match address {
            FLOOR => "floor".into(),
            BITS => "bits".into(),
            at if at < lines => {
                let word = ["state", "sequence", "id"][usize::from(at - 2) % 3];
                format!("line {} {word}", (at - 2) / 3)
            }
            at => {
                let word = ["stamp", "event"][usize::from(at - lines) % 2];
                format!("slot {} {word}", (at - lines) / 2)
            }
        }
    }

    fn at(&self, local: &Local) -> String {
        match local {
            Local::Producer(producer) => producer.at(),
            Local::Consumer(consumer) => consumer.at(),
            Local::Remover(remover) => remover.at(),
        }
    }

    fn deaths(&self) -> u8 {
        self.deaths
    }

    fn is_mortal(&self, who: usize, local: &Local) -> bool {
        match local {
            Local::Producer(_) => who + 1 < self.producers.len(),
            Local::Consumer(_) => self.reader(who).is_mortal,
            Local::Remover(_) => true,
        }
    }

    fn reap(&self, who: usize, world: &mut World) {
        world.unlock_all(who);
    }

    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        match end.world.is_complete {
            true => Ok(()),
            false => Err("stuck: not everything was published".into()),
        }
    }
}
