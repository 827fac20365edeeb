//! Typed pointers to the sections of one segment.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::event::Event;
use crate::layout::control::Control;
use crate::layout::slot::SlotShape;
use crate::sync::AtomicU64;

/// The shape of the slots that hold `E`, a constant so that the compiler leaves no division and no bounds check.
#[derive(Debug)]
pub(crate) struct SlotOf<E>(PhantomData<E>);

impl<E: Event> SlotOf<E> {
    /// See [`SlotShape::new`].
    pub(crate) const SHAPE: SlotShape = SlotShape::new(
        size_of::<E>(),
        align_of::<E>(),
        E::PACKED_SLOTS,
        E::HEAD_BYTES,
    );
}

/// A ring's control lines and slots. Copies are views of the same segment; the owner of a view keeps the
/// segment mapped.
#[derive(Debug)]
pub(crate) struct RingView<E> {
    control: NonNull<Control>,
    slots: NonNull<u8>,
    /// Private copy of capacity − 1 (R1).
    mask: usize,
    event: PhantomData<*mut E>,
}

// SAFETY: the view is two addresses; control lines and stamps are atomic; only the holder of a claim (R2) or
// of a lease (R3) accesses an event, or an observer does so atomically (R13).
unsafe impl<E: Event> Send for RingView<E> {}
// SAFETY: as for Send.
unsafe impl<E: Event> Sync for RingView<E> {}

impl<E> Clone for RingView<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for RingView<E> {}

impl<E: Event> RingView<E> {
    /// # Safety
    ///
    /// `control` points to control lines and `slots` to `capacity` slots of `E`'s shape, both valid for atomic
    /// access as long as any copy of the view is used, and `capacity` is a power of two that was validated (R1).
    /// A view whose slots are mapped read-only is never given to a producer.
    pub(crate) unsafe fn new(
        control: NonNull<Control>,
        slots: NonNull<u8>,
        capacity: usize,
    ) -> Self {
        debug_assert!(capacity.is_power_of_two());
        Self {
            control,
            slots,
            mask: capacity - 1,
            event: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> usize {
        self.mask + 1
    }

    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: the caller of `new` guarantees control lines that outlive the view; all their words are atomic (R1).
        unsafe { self.control.as_ref() }
    }

    #[inline(always)]
    fn slot(&self, sequence: i64) -> NonNull<u8> {
        let index = sequence as usize & self.mask;
        // SAFETY: index < capacity by the mask, so the slot lies within the ring that the caller of `new`
        // guarantees (R1).
        unsafe { self.slots.add(index * SlotOf::<E>::SHAPE.stride) }
    }

    /// The stamp of the slot that `sequence` falls on.
    #[inline(always)]
    pub(crate) fn stamp(&self, sequence: i64) -> &AtomicU64 {
        // SAFETY: the stamp lies within its slot by the slot's shape (R1).
        let stamp = unsafe { self.slot(sequence).add(SlotOf::<E>::SHAPE.stamp_offset) };
        // SAFETY: the stamp is aligned to 8 by the slot's shape, and accessed only atomically (R1).
        unsafe { stamp.cast::<AtomicU64>().as_ref() }
    }

    /// The event of the slot that `sequence` falls on. Writing needs a claim (R2), reading a lease (R3).
    #[inline(always)]
    pub(crate) fn event(&self, sequence: i64) -> NonNull<E> {
        // SAFETY: the event lies within its slot by the slot's shape (R1).
        unsafe { self.slot(sequence).add(SlotOf::<E>::SHAPE.event_offset) }.cast()
    }

    /// Prefetches the cache line of a slot that a reader of `sequence` reads soon. This pays only where slots
    /// share cache lines: the processor fetches other slots as early by itself.
    #[inline(always)]
    pub(crate) fn prefetch_after(&self, sequence: i64) {
        const AHEAD_BYTES: usize = 256;
        let stride = SlotOf::<E>::SHAPE.stride;
        if stride < 64 {
            prefetch(self.slot(sequence.wrapping_add((AHEAD_BYTES / stride) as i64)));
        }
    }
}

/// A hint; it does nothing on processors without a stable intrinsic.
#[inline(always)]
fn prefetch(at: NonNull<u8>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that the program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
