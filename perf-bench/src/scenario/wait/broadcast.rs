//! One producer and several consumers that each receive every event: what each further one costs, and what an observer,
//! a slow consumer and a dead one cost all others.
//!
//! In each round every ring is measured once for a third of a second (a tenth with `--quick`), and its rate is divided
//! by that of the ring with one consumer. Each consumer is a process. A slow consumer sleeps after each [`SLOW_BURST`]
//! events; as every event is for everyone, the producer waits for it. The dead consumer is killed in the middle of each
//! round; the producer stops at most until its next liveness check. In `churn` a process attaches and detaches all the
//! time. An observer holds nobody up, and is told how many events it missed.

use std::time::Duration;

use myelon::SharedProducer;

use super::fan_out::{Pace, publish};
use super::latency::quantile;
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
/// Events that a consumer of `churn` receives before it detaches.
const CHURN_EVENTS: u64 = 16;
/// How long it attaches and detaches while the ring is silent.
const SILENT: Duration = Duration::from_millis(20);
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
    /// The additions, each to a ring with one consumer.
    pub(crate) additions: &'static [Company],
}

/// The additions that `broadcast` measures.
pub(crate) const ADDITIONS: [Company; 3] = [
    Company::Observer,
    Company::SlowConsumer,
    Company::DeadConsumer,
];

/// What else a ring has besides consumers that receive as fast as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Nobody,
    Observer,
    SlowConsumer,
    /// A consumer that is killed in each round.
    DeadConsumer,
    /// A process that attaches, receives a few events and detaches, again and again.
    Churn,
}

impl Company {
    /// The scenario's name in reports.
    fn scenario(self) -> &'static str {
        match self {
            Self::Nobody => "broadcast",
            Self::Observer => "broadcast_observer",
            Self::SlowConsumer => "broadcast_slow",
            Self::DeadConsumer => "broadcast_dead",
            Self::Churn => "churn",
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
    /// The µs that attaching and detaching took while events were published, beside those on the silent ring.
    attaching: Pairs,
    detaching: Pairs,
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
        all.extend(self.additions.iter().map(|&company| (1, company)));
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
            rows.extend(group.rows(self, &reason));
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
            Company::Churn => Some(party::start(setting.arena, None)?),
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
            attaching: Pairs::default(),
            detaching: Pairs::default(),
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
        let mut silent = None;
        if let Some(other) = &mut self.other {
            let churn = |time: Duration, events| Order::Churn {
                ring: self.ring.clone(),
                ms: time.as_millis() as u64,
                events,
            };
            if self.company == Company::Churn {
                silent = Some(other.ask(&churn(SILENT, 0))?);
            }
            other.order(&match self.company {
                Company::Observer => Order::Watch,
                Company::Churn => churn(time, CHURN_EVENTS),
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
                Company::Observer => answer.end == "whole" && answer.count + answer.missed == count,
                Company::Churn => answer.end == "whole",
                _ => (answer.count, answer.hash) == (count, hash),
            };
            // round 0 is the warm-up
            if let (true, Some(silent)) = (number > 0, silent) {
                let us = |took: &[u64]| quantile(took, 50) / 1e3;
                let attached = (us(&answer.took_ns), us(&silent.took_ns));
                self.attaching.push((attached.0, answer.usage), attached.1);
                let detached = (us(&answer.left_ns), us(&silent.left_ns));
                self.detaching.push((detached.0, answer.usage), detached.1);
            }
        }
        Ok(Run {
            per_s: count as f64 * 1e9 / (end - start).max(1) as f64,
            count,
            usage,
            is_right,
        })
    }

    fn rows(&self, broadcast: &Broadcast, reason: &Option<String>) -> Vec<Row> {
        let row = |name, unit, pairs: &Pairs, floor| {
            let row = Row::new(name, broadcast.strategy.name(), unit, broadcast.capacity);
            Row {
                messages: self.messages,
                consumers: self.consumers.len() + usize::from(self.company != Company::Nobody),
                ..pairs.fill(row.judged(reason.clone()), floor, None)
            }
        };
        let name = self.company.scenario();
        let mut rows = vec![row(name, "M/s", &self.pairs, "one_consumer")];
        if self.company == Company::Churn {
            let silent = "silent_ring";
            rows.push(row("churn_attach", "us", &self.attaching, silent));
            rows.push(row("churn_detach", "us", &self.detaching, silent));
        }
        rows
    }

    /// Ends all processes.
    fn close(self) -> Result<(), Failure> {
        drop(self.consumers);
        drop(self.other);
        Ok(self.tx.destroy()?)
    }
}
