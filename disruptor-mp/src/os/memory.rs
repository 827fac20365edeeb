//! Mapped memory.
//!
//! A forked child does not inherit a [`Mapping`] (`MADV_DONTFORK`, R8): nothing is mapped at its address there, and
//! Drop leaves alone whatever was mapped there later. A process that dies leaves only the bytes in the file.
//!
//! Before a file is mapped, it must be long enough and its space reserved: [`reserve`].

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use core::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::stat::fstat;

#[allow(unused_imports, reason = "what is mapped is reserved first")]
pub(crate) use super::filesystem::free_bytes;
pub(crate) use super::reserve::{ReserveError, Shortage, check_memory, reserve};
use super::step::{Failed, Step};

/// The accesses that a mapping allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loads and stores.
    ReadWrite,
    /// Loads; a store raises SIGSEGV.
    ReadOnly,
}

/// A shared mapping of part of a file, of this process only.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Unmapped by Drop, in the process that mapped it.
    map: ManuallyDrop<MmapRaw>,
    access: Access,
    /// The live word of the process that mapped it.
    live: &'static AtomicU64,
}

impl Mapping {
    /// Maps `len` bytes from `offset`, which must be a multiple of the file's page size. Fails if the file is
    /// shorter, as an access to a page beyond its end would raise SIGBUS.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        access: Access,
    ) -> Result<Self, Failed> {
        let failed = |error: io::Error| Step::Map.failed(error).of_bytes(len as u64);
        if len == 0 || !offset.is_multiple_of(page_size() as u64) {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a mapping needs a length and a whole page to start at",
            )));
        }
        let there = file_length(fd).map_err(|error| Step::ReadStatus.failed(error))?;
        if offset.checked_add(len as u64).is_none_or(|end| end > there) {
            let text = format!("the file has {there} bytes, but {len} are expected from {offset}");
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        let live = super::fork::live_word();
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let map = match access {
            Access::ReadWrite => options.map_raw(&fd),
            Access::ReadOnly => options.map_raw_read_only(&fd),
        };
        let map = map.map_err(failed)?;
        do_not_inherit(&map).map_err(|error| Step::KeepFromChildren.failed(error))?;
        Ok(Self {
            map: ManuallyDrop::new(map),
            access,
            live,
        })
    }

    /// The first byte. Valid for [`len`](Self::len) bytes as long as the mapping lives, in this process.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: a successful mapping is never at address 0.
        unsafe { NonNull::new_unchecked(self.map.as_mut_ptr()) }
    }

    /// Mapped bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The accesses that the mapping allows.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Whether this is the process that mapped it.
    pub(crate) fn is_ours(&self) -> bool {
        self.live.load(Ordering::Relaxed) != 0
    }

    /// Sets up the page tables now, so that no first access faults later.
    pub(crate) fn populate(&self) -> Result<(), Failed> {
        #[cfg(target_os = "linux")]
        {
            let advice = match self.access {
                Access::ReadWrite => memmap2::Advice::PopulateWrite,
                Access::ReadOnly => memmap2::Advice::PopulateRead,
            };
            match self.map.advise(advice) {
                // The kernel is older than 5.14.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
                Err(e) => return Err(Step::Populate.failed(e).of_bytes(self.len() as u64)),
                Ok(()) => return Ok(()),
            }
        }
        self.touch();
        Ok(())
    }

    /// Accesses each page once, for writing if the mapping is writable. The file is long enough and reserved,
    /// so that no access raises SIGBUS.
    fn touch(&self) {
        for offset in (0..self.len() / size_of::<u64>() * size_of::<u64>()).step_by(page_size()) {
            // SAFETY: `offset` is inside the mapping.
            let page = unsafe { self.as_ptr().add(offset) };
            match self.access {
                Access::ReadWrite => {
                    // SAFETY: the word is page-aligned and eight bytes fit; peers access these bytes
                    // atomically, or not yet (R1).
                    let word = unsafe { page.cast::<AtomicU64>().as_ref() };
                    // An exchange for the same value needs a writable page and changes nothing. `fetch_or(0)` would not
                    // do: compilers turn it into a fence and a load.
                    let value = word.load(Ordering::Relaxed);
                    let _ =
                        word.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed);
                }
                Access::ReadOnly => {
                    // SAFETY: the byte is readable; its value is not used (R1).
                    unsafe { page.read_volatile() };
                }
            }
        }
    }

    /// Locks the pages in memory. Fails with `ENOMEM` or `EPERM` beyond `RLIMIT_MEMLOCK`.
    pub(crate) fn lock_in_memory(&self) -> Result<(), Failed> {
        let failed = |error| Step::LockMemory.failed(error).of_bytes(self.len() as u64);
        self.map.lock().map_err(failed)
    }

    /// Writes `len` bytes from `offset` to the disk, and returns when they are there. Does nothing on a file
    /// system in memory.
    pub(crate) fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        loop {
            match self.map.flush_range(offset, len) {
                // a signal is no error of the disk
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// Keeps the bytes out of core dumps of this process. Does nothing on systems other than Linux.
    pub(crate) fn leave_out_of_core_dumps(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        self.map.advise(memmap2::Advice::DontDump)?;
        Ok(())
    }

    /// Asks for transparent huge pages. Success means only that the kernel noted the request: see
    /// [`huge_bytes`](Self::huge_bytes).
    pub(crate) fn advise_huge(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return self.map.advise(memmap2::Advice::HugePage);
        #[cfg(not(target_os = "linux"))]
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no transparent huge pages",
        ))
    }

    /// How many bytes of the mapping are backed by huge pages, or `None` if the system does not say. Reads all of
    /// `/proc/self/smaps`: for reports, not for hot paths.
    pub(crate) fn huge_bytes(&self) -> Option<u64> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let start = self.as_ptr().addr().get() as u64;
        huge_bytes_in(&smaps, start, start + self.len() as u64)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: dropped once, here, and in the process that mapped it, so these are its own pages (R8).
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

