//! Consuming: R3 and R7. One consumer's private position, and the word that tells the producer about it.
//!
//! Writes: the sequence of its own line, nothing else. When this process dies, the line keeps the last released
//! sequence: what was read but not released is read again by whoever rejoins.

use core::ops::Range;
use core::ptr::NonNull;
use std::io;
use std::time::Duration;

use super::sleep::{self, SpaceLookout};
use super::view::RingView;
use super::{Locks, ends};
use crate::fail::{point, reached};
use crate::layout::control::Control;
use crate::layout::stamp;
use crate::sync::{AtomicI64, Ordering, process};
use crate::{Event, Sequence};

/// A registered consumer's position in a ring.
#[derive(Debug)]
pub(crate) struct ConsumerCore<E> {
    view: RingView<E>,
    line: usize,
    next: Sequence,
    /// The first event that was read and is held, as [`holds`](Self::holds) says; it may lie behind.
    held_from: Sequence,
    space: SpaceLookout,
}

/// `ConsumerCore::held_from` while nothing is held.
const NOTHING_HELD: Sequence = Sequence::MAX;

impl<E: Event> ConsumerCore<E> {
    /// The caller owns `line`, registered, with `next − 1` as its sequence.
    pub(crate) fn new(view: RingView<E>, line: usize, next: Sequence) -> Self {
        debug_assert!(line < view.control().consumers.len());
        Self {
            view,
            line,
            next,
            held_from: NOTHING_HELD,
            // SAFETY: whoever made the view keeps the segment as long as this consumer (R9).
            space: unsafe { SpaceLookout::over(view.control()) },
        }
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// Looks for the events from `sequence` on, without releasing any: for who watches in a consumer's place.
    #[cfg(target_os = "linux")]
    pub(crate) fn look_from(&mut self, sequence: Sequence) {
        self.next = sequence;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.view.capacity()
    }

    pub(crate) fn control(&self) -> &Control {
        self.view.control()
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// R3: whether `sequence` may be read. True stays true until this consumer releases it (R7).
    #[inline(always)]
    pub(crate) fn is_published(&self, sequence: Sequence) -> bool {
        // SYNC POINT publish: pairs with the Release store of the stamp in `ProducerCore`.
        self.view.stamp(sequence).load(Ordering::Acquire) == stamp::published(sequence)
    }

    /// Whether the next event may be read.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.is_published(self.next)
    }

    /// Whether the next event was published, even if its slot was used again since: for who watches in a consumer's place,
    /// which may have gone on meanwhile.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn has_come(&self) -> bool {
        let (found, awaited) = (
            self.view.stamp(self.next).load(Ordering::Acquire),
            stamp::published(self.next),
        );
        // a higher sequence in any state: the slot's last event was the awaited one, or came after it
        found == awaited || (found >> 2) > (awaited >> 2)
    }

    /// The event of `sequence`, which the caller found published and has not released (R3, R7).
    #[inline(always)]
    pub(crate) fn event(&self, sequence: Sequence) -> NonNull<E> {
        self.view.event(sequence)
    }

    /// See [`RingView::prefetch_after`].
    #[inline(always)]
    pub(crate) fn prefetch_after(&self, sequence: Sequence) {
        self.view.prefetch_after(sequence);
    }

    /// Releases everything up to `sequence`, which is read next or later: the producer may reuse those slots.
    #[inline(always)]
    pub(crate) fn commit(&mut self, sequence: Sequence) {
        point("commit.before");
        let before = self.next - 1;
        self.next = sequence + 1;
        self.release(sequence);
        if self.space.sees_wish(sequence) {
            self.wake_producer_for(before, sequence);
        }
    }

    #[inline(always)]
    fn release(&self, sequence: Sequence) {
        // SYNC POINT release: pairs with the Acquire load in `ProducerCore::scan`.
        self.sequence().store(sequence, release!(CommitRelease));
        point("commit.after");
    }

    /// The last sequence that this consumer has released.
    #[inline(always)]
    fn sequence(&self) -> &AtomicI64 {
        // SAFETY: `new` takes a line below the number of lines (R1).
        let line = unsafe { self.view.control().consumers.get_unchecked(self.line) };
        &line.sequence
    }

    #[cold]
    #[inline(never)]
    fn wake_producer_for(&mut self, before: Sequence, released: Sequence) {
        // what was held went with the rest; if it went earlier, this wakes the producer once too often
        let held_from = core::mem::replace(&mut self.held_from, NOTHING_HELD);
        sleep::wake_producer_for(self.control(), before.min(held_from - 1), released);
    }

    /// R7: keeps the next event, which the caller found published, unreleased, and goes on to the one after it.
    #[inline(always)]
    pub(crate) fn hold(&mut self) {
        if !self.holds() {
            self.held_from = self.next;
        }
        self.next += 1;
        point("hold.kept");
    }

    /// Whether events before the next one are held. Whoever released a later one has released them, too.
    #[inline(always)]
    pub(crate) fn holds(&self) -> bool {
        self.held_from < self.next && self.held_from > self.sequence().load(Ordering::Relaxed)
    }

    /// The events that are held.
    pub(crate) fn held(&self) -> Range<Sequence> {
        match self.holds() {
            true => self.held_from..self.next,
            false => self.next..self.next,
        }
    }

