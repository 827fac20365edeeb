//! Publishing: one event, an event by value, many together, or a slot to write.

use core::ptr::NonNull;

use super::Producer;
use crate::Sequence;
use crate::error::{MissingFreeSlots, RingBufferFull, SendError};
use crate::event::Event;
use crate::handles::guards::Claim;
use crate::protocol::observe;
use crate::testing::fail::point;
use crate::waiting::deadline::Deadline;

impl<E: Event, B> Producer<E, B> {
    /// Publishes one event, waiting for a free slot until the deadline.
    ///
    /// The closure gets the slot as the last lap left it, not cleared: write every field, or use
    /// [`send_value`](Self::send_value).
    ///
    /// # Errors
    ///
    /// [`SendError::Timeout`], which says what held the ring, [`SendError::SequenceExhausted`],
    /// [`SendError::Forked`]. In each case nothing was published.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::{Deadline, HeapRing, SendError};
    ///
    /// let ring = HeapRing::<u64>::new(1)?;
    /// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send(Deadline::NEVER, |event| *event = 1)?;
    /// let full = tx.send(Deadline::after(Duration::from_millis(1)), |event| *event = 2);
    /// assert!(full.unwrap_err().to_string().contains("'reader'"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn send<F: FnOnce(&mut E)>(
        &mut self,
        deadline: Deadline,
        write: F,
    ) -> Result<Sequence, SendError> {
        match self.vacant(1) {
            Some(sequence) => Ok(self.core.publish(sequence, write)),
            None => Ok(self.claim_slowly(deadline)?.write_slowly(write)),
        }
    }

    /// A claim after a wait, or in a ring with observers. The caller writes the event: a slow half that took the
    /// closure would have the variables that it refers to in memory, and the caller would store them there before each
    /// event, also where it does not wait (`rfcs/0002`).
    #[cold]
    #[inline(never)]
    fn claim_slowly(&mut self, deadline: Deadline) -> Result<Claim<'_, E>, SendError> {
        let sequence = self.wait_for_space(1, deadline)?;
        Ok(self.claimed_slowly(sequence))
    }

    /// Publishes a whole event by value, waiting for a free slot until the deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(tx.send_value(7, Deadline::NEVER)?, 0);
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn send_value(&mut self, event: E, deadline: Deadline) -> Result<Sequence, SendError> {
        self.send(deadline, |slot| *slot = event)
    }

    /// Publishes `n` events together, waiting until they fit or the deadline passes.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::BatchTooLarge`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let mut tx = HeapRing::<u64>::new(8)?.producer()?;
    /// assert_eq!(tx.send_batch(4, Deadline::NEVER, |event, i| *event = i as u64)?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_batch<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        deadline: Deadline,
        write: F,
    ) -> Result<Sequence, SendError> {
        match self.vacant(n) {
            Some(first) => Ok(self.write_many(first, n, write)),
            None => {
                let first = self.wait_for_space(n, deadline)?;
                Ok(self.write_many_slowly(first, n, write))
            }
        }
    }

    /// Publishes one event if a slot is free. Never waits. The closure gets the slot as [`send`](Self::send)'s does.
    ///
    /// # Errors
    ///
    /// [`RingBufferFull`] when no slot is free; [`blocked_on`](Self::blocked_on) says what holds the ring.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that made this producer.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(1)?;
    /// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(tx.try_send(|event| *event = 1), Ok(0));
    /// assert!(tx.try_send(|event| *event = 2).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_send<F: FnOnce(&mut E)>(&mut self, write: F) -> Result<Sequence, RingBufferFull> {
        match self.vacant(1) {
            Some(sequence) => Ok(self.core.publish(sequence, write)),
            None => Ok(self.try_claim_slowly()?.write_slowly(write)),
        }
    }

    /// Claims the next slot, waiting for it until the deadline. The caller writes through the guard and then
    /// publishes it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// let mut slot = tx.claim(Deadline::NEVER)?;
    /// *slot = 7;
    /// assert_eq!(slot.publish(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn claim(&mut self, deadline: Deadline) -> Result<Claim<'_, E>, SendError> {
        match self.vacant(1) {
            Some(sequence) => Ok(self.claimed(sequence)),
            None => {
                let sequence = self.wait_slowly(deadline)?;
                Ok(self.claimed_slowly(sequence))
            }
        }
    }

    /// Claims the next slot if it is free at first sight: without a refresh of the gate, and never in a ring with
    /// observers. For the layers above, which have slow halves of their own.
    #[doc(hidden)]
    #[inline(always)]
    pub fn claim_vacant(&mut self) -> Option<Claim<'_, E>> {
        let sequence = self.vacant(1)?;
        Some(self.claimed(sequence))
    }

    /// A claim of the slot itself.
    #[inline(always)]
    pub(crate) fn claimed(&mut self, sequence: Sequence) -> Claim<'_, E> {
        let event = self.core.event(sequence);
        Claim::new(&mut self.core, sequence, event)
    }

    #[cold]
    #[inline(never)]
    fn wait_slowly(&mut self, deadline: Deadline) -> Result<Sequence, SendError> {
        self.wait_for_space(1, deadline)
    }

    /// Claims the next slot if it is free. Never waits.
    ///
    /// # Errors
    ///
    /// [`RingBufferFull`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
    /// let mut slot = tx.try_claim()?;
    /// *slot = 7;
    /// slot.publish();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_claim(&mut self) -> Result<Claim<'_, E>, RingBufferFull> {
        match self.vacant(1) {
            Some(sequence) => Ok(self.claimed(sequence)),
            None => self.try_claim_slowly(),
        }
    }

    #[cold]
    #[inline(never)]
    fn try_claim_slowly(&mut self) -> Result<Claim<'_, E>, RingBufferFull> {
        let sequence = self.refill(1).ok_or(RingBufferFull)?;
        Ok(self.claimed_slowly(sequence))
    }

    /// As [`claimed`](Self::claimed); in a ring with observers, of separate memory from which publishing copies the
    /// event to its slot (R13).
    ///
    /// Inlined, so that the compiler can keep the claim in registers: a claim that a call returns is stored in memory.
    #[inline(always)]
    pub(crate) fn claimed_slowly(&mut self, sequence: Sequence) -> Claim<'_, E> {
        let event = match &mut self.scratch {
            Some(scratch) => NonNull::from(&mut **scratch).cast(),
            None => self.core.event(sequence),
        };
        Claim::new(&mut self.core, sequence, event)
    }

    /// Publishes `n` events together if that many slots are free; consumers see all of them or none. Never
    /// waits. The closure gets memory of unspecified content for each event, the lowest index first: write
    /// every field. With `n` = 0 the call does nothing and returns the last published sequence.
    ///
    /// # Errors
    ///
    /// [`MissingFreeSlots`], which says how many slots are free; a batch larger than the ring never fits.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(tx.try_send_batch(4, |event, i| *event = i as u64), Ok(3));
    /// assert_eq!(rx.process_available(|event, sequence| assert_eq!(*event, sequence as u64)), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_send_batch<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        write: F,
    ) -> Result<Sequence, MissingFreeSlots> {
        match self.vacant(n) {
            Some(first) => Ok(self.write_many(first, n, write)),
            None => match self.refill(n) {
                Some(first) => Ok(self.write_many_slowly(first, n, write)),
                None => Err(self.missing(n)),
            },
        }
    }

    #[cold]
    fn missing(&mut self, n: usize) -> MissingFreeSlots {
        MissingFreeSlots {
            requested: n,
            // slots that were released after the refusal are left for the next attempt; after the loss of its
            // lock a producer has none
            available: match self.has_lost {
                true => 0,
                false => self.core.obtainable_slots(n).min(n - 1),
            },
            capacity: self.core.capacity(),
        }
    }

    /// Writes `n` events and publishes them together. The caller has checked that there is space, and that the ring has
    /// no observers.
    #[inline(always)]
    pub(crate) fn write_many<F: FnMut(&mut E, usize)>(
        &mut self,
        first: Sequence,
        n: usize,
        mut write: F,
    ) -> Sequence {
        self.core
            .publish_batch::<false>(first, n, |mut event, index| {
                // SAFETY: as in `ProducerCore::publish`; each slot of the claim is handed out once (R2).
                write(unsafe { event.as_mut() }, index);
            })
    }

    /// As [`write_many`](Self::write_many), after a wait, or in a ring with observers.
    #[cold]
    #[inline(never)]
    pub(crate) fn write_many_slowly<F: FnMut(&mut E, usize)>(
        &mut self,
        first: Sequence,
        n: usize,
        mut write: F,
    ) -> Sequence {
        let Some(scratch) = &mut self.scratch else {
            return self.write_many(first, n, write);
        };
        let view = self.segment.view;
        self.core.publish_batch::<true>(first, n, |slot, index| {
            // SAFETY: zeroed when it was made, and any bytes are an `E` by the contract of `Event`.
            write(unsafe { scratch.assume_init_mut() }, index);
            let sequence = first + index as Sequence;
            observe::write(view.stamp(sequence), sequence, || {
                // SAFETY: the claim is this producer's (R2), and a slot's event starts at a multiple of 8 (R1).
                unsafe { observe::store_words(scratch, slot) };
            });
            point("publish.busy");
        })
    }
}
