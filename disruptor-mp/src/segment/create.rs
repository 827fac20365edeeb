//! Creating, taking over and replacing rings (R14, R15).
//!
//! A segment gets its name only when it is complete, so a creator that dies leaves nothing behind. A candidate that
//! dies during a takeover leaves a free lock, and the next candidate repeats the takeover.

use core::mem::MaybeUninit;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::attach::{check_fit, origin_of, read_header, read_owner, settle};
use super::refusals::{Side, already_exists, file_error, header_error, no_space, open_error};
use super::{ATTEMPTS, ENDING_ATTEMPTS, PAUSE, Segment, TRIES, Want, current_owner, record_of};
use crate::Sequence;
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::Event;
use crate::layout::control::{Control, Origin};
use crate::layout::header::{Geometry, Header, HeaderFault, MAGIC};
use crate::layout::lock_bytes::{PRODUCER_BYTE, VOUCHED_BYTE};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, ReserveError, check_memory, page_size, reserve};
use crate::os::names::{self, Kind, OpenError};
use crate::os::step::Step;
use crate::protocol::Locks;
use crate::protocol::doubt;
use crate::protocol::lines::away;
use crate::protocol::sleep;
use crate::protocol::takeover::{Found, Inheritance, take_over};
use crate::protocol::view::SlotOf;
use crate::region::file::{FilePlace, FileRegion};
use crate::region::heap::{HeapMemory, HeapRegion};
use crate::region::{MemoryOptions, Region};
use crate::testing::fail::point;

/// The file of a ring, while it is built.
pub(crate) const KIND: Kind = Kind {
    magic: MAGIC,
    builder_byte: PRODUCER_BYTE,
};

/// From this many bytes on, a ring on the heap is compared with the memory that is left.
const CHECKED_ON_HEAP: u64 = 1 << 20;

/// Checks that `capacity` and `first_sequence` are valid for a ring, and computes its geometry.
pub(crate) fn check_capacity<E: Event>(
    capacity: usize,
    first_sequence: Sequence,
    unit: u64,
) -> MultiProcessResult<Geometry> {
    let refuse = |reason| {
        Err(MultiProcessError::InvalidCapacity {
            capacity,
            event_bytes: size_of::<E>(),
            reason,
        })
    };
    if capacity == 0 {
        return refuse("a ring has at least one slot");
    }
    if !capacity.is_power_of_two() {
        return refuse("the number of slots must be a power of two");
    }
    if !(0..=MAX_SEQUENCE).contains(&first_sequence) {
        return refuse("the first sequence must be between 0 and 2^61 - 1");
    }
    match Geometry::new(capacity, SlotOf::<E>::SHAPE, unit) {
        Some(geometry) => Ok(geometry),
        None => refuse("it is too large to map"),
    }
}

/// A ring on the heap: its memory, ready for endpoints.
pub(crate) fn create_on_heap<E: Event>(
    capacity: usize,
    first_sequence: Sequence,
    is_observed: bool,
) -> MultiProcessResult<Arc<HeapMemory>> {
    let geometry = check_capacity::<E>(capacity, first_sequence, 4096)?;
    let header = new_header::<E>("heap", "", geometry, first_sequence, is_observed);
    // asking the system takes longer than making a small ring
    if geometry.segment_len >= CHECKED_ON_HEAP {
        check_memory(geometry.segment_len)
            .map_err(|shortage| no_space("heap".into(), &shortage))?;
    }
    let Some(memory) = HeapMemory::new(geometry, is_observed) else {
        let reason = "this process cannot get that much memory";
        return Err(MultiProcessError::InvalidCapacity {
            capacity,
            event_bytes: size_of::<E>(),
            reason,
        });
    };
    let region = HeapRegion::new(Arc::clone(&memory));
    region.write_header(&header.encode());
    // SAFETY: the control lines lie within the block, aligned, and no other endpoint has the block yet.
    unsafe { region.control().write(Control::new(first_sequence)) };
    #[cfg(loom)]
    for slot in 0..capacity {
        // SAFETY: the slot lies within the block; the model checker's atomics must be made, not zeroed.
        let stamp = unsafe {
            region
                .slots()
                .add(slot * SlotOf::<E>::SHAPE.stride + SlotOf::<E>::SHAPE.stamp_offset)
        };
        // SAFETY: as above; the stamp is aligned by the slot's shape.
        unsafe { stamp.cast().write(crate::sync::AtomicU64::new(0)) };
    }
    Ok(memory)
}

