//! Waiting on several rings, and in event loops. No wake-up here may come from a timeout.
#![cfg(all(target_os = "linux", not(miri)))]

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, Consumer, Deadline, Heap, HeapRing, Producer, RecvError,
    RingMember, RingSet, build_shared_single_producer, portable_shm_segment_name,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const INTERVAL: Duration = Duration::from_secs(60);
/// Long enough for a thread to have fallen asleep.
const NAP: Duration = Duration::from_millis(20);

fn rings(count: usize) -> Vec<HeapRing<u64>> {
    (0..count)
        .map(|_| HeapRing::new(8).expect("a ring"))
        .collect()
}

fn consumer(ring: &HeapRing<u64>) -> Consumer<u64, Heap> {
    checking(ring, INTERVAL)
}

/// A consumer whose liveness interval is `interval`.
fn checking(ring: &HeapRing<u64>, interval: Duration) -> Consumer<u64, Heap> {
    let builder = ring.builder().with_liveness_interval(interval);
    builder.build_consumer().expect("a consumer")
}

/// Drops a producer by a panic, which leaves its ring as a death would.
fn die(tx: Producer<u64, Heap>) {
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
}

fn is_death<T>(end: Result<T, RecvError>) -> bool {
    matches!(end, Err(RecvError::ProducerDead { .. }))
}

/// A deadline that nothing here reaches: a wait that would never end fails, and the failure says where.
fn patient() -> Deadline {
    Deadline::after(INTERVAL / 2)
}

fn assert_prompt(start: Instant) {
    assert!(start.elapsed() < INTERVAL / 2, "the clock woke it");
}

#[test]
fn any_of_128_rings_wakes_the_set() {
    let rings = rings(RingSet::<Consumer<u64, Heap>>::MAX);
    let mut senders: Vec<_> = rings
        .iter()
        .map(|ring| ring.producer().expect("a producer"))
        .collect();
    let mut set = RingSet::of(rings.iter().map(consumer)).expect("that many");
    assert!(set.push(consumer(&rings[0])).is_err(), "one too many");
    assert_eq!(set.len(), 128);
    let start = Instant::now();
    for index in [127, 0, 64] {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(NAP);
                senders[index].publish_value(7);
            });
            assert_eq!(set.wait(patient()), Ok(index));
        });
        assert_eq!(set[index].try_consume_next(), Some((0, 7)));
    }
    assert_prompt(start);
}

/// Checks each member, in each order of asking: the first and the last member behave like the others.
#[test]
fn each_member_is_seen_asleep_or_awake() {
    for count in 1..=3 {
        let rings = rings(count);
        let mut senders: Vec<_> = rings
            .iter()
            .map(|ring| ring.producer().expect("a producer"))
            .collect();
        let mut set = RingSet::of(rings.iter().map(consumer)).expect("few");
        let start = Instant::now();
        for index in (0..count).chain((0..count).rev()) {
            for is_asleep in [false, true] {
                thread::scope(|scope| {
                    let mut publish = || senders[index].publish_value(7);
                    if is_asleep {
                        scope.spawn(move || {
                            thread::sleep(NAP);
                            publish();
                        });
                    } else {
                        publish();
                    }
                    assert_eq!(set.wait(patient()), Ok(index), "of {count}, {is_asleep}");
                });
                assert!(set[index].try_consume_next().is_some());
            }
        }
        assert_prompt(start);
        // the end of each ring is reported, too
        for index in (0..count).rev() {
            senders.remove(index).close().expect("closed");
            assert_eq!(set.wait(patient()), Ok(index), "of {count}, closed");
            drop(set.swap_remove(index));
        }
    }
}

