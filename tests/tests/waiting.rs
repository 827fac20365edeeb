//! Sleeping in the kernel, between processes (R9): sleep costs no processor time, everything that may end a
//! wait also ends it for a sleeper, and dead processes do no harm. `wake_ups.rs` tests that no wake-up is lost.
//!
//! The liveness interval in most tests is so long ([`NEVER_MS`]) that a process that is not woken sleeps for at
//! least 20 s. An answer that comes much sooner was caused by a wake-up. The ring's own waiters line shows
//! whether a process sleeps.

use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, Deadline, DisruptorBuilder, MultiProcessError, RecvError,
    RequiredConsumerError, RequiredConsumerLivenessConfig, SendError, SharedMemory,
    build_shared_single_producer,
};
use myelon_tests::waiters::{NEVER_MS, attach, wait_for_sleepers, wait_for_wish, woken};
use myelon_tests::{Actor, Record, World, assert_names, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// The words that make an actor sleep until it is woken.
const ASLEEP: &str = "strategy=block interval_ms=30000";

fn pair(world: &World, capacity: usize) -> (Actor, Actor) {
    attach(world.actor(), world.actor(), capacity, NEVER_MS)
}

// ---- dead processes

#[test]
fn a_killed_sleeper_does_no_harm() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = pair(&world, 8);
    let mut other = world.actor();
    other.ok(&format!("consume cap=8 id=other {ASLEEP}"));
    rx.tell("recv n=1");
    other.tell("recv n=1");
    wait_for_sleepers(&world, 2);
    rx.kill();
    assert_eq!(
        world.sleepers(),
        2,
        "nobody takes its bit away before a wake-up"
    );
    woken("the other one's event", || {
        tx.ok("publish n=1");
        other.expect_ok().assert_saw(0, 0);
    });
    // it comes back to its position, and is woken again
    let mut again = world.actor();
    again.ok(&format!("consume cap=8 id=reader {ASLEEP}"));
    again.ok("recv n=1").assert_saw(0, 0);
    again.tell("recv n=1");
    other.tell("recv n=1");
    wait_for_sleepers(&world, 2);
    woken("the event of one who came back", || {
        tx.ok("publish n=1");
        again.expect_ok().assert_saw(1, 1);
        other.expect_ok().assert_saw(1, 1);
    });
    tx.ok("destroy");
}

#[test]
fn a_killed_producer_that_slept_leaves_a_wish_that_does_no_harm() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = pair(&world, 4);
    tx.ok("publish n=4");
    tx.tell("publish n=1");
    wait_for_wish(&world);
    tx.kill();
    assert!(world.is_space_wanted());
    rx.ok("recv n=4").assert_saw(0, 3);
    assert!(!world.is_space_wanted(), "the first waker takes it away");
    let mut successor = world.actor();
    assert_eq!(
        successor
            .ok(&format!("produce cap=4 {ASLEEP}"))
            .number("next"),
        4
    );
    successor.ok("publish n=4");
    rx.ok("recv n=4").assert_saw(4, 7);
    successor.ok("destroy");
}

#[test]
fn a_sleeping_consumer_learns_of_the_producers_death() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = attach(world.actor(), world.actor(), 8, 500);
    rx.tell("recv n=1");
    wait_for_sleepers(&world, 1);
    woken("the death", || {
        tx.kill();
        rx.expect_err("ProducerDead");
    });
    let mut successor = world.actor();
    successor.ok("produce cap=8");
    successor.ok("destroy");
}

#[test]
fn a_stopped_producer_is_not_dead_to_a_sleeper() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = attach(world.actor(), world.actor(), 8, 50);
    tx.stop();
    rx.tell("recv n=1");
    assert!(
        rx.is_silent_for(Duration::from_millis(500)),
        "it checks for a death ten times meanwhile"
    );
    tx.resume();
    tx.ok("publish n=1");
    rx.expect_ok().assert_saw(0, 0);
    tx.ok("destroy");
}

#[test]
fn a_dead_automatic_consumer_leaves_a_sleeping_producers_gate() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce cap=4 strategy=block interval_ms=500");
    rx.ok("consume cap=4");
    tx.ok("publish n=4");
    tx.tell("publish n=1");
    wait_for_wish(&world);
    woken("the death", || {
        rx.kill();
        assert_eq!(tx.expect_ok().number("last"), 4);
    });
    tx.ok("destroy");
}

// ---- every end of a wait also wakes a sleeper

#[test]
fn closing_wakes_a_sleeping_consumer() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = pair(&world, 8);
    rx.tell("recv n=1");
    wait_for_sleepers(&world, 1);
    woken("the end", || {
        tx.ok("close");
        rx.expect_err("Closed");
    });
}

#[test]
fn the_first_event_of_a_successor_wakes_a_consumer_that_slept_through_the_death() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = pair(&world, 8);
    tx.ok("publish n=2");
    rx.ok("recv n=2").assert_saw(0, 1);
    rx.tell("recv n=1");
    wait_for_sleepers(&world, 1);
    tx.kill();
    let mut successor = world.actor();
    successor.ok("produce cap=8");
    woken("the successor's event", || {
        successor.ok("publish n=1");
        rx.expect_ok().assert_saw(2, 2);
    });
    successor.ok("destroy");
}

