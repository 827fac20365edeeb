//! Reserved space: every page of a file is allocated before a process maps it. So a full file system is an
//! error with two numbers, and never a SIGBUS in the middle of a write.
//!
//! A process that dies in between leaves an incomplete file: a nameless one vanishes, a named one is a leftover (R15).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::sys::stat::fstat;

use super::cgroup;
use super::filesystem::{free_bytes, is_tmpfs};
use super::process::soft_limit;
use super::retry_on_signal;

/// Why space could not be reserved.
#[derive(Debug)]
pub(crate) enum ReserveError {
    /// The file does not fit.
    NoSpace(Shortage),
    /// Any other error.
    Io(io::Error),
}

/// There is not enough of it.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// Bytes that were asked for.
    pub(crate) needed: u64,
    /// Bytes that were free just before.
    pub(crate) free: u64,
    /// Where that limit comes from.
    pub(crate) limit: Limit,
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace(Shortage {
                needed,
                free,
                limit,
            }) => write!(
                f,
                "{needed} bytes are needed, but only {free} are free {limit}"
            ),
            Self::Io(e) => write!(f, "space could not be reserved: {e}"),
        }
    }
}

/// The limit on the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The space of its file system, or its pool of huge pages.
    FileSystem,
    /// The memory limit of a control group, given by its directory.
    Cgroup(PathBuf),
    /// The machine's memory, with its swap.
    Machine,
}

/// The words after "only so many bytes are free".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem => f.write_str("on its file system"),
            Self::Cgroup(dir) => write!(f, "below the memory limit of cgroup {}", dir.display()),
            Self::Machine => f.write_str("in this machine's memory"),
        }
    }
}

impl std::error::Error for ReserveError {}

impl From<Shortage> for ReserveError {
    fn from(shortage: Shortage) -> Self {
        Self::NoSpace(shortage)
    }
}

impl From<io::Error> for ReserveError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Sets the file's length to `len` bytes and allocates all of them. If that fails, the file is empty again.
///
/// Copy-on-write file systems (btrfs snapshots, ZFS) may still run out of space on a later write. Another
/// process may take the memory that a cgroup leaves: then the kernel kills a process of the group, as
/// whenever its limit is exceeded.
pub(crate) fn reserve(fd: BorrowedFd<'_>, len: u64) -> Result<(), ReserveError> {
    // beyond this limit even ftruncate would raise SIGXFSZ
    if len > soft_limit(libc::RLIMIT_FSIZE) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG).into());
    }
    let free = free_bytes(fd)?;
    let full = || {
        ReserveError::NoSpace(Shortage {
            needed: len,
            free,
            limit: Limit::FileSystem,
        })
    };
    let Ok(end) = libc::off_t::try_from(len) else {
        return Err(full());
    };
    if is_tmpfs(fd) {
        let more = len.saturating_sub(allocated_bytes(fd)?);
        // a tmpfs would fill up before it fails
        if more > free {
            return Err(full());
        }
        check_memory(more)?;
    }
    allocate(fd, len, end).map_err(|e| {
        let _ = nix::unistd::ftruncate(fd, 0);
        match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EFBIG) => full(),
            Some(libc::ENOMEM) if super::filesystem::is_hugetlbfs(fd) => full(),
            _ => ReserveError::Io(e),
        }
    })
}

/// An error if this many more bytes of memory are more than the machine or a cgroup has left: the kernel would kill a
/// process of its own choice.
pub(crate) fn check_memory(needed: u64) -> Result<(), Shortage> {
    match cgroup::memory_limit() {
        // page tables take memory, too: eight bytes for each page
        Some(limit) if needed.saturating_add(needed / 512) > limit.available => Err(Shortage {
            needed,
            free: limit.available,
            limit: limit.cgroup.map_or(Limit::Machine, Limit::Cgroup),
        }),
        _ => Ok(()),
    }
}

/// Sets the length and allocates every page. Existing contents stay.
fn allocate(fd: BorrowedFd<'_>, len: u64, end: libc::off_t) -> io::Result<()> {
    let begun = u64::try_from(fstat(fd)?.st_size).unwrap_or(0);
    retry_on_signal(|| nix::unistd::ftruncate(fd, end))?;
    #[cfg(target_os = "linux")]
    let one =
        |from, piece| nix::fcntl::fallocate(fd, nix::fcntl::FallocateFlags::empty(), from, piece);
    #[cfg(target_os = "linux")]
    match allocate_in_pieces(end, one) {
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {}
        other => return Ok(other?),
    }
    write_zeros(fd, begun, len)
}

