//! How a producer ends its ring (R11, R15): closed, kept or destroyed; or, by a panic, as if it had died.
//!
//! Events for an expected consumer that has not come are kept: before the producer closes the ring, it takes
//! a line for each such id and leaves the line in the state of a consumer that is away. A producer that dies
//! in between leaves a ring that is not closed, so no consumer removes its name.

use super::{Ending, Producer};
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::Event;
use crate::layout::control::{ConsumerId, KEPT, KEPT_UNTIL_DRAINED, NOT_KEPT};
use crate::layout::lock_bytes::{PRODUCER_BYTE, VOUCHED_BYTE};
use crate::os::descriptor::lost_locks;
use crate::os::step::Step;
use crate::protocol::lines::{self, LineError};
use crate::protocol::registered;
use crate::segment::{ATTEMPTS, PAUSE, Segment};
use crate::sync::{Ordering, fence};
use crate::testing::fail::point;

/// What happened to a ring that was closed.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{CloseReport, Deadline, build_shared_single_producer, portable_shm_segment_name, subscriber};
///
/// let name = portable_shm_segment_name("doc");
/// let mut tx = build_shared_single_producer::<u64>(&name, 8)
///     .enable_discovery(1)                               // a consumer is expected
///     .build_producer(|| 0)?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// let report: CloseReport = tx.close()?;                 // and has not come
/// assert_eq!(report.kept_for, ["any consumer"]);
///
/// let mut late = subscriber::<u64>(&name)?;              // no event is lost
/// assert_eq!(*late.recv(Deadline::NEVER)?, 7);
/// # assert!(late.recv(Deadline::NEVER).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// The ids for which the ring and its name are kept: durable consumers with unread events, attached or
    /// away, and expected consumers that have not come. `any consumer` stands for a consumer of any id. The
    /// last of them to drain the ring removes its name. Empty when the name is gone.
    pub kept_for: Vec<String>,
}

impl<E: Event, B> Producer<E, B> {
    /// Closes the ring: consumers drain what is left and see the end. Does the same as dropping the producer,
    /// but returns errors and a report of the consumers for which the ring is kept. Events for expected
    /// consumers that have not come are kept for them.
    ///
    /// # Errors
    ///
    /// When the system refuses to remove the name, or cannot write what is left to the disk. When the program
    /// has closed the descriptor of the producer's lock: the call then changes nothing, as after a death, and
    /// a successor may take over.
    ///
    /// # Examples
    ///
    /// See [`CloseReport`].
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.end(Ending::Close)
    }

    /// Closes the ring and keeps its name and its retained events: a later consumer drains those, and the
    /// next producer continues the sequence.
    ///
    /// # Errors
    ///
    /// When the system fails.
    pub fn close_and_keep(self) -> MultiProcessResult<()> {
        self.end(Ending::Keep).map(drop)
    }

    /// Closes the ring and removes its name, even if events are unread. Attached consumers still drain.
    ///
    /// # Errors
    ///
    /// When the system refuses to remove the name.
    pub fn destroy(self) -> MultiProcessResult<()> {
        self.end(Ending::Destroy).map(drop)
    }

    fn end(mut self, ending: Ending) -> MultiProcessResult<CloseReport> {
        self.ending = ending;
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        self.finish().map_err(self.segment.io_error(Step::EndRing))
    }

    /// Keeps places, closes the ring, removes the name, and only then releases the lock: a party that waits
    /// for the lock finds all of it done.
    fn finish(&mut self) -> std::io::Result<CloseReport> {
        if core::mem::replace(&mut self.has_ended, true) {
            return Ok(CloseReport::default());
        }
        if self.notice_loss() {
            // this producer may not end the ring: every other process counts the ring's producer as dead
            return Err(lost_locks());
        }
        self.counters.settle(self.standing(), false);
        let kept = match self.ending {
            Ending::Close => self.keep_places(),
            Ending::Keep => KEPT,
            Ending::Destroy => NOT_KEPT,
            Ending::AsFound { kept } => kept,
        };
        let control = self.segment.control();
        control.producer.kept.store(kept, Ordering::Relaxed);
        point("close.kept");
        self.core.close();
        point("close.closed");
        // SYNC POINT late: pairs with the fence in `Segment::is_ending_without`.
        step!(EndFence, fence(Ordering::SeqCst));
        let removes = match self.ending {
            Ending::Close | Ending::AsFound { .. } => {
                registered::is_drained(self.segment.control(), false)
            }
            Ending::Keep => false,
            Ending::Destroy => true,
        };
        let removed = if removes {
            self.segment.unlink_if_ours()
        } else {
            let vouched = self.segment.vouch_for_end();
            point("close.synced");
            vouched
        };
        let report = match self.ending {
            Ending::Close => registered::kept_for(self.segment.control()),
            Ending::Keep | Ending::Destroy | Ending::AsFound { .. } => Vec::new(),
        };
        tracing::debug!(ring = %self.segment.shown, last = self.last_published_sequence(), removes, kept_for = ?report, "producer ends");
        point("close.unlinked");
        self.segment.locks().unlock(VOUCHED_BYTE)?;
        self.segment.locks().unlock(PRODUCER_BYTE)?;
        point("close.unlocked");
        removed?;
        // the last consumer to drain may have tried while this producer held the lock
        step!(EndCheck, self.segment.unlink_if_drained(false)?);
        Ok(CloseReport { kept_for: report })
    }

    /// Keeps places for expected consumers that have not come. Returns the value for the ring's `kept` word.
    fn keep_places(&mut self) -> u32 {
        let control = self.segment.control();
        let is_pending = self.core.expectation().is_pending(control);
        if !is_pending || self.core.is_all_reused() {
            return NOT_KEPT;
        }
        let expectation = self.core.expectation();
        let mut kept = match expectation.is_any_missing() && !left_out!(KeepUntilDrained) {
            true => KEPT_UNTIL_DRAINED,
            false => NOT_KEPT,
        };
        for id in expectation.ids() {
            if left_out!(KeepPlace) {
                continue;
            }
            if let Err(error) = keep_place(&self.segment, id) {
                tracing::warn!(ring = %self.segment.shown, consumer = %id.text(), ?error,
                    "could not keep a place for a consumer that has not come: the ring's name stays");
                kept = KEPT;
            }
        }
        kept
    }
}

/// As [`lines::reserve`], but waits up to 20 ms while a process attaches with this id or holds its lock only
/// for a check.
fn keep_place<E: Event>(segment: &Segment<E>, id: &ConsumerId) -> Result<(), LineError> {
    let mut attempts = 0;
    loop {
        match lines::reserve(segment.control(), segment.locks(), id) {
            Err(LineError::AlreadyAttached { .. })
                if lines::position_of(segment.control(), id).is_some() =>
            {
                return Ok(());
            }
            Err(LineError::AlreadyAttached { .. }) if attempts < ATTEMPTS => clock::sleep(PAUSE),
            outcome => return outcome,
        }
        attempts += 1;
    }
}

impl<E: Event, B> Drop for Producer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        if std::thread::panicking() {
            // the ring is left as a death leaves it, but on the heap nobody could read the position any longer
            self.counters.settle(self.standing(), false);
            return;
        }
        if let Err(error) = self.finish() {
            tracing::warn!(ring = %self.segment.shown, %error, "could not end the ring");
        }
    }
}
