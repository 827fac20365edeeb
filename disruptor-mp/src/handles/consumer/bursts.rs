//! Events that a consumer handles in place, many in one call, and when it releases them (R7).

use super::Consumer;
use crate::Sequence;
use crate::error::RecvError;
use crate::event::Event;
use crate::protocol::consume::ConsumerCore;
use crate::waiting::deadline::Deadline;

impl<E: Event, B> Consumer<E, B> {
    /// Handles the events that are there, at most one ring's worth, and returns how many. Never waits.
    ///
    /// Events are released together when the call ends, and within the call at every eighth of the ring: a
    /// consumer that dies in the closure sees at most that many again. If the closure panics, all events
    /// before the one at hand are released. While the producer is blocked and watches its required consumers,
    /// each event is released by itself.
    ///
    /// # Panics
    ///
    /// In a forked process, once when events are in doubt ([`RecvError::InDoubt`]), and with the closure.
    #[inline]
    pub fn process_available<F: FnMut(&E, Sequence)>(&mut self, mut handle: F) -> usize {
        if !self.is_ready() {
            if self.untold.is_some() {
                self.panic_in_doubt();
            }
            return 0;
        }
        self.process_ready::<false, _>(|| false, |event, sequence, _| handle(event, sequence))
    }

    /// Waits for events until the deadline and handles those that are there; the flag is true for the last of them.
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
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
    /// tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
    /// let mut seen = Vec::new();
    /// rx.process_within(Deadline::NEVER, |event, _, is_last| seen.push((*event, is_last)))?;
    /// assert_eq!(seen, [(0, false), (1, false), (2, true)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_within<F: FnMut(&E, Sequence, bool)>(
        &mut self,
        deadline: Deadline,
        handle: F,
    ) -> Result<usize, RecvError> {
        self.process_until(deadline, || false, handle)
    }

    /// As [`process_within`](Self::process_within), but if `is_over` is true before an event is handled, that
    /// event is the last.
    pub(crate) fn process_until<F: FnMut(&E, Sequence, bool)>(
        &mut self,
        deadline: Deadline,
        is_over: impl Fn() -> bool,
        handle: F,
    ) -> Result<usize, RecvError> {
        if self.is_forked() || !self.core.is_ready() {
            self.wait_for_event(self.habits.strategy, deadline)?;
        }
        Ok(self.process_ready::<true, _>(is_over, handle))
    }

    /// Handles ready events; at least one is ready. With `TELLS_LAST` the closure learns whether the event
    /// is the last, so the next stamp is polled before each event is handled; if `is_over` is true, the event at
    /// hand is the last. Without it the stamp is polled afterwards: by then the producer has more likely
    /// finished the cache line, which is then not taken from it half written.
    #[inline(always)]
    pub(super) fn process_ready<const TELLS_LAST: bool, F>(
        &mut self,
        is_over: impl Fn() -> bool,
        mut handle: F,
    ) -> usize
    where
        F: FnMut(&E, Sequence, bool),
    {
        let first = self.core.next();
        let last_of_call = first + self.core.capacity() as i64 - 1;
        let commit_every = (self.core.capacity() as i64 / 8).max(1);
        let mut burst = Burst {
            core: &mut self.core,
            done: first - 1,
        };
        let mut commit_at = first + commit_every - 1;
        loop {
            let sequence = burst.done + 1;
            let is_last = TELLS_LAST
                && (sequence == last_of_call
                    || is_over()
                    || !burst.core.is_published(sequence + 1));
            burst.core.prefetch_after(sequence);
            // SAFETY: the stamp of `sequence` was seen, and it is not released before the burst says so (R3, R7).
            let event = unsafe { burst.core.event(sequence).as_ref() };
            handle(event, sequence, is_last);
            burst.done = sequence;
            if sequence == commit_at || burst.core.is_watched() {
                if sequence == last_of_call {
                    break;
                }
                burst.core.commit(sequence);
                // events that are released one by one move this point, which must not pass the last event of the call
                commit_at = (sequence + commit_every).min(last_of_call);
            }
            if is_last || (!TELLS_LAST && !burst.core.is_published(sequence + 1)) {
                break;
            }
        }
        let done = burst.done;
        core::mem::forget(burst);
        self.core.commit(done);
        (done + 1 - first) as usize
    }
}

/// Releases the handled events if the closure panics.
struct Burst<'a, E: Event> {
    core: &'a mut ConsumerCore<E>,
    done: Sequence,
}

impl<E: Event> Drop for Burst<'_, E> {
    #[cold]
    fn drop(&mut self) {
        // if nothing was handled since the last release, a commit would release events that are held
        if self.done >= self.core.next() {
            self.core.commit(self.done);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::open::simple::HeapRing;
    use crate::sync::process::Ordering;

    #[test]
    fn a_burst_that_was_watched_for_a_while_ends_after_one_ring() {
        const CAPACITY: usize = 64;
        for watched in [0, 3, 7, 8, 30, CAPACITY - 1] {
            let ring = HeapRing::<u64>::new(CAPACITY).expect("a ring");
            let mut tx = ring.producer().expect("a producer");
            let mut rx = ring.consumer("reader").expect("a consumer");
            let view = rx.segment.view;
            let is_watching = &view.control().waiters.is_watching;
            tx.publish_batch(CAPACITY, |_, _| {});
            let mut handled = 0;
            let count = rx.process_available(|_, _| {
                is_watching.store(u32::from(handled == watched), Ordering::Relaxed);
                handled += 1;
                assert!(handled <= CAPACITY, "{watched}");
                while tx.try_publish(|_| {}).is_ok() {}
            });
            assert_eq!((count, handled), (CAPACITY, CAPACITY), "{watched}");
        }
    }
}
