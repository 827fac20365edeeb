//! What programs rely on and no other test shows: `docs/behaviour.md` names one for each promise.

use disruptor_mp::{
    Consumer, Deadline, Event, Heap, HeapRing, MissingFreeSlots, MmapProducer, MmapTransportLayout,
    Producer, SendError, Sequence, build_shared_single_producer, portable_shm_segment_name,
};

/// A batch that never fits is refused by every call that publishes one, those that wait included.
#[test]
fn a_batch_larger_than_the_ring_is_an_error_and_not_a_wait() {
    let ring = HeapRing::<u64>::new(4).expect("a ring");
    let (mut tx, mut rx) = (
        ring.producer().expect("a producer"),
        ring.consumer("reader").expect("a consumer"),
    );
    let never = |_: &mut u64, _| panic!("nothing is published");
    let too_large = SendError::BatchTooLarge {
        requested: 5,
        capacity: 4,
    };
    let sent = tx.send_batch(5, Deadline::NEVER, never);
    assert_eq!(sent, Err(too_large.clone()));
    let tried = tx.try_batch_publish(5, never);
    assert!(matches!(tried, Err(MissingFreeSlots { .. })), "{tried:?}");
    type Publish = fn(&mut Producer<u64, Heap>) -> Sequence;
    let publish_batch: Publish = |tx| tx.publish_batch(5, |_, _| {});
    let batch_publish: Publish = |tx| tx.batch_publish(5, |_, _| {});
    for publish in [publish_batch, batch_publish] {
        let call = std::panic::AssertUnwindSafe(|| publish(&mut tx));
        let text = std::panic::catch_unwind(call).expect_err("refused");
        let text = text.downcast::<String>().expect("the error's text");
        assert_eq!(*text, too_large.to_string());
    }
    assert_eq!(tx.last_published_sequence(), -1);
    assert_eq!(tx.publish_batch(4, |event, i| *event = i as u64), 3);
    assert_eq!(rx.process_available(|_, _| {}), 4);
}

#[test]
fn nothing_is_consumed_while_somebody_is_expected() {
    let ring = HeapRing::<u64>::new(4).expect("a ring");
    let builder = ring.builder().enable_discovery(1);
    let mut tx = builder.build_zeroed_producer().expect("a producer");
    tx.publish(|event| *event = 7);
    assert!(!tx.is_consumed(0));
    let mut rx = ring.consumer("late").expect("a consumer");
    assert!(!tx.is_consumed(0));
    assert_eq!(rx.try_consume_next(), Some((0, 7)));
    assert!(tx.is_consumed(0));
}

/// A consumer knows by the stamps what is there, also of a producer that has gone.
#[test]
fn lag_is_read_from_the_stamps() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = ring.consumer("reader").expect("a consumer");
    assert_eq!(rx.producer_sequence(), -1);
    tx.publish_batch(5, |event, i| *event = i as u64);
    assert_eq!(rx.producer_sequence(), 4);
    rx.try_consume_next().expect("an event");
    assert_eq!((rx.producer_sequence(), rx.current_sequence()), (4, 0));
    tx.publish(|event| *event = 5);
    drop(tx);
    assert_eq!(rx.producer_sequence(), 5);
}

/// A program that is started again goes on with the ring of its last run, as long as somebody has events of it to read.
#[test]
fn a_second_run_on_a_name_loses_nothing() {
    let name = portable_shm_segment_name("again");
    let builder = || build_shared_single_producer::<u64>(&name, 8);
    let reader = || {
        builder()
            .with_consumer_id("reader")
            .build_consumer()
            .expect("a consumer")
    };
    for run in 0..3 {
        let mut tx = builder().build_zeroed_producer().expect("a producer");
        assert_eq!(tx.last_published_sequence(), 2 * run - 1);
        if run == 0 {
            drop(reader());
        }
        tx.publish_batch(2, |event, i| *event = 2 * run as u64 + i as u64);
    }
    let mut seen = Vec::new();
    let mut rx = reader();
    while let Ok((sequence, event)) = rx.recv(Deadline::NEVER).map(|it| (it.sequence(), *it)) {
        seen.push((sequence, event));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5].map(|n| (n, n as u64)));
    // it has read everything: the name goes, and the next run begins anew
    drop(rx);
    let tx = builder().build_zeroed_producer().expect("a producer");
    assert_eq!(tx.last_published_sequence(), -1);
    tx.destroy().expect("destroyed");
}