#[test]
fn a_consumer_that_leaves_the_gate_wakes_a_sleeping_producer() {
    // with an automatic id detaching is enough; a durable consumer has to leave for good
    for (id, end) in [("", "detach"), ("", "drop-rx"), ("id=slow", "leave")] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut fast) = pair(&world, 4);
        let mut slow = world.actor();
        slow.ok(&format!("consume cap=4 {id} {ASLEEP}"));
        tx.ok("publish n=4");
        fast.ok("recv n=4").assert_saw(0, 3);
        tx.tell("publish n=1");
        wait_for_wish(&world);
        woken("the space", || {
            slow.ok(end);
            assert_eq!(tx.expect_ok().number("last"), 4, "{end} {id}");
        });
        tx.ok("destroy");
    }
}

#[test]
fn a_consumer_that_joins_wakes_a_producer_that_waits_for_it() {
    for wait in ["await-id id=late ms=60000", "require id=late ms=60000"] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut late) = (world.actor(), world.actor());
        tx.ok(&format!("produce cap=8 {ASLEEP}"));
        tx.tell(wait);
        wait_for_wish(&world);
        woken(wait, || {
            late.ok(&format!("consume cap=8 id=late {ASLEEP}"));
            tx.expect_ok();
        });
        tx.ok("destroy");
    }
}

#[test]
fn a_consumer_that_attaches_wakes_a_producer_that_is_being_built() {
    for id in ["id=late", ""] {
        let world = World::shared_memory(ACTOR);
        let (mut tx, mut late) = (world.actor(), world.actor());
        tx.tell(&format!("produce cap=8 wait=1:60000 {ASLEEP}"));
        wait_until("the ring has a name", || world.is_named());
        wait_for_wish(&world);
        woken("the consumer that was waited for", || {
            late.ok(&format!("consume cap=8 {id} {ASLEEP}"));
            tx.expect_ok();
        });
        tx.ok("destroy");
    }
}

// ---- a cancel token

fn builder(world: &World, strategy: AutoWaitStrategy) -> DisruptorBuilder<Record, SharedMemory> {
    build_shared_single_producer(world.name(), 4)
        .with_wait_strategy(strategy)
        .with_liveness_interval(Duration::from_millis(NEVER_MS))
}

const STRATEGIES: [AutoWaitStrategy; 4] = [
    AutoWaitStrategy::Block,
    AutoWaitStrategy::BusySpin,
    AutoWaitStrategy::SpinThenYield { spins: 100 },
    AutoWaitStrategy::Sleep(Duration::from_millis(1)),
];

#[test]
fn a_cancel_token_ends_waits_asleep_or_awake() {
    for strategy in STRATEGIES {
        let world = World::shared_memory(ACTOR);
        let token = CancelToken::new();
        let build = || builder(&world, strategy).with_cancel_token(&token);
        let mut tx = build().build_zeroed_producer().expect("a producer");
        let mut rx = build().build_consumer().expect("a consumer");
        // this consumer takes no event, so the ring stays full
        let _holds_back = builder(&world, strategy)
            .build_consumer()
            .expect("one more");
        for sequence in 0..4 {
            tx.publish(|record| record.write(sequence));
            rx.recv(Deadline::NEVER).expect("an event").commit();
        }
        let is_block = strategy == AutoWaitStrategy::Block;
        thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(Deadline::NEVER, |_| {}));
            let receiving = scope.spawn(|| rx.recv(Deadline::NEVER).map(|_| ()));
            if is_block {
                wait_for_sleepers(&world, 1);
                wait_for_wish(&world);
            } else {
                thread::sleep(Duration::from_millis(30));
            }
            woken("the cancellation", || {
                token.cancel();
                let sent = sending.join().expect("the producer's thread");
                let received = receiving.join().expect("the consumer's thread");
                assert_eq!(sent, Err(SendError::Cancelled), "{strategy:?}");
                assert_eq!(received, Err(RecvError::Cancelled), "{strategy:?}");
            });
        });
        // later waits end as well, and so does a call that would not have to wait
        assert_eq!(
            rx.recv(Deadline::NEVER).map(|_| ()),
            Err(RecvError::Cancelled)
        );
        tx.destroy().expect("destroyed");
    }
}

#[test]
fn a_cancellation_at_any_moment_of_falling_asleep_is_seen() {
    let world = World::shared_memory(ACTOR);
    let strategy = AutoWaitStrategy::Block;
    let tx = builder(&world, strategy)
        .build_zeroed_producer()
        .expect("a producer");
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..500 {
        let token = CancelToken::new();
        let builder = builder(&world, strategy).with_cancel_token(&token);
        let mut rx = builder.build_consumer().expect("a consumer");
        let pause = Duration::from_micros(random.u64(0..200));
        woken("the cancellation", || {
            thread::scope(|scope| {
                let receiving = scope.spawn(|| rx.recv(Deadline::NEVER).map(|_| ()));
                thread::sleep(pause);
                token.cancel();
                let received = receiving.join().expect("the consumer's thread");
                assert_eq!(received, Err(RecvError::Cancelled), "round {round}");
            });
        });
    }
    tx.destroy().expect("destroyed");
}

