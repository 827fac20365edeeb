//! Raw events for the chosen scenarios, sent and received by the calls that wait inside the library.

use std::ops::Range;

use myelon::{Consumer, Deadline, Producer};

use super::message_ping_pong::Messages;
use super::{Failure, RING_ENDED};
use crate::backend::Open;
use crate::fault::Round;
use crate::payload::{OfWords, Words, expected, fold};
use crate::spec::Spec;
use crate::watch::stop;

/// Events of `W` words.
pub(crate) struct Events<const W: usize>;

impl<const W: usize, B: Open> Messages<B> for Events<W> {
    type Tx = Producer<Words<W>, B>;
    type Rx = Consumer<Words<W>, B>;

    fn producer(spec: &Spec, name: &str) -> Result<Self::Tx, Failure> {
        Ok(B::waiting_builder(spec, name).build_zeroed_producer()?)
    }

    fn consumer(spec: &Spec, name: &str) -> Result<Self::Rx, Failure> {
        Ok(B::waiting_builder(spec, name).build_consumer()?)
    }

    #[inline(always)]
    fn send<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, index: u64, mark: u64) {
        let sent = tx.send(Deadline::NEVER, |event| {
            round.fill::<FAULTY, W>(event.words_mut(), index, mark);
        });
        if sent.is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn send_batch<const FAULTY: bool>(tx: &mut Self::Tx, round: Round, indices: Range<u64>) {
        let Range { start, end } = indices;
        let count = (end - start) as usize;
        let sent = tx.send_batch(count, Deadline::NEVER, |event, i| {
            round.fill::<FAULTY, W>(event.words_mut(), start + i as u64, 0);
        });
        if sent.is_err() {
            stop(RING_ENDED);
        }
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx, hash: u64, _: u64, indices: Range<u64>, _: u64) -> u64 {
        indices.fold(hash, |hash, _| match rx.recv(Deadline::NEVER) {
            Ok(event) => fold(hash, event.words()),
            Err(_) => stop(RING_ENDED),
        })
    }

    fn expected(_: usize, round: u64, count: u64, mark: u64) -> u64 {
        expected::<W>(round, count, mark)
    }

    fn close(tx: Self::Tx) -> Result<(), Failure> {
        Ok(tx.destroy()?)
    }

    fn detach(rx: Self::Rx) -> Result<(), Failure> {
        Ok(rx.leave()?)
    }
}
