//! The life of a ring from its creation to the last consumer that drains it: the owner of the name, the end of
//! waits, and the state that the next producer finds.

use std::time::{Duration, Instant};

use myelon_tests::{World, assert_names, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

#[test]
fn drains_after_the_producer_has_gone_and_so_has_the_name() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok("consume cap=64");
        tx.ok("publish n=50");
        tx.leave();
        assert!(!world.is_named(), "an automatic id keeps no name");
        let seen = rx.ok("drain");
        seen.assert_saw(0, 49);
        assert_eq!(seen.word("end"), "Closed");
        rx.err("Closed", "recv ms=1000");
    }
}

#[test]
fn name_stays_for_an_attached_durable_consumer_until_it_has_drained() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok("consume cap=64 id=reader");
        tx.ok("publish n=50");
        tx.leave();
        assert!(world.is_named());
        rx.ok("recv n=49").assert_saw(0, 48);
        rx.ok("detach");
        assert!(world.is_named(), "one is unread");
        rx.ok("consume cap=64 id=reader");
        let seen = rx.ok("drain");
        seen.assert_saw(49, 49);
        assert!(
            !world.is_named(),
            "the last one to drain takes the name along"
        );
    }
}

#[test]
fn name_stays_for_a_durable_consumer_that_is_away() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok("consume cap=64 id=away");
        other.ok("consume cap=64 id=other");
        tx.ok("publish n=10");
        rx.leave();
        tx.leave();
        other.ok("drain").assert_saw(0, 9);
        other.leave();
        assert!(world.is_named(), "'away' has unread events");
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=64 id=away").number("next"), 0);
        again.ok("recv n=10").assert_saw(0, 9);
        // the consumer also learns of the end when it detaches
        again.ok("detach");
        assert!(!world.is_named());
    }
}

#[test]
fn name_goes_at_once_when_every_durable_consumer_has_drained() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok("consume cap=64 id=reader");
        tx.ok("publish n=10");
        rx.ok("recv n=10");
        rx.leave();
        tx.ok("close");
        assert!(!world.is_named());
    }
}

#[test]
fn the_name_goes_however_close_and_drain_race() {
    for round in 0..60 {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut one, mut two) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=64");
        one.ok("consume cap=64 id=one");
        two.ok("consume cap=64 id=two");
        one.tell("drain");
        two.tell("drain");
        tx.tell(&format!("publish n={round}"));
        tx.tell("close");
        tx.expect_ok();
        tx.expect_ok();
        assert_eq!(one.expect_ok().number("count"), round);
        assert_eq!(two.expect_ok().number("count"), round);
        assert!(!world.is_named(), "round {round}");
    }
}

#[test]
fn keep_leaves_the_name_and_the_events_to_later_consumers() {
    for mut world in World::both(ACTOR) {
        let mut tx = world.actor();
        tx.ok("produce cap=16");
        tx.ok("publish n=10");
        tx.ok("keep");
        assert!(world.is_named());
        let mut rx = world.actor();
        assert_eq!(rx.ok("consume cap=16").number("next"), 0);
        let seen = rx.ok("drain");
        seen.assert_saw(0, 9);
        assert_eq!(seen.word("end"), "Closed");
        rx.ok("detach");
        rx.ok("consume cap=16 id=durable");
        rx.ok("drain").assert_saw(0, 9);
        rx.leave();
        assert!(world.is_named(), "kept, whoever drains it");
        // the next producer continues the sequence
        assert_eq!(tx.ok("produce cap=16").number("next"), 10);
        tx.ok("publish n=1");
        tx.ok("keep");
        world.leaves_the_name();
    }
}

#[test]
fn destroy_takes_the_name_whatever_is_unread() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16 id=reader");
        tx.ok("publish n=10");
        tx.ok("destroy");
        assert!(!world.is_named());
        let seen = rx.ok("drain");
        seen.assert_saw(0, 9);
        assert_eq!(seen.word("end"), "Closed");
    }
}

#[test]
fn new_ring_under_a_name_that_old_consumers_still_drain() {
    for world in World::both(ACTOR) {
        let (mut tx, mut old, mut new) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=16");
        old.ok("consume cap=16 id=reader");
        tx.ok("publish n=10");
        tx.ok("destroy");
        assert_eq!(tx.ok("produce cap=32").number("next"), 0);
        new.ok("consume cap=32 id=reader");
        tx.ok("publish n=20");
        old.ok("drain").assert_saw(0, 9);
        old.leave();
        assert!(
            world.is_named(),
            "the old ring's last consumer does not touch the new one's name"
        );
        new.ok("recv n=20").assert_saw(0, 19);
        tx.ok("close");
    }
}

