//! Byte locks that say which parties are alive (R8).
//!
//! One party is one locked byte. The lock belongs to an open file description that this file opens for
//! itself, through `/proc/self/fd`, and that is never mapped: a mapping would keep a closed description, and
//! its locks, alive. The kernel frees the byte when the last descriptor of that description is closed,
//! however its process ended. A stopped process keeps its bytes: it is alive.
//!
//! The byte numbers are the same in every layout version. Locking a byte touches no contents.

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;

use super::fork::RegisteredFd;
#[cfg(target_os = "linux")]
use super::retry_on_signal;

/// A description of a segment's file that carries locks and nothing else.
///
/// Locks of two `LockFile`s conflict, in one process or in two. Dropping it frees all its locks at once, even
/// if a child has inherited the description and still has it (a raw `clone`, or a fork whose handlers have
/// not run yet). In a forked child, and where the program has closed the descriptor, every call fails and
/// Drop does nothing.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: RegisteredFd,
}

impl LockFile {
    /// Opens a description of its own for the file behind `of`, never by name: the name may refer to another
    /// file by now.
    pub(crate) fn reopen(of: BorrowedFd<'_>) -> io::Result<Self> {
        Self::reopen_with(of, OFlag::O_RDWR)
    }

    /// As [`reopen`](Self::reopen), for a file that may not be written: locks can be probed, but none can be taken.
    pub(crate) fn reopen_to_probe(of: BorrowedFd<'_>) -> io::Result<Self> {
        Self::reopen_with(of, OFlag::O_RDONLY)
    }

    fn reopen_with(of: BorrowedFd<'_>, access: OFlag) -> io::Result<Self> {
        let open = reopener(of, access)?;
        RegisteredFd::open_with(open)
            .map(|file| Self { file })
            .map_err(explain_missing_proc)
    }

    /// Whether the locks were freed because the program has closed the descriptor, or put another one in its
    /// place. Each call fails then. Makes two system calls.
    pub(crate) fn is_lost(&self) -> bool {
        self.file.is_lost()
    }

    /// The descriptor, for questions about the file.
    pub(crate) fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.file.as_fd()
    }

    /// Whether `path` itself (not the target of a symlink) is the file that the locks are on. Allocates nothing.
    pub(crate) fn is_of(&self, path: &Path) -> io::Result<bool> {
        let Some(found) = super::names::identity_at(path)? else {
            return Ok(false);
        };
        let mark = self.file.mark();
        Ok(found == (mark.device, mark.inode))
    }

    /// Whether this is the process that opened it.
    #[cfg(test)]
    pub(crate) fn is_ours(&self) -> bool {
        self.file.is_ours()
    }

    /// Takes the lock on `byte`; false if another description holds it. To take a held lock again changes nothing.
    pub(crate) fn try_lock(&self, byte: u64) -> io::Result<bool> {
        match system::set(self.file.as_fd()?, TAKE, byte, Some(1)) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Frees the lock on `byte`, whether it is held or not.
    pub(crate) fn unlock(&self, byte: u64) -> io::Result<()> {
        system::set(self.file.as_fd()?, FREE, byte, Some(1))
    }

    /// Whether another description holds `byte`: then its owner is alive.
    pub(crate) fn is_held_by_other(&self, byte: u64) -> io::Result<bool> {
        Ok(system::conflict(self.file.as_fd()?, byte, Some(1))?.is_some())
    }

    /// The lowest byte of `range` that another description holds. An end of `u64::MAX` means no end.
    pub(crate) fn any_held_by_other(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        let file = self.file.as_fd()?;
        let mut lowest = None;
        let mut end = range.end;
        // The kernel reports any one conflict, not the lowest: probe again below the one that it reported.
        while range.start < end {
            let length = (end < i64::MAX as u64).then(|| end - range.start);
            let Some(found) = system::conflict(file, range.start, length)? else {
                break;
            };
            end = found.max(range.start);
            lowest = Some(end);
        }
        Ok(lowest)
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
impl std::os::fd::AsRawFd for LockFile {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if let Ok(file) = self.file.as_fd() {
            // A failure needs no handling: closing the description frees its locks, too.
            let _ = system::set(file, FREE, 0, None);
        }
    }
}

/// The one system call that opens a fresh description, prepared so that it can be repeated without an allocation.
#[cfg(target_os = "linux")]
fn reopener(of: BorrowedFd<'_>, access: OFlag) -> io::Result<impl Fn() -> io::Result<OwnedFd>> {
    use nix::fcntl::open;
    let path = std::ffi::CString::new(super::names::proc_path(of)).map_err(io::Error::other)?;
    let flags = access | OFlag::O_CLOEXEC;
    Ok(move || {
        let opened =
            retry_on_signal(|| open(path.as_c_str(), flags, nix::sys::stat::Mode::empty()));
        opened.map_err(io::Error::from)
    })
}

/// macOS has no path that reopens a description: this opens the file by its present name, and fails if that
/// refers to another file.
#[cfg(not(target_os = "linux"))]
fn reopener(of: BorrowedFd<'_>, access: OFlag) -> io::Result<impl Fn() -> io::Result<OwnedFd>> {
    use nix::fcntl::{FcntlArg, fcntl, open};
    use nix::sys::stat::{Mode, fstat};
    let mut path = std::path::PathBuf::new();
    fcntl(of, FcntlArg::F_GETPATH(&mut path))?;
    let wanted = fstat(of)?;
    Ok(move || {
        let file = open(
            &path,
            access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )?;
        let found = fstat(&file)?;
        if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was renamed or replaced while it was opened",
            ));
        }
        Ok(file)
    })
}

