//! Nothing is lost silently, in whichever order processes start and end. The tests run expected consumers that come
//! late, a durable consumer that attaches while the ring ends, and a ring whose name is removed from outside.

use std::thread;
use std::time::Duration;

use myelon_tests::{World, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Ways to say which consumers are expected, and the ids with which they attach. `None` is an automatic id.
const EXPECTED: [(&str, &[Option<&str>]); 4] = [
    ("any", &[None]),
    ("ids=a,b", &[Some("a"), Some("b")]),
    ("prefix=cp:1", &[Some("cp_0")]),
    ("buffer=64", &[None]),
];

#[test]
fn what_was_published_for_consumers_that_have_not_come_is_kept_for_them() {
    for (who, ids) in EXPECTED {
        for end in ["close", "drop-tx"] {
            for world in World::both(ACTOR) {
                let mut tx = world.actor();
                tx.ok(&format!("produce cap=64 {who}"));
                tx.ok("publish n=10");
                let ended = tx.ok(end);
                if end == "close" {
                    let expected: Vec<&str> =
                        ids.iter().map(|id| id.unwrap_or("any consumer")).collect();
                    assert!(
                        ended
                            .text()
                            .ends_with(&format!("kept={}", expected.join(","))),
                        "{who}: {ended:?}"
                    );
                }
                tx.leave();
                for id in ids {
                    assert!(world.is_named(), "{who}: {id:?} has not come");
                    let mut rx = world.actor();
                    let id = id.map_or_else(String::new, |id| format!("id={id}"));
                    assert_eq!(rx.ok(&format!("consume cap=64 {id}")).number("next"), 0);
                    let seen = rx.ok("drain");
                    seen.assert_saw(0, 9);
                    assert_eq!(seen.word("end"), "Closed");
                    rx.leave();
                }
                assert!(
                    !world.is_named(),
                    "{who}: the last one takes the name along"
                );
            }
        }
    }
}

#[test]
fn one_that_dies_half_way_leaves_the_rest_to_the_next() {
    for (who, id, rest) in [("any", "", 0), ("ids=a", "id=a", 4)] {
        for world in World::both(ACTOR) {
            let (mut tx, mut rx, mut next) = (world.actor(), world.actor(), world.actor());
            tx.ok(&format!("produce cap=64 {who}"));
            tx.ok("publish n=10");
            tx.leave();
            rx.ok(&format!("consume cap=64 {id}"));
            rx.ok("recv n=4").assert_saw(0, 3);
            rx.kill();
            assert!(world.is_named());
            next.ok(&format!("consume cap=64 {id}"));
            next.ok("drain").assert_saw(rest, 9);
            next.leave();
            assert!(!world.is_named());
        }
    }
}

#[test]
fn others_that_drain_do_not_take_away_what_is_kept_for_one_that_has_not_come() {
    for world in World::both(ACTOR) {
        let (mut tx, mut other, mut rx) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=64 ids=a");
        other.ok("consume cap=64 id=other");
        tx.ok("publish n=10");
        tx.ok("close").text().ends_with("kept=a,other");
        other.ok("drain").assert_saw(0, 9);
        other.leave();
        assert!(world.is_named(), "'a' has not come");
        rx.ok("consume cap=64 id=a");
        rx.ok("drain").assert_saw(0, 9);
        assert!(!world.is_named());
    }
}

#[test]
fn nothing_is_kept_for_one_that_came_and_left_or_was_removed_or_when_nothing_was_published() {
    for world in World::both(ACTOR) {
        // it attaches and leaves for good, and the producer does not read its line in between
        for (who, id) in [("any", ""), ("ids=a", "id=a")] {
            let (mut tx, mut rx) = (world.actor(), world.actor());
            tx.ok(&format!("produce cap=64 {who}"));
            tx.ok("publish n=10");
            rx.ok(&format!("consume cap=64 {id}"));
            rx.ok("recv n=10").assert_saw(0, 9);
            rx.ok("leave");
            assert!(tx.ok("close").text().ends_with("kept="), "{who}");
            assert!(!world.is_named(), "{who}");
        }
        let mut tx = world.actor();
        tx.ok("produce cap=64 ids=a");
        tx.ok("publish n=10");
        tx.ok("remove id=a");
        tx.ok("close");
        assert!(!world.is_named(), "it was removed");
        tx.ok("produce cap=64 ids=a");
        tx.ok("close");
        assert!(!world.is_named(), "nothing was published");
        tx.ok("produce cap=64 any");
        tx.ok("publish n=10");
        tx.ok("destroy");
        assert!(!world.is_named(), "it was destroyed");
    }
}

#[test]
fn a_successor_finds_what_is_kept_and_can_give_it_up() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16 ids=a,b");
        tx.ok("publish n=10");
        tx.ok("close");
        // the same ids again: neither consumer has ever come
        tx.err("CoordinationTimeout", "produce cap=16 ids=a,b wait=0:50");
        assert!(world.is_named());
        assert_eq!(tx.ok("produce cap=16 ids=a,b").number("next"), 10);
        assert_eq!(tx.ok("fill").number("count"), 6);
        assert!(
            tx.ok("blocked")
                .text()
                .contains("have not come: [\"a\", \"b\"]")
        );
        tx.ok("remove id=b");
        rx.ok("consume cap=16 id=a");
        tx.ok("close");
        rx.ok("drain").assert_saw(0, 15);
        assert!(!world.is_named());
    }
}

