//! Publishing: R2, R4 and R5. One producer's private position, its gate, and the refresh of that gate.
//!
//! Writes: the slots it has claimed, and the producer line. When this process dies in a claim, the slots above the
//! last contiguous stamp are nobody's: a takeover (R14) clears their stamps.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::time::Duration;

use super::expect::Expectation;
use super::observe;
use super::sleep::{self, SleepersLookout};
use super::view::RingView;
use crate::fail::{buggify, point, reached};
use crate::layout::slot::SlotOf;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::sync::{Ordering, fence};
use crate::{Event, Sequence};

/// The one producer of a ring.
#[derive(Debug)]
pub(crate) struct ProducerCore<E> {
    view: RingView<E>,
    /// The next sequence to publish is found from here on, within `step`: see [`next`](Self::next).
    base: Sequence,
    /// How many events share one store of the position; no more than the ring has slots.
    step: i64,
    /// The highest sequence that may be written: gate + capacity (R4), or less.
    limit: Sequence,
    /// Private copy of the highest gate seen (R4).
    gate: Sequence,
    /// Private copy of the floor word, which only this producer writes.
    floor: Sequence,
    expectation: Expectation,
    sleepers: SleepersLookout,
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
        let gate = match left_out!(TakeoverGate) {
            false => next - 1 - view.capacity() as i64,
            true => floor,
        };
        Self {
            view,
            base: next,
            step: if view.capacity() < Self::STEPS_FROM_CAPACITY {
                1
            } else {
                Self::STEP.min(view.capacity() as i64)
            },
            limit: next - 1,
            gate,
            floor,
            expectation,
            // SAFETY: whoever made the view keeps the segment as long as this producer (R9).
            sleepers: unsafe { SleepersLookout::over(view.control()) },
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.view.capacity()
    }

    /// The next sequence to publish.
    ///
    /// A store to private memory after each event costs a third of the throughput of small events while their lines
    /// are taken from the other core (`rfcs/0002`). So the position is stored at every `step`-th event only; in
    /// between, this producer's own stamps tell: only it writes them, a stamp equals its own sequence only, and a
    /// takeover has zeroed what a dead one left above the head (R14). Whatever a hostile peer may have stored there,
    /// the result lies within `step` of the base, and slots are masked (R1).
    #[inline(always)]
    pub(crate) fn next(&self) -> Sequence {
        let mut sequence = self.base;
        let last = self.base + self.step - 1;
        while sequence < last
            && self.view.stamp(sequence).load(Ordering::Relaxed) == stamp::published(sequence)
        {
            sequence += 1;
        }
        if sequence > self.base {
            reached("position.by_stamps");
        }
        sequence
    }

    /// Smaller rings are for round trips, whose lines are all in the other core's cache when the next event is
    /// written: there a look at the own stamps costs what the store saves elsewhere. Models and debug builds go that
    /// way in small rings, too, so that tests see it.
    const STEPS_FROM_CAPACITY: usize = if cfg!(any(loom, debug_assertions)) {
        2
    } else {
        512
    };

    /// What `step` is in a ring that is large enough; measured. No more than the ring has slots.
    const STEP: i64 = match SlotOf::<E>::SHAPE.stride {
        _ if cfg!(loom) => 2,
        ..=64 if size_of::<E>() <= 24 => 8,
        ..=128 => 4,
        _ => 1,
    };

    /// The next sequence, if `n` events from it on may be written without a refresh.
    #[inline(always)]
    pub(crate) fn vacant(&self, n: usize) -> Option<Sequence> {
        let next = self.next();
        (self.free_from(next) >= n).then_some(next)
    }

    pub(crate) fn gate(&self) -> Sequence {
        self.gate
    }

    pub(crate) fn expectation(&mut self) -> &mut Expectation {
        &mut self.expectation
    }

    /// How many slots from `next` on may be claimed without a refresh. None rather than less: a hostile peer's stamps can take the position past the limit.
    #[inline(always)]
    fn free_from(&self, next: Sequence) -> usize {
        (self.limit - next + 1).max(0) as usize
    }

    /// The slot of `sequence`, which [`vacant`](Self::vacant) said is free; or whose claim the caller has (R2).
    #[inline(always)]
    pub(crate) fn event(&self, sequence: Sequence) -> NonNull<E> {
        self.view.event(sequence)
    }

    /// R13: the event of `sequence`, whose claim the caller has, is copied into its slot from `event`.
    #[inline(always)]
    pub(crate) fn write_observed(&self, sequence: Sequence, event: &MaybeUninit<E>) {
        let slot = self.view.event(sequence);
        observe::write(self.view.stamp(sequence), sequence, || {
            // SAFETY: the claim is the caller's (R2), and a slot's event starts at a multiple of 8 (R1).
            unsafe { observe::store_words(event, slot) };
        });
        point("publish.busy");
    }

