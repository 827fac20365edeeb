//! Mistakes in the use of a transport: another frame, another depth, archives at an address where they cannot
//! be read.
//!
//! Each error says what was found, what was expected and what to do, and only the message in question is lost.

#[macro_use]
mod own_frame;

use std::time::Duration;

use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MyelonWaitStrategy, RingPlace,
};
use myelon::{
    CountersFile, Deadline, MmapTransportLayout, MultiProcessError, RecvError, TransportError,
    TypedPublishError, TypedRecvError,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const DEPTH: usize = 8;

own_frame! {
    /// A frame with the size and alignment of a `FixedFrame<64>`, but another type.
    struct Lookalike, holds 64, says 64
}

/// Calls a check with a ring in shared memory, and then with a ring in a file.
macro_rules! on_each_backing {
    ($check:ident) => {{
        let name = myelon::portable_shm_segment_name(stringify!($check));
        $check(&name)?;
        $check(&MmapTransportLayout::new(std::env::temp_dir(), &name))
    }};
}

/// The error for a consumer with `F` and `depth`, which must say that they do not fit the ring.
fn refusal_of<F: FramedTransportFrame, B>(place: impl RingPlace<B>, depth: usize) -> String {
    let refused = FramedTransportConsumer::<F, B>::attach(place, depth, MyelonWaitStrategy::Block);
    let error = refused.map(drop).expect_err("it does not fit");
    assert!(
        matches!(
            error,
            TransportError::Ring(MultiProcessError::IncompatibleLayout { .. })
        ),
        "{error:?}"
    );
    error.to_string()
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

/// The ring works as if no other attach had been tried.
fn assert_goes_on<B>(
    place: impl RingPlace<B>,
    mut tx: FramedTransportProducer<FixedFrame<64>, B>,
) -> Result {
    let mut rx = FramedTransportConsumer::<FixedFrame<64>, B>::attach(
        place,
        DEPTH,
        MyelonWaitStrategy::Block,
    )?;
    tx.publish(b"it goes on", 1)?;
    let message = rx.recv(Deadline::after(Duration::from_secs(10)))?;
    assert_eq!(&*message, b"it goes on");
    Ok(())
}

fn refuses_another_frame<B>(place: impl RingPlace<B> + Copy) -> Result {
    let tx = FramedTransportProducer::<FixedFrame<64>, B>::create(place, DEPTH)?;
    let ours = "FixedFrame with 64 bytes of payload } size 76 align 1";
    let theirs = [
        (
            refusal_of::<FixedFrame<128>, B>(place, DEPTH),
            "FixedFrame with 128 bytes of payload } size 140 align 1",
        ),
        (
            refusal_of::<AlignedFixedFrame<64>, B>(place, DEPTH),
            "AlignedFixedFrame with 64 bytes of payload } size 80 align 16",
        ),
        (
            refusal_of::<Lookalike, B>(place, DEPTH),
            "Lookalike { header: [u8; 12] @0, payload: [u8; 64] @12 } size 76 align 1",
        ),
    ];
    for (text, wanted) in theirs {
        let words = [
            "does not fit: the event layout is",
            ours,
            ", expected",
            wanted,
            "use the same on both sides",
        ];
        assert_says(&text, &words);
    }
    assert_goes_on(place, tx)
}

#[test]
fn another_frame_is_refused() -> Result {
    on_each_backing!(refuses_another_frame)
}

fn refuses_another_depth<B>(place: impl RingPlace<B> + Copy) -> Result {
    let tx = FramedTransportProducer::<FixedFrame<64>, B>::create(place, DEPTH)?;
    for depth in [0, 3, DEPTH / 2, 2 * DEPTH] {
        let text = refusal_of::<FixedFrame<64>, B>(place, depth);
        let fault = format!("the capacity is 8 slots, expected {depth} slots");
        assert_says(&text, &[&fault, "use the same on both sides"]);
    }
    assert_goes_on(place, tx)?;
    for (none, reason) in [(0, "at least one slot"), (3, "power of two")] {
        let refused = FramedTransportProducer::<FixedFrame<64>, B>::create(place, none);
        assert_says(
            &refused.map(drop).expect_err("no depth").to_string(),
            &[&format!("cannot have {none} slots of"), reason],
        );
    }
    Ok(())
}

#[test]
fn another_depth_is_refused() -> Result {
    on_each_backing!(refuses_another_depth)
}

/// A new version of the producer, with larger frames, starts while the old ring still has unread messages.
fn loses_nothing_to_a_producer_with_another_frame<B>(place: impl RingPlace<B> + Copy) -> Result {
    let mut tx = FramedTransportProducer::<FixedFrame<64>, B>::create(place, DEPTH)?;
    let mut rx = FramedTransportConsumer::<FixedFrame<64>, B>::attach_with_consumer_id(
        place,
        DEPTH,
        "reader",
        MyelonWaitStrategy::Block,
    )?;
    tx.publish(b"unread", 1)?;
    tx.close()?;
    let refused = FramedTransportProducer::<FixedFrame<128>, B>::create(place, DEPTH);
    assert_says(
        &refused.map(drop).expect_err("in use").to_string(),
        &[
            "cannot be replaced",
            "the event layout is",
            "consumers are attached: let them drain it",
        ],
    );
    assert_eq!(&*rx.recv(Deadline::NEVER)?, b"unread");
    rx.detach()?;
    FramedTransportProducer::<FixedFrame<128>, B>::create(place, DEPTH)?.close()?;
    Ok(())
}

#[test]
fn a_producer_with_another_frame_replaces_no_ring_in_use() -> Result {
    on_each_backing!(loses_nothing_to_a_producer_with_another_frame)
}

/// An archive is received in a frame that is not aligned. The error names a frame that is aligned, and later
/// messages are received as usual.
#[cfg(feature = "rkyv")]
#[test]
fn a_misaligned_archive_is_an_error_with_advice() -> Result {
    use myelon::codec::{CodecError, Rkyv};
    use myelon::transport::ReassemblyBuffer;
    use myelon::{TypedConsumer, TypedProducer};

    type Numbers = Rkyv<Vec<u64>>;

    let name = myelon::portable_shm_segment_name("misaligned");
    let mut tx = TypedProducer::<FixedFrame<1024>>::create(&name, 16)?;
    let mut rx = TypedConsumer::<FixedFrame<1024>>::attach(&name, 16, MyelonWaitStrategy::Block)?;
    let mut buffer = ReassemblyBuffer::new();
    let numbers = |len: u64| Rkyv((0..len).collect::<Vec<u64>>());
    for len in [3, 500, 4, 5, 6] {
        tx.publish(&numbers(len), 7)?;
    }
    // one frame: read in place, where it is misaligned
    let error = rx
        .recv_leased::<Numbers, _, _>(&mut buffer, |_, _| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of kind 7 and 32 bytes was dropped: alloc::vec::Vec<u64> in rkyv is read in place at a multiple of 16 bytes, \
         but these bytes begin 12 past one: receive into an AlignedFixedFrame, or decode, which copies"
    );
    let TypedRecvError::Decode(error) = error else {
        return Err(error.into());
    };
    assert!(matches!(error.source, CodecError::Misaligned { .. }));
    // several frames: put together in a buffer, which is aligned
    let len = rx.recv_leased::<Numbers, _, _>(&mut buffer, |_, numbers| numbers.len())?;
    assert_eq!(len, 500);
    // decoding copies the bytes
    assert_eq!(rx.recv::<Numbers>(Deadline::NEVER)?, (7, numbers(4)));
    let mut refused = 0;
    rx.process_available_zero_copy::<Numbers, _>(|_, outcome| {
        refused += u32::from(outcome.is_err());
    })?;
    assert_eq!(refused, 2);
    tx.publish(&numbers(8), 7)?;
    assert_eq!(rx.recv::<Numbers>(Deadline::NEVER)?, (7, numbers(8)));
    Ok(())
}

/// The errors for bad names and bad numbers of workers.
#[test]
fn names_and_numbers_are_refused_in_words() {
    let name = TransportError::InvalidName {
        name: "a/b".into(),
        reason: "it has a slash",
    };
    assert_eq!(
        name.to_string(),
        "'a/b' cannot name a segment: it has a slash"
    );
    let worker = TransportError::NoSuchWorker {
        session: "demo".into(),
        rank: 4,
        workers: 4,
    };
    assert_eq!(
        worker.to_string(),
        "session 'demo' has no worker 4: it has 4, numbered from 0"
    );
}

/// Errors of layer 0 are passed on with their own texts.
#[test]
fn errors_of_the_ring_keep_their_texts() {
    let closed = RecvError::Closed;
    assert_eq!(
        TransportError::from(closed.clone()).to_string(),
        closed.to_string()
    );
    assert_eq!(
        TypedRecvError::from(closed.clone()).to_string(),
        closed.to_string()
    );
    let full = || TransportError::Full {
        frames: 2,
        depth: 4,
    };
    assert_eq!(
        TypedPublishError::from(full()).to_string(),
        full().to_string()
    );
    let counters = CountersFile::open("/nonexistent/counters").expect_err("there is none");
    let text = counters.to_string();
    assert!(text.starts_with("no counters file at"), "{text}");
    assert_eq!(TransportError::from(counters).to_string(), text);
}
