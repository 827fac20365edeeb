//! Creating, taking over, replacing and attaching segments: the file system's side of R14 and R15.
//!
//! Only the holder of the producer's lock on the inode that a name refers to *now* may replace the name;
//! every other process opens the name again. A creator that dies leaves nothing behind, because a segment
//! gets its name only when it is complete. A candidate that dies during a takeover leaves a free lock, and
//! the next candidate repeats the takeover.

use core::mem::MaybeUninit;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::blocked;
use crate::cause::{cause_of, no_shared_memory, why_not_opened};
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::event::require_event;
use crate::fail::point;
use crate::layout::control::{Control, Origin, Owner, Vouched, ended_word};
use crate::layout::header::{EventRecord, Geometry, Header, HeaderFault, MAGIC, is_remnant};
use crate::layout::lock_bytes::{PRODUCER_BYTE, VOUCHED_BYTE};
use crate::layout::slot::SlotOf;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::layout::{CONTROL_OFFSET, LINE_BYTES};
use crate::os::boot;
use crate::os::descriptor::lost_locks;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping, ReserveError, page_size, reserve};
use crate::os::names::{self, OpenError};
use crate::os::process::Identity;
use crate::os::retry_on_signal;
use crate::os::step::{Failed, Step};
use crate::os::user::{effective_user, user_text};
use crate::protocol::Locks;
use crate::protocol::doubt::{self, Ground};
use crate::protocol::ends;
use crate::protocol::lines::away;
use crate::protocol::sleep;
use crate::protocol::takeover::{Found, Inheritance, take_over};
use crate::protocol::view::RingView;
use crate::region::file::{FilePlace, FileRegion};
use crate::region::heap::{HeapMemory, HeapRegion};
use crate::region::{MemoryOptions, Region};
use crate::sync::process::{self, AtomicBool};
use crate::sync::{Ordering, fence};
use crate::{Event, Sequence};

/// How often an operation starts again because the name came to refer to another file meanwhile.
const TRIES: u32 = 64;
/// Pause between two attempts to take a lock that another party may hold only for a check.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
pub(crate) const LOOKS: u32 = 20;
/// Attempts, one [`LOOK`] apart, for a ring that is ending: its end may have to be written to a disk before
/// the name is gone, or stays.
const ENDING_LOOKS: u32 = 1_000;
/// How long another process may take to settle a doubt: it reads the whole ring from a disk.
const SETTLING_MAX: Duration = Duration::from_secs(5);

/// What a handle requires of its segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// Number of slots. `None`, for a consumer: any number.
    pub(crate) capacity: Option<usize>,
    pub(crate) first_sequence: Sequence,
    /// Whether an unreadable or incompatible segment without a live producer is replaced.
    pub(crate) recreate: bool,
    /// For a producer: whether each new floor is on the disk before slots are used again (R17).
    pub(crate) keeps_floor: bool,
    /// For a producer: whether the ring is created for observers; a ring that was created for them keeps
    /// them. For an observer: true.
    pub(crate) observed: bool,
    pub(crate) memory: MemoryOptions,
}

/// An open segment: the memory, the locks, and typed pointers into it.
#[derive(Debug)]
pub(crate) struct Segment<E> {
    pub(crate) view: RingView<E>,
    pub(crate) name: Arc<str>,
    /// The name for messages, with the ring's purpose where one was given.
    pub(crate) shown: Arc<str>,
    /// Whether slots are written so that observers can read them (R13).
    pub(crate) is_observed: bool,
    region: Arc<dyn Region>,
    /// Whether the log already says that the program closed the descriptor of this endpoint's locks.
    is_loss_told: AtomicBool,
}

impl<E: Event> Segment<E> {
    pub(crate) fn new(
        name: &str,
        region: Arc<dyn Region>,
        capacity: u64,
        is_observed: bool,
    ) -> Self {
        // every handle is made here, so an event type that may not live in a slot does not compile
        const { require_event::<E>() };
        // SAFETY: the region was made for a header that was validated against `E` and this capacity, and the
        // segment keeps it as long as the view. Only producers write slots, and their regions are writable.
        // Only endpoints with writable regions store to control lines: an observer checks that its region is
        // writable before it stores (R1, R13).
        let view = unsafe { RingView::new(region.control(), region.slots(), capacity as usize) };
        Self {
            view,
            name: name.into(),
            shown: name.into(),
            is_observed,
            region,
            is_loss_told: AtomicBool::new(false),
        }
    }

