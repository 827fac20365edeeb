//! Death and stops at single steps: of a takeover, of a publication, of the end of a ring.
//!
//! The steps are the fail points of `disruptor-mp/src/fail.rs`, which only debug builds have.
#![cfg(debug_assertions)]

use myelon_tests::World;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

fn both() -> [World; 2] {
    [World::shared_memory(ACTOR), World::mapped_file(ACTOR)]
}

#[test]
fn takeover_killed_at_each_of_its_steps_is_repeated_by_the_next_one() {
    let steps = ["locked", "opened", "epoch", "head", "cleared", "owner"];
    for step in steps {
        for world in both() {
            let (mut tx, mut slow, mut fast) = (world.actor(), world.actor(), world.actor());
            tx.ok("produce cap=16");
            slow.ok("consume cap=16 id=slow");
            fast.ok("consume cap=16 id=fast");
            tx.ok("publish n=16");
            fast.ok("recv n=16").assert_saw(0, 15);
            assert_eq!(slow.ok("lease").number("sequence"), 0);
            tx.kill();
            let mut candidate = world.actor_with(&format!("takeover.{step}:1:kill"));
            candidate.tell("produce cap=16");
            candidate.wait_until_dead();
            let mut successor = world.actor();
            assert_eq!(successor.ok("produce cap=16").number("next"), 16, "{step}");
            assert_eq!(
                successor.ok("fill").number("count"),
                0,
                "{step}: the lease is held"
            );
            assert_eq!(slow.ok("commit").word("whole"), "true");
            successor.tell("publish n=40");
            slow.tell("recv n=55");
            fast.ok("recv n=40").assert_saw(16, 55);
            slow.expect_ok().assert_saw(1, 55);
            assert_eq!(successor.expect_ok().number("last"), 55);
            successor.ok("close");
        }
    }
}

#[test]
fn takeover_killed_while_it_clears_is_repeated_by_the_next_one() {
    // a batch of six dies with five of its stamps stored, all above the head
    for nth in 1..=5 {
        for world in both() {
            let (mut tx, mut rx) = (world.actor_with("batch.stamped:1:kill"), world.actor());
            tx.ok("produce cap=16");
            rx.ok("consume cap=16 id=reader");
            tx.ok("publish n=4");
            tx.tell("batch n=6");
            tx.wait_until_dead();
            let mut candidate = world.actor_with(&format!("takeover.cleared_one:{nth}:kill"));
            candidate.tell("produce cap=16");
            candidate.wait_until_dead();
            let mut successor = world.actor();
            assert_eq!(successor.ok("produce cap=16").number("next"), 4, "{nth}");
            // fewer events than the dead batch had: what it left must not show behind them
            successor.ok("publish n=1");
            let seen = rx.ok("recv n=5");
            seen.assert_saw(0, 4);
            rx.err("Timeout", "recv ms=50");
            successor.ok("publish n=9");
            rx.ok("recv n=9").assert_saw(5, 13);
            successor.ok("close");
        }
    }
}

#[test]
fn producer_killed_within_a_publication_leaves_no_half_of_it() {
    let publications = [
        ("publish.claimed", "publish n=1", 0..=0),
        ("publish.written", "publish n=1", 0..=0),
        ("publish.stamped", "publish n=1", 1..=1),
        ("batch.written", "batch n=6", 0..=0),
        ("batch.stamped", "batch n=6", 0..=0),
        ("batch.published", "batch n=6", 6..=6),
    ];
    for (step, publication, seen) in publications {
        for world in both() {
            let (mut before, mut rx) = (world.actor(), world.actor());
            before.ok("produce cap=8");
            rx.ok("consume cap=8 id=reader");
            // stamps of an earlier lap are there
            before.ok("publish n=8");
            rx.ok("recv n=8").assert_saw(0, 7);
            before.ok("keep");
            let mut tx = world.actor_with(&format!("{step}:1:kill"));
            assert_eq!(tx.ok("produce cap=8").number("next"), 8);
            tx.tell(publication);
            tx.wait_until_dead();
            let end = rx.ok("drain");
            assert_eq!(end.word("end"), "ProducerDead");
            let count = end.number("count");
            assert!(seen.contains(&count), "{step}: {count} events");
            let mut successor = world.actor();
            let next = successor.ok("produce cap=8").number("next");
            assert_eq!(next, 8 + count, "{step}: it goes on where consumers stand");
            successor.ok("publish n=2");
            rx.ok("recv n=2").assert_saw(next, next + 1);
            successor.ok("close");
        }
    }
}

#[test]
fn last_one_to_drain_while_the_producer_decides_loses_no_name() {
    // the producer has seen that 'reader' needs the name, and holds its lock while 'reader' drains
    for world in both() {
        let mut tx = world.actor_with("close.unlinked:1:stop");
        let mut rx = world.actor();
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=3");
        tx.tell("close");
        tx.wait_until_stopped();
        let seen = rx.ok("drain");
        seen.assert_saw(0, 2);
        assert_eq!(seen.word("end"), "Closed");
        rx.leave();
        tx.resume();
        tx.expect_ok();
        assert!(!world.is_named());
    }
}

#[test]
fn two_that_drain_at_once_lose_no_name() {
    // 'one' is about to take the name along, and holds the lock, when 'two' comes to the end as well
    for world in both() {
        let (mut tx, mut two) = (world.actor(), world.actor());
        let mut one = world.actor_with("drain.locked:1:stop");
        tx.ok("produce cap=8");
        one.ok("consume cap=8 id=one");
        two.ok("consume cap=8 id=two");
        tx.ok("publish n=3");
        tx.ok("close");
        two.ok("recv n=3").assert_saw(0, 2);
        one.tell("drain");
        one.wait_until_stopped();
        assert!(world.is_named());
        assert_eq!(
            two.ok("drain").word("end"),
            "Closed",
            "nobody waits for who is stopped"
        );
        two.leave();
        one.resume();
        one.expect_ok().assert_saw(0, 2);
        assert!(!world.is_named());
    }
}

#[test]
fn creator_killed_at_each_of_its_steps_leaves_nothing_that_hinders() {
    for step in ["nameless", "reserved", "locked", "written", "linked"] {
        for world in both() {
            let mut creator = world.actor_with(&format!("create.{step}:1:kill"));
            creator.tell("produce cap=8");
            creator.wait_until_dead();
            assert_eq!(world.is_named(), step == "linked", "{step}");
            assert_eq!(
                world.leftovers().len(),
                usize::from(step == "linked"),
                "{step}"
            );
            let mut tx = world.actor();
            assert_eq!(tx.ok("produce cap=8").number("next"), 0, "{step}");
            tx.ok("close");
        }
    }
}
