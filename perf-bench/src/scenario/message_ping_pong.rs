//! A message and its reply on two rings of frames: as bytes, or as a value that a codec encodes.

use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

use myelon::codec::{AnyTable, Bincode, Codec, FlatBuffer, Postcard, Rkyv, ZeroCopyCodec};
use myelon::flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};
use myelon::rkyv;
use myelon::transport::{
    AlignedFixedFrame, FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer,
};
use myelon::{Deadline, TypedConsumer, TypedProducer};
use serde::{Deserialize, Serialize};

use super::{Endpoint, Failure, Outcome, RING_ENDED, in_blocks};
use crate::arena::{Arena, Role};
use crate::backend::Open;
use crate::clock::{Clock, monotonic_ns};
use crate::fault::Round;
use crate::pace::Pace;
use crate::payload::{REPLY, bytes_of, expected, fold, words_of};
use crate::spec::Spec;
use crate::watch::stop;

/// The frame of all these scenarios: its slot is as large as that of an event of 64 bytes.
type Frame = AlignedFixedFrame<64>;

/// The kind of all messages; the program's choice.
const KIND: u8 = 7;

/// How messages are sent and received.
pub(crate) trait Messages<B: Open>: 'static {
    /// The two ends.
    type Tx;
    type Rx;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure>;

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure>;

    /// Sends message `index` of `round`; `mark` is 0 or [`REPLY`].
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64);

    /// Sends these messages together, or one after the other where there are no batches.
    #[inline(always)]
    fn send_batch<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, indices: Range<u64>) {
        for index in indices {
            Self::send::<FAULTY>(tx, round, index, 0);
        }
    }

    /// Waits for these messages of `round`, and folds them into `hash`.
    fn receive(rx: &mut Self::Rx, hash: u64, round: u64, indices: Range<u64>, mark: u64) -> u64;

    /// The hash of so many messages of that size.
    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64;

    /// Closes the ring, which also removes its name: its consumer has an automatic id.
    fn close(tx: Self::Tx) -> Result<(), Failure>;

    fn detach(rx: Self::Rx) -> Result<(), Failure>;
}

/// Messages of which a receiver can tell which one it has received.
pub(crate) trait Numbered<B: Open>: Messages<B> {
    /// Waits for the next message of `round` or of an earlier one; returns its key, or `None` if it is not whole.
    fn receive_any(rx: &mut Self::Rx, round: u64) -> Option<u64>;

    /// Waits for messages of `round` and folds them into `hash`: for these, or for one burst, if there are bursts.
    /// Returns the hash and the number of messages.
    fn receive_burst(rx: &mut Self::Rx, hash: u64, round: u64, indices: Range<u64>) -> (u64, u64) {
        let count = indices.end - indices.start;
        (Self::receive(rx, hash, round, indices, 0), count)
    }
}

/// Messages of bytes, copied into a frame and read in it.
pub(crate) struct Framed;

impl<B: Open> Messages<B> for Framed {
    type Tx = FramedTransportProducer<Frame, B>;
    type Rx = FramedTransportConsumer<Frame, B>;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        let builder = B::waiting_builder(spec, name);
        Ok(FramedTransportProducer::from_builder(builder)?)
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        let builder = B::waiting_builder(spec, name);
        Ok(FramedTransportConsumer::from_builder(builder)?)
    }

    #[inline(always)]
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64) {
        let words = round.words::<FAULTY, 8>(index, mark);
        if tx.publish(bytes_of(&words), KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx, hash: u64, _: u64, indices: Range<u64>, _: u64) -> u64 {
        indices.fold(hash, |hash, _| match rx.recv(Deadline::NEVER) {
            Ok(message) => words_of(&message).map_or(0, |words| fold::<8>(hash, &words)),
            Err(_) => stop(RING_ENDED),
        })
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<8>(round, count, mark)
    }

    fn close(tx: Self::Tx) -> Result<(), Failure> {
        tx.close()?;
        Ok(())
    }

    fn detach(rx: Self::Rx) -> Result<(), Failure> {
        Ok(rx.detach()?)
    }
}

/// A value that takes 64 bytes both in memory and encoded, as its words do not compress.
#[derive(Debug, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = rkyv)]
pub(crate) struct Value {
    words: [u64; 8],
}

impl Value {
    #[inline(always)]
    pub(crate) fn new(words: [u64; 8]) -> Self {
        Self { words }
    }

    #[inline(always)]
    pub(crate) fn fold_into(&self, hash: u64) -> u64 {
        fold(hash, &self.words)
    }
}

/// Values that are encoded into a frame and decoded from it.
pub(crate) struct Typed;

