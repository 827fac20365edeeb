//! Creating, taking over, replacing and attaching segments: R14 and R15 as seen from the file system.
//!
//! Whoever holds the producer's lock of the inode that a name refers to *now* may replace the name; everybody else
//! looks again. A creator that dies leaves nothing: the segment gets its name when it is complete. A candidate that
//! dies while it takes over leaves a free lock, and the next one repeats the takeover.

use core::mem::MaybeUninit;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::blocked;
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::require_event;
use crate::fail::point;
use crate::layout::CONTROL_OFFSET;
use crate::layout::control::{Control, Owner};
use crate::layout::header::{EventRecord, Geometry, HEADER_BYTES, Header, HeaderFault};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::layout::slot::SlotOf;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::os::lock::LockFile;
use crate::os::memory::{ReserveError, page_size, reserve};
use crate::os::names::{self, OpenError};
use crate::os::process::Identity;
use crate::protocol::Locks;
use crate::protocol::lines::away;
use crate::protocol::sleep;
use crate::protocol::takeover::{Inheritance, take_over};
use crate::protocol::view::RingView;
use crate::region::file::{FilePlace, FileRegion};
use crate::region::heap::{HeapMemory, HeapRegion};
use crate::region::{MemoryOptions, Region};
use crate::sync::{Ordering, fence};
use crate::{Event, Sequence};

/// How often a name that changes hands under our eyes is looked at again.
const TRIES: u32 = 64;
/// How long a producer's lock may be held by someone who only looks.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 20;

/// What a handle wants of its segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// Number of slots; a consumer may take what it finds.
    pub(crate) capacity: Option<usize>,
    pub(crate) first_sequence: Sequence,
    /// Whether an unreadable or incompatible segment without a live producer is replaced.
    pub(crate) recreate: bool,
    /// A producer: whether the ring is created for observers; one that was keeps them. An observer: true.
    pub(crate) observed: bool,
    pub(crate) memory: MemoryOptions,
}

/// An open segment: the memory, the locks, and typed pointers into it.
#[derive(Debug)]
pub(crate) struct Segment<E> {
    pub(crate) view: RingView<E>,
    pub(crate) name: Arc<str>,
    /// Whether slots are written so that observers can read them (R13).
    pub(crate) is_observed: bool,
    region: Arc<dyn Region>,
}

impl<E: Event> Segment<E> {
    pub(crate) fn new(
        name: &str,
        region: Arc<dyn Region>,
        capacity: u64,
        is_observed: bool,
    ) -> Self {
        // every handle goes through here: what may not live in a slot does not compile
        const { require_event::<E>() };
        // SAFETY: the region was made for a header that was validated against `E` and this capacity, and the
        // segment keeps it as long as the view; only a producer's region is writable, and only producers write (R1).
        let view = unsafe { RingView::new(region.control(), region.slots(), capacity as usize) };
        Self {
            view,
            name: name.into(),
            is_observed,
            region,
        }
    }

    /// Not for hot calls, which know that they were not forked.
    ///
    /// # Panics
    ///
    /// In a forked process, where nothing is mapped (R8): a question is answered by this, not by a signal.
    pub(crate) fn control(&self) -> &Control {
        if self
            .region
            .live_word()
            .load(crate::sync::process::Ordering::Relaxed)
            == 0
        {
            panic!("{}", MultiProcessError::Forked);
        }
        self.view.control()
    }

    pub(crate) fn locks(&self) -> &dyn Locks {
        self.region.locks()
    }

    pub(crate) fn region(&self) -> &Arc<dyn Region> {
        &self.region
    }