#[test]
fn closed_wakes_a_waiting_consumer() {
    for strategy in ["yield", "sleep", "block"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok(&format!("consume cap=16 strategy={strategy}"));
        rx.tell("recv");
        assert!(rx.is_silent_for(Duration::from_millis(30)));
        tx.ok("close");
        let end = rx.expect_err("Closed");
        assert_names(end.text(), &["closed and drained"]);
    }
}

#[test]
fn second_live_producer_is_refused_with_the_first_ones_pid() {
    for world in World::both(ACTOR) {
        let (mut tx, mut other) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        for options in ["cap=16", "cap=32", "cap=16 recreate", "cap=32 recreate"] {
            let refused = other.err("AlreadyExists", &format!("produce {options}"));
            let pid = format!("pid {}", tx.pid());
            assert_names(
                refused.text(),
                &[world.name(), &pid, "one ring has one producer"],
            );
        }
        assert_eq!(
            tx.ok("publish n=3").number("last"),
            2,
            "the first one was not disturbed"
        );
        tx.ok("close");
        assert_eq!(other.ok("produce cap=32").number("next"), 0);
        other.ok("close");
    }
}

#[test]
fn stopped_producer_counts_as_alive() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16");
        tx.ok("publish n=1");
        tx.stop();
        rx.ok("recv");
        rx.err("Timeout", "recv ms=200");
        let refused = other.err("AlreadyExists", "produce cap=16");
        assert_names(refused.text(), &[&format!("pid {}", tx.pid())]);
        tx.resume();
        tx.ok("publish n=1");
        rx.ok("recv").assert_saw(1, 1);
        tx.ok("close");
    }
}

#[test]
fn receiving_ends_at_its_deadline() {
    for strategy in ["yield", "sleep", "block", "busy", "hint"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok(&format!("consume cap=16 strategy={strategy}"));
        for ms in [0, 1, 50] {
            let begun = Instant::now();
            let late = rx.err("Timeout", &format!("recv ms={ms}"));
            assert!(begun.elapsed() >= Duration::from_millis(ms));
            assert_names(late.text(), &["until the deadline"]);
        }
        tx.ok("publish n=1");
        rx.ok("recv ms=0").assert_saw(0, 0);
        tx.ok("close");
    }
}

#[test]
fn sending_ends_at_its_deadline_and_names_the_consumer_that_holds_the_ring() {
    for strategy in ["yield", "sleep", "block", "busy", "hint"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok(&format!("produce cap=4 strategy={strategy}"));
        rx.ok("consume cap=4 id=slow-one");
        tx.ok("fill");
        for ms in [0, 1, 50] {
            let begun = Instant::now();
            let late = tx.err("Timeout", &format!("send ms={ms}"));
            assert!(begun.elapsed() >= Duration::from_millis(ms));
            let pid = format!("pid {}", rx.pid());
            assert_names(
                late.text(),
                &[world.name(), "'slow-one'", &pid, "alive", "4 events behind"],
            );
        }
        // a wait that made at least one liveness check reports for how long nothing has moved
        wait_until("it says for how long", || {
            let late = tx.err("Timeout", "send ms=100");
            late.text().contains("no progress for")
        });
        tx.ok("destroy");
    }
}

#[test]
fn a_batch_that_does_not_fit_names_the_consumer_that_holds_the_ring() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=slow-one");
    tx.ok("publish n=6");
    let late = tx.err("Timeout", "batch n=4 ms=30");
    assert_names(
        late.text(),
        &[world.name(), "'slow-one'", &format!("pid {}", rx.pid())],
    );
    assert_eq!(tx.ok("batch n=2 ms=0").number("last"), 7, "two of them fit");
    tx.ok("destroy");
}

#[test]
fn required_end_is_seen_by_wait_until_consumed() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=reader");
    tx.ok("publish n=4");
    assert_eq!(tx.ok("wait-consumed seq=3 ms=30").word("consumed"), "false");
    tx.tell("wait-consumed seq=3 ms=100000");
    rx.ok("recv n=4");
    assert_eq!(tx.expect_ok().word("consumed"), "true");
    tx.ok("close");
}

