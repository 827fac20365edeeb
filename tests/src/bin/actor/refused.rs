//! Refusals by the system: calls that a filter forbids, and limits of each kind.

use disruptor_mp::CountersFile;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use crate::Answer;
use crate::options::Words;
use crate::system::{allow, if_equal, install, leave_mounts, load, refuse};

/// `forbid call=linkat errno=1`: from now on this call fails with this error.
pub(crate) fn forbid(words: &Words<'_>) -> Answer {
    let errno = words.number("errno") as i32;
    let call = match words.word("call") {
        "fallocate" => libc::SYS_fallocate,
        "fstatfs" => libc::SYS_fstatfs,
        "linkat" => libc::SYS_linkat,
        "madvise" => libc::SYS_madvise,
        "openat" => libc::SYS_openat,
        "locks" => return forbid_locks(errno),
        other => panic!("no such call: {other}"),
    };
    install(&mut [load(0), if_equal(call as u32, 1), refuse(errno), allow()])
}

/// Forbids the locks of open file descriptions, as on a kernel without them.
fn forbid_locks(errno: i32) -> Answer {
    install(&mut [
        load(0),
        if_equal(libc::SYS_fcntl as u32, 5),
        load(16 + 8),
        if_equal(libc::F_OFD_SETLK as u32, 1),
        refuse(errno),
        if_equal(libc::F_OFD_GETLK as u32, 1),
        refuse(errno),
        allow(),
    ])
}

/// `limit what=files max=3`: sets the soft and the hard limit. With `more=BYTES`, the limit is that much more
/// address space than is in use.
pub(crate) fn limit(words: &Words<'_>) -> Answer {
    let (resource, max) = match words.word("what") {
        "files" => (Resource::RLIMIT_NOFILE, words.number("max") as u64),
        "file-size" => (Resource::RLIMIT_FSIZE, words.number("max") as u64),
        "locked" => (Resource::RLIMIT_MEMLOCK, words.number("max") as u64),
        "address-space" => {
            let statm = std::fs::read_to_string("/proc/self/statm")?;
            let pages = statm
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            let used = pages.expect("a number") * 4096;
            (Resource::RLIMIT_AS, used + words.number("more") as u64)
        }
        other => panic!("no such limit: {other}"),
    };
    setrlimit(resource, max, max)?;
    Ok(format!("max={max}"))
}

/// `lock-all`: every later mapping of this process is locked in memory.
pub(crate) fn lock_all() -> Answer {
    nix::sys::mman::mlockall(nix::sys::mman::MlockAllFlags::MCL_FUTURE)?;
    Ok(String::new())
}

/// `fill-maps`: makes mappings until the system allows no further one.
pub(crate) fn fill_maps() -> Answer {
    let mut count = 0;
    loop {
        // neighbours with different permissions are not merged
        let protection = match count % 2 {
            0 => libc::PROT_READ,
            _ => libc::PROT_NONE,
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: without an address hint and MAP_FIXED no existing mapping is changed (a system call's wrapper).
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Ok(format!("count={count}"));
        }
        count += 1;
    }
}

/// `read-only`: this process can read the ring's directory, but not write to it.
pub(crate) fn mount_read_only(directory: &str) -> Answer {
    leave_mounts()?;
    let nothing = None::<&str>;
    mount(
        Some(directory),
        directory,
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, directory, nothing, flags, nothing)?;
    Ok(String::new())
}

/// `no-shared-memory`: hides `/dev/shm` from this process.
pub(crate) fn hide_shared_memory() -> Answer {
    leave_mounts()?;
    let nothing = None::<&str>;
    mount(
        Some("tmpfs"),
        "/dev",
        Some("tmpfs"),
        MsFlags::empty(),
        nothing,
    )?;
    Ok(String::new())
}

/// `counters path=FILE`: creates or opens a counters file.
pub(crate) fn counters(words: &Words<'_>) -> Answer {
    let file = CountersFile::create(words.word("path"))?;
    Ok(format!("counters={}", file.snapshot().len()))
}