    pub(crate) fn io_error(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(io::Error) -> MultiProcessError {
        io_error(&self.name, operation)
    }

    /// The producer that has or had this ring, in words.
    pub(crate) fn producer_text(&self) -> String {
        describe(self.control().producer.owner.load())
    }

    /// Takes the name of a closed and drained ring along (R15). Who finds the producer's lock taken leaves it at
    /// that: its holder looks again once it has let go, so that of two who race one sees what the other did. Each look
    /// but the last is answered by somebody who came or went meanwhile; only a hostile peer gives more than a few.
    pub(crate) fn unlink_if_drained(&self) -> io::Result<()> {
        let locks = self.locks();
        // SYNC POINT drain: pairs with itself. Of two who have just released their last event one sees the other's.
        if !left_out!(DrainFence) {
            fence(Ordering::SeqCst);
        }
        for _ in 0..TRIES {
            if !blocked::is_drained(self.control())
                || !self.region.is_name_ours()?
                || !locks.try_lock(PRODUCER_BYTE)?
            {
                break;
            }
            point("drain.locked");
            // a successor may have opened the ring again between the look and the lock
            let unlinked = match left_out!(DrainLook) || blocked::is_drained(self.control()) {
                true => self.unlink_if_ours(),
                false => Ok(()),
            };
            point("drain.unlinked");
            locks.unlock(PRODUCER_BYTE).and(unlinked)?;
            point("drain.unlocked");
            if left_out!(DrainAgain) {
                break;
            }
        }
        Ok(())
    }

    /// Removes the name if it is still this segment's. The caller holds the producer's lock (R15).
    pub(crate) fn unlink_if_ours(&self) -> io::Result<()> {
        if self.region.is_name_ours()? {
            point("unlink.looked");
            self.region.unlink()
        } else {
            Ok(())
        }
    }
}

/// This process as it signs lines.
pub(crate) fn current_owner() -> Owner {
    let identity = Identity::current();
    Owner {
        pid: identity.pid,
        namespace: identity.pid_namespace,
        start_ticks: identity.start_ticks,
    }
}

/// An owner in words.
pub(crate) fn describe(owner: Owner) -> String {
    Identity {
        pid: owner.pid,
        pid_namespace: owner.namespace,
        start_ticks: owner.start_ticks,
    }
    .describe()
}

fn io_error(name: &str, operation: &'static str) -> impl FnOnce(io::Error) -> MultiProcessError {
    let name = name.to_owned();
    move |source| MultiProcessError::Io {
        name,
        operation,
        source,
    }
}

/// Refuses what is no capacity for a ring.
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
    let header = new_header::<E>("heap", geometry, first_sequence, is_observed);
    let Some(memory) = HeapMemory::new(geometry, is_observed) else {
        let reason = "it is larger than this machine's memory";
        return Err(MultiProcessError::InvalidCapacity {
            capacity,
            event_bytes: size_of::<E>(),
            reason,
        });
    };
    let region = HeapRegion::new(Arc::clone(&memory));
    region.write_header(&header.encode());
    // SAFETY: the control lines lie within the block, aligned, and nobody else has it yet.
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

/// Takes the producer's part of a ring on the heap.
pub(crate) fn produce_on_heap<E: Event>(segment: &Segment<E>) -> MultiProcessResult<Inheritance> {
    if !segment
        .locks()
        .try_lock(PRODUCER_BYTE)
        .map_err(segment.io_error("lock"))?
    {
        let owner = segment.control().producer.owner.load();
        return Err(already_exists(&segment.name, Some(owner)));
    }
    Ok(inherit(segment))
}

fn inherit<E: Event>(segment: &Segment<E>) -> Inheritance {
    point("takeover.locked");
    let inheritance = take_over(segment.view);
    segment.control().producer.owner.store(current_owner());
    point("takeover.owner");
    sleep::wake_consumers(segment.control());
    inheritance
}

fn new_header<E: Event>(
    name: &str,
    geometry: Geometry,
    first_sequence: Sequence,
    is_observed: bool,
) -> Header {
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Header {
        geometry,
        event: EventRecord::of::<E>(),
        first_sequence,
        creator: current_owner(),
        created_unix_ns: created.as_nanos() as u64,
        page_size: page_size() as u32,
        is_observed,
        name: name.to_owned(),
    }
}

/// Creates the ring, or takes over a dead producer's. The segment has the producer's lock.
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
            Err(error) => return Err(open_error(place, error)),
            Ok(fd) => claim_existing(place, want, fd)?,
        };
        if let Some(opened) = outcome {
            return Ok(opened);
        }
    }
    let source = io::Error::other("the name changed hands again and again");
    Err(io_error(&place.leaf, "create the segment")(source))
}

