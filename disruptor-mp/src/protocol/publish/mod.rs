//! Publishing: R2, R4 and R5. One producer's private position, its gate, and the refresh of that gate.
//!
//! Writes: the slots that it has claimed, and the producer line. If this process dies during a claim, no
//! process owns the slots above the last contiguous stamp: a takeover (R14) clears their stamps.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::time::Duration;

use super::expect::Expectation;
use super::observe;
use super::registered::smallest;
use super::sleep::{self, SleepersLookout};
use super::view::{RingView, SlotOf};
use crate::Sequence;
use crate::event::Event;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::sync::{Ordering, fence};
use crate::testing::fail::{buggify, point, reached};

/// The one producer of a ring.
#[derive(Debug)]
pub(crate) struct ProducerCore<E> {
    view: RingView<E>,
    /// The search for the next sequence to publish starts here and ends within `step`: see [`next`](Self::next).
    base: Sequence,
    /// How many events share one store of the position; at most the capacity.
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

/// Whether polling the stamp of the next slot costs a producer less than storing its position, on this processor.
///
/// It does on AMD's (Zen 4). Intel's (Sapphire Rapids) first fetch the polled line for reading and then once more for
/// writing, which halves the throughput. Other processors were not measured, and store. Models and debug builds poll
/// everywhere, so that tests cover it.
fn are_own_stamps_cheap() -> bool {
    if cfg!(any(loom, debug_assertions)) {
        return true;
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[allow(unused_unsafe, reason = "safe since Rust 1.94")]
        // SAFETY: every processor of this architecture has the instruction.
        let vendor = unsafe { core::arch::x86_64::__cpuid(0) };
        let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        vendor.as_flattened() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
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
        let mut gate = floor;
        step!(TakeoverGate, gate = next - 1 - view.capacity() as i64);
        Self {
            view,
            base: next,
            step: if view.capacity() >= Self::STEPS_FROM_CAPACITY && are_own_stamps_cheap() {
                Self::STEP.min(view.capacity() as i64)
            } else {
                1
            },
            limit: next - 1,
            gate,
            floor,
            expectation,
            // SAFETY: the owner of the view keeps the segment mapped as long as this producer lives (R9).
            sleepers: unsafe { SleepersLookout::over(view.control()) },
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.view.capacity()
    }

    /// The next sequence to publish.
    ///
    /// A store to private memory after each event costs a third of the throughput of small events while their
    /// cache lines have to come from the other core (`rfcs/0002`). So the producer stores its position after
    /// every `step`-th event only, where that is faster ([`are_own_stamps_cheap`]). In between, it finds the position
    /// by its own stamps: only the producer writes them, a stamp equals its own sequence only, and a takeover has
    /// zeroed the stamps that a dead producer left above the head (R14). Whatever values a hostile peer may have
    /// stored there, the result lies within `step` of the base, and slots are masked (R1).
    #[inline(always)]
    pub(crate) fn next(&self) -> Sequence {
        let mut sequence = self.base;
        let last = self.base + self.step - 1;
        // of a constant length, so that the compiler unrolls it: a loop takes more registers than a call may use
        // without saving them
        for _ in 1..Self::STEP {
            if sequence >= last
                || self.view.stamp(sequence).load(Ordering::Relaxed) != stamp::published(sequence)
            {
                break;
            }
            sequence += 1;
        }
        if sequence > self.base {
            reached("position.by_stamps");
        }
        sequence
    }

    /// In smaller rings the producer stores its position after each event. Such rings serve round trips: all
    /// their cache lines are in the other core's cache when the next event is written, so that polling the
    /// producer's own stamps costs what the store saves in larger rings. Models and debug builds use steps in
    /// small rings, too, so that tests cover them.
    const STEPS_FROM_CAPACITY: usize = if cfg!(any(loom, debug_assertions)) {
        2
    } else {
        512
    };

    /// `step` in a ring that is large enough, as measured. `new` limits it to the capacity.
    const STEP: i64 = match SlotOf::<E>::SHAPE.stride {
        _ if cfg!(loom) => 2,
        // packed: the stamps share their line with slots that a consumer is about to read
        ..64 => 1,
        64 if size_of::<E>() <= 24 => 8,
        64..=128 => 4,
        _ => 1,
    };

    /// The next sequence, if `n` events from there on may be written without a refresh.
    #[inline(always)]
    pub(crate) fn vacant(&self, n: usize) -> Option<Sequence> {
        let next = self.next();
        (self.free_from(next) >= n).then_some(next)
    }

    pub(crate) fn gate(&self) -> Sequence {
        self.gate
    }

    pub(crate) fn floor(&self) -> Sequence {
        self.floor
    }

    /// Takes a refresh back: the gate is `gate` again.
    pub(crate) fn withdraw_to(&mut self, gate: Sequence) {
        self.gate = gate;
        self.limit = self.next() - 1;
    }

    pub(crate) fn expectation(&mut self) -> &mut Expectation {
        &mut self.expectation
    }

    /// How many slots from `next` on may be claimed without a refresh. 0 if the position lies past the limit,
    /// where a hostile peer's stamps can move it.
    #[inline(always)]
    fn free_from(&self, next: Sequence) -> usize {
        (self.limit - next + 1).max(0) as usize
    }

    /// The slot of `sequence`. The caller has claimed it (R2), or [`vacant`](Self::vacant) said that it is free.
    #[inline(always)]
    pub(crate) fn event(&self, sequence: Sequence) -> NonNull<E> {
        self.view.event(sequence)
    }

    /// R13: copies `event` into the slot of `sequence`, which the caller has claimed.
    #[inline(always)]
    pub(crate) fn write_observed(&self, sequence: Sequence, event: &MaybeUninit<E>) {
        let slot = self.view.event(sequence);
        observe::write(self.view.stamp(sequence), sequence, || {
            // SAFETY: the caller has the claim (R2), and a slot's event starts at a multiple of 8 (R1).
            unsafe { observe::store_words(event, slot) };
        });
        point("publish.busy");
    }

    /// R2: lets `write` write the event of `sequence`, the next one, to its slot, which is claimed, and publishes it.
    /// Not for a ring with observers, which read a slot at any time (R13).
    #[inline(always)]
    pub(crate) fn publish(&mut self, sequence: Sequence, write: impl FnOnce(&mut E)) -> Sequence {
        point("publish.claimed");
        let mut event = self.event(sequence);
        // SAFETY: the slot is claimed by this producer alone, no consumer reads it before its stamp (R2, R3), and there
        // are no observers (R13); any bytes are an `E` by the contract of `Event`.
        write(unsafe { event.as_mut() });
        self.publish_one(sequence);
        sequence
    }

    /// As [`publish`](Self::publish), in a ring with observers: copies the event to its slot (R13).
    pub(crate) fn publish_observed(
        &mut self,
        sequence: Sequence,
        event: &MaybeUninit<E>,
    ) -> Sequence {
        self.write_observed(sequence, event);
        self.publish_one(sequence);
        sequence
    }

    /// R2: publishes the event of `sequence`, the next one, whose bytes have been written to its slot.
    #[inline(always)]
    pub(crate) fn publish_one(&mut self, sequence: Sequence) {
        self.stamp(sequence);
        if sequence == self.base + self.step - 1 {
            self.base = sequence + 1;
        }
        self.wake_consumers();
    }

    /// Stores the stamp of `sequence`, the next one.
    #[inline(always)]
    fn stamp(&self, sequence: Sequence) {
        // no assertion about the limit: a hostile peer's stamps can take the position past it
        debug_assert!((self.base..self.base + self.step).contains(&sequence));
        point("publish.written");
        // SYNC POINT publish: pairs with the Acquire load in `ConsumerCore::is_published`.
        self.view
            .stamp(sequence)
            .store(stamp::published(sequence), release!(StampRelease));
        point("publish.stamped");
    }

    /// R9: wakes the consumers that sleep.
    #[inline(always)]
    fn wake_consumers(&mut self) {
        if self.sleepers.sees_somebody() {
            sleep::wake_consumers(self.view.control());
        }
    }

    /// R2: writes and publishes `n` events from `first` on, which [`vacant`](Self::vacant) said may be
    /// written. Each stamp follows its event, and the first event's stamp comes last of all: until then no
    /// consumer passes the first slot, so that consumers see the whole batch or nothing of it.
    ///
    /// A small first event is written to a private copy, which moves into the slot at the end. So its cache
    /// line, too, comes from the other core only once. A ring with observers does without the copy, as
    /// `write` copies word by word there.
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
            // the batch reuses the slots by whose stamps `next` would find the position
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
        self.stamp(first);
        // stored once for the whole batch
        self.base = end;
        self.wake_consumers();
        point("batch.published");
        end - 1
    }

    /// Writes the events of a batch, and every stamp but the first event's.
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
        // SAFETY: any bytes are an `E`, by the contract of `Event`, whatever `write` has stored.
        let apart = unsafe { apart.assume_init() };
        // SAFETY: the slot is part of the claim (R2).
        unsafe { self.view.event(first).write(apart) };
    }

