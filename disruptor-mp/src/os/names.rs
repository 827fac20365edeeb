//! Files and the names that point to them (R15). No protocol: when a name may be replaced is decided elsewhere.
//!
//! A new file has no name until it is complete: `O_TMPFILE`, then `linkat`. Its builder's death leaves nothing behind. Where
//! that is missing it is built under `.leaf.<16 hex digits>` and linked; if the builder dies the temporary name stays, with
//! a free producer lock, and [`Directory::remove_leftovers`] takes it away.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat};

use super::filesystem::network_kind;
#[allow(
    unused_imports,
    reason = "re-exported next to the calls they belong to"
)]
pub(crate) use super::filesystem::{file_system_page_size, is_hugetlbfs};
use super::lock::LockFile;
pub(crate) use super::new_file::NewFile;
use super::new_file::{Temporary, same_file};
use crate::fail::point;
use crate::layout::lock_bytes::PRODUCER_BYTE;

/// The path that means the description behind `fd`, whatever its name.
#[cfg(target_os = "linux")]
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))
}

/// What to say when [`proc_path`] leads nowhere.
pub(super) fn proc_is_missing() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "/proc/self/fd is not there: /proc must be mounted in this container or chroot",
    )
}

/// A directory that holds segments. No descriptor is kept open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Where shared memory lives: `/dev/shm`, and the temporary directory on systems without it.
    pub(crate) fn shared_memory() -> Self {
        if cfg!(target_os = "linux") {
            Self {
                path: "/dev/shm".into(),
            }
        } else {
            Self {
                path: std::env::temp_dir(),
            }
        }
    }

    /// The directory at `path`, which must exist.
    pub(crate) fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !std::fs::metadata(&path)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is not a directory", path.display()),
            ));
        }
        Ok(Self { path })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `leaf` in it. A leaf is one component of a path that fits, with room for the temporary name.
    pub(crate) fn path_of(&self, leaf: &str) -> io::Result<PathBuf> {
        let invalid = leaf.is_empty()
            || leaf == "."
            || leaf == ".."
            || leaf.len() > 255 - 18
            || leaf.contains(['/', '\0']);
        if invalid {
            let text = format!(
                "{leaf:?} is not a file name of 1 to {} bytes without a slash",
                255 - 18
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(self.path.join(leaf))
    }

    /// Makes an empty file that `leaf` does not mean yet, with exactly `mode`, whatever the umask.
    ///
    /// `force_fallback` builds it under a temporary name even where nameless files exist. Then there is a moment before the
    /// builder's lock in which somebody may take the file for a leftover: lock, then look at [`NewFile::is_intact`].
    pub(crate) fn create_nameless(
        &self,
        leaf: &str,
        mode: u32,
        force_fallback: bool,
    ) -> io::Result<NewFile> {
        let target = self.path_of(leaf)?;
        let nameless = if force_fallback {
            None
        } else {
            self.open_nameless()?
        };
        let (fd, temporary) = match nameless {
            Some(fd) => (fd, None),
            None => self
                .open_temporary(leaf)
                .map(|(fd, temporary)| (fd, Some(temporary)))?,
        };
        // From here on an error drops, and so unlinks, the temporary.
        if let Some(kind) = network_kind(fd.as_fd())? {
            let text = format!(
                "{} is on {kind}, which may be shared between machines",
                self.path.display()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        fchmod(&fd, Mode::from_bits_truncate(mode as libc::mode_t))?;
        Ok(NewFile::new(fd, target, temporary))
    }

    /// `None` if the kernel or the file system has no nameless files.
    #[cfg(target_os = "linux")]
    fn open_nameless(&self) -> io::Result<Option<OwnedFd>> {
        match open(
            &self.path,
            OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC,
            Mode::S_IRUSR | Mode::S_IWUSR,
        ) {
            Ok(fd) => Ok(Some(fd)),
            // ENOENT also means that the directory is missing, which the fallback finds out.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_nameless(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// A new file under a temporary name.
    fn open_temporary(&self, leaf: &str) -> io::Result<(OwnedFd, Temporary)> {
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        loop {
            let path = self
                .path
                .join(format!(".{leaf}.{:016x}", fastrand::u64(..)));
            match open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(fd) => return Ok((fd, Temporary::new(path))),
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Opens the regular file that `leaf` means, without following a symlink or waiting for anything.
    ///
    /// With `require_owner` the file must belong to our effective user; root is no exception.
    pub(crate) fn open_existing(
        &self,
        leaf: &str,
        read_write: bool,
        require_owner: bool,
    ) -> Result<OwnedFd, OpenError> {
        let path = self.path_of(leaf)?;
        let access = if read_write {
            OFlag::O_RDWR
        } else {
            OFlag::O_RDONLY
        };
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match open(&path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(e) => return Err(explain_open(e, &path)),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(OpenError::NotRegular {
                kind: kind_of(&found),
            });
        }
        if require_owner && found.uid() != effective_user() {
            return Err(OpenError::ForeignOwner { uid: found.uid() });
        }
        if let Some(kind) = network_kind(file.as_fd())? {
            return Err(OpenError::NetworkFileSystem { kind });
        }
        Ok(file.into())
    }

    /// `leaf` means the file behind `fd` now. A missing name means no file.
    pub(crate) fn names_same_file(&self, leaf: &str, fd: BorrowedFd<'_>) -> io::Result<bool> {
        same_file(&self.path_of(leaf)?, fd)
    }

    /// Removes the name. Only the holder of the producer lock of the file that it means may do so (R15).
    pub(crate) fn unlink(&self, leaf: &str) -> io::Result<()> {
        std::fs::remove_file(self.path_of(leaf)?)
    }

    /// The temporary names that belong to `leaf`, of the living and the dead.
    pub(crate) fn leftovers(&self, leaf: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let prefix = format!(".{leaf}.");
        let entries = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(move |entry| is_temporary(&entry.file_name(), &prefix))
            .map(|entry| entry.path())
    }

    /// Removes the temporary names of `leaf` whose builder is dead, and says how many. Files of other users stay.
    pub(crate) fn remove_leftovers(&self, leaf: &str) -> io::Result<usize> {
        let mut removed = 0;
        for path in self.leftovers(leaf) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Ok(fd) = self.open_leftover(name) else {
                continue;
            };
            let published = fstat(&fd)?.st_nlink > 1;
            let lock = LockFile::reopen(fd.as_fd())?;
            // A published file needs its temporary name no more, and its lock is left alone. Else hold the lock while
            // removing, so that a builder who is about to lock sees that it came too late.
            if (published || lock.try_lock(PRODUCER_BYTE)?) && same_file(&path, fd.as_fd())? {
                point("leftovers.locked");
                match std::fs::remove_file(&path) {
                    Ok(()) => removed += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
                point("leftovers.removed");
            }
        }
        Ok(removed)
    }

    /// Like [`open_existing`](Self::open_existing), for names that are longer than a leaf may be.
    fn open_leftover(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(open(&self.path.join(name), flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != effective_user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(file.into())
    }
}

/// The user whose files we may use.
fn effective_user() -> u32 {
    // SAFETY: no preconditions, and it cannot fail.
    unsafe { libc::geteuid() }
}

/// `prefix` and 16 lower-case hex digits.
fn is_temporary(name: &std::ffi::OsStr, prefix: &str) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(prefix));
    digits.is_some_and(|digits| {
        digits.len() == 16
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Why a name could not be opened as a segment.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// There is no such name.
    NotFound,
    /// It may not be opened by us.
    PermissionDenied,
    /// It is a symbolic link.
    Symlink,
    /// It is not a regular file.
    NotRegular {
        /// What it is, as a noun.
        kind: &'static str,
    },
    /// It belongs to another user.
    ForeignOwner {
        /// That user.
        uid: u32,
    },
    /// Other machines may share it.
    NetworkFileSystem {
        /// Its kind.
        kind: &'static str,
    },
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::Symlink => f.write_str("it is a symbolic link, which is not followed"),
            Self::NotRegular { kind } => write!(f, "it is a {kind}, not a regular file"),
            Self::ForeignOwner { uid } => write!(f, "it belongs to user {uid}"),
            Self::NetworkFileSystem { kind } => {
                write!(f, "it is on {kind}, which may be shared between machines")
            }
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// What a failed open says about the name.
fn explain_open(error: Errno, path: &Path) -> OpenError {
    match error {
        Errno::ENOENT => OpenError::NotFound,
        Errno::EACCES | Errno::EPERM => OpenError::PermissionDenied,
        Errno::ELOOP => OpenError::Symlink,
        Errno::EISDIR => OpenError::NotRegular { kind: "directory" },
        // A socket, or a device without a driver.
        Errno::ENXIO | Errno::ENODEV | Errno::EOPNOTSUPP => OpenError::NotRegular {
            kind: std::fs::symlink_metadata(path).map_or("special file", |found| kind_of(&found)),
        },
        other => OpenError::Io(other.into()),
    }
}

/// A noun for the type of a file.
fn kind_of(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_fifo() => "FIFO",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() => "character device",
        () if kind.is_block_device() => "block device",
        () => "special file",
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
#[path = "names_tests.rs"]
mod tests;