/// On Linux, only `/proc` itself can be missing.
fn explain_missing_proc(error: io::Error) -> io::Error {
    if cfg!(target_os = "linux") && error.kind() == io::ErrorKind::NotFound {
        return super::names::proc_is_missing();
    }
    error
}

/// Requests an exclusive lock. (The constants have a different type on each system.)
const TAKE: libc::c_short = libc::F_WRLCK as libc::c_short;

/// Requests to free a lock, and reports that there is none.
const FREE: libc::c_short = libc::F_UNLCK as libc::c_short;

/// A lock request for `length` bytes (`None`: to the end of all bytes) from `start`.
fn request(kind: libc::c_short, start: u64, length: Option<u64>) -> io::Result<libc::flock> {
    let offset = |value: u64| {
        libc::off_t::try_from(value).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "lock byte beyond the system's offsets",
            )
        })
    };
    // SAFETY: all fields are integers, for which zero is valid; no literal, as some systems have private fields.
    let mut flock: libc::flock = unsafe { std::mem::zeroed() };
    flock.l_type = kind;
    flock.l_whence = libc::SEEK_SET as libc::c_short;
    flock.l_start = offset(start)?;
    flock.l_len = offset(length.unwrap_or(0))?;
    Ok(flock)
}

#[cfg(target_os = "linux")]
mod system {
    //! Open file description locks through nix.

    use super::{BorrowedFd, FREE, TAKE, io, request, retry_on_signal};
    use nix::fcntl::{FcntlArg, fcntl};

    /// Takes or frees a range.
    pub(super) fn set(
        file: BorrowedFd<'_>,
        kind: libc::c_short,
        start: u64,
        length: Option<u64>,
    ) -> io::Result<()> {
        let flock = request(kind, start, length)?;
        retry_on_signal(|| fcntl(file, FcntlArg::F_OFD_SETLK(&flock)))?;
        Ok(())
    }