impl<B: Open> Messages<B> for Typed {
    type Tx = TypedProducer<Frame, B>;
    type Rx = TypedConsumer<Frame, B>;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        Ok(TypedProducer::from_builder(B::waiting_builder(spec, name))?)
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        Ok(TypedConsumer::from_builder(B::waiting_builder(spec, name))?)
    }

    #[inline(always)]
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64) {
        let words = round.words::<FAULTY, 8>(index, mark);
        if tx.publish(&Bincode(Value::new(words)), KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx, hash: u64, _: u64, indices: Range<u64>, _: u64) -> u64 {
        indices.fold(hash, |hash, _| {
            match rx.recv::<Bincode<Value>>(Deadline::NEVER) {
                Ok((_, Bincode(value))) => value.fold_into(hash),
                Err(_) => stop(RING_ENDED),
            }
        })
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<8>(round, count, mark)
    }

    fn close(tx: Self::Tx) -> Result<(), Failure> {
        tx.close()?;
        Ok(())
    }

    fn detach(rx: Self::Rx) -> Result<(), Failure> {
        Ok(rx.detach()?)
    }
}

/// The same values without the layer of values: encoded into a buffer, sent as bytes, and decoded from the
/// received bytes. The difference is the cost that this layer adds to a codec and to frames. A codec's time by
/// itself is no measure of its share of a round trip, because cache lines move in another way between two
/// processes that answer less quickly.
pub(crate) struct ByHand;

impl<B: Open> Messages<B> for ByHand {
    type Tx = FramedTransportProducer<Frame, B>;
    type Rx = FramedTransportConsumer<Frame, B>;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        <Framed as Messages<B>>::producer(spec, name)
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        <Framed as Messages<B>>::consumer(spec, name)
    }

    #[inline(always)]
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64) {
        let words = round.words::<FAULTY, 8>(index, mark);
        let mut place = [0; Frame::PAYLOAD_BYTES];
        let encoded = Bincode(Value::new(words)).encode_into(&mut place);
        let len = encoded.ok().flatten().unwrap_or(0);
        if tx.publish(&place[..len], KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx, hash: u64, _: u64, indices: Range<u64>, _: u64) -> u64 {
        indices.fold(hash, |hash, _| {
            let Ok(message) = rx.recv(Deadline::NEVER) else {
                stop(RING_ENDED);
            };
            match Bincode::<Value>::decode(&message) {
                Ok(Bincode(value)) => value.fold_into(hash),
                Err(_) => 0,
            }
        })
    }

    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64 {
        <Typed as Messages<B>>::expected(size_bytes, round, count, mark)
    }

    fn close(tx: Self::Tx) -> Result<(), Failure> {
        <Framed as Messages<B>>::close(tx)
    }

    fn detach(rx: Self::Rx) -> Result<(), Failure> {
        <Framed as Messages<B>>::detach(rx)
    }
}

/// The driver's end: sends a request and waits for its reply.
pub(crate) struct Asking<M: Messages<B>, B: Open> {
    spec: Spec,
    requests: M::Tx,
    replies: Option<M::Rx>,
}

impl<M: Messages<B>, B: Open> Asking<M, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            spec: spec.clone(),
            requests: M::producer(spec, &spec.name)?,
            replies: None,
        })
    }

    fn ask_all<const FAULTY: bool, const PACED: bool>(
        &mut self,
        arena: &mut Arena,
        clock: &Clock,
        round: Round,
    ) -> Outcome {
        let replies = self
            .replies
            .as_mut()
            .expect("the driver finishes opening before the first round");
        let mut trips = Vec::with_capacity(round.count as usize);
        let mut took_ns = Vec::new();
        let mut hash = 0;
        arena.meet();
        let pace = self.spec.per_s.map(|per_s| Pace::begin(arena, per_s));
        let mut before = clock.ticks();
        for index in 0..round.count {
            if let (true, Some(pace)) = (PACED, pace) {
                pace.wait_for(index);
            }
            M::send::<FAULTY>(&mut self.requests, round, index, 0);
            hash = M::receive(replies, hash, round.number, index..index + 1, REPLY);
            if let (true, Some(pace)) = (PACED, pace) {
                took_ns.push(pace.latency_ns(index, monotonic_ns()));
            }
            let now = clock.ticks();
            trips.push(now.wrapping_sub(before));
            before = now;
        }
        Outcome {
            ticks: trips,
            hash,
            expected: M::expected(self.spec.size_bytes, round.number, round.count, REPLY),
            took_ns,
        }
    }
}

impl<M: Messages<B>, B: Open> Endpoint for Asking<M, B> {
    fn finish_opening(&mut self) -> Result<(), Failure> {
        self.replies = Some(M::consumer(&self.spec, &self.spec.reply_name())?);
        Ok(())
    }

    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        match (round.has_faulty_messages(), self.spec.per_s) {
            (true, _) => self.ask_all::<true, true>(arena, clock, round),
            (false, Some(_)) => self.ask_all::<false, true>(arena, clock, round),
            (false, None) => self.ask_all::<false, false>(arena, clock, round),
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        if let Some(replies) = self.replies {
            M::detach(replies)?;
        }
        M::close(self.requests)
    }
}

/// The peer's end: answers each request.
pub(crate) struct Answering<M: Messages<B>, B: Open> {
    size_bytes: usize,
    requests: M::Rx,
    replies: M::Tx,
}

