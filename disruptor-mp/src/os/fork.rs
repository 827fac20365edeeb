//! Fork detection and the registry of lock descriptors (R8).
//!
//! A forked child inherits every open file description, and with it every byte lock of its parent. A child
//! that lives on would keep a dead owner's lock. So each lock descriptor is listed here before anything is
//! locked through it, and a `pthread_atfork` child handler closes all of them. The *live word* detects a fork
//! even where no handler runs: it lies in a page that the kernel wipes on fork, and is non-zero only in the
//! process that mapped it.
//!
//! Writers: the process that maps the live word writes it once. A thread takes an entry of the
//! registry by one exchange; then that thread alone writes it.
//!
//! The registry has no lock. A thread would hold it while it opens a file. That thread may have been
//! preempted by the thread that waits for the lock (which has a higher real-time priority, on the same core),
//! or may be missing in a child that was made by a raw `clone`. Instead, the prepare handler counts forks. A
//! thread opens a descriptor, lists it, and checks whether the count has moved meanwhile. If it has, a child
//! may have got the description before it was listed: the thread closes it and opens another one. Such a
//! child keeps a description that never carries a lock. A thread waits, asleep, only while a fork is under
//! way that began before the descriptor is opened; a fork never waits.
//!
//! A process that dies needs nothing from this file: the kernel closes the descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU64, Ordering, fence};

use super::clock;
use super::descriptor::{Mark, lost_locks};

/// The live word of the newest fork generation that asked for one; null before the first call.
static CURRENT: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// A word that is non-zero only in the process that called this function.
///
/// Keep the reference and load it (Relaxed) wherever a fork has to be noticed: in a forked child the same
/// address reads 0 for good, even if the child was made by a raw `clone`. A child that calls this function
/// gets a word of its own, so that each generation of forks costs one page.
///
/// Where the kernel has no `MADV_WIPEONFORK` (before 4.14), and on macOS, the atfork handler zeroes the word
/// instead. A raw `clone` bypasses that handler.
#[cfg(not(miri))]
pub(crate) fn live_word() -> &'static AtomicU64 {
    let seen = CURRENT.load(Ordering::Acquire);
    if let Some(word) = word_at(seen)
        && word.load(Ordering::Relaxed) != 0
    {
        return word;
    }
    install_handlers();
    let fresh = fresh_word();
    match CURRENT.compare_exchange(
        seen,
        ptr::from_ref(fresh).cast_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        Ok(_) => fresh,
        // Another thread of this process was faster. This page stays mapped, at most once for each racing thread.
        Err(winner) => word_at(winner).unwrap_or(fresh),
    }
}

/// Under Miri nothing forks: one word that is always alive.
#[cfg(miri)]
pub(crate) fn live_word() -> &'static AtomicU64 {
    static ALWAYS: AtomicU64 = AtomicU64::new(1);
    &ALWAYS
}

/// The word behind a pointer that was read from `CURRENT`.
fn word_at(pointer: *const AtomicU64) -> Option<&'static AtomicU64> {
    // SAFETY: CURRENT is null or points to a word that `fresh_word` made and that is never unmapped (R8).
    unsafe { pointer.as_ref() }
}

/// Maps a page that a fork wipes and sets its first word. Falls back to plain memory, which the atfork handler zeroes.
#[cfg(not(miri))]
fn fresh_word() -> &'static AtomicU64 {
    let word = wiped_page().unwrap_or_else(|| Box::leak(Box::new(AtomicU64::new(0))));
    word.store(1, Ordering::Release);
    word
}

/// One anonymous private page with `MADV_WIPEONFORK`, leaked; `None` if there is no memory or the kernel is too old.
#[cfg(all(not(miri), target_os = "linux"))]
fn wiped_page() -> Option<&'static AtomicU64> {
    let length = std::num::NonZeroUsize::new(super::memory::page_size())?;
    let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
    // SAFETY: no address hint and no MAP_FIXED, so no existing mapping is touched.
    let page = unsafe {
        nix::sys::mman::mmap_anonymous(
            None,
            length,
            protection,
            nix::sys::mman::MapFlags::MAP_PRIVATE,
        )
    };
    let page = page.ok()?;
    // SAFETY: exactly the page mapped above, to which there is no reference; wiping changes only what a child
    // sees (R8).
    let wiped = unsafe {
        nix::sys::mman::madvise(
            page,
            length.get(),
            nix::sys::mman::MmapAdvise::MADV_WIPEONFORK,
        )
    };
    if wiped.is_err() {
        // SAFETY: the page mapped above, to which no reference was made.
        let _ = unsafe { nix::sys::mman::munmap(page, length.get()) };
        return None;
    }
    // SAFETY: page-aligned, zeroed, at least 8 bytes long and never unmapped; all accesses are atomic.
    Some(unsafe { page.cast::<AtomicU64>().as_ref() })
}

