//! Typed pointers to the sections of one segment.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::Event;
use crate::layout::control::Control;
use crate::layout::slot::SlotOf;
use crate::sync::AtomicU64;

/// A ring's control lines and slots. Copies are views of the same segment; whoever makes one keeps the segment.
#[derive(Debug)]
pub(crate) struct RingView<E> {
    control: NonNull<Control>,
    slots: NonNull<u8>,
    /// Private copy of capacity − 1 (R1).
    mask: usize,
    event: PhantomData<*mut E>,
}

// SAFETY: the view is two addresses; control lines and stamps are atomic, and events are reached only by those who
// hold a claim (R2) or a lease (R3).
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
        // SAFETY: `new` demands control lines that outlive the view; all their words are atomic (R1).
        unsafe { self.control.as_ref() }
    }

    #[inline(always)]
    fn slot(&self, sequence: i64) -> NonNull<u8> {
        let index = sequence as usize & self.mask;
        // SAFETY: index < capacity by the mask, so the slot lies within the ring that `new` demands (R1).
        unsafe { self.slots.add(index * SlotOf::<E>::SHAPE.stride) }
    }

    /// The stamp of the slot that `sequence` falls on.
    #[inline(always)]
    pub(crate) fn stamp(&self, sequence: i64) -> &AtomicU64 {
        let slot = self.slot(sequence).cast::<AtomicU64>();
        // SAFETY: a slot starts with its stamp, aligned to 8 by the slot's shape; accessed atomically only (R1).
        unsafe { slot.as_ref() }
    }

    /// The event of the slot that `sequence` falls on. Writing needs a claim (R2), reading a lease (R3).
    #[inline(always)]
    pub(crate) fn event(&self, sequence: i64) -> NonNull<E> {
        // SAFETY: the event lies within its slot by the slot's shape (R1).
        unsafe { self.slot(sequence).add(SlotOf::<E>::SHAPE.event_offset) }.cast()
    }
}
