//! `fork`: handles belong to the process that made them, and no process counts as alive because of what a child
//! inherits.

use myelon_tests::{World, assert_names, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A process that is not a child of the test. It is killed by its process id.
struct Orphan(Pid);

impl Orphan {
    fn new(number: i64) -> Self {
        Self(Pid::from_raw(number as i32))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn child_that_uses_its_parents_consumer_is_refused_and_the_parent_goes_on() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16 id=reader");
        tx.ok("publish n=8");
        let said = rx.ok("fork-use");
        let refused = "this consumer was made before a fork and belongs to the parent process";
        assert_names(
            said.text(),
            &[
                "recv: Some(\"Forked\")",
                &format!("try_consume_next: {refused}"),
                &format!("leased: {refused}"),
                &format!("process: {refused}"),
                "newest: -1",
                ", 0)", // it exited without an error: dropping did no harm
            ],
        );
        // the drop in the child neither detached the parent nor freed its locks
        let mut thief = world.actor();
        thief.err("ConsumerAlreadyAttached", "consume cap=16 id=reader");
        rx.ok("recv n=8").assert_saw(0, 7);
        tx.ok("close");
    }
}

#[test]
fn child_that_uses_its_parents_producer_is_refused_and_the_parent_goes_on() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16 id=reader");
        tx.ok("publish n=2");
        let said = tx.ok("fork-use");
        let refused = "this producer was made before a fork and belongs to the parent process";
        assert_names(
            said.text(),
            &[
                "send: Some(\"Forked\")",
                &format!("try_publish: {refused}"),
                &format!("try_claim: {refused}"),
                ", 0)",
            ],
        );
        assert!(
            world.is_named(),
            "the drop in the child did not end the ring"
        );
        let mut thief = world.actor();
        thief.err("AlreadyExists", "produce cap=16");
        tx.ok("publish n=2");
        rx.ok("recv n=4").assert_saw(0, 3);
        tx.ok("close");
        assert_eq!(rx.ok("drain").word("end"), "Closed");
    }
}

#[test]
fn asking_in_a_child_is_harmless_too() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=16");
    rx.ok("consume cap=16 id=reader");
    // each call is made in a child of its own; no child may be killed by a signal
    for (actor, questions) in [
        (
            &mut tx,
            &[
                "state", "count", "gate", "consumed", "find", "remove", "blocked", "claim",
                "counters", "show",
            ][..],
        ),
        (&mut rx, &["state", "newest", "counters", "leave"][..]),
    ] {
        for question in questions {
            let said = actor.ok(&format!("fork-ask what={question}"));
            assert!(said.text().contains(", 0)"), "{question}: {}", said.text());
        }
    }
    tx.ok("publish n=1");
    rx.ok("recv").assert_saw(0, 0);
    tx.ok("close");
}

/// A descriptor and a handler have a thread, which does not exist in a child, whatever memory the ring is in.
#[test]
fn threads_stay_with_the_parent() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=16");
    rx.ok("consume cap=16 id=reader");
    for what in ["descriptor", "heap-descriptor"] {
        let said = rx.ok(&format!("fork-ask what={what}"));
        let refused = "arm: this consumer was made before a fork";
        assert_names(said.text(), &[refused, "dropped", ", 0)"]);
        assert!(!said.text().contains("Signaled"), "{what}: {}", said.text());
    }
    let said = rx.ok("fork-ask what=handler");
    let refused = "join: this handle was made before a fork";
    assert_names(said.text(), &["running: false", refused, "dropped", ", 0)"]);
    assert!(!said.text().contains("Signaled"), "{}", said.text());
    tx.ok("publish n=1");
    rx.ok("recv").assert_saw(0, 0);
    tx.ok("close");
}

/// Threads of the parent attach, detach and cancel while it forks. A child inherits the state of whatever they
/// were doing.
#[test]
fn children_cancel_whatever_their_parents_threads_were_doing() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    assert_eq!(rx.ok("fork-cancel rounds=300").number("ended"), 300);
    tx.ok("close");
}

#[test]
fn child_may_attach_for_itself() {
    let world = World::shared_memory(ACTOR);
    let mut tx = world.actor();
    tx.ok("produce cap=8");
    tx.ok("publish n=1");
    assert_names(tx.ok("fork-attach").text(), &["first=Ok(0)", ", 0)"]);
    tx.ok("close");
}

#[test]
fn producer_killed_while_its_child_lives_on_counts_as_dead() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=16");
        rx.ok("consume cap=16 id=reader");
        tx.ok("publish n=2");
        let orphan = Orphan::new(tx.ok("fork-stay").number("child"));
        tx.ok("publish n=1");
        tx.kill();
        assert!(kill(orphan.0, None).is_ok(), "the child is alive");
        let dead = rx.ok("drain");
        dead.assert_saw(0, 2);
        assert_eq!(dead.word("end"), "ProducerDead");
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=16").number("next"), 3);
        successor.ok("close");
    }
}

#[test]
fn consumers_killed_while_their_children_live_on_count_as_dead() {
    for world in World::both(ACTOR) {
        let (mut tx, mut automatic, mut durable) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=8");
        automatic.ok("consume cap=8");
        durable.ok("consume cap=8 id=durable");
        let children = [&mut automatic, &mut durable]
            .map(|actor| Orphan::new(actor.ok("fork-stay").number("child")));
        automatic.kill();
        durable.kill();
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=8 id=durable").number("next"), 0);
        tx.tell("publish n=20");
        again.ok("recv n=20").assert_saw(0, 19);
        tx.expect_ok();
        wait_until("only the durable one is left", || {
            tx.ok("count").number("consumers") == 1
        });
        assert!(children.iter().all(|child| kill(child.0, None).is_ok()));
        tx.ok("close");
    }
}