    /// Where a conflicting lock starts.
    pub(super) fn conflict(
        file: BorrowedFd<'_>,
        start: u64,
        length: Option<u64>,
    ) -> io::Result<Option<u64>> {
        let mut flock = request(TAKE, start, length)?;
        retry_on_signal(|| fcntl(file, FcntlArg::F_OFD_GETLK(&mut flock)))?;
        Ok((flock.l_type != FREE).then(|| u64::try_from(flock.l_start).unwrap_or(start)))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! macOS has the same locks under numbers that the libc crate does not name yet.

    use super::{BorrowedFd, FREE, TAKE, io, request};
    use std::os::fd::AsRawFd;

    const F_OFD_SETLK: libc::c_int = 90;
    const F_OFD_GETLK: libc::c_int = 92;

    /// Takes or frees a range.
    pub(super) fn set(
        file: BorrowedFd<'_>,
        kind: libc::c_short,
        start: u64,
        length: Option<u64>,
    ) -> io::Result<()> {
        control(file, F_OFD_SETLK, &mut request(kind, start, length)?)
    }

    /// Where a conflicting lock starts.
    pub(super) fn conflict(
        file: BorrowedFd<'_>,
        start: u64,
        length: Option<u64>,
    ) -> io::Result<Option<u64>> {
        let mut flock = request(TAKE, start, length)?;
        control(file, F_OFD_GETLK, &mut flock)?;
        Ok((flock.l_type != FREE).then(|| u64::try_from(flock.l_start).unwrap_or(start)))
    }

    fn control(
        file: BorrowedFd<'_>,
        command: libc::c_int,
        flock: &mut libc::flock,
    ) -> io::Result<()> {
        if !cfg!(target_vendor = "apple") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system has no open file description locks",
            ));
        }
        // SAFETY: the descriptor is borrowed for the call and both commands take a pointer to a flock.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(flock)) };
        if result == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use crate::layout::lock_bytes::{
        ID_BYTES_FROM, LOCK_BYTES_END, PRODUCER_BYTE, id_byte, line_byte,
    };
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, LockFile, LockFile) {
        let file = super::super::memory::test_memfd();
        let a = LockFile::reopen(file.as_fd()).expect("reopen");
        let b = LockFile::reopen(file.as_fd()).expect("reopen");
        (file, a, b)
    }

    #[test]
    fn two_descriptions_of_one_process_conflict() {
        let (_file, a, b) = pair();
        assert!(a.try_lock(PRODUCER_BYTE).expect("lock"));
        assert!(a.try_lock(PRODUCER_BYTE).expect("again"));
        assert!(!b.try_lock(PRODUCER_BYTE).expect("lock"));
        assert!(b.try_lock(line_byte(0)).expect("another byte"));
        assert!(b.is_held_by_other(PRODUCER_BYTE).expect("probe"));
        assert!(
            !a.is_held_by_other(PRODUCER_BYTE)
                .expect("its own does not count")
        );
        a.unlock(PRODUCER_BYTE).expect("unlock");
        assert!(b.try_lock(PRODUCER_BYTE).expect("lock"));
        drop(b);
        assert!(a.try_lock(PRODUCER_BYTE).expect("freed by drop"));
        assert!(a.try_lock(line_byte(0)).expect("freed by drop"));
    }

    #[test]
    fn finds_the_lowest_byte() {
        let (file, a, b) = pair();
        let c = LockFile::reopen(file.as_fd()).expect("reopen");
        // The bytes are taken in descending order by two owners, and neighbours merge into one range.
        for (lock, byte) in [
            (&a, ID_BYTES_FROM + 9),
            (&b, 70),
            (&a, 50),
            (&b, 30),
            (&b, 31),
            (&b, 32),
        ] {
            assert!(lock.try_lock(byte).expect("lock"));
        }
        assert_eq!(c.any_held_by_other(0..u64::MAX).expect("probe"), Some(30));
        assert_eq!(
            c.any_held_by_other(0..LOCK_BYTES_END).expect("probe"),
            Some(30)
        );
        assert_eq!(c.any_held_by_other(0..30).expect("probe"), None);
        assert_eq!(c.any_held_by_other(31..60).expect("probe"), Some(31));
        assert_eq!(c.any_held_by_other(40..60).expect("probe"), Some(50));
        assert_eq!(
            c.any_held_by_other(71..u64::MAX).expect("probe"),
            Some(ID_BYTES_FROM + 9)
        );
        assert_eq!(c.any_held_by_other(5..5).expect("probe"), None);
        assert_eq!(b.any_held_by_other(0..u64::MAX).expect("probe"), Some(50));
    }

    #[test]
    fn id_bytes_never_change() {
        assert_eq!(id_byte(""), ID_BYTES_FROM + (0xcbf2_9ce4_8422_2325 >> 3));
        assert_eq!(id_byte("a"), ID_BYTES_FROM + (0xaf63_dc4c_8601_ec8c >> 3));
        assert_eq!(
            id_byte("foobar"),
            ID_BYTES_FROM + (0x8594_4171_f739_67e8 >> 3)
        );
        const { assert!(ID_BYTES_FROM + (u64::MAX >> 3) < LOCK_BYTES_END) };
        let (_file, a, b) = pair();
        assert!(
            a.try_lock(ID_BYTES_FROM + (u64::MAX >> 3))
                .expect("the largest")
        );
        assert!(
            !b.try_lock(ID_BYTES_FROM + (u64::MAX >> 3))
                .expect("the largest")
        );
    }
}
