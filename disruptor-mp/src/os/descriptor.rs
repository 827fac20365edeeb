//! Whether a descriptor number still refers to the file that was opened under it.
//!
//! A program may close descriptors that it has not opened: code that turns it into a daemon closes all from 3
//! on. The next file that is opened gets such a number, and code that still relies on the number would lock,
//! write or close the wrong file. So each descriptor that is kept for long has a [`Mark`], which is compared
//! before the number is used.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use core::sync::atomic::{AtomicU32, Ordering};

/// Identifies an open file description: by its file, and by a file offset that no other description of this
/// process has. The offset distinguishes two descriptions of one file, where the file has offsets; nothing is
/// read or written at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) offset: i64,
}

/// The device and inode of a file.
#[allow(
    clippy::unnecessary_cast,
    reason = "systems have different types for them"
)]
pub(super) fn identity_of(found: &libc::stat) -> (u64, u64) {
    (found.st_dev as u64, found.st_ino as u64)
}

/// Stands for the offset where the system does not say.
const NO_OFFSET: i64 = -1;

impl Mark {
    /// Marks a description that was just opened, and that is never read or written at its offset.
    pub(crate) fn put_on(fd: BorrowedFd<'_>) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // every file system takes offsets of 31 bits
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff;
        // SAFETY: the descriptor is borrowed for the call. A failure leaves the old offset, which is read below.
        unsafe { libc::lseek(fd.as_raw_fd(), offset as libc::off_t, libc::SEEK_SET) };
        Self::of(fd.as_raw_fd())
    }

    /// The mark of whatever the number refers to now. Async-signal-safe.
    fn of(number: i32) -> io::Result<Self> {
        let mut found = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: fstat accepts any number, and the struct is one that it may fill.
        if unsafe { libc::fstat(number, found.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it has filled the struct.
        let found = unsafe { found.assume_init() };
        // SAFETY: lseek accepts any number, and this moves nothing.
        let offset = unsafe { libc::lseek(number, 0, libc::SEEK_CUR) };
        let (device, inode) = identity_of(&found);
        Ok(Self {
            device,
            inode,
            offset,
        })
    }

    /// Whether `number`, which had this mark, is closed or refers to something else. False if the system
    /// fails to say. Async-signal-safe.
    pub(crate) fn is_lost(self, number: i32) -> bool {
        match Self::of(number) {
            Ok(found) => {
                let is_other_file = (found.device, found.inode) != (self.device, self.inode);
                is_other_file || (found.offset != self.offset && found.offset != NO_OFFSET)
            }
            Err(error) => error.raw_os_error() == Some(libc::EBADF),
        }
    }
}

/// The error of a lock descriptor that was lost.
pub(crate) fn lost_locks() -> io::Error {
    io::Error::other(
        "this program has closed the descriptor of this handle's locks, or put another one in its place, so that others \
         count the handle as dead: open the ring again, and close no descriptors but your own",
    )
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, OwnedFd};

    fn open(path: &str) -> OwnedFd {
        std::fs::File::open(path).expect("open").into()
    }

    #[test]
    fn a_mark_tells_descriptions_apart() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let path = file.path().to_str().expect("utf-8");
        let (one, two) = (open(path), open(path));
        let mark = Mark::put_on(one.as_fd()).expect("mark");
        Mark::put_on(two.as_fd()).expect("mark");
        assert!(!mark.is_lost(one.as_raw_fd()));
        assert!(
            mark.is_lost(two.as_raw_fd()),
            "another one of the same file"
        );
        assert!(mark.is_lost(open("/dev/null").as_raw_fd()), "another file");
        let copy = one.try_clone().expect("dup");
        assert!(!mark.is_lost(copy.as_raw_fd()), "the same description");
        assert!(mark.is_lost(-1), "closed");
    }
}
