//! Messages one way, at full speed or at a fixed rate; and what the messages of a ring of frames may be: short ones
//! that are read in place, long ones that are copied out, values that are decoded, or archives of which one field is
//! read in place.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::{Release, SeqCst};

use myelon::codec::{AnyTable, Bincode, Codec, FlatBuffer, Postcard, Rkyv};
use myelon::flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};
use myelon::observability::CountersFile;
use myelon::rkyv::Archive;
use myelon::transport::{FramedTransportFrame, ReassemblyBuffer};
use myelon::{Deadline, RecvError, TypedConsumer, TypedProducer};

use super::access::Flat;
use super::beside::{self, Counted};
use super::message_ping_pong::{Messages, Numbered, Value};
use super::stream::wait_for_progress;
use super::{Endpoint, Failure, Outcome, RING_ENDED, in_blocks};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::{Clock, monotonic_ns};
use crate::fault::Round;
use crate::pace::Pace;
use crate::payload::{bytes_of, expected, fold, is_up_to, key_of, words_of};
use crate::sample;
use crate::spec::{Spec, Work};
use crate::watch::{Patience, stop};

/// The kind of all messages; the program's choice.
const KIND: u8 = 7;

/// The sending end of a ring of frames.
pub(crate) struct Tx<F: FramedTransportFrame, B> {
    ring: TypedProducer<F, B>,
    is_managed: bool,
    counted: Counted,
}

impl<F: FramedTransportFrame, B> Tx<F, B> {
    /// Sends bytes; returns whether the ring is open.
    #[inline(always)]
    fn send_bytes(&mut self, message: &[u8]) -> bool {
        match self.is_managed {
            false => self.ring.publish_raw(message, KIND).is_ok(),
            true => self.ring.raw().publish_managed(message, KIND).is_ok(),
        }
    }

    /// Writes these bytes into a frame that is reserved for them; returns whether the ring is open.
    #[inline(always)]
    fn write_reserved(&mut self, message: &[u8]) -> bool {
        let ring = self.ring.raw();
        let Ok(mut frame) = ring.reserve(message.len(), KIND, Deadline::NEVER) else {
            return false;
        };
        frame.copy_from_slice(message);
        frame.publish();
        true
    }

    /// Sends a value; returns whether the ring is open.
    #[inline(always)]
    fn send<T: Codec>(&mut self, value: &T) -> bool {
        match self.is_managed {
            false => self.ring.publish(value, KIND).is_ok(),
            true => self.ring.publish_managed(value, KIND).is_ok(),
        }
    }
}

/// The content of the messages, and how they are received.
pub(crate) trait Traffic: 'static {
    fn new(size_bytes: usize) -> Self;

    /// Sends message `index` of `round`; `mark` is 0 or [`REPLY`](crate::payload::REPLY).
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut Tx<F, B>,
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

/// Traffic of which a receiver can tell which message it has received.
pub(crate) trait NumberedTraffic: Traffic {
    /// Waits for the next message of `round` or of an earlier one; returns its key, or `None` if it is not whole.
    fn receive_any<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
    ) -> Option<u64>;
}

/// Messages of 64 bytes, each read in full in its frame. Sent as a slice, or written into a frame that was reserved.
pub(crate) struct Short<const RESERVED: bool = false>;

