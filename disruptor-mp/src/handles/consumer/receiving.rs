//! Receiving one event: in place, or as a copy.

use super::Consumer;
use crate::Sequence;
use crate::error::RecvError;
use crate::event::Event;
use crate::handles::guards::Lease;
use crate::waiting::deadline::Deadline;

impl<E: Event, B> Consumer<E, B> {
    /// The next event in place, waiting for it until the deadline.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] and [`RecvError::ProducerDead`] after everything published was delivered,
    /// [`RecvError::Timeout`], [`RecvError::Cancelled`], [`RecvError::Forked`], [`RecvError::LockLost`];
    /// [`RecvError::InDoubt`], once, before anything else.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing, RecvError};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// tx.close()?;
    /// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
    /// assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn recv(&mut self, deadline: Deadline) -> Result<Lease<'_, E>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.recv_slowly(deadline);
        }
        Ok(Lease::new(&mut self.core))
    }

    #[cold]
    #[inline(never)]
    fn recv_slowly(&mut self, deadline: Deadline) -> Result<Lease<'_, E>, RecvError> {
        self.wait_for_event(self.habits.strategy, deadline)?;
        Ok(Lease::new(&mut self.core))
    }

    /// The next event in place, if there is one, or the ring's end. Never waits: for event loops. Checks once
    /// in a liveness interval whether the producer is alive, and also when a [`RingSet`](crate::RingSet) or a
    /// descriptor has reported its death.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), except for the timeout.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.try_recv_slowly();
        }
        Ok(Some(Lease::new(&mut self.core)))
    }

    #[cold]
    #[inline(never)]
    fn try_recv_slowly(&mut self) -> Result<Option<Lease<'_, E>>, RecvError> {
        match self.poll_for_news()? {
            true => Ok(Some(Lease::new(&mut self.core))),
            false => Ok(None),
        }
    }

    /// A copy of the next event and its sequence, waiting for the event until the deadline. The event is released at
    /// once. If the producer is not trusted, this is the call to use: what the caller reads does not change any more.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(1)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send_value(7, Deadline::NEVER)?;
    /// let copy = rx.recv_owned(Deadline::NEVER)?;
    /// tx.try_send(|event| *event = 8)?;                      // the only slot is free again
    /// assert_eq!(copy, (0, 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn recv_owned(&mut self, deadline: Deadline) -> Result<(Sequence, E), RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.recv_owned_slowly(deadline);
        }
        Ok(self.take())
    }

    #[cold]
    #[inline(never)]
    fn recv_owned_slowly(&mut self, deadline: Deadline) -> Result<(Sequence, E), RecvError> {
        self.wait_for_event(self.habits.strategy, deadline)?;
        Ok(self.take())
    }

    /// A copy of the next event and its sequence, if there is one, or the ring's end. Never waits; checks what
    /// [`try_recv`](Self::try_recv) checks.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::{Deadline, HeapRing, RecvError};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// assert_eq!(rx.try_recv_owned()?, None);
    /// tx.send_value(7, Deadline::NEVER)?;
    /// assert_eq!(rx.try_recv_owned()?, Some((0, 7)));
    /// tx.close()?;
    /// assert_eq!(rx.try_recv_owned(), Err(RecvError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_recv_owned(&mut self) -> Result<Option<(Sequence, E)>, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            return self.try_recv_owned_slowly();
        }
        Ok(Some(self.take()))
    }

    #[cold]
    #[inline(never)]
    fn try_recv_owned_slowly(&mut self) -> Result<Option<(Sequence, E)>, RecvError> {
        let has_come = self.poll_for_news()?;
        Ok(has_come.then(|| self.take()))
    }

    /// Copies the next event, which the caller has found published, and releases it.
    #[inline(always)]
    pub(super) fn take(&mut self) -> (Sequence, E) {
        let sequence = self.core.next();
        self.core.prefetch_after(sequence);
        // SAFETY: the stamp was seen and the event is not released yet (R3, R7); any bytes are an `E`.
        let event = unsafe { self.core.event(sequence).read() };
        self.core.commit(sequence);
        (sequence, event)
    }

    /// The next event in place, if there is one. It stays the next event. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::Deadline;
    ///
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert_eq!(rx.peek(), Some(&7));
    /// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
    /// assert_eq!(rx.peek(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn peek(&self) -> Option<&E> {
        if self.is_forked() || !self.core.is_ready() {
            return None;
        }
        let event = self.core.event(self.core.next());
        // SAFETY: the stamp was seen, and the gate cannot pass the event before it is released, and a release
        // needs a mutable borrow of this consumer (R3, R7); any bytes are an `E`.
        Some(unsafe { event.as_ref() })
    }

    /// The next event in place if its stamp is there at first sight: nothing else is checked. For the layers above,
    /// which have slow halves of their own.
    #[doc(hidden)]
    #[inline(always)]
    pub fn lease_published(&mut self) -> Option<Lease<'_, E>> {
        if self.is_forked() || !self.core.is_ready() {
            return None;
        }
        Some(Lease::new(&mut self.core))
    }

    /// False if no event is there, the ring has not ended, and no liveness check is pending. Reads no clock, and
    /// checks no token. For the layers above, which poll several rings.
    #[doc(hidden)]
    #[inline(always)]
    pub fn may_have_news(&self) -> bool {
        self.is_forked() || self.core.is_ready() || self.may_have_other_news()
    }

    /// False if no event is there and no doubt is to be told. Checks nothing else: for the layers above, which then
    /// spin or poll other rings before they check [everything](Self::may_have_news).
    #[doc(hidden)]
    #[inline(always)]
    pub fn may_have_event(&self) -> bool {
        self.is_forked() || self.core.is_ready() || self.untold.is_some()
    }

    /// A lease of the next event, which the caller has found published.
    #[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
    pub(crate) fn lease(&mut self) -> Lease<'_, E> {
        debug_assert!(self.core.is_ready());
        Lease::new(&mut self.core)
    }
}
