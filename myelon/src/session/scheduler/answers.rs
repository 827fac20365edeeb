//! The places that a scheduler has on its workers' rings.

use core::sync::atomic::{Ordering, fence};
use std::time::Duration;

use disruptor_mp::{
    CountersFile, Deadline, MultiProcessError, MultiProcessResult, RecvError, perform_sleep_wait,
};

use super::super::head::{RequestId, SchedulerNote};
use super::super::received::Dropped;
use super::super::{FOR_A_MOMENT, Places, SCHEDULER_ID, show_later};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};
use crate::typed_transport::TypedConsumer;

/// The scheduler's places on its workers' rings. Dropping this gives the places up. If a panic drops it, the
/// places are kept for a successor, as after a death.
#[derive(Debug)]
pub(super) struct Answers<F: FramedTransportFrame, B> {
    /// One entry for each worker: `None` until its ring is attached.
    pub(super) rings: Vec<Option<TypedConsumer<F, B>>>,
    pub(super) places: Places<F, B>,
    /// What was dropped of each.
    pub(super) dropped: Vec<Dropped>,
    /// Where their counters are shown.
    pub(super) counters: Option<CountersFile>,
    /// The process that owns the places; a forked child must not give them up.
    pub(super) process: u32,
    /// How many schedulers the session has had before this one.
    pub(super) epoch: u64,
    /// The number that the next request would have, once this scheduler shuts the session down.
    pub(super) closing: Option<RequestId>,
}

impl<F: FramedTransportFrame, B> Answers<F, B> {
    /// Lets the workers know that no more requests come.
    pub(super) fn say_closing(&mut self, next: RequestId) {
        self.closing = Some(next);
        let note = self.note();
        // a worker that reads the note finds every request that was sent
        fence(Ordering::Release);
        for ring in self.rings.iter_mut().flatten() {
            ring.raw().as_ring().set_note(note);
        }
    }

    /// What workers read on their rings.
    fn note(&self) -> u64 {
        SchedulerNote::new(self.rings.len(), self.epoch, self.closing).to_word()
    }

    /// Attaches to the ring of the worker `rank`, if it exists.
    pub(super) fn attach(&mut self, rank: usize) -> TransportResult<()> {
        if self.process != std::process::id() {
            return Err(RecvError::Forked.into());
        }
        if !self.places.has_responses(rank) {
            return Ok(());
        }
        let builder = self.places.responses(rank).with_consumer_id(SCHEDULER_ID);
        self.rings[rank] = match TypedConsumer::from_builder(builder.skip_absence()) {
            Ok(mut attached) => {
                // also in place of what a predecessor has set
                attached.raw().as_ring().set_note(self.note());
                Some(attached)
            }
            Err(TransportError::Ring(
                MultiProcessError::NotFound { .. }
                // a worker that is ending holds the scheduler's place for a moment (R15)
                | MultiProcessError::ConsumerAlreadyAttached { .. },
            )) => None,
            Err(error) => return Err(error),
        };
        if let Some(attached) = &mut self.rings[rank] {
            let dropped = self.dropped[rank];
            dropped.show_malformed(attached);
            dropped.show_unknown(attached);
            show_later(
                self.counters.as_ref(),
                &self.places.config.session,
                |file| attached.attach_counters(file),
            );
        }
        Ok(())
    }

    /// The ranks of the workers whose rings are not attached.
    pub(super) fn missing(&self) -> Vec<usize> {
        let ranks = 0..self.rings.len();
        ranks.filter(|rank| self.rings[*rank].is_none()).collect()
    }

    /// Gives up the answers that were not received, including those of workers that have started since the last
    /// check. If a worker has gone, its ring's name is removed, too. Returns the first error.
    pub(super) fn give_up(&mut self) -> MultiProcessResult<()> {
        let deadline = Deadline::after(FOR_A_MOMENT);
        for rank in self.missing() {
            // a ring that does not fit does not belong to this session; a worker that is ending holds the scheduler's
            // place for a moment
            while let (Ok(()), None) = (self.attach(rank), &self.rings[rank])
                && self.places.has_responses(rank)
                && !deadline.has_passed()
            {
                perform_sleep_wait(Duration::from_millis(1));
            }
        }
        let attached = self.rings.drain(..).flatten();
        attached
            .map(TypedConsumer::leave)
            .fold(Ok(()), MultiProcessResult::and)
    }
}

impl<F: FramedTransportFrame, B> Drop for Answers<F, B> {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.process == std::process::id() {
            // a drop cannot return the error; `close()` does
            let _ = self.give_up();
        }
    }
}
