//! A ring's file with private memory in place of its slots, and the ring's own slots beside it.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::Sequence;
use crate::error::MultiProcessResult;
use crate::layout::control::Control;
use crate::layout::header::{Geometry, HEADER_BYTES};
use crate::layout::slot::SlotShape;
use crate::layout::stamp;
use crate::os::step::Step;
use crate::protocol::{Locks, observe};
use crate::region::file::{FilePlace, FileRegion};
use crate::region::{MemoryReport, Region};
use crate::segment::{Segment, file_error};
use crate::sync::process::AtomicU64 as ProcessWord;
use crate::sync::{AtomicU64, Ordering};

/// The event of the double: as small as a slot can be.
#[derive(Clone, Copy, Debug, disruptor_mp_derive::Event)]
#[repr(transparent)]
#[event(packed_slots)]
pub(super) struct Stand(u64);

/// Bytes of a slot of the double.
const DOUBLE_STRIDE: usize = crate::protocol::view::SlotOf::<Stand>::SHAPE.stride;

/// The words of a slot of the double: [`Stand`] and its stamp.
type DoubleSlot = UnsafeCell<[u64; DOUBLE_STRIDE / 8]>;

/// A ring's file, with private memory in place of its slots.
struct Doubled {
    file: FileRegion,
    double: NonNull<DoubleSlot>,
    layout: std::alloc::Layout,
}

// SAFETY: the region of a file may be shared; the double is memory that this value owns, which the one handle that has
// it accesses as it would access the ring's: through stamps, claims and leases (R2, R3).
unsafe impl Send for Doubled {}
// SAFETY: as for Send.
unsafe impl Sync for Doubled {}

impl Doubled {
    /// `None` if this process cannot get the memory.
    fn new(file: FileRegion, capacity: u64) -> Option<Self> {
        let count = usize::try_from(capacity).ok()?;
        let layout = std::alloc::Layout::array::<DoubleSlot>(count).ok()?;
        debug_assert!(layout.size() > 0, "a ring has a slot");
        // SAFETY: the layout has a size, as a capacity is at least 1.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        Some(Self {
            file,
            double: NonNull::new(memory.cast())?,
            layout,
        })
    }
}

impl Drop for Doubled {
    fn drop(&mut self) {
        // SAFETY: `new` got this memory with this layout, and nothing else frees it.
        unsafe { std::alloc::dealloc(self.double.as_ptr().cast(), self.layout) };
    }
}

impl fmt::Debug for Doubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doubled").field(&self.file).finish()
    }
}

impl Region for Doubled {
    fn control(&self) -> NonNull<Control> {
        self.file.control()
    }

    fn is_writable(&self) -> bool {
        self.file.is_writable()
    }

    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn slots(&self) -> NonNull<u8> {
        self.double.cast()
    }

    fn locks(&self) -> &dyn Locks {
        self.file.locks()
    }

    fn live_word(&self) -> &'static ProcessWord {
        self.file.live_word()
    }

    fn write_header(&self, header: &[u8; HEADER_BYTES]) {
        self.file.write_header(header);
    }

    fn is_name_ours(&self) -> io::Result<bool> {
        self.file.is_name_ours()
    }

    fn is_name_lost(&self) -> bool {
        self.file.is_name_lost()
    }

    fn unlink(&self) -> io::Result<()> {
        self.file.unlink()
    }

    fn sync_control(&self) -> io::Result<()> {
        self.file.sync_control()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn memory(&self) -> MemoryReport {
        self.file.memory()
    }
}

/// The ring's own slots, and their double.
#[derive(Debug)]
pub(super) struct Slots {
    region: Arc<Doubled>,
    shape: SlotShape,
    mask: usize,
    pub(super) size: usize,
}

impl Slots {
    fn index(&self, sequence: Sequence) -> usize {
        sequence as usize & self.mask
    }

    fn slot(&self, sequence: Sequence) -> NonNull<u8> {
        let at = self.index(sequence) * self.shape.stride;
        // SAFETY: the index is less than the capacity, for which the file is mapped (R1).
        unsafe { self.region.file.slots().add(at) }
    }

    fn stamp(&self, sequence: Sequence) -> &AtomicU64 {
        // SAFETY: the stamp lies within its slot by the slot's shape (R1).
        let stamp = unsafe { self.slot(sequence).add(self.shape.stamp_offset) };
        // SAFETY: the stamp is aligned to 8 by the slot's shape, and accessed only atomically (R1).
        unsafe { stamp.cast::<AtomicU64>().as_ref() }
    }

