//! What remains of a killed process, and what its forked children keep (R8).
//!
//! The owner of a lock must be a process that can be killed alone. So each case runs this test binary again
//! with `OS_TEST_OWNER` set. That process locks, maps, forks a grandchild that lives on, prints the
//! grandchild's pid and waits to be killed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use core::sync::atomic::{AtomicU32, Ordering};

use super::fork::{RegisteredFd, after_fork_in_parent, before_fork, live_word};
use super::lock::LockFile;
use super::memory::{Access, Mapping, ReserveError, page_size, reserve};
use super::process::Identity;
use crate::layout::lock_bytes::{PRODUCER_BYTE, line_byte};

/// For the owner: the way to fork, and the file of the case.
const OWNER: &str = "OS_TEST_OWNER";

/// Runs `child` in a process made by `fork` and returns its exit code. After a raw clone `child` must not
/// allocate, as another thread of the test program may have held the allocator's lock.
fn in_forked_child(fork: fn() -> libc::pid_t, child: impl Fn() -> i32) -> i32 {
    let pid = fork();
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child and writes one integer.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid);
    assert!(
        libc::WIFEXITED(status),
        "the child died of a signal: {status}"
    );
    libc::WEXITSTATUS(status)
}

/// The usual fork, with its handlers.
fn plain_fork() -> libc::pid_t {
    // SAFETY: the C library keeps its own locks usable in the child, and the children of these tests need no others.
    unsafe { libc::fork() }
}

/// A fork behind the C library's back: no handlers run.
fn raw_clone() -> libc::pid_t {
    // SAFETY: like fork, as neither a stack nor shared memory is asked for; the child continues here with a
    // copy of everything.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }
}

#[test]
fn the_live_word_dies_with_a_fork() {
    let word = live_word();
    assert_eq!(word.load(Ordering::Relaxed), 1);
    assert!(std::ptr::eq(word, live_word()));
    for fork in [plain_fork, raw_clone] {
        let code = in_forked_child(fork, || {
            let inherited = word.load(Ordering::Relaxed);
            let own = live_word();
            let again = live_word();
            i32::from(
                inherited == 0
                    && own.load(Ordering::Relaxed) == 1
                    && !std::ptr::eq(own, word)
                    && std::ptr::eq(own, again),
            )
        });
        assert_eq!(code, 1);
    }
    assert_eq!(word.load(Ordering::Relaxed), 1);
}

#[test]
fn a_grandchild_has_a_word_of_its_own_too() {
    let word = live_word();
    let code = in_forked_child(plain_fork, || {
        let child = live_word();
        in_forked_child(plain_fork, || {
            let both = word.load(Ordering::Relaxed) | child.load(Ordering::Relaxed);
            i32::from(both == 0 && live_word().load(Ordering::Relaxed) == 1)
        })
    });
    assert_eq!(code, 1);
}

#[test]
fn a_child_neither_uses_nor_closes_a_registered_descriptor() {
    let registered = RegisteredFd::open_with(|| Ok(File::open("/dev/null")?.into())).expect("open");
    let number = registered.as_raw_fd();
    let code = in_forked_child(plain_fork, || {
        // SAFETY: asks about a number, which may be closed.
        let closed = unsafe { libc::fcntl(number, libc::F_GETFD) } == -1;
        // Another file gets the descriptor's number. SAFETY: duplicates standard input onto a number that is closed.
        let reused = unsafe { libc::dup2(0, number) } == number;
        let refused = registered.as_fd().is_err();
        // SAFETY: a second owner, dropped only in the child; the parent's is in another process.
        drop(unsafe { std::ptr::read(&registered) });
        // SAFETY: asks about a number.
        let kept = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
        i32::from(closed) | i32::from(reused) << 1 | i32::from(refused) << 2 | i32::from(kept) << 3
    });
    assert_eq!(code, 0b1111);
    registered.as_fd().expect("still ours");
}

#[test]
fn the_registry_grows_and_reuses_entries() {
    let open = || RegisteredFd::open_with(|| Ok(File::open("/dev/null")?.into())).expect("open");
    let many: Vec<_> = (0..150).map(|_| open()).collect();
    // The child handler finds the descriptors of every block.
    let code = in_forked_child(plain_fork, || {
        let open = many.iter().filter(|fd| {
            // SAFETY: asks about a number.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) != -1 }
        });
        i32::try_from(open.count()).unwrap_or(-1)
    });
    assert_eq!(code, 0);
    drop(many);
    RegisteredFd::open_with(|| Err(std::io::ErrorKind::Other.into()))
        .expect_err("the error comes through");
    drop(open());
}