type Opened<E> = Option<(Segment<E>, Inheritance)>;

/// Builds a segment without a name, locked and complete, then names it. None: somebody was faster.
fn create_new<E: Event>(
    place: &FilePlace,
    want: &Want,
    capacity: usize,
    fill: &mut dyn FnMut(&mut MaybeUninit<E>),
) -> MultiProcessResult<Opened<E>> {
    let failed = |operation| move |source| file_error(place, operation, source);
    place
        .directory
        .remove_leftovers(&place.leaf)
        .map_err(failed("remove what a dead creator left"))?;
    let file = place
        .directory
        .create_nameless(&place.leaf, want.memory.mode, false)
        .map_err(failed("create a file"))?;
    point("create.nameless");
    let unit = names::file_system_page_size(file.as_fd());
    let geometry = check_capacity::<E>(capacity, want.first_sequence, unit)?;
    reserve(file.as_fd(), geometry.segment_len).map_err(|error| match error {
        ReserveError::NoSpace { needed, free } => MultiProcessError::NoSpace {
            name: place.leaf.clone(),
            needed_bytes: needed,
            free_bytes: free,
        },
        ReserveError::Io(source) => failed("reserve space")(source),
    })?;
    point("create.reserved");
    let locks = LockFile::reopen(file.as_fd()).map_err(failed("open the file for its locks"))?;
    let is_locked = LockFile::try_lock(&locks, PRODUCER_BYTE).map_err(failed("lock the file"))?;
    // where it has a temporary name, a cleaner may have taken it before it was locked
    if !is_locked || !file.is_intact().map_err(failed("look at the new file"))? {
        return Ok(None);
    }
    point("create.locked");
    let mapped = file
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed("duplicate the descriptor"))?;
    let region = FileRegion::map_whole(place.clone(), mapped, locks, geometry, &want.memory)
        .map_err(failed("map the file"))?;
    region.write_control(Control::new(want.first_sequence));
    let header = new_header::<E>(&place.leaf, geometry, want.first_sequence, want.observed);
    let segment = Segment::<E>::new(
        &place.leaf,
        Arc::new(region),
        geometry.capacity,
        want.observed,
    );
    segment.control().producer.owner.store(current_owner());
    for slot in 0..capacity as i64 {
        let event = segment.view.event(slot).cast::<MaybeUninit<E>>();
        // SAFETY: the whole ring is mapped writable, and nobody else knows the segment yet (R15).
        fill(unsafe { &mut *event.as_ptr() });
    }
    segment.region.write_header(&header.encode());
    point("create.written");
    match file.publish() {
        Ok(_) => {}
        Err((error, _)) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err((error, _)) => return Err(failed("name the file")(error)),
    }
    point("create.linked");
    let floor = want.first_sequence - 1;
    Ok(Some((
        segment,
        Inheritance {
            next: want.first_sequence,
            floor,
            epoch: 0,
        },
    )))
}

/// Looks at what has the name: takes over a fitting ring, removes a dead one that does not fit. None: look again.
fn claim_existing<E: Event>(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
) -> MultiProcessResult<Opened<E>> {
    let failed = |operation| move |source| file_error(place, operation, source);
    let header = read_header(place, fd.as_fd())?;
    if let Err(fault @ HeaderFault::Foreign { .. }) = header {
        return Err(header_error(place, fault));
    }
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed("open the file for its locks"))?;
    let is_locked = lock_producer(&locks).map_err(failed("lock the file"))?;
    let is_name_ours = place
        .directory
        .names_same_file(&place.leaf, fd.as_fd())
        .map_err(failed("look at the name"))?;
    if !is_name_ours {
        return Ok(None);
    }
    if !is_locked {
        let owner = header.is_ok().then(|| read_owner(fd.as_fd())).flatten();
        return Err(already_exists(&place.leaf, owner));
    }
    let misfit = match header {
        Ok(header) => match check_fit::<E>(place, want, &header) {
            Ok(()) => return take_over_file(place, want, fd, locks, &header).map(Some),
            Err(misfit) if want.recreate => misfit,
            Err(misfit) => {
                may_replace(place, want, fd, locks, &header, misfit)?;
                return Ok(None);
            }
        },
        Err(fault) => header_error(place, fault),
    };
    if !want.recreate {
        return Err(misfit);
    }
    point("replace.locked");
    place
        .directory
        .unlink(&place.leaf)
        .map_err(failed("remove the old segment"))?;
    point("replace.unlinked");
    Ok(None)
}

