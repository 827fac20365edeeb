//! Fork detection and the registry of lock descriptors (R8).
//!
//! A forked child inherits every open file description, and with it every byte lock of its parent: a child that lives on
//! would keep a dead owner's lock. So each lock descriptor is listed here from the moment it is opened, and a
//! `pthread_atfork` child handler closes all of them. What the kernel does not do for us is caught by the *live word*: one
//! word in a page that is wiped on fork, non-zero only in the process that mapped it.
//!
//! Who writes what: the live word is written once, by the process that maps it. The registry is written under a spin lock
//! whose word holds the pid of the holder, so that a child of a raw `clone` can tell that the holder was its parent and
//! take the lock over. The prepare handler takes that lock, so no descriptor is half registered while `fork` runs.
//!
//! A process that dies needs nothing from this file: the kernel closes the descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// The live word of the newest fork generation that asked for one; null before the first call.
static CURRENT: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// A word that is non-zero as long as the caller is the process that this call was made in.
///
/// Keep the reference and load it (Relaxed) wherever a fork has to be noticed: in a forked child the same address reads 0,
/// for good, also when the child was made by a raw `clone`. A child that calls this function gets a word of its own; one
/// page is spent for each generation of forks.
///
/// Kernels without `MADV_WIPEONFORK` (before 4.14) and macOS have the word zeroed by the atfork handler instead, which a raw
/// `clone` bypasses.
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
        // Another thread of this process won; our page stays mapped, which happens at most once for each racing thread.
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
    // SAFETY: CURRENT is null or points to a word made by `fresh_word`, which is never unmapped, in no generation.
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
    // SAFETY: exactly the page mapped above, which nothing else knows; wiping changes only what a child sees (R8).
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

/// No other system wipes on fork.
#[cfg(all(not(miri), not(target_os = "linux")))]
fn wiped_page() -> Option<&'static AtomicU64> {
    None
}

/// Descriptors in one block of the registry.
const BLOCK_DESCRIPTORS: usize = 64;

/// A free place in the registry.
const EMPTY: i32 = -1;

