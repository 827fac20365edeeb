//! A thread that sleeps on a ring for an event loop (R9): `Readiness`.
//!
//! The loop clears the descriptor, polls the ring, orders the next event and waits for the descriptor. The
//! *sentry* takes the order and sleeps on the ring as a consumer does. It makes the descriptor readable when
//! the event is there. It also stops sleeping when there is a new order, because a loop may have continued
//! without a notification. In this model the kernel's part comprises the state that both share under one mutex,
//! the descriptor, and the futex. As in the model of rings, no sleep ends by itself, except for a liveness
//! check after a death.

use crate::checker::{Address, Cpu, Flow, Halt, Memory, Model, Process, Step, Word};
use crate::publisher::{self, Publisher};

const PUBLISHED: Address = 0;
const WORD: Address = 1;
const BITS: Address = 2;
const PRODUCER: usize = 0;

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The fence between a store and the check for sleepers, or the sentry's membarrier in its place.
    Fence,
    /// The sentry sets its bit in the waiters line.
    Bit,
    /// The sentry polls again after that.
    PollAgain,
    /// The sentry checks its orders again as well.
    CheckOrders,
    /// The word is read before the bit is set.
    WordFirst,
    /// The loop clears the descriptor before it orders.
    DrainFirst,
    /// The loop notifies the sentry of an order.
    Notify,
    /// The end of a loop changes the word and wakes.
    Shake,
    /// After a death the sentry makes a liveness check, and notifies the loop.
    LivenessChecks,
}

