//! `kill -9` of each role: no event is lost, only events that were not released come twice, and the others continue.

use std::time::Duration;

use myelon_tests::{World, assert_names};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

#[test]
fn killed_explicit_id_comes_back_to_its_position() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=32");
        rx.ok("consume cap=32 id=reader");
        tx.ok("publish n=20");
        rx.ok("recv n=7").assert_saw(0, 6);
        assert_eq!(rx.ok("lease").number("sequence"), 7, "read, not released");
        rx.kill();
        assert_eq!(
            tx.ok("fill").number("last"),
            6 + 32,
            "it gates where it was"
        );
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=32 id=reader").number("next"), 7);
        again.ok("recv n=32").assert_saw(7, 38);
        tx.ok("close");
        assert_eq!(again.ok("drain").word("end"), "Closed");
    }
}

#[test]
fn killed_under_load_nothing_is_lost() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        tx.ok("produce cap=256");
        let total = 2_000_000;
        let mut next = 0;
        let mut rx = world.actor();
        rx.ok("consume cap=256 id=reader");
        tx.tell(&format!("publish n={total}"));
        for round in 0..10 {
            let seen = rx.ok(&format!("recv n={}", 100 + 37 * round));
            seen.assert_saw(next, next + 99 + 37 * round);
            next = seen.number("last") + 1;
            rx.tell("recv n=1000000");
            std::thread::sleep(Duration::from_millis(2 * round as u64));
            rx.kill();
            rx = world.actor();
            let rejoined = rx.ok("consume cap=256 id=reader").number("next");
            assert!(rejoined >= next, "{rejoined} was released before");
            next = rejoined;
            if next >= total - 10_000 {
                break;
            }
        }
        rx.ok(&format!("recv n={}", total - next))
            .assert_saw(next, total - 1);
        assert_eq!(tx.expect_ok().number("last"), total - 1);
        tx.ok("close");
    }
}

#[test]
fn killed_automatic_id_leaves_the_gate_when_the_producer_is_blocked() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8");
        other.ok("consume cap=8 id=other");
        tx.tell("publish n=12");
        other.ok("recv n=8").assert_saw(0, 7);
        assert!(tx.is_silent_for(Duration::from_millis(50)));
        rx.kill();
        assert_eq!(tx.expect_ok().number("last"), 11);
        other.ok("recv n=4").assert_saw(8, 11);
        assert_eq!(tx.ok("count").number("consumers"), 1);
        tx.ok("close");
    }
}

#[test]
fn killed_automatic_id_leaves_the_gate_of_a_producer_that_only_tries() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok("consume cap=8");
    assert_eq!(tx.ok("fill").number("count"), 8);
    rx.kill();
    let mut count = 0;
    myelon_tests::wait_until("try_publish gets through", || {
        count += tx.ok("fill max=100").number("count");
        count >= 100
    });
    tx.ok("close");
}

#[test]
fn killed_explicit_id_gates_until_it_is_removed() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        let pid = format!("pid {}", rx.pid());
        rx.kill();
        tx.ok("fill");
        let late = tx.err("Timeout", "send ms=100");
        assert_names(late.text(), &["'reader'", &pid, "not attached"]);
        tx.ok("remove id=reader");
        assert_eq!(tx.ok("publish n=100").number("last"), 107);
        tx.ok("close");
    }
}

#[test]
fn consumer_is_told_of_the_death_after_it_has_drained_and_goes_on_with_a_successor() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok("consume cap=64 id=reader");
        let pid = format!("pid {}", tx.pid());
        tx.ok("publish n=10");
        tx.kill();
        rx.ok("recv n=5").assert_saw(0, 4);
        let dead = rx.ok("drain");
        dead.assert_saw(5, 9);
        assert_eq!(dead.word("end"), "ProducerDead");
        assert_names(dead.text(), &[&pid, "successor"]);
        rx.err("ProducerDead", "recv");
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=64").number("next"), 10);
        successor.ok("publish n=30");
        rx.ok("recv n=30").assert_saw(10, 39);
        successor.ok("close");
        rx.err("Closed", "recv");
    }
}

