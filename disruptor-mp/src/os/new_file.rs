//! A file that has no name yet, or a temporary one, and how it gets its final name (R15).
//!
//! If the builder dies, a nameless file vanishes and a temporary name is left over: see `names`. A forked
//! child of the builder removes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use core::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::stat::{fstat, lstat};

use super::descriptor::identity_of;
#[cfg(target_os = "linux")]
use super::names::{proc_is_missing, proc_path};
use crate::testing::fail::point;

/// A file that is being built. If it is dropped unpublished, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct NewFile {
    fd: OwnedFd,
    /// Its final name.
    target: PathBuf,
    /// Its name until then, where nameless files do not exist.
    temporary: Option<Temporary>,
}

impl NewFile {
    /// A file whose final name is `target`.
    pub(super) fn new(fd: OwnedFd, target: PathBuf, temporary: Option<Temporary>) -> Self {
        Self {
            fd,
            target,
            temporary,
        }
    }

    /// Whether the file was made under a temporary name.
    #[cfg(test)]
    pub(crate) fn has_temporary_name(&self) -> bool {
        self.temporary.is_some()
    }

    /// Whether the temporary name, if there is one, still refers to this file: another process may have
    /// removed it as a leftover. Ask after locking the producer's byte; if false, build the file again.
    pub(crate) fn is_intact(&self) -> io::Result<bool> {
        self.temporary.as_ref().map_or(Ok(true), |temporary| {
            same_file(&temporary.path, self.fd.as_fd())
        })
    }

    /// Gives the complete file its name. If the name is taken, the error's kind is `AlreadyExists`. After any
    /// error nothing has changed, and the file comes back for another attempt.
    pub(crate) fn publish(self) -> Result<OwnedFd, (io::Error, Self)> {
        let linked = match &self.temporary {
            Some(temporary) => std::fs::hard_link(&temporary.path, &self.target),
            None => link_nameless(self.fd.as_fd(), &self.target),
        };
        // Dropping the rest of `self` removes the temporary name.
        if let Err(e) = linked {
            return Err((e, self));
        }
        if self.temporary.is_some() {
            point("create.two_names");
        }
        Ok(self.fd)
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
            // A name that cannot be removed now is a leftover, which the next builder removes.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` itself (not the target of a symlink) is the file behind `fd`.
pub(super) fn same_file(path: &Path, fd: BorrowedFd<'_>) -> io::Result<bool> {
    let Some(named) = identity_at(path)? else {
        return Ok(false);
    };
    Ok(named == identity_of(&fstat(fd)?))
}

/// The device and inode of `path` itself (not of a symlink's target), or `None` if there is no such name.
/// Allocates nothing.
pub(super) fn identity_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match lstat(path) {
        Ok(found) => Ok(Some(identity_of(&found))),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
