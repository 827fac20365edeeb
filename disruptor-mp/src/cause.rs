//! The causes of the system's errors, and what to do about them: one table from the step that failed and its errno.
//!
//! One errno has several causes: `ENOMEM` from a mapping may come from a limit of the process, from a limit
//! of the machine, or from memory that is used up. So the limits are read after a failure, and the cause is
//! named with its numbers. Nothing here allocates more than a few hundred bytes, because memory or
//! descriptors may be what is missing.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::AccessFlags;

use crate::os::names::SHARED_MEMORY;
use crate::os::process::soft_limit;
use crate::os::step::{Failed, Step};
use crate::os::user::{effective_user, user_text};

/// Size of a thread's stack, unless a program sets another one.
const STACK_BYTES: u64 = 2 << 20;

/// Why the system refused something, as far as that can be determined, and what to do about it. Its text is
/// the end of the text of the error that contains it.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{MultiProcessError, SystemCause, subscriber};
///
/// match subscriber::<u64>("ticks") {
///     Ok(_) => println!("attached"),
///     Err(MultiProcessError::Io { cause: Some(cause), .. }) => match *cause {
///         SystemCause::OpenFilesLimit { limit } => println!("only {limit} files"),
///         other => println!("{other}"),
///     },
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SystemCause {
    /// The ring's file may not be written by this user.
    #[error(
        "it belongs to {owner} with mode {mode:04o}, but producers and consumers must read and write it: create the ring \
         with with_mode(0o660) and a group that all of them share, and call allow_any_owner() in the others"
    )]
    NoWriteAccess {
        /// The file's owner.
        owner: String,
        /// The mode that its producer gave it.
        mode: u32,
    },
    /// The ring's file may not be read by this user.
    #[error(
        "it belongs to {owner} with mode {mode:04o}, but an observer must read it: create the ring with \
         with_mode(0o640) and a group that both share, and call allow_any_owner() in the observer"
    )]
    NoReadAccess {
        /// The file's owner.
        owner: String,
        /// The mode that its producer gave it.
        mode: u32,
    },
    /// This user may not use the directory.
    #[error(
        "{caller} may not {what} '{path}', which belongs to {owner} with mode {mode:04o}: let that user do it, or choose another \
         directory"
    )]
    Directory {
        /// The user of this process.
        caller: String,
        /// What was denied.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// The directory's owner.
        owner: String,
        /// The directory's mode.
        mode: u32,
    },
    /// In a sticky directory, only the owner of a file may remove its name.
    #[error(
        "the directory '{path}' is sticky, so only the file's owner, {owner}, may remove the file's name: the file stays \
         until a producer of that user takes it over or replaces it"
    )]
    Sticky {
        /// The directory.
        path: PathBuf,
        /// The file's owner.
        owner: String,
    },
    /// The call itself is forbidden, whatever its arguments are.
    #[error(
        "the permissions of the file and its directory allow it, so something else denies {call}: a seccomp filter or a \
         security module (SELinux, AppArmor) of this container, or a file system that does not have it; allow it there, or \
         choose another directory"
    )]
    Forbidden {
        /// The system call.
        call: &'static str,
    },
    /// This system has no locks of open file descriptions.
    #[error(
        "this system has no locks of open file descriptions (F_OFD_SETLK, Linux 3.15), which a ring needs to tell which \
         processes are alive: use another kernel or sandbox"
    )]
    NoFileLocks,
    /// More memory would be locked than the process may lock.
    #[error(
        "this process locks its memory (mlockall or with_memory_lock): {used_bytes} bytes already, {needed_bytes} more are \
         needed, and RLIMIT_MEMLOCK allows {limit_bytes}; raise it (ulimit -l, LimitMEMLOCK=), or make the ring smaller"
    )]
    MemoryLockLimit {
        /// Bytes that are locked.
        used_bytes: u64,
        /// Bytes that were to be locked.
        needed_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The process may not have more address space.
    #[error(
        "this process uses {used_bytes} bytes of address space, {needed_bytes} more are needed, and RLIMIT_AS allows \
         {limit_bytes}; raise it (ulimit -v, LimitAS=), or make the ring smaller"
    )]
    AddressSpaceLimit {
        /// Bytes that are mapped.
        used_bytes: u64,
        /// Bytes that were to be mapped.
        needed_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The process may not have more mappings.
    #[error(
        "this process has {used} mappings, and vm.max_map_count allows {limit}: raise it (sysctl -w vm.max_map_count), or \
         map less"
    )]
    MapCountLimit {
        /// Mappings that there are.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The machine, or the memory cgroup, has no more memory.
    #[error(
        "no limit of this process is reached, so the machine or its memory cgroup has no memory left for it: free some, or \
         make the ring smaller"
    )]
    NoMemory,
    /// No inode, or no block of a directory, is left for another file.
    #[error(
        "its file system has no room for another file ({free_inodes} inodes and {free_bytes} bytes free): see df -i and df, and \
         mount it with more (nr_inodes and size of a tmpfs), or choose another directory"
    )]
    NoRoomForFile {
        /// Inodes that are free.
        free_inodes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The user's quota is used up.
    #[error(
        "the disk quota of {caller} for this file system is used up (see quota -s): raise it, or choose another directory"
    )]
    Quota {
        /// The user of this process.
        caller: String,
    },
    /// The process may not write files as long as the ring.
    #[error(
        "{needed_bytes} bytes are needed, and RLIMIT_FSIZE allows files of {limit_bytes}: raise it (ulimit -f, LimitFSIZE=), \
         or make the ring smaller"
    )]
    FileSizeLimit {
        /// Bytes that were to be reserved.
        needed_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The process may not open more files.
    #[error(
        "this process may have {limit} descriptors (RLIMIT_NOFILE), and each handle takes one: raise it (ulimit -n, \
         LimitNOFILE=), or close some"
    )]
    OpenFilesLimit {
        /// The limit.
        limit: u64,
    },
    /// The machine has no more descriptions of open files.
    #[error(
        "all processes of this machine together have as many files open as fs.file-max allows: raise it"
    )]
    SystemFilesLimit,
    /// The process may not start more threads.
    #[error(
        "this user has as many threads as RLIMIT_NPROC ({limit}) or pids.max of its cgroup allows: raise it (ulimit -u, \
         LimitNPROC=, TasksMax=)"
    )]
    ThreadsLimit {
        /// `RLIMIT_NPROC`.
        limit: u64,
    },
    /// The file system cannot be written.
    #[error(
        "'{path}' is mounted read-only: mount it read-write, or choose another directory; an observer of a ring can attach \
         there"
    )]
    ReadOnlyFileSystem {
        /// The directory.
        path: PathBuf,
    },
    /// There is no directory for shared memory.
    #[error(
        "'{path}' is missing in this container or chroot: mount a tmpfs there, or use rings in files (MmapTransportLayout)"
    )]
    NoSharedMemory {
        /// The directory.
        path: PathBuf,
    },
}

