//! How a consumer ends (R15, R16): it goes away and keeps its position, or it leaves for good. The last consumer to
//! drain a closed ring removes the ring's name.

use super::Consumer;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::Event;
use crate::layout::lock_bytes::id_byte;
use crate::os::descriptor::lost_locks;
use crate::os::step::{Failed, Step};
use crate::protocol::lines;

impl<E: Event, B> Consumer<E, B> {
    /// Detaches, as dropping does, but returns errors. A durable consumer keeps its position.
    ///
    /// # Errors
    ///
    /// When the system fails, and in a forked process. [`MultiProcessError::Io`] where this consumer was the
    /// last to drain a closed ring and may not remove its name, for example that of another user's ring in a
    /// sticky directory: the consumer is detached all the same, and the file stays. When the program has
    /// closed the descriptor of this consumer's lock: its line is then left as after a death.
    pub fn detach(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(self.refusal_to(Step::Detach));
        }
        let finished = self.finish();
        finished.map_err(|failed| self.segment.refused(failed))
    }

    /// Detaches for good: a durable consumer also gives up its position and its unread events. The last
    /// durable consumer that needed the name of a closed ring removes that name.
    ///
    /// # Errors
    ///
    /// As [`detach`](Self::detach).
    pub fn leave(mut self) -> MultiProcessResult<()> {
        if self.is_forked() {
            return Err(self.refusal_to(Step::Detach));
        }
        let was_durable = core::mem::replace(&mut self.is_durable, false);
        let left = self.finish();
        if was_durable {
            let _ = self.segment.locks().unlock(id_byte(&self.id.text()));
        }
        // the unread events of this consumer no longer keep the name of a closed ring
        let left = left.and_then(|()| {
            let unlinked = self.segment.unlink_if_drained(false);
            unlinked.map_err(|error| Step::RemoveName.failed(error))
        });
        left.map_err(|failed| self.segment.refused(failed))
    }

    /// The error for ending a consumer whose live word is zero.
    fn refusal_to(&self, step: Step) -> MultiProcessError {
        match self.has_lost {
            true => self.segment.io_error(step)(lost_locks()),
            false => MultiProcessError::Forked,
        }
    }

    fn finish(&mut self) -> Result<(), Failed> {
        if core::mem::replace(&mut self.is_detached, true) {
            return Ok(());
        }
        if self.segment.has_lost_locks() {
            // other processes count it as dead and may have given its line to another consumer
            return Err(Step::Detach.failed(lost_locks()));
        }
        let standing = self.standing();
        self.counters.sample_lag(standing);
        match self.is_durable {
            // readers find the line by the path of the ring's file
            true => {
                let has_file = self.segment.region().path().is_some();
                self.counters.settle(standing, has_file);
            }
            false => self.counters.settle(standing.without_lag(), false),
        }
        let (control, locks) = (self.core.control(), self.segment.locks());
        let left = if self.is_durable {
            lines::go_away(control, locks, self.core.line(), &self.id)
        } else {
            lines::leave(control, locks, self.core.line())
        };
        let left = left.map_err(|error| Step::Detach.failed(error));
        match self.core.is_at_end() {
            true => left.and(self.unlink_if_last()),
            false => left,
        }
    }

    /// Removes the name of a closed ring if this consumer is the last to drain it (R15). This consumer is at
    /// the ring's end; events that it holds are not released yet.
    pub(super) fn unlink_if_last(&self) -> Result<(), Failed> {
        let has_drained = self.core.held().is_empty();
        let unlinked = self.segment.unlink_if_drained(has_drained);
        unlinked.map_err(|error| Step::RemoveName.failed(error))
    }
}

impl<E: Event, B> Drop for Consumer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        if let Err(failed) = self.finish() {
            let error = self.segment.refused(failed);
            tracing::warn!("{error}");
        }
    }
}
