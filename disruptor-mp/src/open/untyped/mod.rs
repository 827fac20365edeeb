//! Endpoints for programs that do not know the event type: events as bytes, on a ring of a recorded event layout.
//!
//! Everything but the slots is done by a [`Producer`](crate::Producer) or a [`Consumer`](crate::Consumer) for an event type of eight bytes. Their
//! control lines, locks and name are the ring's own. Their slots are private memory, a *double* of the ring's slots:
//! an endpoint here copies the event's bytes to or from the ring, and does to the double what the handle expects of a
//! ring. So the protocol's steps are the handles' own, and in their order: a real stamp is stored where the handle
//! writes its event, after the claim (R2) and before it searches for sleepers (R9); and a real stamp is loaded, and
//! its event copied, before the handle finds the stamp in the double and holds the event (R3).

mod consumer;
mod double;
mod producer;

use crate::error::MultiProcessError;
use crate::inspect::RingInfo;
use crate::layout::slot::SlotShape;
use crate::region::file::FilePlace;

pub use consumer::UntypedConsumer;
pub use producer::UntypedProducer;

/// An event layout that is known by its numbers alone: what a ring's header records of its event type and slots.
///
/// # Examples
///
/// ```
/// use disruptor_mp::UntypedEvent;
/// use disruptor_mp::inspect::Inspector;
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let event = UntypedEvent::of(Inspector::open_shared_memory(&name)?.info());
/// assert_eq!((event.size, event.align, event.stride, event.stamp_offset), (8, 8, 64, 8));
/// assert!(event.is_valid());
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntypedEvent {
    /// Bytes of an event.
    pub size: u64,
    /// Its alignment.
    pub align: u64,
    /// The hash of its fields, [`Event::LAYOUT_ID`](crate::Event::LAYOUT_ID).
    pub layout_id: u64,
    /// Name and fields in words; a header keeps 256 bytes of it.
    pub text: String,
    /// Bytes from one slot to the next.
    pub stride: u64,
    /// From a slot's start to its event.
    pub event_offset: u64,
    /// From a slot's start to its stamp.
    pub stamp_offset: u64,
}

impl UntypedEvent {
    /// The layout of a ring that was opened for inspection.
    pub fn of(info: &RingInfo) -> Self {
        Self {
            size: info.event.size,
            align: info.event.align,
            layout_id: info.event.layout_id,
            text: info.event.text.clone(),
            stride: info.stride,
            event_offset: info.event_offset,
            stamp_offset: info.stamp_offset,
        }
    }

    /// Whether some event type has this layout.
    pub fn is_valid(&self) -> bool {
        self.shape().is_some()
    }

    /// The slot's shape; `None` if no event of this size and alignment has it.
    fn shape(&self) -> Option<SlotShape> {
        const SIZE_MAX: usize = 1 << 40;
        let number = |number| usize::try_from(number).ok();
        let (size, align) = (number(self.size)?, number(self.align)?);
        let is_type = (1..=SIZE_MAX).contains(&size)
            && align.is_power_of_two()
            && align <= crate::event::EVENT_ALIGN_MAX
            && size.is_multiple_of(align)
            && self.layout_id != 0;
        let shape = SlotShape {
            stride: number(self.stride)?,
            event_offset: number(self.event_offset)?,
            stamp_offset: number(self.stamp_offset)?,
        };
        (is_type && shape.is_for(size, align)).then_some(shape)
    }
}

fn taken(place: &FilePlace) -> MultiProcessError {
    in_use(place, "the name is taken: choose another name")
}

fn in_use(place: &FilePlace, who: &str) -> MultiProcessError {
    MultiProcessError::InUse {
        name: place.shown(),
        who: who.to_owned(),
    }
}
