//! Ways out: a member gets out of its session whenever it is told to, whatever the others do, and soon.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::shared::{Backing, Frame, Result, session, soon, take, wait_until};
use myelon::{
    CancelToken, Deadline, RunnerMyelonTransportConfig, Scheduler, SharedMemory, ShutdownReport,
    TransportError, TransportResult, Worker,
};

/// Of five runs, the time that is in the middle: a run may be slow because the machine is busy.
fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(run()?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// What tells a worker to get out that waits for space, because nobody reads its answers.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Its token is cancelled, while the scheduler lives.
    Cancel,
    /// The scheduler closes the session.
    Close,
    /// Its token is cancelled, after the scheduler has died.
    CancelAfterADeath,
}

fn nothing_is_left(config: &RunnerMyelonTransportConfig) {
    assert_eq!(SharedMemory::rings(config, Path::new("")), [""; 0]);
}

/// Takes out what is kept in a session whose scheduler has died.
fn clear(config: &RunnerMyelonTransportConfig) -> Result {
    let mut scheduler = Scheduler::<Frame>::start(config)?;
    for rank in 0..config.workers {
        // it has left, if this fails
        let _ = scheduler.remove_worker(rank);
    }
    scheduler.close()?;
    Ok(())
}

/// How long it takes from the order until the worker has left.
fn leaves_after(order: Order) -> Result<Duration> {
    let config = session(1);
    let token = CancelToken::new();
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config.clone().with_cancel_token(&token), 0)?;
    let sent = Arc::new(AtomicU32::new(0));
    let working = thread::spawn({
        let sent = Arc::clone(&sent);
        move || -> TransportResult<Instant> {
            while worker.respond(b"unread", 1, Deadline::NEVER).is_ok() {
                sent.fetch_add(1, Ordering::SeqCst);
            }
            worker.leave()?;
            Ok(Instant::now())
        }
    });
    let depth = config.transport.response_depth as u32;
    wait_until("the ring is full", || sent.load(Ordering::SeqCst) == depth);
    thread::sleep(Duration::from_millis(20));
    let mut alive = Some(scheduler);
    if let Order::CancelAfterADeath = order {
        let scheduler = alive.take();
        let dies = thread::spawn(move || {
            let _scheduler = scheduler;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(dies.join().is_err());
    }
    assert!(!working.is_finished(), "{order:?}: it waits");
    let ordered = Instant::now();
    match order {
        Order::Cancel | Order::CancelAfterADeath => token.cancel(),
        Order::Close => drop(alive.take().map(Scheduler::close).transpose()?),
    }
    let left = working.join().expect("no panic")?;
    match alive {
        Some(scheduler) => drop(scheduler.close()?),
        None => clear(&config)?,
    }
    nothing_is_left(&config);
    Ok(left - ordered)
}

/// From the order to get out until a worker has left, though its answers are unread and its ring is full of them.
#[test]
fn a_worker_that_waits_for_space_leaves_within_a_second() -> Result {
    for order in [Order::Cancel, Order::Close, Order::CancelAfterADeath] {
        let time = median(|| leaves_after(order))?;
        assert!(time < Duration::from_secs(1), "{order:?}: {time:?}");
    }
    Ok(())
}

/// From the start of a shutdown, whose scheduler hangs with the first of five answers, until the worker has left.
#[test]
fn a_worker_of_a_session_that_shuts_down_leaves_within_a_second() -> Result {
    let time = median(|| {
        let config = session(1);
        let scheduler = Scheduler::<Frame>::start(&config)?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        for _ in 0..5 {
            worker.respond(b"unread", 1, soon())?;
        }
        let working = thread::spawn(move || -> TransportResult<Instant> {
            let told = worker.recv(Deadline::NEVER).map(drop);
            assert!(
                matches!(told, Err(TransportError::SessionClosing { .. })),
                "{told:?}"
            );
            worker.leave()?;
            Ok(Instant::now())
        });
        // it sleeps by then
        thread::sleep(Duration::from_millis(20));
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let ordered = Instant::now();
        let shutting =
            thread::spawn(move || scheduler.shutdown(soon(), |_, _| _ = may_go_on.recv()));
        let left = working.join().expect("no panic")?;
        drop(go_on);
        shutting.join().expect("no panic")?;
        nothing_is_left(&config);
        Ok(left - ordered)
    })?;
    assert!(time < Duration::from_secs(1), "{time:?}");
    Ok(())
}

#[cfg(feature = "tokio")]
#[test]
fn a_worker_whose_task_waits_for_space_leaves_within_a_second() -> Result {
    use crate::tasks::run;
    use myelon::AsyncWorker;

    let time = median(|| {
        let config = session(1);
        let scheduler = Scheduler::<Frame>::start(&config)?;
        let mut time = None;
        run(async {
            let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
            for _ in 0..config.transport.response_depth {
                worker.respond("unread", 1).await?;
            }
            let waits = worker.respond("no space", 1);
            let limit = Duration::from_millis(20);
            assert!(tokio::time::timeout(limit, waits).await.is_err());
            let ordered = Instant::now();
            worker.leave().await?;
            time = Some(ordered.elapsed());
            Ok(())
        })?;
        scheduler.close()?;
        nothing_is_left(&config);
        Ok(time.expect("it has left"))
    })?;
    assert!(time < Duration::from_secs(1), "{time:?}");
    Ok(())
}

/// Requests that are kept for workers are taken, so that no ring is left.
fn take_what_is_left(config: &RunnerMyelonTransportConfig, ranks: &[usize]) -> Result {
    for rank in ranks {
        let mut worker = Worker::<Frame>::start(config, *rank)?;
        while take(&mut worker).is_ok() {}
        worker.leave()?;
    }
    nothing_is_left(config);
    Ok(())
}

/// A scheduler that waits for worker 1, which does not come, and whose session was cancelled: it receives the answer of
/// worker 0 all the same. Its own token ends it, with the report.
#[test]
fn a_token_of_its_own_ends_a_shutdown_with_its_report() -> Result {
    let cancelled = CancelToken::new();
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config.clone().with_cancel_token(&cancelled))?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    for _ in 0..2 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    cancelled.cancel();
    let token = CancelToken::new();
    let (told, answers) = mpsc::channel();
    let shutting = thread::spawn({
        let token = token.clone();
        move || {
            scheduler.shutdown_unless(Deadline::NEVER, &token, |_, answer| {
                told.send(answer.to_vec()).expect("the test hears");
            })
        }
    });
    worker.serve(soon(), |_, _| b"an answer")?;
    assert_eq!(answers.recv_timeout(Duration::from_secs(20))?, b"an answer");
    thread::sleep(Duration::from_millis(20));
    assert!(!shutting.is_finished(), "it waits");
    token.cancel();
    wait_until("it has ended", || shutting.is_finished());
    check_report(&shutting.join().expect("no panic")?, 0);
    drop(worker);
    take_what_is_left(&config, &[0, 1])
}