crate::error::debug_is_text!(SystemCause);

impl SystemCause {
    /// Whether the cause is a permission of a file or a directory, for which there is `PermissionDenied`.
    pub(crate) fn is_permission(&self) -> bool {
        matches!(
            self,
            Self::NoWriteAccess { .. } | Self::NoReadAccess { .. } | Self::Directory { .. }
        )
    }
}

/// A cause as the end of an error's text.
pub(crate) fn after(cause: &Option<Box<SystemCause>>) -> String {
    cause
        .as_ref()
        .map_or_else(String::new, |cause| format!("; {cause}"))
}

/// The cause of `failed`, which concerns the file or directory at `path`. None: the system's own words are enough.
pub(crate) fn cause_of(failed: &Failed, path: &Path) -> Option<SystemCause> {
    use Step::{
        CreateDirectory, CreateFile, KeepFromChildren, KeepFromCoreDumps, Lock, LockMemory, Map,
        NameFile, Populate, Reserve, Settle, StartThread,
    };
    let errno = Errno::from_raw(failed.source.raw_os_error()?);
    let bytes = failed.bytes;
    match (failed.step, errno) {
        (_, Errno::EMFILE) => Some(SystemCause::OpenFilesLimit {
            limit: soft_limit(libc::RLIMIT_NOFILE),
        }),
        (_, Errno::ENFILE) => Some(SystemCause::SystemFilesLimit),
        (_, Errno::EROFS) => Some(SystemCause::ReadOnlyFileSystem {
            path: directory_of(path).to_owned(),
        }),
        (_, Errno::EDQUOT) => Some(SystemCause::Quota {
            caller: user_text(effective_user()),
        }),
        (Lock, Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => Some(SystemCause::NoFileLocks),
        (CreateFile | CreateDirectory | NameFile, Errno::ENOSPC) => no_room_for_file(path),
        (CreateFile, Errno::ENOENT) => no_shared_memory(path),
        (Reserve, Errno::EFBIG) => Some(SystemCause::FileSizeLimit {
            needed_bytes: bytes,
            limit_bytes: soft_limit(libc::RLIMIT_FSIZE),
        }),
        // a mapping that `mlockall(MCL_FUTURE)` would have to lock
        (Map | Settle, Errno::EAGAIN) => Some(memory_lock_limit(bytes)),
        (LockMemory, Errno::EAGAIN | Errno::ENOMEM | Errno::EPERM)
            if is_over_memory_lock(bytes) =>
        {
            Some(memory_lock_limit(bytes))
        }
        (
            Map | Settle | KeepFromChildren | KeepFromCoreDumps | Populate | LockMemory,
            Errno::ENOMEM,
        ) => Some(no_memory(bytes)),
        // libc returns the same errno where there is no memory for the stack
        (StartThread, Errno::EAGAIN) => Some(match no_memory(STACK_BYTES) {
            SystemCause::NoMemory => SystemCause::ThreadsLimit {
                limit: soft_limit(libc::RLIMIT_NPROC),
            },
            limit => limit,
        }),
        // reopening checks the mode of the file itself again, which its owner may have made too small
        (Step::Reopen, Errno::EACCES) => denied_again(path),
        (step, Errno::EPERM | Errno::EACCES) => Some(denied(step, path)),
        (step, Errno::ENOSYS) => Some(SystemCause::Forbidden { call: step.call() }),
        _ => None,
    }
}

/// Why the existing file `path` could not be opened: to read and write if `for_writing`, else to read only.
pub(crate) fn why_not_opened(errno: Errno, path: &Path, for_writing: bool) -> SystemCause {
    let forbidden = SystemCause::Forbidden {
        call: Step::OpenFile.call(),
    };
    if let Some(closed) = closed_directory(path, AccessFlags::X_OK) {
        return closed;
    }
    let wanted = match for_writing {
        true => AccessFlags::R_OK | AccessFlags::W_OK,
        false => AccessFlags::R_OK,
    };
    // EPERM does not come from the mode: the file is immutable, or something else denies the call
    let Ok(found) = fs::symlink_metadata(path) else {
        return forbidden;
    };
    if errno == Errno::EPERM || may(path, wanted) {
        return forbidden;
    }
    let (owner, mode) = (user_text(found.uid()), found.mode() & 0o7777);
    match for_writing {
        true => SystemCause::NoWriteAccess { owner, mode },
        false => SystemCause::NoReadAccess { owner, mode },
    }
}

/// The cause if `path` could not be found because the directory of shared memory is missing.
pub(crate) fn no_shared_memory(path: &Path) -> Option<SystemCause> {
    let directory = directory_of(path);
    let is_missing = directory == Path::new(SHARED_MEMORY) && !directory.exists();
    is_missing.then(|| SystemCause::NoSharedMemory {
        path: directory.to_owned(),
    })
}

/// Why a file that is open could not be opened once more. None: it has no name yet.
fn denied_again(path: &Path) -> Option<SystemCause> {
    path.exists()
        .then(|| why_not_opened(Errno::EACCES, path, true))
}

/// What denies a step: a directory's mode, its sticky bit, or something that cannot be seen.
fn denied(step: Step, path: &Path) -> SystemCause {
    let changes_directory = matches!(
        step,
        Step::CreateDirectory
            | Step::CreateFile
            | Step::NameFile
            | Step::RemoveName
            | Step::EndRing
    );
    let wanted = match changes_directory {
        true => AccessFlags::W_OK | AccessFlags::X_OK,
        false => AccessFlags::X_OK,
    };
    let is_by_path = changes_directory
        || matches!(
            step,
            Step::OpenFile | Step::OpenDirectory | Step::ReadStatus
        );
    let seen = match step {
        _ if !is_by_path => None,
        Step::RemoveName | Step::EndRing => closed_directory(path, wanted).or_else(|| sticky(path)),
        _ => closed_directory(path, wanted),
    };
    seen.unwrap_or(SystemCause::Forbidden { call: step.call() })
}

/// The first directory on the way to `path` that this user may not enter, or else the last existing one, if
/// it denies `wanted`.
fn closed_directory(path: &Path, wanted: AccessFlags) -> Option<SystemCause> {
    let mut way: Vec<&Path> = directory_of(path).ancestors().collect();
    way.reverse();
    let closed = |directory: &Path, what| {
        let found = fs::metadata(directory).ok();
        SystemCause::Directory {
            caller: user_text(effective_user()),
            what,
            path: directory.to_owned(),
            owner: found
                .as_ref()
                .map_or_else(|| "another user".into(), |found| user_text(found.uid())),
            mode: found.map_or(0, |found| found.mode() & 0o7777),
        }
    };
    let existing = way.iter().take_while(|directory| directory.exists());
    let last = existing.last()?;
    if let Some(directory) = way
        .iter()
        .find(|directory| directory.exists() && !may(directory, AccessFlags::X_OK))
    {
        return Some(closed(directory, "enter"));
    }
    (!may(last, wanted)).then(|| closed(last, "create or remove files in"))
}

/// Whether the directory of `path` is sticky, and neither it nor the file belongs to this user.
fn sticky(path: &Path) -> Option<SystemCause> {
    let directory = directory_of(path);
    let (around, file) = (
        fs::metadata(directory).ok()?,
        fs::symlink_metadata(path).ok()?,
    );
    let is_sticky = around.mode() & 0o1000 != 0;
    let is_ours = [around.uid(), file.uid()].contains(&effective_user());
    (is_sticky && !is_ours).then(|| SystemCause::Sticky {
        path: directory.to_owned(),
        owner: user_text(file.uid()),
    })
}

/// Whether the effective user has the `wanted` access, by the mode and every other check of the kernel.
fn may(path: &Path, wanted: AccessFlags) -> bool {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    nix::unistd::faccessat(AT_FDCWD, path, wanted, AtFlags::AT_EACCESS).is_ok()
}

/// The directory that holds `path`.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn no_room_for_file(path: &Path) -> Option<SystemCause> {
    let found = nix::sys::statvfs::statvfs(directory_of(path)).ok()?;
    #[allow(
        clippy::useless_conversion,
        reason = "the fields have another width on each system"
    )]
    let (inodes, blocks, unit) = (
        u64::from(found.files_available()),
        u64::from(found.blocks_available()),
        u64::from(found.fragment_size()),
    );
    Some(SystemCause::NoRoomForFile {
        free_inodes: inodes,
        free_bytes: blocks.saturating_mul(unit),
    })
}