#[test]
fn file_of_a_mapped_ring_is_where_it_was_asked_for() {
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.tell("produce cap=1024");
    tx.expect_ok();
    wait_until("the file is there", || world.is_named());
    let length = std::fs::metadata(world.path()).expect("the file").len();
    assert!(length > 1024 * 64, "{length}");
    tx.ok("close");
}

// ---- temporary names

/// A creator that had to build the ring under a temporary name is killed between `linkat` and `unlink`.
#[cfg(debug_assertions)]
fn killed_with_two_names(world: &World) {
    let mut creator = world.actor_with("create.two_names:1:kill");
    creator.ok("forbid-nameless");
    creator.tell("produce cap=8");
    creator.expect_killed().expect("at the point");
    assert_eq!(world.leftovers().len(), 2, "its own name and another one");
}

#[cfg(debug_assertions)]
#[test]
fn a_second_name_of_a_killed_creator_goes_with_the_takeover() {
    for world in World::both(ACTOR) {
        killed_with_two_names(&world);
        let mut tx = world.actor();
        assert_eq!(tx.ok("produce cap=8").number("next"), 0);
        assert_eq!(world.leftovers(), [world.path()]);
        tx.ok("close");
        assert!(world.leftovers().is_empty());

        // also where the ring is not taken over but replaced
        for how in ["cap=16", "cap=16 recreate"] {
            killed_with_two_names(&world);
            let mut tx = world.actor();
            tx.ok(&format!("produce {how}"));
            assert_eq!(world.leftovers(), [world.path()], "{how}");
            tx.ok("close");
        }
    }
}

/// A process that ends a ring removes all names that the ring has, wherever they came from.
#[test]
fn a_second_name_goes_with_the_ring() {
    for world in World::both(ACTOR) {
        let second = format!(".{}.0123456789abcdef", world.name());
        let second = world.directory().join(second);
        let link = || std::fs::hard_link(world.path(), &second).expect("a second name");
        for ending in ["close", "destroy", "drop-tx"] {
            let mut tx = world.actor();
            tx.ok("produce cap=8");
            link();
            tx.ok(ending);
            assert!(world.leftovers().is_empty(), "{ending}");
        }
        // the last consumer that drains the ring removes both names
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=1");
        tx.ok("close");
        link();
        rx.ok("drain");
        assert!(world.leftovers().is_empty(), "drained");
    }
}

/// A user may give files the names of temporary ones. A creator must not remove such a file without reading it,
/// nor a file in which any process holds a lock.
#[cfg(debug_assertions)]
#[test]
fn a_creator_removes_leftovers_of_its_own_kind_only() {
    for world in World::both(ACTOR) {
        let at = |digit: &str| {
            let leaf = format!(".{}.{}", world.name(), digit.repeat(16));
            world.directory().join(leaf)
        };
        let write = |digit: &str, text: &[u8]| std::fs::write(at(digit), text).expect("a file");
        write("0", b"notes of the user");
        write("1", &[0; 100_000]);
        write("2", b"DISRPT");
        // a complete ring that was ended, with a name of its own and the name of a temporary file
        let mut tx = world.actor();
        tx.ok("produce cap=8");
        tx.ok("keep");
        let backup = world.directory().join(format!("{}.backup", world.name()));
        std::fs::rename(world.path(), &backup).expect("a backup");
        std::fs::hard_link(&backup, at("3")).expect("a second name");
        let stays = world.leftovers().len();

        // files that creators leave when they die: without and with their first bytes
        for point in ["create.temporary", "create.nameless", "create.written"] {
            let mut creator = world.actor_with(&format!("{point}:1:kill"));
            creator.ok("forbid-nameless");
            creator.tell("produce cap=8");
            creator.expect_killed().expect("at the point");
            assert_eq!(world.leftovers().len(), stays + 1, "{point}");
        }
        let mut tx = world.actor();
        tx.ok("forbid-nameless");
        tx.ok("produce cap=8");
        assert_eq!(world.leftovers().len(), stays + 1, "the ring itself");
        tx.ok("close");
        assert_eq!(world.leftovers().len(), stays);
        assert_eq!(
            std::fs::read(at("0")).expect("unchanged"),
            b"notes of the user"
        );
        for digit in ["0", "1", "2", "3"] {
            std::fs::remove_file(at(digit)).expect("it has stayed");
        }
        std::fs::remove_file(backup).expect("it has stayed");
    }
}
