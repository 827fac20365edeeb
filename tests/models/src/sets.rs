//! Sleeping on several rings at once (R9): the sleeper of a set reads the word of each ring and sets its bit in
//! each waiters line, runs one barrier, polls all rings, and sleeps on all words.
//!
//! Each ring has a producer, which wakes as in the model of one ring. The kernel compares the words one after
//! the other; wakes may come in between, and a word that has changed sends the sleeper back. As in that model,
//! no sleep ends by itself, except for a liveness check after a death. The waker takes bits away, not the
//! process that wakes up.

use crate::checker::{Address, Cpu, Flow, Halt, Memory, Model, Process, Step, Word};
use crate::publisher::{self, Publisher};

const RINGS: usize = 2;
const PUBLISHED: Address = 0;
const WORD: Address = 2;
const BITS: Address = 4;

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The fence between a store and the check for sleepers, or the sleeper's membarrier in its place.
    Fence,
    /// The bit in the last ring's line.
    Bit,
    /// The barrier comes after all bits; without this step, before the last one.
    BarrierLast,
    /// A sleeper polls again after it has set its bits.
    PollAgain,
    /// That poll covers all rings, not only the first.
    PollAll,
    /// Each word is read before the bit is set.
    WordFirst,
    /// The sleeper sleeps on all words, not only on the first.
    SleepOnAll,
    /// The word is changed before the wake.
    Bump,
    /// After a death, sleepers make a liveness check.
    LivenessChecks,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    /// How many events each ring has.
    pub(crate) last: [Word; RINGS],
    /// The rings of each set, in its order.
    pub(crate) sets: &'static [&'static [usize]],
    /// Producers have a fence; otherwise sleepers have a membarrier.
    pub(crate) fences: bool,
    /// How many producers are killed.
    pub(crate) deaths: u8,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// For each sleeper, the words on which it waits in the kernel.
    queued: [[bool; RINGS]; 2],
    /// The rings whose producer is dead.
    dead: [bool; RINGS],
}

