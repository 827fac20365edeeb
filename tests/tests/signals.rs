//! Signals that arrive faster than the calls that they interrupt can end, like those of a profiler's timer.

use std::time::Duration;

use myelon_tests::World;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A signal every 50 µs: this is less than the amount by which the rest of a relative sleep is rounded up.
const PERIOD_US: u32 = 50;

#[test]
fn waits_end_whatever_signals_come() {
    let world = World::shared_memory(ACTOR);
    for what in [
        "ring",
        "pause",
        "sleep",
        "block",
        "set",
        "consumer",
        "observer",
        "full",
        "absent",
        "required",
        "readiness",
    ] {
        let mut actor = world.actor();
        let said = actor.ok(&format!("under-signals us={PERIOD_US} what={what}"));
        let took = Duration::from_micros(said.number("us") as u64);
        println!("{what}: {took:?}");
        // 10 ms were requested
        assert!(took >= Duration::from_millis(10), "{what}: {took:?}");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
    }
}

#[test]
fn a_ring_is_created_whatever_signals_come() {
    for world in [World::shared_memory(ACTOR), World::mapped_file(ACTOR)] {
        for us in [1000, PERIOD_US] {
            let mut actor = world.actor();
            // 64 MiB: 16 pieces of the largest size
            let said = actor.ok(&format!("create-under-signals us={us} cap=1048576"));
            println!("a signal each {us} µs: {} µs", said.number("us"));
        }
    }
}

/// Calls that are repeated after a signal: locking, opening and reading.
#[test]
fn rings_are_used_whatever_signals_come() {
    let world = World::shared_memory(ACTOR);
    for _ in 0..20 {
        let mut actor = world.actor();
        actor.ok(&format!("create-under-signals us={PERIOD_US} cap=8"));
    }
}
