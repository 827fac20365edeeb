//! The processor time of a blocked call: a consumer without events, by itself, in a set of rings and at a
//! descriptor, and a producer on a full ring. They are compared with a process that sleeps without a ring and
//! wakes as often as they do.

use super::party::{self, Order};
use super::{CAPACITY, FULL_CAPACITY, Name, Pairs, SETTLE, Setting, consumer, producer};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::watch;

/// The idle time is spread over at most this many rounds.
const ROUNDS_MAX: usize = 4;
const ROUND_MS: u64 = 2_500;
const ROUND_QUICK_MS: u64 = 500;

pub(super) fn run(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let ms = if setting.is_quick {
        ROUND_QUICK_MS
    } else {
        ROUND_MS
    };
    let (empty, full) = (Name::new(), Name::new());
    let (empty_ring, full_ring) = (
        empty.ring(CAPACITY, Strategy::Block),
        full.ring(FULL_CAPACITY, Strategy::Block),
    );
    let mut tx = empty_ring.producer()?;
    let mut receiving = consumer(setting.arena, None, &empty_ring)?;
    let mut in_set = consumer(setting.arena, None, &empty_ring)?;
    let mut at_descriptor = consumer(setting.arena, None, &empty_ring)?;
    let mut sending = producer(setting.arena, None, &full_ring)?;
    let mut holds_back = full_ring.consumer()?;
    let mut bare = party::start(setting.arena, None)?;
    let (mut of_consumer, mut of_producer) = (Pairs::default(), Pairs::default());
    let (mut of_set, mut of_descriptor) = (Pairs::default(), Pairs::default());
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    // without a warm-up
    for round in 1..=rounds {
        watch::check();
        let running = setting.start_round(round);
        // all at the same time, because each sleeps nearly all of it
        receiving.order(&Order::IdleConsumer { ms })?;
        in_set.order(&Order::IdleSet { ms })?;
        at_descriptor.order(&Order::IdleDescriptor { ms })?;
        sending.order(&Order::IdleProducer { ms })?;
        bare.order(&Order::BareIdle { ms })?;
        if running.has_surprise() {
            std::thread::sleep(SETTLE);
            tx.publish(|_| {});
            drop(holds_back.recv(setting.deadline())?);
        }
        let bare = bare.answer()?;
        let mut is_idle = true;
        let ms_per_10_s = |cpu_ns: u64| cpu_ns as f64 / 1e6 * 10_000.0 / ms as f64;
        for (party, pairs) in [
            (&mut receiving, &mut of_consumer),
            (&mut in_set, &mut of_set),
            (&mut at_descriptor, &mut of_descriptor),
            (&mut sending, &mut of_producer),
        ] {
            let own = party.answer()?;
            is_idle &= own.end == "Timeout";
            pairs.push(
                (ms_per_10_s(own.cpu_ns), own.usage),
                ms_per_10_s(bare.cpu_ns),
            );
        }
        if running.has_surprise() {
            // these two have only noticed the event; the next round begins with an empty ring
            in_set.ask(&Order::Take)?;
            at_descriptor.ask(&Order::Take)?;
        }
        let wrong = (!is_idle).then_some("a wait that should have timed out ended otherwise");
        running.end(&mut reason, round, wrong);
    }
    drop(holds_back);
    tx.destroy()?;
    let target = Some(Target::WorstAtMost(10.0));
    let row = |scenario, capacity, pairs: &Pairs| {
        let strategy = Strategy::Block.name();
        let row = Row::new(scenario, strategy, "cpu ms per 10 s", capacity);
        pairs.fill(row.judged(reason.clone()), "bare_sleep", target)
    };
    Ok(vec![
        row("idle_consumer", CAPACITY, &of_consumer),
        row("idle_set", CAPACITY, &of_set),
        row("idle_descriptor", CAPACITY, &of_descriptor),
        row("idle_producer", FULL_CAPACITY, &of_producer),
    ])
}
