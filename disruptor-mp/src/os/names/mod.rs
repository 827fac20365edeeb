//! Files and the names that refer to them (R15). This file knows no protocol: callers decide when a name may
//! be replaced.
//!
//! A new file has no name until it is complete: `O_TMPFILE`, then `linkat`. If its builder dies, nothing is left.
//!
//! Where `O_TMPFILE` is missing, the file is built under the name `.leaf.<16 hex digits>` and then linked.
//! Its first bytes, the magic of its kind, are written at once. If the builder dies, the temporary name
//! stays, with a free producer lock. [`Directory::remove_leftovers`] removes it when the next file is built:
//! only an empty file, or one that begins with that magic, as users may choose such names, too. A builder
//! that dies after linking leaves a file with two names: the process that takes the file over or ends it
//! removes the temporary one with [`Directory::remove_second_names`].

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
pub(super) use super::new_file::identity_at;
use super::new_file::{Temporary, same_file};
use super::retry_on_signal;
use super::step::{Failed, Step};
use super::user::{effective_user, user_text};
use crate::testing::fail::point;

/// The path that refers to the description behind `fd`, whatever its name.
#[cfg(target_os = "linux")]
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))
}

/// The error for a [`proc_path`] that leads nowhere.
pub(super) fn proc_is_missing() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "/proc/self/fd is not there: /proc must be mounted in this container or chroot",
    )
}

/// The directory of shared memory on Linux.
pub(crate) const SHARED_MEMORY: &str = "/dev/shm";