    /// Writes the events of a batch after the first, and their stamps.
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

    /// The first event of a batch is written to a private copy in slots up to this size: in larger ones the
    /// copy costs more than it saves.
    const APART_UP_TO_BYTES: usize = 256;

    /// Whether a refresh would free at least `n` slots and an eighth of the ring. Reads only.
    pub(crate) fn is_refresh_worthwhile(&self, n: usize) -> bool {
        let capacity = self.view.capacity() as i64;
        let last = self.next() - 1;
        let gain = match self.scan(last) {
            Some(smallest) => smallest.saturating_sub(self.gate),
            None => capacity,
        };
        gain >= (capacity / 8).max(n as i64)
    }

    /// R5, for a claim of `n` slots. Returns whether they may be written afterwards. The floor moves only if
    /// that makes the claim possible: an attempt that fails takes no event from joiners.
    pub(crate) fn refresh(&mut self, n: usize) -> bool {
        let last = self.next() - 1;
        let m = self.obtainable(last, n);
        point("refresh.scanned");
        if m < self.needed(last, n)
            || (m <= self.floor && self.gate >= self.floor)
            || buggify("refresh.too_early")
        {
            // a refresh gains nothing, but the end of an expectation may lift a limit that lay below the gate
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
        step!(RefreshFence, fence(Ordering::SeqCst));
        point("refresh.fenced");
        let mut second = self.floor;
        step!(RefreshRescan, second = self.scan(last).unwrap_or(second));
        if second < self.floor {
            reached("refresh.second_scan_lowers");
        }
        self.gate = self.gate.max(self.floor.min(second));
        point("refresh.gate");
        self.set_limit(last);
        self.vacant(n).is_some()
    }

    /// Whether a refresh would make a claim of `n` slots possible. Writes nothing shared.
    pub(crate) fn is_obtainable(&mut self, n: usize) -> bool {
        self.vacant(n).is_some() || self.obtainable_slots(n) >= n
    }

    /// How many slots would be free after a refresh for a claim of `n`. Never more than the refresh would
    /// yield: a producer that is promised space does not sleep, and would spin if the refresh did not yield
    /// that space. Writes nothing shared.
    pub(crate) fn obtainable_slots(&mut self, n: usize) -> usize {
        let last = self.next() - 1;
        let floor = self.obtainable(last, n.min(self.view.capacity()));
        // like the second scan of a refresh: a line below the floor keeps the gate there
        let second = self.scan(last).unwrap_or(floor);
        let gate = self.gate.max(floor.min(second));
        (self.limit_at(gate, last) - last) as usize
    }

    /// R5 (1): the floor after a refresh for a claim of `n` slots.
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

    /// The lowest gate that allows a claim of `n` slots; out of reach if `n` is more than the capacity.
    fn needed(&self, last: Sequence, n: usize) -> Sequence {
        let capacity = self.view.capacity();
        if n > capacity {
            return Sequence::MAX;
        }
        last + n as i64 - capacity as i64
    }

    /// While no consumer is registered, the producer runs free. It still keeps events for joiners: it gives
    /// up an eighth of the ring, or as much as this claim takes. After the claim, everything above the floor
    /// is retained again.
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

    /// The smallest sequence of all registered consumers, limited to the last published one: no consumer can
    /// have released more.
    fn scan(&self, last: Sequence) -> Option<Sequence> {
        smallest(self.view.control()).map(|smallest| smallest.min(last))
    }

    /// Whether every published event may have been reused already, so that a late consumer would find none.
    pub(crate) fn is_all_reused(&self) -> bool {
        self.next() - 1 <= self.floor
    }

    /// R11: declares that no event will follow the last published one.
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

    /// Sleeps until consumers have released a quarter of the ring and the space that a claim of `n` slots
    /// takes, or until a consumer comes or goes. If it was woken, returns how long the wake-up took.
    pub(crate) fn sleep_until_space(
        &mut self,
        n: usize,
        longest: Duration,
        is_cancelled: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let last = self.next() - 1;
        let quarter = self.gate + (self.view.capacity() as i64 / 4).max(1);
        // never beyond the last published sequence: a consumer that has drained the ring has released that
        // one and no later one
        let wanted = quarter.max(self.needed(last, n)).min(last);
        let view = self.view;
        sleep::sleep_until_space(view.control(), wanted, longest, || {
            self.is_obtainable(n) || is_cancelled()
        })
    }

    /// Whether `n` more events would pass the last sequence, 2^61 − 1.
    pub(crate) fn is_exhausted(&self, n: usize) -> bool {
        self.next() + n as i64 - 1 > MAX_SEQUENCE
    }
}

/// The stamps of a batch whose first stamp is still missing. If the writer panics, they are zeroed: otherwise
/// the next published event would make them readable.
struct Unseen<E: Event> {
    view: RingView<E>,
    first: Sequence,
    written: usize,
}

impl<E: Event> Unseen<E> {
    fn clear(&self) {
        reached("batch.undone");
        for ahead in 1..=self.written {
            let sequence = self.first + ahead as i64;
            self.view.stamp(sequence).store(0, Ordering::Relaxed);
        }
    }
}

impl<E: Event> Drop for Unseen<E> {
    #[cold]
    fn drop(&mut self) {
        step!(BatchUndo, self.clear());
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
