//! Endpoints for programs that do not know the event type: events as bytes, on a ring of a recorded event layout.
//!
//! Everything but the slots is done by a [`Producer`] or a [`Consumer`] for an event type of eight bytes. Their
//! control lines, locks and name are the ring's own. Their slots are private memory, a *double* of the ring's slots:
//! an endpoint here copies the event's bytes to or from the ring, and does to the double what the handle expects of a
//! ring. So the protocol's steps are the handles' own, and in their order: a real stamp is stored where the handle
//! writes its event, after the claim (R2) and before it searches for sleepers (R9); and a real stamp is loaded, and
//! its event copied, before the handle finds the stamp in the double and holds the event (R3).

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Sequence;
use crate::cause::why_not_opened;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError, SendError};
use crate::handles::consumer::{Consumer, check_id};
use crate::handles::diagnosis;
use crate::handles::kinds::MappedFile;
use crate::handles::producer::{CloseReport, Producer};
use crate::inspect::{Inspector, RingInfo};
use crate::layout::control::Control;
use crate::layout::header::{EventRecord, Geometry, HEADER_BYTES, Header};
use crate::layout::lock_bytes::{LOCK_BYTES_END, PRODUCER_BYTE, VOUCHED_BYTE};
use crate::layout::slot::SlotShape;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::open::backing::{MmapTransportLayout, RingLocation};
use crate::open::builder::automatic_id;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, ReserveError, page_size, reserve};
use crate::os::names::{self, OpenError};
use crate::os::step::Step;
use crate::os::user::{effective_user, user_text};
use crate::protocol::expect::Expectation;
use crate::protocol::lines::{self, Applicant};
use crate::protocol::takeover::{Found, Inheritance};
use crate::protocol::{Locks, observe};
use crate::region::file::{FilePlace, FileRegion};
use crate::region::{MemoryOptions, MemoryReport, Region};
use crate::segment::{KIND, Segment, current_owner, file_error, is_in_doubt, origin_of};
use crate::sync::process::AtomicU64 as ProcessWord;
use crate::sync::{AtomicU64, Ordering};
use crate::waiting::Habits;
use crate::waiting::deadline::Deadline;

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

/// The event of the double: as small as a slot can be.
#[derive(Clone, Copy, Debug, disruptor_mp_derive::Event)]
#[repr(transparent)]
#[event(packed_slots)]
struct Stand(u64);

/// Bytes of a slot of the double.
const DOUBLE_STRIDE: usize = crate::layout::slot::SlotOf::<Stand>::SHAPE.stride;

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
struct Slots {
    region: Arc<Doubled>,
    shape: SlotShape,
    mask: usize,
    size: usize,
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
    fn is_published(&self, sequence: Sequence) -> bool {
        // SYNC POINT publish: pairs with the Release store of the stamp by the ring's producer
        self.stamp(sequence).load(Ordering::Acquire) == stamp::published(sequence)
    }

    /// Stores the stamp of `sequence` in the double.
    fn stamp_double(&self, sequence: Sequence) {
        let offset = crate::layout::slot::SlotOf::<Stand>::SHAPE.stamp_offset;
        let at = self.index(sequence) * DOUBLE_STRIDE + offset;
        // SAFETY: the index is less than the capacity, for which the double was made, and the stamp lies in its slot.
        let stamp = unsafe { self.region.double.cast::<u8>().add(at) };
        // SAFETY: the stamp is aligned to 8 by the slot's shape, and accessed only atomically.
        let stamp = unsafe { stamp.cast::<AtomicU64>().as_ref() };
        stamp.store(stamp::published(sequence), Ordering::Release);
    }

