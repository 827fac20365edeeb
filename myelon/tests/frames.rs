//! Messages over rings of frames: which are delivered, which are dropped, and which are delivered again.

mod bounded;
#[macro_use]
mod own_frame;

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use myelon::transport::{
    FRAME_HEADER_BYTES, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MAX_MESSAGE_BYTES, ReassemblyBuffer, TransportError, frame_flags,
};
use myelon::{Deadline, Heap, HeapRing, RecvError, StartFrom};

/// Under Miri each case takes seconds, so only one in `ONE_IN` of many similar cases is run.
const ONE_IN: usize = if cfg!(miri) { 41 } else { 1 };

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
/// Four bytes a frame.
type Small = FixedFrame<4>;
type Tx<F = Small> = FramedTransportProducer<F, Heap>;
type Rx<F = Small> = FramedTransportConsumer<F, Heap>;

fn pair<F: FramedTransportFrame>(depth: usize) -> Result<(HeapRing<F>, Tx<F>, Rx<F>)> {
    let ring = HeapRing::<F>::new(depth)?;
    let tx = FramedTransportProducer::from_builder(ring.builder())?;
    let rx = FramedTransportConsumer::from_builder(ring.builder().with_consumer_id("reader"))?;
    Ok((ring, tx, rx))
}

/// A limit for the whole test that no test comes near.
const LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 60 });

/// `len` bytes whose values depend on their position.
fn message(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

/// A deadline long enough for everything that must happen.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(if cfg!(miri) { 100 } else { 10 }))
}

fn recv(rx: &mut Rx) -> Result<Vec<u8>> {
    Ok(rx.recv(soon())?.to_vec())
}

/// Publishes one frame with this header and payload.
fn put(tx: &mut Tx, meta: FrameMeta, payload: &[u8; 4]) {
    tx.ring().publish(|frame| {
        *frame.header_mut() = meta.to_bytes();
        frame.payload_mut().copy_from_slice(payload);
    });
}

fn start(tx: &Tx, len: u32, flags: u8) -> FrameMeta {
    FrameMeta {
        len,
        kind: 7,
        flags: frame_flags::START | flags,
        msg_id: (tx.last_published_sequence() + 1) as u32,
    }
}

#[test]
fn lengths_around_each_boundary() -> Result {
    for depth in [1, 2, 8] {
        let (_ring, mut tx, mut rx) = pair::<Small>(depth)?;
        for len in (0_usize..40)
            .step_by(if cfg!(miri) { 3 } else { 1 })
            .filter(|len| len.div_ceil(4) <= (depth / 2).max(1))
        {
            tx.publish(&message(len), len as u8)?;
            let got = rx.recv(Deadline::after(Duration::ZERO))?;
            assert_eq!((got.kind(), got.to_vec()), (len as u8, message(len)));
            assert_eq!(got.meta().frames, len.div_ceil(4).max(1));
        }
    }
    Ok(())
}