/// Someone who only looks gives the lock back at once.
fn lock_producer(locks: &LockFile) -> io::Result<bool> {
    for _ in 0..LOOKS {
        if LockFile::try_lock(locks, PRODUCER_BYTE)? {
            return Ok(true);
        }
        clock::sleep(LOOK);
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
    let failed = |source| file_error(place, "map the file", source);
    let geometry = header.geometry;
    let region =
        FileRegion::map_whole(place.clone(), fd, locks, geometry, &want.memory).map_err(failed)?;
    let (capacity, is_observed) = (geometry.capacity, header.is_observed);
    let segment = Segment::new(&place.leaf, Arc::new(region), capacity, is_observed);
    let inheritance = inherit(&segment);
    Ok((segment, inheritance))
}

/// R15: a dead ring that does not fit is removed if nobody is alive in it and nobody is away.
fn may_replace(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
    locks: LockFile,
    header: &Header,
    misfit: MultiProcessError,
) -> MultiProcessResult<()> {
    let failed = |operation| move |source| file_error(place, operation, source);
    let in_use = |who: String| MultiProcessError::InUse {
        name: place.leaf.clone(),
        who: format!("{misfit}; {who}"),
    };
    if Locks::is_any_held_by_other(&locks).map_err(failed("look at the locks"))? {
        return Err(in_use("consumers are attached".into()));
    }
    let options = MemoryOptions {
        lock: false,
        ..want.memory
    };
    let region = FileRegion::map_whole(place.clone(), fd, locks, header.geometry, &options)
        .map_err(failed("map the file"))?;
    // SAFETY: the region is mapped as its validated header says, and outlives the reference (R1).
    let control = unsafe { region.control().as_ref() };
    let ids = away(control, region.locks()).map_err(failed("look at the locks"))?;
    if !ids.is_empty() {
        return Err(in_use(format!(
            "consumers that are away keep their place: {ids:?}"
        )));
    }
    point("replace.locked");
    region.unlink().map_err(failed("remove the old segment"))?;
    point("replace.unlinked");
    Ok(())
}

/// Opens a ring for a consumer.
pub(crate) fn open<E: Event>(
    place: &FilePlace,
    want: &Want,
) -> MultiProcessResult<(Segment<E>, Header)> {
    let failed = |operation| move |source| file_error(place, operation, source);
    let fd = place
        .directory
        .open_existing(&place.leaf, true, !want.memory.any_owner)
        .map_err(|error| open_error(place, error))?;
    let header = read_header(place, fd.as_fd())?.map_err(|fault| header_error(place, fault))?;
    check_fit::<E>(place, want, &header)?;
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed("open the file for its locks"))?;
    let region =
        FileRegion::map_for_reading(place.clone(), fd, locks, header.geometry, &want.memory)
            .map_err(failed("map the file"))?;
    Ok((
        Segment::new(
            &place.leaf,
            Arc::new(region),
            header.geometry.capacity,
            header.is_observed,
        ),
        header,
    ))
}

/// Whether a sound segment is the one this side wants.
fn check_fit<E: Event>(place: &FilePlace, want: &Want, header: &Header) -> MultiProcessResult<()> {
    let refuse = |what, expected: String, found: String| {
        Err(MultiProcessError::IncompatibleLayout {
            name: place.leaf.clone(),
            what,
            expected,
            found,
        })
    };
    let event = EventRecord::of::<E>();
    if !event.agrees_with(&header.event) {
        return refuse(
            "the event layout",
            event.to_string(),
            header.event.to_string(),
        );
    }
    let shape = SlotOf::<E>::SHAPE;
    if shape != header.geometry.shape {
        let found = format!("{:?}", header.geometry.shape);
        return refuse("the slot shape", format!("{shape:?}"), found);
    }
    if want.observed && !header.is_observed {
        let (expected, found) = ("a ring made with with_observers()", "one without observers");
        return refuse("the kind of ring", expected.into(), found.into());
    }
    match want.capacity {
        Some(capacity) if capacity as u64 != header.geometry.capacity => refuse(
            "the capacity",
            format!("{capacity} slots"),
            format!("{} slots", header.geometry.capacity),
        ),
        _ => Ok(()),
    }
}

