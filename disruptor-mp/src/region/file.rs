//! A segment in a file: POSIX shared memory (a file in the system's shared-memory directory) or any mapped file.
//!
//! The mapped descriptor carries no lock, and is closed once everything is mapped. The descriptor that
//! carries the locks is never mapped (R8). If this endpoint's process dies, the kernel unmaps and unlocks;
//! the file stays until a process that may remove it does so (R15).

use core::ptr::NonNull;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HugePages, MemoryOptions, MemoryReport, Region};
use crate::layout::CONTROL_OFFSET;
use crate::layout::control::Control;
use crate::layout::header::{Geometry, HEADER_BYTES, READY, STATE_AT};
use crate::layout::lock_bytes::LOCK_BYTES_END;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping};
use crate::os::names::Directory;
use crate::os::step::{Failed, Step};
use crate::os::{fork, names};
use crate::protocol::Locks;
use crate::sync::process::AtomicU64;

/// Where a named segment is.
#[derive(Clone, Debug)]
pub(crate) struct FilePlace {
    pub(crate) directory: Directory,
    pub(crate) leaf: String,
    /// What the ring is for, as its name may not tell.
    pub(crate) label: Option<Arc<str>>,
}

impl FilePlace {
    pub(crate) fn new(directory: Directory, leaf: &str, label: Option<Arc<str>>) -> Self {
        Self {
            directory,
            leaf: leaf.to_owned(),
            label,
        }
    }

    pub(crate) fn full_path(&self) -> PathBuf {
        self.directory.path().join(&self.leaf)
    }

    /// The path, for messages.
    pub(crate) fn path(&self) -> String {
        self.full_path().display().to_string()
    }

    /// The ring's name, for messages.
    pub(crate) fn shown(&self) -> String {
        shown(&self.leaf, self.label.as_deref())
    }
}

/// A ring's name with what the ring is for.
pub(crate) fn shown(name: &str, label: Option<&str>) -> String {
    match label {
        Some(label) => format!("{name} ({label})"),
        None => name.to_owned(),
    }
}

/// One endpoint's hold on a mapped file.
#[derive(Debug)]
pub(crate) struct FileRegion {
    place: FilePlace,
    /// The whole path of the name.
    path: PathBuf,
    geometry: Geometry,
    /// Header and control lines; the slots as well if `slots` is `None`.
    head: Mapping,
    /// A consumer's view of the slots: read-only, unless a writable one was asked for.
    slots: Option<Mapping>,
    is_locked: bool,
    locks: LockFile,
    live_word: &'static AtomicU64,
}

impl FileRegion {
    /// Maps the whole segment: writable for a producer, read-only for an observer that may not write the file (R13).
    pub(crate) fn map_whole(
        place: FilePlace,
        fd: BorrowedFd<'_>,
        locks: LockFile,
        geometry: Geometry,
        options: &MemoryOptions,
        access: Access,
    ) -> Result<Self, Failed> {
        let head = map(fd, 0, geometry.segment_len, access, options)?;
        Self::of(place, locks, geometry, options, head, None)
    }

    /// Maps the control lines and the slots for a consumer: the control lines writable, the slots read-only unless
    /// `options.writable_slots` says otherwise. On hugetlbfs, which cannot be split, everything is mapped writable.
    pub(crate) fn map_for_reading(
        place: FilePlace,
        fd: BorrowedFd<'_>,
        locks: LockFile,
        geometry: Geometry,
        options: &MemoryOptions,
    ) -> Result<Self, Failed> {
        if names::is_hugetlbfs(fd) {
            return Self::map_whole(place, fd, locks, geometry, options, Access::ReadWrite);
        }
        let access = match options.writable_slots {
            true => Access::ReadWrite,
            false => Access::ReadOnly,
        };
        let at = geometry.slots_offset;
        let head = map(fd, 0, at, Access::ReadWrite, options)?;
        let slots = map(fd, at, geometry.segment_len - at, access, options)?;
        Self::of(place, locks, geometry, options, head, Some(slots))
    }

    fn of(
        place: FilePlace,
        locks: LockFile,
        geometry: Geometry,
        options: &MemoryOptions,
        head: Mapping,
        slots: Option<Mapping>,
    ) -> Result<Self, Failed> {
        let path = place.directory.path_of(&place.leaf);
        Ok(Self {
            path: path.map_err(|error| Step::OpenFile.failed(error))?,
            place,
            geometry,
            head,
            slots,
            is_locked: options.lock,
            locks,
            live_word: fork::live_word(),
        })
    }