    /// Writes the event of `sequence`, which the caller has claimed (R2), and its stamp.
    fn publish(&self, sequence: Sequence, event: &[u8], is_observed: bool) {
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
    fn read(&self, sequence: Sequence, event: &mut [u8]) {
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

/// The producer of a new ring whose event type this program does not know.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Inspector, shared_memory_directory};
/// use disruptor_mp::{Deadline, MmapTransportLayout, UntypedEvent, UntypedProducer};
///
/// # let (name, other) = (disruptor_mp::portable_shm_segment_name("doc"), disruptor_mp::portable_shm_segment_name("doc"));
/// let like = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let event = UntypedEvent::of(Inspector::open_shared_memory(&name)?.info());
/// let place = MmapTransportLayout::new(shared_memory_directory(), other.as_str());
/// let mut tx = UntypedProducer::create(&place, &event, 8, 100, false)?;
/// let mut rx = disruptor_mp::subscriber::<u64>(&other)?;
/// assert_eq!(tx.send(&7_u64.to_ne_bytes(), Deadline::NEVER)?, 100);
/// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (100, 7));
/// tx.close()?;
/// # drop(rx);
/// # like.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UntypedProducer {
    handle: Producer<Stand, MappedFile>,
    slots: Slots,
    is_observed: bool,
}

impl UntypedProducer {
    /// Creates a ring, as [`publisher`](crate::publisher) does: it keeps every event for the first consumer. A ring or
    /// another file of that name is not replaced and not taken over.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::InUse`] if the name is taken, [`MultiProcessError::InvalidCapacity`] if no event type has
    /// this layout, and what the system refuses.
    pub fn create(
        place: &MmapTransportLayout,
        event: &UntypedEvent,
        capacity: usize,
        first_sequence: Sequence,
        with_observers: bool,
    ) -> MultiProcessResult<Self> {
        let place = RingLocation::File(place.clone()).file(false, None)?;
        let refused = |failed| file_error(&place, failed);
        let failed = |step: Step| move |source: io::Error| step.failed(source);
        let options = MemoryOptions::default();
        let invalid = |reason| MultiProcessError::InvalidCapacity {
            capacity,
            event_bytes: usize::try_from(event.size).unwrap_or(usize::MAX),
            reason,
        };
        let shape = event
            .shape()
            .ok_or_else(|| invalid("no event type has such a layout"))?;
        if !capacity.is_power_of_two() {
            return Err(invalid("the number of slots must be a power of two"));
        }
        if !(0..=MAX_SEQUENCE).contains(&first_sequence) {
            return Err(invalid("the first sequence must be between 0 and 2^61 - 1"));
        }
        if place.full_path().symlink_metadata().is_ok() {
            return Err(taken(&place));
        }
        // the steps of `segment::create`, in their order
        let file = place
            .directory
            .create_nameless(&place.leaf, options.mode, KIND, false)
            .map_err(refused)?;
        let locks = LockFile::reopen(file.as_fd())
            .map_err(failed(Step::Reopen))
            .map_err(refused)?;
        let lock = |byte| {
            locks
                .try_lock(byte)
                .map_err(failed(Step::Lock))
                .map_err(refused)
        };
        let is_locked = lock(PRODUCER_BYTE)?;
        let _ = lock(VOUCHED_BYTE)?;
        if !is_locked
            || !file
                .is_intact()
                .map_err(failed(Step::LookAtFile))
                .map_err(refused)?
        {
            return Err(taken(&place));
        }
        let unit = names::file_system_page_size(file.as_fd());
        let geometry = Geometry::new(capacity, shape, unit)
            .ok_or_else(|| invalid("it is too large to map"))?;
        reserve(file.as_fd(), geometry.segment_len).map_err(|error| match error {
            ReserveError::NoSpace(shortage) => MultiProcessError::NoSpace {
                name: place.shown(),
                needed_bytes: shortage.needed,
                free_bytes: shortage.free,
                limited_by: shortage.limit.to_string(),
            },
            ReserveError::Io(source) => {
                refused(Step::Reserve.failed(source).of_bytes(geometry.segment_len))
            }
        })?;
        let fd = file.as_fd();
        let (whole, access) = (place.clone(), Access::ReadWrite);
        let region =
            FileRegion::map_whole(whole, fd, locks, geometry, &options, access).map_err(refused)?;
        region.write_control(Control::new(first_sequence));
        let (segment, slots) = double(&place, region, geometry, event.size)?;
        let line = &segment.control().producer;
        line.owner.store(current_owner());
        let here = origin_of(fd)
            .map_err(failed(Step::LookAtFile))
            .map_err(refused)?;
        line.origin.store(here);
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let header = Header {
            geometry,
            event: EventRecord {
                id: event.layout_id,
                size: event.size,
                align: event.align,
                text: event.text.clone(),
            },
            first_sequence,
            creator: current_owner(),
            created_unix_ns: created.as_nanos() as u64,
            page_size: page_size() as u32,
            is_observed: with_observers,
            name: place.leaf.clone(),
        };
        segment.region().write_header(&header.encode());
        match file.publish() {
            Ok(_) => {}
            Err((error, _)) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(taken(&place));
            }
            Err((error, _)) => return Err(refused(Step::NameFile.failed(error))),
        }
        let start = Inheritance {
            next: first_sequence,
            floor: first_sequence - 1,
            epoch: 0,
            found: Found::Nothing,
        };
        let expected = Expectation::new(Vec::new(), true);
        Ok(Self {
            handle: Producer::new(segment, start, expected, Habits::default()),
            slots,
            is_observed: with_observers,
        })
    }

    /// Publishes an event, waiting for a free slot until the deadline. Returns its sequence.
    ///
    /// # Errors
    ///
    /// As [`Producer::send`].
    ///
    /// # Panics
    ///
    /// If `event` has another size than the ring's events, and in a forked process.
    pub fn send(&mut self, event: &[u8], deadline: Deadline) -> Result<Sequence, SendError> {
        assert_eq!(
            event.len(),
            self.slots.size,
            "an event of this ring has {} bytes",
            self.slots.size
        );
        // only this call publishes, so the sequence stays the same while it waits
        let sequence = self.handle.last_published_sequence() + 1;
        let (slots, is_observed) = (&self.slots, self.is_observed);
        self.handle
            .send(deadline, |_| slots.publish(sequence, event, is_observed))
    }

    /// Closes the ring, as [`Producer::close`] does.
    ///
    /// # Errors
    ///
    /// As [`Producer::close`].
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        self.handle.close()
    }
}