fn memory_lock_limit(needed_bytes: u64) -> SystemCause {
    SystemCause::MemoryLockLimit {
        used_bytes: locked_bytes(),
        needed_bytes,
        limit_bytes: soft_limit(libc::RLIMIT_MEMLOCK),
    }
}

fn is_over_memory_lock(needed_bytes: u64) -> bool {
    locked_bytes().saturating_add(needed_bytes) > soft_limit(libc::RLIMIT_MEMLOCK)
}

/// The limit that caused an `ENOMEM`.
fn no_memory(needed_bytes: u64) -> SystemCause {
    /// How many mappings a step may add: a mapping may have two parts, and an advice may split one.
    const NEW_MAPPINGS: u64 = 3;
    let (used_bytes, limit_bytes) = (address_space(), soft_limit(libc::RLIMIT_AS));
    if used_bytes.saturating_add(needed_bytes) > limit_bytes {
        return SystemCause::AddressSpaceLimit {
            used_bytes,
            needed_bytes,
            limit_bytes,
        };
    }
    match (mappings(), max_mappings()) {
        (Some(used), Some(limit)) if used + NEW_MAPPINGS >= limit => {
            SystemCause::MapCountLimit { used, limit }
        }
        _ => SystemCause::NoMemory,
    }
}

/// Bytes of address space in use; 0 where the system does not say.
fn address_space() -> u64 {
    let pages = first_number("/proc/self/statm").unwrap_or(0);
    pages.saturating_mul(crate::os::memory::page_size() as u64)
}

