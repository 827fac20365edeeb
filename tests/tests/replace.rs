//! Dead rings that do not fit the request: they are replaced when no process needs them, and kept otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;

use myelon_tests::{World, assert_names};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A ring of 16 slots whose producer was killed, with 5 events in it.
fn dead_ring(world: &World) {
    let mut tx = world.actor();
    tx.ok("produce cap=16");
    tx.ok("publish n=5");
    tx.kill();
    assert!(world.is_named());
}

fn inode(world: &World) -> u64 {
    fs::metadata(world.path()).expect("the ring").ino()
}

#[test]
fn a_ring_that_no_process_uses_is_replaced() {
    for world in World::both(ACTOR) {
        dead_ring(&world);
        let old = fs::File::open(world.path()).expect("open");
        let mut tx = world.actor();
        assert_eq!(tx.ok("produce cap=32").number("next"), 0);
        assert_ne!(inode(&world), old.metadata().expect("stat").ino());
        tx.ok("close");
    }
}

#[test]
fn replaced_when_only_dead_automatic_consumers_are_in_it() {
    for world in World::both(ACTOR) {
        let mut rx = world.actor();
        let mut tx = world.actor();
        tx.ok("produce cap=16");
        rx.ok("consume cap=16");
        tx.kill();
        rx.kill();
        let mut tx = world.actor();
        assert_eq!(tx.ok("produce cap=32").number("next"), 0);
        tx.ok("close");
    }
}

#[test]
fn kept_when_a_consumer_is_alive() {
    for world in World::both(ACTOR) {
        dead_ring(&world);
        let (mut rx, mut tx) = (world.actor(), world.actor());
        rx.ok("consume cap=16");
        let before = inode(&world);
        let refused = tx.err("InUse", "produce cap=32");
        let words = [
            "cannot be replaced",
            world.name(),
            "16 slots",
            "32 slots",
            "consumers are attached",
            "recreate()",
        ];
        assert_names(refused.text(), &words);
        assert_eq!(inode(&world), before);
        rx.ok("recv n=5").assert_saw(0, 4);
        rx.ok("leave");
        assert_eq!(tx.ok("produce cap=32").number("next"), 0);
        tx.ok("close");
    }
}

#[test]
fn kept_when_a_consumer_is_away() {
    for world in World::both(ACTOR) {
        dead_ring(&world);
        let (mut rx, mut killed, mut tx) = (world.actor(), world.actor(), world.actor());
        rx.ok("consume cap=16 id=on-holiday");
        rx.ok("detach");
        killed.ok("consume cap=16 id=shot-down");
        killed.kill();
        // held open, so that a new file does not get the old one's inode number
        let old = fs::File::open(world.path()).expect("open");
        let before = old.metadata().expect("stat").ino();
        let refused = tx.err("InUse", "produce cap=32");
        let words = [
            "cannot be replaced",
            "are away",
            "on-holiday",
            "shot-down",
            "recreate()",
        ];
        assert_names(refused.text(), &words);
        assert_eq!(inode(&world), before, "nothing was changed");
        // a consumer that comes back finds its place
        assert_eq!(rx.ok("consume cap=16 id=on-holiday").number("next"), 0);
        rx.ok("recv n=5").assert_saw(0, 4);
        rx.ok("detach");
        // `recreate` replaces the ring
        assert_eq!(tx.ok("produce cap=32 recreate").number("next"), 0);
        assert_ne!(inode(&world), before);
        assert_eq!(tx.ok("count").number("consumers"), 0);
        tx.ok("close");
    }
}

#[test]
fn recreate_takes_over_a_ring_that_fits() {
    for world in World::both(ACTOR) {
        dead_ring(&world);
        let before = inode(&world);
        let mut tx = world.actor();
        assert_eq!(
            tx.ok("produce cap=16 recreate").number("next"),
            5,
            "its sequence goes on"
        );
        assert_eq!(inode(&world), before);
        tx.ok("close");
    }
}

#[test]
fn consumers_of_a_recreated_ring_drain_the_old_one() {
    for world in World::both(ACTOR) {
        dead_ring(&world);
        let (mut rx, mut tx) = (world.actor(), world.actor());
        rx.ok("consume cap=16 id=reader");
        tx.ok("produce cap=32 recreate");
        tx.ok("publish n=9");
        let old = rx.ok("drain");
        old.assert_saw(0, 4);
        assert_eq!(
            old.word("end"),
            "NameRemoved",
            "the new producer is not theirs"
        );
        rx.ok("detach");
        rx.ok("consume cap=32 id=reader");
        rx.ok("recv n=9").assert_saw(0, 8);
        tx.ok("close");
    }
}

#[test]
fn two_that_start_at_once_get_one_producer() {
    for round in 0..20 {
        let world = World::shared_memory(ACTOR);
        if round % 2 == 1 {
            dead_ring(&world);
        }
        let mut candidates = [world.actor(), world.actor(), world.actor()];
        for tx in &mut candidates {
            tx.tell("produce cap=32");
        }
        let replies: Vec<_> = candidates.iter_mut().map(|tx| tx.answer()).collect();
        let winners: Vec<usize> = (0..3)
            .filter(|index| replies[*index].kind().is_none())
            .collect();
        assert_eq!(winners.len(), 1, "{replies:?}");
        for reply in &replies {
            assert!(
                matches!(reply.kind(), None | Some("AlreadyExists")),
                "{}",
                reply.text()
            );
        }
        let winner = &mut candidates[winners[0]];
        winner.ok("publish n=3");
        winner.ok("close");
    }
}
