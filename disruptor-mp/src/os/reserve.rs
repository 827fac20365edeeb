//! Reserved space: every page of a file is allocated before anyone maps it, so that a full file system is an error with two
//! numbers and never a SIGBUS in the middle of a write.
//!
//! A process that dies in the middle leaves a file that is not complete: nameless ones vanish, others are leftovers (R15).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use nix::sys::stat::fstat;

use super::filesystem::{free_bytes, is_tmpfs};

/// Why space could not be reserved.
#[derive(Debug)]
pub(crate) enum ReserveError {
    /// It does not fit.
    NoSpace {
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes that were free just before, or the largest file that this process may write if that is less.
        free: u64,
    },
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace { needed, free } => {
                write!(f, "{needed} bytes are needed, but only {free} are free")
            }
            Self::Io(e) => write!(f, "space could not be reserved: {e}"),
        }
    }
}

impl std::error::Error for ReserveError {}

impl From<io::Error> for ReserveError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Gives the file `len` bytes, all of them allocated. If that fails the file is empty again.
///
/// Copy-on-write file systems (btrfs snapshots, ZFS) may still run out of space on a later write; a cgroup's memory limit
/// is enforced by the kernel's own means.
pub(crate) fn reserve(fd: BorrowedFd<'_>, len: u64) -> Result<(), ReserveError> {
    let (free, limit) = (free_bytes(fd)?, file_size_limit());
    let room = free.min(limit);
    let allocated = allocated_bytes(fd)?;
    // Beyond the limit even ftruncate would be answered with SIGXFSZ, and a tmpfs would fill up before it fails.
    let does_not_fit = len > limit || (is_tmpfs(fd) && len.saturating_sub(allocated) > free);
    let Ok(end) = libc::off_t::try_from(len) else {
        return Err(ReserveError::NoSpace {
            needed: len,
            free: room,
        });
    };
    if does_not_fit {
        return Err(ReserveError::NoSpace {
            needed: len,
            free: room,
        });
    }
    allocate(fd, len, end).map_err(|e| {
        let _ = nix::unistd::ftruncate(fd, 0);
        match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ReserveError::NoSpace {
                needed: len,
                free: room,
            },
            Some(libc::ENOMEM) if super::filesystem::is_hugetlbfs(fd) => ReserveError::NoSpace {
                needed: len,
                free: room,
            },
            _ => ReserveError::Io(e),
        }
    })
}

/// Sets the length and allocates every page.
fn allocate(fd: BorrowedFd<'_>, len: u64, end: libc::off_t) -> io::Result<()> {
    nix::unistd::ftruncate(fd, end)?;
    #[cfg(target_os = "linux")]
    match fallocate_all(fd, end) {
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {}
        other => return Ok(other?),
    }
    write_zeros(fd, len)
}

/// `fallocate` in pieces: a signal undoes the piece it interrupts, so a profiler's timer must not meet one long call.
#[cfg(target_os = "linux")]
fn fallocate_all(fd: BorrowedFd<'_>, end: libc::off_t) -> nix::Result<()> {
    const PIECE: libc::off_t = 4 << 20;
    let mut from = 0;
    while from < end {
        let piece = PIECE.min(end - from);
        match nix::fcntl::fallocate(fd, nix::fcntl::FallocateFlags::empty(), from, piece) {
            Ok(()) => from += piece,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Where nothing allocates, writing does.
fn write_zeros(fd: BorrowedFd<'_>, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let file = File::from(fd.try_clone_to_owned()?);
    let mut from = 0;
    while from < end {
        let piece = (end - from).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..piece as usize], from)?;
        from += piece;
    }
    Ok(())
}

/// The soft `RLIMIT_FSIZE`.
fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid resource number and a pointer to an initialised struct; on failure nothing is written.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if limit.rlim_cur == libc::RLIM_INFINITY {
        u64::MAX
    } else {
        limit.rlim_cur
    }
}

/// What the file occupies.
fn allocated_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(u64::try_from(fstat(fd)?.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512))
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::super::memory::test_memfd;
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn too_much_is_said_in_numbers_and_leaves_an_empty_file() {
        let file = tempfile::tempfile_in("/dev/shm").expect("file");
        let Err(ReserveError::NoSpace { needed, free }) = reserve(file.as_fd(), 1 << 50) else {
            panic!("must not fit")
        };
        assert_eq!(needed, 1 << 50);
        assert!(free < needed);
        assert_eq!(fstat(&file).expect("stat").st_size, 0);
        assert!(matches!(
            reserve(file.as_fd(), u64::MAX),
            Err(ReserveError::NoSpace { .. })
        ));
    }

    #[test]
    fn zeros_allocate_too() {
        let file = test_memfd();
        write_zeros(file.as_fd(), 200_000).expect("write");
        assert!(allocated_bytes(file.as_fd()).expect("stat") >= 200_000);
    }

    #[test]
    fn all_of_it_is_allocated() {
        let file = test_memfd();
        reserve(file.as_fd(), 9 << 20).expect("reserve");
        assert!(allocated_bytes(file.as_fd()).expect("stat") >= 9 << 20);
    }
}