impl<M: Messages<B>, B: Open> Answering<M, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            size_bytes: spec.size_bytes,
            requests: M::consumer(spec, &spec.name)?,
            replies: M::producer(spec, &spec.reply_name())?,
        })
    }

    fn answer_all<const FAULTY: bool>(&mut self, arena: &mut Arena, round: Round) -> Outcome {
        let mut hash = 0;
        arena.meet();
        for index in 0..round.count {
            hash = M::receive(&mut self.requests, hash, round.number, index..index + 1, 0);
            M::send::<FAULTY>(&mut self.replies, round, index, REPLY);
        }
        Outcome {
            hash,
            expected: M::expected(self.size_bytes, round.number, round.count, 0),
            ..Outcome::default()
        }
    }
}

impl<M: Messages<B>, B: Open> Endpoint for Answering<M, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        if round.has_faulty_messages() {
            self.answer_all::<true>(arena, round)
        } else {
            self.answer_all::<false>(arena, round)
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        M::detach(self.requests)?;
        M::close(self.replies)
    }
}

/// How to use a codec for a [`Value`].
pub(crate) trait Coded: 'static {
    /// State that is kept from one message to the next.
    type Kept: Default;

    /// Encodes the value into `place` and returns the number of bytes; `None` if it does not fit.
    fn write(kept: &mut Self::Kept, value: Value, place: &mut [u8]) -> Option<usize>;

    fn read(bytes: &[u8]) -> Option<Value>;
}

macro_rules! coded {
    ($($codec:ident)*) => {$(
        impl Coded for $codec<Value> {
            type Kept = ();

            fn write(_: &mut (), value: Value, place: &mut [u8]) -> Option<usize> {
                Self(value).encode_into(place).ok()?
            }

            fn read(bytes: &[u8]) -> Option<Value> {
                Some(Self::decode(bytes).ok()?.0)
            }
        }
    )*};
}

coded! { Bincode Postcard Rkyv }

/// One builder serves all messages, and values are read in place, so nothing is allocated.
impl Coded for FlatBuffer<AnyTable<'static>> {
    type Kept = FlatBufferBuilder<'static>;

    fn write(kept: &mut Self::Kept, value: Value, place: &mut [u8]) -> Option<usize> {
        let mut builder = std::mem::take(kept);
        let words = builder.create_vector(&value.words);
        let start = builder.start_table();
        builder.push_slot_always(4, words);
        let table = builder.end_table(start);
        let message = Self::finish(builder, WIPOffset::new(table.value()));
        let used = message.encode_into(place).ok()?;
        *kept = message.into_builder();
        used
    }

    fn read(bytes: &[u8]) -> Option<Value> {
        let table = Self::access(bytes).ok()?;
        let words = table.get::<ForwardsUOffset<Vector<'_, u64>>>(0).ok()??;
        let mut value = Value { words: [0; 8] };
        let places = value.words.iter_mut();
        places.zip(words).for_each(|(place, word)| *place = word);
        Some(value)
    }
}

/// The codec's share of a round trip of values, by itself: two are encoded and two decoded. The peer spins all
/// the while, as a process that waits for a message does. If the two cores share resources, that slows the codec
/// as in a real round trip.
pub(crate) struct CodecAlone<T>(PhantomData<T>);

impl<T> CodecAlone<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// A buffer with the alignment of a frame's payload.
#[repr(C, align(16))]
struct Place([u8; 2 * Frame::PAYLOAD_BYTES]);

impl<T: Coded> CodecAlone<T> {
    fn pass_all<const FAULTY: bool>(clock: &Clock, round: Round) -> Outcome {
        let mut place = Place([0; 2 * Frame::PAYLOAD_BYTES]);
        let mut hash = 0;
        let mut kept = T::Kept::default();
        let mut pass = |mut words: [u64; 8], last: u64| {
            words[0] ^= last;
            let len = T::write(&mut kept, Value::new(words), black_box(&mut place.0))?;
            T::read(black_box(&place.0[..len]))
        };
        // a round trip is a chain: the next value sent depends on the last one received, here through a zero
        let mut last = 0;
        let outcome = in_blocks(clock, round.count, |block| {
            for index in block {
                for mark in [0, REPLY] {
                    let words = round.words::<FAULTY, 8>(index, mark);
                    if let Some(value) = pass(words, last) {
                        let folded = value.fold_into(hash);
                        last = black_box(folded) & black_box(0);
                        if mark == 0 {
                            hash = folded;
                        }
                    }
                }
            }
        });
        Outcome {
            hash,
            expected: expected::<8>(round.number, round.count, 0),
            ..outcome
        }
    }
}

impl<T: Coded> Endpoint for CodecAlone<T> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.meet();
        let outcome = match (arena.role(), round.has_faulty_messages()) {
            (Role::Peer, _) => Outcome::default(),
            (Role::Driver, true) => Self::pass_all::<true>(clock, round),
            (Role::Driver, false) => Self::pass_all::<false>(clock, round),
        };
        arena.meet();
        outcome
    }
}
