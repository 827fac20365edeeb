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
