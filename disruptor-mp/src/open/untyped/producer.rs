//! A producer that publishes bytes.

use std::io;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use super::double::{Slots, Stand, double};
use super::{UntypedEvent, taken};
use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, RingBufferFull, SendError};
use crate::handles::kinds::MappedFile;
use crate::handles::producer::{CloseReport, Producer};
use crate::layout::control::Control;
use crate::layout::event_record::EventRecord;
use crate::layout::header::{Geometry, Header};
use crate::layout::lock_bytes::{PRODUCER_BYTE, VOUCHED_BYTE};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::open::backing::{MmapTransportLayout, RingLocation};
use crate::os::lock::LockFile;
use crate::os::memory::{Access, ReserveError, page_size, reserve};
use crate::os::names;
use crate::os::step::Step;
use crate::protocol::expect::Expectation;
use crate::protocol::takeover::{Found, Inheritance};
use crate::region::MemoryOptions;
use crate::region::file::FileRegion;
use crate::segment::{KIND, current_owner, file_error, origin_of};
use crate::waiting::Habits;
use crate::waiting::deadline::Deadline;

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
/// assert_eq!(tx.try_send(&8_u64.to_ne_bytes())?, 101);
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
                .map_err(failed(Step::ReadStatus))
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
            .map_err(failed(Step::ReadStatus))
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
            label: String::new(),
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
        let (handle, write) = self.writer(event);
        handle.send(deadline, write)
    }

    /// Publishes an event if a slot is free. Never waits. Returns its sequence.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_send`].
    ///
    /// # Panics
    ///
    /// As [`send`](Self::send).
    pub fn try_send(&mut self, event: &[u8]) -> Result<Sequence, RingBufferFull> {
        let (handle, write) = self.writer(event);
        handle.try_send(write)
    }

    /// The handle, and what writes the event into the slot that it claims.
    fn writer(
        &mut self,
        event: &[u8],
    ) -> (&mut Producer<Stand, MappedFile>, impl FnOnce(&mut Stand)) {
        assert_eq!(
            event.len(),
            self.slots.size,
            "an event of this ring has {} bytes",
            self.slots.size
        );
        // only these calls publish, so the sequence stays the same while one of them waits
        let sequence = self.handle.last_published_sequence() + 1;
        let (slots, is_observed) = (&self.slots, self.is_observed);
        let write = move |_: &mut Stand| slots.publish(sequence, event, is_observed);
        (&mut self.handle, write)
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
