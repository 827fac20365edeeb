//! A file that has no name yet, or a temporary one, and how it gets its own (R15).
//!
//! If the builder dies, a nameless file vanishes and a temporary name is left over, see `names`. A forked child of the builder
//! removes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use core::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::stat::{fstat, lstat};

#[cfg(target_os = "linux")]
use super::names::{proc_is_missing, proc_path};

/// A file that is being built. Dropped unpublished, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct NewFile {
    fd: OwnedFd,
    /// The name that it will get.
    target: PathBuf,
    /// The name that it has meanwhile, where nameless files do not exist.
    temporary: Option<Temporary>,
}

impl NewFile {
    /// A file that will be called `target`.
    pub(super) fn new(fd: OwnedFd, target: PathBuf, temporary: Option<Temporary>) -> Self {
        Self {
            fd,
            target,
            temporary,
        }
    }

    /// The file was made under a temporary name.
    #[cfg(test)]
    pub(crate) fn has_temporary_name(&self) -> bool {
        self.temporary.is_some()
    }

    /// Nobody has removed the temporary name as a leftover. Ask after locking the producer's byte; if false, build anew.
    pub(crate) fn is_intact(&self) -> io::Result<bool> {
        self.temporary.as_ref().map_or(Ok(true), |temporary| {
            same_file(&temporary.path, self.fd.as_fd())
        })
    }

    /// Gives the complete file its name, which must be free: else the error's kind is `AlreadyExists`, nothing has changed,
    /// and the file comes back for another attempt.
    pub(crate) fn publish(self) -> Result<OwnedFd, (io::Error, Self)> {
        let linked = match &self.temporary {
            Some(temporary) => std::fs::hard_link(&temporary.path, &self.target),
            None => link_nameless(self.fd.as_fd(), &self.target),
        };
        // Dropping the rest of `self` removes the temporary name.
        if let Err(e) = linked {
            Err((e, self))
        } else {
            Ok(self.fd)
        }
    }
}

impl AsFd for NewFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Links a nameless file through `/proc`, which needs no privilege.
#[cfg(target_os = "linux")]
fn link_nameless(fd: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    let from = proc_path(fd);
    match nix::unistd::linkat(
        AT_FDCWD,
        from.as_str(),
        AT_FDCWD,
        target,
        AtFlags::AT_SYMLINK_FOLLOW,
    ) {
        Err(Errno::ENOENT) if !Path::new("/proc/self/fd").exists() => Err(proc_is_missing()),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn link_nameless(_fd: BorrowedFd<'_>, _target: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A temporary name, removed on drop by the process that made it.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// The live word of the process that made it.
    live: &'static AtomicU64,
}

impl Temporary {
    /// The name that this process has just made.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            live: super::fork::live_word(),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.live.load(Ordering::Relaxed) != 0 {
            // What cannot be removed now is a leftover, and removed as one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// `path` itself (not what a symlink points to) is the file behind `fd`.
pub(super) fn same_file(path: &Path, fd: BorrowedFd<'_>) -> io::Result<bool> {
    let named = match lstat(path) {
        Ok(found) => found,
        Err(Errno::ENOENT) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let opened = fstat(fd)?;
    Ok((named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino))
}
