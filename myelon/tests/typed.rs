//! Values over rings of frames: several types on one transport, messages that cannot be decoded, and messages
//! that are read in place.

mod bounded;
#[macro_use]
mod own_frame;
mod text_codec;

use std::cell::Cell;
use std::time::Duration;

use myelon::transport::{
    FixedFrame, FrameMeta, FramedTransportFrame, ReassemblyBuffer, frame_flags,
};
use myelon::{
    CountersFile, Deadline, Heap, HeapRing, KindTable, KindTaken, RecvError,
    RequiredConsumerLivenessConfig, TransportError, TypedConsumer, TypedProducer,
    TypedPublishError, TypedRecvError,
};
use text_codec::Text;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Frame = FixedFrame<32>;
type Tx<F = Frame> = TypedProducer<F, Heap>;
type Rx<F = Frame> = TypedConsumer<F, Heap>;
const SOON: Duration = Duration::from_secs(10);
/// A limit for the whole test that no test comes near.
const LIMIT: Duration = Duration::from_secs(60);

fn pair<F: FramedTransportFrame>(depth: usize) -> Result<(Tx<F>, Rx<F>)> {
    let ring = HeapRing::<F>::new(depth)?;
    let tx = Tx::from_builder(ring.builder())?;
    let rx = Rx::from_builder(ring.builder().with_consumer_id("reader"))?;
    Ok((tx, rx))
}

fn soon() -> Deadline {
    Deadline::after(SOON)
}

fn text(len: usize) -> Text {
    Text(
        (0..len)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect(),
    )
}

#[test]
fn values_of_every_length_arrive_whichever_way_they_are_sent_and_read() {
    // a managed call has no deadline of its own
    bounded::within(LIMIT, || sent_and_read_in_every_way().expect("no error"));
}

fn sent_and_read_in_every_way() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(64)?;
    let mut buffer = ReassemblyBuffer::new();
    // long and short messages in turn, so that the producer switches between frame and buffer
    for len in [0, 100, 32, 33, 1, 31, 500, 500, 2] {
        let sent = text(len);
        tx.publish(&sent, 1)?;
        assert_eq!(rx.recv::<Text>(soon())?, (1, text(len)));
        tx.try_publish(&sent, 2)?;
        assert_eq!(rx.recv_owned::<Text>()?, (2, text(len)));
        tx.send(&sent, 3, soon())?;
        assert_eq!(rx.try_recv::<Text>()?, Some((3, text(len))));
        tx.publish_managed(&sent, 4)?;
        let got = rx.recv_leased::<Text, _, _>(&mut buffer, |kind, text| (kind, text.len()))?;
        assert_eq!(got, (4, len));
        tx.publish_raw(sent.0.as_bytes(), 5)?;
        assert_eq!(&*rx.recv_raw(soon())?, sent.0.as_bytes());
        tx.publish(&sent, 6)?;
        assert_eq!(rx.recv_raw_owned(soon())?, (6, sent.0.into_bytes()));
    }
    assert!(rx.try_recv::<Text>()?.is_none());
    Ok(())
}

#[test]
fn what_cannot_be_decoded_is_an_error_and_the_next_one_follows() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(64)?;
    let mut buffer = ReassemblyBuffer::new();
    for len in [3, 100] {
        for _ in 0..3 {
            tx.publish_raw(&vec![0xFF; len], 9)?;
            tx.publish(&text(len), 1)?;
        }
        let error = rx.recv::<Text>(soon()).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!(
                "a message of kind 9 and {len} bytes was dropped: "
            )),
            "{error}"
        );
        assert_eq!(rx.recv::<Text>(soon())?, (1, text(len)));
        let error = rx
            .recv_leased::<Text, (), _>(&mut buffer, |_, _| ())
            .unwrap_err();
        assert!(
            matches!(error, TypedRecvError::Decode(error) if (error.kind, error.len) == (9, len))
        );
        assert_eq!(
            rx.recv_leased::<Text, _, _>(&mut buffer, |_, text| text.len())?,
            len
        );
        let mut outcomes = Vec::new();
        rx.process_available::<Text>(|kind, outcome| outcomes.push((kind, outcome.is_ok())))?;
        assert_eq!(outcomes, [(9, false), (1, true)]);
    }
    Ok(())
}

#[test]
fn a_burst_read_in_place() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(64)?;
    tx.publish(&text(5), 1)?;
    tx.publish_raw(&[0xFF], 2)?;
    tx.publish(&text(70), 3)?;
    let mut seen = Vec::new();
    let count = rx.process_available_zero_copy::<Text, _>(|kind, outcome| {
        seen.push((kind, outcome.ok().map(str::len)));
    })?;
    assert_eq!(
        (count, seen),
        (3, vec![(1, Some(5)), (2, None), (3, Some(70))])
    );
    Ok(())
}

