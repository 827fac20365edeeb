//! The guards that lend a slot: [`Claim`] to write it, [`Lease`] to read it (R7).

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::Sequence;
use crate::event::Event;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::publish::ProducerCore;
use crate::testing::fail::point;

/// A slot that only this producer sees until it is published. A claim that is dropped unpublished has no effect.
///
/// A claim consists of three words, and a caller can keep each of them in a register: there is no flag, whose
/// padding would be moved in pieces, and no call that takes the claim's address. A claim that is moved
/// through memory in pieces of another size than it was stored in waits for those stores.
///
/// # Examples
///
/// ```
/// let mut tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
/// let mut slot = tx.try_claim()?;
/// *slot = 7;
/// assert_eq!((slot.sequence(), slot.publish()), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "an event is published by `publish()`"]
pub struct Claim<'a, E: Event> {
    core: &'a mut ProducerCore<E>,
    sequence: Sequence,
    /// The slot's event, or the producer's private one in a ring with observers.
    event: NonNull<E>,
}

impl<'a, E: Event> Claim<'a, E> {
    /// The caller has checked that the slot of `sequence` is free. `event` is the slot's event, or one of the
    /// producer's own that is borrowed for as long as the claim lives (R13).
    #[inline(always)]
    pub(crate) fn new(
        core: &'a mut ProducerCore<E>,
        sequence: Sequence,
        event: NonNull<E>,
    ) -> Self {
        Self {
            core,
            sequence,
            event,
        }
    }

    /// The sequence that the event will have.
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Publishes the event and returns its sequence.
    #[inline(always)]
    pub fn publish(self) -> Sequence {
        if self.event != self.core.event(self.sequence) {
            copy(self.core, self.sequence, self.event);
        }
        self.core.publish_one(self.sequence);
        self.sequence
    }

    /// Lets `write` write the event, and publishes it, after a wait or in a ring with observers. Inlined, so that no
    /// slow half takes the closure.
    #[inline(always)]
    pub(crate) fn write_slowly(mut self, write: impl FnOnce(&mut E)) -> Sequence {
        point("publish.claimed");
        write(&mut self);
        self.publish_slowly()
    }

    #[cold]
    #[inline(never)]
    fn publish_slowly(self) -> Sequence {
        let (core, sequence) = (self.core, self.sequence);
        if self.event == core.event(sequence) {
            core.publish_one(sequence);
            return sequence;
        }
        // SAFETY: the claim borrows the private event as long as it lives.
        core.publish_observed(sequence, unsafe { self.event.cast().as_ref() })
    }
}

/// R13: moves a private event into its slot.
#[cold]
#[inline(never)]
fn copy<E: Event>(core: &ProducerCore<E>, sequence: Sequence, event: NonNull<E>) {
    // SAFETY: the claim borrows the private event as long as it lives.
    let event = unsafe { event.cast::<MaybeUninit<E>>().as_ref() };
    core.write_observed(sequence, event);
}

// SAFETY: the claim points to a slot that its producer alone has claimed (R2), or to the producer's own
// event; an `E` has no pointers, and the core itself may go to another thread.
unsafe impl<E: Event> Send for Claim<'_, E> {}
// SAFETY: as for Send; a shared claim only reads.
unsafe impl<E: Event> Sync for Claim<'_, E> {}

impl<E: Event> Deref for Claim<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        // SAFETY: the slot is claimed by this producer alone (R2), or the event is private; any bytes are an `E`.
        unsafe { self.event.as_ref() }
    }
}

impl<E: Event> DerefMut for Claim<'_, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        // SAFETY: as in `deref`, and the claim is borrowed mutably.
        unsafe { self.event.as_mut() }
    }
}

/// An event, read in place. The slot is not reused before the lease ends.
///
/// Dropping the lease releases the event, except during a panic: then it is delivered again. A lease that is
/// forgotten releases nothing either; the same event is delivered next.
///
/// A lease does not survive a fork: the child must neither read nor drop it, as the ring is not mapped there.
///
/// # Examples
///
/// ```
/// use disruptor_mp::Deadline;
///
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// let lease = rx.recv(Deadline::NEVER)?;
/// assert_eq!((*lease, lease.sequence()), (7, 0));
/// lease.release_uncommitted();                           // it is delivered again
/// rx.recv(Deadline::NEVER)?.commit();
/// assert!(rx.try_recv()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a lease releases its event"]
pub struct Lease<'a, E: Event> {
    core: &'a mut ConsumerCore<E>,
}

impl<'a, E: Event> Lease<'a, E> {
    /// The caller has checked that the next event is published.
    #[inline(always)]
    pub(crate) fn new(core: &'a mut ConsumerCore<E>) -> Self {
        core.prefetch_after(core.next());
        Self { core }
    }

    /// The event's sequence.
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.core.next()
    }

    /// Releases the event, as dropping does, but also while the thread unwinds: a destructor that drains a
    /// ring goes on.
    #[inline]
    pub fn commit(self) {
        // it is not dropped even if this unwinds: otherwise it would have to lie in memory meanwhile
        let mut lease = ManuallyDrop::new(self);
        let next = lease.core.next();
        lease.core.commit(next);
    }

    /// Ends the lease and keeps the event: the next one is delivered, and nothing is released. The event
    /// stays readable through [`Consumer::held`](crate::Consumer::held) until
    /// [`Consumer::release_held`](crate::Consumer::release_held), or until a later event is released. If this
    /// process dies first, the consumer that comes back with its id gets the event again.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(4)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send_batch(2, Deadline::NEVER, |event, i| *event = i as u64)?;
    /// rx.recv(Deadline::NEVER)?.hold();
    /// rx.recv(Deadline::NEVER)?.hold();
    /// assert_eq!((rx.held_count(), rx.held(1), tx.is_consumed(0)), (2, Some(&1), false));
    /// rx.release_held(2);
    /// assert!(tx.is_consumed(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn hold(self) {
        self.core.hold();
        core::mem::forget(self);
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