    /// R2: publishes the event whose bytes were written to the slot of `sequence`, the next one.
    #[inline(always)]
    pub(crate) fn publish_one(&mut self, sequence: Sequence) {
        // whether it lies within the limit, a hostile peer's stamps decide, too
        debug_assert!((self.base..self.base + self.step).contains(&sequence));
        point("publish.written");
        // SYNC POINT publish: pairs with the Acquire load in `ConsumerCore::is_published`.
        self.view
            .stamp(sequence)
            .store(stamp::published(sequence), release!(StampRelease));
        point("publish.stamped");
        if sequence == self.base + self.step - 1 {
            self.base = sequence + 1;
        }
        if self.sleepers.sees_somebody() {
            sleep::wake_consumers(self.view.control());
        }
    }

    /// R2: writes and publishes `n` events from `first` on, which [`vacant`](Self::vacant) said may be written. Each
    /// stamp follows its event, the first event's comes last of all: until then no consumer passes the first slot, so
    /// that the batch is seen whole.
    ///
    /// A small first event is written apart and moved into its slot at the end, so that its line, too, is taken from
    /// the other core once. Not in a ring with observers, where `write` copies word by word.
    #[inline(always)]
    pub(crate) fn publish_batch<const OBSERVED: bool>(
        &mut self,
        first: Sequence,
        n: usize,
        mut write: impl FnMut(NonNull<E>, usize),
    ) -> Sequence {
        if n == 0 {
            return first - 1;
        }
        point("batch.claimed");
        let end = first + n as i64;
        if !left_out!(BatchBase) && end - self.base > self.view.capacity() as i64 {
            // the batch reuses the very slots by whose stamps `next` finds the position
            reached("batch.laps_base");
            self.base = first;
        }
        if const { !OBSERVED && SlotOf::<E>::SHAPE.stride <= Self::APART_UP_TO_BYTES } {
            self.write_batch_apart(first, n, write);
        } else {
            write(self.view.event(first), 0);
            self.write_rest(first, n, write);
            point("batch.stamped");
        }
        self.publish_one(first);
        point("batch.published");
        self.base = end;
        end - 1
    }

    /// The events of a batch, the first one's stamp left to be stored.
    #[inline(always)]
    fn write_batch_apart(
        &self,
        first: Sequence,
        n: usize,
        mut write: impl FnMut(NonNull<E>, usize),
    ) {
        let mut apart = MaybeUninit::<E>::zeroed();
        write(NonNull::from(&mut apart).cast(), 0);
        self.write_rest(first, n, write);
        point("batch.stamped");
        // SAFETY: whatever was written, any bytes are an `E` by the contract of `Event`.
        let apart = unsafe { apart.assume_init() };
        // SAFETY: the slot is part of the claim (R2).
        unsafe { self.view.event(first).write(apart) };
    }

    /// The events of a batch after the first, and their stamps.
    #[inline(always)]
    fn write_rest(&self, first: Sequence, n: usize, mut write: impl FnMut(NonNull<E>, usize)) {
        let mut unseen = Unseen {
            view: self.view,
            first,
            written: 0,
        };
        for index in 1..n {
            unseen.written = index;
            let sequence = first + index as i64;
            write(self.view.event(sequence), index);
            point("batch.written");
            self.view
                .stamp(sequence)
                .store(stamp::published(sequence), release!(StampRelease));
        }
        core::mem::forget(unseen);
    }

    /// Slots up to this size have the first event of a batch written apart: above, the copy costs more.
    const APART_UP_TO_BYTES: usize = 256;

    /// Whether a refresh would free an eighth of the ring, and `n` slots at least. Reads, and writes nothing.
    pub(crate) fn is_refresh_worthwhile(&self, n: usize) -> bool {
        let capacity = self.view.capacity() as i64;
        let last = self.next() - 1;
        let gain = match self.scan(last) {
            Some(smallest) => smallest.saturating_sub(self.gate),
            None => capacity,
        };
        gain >= (capacity / 8).max(n as i64)
    }

