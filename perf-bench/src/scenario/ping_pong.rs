//! A message and its reply on two rings; each is written and read in full.

use myelon::{Consumer, Producer};

use super::{Endpoint, Failure, Outcome};
use crate::arena::Arena;
use crate::backend::Open;
use crate::clock::Clock;
use crate::fault::Round;
use crate::payload::{OfWords, REPLY, Words, expected, fold};
use crate::spec::Spec;
use crate::watch::Patience;

/// The driver's end: sends a request and waits for its reply.
pub(crate) struct Asking<const W: usize, B: Open> {
    spec: Spec,
    requests: Producer<Words<W>, B>,
    replies: Option<Consumer<Words<W>, B>>,
}

impl<const W: usize, B: Open> Asking<W, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            spec: spec.clone(),
            requests: B::producer(spec, &spec.name)?,
            replies: None,
        })
    }

    fn ask_all<const FAULTY: bool>(
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
        let mut hash = 0;
        arena.meet();
        let mut before = clock.ticks();
        for index in 0..round.count {
            self.requests
                .publish(|event| round.fill::<FAULTY, W>(event.words_mut(), index, 0));
            hash = receive(replies, hash);
            let now = clock.ticks();
            trips.push(now.wrapping_sub(before));
            before = now;
        }
        Outcome {
            ticks: trips,
            hash,
            expected: expected::<W>(round.number, round.count, REPLY),
            ..Outcome::default()
        }
    }
}

impl<const W: usize, B: Open> Endpoint for Asking<W, B> {
    fn finish_opening(&mut self) -> Result<(), Failure> {
        self.replies = Some(B::consumer(&self.spec, &self.spec.reply_name())?);
        Ok(())
    }

    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        if round.has_faulty_messages() {
            self.ask_all::<true>(arena, clock, round)
        } else {
            self.ask_all::<false>(arena, clock, round)
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        if let Some(replies) = self.replies {
            replies.leave()?;
        }
        Ok(self.requests.destroy()?)
    }
}

/// The peer's end: answers each request.
pub(crate) struct Answering<const W: usize, B: Open> {
    requests: Consumer<Words<W>, B>,
    replies: Producer<Words<W>, B>,
}

impl<const W: usize, B: Open> Answering<W, B> {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        Ok(Self {
            requests: B::consumer(spec, &spec.name)?,
            replies: B::producer(spec, &spec.reply_name())?,
        })
    }

    fn answer_all<const FAULTY: bool>(&mut self, arena: &mut Arena, round: Round) -> Outcome {
        let mut hash = 0;
        arena.meet();
        for index in 0..round.count {
            hash = receive(&mut self.requests, hash);
            self.replies
                .publish(|event| round.fill::<FAULTY, W>(event.words_mut(), index, REPLY));
        }
        Outcome {
            hash,
            expected: expected::<W>(round.number, round.count, 0),
            ..Outcome::default()
        }
    }
}

impl<const W: usize, B: Open> Endpoint for Answering<W, B> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        if round.has_faulty_messages() {
            self.answer_all::<true>(arena, round)
        } else {
            self.answer_all::<false>(arena, round)
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.requests.leave()?;
        Ok(self.replies.destroy()?)
    }
}

/// Waits for the next event and reads it in its slot. This is a loop and not a closure, so that intermediate
/// results stay in registers.
#[inline(always)]
fn receive<const W: usize, B: Open>(ring: &mut Consumer<Words<W>, B>, hash: u64) -> u64 {
    let mut patience = Patience::default();
    loop {
        if let Some(event) = ring.try_consume_next_leased() {
            return fold(hash, event.words());
        }
        patience.pause();
    }
}