#[test]
fn forks_and_descriptors_at_once() {
    // There are enough entries for all tests, so that no child of a raw clone has to allocate.
    let entries: Vec<_> = (0..300)
        .map(|_| RegisteredFd::open_with(null_device).expect("open"))
        .collect();
    drop(entries);
    let until = Instant::now() + Duration::from_millis(300);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while Instant::now() < until {
                    drop(
                        RegisteredFd::open_with(|| Ok(File::open("/dev/null")?.into()))
                            .expect("open"),
                    );
                }
            });
        }
        for fork in [plain_fork, raw_clone] {
            scope.spawn(move || {
                while Instant::now() < until {
                    // Whatever the parent's threads are doing, the child can open a descriptor.
                    let code = in_forked_child(fork, || {
                        i32::from(RegisteredFd::open_with(null_device).is_ok())
                    });
                    assert_eq!(code, 1);
                }
            });
        }
    });
}

/// Opens without allocating.
fn null_device() -> std::io::Result<std::os::fd::OwnedFd> {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(
        c"/dev/null",
        flags,
        nix::sys::stat::Mode::empty(),
    )?)
}

/// A thread that is opening a descriptor keeps no other thread waiting. In the child of a raw clone that
/// thread would never go on.
#[test]
fn a_child_does_not_wait_for_a_thread_that_it_does_not_have() {
    for fork in [plain_fork, raw_clone] {
        let mut codes = Vec::with_capacity(2);
        RegisteredFd::open_with(|| {
            if codes.is_empty() {
                codes.push(in_forked_child(fork, || {
                    // SAFETY: a signal ends the child if it waits for ever.
                    unsafe { libc::alarm(20) };
                    i32::from(RegisteredFd::open_with(null_device).is_ok())
                }));
            }
            null_device()
        })
        .expect("open");
        assert_eq!(codes, [1]);
    }
}

