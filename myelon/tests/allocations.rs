//! A message that fits one frame is sent and received without an allocation, in every way. A longer message
//! causes none after the first one. Messages that are read in place lie in the ring.

mod bounded;
mod counting;

use std::time::Duration;

use counting::allocations_of;
use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MyelonWaitStrategy, ReassemblyBuffer, RingPlace,
};
use myelon::{Deadline, MmapTransportLayout};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Tx<F, B> = FramedTransportProducer<F, B>;
type Rx<F, B> = FramedTransportConsumer<F, B>;

const DEPTH: usize = 64;
/// A limit for the whole test that no test comes near.
const LIMIT: Duration = Duration::from_secs(60);

/// Both ends of a ring.
fn pair<F: FramedTransportFrame, B>(
    place: impl RingPlace<B> + Copy,
) -> Result<(Tx<F, B>, Rx<F, B>)> {
    let tx = Tx::create(place, DEPTH)?;
    let rx = Rx::attach(place, DEPTH, MyelonWaitStrategy::Block)?;
    Ok((tx, rx))
}

/// Sends and receives `message` in every way except those that return a vector.
fn every_way<F: FramedTransportFrame, B>(
    tx: &mut Tx<F, B>,
    rx: &mut Rx<F, B>,
    buffer: &mut ReassemblyBuffer,
    message: &[u8],
) {
    let check = |received: &[u8]| assert_eq!(received, message);
    for _ in 0..20 {
        tx.publish(message, 1).expect("sent");
        check(&rx.recv(Deadline::NEVER).expect("received"));
        tx.try_publish(message, 1).expect("sent");
        check(&rx.try_recv().expect("open").expect("received"));
        tx.publish_managed(message, 1).expect("sent");
        rx.recv_leased(buffer, Deadline::NEVER, |_, received| check(received))
            .expect("received");
        tx.send(message, 1, Deadline::NEVER).expect("sent");
        rx.recv_message_blocking_leased(buffer, |_, received| check(received));
        for _ in 0..3 {
            tx.publish(message, 1).expect("sent");
        }
        let count = rx.process_available_messages(|_, received| check(received));
        assert_eq!(count, Ok(3));
        // an empty ring must not allocate either
        assert!(rx.try_recv().expect("open").is_none());
    }
}

fn of_every_way<F: FramedTransportFrame, B>(place: impl RingPlace<B> + Copy) -> Result {
    let (mut tx, mut rx) = pair::<F, B>(place)?;
    let mut buffer = ReassemblyBuffer::new();
    let message = vec![7; 3 * F::PAYLOAD_BYTES];
    for len in [0, 1, F::PAYLOAD_BYTES] {
        let counted = allocations_of(|| every_way(&mut tx, &mut rx, &mut buffer, &message[..len]));
        assert_eq!(counted.0, 0, "{len} bytes");
        let counted = allocations_of(|| {
            let mut place = tx.reserve(len, 1, Deadline::NEVER).expect("a frame");
            place.copy_from_slice(&message[..len]);
            place.publish();
            assert!(rx.recv(Deadline::NEVER).expect("received").is_in_place());
        });
        assert_eq!(counted.0, 0, "{len} bytes in place");
    }
    // several frames: one buffer is the caller's, the other the consumer's own
    tx.publish(&message, 1)?;
    drop(rx.recv(Deadline::NEVER)?);
    let mut buffer = ReassemblyBuffer::with_capacity(message.len());
    let counted = allocations_of(|| every_way(&mut tx, &mut rx, &mut buffer, &message));
    assert_eq!(counted.0, 0, "three frames");
    // a time causes no allocation
    tx.stamp_send_times(true);
    let short = &message[..tx.frame_limit()];
    let counted = allocations_of(|| every_way(&mut tx, &mut rx, &mut buffer, short));
    assert_eq!(counted.0, 0, "with a time");
    // a vector takes one allocation
    tx.stamp_send_times(false).publish(&message, 1)?;
    let counted = allocations_of(|| drop(rx.recv_owned(Deadline::NEVER)));
    assert_eq!(counted, (1, message.len()));
    Ok(())
}

#[test]
fn messages_allocate_nothing() -> Result {
    // a managed call has no deadline of its own
    bounded::within(LIMIT, || messages_in_every_way().expect("no error"));
    Ok(())
}

fn messages_in_every_way() -> Result {
    let name = myelon::portable_shm_segment_name("allocations");
    of_every_way::<FixedFrame<48>, _>(&name)?;
    of_every_way::<AlignedFixedFrame<65_536>, _>(&name)?;
    let layout = MmapTransportLayout::new(std::env::temp_dir(), &name);
    of_every_way::<FixedFrame<1024>, _>(&layout)
}

