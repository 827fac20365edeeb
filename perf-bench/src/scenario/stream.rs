//! One way at full speed: the driver publishes, and the peer reads every event in full.

use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

use myelon::{Consumer, Deadline, Producer};

use super::{Endpoint, Failure, Outcome, in_blocks};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::Clock;
use crate::fault::Round;
use crate::payload::{OfWords, expected, fill, fold};
use crate::spec::{Spec, Work};
use crate::watch::{Patience, spin_until};

/// Waits until the peer has reported `progress` or more.
pub(crate) fn wait_for_progress(arena: &Arena, progress: u64) {
    spin_until(|| arena.progress().load(Acquire) >= progress as i64);
}

/// The driver's end.
pub(crate) struct Sending<const W: usize, E: OfWords<W>, B: Open> {
    ring: Producer<E, B>,
    batch: usize,
    is_called: bool,
}

impl<const W: usize, E: OfWords<W>, B: Open> Sending<W, E, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let (batch, is_called) = match spec.work {
            Work::Stream { batch, .. } => (batch, false),
            Work::StreamCalled => (1, true),
            _ => return Err("not a stream".into()),
        };
        let ring = B::producer(spec, &spec.name)?;
        Ok(Self {
            ring,
            batch,
            is_called,
        })
    }

    fn send_all<const FAULTY: bool>(&mut self, clock: &Clock, round: Round) -> Outcome {
        in_blocks(clock, round.count, |block| {
            if self.is_called {
                // twice: a function with one call site would be compiled for it
                for index in block.step_by(2) {
                    send_one(&mut self.ring, round.sent_key::<FAULTY>(index));
                    send_one(&mut self.ring, round.sent_key::<FAULTY>(index + 1));
                }
            } else if self.batch == 1 {
                for index in block {
                    self.ring
                        .publish(|event| round.fill::<FAULTY, W>(event.words_mut(), index, 0));
                }
            } else {
                for first in block.step_by(self.batch) {
                    self.ring.publish_batch(self.batch, |event, i| {
                        round.fill::<FAULTY, W>(event.words_mut(), first + i as u64, 0)
                    });
                }
            }
        })
    }
}

/// Sends one event, as a function of a larger program does.
#[inline(never)]
pub(crate) fn send_one<const W: usize, E: OfWords<W>, B: Open>(
    ring: &mut Producer<E, B>,
    key: u64,
) {
    ring.send(Deadline::NEVER, |event| fill(event.words_mut(), key))
        .expect("the ring is open");
}

impl<const W: usize, E: OfWords<W>, B: Open> Endpoint for Sending<W, E, B> {
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
        Ok(self.ring.destroy()?)
    }
}

/// The peer's end.
pub(crate) struct Receiving<const W: usize, E: OfWords<W>, B: Open> {
    ring: Consumer<E, B>,
}

impl<const W: usize, E: OfWords<W>, B: Open> Receiving<W, E, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let ring = B::consumer(spec, &spec.name)?;
        Ok(Self { ring })
    }
}

impl<const W: usize, E: OfWords<W>, B: Open> Endpoint for Receiving<W, E, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        arena.meet();
        let mut hash = 0;
        let mut seen = 0;
        let mut patience = Patience::default();
        while seen < round.count {
            let mut burst = hash;
            let events = self
                .ring
                .process_available(|event, _| burst = fold(burst, event.words()));
            hash = burst;
            seen += events as u64;
            if events == 0 {
                patience.pause();
            }
        }
        arena.progress().store(round.number as i64 + 1, Release);
        // Receiving more events than were sent counts as wrong, too.
        let surplus = seen - round.count;
        Outcome {
            hash: hash ^ surplus,
            expected: expected::<W>(round.number, round.count, 0),
            ..Outcome::default()
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.ring.leave()?)
    }
}