/// Steps on the ring at this place of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Polls the ring this many places after the one whose turn it is.
    Poll(usize),
    ReadWord(usize),
    Bit(usize),
    /// The processes that have not passed the barrier yet, and the place at which the sleeper continues.
    Barrier(u8, usize),
    PollAgain(usize),
    /// The kernel compares the word.
    Wait(usize),
    Asleep,
    /// After a liveness check has begun: is the producer dead?
    Alive(usize),
    AfterDead(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sleeper {
    at: At,
    positions: [Word; RINGS],
    words: [Word; RINGS],
    /// Whether each ring's producer is dead and all its events were read.
    has_ended: [bool; RINGS],
    turn: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer(Publisher),
    Sleeper(Sleeper),
}

impl Sets {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn producer(&self, ring: usize) -> publisher::Plan {
        let line = ring as Address;
        publisher::Plan {
            last: self.last[ring],
            published: PUBLISHED + line,
            word: WORD + line,
            bits: BITS + line,
            has_fence: self.fences && !self.lacks(LeftOut::Fence),
            bumps: !self.lacks(LeftOut::Bump),
        }
    }
}

impl Sleeper {
    fn is_through_with(&self, plan: &Sets, ring: usize) -> bool {
        self.has_ended[ring] || self.positions[ring] == plan.last[ring]
    }

    fn step(&mut self, plan: &Sets, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me - RINGS;
        let rings = plan.sets[me];
        let count = rings.len();
        let has_news = |cpu: &mut Cpu<'_, World>, ring: usize, position| {
            cpu.load(PUBLISHED + ring as Address) > position
        };
        self.at = match self.at {
            At::Poll(_) if rings.iter().all(|ring| self.is_through_with(plan, *ring)) => {
                return Ok(Flow::Ends);
            }
            At::Poll(ahead) => {
                let place = (self.turn + ahead) % count;
                let ring = rings[place];
                if has_news(cpu, ring, self.positions[ring]) {
                    self.positions[ring] += 1;
                    self.turn = (place + 1) % count;
                    At::Poll(0)
                } else if ahead + 1 < count {
                    At::Poll(ahead + 1)
                } else {
                    self.arm(plan, 0, count)
                }
            }
            At::ReadWord(place) => {
                let ring = rings[place];
                self.words[ring] = cpu.load(WORD + ring as Address);
                match plan.lacks(LeftOut::WordFirst) {
                    true if place + 1 < count => At::ReadWord(place + 1),
                    true => At::Wait(0),
                    false => At::Bit(place),
                }
            }
            At::Bit(place) => {
                if !plan.lacks(LeftOut::Bit) || place + 1 < count {
                    cpu.update(BITS + rings[place] as Address, |bits| bits | 1 << me)?;
                }
                let last = count - usize::from(plan.lacks(LeftOut::BarrierLast));
                match place + 1 == last {
                    true => At::Barrier((1 << RINGS) - 1, place + 1),
                    false => self.arm(plan, place + 1, count),
                }
            }
            At::Barrier(others, place) => {
                cpu.fence()?;
                let has_none = plan.fences || plan.lacks(LeftOut::Fence);
                let is_left = |who: &usize| others & (1 << who) != 0 && !cpu.has_drained(*who);
                let left: u8 = (0..RINGS).filter(is_left).map(|who| 1 << who).sum();
                match left {
                    _ if has_none || left == 0 => self.arm(plan, place, count),
                    _ if left == others => return Err(Halt::Waits),
                    _ => At::Barrier(left, place),
                }
            }
            At::PollAgain(place) => {
                let ring = rings[place];
                if has_news(cpu, ring, self.positions[ring]) {
                    At::Poll(0)
                } else if place + 1 < count && !plan.lacks(LeftOut::PollAll) {
                    At::PollAgain(place + 1)
                } else if plan.lacks(LeftOut::WordFirst) {
                    At::ReadWord(0)
                } else {
                    At::Wait(0)
                }
            }
            At::Wait(place) => {
                let ring = rings[place];
                let is_same = cpu.peek(WORD + ring as Address) == self.words[ring];
                let queued = &mut cpu.system("waits on a futex word")?.queued[me];
                queued[ring] = is_same;
                if !is_same {
                    *queued = [false; RINGS];
                    At::Poll(0)
                } else if place + 1 < count && !plan.lacks(LeftOut::SleepOnAll) {
                    At::Wait(place + 1)
                } else {
                    At::Asleep
                }
            }
            At::Asleep => {
                let on = match plan.lacks(LeftOut::SleepOnAll) {
                    true => &rings[..1],
                    false => rings,
                };
                let is_woken = on.iter().any(|ring| !cpu.world.queued[me][*ring]);
                let may_check = cpu.deaths > 0 && !plan.lacks(LeftOut::LivenessChecks);
                if !is_woken && !may_check {
                    return Err(Halt::Waits);
                }
                cpu.system("is awake")?.queued[me] = [false; RINGS];
                match is_woken {
                    true => At::Poll(0),
                    false => At::Alive(0),
                }
            }
            At::Alive(place) if place == count => At::Poll(0),
            At::Alive(place) => match cpu.system("probes a producer's byte")?.dead[rings[place]] {
                true => At::AfterDead(place),
                false => At::Alive(place + 1),
            },
            At::AfterDead(place) => {
                let ring = rings[place];
                match has_news(cpu, ring, self.positions[ring]) {
                    true => At::Poll(0),
                    false => {
                        self.has_ended[ring] = true;
                        At::Alive(place + 1)
                    }
                }
            }
        };
        Ok(Flow::Goes)
    }

    /// Continues after this many rings have the sleeper's bit.
    fn arm(&self, plan: &Sets, place: usize, count: usize) -> At {
        match place < count {
            true if plan.lacks(LeftOut::WordFirst) => At::Bit(place),
            true => At::ReadWord(place),
            false if plan.lacks(LeftOut::PollAgain) => At::Wait(0),
            false => At::PollAgain(0),
        }
    }
}

impl Model for Sets {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let producers = ["producer 0", "producer 1"];
        let mut all: Vec<_> = producers
            .map(|name| (name, Local::Producer(Publisher::new())))
            .to_vec();
        for (name, _) in ["set 0", "set 1"].into_iter().zip(self.sets) {
            let sleeper = Sleeper {
                at: At::Poll(0),
                positions: [0; RINGS],
                words: [0; RINGS],
                has_ended: [false; RINGS],
                turn: 0,
            };
            all.push((name, Local::Sleeper(sleeper)));
        }
        all
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> World {
        World::default()
    }
    fn word(&self, address: Address) -> String {
        match address {
            at if at >= BITS => format!("sleeper bits {}", at - BITS),
            at if at >= WORD => format!("futex word {}", at - WORD),
            at => format!("published {at}"),
        }
    }
    fn at(&self, local: &Local) -> String {
        match local {
            Local::Producer(producer) => producer.at(),
            Local::Sleeper(sleeper) => {
                format!("{:?} (positions {:?})", sleeper.at, sleeper.positions)
            }
        }
    }
    fn deaths(&self) -> u8 {
        self.deaths
    }
    fn is_mortal(&self, _who: usize, local: &Local) -> bool {
        matches!(local, Local::Producer(_))
    }
    fn reap(&self, who: usize, world: &mut World) {
        world.dead[who] = true;
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer(producer) => {
                let ring = cpu.me;
                producer.step(self.producer(ring), cpu, |world| {
                    for queued in &mut world.queued {
                        queued[ring] = false;
                    }
                })
            }
            Local::Sleeper(sleeper) => sleeper.step(self, cpu),
        }
    }
}
