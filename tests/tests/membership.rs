//! Members of a ring: joining and leaving while it is in use, the event at which a joiner starts, and the
//! consumers that a producer expects.

use std::time::{Duration, Instant};

use myelon_tests::{World, assert_names};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

#[test]
fn join_and_leave_under_load() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        let mut steady = world.actor();
        let mut guests: Vec<_> = (0..3).map(|_| world.actor()).collect();
        tx.ok("produce cap=128");
        steady.ok("consume cap=128 id=steady");
        let total = 2_000_000;
        steady.tell(&format!("recv n={total}"));
        tx.tell(&format!("publish n={total}"));
        let mut joins = 0;
        'load: for round in 0..30 {
            for (index, guest) in guests.iter_mut().enumerate() {
                let id = if index == 0 { "id=guest" } else { "" };
                let how = ["recv", "recv-batches"][round % 2];
                let next = guest.ok(&format!("consume cap=128 {id}")).number("next");
                // a guest checks that its events are contiguous from the reported start on
                guest.tell(&format!("{how} n=500 ms=2000"));
                let seen = guest.answer();
                guest.ok("leave");
                if seen.kind() == Some("Timeout") {
                    break 'load; // the stream has ended
                }
                assert_eq!(
                    (seen.kind(), seen.number("first")),
                    (None, next),
                    "{}",
                    seen.text()
                );
                joins += 1;
            }
        }
        assert!(joins > 0);
        steady.expect_ok().assert_saw(0, total - 1);
        assert_eq!(tx.expect_ok().number("last"), total - 1);
        assert_eq!(tx.ok("count").number("consumers"), 1);
        tx.ok("close");
    }
}

#[test]
fn late_joiner_starts_close_to_the_oldest_retained_event() {
    for world in World::both(ACTOR) {
        for capacity in [1_i64, 2, 8, 64, 1024] {
            let mut tx = world.actor();
            tx.ok(&format!("produce cap={capacity}"));
            let mut last = -1;
            for step in [
                1,
                capacity,
                capacity / 3 + 1,
                3 * capacity + 1,
                1,
                7 * capacity + 5,
            ] {
                last = tx.ok(&format!("publish n={step}")).number("last");
                let mut rx = world.actor();
                let next = rx.ok(&format!("consume cap={capacity}")).number("next");
                let oldest = (last - capacity + 1).max(0);
                let most = oldest + (capacity / 8).max(1);
                assert!(
                    (oldest..=most).contains(&next),
                    "{oldest} ≤ {next} ≤ {most} of {last}, capacity {capacity}"
                );
                if next <= last {
                    rx.ok(&format!("recv n={}", last - next + 1))
                        .assert_saw(next, last);
                }
                rx.ok("leave");
            }
            assert!(last > 10 * capacity);
            tx.ok("close");
        }
    }
}

#[test]
fn attaching_after_at_most_one_ring_starts_at_zero() {
    for world in World::both(ACTOR) {
        for (capacity, published) in [(1, 0), (1, 1), (8, 0), (8, 7), (8, 8), (256, 256)] {
            let mut tx = world.actor();
            let mut rx = world.actor();
            tx.ok(&format!("produce cap={capacity}"));
            tx.ok(&format!("publish n={published}"));
            assert_eq!(
                rx.ok(&format!("consume cap={capacity} id=late"))
                    .number("next"),
                0
            );
            tx.ok("close");
            let seen = rx.ok("drain");
            assert_eq!(seen.number("count"), published);
            rx.leave();
        }
    }
}

#[test]
fn without_consumers_the_producer_runs_free() {
    let world = World::shared_memory(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=8");
    assert_eq!(tx.ok("publish n=10000").number("last"), 9_999);
    assert_eq!(
        tx.ok("wait-consumed seq=9999 ms=0").word("consumed"),
        "true"
    );
    tx.ok("close");
}

#[test]
fn automatic_id_leaves_the_gate_when_it_is_dropped() {
    for goodbye in ["drop-rx", "detach", "leave"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8");
        tx.tell("publish n=100");
        assert!(tx.is_silent_for(Duration::from_millis(30)));
        rx.ok(goodbye);
        assert_eq!(tx.expect_ok().number("last"), 99);
        tx.ok("close");
    }
}

#[test]
fn explicit_id_keeps_its_place_when_it_detaches() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=5");
        rx.ok("recv n=2").assert_saw(0, 1);
        rx.ok("detach");
        assert_eq!(
            tx.ok("fill").number("last"),
            9,
            "two are released, eight fit"
        );
        let blocked = tx.ok("blocked");
        assert_names(
            blocked.text(),
            &[world.name(), "'reader'", "not attached", "8 events behind"],
        );
        // from another process
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=8 id=reader").number("next"), 2);
        again.ok("recv n=8").assert_saw(2, 9);
        again.ok("leave");
        assert_eq!(tx.ok("count").number("consumers"), 0);
        tx.ok("close");
    }
}