/// The configuration of the processes: a producer, a loop and its sentry.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) last: Word,
    /// How many times the loop continues without a notification.
    pub(crate) own_ways: u8,
    /// Whether the loop ends while it waits, not after the last event.
    pub(crate) may_leave: bool,
    /// The producer has a fence; otherwise the sentry has a membarrier.
    pub(crate) fences: bool,
    pub(crate) deaths: u8,
    pub(crate) left_out: Option<LeftOut>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Whether the descriptor is readable.
    is_told: bool,
    /// The event that was ordered, or 0.
    order: Word,
    is_over: bool,
    /// Whether the sentry waits for orders.
    waits_for_orders: bool,
    /// Whether the sentry sleeps on the ring.
    is_asleep: bool,
    is_dead: bool,
    is_suspected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LoopAt {
    Check,
    Drain,
    PollAgain,
    Order,
    Notify,
    DrainLate,
    Poll,
    /// It was notified, and there is no event: is the producer dead?
    Alive,
    AfterDead,
    Over,
    NotifyOver,
    Shake,
    ShakeCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Loop {
    at: LoopAt,
    position: Word,
    own_ways: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SentryAt {
    NextOrder,
    ReadWord,
    Bit,
    Barrier,
    PollAgain,
    CheckOrders,
    Wait,
    Asleep,
    Woken,
    WokenByOrders,
    Alive,
    Tell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sentry {
    at: SentryAt,
    sequence: Word,
    read: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Producer(Publisher),
    Loop(Loop),
    Sentry(Sentry),
}

impl World {
    fn has_new_orders(&self) -> bool {
        self.is_over || self.order > 0
    }
}

impl Readiness {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    fn producer(&self) -> publisher::Plan {
        publisher::Plan {
            last: self.last,
            published: PUBLISHED,
            word: WORD,
            bits: BITS,
            has_fence: self.fences && !self.lacks(LeftOut::Fence),
            bumps: true,
        }
    }
}

impl Loop {
    fn step(&mut self, plan: &Readiness, cpu: &mut Cpu<'_, World>) -> Step {
        let is_late = plan.lacks(LeftOut::DrainFirst);
        self.at = match self.at {
            LoopAt::Check if self.position == plan.last && !plan.may_leave => LoopAt::Over,
            LoopAt::Check => match cpu.load(PUBLISHED) > self.position {
                true => {
                    self.position += 1;
                    LoopAt::Check
                }
                false if cpu.world.is_suspected => LoopAt::Alive,
                false if is_late => LoopAt::PollAgain,
                false => LoopAt::Drain,
            },
            LoopAt::Drain => {
                cpu.system("reads the descriptor")?.is_told = false;
                LoopAt::PollAgain
            }
            LoopAt::PollAgain => match cpu.load(PUBLISHED) > self.position {
                true => LoopAt::Check,
                false => LoopAt::Order,
            },
            LoopAt::Order => {
                cpu.system("orders")?.order = self.position + 1;
                match plan.lacks(LeftOut::Notify) {
                    true => LoopAt::Poll,
                    false => LoopAt::Notify,
                }
            }
            LoopAt::Notify => {
                cpu.system("notifies")?.waits_for_orders = false;
                match is_late {
                    true => LoopAt::DrainLate,
                    false => LoopAt::Poll,
                }
            }
            LoopAt::DrainLate => {
                cpu.system("reads the descriptor")?.is_told = false;
                LoopAt::Poll
            }
            LoopAt::Poll => match cpu.choose(3) {
                1 if self.own_ways > 0 => {
                    self.own_ways -= 1;
                    LoopAt::Check
                }
                2 if plan.may_leave => LoopAt::Over,
                _ if cpu.world.is_told => LoopAt::Check,
                _ => return Err(Halt::Waits),
            },
            LoopAt::Alive => match cpu.system("probes the producer's byte")?.is_dead {
                true => LoopAt::AfterDead,
                false => LoopAt::Drain,
            },
            LoopAt::AfterDead => match cpu.load(PUBLISHED) > self.position {
                true => LoopAt::Check,
                false => LoopAt::Over,
            },
            LoopAt::Over => {
                cpu.system("says that it is over")?.is_over = true;
                LoopAt::NotifyOver
            }
            LoopAt::NotifyOver => {
                cpu.system("notifies")?.waits_for_orders = false;
                match plan.lacks(LeftOut::Shake) {
                    true => return Ok(Flow::Ends),
                    false => LoopAt::Shake,
                }
            }
            LoopAt::Shake => {
                cpu.update(WORD, |word| word + 1)?;
                LoopAt::ShakeCall
            }
            LoopAt::ShakeCall => {
                cpu.system("wakes consumers")?.is_asleep = false;
                return Ok(Flow::Ends);
            }
        };
        Ok(Flow::Goes)
    }
}

impl Sentry {
    fn step(&mut self, plan: &Readiness, cpu: &mut Cpu<'_, World>) -> Step {
        let word_first = !plan.lacks(LeftOut::WordFirst);
        self.at = match self.at {
            SentryAt::NextOrder => {
                if cpu.world.waits_for_orders {
                    return Err(Halt::Waits);
                }
                let world = cpu.system("checks for orders")?;
                if world.is_over {
                    return Ok(Flow::Ends);
                }
                if world.order == 0 {
                    world.waits_for_orders = true;
                    return Ok(Flow::Goes);
                }
                self.sequence = core::mem::take(&mut world.order);
                self.begin_sleep(plan)
            }
            SentryAt::ReadWord => {
                self.read = cpu.load(WORD);
                match word_first {
                    true => SentryAt::Bit,
                    false => SentryAt::Wait,
                }
            }
            SentryAt::Bit => {
                if !plan.lacks(LeftOut::Bit) {
                    cpu.update(BITS, |bits| bits | 1)?;
                }
                SentryAt::Barrier
            }
            SentryAt::Barrier => {
                cpu.fence()?;
                let has_none = plan.fences || plan.lacks(LeftOut::Fence);
                if !has_none && !cpu.has_drained(PRODUCER) {
                    return Err(Halt::Waits);
                }
                match plan.lacks(LeftOut::PollAgain) {
                    true => SentryAt::Wait,
                    false => SentryAt::PollAgain,
                }
            }
            SentryAt::PollAgain => match cpu.load(PUBLISHED) >= self.sequence {
                true => SentryAt::Tell,
                false if plan.lacks(LeftOut::CheckOrders) => self.fall_asleep(plan),
                false => SentryAt::CheckOrders,
            },
            SentryAt::CheckOrders => match cpu.system("checks for orders")?.has_new_orders() {
                true => SentryAt::Tell,
                false => self.fall_asleep(plan),
            },
            SentryAt::Wait => {
                let is_same = cpu.peek(WORD) == self.read;
                cpu.system("waits on the futex word")?.is_asleep = is_same;
                match is_same {
                    true => SentryAt::Asleep,
                    false => SentryAt::Woken,
                }
            }
            SentryAt::Asleep => {
                let may_check = cpu.deaths > 0 && !plan.lacks(LeftOut::LivenessChecks);
                if cpu.world.is_asleep && !may_check {
                    return Err(Halt::Waits);
                }
                cpu.system("is awake")?.is_asleep = false;
                SentryAt::Woken
            }
            SentryAt::Woken => match cpu.load(PUBLISHED) >= self.sequence {
                true => SentryAt::Tell,
                false => SentryAt::WokenByOrders,
            },
            SentryAt::WokenByOrders => match cpu.system("checks for orders")?.has_new_orders() {
                true => SentryAt::Tell,
                false => SentryAt::Alive,
            },
            SentryAt::Alive => {
                let world = cpu.system("probes the producer's byte")?;
                world.is_suspected |= world.is_dead;
                match world.is_dead {
                    true => SentryAt::Tell,
                    false => self.begin_sleep(plan),
                }
            }
            SentryAt::Tell => {
                cpu.system("writes the descriptor")?.is_told = true;
                SentryAt::NextOrder
            }
        };
        Ok(Flow::Goes)
    }

    fn begin_sleep(&self, plan: &Readiness) -> SentryAt {
        match plan.lacks(LeftOut::WordFirst) {
            true => SentryAt::Bit,
            false => SentryAt::ReadWord,
        }
    }

    fn fall_asleep(&self, plan: &Readiness) -> SentryAt {
        match plan.lacks(LeftOut::WordFirst) {
            true => SentryAt::ReadWord,
            false => SentryAt::Wait,
        }
    }
}

impl Model for Readiness {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let producer = Local::Producer(Publisher::new());
        let event_loop = Local::Loop(Loop {
            at: LoopAt::Check,
            position: 0,
            own_ways: self.own_ways,
        });
        let sentry = Local::Sentry(Sentry {
            at: SentryAt::NextOrder,
            sequence: 0,
            read: 0,
        });
        vec![
            ("producer", producer),
            ("loop", event_loop),
            ("sentry", sentry),
        ]
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> World {
        World::default()
    }
    fn at(&self, local: &Local) -> String {
        match local {
            Local::Producer(producer) => producer.at(),
            Local::Loop(Loop { at, position, .. }) => format!("{at:?} (position {position})"),
            Local::Sentry(Sentry { at, sequence, .. }) => format!("{at:?} (awaits {sequence})"),
        }
    }
    fn word(&self, address: Address) -> String {
        match address {
            PUBLISHED => "published".into(),
            WORD => "futex word".into(),
            _ => "sleeper bits".into(),
        }
    }
    fn deaths(&self) -> u8 {
        self.deaths
    }
    fn is_mortal(&self, _who: usize, local: &Local) -> bool {
        matches!(local, Local::Producer(_))
    }
    fn reap(&self, _who: usize, world: &mut World) {
        world.is_dead = true;
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local {
            Local::Producer(producer) => {
                producer.step(self.producer(), cpu, |world| world.is_asleep = false)
            }
            Local::Loop(event_loop) => event_loop.step(self, cpu),
            Local::Sentry(sentry) => sentry.step(self, cpu),
        }
    }
}