/// Memory is reused even for messages that the whole ring cannot hold.
#[test]
fn messages_longer_than_the_ring_allocate_nothing_after_the_first() -> Result {
    let ring = myelon::HeapRing::<FixedFrame<16>>::new(8)?;
    let mut tx = Tx::from_builder(ring.builder())?;
    let mut rx = Rx::from_builder(ring.builder())?;
    const ROUNDS: usize = 50;
    let sender = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            tx.publish(&[7; 1000], 1).expect("sent");
        }
        tx
    });
    let mut buffer = ReassemblyBuffer::with_capacity(1000);
    let mut receive = || {
        let len = rx.recv_leased(&mut buffer, Deadline::NEVER, |_, message| message.len());
        assert_eq!(len, Ok(1000));
    };
    // the consumer has a buffer of its own, which it swaps with the caller's
    receive();
    receive();
    let counted = allocations_of(|| (2..ROUNDS).for_each(|_| receive()));
    assert_eq!(counted.0, 0);
    drop(sender.join().expect("the sender"));
    Ok(())
}

/// The tests of one serde codec.
#[allow(unused_macros, reason = "without serde codecs")]
macro_rules! serde_codec {
    ($module:ident, $codec:ident, $feature:literal) => {
        #[cfg(feature = $feature)]
        mod $module {
            use myelon::codec::$codec;
            use myelon::{TypedConsumer, TypedProducer};

            use super::*;

            #[test]
            fn values_allocate_nothing() -> Result {
                type Quote = $codec<(u64, [f64; 4], Option<char>)>;

                let name = myelon::portable_shm_segment_name($feature);
                let mut tx = TypedProducer::<FixedFrame<256>>::create(&name, DEPTH)?;
                let mut rx = TypedConsumer::<FixedFrame<256>>::attach(
                    &name,
                    DEPTH,
                    MyelonWaitStrategy::Block,
                )?;
                let quote: Quote = $codec((u64::MAX, [1.5, 2.5, 3.5, 4.5], Some('é')));
                let counted = allocations_of(|| {
                    for _ in 0..200 {
                        tx.publish(&quote, 1).expect("sent");
                        assert_eq!(rx.recv(Deadline::NEVER).expect("received"), (1, quote));
                        tx.try_publish(&quote, 1).expect("sent");
                        assert_eq!(rx.try_recv().expect("open"), Some((1, quote)));
                        tx.publish_managed(&quote, 1).expect("sent");
                        let count = rx.process_available::<Quote>(|_, received| {
                            assert_eq!(received.expect("sound"), quote);
                        });
                        assert_eq!(count, Ok(1));
                    }
                });
                assert_eq!(counted.0, 0);
                // a message too long for a frame is encoded in a buffer, which is kept for the next one
                let long = $codec(vec![7_u64; 100]);
                tx.publish(&long, 2)?;
                let counted = allocations_of(|| {
                    for _ in 0..10 {
                        tx.publish(&long, 2).expect("sent");
                    }
                });
                assert_eq!(counted.0, 0, "long ones");
                Ok(())
            }
        }
    };
}

serde_codec!(bincode_codec, Bincode, "bincode");
serde_codec!(postcard_codec, Postcard, "postcard");

#[cfg(feature = "rkyv")]
mod archives {
    use std::ops::Range;

    use myelon::codec::Rkyv;
    use myelon::{SharedConsumer, TypedConsumer, TypedProducer};
    use rkyv::Archived;

    use super::*;

    type Batch = Rkyv<Vec<u8>>;
    type Frame = AlignedFixedFrame<65_536>;

    /// The addresses of an archive's bytes.
    fn place_of(batch: &Archived<Vec<u8>>) -> Range<usize> {
        let bytes = batch.as_slice().as_ptr_range();
        bytes.start.addr()..bytes.end.addr()
    }

    /// The addresses at which this process has the ring mapped, according to the system.
    fn mappings_of(name: &str) -> Vec<Range<usize>> {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
        let ours = maps
            .lines()
            .filter(|line| line.ends_with(&format!("/{name}")));
        let ranges = ours.map(|line| {
            let (range, _) = line.split_once(' ').expect("a range");
            let (start, end) = range.split_once('-').expect("two ends");
            let number = |digits| usize::from_str_radix(digits, 16).expect("a number");
            number(start)..number(end)
        });
        ranges.collect()
    }