/// A consumer of a ring whose event type this program does not know. The producer waits for it as for any other.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::Inspector;
/// use disruptor_mp::{Deadline, UntypedConsumer};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let mut tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let mut rx = UntypedConsumer::attach(&Inspector::open_shared_memory(&name)?, None)?;
/// tx.send_value(7, Deadline::NEVER)?;
/// let mut bytes = [0; 8];
/// assert_eq!(rx.try_recv(&mut bytes)?, Some(0));
/// assert_eq!(u64::from_ne_bytes(bytes), 7);
/// assert_eq!(rx.try_recv(&mut bytes)?, None);
/// rx.release();                                        // the producer may use the slot again
/// assert_eq!(rx.next_sequence(), 1);
/// rx.detach()?;
///
/// let ring = Inspector::open_shared_memory(&name)?;
/// let rx = UntypedConsumer::attach(&ring, Some("recorder"))?;
/// assert!(!rx.has_rejoined());
/// rx.leave()?;                                         // no place is kept for it
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UntypedConsumer {
    handle: Consumer<Stand, MappedFile>,
    slots: Slots,
    has_rejoined: bool,
}

impl UntypedConsumer {
    /// Attaches to a ring that was opened for inspection, with an automatic id or as a durable consumer of this id. It
    /// starts at the oldest retained event, or where the consumer of this id stopped. Needs permission to write the
    /// file, which may belong to another user: the caller has chosen that file, and reads it already.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]. [`MultiProcessError::InUse`] when the ring's events are in doubt after a restart:
    /// only a program that knows the event type settles that.
    pub fn attach(ring: &Inspector, id: Option<&str>) -> MultiProcessResult<Self> {
        let (id, is_durable) = match id {
            Some(id) => (check_id(id)?, true),
            None => (automatic_id(), false),
        };
        let path = ring.path();
        let (Some(root), Some(leaf)) = (
            path.parent(),
            path.file_name().and_then(|leaf| leaf.to_str()),
        ) else {
            unreachable!("an inspector has the path of a file whose name is UTF-8");
        };
        let place = FilePlace::new(names::Directory::at(root), leaf, None);
        let refused = |failed| file_error(&place, failed);
        let failed = |step: Step| move |source: io::Error| step.failed(source);
        let fd = open_to_attach(&place)?;
        let is_same = ring.is_of_file(fd.as_fd());
        if !is_same.map_err(failed(Step::LookAtFile)).map_err(refused)? {
            return Err(in_use(
                &place,
                "another ring has got its name meanwhile: try again",
            ));
        }
        let header = ring.header();
        let locks = LockFile::reopen(fd.as_fd())
            .map_err(failed(Step::Reopen))
            .map_err(refused)?;
        let here = origin_of(fd.as_fd())
            .map_err(failed(Step::Settle))
            .map_err(refused)?;
        // a doubt is settled before any process takes another lock than the producer's
        let is_settled = locks
            .any_held_by_other(PRODUCER_BYTE + 1..LOCK_BYTES_END)
            .map_err(failed(Step::Lock))
            .map_err(refused)?
            .is_some();
        if !is_settled
            && is_in_doubt(fd.as_fd(), &here)
                .map_err(failed(Step::Settle))
                .map_err(refused)?
        {
            let who = "its events are in doubt after a restart: start its producer or one of its consumers first";
            return Err(in_use(&place, who));
        }
        let options = MemoryOptions::default();
        let geometry = header.geometry;
        let region =
            FileRegion::map_for_reading(place.clone(), fd.as_fd(), locks, geometry, &options)
                .map_err(refused)?;
        let (segment, slots) = double(&place, region, geometry, header.event.size)?;
        let applicant = Applicant {
            id: &id,
            durable: is_durable,
            owner: current_owner(),
            is_here: true,
        };
        let line = lines::attach(segment.control(), segment.locks(), applicant)
            .map_err(|error| diagnosis::line_error(&segment, &id, error))?;
        let handle = Consumer::new(segment, line, id, is_durable, Habits::default());
        if is_durable && !line.rejoined {
            let segment = handle.segment();
            let is_too_late = segment.is_ending_without();
            if is_too_late.map_err(segment.io_error(Step::LookAtFile))? {
                handle.leave()?;
                return Err(crate::segment::not_found(&place));
            }
        }
        Ok(Self {
            handle,
            slots,
            has_rejoined: line.rejoined,
        })
    }

