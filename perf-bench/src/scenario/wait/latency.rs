//! How soon a sleeping consumer receives an event that is published now, compared with a bare wake-up by the kernel.
//!
//! The driver sends an event every millisecond and sleeps in between. The party on the other core sleeps before
//! each event, because a millisecond is far longer than the time for which it spins. The event carries the time
//! from just before its publication.

use std::time::{Duration, Instant};

use super::party::{Order, Strategy};
use super::{CAPACITY, Name, Pairs, SETTLE, Setting, consumer};
use crate::affinity;
use crate::clock::monotonic_ns;
use crate::floor::wake;
use crate::payload::{OfWords, fill};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::watch;

/// Events of a round.
pub(super) const EVENTS_MAX: usize = 200;
const EVENTS_QUICK: usize = 100;
const SPACING: Duration = Duration::from_millis(1);

pub(super) fn run(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let count = if setting.is_quick {
        EVENTS_QUICK
    } else {
        EVENTS_MAX
    };
    let name = Name::new();
    let ring = name.ring(CAPACITY, Strategy::Block);
    let mut tx = ring.producer()?;
    // Started after the producer, whose process may then use both cores. Of these scenarios, only this one is pinned.
    let all_cores = affinity::allowed();
    let mut party = consumer(setting.arena, setting.cores.map(|cores| cores.peer), &ring)?;
    let pinned = setting
        .cores
        .is_some_and(|cores| affinity::pin(cores.driver));
    let (mut p50, mut p99) = (Pairs::default(), Pairs::default());
    let mut is_whole = true;
    for round in 0..=setting.rounds {
        let first = wake::word(setting.arena);
        party.order(&Order::BareWakes { first, count })?;
        spaced(count, |number| wake::send(setting.arena, number));
        let bare = party.answer()?.took_ns;
        party.order(&Order::TakeEach { count })?;
        spaced(count, |_| {
            let now = monotonic_ns();
            tx.publish(|event| fill(event.words_mut(), now));
        });
        let own = party.answer()?.took_ns;
        is_whole &= bare.len() == count && own.len() == count;
        // round 0 is the warm-up
        if round > 0 {
            p50.push(quantile(&own, 50), quantile(&bare, 50));
            p99.push(quantile(&own, 99), quantile(&bare, 99));
        }
    }
    if pinned {
        affinity::allow(&all_cores);
    }
    tx.destroy()?;
    let row = |scenario, pairs: &Pairs, target| Row {
        messages: (count * setting.rounds) as u64,
        verified: is_whole,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), "ns", CAPACITY),
            "bare_futex",
            target,
        )
    };
    Ok(vec![
        row("wake_latency_p50", &p50, Some(Target::RatioAtMost(1.3))),
        row("wake_latency_p99", &p99, None),
    ])
}

/// Calls `send` once per millisecond.
fn spaced(count: usize, mut send: impl FnMut(usize)) {
    std::thread::sleep(SETTLE);
    let mut due = Instant::now();
    for number in 0..count {
        due += SPACING;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        watch::check();
        send(number);
    }
}

/// A quantile of `values`, which must not be empty.
fn quantile(values: &[u64], percent: usize) -> f64 {
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
