//! Waiting without hanging for ever.
//!
//! A long wait of this program checks for ctrl-C, for the deadline of the step and for a dead peer. A wait inside the
//! library cannot check: it waits for as long as the other side lives. So a thread, the guard, sees the same reasons
//! and kills every child, whatever the child does. The library then reports its death to the driver, whose next check
//! stops the run.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::clock::monotonic_ns;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static PEER: AtomicI32 = AtomicI32::new(0);
/// The children that are not reaped yet, so that their ids are theirs.
static CHILDREN: Mutex<Vec<i32>> = Mutex::new(Vec::new());
/// The time on the monotonic clock at which waits end; 0 for never.
static DEADLINE_NS: AtomicU64 = AtomicU64::new(0);

/// A round's waits end after this many times its limit, but not before [`LEAST`]. A round that ends in between only
/// fails to verify.
const LIMITS: u32 = 4;
/// However short the limit is, a busy machine may hold a process up for longer.
const LEAST: Duration = Duration::from_secs(30);

/// The user's choice in ns; 0 for none.
static HANG_LIMIT_NS: AtomicU64 = AtomicU64::new(0);

/// Sets the time after which a process is taken to hang.
pub(crate) fn set_hang_limit(limit: Duration) {
    HANG_LIMIT_NS.store(limit.as_nanos() as u64, Ordering::Relaxed);
}

/// The time after which a process that has not ended a round with this limit is taken to hang.
pub(crate) fn patience(limit: Duration) -> Duration {
    match HANG_LIMIT_NS.load(Ordering::Relaxed) {
        0 => (limit * LIMITS).max(LEAST),
        chosen => Duration::from_nanos(chosen),
    }
}

/// Time between two checks of the guard, and the time that the checks of the driver have before the guard acts.
const GUARD_INTERVAL: Duration = Duration::from_millis(500);

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
    check_time();
    let peer = PEER.load(Ordering::Relaxed);
    if peer > 0 && has_ended(peer) {
        stop("the second process died");
    }
}

/// The same, unless the reason is a death: the caller notices that itself.
pub(crate) fn check_time() {
    if let Some(why) = reason_to_stop() {
        stop(why);
    }
}

fn reason_to_stop() -> Option<&'static str> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Some("interrupted");
    }
    let deadline = DEADLINE_NS.load(Ordering::Relaxed);
    (deadline > 0 && monotonic_ns() > deadline).then_some(
        "a process does not answer: a step took longer than --hang-limit-ms, which is four times --round-limit-ms and \
         at least half a minute unless it is given, so all processes were ended",
    )
}

/// Starts the guard, once.
fn start_guard() {
    static GUARD: Once = Once::new();
    GUARD.call_once(|| {
        std::thread::spawn(|| {
            let mut was_due = false;
            loop {
                std::thread::sleep(GUARD_INTERVAL);
                let is_due = reason_to_stop().is_some();
                if is_due && was_due {
                    kill_children();
                }
                was_due = is_due;
            }
        });
    });
}

fn kill_children() {
    for &child in &*children() {
        // the child may be dead already
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

fn children() -> std::sync::MutexGuard<'static, Vec<i32>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the guard watches over this child.
pub(crate) fn add_child(pid: i32) {
    start_guard();
    children().push(pid);
}

/// Must be called before the child is reaped: then its id may become that of another process.
pub(crate) fn remove_child(pid: i32) {
    children().retain(|&child| child != pid);
}

/// The time of a round, which has a limit. Long after it, every wait of this process ends, because another process
/// hangs.
#[derive(Debug)]
pub(crate) struct Timed {
    started: Instant,
    limit: Duration,
}

impl Timed {
    /// Starts the time of a round.
    pub(crate) fn start(limit: Duration) -> Self {
        let end = monotonic_ns() + patience(limit).as_nanos() as u64;
        DEADLINE_NS.store(end, Ordering::Relaxed);
        Self {
            started: Instant::now(),
            limit,
        }
    }

    /// The same, unless a round is already timed.
    pub(crate) fn start_unless_running(limit: Duration) -> Option<Self> {
        (DEADLINE_NS.load(Ordering::Relaxed) == 0).then(|| Self::start(limit))
    }

    /// Ends the time of a round; returns what is wrong with it if it took longer than its limit.
    pub(crate) fn end(self) -> Option<String> {
        lateness(self.started.elapsed(), self.limit)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        DEADLINE_NS.store(0, Ordering::Relaxed);
    }
}

fn lateness(took: Duration, limit: Duration) -> Option<String> {
    let (took_ms, limit_ms) = (took.as_millis(), limit.as_millis());
    (took > limit).then(|| format!("it took {took_ms} ms, and the limit is {limit_ms} ms"))
}

/// Unwinds without a panic message. If the guard had a reason to kill the other processes, that is the reason.
pub(crate) fn stop(why: &'static str) -> ! {
    let why = reason_to_stop().unwrap_or(why);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_round_beyond_its_limit_is_late() {
        let limit = Duration::from_millis(20);
        assert_eq!(lateness(limit, limit), None);
        let late = lateness(limit * 2, limit);
        assert_eq!(
            late.as_deref(),
            Some("it took 40 ms, and the limit is 20 ms")
        );
    }
}
