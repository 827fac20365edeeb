//! Exact values for each message, to the last one: times, counters, and what a burst releases and when.

mod bounded;
mod text_codec;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use myelon::transport::{
    FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer,
    ReassemblyBuffer, Received, ReceivedMessageMeta, TransportError, frame_flags,
};
use myelon::{
    CounterId, CounterSnapshot, CountersFile, Deadline, Heap, HeapRing, KindTable,
    MyelonTransportConfig, RecvError, RunnerMyelonTransportConfig, Scheduler, Sequence,
    TypedConsumer, TypedProducer, Worker, portable_shm_segment_name,
};
use text_codec::Text;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
/// Four bytes a frame, so that a time takes two frames.
type Small = FixedFrame<4>;
type Tx = FramedTransportProducer<Small, Heap>;
type Rx = FramedTransportConsumer<Small, Heap>;

/// A deadline long enough for everything that must happen.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn pair(depth: usize) -> Result<(HeapRing<Small>, Tx, Rx)> {
    let ring = HeapRing::<Small>::new(depth)?;
    let tx = Tx::from_builder(ring.builder())?;
    let rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    Ok((ring, tx, rx))
}

fn typed_pair(depth: usize) -> Result<(TypedProducer<Small, Heap>, TypedConsumer<Small, Heap>)> {
    let ring = HeapRing::<Small>::new(depth)?;
    let tx = TypedProducer::from_builder(ring.builder())?;
    let rx = TypedConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    Ok((tx, rx))
}

fn value(counters: &[CounterSnapshot], id: CounterId) -> Option<u64> {
    let counter = counters.iter().find(|counter| counter.id == id);
    counter.map(|counter| counter.value)
}

/// Each message of a burst comes with the same data, including its own time, as when it is received by itself.
#[test]
fn a_burst_tells_of_each_message_what_is_true_of_it() -> Result {
    let (ring, mut tx, mut burst) = pair(128)?;
    let mut single = Rx::from_builder(ring.builder().with_consumer_id("single"))?;
    for (kind, len) in [0, 1, 3, 4, 5, 8, 11, 0, 30, 2].into_iter().enumerate() {
        let message: Vec<u8> = (0..len).map(|at| at as u8 ^ 0x5A).collect();
        tx.stamp_send_times(len != 2)
            .publish(&message, kind as u8)?;
    }
    let mut seen = Vec::new();
    burst.process_available_messages_with_meta(|meta, message| {
        seen.push((meta, message.to_vec()))
    })?;
    assert_eq!(seen.len(), 10);
    for (at, seen) in seen.iter().enumerate() {
        assert_eq!(seen, &single.recv_owned_with_meta(soon())?, "message {at}");
    }
    let times: Vec<_> = seen.iter().map(|(meta, _)| meta.sent_at_ns).collect();
    assert!(
        times.is_sorted_by_key(|time| time.unwrap_or(u64::MAX)),
        "{times:?}"
    );
    assert!(times.iter().take(9).all(Option::is_some) && times[9].is_none());
    Ok(())
}

/// Messages that are released together are released no earlier than at an eighth of the ring, and not much
/// later.
#[test]
fn a_burst_releases_by_the_eighth_of_the_ring() -> Result {
    const DEPTH: usize = 64;
    for frames in [1, 3] {
        let (_ring, mut tx, mut rx) = pair(DEPTH)?;
        while tx.try_publish(&vec![7; 4 * frames], 1).is_ok() {}
        let mut released = Vec::new();
        rx.process_available_messages(|_, _| {
            released
                .push((tx.ring().consumer_sequence("reader").expect("it is there") + 1) as usize);
        })?;
        let mut last = 0;
        for (handled, now) in released.into_iter().enumerate() {
            let kept = handled * frames - now;
            assert!(
                kept <= DEPTH / 8,
                "{kept} frames are kept after {handled} messages"
            );
            let more = now - last;
            assert!(
                more == 0 || more > DEPTH / 8,
                "{more} are released after {handled}"
            );
            last = now;
        }
        assert!(last > DEPTH / 2, "{last}");
        let all = tx.ring().consumer_sequence("reader");
        assert_eq!(
            all,
            Some(tx.last_published_sequence()),
            "the call's end releases the rest"
        );
    }
    Ok(())
}

