//! Messages that were lent: a message that is not delivered comes again, and callers that wait for the ring
//! learn of it. A message that is released explicitly is released even while its thread unwinds. A message that is held
//! comes again until it is done, also after a death, and knows how often it was delivered.

mod text_codec;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use myelon::transport::{
    FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer,
    ReassemblyBuffer, frame_flags,
};
use myelon::{Deadline, Heap, HeapRing, KindTable, RingSet, TypedConsumer, TypedProducer};
use text_codec::Text;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
/// Four bytes a frame.
type Small = FixedFrame<4>;
type Tx = FramedTransportProducer<Small, Heap>;
type Rx = FramedTransportConsumer<Small, Heap>;

/// A deadline long enough for everything that must happen.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(if cfg!(miri) { 100 } else { 10 }))
}

fn pair(depth: usize) -> Result<(HeapRing<Small>, Tx, Rx)> {
    let ring = HeapRing::<Small>::new(depth)?;
    let tx = Tx::from_builder(ring.builder())?;
    let rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    Ok((ring, tx, rx))
}

/// Whether a caller that waits for the ring learns that there is a message.
fn is_seen_by_who_waits(rx: &Rx) -> bool {
    let mut set = RingSet::of([rx.as_ring()]).expect("one ring");
    set.wait(Deadline::after(Duration::ZERO)).is_ok()
}

/// A call that begins a message and does not deliver it.
type Undelivered = fn(&mut Rx);

const UNDELIVERED: [(&str, Undelivered); 5] = [
    ("given back", |rx| {
        let message = rx.recv(soon()).expect("a message");
        message.release_uncommitted();
    }),
    ("given back after a look", |rx| {
        let message = rx.try_recv().expect("open").expect("a message");
        message.release_uncommitted();
    }),
    ("dropped by a panic", |rx| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _message = rx.recv(soon()).expect("a message");
            panic!("with the message in hand");
        }));
        outcome.expect_err("a panic");
    }),
    ("handled by what panics", |rx| {
        let mut buffer = ReassemblyBuffer::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            rx.recv_leased(&mut buffer, soon(), |_, _| {
                panic!("with the message in hand")
            })
        }));
        outcome.expect_err("a panic");
    }),
    ("handled in a burst by what panics", |rx| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            rx.process_available_messages(|_, _| panic!("with the message in hand"))
        }));
        outcome.expect_err("a panic");
    }),
];

#[test]
fn an_undelivered_message_ends_a_wait_for_the_ring() -> Result {
    // messages of one frame, of several, and of as many frames as the ring has
    for frames in [1, 3, 8] {
        for (how, undelivered) in UNDELIVERED {
            let (_ring, mut tx, mut rx) = pair(8)?;
            let message: Vec<u8> = (0..4 * frames).collect();
            let ended = thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    tx.send(&message, 1, soon()).expect("space");
                    tx
                });
                undelivered_once_whole(&mut rx, undelivered);
                sending.join().expect("no panic")
            });
            for _ in 0..2 {
                assert!(is_seen_by_who_waits(&rx), "{frames} frames, {how}");
                undelivered(&mut rx);
            }
            assert_eq!(rx.recv_owned(soon())?.1, message, "{frames} frames, {how}");
            assert!(!is_seen_by_who_waits(&rx), "{frames} frames, {how}");
            assert!(ended.depth() == 8 && rx.received().messages == 1);
        }
    }
    Ok(())
}

/// Waits for a whole message first, because a burst does not wait.
fn undelivered_once_whole(rx: &mut Rx, undelivered: Undelivered) {
    let message = rx.recv(soon()).expect("a message");
    message.release_uncommitted();
    undelivered(rx);
}

