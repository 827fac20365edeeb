//! The memory that both processes share beside the rings: lines for synchronisation, and the slots of the bare loops.
//!
//! ```text
//! line 0  arrivals of the driver     line 3  ping          page 1 ..  slots of the bare streams
//! line 1  arrivals of the peer       line 4  pong
//! line 2  the peer's progress        line 5  the driver's progress
//! line 6  the word of the bare wake-up; the slots hold the times of sending. The driver writes both
//! line 7  the word of the bare wake-ups in turn, which both write
//! line 8  the cursor of the bare cursor stream, which the driver writes
//! line 9  the time of the first message of a round at a fixed rate, which the driver writes
//! ```
//! Each line (128 B) but line 7 is written by one party. If one process dies, the other one notices in [`spin_until`].

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::watch::spin_until;

/// Where the slots begin.
pub(crate) const SLOTS_AT: usize = 4096;
const LINE_BYTES: usize = 128;

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Starts every round and keeps the time.
    Driver,
    /// The second process.
    Peer,
}

/// The mapping, and this process's place in it.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapRaw,
    file: File,
    role: Role,
    meetings: u64,
}

impl Arena {
    /// Creates a nameless object with room for `slot_bytes` of slots, with all pages allocated.
    pub(crate) fn create(slot_bytes: usize) -> io::Result<Self> {
        // There is no close-on-exec flag, because the peer inherits the descriptor; so the object needs no name.
        let file = File::from(memfd_create(c"perf-bench", MFdFlags::empty())?);
        file.set_len((SLOTS_AT + slot_bytes) as u64)?;
        Self::map(file, Role::Driver)
    }

    /// Maps the object that the peer inherited.
    pub(crate) fn inherit(descriptor: RawFd) -> io::Result<Self> {
        // SAFETY: the parent left this descriptor open for this process, and nothing else in this process owns it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        Self::map(file, Role::Peer)
    }

    fn map(file: File, role: Role) -> io::Result<Self> {
        let map = MmapOptions::new().populate().map_raw(&file)?;
        if map.len() < SLOTS_AT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            map,
            file,
            role,
            meetings: 0,
        })
    }

    /// The descriptor to hand to the peer.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Which process this is.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Waits until the other process has made the same number of calls.
    pub(crate) fn meet(&mut self) {
        self.meetings += 1;
        let (mine, theirs) = match self.role {
            Role::Driver => (0, 1),
            Role::Peer => (1, 0),
        };
        self.word(mine).store(self.meetings, Ordering::SeqCst);
        spin_until(|| self.word(theirs).load(Ordering::SeqCst) >= self.meetings);
    }

    /// The peer's progress: a sequence, or the number of a finished round.
    pub(crate) fn progress(&self) -> &AtomicI64 {
        // SAFETY: as in `word`; a signed atomic has the same size and alignment.
        unsafe { AtomicI64::from_ptr(self.address(2).cast()) }
    }

    /// The driver's progress, in rounds where the driver receives.
    pub(crate) fn driver_progress(&self) -> &AtomicI64 {
        // SAFETY: as in `progress`.
        unsafe { AtomicI64::from_ptr(self.address(5).cast()) }
    }

    /// The two lines of the bounces: ping and pong.
    pub(crate) fn bounce_lines(&self) -> (&AtomicU64, &AtomicU64) {
        (self.word(3), self.word(4))
    }

    /// The word that the bare wake-up sleeps on.
    pub(crate) fn wake_word(&self) -> &AtomicU32 {
        // SAFETY: as in `word`; the word is a line of its own, of which all parties use the first four bytes.
        unsafe { AtomicU32::from_ptr(self.address(6).cast()) }
    }

    /// The word by which both processes wake each other in turn.
    pub(crate) fn turn_word(&self) -> &AtomicU32 {
        // SAFETY: as in `wake_word`, in another line.
        unsafe { AtomicU32::from_ptr(self.address(7).cast()) }
    }

    /// The cursor of the bare cursor stream.
    pub(crate) fn cursor(&self) -> &AtomicI64 {
        // SAFETY: as in `progress`.
        unsafe { AtomicI64::from_ptr(self.address(8).cast()) }
    }

    /// The time of the first message of a round at a fixed rate.
    pub(crate) fn pace_start(&self) -> &AtomicU64 {
        self.word(9)
    }

    /// The time at which the bare wake-up of this number was sent. The slots hold as many times as the arena was
    /// made for.
    pub(crate) fn sent_at(&self, number: usize) -> &AtomicU64 {
        let at = self.slots(number * size_of::<u64>(), size_of::<u64>());
        // SAFETY: the address is inside the mapping (asserted in `slots`) and aligned, as the slots begin on a
        // page boundary. It is valid as long as `self`, and all parties access it only as an atomic.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// The address of a region of slots; `offset` and `bytes` come from the driver's plan.
    pub(crate) fn slots(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(SLOTS_AT + offset + bytes <= self.map.len());
        self.map.as_mut_ptr().wrapping_add(SLOTS_AT + offset)
    }

    fn address(&self, line: usize) -> *mut u64 {
        assert!((line + 1) * LINE_BYTES <= SLOTS_AT);
        self.map.as_mut_ptr().wrapping_add(line * LINE_BYTES).cast()
    }

    fn word(&self, line: usize) -> &AtomicU64 {
        // SAFETY: the address is inside the mapping (asserted above, and the mapping is at least a page), aligned
        // to 128 and valid as long as `self`, and both processes access it only as an atomic.
        unsafe { AtomicU64::from_ptr(self.address(line)) }
    }
}
