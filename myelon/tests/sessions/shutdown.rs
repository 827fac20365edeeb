//! How a scheduler shuts its session down: what its workers are told, and what is left. The workers are processes.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Backing, Frame, Result, soon, take, wait_until};
use myelon::{
    Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, SharedMemory, ShutdownReport,
    TransportError, Worker, portable_shm_segment_name,
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
    say("started");
    for _ in 0..5 {
        worker.respond(b"unread", 1, soon())?;
    }
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
        let shutting = tokio::spawn(scheduler.shutdown(soon()));
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
