//! Calls for programs that were written against disruptor-mp 0.1: calls that panic where [`Producer::send`] returns an
//! error, and other names for calls of [`Producer`].

use std::time::Duration;

use super::Producer;
use crate::Sequence;
use crate::error::{MissingFreeSlots, MultiProcessResult, RingBufferFull, SendError};
use crate::event::Event;
use crate::handles::guards::Claim;
use crate::protocol::registered::registered;
use crate::waiting::AutoWaitStrategy;
use crate::waiting::deadline::Deadline;

/// # Kept for programs written against disruptor-mp 0.1
///
/// Each call beside the one that replaces it:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{AutoWaitStrategy, Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, rx) = (ring.producer()?, ring.consumer("reader")?);
/// let timeout = Duration::from_millis(5);
/// tx.publish(|event| *event = 0);
/// tx.send(Deadline::NEVER, |event| *event = 1)?;
/// tx.publish_with_timeout(timeout, |event| *event = 2)?;
/// tx.send(Deadline::after(timeout), |event| *event = 3)?;
/// tx.publish_value(4);
/// tx.send_value(5, Deadline::NEVER)?;
/// tx.try_publish(|event| *event = 6)?;
/// tx.try_send(|event| *event = 7)?;
/// assert!(!tx.wait_until_consumed_with_strategy(7, timeout, AutoWaitStrategy::Block));
/// assert!(!tx.wait_until_consumed(7, Deadline::after(timeout))?);
/// assert!(tx.wait_for_consumer_id("reader", timeout));
/// assert!(tx.wait_for_consumer("reader", Deadline::after(timeout))?);
/// # drop(rx);
/// # tx.remove_consumer("reader")?;
/// tx.publish_batch(2, |event, i| *event = i as u64);
/// tx.batch_publish(2, |event, i| *event = i as u64);
/// tx.send_batch(2, Deadline::NEVER, |event, i| *event = i as u64)?;
/// tx.try_batch_publish(2, |event, i| *event = i as u64)?;
/// tx.try_send_batch(2, |event, i| *event = i as u64)?;
/// assert_eq!(tx.get_consumer_count(), tx.ring_state().consumers.len());
/// assert_eq!(tx.discover_consumer_id("reader"), tx.notice_consumer_id("reader"));
/// tx.keep()?;                                            // or close_and_keep()
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<E: Event, B> Producer<E, B> {
    /// [`send`](Self::send) without a deadline, which panics where that call returns an error.
    ///
    /// # Panics
    ///
    /// When sequences are exhausted, in a forked process, and when the program has closed the descriptor of
    /// the producer's lock ([`SendError::LockLost`]).
    #[inline(always)]
    pub fn publish<F: FnOnce(&mut E)>(&mut self, write: F) {
        match self.vacant(1) {
            Some(sequence) => {
                self.core.publish(sequence, write);
            }
            None => {
                self.claim_or_panic_slowly().write_slowly(write);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_or_panic_slowly(&mut self) -> Claim<'_, E> {
        let sequence = self.wait_or_panic(1);
        self.claimed_slowly(sequence)
    }

    /// [`send_value`](Self::send_value) without a deadline, which panics where that call returns an error.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish).
    #[inline(always)]
    pub fn publish_value(&mut self, event: E) {
        self.publish(|slot| *slot = event);
    }

    /// [`send_batch`](Self::send_batch) without a deadline, which panics where that call returns an error.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish), and when the batch is larger than the ring.
    #[inline]
    pub fn publish_batch<F: FnMut(&mut E, usize)>(&mut self, n: usize, write: F) -> Sequence {
        match self.vacant(n) {
            Some(first) => self.write_many(first, n, write),
            None => {
                let first = self.wait_or_panic(n);
                self.write_many_slowly(first, n, write)
            }
        }
    }

    /// The same as [`publish_batch`](Self::publish_batch). [`send_batch`](Self::send_batch) replaces both.
    ///
    /// # Panics
    ///
    /// As [`publish_batch`](Self::publish_batch).
    pub fn batch_publish<F: FnMut(&mut E, usize)>(&mut self, n: usize, write: F) -> Sequence {
        self.publish_batch(n, write)
    }

    /// The same as [`try_send`](Self::try_send).
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline(always)]
    pub fn try_publish<F: FnOnce(&mut E)>(&mut self, write: F) -> Result<Sequence, RingBufferFull> {
        self.try_send(write)
    }

    /// The same as [`try_send_batch`](Self::try_send_batch).
    ///
    /// # Errors
    ///
    /// As [`try_send_batch`](Self::try_send_batch).
    #[inline]
    pub fn try_batch_publish<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        write: F,
    ) -> Result<Sequence, MissingFreeSlots> {
        self.try_send_batch(n, write)
    }

    /// [`send`](Self::send) with a timeout in place of a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn publish_with_timeout<F: FnOnce(&mut E)>(
        &mut self,
        timeout: Duration,
        write: F,
    ) -> Result<Sequence, SendError> {
        self.send(Deadline::after(timeout), write)
    }

    /// [`wait_until_consumed`](Self::wait_until_consumed) with a strategy of its own and a timeout, which returns false
    /// where that call returns an error.
    ///
    /// # Panics
    ///
    /// In a forked process.
    pub fn wait_until_consumed_with_strategy(
        &mut self,
        sequence: Sequence,
        timeout: Duration,
        strategy: AutoWaitStrategy,
    ) -> bool {
        match self.wait_until_consumed_by(strategy, sequence, Deadline::after(timeout)) {
            Ok(is_consumed) => is_consumed,
            Err(SendError::Forked) => panic!("{}", SendError::Forked),
            Err(_) => false,
        }
    }

    /// [`wait_for_consumer`](Self::wait_for_consumer) with a timeout in place of a deadline, which returns false where
    /// that call returns an error.
    pub fn wait_for_consumer_id(&mut self, id: &str, timeout: Duration) -> bool {
        self.wait_for_consumer(id, Deadline::after(timeout))
            .unwrap_or(false)
    }

    /// The same as [`notice_consumer_id`](Self::notice_consumer_id).
    pub fn discover_consumer_id(&mut self, id: &str) -> bool {
        self.notice_consumer_id(id)
    }

    /// How many consumers are registered, attached and away: the number of consumers in
    /// [`ring_state`](Self::ring_state).
    pub fn get_consumer_count(&self) -> usize {
        registered(self.segment.control()).count()
    }

    /// [`close_and_keep`](Self::close_and_keep), which says that the ring is closed, too.
    ///
    /// # Errors
    ///
    /// As [`close_and_keep`](Self::close_and_keep).
    pub fn keep(self) -> MultiProcessResult<()> {
        self.close_and_keep()
    }
}
