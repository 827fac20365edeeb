//! Workers that are removed, or leave, and then come again.

use std::thread;
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon, take};
use myelon::{
    Deadline, MappedFile, MultiProcessError, RunnerMyelonTransportConfig, Scheduler, SharedMemory,
    TransportError, TransportResult, Worker,
};

fn ring_error(removed: TransportResult<()>) -> MultiProcessError {
    match removed {
        Err(TransportError::Ring(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A worker that is expected or away can be removed, and one that is attached cannot. For a worker that is none
/// of these the error is `NoSuchConsumer`.
#[test]
fn removing_says_whether_there_was_one_to_remove() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.remove_worker(1)?; // it has not come, and never will
    for _ in 0..2 {
        assert!(matches!(
            ring_error(scheduler.remove_worker(1)),
            MultiProcessError::NoSuchConsumer { id, .. } if id == "worker_1"
        ));
    }
    let worker = Worker::<Frame>::start(&config, 0)?;
    assert!(matches!(
        ring_error(scheduler.remove_worker(0)),
        MultiProcessError::ConsumerAlreadyAttached { id, .. } if id == "worker_0"
    ));
    drop(worker);
    scheduler.remove_worker(0)?;
    assert!(matches!(
        ring_error(scheduler.remove_worker(0)),
        MultiProcessError::NoSuchConsumer { .. }
    ));
    let missing = scheduler.missing_workers();
    let missing: Vec<_> = missing.iter().map(|it| (it.rank, it.is_away)).collect();
    assert_eq!(missing, [(0, false), (1, false)]);
    for _ in 0..2 * config.transport.rpc_depth {
        scheduler.broadcast(
            b"nobody holds the ring",
            1,
            Deadline::after(core::time::Duration::ZERO),
        )?;
    }
    // a worker that has left gives the same error
    Worker::<Frame>::start(&config, 0)?.leave()?;
    assert!(matches!(
        ring_error(scheduler.remove_worker(0)),
        MultiProcessError::NoSuchConsumer { .. }
    ));
    scheduler.close()?;
    Ok(())
}

/// How a worker has gone.
#[derive(Clone, Copy, Debug)]
enum Gone {
    DiedAndRemoved,
    Left,
    NeverCameAndRemoved,
}

fn send_all<B>(
    scheduler: &mut Scheduler<Frame, Frame, B>,
    numbers: core::ops::Range<u8>,
) -> TransportResult<()> {
    for number in numbers {
        scheduler.broadcast(&[number], 1, soon())?;
    }
    Ok(())
}

/// Two workers have gone, and a third one comes in the meantime.
fn nothing_older_comes<B: Backing>(gone: Gone) -> Result {
    let (root, config) = (tempfile::tempdir()?, session(3));
    let root = root.path();
    let mut scheduler = B::scheduler(&config, root)?;
    let mut workers = Vec::new();
    if !matches!(gone, Gone::NeverCameAndRemoved) {
        workers = vec![B::worker(&config, root, 0)?, B::worker(&config, root, 1)?];
    }
    send_all(&mut scheduler, 0..3)?;
    for (rank, worker) in workers.iter_mut().enumerate() {
        assert_eq!(take(worker)?, [0], "{rank}");
    }
    match gone {
        Gone::Left => workers.into_iter().try_for_each(Worker::leave)?,
        Gone::DiedAndRemoved | Gone::NeverCameAndRemoved => {
            drop(workers);
            scheduler.remove_worker(0)?;
            scheduler.remove_worker(1)?;
        }
    }
    send_all(&mut scheduler, 3..6)?;
    let mut third = B::worker(&config, root, 2)?;
    assert_eq!(take(&mut third)?, [0], "it was expected all the time");
    assert!(!third.starts_anew());
    for rank in [1, 0] {
        let mut worker = B::worker(&config, root, rank)?;
        assert!(worker.starts_anew(), "{gone:?}, worker {rank}");
        send_all(&mut scheduler, 6..9)?;
        for number in 6..9 {
            assert_eq!(take(&mut worker)?, [number], "{gone:?}, worker {rank}");
        }
        worker.leave()?;
    }
    third.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_worker_that_was_gone_starts_with_what_is_sent_after_it_came_in_shared_memory() -> Result {
    for gone in [Gone::DiedAndRemoved, Gone::Left, Gone::NeverCameAndRemoved] {
        nothing_older_comes::<SharedMemory>(gone)?;
    }
    Ok(())
}

#[test]
fn a_worker_that_was_gone_starts_with_what_is_sent_after_it_came_in_files() -> Result {
    for gone in [Gone::DiedAndRemoved, Gone::Left, Gone::NeverCameAndRemoved] {
        nothing_older_comes::<MappedFile>(gone)?;
    }
    Ok(())
}

/// Whenever the worker comes, it receives every message that is sent after the scheduler sees it, and none that
/// was sent before the worker started.
fn comes_while_requests_are_sent(config: &RunnerMyelonTransportConfig) -> Result {
    let mut scheduler = Scheduler::<Frame>::start(config)?;
    drop(Worker::<Frame>::start(config, 0)?);
    scheduler.remove_worker(0)?;
    let mut number = 0_u32;
    let mut send = |scheduler: &mut Scheduler<Frame>| -> TransportResult<u32> {
        number += 1;
        scheduler.broadcast(&number.to_ne_bytes(), 1, soon())?;
        Ok(number)
    };
    for _ in 0..40 {
        send(&mut scheduler)?;
    }
    let before = send(&mut scheduler)?;
    let worker = thread::spawn({
        let config = config.clone();
        move || -> Result<u32> {
            let mut worker = Worker::<Frame>::start(&config, 0)?;
            let first = u32::from_ne_bytes((*take(&mut worker)?).try_into()?);
            worker.leave()?;
            Ok(first)
        }
    });
    while !scheduler.missing_workers().is_empty() && !worker.is_finished() {
        send(&mut scheduler)?;
    }
    let seen = send(&mut scheduler)?;
    let first = worker.join().expect("no panic")?;
    assert!(
        before < first && first <= seen,
        "{first} of {before}..={seen}"
    );
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_worker_that_comes_again_misses_nothing_that_is_sent_once_it_is_there() -> Result {
    for _ in 0..30 {
        comes_while_requests_are_sent(&session(1))?;
    }
    Ok(())
}

/// The successor of a scheduler expects all workers: messages that it sends are kept also for workers that its
/// predecessor removed.
#[test]
fn a_scheduler_that_succeeds_expects_removed_workers_again() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut stays = Worker::<Frame>::start(&config, 0)?;
    drop(Worker::<Frame>::start(&config, 1)?);
    scheduler.remove_worker(1)?;
    let panics = thread::spawn(move || -> () {
        let _scheduler = scheduler;
        panic!("dropped by a panic, it leaves the session as a death would");
    });
    panics.join().expect_err("a panic");

    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    send_all(&mut scheduler, 1..17)?;
    for number in 1..17 {
        assert_eq!(take(&mut stays)?, [number]);
    }
    let mut again = Worker::<Frame>::start(&config, 1)?;
    for number in 1..17 {
        assert_eq!(take(&mut again)?, [number]);
    }
    again.leave()?;
    stays.leave()?;
    scheduler.close()?;
    Ok(())
}

/// Every worker is required from the start: a scheduler that is opened first loses nothing before one comes, and each
/// deadline that passes names the worker that is missing. One that was removed at once is not waited for.
#[test]
fn a_scheduler_that_starts_first_loses_nothing_and_names_the_worker_that_is_missing() -> Result {
    const RING: usize = 16;
    let within = |milliseconds| Deadline::after(Duration::from_millis(milliseconds));
    let config = session(3);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.remove_worker(2)?; // not required
    for number in 0..RING as u8 {
        scheduler.broadcast(&[number], 1, soon())?;
    }
    let mut first = Worker::<Frame>::start(&config, 0)?;
    for number in 0..RING as u8 {
        assert_eq!(take(&mut first)?, [number]);
    }
    let full = scheduler.broadcast(b"one too many", 1, within(20));
    let full = full.expect_err("worker 1 holds the ring").to_string();
    assert!(
        full.contains("worker_1") && !full.contains("worker_0") && !full.contains("worker_2"),
        "{full}"
    );
    let missing: Vec<_> = scheduler
        .missing_workers()
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(missing, ["worker_1", "worker_2"]);
    for number in 0..RING as u8 {
        scheduler.send_to(1, &[100 + number], 1, soon())?;
    }
    let full = scheduler.send_to(1, b"one too many", 1, within(20));
    let full = full.expect_err("worker 1 holds its ring").to_string();
    assert!(full.contains("worker_1"), "{full}");
    let mut second = Worker::<Frame>::start(&config, 1)?;
    for number in (0..RING as u8).chain(100..100 + RING as u8) {
        assert_eq!(take(&mut second)?, [number]);
    }
    drop(second);
    let unanswered = scheduler.call(1, b"", 1, within(20)).map(drop);
    let unanswered = unanswered.expect_err("it is away").to_string();
    assert!(unanswered.contains("worker 1"), "{unanswered}");
    let gathered = scheduler.gather(b"", 1, within(20), |_, _| {})?;
    assert_eq!(gathered.missing, [0, 1, 2], "none has answered");
    first.leave()?;
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}
