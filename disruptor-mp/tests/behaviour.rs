//! Behaviour that programs rely on and that no other test shows: `docs/behaviour.md` names a test for each promise.

use std::time::Duration;

use disruptor_mp::{
    CancelToken, Consumer, Deadline, Event, Heap, HeapRing, MissingFreeSlots, MmapConsumer,
    MmapProducer, MmapTransportLayout, MultiProcessError, Producer, RecvError, SendError, Sequence,
    StartFrom, build_shared_single_producer, portable_shm_segment_name,
};

/// Every call that publishes a batch refuses one that can never fit, including the calls that wait.
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
fn each_end_says_what_ring_it_is_at() {
    let ring = HeapRing::<u64>::with_observers(4).expect("a ring");
    let tx = ring.producer().expect("a producer");
    let rx = ring.consumer("reader").expect("a consumer");
    let watch = ring.observer().expect("an observer");
    assert_eq!([tx.capacity(), rx.capacity(), watch.capacity()], [4; 3]);
    assert_eq!([tx.name(), rx.name(), watch.name()], ["heap"; 3]);
}

#[test]
fn nothing_counts_as_consumed_while_a_consumer_is_expected() {
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

/// A copy is released before the call returns, in order with leases; each end of a wait is an error.
#[test]
fn a_copy_is_released_at_once_and_each_end_is_an_error() {
    let ring = HeapRing::<u64>::new(2).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let token = CancelToken::new();
    let builder = ring.builder().with_consumer_id("reader");
    let mut rx = builder
        .with_cancel_token(&token)
        .build_consumer()
        .expect("a consumer");
    let soon = || Deadline::after(Duration::from_millis(1));
    assert_eq!(rx.recv_owned(soon()), Err(RecvError::Timeout));
    for event in 0..2 {
        tx.send_value(event, Deadline::NEVER).expect("space");
    }
    let full = tx.send_value(2, soon());
    assert!(matches!(full, Err(SendError::Timeout { .. })), "{full:?}");
    assert_eq!(rx.recv_owned(Deadline::NEVER), Ok((0, 0)));
    assert_eq!(rx.current_sequence(), 0);
    assert_eq!(tx.try_send(|event| *event = 2), Ok(2));
    rx.recv(Deadline::NEVER).expect("an event").hold();
    assert_eq!(rx.recv_owned(Deadline::NEVER), Ok((2, 2)));
    // the older event that was held is released with it
    assert_eq!((rx.held_count(), rx.current_sequence()), (0, 2));
    token.cancel();
    assert_eq!(rx.recv_owned(Deadline::NEVER), Err(RecvError::Cancelled));
    tx.close().expect("closed");
    assert_eq!(rx.recv_owned(Deadline::NEVER), Err(RecvError::Closed));
}

/// A consumer reads from the stamps how many events there are, even if the producer has gone.
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

/// A restarted program continues with the ring of its last run, as long as some consumer has unread events there.
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
    // the consumer has read everything: the name goes, and the next run starts afresh
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

/// The producer no longer waits for an expected consumer that was removed, whether that consumer came and
/// went or never came.
#[test]
fn a_removed_consumer_is_no_longer_expected() -> Result<(), Box<dyn std::error::Error>> {
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

/// A destructor drains a ring while its thread unwinds: an event that is released explicitly is released then, too.
#[test]
fn an_event_that_is_released_by_name_goes_also_while_the_thread_unwinds() {
    struct Drains<'a>(Consumer<u64, Heap>, &'a mut Vec<Sequence>);

    impl Drop for Drains<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let Self(rx, seen) = self;
            // the loop is bounded, as an unreleased event comes again for ever
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

/// The count of free slots includes what consumers have released since the producer's last refresh, although
/// the batch does not fit.
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

/// The name also goes if that reader leaves with events unread. A reader that is away keeps the name, and one
/// with an automatic id never does.
#[test]
fn a_closed_rings_name_goes_with_the_last_reader() -> Result<(), Box<dyn std::error::Error>> {
    let root = tempfile::tempdir()?;
    let layout = MmapTransportLayout::new(root.path(), "ring");
    let builder = || MmapProducer::<u64>::builder(&layout, 8);
    let mut tx = builder().build_zeroed_producer()?;
    let automatic = builder().build_consumer()?;
    let reader = |id| builder().with_consumer_id(id).build_consumer();
    let (first, mut second) = (reader("first")?, reader("second")?);
    tx.publish_batch(8, |event, i| *event = i as u64);
    assert!(!first.is_closed());
    tx.close()?;
    assert!(first.is_closed() && second.is_closed());
    assert_eq!(second.try_consume_next(), Some((0, 0)));
    automatic.leave()?;
    assert!(layout.path().exists(), "two have events unread");
    second.leave()?;
    assert!(layout.path().exists(), "one has");
    drop(first);
    assert!(layout.path().exists(), "it may come back");
    reader("first")?.leave()?;
    assert!(!layout.path().exists());
    Ok(())
}

/// The size in a memory report is the length of the file.
#[test]
fn a_report_has_the_length_of_the_file() {
    let directory = tempfile::tempdir().expect("directory");
    for capacity in [1, 8, 4096] {
        let name = format!("ring-{capacity}");
        let layout = MmapTransportLayout::new(directory.path(), &name);
        let tx = MmapProducer::<u64>::create(&layout, capacity, || 0).expect("a producer");
        let rx = MmapConsumer::<u64>::attach(&layout, capacity, "reader").expect("a consumer");
        let file = std::fs::metadata(layout.path()).expect("the file");
        for report in [tx.memory_report(), rx.memory_report()] {
            assert_eq!(report.segment_bytes, file.len(), "{capacity}");
        }
        assert!(!tx.memory_report().is_read_only && rx.memory_report().is_read_only);
    }
}

/// A consumer can start at any event from the oldest retained one to the next one, and nowhere else.
#[test]
fn a_consumer_starts_at_any_event_that_is_retained_or_comes_next() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_batch(4, |event, index| *event = index as u64);
    let start = |asked| {
        let builder = ring.builder().with_start(StartFrom::Sequence(asked));
        builder.build_consumer()
    };
    for asked in 0..=3 {
        let mut rx = start(asked).expect("it is retained");
        assert_eq!(rx.try_consume_next(), Some((asked, asked as u64)));
    }
    let mut next = start(4).expect("it comes next");
    for asked in [-1, 5] {
        let error = start(asked).expect_err("it is not there").to_string();
        assert!(error.contains(&format!("{asked}")), "{error}");
    }
    assert_eq!(tx.get_consumer_count(), 1, "a refused consumer has left");
    assert_eq!(next.try_consume_next(), None);
    tx.publish_value(4);
    assert_eq!(next.try_consume_next(), Some((4, 4)));
}

/// A test machine has less than 2⁴⁸ bytes of memory, and so has an address space.
#[test]
fn more_memory_than_there_is_is_an_error() {
    let error = HeapRing::<[u64; 24]>::new(1 << 40).expect_err("256 TiB");
    let MultiProcessError::InvalidCapacity { capacity, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(capacity, 1 << 40);
    let error = HeapRing::<[u64; 24]>::new(1 << 36).expect_err("16 TiB");
    let MultiProcessError::NoSpace {
        needed_bytes,
        free_bytes,
        limited_by,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(needed_bytes > free_bytes && free_bytes > 0);
    assert!(limited_by.contains("memory"), "{limited_by}");
}
