//! How soon a sleeping consumer receives a message that is sent now, compared with a bare wake-up by the kernel.
//!
//! The driver sends a message every millisecond and sleeps in between. The party on the other core sleeps before each
//! message, because a millisecond is far longer than the time for which it spins. Long messages have more time, because
//! they are copied into the ring and out of it. The time of a message counts from just before it is sent.

use std::time::{Duration, Instant};

use super::party::{self, Order, Party};
use super::{Pairs, SETTLE, Setting, receiver};
use crate::affinity;
use crate::clock::monotonic_ns;
use crate::fault::Round;
use crate::floor::wake;
use crate::plan::Plan;
use crate::report::comparison::{Row, Target};
use crate::scenario::ends::Sender;
use crate::scenario::{Failure, open_sender};
use crate::spec::Spec;
use crate::usage::Usage;
use crate::watch;

/// Messages of a round.
pub(super) const EVENTS_MAX: usize = 200;
const EVENTS_QUICK: usize = 100;
const SPACING: Duration = Duration::from_millis(1);
/// What is added to it for each byte.
const SPACING_PER_BYTE: Duration = Duration::from_nanos(2);

/// A ring, and what was measured on it.
struct Woken<'a> {
    spec: &'a Spec,
    tx: Box<dyn Sender>,
    party: Party,
    p50: Pairs,
    p99: Pairs,
    reason: Option<String>,
}

/// Measures each of these rings; `target` is the limit for the ratio of the medians.
pub(super) fn run(
    rings: &Plan,
    target: Option<Target>,
    setting: Setting<'_>,
) -> Result<Vec<Row>, Failure> {
    let count = if setting.is_quick {
        EVENTS_QUICK
    } else {
        EVENTS_MAX
    };
    let specs = rings.cells.iter().map(|cell| &cell.spec);
    let senders: Result<Vec<_>, _> = specs.clone().map(open_sender).collect();
    // Started after the producers, whose process may then use both cores. Of these scenarios, only this one is pinned.
    let all_cores = affinity::allowed();
    let core = setting.cores.map(|cores| cores.peer);
    let mut cells = Vec::new();
    for (spec, tx) in specs.zip(senders?) {
        cells.push(Woken {
            spec,
            tx,
            party: receiver(setting.arena, core, spec)?,
            p50: Pairs::default(),
            p99: Pairs::default(),
            reason: None,
        });
    }
    let pinned = setting
        .cores
        .is_some_and(|cores| affinity::pin(cores.driver));
    for number in 0..=setting.rounds {
        for cell in &mut cells {
            cell.round(setting, number, count)?;
        }
    }
    if pinned {
        affinity::allow(&all_cores);
    }
    let mut rows = Vec::new();
    for cell in cells {
        let row = |name, pairs: &Pairs, target| Row {
            messages: (count * setting.rounds) as u64,
            ..pairs.fill(
                super::row_of(cell.spec, name, "ns").judged(cell.reason.clone()),
                "bare_futex",
                target,
            )
        };
        rows.push(row("wake_latency_p50", &cell.p50, target));
        rows.push(row("wake_latency_p99", &cell.p99, None));
        drop(cell.party);
        cell.tx.close()?;
    }
    Ok(rows)
}

impl Woken<'_> {
    fn round(&mut self, setting: Setting<'_>, number: usize, count: usize) -> Result<(), Failure> {
        let Self {
            spec, tx, party, ..
        } = self;
        let spacing = SPACING + SPACING_PER_BYTE * spec.size_bytes as u32;
        let running = setting.start_round(number);
        let first = wake::word(setting.arena);
        party.order(&Order::BareWakes { first, count })?;
        spaced(count, spacing, |number| wake::send(setting.arena, number));
        let bare = party.answer()?.took_ns;
        let round = Round {
            number: number as u64,
            count: count as u64,
            fault: running.fault,
        };
        party.order(&Order::TakeEach(round))?;
        let mut sent_ns = Vec::with_capacity(count);
        let before = Usage::read();
        spaced(count, spacing, |index| {
            sent_ns.push(monotonic_ns());
            tx.send(round, index as u64..index as u64 + 1);
        });
        let usage = Usage::read() - before;
        let answer = party.answer()?;
        let usage = usage + answer.usage;
        let times = answer.took_ns.iter().zip(&sent_ns);
        let own: Vec<u64> = times.map(|(at, sent)| at.saturating_sub(*sent)).collect();
        let is_right = bare.len() == count && own.len() == count && answer.end == party::WHOLE;
        let wrong = (!is_right).then_some("the consumer received other messages than were sent");
        running.end(&mut self.reason, number, wrong);
        // round 0 is the warm-up
        if number > 0 {
            let p50 = (quantile(&own, 50), usage);
            self.p50.push(p50, quantile(&bare, 50));
            let p99 = (quantile(&own, 99), usage);
            self.p99.push(p99, quantile(&bare, 99));
        }
        Ok(())
    }
}

/// Calls `send` once in each time of this length.
fn spaced(count: usize, spacing: Duration, mut send: impl FnMut(usize)) {
    std::thread::sleep(SETTLE);
    let mut due = Instant::now();
    for number in 0..count {
        due += spacing;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        watch::check();
        send(number);
    }
}

/// A quantile of `values`, which must not be empty.
pub(super) fn quantile(values: &[u64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)] as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn quantiles_of_a_hundred() {
        let values: Vec<u64> = (0..100).rev().collect();
        assert_eq!(super::quantile(&values, 50), 50.0);
        assert_eq!(super::quantile(&values, 99), 99.0);
        assert_eq!(super::quantile(&[7], 99), 7.0);
    }
}
