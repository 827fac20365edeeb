//! Calls for programs that were written against disruptor-mp 0.1: other names, calls that panic where
//! [`Consumer::recv`] returns an error, and calls that have nothing to do any more.

use std::time::Duration;

use super::Consumer;
use crate::Sequence;
use crate::event::Event;
use crate::handles::guards::Lease;
use crate::waiting::AutoWaitStrategy;

impl<E: Event, B> Consumer<E, B> {
    /// A copy of the next event. Waits for it for as long as it takes, also after the producer has died.
    /// [`recv`](Self::recv) returns errors instead.
    ///
    /// # Panics
    ///
    /// When the ring is closed and drained, once when events are in doubt, and in a forked process.
    pub fn consume_next(&mut self) -> (Sequence, E) {
        self.consume_next_by(self.habits.strategy)
    }

    /// As [`consume_next`](Self::consume_next), but sleeps for `pause` between two polls.
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

    /// The next event in place, waiting for it for as long as it takes.
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

    /// As [`consume_next_leased`](Self::consume_next_leased), but sleeps for `pause` between two polls.
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

    /// As [`process_available`](Self::process_available), but waits for the first event and tells the closure
    /// of each event whether it is the last of this call.
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

    /// Waits for one event and handles it in place.
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
}

/// Kept for programs written against disruptor-mp 0.1.
impl<E: Event, B> Consumer<E, B> {
    /// Does nothing: attaching has already signalled that this consumer is ready. The call can be removed.
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
