//! The id of this boot of the machine, and the identity of the file behind a descriptor: a ring's memory
//! order is vouched for in one boot and one file.
//!
//! After a power cut, the pages of a file come from different moments. The same holds for a copy of a file in use.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

/// Stands for a boot id that could not be found out.
pub(crate) const UNKNOWN: [u64; 2] = [0; 2];

/// The kernel's id of this boot; [`UNKNOWN`] where the system has none. A temporary failure is an error, and
/// not `UNKNOWN`: a ring of this boot would be taken for one of another boot.
pub(crate) fn boot_id() -> io::Result<[u64; 2]> {
    static BOOT: OnceLock<[u64; 2]> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let found = match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) => parse(&text).unwrap_or(UNKNOWN),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            UNKNOWN
        }
        Err(error) => return Err(error),
    };
    Ok(*BOOT.get_or_init(|| found))
}

fn parse(text: &str) -> Option<[u64; 2]> {
    let digits: String = text.trim().split('-').collect();
    let (high, low) = digits.split_at_checked(16)?;
    let word = |part| u64::from_str_radix(part, 16).ok();
    Some([word(high)?, word(low)?])
}

/// The inode number of an open file, and when it was created, in nanoseconds since 1970, or 0 where that is
/// not known. The device does not count: its number may change from boot to boot.
pub(crate) fn file_identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let file = File::from(fd.try_clone_to_owned()?);
    let stat = file.metadata()?;
    let born = stat.created().ok();
    let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok((stat.ino(), since.map_or(0, |since| since.as_nanos() as u64)))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn reads_the_kernels_text() {
        let text = "01234567-89ab-cdef-0011-2233445566ff\n";
        assert_eq!(
            parse(text),
            Some([0x0123_4567_89ab_cdef, 0x0011_2233_4455_66ff])
        );
        assert_eq!(parse(""), None);
        assert_eq!(parse("not a number, though it is long enough"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_boot_has_a_number() {
        assert_ne!(boot_id().expect("the kernel's file"), UNKNOWN);
    }

    #[test]
    fn a_copy_is_another_file_and_a_renamed_one_is_not() {
        let files = tempfile::tempdir().expect("a directory");
        let (path, copy) = (files.path().join("a"), files.path().join("b"));
        std::fs::write(&path, "text").expect("write");
        std::fs::copy(&path, &copy).expect("copy");
        let identity = |path| {
            let file = File::open(path).expect("open");
            file_identity(file.as_fd()).expect("stat")
        };
        let before = identity(&path);
        assert_ne!(before, identity(&copy));
        let moved = files.path().join("c");
        std::fs::rename(&path, &moved).expect("rename");
        assert_eq!(before, identity(&moved));
    }
}