/// Slices that begin and end before, at and after the boundary of a frame, with the time of sending behind them or not.
#[test]
fn slices_arrive_as_one_message() -> Result {
    let (_ring, mut tx, mut rx) = pair(32)?;
    let bytes = message(21);
    let lengths = [0, 1, 3, 4, 5, 9];
    let all = lengths.iter().flat_map(|a| {
        let rest = lengths
            .iter()
            .flat_map(move |b| lengths.map(|c| [*a, *b, c]));
        rest.collect::<Vec<_>>()
    });
    for (case, [a, b, c]) in all.enumerate().step_by(ONE_IN) {
        let message = &bytes[..(a + b + c).min(21)];
        let (first, rest) = message.split_at(a);
        let (second, third) = rest.split_at(b.min(rest.len()));
        tx.stamp_send_times(case % 2 == 1);
        tx.send_vectored(&[first, second, third].map(IoSlice::new), 7, soon())?;
        assert_eq!(recv(&mut rx)?, message, "{a}, {b} and {c} bytes");
    }
    let part = vec![0; MAX_MESSAGE_BYTES >> 16];
    let too_long = vec![IoSlice::new(&part); (1 << 16) + 1];
    let error = tx.send_vectored(&too_long, 7, soon()).unwrap_err();
    assert!(
        matches!(error, TransportError::MessageTooLong { .. }),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn messages_larger_than_the_ring_flow_through_it() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(8)?;
    let lens = [1, 100, 33, 0, 32, 31, if cfg!(miri) { 70 } else { 1000 }, 4];
    let sender = std::thread::spawn(move || {
        for len in lens {
            tx.send(&message(len), 1, soon()).expect("sent");
        }
    });
    let mut buffer = ReassemblyBuffer::new();
    for (turn, len) in lens.into_iter().enumerate() {
        let deadline = soon();
        let got = match turn % 3 {
            0 => rx.recv(deadline)?.to_vec(),
            1 => rx.recv_owned(deadline)?.1,
            _ => rx.recv_leased(&mut buffer, deadline, |_, message| message.to_vec())?,
        };
        assert_eq!(got, message(len));
    }
    sender.join().expect("the sender");
    Ok(())
}

#[test]
fn messages_arrive_whichever_way_they_are_read() {
    // a managed call has no deadline of its own
    bounded::within(LIMIT, || read_in_every_way().expect("no error"));
}

fn read_in_every_way() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(32)?;
    let mut buffer = ReassemblyBuffer::new();
    for len in [0, 3, 4, 9, 64] {
        for _ in 0..3 {
            tx.publish(&message(len), 9)?;
            assert_eq!(rx.recv_message_blocking_owned(), (9, message(len)));
            tx.try_publish(&message(len), 9)?;
            let got = rx.recv_message_blocking_leased(&mut buffer, |_, m| m.to_vec());
            assert_eq!(got, message(len));
            tx.publish_managed(&message(len), 9)?;
            assert_eq!(recv(&mut rx)?, message(len));
            tx.publish(&message(len), 9)?;
            let mut got = Vec::new();
            let count = rx.process_available_messages(|_, m| got.extend_from_slice(m))?;
            assert_eq!((count, got), (1, message(len)));
            assert!(rx.try_recv()?.is_none());
        }
    }
    Ok(())
}

#[test]
fn a_message_written_in_place() -> Result {
    let (_ring, mut tx, mut rx) = pair::<FixedFrame<64>>(4)?;
    let mut reservation = tx.reserve(64, 3, Deadline::NEVER)?;
    reservation[..5].copy_from_slice(b"hello");
    reservation.truncate(5);
    assert_eq!(reservation.publish(), 0);
    drop(tx.try_reserve(10, 3)?);
    tx.reserve_managed(0, 4)?.publish();
    let got = rx.recv(Deadline::NEVER)?;
    assert!(got.is_in_place());
    assert_eq!((got.kind(), &*got), (3, &b"hello"[..]));
    drop(got);
    assert_eq!(rx.recv(Deadline::NEVER)?.len(), 0);
    assert_eq!(
        tx.reserve(65, 3, Deadline::NEVER).unwrap_err().to_string(),
        "65 bytes do not fit a frame of 64: use larger frames, or publish() them from a buffer"
    );
    Ok(())
}

#[test]
fn the_time_of_sending_is_there_when_asked_for() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(32)?;
    tx.publish(b"none", 1)?;
    assert_eq!(rx.recv(Deadline::NEVER)?.meta().sent_at_ns, None);
    tx.stamp_send_times(true);
    let mut before = 0;
    // the time is in frames of its own, or spread over two
    for len in [0, 1, 2, 3, 4, 5, 50] {
        tx.publish(&message(len), 1)?;
        let got = rx.recv(Deadline::NEVER)?;
        let sent_at = got.meta().sent_at_ns.expect("a time");
        assert!(sent_at > before);
        before = sent_at;
        assert_eq!((got.meta().len, got.to_vec()), (len, message(len)));
    }
    Ok(())
}