/// A fork that has begun may copy a descriptor that is opened now, before it is listed.
#[test]
fn a_fork_that_is_under_way_is_waited_for() {
    let opened = AtomicU32::new(0);
    std::thread::scope(|scope| {
        before_fork();
        let opener = scope.spawn(|| {
            RegisteredFd::open_with(|| {
                opened.fetch_add(1, Ordering::Relaxed);
                null_device()
            })
            .expect("open");
        });
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        // a process that a raw clone makes meanwhile has no fork under way
        let code = in_forked_child(raw_clone, || {
            // SAFETY: a signal ends the child if it waits for long.
            unsafe { libc::alarm(5) };
            i32::from(RegisteredFd::open_with(null_device).is_ok())
        });
        assert_eq!(code, 1);
        after_fork_in_parent();
        opener.join().expect("the opener");
    });
    assert!(opened.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_a_fork_may_have_taken_along_is_opened_again() {
    let mut opened = Vec::new();
    let registered = RegisteredFd::open_with(|| {
        let descriptor = null_device()?;
        opened.push(descriptor.as_raw_fd());
        if opened.len() == 1 {
            in_forked_child(plain_fork, || 0);
        }
        Ok(descriptor)
    });
    let registered = registered.expect("open");
    // other tests fork, too
    assert!(opened.len() > 1, "{opened:?}");
    assert_eq!(opened.last(), Some(&registered.as_raw_fd()));
}

/// Takes the producer's byte as soon as it is free. A process that another test has just forked holds a copy of each
/// descriptor until its handlers have closed it, and with it the lock.
fn comes_free(lock: &LockFile) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if lock.try_lock(PRODUCER_BYTE).expect("lock") {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Acts like a program that closes a descriptor it has not opened: another file gets the number.
fn replace_descriptor(number: i32) -> File {
    let stranger = File::open("/dev/zero").expect("open");
    // SAFETY: the replaced descriptor is this test's own, and dup2 accepts every number between 0 and the limit.
    assert_eq!(unsafe { libc::dup2(stranger.as_raw_fd(), number) }, number);
    stranger
}

/// Closes the number, and returns whether it was open.
fn close(number: i32) -> bool {
    // SAFETY: a number that only the calling test uses.
    unsafe { libc::close(number) == 0 }
}

#[test]
fn a_strangers_descriptor_is_neither_used_nor_closed() {
    let (file, probe) = case_file();
    let lock = LockFile::reopen(file.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    assert!(!lock.is_lost());
    let number = lock.as_raw_fd();
    let stranger = replace_descriptor(number);
    assert!(lock.is_lost());
    for outcome in [
        lock.try_lock(PRODUCER_BYTE),
        lock.is_held_by_other(PRODUCER_BYTE),
        lock.unlock(PRODUCER_BYTE).map(|()| true),
    ] {
        let error = outcome.expect_err("not ours").to_string();
        assert!(error.contains("has closed the descriptor"), "{error}");
    }
    assert!(comes_free(&probe), "it fell");
    // neither a child's handler nor dropping closes it
    let code = in_forked_child(plain_fork, || i32::from(close(number)));
    assert_eq!(code, 1);
    drop(lock);
    assert!(close(number));
    drop(stranger);
}

/// The same file under the same number, as if the program had opened its ring again.
#[test]
fn another_description_of_the_same_file_is_a_stranger() {
    let (file, probe) = case_file();
    let lock = LockFile::reopen(file.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    let other = LockFile::reopen(file.as_fd()).expect("reopen");
    // SAFETY: both numbers are this test's own.
    unsafe { libc::dup2(other.as_raw_fd(), lock.as_raw_fd()) };
    assert!(comes_free(&other), "it fell");
    let number = lock.as_raw_fd();
    assert!(lock.is_lost() && !other.is_lost());
    drop(lock);
    assert!(probe.is_held_by_other(PRODUCER_BYTE).expect("probe"));
    assert!(close(number));
}

#[test]
fn a_mapping_stays_with_its_process() {
    let file = super::memory::test_memfd();
    reserve(file.as_fd(), page_size() as u64).expect("reserve");
    let map = Mapping::map(file.as_fd(), 0, page_size(), Access::ReadWrite).expect("map");
    let address = map.as_ptr().as_ptr();
    let is_mapped = || {
        let mut resident = 0_u8;
        // SAFETY: asks whether a page is mapped, and writes one byte.
        unsafe { libc::mincore(address.cast(), 1, &mut resident) == 0 }
    };
    assert!(is_mapped());
    let code = in_forked_child(plain_fork, || {
        let absent = !is_mapped();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // Other memory gets the address. SAFETY: a new mapping that replaces nothing.
        unsafe { libc::mmap(address.cast(), page_size(), libc::PROT_READ, flags, -1, 0) };
        let reused = is_mapped();
        // SAFETY: the child's copy, dropped once in the child.
        drop(unsafe { std::ptr::read(&map) });
        i32::from(absent && reused && is_mapped() && !map.is_ours())
    });
    assert_eq!(code, 1);
    // SAFETY: mapped in this process.
    unsafe { map.as_ptr().write(1) };
}

#[test]
fn dropping_a_lock_frees_it_though_a_clone_holds_the_description() {
    let (file, probe) = case_file();
    let lock = LockFile::reopen(file.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    let child = raw_clone();
    if child == 0 {
        pause();
    }
    drop(lock);
    let free = probe.try_lock(PRODUCER_BYTE);
    // SAFETY: a child of this test, not yet reaped.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: reaps it; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert!(free.expect("lock"));
}

#[test]
fn an_identity_is_computed_anew_in_a_child() {
    let mine = Identity::current();
    let code = in_forked_child(plain_fork, || {
        let child = Identity::current();
        i32::from(
            child.pid != mine.pid
                && child.pid == std::process::id()
                && child.pid_namespace == mine.pid_namespace,
        )
    });
    assert_eq!(code, 1);
}

/// Lives on until a signal kills it, for a minute at most.
fn pause() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(60) };
    loop {
        // SAFETY: sleeps until a signal comes.
        unsafe { libc::pause() };
    }
}

/// A process that holds the producer's byte of a file, and the grandchild it forked.
struct Owner {
    process: Child,
    grandchild: libc::pid_t,
    output: BufReader<std::process::ChildStdout>,
}

impl Owner {
    fn start(file: &File, fork: &str) -> Self {
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let mut process = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "--nocapture", &owner_test_name()])
            .env(OWNER, format!("{fork}:{path}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the owner");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        let grandchild = loop {
            line.clear();
            assert!(
                output.read_line(&mut line).expect("read") > 0,
                "the owner ended early"
            );
            if let Some((_, pid)) = line.split_once("GRANDCHILD ") {
                break pid.trim().parse().expect("a pid");
            }
        };
        Self {
            process,
            grandchild,
            output,
        }
    }

    /// Sends SIGKILL, and waits until the kernel has finished with the process.
    fn kill(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }

    fn grandchild_lives(&self) -> bool {
        // SAFETY: signal 0 only asks whether the process exists.
        self.grandchild > 0 && unsafe { libc::kill(self.grandchild, 0) } == 0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.grandchild > 0 {
            // SAFETY: a process that this test started, still unreaped or still running.
            unsafe { libc::kill(self.grandchild, libc::SIGKILL) };
        }
        // The grandchild holds the other end, so that this returns once it has ended.
        let _ = std::io::copy(&mut self.output, &mut std::io::sink());
    }
}

/// The name by which libtest knows [`owner`].
fn owner_test_name() -> String {
    let module = module_path!();
    format!(
        "{}::owner",
        module.split_once("::").map_or(module, |(_, rest)| rest)
    )
}

/// Not a test of its own: the owner, which the tests below run.
#[test]
fn owner() {
    let Ok(case) = std::env::var(OWNER) else {
        return;
    };
    let (fork, path) = case.split_once(':').expect("fork:path");
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("open the case's file");
    let lock = LockFile::reopen(file.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    let _map = Mapping::map(file.as_fd(), 0, page_size(), Access::ReadWrite).expect("map");
    let grandchild = match fork {
        "none" => 0,
        "fork" => plain_fork(),
        _ => raw_clone(),
    };
    if grandchild == 0 && fork != "none" {
        pause();
    }
    println!("GRANDCHILD {grandchild}");
    std::thread::sleep(Duration::from_secs(60));
}

/// A file of one page, and another description of it, to probe its locks with.
fn case_file() -> (File, LockFile) {
    let file = File::from(super::memory::test_memfd());
    reserve(file.as_fd(), page_size() as u64).expect("reserve");
    let probe = LockFile::reopen(file.as_fd()).expect("reopen");
    (file, probe)
}

#[test]
fn a_killed_owner_frees_its_lock() {
    let (file, probe) = case_file();
    let mut owner = Owner::start(&file, "none");
    assert!(probe.is_held_by_other(PRODUCER_BYTE).expect("probe"));
    assert!(!probe.try_lock(PRODUCER_BYTE).expect("lock"));
    owner.kill();
    assert!(probe.try_lock(PRODUCER_BYTE).expect("lock"));
}

#[test]
fn a_stopped_owner_is_alive() {
    let (file, probe) = case_file();
    let owner = Owner::start(&file, "none");
    let pid = libc::pid_t::try_from(owner.process.id()).expect("pid");
    // SAFETY: stops a process that this test started.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    assert!(probe.is_held_by_other(PRODUCER_BYTE).expect("probe"));
}

/// Takes the producer's lock, or gives up after `timeout`.
fn locked_within(probe: &LockFile, timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    while !probe.try_lock(PRODUCER_BYTE).expect("lock") {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_forked_child_does_not_keep_the_lock_of_a_killed_owner() {
    let (file, probe) = case_file();
    let mut owner = Owner::start(&file, "fork");
    assert!(!probe.try_lock(PRODUCER_BYTE).expect("lock"));
    owner.kill();
    // The child's handler may not have run yet.
    assert!(locked_within(&probe, Duration::from_secs(20)));
    assert!(owner.grandchild_lives());
}

/// The negative control: without the handlers the lock does outlive its owner, so that the test above can fail.
#[test]
fn a_raw_clone_does_keep_it() {
    let (file, probe) = case_file();
    let mut owner = Owner::start(&file, "clone");
    owner.kill();
    assert!(!locked_within(&probe, Duration::from_millis(300)));
    assert!(owner.grandchild_lives());
    drop(owner);
    assert!(locked_within(&probe, Duration::from_secs(20)));
}

#[test]
fn a_child_cannot_unlock_for_its_parent() {
    let (file, probe) = case_file();
    assert!(probe.try_lock(line_byte(3)).expect("lock"));
    let code = in_forked_child(plain_fork, || {
        i32::from(!probe.is_ours() && probe.unlock(line_byte(3)).is_err())
    });
    assert_eq!(code, 1);
    let other = LockFile::reopen(file.as_fd()).expect("reopen");
    assert!(other.is_held_by_other(line_byte(3)).expect("probe"));
}

#[test]
fn a_file_size_limit_is_an_error_and_not_a_signal() {
    let file = super::memory::test_memfd();
    let code = in_forked_child(plain_fork, || {
        let limit = libc::rlimit {
            rlim_cur: 4096,
            rlim_max: 4096,
        };
        // SAFETY: a valid resource and a pointer to a whole struct; only this child is limited.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
        let refused = match reserve(file.as_fd(), 8192) {
            Err(ReserveError::Io(error)) => error.raw_os_error() == Some(libc::EFBIG),
            _ => false,
        };
        i32::from(refused && reserve(file.as_fd(), 4096).is_ok())
    });
    assert_eq!(code, 1);
}