#[test]
fn waiting_consumer_is_told_of_the_death() {
    for strategy in ["yield", "sleep", "block"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=64");
        rx.ok(&format!("consume cap=64 id=reader strategy={strategy}"));
        rx.tell("recv");
        assert!(rx.is_silent_for(Duration::from_millis(50)));
        tx.kill();
        rx.expect_err("ProducerDead");
        // the infallible form waits for the successor
        rx.tell("recv-copies n=3");
        assert!(rx.is_silent_for(Duration::from_millis(50)));
        let mut successor = world.actor();
        successor.ok("produce cap=64");
        successor.ok("publish n=3");
        rx.expect_ok().assert_saw(0, 2);
        successor.ok("close");
    }
}

#[test]
fn successor_waits_for_the_slow_consumer_it_inherits() {
    for world in World::both(ACTOR) {
        let (mut tx, mut slow, mut fast) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=16");
        slow.ok("consume cap=16 id=slow");
        fast.ok("consume cap=16 id=fast");
        tx.ok("publish n=16");
        slow.ok("recv n=3").assert_saw(0, 2);
        fast.ok("recv n=16").assert_saw(0, 15);
        tx.kill();
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=16").number("next"), 16);
        assert_eq!(
            successor.ok("fill").number("last"),
            18,
            "three slots were released"
        );
        slow.ok("recv n=16").assert_saw(3, 18);
        fast.ok("recv n=3").assert_saw(16, 18);
        assert_eq!(successor.ok("fill").number("count"), 16);
        assert_eq!(successor.ok("state").number("epoch"), 1);
        successor.ok("destroy");
    }
}

#[test]
fn lease_held_across_a_takeover_stays_whole() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=8");
        assert_eq!(rx.ok("lease").number("sequence"), 0);
        tx.kill();
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=8").number("next"), 8);
        assert_eq!(successor.ok("fill").number("count"), 0);
        successor.tell("publish n=20");
        assert!(successor.is_silent_for(Duration::from_millis(30)));
        assert_eq!(rx.ok("peek").word("whole"), "true");
        assert_eq!(rx.ok("commit").word("whole"), "true");
        rx.ok("recv n=27").assert_saw(1, 27);
        successor.expect_ok();
        successor.ok("close");
    }
}

#[test]
fn a_chain_of_killed_producers_leaves_one_contiguous_stream() {
    for world in World::both(ACTOR) {
        let mut consumers = [world.actor(), world.actor()];
        let mut next = 0;
        for round in 0..12_i64 {
            let mut tx = world.actor();
            let begins = tx.ok("produce cap=64").number("next");
            assert!(begins >= next, "{begins} came after {next}");
            for (index, rx) in consumers.iter_mut().enumerate() {
                if round == 0 {
                    rx.ok(&format!("consume cap=64 id=c{index}"));
                }
                rx.tell("drain");
            }
            // batches smaller than the predecessor's, later larger ones, and a death in the middle of a batch
            let size = 64 >> (round % 7);
            tx.ok(&format!("batch n={size} times=20"));
            tx.tell(&format!("batch n={size} times=1000000"));
            std::thread::sleep(Duration::from_millis(round as u64 % 4));
            tx.kill();
            let seen = consumers.each_mut().map(|rx| rx.expect_ok());
            for reply in &seen {
                assert_eq!(reply.word("end"), "ProducerDead");
                reply.assert_saw(next, reply.number("last"));
                assert!(reply.number("last") >= begins + 20 * size - 1);
            }
            assert_eq!(
                seen[0].number("last"),
                seen[1].number("last"),
                "both saw the same"
            );
            next = seen[0].number("last") + 1;
        }
        let mut tx = world.actor();
        assert_eq!(tx.ok("produce cap=64").number("next"), next);
        assert_eq!(tx.ok("state").number("epoch"), 12);
        tx.ok("close");
    }
}

#[test]
fn after_everybody_was_killed_the_next_start_needs_no_cleaning() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        let mut consumers = [world.actor(), world.actor(), world.actor()];
        tx.ok("produce cap=16");
        consumers[0].ok("consume cap=16 id=durable");
        consumers[1].ok("consume cap=16");
        consumers[2].ok("consume cap=16");
        tx.ok("publish n=16");
        consumers[1].ok("recv n=4");
        tx.kill();
        for rx in &mut consumers {
            rx.kill();
        }
        let (mut tx, mut rx) = (world.actor(), world.actor());
        assert_eq!(tx.ok("produce cap=16").number("next"), 16);
        assert_eq!(rx.ok("consume cap=16 id=durable").number("next"), 0);
        tx.tell("publish n=100");
        rx.ok("recv n=116").assert_saw(0, 115);
        assert_eq!(tx.expect_ok().number("last"), 115);
        assert_eq!(
            tx.ok("count").number("consumers"),
            1,
            "the automatic ones have left"
        );
        tx.ok("close");
    }
}