/// A directory that holds segments. The path is absolute, as the program may change its working directory. No
/// descriptor is kept open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory of shared memory: `/dev/shm`, or the temporary directory on systems without it.
    pub(crate) fn shared_memory() -> Self {
        if cfg!(target_os = "linux") {
            Self {
                path: SHARED_MEMORY.into(),
            }
        } else {
            Self {
                path: absolute(&std::env::temp_dir()),
            }
        }
    }

    /// The directory at `path`, which need not exist.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: absolute(path),
        }
    }

    /// The directory at `path`, which must exist.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = Self::at(path);
        if !std::fs::metadata(&directory.path)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is not a directory", directory.path.display()),
            ));
        }
        Ok(directory)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `leaf` in it. A leaf is a single path component, short enough to leave room for the temporary name.
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

    /// Makes a file that `leaf` does not refer to yet, with exactly the permissions `mode`, whatever the
    /// umask. Where the file needs a temporary name, this first removes the temporary names of dead builders,
    /// and the file begins with the magic of its `kind`, which must not be overwritten; else it is empty.
    ///
    /// With `force_fallback`, the file is built under a temporary name even where nameless files exist. Until
    /// the builder has its lock, another process may take such a file for a leftover: lock, then check
    /// [`NewFile::is_intact`].
    pub(crate) fn create_nameless(
        &self,
        leaf: &str,
        mode: u32,
        kind: Kind,
        force_fallback: bool,
    ) -> Result<NewFile, Failed> {
        let not_created = |error| Step::CreateFile.failed(error);
        let target = self.path_of(leaf).map_err(not_created)?;
        let nameless = if force_fallback {
            None
        } else {
            self.open_nameless().map_err(not_created)?
        };
        let (fd, temporary) = match nameless {
            Some(fd) => (fd, None),
            None => {
                self.remove_leftovers(leaf, kind).map_err(not_created)?;
                let (fd, temporary) = self.open_temporary(leaf).map_err(not_created)?;
                point("create.temporary");
                let written = write_at_start(&fd, kind.magic);
                written.map_err(|error| Step::WriteFile.failed(error))?;
                (fd, Some(temporary))
            }
        };
        // From here on, an error drops the temporary and so removes its name.
        let kind = network_kind(fd.as_fd()).map_err(|error| Step::AskFileSystem.failed(error))?;
        if let Some(kind) = kind {
            let text = format!(
                "{} is on {kind}, which may be shared between machines",
                self.path.display()
            );
            let error = io::Error::new(io::ErrorKind::Unsupported, text);
            return Err(not_created(error));
        }
        fchmod(&fd, Mode::from_bits_truncate(mode as libc::mode_t))
            .map_err(|error| Step::SetMode.failed(error))?;
        Ok(NewFile::new(fd, target, temporary))
    }

    /// `None` if the kernel or the file system has no nameless files.
    #[cfg(target_os = "linux")]
    fn open_nameless(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        match retry_on_signal(|| open(&self.path, flags, Mode::S_IRUSR | Mode::S_IWUSR)) {
            Ok(fd) => Ok(Some(fd)),
            // ENOENT may also mean that the directory is missing, which the fallback will find.
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
            match retry_on_signal(|| open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR)) {
                Ok(fd) => return Ok((fd, Temporary::new(path))),
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Opens the regular file that `leaf` refers to. Follows no symlink and never blocks.
    ///
    /// With `require_owner`, the file must belong to the effective user of this process; root is no exception.
    pub(crate) fn open_existing(
        &self,
        leaf: &str,
        read_write: bool,
        require_owner: bool,
    ) -> Result<OwnedFd, OpenError> {
        let failed = |step: Step| move |error: io::Error| OpenError::Failed(step.failed(error));
        let path = self.path_of(leaf).map_err(failed(Step::OpenFile))?;
        let access = if read_write {
            OFlag::O_RDWR
        } else {
            OFlag::O_RDONLY
        };
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match retry_on_signal(|| open(&path, flags, Mode::empty())) {
            Ok(fd) => File::from(fd),
            Err(e) => return Err(explain_open(e, &path)),
        };
        let found = file.metadata().map_err(failed(Step::ReadStatus))?;
        if !found.is_file() {
            return Err(OpenError::NotRegular {
                kind: kind_of(&found),
            });
        }
        if require_owner && found.uid() != effective_user() {
            return Err(OpenError::ForeignOwner { uid: found.uid() });
        }
        if let Some(kind) = network_kind(file.as_fd()).map_err(failed(Step::AskFileSystem))? {
            return Err(OpenError::NetworkFileSystem { kind });
        }
        Ok(file.into())
    }

    /// Whether `leaf` refers to the file behind `fd` now. A missing name refers to no file.
    pub(crate) fn names_same_file(&self, leaf: &str, fd: BorrowedFd<'_>) -> io::Result<bool> {
        same_file(&self.path_of(leaf)?, fd)
    }

    /// Writes the directory's entries to the disk, and returns when they are there.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match File::open(&self.path)?.sync_all() {
            // a file system that cannot sync directories
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    /// Removes the name. Only the holder of the producer lock of the file that it refers to may do so (R15).
    pub(crate) fn unlink(&self, leaf: &str) -> io::Result<()> {
        std::fs::remove_file(self.path_of(leaf)?)
    }

    /// The temporary names that belong to `leaf`, whether their builders are alive or dead.
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

    /// Removes the temporary names of `leaf` whose builder is dead, and returns how many. A file stays if it is not
    /// empty and does not begin with the magic, if it belongs to another user, or if it also has an unrelated name.
    pub(crate) fn remove_leftovers(&self, leaf: &str, kind: Kind) -> io::Result<usize> {
        let mut removed = 0;
        for path in self.leftovers(leaf) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Ok(fd) = self.open_leftover(name) else {
                continue;
            };
            let is_linked = fstat(&fd)?.st_nlink > 1;
            if !may_be_leftover(&fd, kind.magic)?
                || (is_linked && !self.names_same_file(leaf, fd.as_fd())?)
            {
                continue;
            }
            let lock = LockFile::reopen(fd.as_fd())?;
            // Hold the lock while removing the name, so that a builder that is about to lock sees that it
            // came too late.
            if lock.try_lock(kind.builder_byte)? && same_file(&path, fd.as_fd())? {
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

    /// Removes the temporary names of the file behind `fd`, which `leaf` refers to. Reads the directory only
    /// if the file has a second name at all.
    pub(crate) fn remove_second_names(&self, leaf: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        if fstat(fd)?.st_nlink < 2 {
            return Ok(());
        }
        for path in self.leftovers(leaf) {
            if !same_file(&path, fd)? {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Like [`open_existing`](Self::open_existing), for names that are longer than a leaf may be.
    fn open_leftover(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let path = self.path.join(name);
        let file = File::from(retry_on_signal(|| open(&path, flags, Mode::empty()))?);
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != effective_user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(file.into())
    }
}

/// The first bytes of a file of some kind.
pub(crate) type Magic = [u8; 8];

/// What marks the files of one kind while they are built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) magic: Magic,
    /// The lock byte that a builder holds.
    pub(crate) builder_byte: u64,
}

/// Whenever the writer dies, the file has all of these bytes or is still empty, as they lie within one page.
/// A file on hugetlbfs can only be mapped, not written.
fn write_at_start(fd: &OwnedFd, magic: Magic) -> io::Result<()> {
    if is_hugetlbfs(fd.as_fd()) {
        return Ok(());
    }
    match retry_on_signal(|| nix::sys::uio::pwrite(fd, &magic, 0))? {
        count if count == magic.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Whether the file is what a dead builder may leave at any step: empty, or beginning with the magic; on
/// hugetlbfs also beginning with zeros.
fn may_be_leftover(fd: &OwnedFd, magic: Magic) -> io::Result<bool> {
    let mut start = [0; size_of::<Magic>()];
    let count = retry_on_signal(|| nix::sys::uio::pread(fd, &mut start, 0))?;
    let is_marked = start == magic || (start == [0; 8] && is_hugetlbfs(fd.as_fd()));
    Ok(count == 0 || (count == start.len() && is_marked))
}

/// `path` as an absolute path, seen from the present working directory: a path that is kept must not change
/// with it. Unchanged if there is no working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
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

/// The reason why a name could not be opened as a segment.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// There is no such name.
    NotFound,
    /// This process may not open it.
    PermissionDenied {
        /// `EACCES`, or `EPERM`.
        errno: Errno,
    },
    /// It is a symbolic link.
    Symlink,
    /// It is not a regular file.
    NotRegular {
        /// What it is, as a noun.
        kind: &'static str,
    },
    /// Another user owns it.
    ForeignOwner {
        /// The owner.
        uid: u32,
    },
    /// Other machines may share it.
    NetworkFileSystem {
        /// The kind of file system.
        kind: &'static str,
    },
    /// Any other error.
    Failed(Failed),
}

impl OpenError {
    /// Whether possibly only writing is denied: by the file's mode, or because the file system is mounted read-only.
    pub(crate) fn is_of_writing(&self) -> bool {
        match self {
            Self::PermissionDenied { .. } => true,
            Self::Failed(failed) => failed.source.raw_os_error() == Some(libc::EROFS),
            _ => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file"),
            Self::PermissionDenied { .. } => f.write_str("permission denied"),
            Self::Symlink => f.write_str("it is a symbolic link, which is not followed"),
            Self::NotRegular { kind } => write!(f, "it is a {kind}, not a regular file"),
            Self::ForeignOwner { uid } => write!(f, "it belongs to {}", user_text(*uid)),
            Self::NetworkFileSystem { kind } => {
                write!(f, "it is on {kind}, which may be shared between machines")
            }
            Self::Failed(failed) => failed.source.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// The meaning of a failed open.
fn explain_open(error: Errno, path: &Path) -> OpenError {
    match error {
        Errno::ENOENT => OpenError::NotFound,
        Errno::EACCES | Errno::EPERM => OpenError::PermissionDenied { errno: error },
        Errno::ELOOP => OpenError::Symlink,
        Errno::EISDIR => OpenError::NotRegular { kind: "directory" },
        // A socket, or a device without a driver.
        Errno::ENXIO | Errno::ENODEV | Errno::EOPNOTSUPP => OpenError::NotRegular {
            kind: std::fs::symlink_metadata(path).map_or("special file", |found| kind_of(&found)),
        },
        other => OpenError::Failed(Step::OpenFile.failed(other)),
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
mod tests;
