//! Messages one way, at full speed or at a fixed rate; and what the messages of a ring of frames may be: short ones
//! that are read in place, long ones that are copied out, values that are decoded, or archives of which one field is
//! read in place.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::{Release, SeqCst};

use myelon::codec::{AnyTable, Bincode, FlatBuffer, Postcard, Rkyv};
use myelon::flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};
use myelon::rkyv::Archive;
use myelon::transport::{FramedTransportFrame, ReassemblyBuffer};
use myelon::{Deadline, RecvError, TypedConsumer, TypedProducer};

use super::access::Flat;
use super::message_ping_pong::{Messages, Value};
use super::stream::wait_for_progress;
use super::{Endpoint, Failure, Outcome, RING_ENDED, in_blocks};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::{Clock, monotonic_ns};
use crate::fault::Round;
use crate::pace::Pace;
use crate::payload::{bytes_of, expected, fold, words_of};
use crate::sample;
use crate::spec::{Spec, Work};
use crate::watch::{Patience, stop};

/// The kind of all messages; the program's choice.
const KIND: u8 = 7;

/// The content of the messages, and how they are received.
pub(crate) trait Traffic: 'static {
    fn new(size_bytes: usize) -> Self;

    /// Sends message `index` of `round`; `mark` is 0 or [`REPLY`](crate::payload::REPLY).
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    );

    /// Receives these messages of `round`, and folds them into `hash`.
    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        hash: u64,
        round: u64,
        indices: Range<u64>,
        mark: u64,
    ) -> u64;

    /// The hash of so many messages of that size.
    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64;
}

/// Messages of 64 bytes, each read in full in its frame.
pub(crate) struct Short;