#[test]
fn received_counts_each_message_once_however_it_is_read() -> Result {
    let (_ring, mut tx, mut rx) = pair(64)?;
    let file = CountersFile::anonymous();
    rx.attach_counters(&file)?;
    let mut buffer = ReassemblyBuffer::new();
    let (mut messages, mut reassembled) = (0, 0);
    for round in 0..5 {
        for len in [4, 9] {
            tx.publish(&vec![7; len], 1)?;
        }
        match round {
            0 => {
                assert_eq!(rx.recv(soon())?.len(), 4);
                assert_eq!(rx.recv(soon())?.len(), 9);
            }
            1 => drop((rx.recv_owned(soon())?, rx.recv_owned(soon())?)),
            2 => {
                rx.recv_leased(&mut buffer, soon(), |_, _| {})?;
                rx.recv_leased(&mut buffer, soon(), |_, _| {})?;
            }
            3 => {
                assert!(rx.try_recv()?.is_some());
                assert!(rx.try_recv()?.is_some());
            }
            _ => assert_eq!(rx.process_available_messages(|_, _| {})?, 2),
        }
        messages += 2;
        reassembled += 1;
        let received = rx.received();
        assert_eq!(
            (received.messages, received.reassembled),
            (messages, reassembled),
            "{round}"
        );
        assert_eq!(received.dropped() + received.orphans, 0);
        let shown = value(&rx.counters(), CounterId::FRAMES_REASSEMBLED);
        assert_eq!(shown, Some(reassembled), "{round}");
    }
    // a message that is returned unreleased is not counted
    tx.publish(&[7; 9], 1)?;
    rx.recv(soon())?.release_uncommitted();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        rx.process_available_messages(|_, _| panic!("with the message in hand"))
    }));
    assert!(outcome.is_err());
    assert_eq!((rx.received().messages, rx.received().reassembled), (10, 5));
    Ok(())
}

#[test]
fn dropped_is_what_was_dropped_and_no_orphan() -> Result {
    let (_ring, mut tx, mut rx) = pair(64)?;
    rx.limit_message_bytes(8);
    let mut put = |len, flags, away| {
        tx.ring().publish_batch(1, |frame: &mut Small, _| {
            *frame.header_mut() = [0; 12];
        });
        let first = tx.last_published_sequence() + 1 - away;
        let meta = FrameMeta {
            len,
            kind: 1,
            flags,
            msg_id: first as u32,
        };
        tx.ring()
            .publish(|frame| *frame.header_mut() = meta.to_bytes());
    };
    put(4, frame_flags::END, 1); // a bad frame, and an orphan
    put(8, frame_flags::START, 0); // a bad frame, and a start without an end
    put(9, frame_flags::START, 0); // a bad frame, and one that is too long
    assert!(rx.try_recv()?.is_none());
    // each time, the message that the start began is incomplete when the next frame comes
    let it: Received = rx.received();
    assert_eq!(
        (it.malformed, it.orphans, it.too_long, it.truncated),
        (3, 1, 1, 0)
    );
    assert_eq!(it.dropped(), 4);
    tx.publish(&[7; 8], 1)?;
    assert_eq!(rx.recv_owned(soon())?.1.len(), 8);
    Ok(())
}

/// The limit applies to the message without its time.
#[test]
fn a_limit_is_met_to_the_byte() -> Result {
    for is_timed in [false, true] {
        for limit in [0, 3, 4, 5, 100] {
            let (_ring, mut tx, mut rx) = pair(128)?;
            rx.limit_message_bytes(limit);
            tx.stamp_send_times(is_timed);
            tx.publish(&vec![7; limit + 1], 1)?;
            tx.publish(&vec![8; limit], 2)?;
            assert_eq!(
                rx.recv_owned(soon())?,
                (2, vec![8; limit]),
                "timed {is_timed}"
            );
            assert_eq!((rx.received().too_long, rx.received().messages), (1, 1));
        }
    }
    Ok(())
}

/// A message that exactly fills the ring is held in it, and is delivered again. A message with one frame more
/// is not.
#[test]
fn a_message_as_long_as_the_ring_is_held_in_it() -> Result {
    const DEPTH: usize = 8;
    let (ring, mut tx, mut rx) = pair(DEPTH)?;
    tx.publish(&[7; 4 * DEPTH], 1)?;
    assert_eq!(rx.recv(soon())?.len(), 4 * DEPTH);
    tx.publish(&[8; 4 * DEPTH], 1)?;
    rx.recv(soon())?.release_uncommitted();
    assert_eq!(rx.as_ring().current_sequence(), DEPTH as Sequence - 1);
    drop(rx);
    let mut rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    assert_eq!(rx.recv_owned(soon())?.1, [8; 4 * DEPTH]);
    Ok(())
}