impl<const RESERVED: bool> Traffic for Short<RESERVED> {
    fn new(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut Tx<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        let words = round.words::<FAULTY, 8>(index, mark);
        let bytes = bytes_of(&words);
        let is_open = match RESERVED {
            false => tx.send_bytes(bytes),
            true => tx.write_reserved(bytes),
        };
        if !is_open {
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
        tx: &mut Tx<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        let value = Bincode(Value::new(round.words::<FAULTY, 8>(index, mark)));
        if !tx.send(&value) {
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
        tx: &mut Tx<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        [self.message.0.id] = round.words::<FAULTY, 1>(index, mark);
        if !tx.send(&self.message) {
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

impl NumberedTraffic for Archives {
    fn receive_any<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
    ) -> Option<u64> {
        let read = |_, flat: &<Flat as Archive>::Archived| key_of(&[flat.id.to_native()]);
        let received =
            rx.recv_leased_within::<Rkyv<Flat>, _, _>(&mut self.buffer, Deadline::NEVER, read);
        let key = received.unwrap_or_else(|_| stop(RING_ENDED));
        key.filter(|&key| is_up_to(round, key))
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
        tx: &mut Tx<F, B>,
        round: Round,
        index: u64,
        mark: u64,
    ) {
        round.write_sample::<FAULTY>(&mut self.message, index, mark);
        if !tx.send_bytes(&self.message) {
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
        indices.fold(hash, |hash, index| {
            self.take(rx, |message| sample::fold(hash, message, round, index))
        })
    }

    fn expected(size_bytes: usize, round: u64, count: u64, mark: u64) -> u64 {
        sample::expected(size_bytes, sample::marked(round, mark), count)
    }
}

impl Long {
    /// Waits for a message, and reads this process's own copy of it.
    #[inline(always)]
    fn take<F: FramedTransportFrame, B, R>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> R {
        let Self { message, buffer } = self;
        let received = rx.raw().recv_leased(buffer, Deadline::NEVER, |_, bytes| {
            if bytes.len() > F::PAYLOAD_BYTES {
                return read(bytes);
            }
            message.copy_from_slice(bytes);
            read(message)
        });
        received.unwrap_or_else(|_| stop(RING_ENDED))
    }
}

impl NumberedTraffic for Long {
    fn receive_any<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
    ) -> Option<u64> {
        self.take(rx, |message| sample::key_of(message, round))
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
        tx: &mut Tx<F, B>,
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

impl<C: Parcel> NumberedTraffic for Encoded<C> {
    fn receive_any<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
    ) -> Option<u64> {
        let Self { parcel, buffer } = self;
        // 0 stands for a message that is not whole
        let number = |bytes: &[u8]| sample::key_of(bytes, round).map_or(0, |key| key + 1);
        let number = C::receive(rx, parcel, buffer, number);
        number.unwrap_or_else(|| stop(RING_ENDED)).checked_sub(1)
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
    fn send<F: FramedTransportFrame, B>(parcel: &mut Self::Parcel, tx: &mut Tx<F, B>) -> bool;

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
                tx: &mut Tx<F, B>,
            ) -> bool {
                tx.send(parcel)
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
        tx: &mut Tx<F, B>,
    ) -> bool {
        let mut builder = std::mem::take(kept);
        let vector = builder.create_vector(bytes);
        let start = builder.start_table();
        builder.push_slot_always(4, vector);
        let table = builder.end_table(start);
        let message = Self::finish(builder, WIPOffset::new(table.value()));
        let is_sent = tx.send(&message);
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
    type Tx = (Tx<F, B>, T);
    type Rx = (TypedConsumer<F, B>, T, Counted);

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        let mut ring = TypedProducer::from_builder(B::waiting_builder(spec, name))?;
        let liveness = beside::liveness(spec);
        let is_managed = liveness.is_some();
        if let Some(liveness) = liveness {
            ring.enable_required_consumer_liveness(liveness);
        }
        let counted = Counted::producer(spec, name, |file| ring.attach_counters(file))?;
        let tx = Tx {
            ring,
            is_managed,
            counted,
        };
        Ok((tx, T::new(spec.size_bytes)))
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        let builder = beside::named(B::waiting_builder(spec, name), spec);
        let mut ring = TypedConsumer::from_builder(builder)?;
        let attach = |file: &CountersFile| ring.raw().attach_counters(file);
        let counted = Counted::consumer(spec, name, attach)?;
        Ok((ring, T::new(spec.size_bytes), counted))
    }

    #[inline(always)]
    fn send<const FAULTY: bool>((tx, traffic): &mut Self::Tx, round: Round, index: u64, mark: u64) {
        traffic.send::<FAULTY, F, B>(tx, round, index, mark);
    }

    #[inline(always)]
    fn receive(
        (rx, traffic, _): &mut Self::Rx,
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
        tx.counted.check()?;
        tx.ring.close()?;
        Ok(())
    }

    fn detach((rx, _, counted): Self::Rx) -> Result<(), Failure> {
        counted.check()?;
        Ok(rx.detach()?)
    }
}

impl<T: NumberedTraffic, F: FramedTransportFrame, B: Open> Numbered<B> for Over<T, F> {
    fn receive_any((rx, traffic, _): &mut Self::Rx, round: u64) -> Option<u64> {
        traffic.receive_any(rx, round)
    }
}

/// The driver's end.
pub(crate) struct Sending<M: Messages<B>, B: Open> {
    ring: M::Tx,
    batch: usize,
    per_s: Option<u64>,
    /// Whether the ends meet in the arena. The receivers of a broadcast do not, as they are several.
    is_met: bool,
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
            is_met: !spec.is_broadcast(),
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
        if self.is_met {
            arena.progress().store(0, SeqCst);
            arena.meet();
        }
        let pace = self.per_s.map(|per_s| Pace::begin(arena, per_s));
        let outcome = if round.has_faulty_messages() {
            self.send_all::<true>(clock, round, pace)
        } else {
            self.send_all::<false>(clock, round, pace)
        };
        if self.is_met {
            wait_for_progress(arena, round.number + 1);
        }
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
    is_met: bool,
}

impl<M: Messages<B>, B: Open> Receiving<M, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            ring: M::consumer(spec, &spec.name)?,
            size_bytes: spec.size_bytes,
            per_s: spec.per_s,
            is_met: !spec.is_broadcast(),
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
        if self.is_met {
            arena.meet();
        }
        let Round { number, count, .. } = round;
        let (hash, took_ns) = match self.per_s {
            Some(per_s) => self.receive_paced(arena, round, per_s),
            None => {
                let hash = M::receive(&mut self.ring, 0, number, 0..count, 0);
                // when the last receiver of a broadcast is done, its round is over
                (
                    hash,
                    if self.is_met {
                        Vec::new()
                    } else {
                        vec![monotonic_ns()]
                    },
                )
            }
        };
        if self.is_met {
            arena.progress().store(number as i64 + 1, Release);
        }
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
