//! A simulation of every party that may share a ring, under one seed. Producers die and take over from each
//! other; consumers die, come back, leave and are removed. A ledger knows what each of them must see.
//!
//! The seed decides everything: the ring, the parties, their calls, and the order in which their steps happen.

use std::sync::Arc;

use disruptor_mp::dst::{self, Outcome, Schedule, Simulation};
use disruptor_mp::{AutoWaitStrategy, DiscoveryMode, DisruptorBuilder, Heap, HeapRing, Sequence};

mod consumer;
mod ledger;
mod payload;
mod producer;
mod search;

use ledger::Ledger;
use payload::{Large, Payload, Small};
pub use search::{Tally, search};

/// Steps that a negative control leaves out. Each is a bug that some seed must reveal.
pub const CONTROLS: &[&str] = &[
    "JoinReread",
    "RefreshRescan",
    "EvictCheck",
    "TakeoverClear",
    "TakeoverGate",
    "BatchUndo",
    "KeepDurable",
    "JoinBit",
];

/// Rare situations that the roles must reach, in addition to [`disruptor_mp::dst::MARKS`].
pub const SITUATIONS: &[&str] = &[
    "a producer died while it took over",
    "a successor found events that nobody had acknowledged",
    "a successor found less than was begun",
    "a producer came after a good end",
    "a consumer was told of a dead producer",
    "a consumer came back after a death",
    "a consumer came back to an event that it had seen",
    "a consumer came back after a good end",
    "a durable consumer was removed",
    "a durable consumer left for good",
    "a second consumer of the same id was refused",
    "a second producer was refused",
    "a late consumer was waited for",
];

/// Values that all roles of one simulation share.
struct World<E: Payload> {
    ring: HeapRing<E>,
    capacity: usize,
    /// The consumers that each producer expects.
    discovery: DiscoveryMode,
    /// The last sequence that will be published.
    target: Sequence,
    ledger: Ledger,
}

impl<E: Payload> World<E> {
    /// A builder with a wait strategy chosen at random.
    fn builder(&self) -> DisruptorBuilder<E, Heap> {
        let strategy = match dst::below(8) {
            0 => AutoWaitStrategy::Block,
            1 => AutoWaitStrategy::SpinThenYield { spins: 2 },
            2 => AutoWaitStrategy::BusySpinWithSpinLoopHint,
            _ => AutoWaitStrategy::Sleep(std::time::Duration::from_micros(200)),
        };
        self.ring.builder().with_wait_strategy(strategy)
    }
}

/// Runs one seed to its end. `left_out` names a step of the protocol to leave out, which some seed must reveal.
pub fn simulate(seed: u64, left_out: Option<&'static str>) -> Outcome {
    dst::simulate(seed, |simulation| {
        if let Some(step) = left_out {
            simulation.leave_out(step);
        }
        match simulation.below(3) {
            0 => set_up::<Large>(simulation),
            _ => set_up::<Small>(simulation),
        }
    })
}

fn set_up<E: Payload>(simulation: &mut Simulation) {
    let mut schedule = Schedule::default();
    // one seed in eight has no deaths, only interleavings
    schedule.kills = simulation.below(8) > 0;
    simulation.set_schedule(schedule);

    // a crowded ring has many consumers that attach and detach at the same time
    let is_crowded = simulation.below(3) == 0;
    let capacity = [1, 2, 4, 8, 8, 32][simulation.below(6)];
    let first = [0, 0, (1 << 32) - 3][simulation.below(3)];
    let consumers = match is_crowded {
        true => consumer::ROLES,
        false => 1 + simulation.below(3),
    };
    let discovery = match simulation.below(4) {
        0 => DiscoveryMode::Any { max_consumers: 3 },
        // the first consumer is durable in that case
        1 => DiscoveryMode::Ids(vec![consumer::id(0)]),
        _ => DiscoveryMode::Disabled,
    };
    let is_first_awaited = matches!(discovery, DiscoveryMode::Ids(_));
    let world = Arc::new(World {
        ring: HeapRing::<E>::with_first_sequence(capacity, first).expect("a ring"),
        capacity,
        discovery,
        target: first
            + 10
            + simulation.below(3 * capacity + if is_crowded { 60 } else { 20 }) as i64,
        ledger: Ledger::new(first),
    });
    if is_first_awaited {
        world.ledger.await_consumer(&consumer::id(0));
    }
    for role in 0..consumers {
        let stays = role == 0 || simulation.below(3) > 0;
        let is_durable = (role == 0 && is_first_awaited) || simulation.below(2) == 0;
        let visits = is_crowded && role > 0;
        let habits = consumer::Habits {
            role,
            is_durable,
            stays: stays || is_durable,
            visits,
        };
        let deaths_max = simulation.below(if visits { 12 } else { 5 }) as u32;
        let theirs = Arc::clone(&world);
        simulation.spawn_mortal(&format!("consumer{role}"), deaths_max, move |life| {
            consumer::live(&theirs, habits, life);
        });
    }
    for role in 0..1 + simulation.below(2) {
        let deaths_max = simulation.below(5) as u32;
        let theirs = Arc::clone(&world);
        simulation.spawn_mortal(&format!("producer{role}"), deaths_max, move |life| {
            producer::live(&theirs, role, life);
        });
    }
    simulation.afterwards(move || is_usable(&world));
}

/// Asserts that the ring still takes a producer and a consumer, whatever happened before.
fn is_usable<E: Payload>(world: &World<E>) {
    let ledger = &world.ledger;
    let mut tx = producer::attach(world, "afterwards");
    for role in 0..consumer::ROLES {
        // a consumer that drained the ring and detached is away, and would hold the gate
        let _ = tx.remove_consumer(&consumer::id(role));
    }
    let mut rx = world.ring.builder().build_consumer().expect("a consumer");
    let patience = std::time::Duration::from_secs(10);
    for _ in 0..2 * world.capacity + 1 {
        // the events that the ring has retained, and those that were sent here
        while rx.current_sequence() < tx.last_published_sequence() {
            let event = rx.recv(patience.into()).expect("an event");
            ledger.saw("afterwards", event.sequence(), &*event);
        }
        let next = tx.last_published_sequence() + 1;
        let tag = ledger.attempt(next);
        tx.send(patience.into(), |event| event.fill(next, tag))
            .expect("space");
        ledger.acknowledge(next, next);
    }
    tx.close().expect("a good end");
}