#[test]
fn a_truncated_message_is_dropped_and_the_next_one_delivered() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
    let first = start(&tx, 10, 0);
    put(&mut tx, first, b"tru.");
    tx.publish(b"whole", 1)?;
    assert_eq!(recv(&mut rx)?, b"whole");
    let first = start(&tx, 4, frame_flags::END);
    put(&mut tx, first, b"four");
    assert_eq!(recv(&mut rx)?, b"four");
    let received = rx.received();
    assert_eq!(
        (received.messages, received.truncated, received.dropped()),
        (2, 1, 1)
    );
    Ok(())
}

#[test]
fn the_end_of_the_ring_is_the_end_of_a_truncated_message() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
    let first = start(&tx, 10, 0);
    put(&mut tx, first, b"tru.");
    tx.close()?;
    assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Closed);
    assert_eq!(rx.received().truncated, 1);
    assert_eq!(rx.try_recv().unwrap_err(), RecvError::Closed);
    Ok(())
}

/// Each way in which a header can be wrong, in the second frame of a message of three.
#[test]
fn a_frame_that_does_not_belong_there_takes_its_message_with_it() -> Result {
    let sound = |id| FrameMeta {
        len: 6,
        kind: 7,
        flags: 0,
        msg_id: id,
    };
    let wrong: [fn(FrameMeta) -> FrameMeta; 6] = [
        |meta| FrameMeta { len: 5, ..meta },
        |meta| FrameMeta {
            len: u32::MAX,
            ..meta
        },
        |meta| FrameMeta { kind: 8, ..meta },
        |meta| FrameMeta {
            flags: frame_flags::END,
            ..meta
        },
        |meta| FrameMeta {
            flags: frame_flags::TIMED,
            ..meta
        },
        |meta| FrameMeta {
            msg_id: meta.msg_id + 1,
            ..meta
        },
    ];
    for (index, wrong) in wrong.into_iter().enumerate() {
        let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
        let first = start(&tx, 10, 0);
        put(&mut tx, first, b"one.");
        put(&mut tx, wrong(sound(first.msg_id)), b"two.");
        let third = FrameMeta {
            len: 2,
            flags: frame_flags::END,
            ..sound(first.msg_id)
        };
        put(&mut tx, third, b"3...");
        tx.publish(b"the next", 1)?;
        assert_eq!(recv(&mut rx)?, b"the next", "{index}");
        assert_eq!(
            (rx.received().malformed, rx.received().orphans),
            (1, 1),
            "{index}"
        );
    }
    Ok(())
}

#[test]
fn a_start_that_contradicts_itself_is_dropped() -> Result {
    let wrong: [fn(FrameMeta) -> FrameMeta; 5] = [
        |meta| FrameMeta {
            len: 5,
            flags: meta.flags | frame_flags::END,
            ..meta
        },
        |meta| FrameMeta { len: 4, ..meta },
        |meta| FrameMeta {
            len: u32::MAX,
            ..meta
        },
        |meta| FrameMeta {
            msg_id: meta.msg_id + 1,
            flags: meta.flags | frame_flags::END,
            ..meta
        },
        |meta| FrameMeta {
            len: 7,
            flags: meta.flags | frame_flags::TIMED,
            ..meta
        },
    ];
    for (index, wrong) in wrong.into_iter().enumerate() {
        let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
        let meta = wrong(start(&tx, 4, 0));
        put(&mut tx, meta, b"bad.");
        tx.publish(b"the next", 1)?;
        assert_eq!(recv(&mut rx)?, b"the next", "{index}");
        assert_eq!(rx.received().malformed, 1, "{index}");
    }
    Ok(())
}