/// A fixed array of places and a link to the next; blocks are only ever added, so the child handler can walk them.
#[derive(Debug)]
struct Block {
    /// Registered descriptor numbers or [`EMPTY`]. Written under the registry lock.
    places: [AtomicI32; BLOCK_DESCRIPTORS],
    /// The next block or null. Set once, under the registry lock; never freed.
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Self {
        Self {
            places: [const { AtomicI32::new(EMPTY) }; BLOCK_DESCRIPTORS],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Self> {
        // SAFETY: null or a leaked block, published with Release by `append`.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

/// The first block, which needs no allocation.
static FIRST: Block = Block::new();

/// All blocks, in order. Async-signal-safe.
fn blocks() -> impl Iterator<Item = &'static Block> {
    std::iter::successors(Some(&FIRST), |block| block.next())
}

/// The pid of the thread group that holds the registry lock, or 0.
static HOLDER: AtomicU32 = AtomicU32::new(0);

/// `pthread_self` of the thread between prepare and parent or child handler, or 0. Written under the registry lock.
static FORKING: AtomicUsize = AtomicUsize::new(0);

/// The handlers are registered. Written under the registry lock.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Takes the registry lock. A holder with another pid is an ancestor: this process was made by a raw `clone` in the middle
/// of its critical section, and nobody here will ever release that lock.
fn lock_registry() {
    let me = std::process::id();
    let mut holder = 0;
    while let Err(found) = HOLDER.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed)
    {
        holder = if found == me { 0 } else { found };
        if found == me {
            std::thread::yield_now();
        }
    }
}

/// Releases the registry lock.
fn unlock_registry() {
    HOLDER.store(0, Ordering::Release);
}

/// The registry lock, held until dropped.
#[derive(Debug)]
struct Registry;

impl Registry {
    fn lock() -> Self {
        lock_registry();
        Self
    }

    /// A place that holds no descriptor.
    fn free_place(&self) -> Option<&'static AtomicI32> {
        blocks()
            .flat_map(|block| block.places.iter())
            .find(|place| place.load(Ordering::Relaxed) == EMPTY)
    }

    /// Adds a block at the end.
    fn append(&self, block: Box<Block>) {
        if let Some(last) = blocks().last() {
            last.next.store(Box::into_raw(block), Ordering::Release);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        unlock_registry();
    }
}

/// Runs `f` with the registry locked, as a thread that is opening a descriptor has it.
#[cfg(test)]
pub(super) fn while_registry_is_locked<T>(f: impl FnOnce() -> T) -> T {
    let _registry = Registry::lock();
    f()
}

/// Registers the fork handlers, once for each process and its descendants.
fn install_handlers() {
    if cfg!(miri) || INSTALLED.load(Ordering::Acquire) {
        return;
    }
    let _registry = Registry::lock();
    if INSTALLED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: three plain functions that live as long as the program and are async-signal-safe. A failure (no memory) leaves
    // the live word as the only protection, so it is not an error here.
    let failed = unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
    INSTALLED.store(failed == 0, Ordering::Release);
}

/// The calling thread, as a number that is never 0.
fn this_thread() -> usize {
    // SAFETY: no preconditions.
    let thread = unsafe { libc::pthread_self() };
    (thread as usize) | 1
}

/// Prepare handler: no descriptor is opened, registered or closed while the fork runs. Tolerates being registered twice (a
/// process forked between `pthread_atfork` and the store to `INSTALLED` registers again).
extern "C" fn before_fork() {
    let me = this_thread();
    if FORKING.load(Ordering::Relaxed) != me {
        lock_registry();
        FORKING.store(me, Ordering::Relaxed);
    }
}

/// Parent handler: goes on.
extern "C" fn after_fork_in_parent() {
    if FORKING.load(Ordering::Relaxed) == this_thread() {
        FORKING.store(0, Ordering::Relaxed);
        unlock_registry();
    }
}

/// Child handler: gives up every lock description of the parent, so that the parent's death frees its locks (R8).
extern "C" fn after_fork_in_child() {
    if FORKING.load(Ordering::Relaxed) != this_thread() {
        return;
    }
    for place in blocks().flat_map(|block| block.places.iter()) {
        let descriptor = place.swap(EMPTY, Ordering::Relaxed);
        if descriptor != EMPTY {
            // SAFETY: the number was registered when the fork began and only this thread exists in the child, so it still
            // names the inherited description; nobody uses it again, because the live word reads 0 (R8).
            unsafe { libc::close(descriptor) };
        }
    }
    if let Some(word) = word_at(CURRENT.load(Ordering::Relaxed)) {
        word.store(0, Ordering::Relaxed);
    }
    FORKING.store(0, Ordering::Relaxed);
    unlock_registry();
}

/// A lock descriptor that forked children give up.
///
/// Dropping it in its own process unregisters and closes it, which frees its locks. Dropping it in a forked child does
/// nothing: the child handler has closed the descriptor, and the number may belong to somebody else by now.
#[derive(Debug)]
pub(crate) struct RegisteredFd {
    /// The number; meaningful only while `live` is non-zero.
    descriptor: i32,
    /// Where the registry holds it.
    place: &'static AtomicI32,
    /// The live word of the process that opened it.
    live: &'static AtomicU64,
}

impl RegisteredFd {
    /// Opens a descriptor and registers it in one step, as seen by a fork.
    ///
    /// `open` runs under the registry lock: it should be one system call.
    pub(crate) fn open_with(open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Self> {
        let live = live_word();
        install_handlers();
        let mut spare = None;
        loop {
            let registry = Registry::lock();
            if let Some(block) = spare.take() {
                registry.append(block);
            }
            if let Some(place) = registry.free_place() {
                let descriptor = std::os::fd::IntoRawFd::into_raw_fd(open()?);
                place.store(descriptor, Ordering::Relaxed);
                return Ok(Self {
                    descriptor,
                    place,
                    live,
                });
            }
            // Allocate with the lock released: an allocator may have fork handlers of its own.
            drop(registry);
            spare = Some(Box::new(Block::new()));
        }
    }

    /// The descriptor, or an error in a forked child.
    pub(crate) fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_ours() {
            return Err(io::Error::other(
                "this handle was opened before a fork; open the ring again in the child",
            ));
        }
        // SAFETY: open since `open_with` and closed only by Drop, as this is the process that opened it (R8).
        Ok(unsafe { BorrowedFd::borrow_raw(self.descriptor) })
    }

    /// This is the process that opened the descriptor.
    pub(crate) fn is_ours(&self) -> bool {
        self.live.load(Ordering::Relaxed) != 0
    }
}

impl Drop for RegisteredFd {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let _registry = Registry::lock();
        self.place.store(EMPTY, Ordering::Relaxed);
        // SAFETY: we own the number: it was taken out of an OwnedFd, and no fork happened since (R8).
        drop(unsafe { OwnedFd::from_raw_fd(self.descriptor) });
    }
}

impl AsRawFd for RegisteredFd {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor
    }
}
