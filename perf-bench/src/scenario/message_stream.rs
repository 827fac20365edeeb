//! Messages one way, as fast as it goes, over a ring of frames: short ones that are read in place, or long ones that are
//! copied out.

use std::sync::atomic::Ordering::{Release, SeqCst};

use myelon::Deadline;
use myelon::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, ReassemblyBuffer,
};

use super::stream::wait_for_progress;
use super::{Endpoint, Failure, Outcome, RING_ENDED, in_blocks};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::Clock;
use crate::payload::{bytes_of, expected, fill, fold, key, words_of};
use crate::sample;
use crate::spec::Spec;
use crate::watch::{Patience, stop};

/// What all messages are; the program's choice.
const KIND: u8 = 7;

/// What the messages are, and what is done with them.
pub(crate) trait Traffic: 'static {
    fn new(size_bytes: usize) -> Self;

    /// Sends message `index` of `round`.
    fn send<F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut FramedTransportProducer<F, B>,
        round: u64,
        index: u64,
    );

    /// Receives `count` messages; their hash.
    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut FramedTransportConsumer<F, B>,
        round: u64,
        count: u64,
    ) -> u64;

    /// What that must be.
    fn expected(&self, round: u64, count: u64) -> u64;
}

/// Messages of 64 bytes: each read in full where it is.
pub(crate) struct Short;

impl Traffic for Short {
    fn new(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn send<F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut FramedTransportProducer<F, B>,
        round: u64,
        index: u64,
    ) {
        let mut words = [0; 8];
        fill(&mut words, key(round, index));
        if tx.publish(bytes_of(&words), KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut FramedTransportConsumer<F, B>,
        _: u64,
        count: u64,
    ) -> u64 {
        let (mut hash, mut seen) = (0, 0);
        let mut patience = Patience::default();
        while seen < count {
            let handled = rx.process_available_messages(|_, message| {
                hash = words_of(message).map_or(0, |words| fold::<8>(hash, &words));
            });
            match handled {
                Ok(0) => patience.pause(),
                Ok(messages) => seen += messages as u64,
                Err(_) => stop(RING_ENDED),
            }
        }
        // more than was sent is wrong, too
        hash ^ (seen - count)
    }

    fn expected(&self, round: u64, count: u64) -> u64 {
        expected::<8>(round, count, 0)
    }
}

/// Long messages: each copied into memory of the receiver's own, once.
pub(crate) struct Long {
    /// The driver's message, or the peer's copy of one that came in a single frame.
    message: Vec<u8>,
    /// The peer's copy of one that came in several.
    buffer: ReassemblyBuffer,
}

impl Traffic for Long {
    fn new(size_bytes: usize) -> Self {
        Self {
            message: vec![0; size_bytes],
            buffer: ReassemblyBuffer::with_capacity(size_bytes),
        }
    }

    fn send<F: FramedTransportFrame, B>(
        &mut self,
        tx: &mut FramedTransportProducer<F, B>,
        round: u64,
        index: u64,
    ) {
        sample::write(&mut self.message, round, index);
        if tx.publish(&self.message, KIND).is_err() {
            stop(RING_ENDED);
        }
    }

    fn receive<F: FramedTransportFrame, B>(
        &mut self,
        rx: &mut FramedTransportConsumer<F, B>,
        round: u64,
        count: u64,
    ) -> u64 {
        let Self { message, buffer } = self;
        (0..count).fold(0, |hash, index| {
            let received = rx.recv_leased(buffer, Deadline::NEVER, |_, bytes| {
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
    ring: FramedTransportProducer<F, B>,
    traffic: T,
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Sending<T, F, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let builder = B::spinning_builder(spec, &spec.name);
        Ok(Self {
            ring: FramedTransportProducer::from_builder(builder)?,
            traffic: T::new(spec.size_bytes),
        })
    }
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Endpoint for Sending<T, F, B> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: u64, count: u64) -> Outcome {
        arena.progress().store(0, SeqCst);
        arena.meet();
        let outcome = in_blocks(clock, count, |block| {
            for index in block {
                self.traffic.send(&mut self.ring, round, index);
            }
        });
        wait_for_progress(arena, round + 1);
        outcome
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.ring.close()?)
    }
}

/// The peer's end.
pub(crate) struct Receiving<T: Traffic, F: FramedTransportFrame, B: Open> {
    ring: FramedTransportConsumer<F, B>,
    traffic: T,
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Receiving<T, F, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let builder = B::spinning_builder(spec, &spec.name);
        Ok(Self {
            ring: FramedTransportConsumer::from_builder(builder)?,
            traffic: T::new(spec.size_bytes),
        })
    }
}

impl<T: Traffic, F: FramedTransportFrame, B: Open> Endpoint for Receiving<T, F, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: u64, count: u64) -> Outcome {
        arena.meet();
        let hash = self.traffic.receive(&mut self.ring, round, count);
        arena.progress().store(round as i64 + 1, Release);
        Outcome {
            hash,
            expected: self.traffic.expected(round, count),
            ..Outcome::default()
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.ring.detach()?)
    }
}