/// One bit is flipped, each bit of each header of a message of three frames in turn: the message is delivered
/// as it was sent, or not at all.
#[test]
fn every_single_bit_flip_is_detected() -> Result {
    for bit in (0..3 * 8 * FRAME_HEADER_BYTES).step_by(ONE_IN) {
        let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
        let first = start(&tx, 10, 0);
        for (index, (len, flags)) in [(10, first.flags), (6, 0), (2, frame_flags::END)]
            .into_iter()
            .enumerate()
        {
            let mut header = FrameMeta {
                len,
                flags,
                ..first
            }
            .to_bytes();
            if index == bit / 8 / FRAME_HEADER_BYTES {
                header[bit / 8 % FRAME_HEADER_BYTES] ^= 1 << (bit % 8);
            }
            tx.ring().publish(|frame| *frame.header_mut() = header);
        }
        tx.publish(b"the next", 1)?;
        assert_eq!(recv(&mut rx)?, b"the next", "bit {bit}");
        assert_eq!(rx.received().malformed, 1, "bit {bit}");
    }
    Ok(())
}

#[test]
fn a_message_over_the_consumers_limit_is_dropped() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
    rx.limit_message_bytes(5);
    for len in [6, 5, 3, 20, 0] {
        tx.publish(&message(len), 1)?;
    }
    for len in [5, 3, 0] {
        assert_eq!(recv(&mut rx)?, message(len));
    }
    assert_eq!(rx.received().too_long, 2);
    Ok(())
}

#[test]
fn messages_that_do_not_fit_are_refused_with_advice() -> Result {
    let (_ring, mut tx, _rx) = pair::<Small>(4)?;
    // Miri really allocates this much memory
    if cfg!(not(miri)) {
        let too_long = vec![0; MAX_MESSAGE_BYTES + 1];
        assert_eq!(
            tx.publish(&too_long, 1).unwrap_err().to_string(),
            "a message of 1073741825 bytes is over the limit of 1073741824: send it in pieces, or put it into a file and send the path"
        );
    }
    assert_eq!(
        tx.try_publish(&message(9), 1).unwrap_err().to_string(),
        "a message of 9 bytes takes 3 frames, and a call that does not wait claims at most 2: use send(), which sends longer messages in several runs"
    );
    tx.publish(&message(8), 1)?;
    tx.publish(&message(4), 1)?;
    assert_eq!(
        tx.try_publish(&message(8), 1).unwrap_err().to_string(),
        "the message takes 2 frames, and the ring of 4 has no space for them now; blocked_on() of its producer names the consumer that holds it"
    );
    tx.try_publish(&message(1), 1)?;
    assert!(matches!(
        tx.try_publish(&message(1), 1),
        Err(TransportError::Full { .. })
    ));
    assert!(matches!(
        tx.try_reserve(1, 1),
        Err(TransportError::Full { .. })
    ));
    let full = tx.send(&message(1), 1, Deadline::after(Duration::from_millis(1)));
    assert!(full.unwrap_err().to_string().contains("'reader'"));
    Ok(())
}

/// A sender gives up in the middle of a message longer than the ring.
#[test]
fn a_message_that_was_given_up_is_dropped() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(4)?;
    let sent = tx.send(&message(100), 1, Deadline::after(Duration::from_millis(1)));
    assert!(matches!(sent, Err(TransportError::Send(_))));
    assert!(rx.try_recv()?.is_none(), "frames, but no message");
    tx.publish(b"next", 1)?;
    assert_eq!(recv(&mut rx)?, b"next");
    assert_eq!(rx.received().truncated, 1);
    Ok(())
}

#[test]
fn a_message_whose_handler_panics_comes_again() -> Result {
    for (depth, len) in [(16, 3), (16, 9), (16, 64), (2, 12)] {
        let (_ring, mut tx, mut rx) = pair::<Small>(depth)?;
        let sender = std::thread::spawn(move || tx.publish(&message(len), 1).map(|_| tx));
        let mut buffer = ReassemblyBuffer::new();
        let panics = catch_unwind(AssertUnwindSafe(|| {
            rx.recv_message_blocking_leased(&mut buffer, |_, _| panic!("on purpose"))
        }));
        assert!(panics.is_err());
        let panics = catch_unwind(AssertUnwindSafe(|| {
            let _message = rx.recv(Deadline::NEVER).expect("the message");
            panic!("on purpose");
        }));
        assert!(panics.is_err());
        let panics = catch_unwind(AssertUnwindSafe(|| {
            rx.process_available_messages(|_, _| panic!("on purpose"))
        }));
        assert!(panics.is_err());
        rx.recv(Deadline::NEVER)?.release_uncommitted();
        assert_eq!(recv(&mut rx)?, message(len), "{depth} {len}");
        assert!(rx.try_recv()?.is_none());
        drop(sender.join().expect("the sender")?);
    }
    Ok(())
}