    /// Whether the control lines are mapped writable.
    fn has_writable_lines(&self) -> bool {
        self.head.access() == Access::ReadWrite
    }

    /// Writes the initial control lines.
    pub(crate) fn write_control(&self, control: Control) {
        debug_assert!(self.has_writable_lines(), "only a creator writes them");
        // SAFETY: the control lines lie within the head, aligned, and no other process knows the segment yet (R15).
        unsafe { self.control().write(control) };
    }
}

fn map(
    fd: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    access: Access,
    options: &MemoryOptions,
) -> Result<Mapping, Failed> {
    let length = usize::try_from(length)
        .map_err(|_| Step::Map.failed(io::Error::from(io::ErrorKind::OutOfMemory)))?;
    let mapping = Mapping::map(fd, offset, length, access)?;
    if !options.core_dump {
        let left_out = mapping.leave_out_of_core_dumps();
        left_out.map_err(|error| Step::KeepFromCoreDumps.failed(error))?;
    }
    if options.huge_pages == HugePages::Try {
        // a refusal is no error: the report says how many huge pages there are
        let _ = mapping.advise_huge();
    }
    mapping.populate()?;
    if options.lock {
        mapping.lock_in_memory()?;
    }
    Ok(mapping)
}

impl Region for FileRegion {
    fn control(&self) -> NonNull<Control> {
        // SAFETY: the head of every segment ends after this offset: its geometry was validated (R1).
        unsafe { self.head.as_ptr().add(CONTROL_OFFSET) }.cast()
    }

    fn is_writable(&self) -> bool {
        self.has_writable_lines()
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn slots(&self) -> NonNull<u8> {
        match &self.slots {
            Some(slots) => slots.as_ptr(),
            // SAFETY: the whole segment is mapped, and the slots lie within it: its geometry was validated (R1).
            None => unsafe { self.head.as_ptr().add(self.geometry.slots_offset as usize) },
        }
    }

    fn locks(&self) -> &dyn Locks {
        &self.locks
    }

    fn live_word(&self) -> &'static AtomicU64 {
        self.live_word
    }

    fn write_header(&self, header: &[u8; HEADER_BYTES]) {
        debug_assert!(
            self.has_writable_lines(),
            "only a creator writes the header"
        );
        let base = self.head.as_ptr();
        // SAFETY: the mapping starts with a whole page, which no other process knows of yet (R15).
        unsafe { core::ptr::copy_nonoverlapping(header.as_ptr(), base.as_ptr(), HEADER_BYTES) };
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        // SAFETY: the state word lies within that page.
        let state = unsafe { base.add(STATE_AT) };
        // SAFETY: the word is aligned to 4, and no other process knows the page yet (R15).
        unsafe { state.cast::<u32>().write_volatile(READY) };
    }

    fn is_name_ours(&self) -> io::Result<bool> {
        self.locks.is_of(&self.path)
    }

    fn is_name_lost(&self) -> bool {
        self.is_name_ours().is_ok_and(|is_ours| !is_ours)
    }

    fn unlink(&self) -> io::Result<()> {
        let FilePlace {
            directory, leaf, ..
        } = &self.place;
        directory.remove_second_names(leaf, self.locks.as_fd()?)?;
        directory.unlink(leaf)
    }

    fn sync_control(&self) -> io::Result<()> {
        self.head.sync(CONTROL_OFFSET, size_of::<Control>())
    }

    fn sync(&self) -> io::Result<()> {
        self.head.sync(0, self.head.len())?;
        self.place.directory.sync()
    }

    fn memory(&self) -> MemoryReport {
        let parts = [Some(&self.head), self.slots.as_ref()];
        MemoryReport {
            segment_bytes: self.geometry.segment_len,
            huge_bytes: parts
                .into_iter()
                .flatten()
                .filter_map(Mapping::huge_bytes)
                .sum(),
            is_locked: self.is_locked,
            is_read_only: self.slots.as_ref().unwrap_or(&self.head).access() == Access::ReadOnly,
        }
    }
}

impl Locks for LockFile {
    fn try_lock(&self, byte: u64) -> io::Result<bool> {
        LockFile::try_lock(self, byte)
    }

    fn unlock(&self, byte: u64) -> io::Result<()> {
        LockFile::unlock(self, byte)
    }

    fn is_held_by_other(&self, byte: u64) -> io::Result<bool> {
        LockFile::is_held_by_other(self, byte)
    }

    fn are_lost(&self) -> bool {
        self.is_lost()
    }

    fn is_any_held_by_other(&self) -> io::Result<bool> {
        Ok(self.any_held_by_other(0..LOCK_BYTES_END)?.is_some())
    }
}