fn check_report(report: &ShutdownReport, unread: usize) {
    assert_eq!((&*report.unanswered, report.unread[1]), (&[1, 2][..], 0));
    assert_eq!(report.unread[0], unread);
    assert_eq!(report.kept_for, ["worker_0", "worker_1"]);
}

/// One that was cancelled before ends it as a deadline does that has passed.
#[test]
fn a_shutdown_whose_token_was_cancelled_before_reports_what_is_left() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    for _ in 0..2 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    worker.serve(soon(), |_, _| b"an answer")?;
    let token = CancelToken::new();
    token.cancel();
    let mut received = 0;
    let report = scheduler.shutdown_unless(Deadline::NEVER, &token, |_, _| received += 1)?;
    check_report(&report, 1 - received);
    drop(worker);
    take_what_is_left(&config, &[0, 1])
}

/// The same for tasks, whose calls end with the shutdown.
#[cfg(feature = "tokio")]
#[test]
fn a_token_ends_the_shutdown_of_a_scheduler_for_tasks() -> Result {
    use crate::tasks::{run, scheduler};

    for is_cancelled_before in [false, true] {
        let config = session(1);
        run(async {
            let scheduler = scheduler(&config)?;
            let mut call = scheduler.call_streaming(0, "never", 1);
            let token = CancelToken::new();
            let cancels = async {
                if !is_cancelled_before {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                token.cancel();
            };
            let shutting = scheduler.shutdown_unless(Deadline::NEVER, &token);
            let report = match is_cancelled_before {
                true => {
                    cancels.await;
                    shutting.await?
                }
                false => tokio::join!(shutting, cancels).0?,
            };
            assert_eq!((report.unanswered, report.unread), (vec![1], vec![0]));
            assert!(call.next().await.is_none());
            Ok(())
        })?;
        take_what_is_left(&config, &[0])?;
    }
    Ok(())
}
