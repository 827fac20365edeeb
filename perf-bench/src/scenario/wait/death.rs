//! How soon a blocked call notices a `kill -9` of the process that it waits for, with the default liveness interval.
//!
//! Each scenario ends differently:
//! - A producer on a full ring goes on when the dead consumer, whose id was automatic, is out of the gate.
//! - A producer that requires a durable consumer, which took all published events until its death, has its alert
//!   hook called.
//! - A consumer is told `ProducerDead`.
//!
//! All times start just before the signal is sent. The figures are compared with the time until the victim's
//! output ends, which is the time that the kernel takes to end a process and to wake a process that waits for it.
//! Each round kills at another moment of the liveness interval.

use std::time::Duration;

use super::party::{self, Answer, Order, Party};
use super::{CAPACITY, FULL_CAPACITY, LIVENESS_INTERVAL, Name, Pairs, SETTLE, Setting};
use super::{consumer, producer};
use crate::clock::monotonic_ns;
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::watch;

const ROUNDS_MAX: usize = 15;

pub(super) fn run(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let rounds = setting.rounds.min(ROUNDS_MAX);
    let (mut of_consumer, mut of_required, mut of_producer) = <(Pairs, Pairs, Pairs)>::default();
    let mut reason = None;
    for round in 0..rounds {
        watch::check();
        // without a warm-up
        let running = setting.start_round(round + 1);
        let is_early = running.has_surprise();
        let into_interval = LIVENESS_INTERVAL * round as u32 / rounds as u32;
        let pause = LIVENESS_INTERVAL + into_interval + SETTLE;

        let name = Name::new();
        let ring = name.ring(FULL_CAPACITY, Strategy::Block);
        let mut survivor = producer(setting.arena, None, &ring)?;
        let victim = consumer(setting.arena, None, &ring)?;
        let end = kill(victim, &mut survivor, &Order::AwaitSpace, pause, is_early)?;
        let mut is_right = end.is_right("space");
        of_consumer.push((end.noticed_ms, end.answer.usage), end.gone_ms);

        let name = Name::new();
        let ring = name.ring(FULL_CAPACITY, Strategy::Block);
        let mut survivor = producer(setting.arena, None, &ring)?;
        let mut victim = party::start(setting.arena, None)?;
        victim.ask(&Order::ConsumeRequired(ring))?;
        victim.order(&Order::TakeAll)?;
        let end = kill(victim, &mut survivor, &Order::AwaitAlert, pause, is_early)?;
        is_right &= end.is_right("GracefulShutdownTriggered");
        of_required.push((end.noticed_ms, end.answer.usage), end.gone_ms);

        let name = Name::new();
        let ring = name.ring(CAPACITY, Strategy::Block);
        let victim = producer(setting.arena, None, &ring)?;
        let mut survivor = consumer(setting.arena, None, &ring)?;
        let end = kill(victim, &mut survivor, &Order::AwaitEvent, pause, is_early)?;
        is_right &= end.is_right("ProducerDead");
        of_producer.push((end.noticed_ms, end.answer.usage), end.gone_ms);
        let wrong = (!is_right).then_some("a survivor noticed something else, or before the death");
        running.end(&mut reason, round + 1, wrong);
    }
    let target = Some(Target::WorstAtMost(250.0));
    let row = |scenario, capacity, pairs: &Pairs| {
        let row = Row::new(scenario, Strategy::Block.name(), "ms", capacity);
        pairs.fill(row.judged(reason.clone()), "end_of_pipe", target)
    };
    Ok(vec![
        row("death_of_consumer", FULL_CAPACITY, &of_consumer),
        row("death_of_required", FULL_CAPACITY, &of_required),
        row("death_of_producer", CAPACITY, &of_producer),
    ])
}

/// The times at which a death was noticed, and the survivor's answer.
struct End {
    noticed_ms: f64,
    gone_ms: f64,
    sent_at: u64,
    answer: Answer,
}

impl End {
    /// Whether the survivor noticed this end, and not before it.
    fn is_right(&self, end: &str) -> bool {
        self.answer.end == end && self.answer.at_ns >= self.sent_at
    }
}

/// Lets `survivor` wait for a while, then kills `victim`. With `is_early`, the victim has died long before.
fn kill(
    mut victim: Party,
    survivor: &mut Party,
    wait: &Order,
    pause: Duration,
    is_early: bool,
) -> Result<End, Failure> {
    survivor.order(wait)?;
    std::thread::sleep(pause);
    let (mut sent_at, gone_at) = victim.kill()?;
    let answer = survivor.answer()?;
    if is_early {
        sent_at = monotonic_ns();
    }
    let ms = |at: u64| at.saturating_sub(sent_at) as f64 / 1e6;
    Ok(End {
        noticed_ms: ms(answer.at_ns),
        gone_ms: ms(gone_at),
        sent_at,
        answer,
    })
}
