//! Calls for programs that were written against disruptor-mp 0.1: other names for calls of [`Producer`].

use std::time::Duration;

use super::Producer;
use crate::Sequence;
use crate::error::SendError;
use crate::event::Event;
use crate::protocol::registered::registered;
use crate::waiting::deadline::Deadline;

impl<E: Event, B> Producer<E, B> {
    /// [`send`](Self::send) with a timeout in place of a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
    /// assert_eq!(tx.publish_with_timeout(Duration::from_millis(5), |event| *event = 7), Ok(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_with_timeout<F: FnOnce(&mut E)>(
        &mut self,
        timeout: Duration,
        write: F,
    ) -> Result<Sequence, SendError> {
        self.send(Deadline::after(timeout), write)
    }

    /// The same as [`publish_batch`](Self::publish_batch), under its older name.
    ///
    /// # Panics
    ///
    /// As [`publish_batch`](Self::publish_batch).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut tx = disruptor_mp::HeapRing::<u64>::new(8)?.producer()?;
    /// assert_eq!(tx.batch_publish(2, |event, i| *event = i as u64), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch_publish<F: FnMut(&mut E, usize)>(&mut self, n: usize, write: F) -> Sequence {
        self.publish_batch(n, write)
    }

    /// How many consumers are registered, attached and away.
    pub fn get_consumer_count(&self) -> usize {
        registered(self.segment.control()).count()
    }
}