#[test]
fn an_undelivered_message_longer_than_the_ring_ends_a_wait_for_the_ring() -> Result {
    for depth in [1, 4] {
        for (how, undelivered) in UNDELIVERED {
            let (_ring, mut tx, mut rx) = pair(depth)?;
            let message: Vec<u8> = (0..34).collect();
            thread::scope(|scope| -> Result {
                let sending = scope.spawn(|| {
                    tx.send(&message, 1, soon()).expect("space");
                    tx.send(b"next", 1, soon()).expect("space");
                });
                undelivered_once_whole(&mut rx, undelivered);
                for _ in 0..2 {
                    assert!(is_seen_by_who_waits(&rx), "{depth} deep, {how}");
                    undelivered(&mut rx);
                }
                assert_eq!(rx.recv_owned(soon())?.1, message, "{depth} deep, {how}");
                assert_eq!(rx.recv_owned(soon())?.1, b"next", "{depth} deep, {how}");
                sending.join().expect("no panic");
                Ok(())
            })?;
            let received = rx.received();
            assert_eq!((received.messages, received.dropped()), (2, 0), "{how}");
            assert_eq!(received.orphans, 0, "{how}");
            assert!(!is_seen_by_who_waits(&rx), "{depth} deep, {how}");
        }
    }
    Ok(())
}

/// If a burst panics, the messages handled before the panic are released, and a caller that waits for the ring
/// learns of the message that comes again.
#[test]
fn a_message_whose_burst_panics_ends_a_wait_for_the_ring() -> Result {
    let (_ring, mut tx, mut rx) = pair(16)?;
    for message in [&b"one."[..], b"two frames"] {
        tx.publish(message, 1)?;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        rx.process_available_messages(|_, message| assert_eq!(message, b"one.", "on purpose"))
    }));
    assert!(outcome.is_err());
    assert!(is_seen_by_who_waits(&rx));
    assert_eq!(tx.ring().min_gating_sequence(), 0, "the first is released");
    assert_eq!(rx.recv_owned(soon())?.1, b"two frames");
    Ok(())
}

/// Runs the closure when it is dropped.
struct Then<F: FnMut()>(F);

impl<F: FnMut()> Drop for Then<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `work` in a destructor while the thread unwinds, and fails if `work` does not end.
fn while_unwinding(work: impl FnMut() + Send + 'static) {
    let (done, ended) = channel();
    let unwinding = thread::spawn(move || {
        let mut work = work;
        let _then = Then(|| {
            work();
            let _ = done.send(());
        });
        panic!("on purpose");
    });
    ended
        .recv_timeout(Duration::from_secs(60))
        .expect("it comes to an end");
    assert!(unwinding.join().is_err());
}

/// A ring with every kind of message, and with frames that belong to no message.
fn everything(depth: usize) -> Result<(HeapRing<Small>, Tx)> {
    let ring = HeapRing::<Small>::new(depth)?;
    drop(ring.consumer("reader")?);
    let mut tx = Tx::from_builder(ring.builder())?;
    let orphan = FrameMeta {
        len: 3,
        kind: 1,
        flags: frame_flags::END,
        msg_id: 0,
    };
    tx.ring().publish(|frame| {
        *frame.header_mut() = orphan.to_bytes();
    });
    tx.publish(b"one.", 1)?;
    tx.ring().publish(|frame| *frame.header_mut() = [0xFF; 12]);
    tx.publish(b"several frames", 1)?;
    tx.publish(b"last", 1)?;
    Ok((ring, tx))
}

const MESSAGES: [&str; 3] = ["one.", "several frames", "last"];

#[test]
fn messages_are_received_while_the_thread_unwinds() -> Result {
    type Next = fn(&mut Rx) -> Option<Vec<u8>>;
    let ways: [Next; 4] = [
        |rx| {
            let message = rx.try_recv().ok()??;
            let bytes = message.to_vec();
            message.release();
            Some(bytes)
        },
        |rx| Some(rx.recv_owned(Deadline::after(Duration::ZERO)).ok()?.1),
        |rx| {
            let mut buffer = ReassemblyBuffer::new();
            let now = Deadline::after(Duration::ZERO);
            rx.recv_leased(&mut buffer, now, |_, message| message.to_vec())
                .ok()
        },
        |rx| {
            let mut all = Vec::new();
            rx.process_available_messages(|_, message| all.extend_from_slice(message))
                .ok()?;
            (!all.is_empty()).then_some(all)
        },
    ];
    for next in ways {
        let (ring, mut tx) = everything(16)?;
        let mut rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
        let (send, seen) = channel();
        while_unwinding(move || {
            while let Some(message) = next(&mut rx) {
                let _ = send.send(message);
            }
        });
        let seen: Vec<u8> = seen.iter().flatten().collect();
        assert_eq!(String::from_utf8(seen)?, MESSAGES.concat());
        let last = tx.last_published_sequence();
        assert_eq!(tx.ring().min_gating_sequence(), last);
    }
    Ok(())
}