#[test]
fn in_a_burst_what_was_handled_before_the_panic_does_not_come_again() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(64)?;
    for index in 0..10 {
        tx.publish(&[index], 1)?;
    }
    let panics = catch_unwind(AssertUnwindSafe(|| {
        rx.process_available_messages(|_, message| assert!(message[0] < 5))
    }));
    assert!(panics.is_err());
    assert_eq!(tx.ring().min_gating_sequence(), 4);
    for index in 5..10 {
        assert_eq!(recv(&mut rx)?, [index]);
    }
    Ok(())
}

/// A consumer that detaches in the middle of a message receives all of it when it comes back.
#[test]
fn a_consumer_that_comes_back_gets_the_whole_message() -> Result {
    let (ring, mut tx, mut rx) = pair::<Small>(16)?;
    let first = start(&tx, 10, 0);
    put(&mut tx, first, b"one.");
    assert!(rx.try_recv()?.is_none());
    drop(rx);
    put(
        &mut tx,
        FrameMeta {
            len: 6,
            flags: 0,
            ..first
        },
        b"two.",
    );
    put(
        &mut tx,
        FrameMeta {
            len: 2,
            flags: frame_flags::END,
            ..first
        },
        b"3...",
    );
    let mut rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    assert_eq!(recv(&mut rx)?, b"one.two.3.");
    Ok(())
}

/// A consumer that comes late drops frames of a message whose beginning it missed. They are counted as orphans,
/// not as errors.
#[test]
fn a_joiner_starts_with_a_whole_message() -> Result {
    let ring = HeapRing::<Small>::new(8)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    for len in [12, 5] {
        tx.publish(&message(len), 1)?;
    }
    let mut rx = Rx::from_builder(ring.builder().with_start(StartFrom::Sequence(1)))?;
    assert_eq!(recv(&mut rx)?, message(5));
    assert_eq!((rx.received().dropped(), rx.received().orphans), (0, 2));
    Ok(())
}

#[test]
fn raw_rings_carry_messages_too() -> Result {
    let ring = HeapRing::<Small>::new(8)?;
    let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    for len in [0, 4, 9] {
        myelon::publish_framed_payload(&mut tx, &message(len), 2, Deadline::NEVER)?;
    }
    for len in [0, 4, 9] {
        let got = myelon::recv_framed_message(&mut rx, Deadline::NEVER)?;
        assert_eq!(got, (2, message(len)));
    }
    let none = myelon::recv_framed_message(&mut rx, Deadline::after(Duration::ZERO));
    assert_eq!(none.unwrap_err(), RecvError::Timeout);
    Ok(())
}

