//! The two ends of a ring of a chosen layer, backend and size, for scenarios that need more of them than rounds of a
//! fixed number of messages.

use std::ops::Range;

use super::Failure;
use super::message_ping_pong::{Messages, Numbered};
use crate::backend::Open;
use crate::fault::Round;
use crate::spec::Spec;

/// The sending end.
pub(crate) trait Sender {
    /// Sends these messages of a round.
    fn send(&mut self, round: Round, indices: Range<u64>);

    /// Closes the ring, and removes its name.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// The receiving end.
pub(crate) trait Receiver {
    /// Waits for these messages of `round`, and folds them into `hash`.
    fn receive(&mut self, hash: u64, round: u64, indices: Range<u64>) -> u64;

    /// Waits for messages of `round` and folds them into `hash`: for these, or for one burst, if there are bursts.
    /// Returns the hash and the number of messages.
    fn receive_burst(&mut self, hash: u64, round: u64, indices: Range<u64>) -> (u64, u64);

    /// The hash of the first `count` messages of `round`.
    fn expected(&self, round: u64, count: u64) -> u64;

    /// Waits for the next message of `round` or of an earlier one; returns its key, or `None` if it is not whole.
    fn receive_any(&mut self, round: u64) -> Option<u64>;

    fn detach(self: Box<Self>) -> Result<(), Failure>;
}

struct Sending<M: Messages<B>, B: Open>(M::Tx);

/// Creates the ring.
pub(super) fn sender<M: Messages<B>, B: Open>(spec: &Spec) -> Result<Box<dyn Sender>, Failure> {
    let ring = M::producer(spec, &spec.name)?;
    Ok(Box::new(Sending::<M, B>(ring)))
}

impl<M: Messages<B>, B: Open> Sender for Sending<M, B> {
    fn send(&mut self, round: Round, indices: Range<u64>) {
        if round.has_faulty_messages() {
            for index in indices {
                M::send::<true>(&mut self.0, round, index, 0);
            }
        } else {
            for index in indices {
                M::send::<false>(&mut self.0, round, index, 0);
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        M::close(self.0)
    }
}

struct Receiving<M: Messages<B>, B: Open> {
    ring: M::Rx,
    size_bytes: usize,
}

/// Attaches to the ring.
pub(super) fn receiver<M: Numbered<B>, B: Open>(spec: &Spec) -> Result<Box<dyn Receiver>, Failure> {
    Ok(Box::new(Receiving::<M, B> {
        ring: M::consumer(spec, &spec.name)?,
        size_bytes: spec.size_bytes,
    }))
}

impl<M: Numbered<B>, B: Open> Receiver for Receiving<M, B> {
    fn receive(&mut self, hash: u64, round: u64, indices: Range<u64>) -> u64 {
        M::receive(&mut self.ring, hash, round, indices, 0)
    }

    fn receive_burst(&mut self, hash: u64, round: u64, indices: Range<u64>) -> (u64, u64) {
        M::receive_burst(&mut self.ring, hash, round, indices)
    }

    fn expected(&self, round: u64, count: u64) -> u64 {
        M::expected(self.size_bytes, round, count, 0)
    }

    fn receive_any(&mut self, round: u64) -> Option<u64> {
        M::receive_any(&mut self.ring, round)
    }

    fn detach(self: Box<Self>) -> Result<(), Failure> {
        M::detach(self.ring)
    }
}
