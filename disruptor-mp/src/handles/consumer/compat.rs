//! Calls for programs that were written against disruptor-mp 0.1: other names, calls that panic where
//! [`Consumer::recv`] returns an error, and calls that have nothing to do any more.

use std::time::Duration;

use super::Consumer;
use crate::Sequence;
use crate::event::Event;
use crate::handles::guards::Lease;
use crate::waiting::AutoWaitStrategy;

/// # Kept for programs written against disruptor-mp 0.1
///
/// These calls panic where [`recv`](Self::recv) and [`recv_owned`](Self::recv_owned) return an error:
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, default_consume_sleep_duration};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// rx.signal_readiness();
/// tx.send_batch(8, Deadline::NEVER, |event, i| *event = i as u64)?;
/// let pause = default_consume_sleep_duration();
/// assert_eq!(rx.consume_next(), (0, 0));
/// assert_eq!(rx.consume_next_with_sleep(pause), (1, 1));
/// assert_eq!(*rx.consume_next_leased(), 2);
/// assert_eq!(*rx.consume_next_leased_with_sleep(pause), 3);
/// assert_eq!(rx.try_consume_next(), Some((4, 4)));
/// assert_eq!(*rx.try_consume_next_leased().expect("published"), 5);
/// assert_eq!(rx.process_next_blocking(|event, _| *event), 6);
/// assert_eq!(rx.process_available_blocking(|event, _, is_last| assert!(*event == 7 && is_last)), 1);
/// assert_eq!(rx.consumer_sequence(), rx.current_sequence());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<E: Event, B> Consumer<E, B> {
    /// [`recv_owned`](Self::recv_owned) without a deadline: waits for as long as it takes, also after the producer
    /// has died, and panics where that call returns another error.
    ///
    /// # Panics
    ///
    /// When the ring is closed and drained, once when events are in doubt, and in a forked process.
    pub fn consume_next(&mut self) -> (Sequence, E) {
        self.consume_next_by(self.habits.strategy)
    }

    /// As [`consume_next`](Self::consume_next), but sleeps for `pause` between two polls. Replaced by
    /// [`recv_owned`](Self::recv_owned) of a consumer that was built with [`AutoWaitStrategy::Sleep`].
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_with_sleep(&mut self, pause: Duration) -> (Sequence, E) {
        self.consume_next_by(AutoWaitStrategy::Sleep(pause))
    }

    fn consume_next_by(&mut self, strategy: AutoWaitStrategy) -> (Sequence, E) {
        loop {
            if let Some(next) = self.try_consume_next() {
                return next;
            }
            self.wait_or_panic(strategy);
        }
    }

    /// [`try_recv_owned`](Self::try_recv_owned) without its errors: at the ring's end, too, it returns nothing.
    ///
    /// # Panics
    ///
    /// In a forked process, and once when events are in doubt ([`RecvError::InDoubt`](crate::RecvError::InDoubt)).
    #[inline(always)]
    pub fn try_consume_next(&mut self) -> Option<(Sequence, E)> {
        if !self.is_ready() {
            if self.untold.is_some() {
                self.panic_in_doubt();
            }
            return None;
        }
        Some(self.take())
    }

    /// [`try_recv`](Self::try_recv) without its errors: at the ring's end, too, it returns nothing.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that made this consumer, and once when events are in doubt
    /// ([`RecvError::InDoubt`](crate::RecvError::InDoubt)).
    #[inline(always)]
    pub fn try_consume_next_leased(&mut self) -> Option<Lease<'_, E>> {
        if self.is_ready() {
            return Some(Lease::new(&mut self.core));
        }
        if self.untold.is_some() {
            self.panic_in_doubt();
        }
        None
    }

    /// [`recv`](Self::recv) without a deadline: waits for as long as it takes, also after the producer has died, and
    /// panics where that call returns another error.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_leased(&mut self) -> Lease<'_, E> {
        if !self.is_ready() {
            self.wait_or_panic(self.habits.strategy);
        }
        Lease::new(&mut self.core)
    }

    /// As [`consume_next_leased`](Self::consume_next_leased), but sleeps for `pause` between two polls. Replaced by
    /// [`recv`](Self::recv) of a consumer that was built with [`AutoWaitStrategy::Sleep`].
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next).
    pub fn consume_next_leased_with_sleep(&mut self, pause: Duration) -> Lease<'_, E> {
        if !self.is_ready() {
            self.wait_or_panic(AutoWaitStrategy::Sleep(pause));
        }
        Lease::new(&mut self.core)
    }

    /// [`process_within`](Self::process_within) without a deadline, which panics where that call returns an error.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next), and with the closure.
    pub fn process_available_blocking<F: FnMut(&E, Sequence, bool)>(&mut self, handle: F) -> usize {
        if !self.is_ready() {
            self.wait_or_panic(self.habits.strategy);
        }
        self.process_ready::<true, _>(|| false, handle)
    }

    /// Waits for one event and handles it in place. [`recv`](Self::recv) replaces it.
    ///
    /// # Panics
    ///
    /// As [`consume_next`](Self::consume_next), and with the closure; in that case the event is delivered again.
    pub fn process_next_blocking<F: FnOnce(&E, Sequence) -> R, R>(&mut self, handle: F) -> R {
        let lease = self.consume_next_leased();
        let result = handle(&lease, lease.sequence());
        lease.commit();
        result
    }

    /// The same as [`current_sequence`](Self::current_sequence).
    #[inline]
    pub fn consumer_sequence(&self) -> Sequence {
        self.current_sequence()
    }

    /// Does nothing: attaching has already signalled that this consumer is ready. The call can be removed. It has
    /// nothing to do with `readiness`, which makes a descriptor for an event loop.
    pub fn signal_readiness(&self) {}

    /// True: the segment of every ring includes coordination. The call can be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let rx = disruptor_mp::HeapRing::<u64>::new(8)?.consumer("reader")?;
    /// assert!(rx.has_coordination_support());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn has_coordination_support(&self) -> bool {
        true
    }

    /// True, whatever the name is: attaching has found the coordination in the ring's own segment. The call
    /// can be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut rx = disruptor_mp::HeapRing::<u64>::new(8)?.consumer("reader")?;
    /// assert!(rx.try_attach_coordination("ticks"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_attach_coordination(&mut self, _base_name: &str) -> bool {
        true
    }
}
