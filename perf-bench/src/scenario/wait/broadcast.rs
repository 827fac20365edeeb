//! One producer and several consumers that each receive every event: what each further one costs, and what an observer,
//! a slow consumer and a dead one cost all others.
//!
//! In each round every ring is measured once for a third of a second (a tenth with `--quick`), and its rate is divided
//! by that of the ring with one consumer. Each consumer is a process. A slow consumer sleeps after each [`SLOW_BURST`]
//! events; as every event is for everyone, the producer waits for it. The dead consumer is killed in the middle of each
//! round; the producer stops at most until its next liveness check. An observer holds nobody up, and is told how many
//! events it missed.

use std::time::Duration;

use myelon::SharedProducer;

use super::fan_out::{Pace, publish};
use super::party::{self, Order, Party, Ring};
use super::{END, Event, Name, Pairs, SETTLE, Setting};
use crate::clock::monotonic_ns;
use crate::fault::{Fault, Round};
use crate::payload::{OfWords, expected, fill, key};
use crate::report::comparison::Row;
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch;

/// Events after which a slow consumer sleeps.
pub(super) const SLOW_BURST: u64 = 256;
/// The time for which it sleeps.
pub(super) const SLOW_PAUSE: Duration = Duration::from_micros(200);
const ROUNDS_MAX: usize = 10;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast {
    /// Numbers of consumers.
    pub(crate) consumers: Vec<usize>,
    pub(crate) strategy: Strategy,
    pub(crate) capacity: usize,
}

/// What is added to a ring with one consumer.
const ADDITIONS: [Company; 3] = [
    Company::Observer,
    Company::SlowConsumer,
    Company::DeadConsumer,
];

/// What else a ring has besides consumers that receive as fast as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Nobody,
    Observer,
    SlowConsumer,
    /// A consumer that is killed in each round.
    DeadConsumer,
}

impl Company {
    /// The scenario's name in reports.
    fn scenario(self) -> &'static str {
        match self {
            Self::Nobody => "broadcast",
            Self::Observer => "broadcast_observer",
            Self::SlowConsumer => "broadcast_slow",
            Self::DeadConsumer => "broadcast_dead",
        }
    }
}

/// A ring with all processes that share it.
struct Group {
    company: Company,
    ring: Ring,
    tx: SharedProducer<Event>,
    consumers: Vec<Party>,
    /// The observer or the slow consumer.
    other: Option<Party>,
    pairs: Pairs,
    messages: u64,
    _name: Name,
}

/// The result of a round of one ring.
struct Run {
    per_s: f64,
    count: u64,
    usage: Usage,
    is_right: bool,
}

impl Broadcast {
    /// Measures a ring for each number of consumers, and one for each addition.
    pub(crate) fn run(&self, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
        let mut all = vec![(1, Company::Nobody)];
        let numbers = self.consumers.iter().filter(|&&consumers| consumers != 1);
        all.extend(numbers.map(|&consumers| (consumers, Company::Nobody)));
        all.extend(ADDITIONS.map(|company| (1, company)));
        let groups: Result<Vec<_>, _> = all
            .into_iter()
            .map(|(consumers, company)| Group::open(self, setting, consumers, company))
            .collect();
        let mut groups = groups?;
        let mut reason = None;
        for round in 0..=setting.rounds.min(ROUNDS_MAX) {
            let running = setting.start_round(round);
            let mut one_consumer = 0.0;
            let mut is_right = true;
            for group in &mut groups {
                let run = group.run(setting, round as u64, running.fault)?;
                is_right &= run.is_right;
                if one_consumer == 0.0 {
                    one_consumer = run.per_s;
                }
                // round 0 is the warm-up
                if round > 0 {
                    let own = (run.per_s / 1e6, run.usage);
                    group.pairs.push(own, one_consumer / 1e6);
                    group.messages += run.count;
                }
            }
            let wrong = (!is_right).then_some("a consumer received other events than were sent");
            running.end(&mut reason, round, wrong);
        }
        let mut rows = Vec::new();
        for group in groups {
            rows.push(group.row(self, &reason));
            group.close()?;
        }
        Ok(rows)
    }
}