#[test]
fn removed_consumer_gates_no_more() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        let refused = tx.err("ConsumerAlreadyAttached", "remove id=reader");
        assert_names(refused.text(), &["'reader'", &format!("pid {}", rx.pid())]);
        rx.ok("detach");
        tx.ok("fill");
        tx.ok("remove id=reader");
        tx.ok("publish n=50");
        let refused = tx.err("NoSuchConsumer", "remove id=reader");
        assert_names(
            refused.text(),
            &["no consumer 'reader'", world.name(), "[]"],
        );
        tx.ok("close");
    }
}

#[test]
fn attach_never_waits() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        let begun = Instant::now();
        rx.err("NotFound", "consume cap=8 id=reader");
        tx.ok("produce cap=8 any");
        tx.ok("fill");
        // attaching works whatever the producer does, and whether or not it runs
        tx.stop();
        assert_eq!(rx.ok("consume cap=8 id=reader").number("next"), 0);
        rx.ok("detach");
        rx.ok("consume cap=8");
        tx.resume();
        tx.ok("destroy");
        // no call waited for the stopped producer, which would not have continued
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn starts_elsewhere_when_asked() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=16");
    tx.ok("publish n=10");
    assert_eq!(rx.ok("consume cap=16 start=latest").number("next"), 10);
    rx.ok("leave");
    assert_eq!(rx.ok("consume cap=16 start=4").number("next"), 4);
    rx.ok("recv n=6").assert_saw(4, 9);
    rx.ok("leave");
    assert_eq!(rx.ok("consume cap=16 start=10").number("next"), 10);
    rx.ok("leave");
    let refused = rx.err("SequenceNotRetained", "consume cap=16 start=11");
    assert_names(refused.text(), &[world.name(), "sequence 11", "0 to 9"]);
    tx.ok("publish n=50");
    let refused = rx.err("SequenceNotRetained", "consume cap=16 id=reader start=3");
    assert_names(refused.text(), &["sequence 3", "to 59"]);
    assert_eq!(
        tx.ok("count").number("consumers"),
        0,
        "a refused consumer gates nothing"
    );
    tx.ok("close");
}

#[test]
fn expected_consumers_hold_the_ring_after_exactly_one_lap() {
    for world in World::both(ACTOR) {
        for (expects, ids) in [
            ("ids=left,right", ["left", "right"]),
            ("prefix=worker:2", ["worker_0", "worker_1"]),
        ] {
            let (mut tx, mut one, mut two) = (world.actor(), world.actor(), world.actor());
            tx.ok(&format!("produce cap=16 {expects}"));
            assert_eq!(tx.ok("wait-consumed seq=0 ms=0").word("consumed"), "false");
            assert_eq!(tx.ok("fill").number("count"), 16, "{expects}");
            let late = tx.err("Timeout", "send ms=20");
            assert_names(
                late.text(),
                &[world.name(), "have not come", ids[0], ids[1]],
            );
            assert_eq!(
                one.ok(&format!("consume cap=16 id={}", ids[0]))
                    .number("next"),
                0
            );
            one.ok("recv n=16").assert_saw(0, 15);
            assert_eq!(
                tx.ok("fill").number("count"),
                0,
                "the other one is still to come"
            );
            let late = tx.err("Timeout", "send ms=20");
            assert!(
                !late.text().contains(&format!("\"{}\"", ids[0])),
                "{}",
                late.text()
            );
            assert_eq!(
                two.ok(&format!("consume cap=16 id={}", ids[1]))
                    .number("next"),
                0
            );
            two.ok("recv n=16").assert_saw(0, 15);
            assert_eq!(tx.ok("fill").number("count"), 16);
            tx.ok("destroy");
        }
    }
}

#[test]
fn any_expected_consumer_holds_the_ring_after_exactly_one_lap() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=4 any");
    assert_eq!(tx.ok("fill").number("count"), 4);
    assert_names(tx.ok("blocked").text(), &["any consumer"]);
    assert_eq!(rx.ok("consume cap=4").number("next"), 0);
    rx.ok("recv n=4").assert_saw(0, 3);
    assert_eq!(tx.ok("fill").number("count"), 4);
    rx.ok("leave");
    assert_eq!(
        tx.ok("publish n=100").number("last"),
        107,
        "a consumer that came once counts for good"
    );
    tx.ok("close");
}