/// Changes that the caller makes to the ring itself are not mistaken for frames of the current message.
#[test]
fn a_ring_that_was_lent_gives_back_what_is_held() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
    let lend: [fn(&mut Rx); 4] = [
        |_| {},
        |rx| rx.ring().recv(Deadline::NEVER).expect("a frame").hold(),
        |rx| rx.ring().redeliver_held(),
        |rx| rx.ring().release_held(0),
    ];
    for lend in lend {
        for len in [3, 9] {
            tx.publish(&message(len), 1)?;
            tx.publish(b"next", 1)?;
            rx.recv(Deadline::NEVER)?.release_uncommitted();
            lend(&mut rx);
            assert_eq!(recv(&mut rx)?, message(len));
            lend(&mut rx);
            assert_eq!(recv(&mut rx)?, b"next");
        }
    }
    // the caller releases the message's first frame: once while the whole message is in the ring again, once
    // while the frame is held and the rest has yet to come
    tx.publish(&message(9), 1)?;
    tx.publish(b"next", 1)?;
    rx.recv(Deadline::NEVER)?.release_uncommitted();
    rx.ring().recv(Deadline::NEVER)?.hold();
    rx.ring().release_held(1);
    assert_eq!(recv(&mut rx)?, b"next");
    assert_eq!(rx.received().orphans, 2);
    let first = start(&tx, 9, 0);
    put(&mut tx, first, b"one.");
    assert!(rx.try_recv()?.is_none());
    rx.ring().release_held(1);
    for (len, flags) in [(5, 0), (1, frame_flags::END)] {
        put(
            &mut tx,
            FrameMeta {
                len,
                flags,
                ..first
            },
            b"more",
        );
    }
    tx.publish(b"next", 1)?;
    assert_eq!(recv(&mut rx)?, b"next");
    assert_eq!(rx.received().orphans, 4);
    Ok(())
}

/// Frames that a consumer of the plain ring holds are delivered to it as a message.
#[test]
fn raw_rings_give_back_what_is_held() -> Result {
    let ring = HeapRing::<Small>::new(8)?;
    let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    for len in [1, 4] {
        myelon::publish_framed_payload(&mut tx, &message(len), 2, Deadline::NEVER)?;
    }
    rx.recv(Deadline::NEVER)?.hold();
    for len in [1, 4] {
        let got = myelon::recv_framed_message(&mut rx, Deadline::NEVER)?;
        assert_eq!(got, (2, message(len)));
    }
    Ok(())
}

#[test]
fn counters_of_frames() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Small>(16)?;
    let file = myelon::CountersFile::anonymous();
    tx.attach_counters(&file)?;
    rx.attach_counters(&file)?;
    for len in [0, 4, 5, 9] {
        tx.publish(&message(len), 1)?;
        recv(&mut rx)?;
    }
    let value = |counters: &[myelon::CounterSnapshot], id: u32| {
        counters
            .iter()
            .find(|counter| counter.id.get() == id)
            .map(|counter| counter.value)
    };
    for counters in [tx.counters(), file.snapshot()] {
        assert_eq!(
            (value(&counters, 0x30), value(&counters, 0x31)),
            (Some(7), Some(2))
        );
    }
    for counters in [rx.counters(), file.snapshot()] {
        assert_eq!(value(&counters, 0x32), Some(2));
    }
    Ok(())
}

own_frame! {
    /// A frame that breaks the trait's contract: its payload is shorter than it says.
    struct Liar, holds 4, says 8
}

#[test]
fn a_frame_that_is_shorter_than_it_says_is_malformed() -> Result {
    let (_ring, mut tx, mut rx) = pair::<Liar>(16)?;
    for message in [&b"12345678"[..], b"123456789", b"1234"] {
        tx.publish(message, 1)?;
    }
    assert!(matches!(
        tx.reserve(5, 1, Deadline::NEVER),
        Err(TransportError::DoesNotFitFrame { .. })
    ));
    assert_eq!(&*rx.recv(Deadline::NEVER)?, b"1234");
    assert!(rx.received().malformed >= 2);
    Ok(())
}

/// A call that returns no errors waits through a producer's death, and panics at the end of the ring.
#[test]
fn a_blocking_call_panics_with_the_end() -> Result {
    let ring = HeapRing::<Small>::new(8)?;
    let tx = FramedTransportProducer::from_builder(ring.builder())?;
    let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    tx.close()?;
    let end = catch_unwind(AssertUnwindSafe(|| rx.recv_message_blocking_owned()));
    let end = end.expect_err("nothing can come");
    let said = end.downcast_ref::<String>().expect("a text");
    assert_eq!(*said, RecvError::Closed.to_string());
    Ok(())
}