    /// A segment in a file.
    fn in_file(
        place: &FilePlace,
        region: FileRegion,
        geometry: Geometry,
        is_observed: bool,
    ) -> Self {
        let region = Arc::new(region);
        let mut segment = Self::new(&place.leaf, region, geometry.capacity, is_observed);
        if place.label.is_some() {
            segment.shown = place.shown().into();
        }
        segment
    }

    /// Whether this endpoint has lost its locks because the program closed their descriptor (R8). Logs the
    /// loss once. Makes two system calls, so hot calls do not use it. An endpoint that relies on its locks
    /// for a long time calls it at each liveness check and before it ends.
    pub(crate) fn has_lost_locks(&self) -> bool {
        let is_lost = self.locks().are_lost();
        if is_lost && !self.is_loss_told.swap(true, process::Ordering::Relaxed) {
            tracing::warn!(ring = %self.shown, "{}", lost_locks());
        }
        is_lost
    }

    /// The control lines. Not for hot calls, which have already checked that they do not run in a forked
    /// process.
    ///
    /// # Panics
    ///
    /// In a forked process, where nothing is mapped (R8): the panic replaces the signal that an access would
    /// raise.
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

    pub(crate) fn io_error(&self, step: Step) -> impl FnOnce(io::Error) -> MultiProcessError {
        let path = self.region.path().map(Path::to_owned).unwrap_or_default();
        io_error(&self.shown, path, step)
    }

    /// The error for a step that the system refused, with the probable cause.
    pub(crate) fn refused(&self, failed: Failed) -> MultiProcessError {
        self.io_error(failed.step)(failed.source)
    }

    /// The producer that has or had this ring, as text.
    pub(crate) fn producer_text(&self) -> String {
        describe(self.control().producer.owner.load())
    }

    /// The error for a reader whose producer died. It says whether the ring's name still leads to the ring,
    /// since only then can a successor come.
    pub(crate) fn orphaned(&self) -> RecvError {
        let owner = self.producer_text();
        match self.region.is_name_lost() {
            true => RecvError::NameRemoved { owner },
            false => RecvError::ProducerDead { owner },
        }
    }

    /// Writes an ended ring to the disk and then marks it as ended in order (R17). The caller has closed the
    /// ring and holds the producer's lock.
    pub(crate) fn vouch_for_end(&self) -> io::Result<()> {
        if !self.region.is_name_ours()? {
            return Ok(());
        }
        self.region.sync()?;
        let line = &self.control().producer;
        let last = line.closed.load(Ordering::Relaxed);
        line.ended
            .store(ended_word(last), crate::sync::process::Ordering::Relaxed);
        self.region.sync_control()
    }