#[test]
fn after_everybody_was_killed_another_capacity_is_no_obstacle() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16");
        tx.ok("publish n=16");
        tx.kill();
        rx.kill();
        let mut tx = world.actor();
        assert_eq!(tx.ok("produce cap=64").number("next"), 0);
        tx.ok("close");
    }
}

#[test]
fn dead_ring_can_be_attached_and_drained() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        tx.ok("produce cap=16");
        tx.ok("publish n=9");
        tx.kill();
        let mut rx = world.actor();
        assert_eq!(rx.ok("consume cap=16 id=late").number("next"), 0);
        let seen = rx.ok("drain");
        seen.assert_saw(0, 8);
        assert_eq!(seen.word("end"), "ProducerDead");
        let mut successor = world.actor();
        successor.ok("produce cap=16");
        successor.ok("close");
        rx.err("Closed", "recv");
    }
}

/// The slots that a successor clears held older events, which an observer has yet to see. The observer misses
/// those and continues after them.
#[cfg(debug_assertions)]
#[test]
fn observer_goes_on_behind_what_a_successor_cleared() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor_with("batch.written:4:kill");
        let (mut watcher, mut successor) = (world.actor(), world.actor());
        tx.ok("produce cap=8 observers");
        watcher.ok("observe cap=8 start=oldest");
        tx.ok("publish n=8");
        tx.tell("batch n=8");
        tx.expect_killed().expect("it dies in the batch");
        assert_eq!(successor.ok("produce cap=8").number("next"), 8);
        successor.ok("close");
        let seen = watcher.ok("watch ms=20000");
        let counts = (seen.number("seen"), seen.number("lagged"));
        assert_eq!((seen.word("end"), counts), ("Closed", (3, 5)));
    }
}

#[test]
fn producer_that_panics_leaves_its_ring_as_a_death_would() {
    let name = disruptor_mp::portable_shm_segment_name("panic");
    let producer = name.clone();
    let mut tx = disruptor_mp::publisher::<u64>(&producer, 8).expect("create");
    let mut rx = disruptor_mp::subscriber::<u64>(&name).expect("attach");
    let thread = std::thread::spawn(move || {
        tx.publish(|event| *event = 1);
        tx.publish(|_| panic!("in the closure"));
    });
    assert!(thread.join().is_err());
    let deadline = disruptor_mp::Deadline::after(Duration::from_secs(60));
    assert_eq!(*rx.recv(deadline).expect("published before"), 1);
    let dead = rx.recv(deadline).map(|lease| *lease);
    assert!(
        matches!(dead, Err(disruptor_mp::RecvError::ProducerDead { .. })),
        "{dead:?}"
    );
    let mut successor = disruptor_mp::publisher::<u64>(&name, 8).expect("take over");
    successor.publish_value(2);
    assert_eq!(
        successor.last_published_sequence(),
        1,
        "what was claimed was not published"
    );
    assert_eq!(*rx.recv(deadline).expect("published"), 2);
}

#[test]
fn consumer_that_never_waits_learns_of_a_death() {
    let name = disruptor_mp::portable_shm_segment_name("poll");
    let mut tx = disruptor_mp::publisher::<u64>(&name, 8).expect("create");
    let mut rx = disruptor_mp::subscriber::<u64>(&name).expect("attach");
    let thread = std::thread::spawn(move || tx.publish(|_| panic!("in the closure")));
    assert!(thread.join().is_err());
    let deadline = disruptor_mp::Deadline::after(Duration::from_secs(60));
    loop {
        match rx
            .recv(disruptor_mp::Deadline::after(Duration::ZERO))
            .map(|lease| *lease)
        {
            Err(disruptor_mp::RecvError::Timeout) => assert!(!deadline.has_passed(), "never told"),
            end => {
                assert!(
                    matches!(end, Err(disruptor_mp::RecvError::ProducerDead { .. })),
                    "{end:?}"
                );
                break;
            }
        }
    }
    let successor = disruptor_mp::publisher::<u64>(&name, 8).expect("take over");
    successor.close().expect("close");
}