#[test]
fn what_cannot_be_encoded_is_not_sent() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(4)?;
    let forbidden = Text("forbidden".into());
    let error = tx.publish(&forbidden, 7).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of kind 7 was not sent: this text is forbidden"
    );
    // a long message first, so that the same goes through the buffer
    tx.publish(&text(40), 1)?;
    assert!(matches!(
        tx.publish(&forbidden, 7),
        Err(TypedPublishError::Encode { kind: 7, .. })
    ));
    assert_eq!(rx.recv::<Text>(soon())?, (1, text(40)));
    assert!(rx.try_recv::<Text>()?.is_none());
    Ok(())
}

#[test]
fn a_full_ring_takes_nothing() -> Result {
    let (mut tx, _rx) = pair::<Frame>(2)?;
    tx.publish(&text(1), 1)?;
    tx.publish(&text(1), 1)?;
    let full = tx.try_publish(&text(1), 1).unwrap_err();
    assert!(matches!(
        full,
        TypedPublishError::Transport(TransportError::Full { .. })
    ));
    let full = tx
        .send(&text(1), 1, Deadline::after(Duration::from_millis(1)))
        .unwrap_err();
    assert!(full.to_string().contains("'reader'"));
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
        required_consumer_ids: vec!["nobody".into()],
        startup_wait_timeout: Duration::from_millis(1),
        ..Default::default()
    });
    let missing = tx.publish_managed(&text(1), 1).unwrap_err();
    assert!(matches!(
        missing,
        TypedPublishError::Transport(TransportError::RequiredConsumer(_))
    ));
    Ok(())
}

#[cfg(feature = "bincode")]
#[test]
fn a_table_of_kinds() -> Result {
    use myelon::codec::Bincode;

    let (mut tx, mut rx) = pair::<Frame>(64)?;
    let (mut numbers, mut lengths) = (Vec::new(), Vec::new());
    let mut table = KindTable::new()
        .on(1, |Bincode(number): Bincode<u64>| numbers.push(number))?
        .on_access::<Text>(3, |text| lengths.push(text.len()))?;
    assert_eq!(table.kinds(), [1, 3]);
    tx.publish(&Bincode(7_u64), 1)?;
    tx.publish(&text(5), 2)?;
    tx.publish(&text(5), 1)?;
    tx.publish(&text(5), 3)?;
    assert_eq!(rx.dispatch(&mut table, soon())?, 1);
    assert_eq!(
        rx.dispatch(&mut table, soon()).unwrap_err().to_string(),
        "a message of kind 2 and 5 bytes was dropped: the table has handlers for [1, 3] only"
    );
    assert!(
        matches!(rx.dispatch(&mut table, soon()), Err(TypedRecvError::Decode(error)) if error.kind == 1)
    );
    assert_eq!(rx.dispatch(&mut table, soon())?, 3);
    drop(table);
    assert_eq!((numbers, lengths), (vec![7], vec![5]));
    Ok(())
}

#[test]
fn a_table_without_kinds_or_with_one_twice() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(4)?;
    tx.publish(&text(1), 1)?;
    let error = rx.dispatch(&mut KindTable::new(), soon()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table has no handler for any kind: add one with on()"
    );
    assert_eq!(
        rx.recv::<Text>(soon())?,
        (1, text(1)),
        "nothing was received"
    );
    let twice = KindTable::new().on(4, |_: Text| {})?.on(4, |_: Text| {});
    assert_eq!(twice.unwrap_err(), KindTaken { kind: 4 });
    assert_eq!(
        KindTaken { kind: 4 }.to_string(),
        "kind 4 has a handler already: one kind is one type of message"
    );
    Ok(())
}

#[test]
fn the_ends_are_those_of_the_ring() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(4)?;
    let none = rx.recv::<Text>(Deadline::after(Duration::ZERO));
    assert!(matches!(
        none,
        Err(TypedRecvError::Recv(RecvError::Timeout))
    ));
    tx.publish(&text(3), 1)?;
    tx.close()?;
    assert_eq!(rx.recv_owned::<Text>()?, (1, text(3)));
    let closed = rx.recv_owned::<Text>();
    assert!(matches!(
        closed,
        Err(TypedRecvError::Recv(RecvError::Closed))
    ));
    Ok(())
}

