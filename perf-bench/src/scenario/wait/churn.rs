//! One producer at full speed and one consumer, while another process attaches, receives a few messages and detaches,
//! again and again: what that costs the stream, and how long attaching and detaching take. What it receives is what the
//! ring still holds when it attaches.
//!
//! In each round, every ring is measured twice for a third of a second (a tenth with `--quick`), without that process
//! and with it. Before the second time, that process attaches and detaches while the ring is silent.
//!
//! The consumer receives as many messages as the producer has announced. The producer announces more before it sends
//! the last ones that it has announced, so a consumer that has received all of them finds more, unless it is the end.

use std::sync::atomic::Ordering::Release;
use std::time::{Duration, Instant};

use super::latency::quantile;
use super::party::{self, Order, Party};
use super::{Pairs, SETTLE, Setting, receiver};
use crate::clock::monotonic_ns;
use crate::fault::{Fault, Round};
use crate::plan::Plan;
use crate::report::comparison::Row;
use crate::scenario::ends::Sender;
use crate::scenario::{Failure, open_sender};
use crate::spec::Spec;
use crate::usage::Usage;
use crate::watch;

/// Messages that the process receives before it detaches.
const MESSAGES: u64 = 16;
/// How long it attaches and detaches while the ring is silent.
const SILENT: Duration = Duration::from_millis(20);
/// Bytes of messages between two reads of the clock.
const CHUNK_BYTES: usize = 1 << 14;
const ROUNDS_MAX: usize = 10;

/// A ring with both processes that attach to it.
struct Churned<'a> {
    spec: &'a Spec,
    tx: Box<dyn Sender>,
    consumer: Party,
    other: Party,
    /// Messages between two reads of the clock.
    chunk: u64,
    without: Pairs,
    with: Pairs,
    /// The µs that attaching and detaching took while messages were sent, beside those on the silent ring.
    attaching: Pairs,
    detaching: Pairs,
    /// The messages without the other process, and with it.
    messages: [u64; 2],
    reason: Option<String>,
}

/// One stream of messages.
struct Run {
    per_s: f64,
    count: u64,
    usage: Usage,
    /// What the process that attaches and detaches has answered, if it has taken part.
    other: Option<party::Answer>,
    is_right: bool,
}

/// Measures each of these rings.
pub(crate) fn run(rings: &Plan, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let specs = rings.cells.iter().map(|cell| &cell.spec);
    let cells: Result<Vec<_>, _> = specs.map(|spec| Churned::open(spec, setting)).collect();
    let mut cells = cells?;
    for number in 0..=setting.rounds.min(ROUNDS_MAX) {
        for cell in &mut cells {
            let running = setting.start_round(number);
            let is_right = cell.round(setting, number as u64, running.fault)?;
            let wrong = (!is_right).then_some("a consumer received other messages than were sent");
            running.end(&mut cell.reason, number, wrong);
        }
    }
    let mut rows = Vec::new();
    for cell in cells {
        rows.extend(cell.rows());
        drop((cell.consumer, cell.other));
        cell.tx.close()?;
    }
    Ok(rows)
}

impl<'a> Churned<'a> {
    fn open(spec: &'a Spec, setting: Setting<'_>) -> Result<Self, Failure> {
        Ok(Self {
            spec,
            tx: open_sender(spec)?,
            consumer: receiver(setting.arena, None, spec)?,
            other: party::start(setting.arena, None)?,
            chunk: (CHUNK_BYTES / spec.size_bytes).clamp(1, 256) as u64,
            without: Pairs::default(),
            with: Pairs::default(),
            attaching: Pairs::default(),
            detaching: Pairs::default(),
            messages: [0; 2],
            reason: None,
        })
    }

    /// Measures one round; returns whether every consumer received what was sent.
    fn round(
        &mut self,
        setting: Setting<'_>,
        number: u64,
        fault: Option<Fault>,
    ) -> Result<bool, Failure> {
        // both streams have keys of their own
        let round = |part: u64| Round {
            number: 2 * number + part,
            count: 0,
            fault,
        };
        let without = self.stream(setting, round(0), false)?;
        let silent = self.other.ask(&self.churn(round(1), SILENT, 0))?;
        let with = self.stream(setting, round(1), true)?;
        // round 0 is the warm-up
        if let (true, Some(other)) = (number > 0, &with.other) {
            let [alone, beside] = [&without, &with].map(|run| run.per_s / 1e6);
            self.without.push((alone, without.usage), alone);
            self.with.push((beside, with.usage), alone);
            self.messages[0] += without.count;
            self.messages[1] += with.count;
            let us = |took: &[u64]| quantile(took, 50) / 1e3;
            let own = (us(&other.took_ns), other.usage);
            self.attaching.push(own, us(&silent.took_ns));
            let own = (us(&other.left_ns), other.usage);
            self.detaching.push(own, us(&silent.left_ns));
        }
        Ok(without.is_right && with.is_right)
    }

    /// The order to attach and detach for so long.
    fn churn(&self, round: Round, time: Duration, messages: u64) -> Order {
        Order::Churn {
            spec: self.spec.clone(),
            round: round.number,
            ms: time.as_millis() as u64,
            messages,
        }
    }

    /// Sends messages, with the other process or without it.
    fn stream(
        &mut self,
        setting: Setting<'_>,
        round: Round,
        has_other: bool,
    ) -> Result<Run, Failure> {
        watch::check();
        let (time, announced) = (setting.step_time(), setting.arena.driver_progress());
        let mut sent = 0;
        announced.store((sent + 2 * self.chunk) as i64, Release);
        let number = round.number;
        self.consumer.order(&Order::TakeAnnounced { number })?;
        if has_other {
            let order = self.churn(round, time, MESSAGES);
            self.other.order(&order)?;
        }
        std::thread::sleep(SETTLE);
        let (before, start_ns, start) = (Usage::read(), monotonic_ns(), Instant::now());
        // until the other process has all messages that it waits for
        while start.elapsed() < time || has_other && !self.other.has_answered()? {
            announced.store((sent + 2 * self.chunk) as i64, Release);
            self.tx.send(round, sent..sent + self.chunk);
            sent += self.chunk;
        }
        self.tx.send(round, sent..sent + self.chunk);
        sent += self.chunk;
        let mut usage = Usage::read() - before;
        let answer = self.consumer.answer()?;
        usage += answer.usage;
        let mut is_right = answer.count == sent && answer.end == party::WHOLE;
        let other = has_other.then(|| self.other.answer()).transpose()?;
        if let Some(other) = &other {
            usage += other.usage;
            is_right &= other.end == party::WHOLE;
        }
        let took_ns = answer.at_ns.saturating_sub(start_ns).max(1);
        Ok(Run {
            per_s: sent as f64 * 1e9 / took_ns as f64,
            count: sent,
            usage,
            other,
            is_right,
        })
    }

    fn rows(&self) -> [Row; 4] {
        let [without, with] = self.messages;
        let row = |name, unit, messages, consumers, (pairs, floor): (&Pairs, _)| {
            let row = super::row_of(self.spec, name, unit).judged(self.reason.clone());
            Row {
                messages,
                consumers,
                ..pairs.fill(row, floor, None)
            }
        };
        let (one, silent) = ("one_consumer", "silent_ring");
        [
            row("broadcast", "M/s", without, 1, (&self.without, one)),
            row("churn", "M/s", with, 2, (&self.with, one)),
            row("churn_attach", "us", with, 2, (&self.attaching, silent)),
            row("churn_detach", "us", with, 2, (&self.detaching, silent)),
        ]
    }
}