/// A message that the ring cannot hold ends in the middle of a burst.
#[test]
fn what_follows_a_message_longer_than_the_ring_in_its_burst_is_whole() -> Result {
    const FRAMES: usize = 10;
    let (_ring, mut tx, mut rx) = pair(8)?;
    let mut put = |index: usize| {
        let start = if index == 0 { frame_flags::START } else { 0 };
        let end = if index + 1 == FRAMES {
            frame_flags::END
        } else {
            0
        };
        let meta = FrameMeta {
            len: (4 * (FRAMES - index)) as u32,
            kind: 1,
            flags: start | end,
            msg_id: 0,
        };
        tx.ring().publish(|frame| {
            *frame.header_mut() = meta.to_bytes();
            frame.payload_mut().fill(index as u8);
        });
    };
    (0..8).for_each(&mut put);
    assert_eq!(rx.process_available_messages(|_, _| {})?, 0);
    (8..FRAMES).for_each(&mut put);
    tx.stamp_send_times(true).publish(b"timed", 2)?;
    tx.stamp_send_times(false).publish(b"two", 3)?;
    let mut seen = Vec::new();
    let count = rx.process_available_messages_with_meta(|meta, message| {
        seen.push((meta.kind, meta.sent_at_ns.is_some(), message.to_vec()));
    })?;
    let long: Vec<u8> = (0..FRAMES).flat_map(|index| [index as u8; 4]).collect();
    let expected = [
        (1, false, long),
        (2, true, b"timed".to_vec()),
        (3, false, b"two".to_vec()),
    ];
    assert_eq!((count, &seen[..]), (3, &expected[..]));
    assert_eq!(
        rx.as_ring().current_sequence(),
        tx.last_published_sequence()
    );
    Ok(())
}

/// A burst first delivers the messages that are there; the next one reports that the ring has ended.
#[test]
fn a_burst_at_the_end_of_the_ring_says_so_once_it_has_nothing_else() -> Result {
    let (_ring, mut tx, mut rx) = pair(8)?;
    tx.publish(b"last", 1)?;
    tx.publish(b"last but one", 1)?;
    tx.close()?;
    assert_eq!(rx.process_available_messages(|_, _| {}), Ok(2));
    for _ in 0..2 {
        assert_eq!(
            rx.process_available_messages(|_, _| {}),
            Err(RecvError::Closed)
        );
        assert_eq!(rx.try_recv().map(|_| ()), Err(RecvError::Closed));
    }
    Ok(())
}

/// Managed calls have no deadline of their own, so the test has one.
#[test]
fn managed_messages_longer_than_the_ring_or_than_what_is_free_arrive() {
    const DEPTH: usize = 8;
    for (before, frames) in [
        (0, 3),
        (0, 4),
        (0, 5),
        (0, 9),
        (0, 40),
        (3, 8),
        (6, 4),
        (7, 2),
        (8, 1),
    ] {
        bounded::within(Duration::from_secs(60), move || {
            let (_ring, mut tx, mut rx) = pair(DEPTH).expect("a ring");
            for number in 0..before {
                tx.publish_managed(&[number as u8], 1).expect("space");
            }
            let long: Vec<u8> = (0..4 * frames).map(|at| at as u8).collect();
            let sent = thread::spawn({
                let long = long.clone();
                move || (tx.publish_managed(&long, 2), tx)
            });
            for number in 0..before {
                assert_eq!(rx.recv_owned(soon()), Ok((1, vec![number as u8])));
            }
            assert_eq!(
                rx.recv_owned(soon()),
                Ok((2, long)),
                "{before} before {frames} frames"
            );
            let (sequence, mut tx) = sent.join().expect("no panic");
            assert_eq!(sequence.expect("sent"), (before + frames - 1) as Sequence);
            let fragmented = value(&tx.counters(), CounterId::FRAMES_FRAGMENTED);
            assert_eq!(fragmented, Some(u64::from(frames > 1)));
        });
    }
}