/// Another endpoint of a ring on the heap.
pub(crate) fn open_on_heap<E: Event>(memory: &Arc<HeapMemory>, capacity: usize) -> Segment<E> {
    Segment::new(
        "heap",
        Arc::new(HeapRegion::new(Arc::clone(memory))),
        capacity as u64,
        memory.is_observed,
    )
}

/// Takes the producer's role of a ring on the heap.
pub(crate) fn produce_on_heap<E: Event>(segment: &Segment<E>) -> MultiProcessResult<Inheritance> {
    if !segment
        .locks()
        .try_lock(PRODUCER_BYTE)
        .map_err(segment.io_error(Step::Lock))?
    {
        let owner = segment.control().producer.owner.load();
        return Err(already_exists(&segment.shown, Some(owner)));
    }
    inherit(segment, Origin::default(), false).map_err(segment.io_error(Step::TakeOver))
}

fn inherit<E: Event>(
    segment: &Segment<E>,
    here: Origin,
    keeps_floor: bool,
) -> io::Result<Inheritance> {
    point("takeover.locked");
    let inheritance = take_over(segment.view);
    segment.control().producer.owner.store(current_owner());
    point("takeover.owner");
    if doubt::begin(segment.control(), here, keeps_floor) {
        segment.region.sync_control()?;
    }
    sleep::wake_consumers(segment.control());
    Ok(inheritance)
}

fn new_header<E: Event>(
    name: &str,
    label: &str,
    geometry: Geometry,
    first_sequence: Sequence,
    is_observed: bool,
) -> Header {
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Header {
        geometry,
        event: record_of::<E>(),
        first_sequence,
        creator: current_owner(),
        created_unix_ns: created.as_nanos() as u64,
        page_size: page_size() as u32,
        is_observed,
        name: name.to_owned(),
        label: label.to_owned(),
    }
}

/// Creates the ring, or takes over that of a dead producer. The segment holds the producer's lock.
pub(crate) fn create_or_take_over<E: Event>(
    place: &FilePlace,
    want: &Want,
    fill: &mut dyn FnMut(&mut MaybeUninit<E>),
) -> MultiProcessResult<(Segment<E>, Inheritance)> {
    let capacity = want.capacity.unwrap_or(0);
    check_capacity::<E>(capacity, want.first_sequence, page_size() as u64)?;
    for _ in 0..TRIES {
        let outcome = match place
            .directory
            .open_existing(&place.leaf, true, !want.memory.any_owner)
        {
            Err(OpenError::NotFound) => create_new(place, want, capacity, fill)?,
            Err(error) => return Err(open_error(place, error, Side::Writes)),
            Ok(fd) => take_existing(place, want, fd)?,
        };
        if let Some(opened) = outcome {
            return Ok(opened);
        }
    }
    let source = io::Error::other(
        "other processes replaced the ring of this name again and again: try again",
    );
    Err(file_error(place, Step::NameFile.failed(source)))
}

type Opened<E> = Option<(Segment<E>, Inheritance)>;

