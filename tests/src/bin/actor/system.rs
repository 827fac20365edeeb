//! What an actor asks of the system: another user, another umask, a small file system.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask as set_umask};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::Answer;
use crate::options::Words;

/// A test that is killed leaves no actor behind.
pub(crate) fn die_with_parent() {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("prctl");
}

/// `umask mode=022`.
pub(crate) fn umask(words: &Words<'_>) -> Answer {
    let mode = u32::from_str_radix(words.word("mode"), 8).expect("an octal number");
    set_umask(Mode::from_bits_truncate(mode));
    Ok(String::new())
}

/// `user id=65534`: for good.
pub(crate) fn become_user(words: &Words<'_>) -> Answer {
    let id = words.number("id") as u32;
    setgroups(&[])?;
    setgid(Gid::from_raw(id))?;
    setuid(Uid::from_raw(id))?;
    die_with_parent();
    Ok(String::new())
}

/// `tmpfs size=1m`: the ring's directory becomes a file system of that size, for this process alone.
pub(crate) fn mount_tmpfs(directory: &str, words: &Words<'_>) -> Answer {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )?;
    let size = format!("size={}", words.word("size"));
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )?;
    Ok(String::new())
}

/// How many entries the ring's directory has, as this process sees it.
pub(crate) fn list(directory: &str) -> Answer {
    let entries = std::fs::read_dir(directory)?.count();
    Ok(format!("entries={entries}"))
}

/// `fill-disk bytes=1000`: a file of that length beside the ring.
pub(crate) fn fill_disk(directory: &str, words: &Words<'_>) -> Answer {
    let bytes = vec![1; words.number("bytes") as usize];
    std::fs::write(format!("{directory}/filler"), bytes)?;
    Ok(String::new())
}

/// `forbid-barrier`: from here on `membarrier` is not permitted, as in some sandboxes.
pub(crate) fn forbid_barrier() -> Answer {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    // the first word that a filter sees is the call's number
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_membarrier as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the filter and its steps live until the call returns; the kernel copies them.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    match set {
        0 => Ok(String::new()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}