/// A private copy of page 0, read without mapping: a file that is too short is an error, never a signal.
fn read_header(
    place: &FilePlace,
    fd: BorrowedFd<'_>,
) -> MultiProcessResult<Result<Header, HeaderFault>> {
    let failed = |source| file_error(place, "read the header", source);
    let length = nix::sys::stat::fstat(fd)
        .map_err(|error| failed(error.into()))?
        .st_size;
    let mut bytes = [0; HEADER_BYTES];
    let count = read_at(fd, &mut bytes, 0).map_err(failed)?;
    if count < HEADER_BYTES {
        let found = if count == 0 {
            "an empty file".into()
        } else {
            format!("a file of {count} bytes")
        };
        return Ok(Err(HeaderFault::Foreign { found }));
    }
    Ok(Header::decode(&bytes, length as u64))
}

fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: usize) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match nix::sys::uio::pread(fd, &mut bytes[count..], (offset + count) as i64)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// Who holds the producer's part, from the file: nothing of a live ring is mapped just to refuse it.
fn read_owner(fd: BorrowedFd<'_>) -> Option<Owner> {
    let mut bytes = [0; 24];
    let offset = CONTROL_OFFSET + Control::PRODUCER_OWNER_OFFSET;
    (read_at(fd, &mut bytes, offset).ok()? == bytes.len()).then(|| Owner::from_bytes(&bytes))
}

fn already_exists(name: &str, owner: Option<Owner>) -> MultiProcessError {
    let words = owner.map_or_else(|| String::from("another process"), describe);
    MultiProcessError::AlreadyExists {
        name: name.to_owned(),
        owner: words,
        owner_pid: owner.map_or(0, |owner| owner.pid),
    }
}

fn header_error(place: &FilePlace, fault: HeaderFault) -> MultiProcessError {
    let name = place.leaf.clone();
    match fault {
        HeaderFault::Foreign { found } => MultiProcessError::NotARing {
            path: place.path(),
            found,
        },
        HeaderFault::OtherVersion {
            what,
            expected,
            found,
        } => MultiProcessError::IncompatibleLayout {
            name,
            what,
            expected,
            found,
        },
        HeaderFault::Damaged {
            what,
            expected,
            found,
        } => MultiProcessError::DamagedSegment {
            name,
            what,
            expected,
            found,
        },
    }
}

fn open_error(place: &FilePlace, error: OpenError) -> MultiProcessError {
    let path = place.path();
    let not_a_ring = |found: String| MultiProcessError::NotARing {
        path: path.clone(),
        found,
    };
    match error {
        OpenError::NotFound => MultiProcessError::NotFound {
            name: place.leaf.clone(),
            path,
            source: io::Error::from(io::ErrorKind::NotFound),
        },
        OpenError::PermissionDenied => MultiProcessError::PermissionDenied {
            path,
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        },
        OpenError::Symlink => not_a_ring("a symbolic link".into()),
        OpenError::NotRegular { kind } => not_a_ring(kind.into()),
        OpenError::ForeignOwner { uid } => not_a_ring(format!(
            "a file of user {uid} (allow_any_owner accepts other users' rings)"
        )),
        OpenError::NetworkFileSystem { kind } => MultiProcessError::NetworkFileSystem {
            path,
            kind: kind.to_string(),
        },
        OpenError::Io(source) => file_error(place, "open the segment", source),
    }
}

fn file_error(place: &FilePlace, operation: &'static str, source: io::Error) -> MultiProcessError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return MultiProcessError::PermissionDenied {
            path: place.path(),
            source,
        };
    }
    MultiProcessError::Io {
        name: place.leaf.clone(),
        operation,
        source,
    }
}
