//! The file system of a file: its page size, its free space, and whether other machines share it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::statfs::fstatfs;

use super::memory::page_size;
use super::retry_on_signal;

/// The statfs numbers of file systems that several machines may write to, or that look like such.
///
/// Shared mappings and locks there reach one machine only, so that a ring would fail silently. FUSE is in the
/// list because a local FUSE file system looks the same as sshfs and the like.
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 24] = [
    (0x0000_564c, "NCP"),
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x2003_0528, "OrangeFS"),
    (0x1983_0326, "BeeGFS"),
    (0xaad7_aaea, "PanFS"),
    (0x0131_11a8, "IBRIX"),
    (0x6163_6673, "ACFS"),
    (0xbeef_dead, "SNFS"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0xbacb_acbc, "VMware shared folder"),
    (0x5346_5846, "XtreemFS"),
    (0x6573_5546, "FUSE"),
];

/// The statfs number of hugetlbfs.
#[cfg(target_os = "linux")]
const HUGETLBFS: u32 = 0x9584_58f6;

/// The statfs number of tmpfs.
#[cfg(target_os = "linux")]
const TMPFS: u32 = 0x0102_1994;

/// The statfs number of the file system that `fd` lies on, without the upper half, which some systems sign-extend.
#[cfg(target_os = "linux")]
fn magic(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(retry_on_signal(|| fstatfs(fd))?.filesystem_type().0 as u32)
}

/// The kind of network file system that `fd` lies on, or `None` if it is a local one.
#[cfg(target_os = "linux")]
pub(crate) fn network_kind(fd: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    let magic = magic(fd)?;
    Ok(NETWORK
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, kind)| *kind))
}

/// The kind of network file system that `fd` lies on, or `None` if it is a local one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_kind(fd: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    let known = [
        "nfs", "smbfs", "afpfs", "webdav", "macfuse", "osxfuse", "ftp",
    ];
    let found = retry_on_signal(|| fstatfs(fd))?;
    Ok(known
        .into_iter()
        .find(|kind| *kind == found.filesystem_type_name()))
}

/// Whether the file lies on hugetlbfs: its length and its mappings come in huge pages, which cannot be split.
pub(crate) fn is_hugetlbfs(fd: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    return magic(fd).is_ok_and(|magic| magic == HUGETLBFS);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        false
    }
}

/// Whether the file lies on a tmpfs (or is a memfd): its pages are memory.
pub(crate) fn is_tmpfs(fd: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    return magic(fd).is_ok_and(|magic| magic == TMPFS);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        false
    }
}

/// The unit in which the file is mapped: the huge page of a hugetlbfs, else the system's page.
pub(crate) fn file_system_page_size(fd: BorrowedFd<'_>) -> u64 {
    let page = page_size() as u64;
    if !is_hugetlbfs(fd) {
        return page;
    }
    nix::sys::statvfs::fstatvfs(fd).map_or(page, |found| page.max(wide(found.fragment_size())))
}

/// Bytes that may still be allocated where `fd` lies; `u64::MAX` if only memory limits it (a memfd, a tmpfs
/// without a size).
pub(crate) fn free_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let found = nix::sys::statvfs::fstatvfs(fd)?;
    if wide(found.blocks()) == 0 {
        return Ok(free_huge_pages(fd).unwrap_or(u64::MAX));
    }
    Ok(wide(found.blocks_available()).saturating_mul(wide(found.fragment_size())))
}

/// Free bytes of the pool of huge pages, as a hugetlbfs without a limit of its own does not report any.
fn free_huge_pages(fd: BorrowedFd<'_>) -> Option<u64> {
    if !is_hugetlbfs(fd) {
        return None;
    }
    let size = file_system_page_size(fd);
    let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size / 1024);
    let count = |name: &str| {
        std::fs::read_to_string(format!("{pool}/{name}"))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let free = count("free_hugepages")?.saturating_sub(count("resv_hugepages").unwrap_or(0));
    let overcommit = count("nr_overcommit_hugepages")
        .unwrap_or(0)
        .saturating_sub(count("surplus_hugepages").unwrap_or(0));
    Some(free.saturating_add(overcommit).saturating_mul(size))
}

/// The fields of statvfs have a different width on each system.
fn wide(value: impl Into<u64>) -> u64 {
    value.into()
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn knows_what_it_stands_on() {
        let shm = std::fs::File::open("/dev/shm").expect("/dev/shm");
        assert!(is_tmpfs(shm.as_fd()));
        assert!(!is_hugetlbfs(shm.as_fd()));
        assert_eq!(network_kind(shm.as_fd()).expect("statfs"), None);
        assert_eq!(file_system_page_size(shm.as_fd()), page_size() as u64);
        assert!(free_bytes(shm.as_fd()).expect("statvfs") > 0);
        let proc = std::fs::File::open("/proc/self/stat").expect("/proc");
        assert!(!is_tmpfs(proc.as_fd()));
    }

    #[test]
    fn a_memfd_has_no_limit_of_its_own() {
        // A tmpfs without a size and a memfd report no blocks at all, which must not read as "full".
        let memory = super::super::memory::test_memfd();
        assert_eq!(free_bytes(memory.as_fd()).expect("statvfs"), u64::MAX);
    }
}