/// Messages are sent in runs of half a ring; a call that does not wait sends at most one run.
#[test]
fn half_a_ring_is_one_run() -> Result {
    let (_ring, mut tx, mut rx) = pair(8)?;
    tx.try_publish(&[7; 16], 1)?;
    let refused = tx.try_publish(&[7; 17], 1);
    let expected = (17, 5, 4);
    assert!(
        matches!(refused, Err(TransportError::NeedsRuns { len, frames, limit })
        if (len, frames, limit) == expected)
    );
    tx.try_publish(&[7; 16], 1)?;
    let full = tx.try_publish(&[7; 4], 1);
    assert!(matches!(
        full,
        Err(TransportError::Full {
            frames: 1,
            depth: 8
        })
    ));
    assert_eq!(
        rx.process_available_messages(|_, message| assert_eq!(message.len(), 16))?,
        2
    );
    // refused messages are not counted
    let counters = tx.counters();
    assert_eq!(value(&counters, CounterId::FRAMES_FRAGMENTED), Some(2));
    assert_eq!(tx.last_published_sequence(), 7);
    Ok(())
}

type Decoding = fn(&mut TypedConsumer<Small, Heap>);

/// Calls that take in everything that is there, whatever they return: a value, a message that is no value, and
/// another value.
const DECODING: [(&str, Decoding); 7] = [
    ("recv", |rx| {
        (0..3).for_each(|_| drop(rx.recv::<Text>(soon())))
    }),
    ("try_recv", |rx| {
        (0..3).for_each(|_| drop(rx.try_recv::<Text>()))
    }),
    ("recv_owned", |rx| {
        (0..3).for_each(|_| drop(rx.recv_owned::<Text>()))
    }),
    ("recv_leased_within", |rx| {
        let mut buffer = ReassemblyBuffer::new();
        (0..3).for_each(|_| {
            let _ = rx.recv_leased_within::<Text, _, _>(&mut buffer, soon(), |_, _| {});
        });
    }),
    ("process_available", |rx| {
        assert_eq!(rx.process_available::<Text>(|_, _| {}), Ok(3));
    }),
    ("process_available_zero_copy", |rx| {
        assert_eq!(rx.process_available_zero_copy::<Text, _>(|_, _| {}), Ok(3));
    }),
    ("dispatch", |rx| {
        let mut table = KindTable::new().on(1, |_: Text| {}).expect("one kind");
        (0..3).for_each(|_| drop(rx.dispatch(&mut table, soon())));
    }),
];

#[test]
fn what_is_no_value_does_not_count_as_decoded() -> Result {
    for (how, decode) in DECODING {
        let (mut tx, mut rx) = typed_pair(32)?;
        for round in 1..4 {
            tx.publish(&Text("a".into()), 1)?;
            tx.publish_raw(&[0xFF], 1)?;
            tx.publish(&Text("longer than a frame".into()), 1)?;
            decode(&mut rx);
            let decoded = value(&rx.counters(), CounterId::CODEC_DECODED);
            assert_eq!(decoded, Some(2 * round), "{how}");
            assert_eq!(rx.raw().received().messages, 3 * round, "{how}");
            let encoded = value(&tx.counters(), CounterId::CODEC_ENCODED);
            assert_eq!(
                encoded,
                Some(2 * round),
                "{how}: raw messages are not encoded"
            );
        }
        assert!(rx.try_recv::<Text>()?.is_none(), "{how}");
    }
    Ok(())
}

/// Values that were not sent are not counted.
#[test]
fn what_is_not_sent_does_not_count_as_encoded() -> Result {
    let (mut tx, _rx) = typed_pair(8)?;
    assert!(tx.try_publish(&Text("forbidden".into()), 1).is_err());
    assert!(
        tx.try_publish(&Text("far too long for half a ring".into()), 1)
            .is_err()
    );
    let mut sent = 0;
    while tx.try_publish(&Text("a".into()), 1).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 8);
    assert_eq!(value(&tx.counters(), CounterId::CODEC_ENCODED), Some(sent));
    Ok(())
}

/// The layer below receives the count every 64 values, and after each burst, without being asked.
#[test]
fn counters_of_codecs_are_shown_every_64_values() -> Result {
    let (mut tx, mut rx) = typed_pair(256)?;
    for number in 1..=130_u64 {
        tx.publish(&Text("a".into()), 1)?;
        rx.recv::<Text>(soon())?;
        let shown = Some(number / 64 * 64);
        let (sent, got) = (tx.raw().counters(), rx.raw().counters());
        assert_eq!(value(&sent, CounterId::CODEC_ENCODED), shown, "{number}");
        assert_eq!(value(&got, CounterId::CODEC_DECODED), shown, "{number}");
    }
    tx.publish(&Text("a".into()), 1)?;
    rx.process_available::<Text>(|_, _| {})?;
    assert_eq!(
        value(&rx.raw().counters(), CounterId::CODEC_DECODED),
        Some(131)
    );
    Ok(())
}

