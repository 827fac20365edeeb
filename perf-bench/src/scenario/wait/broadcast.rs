//! One producer and several consumers that each receive every event: what each further one costs, and what an observer,
//! a slow consumer and a dead one cost all others.
//!
//! In each round every ring is measured once for a third of a second (a tenth with `--quick`), and its rate is divided by that of the ring with
//! one consumer. Each consumer is a process. A slow consumer sleeps after each [`SLOW_BURST`] events; as every event is
//! for everyone, the producer waits for it. The dead consumer is killed in the middle of each round; the producer stops
//! at most until its next liveness check. An observer holds nobody up, and is told how many events it missed.

use std::time::Duration;

use myelon::SharedProducer;

use super::fan_out::{Pace, publish};
use super::party::{self, Order, Party, Ring, Strategy};
use super::{END, Event, Name, Pairs, SETTLE, Setting};
use crate::clock::monotonic_ns;
use crate::fault::{Fault, Round};
use crate::payload::{OfWords, expected, fill, key};
use crate::report::comparison::Row;
use crate::scenario::Failure;
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

/// What else a ring has besides consumers that receive as fast as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    Observer,
    SlowConsumer,
    /// A consumer that is killed in each round.
    DeadConsumer,
}

impl Beside {
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
    beside: Beside,
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
    is_right: bool,
}

impl Broadcast {
    /// Measures a ring for each number of consumers, and one for each addition.
    pub(crate) fn run(&self, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
        let mut all = vec![(1, Beside::Nobody)];
        let numbers = self.consumers.iter().filter(|&&consumers| consumers != 1);
        all.extend(numbers.map(|&consumers| (consumers, Beside::Nobody)));
        for beside in [Beside::Observer, Beside::SlowConsumer, Beside::DeadConsumer] {
            all.push((1, beside));
        }
        let groups: Result<Vec<_>, _> = all
            .into_iter()
            .map(|(consumers, beside)| Group::open(self, setting, consumers, beside))
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
                    group.pairs.push(run.per_s / 1e6, one_consumer / 1e6);
                    group.messages += run.count;
                }
            }
            let wrong = (!is_right).then_some("a consumer received other events than were sent");
            running.end(&mut reason, round, wrong);
        }
        let rows = groups.into_iter().map(|group| {
            let name = group.beside.scenario();
            let row = Row::new(name, self.strategy.name(), "M/s", self.capacity);
            let row = Row {
                messages: group.messages,
                consumers: group.consumers.len() + usize::from(group.beside != Beside::Nobody),
                ..group
                    .pairs
                    .fill(row.judged(reason.clone()), "one_consumer", None)
            };
            group.close().map(|()| row)
        });
        rows.collect()
    }
}

impl Group {
    fn open(
        broadcast: &Broadcast,
        setting: Setting<'_>,
        consumers: usize,
        beside: Beside,
    ) -> Result<Self, Failure> {
        let name = Name::new();
        let ring = Ring {
            has_observers: beside == Beside::Observer,
            ..name.ring(broadcast.capacity, broadcast.strategy)
        };
        let tx = ring.producer()?;
        let attach = || super::consumer(setting.arena, None, &ring);
        let consumers: Result<Vec<_>, _> = (0..consumers).map(|_| attach()).collect();
        let other = match beside {
            Beside::Nobody | Beside::DeadConsumer => None,
            Beside::SlowConsumer => Some(attach()?),
            Beside::Observer => {
                let mut observer = party::start(setting.arena, None)?;
                observer.ask(&Order::Observe(ring.clone()))?;
                Some(observer)
            }
        };
        Ok(Self {
            beside,
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
        for party in &mut self.consumers {
            party.order(&Order::TakeAll)?;
        }
        if let Some(other) = &mut self.other {
            other.order(match self.beside {
                Beside::Observer => &Order::Watch,
                _ => &Order::TakeSlowly,
            })?;
        }
        let mut victim = match self.beside {
            Beside::DeadConsumer => {
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
        let time = setting.step_time();
        let start = monotonic_ns();
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
        let hash = expected::<7>(number, count, 0);
        let (mut end, mut is_right) = (start, true);
        for party in &mut self.consumers {
            let answer = party.answer()?;
            is_right &= (answer.count, answer.hash) == (count, hash);
            end = end.max(answer.at_ns);
        }
        if let Some(other) = &mut self.other {
            let answer = other.answer()?;
            is_right &= match self.beside {
                // all intact, and what was not seen was reported as missed
                Beside::Observer => answer.end == "whole" && answer.count + answer.missed == count,
                _ => (answer.count, answer.hash) == (count, hash),
            };
        }
        Ok(Run {
            per_s: count as f64 * 1e9 / (end - start).max(1) as f64,
            count,
            is_right,
        })
    }

    /// Ends all processes.
    fn close(self) -> Result<(), Failure> {
        drop(self.consumers);
        drop(self.other);
        Ok(self.tx.destroy()?)
    }
}
