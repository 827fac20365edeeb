//! How soon a sleeping consumer receives an event that is published now, compared with a bare wake-up by the kernel.
//!
//! The driver sends an event every millisecond and sleeps in between. The party on the other core sleeps before
//! each event, because a millisecond is far longer than the time for which it spins. The event carries the time
//! from just before its publication.

use std::time::{Duration, Instant};

use myelon::SharedProducer;

use super::party::Order;
use super::{CAPACITY, Event, Name, Pairs, SETTLE, Setting, consumer};
use crate::affinity;
use crate::clock::monotonic_ns;
use crate::fault::Fault;
use crate::floor::wake;
use crate::payload::{OfWords, fill};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch;

/// Events of a round.
pub(super) const EVENTS_MAX: usize = 200;
const EVENTS_QUICK: usize = 100;
/// The event after which a fault is planted.
const FAULTY_NUMBER: usize = 10;
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
    let mut reason = None;
    for round in 0..=setting.rounds {
        let running = setting.start_round(round);
        let first = wake::word(setting.arena);
        party.order(&Order::BareWakes { first, count })?;
        spaced(count, |number| wake::send(setting.arena, number));
        let bare = party.answer()?.took_ns;
        party.order(&Order::TakeEach { count })?;
        let before = Usage::read();
        let mut sent = Vec::with_capacity(count);
        let mut surplus = 0;
        spaced(count, |number| {
            let now = monotonic_ns();
            tx.publish(|event| fill(event.words_mut(), now));
            sent.push(now);
            if number == FAULTY_NUMBER
                && let Some(fault) = running.fault
            {
                surplus = plant(fault, &mut tx, &mut sent);
            }
        });
        let mut usage = Usage::read() - before;
        let answer = party.answer()?;
        usage += answer.usage;
        // the next round begins with an empty ring
        party.ask(&Order::TakeEach { count: surplus })?;
        let own = answer.took_ns;
        let is_whole = bare.len() == count && own.len() == count;
        let is_right = is_whole && answer.keys == sent[..count];
        let wrong = (!is_right).then_some("the consumer received other events than were sent");
        running.end(&mut reason, round, wrong);
        // round 0 is the warm-up
        if round > 0 {
            p50.push((quantile(&own, 50), usage), quantile(&bare, 50));
            p99.push((quantile(&own, 99), usage), quantile(&bare, 99));
        }
    }
    if pinned {
        affinity::allow(&all_cores);
    }
    tx.destroy()?;
    let row = |scenario, pairs: &Pairs, target| Row {
        messages: (count * setting.rounds) as u64,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), "ns", CAPACITY).judged(reason.clone()),
            "bare_futex",
            target,
        )
    };
    Ok(vec![
        row("wake_latency_p50", &p50, Some(Target::RatioAtMost(1.3))),
        row("wake_latency_p99", &p99, None),
    ])
}

/// Sends one more event which is not what its time says, or changes the record of the events that were sent. Returns
/// the number of further events.
fn plant(fault: Fault, tx: &mut SharedProducer<Event>, sent: &mut Vec<u64>) -> usize {
    let now = monotonic_ns();
    match fault {
        Fault::Flip => tx.publish(|event| {
            fill(event.words_mut(), now);
            event.words_mut()[6] ^= 1;
            sent.push(now);
        }),
        // recorded but not published
        Fault::Lose => {
            sent.push(now);
            return 0;
        }
        // published but not recorded
        Fault::Double => tx.publish(|event| fill(event.words_mut(), sent[sent.len() - 1])),
        Fault::Slow => return 0,
    }
    1
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
