//! One mapping of each file, however many endpoints map it.
//!
//! ThreadSanitizer identifies memory by its address, and each endpoint of a ring maps the segment at an address
//! of its own. A race between two threads of one process that use two endpoints is therefore not detected. In a
//! program with this module, `mmap` of a shared file maps the whole file once, writable, and every further call
//! returns a part of that mapping. The mapping is removed with its last part. The functions here replace the
//! sanitizer's own, and call them.

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use libc::{MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, c_int, c_void, off64_t, size_t};

#[allow(missing_docs, reason = "the sanitizer's, as those of the C library")]
mod sanitizer {
    use super::*;

    unsafe extern "C" {
        #[link_name = "__interceptor_mmap64"]
        pub(super) fn mmap64(
            address: *mut c_void,
            length: size_t,
            protection: c_int,
            flags: c_int,
            descriptor: c_int,
            offset: off64_t,
        ) -> *mut c_void;
        #[link_name = "__interceptor_munmap"]
        pub(super) fn munmap(address: *mut c_void, length: size_t) -> c_int;
    }
}

/// One mapped file.
struct Mapped {
    device: u64,
    inode: u64,
    base: usize,
    length: usize,
    /// How many parts of the mapping are in use.
    parts: usize,
}

/// Locked when an endpoint is attached or dropped, never while it publishes or reads. It therefore provides no
/// ordering that a ring must provide itself.
static MAPPED: Mutex<Vec<Mapped>> = Mutex::new(Vec::new());

/// Maps the file, or finds its mapping. `None` if a part of one mapping cannot serve this call.
fn part_of_one(descriptor: c_int, offset: usize, length: usize) -> Option<*mut c_void> {
    let mut status = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: the pointer is valid for a whole status (no rule: a system call's wrapper).
    if unsafe { libc::fstat64(descriptor, status.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has written the status (no rule: a system call's wrapper).
    let status = unsafe { status.assume_init() };
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = mapped
        .iter_mut()
        .find(|it| (it.device, it.inode) == (status.st_dev, status.st_ino));
    if let Some(it) = known {
        assert!(offset + length <= it.length, "the file has grown");
        it.parts += 1;
        return Some((it.base + offset) as *mut c_void);
    }
    let whole = status.st_size as usize;
    let protection = PROT_READ | PROT_WRITE;
    // SAFETY: the call makes a new mapping at an address that the kernel chooses (no rule: a system call's wrapper).
    let base =
        unsafe { sanitizer::mmap64(null_mut(), whole, protection, MAP_SHARED, descriptor, 0) };
    if base == MAP_FAILED || offset + length > whole {
        return None;
    }
    mapped.push(Mapped {
        device: status.st_dev,
        inode: status.st_ino,
        base: base as usize,
        length: whole,
        parts: 1,
    });
    Some((base as usize + offset) as *mut c_void)
}

/// Like the C library's function.
///
/// # Safety
///
/// The conditions of the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off64_t,
) -> *mut c_void {
    if flags & MAP_SHARED != 0
        && descriptor >= 0
        && let Some(part) = part_of_one(descriptor, offset as usize, length)
    {
        return part;
    }
    // SAFETY: the caller's guarantee (no rule: a system call's wrapper).
    unsafe { sanitizer::mmap64(address, length, protection, flags, descriptor, offset) }
}

/// Like the C library's function.
///
/// # Safety
///
/// The conditions of the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: the caller's guarantee (no rule: a system call's wrapper).
    unsafe { mmap64(address, length, protection, flags, descriptor, offset) }
}

/// Like the C library's function, except that a file's mapping stays until its last part is unmapped.
///
/// # Safety
///
/// The conditions of the C library's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn munmap(address: *mut c_void, length: size_t) -> c_int {
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = address as usize;
    let found = mapped
        .iter()
        .position(|it| (it.base..it.base + it.length).contains(&at));
    let Some(index) = found else {
        drop(mapped);
        // SAFETY: the caller's guarantee (no rule: a system call's wrapper).
        return unsafe { sanitizer::munmap(address, length) };
    };
    mapped[index].parts -= 1;
    if mapped[index].parts > 0 {
        return 0;
    }
    let whole = mapped.swap_remove(index);
    // SAFETY: `part_of_one` made the mapping, and its last part is being unmapped (no rule: a system call's wrapper).
    unsafe { sanitizer::munmap(whole.base as *mut c_void, whole.length) }
}
