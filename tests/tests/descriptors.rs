//! A program that closes descriptors that it has not opened. Locks are lost, and other files get the
//! descriptors' numbers. The library detects and reports that, and leaves the other files alone.

use std::time::{Duration, Instant};

use myelon_tests::{Actor, World, assert_names};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

const SAID: &str = "has closed the descriptor of";

/// Closes descriptors as code does that makes a program a daemon; then opens other files, which get the numbers.
fn close_descriptors(actor: &mut Actor) {
    actor.ok("close-descriptors strangers=20");
}

#[track_caller]
fn assert_strangers_are_left(actor: &mut Actor) {
    assert_eq!(actor.ok("strangers").number("left"), 20);
}

/// The ring is full when the lock is lost, so that the first producer's next event needs a refresh of the gate.
#[test]
fn of_two_producers_one_writes() {
    for world in World::both(ACTOR) {
        let (mut first, mut second, mut rx) = (world.actor(), world.actor(), world.actor());
        first.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        assert_eq!(first.ok("fill").number("count"), 8);
        close_descriptors(&mut first);
        // there is no lock, so no process can tell that the first producer is alive
        assert_eq!(second.ok("produce cap=8").number("next"), 8);
        rx.ok("recv n=8").assert_saw(0, 7);
        second.ok("publish n=1");
        let refused = first.err("LockLost", "publish n=1");
        assert_names(refused.text(), &[SAID, "the producer's lock"]);
        assert_eq!(first.ok("fill").number("count"), 0, "nor without waiting");
        first.err("LockLost", "batch n=2");
        assert_names(first.ok("blocked").text(), &[SAID]);
        let refused = first.err("Io", "close");
        assert_names(refused.text(), &["could not end the ring", SAID]);
        assert_strangers_are_left(&mut first);
        first.leave();
        // the second producer was not disturbed
        second.ok("publish n=2");
        rx.ok("recv n=3").assert_saw(8, 10);
        assert!(world.is_named());
        second.ok("close");
    }
}

#[test]
fn a_blocked_producer_notices_while_it_waits() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8 interval_ms=50 strategy=block");
        rx.ok("consume cap=8 id=reader");
        tx.ok("fill");
        close_descriptors(&mut tx);
        let begun = Instant::now();
        tx.err("LockLost", "send ms=30000");
        assert!(begun.elapsed() < Duration::from_secs(10));
        tx.ok("drop-tx");
        assert_strangers_are_left(&mut tx);
        // the same as after a death
        let dead = rx.ok("drain");
        dead.assert_saw(0, 7);
        assert_eq!(dead.word("end"), "ProducerDead");
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=8").number("next"), 8);
        successor.ok("close");
    }
}

#[test]
fn a_producer_that_only_ends_leaves_its_ring_to_a_successor() {
    for world in World::both(ACTOR) {
        for ending in ["close", "keep", "destroy"] {
            let mut tx = world.actor();
            tx.ok("produce cap=8");
            tx.ok("publish n=1");
            close_descriptors(&mut tx);
            assert_names(tx.err("Io", ending).text(), &[SAID]);
            assert_strangers_are_left(&mut tx);
            assert!(world.is_named(), "{ending}");
        }
        let mut successor = world.actor();
        assert_eq!(successor.ok("produce cap=8").number("next"), 1 + 2);
        successor.ok("close");
    }
}

/// The producer sends nothing, so nothing but the lost lock ends the wait.
#[test]
fn a_set_and_a_future_notice_while_they_wait() {
    for by in ["set", "task"] {
        for world in World::both(ACTOR) {
            let (mut tx, mut rx) = (world.actor(), world.actor());
            tx.ok("produce cap=8");
            rx.ok("consume cap=8 id=reader interval_ms=50 strategy=block");
            close_descriptors(&mut rx);
            let begun = Instant::now();
            rx.err("LockLost", &format!("recv n=1 ms=30000 by={by}"));
            assert!(begun.elapsed() < Duration::from_secs(10), "{by}");
            rx.ok("drop-rx");
            assert_strangers_are_left(&mut rx);
            tx.ok("destroy");
        }
    }
}

#[test]
fn a_managed_producer_notices_while_it_waits() {
    for world in World::both(ACTOR) {
        for required in ["reader", "nobody"] {
            let (mut tx, mut rx) = (world.actor(), world.actor());
            tx.ok("produce cap=8 interval_ms=50 strategy=block");
            rx.ok("consume cap=8 id=reader");
            tx.ok("fill");
            close_descriptors(&mut tx);
            // it waits for space, or for a consumer that does not come
            let line = format!("require id={required} ms=30000");
            let begun = Instant::now();
            let refused = tx.err("LockLost", &line);
            assert!(begun.elapsed() < Duration::from_secs(10), "{required}");
            assert_names(refused.text(), &[SAID, "the producer's lock"]);
            // and does not wait the next time
            tx.err("LockLost", &line);
            tx.ok("drop-tx");
            assert_strangers_are_left(&mut tx);
            let dead = rx.ok("drain");
            dead.assert_saw(0, 7);
            assert_eq!(dead.word("end"), "ProducerDead");
            rx.ok("leave");
            world.actor().ok("produce cap=8");
        }
        world.actor().ok("produce cap=8");
    }
}