/// Builds a segment without a name, locked and complete, then names it. None: another process named one
/// first.
fn create_new<E: Event>(
    place: &FilePlace,
    want: &Want,
    capacity: usize,
    fill: &mut dyn FnMut(&mut MaybeUninit<E>),
) -> MultiProcessResult<Opened<E>> {
    let refused = |failed| file_error(place, failed);
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let file = place
        .directory
        .create_nameless(&place.leaf, want.memory.mode, KIND, false)
        .map_err(refused)?;
    point("create.nameless");
    let locks = LockFile::reopen(file.as_fd()).map_err(failed(Step::Reopen))?;
    let is_locked = LockFile::try_lock(&locks, PRODUCER_BYTE).map_err(failed(Step::Lock))?;
    let _ = LockFile::try_lock(&locks, VOUCHED_BYTE).map_err(failed(Step::Lock))?;
    // a file with a temporary name may have been taken by a cleaner before it was locked
    if !is_locked || !file.is_intact().map_err(failed(Step::ReadStatus))? {
        return Ok(None);
    }
    point("create.locked");
    let unit = names::file_system_page_size(file.as_fd());
    let geometry = check_capacity::<E>(capacity, want.first_sequence, unit)?;
    reserve(file.as_fd(), geometry.segment_len).map_err(|error| match error {
        ReserveError::NoSpace(shortage) => no_space(place.shown(), &shortage),
        ReserveError::Io(source) => {
            refused(Step::Reserve.failed(source).of_bytes(geometry.segment_len))
        }
    })?;
    point("create.reserved");
    let fd = file.as_fd();
    let region = FileRegion::map_whole(
        place.clone(),
        fd,
        locks,
        geometry,
        &want.memory,
        Access::ReadWrite,
    )
    .map_err(refused)?;
    region.write_control(Control::new(want.first_sequence));
    let label = place.label.as_deref().unwrap_or_default();
    let header = new_header::<E>(
        &place.leaf,
        label,
        geometry,
        want.first_sequence,
        want.observed,
    );
    let segment = Segment::<E>::in_file(place, region, &header);
    segment.control().producer.owner.store(current_owner());
    let here = origin_of(file.as_fd()).map_err(failed(Step::ReadStatus))?;
    segment.control().producer.origin.store(here);
    for slot in 0..capacity as i64 {
        let event = segment.view.event(slot).cast::<MaybeUninit<E>>();
        // SAFETY: the whole ring is mapped writable, and no other process knows the segment yet (R15).
        fill(unsafe { &mut *event.as_ptr() });
    }
    segment.region.write_header(&header.encode());
    point("create.written");
    match file.publish() {
        Ok(_) => {}
        Err((error, _)) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err((error, _)) => return Err(failed(Step::NameFile)(error)),
    }
    point("create.linked");
    let floor = want.first_sequence - 1;
    Ok(Some((
        segment,
        Inheritance {
            next: want.first_sequence,
            floor,
            epoch: 0,
            found: Found::Nothing,
        },
    )))
}

/// Examines the file that has the name: takes over a ring that fits, removes a dead one that does not. None:
/// the name may refer to another file now, and the caller opens it again.
fn take_existing<E: Event>(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
) -> MultiProcessResult<Opened<E>> {
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let header = read_header(place, fd.as_fd())?;
    if let Err(fault @ HeaderFault::Foreign { .. }) = header {
        return Err(header_error(place, fault));
    }
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed(Step::Reopen))?;
    let is_locked = lock_producer(&locks).map_err(failed(Step::Lock))?;
    let is_name_ours = place
        .directory
        .names_same_file(&place.leaf, fd.as_fd())
        .map_err(failed(Step::ReadStatus))?;
    if !is_name_ours {
        return Ok(None);
    }
    if !is_locked {
        let owner = header.is_ok().then(|| read_owner(fd.as_fd())).flatten();
        return Err(already_exists(&place.shown(), owner));
    }
    let misfit = match &header {
        Ok(header) => match check_fit::<E>(place, want, header) {
            Ok(()) => return take_over_file(place, want, fd, locks, header).map(Some),
            Err(misfit) if want.recreate => misfit,
            Err(misfit) => {
                may_replace(place, want, fd, locks, header, misfit)?;
                return Ok(None);
            }
        },
        Err(fault) => header_error(place, fault.clone()),
    };
    if !want.recreate {
        return Err(misfit);
    }
    // a damaged header does not say which consumers count on the ring, but the locks show whether any is
    // alive
    let is_damaged = matches!(
        header,
        Err(HeaderFault::Damaged { .. } | HeaderFault::Remnant { .. })
    );
    if is_damaged && Locks::is_any_held_by_other(&locks).map_err(failed(Step::Lock))? {
        return Err(MultiProcessError::InUse {
            name: place.shown(),
            who: format!("{misfit}; but a live process uses it: end that process first"),
        });
    }
    point("replace.locked");
    place
        .directory
        .remove_second_names(&place.leaf, fd.as_fd())
        .and_then(|()| place.directory.unlink(&place.leaf))
        .map_err(failed(Step::RemoveName))?;
    point("replace.unlinked");
    Ok(None)
}