#[test]
fn counters_of_codecs() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(128)?;
    let file = CountersFile::anonymous();
    tx.attach_counters(&file)?;
    rx.attach_counters(&file)?;
    for len in 0..70 {
        tx.publish(&text(len), 1)?;
        rx.recv::<Text>(soon())?;
    }
    let value = |id: u32| {
        let all = file.snapshot();
        all.iter()
            .find(|counter| counter.id.get() == id)
            .map(|counter| counter.value)
    };
    let _ = (tx.counters(), rx.counters());
    let values = [0x30, 0x31, 0x32, 0x33, 0x34].map(value);
    // 33 messages of one frame, 32 of two, 5 of three
    assert_eq!(
        values,
        [Some(33 + 64 + 15), Some(37), Some(37), Some(70), Some(70)]
    );
    Ok(())
}

/// Frames too small for the time of sending, or just large enough for it.
#[test]
fn values_with_a_time_in_frames_that_have_no_room_for_it() -> Result {
    fn sent_and_received<F: FramedTransportFrame>() -> Result {
        let (mut tx, mut rx) = pair::<F>(512)?;
        tx.stamp_send_times(true);
        tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
            required_consumer_ids: vec!["reader".into()],
            ..Default::default()
        });
        for len in [0, 1, 4, 9, 40, 0, 2] {
            tx.publish(&text(len), 1)?;
            tx.send(&text(len), 1, soon())?;
            tx.try_publish(&text(len), 1)?;
            tx.publish_managed(&text(len), 1)?;
            for _ in 0..4 {
                let message = rx.recv_raw(soon())?;
                assert!(message.meta().sent_at_ns.is_some());
                assert_eq!(*message, *text(len).0.as_bytes());
            }
        }
        Ok(())
    }
    sent_and_received::<FixedFrame<1>>()?;
    sent_and_received::<FixedFrame<4>>()?;
    sent_and_received::<FixedFrame<8>>()?;
    sent_and_received::<FixedFrame<9>>()
}

thread_local! {
    /// How often a frame's header was read.
    static HEADER_READS: Cell<usize> = const { Cell::new(0) };
}

own_frame! {
    /// A frame of four bytes that counts reads of its header.
    struct Watched, holds 4, says 4, header: || HEADER_READS.set(HEADER_READS.get() + 1)
}

/// How many times headers are read while `work` runs.
fn header_reads(work: impl FnOnce() -> Result) -> Result<usize> {
    let before = HEADER_READS.get();
    work()?;
    Ok(HEADER_READS.get() - before)
}

/// Calls that find no whole message take in each frame once, however often they are called while the message
/// arrives.
#[test]
fn a_message_that_comes_frame_by_frame_is_taken_in_once() -> Result {
    const FRAMES: usize = 64;
    let (mut tx, mut rx) = pair::<Watched>(FRAMES)?;
    let taken_in = header_reads(|| {
        for index in 0..FRAMES {
            let mut flags = 0;
            if index == 0 {
                flags |= frame_flags::START;
            }
            if index + 1 == FRAMES {
                flags |= frame_flags::END;
            }
            let meta = FrameMeta {
                len: 4 * (FRAMES - index) as u32,
                kind: 1,
                flags,
                msg_id: 0,
            };
            tx.raw().ring().publish(|frame| {
                *frame.header_mut() = meta.to_bytes();
                frame.payload.fill(b'x');
            });
            let count = rx.process_available::<Text>(|_, text| {
                assert_eq!(text.expect("a text").0.len(), 4 * FRAMES);
            })?;
            assert_eq!(count, usize::from(index + 1 == FRAMES));
            rx.process_available_zero_copy::<Text, _>(|_, _| {
                panic!("it was delivered, or is not whole")
            })?;
        }
        Ok(())
    })?;
    assert!(
        taken_in <= 2 * FRAMES,
        "{taken_in} looks at {FRAMES} frames"
    );
    Ok(())
}

/// Showing the count of decoded messages does not affect the next message: if it has one frame, that frame
/// stays in the ring, and is not held while the message is lent.
#[test]
fn counting_values_leaves_the_next_frame_where_it_is() -> Result {
    let (mut tx, mut rx) = pair::<Frame>(4)?;
    let mut is_left = |rx: &mut Rx| -> Result<bool> {
        tx.publish(&text(3), 1)?;
        // a forgotten message stays as it was lent
        core::mem::forget(rx.recv_raw(soon())?);
        let held = rx.raw().as_ring().held_count();
        assert_eq!(rx.recv::<Text>(soon())?, (1, text(3)));
        Ok(held == 0)
    };
    for _ in 0..200 {
        assert!(is_left(&mut rx)?);
    }
    for _ in 0..3 {
        assert_eq!(rx.process_available::<Text>(|_, _| {})?, 0);
        assert!(is_left(&mut rx)?);
        assert_eq!(rx.process_available_zero_copy::<Text, _>(|_, _| {})?, 0);
        assert!(is_left(&mut rx)?);
    }
    Ok(())
}
