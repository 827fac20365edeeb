//! A segment in a file: POSIX shared memory (a file in the system's shared-memory directory) or any mapped file.
//!
//! The descriptor that is mapped carries no lock, and the one that carries locks is never mapped (R8). After this
//! endpoint's process dies the kernel unmaps and unlocks; the file stays until whoever may remove it does (R15).

use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{HugePages, MemoryOptions, MemoryReport, Region};
use crate::layout::CONTROL_OFFSET;
use crate::layout::control::Control;
use crate::layout::header::{Geometry, HEADER_BYTES, READY, STATE_AT};
use crate::layout::lock_bytes::LOCK_BYTES_END;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping};
use crate::os::names::Directory;
use crate::os::{fork, names};
use crate::protocol::Locks;
use crate::sync::process::AtomicU64;

/// Where a named segment is.
#[derive(Clone, Debug)]
pub(crate) struct FilePlace {
    pub(crate) directory: Directory,
    pub(crate) leaf: String,
}

/// One endpoint's hold on a mapped file.
#[derive(Debug)]
pub(crate) struct FileRegion {
    place: FilePlace,
    geometry: Geometry,
    /// Header and control lines; the slots too where `slots` is none.
    head: Mapping,
    /// A consumer's read-only view of the slots.
    slots: Option<Mapping>,
    is_locked: bool,
    is_read_only: bool,
    locks: LockFile,
    fd: OwnedFd,
    live_word: &'static AtomicU64,
}

impl FileRegion {
    /// Maps the whole segment writable, for a producer. `populate` reserves and touches each page.
    pub(crate) fn map_whole(
        place: FilePlace,
        fd: OwnedFd,
        locks: LockFile,
        geometry: Geometry,
        options: &MemoryOptions,
    ) -> io::Result<Self> {
        let head = map(&fd, 0, geometry.segment_len, Access::ReadWrite, options)?;
        Ok(Self {
            place,
            geometry,
            head,
            slots: None,
            is_locked: options.lock,
            is_read_only: false,
            locks,
            fd,
            live_word: fork::live_word(),
        })
    }

    /// Maps the control lines writable and the slots read-only, for a consumer.
    pub(crate) fn map_for_reading(
        place: FilePlace,
        fd: OwnedFd,
        locks: LockFile,
        geometry: Geometry,
        options: &MemoryOptions,
    ) -> io::Result<Self> {
        if names::is_hugetlbfs(fd.as_fd()) {
            return Self::map_whole(place, fd, locks, geometry, options);
        }
        let head = map(&fd, 0, geometry.slots_offset, Access::ReadWrite, options)?;
        let length = geometry.segment_len - geometry.slots_offset;
        let slots = map(
            &fd,
            geometry.slots_offset,
            length,
            if options.writable_slots {
                Access::ReadWrite
            } else {
                Access::ReadOnly
            },
            options,
        )?;
        Ok(Self {
            place,
            geometry,
            head,
            slots: Some(slots),
            is_locked: options.lock,
            is_read_only: !options.writable_slots,
            locks,
            fd,
            live_word: fork::live_word(),
        })
    }

    /// Writes fresh control lines.
    pub(crate) fn write_control(&self, control: Control) {
        // SAFETY: the control lines lie within the head, aligned, and nobody else knows the segment yet (R15).
        unsafe { self.control().write(control) };
    }
}

fn map(
    fd: &OwnedFd,
    offset: u64,
    length: u64,
    access: Access,
    options: &MemoryOptions,
) -> io::Result<Mapping> {
    let length =
        usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mapping = Mapping::map(fd.as_fd(), offset, length, access)?;
    if options.huge_pages == HugePages::Try {
        // refusal is no failure: the report tells what was given
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
        // SAFETY: every segment's head is longer than that: its geometry was validated (R1).
        unsafe { self.head.as_ptr().add(CONTROL_OFFSET) }.cast()
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
        let base = self.head.as_ptr();
        // SAFETY: the mapping starts with a whole page, which no other process knows of yet (R15).
        unsafe { core::ptr::copy_nonoverlapping(header.as_ptr(), base.as_ptr(), HEADER_BYTES) };
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        // SAFETY: the state word lies within that page.
        let state = unsafe { base.add(STATE_AT) };
        // SAFETY: aligned to 4, and nobody else knows the page yet (R15).
        unsafe { state.cast::<u32>().write_volatile(READY) };
    }

    fn is_name_ours(&self) -> io::Result<bool> {
        self.place
            .directory
            .names_same_file(&self.place.leaf, self.fd.as_fd())
    }

    fn unlink(&self) -> io::Result<()> {
        self.place.directory.unlink(&self.place.leaf)
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
            is_read_only: self.is_read_only,
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

    fn is_any_held_by_other(&self) -> io::Result<bool> {
        Ok(self.any_held_by_other(0..LOCK_BYTES_END)?.is_some())
    }
}