/// Takes the producer's lock. A party that takes the lock only for a check releases it soon, but it may have
/// been preempted, so this call waits for it. It does not wait for a live producer, which also holds the byte
/// by which it vouches for the ring.
fn lock_producer(locks: &LockFile) -> io::Result<bool> {
    for attempt in 0..ENDING_ATTEMPTS {
        if LockFile::try_lock(locks, PRODUCER_BYTE)? {
            return Ok(true);
        }
        if attempt >= ATTEMPTS && LockFile::is_held_by_other(locks, VOUCHED_BYTE)? {
            break;
        }
        clock::sleep(PAUSE);
    }
    Ok(false)
}

fn take_over_file<E: Event>(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
    locks: LockFile,
    header: &Header,
) -> MultiProcessResult<(Segment<E>, Inheritance)> {
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let here =
        settle::<E>(fd.as_fd(), &locks, header).map_err(|failed| file_error(place, failed))?;
    // a process that may use the file need not have permission to change the directory
    let _ = place.directory.remove_second_names(&place.leaf, fd.as_fd());
    let geometry = header.geometry;
    let region = FileRegion::map_whole(
        place.clone(),
        fd.as_fd(),
        locks,
        geometry,
        &want.memory,
        Access::ReadWrite,
    )
    .map_err(|failed| file_error(place, failed))?;
    let segment = Segment::in_file(place, region, header);
    let inheritance =
        inherit(&segment, here, want.keeps_floor).map_err(failed(Step::WriteToDisk))?;
    // a producer that has just ended may still hold it
    let _ = segment
        .locks()
        .try_lock(VOUCHED_BYTE)
        .map_err(failed(Step::Lock))?;
    Ok((segment, inheritance))
}

/// R15: removes a dead ring that does not fit, if no party is alive in it and no durable consumer is away.
fn may_replace(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
    locks: LockFile,
    header: &Header,
    misfit: MultiProcessError,
) -> MultiProcessResult<()> {
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let in_use = |who: String| MultiProcessError::InUse {
        name: place.shown(),
        who: format!("{misfit}; {who}"),
    };
    if Locks::is_any_held_by_other(&locks).map_err(failed(Step::Lock))? {
        return Err(in_use(
            "consumers are attached: let them drain it, or give them up with recreate()".into(),
        ));
    }
    let options = MemoryOptions {
        lock: false,
        ..want.memory
    };
    let region = FileRegion::map_whole(
        place.clone(),
        fd.as_fd(),
        locks,
        header.geometry,
        &options,
        Access::ReadWrite,
    )
    .map_err(|failed| file_error(place, failed))?;
    // SAFETY: the region is mapped as its validated header says, and outlives the reference (R1).
    let control = unsafe { region.control().as_ref() };
    let ids = away(control, region.locks()).map_err(failed(Step::Lock))?;
    if !ids.is_empty() {
        return Err(in_use(format!(
            "consumers that are away keep their place: {ids:?}; let them drain it, or give them up with recreate()"
        )));
    }
    point("replace.locked");
    region.unlink().map_err(failed(Step::RemoveName))?;
    point("replace.unlinked");
    Ok(())
}
