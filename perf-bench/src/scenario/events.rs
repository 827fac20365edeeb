//! Raw events for the chosen scenarios, sent and received by the calls that wait inside the library.

use std::ops::Range;

use myelon::{Consumer, Deadline, Producer};

use super::beside::{self, Counted};
use super::message_ping_pong::{Messages, Numbered};
use super::{Failure, RING_ENDED};
use crate::backend::Open;
use crate::fault::Round;
use crate::payload::{OfWords, Words, expected, fold, is_up_to, key_of};
use crate::spec::Spec;
use crate::watch::stop;

/// Events of `W` words.
pub(crate) struct Events<const W: usize>;

pub(crate) struct EventsTx<const W: usize, B> {
    ring: Producer<Words<W>, B>,
    is_managed: bool,
    counted: Counted,
}

pub(crate) struct EventsRx<const W: usize, B> {
    ring: Consumer<Words<W>, B>,
    counted: Counted,
}

impl<const W: usize, B: Open> Messages<B> for Events<W> {
    type Tx = EventsTx<W, B>;
    type Rx = EventsRx<W, B>;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        let mut ring = B::waiting_builder(spec, name).build_zeroed_producer()?;
        let liveness = beside::liveness(spec);
        let is_managed = liveness.is_some();
        if let Some(liveness) = liveness {
            ring.enable_required_consumer_liveness(liveness);
        }
        let counted = Counted::producer(spec, name, |file| ring.attach_counters(file))?;
        Ok(EventsTx {
            ring,
            is_managed,
            counted,
        })
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        let builder = beside::named(B::waiting_builder(spec, name), spec);
        let mut ring = builder.build_consumer()?;
        let counted = Counted::consumer(spec, name, |file| ring.attach_counters(file))?;
        Ok(EventsRx { ring, counted })
    }

    #[inline(always)]
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64) {
        let write = |event: &mut Words<W>| {
            round.fill::<FAULTY, W>(event.words_mut(), index, mark);
        };
        let is_sent = match tx.is_managed {
            false => tx.ring.send(Deadline::NEVER, write).is_ok(),
            true => tx.ring.publish_managed(write).is_ok(),
        };
        if !is_sent {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn send_batch<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, indices: Range<u64>) {
        let Range { start, end } = indices;
        let count = (end - start) as usize;
        let sent = tx.ring.send_batch(count, Deadline::NEVER, |event, i| {
            round.fill::<FAULTY, W>(event.words_mut(), start + i as u64, 0);
        });
        if sent.is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx, hash: u64, _: u64, indices: Range<u64>, _: u64) -> u64 {
        indices.fold(hash, |hash, _| match rx.ring.recv(Deadline::NEVER) {
            Ok(event) => fold(hash, event.words()),
            Err(_) => stop(RING_ENDED),
        })
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<W>(round, count, mark)
    }

    fn close(tx: Self::Tx) -> Result<(), Failure> {
        tx.counted.check()?;
        Ok(tx.ring.destroy()?)
    }

    fn detach(rx: Self::Rx) -> Result<(), Failure> {
        rx.counted.check()?;
        Ok(rx.ring.leave()?)
    }
}

impl<const W: usize, B: Open> Numbered<B> for Events<W> {
    fn receive_any(rx: &mut Self::Rx, round: u64) -> Option<u64> {
        match rx.ring.recv(Deadline::NEVER) {
            Ok(event) => key_of(event.words()).filter(|&key| is_up_to(round, key)),
            Err(_) => stop(RING_ENDED),
        }
    }

    /// All events that are there.
    fn receive_burst(rx: &mut Self::Rx, mut hash: u64, _: u64, _: Range<u64>) -> (u64, u64) {
        let burst = rx.ring.process_within(Deadline::NEVER, |event, _, _| {
            hash = fold(hash, event.words());
        });
        let count = burst.unwrap_or_else(|_| stop(RING_ENDED));
        (hash, count as u64)
    }
}