#[test]
fn rings_take_turns() {
    let rings = rings(3);
    let mut senders: Vec<_> = rings
        .iter()
        .map(|ring| ring.producer().expect("a producer"))
        .collect();
    let mut set = RingSet::of(rings.iter().map(consumer)).expect("few");
    for tx in &mut senders {
        tx.publish_batch(2, |event, _| *event = 7);
    }
    let order: Vec<usize> = (0..6)
        .map(|_| {
            let ready = set.wait(patient()).expect("an event");
            set[ready].try_consume_next().expect("it is there");
            ready
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn every_strategy_times_out() {
    let rings = rings(2);
    let _senders = [rings[0].producer(), rings[1].producer()];
    let strategies = [
        AutoWaitStrategy::Block,
        AutoWaitStrategy::SpinThenYield { spins: 10 },
        AutoWaitStrategy::Sleep(Duration::from_micros(100)),
    ];
    for strategy in strategies {
        let set = RingSet::of(rings.iter().map(consumer)).expect("few");
        let outcome = set
            .with_wait_strategy(strategy)
            .wait(Deadline::after(Duration::from_millis(5)));
        assert_eq!(outcome, Err(RecvError::Timeout));
    }
    let nobody = RingSet::<Consumer<u64, Heap>>::new().wait(Deadline::after(NAP));
    assert_eq!(nobody, Err(RecvError::Timeout));
}

#[test]
fn a_token_of_any_member_ends_the_wait() {
    let rings = rings(2);
    let _senders = [rings[0].producer(), rings[1].producer()];
    let token = CancelToken::new();
    let cancellable = rings[1].builder().with_liveness_interval(INTERVAL);
    let cancellable = cancellable.with_cancel_token(&token).build_consumer();
    let mut set =
        RingSet::of([consumer(&rings[0]), cancellable.expect("a consumer")]).expect("few");
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(NAP);
            token.cancel();
        });
        assert_eq!(set.wait(patient()), Err(RecvError::Cancelled));
    });
    assert_prompt(start);
}

#[test]
fn an_end_is_news_of_rings_with_different_events() {
    let numbers = HeapRing::<u64>::new(8).expect("a ring");
    let pairs = HeapRing::<[u32; 2]>::new(8).expect("a ring");
    let _tx = numbers.producer().expect("a producer");
    let ending = pairs.producer().expect("a producer");
    let interval = pairs.builder().with_liveness_interval(INTERVAL);
    let (of_numbers, mut of_pairs) = (
        consumer(&numbers),
        interval.build_consumer().expect("a consumer"),
    );
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(NAP);
            ending.close().expect("closed");
        });
        let mut set = RingSet::of([&of_numbers as &dyn RingMember, &of_pairs]).expect("few");
        assert_eq!(set.wait(patient()), Ok(1));
    });
    assert_prompt(start);
    assert_eq!(of_pairs.recv(patient()).unwrap_err(), RecvError::Closed);
}

#[test]
fn a_dead_producer_is_news() {
    let name = portable_shm_segment_name("test");
    let tx = build_shared_single_producer::<u64>(&name, 8).build_zeroed_producer();
    let tx = tx.expect("a producer");
    let rx = build_shared_single_producer::<u64>(&name, 8).build_consumer();
    let mut set = RingSet::of([rx.expect("a consumer")]).expect("few");
    // a producer that is dropped by a panic leaves its ring as a death would
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
    assert_eq!(set.wait(patient()), Ok(0));
    let end = set[0].recv(patient()).unwrap_err();
    assert!(matches!(end, RecvError::ProducerDead { .. }));
    let successor = build_shared_single_producer::<u64>(&name, 8).build_zeroed_producer();
    successor.expect("a successor").destroy().expect("gone");
}

/// Waits until the set has reported the death of each of these producers.
fn await_deaths(set: &mut RingSet<Consumer<u64, Heap>>, mut doomed: Vec<usize>) {
    let end = Deadline::after(INTERVAL / 2);
    while !doomed.is_empty() {
        let told = set.wait(end).expect("news of all of them");
        doomed.retain(|index| *index != told);
    }
}

#[test]
fn a_death_is_news_while_another_ring_is_busy() {
    let rings = rings(3);
    let mut busy = rings[0].producer().expect("a producer");
    let mut set = RingSet::of(
        rings
            .iter()
            .map(|ring| checking(ring, Duration::from_millis(20))),
    )
    .expect("few");
    for ring in &rings[1..] {
        die(ring.producer().expect("a producer"));
    }
    let (mut doomed, end) = (vec![1, 2], Instant::now() + INTERVAL / 2);
    while !doomed.is_empty() {
        assert!(Instant::now() < end, "{doomed:?} died untold");
        busy.publish_value(7);
        let ready = set.wait(patient()).expect("there always is an event");
        match set[ready].try_recv().map(|lease| lease.is_some()) {
            Ok(true) => assert_eq!(ready, 0),
            end => {
                assert!(is_death(end), "ring {ready} has nothing to say");
                doomed.retain(|index| *index != ready);
            }
        }
        // the events that the set did not report this time
        while set[0].try_consume_next().is_some() {}
    }
}

