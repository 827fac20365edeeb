//! Members that have nothing to do.

use std::time::{Duration, Instant};

use crate::shared::{Frame, Result, session, soon};
use myelon::{Deadline, Scheduler, Worker};
use nix::sys::resource::{UsageWho, getrusage};

/// How often this thread has gone to sleep.
fn sleeps() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD)?.voluntary_context_switches())
}

/// How often a call that waits in vain for a second goes to sleep, in liveness intervals: at most once in each, and a
/// few times before.
fn assert_wakes_up_rarely(what: &str, interval: Duration, wait: impl FnOnce(Deadline)) -> Result {
    let (before, started) = (sleeps()?, Instant::now());
    wait(Deadline::after(Duration::from_secs(1)));
    let intervals = started.elapsed().as_nanos() / interval.as_nanos();
    let slept = sleeps()? - before;
    assert!(
        slept <= intervals as i64 + 4,
        "{what}: {slept} sleeps in {intervals} intervals"
    );
    Ok(())
}

#[test]
fn an_idle_member_wakes_up_once_in_a_liveness_interval() -> Result {
    let interval = Duration::from_millis(50);
    let mut config = session(1);
    config.transport.liveness_interval = interval;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    // first without a ring of its own for which it checks, then with one
    for is_addressed in [false, true] {
        match is_addressed {
            false => scheduler.broadcast(b"", 1, soon())?,
            true => scheduler.send_to(0, b"", 1, soon())?,
        };
        worker.serve(soon(), |_, _| b"done")?;
        scheduler.recv_any(soon())?.1.release();
        assert_wakes_up_rarely("the worker", interval, |deadline| {
            assert!(worker.recv(deadline).is_err());
        })?;
        assert_wakes_up_rarely("the scheduler", interval, |deadline| {
            assert!(scheduler.recv_any(deadline).is_err());
        })?;
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}
