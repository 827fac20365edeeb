//! The guards that lend a slot: [`Claim`] to write it, [`Lease`] to read it (R7).

use core::ops::{Deref, DerefMut};

use crate::protocol::consume::ConsumerCore;
use crate::protocol::publish::ProducerCore;
use crate::{Event, Sequence};

/// A slot that only this producer sees, until it is published. Dropped unpublished, it is as if never claimed.
#[derive(Debug)]
#[must_use = "an event is published by `publish()`"]
pub struct Claim<'a, E: Event> {
    core: &'a mut ProducerCore<E>,
    sequence: Sequence,
}

impl<'a, E: Event> Claim<'a, E> {
    /// The caller has seen that the slot of `sequence` is free.
    #[inline(always)]
    pub(crate) fn new(core: &'a mut ProducerCore<E>, sequence: Sequence) -> Self {
        Self { core, sequence }
    }

    /// Publishes the event and returns its sequence.
    #[inline]
    pub fn publish(self) -> Sequence {
        self.core.publish_one(self.sequence);
        self.sequence
    }
}

impl<E: Event> Deref for Claim<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        let event = self.core.event(self.sequence);
        // SAFETY: the slot is claimed by this producer alone (R2); any bytes are an `E`.
        unsafe { event.as_ref() }
    }
}

impl<E: Event> DerefMut for Claim<'_, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        let mut event = self.core.event(self.sequence);
        // SAFETY: as in `deref`, and the claim is borrowed mutably.
        unsafe { event.as_mut() }
    }
}

/// An event, read in place. The slot is not reused before the lease ends.
///
/// Dropping the lease releases the event, except during a panic: then it is delivered again. A lease that is
/// forgotten releases nothing either; the same event is delivered next.
///
/// A lease does not survive a fork: the child must neither read nor drop it, as the ring is not mapped there.
#[derive(Debug)]
#[must_use = "dropping a lease releases its event"]
pub struct Lease<'a, E: Event> {
    core: &'a mut ConsumerCore<E>,
}

impl<'a, E: Event> Lease<'a, E> {
    /// The caller has seen that the next event is published.
    #[inline(always)]
    pub(crate) fn new(core: &'a mut ConsumerCore<E>) -> Self {
        core.prefetch_after(core.next());
        if left_out!(LeaseHolds) {
            core.release_ahead();
        }
        Self { core }
    }

    /// The event's sequence.
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.core.next()
    }

    /// Releases the event, as dropping does.
    #[inline]
    pub fn commit(self) {
        drop(self);
    }

    /// Ends the lease without releasing the event: it is delivered again.
    #[inline]
    pub fn release_uncommitted(self) {
        core::mem::forget(self);
    }
}

impl<E: Event> Deref for Lease<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        let event = self.core.event(self.core.next());
        // SAFETY: the stamp was seen, and the gate cannot pass an event that this consumer has not released
        // (R3, R7); any bytes are an `E`.
        unsafe { event.as_ref() }
    }
}

impl<E: Event> Drop for Lease<'_, E> {
    #[inline]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.core.commit(self.core.next());
        }
    }
}