impl Traffic for Short {
    fn new(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        let words = round.words::<FAULTY, 8>(index, mark);
        if tx.publish_raw(bytes_of(&words), KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        mut hash: u64,
        _: u64,
        indices: Range<u64>,
        _: u64,
    ) -> u64 {
        let surplus = take(indices.end - indices.start, || {
            rx.raw().process_available_messages(|_, message| {
                hash = words_of(message).map_or(0, |words| fold::<8>(hash, &words));
            })
        });
        hash ^ surplus
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<8>(round, count, mark)
    }
}

/// Receives bursts until there are `count` messages. Returns the number of messages beyond `count`, which should be 0.
fn take(count: u64, mut burst: impl FnMut() -> Result<usize, RecvError>) -> u64 {
    let mut seen = 0;
    let mut patience = Patience::default();
    while seen < count {
        match burst() {
            Ok(0) => patience.pause(),
            Ok(messages) => seen += messages as u64,
            Err(_) => stop(RING_ENDED),
        }
    }
    seen - count
}

/// Values of 64 encoded bytes, encoded into a frame and decoded from it.
pub(crate) struct Values;

impl Traffic for Values {
    fn new(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        let value = Bincode(Value::new(round.words::<FAULTY, 8>(index, mark)));
        if tx.publish(&value, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        mut hash: u64,
        _: u64,
        indices: Range<u64>,
        _: u64,
    ) -> u64 {
        let surplus = take(indices.end - indices.start, || {
            rx.process_available::<Bincode<Value>>(|_, value| {
                hash = value.map_or(0, |Bincode(value)| value.fold_into(hash));
            })
        });
        hash ^ surplus
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<8>(round, count, mark)
    }
}

/// Archives that consist mainly of one byte vector, encoded in a frame. One field of each is read there.
pub(crate) struct Archives {
    message: Rkyv<Flat>,
    buffer: ReassemblyBuffer,
}

impl Traffic for Archives {
    fn new(size_bytes: usize) -> Self {
        Self {
            message: Rkyv(Flat::new(size_bytes)),
            buffer: ReassemblyBuffer::new(),
        }
    }

    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        [self.message.0.id] = round.words::<FAULTY, 1>(index, mark);
        if tx.publish(&self.message, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        hash: u64,
        _: u64,
        indices: Range<u64>,
        _: u64,
    ) -> u64 {
        indices.fold(hash, |hash, _| {
            let read = |_, flat: &<Flat as Archive>::Archived| fold(hash, &[flat.id.to_native()]);
            let received =
                rx.recv_leased_within::<Rkyv<Flat>, _, _>(&mut self.buffer, Deadline::NEVER, read);
            received.unwrap_or_else(|_| stop(RING_ENDED))
        })
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<1>(round, count, mark)
    }
}

/// Long messages, each copied once into the receiver's own memory.
pub(crate) struct Long {
    /// The driver's message, or the peer's copy of a message that came in a single frame.
    message: Vec<u8>,
    /// The peer's copy of a message that came in several frames.
    buffer: ReassemblyBuffer,
}

impl Traffic for Long {
    fn new(size_bytes: usize) -> Self {
        Self {
            message: vec![0; size_bytes],
            buffer: ReassemblyBuffer::with_capacity(size_bytes),
        }
    }

    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        round.write_sample::<FAULTY>(&mut self.message, index, mark);
        if tx.publish_raw(&self.message, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        hash: u64,
        round: u64,
        indices: Range<u64>,
        mark: u64,
    ) -> u64 {
        let Self { message, buffer } = self;
        let round = sample::marked(round, mark);
        indices.fold(hash, |hash, index| {
            let received = rx.raw().recv_leased(buffer, Deadline::NEVER, |_, bytes| {
                if bytes.len() > F::PAYLOAD_BYTES {
                    return sample::fold(hash, bytes, round, index);
                }
                message.copy_from_slice(bytes);
                sample::fold(hash, message, round, index)
            });
            received.unwrap_or_else(|_| stop(RING_ENDED))
        })
    }

    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64 {
        sample::expected(size_bytes, sample::marked(round, mark), count)
    }
}

/// Values with a byte vector of the size of the message, encoded into frames and decoded from them.
pub(crate) struct Encoded<C: Parcel> {
    parcel: C::Parcel,
    buffer: ReassemblyBuffer,
}

impl<C: Parcel> Traffic for Encoded<C> {
    fn new(size_bytes: usize) -> Self {
        Self {
            parcel: C::pack(vec![0; size_bytes]),
            buffer: ReassemblyBuffer::new(),
        }
    }

    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        round.write_sample::<FAULTY>(C::content(&mut self.parcel), index, mark);
        if !C::send(&mut self.parcel, tx) {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        hash: u64,
        round: u64,
        indices: Range<u64>,
        mark: u64,
    ) -> u64 {
        let round = sample::marked(round, mark);
        let Self { parcel, buffer } = self;
        indices.fold(hash, |hash, index| {
            let fold = |bytes: &[u8]| sample::fold(hash, bytes, round, index);
            C::receive(rx, parcel, buffer, fold).unwrap_or_else(|| stop(RING_ENDED))
        })
    }

    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64 {
        Long::expected(size_bytes, round, count, mark)
    }
}

/// How to use a codec for a value that consists mainly of one byte vector.
pub(crate) trait Parcel: 'static {
    /// A value, and what is kept from one message to the next.
    type Parcel;

    fn pack(bytes: Vec<u8>) -> Self::Parcel;

    /// The bytes of the value, for writing.
    fn content(parcel: &mut Self::Parcel) -> &mut [u8];

    /// Sends the value; returns whether the ring is open.
    fn send<F: FramedTransportFrame, B>(
        parcel: &mut Self::Parcel,
        tx: &mut TypedProducer<F, B>,
    ) -> bool;

