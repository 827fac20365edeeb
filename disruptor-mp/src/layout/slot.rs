//! The slot: stamp and event. Its shape is a `const fn` of the event's size and alignment, chosen by measurement
//! (`rfcs/0002-slot-shape-and-policies.md`).
//!
//! ```text
//! up to 56 B     | event .... | stamp | pad to 64 |                   one line per event
//! packed         | event | stamp | event | stamp | ...               tiny events, published in batches
//! 57 .. 248 B    | event ................ | stamp | pad to 32 |      half lines: two slots never share one
//! from 249 B     | stamp, pad to 64 | event, pad to 64 ... |         the body starts on a line of its own
//! with a head    | stamp, pad, head | body, pad to 64 .... |         the event's first bytes lie in the stamp's line
//! ```

use super::align_up;
use crate::sync::AtomicU64;

/// Bytes of a stamp: 8, except under the model checker, whose atomics are larger.
const STAMP_BYTES: usize = size_of::<AtomicU64>();
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
/// Stores that cross a boundary of this many bytes cost more than those that do not.
const HALF_LINE: usize = 32;
/// Slots longer than this start with a cache line for their stamp.
const STAMP_LAST_UP_TO: usize = 256;
/// The strictest alignment that an event may ask for, as a segment's slots start on a page.
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
    /// The shape for an event of `size` and `align` bytes. Where the body starts on a cache line of its own,
    /// the first `head` bytes lie in the stamp's line.
    pub(crate) const fn new(size: usize, align: usize, packed: bool, head: usize) -> Self {
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
            let event_offset = align_up(CACHE_LINE, align) - Self::head(align, head);
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

    /// How many bytes of the event's head lie between the stamp and the end of its cache line: a multiple of
    /// the alignment, and of 8 so that observers can copy words. 0 if the head does not fit there.
    const fn head(align: usize, head: usize) -> usize {
        let head = align_up(
            head,
            if align > STAMP_BYTES {
                align
            } else {
                STAMP_BYTES
            },
        );
        if head + STAMP_BYTES <= CACHE_LINE {
            head
        } else {
            0
        }
    }

    /// Whether some event of `size` and `align` bytes has this shape.
    pub(crate) fn is_for(self, size: usize, align: usize) -> bool {
        let mut heads = (0..CACHE_LINE).step_by(STAMP_BYTES);
        self == Self::new(size, align, true, 0)
            || heads.any(|head| self == Self::new(size, align, false, head))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn shape(size: usize, align: usize, packed: bool) -> (usize, usize, usize) {
        let shape = SlotShape::new(size, align, packed, 0);
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

    fn with_each_align(head: usize) -> impl Iterator<Item = (usize, usize)> {
        [1, 2, 4, 8, 16, 32, 64, 128, 4096]
            .into_iter()
            .map(move |align| (align, head))
    }

    #[test]
    fn a_head_lies_in_the_line_of_the_stamp() {
        let offset = |size, align, head| SlotShape::new(size, align, false, head).event_offset;
        assert_eq!(offset(65_552, 16, 16), 48);
        assert_eq!(offset(65_548, 1, 12), 48);
        assert_eq!(offset(65_548, 1, 56), 8);
        assert_eq!(offset(65_600, 64, 16), 64, "no room for an aligned one");
        assert_eq!(offset(65_548, 1, 57), 64, "no room beside the stamp");
        assert_eq!(offset(200, 8, 16), 0, "the stamp comes last");
    }

    #[test]
    fn alignment_is_kept() {
        for (align, head) in [0, 12, 16, 40, 56, 80]
            .into_iter()
            .flat_map(with_each_align)
        {
            for size in [1, 7, 8, 48, 56, 57, 255, 256, 1000, 65536] {
                let size = align_up(size, align);
                for packed in [false, true] {
                    let shape = SlotShape::new(size, align, packed, head);
                    assert!(packed || shape.is_for(size, align));
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