#[test]
fn the_most_watchful_member_sets_the_interval() {
    let rings = rings(3);
    let senders: Vec<_> = rings.iter().map(HeapRing::producer).collect();
    let intervals = [INTERVAL, Duration::from_millis(5), INTERVAL];
    let members = rings.iter().zip(intervals);
    let mut set =
        RingSet::of(members.map(|(ring, interval)| checking(ring, interval))).expect("few");
    let start = Instant::now();
    for tx in senders {
        die(tx.expect("a producer"));
    }
    await_deaths(&mut set, vec![0, 1, 2]);
    assert_prompt(start);
}

#[test]
fn short_waits_tell_of_a_death_as_a_long_one_does() {
    let rings = rings(2);
    let _tx = rings[0].producer().expect("a producer");
    let mut set = RingSet::of(
        rings
            .iter()
            .map(|ring| checking(ring, Duration::from_millis(50))),
    )
    .expect("few");
    // the set has made one liveness check, and found both producers alive
    let doomed = rings[1].producer().expect("a producer");
    let outcome = set.wait(Deadline::after(Duration::from_millis(1)));
    assert_eq!(outcome, Err(RecvError::Timeout));
    die(doomed);
    let end = Instant::now() + INTERVAL / 2;
    while set.wait(Deadline::after(Duration::from_millis(1))) != Ok(1) {
        assert!(Instant::now() < end, "it died untold");
    }
}

#[test]
fn the_call_after_the_news_of_a_death_says_so() {
    let interval = Duration::from_secs(2);
    let rings = rings(2);
    let mut members = Vec::new();
    for ring in &rings {
        let mut rx = checking(ring, interval);
        let mut tx = ring.producer().expect("a producer");
        tx.publish_value(7);
        assert!(rx.try_recv().expect("alive").is_some());
        members.push((rx, tx));
    }
    let (mut by_set, tx) = members.remove(0);
    die(tx);
    let mut set = RingSet::of([&by_set]).expect("one");
    assert_eq!(set.wait(patient()), Ok(0));
    assert!(is_death(by_set.try_recv()), "told by a set");
    assert_eq!(by_set.try_recv().map(|lease| lease.is_none()), Ok(true));

    let (mut by_descriptor, tx) = members.remove(0);
    let readiness = by_descriptor.readiness().expect("a descriptor");
    assert!(!readiness.arm(&by_descriptor).expect("armed"));
    die(tx);
    assert!(is_readable(&readiness, in_time()));
    let end = by_descriptor.recv(Deadline::after(Duration::ZERO));
    assert!(is_death(end), "told by a descriptor");
}

/// The producer sleeps until a quarter of the ring is free. The consumer has released less, and waits for
/// more by a set, or by a descriptor.
#[test]
fn a_consumer_that_holds_events_and_waits_by_a_set_lets_the_producer_go_on() {
    for by_descriptor in [false, true] {
        let ring = HeapRing::<u64>::new(16).expect("a ring");
        let builder = ring.builder().with_liveness_interval(INTERVAL);
        let mut tx = builder.build_zeroed_producer().expect("a producer");
        let mut rx = consumer(&ring);
        let readiness = rx.readiness().expect("a descriptor");
        tx.publish_batch(16, |event, index| *event = index as u64);
        for _ in 0..16 {
            rx.try_consume_next_leased().expect("an event").hold();
        }
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || {
                let sent = tx.send(patient(), |event| *event = 16);
                assert_eq!(sent, Ok(16));
                tx.keep().expect("kept");
            });
            // the producer has gone to sleep by then, or finds the space by itself
            thread::sleep(NAP);
            rx.release_held(1);
            if !by_descriptor {
                let mut set = RingSet::of([&rx]).expect("one");
                assert_eq!(set.wait(patient()), Ok(0));
            } else if !readiness.arm(&rx).expect("armed") {
                assert!(is_readable(&readiness, in_time()));
            }
        });
        assert_prompt(start);
        assert_eq!(rx.peek(), Some(&16));
    }
}