#[test]
fn values_are_received_while_the_thread_unwinds() -> Result {
    type TypedRx = TypedConsumer<Small, Heap>;
    type Next = fn(&mut TypedRx) -> Option<String>;
    let ways: [Next; 4] = [
        |rx| Some(rx.try_recv::<Text>().ok()??.1.0),
        |rx| {
            let now = Deadline::after(Duration::ZERO);
            Some(rx.recv::<Text>(now).ok()?.1.0)
        },
        |rx| {
            let (now, mut buffer) = (Deadline::after(Duration::ZERO), ReassemblyBuffer::new());
            let text =
                rx.recv_leased_within::<Text, _, _>(&mut buffer, now, |_, text| text.to_owned());
            text.ok()
        },
        |rx| {
            let now = Deadline::after(Duration::ZERO);
            let mut seen = None;
            let mut table = KindTable::new()
                .on(1, |text: Text| seen = Some(text.0))
                .ok()?;
            rx.dispatch(&mut table, now).ok()?;
            drop(table);
            seen
        },
    ];
    for next in ways {
        let (ring, _tx) = everything(16)?;
        let mut rx = TypedRx::from_builder(ring.builder().with_consumer_id("reader"))?;
        let (send, seen) = channel();
        while_unwinding(move || {
            while let Some(text) = next(&mut rx) {
                let _ = send.send(text);
            }
        });
        assert_eq!(seen.iter().collect::<Vec<_>>(), MESSAGES);
    }
    Ok(())
}

/// Messages that cannot be decoded, or have no handler, are consumed then as well.
#[test]
fn what_is_no_value_is_consumed_while_the_thread_unwinds() -> Result {
    let ring = HeapRing::<Small>::new(16)?;
    let mut tx = TypedProducer::from_builder(ring.builder())?;
    let mut rx = TypedConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    for kind in [1, 1, 1, 2] {
        tx.publish_raw(&[0xFF], kind)?;
    }
    let (send, errors) = channel();
    while_unwinding(move || {
        let now = || Deadline::after(Duration::ZERO);
        let mut buffer = ReassemblyBuffer::new();
        let mut table = KindTable::new().on(1, |_: Text| {}).expect("one");
        let _ = send.send(rx.recv::<Text>(now()).is_err());
        let leased = rx.recv_leased_within::<Text, _, _>(&mut buffer, now(), |_, _| ());
        let _ = send.send(leased.is_err());
        let _ = send.send(rx.dispatch(&mut table, now()).is_err());
        let _ = send.send(rx.dispatch(&mut table, now()).is_err());
        assert!(matches!(rx.try_recv::<Text>(), Ok(None)));
    });
    assert_eq!(errors.iter().collect::<Vec<_>>(), [true; 4]);
    Ok(())
}

/// While its thread unwinds, a message that is only dropped is not released: it comes again whole.
#[test]
fn a_message_that_is_only_dropped_while_the_thread_unwinds_comes_again() -> Result {
    let (ring, mut tx, mut rx) = pair(16)?;
    tx.publish(b"one.", 1)?;
    while_unwinding(move || {
        drop(rx.recv(soon()).expect("a message"));
        assert_eq!(&*rx.recv(soon()).expect("again"), b"one.");
    });
    let mut back = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    assert_eq!(back.recv_owned(soon())?.1, b"one.");
    Ok(())
}

/// Each frame of a message longer than the ring is released as it is taken in.
#[test]
fn a_message_longer_than_the_ring_is_received_while_the_thread_unwinds() -> Result {
    let (_ring, mut tx, mut rx) = pair(4)?;
    let message: Vec<u8> = (0..100).collect();
    let sent = message.clone();
    let sending = thread::spawn(move || {
        tx.send(&sent, 1, soon()).expect("space");
        tx.send(b"next", 1, soon()).expect("space");
    });
    let (send, seen) = channel();
    while_unwinding(move || {
        for _ in 0..2 {
            let _ = send.send(rx.recv_owned(soon()).expect("a message").1);
        }
    });
    assert_eq!(seen.iter().collect::<Vec<_>>(), [message, b"next".to_vec()]);
    sending.join().expect("no panic");
    Ok(())
}

