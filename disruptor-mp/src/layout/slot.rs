//! The slot: stamp and event. Its shape is a `const fn` of the event's size and alignment, chosen by measurement
//! (`rfcs/0002-slot-shape-and-policies.md`).
//!
//! ```text
//! up to 56 B     | event .... | stamp | pad to 64 |                   one line per event
//! packed         | event | stamp | event | stamp | ...               tiny events, published in batches
//! 57 .. 248 B    | event ................ | stamp | pad to 32 |      half lines: none is written by two runs of stores
//! from 249 B     | stamp, pad to 64 | event, pad to 64 ... |         the body starts on a line of its own
//! ```

use core::marker::PhantomData;

use super::align_up;
use crate::Event;
use crate::sync::AtomicU64;

/// Bytes of a stamp: 8, but for the model checker's own atomics.
const STAMP_BYTES: usize = size_of::<AtomicU64>();
/// A cache line as the machine moves it.
const CACHE_LINE: usize = 64;
/// Stores that cross such a boundary cost more than those that do not.
const HALF_LINE: usize = 32;
/// Slots longer than this start with a line for their stamp.
const STAMP_LAST_UP_TO: usize = 256;
/// The strictest alignment an event may ask for: a segment's slots start on a page.
const MAX_ALIGN: usize = 4096;

/// Where things are in a slot, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotShape {
    /// From one slot to the next.
    pub(crate) stride: usize,
    /// From the slot's start to the event.
    pub(crate) event_offset: usize,
    /// From the slot's start to the stamp.
    pub(crate) stamp_offset: usize,
}

impl SlotShape {
    /// The shape for an event of `size` and `align` bytes.
    pub(crate) const fn new(size: usize, align: usize, packed: bool) -> Self {
        assert!(size > 0, "an event must have a size");
        assert!(
            align <= MAX_ALIGN,
            "an event's alignment may be 4096 at the most"
        );
        let stamp_offset = align_up(size, align_of::<AtomicU64>());
        let used = stamp_offset + STAMP_BYTES;
        let unit = if packed {
            align_of::<AtomicU64>()
        } else if used <= CACHE_LINE {
            CACHE_LINE
        } else if used <= STAMP_LAST_UP_TO {
            HALF_LINE
        } else {
            let event_offset = align_up(CACHE_LINE, align);
            let unit = if align > CACHE_LINE {
                align
            } else {
                CACHE_LINE
            };
            return Self {
                stride: align_up(event_offset + size, unit),
                event_offset,
                stamp_offset: 0,
            };
        };
        let unit = if align > unit { align } else { unit };
        Self {
            stride: align_up(used, unit),
            event_offset: 0,
            stamp_offset,
        }
    }
}

/// The shape of the slots that hold `E`, known to the compiler so that no division and no bound check is left.
#[derive(Debug)]
pub(crate) struct SlotOf<E>(PhantomData<E>);

impl<E: Event> SlotOf<E> {
    /// See [`SlotShape::new`].
    pub(crate) const SHAPE: SlotShape =
        SlotShape::new(size_of::<E>(), align_of::<E>(), E::PACKED_SLOTS);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn shape(size: usize, align: usize, packed: bool) -> (usize, usize, usize) {
        let shape = SlotShape::new(size, align, packed);
        (shape.stride, shape.event_offset, shape.stamp_offset)
    }

    #[test]
    fn measured_sizes() {
        assert_eq!(shape(8, 8, false), (64, 0, 8));
        assert_eq!(shape(56, 8, false), (64, 0, 56));
        assert_eq!(shape(64, 8, false), (96, 0, 64));
        assert_eq!(shape(248, 8, false), (256, 0, 248));
        assert_eq!(shape(256, 8, false), (320, 64, 0));
        assert_eq!(shape(1024, 8, false), (1088, 64, 0));
        assert_eq!(shape(8, 8, true), (16, 0, 8));
        assert_eq!(shape(1, 1, true), (16, 0, 8));
        assert_eq!(shape(24, 8, true), (32, 0, 24));
    }

    #[test]
    fn alignment_is_kept() {
        for align in [1, 2, 4, 8, 16, 32, 64, 128, 4096] {
            for size in [1, 7, 8, 48, 56, 57, 255, 256, 1000, 65536] {
                let size = align_up(size, align);
                for packed in [false, true] {
                    let shape = SlotShape::new(size, align, packed);
                    assert_eq!(shape.event_offset % align, 0);
                    assert_eq!(shape.stride % align, 0);
                    assert_eq!(shape.stride % 8, 0);
                    assert_eq!(shape.stamp_offset % 8, 0);
                    let stamp = shape.stamp_offset..shape.stamp_offset + 8;
                    let event = shape.event_offset..shape.event_offset + size;
                    assert!(stamp.end <= event.start || event.end <= stamp.start);
                    assert!(stamp.end <= shape.stride && event.end <= shape.stride);
                }
            }
        }
    }
}
