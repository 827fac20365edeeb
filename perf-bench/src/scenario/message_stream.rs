//! Messages one way, at full speed, over a ring of frames: short ones that are read in place, long ones that are
//! copied out, values that are decoded, or archives of which one field is read in place.

use std::sync::atomic::Ordering::{Release, SeqCst};

use myelon::codec::{Bincode, Rkyv};
use myelon::rkyv::Archive;
use myelon::transport::{FramedTransportFrame, ReassemblyBuffer};
use myelon::{Deadline, RecvError, TypedConsumer, TypedProducer};

use super::access::Flat;
use super::message_ping_pong::Value;
use super::stream::wait_for_progress;
use super::{Endpoint, Failure, Outcome, RING_ENDED, in_blocks};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::Clock;
use crate::fault::Round;
use crate::payload::{bytes_of, expected, fold, words_of};
use crate::sample;
use crate::spec::Spec;
use crate::watch::{Patience, stop};

/// The kind of all messages; the program's choice.
const KIND: u8 = 7;

/// The content of the messages, and how they are received.
pub(crate) trait Traffic: 'static {
    fn new(size_bytes: usize) -> Self;

    /// Sends message `index` of `round`.
    fn send<const FAULTY: bool, F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut TypedProducer<F, B>,
        round: Round,
        index: u64,
    );

    /// Receives `count` messages and returns their hash.
    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
        count: u64,
    ) -> u64;

    /// The hash that [`receive`](Self::receive) must return.
    fn expected(&self, round: u64, count: u64) -> u64;
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
    ) {
        let words = round.words::<FAULTY, 8>(index, 0);
        if tx.publish_raw(bytes_of(&words), KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        _: u64,
        count: u64,
    ) -> u64 {
        let mut hash = 0;
        let surplus = take(count, || {
            rx.raw().process_available_messages(|_, message| {
                hash = words_of(message).map_or(0, |words| fold::<8>(hash, &words));
            })
        });
        hash ^ surplus
    }

    fn expected(&self, round: u64, count: u64) -> u64 {
        expected::<8>(round, count, 0)
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
    ) {
        let value = Bincode(Value::new(round.words::<FAULTY, 8>(index, 0)));
        if tx.publish(&value, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        _: u64,
        count: u64,
    ) -> u64 {
        let mut hash = 0;
        let surplus = take(count, || {
            rx.process_available::<Bincode<Value>>(|_, value| {
                hash = value.map_or(0, |Bincode(value)| value.fold_into(hash));
            })
        });
        hash ^ surplus
    }

    fn expected(&self, round: u64, count: u64) -> u64 {
        expected::<8>(round, count, 0)
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
    ) {
        [self.message.0.id] = round.words::<FAULTY, 1>(index, 0);
        if tx.publish(&self.message, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        _: u64,
        count: u64,
    ) -> u64 {
        (0..count).fold(0, |hash, _| {
            let read = |_, flat: &<Flat as Archive>::Archived| fold(hash, &[flat.id.to_native()]);
            let received =
                rx.recv_leased_within::<Rkyv<Flat>, _, _>(&mut self.buffer, Deadline::NEVER, read);
            received.unwrap_or_else(|_| stop(RING_ENDED))
        })
    }

    fn expected(&self, round: u64, count: u64) -> u64 {
        expected::<1>(round, count, 0)
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
    ) {
        round.write_sample::<FAULTY>(&mut self.message, index);
        if tx.publish_raw(&self.message, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut TypedConsumer<F, B>,
        round: u64,
        count: u64,
    ) -> u64 {
        let Self { message, buffer } = self;
        (0..count).fold(0, |hash, index| {
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

    fn expected(&self, round: u64, count: u64) -> u64 {
        sample::expected(self.message.len(), round, count)
    }
}

/// The driver's end.
pub(crate) struct Sending<T: Traffic, F: FramedTransportFrame, B: Open> {
    ring: TypedProducer<F, B>,
    traffic: T,
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Sending<T, F, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let builder = B::spinning_builder(spec, &spec.name);
        Ok(Self {
            ring: TypedProducer::from_builder(builder)?,
            traffic: T::new(spec.size_bytes),
        })
    }

    fn send_all<const FAULTY: bool>(&mut self, clock: &Clock, round: Round) -> Outcome {
        in_blocks(clock, round.count, |block| {
            for index in block {
                let Self { ring, traffic } = self;
                traffic.send::<FAULTY, F, B>(ring, round, index);
            }
        })
    }
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Endpoint for Sending<T, F, B> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.progress().store(0, SeqCst);
        arena.meet();
        let outcome = if round.has_faulty_messages() {
            self.send_all::<true>(clock, round)
        } else {
            self.send_all::<false>(clock, round)
        };
        wait_for_progress(arena, round.number + 1);
        outcome
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.ring.close()?;
        Ok(())
    }
}

/// The peer's end.
pub(crate) struct Receiving<T: Traffic, F: FramedTransportFrame, B: Open> {
    ring: TypedConsumer<F, B>,
    traffic: T,
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Receiving<T, F, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let builder = B::spinning_builder(spec, &spec.name);
        Ok(Self {
            ring: TypedConsumer::from_builder(builder)?,
            traffic: T::new(spec.size_bytes),
        })
    }
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Endpoint for Receiving<T, F, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        arena.meet();
        let Round { number, count, .. } = round;
        let hash = self.traffic.receive(&mut self.ring, number, count);
        arena.progress().store(number as i64 + 1, Release);
        Outcome {
            hash,
            expected: self.traffic.expected(number, count),
            ..Outcome::default()
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.ring.detach()?)
    }
}