#[test]
fn a_held_message_comes_again_until_it_is_done_and_counts() -> Result {
    // a message of one frame, and of several
    for frames in [1, 3] {
        let (ring, mut tx, mut rx) = pair(8)?;
        let message: Vec<u8> = (0..4 * frames).collect();
        tx.send(&message, 7, soon())?;
        tx.send(b"next", 1, soon())?;
        for delivery in [1, 2] {
            let held = rx.recv_held(soon())?;
            assert_eq!((held.kind(), &*held), (7, &message[..]));
            assert_eq!(
                (held.delivery(), held.is_in_place()),
                (delivery, frames == 1)
            );
            drop(held);
            assert!(is_seen_by_who_waits(&rx));
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _held = rx.recv_held(soon()).expect("a message");
            panic!("with the message in hand");
        }));
        outcome.expect_err("a panic");
        // the next consumer of this id, and only that one
        drop(rx);
        let mut other = Rx::from_builder(ring.builder().with_consumer_id("other"))?;
        assert_eq!(other.recv_held(soon())?.delivery(), 1);
        let mut rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
        let held = rx.try_recv_held()?.expect("a message");
        assert_eq!((held.delivery(), &*held), (4, &message[..]));
        held.done();
        let held = rx.try_recv_held()?.expect("a message");
        assert_eq!((held.delivery(), &*held), (1, &b"next"[..]));
        held.done();
        assert!(rx.try_recv_held()?.is_none());
        assert_eq!(rx.received().messages, 2);
    }
    Ok(())
}

#[test]
fn a_held_message_is_read_as_a_value_and_stays_held() -> Result {
    let (_ring, mut tx, mut rx) = pair(8)?;
    tx.send(b"text", 7, soon())?;
    tx.send(b"\xff", 7, soon())?;
    let mut texts = Vec::new();
    let mut table = KindTable::new().on(7, |Text(text)| texts.push(text))?;
    let held = rx.recv_held(soon())?;
    held.dispatch(&mut table)?;
    assert_eq!(held.decode::<Text>()?, Text(String::from("text")));
    assert_eq!(held.access::<Text>()?, "text");
    drop(held);
    rx.recv_held(soon())?.done();
    let held = rx.recv_held(soon())?;
    assert!(held.decode::<Text>().is_err() && held.dispatch(&mut table).is_err());
    held.done();
    drop(table);
    assert_eq!(texts, ["text"]);
    Ok(())
}

/// The environment variable that makes this program the process that is killed.
const READER: &str = "MYELON_TEST_READER";

type Shared = FramedTransportConsumer<Small>;

fn attached(name: &str) -> Result<Shared> {
    let strategy = myelon::MyelonWaitStrategy::Block;
    Ok(Shared::attach_with_consumer_id(
        name, 8, "reader", strategy,
    )?)
}

/// Does nothing unless this process was started as the reader.
#[test]
fn a_reader_that_is_killed() -> Result {
    let Ok(name) = std::env::var(READER) else {
        return Ok(());
    };
    let mut rx = attached(&name)?;
    let held = rx.recv_held(soon())?;
    println!("held {}", held.delivery());
    thread::sleep(Duration::from_secs(20));
    Err("nobody has killed it".into())
}

#[cfg(not(miri))]
#[test]
fn a_message_that_its_readers_died_over_says_how_often() -> Result {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let name = myelon::portable_shm_segment_name("held");
    let mut tx = FramedTransportProducer::<Small>::create(&name, 8)?;
    tx.send(b"dangerous", 1, soon())?;
    for delivery in [1, 2] {
        let mut reader = Command::new(std::env::current_exe()?)
            .args(["--exact", "a_reader_that_is_killed", "--nocapture"])
            .env(READER, &*name)
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(reader.stdout.take().expect("piped")).lines();
        let mut lines = lines.map_while(std::io::Result::ok);
        let held = format!("held {delivery}");
        assert!(lines.any(|line| line.ends_with(&held)), "{held}");
        reader.kill()?;
        reader.wait()?;
    }
    let mut rx = attached(&name)?;
    let held = rx.recv_held(soon())?;
    assert_eq!((held.delivery(), &*held), (3, &b"dangerous"[..]));
    held.done();
    rx.leave()?;
    Ok(())
}
