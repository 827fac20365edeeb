//! How a scheduler shuts its session down: what its workers are told, and what is left. The workers are processes.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Backing, Frame, Result, soon, take, wait_until};
use myelon::transport::{FramedTransportConsumer, FramedTransportProducer};
use myelon::{
    Deadline, MyelonWaitStrategy, RecvError, RunnerMyelonTransportConfig, Scheduler, SharedMemory,
    ShutdownReport, TransportError, TransportResult, Worker, portable_shm_segment_name,
};

fn config(label: &str) -> RunnerMyelonTransportConfig {
    RunnerMyelonTransportConfig::new(label, 2)
}

/// Does nothing unless this process was started as a member: worker 0.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((role, label)) = role() else {
        return Ok(());
    };
    let mut worker = Worker::<Frame>::start(&config(&label), 0)?;
    exit_when_the_test_ends();
    for _ in 0..5 {
        worker.respond(b"unread", 1, soon())?;
    }
    // said after the answers: a shutdown that finds nothing to wait for closes the session before them
    say("started");
    loop {
        match worker.serve(Deadline::NEVER, |_, request| request.to_vec()) {
            Ok(_) => say("served"),
            Err(TransportError::SessionClosing { .. }) => {
                say("closing");
                if role == "leaves" {
                    break;
                }
                worker.respond(b"farewell", 1, soon())?;
            }
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    worker.leave()?;
    say("left");
    Ok(())
}

/// A shutdown in another thread, which hands its answers to the test.
fn shut_down(
    scheduler: Scheduler<Frame>,
    patience: Duration,
) -> (
    mpsc::Receiver<Vec<u8>>,
    thread::JoinHandle<Result<ShutdownReport>>,
) {
    let (told, answers) = mpsc::channel();
    let shutting = thread::spawn(move || {
        let deadline = Deadline::after(patience);
        Ok(scheduler.shutdown(deadline, |_, answer| _ = told.send(answer.to_vec()))?)
    });
    (answers, shutting)
}

/// Worker 1 holds the shutdown up; meanwhile worker 0 is told once, its answers are still received, and it gets the
/// end behind that.
#[test]
fn a_worker_is_told_once_that_the_session_closes() -> Result {
    let label = portable_shm_segment_name("closing");
    let mut scheduler = Scheduler::<Frame>::start(&config(&label))?;
    let mut other = Worker::<Frame>::start(&config(&label), 1)?;
    let mut member = Member::start(module_path!(), "stays", &label)?;
    assert_eq!(member.answer(), "started");
    scheduler.broadcast(b"both", 1, soon())?;
    scheduler.send_to(0, b"alone", 1, soon())?;
    let (answers, shutting) = shut_down(scheduler, Duration::from_secs(20));
    for expected in ["served", "served", "closing"] {
        assert_eq!(member.answer(), expected);
    }
    let mut expected = vec!["unread"; 5];
    expected.extend(["both", "alone", "farewell"]);
    for expected in expected {
        assert_eq!(
            answers.recv_timeout(Duration::from_secs(10))?,
            expected.as_bytes()
        );
    }
    // longer than it waits before it reads the note again
    thread::sleep(Duration::from_millis(500));
    assert!(member.answers.try_recv().is_err(), "told again");
    assert_eq!(take(&mut other)?, b"both");
    let report = shutting.join().expect("no panic")?;
    assert_eq!((report.unanswered, report.unread), (vec![0, 0], vec![0, 0]));
    assert_eq!(member.answer(), "left");
    other.leave()?;
    assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
    Ok(())
}

/// The scheduler hangs in the handler of the first answer, so the others are unread.
#[test]
fn a_worker_leaves_at_once_though_its_answers_are_unread() -> Result {
    let label = portable_shm_segment_name("closing");
    let scheduler = Scheduler::<Frame>::start(&config(&label))?;
    let mut member = Member::start(module_path!(), "leaves", &label)?;
    assert_eq!(member.answer(), "started");
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let shutting = thread::spawn(move || -> Result<_> {
        let mut count = 0;
        let report = scheduler.shutdown(soon(), |_, _| {
            count += 1;
            if count == 1 {
                may_go_on.recv().expect("the test goes on");
            }
        })?;
        Ok((count, report))
    });
    assert_eq!(member.answer(), "closing");
    assert_eq!(member.answer(), "left");
    wait_until("it has ended", || {
        member.process.try_wait().is_ok_and(|it| it.is_some())
    });
    go_on.send(())?;
    let (count, report) = shutting.join().expect("no panic")?;
    assert_eq!((count, report.unread), (5, vec![0, 0]), "they were kept");
    assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
    Ok(())
}

#[test]
fn the_report_counts_what_was_left() -> Result {
    let label = portable_shm_segment_name("closing");
    let mut scheduler = Scheduler::<Frame>::start(&config(&label))?;
    let mut slow = Worker::<Frame>::start(&config(&label), 1)?;
    let mut member = Member::start(module_path!(), "stays", &label)?;
    assert_eq!(member.answer(), "started");
    for _ in 0..3 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    for _ in 0..3 {
        assert_eq!(member.answer(), "served");
    }
    slow.serve(soon(), |_, _| b"one")?;
    let mut received = 0;
    let report = scheduler.shutdown(Deadline::after(Duration::ZERO), |_, _| received += 1)?;
    assert_eq!(report.unanswered, [0, 2]);
    assert_eq!(
        report.unread.iter().sum::<usize>() + received,
        5 + 3 + 1,
        "{report:?}"
    );
    assert!(
        report.unread.iter().sum::<usize>() > 0 && report.kept_for == ["worker_1"],
        "{report:?}"
    );
    assert_eq!(member.answer(), "left");
    for _ in 0..2 {
        take(&mut slow)?;
    }
    slow.leave()?;
    assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
    Ok(())
}

/// A worker has come, answered and gone since the scheduler last checked for workers.
#[test]
fn the_report_counts_late_answers() -> Result {
    for _ in 0..5 {
        let label = portable_shm_segment_name("closing");
        let mut scheduler = Scheduler::<Frame>::start(&config(&label))?;
        scheduler.broadcast(b"", 1, soon())?;
        let at_once = Deadline::after(Duration::ZERO);
        // its next check for workers is in ten milliseconds
        assert!(scheduler.recv_any(at_once).is_err());
        let mut worker = Worker::<Frame>::start(&config(&label), 0)?;
        worker.serve(soon(), |_, _| b"late")?;
        drop(worker);
        let mut received = 0;
        let report = scheduler.shutdown(at_once, |_, _| received += 1)?;
        assert_eq!((report.unread[0] + received, report.unread[1]), (1, 0));
        assert_eq!(report.unanswered, [0, 1]);
        for rank in [0, 1] {
            let mut worker = Worker::<Frame>::start(&config(&label), rank)?;
            while take(&mut worker).is_ok() {}
            worker.leave()?;
        }
        assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
    }
    Ok(())
}

/// A worker that receives no more has not passed over the notice of another worker's ring. That is no request.
#[test]
fn no_ring_is_kept_for_a_worker_that_is_there_and_has_nothing_to_do() -> Result {
    for dies in [false, true] {
        let label = portable_shm_segment_name("closing");
        let mut scheduler = Scheduler::<Frame>::start(&config(&label))?;
        let mut busy = Worker::<Frame>::start(&config(&label), 0)?;
        let mut idle = Some(Worker::<Frame>::start(&config(&label), 1)?);
        scheduler.send_to(0, b"", 1, soon())?;
        busy.serve(soon(), |_, _| b"")?;
        if dies {
            idle = None;
        }
        let report = scheduler.shutdown(soon(), |_, _| ())?;
        assert_eq!(report.unanswered, [0, 0]);
        let kept_for = if dies { &["worker_1"][..] } else { &[] };
        assert_eq!(report.kept_for, kept_for);
        busy.leave()?;
        let idle = idle.map_or_else(|| Worker::start(&config(&label), 1), Ok);
        idle?.leave()?;
        assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
    }
    Ok(())
}

/// Drops it in a panic, which leaves rings and places as a death does.
fn dies_with<T: Send + 'static>(left: T) {
    let dying = thread::spawn(move || {
        let _left = left;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dying.join().is_err());
}

/// The worker's next request, or the end; the deaths of schedulers are left out.
fn next(worker: &mut Worker<Frame>, deadline: Deadline) -> TransportResult<Vec<u8>> {
    loop {
        match worker.recv(deadline) {
            Ok(request) => {
                let bytes = request.to_vec();
                request.done();
                return Ok(bytes);
            }
            Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A scheduler that dies while it shuts its session down leaves its note: no news from the dead, and none from its
/// successor, which finds the note in the place that it takes over, and notes its own a moment later.
#[test]
fn the_note_of_a_dead_scheduler_ends_no_session() -> Result {
    let label = portable_shm_segment_name("closing");
    let config = config(&label);
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.respond(b"an answer", 1, soon())?;
    let shutting = thread::spawn(move || {
        let ended = scheduler.shutdown(soon(), |_, _| std::panic::resume_unwind(Box::new(())));
        ended.map(drop)
    });
    assert!(shutting.join().is_err());
    let hears_nothing = |worker: &mut Worker<Frame>| {
        // longer than it waits before it reads the note again
        let heard = next(worker, Deadline::after(Duration::from_millis(500)));
        assert!(
            matches!(heard, Err(TransportError::Recv(RecvError::Timeout))),
            "{heard:?}"
        );
    };
    hears_nothing(&mut worker);
    // a successor that dies before it has noted anything
    let layout = config.layout()?;
    let (requests, answers) = (layout.rpc_ring_name(), layout.response_ring_name(0));
    let depth = config.transport.rpc_depth;
    let common = FramedTransportProducer::<Frame>::create(&requests, depth)?;
    let place = FramedTransportConsumer::<Frame>::attach_with_consumer_id(
        &answers,
        config.transport.response_depth,
        "scheduler",
        MyelonWaitStrategy::default(),
    )?;
    hears_nothing(&mut worker);
    dies_with((common, place));
    // one that shuts the session down, too, once worker 1 has done its request
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.broadcast(b"the last", 1, soon())?;
    let shutting = thread::spawn(move || scheduler.shutdown(soon(), |_, _| ()).map(drop));
    assert_eq!(next(&mut worker, soon())?, b"the last");
    let ended = next(&mut worker, soon());
    assert!(
        matches!(ended, Err(TransportError::SessionClosing { .. })),
        "{ended:?}"
    );
    worker.leave()?;
    let mut other = Worker::<Frame>::start(&config, 1)?;
    assert_eq!(take(&mut other)?, b"the last");
    other.leave()?;
    shutting.join().expect("no panic")?;
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_are_told_as_well() -> Result {
    use myelon::{AsyncScheduler, AsyncWorker};

    let label = portable_shm_segment_name("closing");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    runtime.block_on(async {
        let scheduler = AsyncScheduler::new(Scheduler::<Frame>::start(&config(&label))?)?;
        // its request holds the shutdown up
        let mut slow = Worker::<Frame>::start(&config(&label), 0)?;
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config(&label), 1).await?;
        let answers = scheduler.gather_streaming(&b"ask"[..], 1);
        worker.recv().await?.finish(&b"done"[..], 1).await?;
        {
            // polled once, and dropped: no future hears what the thread is told meanwhile
            let waiting = std::pin::pin!(worker.recv());
            let limit = Duration::ZERO;
            assert!(tokio::time::timeout(limit, waiting).await.is_err());
        }
        let shutting = tokio::spawn(scheduler.shutdown(soon()));
        // longer than the thread waits before it reads the scheduler's note again
        tokio::time::sleep(Duration::from_millis(700)).await;
        let told = worker.recv().await.map(drop);
        assert!(
            matches!(told, Err(TransportError::SessionClosing { .. })),
            "{told:?}"
        );
        take(&mut slow)?;
        let report = shutting.await??;
        assert_eq!((report.unanswered, report.unread), (vec![0, 0], vec![0, 0]));
        let end = worker.recv().await.map(drop);
        assert!(
            matches!(end, Err(TransportError::Recv(RecvError::Closed))),
            "{end:?}"
        );
        drop(answers);
        worker.leave().await?;
        slow.leave()?;
        assert_eq!(SharedMemory::rings(&config(&label), Path::new("")), [""; 0]);
        Ok(())
    })
}