    /// Whether the ring had a place for this id, from which this consumer goes on.
    pub fn has_rejoined(&self) -> bool {
        self.has_rejoined
    }

    /// The next event, if there is one: copies its bytes and returns its sequence. The event is held, and the producer
    /// does not reuse its slot, until [`release`](Self::release). Never waits.
    ///
    /// # Errors
    ///
    /// As [`Consumer::try_recv`].
    ///
    /// # Panics
    ///
    /// If `event` has another size than the ring's events.
    pub fn try_recv(&mut self, event: &mut [u8]) -> Result<Option<Sequence>, RecvError> {
        assert_eq!(
            event.len(),
            self.slots.size,
            "an event of this ring has {} bytes",
            self.slots.size
        );
        if let Some(refusal) = self.handle.refusal() {
            return Err(refusal);
        }
        let mut is_last_attempt = false;
        loop {
            let next = self.handle.next_to_read();
            let has_come = self.slots.is_published(next);
            if has_come {
                self.slots.stamp_double(next);
            }
            match self.handle.try_recv() {
                Ok(Some(lease)) if has_come => {
                    self.slots.read(next, event);
                    lease.hold();
                    return Ok(Some(next));
                }
                // a doubt was settled meanwhile, and the handle has gone on to another sequence
                Ok(Some(lease)) => lease.release_uncommitted(),
                Ok(None) => return Ok(None),
                Err(RecvError::ProducerDead { .. } | RecvError::NameRemoved { .. })
                    if !is_last_attempt && self.slots.is_published(next) =>
                {
                    // the event was published after the first load of its stamp
                    is_last_attempt = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The sequence of the event that is received next.
    pub fn next_sequence(&self) -> Sequence {
        self.handle.next_to_read()
    }

    /// Releases all events that were received: the producer may reuse their slots.
    pub fn release(&mut self) {
        let count = self.handle.held_count();
        self.handle.release_held(count);
    }

    /// Detaches. A durable consumer keeps its place, with every event that is not released.
    ///
    /// # Errors
    ///
    /// As [`Consumer::detach`].
    pub fn detach(self) -> MultiProcessResult<()> {
        self.handle.detach()
    }

    /// Detaches for good. A durable consumer gives up its place, with every event that is not released.
    ///
    /// # Errors
    ///
    /// As [`Consumer::leave`].
    pub fn leave(self) -> MultiProcessResult<()> {
        self.handle.leave()
    }
}

/// A segment whose slots are a double, and the slots themselves.
fn double(
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

/// Opens the file for writing, whoever owns it.
fn open_to_attach(place: &FilePlace) -> MultiProcessResult<OwnedFd> {
    let opened = place.directory.open_existing(&place.leaf, true, false);
    let not_a_ring = |found: &str| MultiProcessError::NotARing {
        path: place.path(),
        found: found.to_owned(),
    };
    opened.map_err(|error| match error {
        OpenError::NotFound => crate::segment::not_found(place),
        OpenError::PermissionDenied { errno } => {
            let (source, path) = (io::Error::from(errno), place.path());
            let cause = Box::new(why_not_opened(errno, &place.full_path(), true));
            match cause.is_permission() {
                true => MultiProcessError::PermissionDenied {
                    path,
                    source,
                    cause,
                },
                false => MultiProcessError::Io {
                    name: place.shown(),
                    operation: Step::OpenFile.words(),
                    source,
                    cause: Some(cause),
                },
            }
        }
        OpenError::Symlink => not_a_ring("a symbolic link"),
        OpenError::NotRegular { kind } => not_a_ring(kind),
        OpenError::ForeignOwner { uid } => MultiProcessError::ForeignOwner {
            path: place.path(),
            owner: user_text(uid),
            owner_uid: uid,
            caller: user_text(effective_user()),
        },
        OpenError::NetworkFileSystem { kind } => MultiProcessError::NetworkFileSystem {
            path: place.path(),
            kind: kind.to_owned(),
        },
        OpenError::Failed(failed) => file_error(place, failed),
    })
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