impl Group {
    fn open(
        broadcast: &Broadcast,
        setting: Setting<'_>,
        consumers: usize,
        company: Company,
    ) -> Result<Self, Failure> {
        let name = Name::new();
        let ring = Ring {
            has_observers: company == Company::Observer,
            ..name.ring(broadcast.capacity, broadcast.strategy)
        };
        let tx = ring.producer()?;
        let attach = || super::consumer(setting.arena, None, &ring);
        let consumers: Result<Vec<_>, _> = (0..consumers).map(|_| attach()).collect();
        let other = match company {
            Company::Nobody | Company::DeadConsumer => None,
            Company::SlowConsumer => Some(attach()?),
            Company::Observer => {
                let mut observer = party::start(setting.arena, None)?;
                observer.ask(&Order::Observe(ring.clone()))?;
                Some(observer)
            }
        };
        Ok(Self {
            company,
            tx,
            consumers: consumers?,
            other,
            ring,
            pairs: Pairs::default(),
            messages: 0,
            _name: name,
        })
    }

    /// Runs one round; `number` is part of the keys of its events.
    fn run(
        &mut self,
        setting: Setting<'_>,
        number: u64,
        fault: Option<Fault>,
    ) -> Result<Run, Failure> {
        watch::check();
        let time = setting.step_time();
        for party in &mut self.consumers {
            party.order(&Order::TakeAll)?;
        }
        if let Some(other) = &mut self.other {
            other.order(&match self.company {
                Company::Observer => Order::Watch,
                _ => Order::TakeSlowly,
            })?;
        }
        let mut victim = match self.company {
            Company::DeadConsumer => {
                let mut victim = super::consumer(setting.arena, None, &self.ring)?;
                victim.order(&Order::TakeAll)?;
                Some(victim)
            }
            _ => None,
        };
        std::thread::sleep(SETTLE);
        let round = Round {
            number,
            count: 0,
            fault,
        };
        let (tx, deadline) = (&mut self.tx, setting.deadline());
        let (before, start) = (Usage::read(), monotonic_ns());
        let count = std::thread::scope(|scope| {
            if let Some(victim) = &mut victim {
                scope.spawn(|| {
                    std::thread::sleep(time / 3);
                    // a failure shows below: the process is waited for
                    let _ = victim.kill();
                });
            }
            if round.has_faulty_messages() {
                publish::<true>(tx, deadline, (Pace::Full, time), round)
            } else {
                publish::<false>(tx, deadline, (Pace::Full, time), round)
            }
        })?;
        tx.send(deadline, |event| {
            fill(event.words_mut(), key(number, count) | END);
        })?;
        let mut usage = Usage::read() - before;
        let hash = expected::<7>(number, count, 0);
        let (mut end, mut is_right) = (start, true);
        for party in &mut self.consumers {
            let answer = party.answer()?;
            is_right &= (answer.count, answer.hash) == (count, hash);
            end = end.max(answer.at_ns);
            usage += answer.usage;
        }
        if let Some(other) = &mut self.other {
            let answer = other.answer()?;
            usage += answer.usage;
            is_right &= match self.company {
                // all intact, and what was not seen was reported as missed
                Company::Observer => {
                    answer.end == party::WHOLE && answer.count + answer.missed == count
                }
                _ => (answer.count, answer.hash) == (count, hash),
            };
        }
        Ok(Run {
            per_s: count as f64 * 1e9 / (end - start).max(1) as f64,
            count,
            usage,
            is_right,
        })
    }

    fn row(&self, broadcast: &Broadcast, reason: &Option<String>) -> Row {
        let wait = broadcast.strategy.name();
        let row = Row::new(self.company.scenario(), wait, "M/s", broadcast.capacity);
        Row {
            messages: self.messages,
            consumers: self.consumers.len() + usize::from(self.company != Company::Nobody),
            ..self
                .pairs
                .fill(row.judged(reason.clone()), "one_consumer", None)
        }
    }

    /// Ends all processes.
    fn close(self) -> Result<(), Failure> {
        drop(self.consumers);
        drop(self.other);
        Ok(self.tx.destroy()?)
    }
}