    /// Receives a value into memory of this process and folds its bytes; `None` if the ring has ended, or the message
    /// is no value.
    fn receive<F: FramedTransportFrame, B>(
        rx: &mut TypedConsumer<F, B>,
        parcel: &mut Self::Parcel,
        buffer: &mut ReassemblyBuffer,
        fold: impl Fn(&[u8]) -> u64,
    ) -> Option<u64>;
}

macro_rules! parcel {
    ($($codec:ident)*) => {$(
        impl Parcel for $codec<Flat> {
            type Parcel = Self;

            fn pack(bytes: Vec<u8>) -> Self {
                Self(Flat { bytes, id: 0 })
            }

            fn content(parcel: &mut Self) -> &mut [u8] {
                &mut parcel.0.bytes
            }

            fn send<F: FramedTransportFrame, B>(
                parcel: &mut Self,
                tx: &mut TypedProducer<F, B>,
            ) -> bool {
                tx.publish(parcel, KIND).is_ok()
            }

            fn receive<F: FramedTransportFrame, B>(
                rx: &mut TypedConsumer<F, B>,
                parcel: &mut Self,
                _: &mut ReassemblyBuffer,
                fold: impl Fn(&[u8]) -> u64,
            ) -> Option<u64> {
                *parcel = rx.recv(Deadline::NEVER).ok()?.1;
                Some(fold(&parcel.0.bytes))
            }
        }
    )*};
}

parcel! { Bincode Postcard Rkyv }

/// One builder serves all messages, and a received vector is copied out of the frame.
impl Parcel for FlatBuffer<AnyTable<'static>> {
    type Parcel = (Vec<u8>, FlatBufferBuilder<'static>);

    fn pack(bytes: Vec<u8>) -> Self::Parcel {
        (bytes, FlatBufferBuilder::new())
    }

    fn content((bytes, _): &mut Self::Parcel) -> &mut [u8] {
        bytes
    }

    fn send<F: FramedTransportFrame, B>(
        (bytes, kept): &mut Self::Parcel,
        tx: &mut TypedProducer<F, B>,
    ) -> bool {
        let mut builder = std::mem::take(kept);
        let vector = builder.create_vector(bytes);
        let start = builder.start_table();
        builder.push_slot_always(4, vector);
        let table = builder.end_table(start);
        let message = Self::finish(builder, WIPOffset::new(table.value()));
        let is_sent = tx.publish(&message, KIND).is_ok();
        *kept = message.into_builder();
        is_sent
    }

    fn receive<F: FramedTransportFrame, B>(
        rx: &mut TypedConsumer<F, B>,
        (bytes, _): &mut Self::Parcel,
        buffer: &mut ReassemblyBuffer,
        fold: impl Fn(&[u8]) -> u64,
    ) -> Option<u64> {
        let read = |_, table: AnyTable<'_>| {
            let vector = table.get::<ForwardsUOffset<Vector<'_, u8>>>(0).ok()??;
            bytes.clear();
            bytes.extend_from_slice(vector.bytes());
            Some(fold(bytes))
        };
        rx.recv_leased_within::<Self, _, _>(buffer, Deadline::NEVER, read)
            .ok()?
    }
}

/// This traffic over a ring of these frames.
pub(crate) struct Over<T, F>(PhantomData<(T, F)>);

impl<T: Traffic, F: FramedTransportFrame, B: Open> Messages<B> for Over<T, F> {
    type Tx = (TypedProducer<F, B>, T);
    type Rx = (TypedConsumer<F, B>, T);

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        let builder = B::waiting_builder(spec, name);
        let traffic = T::new(spec.size_bytes);
        Ok((TypedProducer::from_builder(builder)?, traffic))
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        let builder = B::waiting_builder(spec, name);
        let traffic = T::new(spec.size_bytes);
        Ok((TypedConsumer::from_builder(builder)?, traffic))
    }

    #[inline(always)]
    fn send<const FAULTY: bool>((tx, traffic): &mut Self::Tx, round: Round, index: u64, mark: u64) {
        traffic.send::<FAULTY, F, B>(tx, round, index, mark);
    }

    #[inline(always)]
    fn receive(
        (rx, traffic): &mut Self::Rx,
        hash: u64,
        round: u64,
        indices: Range<u64>,
        mark: u64,
    ) -> u64 {
        traffic.receive(rx, hash, round, indices, mark)
    }

    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64 {
        T::expected(size_bytes, round, count, mark)
    }

    fn close((tx, _): Self::Tx) -> Result<(), Failure> {
        tx.close()?;
        Ok(())
    }

    fn detach((rx, _): Self::Rx) -> Result<(), Failure> {
        Ok(rx.detach()?)
    }
}