/// The largest piece that is allocated by one call.
#[cfg(target_os = "linux")]
const PIECE_MAX: libc::off_t = 4 << 20;

/// The smallest piece: a page on most machines, and part of one elsewhere.
#[cfg(target_os = "linux")]
const PIECE_MIN: libc::off_t = 4096;

/// `fallocate` in pieces. Older kernels undo the piece that a signal interrupts. A piece that takes longer
/// than the period of a profiler's timer would never succeed: so each interruption halves the piece, and each
/// success doubles it.
#[cfg(target_os = "linux")]
fn allocate_in_pieces(
    end: libc::off_t,
    mut allocate: impl FnMut(libc::off_t, libc::off_t) -> nix::Result<()>,
) -> nix::Result<()> {
    let (mut from, mut longest) = (0, PIECE_MAX);
    while from < end {
        let piece = longest.min(end - from);
        match allocate(from, piece) {
            Ok(()) => {
                from += piece;
                longest = (longest * 2).min(PIECE_MAX);
            }
            Err(nix::errno::Errno::EINTR) => longest = (longest / 2).max(PIECE_MIN),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Allocates by writing zeros, where no call allocates. The contents before `from` stay.
fn write_zeros(fd: BorrowedFd<'_>, mut from: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let file = File::from(fd.try_clone_to_owned()?);
    while from < end {
        let piece = (end - from).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..piece as usize], from)?;
        from += piece;
    }
    Ok(())
}

/// The bytes that the file occupies.
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
        let Err(ReserveError::NoSpace(Shortage {
            needed,
            free,
            limit,
        })) = reserve(file.as_fd(), 1 << 50)
        else {
            panic!("must not fit")
        };
        assert_eq!(limit, Limit::FileSystem);
        assert_eq!(needed, 1 << 50);
        assert!(free < needed);
        assert_eq!(fstat(&file).expect("stat").st_size, 0);
        assert!(matches!(
            reserve(file.as_fd(), u64::MAX),
            Err(ReserveError::NoSpace(_))
        ));
    }

    #[test]
    fn zeros_allocate_too() {
        let file = test_memfd();
        nix::unistd::write(&file, b"mine").expect("write");
        write_zeros(file.as_fd(), 4, 200_000).expect("write");
        assert!(allocated_bytes(file.as_fd()).expect("stat") >= 200_000);
        let mut start = [1; 8];
        nix::sys::uio::pread(&file, &mut start, 0).expect("read");
        assert_eq!(&start, b"mine\0\0\0\0");
    }

    #[test]
    fn all_of_it_is_allocated() {
        let file = test_memfd();
        reserve(file.as_fd(), 9 << 20).expect("reserve");
        assert!(allocated_bytes(file.as_fd()).expect("stat") >= 9 << 20);
    }

    /// Behaves like an older kernel: a signal comes after each `period` pages, and the piece that it
    /// interrupts is undone.
    fn allocate_under_signals(period: i64) -> (nix::Result<()>, i64) {
        let (end, mut done, mut clock) = (64 * PIECE_MIN * 1024 + 100, 0, 0);
        let mut calls = 0;
        let outcome = allocate_in_pieces(end, |from, piece| {
            calls += 1;
            assert!(calls < 1_000_000, "no progress at {from}");
            assert_eq!(from, done, "nothing is left out");
            let pages = (piece + PIECE_MIN - 1) / PIECE_MIN;
            let rest = period - clock % period;
            clock += pages.min(rest);
            if pages >= rest {
                return Err(nix::errno::Errno::EINTR);
            }
            done += piece;
            Ok(())
        });
        assert!(outcome.is_err() || done == end);
        (outcome, calls)
    }

    #[test]
    fn a_piece_that_signals_undo_is_halved_until_it_is_done() {
        let (outcome, calls) = allocate_under_signals(i64::MAX);
        assert_eq!(
            (outcome, calls),
            (Ok(()), 65),
            "whole pieces where nobody interrupts"
        );
        // with a signal at each 1000th page, every piece of 4 MiB is interrupted
        for period in [1000, 100, 10, 2] {
            allocate_under_signals(period).0.expect("progress");
        }
    }

    #[test]
    fn other_errors_end_it_at_once() {
        let outcome = allocate_in_pieces(1 << 30, |_, _| Err(nix::errno::Errno::ENOSPC));
        assert_eq!(outcome, Err(nix::errno::Errno::ENOSPC));
    }
}
