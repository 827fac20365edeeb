//! One producer and three consumers on two cores: either all of them sleep, or all of them yield.
//!
//! A round has three steps:
//! 1. The producer publishes at full speed.
//! 2. It publishes at a tenth of the rate that the yielding ring reached in step 1, and the processor time of all
//!    four processes is compared. The producer publishes the events of one millisecond at once and sleeps until
//!    the next millisecond begins.
//! 3. It publishes at the same rate event by event. The producer has to spin for that, so only the processor time
//!    of the consumers is compared.

use std::time::{Duration, Instant};

use myelon::{Deadline, SharedProducer};

use super::party::{Order, Party};
use super::{CAPACITY, END, Event, Name, Pairs, SETTLE, Setting, consumer};
use crate::clock::{monotonic_ns, process_cpu_ns};
use crate::fault::{Fault, Round};
use crate::payload::{OfWords, expected, fill, key};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch;

const CONSUMERS: usize = 3;
const ROUNDS_MAX: usize = 10;
const SLICE: Duration = Duration::from_millis(1);
/// Events between two reads of the clock.
const CHUNK: u64 = 256;

/// The pace at which the producer publishes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    Full,
    /// Events per second, published slice by slice.
    Slices(f64),
    /// Events per second, published one by one.
    Even(f64),
}

/// The result of a round of one ring.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    per_s: f64,
    /// Processor seconds per second, of all processes together and of the consumers alone.
    cpu: f64,
    cpu_of_consumers: f64,
    count: u64,
    usage: Usage,
    /// Whether every consumer received exactly the events that were sent.
    is_right: bool,
}

/// A ring with all processes that share it.
struct Side {
    tx: SharedProducer<Event>,
    parties: Vec<Party>,
    deadline: Deadline,
    /// The duration of one step.
    time: Duration,
    _name: Name,
}

pub(super) fn run(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let mut asleep = Side::open(setting, Strategy::Block)?;
    let mut yielding = Side::open(setting, Strategy::SpinThenYield)?;
    let (mut rates, mut paced, mut even, mut even_rates) =
        <(Pairs, Pairs, Pairs, Pairs)>::default();
    let (mut count, mut paced_count, mut even_count) = (0, 0, 0);
    let rounds = setting.rounds.min(ROUNDS_MAX);
    let mut reason = None;
    for round in 0..=rounds as u64 {
        let running = setting.start_round(round as usize);
        (asleep.deadline, yielding.deadline) = (setting.deadline(), setting.deadline());
        let mut both = |pace, step| -> Result<(Run, Run), Failure> {
            let number = round * 3 + step;
            let fault = running.fault;
            Ok((
                asleep.run(pace, number, fault)?,
                yielding.run(pace, number, fault)?,
            ))
        };
        let (own, beside) = both(Pace::Full, 0)?;
        let tenth = beside.per_s / 10.0;
        let (own_paced, beside_paced) = both(Pace::Slices(tenth), 1)?;
        let (own_even, beside_even) = both(Pace::Even(tenth), 2)?;
        let runs = [
            (own, beside),
            (own_paced, beside_paced),
            (own_even, beside_even),
        ];
        let is_right = runs
            .iter()
            .all(|(own, beside)| own.is_right && beside.is_right);
        let wrong = (!is_right).then_some("a consumer received other events than were sent");
        running.end(&mut reason, round as usize, wrong);
        // round 0 is the warm-up
        if round > 0 {
            rates.push((own.per_s / 1e6, own.usage), beside.per_s / 1e6);
            paced.push((own_paced.cpu, own_paced.usage), beside_paced.cpu);
            let of_consumers = (own_even.cpu_of_consumers, own_even.usage);
            even.push(of_consumers, beside_even.cpu_of_consumers);
            let rate = (own_even.per_s / 1e6, own_even.usage);
            even_rates.push(rate, beside_even.per_s / 1e6);
            count += own.count;
            paced_count += own_paced.count;
            even_count += own_even.count;
        }
    }
    asleep.close()?;
    yielding.close()?;
    let row = |scenario, unit, messages, pairs: &Pairs, target| Row {
        messages,
        consumers: CONSUMERS,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), unit, CAPACITY).judged(reason.clone()),
            Strategy::SpinThenYield.name(),
            target,
        )
    };
    let (faster, frugal) = (Target::RatioAtLeast(0.8), Target::RatioAtMost(0.5));
    Ok(vec![
        row("fan_out", "M/s", count, &rates, Some(faster)),
        row(
            "fan_out_paced",
            "cpu s per s",
            paced_count,
            &paced,
            Some(frugal),
        ),
        row(
            "fan_out_even",
            "consumers' cpu s per s",
            even_count,
            &even,
            None,
        ),
        row("fan_out_even_rate", "M/s", even_count, &even_rates, None),
    ])
}

