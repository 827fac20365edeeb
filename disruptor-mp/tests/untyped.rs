//! Endpoints that do not know the event type: the bytes that they write and read are those of endpoints that do.

use disruptor_mp::inspect::{Inspector, remove_dead, shared_memory_directory};
use disruptor_mp::{
    Deadline, Event, MmapTransportLayout, MultiProcessError, RecvError, SendError, StartFrom,
    UntypedConsumer, UntypedEvent, UntypedProducer, attach_shared_consumer,
    build_shared_single_producer, portable_shm_segment_name,
};
use std::time::Duration;

/// A small event in dense slots.
#[derive(Clone, Copy, Debug, PartialEq, Event)]
#[repr(transparent)]
#[event(packed_slots)]
struct Small([u8; 3]);

/// An event whose first bytes lie in the line of its stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Headed([u8; 1000]);

// SAFETY: bytes and nothing else: fixed layout, no padding, all values are meaningful, no pointers.
unsafe impl Event for Headed {
    const LAYOUT_ID: u64 = disruptor_mp::LayoutId::new("headed").finish();
    const HEAD_BYTES: usize = 12;

    fn describe_layout(out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        out.write_str("headed")
    }
}

fn place(name: &str) -> MmapTransportLayout {
    MmapTransportLayout::new(shared_memory_directory(), name)
}

/// Sends events around a ring of four slots: with types to an untyped consumer, and from there to a typed consumer and
/// an observer of a ring that an untyped producer has made.
fn around<E: Event + PartialEq + core::fmt::Debug>(make: impl Fn(u8) -> E, is_observed: bool) {
    let (name, copy) = (
        portable_shm_segment_name("typed"),
        portable_shm_segment_name("untyped"),
    );
    let mut builder = build_shared_single_producer::<E>(&name, 4).enable_discovery(1);
    if is_observed {
        builder = builder.with_observers();
    }
    let mut tx = builder.build_zeroed_producer().expect("a ring");
    let ring = Inspector::open_shared_memory(&name).expect("a ring");
    let event = UntypedEvent::of(ring.info());
    let mut untyped_rx = UntypedConsumer::attach(&ring, None).expect("attach");
    let mut untyped_tx =
        UntypedProducer::create(&place(&copy), &event, 4, 7, is_observed).expect("a ring");
    let mut rx = attach_shared_consumer::<E>(&copy, 4)
        .build_consumer()
        .expect("attach");
    let mut observer = is_observed.then(|| {
        let builder = attach_shared_consumer::<E>(&copy, 4).with_start(StartFrom::Oldest);
        builder.build_observer().expect("observe")
    });
    let mut bytes = vec![0; size_of::<E>()];
    for number in 0..50 {
        let value = make(number);
        assert_eq!(untyped_rx.try_recv(&mut bytes), Ok(None));
        tx.send_value(value, Deadline::NEVER).expect("space");
        assert_eq!(untyped_rx.try_recv(&mut bytes), Ok(Some(i64::from(number))));
        untyped_rx.release();
        let sequence = untyped_tx.send(&bytes, Deadline::NEVER).expect("space");
        assert_eq!(sequence, i64::from(number) + 7);
        assert_eq!(
            rx.recv_owned(Deadline::NEVER).expect("an event"),
            (sequence, value)
        );
        if let Some(observer) = &mut observer {
            assert_eq!(
                observer.recv(Deadline::NEVER).expect("an event"),
                (sequence, value)
            );
        }
    }
    // both gate: a held event keeps its slot
    for number in 0..4 {
        tx.send_value(make(number), Deadline::NEVER).expect("space");
        untyped_tx.send(&bytes, Deadline::NEVER).expect("space");
    }
    assert!(untyped_rx.try_recv(&mut bytes).expect("an event").is_some());
    let soon = || Deadline::after(Duration::from_millis(5));
    assert!(matches!(
        tx.send_value(make(9), soon()),
        Err(SendError::Timeout { .. })
    ));
    assert!(matches!(
        untyped_tx.send(&bytes, soon()),
        Err(SendError::Timeout { .. })
    ));
    untyped_rx.release();
    tx.send_value(make(9), Deadline::NEVER).expect("space");
    for _ in 0..4 {
        assert!(untyped_rx.try_recv(&mut bytes).expect("an event").is_some());
        rx.recv_owned(Deadline::NEVER).expect("an event");
    }
    untyped_rx.release();
    tx.close().expect("close");
    untyped_tx.close().expect("close");
    assert_eq!(untyped_rx.try_recv(&mut bytes), Err(RecvError::Closed));
    assert_eq!(rx.recv_owned(Deadline::NEVER), Err(RecvError::Closed));
    untyped_rx.detach().expect("detach");
    drop((rx, observer));
    for name in [name, copy] {
        assert!(
            !shared_memory_directory().join(name).exists(),
            "a drained ring is gone"
        );
    }
}

#[test]
fn bytes_are_the_same_for_every_slot_shape() {
    for is_observed in [false, true] {
        around(u64::from, is_observed);
        around(|number| Small([number, 1, 2]), is_observed);
        around(|number| [number; 61], is_observed);
        around(|number| [u64::from(number); 31], is_observed);
        around(|number| [u16::from(number); 150], is_observed);
        around(|number| Headed([number; 1000]), is_observed);
    }
}