/// A producer and a consumer in one process.
#[test]
fn messages_and_values_notice_too() {
    let world = World::shared_memory(ACTOR);
    let mut actor = world.actor();
    let said = actor.ok(&format!("lose-messages name={} strangers=20", world.name()));
    for (call, error) in [
        ("send", "Send(LockLost)"),
        ("send-long", "Send(LockLost)"),
        ("try", "Full"),
        ("send-value", "Transport(Send(LockLost))"),
        ("managed", "RequiredConsumer(LockLost)"),
        ("managed-value", "Transport(RequiredConsumer(LockLost))"),
        ("recv-value", "Recv(LockLost)"),
        ("recv", "LockLost"),
        ("recv-copy", "LockLost"),
    ] {
        assert_eq!(said.word(call), error, "{call}");
    }
    assert!(said.number("read") <= 8, "{}", said.text());
    assert_names(
        said.text(),
        &["could not detach", "could not end the ring", SAID],
    );
    assert_strangers_are_left(&mut actor);
}

/// The handler's thread waits, and nothing comes.
#[test]
fn a_handler_thread_ends_with_the_lost_lock() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("handle cap=8 id=reader interval_ms=50 strategy=block");
        close_descriptors(&mut rx);
        let end = rx.err("Custom", "join-handler");
        assert_names(end.text(), &[SAID, "the reader's lock"]);
        assert_strangers_are_left(&mut rx);
        // its line is left as after a death
        tx.ok("publish n=1");
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=8 id=reader").number("next"), 0);
        again.ok("recv").assert_saw(0, 0);
        tx.ok("close");
    }
}

#[test]
fn a_readiness_neither_writes_nor_closes_the_file_that_got_its_number() {
    let said = World::shared_memory(ACTOR).actor().ok("lose-readiness");
    assert_eq!((said.word("open"), said.number("written")), ("true", 0));
    assert_names(said.text(), &[SAID, "Readiness", "make another one"]);
}

/// The same process opens the ring again. The new descriptors have the numbers of the old ones, and refer to
/// the same file.
#[test]
fn a_second_handle_under_the_same_numbers_is_not_taken_for_the_first() {
    for world in World::both(ACTOR) {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        rx.ok("consume cap=8 id=reader");
        rx.ok("close-descriptors strangers=0");
        // the second handle exists when the first one is dropped
        rx.ok("consume cap=8 id=reader");
        let mut thief = world.actor();
        thief.err("ConsumerAlreadyAttached", "consume cap=8 id=reader");
        tx.ok("publish n=2");
        rx.ok("recv n=2").assert_saw(0, 1);
        tx.ok("close");
    }
}

#[test]
fn consumers_notice_and_leave_their_line_alone() {
    for world in World::both(ACTOR) {
        let (mut tx, mut automatic, mut durable) = (world.actor(), world.actor(), world.actor());
        tx.ok("produce cap=8");
        automatic.ok("consume cap=8 interval_ms=50 strategy=block");
        durable.ok("consume cap=8 interval_ms=50 strategy=sleep id=durable");
        for rx in [&mut automatic, &mut durable] {
            close_descriptors(rx);
            let refused = rx.err("LockLost", "recv ms=30000");
            assert_names(refused.text(), &[SAID, "the reader's lock"]);
        }
        // no event is read any more, although there is one
        tx.ok("publish n=1");
        for rx in [&mut automatic, &mut durable] {
            rx.err("LockLost", "recv ms=30000");
        }
        let refused = automatic.err("Io", "detach");
        assert_names(refused.text(), &["could not detach", SAID]);
        durable.ok("drop-rx");
        for rx in [&mut automatic, &mut durable] {
            assert_strangers_are_left(rx);
        }
        let mut again = world.actor();
        assert_eq!(again.ok("consume cap=8 id=durable").number("next"), 0);
        again.ok("recv").assert_saw(0, 0);
        tx.ok("close");
    }
}

/// The consumer has not noticed the loss before it ends.
#[test]
fn a_consumer_that_only_ends_leaves_strangers_alone() {
    for world in World::both(ACTOR) {
        let mut tx = world.actor();
        tx.ok("produce cap=8");
        for ending in ["detach", "leave"] {
            let mut rx = world.actor();
            rx.ok("consume cap=8");
            close_descriptors(&mut rx);
            assert_names(rx.err("Io", ending).text(), &[SAID]);
            assert_strangers_are_left(&mut rx);
        }
        let mut rx = world.actor();
        rx.ok("consume cap=8");
        close_descriptors(&mut rx);
        rx.ok("drop-rx");
        assert_strangers_are_left(&mut rx);
        tx.ok("close");
    }
}

#[test]
fn an_observer_notices_a_closed_descriptor() {
    for world in World::both(ACTOR) {
        let (mut tx, mut watcher) = (world.actor(), world.actor());
        tx.ok("produce cap=8 observers");
        watcher.ok("observe cap=8 interval_ms=50 strategy=block");
        close_descriptors(&mut watcher);
        assert_eq!(watcher.ok("watch ms=30000").word("end"), "LockLost");
        assert_strangers_are_left(&mut watcher);
        tx.ok("close");
    }
}

/// The fork handler closes in the child the descriptors that the library listed, not other files that have
/// their numbers now.
#[test]
fn children_keep_strangers() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=8");
    rx.ok("consume cap=8 id=reader");
    close_descriptors(&mut rx);
    assert_names(rx.ok("fork-strangers").text(), &["left=20", ", 0)"]);
    assert_strangers_are_left(&mut rx);
    rx.ok("drop-rx");
    tx.ok("close");
}
