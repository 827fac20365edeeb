//! Requests to the system: another user, another umask, a small file system.

use disruptor_mp::{Deadline, MultiProcessResult, build_shared_single_producer, inspect};
use myelon::TypedConsumer;
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask as set_umask};
use nix::unistd::{Gid, Uid, setgid, setgroups, setresuid, setuid};

use crate::Answer;
use crate::options::Words;

/// Makes the kernel kill this actor when its test dies.
pub(crate) fn die_with_parent() {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("prctl");
}

/// `umask mode=022`: sets this umask.
pub(crate) fn umask(words: &Words<'_>) -> Answer {
    let mode = u32::from_str_radix(words.word("mode"), 8).expect("an octal number");
    set_umask(Mode::from_bits_truncate(mode));
    Ok(String::new())
}

/// `user id=65534`: becomes this user for good. With `group=0`, also a member of this group.
pub(crate) fn become_user(words: &Words<'_>) -> Answer {
    let id = words.number("id") as u32;
    let group = words.get("group").map(|_| words.number("group") as u32);
    let groups: Vec<Gid> = group.map(Gid::from_raw).into_iter().collect();
    setgroups(&groups)?;
    setgid(Gid::from_raw(id))?;
    setuid(Uid::from_raw(id))?;
    die_with_parent();
    Ok(String::new())
}

/// `drain-as-another what=messages name=RING ending=leave`: drains a closed ring, and ends the consumer as a user
/// who may not remove the ring's name. Reports what the consumer is told.
pub(crate) fn drain_as_another(words: &Words<'_>) -> Answer {
    type Frame = FixedFrame<64>;
    let builder = || build_shared_single_producer::<Frame>(words.word("name"), 8);
    let mut tx = FramedTransportProducer::from_builder(builder().with_mode(0o666))?;
    let reader = builder().with_consumer_id("reader");
    let end: Box<dyn FnOnce() -> MultiProcessResult<()>> = match words.word("what") {
        "messages" => {
            let mut rx = FramedTransportConsumer::from_builder(reader)?;
            tx.publish(b"the only one", 1)?;
            tx.close()?;
            rx.recv_owned(Deadline::NEVER)?;
            match words.word("ending") {
                "leave" => Box::new(|| rx.leave()),
                _ => Box::new(|| rx.detach()),
            }
        }
        _ => {
            let mut rx = TypedConsumer::from_builder(reader)?;
            tx.publish(b"the only one", 1)?;
            tx.close()?;
            rx.recv_raw_owned(Deadline::NEVER)?;
            match words.word("ending") {
                "leave" => Box::new(|| rx.leave()),
                _ => Box::new(|| rx.detach()),
            }
        }
    };
    let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(65534));
    setresuid(root, nobody, root)?;
    let ended = end();
    setresuid(root, root, root)?;
    die_with_parent();
    ended?;
    Ok(String::new())
}

/// Moves this process to a mount namespace of its own, so that no other process sees what it mounts.
pub(crate) fn leave_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
}

/// `tmpfs size=1m`: mounts a file system of that size on the ring's directory, for this process alone. With
/// `inodes=1`, it has that many inodes.
pub(crate) fn mount_tmpfs(directory: &str, words: &Words<'_>) -> Answer {
    leave_mounts()?;
    let inodes = words
        .get("inodes")
        .map(|count| format!(",nr_inodes={count}"));
    let size = format!("size={}{}", words.word("size"), inodes.unwrap_or_default());
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )?;
    Ok(String::new())
}

/// `list`: how many entries the ring's directory has, as this process sees it.
pub(crate) fn list(directory: &str) -> Answer {
    let entries = std::fs::read_dir(directory)?.count();
    Ok(format!("entries={entries}"))
}

/// `fill-disk bytes=1000`: writes a file of that length beside the ring.
pub(crate) fn fill_disk(directory: &str, words: &Words<'_>) -> Answer {
    let bytes = vec![1; words.number("bytes") as usize];
    std::fs::write(format!("{directory}/filler"), bytes)?;
    Ok(String::new())
}

/// One instruction of a filter.
pub(crate) fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// Loads a word of the filter's input: the call's number is at byte 0, the arguments start at byte 16.
pub(crate) fn load(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

pub(crate) fn refuse(errno: i32) -> libc::sock_filter {
    step(
        libc::BPF_RET | libc::BPF_K,
        0,
        0,
        libc::SECCOMP_RET_ERRNO | errno as u32,
    )
}

pub(crate) fn allow() -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)
}

/// Continues if the loaded word is `k`, otherwise skips `skipped` steps.
pub(crate) fn if_equal(k: u32, skipped: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skipped, k)
}

/// `forbid-barrier`: from now on `membarrier` is not permitted, as in some sandboxes.
pub(crate) fn forbid_barrier() -> Answer {
    install(&mut [
        load(0),
        if_equal(libc::SYS_membarrier as u32, 1),
        refuse(libc::EPERM),
        allow(),
    ])
}

/// `inspect name=RING`: reads the ring from outside. Says in which state it is, whether its producer is alive, how many
/// consumers it has, and how many rings of the directory may not be read.
pub(crate) fn inspect(directory: &str, words: &Words<'_>) -> Answer {
    let directory = std::path::Path::new(directory);
    let found = inspect::rings_in(directory)?.filter(|found| {
        let ring = &found.ring;
        matches!(ring, Err(inspect::InspectError::Unreadable { path, .. }) if path.starts_with(directory))
    });
    let unreadable = found.count();
    let seen = inspect::Inspector::open(directory.join(words.word("name")));
    let seen = seen.map_err(|error| crate::Failure {
        before: format!("unreadable={unreadable}"),
        ..error.into()
    })?;
    let seen = { seen }.snapshot()?;
    Ok(format!(
        "state={} producer={} consumers={} unreadable={unreadable}",
        seen.phase(),
        seen.producer.liveness,
        seen.consumers.len()
    ))
}

/// `forbid-nameless`: from now on files without a name are not supported, as on some file systems.
pub(crate) fn forbid_nameless() -> Answer {
    const NAMELESS: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
    install(&mut [
        load(0),
        if_equal(libc::SYS_openat as u32, 3),
        load(16 + 2 * 8),
        step(
            libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K,
            0,
            1,
            NAMELESS as u32,
        ),
        refuse(libc::EOPNOTSUPP),
        allow(),
    ])
}

pub(crate) fn install(steps: &mut [libc::sock_filter]) -> Answer {
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