/// The driver's end.
pub(crate) struct Sending<M: Messages<B>, B: Open> {
    ring: M::Tx,
    batch: usize,
    per_s: Option<u64>,
}

impl<M: Messages<B>, B: Open> Sending<M, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let batch = match spec.work {
            Work::ChosenStream { batch, .. } => batch,
            _ => 1,
        };
        Ok(Self {
            ring: M::producer(spec, &spec.name)?,
            batch,
            per_s: spec.per_s,
        })
    }

    fn send_all<const FAULTY: bool>(
        &mut self,
        clock: &Clock,
        round: Round,
        pace: Option<Pace>,
    ) -> Outcome {
        in_blocks(clock, round.count, |block| {
            if let Some(pace) = pace {
                for index in block {
                    pace.wait_for(index);
                    M::send::<FAULTY>(&mut self.ring, round, index, 0);
                }
            } else if self.batch == 1 {
                for index in block {
                    M::send::<FAULTY>(&mut self.ring, round, index, 0);
                }
            } else {
                let end = block.end;
                for first in block.step_by(self.batch) {
                    let last = (first + self.batch as u64).min(end);
                    M::send_batch::<FAULTY>(&mut self.ring, round, first..last);
                }
            }
        })
    }
}

impl<M: Messages<B>, B: Open> Endpoint for Sending<M, B> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.progress().store(0, SeqCst);
        arena.meet();
        let pace = self.per_s.map(|per_s| Pace::begin(arena, per_s));
        let outcome = if round.has_faulty_messages() {
            self.send_all::<true>(clock, round, pace)
        } else {
            self.send_all::<false>(clock, round, pace)
        };
        wait_for_progress(arena, round.number + 1);
        outcome
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        M::close(self.ring)
    }
}

/// The peer's end.
pub(crate) struct Receiving<M: Messages<B>, B: Open> {
    ring: M::Rx,
    size_bytes: usize,
    per_s: Option<u64>,
}

impl<M: Messages<B>, B: Open> Receiving<M, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            ring: M::consumer(spec, &spec.name)?,
            size_bytes: spec.size_bytes,
            per_s: spec.per_s,
        })
    }

    /// Receives the messages one by one; returns their hash, and the latency of each.
    fn receive_paced(&mut self, arena: &Arena, round: Round, per_s: u64) -> (u64, Vec<u64>) {
        let mut took_ns = Vec::with_capacity(round.count as usize);
        let mut hash = 0;
        for index in 0..round.count {
            hash = M::receive(&mut self.ring, hash, round.number, index..index + 1, 0);
            let at_ns = monotonic_ns();
            took_ns.push(Pace::of_round(arena, per_s).latency_ns(index, at_ns));
        }
        (hash, took_ns)
    }
}

impl<M: Messages<B>, B: Open> Endpoint for Receiving<M, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        arena.meet();
        let Round { number, count, .. } = round;
        let (hash, took_ns) = match self.per_s {
            Some(per_s) => self.receive_paced(arena, round, per_s),
            None => {
                let hash = M::receive(&mut self.ring, 0, number, 0..count, 0);
                (hash, Vec::new())
            }
        };
        arena.progress().store(number as i64 + 1, Release);
        Outcome {
            hash,
            expected: M::expected(self.size_bytes, number, count, 0),
            took_ns,
            ..Outcome::default()
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        M::detach(self.ring)
    }
}
