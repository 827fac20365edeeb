//! A thread with a real-time priority and a normal thread on one core, which both use the same ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::DisruptorBuilder;
use myelon_tests::Record;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::Answer;
use crate::options::Words;

/// The last core that this process may use.
fn one_core() -> nix::Result<CpuSet> {
    let usable = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count())
        .rev()
        .find(|core| usable.is_set(*core) == Ok(true));
    let mut core = CpuSet::new();
    core.set(last.ok_or(Errno::ENODEV)?)?;
    Ok(core)
}

/// Makes the calling thread run before every normal thread of its core. Its children are normal.
fn become_urgent() -> nix::Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call concerns the calling thread, and the parameters live until it returns.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) }).map(drop)
}

/// Gives the calling thread the default priority, where the tests run with a lower one. Otherwise the test
/// would measure waits for unrelated programs.
fn become_normal() {
    // SAFETY: the call concerns the calling thread. A failure leaves the thread's priority as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
}

/// `fifo normal=attach urgent=fork ms=500`: a normal thread attaches and detaches, or forks, all the time. A
/// real-time thread on the same core repeatedly interrupts it and does one or the other, too. Reports the
/// longest time that this took.
pub(crate) fn run<B>(
    builder: &(dyn Fn(usize) -> DisruptorBuilder<Record, B> + Sync),
    words: &Words<'_>,
) -> Answer {
    let core = one_core()?;
    let end = Instant::now() + Duration::from_millis(words.number("ms") as u64);
    let (normal_forks, urgent_forks) = (
        words.word("normal") == "fork",
        words.word("urgent") == "fork",
    );
    let is_over = AtomicBool::new(false);
    let act = |forks: bool| match forks {
        true => fork_once(),
        false => drop(builder(8).build_consumer().expect("a free line")),
    };
    let outcome = thread::scope(|scope| {
        let normal = scope.spawn(|| {
            sched_setaffinity(Pid::from_raw(0), &core)?;
            become_normal();
            let mut acts = 0;
            while !is_over.load(Ordering::Relaxed) {
                act(normal_forks);
                acts += 1;
            }
            Ok(acts)
        });
        let urgent = scope.spawn(|| {
            sched_setaffinity(Pid::from_raw(0), &core)?;
            become_urgent()?;
            let (mut rounds, mut longest) = (0, Duration::ZERO);
            while Instant::now() < end {
                // interrupts the normal thread at a different moment each time
                thread::sleep(Duration::from_micros(50 + rounds * 7 % 300));
                let begun = Instant::now();
                act(urgent_forks);
                longest = longest.max(begun.elapsed());
                rounds += 1;
            }
            Ok((rounds, longest))
        });
        let urgent: nix::Result<_> = urgent.join().expect("the urgent thread");
        is_over.store(true, Ordering::Relaxed);
        let normal: nix::Result<u64> = normal.join().expect("the normal thread");
        Ok::<_, Errno>((urgent?, normal?))
    });
    let ((rounds, longest), normal) = outcome?;
    Ok(format!(
        "rounds={rounds} normal={normal} longest_us={}",
        longest.as_micros()
    ))
}

fn fork_once() {
    // SAFETY: the child ends at once.
    match unsafe { fork() }.expect("a child") {
        // SAFETY: the call ends the child without running code of the parent.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => drop(waitpid(child, None)),
    }
}
