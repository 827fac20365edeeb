//! The counters file: a header, then slots.
//!
//! ```text
//! +   0  magic        8 bytes, "MYLNCNT\0"
//! +   8  version      u32, 2
//! +  12  slot count   u32
//! +  16  slot bytes   u32, 512
//! +  20  slots at     u32, 128
//! + 128  slots
//! ```
//!
//! The header is written once, before the file has its name. `table` has who owns a slot.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::slot::SlotWords;
use super::table::Memory;
use super::{COUNTERS_FILE_SLOTS, CountersError};
use crate::cause::{SystemCause, why_not_opened};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping, ReserveError, Shortage, reserve};
use crate::os::names::{Directory, Kind, OpenError};
use crate::os::step::Step;

/// A header with more slots than this was not written by this crate.
const SLOTS_MAX: u32 = 1 << 20;
const MAGIC: [u8; 8] = *b"MYLNCNT\0";
const KIND: Kind = Kind {
    magic: MAGIC,
    builder_byte: PRODUCER_BYTE,
};
const VERSION: u32 = 2;
/// Seen from outside, a counters file is known by these two.
#[cfg(not(loom))]
const _: () = assert!(
    u64::from_ne_bytes(crate::inspect::counters::MAGIC) == u64::from_ne_bytes(MAGIC)
        && crate::inspect::counters::VERSION == VERSION
);
const SLOT_BYTES: u32 = size_of::<SlotWords>() as u32;
const SLOTS_AT: u32 = 128;
const HEADER_BYTES: usize = 24;
const MODE: u32 = 0o600;

/// Makes the file, or opens the one that exists.
pub(super) fn create(path: &Path) -> Result<Memory, CountersError> {
    loop {
        match open(path) {
            Err(CountersError::NotFound { .. }) => {}
            opened => return opened,
        }
        match build(path) {
            Err(CountersError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists => {}
            built => return built,
        }
    }
}

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Memory, CountersError> {
    let (directory, leaf) = place(path)?;
    let fd = directory
        .open_existing(&leaf, true, true)
        .map_err(|error| open_error(path, error))?;
    let count = read_header(path, &fd)?;
    // Its creator may have been killed before it removed the second name. A failure is ignored: a user that
    // may open the file may lack the right to change the directory.
    let _ = directory.remove_second_names(&leaf, fd.as_fd());
    map(path, fd, count)
}

/// Builds a complete file without a name, then names it.
fn build(path: &Path) -> Result<Memory, CountersError> {
    let refused = |failed| CountersError::of_step(path, failed);
    let failed =
        |step: Step| move |source: io::Error| CountersError::of_step(path, step.failed(source));
    let (directory, leaf) = place(path)?;
    let file = directory
        .create_nameless(&leaf, MODE, KIND, false)
        .map_err(refused)?;
    let builder = LockFile::reopen(file.as_fd()).map_err(failed(Step::Reopen))?;
    let is_locked = builder
        .try_lock(PRODUCER_BYTE)
        .map_err(failed(Step::Lock))?;
    // a file with a temporary name may have been removed as a leftover before it was locked: the caller tries again
    if !is_locked || !file.is_intact().map_err(failed(Step::ReadStatus))? {
        return Err(failed(Step::NameFile)(io::ErrorKind::AlreadyExists.into()));
    }
    let bytes = u64::from(SLOTS_AT) + (COUNTERS_FILE_SLOTS * SLOT_BYTES as usize) as u64;
    reserve(file.as_fd(), bytes).map_err(|error| match error {
        ReserveError::NoSpace(Shortage {
            needed,
            free,
            limit,
        }) => CountersError::NoSpace {
            path: path.display().to_string(),
            needed_bytes: needed,
            free_bytes: free,
            limited_by: limit.to_string(),
        },
        ReserveError::Io(source) => refused(Step::Reserve.failed(source).of_bytes(bytes)),
    })?;
    let clone = file
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed(Step::Duplicate))?;
    File::from(clone)
        .write_all_at(&header(), 0)
        .map_err(failed(Step::WriteFile))?;
    let fd = file
        .publish()
        .map_err(|(source, _)| failed(Step::NameFile)(source))?;
    map(path, fd, COUNTERS_FILE_SLOTS)
}

fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    let fields = [VERSION, COUNTERS_FILE_SLOTS as u32, SLOT_BYTES, SLOTS_AT];
    for (bytes, field) in header[8..].as_chunks_mut::<4>().0.iter_mut().zip(fields) {
        *bytes = field.to_ne_bytes();
    }
    header
}

/// Validates the header against the file's length; returns the number of slots (R1).
fn read_header(path: &Path, fd: &OwnedFd) -> Result<usize, CountersError> {
    let failed =
        |step: Step| move |source: io::Error| CountersError::of_step(path, step.failed(source));
    let foreign = |found: String| CountersError::NotACountersFile {
        path: path.display().to_string(),
        found,
    };
    let file = File::from(fd.try_clone().map_err(failed(Step::Duplicate))?);
    let length = file.metadata().map_err(failed(Step::ReadStatus))?.len();
    if length < u64::from(SLOTS_AT) {
        return Err(foreign(format!(
            "it has {length} bytes, too few for a header"
        )));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)
        .map_err(failed(Step::ReadFile))?;
    if header[..8] != MAGIC {
        return Err(foreign("it does not begin as one".into()));
    }
    let mut fields = [0; 4];
    for (field, bytes) in fields.iter_mut().zip(header[8..].as_chunks::<4>().0) {
        *field = u32::from_ne_bytes(*bytes);
    }
    let [version, count, slot_bytes, slots_at] = fields;
    if version != VERSION {
        return Err(foreign(format!(
            "its version is {version}, not {VERSION}, so only programs of that version can use it"
        )));
    }
    if (slot_bytes, slots_at) != (SLOT_BYTES, SLOTS_AT) || !(1..=SLOTS_MAX).contains(&count) {
        return Err(foreign("its header is damaged".into()));
    }
    let needed = u64::from(SLOTS_AT) + u64::from(count) * u64::from(SLOT_BYTES);
    if length < needed {
        return Err(foreign(format!("it was cut to {length} bytes of {needed}")));
    }
    Ok(count as usize)
}

/// Maps the slots. The caller has checked that the file is long enough for `count` of them.
fn map(path: &Path, fd: OwnedFd, count: usize) -> Result<Memory, CountersError> {
    let refused = |failed| CountersError::of_step(path, failed);
    let failed =
        |step: Step| move |source: io::Error| CountersError::of_step(path, step.failed(source));
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed(Step::Reopen))?;
    let slots_at = SLOTS_AT as usize;
    let bytes = slots_at + count * SLOT_BYTES as usize;
    let map = Mapping::map(fd.as_fd(), 0, bytes, Access::ReadWrite).map_err(refused)?;
    map.populate().map_err(refused)?;
    Ok(Memory::Mapped {
        map,
        slots_at,
        count,
        locks,
    })
}

/// The directory of the path, and the name in it.
fn place(path: &Path) -> Result<(Directory, String), CountersError> {
    let text = || path.display().to_string();
    let Some(leaf) = path.file_name().and_then(|leaf| leaf.to_str()) else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it does not end in a name");
        return Err(CountersError::of_step(path, Step::OpenFile.failed(source)));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = Directory::open(parent).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CountersError::NotFound { path: text() },
        _ => CountersError::of_step(path, Step::OpenDirectory.failed(source)),
    })?;
    Ok((directory, leaf.to_owned()))
}

fn open_error(path: &Path, error: OpenError) -> CountersError {
    let (text, reason) = (path.display().to_string(), error.to_string());
    match error {
        OpenError::NotFound => CountersError::NotFound { path: text },
        OpenError::ForeignOwner { .. } => CountersError::PermissionDenied { path: text, reason },
        OpenError::PermissionDenied { errno } => match why_not_opened(errno, path, true) {
            SystemCause::NoWriteAccess { owner, mode } => CountersError::PermissionDenied {
                path: text,
                reason: format!("{reason}: it belongs to {owner} with mode {mode:04o}"),
            },
            cause => CountersError::Io {
                path: text,
                operation: Step::OpenFile.words(),
                source: errno.into(),
                cause: Some(Box::new(cause)),
            },
        },
        OpenError::Symlink | OpenError::NotRegular { .. } | OpenError::NetworkFileSystem { .. } => {
            CountersError::NotACountersFile {
                path: text,
                found: reason,
            }
        }
        OpenError::Failed(failed) => CountersError::of_step(path, failed),
    }
}