#[test]
fn buffer_until_consumers_takes_so_many_and_no_more() {
    for (world, (buffer, takes)) in [(4, 4), (16, 16), (100, 16)]
        .into_iter()
        .flat_map(|plan| World::both(ACTOR).map(|world| (world, plan)))
    {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok(&format!("produce cap=16 buffer={buffer}"));
        assert_eq!(tx.ok("fill").number("count"), takes);
        assert_names(tx.err("Timeout", "send ms=10").text(), &["any consumer"]);
        assert_eq!(rx.ok("consume cap=16 id=reader").number("next"), 0);
        assert_eq!(tx.ok("fill").number("count"), 16 - takes);
        rx.ok("recv n=16").assert_saw(0, 15);
        tx.ok("destroy");
    }
}

#[test]
fn waiting_for_consumers_fails_by_name() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        let missing = tx.err(
            "CoordinationTimeout",
            "produce cap=8 ids=left,right wait=3:50",
        );
        assert_names(
            missing.text(),
            &[world.name(), "left", "right", "3 of 3 consumers", "50ms"],
        );
        assert!(
            !world.is_named(),
            "a producer that was not built leaves nothing"
        );
        tx.tell("produce cap=8 ids=left wait=2:60000");
        myelon_tests::wait_until("the ring is there", || world.is_named());
        rx.ok("consume cap=8 id=left");
        assert!(tx.is_silent_for(Duration::from_millis(20)), "one of two");
        let mut other = world.actor();
        other.ok("consume cap=8");
        tx.expect_ok();
        tx.ok("close");
    }
}

/// A builder that fails after it has created a ring, or taken one over, undoes that.
#[test]
fn a_producer_that_is_not_handed_out_leaves_the_ring_as_it_was() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx, mut late) = (world.actor(), world.actor(), world.actor());
        // a new ring: a consumer that attached meanwhile is told that the ring has ended
        tx.tell("produce cap=8 wait=2:3000");
        myelon_tests::wait_until("the ring is there", || world.is_named());
        rx.ok("consume cap=8 id=early");
        tx.expect_err("CoordinationTimeout");
        assert_eq!(rx.ok("drain").word("end"), "Closed");
        rx.ok("drop-rx");
        assert!(!world.is_named());

        // a dead producer's ring: it is dead again, and the next producer continues
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        tx.ok("publish n=3");
        tx.kill();
        let mut tx = world.actor();
        tx.err("CoordinationTimeout", "produce cap=8 wait=3:50");
        let drained = rx.ok("drain");
        drained.assert_saw(0, 2);
        assert_eq!(drained.word("end"), "ProducerDead");
        assert_eq!(tx.ok("produce cap=8").number("next"), 3);

        // a ring that was closed and kept: it is closed and kept again
        tx.ok("keep");
        tx.err("CoordinationTimeout", "produce cap=8 wait=3:50");
        assert_eq!(rx.ok("drain").word("end"), "Closed");
        assert!(world.is_named(), "kept");
        late.ok("consume cap=8 id=late");
        let drained = late.ok("drain");
        drained.assert_saw(0, 2);
        assert_eq!(drained.word("end"), "Closed");
        assert_eq!(tx.ok("produce cap=8").number("next"), 3);
        tx.ok("destroy");
    }
}

/// Producer and consumer are killed. The producer that takes the ring over waits for consumers that are alive.
#[test]
fn dead_consumers_count_neither_as_come_nor_as_waited_for() {
    for world in World::both(ACTOR) {
        let killed_together = || {
            let (mut tx, mut rx) = (world.actor(), world.actor());
            tx.ok("produce cap=4");
            rx.ok("consume cap=4");
            tx.kill();
            rx.kill();
        };

        killed_together();
        let (mut tx, mut one, mut two) = (world.actor(), world.actor(), world.actor());
        let missing = tx.err("CoordinationTimeout", "produce cap=4 wait=1:50");
        assert_names(missing.text(), &["1 of 1 consumers"]);
        killed_together();
        tx.tell("produce cap=4 wait=2:60000");
        // nor does a consumer count that dies while the producer waits for others
        let mut dies = world.actor();
        dies.ok("consume cap=4");
        assert!(tx.is_silent_for(Duration::from_millis(20)), "one of two");
        dies.kill();
        one.ok("consume cap=4");
        assert!(tx.is_silent_for(Duration::from_millis(300)), "one of two");
        two.ok("consume cap=4");
        tx.expect_ok();
        tx.ok("destroy");
        one.ok("leave");
        two.ok("leave");

        for announced in ["any", "buffer=4"] {
            killed_together();
            tx.ok(&format!("produce cap=4 {announced}"));
            assert_eq!(tx.ok("fill").number("count"), 4, "{announced}");
            let late = tx.err("Timeout", "send ms=50");
            assert_names(late.text(), &["have not come", "any consumer"]);
            assert_eq!(one.ok("consume cap=4").number("next"), 0, "{announced}");
            one.ok("recv n=4").assert_saw(0, 3);
            tx.ok("publish n=1");
            one.ok("leave");
            tx.ok("destroy");
        }
    }
}