    /// R5, for a claim of `n` slots. Returns whether they may be written afterwards. The floor moves only if that
    /// makes the claim possible: an attempt that fails takes nothing from joiners.
    pub(crate) fn refresh(&mut self, n: usize) -> bool {
        let last = self.next() - 1;
        let m = self.obtainable(last, n);
        point("refresh.scanned");
        if m < self.needed(last, n)
            || (m <= self.floor && self.gate >= self.floor)
            || buggify("refresh.too_early")
        {
            // nothing to gain; but the end of an expectation may lift a limit that lay below the gate
            reached("refresh.nothing_gained");
            self.set_limit(last);
            return self.vacant(n).is_some();
        }
        if m > self.floor {
            self.floor = m;
            // SYNC POINT observe-floor: pairs with the Acquire load in `observe::read`.
            let floor = &self.view.control().producer.floor;
            floor.store(m, release!(FloorRelease));
            point("refresh.floor");
        } else {
            reached("refresh.floor_stays");
        }
        // SYNC POINT join: pairs with the fence in `lines::join`.
        if !left_out!(RefreshFence) {
            fence(Ordering::SeqCst);
        }
        point("refresh.fenced");
        let second = match left_out!(RefreshRescan) {
            false => self.scan(last).unwrap_or(self.floor),
            true => self.floor,
        };
        if second < self.floor {
            reached("refresh.second_scan_lowers");
        }
        self.gate = self.gate.max(self.floor.min(second));
        point("refresh.gate");
        self.set_limit(last);
        self.vacant(n).is_some()
    }

    /// Whether a refresh would make a claim of `n` slots possible. Reads, and writes nothing shared.
    pub(crate) fn is_obtainable(&mut self, n: usize) -> bool {
        self.vacant(n).is_some() || self.obtainable_slots(n) >= n
    }

    /// How many slots would be free after a refresh for a claim of `n`. Says what that comes to, and no more: who sleeps
    /// only while there is no space would otherwise never sleep. Reads, and writes nothing shared.
    pub(crate) fn obtainable_slots(&mut self, n: usize) -> usize {
        let last = self.next() - 1;
        let floor = self.obtainable(last, n.min(self.view.capacity()));
        // as the second scan will find them: who stands below the floor keeps the gate there
        let second = self.scan(last).unwrap_or(floor);
        let gate = self.gate.max(floor.min(second));
        (self.limit_at(gate, last) - last) as usize
    }

    /// R5 (1): where the floor may move to.
    fn obtainable(&mut self, last: Sequence, n: usize) -> Sequence {
        let pending = self.expectation.is_pending(self.view.control());
        match self.scan(last) {
            _ if pending => {
                reached("refresh.expected_missing");
                self.floor
            }
            Some(smallest) => smallest.max(self.floor),
            None => {
                reached("refresh.free_running");
                self.free_running_floor(last, n)
            }
        }
    }

    /// Where the gate must be for a claim of `n` slots; beyond reach for more than the ring has.
    fn needed(&self, last: Sequence, n: usize) -> Sequence {
        let capacity = self.view.capacity();
        if n > capacity {
            return Sequence::MAX;
        }
        last + n as i64 - capacity as i64
    }

    /// With nobody registered the producer runs free, yet keeps for joiners all but an eighth of the ring, or what
    /// the claim at hand takes: after it everything above the floor is retained again.
    fn free_running_floor(&self, last: Sequence, n: usize) -> Sequence {
        let capacity = self.view.capacity() as i64;
        let gives = (capacity / 8).max(n as i64).clamp(1, capacity);
        self.floor.max(last - capacity + gives)
    }

    fn set_limit(&mut self, last: Sequence) {
        self.limit = self.limit_at(self.gate, last);
    }

    fn limit_at(&self, gate: Sequence, last: Sequence) -> Sequence {
        let most = gate + self.view.capacity() as i64;
        self.expectation.limit(most).min(MAX_SEQUENCE).max(last)
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
        // SYNC POINT close: pairs with the Acquire load in `ends::closed_at`.
        let last = self.next() - 1;
        self.view
            .control()
            .producer
            .closed
            .store(last, Ordering::Release);
        sleep::wake_consumers(self.view.control());
    }

    /// Sleeps until consumers have released a quarter of the ring, and what a claim of `n` slots takes; or until
    /// somebody comes or goes. Returns what the wake-up took, if there was one.
    pub(crate) fn sleep_until_space(
        &mut self,
        n: usize,
        longest: Duration,
        is_cancelled: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let last = self.next() - 1;
        let quarter = self.gate + (self.view.capacity() as i64 / 4).max(1);
        // who has drained the ring has released what was published last, and nothing beyond: it must not be asked for
        let wanted = quarter.max(self.needed(last, n)).min(last);
        let view = self.view;
        sleep::sleep_until_space(view.control(), wanted, longest, || {
            self.is_obtainable(n) || is_cancelled()
        })
    }

    /// Sequences end at 2^61 − 1: whether `n` more are too many.
    pub(crate) fn is_exhausted(&self, n: usize) -> bool {
        self.next() + n as i64 - 1 > MAX_SEQUENCE
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
        if left_out!(BatchUndo) {
            return;
        }
        reached("batch.undone");
        for ahead in 1..=self.written {
            let sequence = self.first + ahead as i64;
            self.view.stamp(sequence).store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "publish_tests.rs"]
mod tests;
