//! Events that a consumer has read and not released, and events that it releases unread (R7).

use super::Consumer;
use crate::Sequence;
use crate::event::Event;
#[cfg(doc)]
use crate::handles::guards::Lease;

impl<E: Event, B> Consumer<E, B> {
    /// How many events are held: see [`Lease::hold`].
    #[inline]
    pub fn held_count(&self) -> usize {
        (self.next_to_read() - 1 - self.current_sequence()) as usize
    }

    /// The held event `index`, the oldest one being 0.
    #[inline]
    pub fn held(&self, index: usize) -> Option<&E> {
        if index >= self.held_count() {
            return None;
        }
        let sequence = self.core.held().start + index as Sequence;
        // SAFETY: its stamp was seen before it was held, and the gate cannot pass it before it is released, for which
        // this consumer must be borrowed mutably (R3, R7); any bytes are an `E`.
        Some(unsafe { self.core.event(sequence).as_ref() })
    }

    /// Releases the `count` oldest held events, or as many as there are.
    #[inline]
    pub fn release_held(&mut self, count: usize) {
        if !self.is_forked() {
            self.core.release_held(count);
        }
    }

    /// The held events are delivered again, as if they had not been read.
    pub fn redeliver_held(&mut self) {
        if !self.is_forked() {
            self.core.rewind();
        }
    }

    /// Releases everything up to `sequence` unread. `sequence` was published.
    pub(crate) fn skip_to(&mut self, sequence: Sequence) {
        self.core.commit(sequence);
        self.counters.start_at(self.core.next());
    }
}