/// Other systems cannot wipe a page on fork.
#[cfg(all(not(miri), not(target_os = "linux")))]
fn wiped_page() -> Option<&'static AtomicU64> {
    None
}

/// Descriptors in one block of the registry.
const BLOCK_ENTRIES: usize = 64;

/// An entry that no thread has.
const EMPTY: i32 = -1;

/// An entry whose thread is opening its descriptor.
const CLAIMED: i32 = -2;

/// How often opening a descriptor between two forks is tried, with a pause between tries: ten seconds in all.
/// The fork of a process with very much memory takes seconds.
const TRIES: u32 = 10_000;
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// The registry's entry for one descriptor.
#[derive(Debug)]
struct Entry {
    /// The number, [`EMPTY`] or [`CLAIMED`]. A number is stored (Release) after its mark.
    descriptor: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    offset: AtomicI64,
}

impl Entry {
    const fn new() -> Self {
        Self {
            descriptor: AtomicI32::new(EMPTY),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            offset: AtomicI64::new(0),
        }
    }

    /// Takes the entry; true if the caller has it from now on.
    fn take(&self) -> bool {
        let taken =
            self.descriptor
                .compare_exchange(EMPTY, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Lists a descriptor. The caller has taken the entry.
    fn fill(&self, descriptor: i32, mark: Mark) {
        self.device.store(mark.device, Ordering::Relaxed);
        self.inode.store(mark.inode, Ordering::Relaxed);
        self.offset.store(mark.offset, Ordering::Relaxed);
        self.descriptor.store(descriptor, Ordering::Release);
    }

    fn free(&self) {
        self.descriptor.store(EMPTY, Ordering::Release);
    }

    fn mark(&self) -> Mark {
        Mark {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
            offset: self.offset.load(Ordering::Relaxed),
        }
    }

    /// Closes the descriptor if the number still refers to it. Async-signal-safe.
    fn close(&self, descriptor: i32) {
        if !self.mark().is_lost(descriptor) {
            // SAFETY: by its mark, the number refers to the description that was opened for this entry, and
            // the owner of the entry no longer uses it (R8).
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
}

/// A fixed array of entries and a link to the next block. Blocks are only ever added, so that the child
/// handler can walk them.
#[derive(Debug)]
struct Block {
    entries: [Entry; BLOCK_ENTRIES],
    /// The next block or null. Set once; never freed.
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Self {
        Self {
            entries: [const { Entry::new() }; BLOCK_ENTRIES],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Self> {
        // SAFETY: null or a leaked block, which `append_block` published with Release.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

/// The first block, which needs no allocation.
static FIRST: Block = Block::new();

/// All blocks, in order. Async-signal-safe.
fn blocks() -> impl Iterator<Item = &'static Block> {
    std::iter::successors(Some(&FIRST), |block| block.next())
}

/// All entries, in order. Async-signal-safe.
fn entries() -> impl Iterator<Item = &'static Entry> {
    blocks().flat_map(|block| block.entries.iter())
}

/// Takes an entry for the caller.
fn take_entry() -> &'static Entry {
    loop {
        if let Some(entry) = entries().find(|entry| entry.take()) {
            return entry;
        }
        append_block();
    }
}

/// Adds a block at the end, unless another thread is faster.
fn append_block() {
    let block = Box::into_raw(Box::new(Block::new()));
    let last = blocks().last().unwrap_or(&FIRST);
    let appended =
        last.next
            .compare_exchange(ptr::null_mut(), block, Ordering::AcqRel, Ordering::Relaxed);
    if appended.is_err() {
        // SAFETY: the block was made above, and no other thread has seen it.
        drop(unsafe { Box::from_raw(block) });
    }
}

/// How many forks have begun in this process and its ancestors. Written by the prepare handler.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// How many forks are under way, in the lower half, in the process whose id is the upper half. In any other
/// process no fork is under way: a raw `clone` made it in the middle of a fork. Written by the handlers.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);

/// The upper half of [`UNDER_WAY`] for this process.
fn here() -> u64 {
    u64::from(std::process::id()) << 32
}

/// Whether a fork of this process has begun and is not over.
fn is_fork_under_way() -> bool {
    let forks = UNDER_WAY.load(Ordering::SeqCst);
    forks as u32 > 0 && forks & !u64::from(u32::MAX) == here()
}

/// Whether the handlers are registered.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Registers the fork handlers. Threads that race here may register them twice, which does no harm.
fn install_handlers() {
    if cfg!(miri) || INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: three plain functions that live as long as the program and are async-signal-safe. If
    // registering fails (no memory), the live word is the only protection left, which is no error here.
    let failed = unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
    INSTALLED.store(failed == 0, Ordering::Release);
}

/// Prepare handler: announces the fork to threads that open a descriptor. The order matters: a thread that
/// reads this fork's count finds the fork under way, or over.
pub(super) extern "C" fn before_fork() {
    let count = |forks: u64| match forks & !u64::from(u32::MAX) == here() {
        true => forks + 1,
        false => here() + 1,
    };
    let _ = UNDER_WAY.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |forks| {
        Some(count(forks))
    });
    BEGUN.fetch_add(1, Ordering::SeqCst);
    // SYNC POINT fork: pairs with the fence in `RegisteredFd::open_with`. Either that thread sees the new
    // count, or the child sees the descriptor listed.
    fence(Ordering::SeqCst);
}

/// Parent handler: from now on, nothing that is opened can reach the child.
pub(super) extern "C" fn after_fork_in_parent() {
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
}

/// Child handler: closes every lock description of the parent, so that the parent's death frees its locks
/// (R8). Only this thread exists in the child. A number that the program has closed, and that refers to
/// something else by now, is left alone.
extern "C" fn after_fork_in_child() {
    for entry in entries() {
        let descriptor = entry.descriptor.swap(EMPTY, Ordering::Acquire);
        if descriptor >= 0 {
            entry.close(descriptor);
        }
    }
    if let Some(word) = word_at(CURRENT.load(Ordering::Relaxed)) {
        word.store(0, Ordering::Relaxed);
    }
    UNDER_WAY.store(0, Ordering::SeqCst);
}

/// A lock descriptor that forked children close.
///
/// Dropping it in its own process unregisters and closes it, which frees its locks. Dropping it in a forked
/// child does nothing: the child handler has closed the descriptor, and the number may refer to another file
/// by now. The same may happen in this process if the program closes the descriptor; the mark, which is
/// compared before each use, reveals that.
#[derive(Debug)]
pub(crate) struct RegisteredFd {
    /// The number; meaningful only while `live` is non-zero and the number has the mark.
    descriptor: i32,
    mark: Mark,
    /// The registry's entry for it.
    entry: &'static Entry,
    /// The live word of the process that opened it.
    live: &'static AtomicU64,
}

impl RegisteredFd {
    /// Opens a descriptor and registers it, which a fork sees as one step. Waits while a fork of another
    /// thread is under way, and calls `open` again if a fork comes in between. The description is for locks:
    /// its offset is set and must not be changed.
    pub(crate) fn open_with(mut open: impl FnMut() -> io::Result<OwnedFd>) -> io::Result<Self> {
        let live = live_word();
        install_handlers();
        let mut pause = PAUSE_MIN;
        for _ in 0..TRIES {
            let begun = BEGUN.load(Ordering::SeqCst);
            if is_fork_under_way() {
                // the fork may belong to a thread that this one keeps from running
                clock::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            let opened = open()?;
            let mark = Mark::put_on(opened.as_fd())?;
            let entry = take_entry();
            let descriptor = opened.into_raw_fd();
            entry.fill(descriptor, mark);
            // SYNC POINT fork
            fence(Ordering::SeqCst);
            let registered = Self {
                descriptor,
                mark,
                entry,
                live,
            };
            if BEGUN.load(Ordering::SeqCst) == begun {
                return Ok(registered);
            }
            // a child may have the description: nothing is ever locked through it
        }
        Err(io::Error::other(match is_fork_under_way() {
            true => {
                "a fork of this process has been under way for ten seconds: it waits for something that this thread holds, \
                 is stopped, or was begun by this very thread"
            }
            false => {
                "other threads fork all the time: no descriptor could be opened between two forks"
            }
        }))
    }

    /// The descriptor. An error in a forked child, and if the program has closed the descriptor.
    pub(crate) fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_ours() {
            return Err(io::Error::other(
                "this handle was opened before a fork; open the ring again in the child",
            ));
        }
        if self.is_lost() {
            return Err(lost_locks());
        }
        // SAFETY: by its mark, the number refers to what `open_with` opened; this crate closes it only in Drop (R8).
        Ok(unsafe { BorrowedFd::borrow_raw(self.descriptor) })
    }

    /// Whether the program has closed the descriptor, or put another one in its place. Makes two system calls.
    pub(crate) fn is_lost(&self) -> bool {
        self.mark.is_lost(self.descriptor)
    }

    /// The mark, which says for which file it was opened.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether this is the process that opened the descriptor.
    pub(crate) fn is_ours(&self) -> bool {
        self.live.load(Ordering::Relaxed) != 0
    }
}

impl Drop for RegisteredFd {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        // in this order, a child that is forked in between finds the number listed: its handler closes the
        // descriptor, or leaves it alone if the number refers to another file by now
        self.entry.close(self.descriptor);
        self.entry.free();
    }
}

impl AsRawFd for RegisteredFd {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor
    }
}