    /// Whether `place` lies in one of the ranges.
    fn is_within(place: &Range<usize>, ranges: &[Range<usize>]) -> bool {
        ranges
            .iter()
            .any(|range| range.start <= place.start && place.end <= range.end)
    }

    #[test]
    fn an_archive_of_64_kib_is_read_in_the_ring_without_an_allocation() -> Result {
        let name = myelon::portable_shm_segment_name("archives");
        let mut tx = TypedProducer::<Frame>::create(&name, 4)?;
        let mut rx = TypedConsumer::<Frame>::attach(&name, 4, MyelonWaitStrategy::Block)?;
        let mut onlooker: SharedConsumer<Frame> =
            myelon::attach_shared_consumer(&name, 4).build_consumer()?;
        let mut buffer = ReassemblyBuffer::new();
        // as much as a frame holds beside the archive's own header
        let batch: Batch = Rkyv((0..65_000).map(|at| at as u8).collect());
        // the first message allocates the thread's arena
        tx.publish(&batch, 1)?;
        rx.recv_leased::<Batch, _, _>(&mut buffer, |_, _| ())?;
        onlooker.recv(Deadline::NEVER)?.commit();
        let mappings = mappings_of(&name);
        assert!(!mappings.is_empty());
        for _ in 0..8 {
            let mut place = 0..0;
            let counted = allocations_of(|| {
                tx.publish(&batch, 1).expect("sent");
                let read = rx.recv_leased::<Batch, _, _>(&mut buffer, |_, archived| {
                    assert_eq!(archived.as_slice(), batch.0);
                    place_of(archived)
                });
                place = read.expect("received");
            });
            assert_eq!(counted.0, 0);
            assert_eq!(place.len(), 65_000);
            assert!(is_within(&place, &mappings), "{place:x?} in {mappings:x?}");
            // the same bytes, through another mapping of the same ring
            let frame = onlooker.recv(Deadline::NEVER)?;
            assert_eq!(frame.payload()[..65_000], batch.0);
        }
        assert_eq!(buffer.as_slice(), b"", "the buffer had no use");
        Ok(())
    }

    /// On the heap both sides see the ring at one address, so the archive must lie in the slot's own payload.
    #[test]
    fn an_archive_is_read_in_its_own_slot() -> Result {
        let ring = myelon::HeapRing::<Frame>::new(2)?;
        let mut tx = TypedProducer::from_builder(ring.builder())?;
        let mut rx = TypedConsumer::from_builder(ring.builder())?;
        let mut onlooker = ring.consumer("onlooker")?;
        let mut buffer = ReassemblyBuffer::new();
        let batch: Batch = Rkyv(vec![7; 60_000]);
        for _ in 0..5 {
            tx.publish(&batch, 1)?;
            let place =
                rx.recv_leased::<Batch, _, _>(&mut buffer, |_, archived| place_of(archived))?;
            let frame = onlooker.recv(Deadline::NEVER)?;
            let slot = frame.payload().as_ptr_range();
            let slot = slot.start.addr()..slot.end.addr();
            assert!(is_within(&place, &[slot]));
            let bursts = allocations_of(|| {
                let count = rx.process_available_zero_copy::<Batch, _>(|_, _| {});
                assert_eq!(count, Ok(0));
            });
            assert_eq!(bursts.0, 0);
        }
        Ok(())
    }

    /// Archives longer than a frame are put together, aligned, in the caller's buffer and in no other memory.
    #[test]
    fn archives_of_several_frames_allocate_nothing_after_the_first() -> Result {
        let name = myelon::portable_shm_segment_name("archives");
        let mut tx = TypedProducer::<AlignedFixedFrame<4096>>::create(&name, DEPTH)?;
        let mut rx = TypedConsumer::<AlignedFixedFrame<4096>>::attach(
            &name,
            DEPTH,
            MyelonWaitStrategy::Block,
        )?;
        let mut buffer = ReassemblyBuffer::new();
        let batch: Batch = Rkyv((0..50_000).map(|at| at as u8).collect());
        let mut turn = || {
            tx.publish(&batch, 1).expect("sent");
            let place = rx.recv_leased::<Batch, _, _>(&mut buffer, |_, archived| {
                assert_eq!(archived.as_slice(), batch.0);
                place_of(archived)
            });
            let place = place.expect("received");
            let whole = buffer.as_slice().as_ptr_range();
            let whole = whole.start.addr()..whole.end.addr();
            assert!(is_within(&place, core::slice::from_ref(&whole)));
        };
        turn();
        let counted = allocations_of(|| (0..20).for_each(|_| turn()));
        assert_eq!(counted.0, 0);
        Ok(())
    }
}