/// A mapping is only an address and a length; the protocol decides which accesses through it are allowed.
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Mapping>();
};

/// Leaves the mapping out of forked children (R8).
#[cfg(target_os = "linux")]
fn do_not_inherit(map: &MmapRaw) -> io::Result<()> {
    map.advise(memmap2::Advice::DontFork)
}

/// Leaves the mapping out of forked children (R8).
#[cfg(not(target_os = "linux"))]
fn do_not_inherit(map: &MmapRaw) -> io::Result<()> {
    /// `VM_INHERIT_NONE`.
    const INHERIT_NONE: libc::c_int = 2;
    // SAFETY: exactly one mapping of this process, which starts at a page; only what children see changes.
    let result = unsafe { libc::minherit(map.as_mut_ptr().cast(), map.len(), INHERIT_NONE) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sums the huge-page bytes of the areas in an smaps text, as far as they lie in `start..end`.
fn huge_bytes_in(smaps: &str, start: u64, end: u64) -> Option<u64> {
    let mut overlap = 0;
    let mut seen = false;
    let mut total = 0;
    for line in smaps.lines() {
        let Some((head, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        if let Some(field) = head.strip_suffix(':') {
            let bytes = rest
                .trim()
                .strip_suffix(" kB")
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024;
            total += match field {
                "ShmemPmdMapped" | "FilePmdMapped" | "AnonHugePages" => bytes.min(overlap),
                "KernelPageSize" if bytes > page_size() as u64 => overlap,
                _ => 0,
            };
        } else if let Some((low, high)) = head.split_once('-') {
            let (Ok(low), Ok(high)) = (u64::from_str_radix(low, 16), u64::from_str_radix(high, 16))
            else {
                continue;
            };
            overlap = high.min(end).saturating_sub(low.max(start));
            seen |= overlap > 0;
        }
    }
    seen.then_some(total)
}

/// The page size of the system.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        size.ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(4096)
    })
}

/// The length of the file.
fn file_length(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(u64::try_from(fstat(fd)?.st_size).unwrap_or(0))
}

#[cfg(all(test, target_os = "linux", not(miri)))]
pub(crate) fn test_memfd() -> std::os::fd::OwnedFd {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    nix::sys::memfd::memfd_create("os-test", flags).expect("memfd")
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn maps_what_was_reserved() {
        let file = test_memfd();
        reserve(file.as_fd(), 3 * page_size() as u64).expect("reserve");
        let write = Mapping::map(file.as_fd(), 0, 3 * page_size(), Access::ReadWrite).expect("map");
        let read = Mapping::map(
            file.as_fd(),
            page_size() as u64,
            page_size(),
            Access::ReadOnly,
        )
        .expect("map");
        for map in [&write, &read] {
            map.populate().expect("populate");
            map.touch();
        }
        // SAFETY: inside the mapping.
        let second_page = unsafe { write.as_ptr().add(page_size()) };
        // SAFETY: mapped and writable; no other thread or process knows the file.
        unsafe { second_page.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { read.as_ptr().read() }, 7);
        assert_eq!(
            (read.len(), read.access(), read.is_ours()),
            (page_size(), Access::ReadOnly, true)
        );
        assert_eq!(read.huge_bytes(), Some(0));
    }

    #[test]
    fn touch_writes_so_that_pages_become_present_and_dirty() {
        // On a disk a page that was only read stays clean; on a tmpfs this test proves less.
        let file = tempfile::tempfile().expect("file");
        reserve(file.as_fd(), 64 * page_size() as u64).expect("reserve");
        let map = Mapping::map(file.as_fd(), 0, 64 * page_size(), Access::ReadWrite).expect("map");
        map.touch();
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let area = smaps
            .split_once(&format!("{:x}-", map.as_ptr().addr()))
            .expect("our area")
            .1;
        let dirty = area
            .lines()
            .find_map(|l| l.strip_prefix("Private_Dirty:"))
            .expect("field");
        let dirty: usize = dirty
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("number");
        assert_eq!(dirty * 1024, 64 * page_size());
    }

    #[test]
    fn refuses_what_would_be_a_sigbus() {
        let file = test_memfd();
        nix::unistd::ftruncate(&file, 100).expect("truncate");
        let beyond =
            Mapping::map(file.as_fd(), 0, page_size(), Access::ReadOnly).expect_err("short file");
        assert_eq!(beyond.source.kind(), io::ErrorKind::UnexpectedEof);
        assert!(Mapping::map(file.as_fd(), 1, 10, Access::ReadOnly).is_err());
        assert!(Mapping::map(file.as_fd(), 0, 0, Access::ReadOnly).is_err());
    }

    #[test]
    fn reads_smaps() {
        let text = "1000-3000 rw-s 0 00:01 5 /dev/shm/a\nSize: 8 kB\nKernelPageSize:        4 kB\nShmemPmdMapped:        8 kB\n\
                    400000-800000 rw-s 0 00:0e 6 /huge/b\nKernelPageSize:     2048 kB\nShmemPmdMapped:        0 kB\n";
        assert_eq!(huge_bytes_in(text, 0x1000, 0x3000), Some(8192));
        assert_eq!(huge_bytes_in(text, 0x40_0000, 0x80_0000), Some(4 << 20));
        assert_eq!(huge_bytes_in(text, 0x9000, 0xa000), None);
    }
}
