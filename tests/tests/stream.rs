//! Streams between processes: every event whole, once and in order, over both backings and across every wrap.

use std::time::Duration;

use myelon_tests::{Actor, World};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Publishes `count` events to consumers that receive in the given ways, and compares what they saw.
#[track_caller]
fn stream(tx: &mut Actor, consumers: &mut [(Actor, &str)], first: i64, count: i64) {
    for (rx, how) in consumers.iter_mut() {
        rx.tell(&format!("{how} n={count}"));
    }
    tx.tell(&format!("publish n={count}"));
    let last = first + count - 1;
    for (rx, _) in consumers.iter_mut() {
        rx.expect_ok().assert_saw(first, last);
    }
    assert_eq!(tx.expect_ok().number("last"), last);
}

/// Starts a producer with these options, and consumers that receive in these ways.
fn meet<'a>(world: &World, options: &str, ways: &[&'a str]) -> (Actor, Vec<(Actor, &'a str)>) {
    let mut tx = world.actor();
    tx.ok(&format!("produce {options}"));
    let capacity = options.split_whitespace().next().expect("cap= comes first");
    let attach = |(index, how): (usize, &&'a str)| {
        let mut rx = world.actor();
        // every second one is durable
        let id = if index.is_multiple_of(2) {
            format!("id=c{index}")
        } else {
            String::new()
        };
        rx.ok(&format!("consume {capacity} {id}"));
        (rx, *how)
    };
    (tx, ways.iter().enumerate().map(attach).collect())
}

fn end(mut tx: Actor, consumers: Vec<(Actor, &str)>, world: &World) {
    tx.ok("close");
    for (mut rx, _) in consumers {
        assert_eq!(rx.ok("drain").word("end"), "Closed");
        rx.leave();
    }
    assert!(!world.is_named());
    tx.leave();
}

#[test]
fn one_to_one_in_every_way_of_receiving() {
    for world in World::both(ACTOR) {
        for how in ["recv", "recv-copies", "recv-batches"] {
            let (mut tx, mut consumers) = meet(&world, "cap=64", &[how]);
            stream(&mut tx, &mut consumers, 0, 20_000);
            end(tx, consumers, &world);
        }
    }
}

#[test]
fn one_to_three_each_sees_every_event() {
    for world in World::both(ACTOR) {
        let ways = ["recv", "recv-copies", "recv-batches"];
        let (mut tx, mut consumers) = meet(&world, "cap=256", &ways);
        stream(&mut tx, &mut consumers, 0, 30_000);
        end(tx, consumers, &world);
    }
}

#[test]
fn every_strategy_delivers() {
    for strategy in ["yield", "sleep", "block"] {
        let world = World::shared_memory(ACTOR);
        let mut tx = world.actor();
        let mut rx = world.actor();
        tx.ok(&format!("produce cap=16 strategy={strategy}"));
        rx.ok(&format!("consume cap=16 strategy={strategy}"));
        stream(&mut tx, &mut [(rx, "recv")], 0, 2_000);
    }
}

#[test]
fn one_spinner_delivers() {
    for strategy in ["busy", "hint"] {
        let world = World::shared_memory(ACTOR);
        let mut tx = world.actor();
        let mut rx = world.actor();
        tx.ok("produce cap=1024");
        rx.ok(&format!("consume cap=1024 strategy={strategy}"));
        stream(&mut tx, &mut [(rx, "recv")], 0, 1_000);
    }
}

#[test]
fn ring_of_one_slot() {
    for world in World::both(ACTOR) {
        let (mut tx, mut consumers) = meet(&world, "cap=1", &["recv", "recv-batches"]);
        stream(&mut tx, &mut consumers, 0, 3_000);
        assert_eq!(tx.ok("fill").number("count"), 1);
        for (rx, _) in &mut consumers {
            rx.ok("recv n=1").assert_saw(3_000, 3_000);
        }
        end(tx, consumers, &world);
    }
}

#[test]
fn sequences_near_2_to_the_32() {
    let first = (1 << 32) - 5_000;
    for world in World::both(ACTOR) {
        let (mut tx, mut consumers) = meet(
            &world,
            &format!("cap=64 first={first}"),
            &["recv", "recv-batches"],
        );
        stream(&mut tx, &mut consumers, first, 10_000);
        end(tx, consumers, &world);
    }
}

#[test]
fn sequences_end_at_2_to_the_61() {
    let first: i64 = (1 << 61) - 3_000;
    let last: i64 = (1 << 61) - 1;
    for world in World::both(ACTOR) {
        let options = format!("cap=64 first={first}");
        let (mut tx, mut consumers) = meet(&world, &options, &["recv", "recv-batches"]);
        stream(&mut tx, &mut consumers, first, last - first + 1);
        let refused = tx.err("SequenceExhausted", "send");
        assert!(refused.text().contains("2^61"), "{}", refused.text());
        assert_eq!(tx.ok("fill").number("count"), 0);
        end(tx, consumers, &world);
    }
}

#[test]
fn batches_arrive_whole() {
    for world in World::both(ACTOR) {
        let (mut tx, mut consumers) = meet(&world, "cap=64", &["recv", "recv-batches"]);
        for (rx, how) in &mut consumers {
            rx.tell(&format!("{how} n=16000"));
        }
        tx.ok("batch n=16 times=1000");
        for (rx, _) in &mut consumers {
            rx.expect_ok().assert_saw(0, 15_999);
        }
        let refused = tx.err("BatchTooLarge", "batch n=65");
        myelon_tests::assert_names(refused.text(), &["65", "64", "split"]);
        end(tx, consumers, &world);
    }
}

#[test]
fn slow_consumer_holds_the_producer_exactly_one_ring_ahead() {
    for world in World::both(ACTOR) {
        let (mut tx, mut consumers) = meet(&world, "cap=32", &["recv", "recv"]);
        let (slow, fast) = consumers.split_at_mut(1);
        let (slow, fast) = (&mut slow[0].0, &mut fast[0].0);
        assert_eq!(tx.ok("fill").number("count"), 32);
        fast.ok("recv n=32").assert_saw(0, 31);
        assert_eq!(
            tx.ok("fill").number("count"),
            0,
            "the slow one has released nothing"
        );
        for released in 0..40 {
            slow.ok("recv n=1").assert_saw(released, released);
            let filled = tx.ok("fill");
            assert_eq!(
                (filled.number("count"), filled.number("last")),
                (1, released + 32)
            );
            fast.ok("recv n=1").assert_saw(released + 32, released + 32);
        }
        end(tx, consumers, &world);
    }
}

#[test]
fn blocked_producer_goes_on_when_the_slow_consumer_does() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut consumers) = meet(&world, "cap=8", &["recv"]);
    tx.tell("publish n=20");
    assert!(tx.is_silent_for(Duration::from_millis(100)), "only 8 fit");
    let rx = &mut consumers[0].0;
    assert_eq!(rx.ok("lag").number("newest"), 7);
    rx.ok("recv n=12").assert_saw(0, 11);
    assert_eq!(tx.expect_ok().number("last"), 19);
    rx.ok("recv n=8").assert_saw(12, 19);
    end(tx, consumers, &world);
}

#[test]
fn held_lease_is_never_overwritten() {
    for world in World::both(ACTOR) {
        let (mut tx, mut consumers) = meet(&world, "cap=8", &["recv"]);
        let rx = &mut consumers[0].0;
        tx.ok("publish n=3");
        assert_eq!(rx.ok("lease").number("sequence"), 0);
        tx.tell("publish n=100");
        assert!(tx.is_silent_for(Duration::from_millis(50)));
        assert_eq!(rx.ok("peek").word("whole"), "true");
        rx.ok("uncommit");
        rx.ok("recv n=103").assert_saw(0, 102);
        assert_eq!(tx.expect_ok().number("last"), 102);
        end(tx, consumers, &world);
    }
}

#[test]
fn stress_ten_million_events_one_to_one() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut consumers) = meet(&world, "cap=4096", &["recv"]);
    stream(&mut tx, &mut consumers, 0, 10_000_000);
    end(tx, consumers, &world);
}

#[test]
fn stress_a_million_events_one_to_three() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut consumers) =
        meet(&world, "cap=4096", &["recv", "recv-copies", "recv-batches"]);
    stream(&mut tx, &mut consumers, 0, 1_000_000);
    end(tx, consumers, &world);
}