/// `discover_consumers` counts the ids that have come, not those that are expected.
#[test]
fn discovery_counts_the_consumers_that_have_come() -> Result {
    let (ring, mut tx, _reader) = pair(8)?;
    assert_eq!(tx.discover_consumers(["reader", "writer"])?, 1);
    let _writer = Rx::from_builder(ring.builder().with_consumer_id("writer"))?;
    assert_eq!(tx.discover_consumers(["reader", "writer"])?, 2);
    Ok(())
}

/// A reservation has the length that it reports, with a time and without.
#[test]
fn a_reservation_leaves_room_for_its_time() -> Result {
    type Frame = FixedFrame<16>;
    let ring = HeapRing::<Frame>::new(8)?;
    let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    for (is_timed, limit) in [(false, 16), (true, 8)] {
        tx.stamp_send_times(is_timed);
        assert_eq!(tx.frame_limit(), limit);
        for too_long in [limit + 1, usize::MAX] {
            let refused = tx.try_reserve(too_long, 1).map(drop);
            assert!(matches!(
                refused,
                Err(TransportError::DoesNotFitFrame { .. })
            ));
        }
        for len in [0, 1, limit] {
            let mut reservation = tx.try_reserve(limit, 3)?;
            reservation.fill(9);
            reservation.truncate(len);
            reservation.truncate(limit); // it does not get longer
            reservation.publish();
            let (meta, message): (ReceivedMessageMeta, _) = rx.recv_owned_with_meta(soon())?;
            assert_eq!(
                (meta.kind, meta.len, meta.frames, message),
                (3, len, 1, vec![9; len])
            );
            assert_eq!(meta.sent_at_ns.is_some(), is_timed);
            assert_eq!(rx.received().reassembled, 0, "of one frame, with its time");
        }
    }
    tx.publish(b"a frame", 3)?; // takes a frame together with its time
    assert_eq!(rx.recv_owned(soon())?.1, b"a frame");
    let fragmented = value(&tx.counters(), CounterId::FRAMES_FRAGMENTED);
    assert_eq!((fragmented, rx.received().reassembled), (Some(0), 0));
    let none = rx.recv(Deadline::after(Duration::ZERO)).map(drop);
    assert_eq!(none, Err(RecvError::Timeout));
    Ok(())
}

/// Both sides of a session count values that were decoded and finished. The count is shown after 64 values.
#[test]
fn a_session_counts_its_values() -> Result {
    const ANSWERS: usize = 16;
    let rings = MyelonTransportConfig::default().with_response_depth(ANSWERS);
    let name = portable_shm_segment_name("exact");
    let config = RunnerMyelonTransportConfig::new(name, 1).with_transport(rings);
    let mut scheduler = Scheduler::<FixedFrame<64>>::start(&config)?;
    let mut worker = Worker::<FixedFrame<64>>::start(&config, 0)?;
    let decoded = |counters: Vec<CounterSnapshot>| value(&counters, CounterId::CODEC_DECODED);
    let mut unread = 0;
    for number in 1..=64 {
        scheduler.broadcast_value(&Text("request".into()), 1, soon())?;
        if unread == ANSWERS {
            // no space for the answer: the request is delivered again, and is not counted yet
            let passed = Deadline::after(Duration::ZERO);
            assert!(worker.serve_value(passed, |_, text: Text| text).is_err());
            for _ in 0..unread {
                scheduler.recv_any_value::<Text>(soon())?.2?;
            }
            unread = 0;
        }
        assert_eq!(decoded(worker.requests().counters()), Some(0), "{number}");
        worker.serve_value(soon(), |_, text: Text| text)?;
        unread += 1;
    }
    assert_eq!(decoded(worker.requests().counters()), Some(64));
    for _ in 0..unread {
        let responses = scheduler.responses(0).expect("a ring");
        assert_eq!(decoded(responses.counters()), Some(0));
        let text = scheduler.recv_any_value::<Text>(soon())?.2?;
        assert_eq!(text, Text("request".into()));
    }
    let responses = scheduler.responses(0).expect("a ring");
    assert_eq!(decoded(responses.counters()), Some(64));
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}
