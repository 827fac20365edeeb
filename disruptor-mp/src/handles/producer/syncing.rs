//! How a producer writes its ring to the disk (R17): on request, and, where its program asked for that, each
//! new floor before slots are used again. In the second case, events that were written on request are known
//! to be sound after a power cut.

use std::io;

use super::Producer;
use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, SendError};
use crate::event::Event;
use crate::os::descriptor::lost_locks;
use crate::os::step::Step;
use crate::sync::process::Ordering;

/// What a producer does so that events in a mapped file outlive a power cut. It makes no difference to a ring
/// in shared memory or on the heap, which does not outlive the machine's restart.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, MmapProducer, MmapTransportLayout, SyncPolicy};
///
/// # let files = tempfile::tempdir()?;
/// let layout = MmapTransportLayout::new(files.path(), "orders");
/// let mut tx = MmapProducer::<u64>::builder(&layout, 1024)
///     .with_sync(SyncPolicy::KeepSynced)
///     .build_zeroed_producer()?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(tx.sync()?, 0);                             // from here on event 0 outlives a power cut
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Nothing: after a power cut every unread event is in doubt, and none is delivered.
    #[default]
    Never,
    /// Events that [`Producer::sync`] has written stay known to be sound: after a power cut they are
    /// delivered, and later ones are in doubt. For that the producer waits for the disk whenever it takes
    /// released slots into use again, about eight times a lap.
    KeepSynced,
}

/// What this producer knows of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    policy: SyncPolicy,
    /// The floor that is on the disk.
    floor: Sequence,
    /// Whether a write has failed: after that, a later success does not prove that the earlier data was written.
    has_failed: bool,
}

impl Disk {
    pub(super) fn new(floor: Sequence) -> Self {
        Self {
            policy: SyncPolicy::Never,
            floor,
            has_failed: false,
        }
    }
}

impl<E: Event, B> Producer<E, B> {
    pub(crate) fn set_sync_policy(&mut self, policy: SyncPolicy) {
        self.disk.policy = policy;
    }

    /// Writes everything that was published so far to the disk, with the positions of all consumers and the
    /// ring's name, and returns the last sequence when all of it is there. Does nothing for a ring in shared
    /// memory or on the heap. Takes as long as the disk takes; consumers go on meanwhile.
    ///
    /// After a power cut, what was written is delivered if the producer was built with [`SyncPolicy::KeepSynced`].
    ///
    /// # Errors
    ///
    /// When a write to the disk fails, and at every call after that; in a forked process; and when the
    /// producer's lock is lost.
    ///
    /// # Examples
    ///
    /// See [`SyncPolicy`].
    pub fn sync(&mut self) -> MultiProcessResult<Sequence> {
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        if self.notice_loss() {
            let error = self.segment.io_error(Step::WriteToDisk);
            return Err(error(lost_locks()));
        }
        let last = self.last_published_sequence();
        let written = self.write_to_disk(last);
        written.map_err(self.segment.io_error(Step::WriteToDisk))?;
        Ok(last)
    }

    fn write_to_disk(&mut self, last: Sequence) -> io::Result<()> {
        let region = self.segment.region();
        self.disk.attempt(|| region.sync())?;
        self.disk.floor = self.core.floor();
        if self.disk.policy == SyncPolicy::KeepSynced {
            let line = &self.segment.control().producer;
            line.synced.store(last + 1, Ordering::Relaxed);
            self.disk.attempt(|| region.sync_control())?;
        }
        Ok(())
    }

    /// Refreshes the gate (R5). With a policy other than `Never`, writes a new floor to the disk before slots
    /// are used again (R17).
    pub(super) fn refresh(&mut self, n: usize) -> Result<bool, SendError> {
        if self.is_superseded() {
            return Err(SendError::LockLost);
        }
        if self.disk.policy == SyncPolicy::Never {
            return Ok(self.core.refresh(n));
        }
        let before = self.core.gate();
        let is_there = self.core.refresh(n);
        let floor = self.core.floor();
        if floor > self.disk.floor {
            let region = self.segment.region();
            if let Err(error) = self.disk.attempt(|| region.sync_control()) {
                self.core.withdraw_to(before);
                return Err(SendError::Disk {
                    what: error.to_string(),
                });
            }
            self.disk.floor = floor;
        }
        Ok(is_there)
    }

    /// As [`refresh`](Self::refresh), for calls that never wait: a ring whose disk fails stays full.
    pub(super) fn refresh_or_stay(&mut self, n: usize) -> bool {
        self.refresh(n).unwrap_or_else(|error| {
            // a lost lock was logged when it was noticed
            if error != SendError::LockLost {
                tracing::error!(ring = %self.segment.shown, %error);
            }
            false
        })
    }
}

impl Disk {
    fn attempt(&mut self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.has_failed {
            let text =
                "the disk has failed before: what it has is not known, so start another ring";
            return Err(io::Error::other(text));
        }
        write().inspect_err(|_| self.has_failed = true)
    }
}