    /// Removes the name of a closed and drained ring (R15). `has_drained`: the caller is a consumer that has
    /// released every event. A caller that finds the producer's lock taken gives up: the holder checks again
    /// after it has released the lock, so that of two racing parties one sees the other's commit. The loop
    /// repeats only when a party came or went in between; only a hostile peer causes more than a few rounds.
    pub(crate) fn unlink_if_drained(&self, has_drained: bool) -> io::Result<()> {
        let locks = self.locks();
        // SYNC POINT drain: pairs with itself. Of two consumers that have just released their last event, one
        // sees the other's.
        if !left_out!(DrainFence) {
            fence(Ordering::SeqCst);
        }
        for _ in 0..TRIES {
            if !blocked::is_drained(self.control(), has_drained)
                || !self.region.is_name_ours()?
                || !locks.try_lock(PRODUCER_BYTE)?
            {
                break;
            }
            point("drain.locked");
            // a successor may have opened the ring again between the check and the lock
            let is_drained =
                left_out!(DrainLook) || blocked::is_drained(self.control(), has_drained);
            let unlinked = match is_drained {
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

    /// Whether a durable consumer that has just taken a new line has come too late: the ring is closed, and
    /// its name is gone or about to go, so that the consumer could not come back to its unread events (R15).
    /// The line is ACTIVE.
    ///
    /// A party that ends a ring holds the producer's lock from its last check of the lines until the name is
    /// gone. So if the lock is free afterwards, the next party that checks sees this line. If the holder
    /// keeps the lock for a second, perhaps because it is stopped, the consumer counts as too late.
    pub(crate) fn is_ending_without(&self) -> io::Result<bool> {
        // SYNC POINT late: pairs with the fence in `Producer::finish`. Either the producer finds this line,
        // or this consumer finds the ring closed.
        if !left_out!(LateFence) {
            fence(Ordering::SeqCst);
        }
        if ends::closed_at(self.control()).is_none() {
            return Ok(false);
        }
        for _ in 0..ENDING_LOOKS {
            if left_out!(LateLock) || !self.locks().is_held_by_other(PRODUCER_BYTE)? {
                return Ok(!self.region.is_name_ours()?);
            }
            clock::sleep(LOOK);
        }
        Ok(true)
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

/// This process's identity, as it is written to lines that the process owns.
pub(crate) fn current_owner() -> Owner {
    let identity = Identity::current();
    Owner {
        pid: identity.pid,
        namespace: identity.pid_namespace,
        start_ticks: identity.start_ticks,
    }
}

/// An owner as text.
pub(crate) fn describe(owner: Owner) -> String {
    Identity {
        pid: owner.pid,
        pid_namespace: owner.namespace,
        start_ticks: owner.start_ticks,
    }
    .describe()
}

/// The error for a step on the ring `name`, which lies at `path`, that the system refused.
pub(crate) fn io_error(
    name: &str,
    path: PathBuf,
    step: Step,
) -> impl FnOnce(io::Error) -> MultiProcessError {
    let name = name.to_owned();
    move |source| {
        let failed = step.failed(source);
        MultiProcessError::Io {
            name,
            operation: step.words(),
            cause: cause_of(&failed, &path).map(Box::new),
            source: failed.source,
        }
    }
}

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
    let header = new_header::<E>("heap", geometry, first_sequence, is_observed);
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
            Ok(fd) => claim_existing(place, want, fd)?,
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
        .create_nameless(&place.leaf, want.memory.mode, MAGIC, false)
        .map_err(refused)?;
    point("create.nameless");
    let locks = LockFile::reopen(file.as_fd()).map_err(failed(Step::Reopen))?;
    let is_locked = LockFile::try_lock(&locks, PRODUCER_BYTE).map_err(failed(Step::Lock))?;
    let _ = LockFile::try_lock(&locks, VOUCHED_BYTE).map_err(failed(Step::Lock))?;
    // a file with a temporary name may have been taken by a cleaner before it was locked
    if !is_locked || !file.is_intact().map_err(failed(Step::LookAtFile))? {
        return Ok(None);
    }
    point("create.locked");
    let unit = names::file_system_page_size(file.as_fd());
    let geometry = check_capacity::<E>(capacity, want.first_sequence, unit)?;
    reserve(file.as_fd(), geometry.segment_len).map_err(|error| match error {
        ReserveError::NoSpace {
            needed,
            free,
            limit,
        } => MultiProcessError::NoSpace {
            name: place.shown(),
            needed_bytes: needed,
            free_bytes: free,
            limited_by: limit.to_string(),
        },
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
    let header = new_header::<E>(&place.leaf, geometry, want.first_sequence, want.observed);
    let segment = Segment::<E>::in_file(place, region, geometry, want.observed);
    segment.control().producer.owner.store(current_owner());
    let here = origin_of(file.as_fd()).map_err(failed(Step::LookAtFile))?;
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
fn claim_existing<E: Event>(
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
        .map_err(failed(Step::LookAtFile))?;
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
    for look in 0..ENDING_LOOKS {
        if LockFile::try_lock(locks, PRODUCER_BYTE)? {
            return Ok(true);
        }
        if look >= LOOKS && LockFile::is_held_by_other(locks, VOUCHED_BYTE)? {
            break;
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
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let here = settle::<E>(fd.as_fd(), &locks, header).map_err(failed(Step::Settle))?;
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
    let segment = Segment::in_file(place, region, geometry, header.is_observed);
    let inheritance =
        inherit(&segment, here, want.keeps_floor).map_err(failed(Step::WriteToDisk))?;
    // a producer that has just ended may still hold it
    let _ = segment
        .locks()
        .try_lock(VOUCHED_BYTE)
        .map_err(failed(Step::Lock))?;
    Ok((segment, inheritance))
}

/// The identity of this boot and of this file.
fn origin_of(fd: BorrowedFd<'_>) -> io::Result<Origin> {
    let (inode, born_ns) = boot::file_identity(fd)?;
    Ok(Origin {
        boot: boot::boot_id()?,
        inode,
        born_ns,
    })
}

/// R17: whether the ring was last in use as another file, or in another boot without having been ended in order.
fn is_in_doubt(fd: BorrowedFd<'_>, here: &Origin) -> io::Result<bool> {
    let mut line = [0; LINE_BYTES];
    if read_at(fd, &mut line, CONTROL_OFFSET)? < line.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let vouched = Vouched::from_bytes(&line);
    let is_other_boot = vouched.origin.boot != here.boot && !vouched.has_ended;
    if is_other_boot && here.boot == boot::UNKNOWN {
        let text = "this process cannot read /proc/sys/kernel/random/boot_id, and so cannot tell whether the machine was \
                    restarted since the ring was in use: make that file readable here";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(!vouched.origin.is_same_file(here) || is_other_boot)
}

/// Settles a doubt about the ring, if there is one (R17). The caller has the producer's lock.
fn settle<E: Event>(fd: BorrowedFd<'_>, locks: &LockFile, header: &Header) -> io::Result<Origin> {
    let here = origin_of(fd)?;
    // a living party in the ring means that the doubt is settled; `is_in_doubt` could say otherwise, as it
    // reads without ordering
    if Locks::is_any_held_by_other(locks)? || !is_in_doubt(fd, &here)? {
        return Ok(here);
    }
    let geometry = header.geometry;
    let length = usize::try_from(geometry.segment_len).map_err(io::Error::other)?;
    let mapping = Mapping::map(fd, 0, length, Access::ReadWrite)?;
    let capacity = geometry.capacity as usize;
    // SAFETY: the control lines lie within the mapping: the header's geometry was validated (R1).
    let control = unsafe { mapping.as_ptr().add(CONTROL_OFFSET) };
    // SAFETY: the slots lie within the mapping, too (R1).
    let slots = unsafe { mapping.as_ptr().add(geometry.slots_offset as usize) };
    // SAFETY: the header was validated against `E` and has this capacity, and the mapping outlives the view (R1).
    let view = unsafe { RingView::<E>::new(control.cast(), slots, capacity) };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ground = Ground {
        here,
        highest_by_clock: highest_by_clock(header, now),
    };
    doubt::settle(view, ground, || mapping.sync(0, length))?;
    tracing::warn!(ring = %header.name, "the ring was not ended in order before a restart, or it is a copy: its events are in doubt");
    Ok(here)
}

/// The highest sequence that the ring's age allows: no ring publishes more than one event in a nanosecond. −1
/// where the age says nothing.
fn highest_by_clock(header: &Header, now: Duration) -> Sequence {
    const MOST: u128 = 1 << 60;
    let age = now
        .as_nanos()
        .saturating_sub(u128::from(header.created_unix_ns));
    match Sequence::try_from(age) {
        Ok(age) if u128::from(age.unsigned_abs()) < MOST => {
            header.first_sequence.saturating_add(age)
        }
        _ => -1,
    }
}

/// As [`settle`], for a caller without the producer's lock. A process that gets that lock settles the doubt
/// before anything else. `may_settle`: the caller can write the file, so it may take the lock and settle the
/// doubt itself.
fn settle_before_joining<E: Event>(
    fd: BorrowedFd<'_>,
    locks: &LockFile,
    header: &Header,
    may_settle: bool,
) -> io::Result<()> {
    let here = origin_of(fd)?;
    let begun = clock::now();
    while !LockFile::is_held_by_other(locks, VOUCHED_BYTE)? && is_in_doubt(fd, &here)? {
        if may_settle && LockFile::try_lock(locks, PRODUCER_BYTE)? {
            let settled = settle::<E>(fd, locks, header);
            LockFile::unlock(locks, PRODUCER_BYTE)?;
            return settled.map(drop);
        }
        if begun.elapsed() > SETTLING_MAX {
            let text = match may_settle {
                true => "its producer has not made it ready after a restart; try again",
                false => {
                    "after a restart its producer or a consumer makes it ready, which an observer that may only read it \
                     cannot; start one of them first"
                }
            };
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        clock::sleep(LOOK);
    }
    Ok(())
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

/// Opens a ring for a consumer.
pub(crate) fn open<E: Event>(
    place: &FilePlace,
    want: &Want,
) -> MultiProcessResult<(Segment<E>, Header)> {
    let fd = place
        .directory
        .open_existing(&place.leaf, true, !want.memory.any_owner)
        .map_err(|error| open_error(place, error, Side::Writes))?;
    open_file(place, want, fd, Access::ReadWrite)
}

/// Opens a ring for an observer: read-only where the system does not let it write the file (R13).
pub(crate) fn open_to_observe<E: Event>(
    place: &FilePlace,
    want: &Want,
) -> MultiProcessResult<Segment<E>> {
    let only_own = !want.memory.any_owner;
    let open = |is_writable| {
        place
            .directory
            .open_existing(&place.leaf, is_writable, only_own)
    };
    let (opened, access) = match open(true) {
        Err(error) if error.is_of_writing() => (open(false), Access::ReadOnly),
        opened => (opened, Access::ReadWrite),
    };
    let fd = opened.map_err(|error| open_error(place, error, Side::Reads))?;
    open_file(place, want, fd, access).map(|(segment, _)| segment)
}

/// A file that is open only for reading is mapped read-only: the caller stores nothing in it and takes no
/// lock on it.
fn open_file<E: Event>(
    place: &FilePlace,
    want: &Want,
    fd: OwnedFd,
    access: Access,
) -> MultiProcessResult<(Segment<E>, Header)> {
    let failed = |step: Step| move |source: io::Error| file_error(place, step.failed(source));
    let header = read_header(place, fd.as_fd())?.map_err(|fault| header_error(place, fault))?;
    check_fit::<E>(place, want, &header)?;
    let is_writable = access == Access::ReadWrite;
    let locks = match is_writable {
        true => LockFile::reopen(fd.as_fd()),
        false => LockFile::reopen_to_probe(fd.as_fd()),
    };
    let locks = locks.map_err(failed(Step::Reopen))?;
    settle_before_joining::<E>(fd.as_fd(), &locks, &header, is_writable)
        .map_err(failed(Step::Settle))?;
    let (place_of, geometry, options) = (place.clone(), header.geometry, &want.memory);
    let region = match is_writable {
        true => FileRegion::map_for_reading(place_of, fd.as_fd(), locks, geometry, options),
        false => FileRegion::map_whole(place_of, fd.as_fd(), locks, geometry, options, access),
    };
    let region = region.map_err(|failed| file_error(place, failed))?;
    let segment = Segment::in_file(place, region, geometry, header.is_observed);
    Ok((segment, header))
}

/// Whether a valid segment is the one that this side wants.
fn check_fit<E: Event>(place: &FilePlace, want: &Want, header: &Header) -> MultiProcessResult<()> {
    let refuse = |what, expected: String, found: String| {
        Err(MultiProcessError::IncompatibleLayout {
            name: place.shown(),
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

/// A private copy of page 0, read without mapping the file, so that a file that is too short is an error and
/// not a signal.
fn read_header(
    place: &FilePlace,
    fd: BorrowedFd<'_>,
) -> MultiProcessResult<Result<Header, HeaderFault>> {
    let failed = |source: io::Error| file_error(place, Step::ReadFile.failed(source));
    let length = nix::sys::stat::fstat(fd)
        .map_err(|error| failed(error.into()))?
        .st_size;
    let mut page = [0; CONTROL_OFFSET];
    let count = read_at(fd, &mut page, 0).map_err(failed)?;
    let page = &page[..count];
    let decoded = match count {
        0 => Err(HeaderFault::Foreign {
            found: "an empty file".into(),
        }),
        _ => Header::decode(page, length as u64),
    };
    Ok(decoded.map_err(|fault| match fault {
        HeaderFault::Foreign { found } if is_remnant(page) => HeaderFault::Remnant { found },
        fault => fault,
    }))
}

fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: usize) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        let at = (offset + count) as i64;
        match retry_on_signal(|| nix::sys::uio::pread(fd, &mut bytes[count..], at))? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// The producer's owner, read from the file: a live ring is not mapped just to be refused.
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
    let name = place.shown();
    match fault {
        HeaderFault::Foreign { found } => MultiProcessError::NotARing {
            path: place.path(),
            found,
        },
        HeaderFault::Remnant { found } => MultiProcessError::NotARing {
            path: place.path(),
            found: format!(
                "{found}, which a power cut may have left of one (recreate() replaces it)"
            ),
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

/// The error for a name that no ring has.
pub(crate) fn not_found(place: &FilePlace) -> MultiProcessError {
    MultiProcessError::NotFound {
        name: place.shown(),
        path: place.path(),
        source: io::Error::from(io::ErrorKind::NotFound),
    }
}

/// What an endpoint does with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// A producer or a consumer.
    Writes,
    /// An observer.
    Reads,
}

fn open_error(place: &FilePlace, error: OpenError, side: Side) -> MultiProcessError {
    let path = place.path();
    let not_a_ring = |found: String| MultiProcessError::NotARing {
        path: path.clone(),
        found,
    };
    match error {
        OpenError::NotFound => missing(place),
        OpenError::PermissionDenied { errno } => {
            let cause = why_not_opened(errno, &place.full_path(), side == Side::Writes);
            match cause.is_permission() {
                true => MultiProcessError::PermissionDenied {
                    path,
                    source: io::Error::from(io::ErrorKind::PermissionDenied),
                    cause: Box::new(cause),
                },
                false => MultiProcessError::Io {
                    name: place.shown(),
                    operation: Step::OpenFile.words(),
                    source: errno.into(),
                    cause: Some(Box::new(cause)),
                },
            }
        }
        OpenError::Symlink => not_a_ring("a symbolic link".into()),
        OpenError::NotRegular { kind } => not_a_ring(kind.into()),
        OpenError::ForeignOwner { uid } => MultiProcessError::ForeignOwner {
            path,
            owner: user_text(uid),
            owner_uid: uid,
            caller: user_text(effective_user()),
        },
        OpenError::NetworkFileSystem { kind } => MultiProcessError::NetworkFileSystem {
            path,
            kind: kind.to_string(),
        },
        OpenError::Failed(failed) => file_error(place, failed),
    }
}

/// The error for an endpoint that finds no ring: either no ring has the name, or the directory for it does
/// not exist.
fn missing(place: &FilePlace) -> MultiProcessError {
    match no_shared_memory(&place.full_path()) {
        None => not_found(place),
        cause => MultiProcessError::Io {
            name: place.shown(),
            operation: Step::OpenFile.words(),
            source: io::Error::from(io::ErrorKind::NotFound),
            cause: cause.map(Box::new),
        },
    }
}

/// The error for a step that the system refused, with the probable cause.
pub(crate) fn file_error(place: &FilePlace, failed: Failed) -> MultiProcessError {
    match cause_of(&failed, &place.full_path()) {
        Some(cause) if cause.is_permission() => MultiProcessError::PermissionDenied {
            path: place.path(),
            source: failed.source,
            cause: Box::new(cause),
        },
        cause => MultiProcessError::Io {
            name: place.shown(),
            operation: failed.step.words(),
            source: failed.source,
            cause: cause.map(Box::new),
        },
    }
}