/// An event with its stamp lies in one cache line, wherever the ring is mapped.
#[test]
fn no_small_event_straddles_two_cache_lines() {
    fn check<E: Event + Default>() {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(directory.path(), "lines");
        let builder = || MmapProducer::<E>::builder(&layout, 8);
        let mut tx = builder().build_zeroed_producer().expect("a producer");
        let mut rx = builder().build_consumer().expect("a consumer");
        for _ in 0..16 {
            tx.publish_value(E::default());
            let lease = rx.recv(Deadline::NEVER).expect("an event");
            let first = core::ptr::from_ref(&*lease).addr();
            let last = first + size_of::<E>() - 1;
            assert_eq!(first / 64, last / 64, "{} bytes", size_of::<E>());
            lease.commit();
        }
        tx.destroy().expect("destroyed");
    }
    check::<u8>();
    check::<u64>();
    check::<[u64; 2]>();
    check::<[u64; 3]>();
    check::<[u32; 7]>();
    check::<[u64; 5]>();
    check::<[u64; 7]>();
}

#[test]
#[cfg_attr(miri, ignore = "starts the compiler")]
fn no_reference_to_a_slot_leaves_its_closure_or_lease() {
    // The recorded messages are those of the current stable compiler; `TRYBUILD=overwrite` records them anew.
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/reference_compile_fail/*.rs");
}

/// An expected consumer that is removed, whether it came and went or never came, is waited for no longer.
#[test]
fn who_is_removed_is_expected_no_longer() -> Result<(), Box<dyn std::error::Error>> {
    for comes in [true, false] {
        let ring = HeapRing::<u64>::new(2)?;
        let mut tx = ring.builder().build_producer(|| 0)?;
        tx.expect_consumer_id("late")?;
        if comes {
            drop(ring.consumer("late")?);
        }
        tx.publish_batch(2, |event, i| *event = i as u64);
        assert!(tx.try_publish(|_| {}).is_err());
        tx.remove_consumer("late")?;
        assert!(tx.try_publish(|_| {}).is_ok());
        let nobody = tx.remove_consumer("late").unwrap_err();
        assert!(matches!(
            nobody,
            disruptor_mp::MultiProcessError::NoSuchConsumer { .. }
        ));
    }
    Ok(())
}

/// A destructor that drains a ring while its thread unwinds: what is released by name is released then, too.
#[test]
fn an_event_that_is_released_by_name_goes_also_while_the_thread_unwinds() {
    struct Drains<'a>(Consumer<u64, Heap>, &'a mut Vec<Sequence>);

    impl Drop for Drains<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let Self(rx, seen) = self;
            // bounded, as an event that is not released comes for ever
            for _ in 0..2 {
                let lease = rx.try_consume_next_leased().expect("published");
                seen.push(lease.sequence());
                lease.commit();
                seen.push(rx.process_next_blocking(|_, sequence| sequence));
            }
            // a lease that is only dropped is not released during a panic
            seen.push(rx.try_consume_next_leased().expect("published").sequence());
            seen.push(rx.try_consume_next_leased().expect("again").sequence());
        }
    }

    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let rx = ring.consumer("reader").expect("a consumer");
    tx.publish_batch(5, |event, i| *event = i as u64);
    let mut seen = Vec::new();
    let unwinds = std::panic::AssertUnwindSafe(|| {
        let _drains = Drains(rx, &mut seen);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(std::panic::catch_unwind(unwinds).is_err());
    assert_eq!(seen, [0, 1, 2, 3, 4, 4]);
    assert_eq!(tx.consumer_sequence("reader"), Some(3));
}

/// What consumers have released since the producer last looked counts as free, though the batch does not fit.
#[test]
fn a_refused_batch_says_how_many_slots_are_free_now() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = ring.consumer("reader").expect("a consumer");
    tx.publish_batch(8, |event, i| *event = i as u64);
    for _ in 0..4 {
        rx.try_consume_next().expect("published");
    }
    let mut refused = |n| {
        let refused = tx.try_batch_publish(n, |_, _| panic!("nothing is published"));
        let MissingFreeSlots {
            requested,
            available,
            capacity,
            ..
        } = refused.expect_err("there is less space");
        assert_eq!((requested, capacity), (n, 8));
        available
    };
    assert_eq!((refused(8), refused(5), refused(9)), (4, 4, 4));
    assert_eq!(tx.try_batch_publish(4, |event, _| *event = 0), Ok(11));
}
