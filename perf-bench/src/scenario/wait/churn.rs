//! One producer at full speed and one consumer, while another process attaches, receives a few messages and detaches,
//! again and again: what that costs the stream, and how long attaching and detaching take. What it receives is what the
//! ring still holds when it attaches.
//!
//! There are two such rings, and the process attaches only to the second: a ring with more parties than cores waits in
//! another way. In each round, every ring is measured for a third of a second (a tenth with `--quick`). Before the
//! second is, the process attaches to it and detaches while it is silent.
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

/// A ring with the process that always receives.
struct Ring {
    spec: Spec,
    tx: Box<dyn Sender>,
    consumer: Party,
    pairs: Pairs,
    messages: u64,
}

/// The ring without the process that attaches and detaches, the ring with it, and that process.
struct Churned {
    without: Ring,
    with: Ring,
    other: Party,
    /// The µs that attaching and detaching took while messages were sent, beside those on the silent ring.
    attaching: Pairs,
    detaching: Pairs,
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
        drop(cell.other);
        for ring in [cell.without, cell.with] {
            drop(ring.consumer);
            ring.tx.close()?;
        }
    }
    Ok(rows)
}

impl Churned {
    fn open(spec: &Spec, setting: Setting<'_>) -> Result<Self, Failure> {
        let second = Spec {
            name: spec.reply_name(),
            ..spec.clone()
        };
        Ok(Self {
            without: Ring::open(spec.clone(), setting)?,
            with: Ring::open(second, setting)?,
            other: party::start(setting.arena, None)?,
            attaching: Pairs::default(),
            detaching: Pairs::default(),
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
        let round = Round {
            number,
            count: 0,
            fault,
        };
        let churn = |time: Duration, messages| Order::Churn {
            spec: self.with.spec.clone(),
            round: number,
            ms: time.as_millis() as u64,
            messages,
        };
        let (on_silent, on_busy) = (churn(SILENT, 0), churn(setting.step_time(), MESSAGES));
        let without = self.without.stream(setting, round, None)?;
        let silent = self.other.ask(&on_silent)?;
        let other = Some((&mut self.other, on_busy));
        let with = self.with.stream(setting, round, other)?;
        // round 0 is the warm-up
        if let (true, Some(other)) = (number > 0, &with.other) {
            let alone = without.per_s / 1e6;
            self.without.add(&without, alone);
            self.with.add(&with, alone);
            let us = |took: &[u64]| quantile(took, 50) / 1e3;
            let own = (us(&other.took_ns), other.usage);
            self.attaching.push(own, us(&silent.took_ns));
            let own = (us(&other.left_ns), other.usage);
            self.detaching.push(own, us(&silent.left_ns));
        }
        Ok(without.is_right && with.is_right)
    }

    fn rows(&self) -> [Row; 4] {
        let Self { without, with, .. } = self;
        let row = |name, unit, ring: &Ring, consumers, (pairs, floor): (&Pairs, _)| {
            let row = super::row_of(&ring.spec, name, unit).judged(self.reason.clone());
            Row {
                messages: ring.messages,
                consumers,
                ..pairs.fill(row, floor, None)
            }
        };
        let (one, silent) = ("one_consumer", "silent_ring");
        [
            row("broadcast", "M/s", without, 1, (&without.pairs, one)),
            row("churn", "M/s", with, 2, (&with.pairs, one)),
            row("churn_attach", "us", with, 2, (&self.attaching, silent)),
            row("churn_detach", "us", with, 2, (&self.detaching, silent)),
        ]
    }
}

impl Ring {
    fn open(spec: Spec, setting: Setting<'_>) -> Result<Self, Failure> {
        Ok(Self {
            tx: open_sender(&spec)?,
            consumer: receiver(setting.arena, None, &spec)?,
            pairs: Pairs::default(),
            messages: 0,
            spec,
        })
    }

    /// Adds a counted round; `alone` is the rate without the other process, in millions per second.
    fn add(&mut self, run: &Run, alone: f64) {
        self.pairs.push((run.per_s / 1e6, run.usage), alone);
        self.messages += run.count;
    }

    /// Sends messages, while another process obeys its order, if there is one.
    fn stream(
        &mut self,
        setting: Setting<'_>,
        round: Round,
        other: Option<(&mut Party, Order)>,
    ) -> Result<Run, Failure> {
        watch::check();
        let (time, announced) = (setting.step_time(), setting.arena.driver_progress());
        let chunk = (CHUNK_BYTES / self.spec.size_bytes).clamp(1, 256) as u64;
        let mut sent = 0;
        announced.store((sent + 2 * chunk) as i64, Release);
        let number = round.number;
        self.consumer.order(&Order::TakeAnnounced { number })?;
        let other = match other {
            Some((other, order)) => other.order(&order).map(|()| Some(other))?,
            None => None,
        };
        std::thread::sleep(SETTLE);
        let (before, start_ns, start) = (Usage::read(), monotonic_ns(), Instant::now());
        // until the other process has all messages that it waits for
        let is_over = || {
            other
                .as_ref()
                .map_or(Ok(true), |other| other.has_answered())
        };
        while start.elapsed() < time || !is_over()? {
            announced.store((sent + 2 * chunk) as i64, Release);
            self.tx.send(round, sent..sent + chunk);
            sent += chunk;
        }
        self.tx.send(round, sent..sent + chunk);
        sent += chunk;
        let mut usage = Usage::read() - before;
        let answer = self.consumer.answer()?;
        usage += answer.usage;
        let mut is_right = answer.count == sent && answer.end == party::WHOLE;
        let other = other.map(Party::answer).transpose()?;
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
}
