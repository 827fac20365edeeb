//! Cancel tokens in a signal handler and in forked children.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, CancelToken, Deadline, DisruptorBuilder, HeapRing, MultiProcessError,
    RecvError,
};
use myelon_tests::Record;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::Answer;
use crate::options::Words;

/// A token with which handles are created and dropped all the time.
static BUSY: AtomicPtr<CancelToken> = AtomicPtr::new(std::ptr::null_mut());
/// The token of the current wait. Each wait has a token of its own, because a token stays cancelled.
static CURRENT: AtomicPtr<CancelToken> = AtomicPtr::new(std::ptr::null_mut());
static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn cancel_both(_signal: libc::c_int) {
    for token in [&BUSY, &CURRENT] {
        // SAFETY: the pointer is null or to a token that was leaked, which lives as long as the process.
        if let Some(token) = unsafe { token.load(Ordering::Acquire).as_ref() } {
            token.cancel();
        }
    }
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

fn leak() -> *mut CancelToken {
    Box::into_raw(Box::new(CancelToken::new()))
}

/// `cancel-by-signal rounds=1000 us=300`: a timer's handler cancels tokens while this thread and another one
/// attach and detach, and while this one waits. Each wait must end by its own token.
pub(crate) fn by_signal<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    let us = words.number("us");
    // SAFETY: the token was leaked, so it is alive.
    let busy = unsafe { &*leak() };
    BUSY.store(std::ptr::from_ref(busy).cast_mut(), Ordering::Release);
    let attach = |token: &CancelToken, strategy| {
        let builder = builder(8).with_wait_strategy(strategy);
        builder.with_cancel_token(token).build_consumer()
    };
    let heap = HeapRing::<u64>::new(8)?;
    let is_over = AtomicBool::new(false);
    let (mut lost, mut attached) = (0, 0_u64);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut attached = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                come_and_go(&heap, busy);
                attached += 1;
            }
            attached
        });
        let action = SigAction::new(
            SigHandler::Handler(cancel_both),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler makes only calls that are allowed in one: atomics and `cancel`.
        unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler");
        set_timer(us);
        let rounds = 0..words.number("rounds");
        let outcome = rounds.into_iter().try_for_each(|round| {
            drop(attach(busy, AutoWaitStrategy::Block)?);
            let token = leak();
            // SAFETY: the token was leaked, so it is alive.
            let mut rx = attach(
                unsafe { &*token },
                match round % 2 {
                    0 => AutoWaitStrategy::Block,
                    _ => AutoWaitStrategy::SpinThenYield { spins: 10 },
                },
            )?;
            CURRENT.store(token, Ordering::Release);
            match rx.recv(Deadline::after(Duration::from_secs(30))).err() {
                Some(RecvError::Cancelled) => {}
                other => {
                    eprintln!("round {round}: {other:?}");
                    lost += 1;
                }
            }
            attached += 2;
            Ok::<(), MultiProcessError>(())
        });
        set_timer(0);
        is_over.store(true, Ordering::Relaxed);
        attached += other.join().expect("the other thread");
        outcome
    })?;
    let signals = SIGNALS.load(Ordering::Relaxed);
    Ok(format!("signals={signals} attached={attached} lost={lost}"))
}

/// Attaches a consumer with this token, and drops it.
fn come_and_go(ring: &HeapRing<u64>, token: &CancelToken) {
    let rx = ring.builder().with_cancel_token(token).build_consumer();
    drop(rx.expect("a line is free"));
}

/// Sets a timer with a period of `us` microseconds; 0 stops it.
pub(crate) fn set_timer(us: i64) {
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: us as libc::suseconds_t,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the timer lives until the call returns, and the old timer is not requested.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(set, 0, "a timer");
}

/// `fork-cancel rounds=100`: threads attach, detach and cancel while children are forked, which cancel, too.
pub(crate) fn in_children<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    let token = CancelToken::new();
    let mut kept = Some(builder(8).with_cancel_token(&token).build_consumer()?);
    let heap = HeapRing::<u64>::new(8)?;
    let is_over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                come_and_go(&heap, &token);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                token.cancel();
            }
        });
        let mut ended = 0;
        for _ in 0..words.number("rounds") {
            // SAFETY: the child uses only the token and one handle, and ends without running code of the parent.
            match unsafe { fork() }.expect("a child") {
                ForkResult::Child => {
                    nix::unistd::alarm::set(20);
                    token.cancel();
                    drop(kept.take());
                    token.cancel();
                    // SAFETY: the call ends the child.
                    unsafe { libc::_exit(0) }
                }
                ForkResult::Parent { child } => ended += i64::from(exits_well(child)),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        ended
    });
    drop(kept);
    Ok(format!("ended={ended}"))
}

fn exits_well(child: Pid) -> bool {
    let status = waitpid(child, None).expect("a child");
    matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0))
}