    fn event(&self, sequence: Sequence) -> NonNull<u8> {
        // SAFETY: the event lies within its slot by the slot's shape (R1).
        unsafe { self.slot(sequence).add(self.shape.event_offset) }
    }

    /// Whether the event of `sequence` is published.
    pub(super) fn is_published(&self, sequence: Sequence) -> bool {
        // SYNC POINT publish: pairs with the Release store of the stamp by the ring's producer
        self.stamp(sequence).load(Ordering::Acquire) == stamp::published(sequence)
    }

    /// Stores the stamp of `sequence` in the double.
    pub(super) fn stamp_double(&self, sequence: Sequence) {
        let offset = crate::protocol::view::SlotOf::<Stand>::SHAPE.stamp_offset;
        let at = self.index(sequence) * DOUBLE_STRIDE + offset;
        // SAFETY: the index is less than the capacity, for which the double was made, and the stamp lies in its slot.
        let stamp = unsafe { self.region.double.cast::<u8>().add(at) };
        // SAFETY: the stamp is aligned to 8 by the slot's shape, and accessed only atomically.
        let stamp = unsafe { stamp.cast::<AtomicU64>().as_ref() };
        stamp.store(stamp::published(sequence), Ordering::Release);
    }

    /// Writes the event of `sequence`, which the caller has claimed (R2), and its stamp.
    pub(super) fn publish(&self, sequence: Sequence, event: &[u8], is_observed: bool) {
        debug_assert_eq!(event.len(), self.size);
        let slot = self.event(sequence);
        match is_observed {
            // SAFETY: the slot's event has this many bytes and is claimed; nobody reads it before its stamp (R2, R3).
            false => unsafe {
                slot.copy_from_nonoverlapping(NonNull::from(event).cast(), self.size)
            },
            true => observe::write(self.stamp(sequence), sequence, || store_bytes(slot, event)),
        }
        // SYNC POINT publish: pairs with the Acquire load in `ConsumerCore::is_published`
        let stamp = self.stamp(sequence);
        stamp.store(stamp::published(sequence), Ordering::Release);
    }

    /// Copies the event of `sequence`, which is published and not released by this consumer (R3).
    pub(super) fn read(&self, sequence: Sequence, event: &mut [u8]) {
        debug_assert_eq!(event.len(), self.size);
        let to = NonNull::from(event).cast();
        // SAFETY: the slot's event has this many bytes and is not written before this consumer releases it (R3, R4).
        unsafe { self.event(sequence).copy_to_nonoverlapping(to, self.size) };
    }
}

/// Copies an event into a claimed slot of a ring with observers, in the words in which they read it (R13). The slot's
/// event begins at a multiple of 8.
fn store_bytes(slot: NonNull<u8>, event: &[u8]) {
    let (words, tail) = event.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = MaybeUninit::new(u64::from_ne_bytes(*word));
        // SAFETY: the word lies within the slot's event.
        let to = unsafe { slot.add(index * 8) };
        // SAFETY: the value is initialised; the caller guarantees a claimed slot, aligned to 8 (R2, R13).
        unsafe { observe::store_words(&word, to.cast()) };
    }
    for (index, byte) in tail.iter().enumerate() {
        // SAFETY: the byte lies within the slot's event.
        let to = unsafe { slot.add(words.len() * 8 + index) };
        // SAFETY: a reference to claimed memory of one byte, which is accessed only atomically (R13).
        let to = unsafe { to.cast::<core::sync::atomic::AtomicU8>().as_ref() };
        to.store(*byte, core::sync::atomic::Ordering::Relaxed);
    }
}

/// A segment whose slots are a double, and the slots themselves.
pub(super) fn double(
    place: &FilePlace,
    file: FileRegion,
    geometry: Geometry,
    size: u64,
) -> MultiProcessResult<(Segment<Stand>, Slots)> {
    let no_memory = || {
        let source = io::Error::from(io::ErrorKind::OutOfMemory);
        file_error(place, Step::Map.failed(source))
    };
    let region = Arc::new(Doubled::new(file, geometry.capacity).ok_or_else(no_memory)?);
    let slots = Slots {
        region: Arc::clone(&region),
        shape: geometry.shape,
        mask: geometry.capacity as usize - 1,
        size: usize::try_from(size).map_err(|_| no_memory())?,
    };
    // the handle writes and reads no slot of the ring, so it need not know of the ring's observers
    let segment = Segment::new(&place.leaf, region, geometry.capacity, false);
    Ok((segment, slots))
}
