//! Attaching to a ring in a file: whether the file is the ring that the caller wants, and whether what is in it is in
//! doubt (R17). A process that has the producer's lock settles a doubt before anything else; if it dies, the next
//! one repeats that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::refusals::{Side, file_error, header_error, open_error};
use super::{PAUSE, Segment, Want, record_of};
use crate::Sequence;
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::Event;
use crate::layout::control::{Control, Origin, Owner, Vouched};
use crate::layout::header::{Header, HeaderFault, is_remnant};
use crate::layout::lock_bytes::{PRODUCER_BYTE, VOUCHED_BYTE};
use crate::layout::{CONTROL_OFFSET, LINE_BYTES};
use crate::os::boot;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping};
use crate::os::retry_on_signal;
use crate::os::step::{Failed, Step};
use crate::protocol::Locks;
use crate::protocol::doubt::{self, Ground};
use crate::protocol::view::{RingView, SlotOf};
use crate::region::file::{FilePlace, FileRegion};

/// How long another process may take to settle a doubt: it reads the whole ring from a disk.
const SETTLING_MAX: Duration = Duration::from_secs(5);

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
        .map_err(|failed| file_error(place, failed))?;
    let (place_of, geometry, options) = (place.clone(), header.geometry, &want.memory);
    let region = match is_writable {
        true => FileRegion::map_for_reading(place_of, fd.as_fd(), locks, geometry, options),
        false => FileRegion::map_whole(place_of, fd.as_fd(), locks, geometry, options, access),
    };
    let region = region.map_err(|failed| file_error(place, failed))?;
    let segment = Segment::in_file(place, region, &header);
    Ok((segment, header))
}

/// Whether a valid segment is the one that this side wants.
pub(super) fn check_fit<E: Event>(
    place: &FilePlace,
    want: &Want,
    header: &Header,
) -> MultiProcessResult<()> {
    let refuse = |what, expected: String, found: String| {
        Err(MultiProcessError::IncompatibleLayout {
            name: place.shown(),
            what,
            expected,
            found,
        })
    };
    let event = record_of::<E>();
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
pub(super) fn read_header(
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
pub(super) fn read_owner(fd: BorrowedFd<'_>) -> Option<Owner> {
    let mut bytes = [0; 24];
    let offset = CONTROL_OFFSET + Control::PRODUCER_OWNER_OFFSET;
    (read_at(fd, &mut bytes, offset).ok()? == bytes.len()).then(|| Owner::from_bytes(&bytes))
}

/// The identity of this boot and of this file.
pub(crate) fn origin_of(fd: BorrowedFd<'_>) -> io::Result<Origin> {
    let (inode, born_ns) = boot::file_identity(fd)?;
    Ok(Origin {
        boot: boot::boot_id()?,
        inode,
        born_ns,
    })
}

/// R17: whether the ring was last in use as another file, or in another boot without having been ended in order.
pub(crate) fn is_in_doubt(fd: BorrowedFd<'_>, here: &Origin) -> io::Result<bool> {
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
pub(super) fn settle<E: Event>(
    fd: BorrowedFd<'_>,
    locks: &LockFile,
    header: &Header,
) -> Result<Origin, Failed> {
    let failed = |step: Step| move |source: io::Error| step.failed(source);
    let here = origin_of(fd).map_err(failed(Step::Settle))?;
    // a living party in the ring means that the doubt is settled; `is_in_doubt` could say otherwise, as it
    // reads without ordering
    if Locks::is_any_held_by_other(locks).map_err(failed(Step::Lock))?
        || !is_in_doubt(fd, &here).map_err(failed(Step::Settle))?
    {
        return Ok(here);
    }
    let geometry = header.geometry;
    let length = usize::try_from(geometry.segment_len)
        .map_err(|error| Step::Map.failed(io::Error::other(error)))?;
    let mapping = Mapping::map(fd, 0, length, Access::ReadWrite)
        .map_err(|source| Step::Map.failed(source).of_bytes(geometry.segment_len))?;
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
    doubt::settle(view, ground, || mapping.sync(0, length)).map_err(failed(Step::WriteToDisk))?;
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
) -> Result<(), Failed> {
    let failed = |step: Step| move |source: io::Error| step.failed(source);
    let here = origin_of(fd).map_err(failed(Step::Settle))?;
    let begun = clock::now();
    while !LockFile::is_held_by_other(locks, VOUCHED_BYTE).map_err(failed(Step::Lock))?
        && is_in_doubt(fd, &here).map_err(failed(Step::Settle))?
    {
        if may_settle && LockFile::try_lock(locks, PRODUCER_BYTE).map_err(failed(Step::Lock))? {
            let settled = settle::<E>(fd, locks, header);
            LockFile::unlock(locks, PRODUCER_BYTE).map_err(failed(Step::Lock))?;
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
            let source = io::Error::new(io::ErrorKind::TimedOut, text);
            return Err(Step::Settle.failed(source));
        }
        clock::sleep(PAUSE);
    }
    Ok(())
}