    /// Releases the first `count` of the held events, or as many as there are.
    #[inline(always)]
    pub(crate) fn release_held(&mut self, count: usize) {
        let held = self.held();
        let count = count.min((held.end - held.start) as usize);
        let last = held.start - 1 + count as i64;
        if last < held.start {
            return;
        }
        point("commit.before");
        self.held_from = last + 1;
        self.release(last);
        if self.space.sees_wish(last) {
            sleep::wake_producer_for(self.control(), held.start - 1, last);
        }
    }

    /// The held events come again.
    pub(crate) fn rewind(&mut self) {
        self.next = self.held().start;
        self.held_from = NOTHING_HELD;
    }

    /// R9: a consumer that waits for more while it holds events lets a sleeping producer have what is free: it may wait
    /// for more than that, which this consumer will not release before more has come.
    pub(crate) fn let_producer_go_on(&self) {
        if left_out!(HoldWake) {
            return;
        }
        if self.holds() && self.space.sees_wish(stamp::MAX_SEQUENCE) {
            reached("hold.wakes_the_producer");
            sleep::wake_producer(self.control());
        }
    }

    /// Whether the producer is blocked and looks for progress.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        let is_watching = &self.view.control().waiters.is_watching;
        is_watching.load(process::Ordering::Relaxed) != 0
    }

    /// Sleeps until an event is published, the ring is closed or the wait cancelled. Returns what the wake-up took, if there was one.
    pub(crate) fn sleep_until_event(
        &self,
        longest: Duration,
        is_cancelled: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        sleep::sleep_until_event(self.control(), self.line, longest, || {
            self.is_ready() || self.closed_at().is_some() || is_cancelled()
        })
    }

    /// Tells the producer that the next event is released while it is not: what a lease must never do.
    #[cold]
    pub(crate) fn release_ahead(&self) {
        let line = &self.view.control().consumers[self.line];
        line.sequence.store(self.next, Ordering::Release);
    }

    /// The newest published sequence, found by looking at one stamp after the other (R2: no shortcuts).
    pub(crate) fn newest(&self) -> Sequence {
        let end = self.next.saturating_add(self.view.capacity() as i64);
        (self.next..end)
            .take_while(|sequence| self.is_published(*sequence))
            .last()
            .unwrap_or(self.next - 1)
    }

    /// See [`ends::closed_at`].
    pub(crate) fn closed_at(&self) -> Option<Sequence> {
        ends::closed_at(self.control())
    }

    /// See [`ends::is_at_end`].
    pub(crate) fn is_at_end(&self) -> bool {
        ends::is_at_end(self.control(), self.next, || self.is_ready())
    }

    /// See [`ends::is_abandoned`].
    pub(crate) fn is_abandoned(&self, locks: &dyn Locks) -> io::Result<bool> {
        ends::is_abandoned(self.control(), locks, || self.is_ready())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::fmt;

    use super::*;
    use crate::protocol::takeover::take_over;
    use crate::segment::{Segment, create_on_heap, open_on_heap};

    /// The producer's byte is free, and something happens right after the look at it.
    struct FreeThen<F>(F);

    impl<F> fmt::Debug for FreeThen<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("FreeThen")
        }
    }

    impl<F: Fn() + Send + Sync> Locks for FreeThen<F> {
        fn try_lock(&self, _: u64) -> io::Result<bool> {
            unreachable!("a consumer takes no lock here")
        }
        fn unlock(&self, _: u64) -> io::Result<()> {
            unreachable!("a consumer has no lock here")
        }
        fn is_held_by_other(&self, _: u64) -> io::Result<bool> {
            (self.0)();
            Ok(false)
        }
        fn is_any_held_by_other(&self) -> io::Result<bool> {
            Ok(false)
        }
    }

    fn segment() -> Segment<u64> {
        open_on_heap(&create_on_heap::<u64>(4, 0, false).expect("a ring"), 4)
    }

    fn close(segment: &Segment<u64>) {
        segment
            .control()
            .producer
            .closed
            .store(-1, Ordering::Release);
    }

    #[test]
    fn a_free_lock_and_nothing_left_is_a_dead_producer() {
        let segment = segment();
        let reader = ConsumerCore::new(segment.view, 0, 0);
        assert!(reader.is_abandoned(&FreeThen(|| {})).expect("a look"));
    }

    #[test]
    fn a_ring_that_was_closed_in_order_is_not_abandoned() {
        let segment = segment();
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let closes = FreeThen(|| close(&segment));
        assert!(!reader.is_abandoned(&closes).expect("a look"));
    }

    #[test]
    fn an_event_published_before_the_lock_fell_is_read_first() {
        let segment = segment();
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let publishes = FreeThen(|| {
            let stamp = segment.view.stamp(0);
            stamp.store(stamp::published(0), Ordering::Release);
        });
        assert!(!reader.is_abandoned(&publishes).expect("a look"));
    }

    #[test]
    fn a_closed_ring_that_is_opened_during_the_look_is_not_abandoned() {
        let segment = segment();
        close(&segment);
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let successor = FreeThen(|| {
            take_over(segment.view);
        });
        assert!(!reader.is_abandoned(&successor).expect("a look"));
    }
}
