//! Replacements for libc's `mmap` and `munmap`, which put every shared mapping of a file between two
//! inaccessible pages.
//!
//! An access just outside a segment then raises SIGSEGV instead of reaching whatever was mapped next to it.
//! This file is not a module of the library: only the programs that include it by path get these symbols.
//! Private mappings and mappings at a fixed address pass through.
//!
//! The process has one table of guarded mappings, which every thread writes. A process that dies leaves nothing behind.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::{Mutex, PoisonError};

use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED};

/// Address and whole length of each guarded mapping. The length includes the guards.
static GUARDED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// See `mmap(2)`.
#[unsafe(no_mangle)]
extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    let is_guarded = file >= 0 && flags & MAP_SHARED != 0 && flags & MAP_FIXED == 0;
    if !is_guarded || !address.is_null() || length == 0 {
        return system_map(address, length, protection, flags, file, offset);
    }
    let page = page_bytes();
    let whole = length.next_multiple_of(page) + 2 * page;
    let nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    let guards = system_map(null_mut(), whole, libc::PROT_NONE, nothing, -1, 0);
    if guards == MAP_FAILED {
        return guards;
    }
    let inside = without_provenance_mut(guards.addr() + page);
    let mapped = system_map(inside, length, protection, flags | MAP_FIXED, file, offset);
    if mapped == MAP_FAILED {
        let error = std::io::Error::last_os_error();
        system_unmap(guards, whole);
        set_errno(error.raw_os_error().unwrap_or(libc::ENOMEM));
        return MAP_FAILED;
    }
    table(|guarded| guarded.push((mapped.addr(), whole)));
    mapped
}

/// `mmap64` under its older name.
#[unsafe(no_mangle)]
extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    mmap64(address, length, protection, flags, file, offset)
}

/// See `munmap(2)`. A mapping's guards are unmapped with it.
#[unsafe(no_mangle)]
extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    let whole = table(|guarded| {
        let at = guarded.iter().position(|(at, _)| *at == address.addr())?;
        Some(guarded.swap_remove(at).1)
    });
    match whole {
        Some(whole) => system_unmap(without_provenance_mut(address.addr() - page_bytes()), whole),
        None => system_unmap(address, length),
    }
}

/// Asserts that at least `at_least` mappings are of the file `path`, or of a file that had no name yet, and
/// that each has an inaccessible page on both sides.
#[allow(dead_code, reason = "not every program asks")]
pub(crate) fn assert_guarded(path: &str, at_least: usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let areas: Vec<Area<'_>> = maps.lines().filter_map(Area::parse).collect();
    let is_guard = |area: Option<&Area<'_>>, at| {
        area.is_some_and(|area| area.access == "---p" && (area.start == at || area.end == at))
    };
    let mut count = 0;
    for (index, area) in areas.iter().enumerate() {
        if !area.line.contains(path) && !is_in_table(area.start) {
            continue;
        }
        count += 1;
        let before = is_guard(areas.get(index.wrapping_sub(1)), area.start);
        let after = is_guard(areas.get(index + 1), area.end);
        assert!(before && after, "no guards around {}:\n{maps}", area.line);
    }
    assert!(count >= at_least, "{count} mappings of {path}:\n{maps}");
}

/// A line of `/proc/self/maps`.
struct Area<'a> {
    start: usize,
    end: usize,
    access: &'a str,
    line: &'a str,
}

impl<'a> Area<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            access: rest.split(' ').next()?,
            line,
        })
    }
}

fn is_in_table(start: usize) -> bool {
    table(|guarded| guarded.iter().any(|(at, _)| *at == start))
}

fn table<R>(read: impl FnOnce(&mut Vec<(usize, usize)>) -> R) -> R {
    read(&mut GUARDED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn page_bytes() -> usize {
    // SAFETY: no preconditions (a system call's wrapper).
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

fn system_map(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the arguments are the caller's, or name pages that were reserved for this mapping (a system
    // call's wrapper).
    let result = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            address,
            length,
            protection,
            flags,
            file,
            offset,
        )
    };
    without_provenance_mut(result as usize)
}

fn system_unmap(address: *mut c_void, length: usize) -> c_int {
    // SAFETY: the arguments are the caller's, or name a mapping with its guards (a system call's wrapper).
    unsafe { libc::syscall(libc::SYS_munmap, address, length) as c_int }
}

fn set_errno(code: c_int) {
    // SAFETY: no preconditions (a system call's wrapper).
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the pointer is to this thread's own errno.
    unsafe { *errno = code };
}