fn max_mappings() -> Option<u64> {
    first_number("/proc/sys/vm/max_map_count")
}

/// The number that a file of `/proc` begins with.
fn first_number(path: &str) -> Option<u64> {
    let mut text = [0; 64];
    let count = fs::File::open(path).ok()?.read(&mut text).ok()?;
    let text = core::str::from_utf8(&text[..count]).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// How many mappings this process has. Reads them in small pieces: there may be no memory for a large one.
fn mappings() -> Option<u64> {
    let mut file = fs::File::open("/proc/self/maps").ok()?;
    let (mut piece, mut lines) = ([0; 4096], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Some(lines),
            Ok(count) => {
                lines += piece[..count].iter().filter(|byte| **byte == b'\n').count() as u64
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Bytes that this process has locked in memory; 0 where the system does not say.
fn locked_bytes() -> u64 {
    let Ok(file) = fs::File::open("/proc/self/status") else {
        return 0;
    };
    let lines = BufReader::with_capacity(512, file).lines();
    let found = lines.map_while(Result::ok).find_map(|line| {
        let kib = line.strip_prefix("VmLck:")?.split_whitespace().next()?;
        kib.parse::<u64>().ok()
    });
    found.unwrap_or(0).saturating_mul(1024)
}

#[cfg(all(test, target_os = "linux", not(miri), not(loom)))]
mod tests {
    use super::*;

    fn cause(step: Step, errno: Errno, path: &str) -> Option<SystemCause> {
        cause_of(&step.failed(errno).of_bytes(4096), Path::new(path))
    }

    #[test]
    fn one_errno_has_several_causes() {
        let shm = "/dev/shm/no-such-ring";
        for step in [Step::Map, Step::Populate, Step::LockMemory] {
            assert!(cause(step, Errno::ENOMEM, shm).is_some(), "{step:?}");
        }
        let limit = cause(Step::Map, Errno::EAGAIN, shm);
        assert!(matches!(limit, Some(SystemCause::MemoryLockLimit { .. })));
        let threads = cause(Step::StartThread, Errno::EAGAIN, shm);
        assert!(matches!(threads, Some(SystemCause::ThreadsLimit { .. })));
        assert_eq!(
            cause(Step::Reserve, Errno::EPERM, shm),
            Some(SystemCause::Forbidden { call: "fallocate" })
        );
        assert_eq!(
            cause(Step::Lock, Errno::EINVAL, shm),
            Some(SystemCause::NoFileLocks)
        );
        assert_eq!(cause(Step::ReadFile, Errno::EIO, shm), None);
        assert_eq!(cause(Step::CreateFile, Errno::ENOENT, shm), None);
        let text = io::Error::other("words of our own");
        assert_eq!(cause_of(&Step::Lock.failed(text), Path::new(shm)), None);
    }

    #[test]
    fn the_limits_are_read() {
        assert!(address_space() > 1 << 20);
        assert!(mappings().expect("maps") > 5);
        assert!(max_mappings().expect("a limit") > mappings().expect("maps"));
        assert!(soft_limit(libc::RLIMIT_NOFILE) > 2);
    }

    #[test]
    fn an_enomem_that_no_limit_explains_is_the_machines() {
        assert_eq!(no_memory(1), SystemCause::NoMemory);
    }
}
