//! How a producer ends its ring (R11, R15): closed, kept or destroyed; or, by a panic, as if it had died.

use super::{Ending, Producer};
use crate::Event;
use crate::blocked;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::fail::point;
use crate::layout::lock_bytes::PRODUCER_BYTE;

impl<E: Event, B> Producer<E, B> {
    /// Closes the ring: consumers drain what is left and see the end. The same as dropping the producer, but with
    /// its errors.
    ///
    /// # Errors
    ///
    /// When the system does not let the name go.
    pub fn close(self) -> MultiProcessResult<()> {
        self.end(Ending::Close)
    }

    /// Closes the ring and keeps its name and its retained events: who subscribes later drains those, and the next
    /// producer goes on with the sequence.
    ///
    /// # Errors
    ///
    /// When the system fails.
    pub fn keep(self) -> MultiProcessResult<()> {
        self.end(Ending::Keep)
    }

    /// Closes the ring and removes its name, whatever is unread. Attached consumers still drain.
    ///
    /// # Errors
    ///
    /// When the system does not let the name go.
    pub fn destroy(self) -> MultiProcessResult<()> {
        self.end(Ending::Destroy)
    }

    fn end(mut self, ending: Ending) -> MultiProcessResult<()> {
        self.ending = ending;
        if self.is_forked() {
            return Err(MultiProcessError::Forked);
        }
        self.finish().map_err(self.segment.io_error("end the ring"))
    }

    /// Close, then the name, then the lock: who waits for the lock finds everything said.
    fn finish(&mut self) -> std::io::Result<()> {
        if core::mem::replace(&mut self.has_ended, true) {
            return Ok(());
        }
        self.counters.bring_up_to_date(self.core.next());
        let control = self.segment.control();
        control.producer.kept.store(
            u32::from(self.ending == Ending::Keep),
            crate::sync::Ordering::Relaxed,
        );
        point("close.kept");
        self.core.close();
        point("close.closed");
        let removes = match self.ending {
            Ending::Close => !blocked::is_needed(self.segment.control()),
            Ending::Keep => false,
            Ending::Destroy => true,
        };
        let removed = if removes {
            self.segment.unlink_if_ours()
        } else {
            Ok(())
        };
        tracing::debug!(ring = %self.segment.name, last = self.last_published_sequence(), removes, "producer ends");
        point("close.unlinked");
        self.segment.locks().unlock(PRODUCER_BYTE)?;
        point("close.unlocked");
        removed?;
        if left_out!(EndLook) {
            return Ok(());
        }
        // the last one to drain may have come while the lock was ours
        self.segment.unlink_if_drained()
    }
}

impl<E: Event, B> Drop for Producer<E, B> {
    fn drop(&mut self) {
        if self.is_forked() || std::thread::panicking() {
            return;
        }
        if let Err(error) = self.finish() {
            tracing::warn!(ring = %self.segment.name, %error, "could not end the ring");
        }
    }
}
