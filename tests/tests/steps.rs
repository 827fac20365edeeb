//! A takeover that dies at any of its steps leaves the event alone that a reader has leased. All other tests of
//! single steps are in `sweep.rs`.
//!
//! The steps are the fail points of `disruptor-mp/src/testing/fail.rs`, which only debug builds have.
#![cfg(debug_assertions)]

use disruptor_mp::FAIL_POINTS;
use myelon_tests::World;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

#[test]
fn takeover_killed_at_each_of_its_steps_leaves_a_held_lease_alone() {
    let is_step = |point: &&&str| point.starts_with("takeover.") && !point.ends_with("_one");
    for step in FAIL_POINTS.iter().filter(is_step) {
        for world in World::both(ACTOR) {
            let (mut tx, mut slow, mut fast) = (world.actor(), world.actor(), world.actor());
            tx.ok("produce cap=16");
            slow.ok("consume cap=16 id=slow");
            fast.ok("consume cap=16 id=fast");
            tx.ok("publish n=16");
            fast.ok("recv n=16").assert_saw(0, 15);
            assert_eq!(slow.ok("lease").number("sequence"), 0);
            tx.kill();
            let mut candidate = world.actor_with(&format!("{step}:1:kill"));
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
