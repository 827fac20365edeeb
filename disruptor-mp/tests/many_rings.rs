//! Waiting on several rings, and in event loops. No wake-up here may be the clock's.
#![cfg(all(target_os = "linux", not(miri)))]

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, Consumer, Deadline, Heap, HeapRing, RecvError, RingMember,
    RingSet, build_shared_single_producer, portable_shm_segment_name,
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
    let builder = ring.builder().with_liveness_interval(INTERVAL);
    builder.build_consumer().expect("a consumer")
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
            assert_eq!(set.wait(Deadline::NEVER), Ok(index));
        });
        assert_eq!(set[index].try_consume_next(), Some((0, 7)));
    }
    assert_prompt(start);
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
            let ready = set.wait(Deadline::NEVER).expect("an event");
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
        assert_eq!(set.wait(Deadline::NEVER), Err(RecvError::Cancelled));
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
        assert_eq!(set.wait(Deadline::NEVER), Ok(1));
    });
    assert_prompt(start);
    assert_eq!(
        of_pairs.recv(Deadline::NEVER).unwrap_err(),
        RecvError::Closed
    );
}

#[test]
fn a_dead_producer_is_news() {
    let name = portable_shm_segment_name("test");
    let tx = build_shared_single_producer::<u64>(&name, 8).build_zeroed_producer();
    let tx = tx.expect("a producer");
    let rx = build_shared_single_producer::<u64>(&name, 8).build_consumer();
    let mut set = RingSet::of([rx.expect("a consumer")]).expect("few");
    // a producer that goes in a panic leaves its ring as a death would
    let dead = thread::spawn(move || {
        let _tx = tx;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dead.join().is_err());
    assert_eq!(set.wait(Deadline::NEVER), Ok(0));
    let end = set[0].recv(Deadline::NEVER).unwrap_err();
    assert!(matches!(end, RecvError::ProducerDead { .. }));
    let successor = build_shared_single_producer::<u64>(&name, 8).build_zeroed_producer();
    successor.expect("a successor").destroy().expect("gone");
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
        assert!(is_readable(&readiness, PollTimeout::NONE));
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
    assert!(is_readable(&readiness, PollTimeout::NONE));
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
    // armed, its thread asleep: dropping it does not wait for the clock
    assert!(!readiness.arm(&one).expect("armed"));
    thread::sleep(NAP);
    drop(readiness);
    assert_prompt(start);
}
