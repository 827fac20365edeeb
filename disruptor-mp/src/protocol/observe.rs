//! Observers: R13. An observer reads a ring that was created for observers, and no party waits for it.
//!
//! The producer of such a ring marks a slot busy, writes the event word by word over that of the last lap,
//! and stores the stamp. An observer copies the words and loads the stamp once more: if it is still the same,
//! the copy is whole. Observers write nothing but a sleeper's bit.
//!
//! A producer that dies in between leaves a busy slot, which is not published, and a takeover zeroes its
//! stamp like every stamp above the head. A batch whose writer panics zeroes its stamps, too. The slot's
//! previous event is lost then, and its stamp does not show that the event was published; the floor does.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::Sequence;
use crate::event::Event;
use crate::layout::stamp;
use crate::sync::{AtomicI64, AtomicU64, Ordering, fence, process};

/// What an observer finds in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The event, whole.
    Seen,
    /// The slot has an older event, or one that is being written.
    NotYet,
    /// The slot has a later event, one that was being written over the event, or no event any more.
    Overwritten,
}

/// Writes the event of `sequence` with `copy`, marked so that a concurrent reader can tell. The event is not
/// published yet.
#[inline(always)]
pub(crate) fn write(stamp: &AtomicU64, sequence: Sequence, copy: impl FnOnce()) {
    step!(
        ObserveBusy,
        stamp.store(stamp::busy(sequence), Ordering::Relaxed)
    );
    // SYNC POINT observe: pairs with the Acquire fence in `read`: a reader of one of the words sees the busy
    // stamp, too
    step!(ObserveWriteFence, fence(Ordering::Release));
    copy();
}

/// Reads the event of `sequence` with `copy`; the copied bytes count only if the result is [`Sight::Seen`].
#[inline(always)]
pub(crate) fn read(
    stamp: &AtomicU64,
    floor: &AtomicI64,
    sequence: Sequence,
    copy: impl FnOnce(),
) -> Sight {
    // SYNC POINT publish: pairs with the Release store of the stamp in `ProducerCore`.
    let before = stamp.load(Ordering::Acquire);
    if before != stamp::published(sequence) {
        return match stamp::sequence_of(before) {
            Some(found) if found > sequence => Sight::Overwritten,
            _ if is_taken_back(stamp, before, floor, sequence) => Sight::Overwritten,
            _ => Sight::NotYet,
        };
    }
    copy();
    // SYNC POINT observe
    step!(ObserveReadFence, fence(Ordering::Acquire));
    let mut after = before;
    step!(ObserveReread, after = stamp.load(Ordering::Relaxed));
    match after == before {
        true => Sight::Seen,
        false => Sight::Overwritten,
    }
}

/// Whether the event of `sequence` was published although the stamp `before` does not say so: its slot was
/// claimed for a later event, which was never published, and the stamp was zeroed.
#[inline(always)]
fn is_taken_back(stamp: &AtomicU64, before: u64, floor: &AtomicI64, sequence: Sequence) -> bool {
    // SYNC POINT observe-floor: pairs with the Release store in `ProducerCore::refresh`: a reader that finds
    // the floor there sees the stamps of everything up to it, too. The stamp may have been stored between the
    // two loads, so it is loaded again.
    let mut passed = -1;
    step!(ObserveFloor, passed = floor.load(Ordering::Acquire));
    if passed < sequence {
        return false;
    }
    let mut after = before;
    step!(ObserveFloorReread, after = stamp.load(Ordering::Relaxed));
    after == before
}

/// Copies an event into a slot, word by word.
///
/// # Safety
///
/// `event` is initialised. `slot` is the event of a slot that the caller has claimed (R2): valid for writes,
/// aligned to 8.
pub(crate) unsafe fn store_words<E: Event>(event: &MaybeUninit<E>, slot: NonNull<E>) {
    // SAFETY: the caller guarantees that the bytes are initialised; an `E` has no padding; a shared borrow
    // covers them.
    let bytes = unsafe { core::slice::from_raw_parts(event.as_ptr().cast::<u8>(), size_of::<E>()) };
    // SAFETY: the caller guarantees a slot that is valid and aligned to 8, and accessed only atomically (R13).
    let (words, rest) = unsafe { words_of(slot) };
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    for (to, byte) in rest.iter().zip(tail) {
        to.store(*byte, Ordering::Relaxed);
    }
}

/// Copies an event word by word out of a slot that may be written meanwhile.
///
/// # Safety
///
/// `event` is initialised. `slot` is the event of a slot of a ring with observers: valid for reads, aligned to 8, and
/// written by [`store_words`] alone.
pub(crate) unsafe fn load_words<E: Event>(slot: NonNull<E>, event: &mut MaybeUninit<E>) {
    let at = event.as_mut_ptr().cast::<u8>();
    // SAFETY: the caller guarantees that the bytes are initialised, and they are borrowed mutably.
    let bytes = unsafe { core::slice::from_raw_parts_mut(at, size_of::<E>()) };
    // SAFETY: the caller guarantees a slot that is valid and aligned to 8, and accessed only atomically (R13).
    let (words, rest) = unsafe { words_of(slot) };
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    for (byte, from) in tail.iter_mut().zip(rest) {
        *byte = from.load(Ordering::Relaxed);
    }
}

/// The event in a slot as words, and the bytes after the last whole word.
///
/// # Safety
///
/// `slot` is valid and aligned to 8, and every access to it is atomic as long as the result lives (R13).
unsafe fn words_of<'a, E>(slot: NonNull<E>) -> (&'a [process::AtomicU64], &'a [process::AtomicU8]) {
    let count = size_of::<E>() / 8;
    // SAFETY: the words lie within the event, which the caller guarantees to be valid and aligned to 8 (R13).
    let words = unsafe { core::slice::from_raw_parts(slot.cast().as_ptr(), count) };
    // SAFETY: the offset lies within the event, or at its end.
    let rest = unsafe { slot.cast::<u8>().add(count * 8) };
    // SAFETY: these are the bytes from there to the event's end, which are valid as well (R13).
    let rest = unsafe { core::slice::from_raw_parts(rest.cast().as_ptr(), size_of::<E>() % 8) };
    (words, rest)
}