#[test]
fn a_set_of_none_sleeps_until_its_deadline() {
    let mut nobody = RingSet::<Consumer<u64, Heap>>::new();
    let start = Instant::now();
    let nap = Deadline::after(NAP);
    assert_eq!(nobody.wait(nap), Err(RecvError::Timeout));
    assert!(start.elapsed() >= NAP);
    let error = nobody
        .wait(Deadline::NEVER)
        .expect_err("it would never end");
    assert!(error.to_string().contains("no rings"), "{error}");
}

/// The same limit as [`patient`], for `poll`.
fn in_time() -> PollTimeout {
    PollTimeout::try_from(INTERVAL / 2).expect("a time")
}

fn is_readable(fd: impl AsFd, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout).expect("poll") > 0
}

#[test]
fn a_descriptor_tells_of_an_event_and_of_the_end() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = consumer(&ring);
    let readiness = rx.readiness().expect("a descriptor");
    let start = Instant::now();
    for event in 0..100 {
        assert!(!readiness.arm(&rx).expect("armed"));
        assert!(
            !is_readable(&readiness, PollTimeout::ZERO),
            "nothing has come"
        );
        tx.publish_value(event);
        assert!(is_readable(&readiness, in_time()));
        assert_eq!(rx.try_consume_next(), Some((event as i64, event)));
    }
    tx.publish_value(100);
    assert!(readiness.arm(&rx).expect("armed"), "it is there already");
    assert_eq!(
        rx.try_recv().map(|lease| lease.map(|event| *event)),
        Ok(Some(100))
    );
    assert_eq!(rx.try_recv().map(|lease| lease.is_none()), Ok(true));
    assert!(!readiness.arm(&rx).expect("armed"));
    tx.close().expect("closed");
    assert!(is_readable(&readiness, in_time()));
    assert_eq!(rx.try_recv().unwrap_err(), RecvError::Closed);
    assert_prompt(start);
}

#[test]
fn a_descriptor_is_its_consumers() {
    let rings = rings(2);
    let _senders = [rings[0].producer(), rings[1].producer()];
    let (one, other) = (consumer(&rings[0]), consumer(&rings[1]));
    let readiness = one.readiness().expect("a descriptor");
    let text = readiness.arm(&other).expect_err("another ring").to_string();
    assert!(text.contains("belongs to the consumer"), "{text}");
    let start = Instant::now();
    // it is armed, and its thread is asleep: dropping it does not wait for a timeout
    assert!(!readiness.arm(&one).expect("armed"));
    thread::sleep(NAP);
    drop(readiness);
    assert_prompt(start);
}

/// A sentry that was told to wait for an event may run only after the ring has lapped, as the consumer kept
/// on polling.
#[test]
fn a_lapped_order_is_news() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = consumer(&ring);
    let readiness = rx.readiness().expect("a descriptor");
    for round in 0..100 {
        assert!(!readiness.arm(&rx).expect("armed"));
        if round % 2 == 0 {
            // the sentry is asleep already
            thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..8 * 3 + 1 {
            tx.publish_value(round);
            assert_eq!(rx.try_consume_next().map(|(_, event)| event), Some(round));
        }
        assert!(is_readable(&readiness, in_time()), "round {round}");
    }
    let start = Instant::now();
    for event in 0..1_000 {
        assert!(!readiness.arm(&rx).expect("armed"));
        tx.publish_value(event);
        while rx.peek().is_none() {
            assert!(is_readable(&readiness, in_time()), "event {event}");
        }
        rx.try_consume_next();
    }
    assert_prompt(start);
}

#[test]
fn a_token_makes_the_descriptor_readable() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let token = CancelToken::new();
    let builder = ring.builder().with_liveness_interval(INTERVAL);
    let rx = builder.with_cancel_token(&token).build_consumer();
    let mut rx = rx.expect("a consumer");
    let readiness = rx.readiness().expect("a descriptor");
    assert!(!readiness.arm(&rx).expect("armed"));
    thread::sleep(NAP);
    let start = Instant::now();
    token.cancel();
    assert!(is_readable(&readiness, in_time()));
    assert_eq!(rx.try_recv().unwrap_err(), RecvError::Cancelled);
    // the token stays cancelled, and published events still come
    assert!(readiness.arm(&rx).expect("armed"));
    tx.publish_value(7);
    assert_eq!(
        rx.try_recv().map(|lease| lease.map(|event| *event)),
        Ok(Some(7))
    );
    assert_eq!(rx.try_recv().unwrap_err(), RecvError::Cancelled);
    assert_prompt(start);
}
