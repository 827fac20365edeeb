//! Waiting in user space without hanging for ever: a long wait checks for ctrl-C and for a dead peer.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static PEER: AtomicI32 = AtomicI32::new(0);

/// The reason why a measurement stopped. It is thrown by unwinding, so that the run can end the peer and remove
/// every name.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) &'static str);

/// Polls `ready` with a pause in between.
#[inline(always)]
pub(crate) fn spin_until(mut ready: impl FnMut() -> bool) {
    let mut patience = Patience::default();
    while !ready() {
        patience.pause();
    }
}

/// Counts the polls of one wait.
#[derive(Debug, Default)]
pub(crate) struct Patience(u32);

impl Patience {
    /// Pauses between two polls.
    #[inline(always)]
    pub(crate) fn pause(&mut self) {
        core::hint::spin_loop();
        self.0 = self.0.wrapping_add(1);
        if self.0 & 0xFFFF == 0 {
            long_wait();
        }
    }
}

/// Called about once per millisecond in a wait that does not end.
#[cold]
#[inline(never)]
pub(crate) fn long_wait() {
    std::thread::yield_now();
    check();
}

/// Unwinds if there is a reason to stop.
pub(crate) fn check() {
    if INTERRUPTED.load(Ordering::Relaxed) {
        stop("interrupted");
    }
    let peer = PEER.load(Ordering::Relaxed);
    if peer > 0 && has_ended(peer) {
        stop("the peer process died");
    }
}

/// Unwinds without a panic message.
pub(crate) fn stop(why: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(Stopped(why)))
}

/// Sets the child whose death ends every wait; 0 for none.
pub(crate) fn set_peer(pid: i32) {
    PEER.store(pid, Ordering::Relaxed);
}

/// Installs a handler, so that SIGINT and SIGTERM end the next long wait.
pub(crate) fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler, and has the
        // signature that `signal` requires.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
}

/// Ignores SIGINT: the peer leaves ctrl-C to its parent, which ends it.
pub(crate) fn ignore_interrupts() {
    // SAFETY: SIG_IGN is a valid disposition for SIGINT.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

extern "C" fn on_signal(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn has_ended(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(
        waitid(Id::Pid(Pid::from_raw(pid)), flags),
        Ok(WaitStatus::StillAlive)
    )
}