#[test]
fn a_cancel_token_ends_the_wait_for_consumers() {
    let world = World::shared_memory(ACTOR);
    let token = CancelToken::new();
    let strategy = AutoWaitStrategy::Block;
    let build = || builder(&world, strategy).with_cancel_token(&token);
    let patience = Duration::from_millis(2 * NEVER_MS);
    thread::scope(|scope| {
        let building = scope.spawn(|| {
            build()
                .wait_for_consumers(2, patience)
                .build_zeroed_producer()
        });
        wait_until("the ring has a name", || world.is_named());
        wait_for_wish(&world);
        let cancelled = woken("the cancellation", || {
            token.cancel();
            building.join().expect("the builder's thread")
        });
        let error = cancelled.expect_err("nobody came");
        assert!(matches!(
            error,
            MultiProcessError::CoordinationCancelled { .. }
        ));
        assert_names(&error.to_string(), &[world.name(), "2 of 2 consumers"]);
    });
    // the waits of a producer that is already attached
    let mut tx = build().build_zeroed_producer().expect("a producer");
    let _holds_back = builder(&world, strategy).build_consumer().expect("one");
    tx.publish(|record| record.write(0));
    woken("a wait for a consumer that does not come", || {
        let deadline = Deadline::after(patience);
        let came = tx.wait_for_consumer("late", deadline);
        assert_eq!(came, Err(SendError::Cancelled));
        assert!(!tx.wait_for_consumer_id("late", patience));
        let consumed = tx.wait_until_consumed(0, deadline);
        assert_eq!(consumed, Err(SendError::Cancelled));
        assert!(!tx.wait_until_consumed_with_strategy(0, patience, strategy));
        tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
            required_consumer_ids: vec!["late".into()],
            startup_wait_timeout: patience,
            ..Default::default()
        });
        let published = tx.publish_managed(|_| {});
        assert_eq!(published, Err(RequiredConsumerError::Cancelled));
    });
    tx.destroy().expect("destroyed");
}

// ---- the cost of sleeping

/// The fraction of two seconds of waiting for which the actor keeps a core busy.
fn busy(actor: &mut Actor, wait: &str) -> f64 {
    let before = actor.ok("cpu").number("us");
    let start = Instant::now();
    actor.err("Timeout", &format!("{wait} ms=2000"));
    let elapsed = start.elapsed();
    let used = actor.ok("cpu").number("us") - before;
    used as f64 / elapsed.as_micros() as f64
}

#[test]
fn a_sleeping_process_uses_next_to_no_processor_time() {
    let world = World::shared_memory(ACTOR);
    let (mut tx, mut rx) = (world.actor(), world.actor());
    // spins: a consumer that yields uses almost no time on a busy machine, because another process always wants
    // the core
    let mut spins = world.actor();
    tx.ok("produce cap=4 strategy=block");
    rx.ok("consume cap=4 id=reader strategy=block");
    spins.ok("consume cap=4 id=spins strategy=hint");
    let consumer = busy(&mut rx, "recv");
    let control = busy(&mut spins, "recv");
    tx.ok("publish n=4");
    let producer = busy(&mut tx, "send");
    println!("consumer {consumer:.4}, producer {producer:.4}, spinning {control:.4}");
    assert!(consumer < 0.02, "{consumer}");
    assert!(producer < 0.02, "{producer}");
    assert!(control > 4.0 * consumer, "the control shows no difference");
    tx.ok("destroy");
}

/// The processor time of one second in which no consumer comes, for every call that waits for one.
#[test]
fn a_producer_that_waits_for_consumers_uses_next_to_no_processor_time() {
    let world = World::shared_memory(ACTOR);
    let mut tx = world.actor();
    for (wait, kind) in [
        ("produce cap=8 wait=1:1000", Some("CoordinationTimeout")),
        ("produce cap=8", None),
        ("await-id id=late ms=1000", None),
        ("require id=late ms=1000", Some("StartupTimeout")),
    ] {
        let before = tx.ok("cpu").number("us");
        match kind {
            Some(kind) => tx.err(kind, wait),
            None => tx.ok(wait),
        };
        let used = tx.ok("cpu").number("us") - before;
        println!("{wait}: {used} us");
        assert!(used < 10_000, "{wait}: {used} us");
    }
    tx.ok("destroy");
}

/// Over many rounds the handler interrupts every step of attaching, detaching, waiting and cancelling.
#[test]
fn a_signal_handler_that_cancels_ends_each_wait_and_hangs_none() {
    for world in [World::shared_memory(ACTOR), World::mapped_file(ACTOR)] {
        let (mut tx, mut rx) = (world.actor(), world.actor());
        tx.ok("produce cap=8");
        let said = rx.ok("cancel-by-signal rounds=1500 us=300");
        assert_eq!(said.number("lost"), 0, "{}", said.text());
        assert!(said.number("signals") > 100, "{}", said.text());
        assert!(said.number("attached") > 3000, "{}", said.text());
        tx.ok("close");
    }
}
