//! Consuming: R3 and R7. One consumer's private position, and the word that tells the producer about it.
//!
//! Writes: the sequence of its own line, and nothing else. If this process dies, the line keeps the last
//! released sequence: a consumer that rejoins reads again the events that were read but not released.

use core::ops::Range;
use core::ptr::NonNull;
use std::io;
use std::time::Duration;

use super::sleep::{self, SpaceLookout};
use super::view::RingView;
use super::{Locks, doubt, ends};
use crate::Sequence;
use crate::event::Event;
use crate::layout::control::Control;
use crate::layout::stamp;
use crate::sync::{AtomicI64, Ordering, process};
use crate::testing::fail::{point, reached};

/// A registered consumer's position in a ring.
#[derive(Debug)]
pub(crate) struct ConsumerCore<E> {
    view: RingView<E>,
    line: usize,
    next: Sequence,
    /// The first held event. Stale if that event has been released since: see [`holds`](Self::holds).
    held_from: Sequence,
    space: SpaceLookout,
}

/// `ConsumerCore::held_from` while no event is held.
const NOTHING_HELD: Sequence = Sequence::MAX;

impl<E: Event> ConsumerCore<E> {
    /// The caller owns `line`, which is registered and has the sequence `next − 1`.
    pub(crate) fn new(view: RingView<E>, line: usize, next: Sequence) -> Self {
        debug_assert!(line < view.control().consumers.len());
        Self {
            view,
            line,
            next,
            held_from: NOTHING_HELD,
            // SAFETY: the owner of the view keeps the segment mapped as long as this consumer lives (R9).
            space: unsafe { SpaceLookout::over(view.control()) },
        }
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// Waits for the events from `sequence` on, without releasing any: for a thread that waits on a consumer's behalf.
    #[cfg(target_os = "linux")]
    pub(crate) fn poll_from(&mut self, sequence: Sequence) {
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

    /// R3: whether `sequence` may be read. Once true, it stays true until this consumer releases the event (R7).
    #[inline(always)]
    pub(crate) fn is_published(&self, sequence: Sequence) -> bool {
        // SYNC POINT publish: pairs with the Release store of the stamp in `ProducerCore`.
        self.view.stamp(sequence).load(Ordering::Acquire) == stamp::published(sequence)
    }

    /// R17: moves a consumer that has not been told of a doubt to a sequence that no event has, so that it
    /// reads no event before it is told. Returns how many events are in doubt, and the sequence to go on at.
    pub(crate) fn stand_in_doubt(&mut self) -> Option<(u64, Sequence)> {
        let (events, at) = doubt::untold(&self.control().consumers[self.line])?;
        let next = self.next;
        self.next = at.min(next);
        Some((events, next))
    }

    /// Records that this consumer is being told of the doubt; it goes on at `next`.
    pub(crate) fn go_on_at(&mut self, next: Sequence) {
        doubt::told(&self.control().consumers[self.line]);
        self.next = next;
    }

    /// The note that this consumer, or one that had its place before, has left.
    pub(crate) fn note(&self) -> u64 {
        self.control().consumers[self.line]
            .note
            .load(Ordering::Relaxed)
    }

    /// A successor reads the note after this process has died: the kernel's lock orders the two.
    pub(crate) fn set_note(&self, note: u64) {
        self.control().consumers[self.line]
            .note
            .store(note, Ordering::Relaxed);
    }

    /// Whether the next event may be read.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.is_published(self.next)
    }

    /// Whether the next event was published, even if its slot has been reused since. For a thread that waits
    /// on a consumer's behalf: the consumer may have gone on meanwhile.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn has_come(&self) -> bool {
        let (found, awaited) = (
            self.view.stamp(self.next).load(Ordering::Acquire),
            stamp::published(self.next),
        );
        // a higher sequence in any state: the slot held the awaited event before, or a later one
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

    /// Releases everything up to `sequence`, which is the next event or a later one: the producer may reuse
    /// those slots.
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
        // this releases the held events, too; if they were released before, this wakes the producer once too often
        let held_from = core::mem::replace(&mut self.held_from, NOTHING_HELD);
        sleep::wake_producer_for(self.control(), before.min(held_from - 1), released);
    }

    /// R7: holds the next event, which the caller found published: it stays unreleased, and the consumer goes
    /// on to the event after it.
    #[inline(always)]
    pub(crate) fn hold(&mut self) {
        if !self.holds() {
            self.held_from = self.next;
        }
        self.next += 1;
        point("hold.kept");
    }

    /// Whether events before the next one are held. The release of a later event has released them, too.
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

    /// Releases the first `count` held events, or all of them if there are fewer.
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

    /// Goes back to the first held event, so that the held events come again.
    pub(crate) fn rewind(&mut self) {
        self.next = self.held().start;
        self.held_from = NOTHING_HELD;
    }

    /// R9: before a consumer that holds events waits for more, it wakes a sleeping producer with any wish.
    /// The wish may lie among the held events, which this consumer may not release before more events come:
    /// the producer has to go on with the slots that are free.
    pub(crate) fn let_producer_go_on(&self) {
        if self.holds() && self.space.sees_wish(stamp::MAX_SEQUENCE) {
            reached("hold.wakes_the_producer");
            step!(HoldWake, sleep::wake_producer(self.control()));
        }
    }

    /// Whether the producer is blocked and watches its required consumers for progress.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        let is_watching = &self.view.control().waiters.is_watching;
        is_watching.load(process::Ordering::Relaxed) != 0
    }

    /// Sleeps until an event is published, the ring is closed or the wait is cancelled. If it was woken,
    /// returns how long the wake-up took.
    pub(crate) fn sleep_until_event(
        &self,
        longest: Duration,
        is_cancelled: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        sleep::sleep_until_event(self.control(), self.line, longest, || {
            self.is_ready() || self.closed_at().is_some() || is_cancelled()
        })
    }

    /// The newest published sequence, found by polling one stamp after the other (R2: no shortcuts).
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

    /// The producer's byte is free, and `F` runs right after the probe.
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
        assert!(reader.is_abandoned(&FreeThen(|| {})).expect("a probe"));
    }

    #[test]
    fn a_ring_that_was_closed_in_order_is_not_abandoned() {
        let segment = segment();
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let closes = FreeThen(|| close(&segment));
        assert!(!reader.is_abandoned(&closes).expect("a probe"));
    }

    #[test]
    fn an_event_published_before_the_lock_fell_is_read_first() {
        let segment = segment();
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let publishes = FreeThen(|| {
            let stamp = segment.view.stamp(0);
            stamp.store(stamp::published(0), Ordering::Release);
        });
        assert!(!reader.is_abandoned(&publishes).expect("a probe"));
    }

    #[test]
    fn a_closed_ring_that_a_successor_opens_during_the_probe_is_not_abandoned() {
        let segment = segment();
        close(&segment);
        let reader = ConsumerCore::new(segment.view, 0, 0);
        let successor = FreeThen(|| {
            take_over(segment.view);
        });
        assert!(!reader.is_abandoned(&successor).expect("a probe"));
    }
}