#[test]
fn a_durable_untyped_consumer_comes_back_to_what_it_has_not_released() {
    let name = portable_shm_segment_name("durable");
    let mut tx = disruptor_mp::publisher::<u64>(&name, 8).expect("a ring");
    let ring = Inspector::open_shared_memory(&name).expect("a ring");
    let attach = || UntypedConsumer::attach(&ring, Some("recorder")).expect("attach");
    let mut rx = attach();
    let mut bytes = [0; 8];
    for number in 0..4 {
        tx.send_value(number, Deadline::NEVER).expect("space");
    }
    for _ in 0..2 {
        rx.try_recv(&mut bytes).expect("an event");
    }
    rx.release();
    assert_eq!(rx.try_recv(&mut bytes), Ok(Some(2)));
    drop(rx);
    let mut rx = attach();
    assert_eq!(rx.next_sequence(), 2);
    let other = UntypedConsumer::attach(&ring, Some("recorder"));
    assert!(matches!(
        other,
        Err(MultiProcessError::ConsumerAlreadyAttached { .. })
    ));
    for number in 2..4 {
        assert_eq!(rx.try_recv(&mut bytes), Ok(Some(number)));
        assert_eq!(u64::from_ne_bytes(bytes), number as u64);
    }
    rx.release();
    drop(rx);
    tx.destroy().expect("destroy");
}

#[test]
fn an_untyped_consumer_waits_until_an_event_comes_the_deadline_passes_or_the_ring_ends() {
    const EVENTS: u64 = 200;
    let name = portable_shm_segment_name("waits");
    let mut tx = disruptor_mp::publisher::<u64>(&name, 8).expect("a ring");
    let ring = Inspector::open_shared_memory(&name).expect("a ring");
    let mut rx = UntypedConsumer::attach(&ring, None).expect("attach");
    let mut bytes = [0; 8];
    for deadline in [
        Deadline::after(Duration::ZERO),
        Deadline::after(Duration::from_millis(5)),
    ] {
        assert_eq!(rx.recv(&mut bytes, deadline), Err(RecvError::Timeout));
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..EVENTS {
                // now and then after the consumer has gone to sleep
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
                tx.send_value(number, Deadline::NEVER).expect("space");
            }
            std::thread::sleep(Duration::from_millis(20));
            tx.close().expect("close");
        });
        for number in 0..EVENTS {
            let sequence = rx.recv(&mut bytes, Deadline::NEVER).expect("an event");
            assert_eq!(
                (sequence, u64::from_ne_bytes(bytes)),
                (number as i64, number)
            );
            // a full ring of held events makes the producer wait
            if number % 8 == 7 {
                rx.release();
            }
        }
        assert_eq!(rx.recv(&mut bytes, Deadline::NEVER), Err(RecvError::Closed));
    });
    rx.detach().expect("detach");
}

#[test]
fn a_waiting_untyped_consumer_finds_the_last_event_and_then_the_death() {
    let name = portable_shm_segment_name("death");
    let mut tx = disruptor_mp::publisher::<u64>(&name, 8).expect("a ring");
    let ring = Inspector::open_shared_memory(&name).expect("a ring");
    let mut rx = UntypedConsumer::attach(&ring, None).expect("attach");
    let mut bytes = [0; 8];
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            tx.send_value(7, Deadline::NEVER).expect("space");
            // a producer that is dropped in a panic does not end its ring, as one that dies
            std::panic::resume_unwind(Box::new(()));
        });
        assert_eq!(rx.recv(&mut bytes, Deadline::NEVER), Ok(0));
        assert_eq!(u64::from_ne_bytes(bytes), 7);
        let error = rx.recv(&mut bytes, Deadline::NEVER).expect_err("no event");
        assert!(matches!(error, RecvError::ProducerDead { .. }), "{error}");
        assert!(producer.join().is_err());
    });
    rx.detach().expect("detach");
    let path = shared_memory_directory().join(name);
    remove_dead(path, true).expect("nobody uses it");
}

#[test]
fn no_ring_is_made_that_no_event_type_has() {
    let name = portable_shm_segment_name("invalid");
    let sound = UntypedEvent {
        size: 8,
        align: 8,
        layout_id: 1,
        text: String::from("it"),
        stride: 64,
        event_offset: 0,
        stamp_offset: 8,
    };
    assert!(sound.is_valid());
    let wrong: [fn(&mut UntypedEvent); 8] = [
        |event| event.size = 0,
        |event| event.size = u64::MAX,
        |event| event.align = 0,
        |event| event.align = 8192,
        |event| event.layout_id = 0,
        |event| event.stride = 8,
        |event| event.stamp_offset = 0,
        |event| event.event_offset = 8,
    ];
    for (index, spoil) in wrong.iter().enumerate() {
        let mut event = sound.clone();
        spoil(&mut event);
        assert!(!event.is_valid(), "{index}");
        let made = UntypedProducer::create(&place(&name), &event, 8, 0, false);
        assert!(
            matches!(made, Err(MultiProcessError::InvalidCapacity { .. })),
            "{index}"
        );
    }
    for (capacity, first) in [(0, 0), (3, 0), (8, -1), (1 << 60, 0)] {
        let made = UntypedProducer::create(&place(&name), &sound, capacity, first, false);
        assert!(made.is_err(), "{capacity} {first}");
    }
    let tx = UntypedProducer::create(&place(&name), &sound, 8, 0, false).expect("a ring");
    let second = UntypedProducer::create(&place(&name), &sound, 8, 0, false);
    assert!(matches!(second, Err(MultiProcessError::InUse { .. })));
    // a consumer of another event type is refused
    let other = disruptor_mp::subscriber::<u64>(&name);
    assert!(matches!(
        other,
        Err(MultiProcessError::IncompatibleLayout { .. })
    ));
    tx.close().expect("close");
    let _ = std::fs::remove_file(shared_memory_directory().join(&name));
}