#[test]
fn a_place_that_is_kept_has_no_process() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        tx.ok("produce cap=4 ids=a");
        tx.ok("fill");
        tx.ok("close");
        // this producer expects no consumer: only the kept place holds the ring
        tx.ok("produce cap=4");
        let blocked = tx.ok("blocked");
        assert!(
            blocked
                .text()
                .contains("'a' (it has not come yet, not attached)"),
            "{blocked:?}"
        );
        tx.ok("destroy");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_producer_that_dies_while_it_ends_leaves_what_was_expected() {
    for at in [
        "reserve.id_locked",
        "join.bit",
        "join.joining",
        "join.settling",
        "join.active",
        "reserve.away",
        "reserve.unlocked",
        "close.kept",
        "close.closed",
        "close.unlinked",
        "close.unlocked",
    ] {
        for (who, id) in [("ids=a", "id=a"), ("any", "")] {
            if who == "any" && !at.starts_with("close") {
                continue;
            }
            let world = World::shared_memory(ACTOR);
            let mut tx = world.actor_with(&format!("{at}:1:kill"));
            let (mut rx, mut next) = (world.actor(), world.actor());
            tx.ok(&format!("produce cap=64 {who}"));
            tx.ok("publish n=10");
            tx.tell("close");
            tx.wait_until_dead();
            rx.ok(&format!("consume cap=64 {id}"));
            rx.ok("drain").assert_saw(0, 9);
            rx.leave();
            next.ok("produce cap=64");
            next.ok("destroy");
        }
    }
}

/// The ring ends between a new durable consumer's check of the name and the removal of that name.
#[cfg(debug_assertions)]
#[test]
fn a_durable_consumer_that_attaches_while_the_ring_ends_keeps_its_place_or_is_told() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor_with("unlink.checked:1:stop");
        let mut rx = world.actor();
        tx.ok("produce cap=64");
        tx.ok("publish n=10");
        tx.tell("close");
        tx.wait_until_stopped();
        let refused = rx.err("NotFound", "consume cap=64 id=late");
        assert!(refused.text().contains("no ring named"), "{refused:?}");
        tx.resume();
        tx.expect_ok();
        assert!(!world.is_named());
        // a consumer that attaches a moment sooner keeps the name
        let mut tx = world.actor_with("close.closed:1:stop");
        tx.ok("produce cap=64");
        tx.ok("publish n=10");
        tx.tell("close");
        tx.wait_until_stopped();
        rx.tell("consume cap=64 id=early");
        thread::sleep(Duration::from_millis(5));
        tx.resume();
        tx.expect_ok();
        match rx.answer().kind() {
            None => {
                rx.ok("recv n=4").assert_saw(0, 3);
                rx.ok("detach");
                assert!(world.is_named());
                rx.ok("consume cap=64 id=early");
                rx.ok("drain").assert_saw(4, 9);
            }
            Some(kind) => assert_eq!(kind, "NotFound"),
        }
        assert!(!world.is_named());
    }
}

#[test]
fn a_removed_name_is_said_to_the_producer_and_to_those_that_cannot_come() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx, mut late) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=4 interval_ms=10");
        rx.ok("consume cap=4 id=away");
        rx.ok("detach");
        std::fs::remove_file(world.path()).expect("removed from outside");
        tx.ok("fill");
        let removed = "the ring's name was removed";
        assert!(tx.ok("blocked").text().contains(removed));
        let timeout = tx.err("Timeout", "publish n=1 ms=100");
        assert!(timeout.text().contains(removed), "{timeout:?}");
        let refused = late.err("NotFound", "consume cap=4 id=away");
        assert!(
            refused.text().contains("the name was removed under it"),
            "{refused:?}"
        );
        tx.leave();
    }
}

#[test]
fn a_consumer_whose_dead_producer_can_have_no_successor_is_told() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=4");
        rx.ok("consume cap=4 interval_ms=10");
        tx.ok("publish n=2");
        std::fs::remove_file(world.path()).expect("removed from outside");
        tx.kill();
        rx.ok("recv n=2").assert_saw(0, 1);
        let end = rx.err("NameRemoved", "recv n=1 ms=20000");
        assert!(end.text().contains("no successor can take over"), "{end:?}");
    }
}

#[test]
fn a_producer_that_waits_for_the_first_consumer_goes_on_when_it_comes() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8 any strategy=block");
        tx.tell("publish n=100");
        assert!(tx.is_silent_for(Duration::from_millis(200)), "it waits");
        rx.ok("consume cap=8 strategy=block");
        rx.ok("recv n=100").assert_saw(0, 99);
        tx.expect_ok();
        wait_until("the name is there", || world.is_named());
        tx.leave();
        rx.ok("drain");
    }
}