impl Side {
    fn open(setting: Setting<'_>, strategy: Strategy) -> Result<Self, Failure> {
        let name = Name::new();
        let ring = name.ring(CAPACITY, strategy);
        let tx = ring.producer()?;
        let parties: Result<Vec<_>, _> = (0..CONSUMERS)
            .map(|_| consumer(setting.arena, None, &ring))
            .collect();
        Ok(Self {
            tx,
            parties: parties?,
            deadline: Deadline::NEVER,
            time: setting.step_time(),
            _name: name,
        })
    }

    /// Runs one round; `number` is part of the keys of its events.
    fn run(&mut self, pace: Pace, number: u64, fault: Option<Fault>) -> Result<Run, Failure> {
        watch::check();
        for party in &mut self.parties {
            party.order(&Order::TakeAll)?;
        }
        std::thread::sleep(SETTLE);
        let before = Usage::read();
        let (start, cpu) = (monotonic_ns(), process_cpu_ns());
        let round = Round {
            number,
            count: 0,
            fault,
        };
        let (tx, deadline) = (&mut self.tx, self.deadline);
        let time = self.time;
        let count = if round.has_faulty_messages() {
            publish::<true>(tx, deadline, (pace, time), round)?
        } else {
            publish::<false>(tx, deadline, (pace, time), round)?
        };
        tx.send(deadline, |event| {
            fill(event.words_mut(), key(number, count) | END);
        })?;
        let own_cpu = process_cpu_ns() - cpu;
        let mut usage = Usage::read() - before;
        let hash = expected::<7>(number, count, 0);
        let (mut end, mut cpu, mut is_right) = (start, 0, true);
        for party in &mut self.parties {
            let answer = party.answer()?;
            is_right &= (answer.count, answer.hash) == (count, hash);
            end = end.max(answer.at_ns);
            cpu += answer.cpu_ns;
            usage += answer.usage;
        }
        let elapsed = (end - start).max(1) as f64;
        Ok(Run {
            per_s: count as f64 * 1e9 / elapsed,
            cpu: (own_cpu + cpu) as f64 / elapsed,
            cpu_of_consumers: cpu as f64 / elapsed,
            count,
            usage,
            is_right,
        })
    }

    /// Ends all processes.
    fn close(self) -> Result<(), Failure> {
        drop(self.parties);
        Ok(self.tx.destroy()?)
    }
}

/// Publishes for this time, and returns the number of events.
pub(super) fn publish<const FAULTY: bool>(
    tx: &mut SharedProducer<Event>,
    deadline: Deadline,
    (pace, time): (Pace, Duration),
    round: Round,
) -> Result<u64, Failure> {
    let start = Instant::now();
    let mut next = 0;
    let mut publish_until = |end: u64| -> Result<u64, Failure> {
        while next < end {
            tx.send(deadline, |event| {
                round.fill::<FAULTY, 7>(event.words_mut(), next, 0);
            })?;
            next += 1;
        }
        Ok(next)
    };
    match pace {
        Pace::Full => loop {
            let so_far = publish_until(0)?;
            let so_far = publish_until(so_far + CHUNK)?;
            if start.elapsed() >= time {
                return Ok(so_far);
            }
        },
        Pace::Slices(per_s) => {
            let mut due = start;
            while start.elapsed() < time {
                due += SLICE;
                publish_until((per_s * (due - start).as_secs_f64()) as u64)?;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            publish_until(0)
        }
        Pace::Even(per_s) => loop {
            let elapsed = start.elapsed();
            let so_far = publish_until((per_s * elapsed.as_secs_f64()) as u64)?;
            if elapsed >= time {
                return Ok(so_far);
            }
            core::hint::spin_loop();
        },
    }
}
