//! Publishing: R2, R4 and R5. One producer's private position, its gate, and the refresh of that gate.
//!
//! Writes: the slots it has claimed, and the producer line. When this process dies in a claim, the slots above the
//! last contiguous stamp are nobody's: a takeover (R14) clears their stamps.

use core::ptr::NonNull;

use super::expect::Expectation;
use super::view::RingView;
use crate::fail::point;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::sync::{Ordering, fence};
use crate::{Event, Sequence};

/// The one producer of a ring.
#[derive(Debug)]
pub(crate) struct ProducerCore<E> {
    view: RingView<E>,
    /// The next sequence to publish.
    next: Sequence,
    /// The highest sequence that may be written: gate + capacity (R4), or less.
    limit: Sequence,
    /// Private copy of the highest gate seen (R4).
    gate: Sequence,
    /// Private copy of the floor word, which only this producer writes.
    floor: Sequence,
    expectation: Expectation,
}

impl<E: Event> ProducerCore<E> {
    /// The caller holds the producer's lock. `next` is the first sequence to publish, `floor` the floor word.
    /// The gate starts a whole ring behind, so that the first publish refreshes it (R14).
    pub(crate) fn new(
        view: RingView<E>,
        next: Sequence,
        floor: Sequence,
        expectation: Expectation,
    ) -> Self {
        let gate = next - 1 - view.capacity() as i64;
        Self {
            view,
            next,
            limit: next - 1,
            gate,
            floor,
            expectation,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.view.capacity()
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    pub(crate) fn gate(&self) -> Sequence {
        self.gate
    }

    pub(crate) fn expectation(&mut self) -> &mut Expectation {
        &mut self.expectation
    }

    /// How many slots may be claimed without a refresh.
    #[inline(always)]
    pub(crate) fn free(&self) -> usize {
        (self.limit - self.next + 1) as usize
    }

    /// The slot of the next sequence; to be written only when it is free (R2).
    #[inline(always)]
    pub(crate) fn next_event(&self) -> NonNull<E> {
        self.view.event(self.next)
    }

    /// R2: publishes the event whose bytes were written to the claimed slot.
    #[inline(always)]
    pub(crate) fn publish_one(&mut self) -> Sequence {
        let sequence = self.next;
        debug_assert!(sequence <= self.limit);
        point("publish.written");
        // SYNC POINT publish: pairs with the Acquire load in `ConsumerCore::is_published`.
        self.view
            .stamp(sequence)
            .store(stamp::published(sequence), Ordering::Release);
        point("publish.stamped");
        self.next = sequence + 1;
        sequence
    }

    /// R2: writes and publishes `n` events, which the gate covers. Each stamp follows its event, the first event's
    /// comes last of all: until then no consumer passes the first slot, so that the batch is seen whole.
    #[inline(always)]
    pub(crate) fn publish_batch(
        &mut self,
        n: usize,
        mut write: impl FnMut(NonNull<E>, usize),
    ) -> Sequence {
        debug_assert!(n <= self.free());
        if n == 0 {
            return self.next - 1;
        }
        let first = self.next;
        let mut unseen = Unseen {
            view: self.view,
            first,
            written: 0,
        };
        write(self.view.event(first), 0);
        for index in 1..n {
            unseen.written = index;
            let sequence = first + index as i64;
            write(self.view.event(sequence), index);
            point("batch.written");
            self.view
                .stamp(sequence)
                .store(stamp::published(sequence), Ordering::Release);
        }
        core::mem::forget(unseen);
        point("batch.stamped");
        self.publish_one();
        point("batch.published");
        self.next = first + n as i64;
        self.next - 1
    }

    /// Whether a refresh would free an eighth of the ring, and `n` slots at least. Reads, and writes nothing.
    pub(crate) fn is_refresh_worthwhile(&self, n: usize) -> bool {
        let capacity = self.view.capacity() as i64;
        let last = self.next - 1;
        let gain = match self.scan(last) {
            Some(smallest) => smallest.saturating_sub(self.gate),
            None => capacity,
        };
        gain >= (capacity / 8).max(n as i64)
    }

    /// R5. Returns whether any slot is free afterwards.
    pub(crate) fn refresh(&mut self) -> bool {
        let last = self.next - 1;
        let pending = self.expectation.is_pending(self.view.control());
        let scanned = self.scan(last);
        point("refresh.scanned");
        let m = match scanned {
            _ if pending => self.floor,
            Some(smallest) => smallest,
            None => self.free_running_floor(last),
        };
        if m > self.floor {
            self.floor = m;
            self.view
                .control()
                .producer
                .floor
                .store(m, Ordering::Relaxed);
            point("refresh.floor");
        } else if self.gate >= self.floor {
            // nothing to gain; but the end of an expectation may lift a limit that lay below the gate
            self.set_limit();
            return self.next <= self.limit;
        }
        // SYNC POINT join: pairs with the fence in `lines::join`.
        fence(Ordering::SeqCst);
        point("refresh.fenced");
        let second = self.scan(last).unwrap_or(self.floor);
        self.gate = self.gate.max(self.floor.min(second));
        point("refresh.gate");
        self.set_limit();
        self.next <= self.limit
    }

    /// With nobody registered the producer runs free, yet keeps all but an eighth of the ring for joiners.
    fn free_running_floor(&self, last: Sequence) -> Sequence {
        let capacity = self.view.capacity() as i64;
        self.floor.max(last - capacity + (capacity / 8).max(1))
    }

    fn set_limit(&mut self) {
        let most = self.gate + self.view.capacity() as i64;
        self.limit = self
            .expectation
            .limit(most)
            .min(MAX_SEQUENCE)
            .max(self.next - 1);
    }

    /// The smallest sequence of all registered consumers; none of them can have released what was not published.
    fn scan(&self, last: Sequence) -> Option<Sequence> {
        let control = self.view.control();
        control
            .maybe_registered()
            .map(|index| &control.consumers[index])
            .filter(|line| line.state().is_registered())
            // SYNC POINT release: pairs with the Release store in `ConsumerCore::commit`.
            .map(|line| line.sequence.load(Ordering::Acquire).min(last))
            .min()
    }

    /// R11: no event will follow the last one published.
    pub(crate) fn close(&mut self) {
        // SYNC POINT close: pairs with the Acquire load in `ConsumerCore::closed_at`.
        self.view
            .control()
            .producer
            .closed
            .store(self.next - 1, Ordering::Release);
    }

    /// Sequences end at 2^61 − 1.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.next > MAX_SEQUENCE
    }
}

/// The stamps of a batch whose first one is still missing. If the writer panics they are taken back: the next event
/// must not make them readable.
struct Unseen<E: Event> {
    view: RingView<E>,
    first: Sequence,
    written: usize,
}

impl<E: Event> Drop for Unseen<E> {
    #[cold]
    fn drop(&mut self) {
        for ahead in 1..=self.written {
            let sequence = self.first + ahead as i64;
            self.view.stamp(sequence).store(0, Ordering::Relaxed);
        }
    }
}
