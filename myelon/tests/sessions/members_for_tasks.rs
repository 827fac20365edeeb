//! Members of sessions for tasks: one is killed, the threads of another one are counted, and gatherings end in time.
#![cfg(feature = "tokio")]

use std::future::pending;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Frame, Result, session, soon, take};
use crate::tasks::{echo, nothing_is_left, run, scheduler};
use myelon::{
    AsyncScheduler, AsyncWorker, Deadline, Gathered, Piece, RecvError, RequestId, RequestReceiver,
    ResponseSender, RunnerMyelonTransportConfig, Scheduler, SendError, TransportError, Worker,
    portable_shm_segment_name,
};

fn config(label: &str, workers: usize) -> RunnerMyelonTransportConfig {
    RunnerMyelonTransportConfig::new(label, workers)
}

/// Does nothing unless this process was started as a member.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((role, label)) = role() else {
        return Ok(());
    };
    exit_when_the_test_ends();
    match &*role {
        "calls" => run(call(&label)),
        "counts threads" => run(count_threads(&label)),
        other => panic!("no such role: {other}"),
    }
}

/// Calls the worker three times, and waits to be killed after the first piece.
async fn call(label: &str) -> Result {
    let scheduler = scheduler(&config(label, 1))?;
    let mut calls =
        ["first", "second", "third"].map(|message| scheduler.call_streaming(0, message, 1));
    let piece = calls[0].next().await.expect("a piece")?;
    assert_eq!(piece.bytes, b"read");
    // the thread answers this after it has released the piece
    scheduler.state().await;
    say("has read a piece");
    pending().await
}

/// The next request, which is answered in one piece.
fn answer(
    requests: &mut RequestReceiver<Frame>,
    responses: &mut ResponseSender<Frame>,
    bytes: &[u8],
) -> Result<RequestId> {
    let request = loop {
        match requests.recv(soon()) {
            // told once of each scheduler that dies
            Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {}
            request => break request?,
        }
    };
    let id = request.id();
    responses.reply(id).finish(bytes, 1, soon())?;
    request.done();
    Ok(id)
}

/// All that are unread, also those that come before a task asks for them; and none unless it resumes.
#[test]
fn tasks_of_a_successor_get_the_unread_answers_to_earlier_requests() -> Result {
    for resumes in [true, false] {
        let label = portable_shm_segment_name("resumed");
        let mut killed = Member::start(module_path!(), "calls", &label)?;
        let (mut requests, mut responses) = Worker::<Frame>::start(&config(&label, 1), 0)?.split();
        let request = requests.recv(soon())?;
        let first = request.id();
        let mut reply = responses.reply(first);
        reply.send(b"read", 1, soon())?;
        assert_eq!(killed.answer(), "has read a piece");
        killed.kill()?;
        reply.finish(b"unread", 1, soon())?;
        request.done();
        run(async {
            let successor = match resumes {
                true => Scheduler::<Frame>::resume(&config(&label, 1)),
                false => Scheduler::<Frame>::start(&config(&label, 1)),
            };
            let successor = AsyncScheduler::new(successor?)?;
            let second = answer(&mut requests, &mut responses, b"not asked for yet")?;
            let third = answer(&mut requests, &mut responses, b"nor this one")?;
            // its own calls have their own answers, behind those
            let mut own = successor.call_streaming(0, "own", 1);
            answer(&mut requests, &mut responses, b"own answer")?;
            assert_eq!(own.next().await.expect("a piece")?.bytes, b"own answer");
            let expected = [
                (first, 1, &b"unread"[..]),
                (second, 0, b"not asked for yet"),
                (third, 0, b"nor this one"),
            ];
            let mut earlier = successor.earlier();
            for (request, number, bytes) in expected.into_iter().filter(|_| resumes) {
                let piece: Piece = earlier.next().await.expect("a piece")?;
                assert_eq!((piece.rank, piece.request), (0, Some(request)));
                assert_eq!(
                    (piece.number, &*piece.bytes, piece.is_last),
                    (number, bytes, true)
                );
            }
            let report = successor.shutdown(soon()).await?;
            assert_eq!((report.unread, report.unanswered), (vec![0], vec![0]));
            assert!(earlier.next().await.is_none());
            Ok(())
        })?;
        responses.close()?;
        requests.leave()?;
        nothing_is_left(&config(&label, 1));
    }
    Ok(())
}

/// A stream that is dropped leaves what comes later to the next one, and requests that the scheduler itself has sent
/// before it was for tasks are earlier ones.
#[test]
fn earlier_answers_wait_for_the_next_stream() -> Result {
    let config = config(&portable_shm_segment_name("resumed"), 1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let sent =
        ["first", "second"].map(|message| scheduler.send_to(0, message.as_bytes(), 1, soon()));
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    run(async {
        let scheduler = AsyncScheduler::new(scheduler)?;
        for (number, sent) in sent.into_iter().enumerate() {
            drop(scheduler.earlier());
            // the thread has it, and finds it closed
            scheduler.state().await;
            let id = answer(&mut requests, &mut responses, &[number as u8])?;
            assert_eq!(id, sent?);
            let piece = scheduler.earlier().next().await.expect("a piece")?;
            assert_eq!(
                (piece.request, &*piece.bytes),
                (Some(id), &[number as u8][..])
            );
        }
        scheduler.shutdown(soon()).await?;
        Ok(())
    })?;
    responses.close()?;
    requests.leave()?;
    nothing_is_left(&config);
    Ok(())
}

fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

/// Says how many threads the members in this process have: the scheduler with all its workers, and one worker.
async fn count_threads(label: &str) -> Result {
    let threads = || std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let config = config(label, WORKERS + 1);
    let before = threads()?;
    let scheduler = scheduler(&config)?;
    // all others have come, and the last one comes later
    let found = scheduler.gather("who?", 1, within(100), |_| ()).await?;
    let mut awaited = found.missing;
    while awaited != [WORKERS] {
        awaited = scheduler
            .gather("who?", 1, within(100), |_| ())
            .await?
            .missing;
    }
    say(&format!("scheduler: {}", threads()? - before));
    let mut worker = AsyncWorker::start::<Frame, Frame>(&config, WORKERS).await?;
    let mut pieces = scheduler.gather_streaming("all", 1);
    loop {
        let request = worker.recv().await?;
        let is_last = request.bytes() == b"all";
        request.finish("here", 1).await?;
        if is_last {
            break;
        }
    }
    for _ in 0..=WORKERS {
        assert!(pieces.next().await.expect("an answer")?.is_last);
    }
    say(&format!("both: {}", threads()? - before));
    worker.leave().await?;
    scheduler.shutdown(soon()).await?;
    say("ended");
    Ok(())
}

const WORKERS: usize = 8;

/// However many workers there are: the rings of all are waited for by the same thread.
#[test]
fn a_member_for_tasks_costs_one_thread() -> Result {
    let label = portable_shm_segment_name("threads");
    let mut counts = Member::start(module_path!(), "counts threads", &label)?;
    let workers: Vec<_> = (0..WORKERS)
        .map(|rank| echo(&config(&label, WORKERS + 1), rank))
        .collect();
    for expected in ["scheduler: 1", "both: 2", "ended"] {
        assert_eq!(counts.answer(), expected);
    }
    for worker in workers {
        assert!(worker.join().expect("no panic") > 0);
    }
    assert!(counts.process.wait()?.success());
    nothing_is_left(&config(&label, WORKERS + 1));
    Ok(())
}

/// Worker 0 answers, worker 1 sends a piece alone, and worker 2 does not come.
#[test]
fn a_gathering_names_the_missing_at_its_deadline() -> Result {
    run(async {
        let config = session(3);
        let scheduler = scheduler(&config)?;
        let first = echo(&config, 0);
        let mut second = AsyncWorker::start::<Frame, Frame>(&config, 1).await?;
        let mut answers = Vec::new();
        let gathering =
            scheduler.gather("who?", 1, within(1_000), |Piece { rank, bytes, .. }| {
                answers.push((rank, bytes));
            });
        let sends = async {
            let mut request = second.recv().await?;
            request.send("a piece", 1).await?;
            let id = request.id();
            // it comes again
            drop(request);
            Result::Ok(id)
        };
        let (found, id) = tokio::join!(gathering, sends);
        let Gathered {
            request, missing, ..
        } = found?;
        assert_eq!((request, missing), (id?, vec![2]));
        answers.sort();
        assert_eq!(answers, [(0, b"who?".to_vec()), (1, b"a piece".to_vec())]);

        // what answers too late is not taken for an answer to the next one
        let late = scheduler.gather("too late", 1, within(0), |_| ()).await?;
        assert!(late.request > request, "it was sent");
        let gathering = scheduler.gather("again", 1, soon(), |piece| {
            assert!(piece.request > Some(late.request));
        });
        let answer = async {
            for expected in [&b"who?"[..], b"too late", b"again"] {
                let request = second.recv().await?;
                assert_eq!(request.bytes(), expected);
                request.finish("the rest", 1).await?;
            }
            Result::Ok(())
        };
        let third = echo(&config, 2);
        let (found, answered) = tokio::join!(gathering, answer);
        answered?;
        assert_eq!(found?.missing, [0; 0]);
        second.leave().await?;
        scheduler.shutdown(soon()).await?;
        for worker in [first, third] {
            worker.join().expect("no panic");
        }
        nothing_is_left(&config);
        Ok(())
    })
}

/// Its request is given up: no worker gets it later.
#[test]
fn a_gathering_that_finds_no_space_until_its_deadline_says_so() -> Result {
    run(async {
        for fills_the_common_ring in [true, false] {
            let config = session(2);
            let scheduler = scheduler(&config)?;
            let _calls: Vec<_> = (0..17)
                .map(|_| match fills_the_common_ring {
                    true => scheduler.gather_streaming("fills", 1),
                    // a request to all does not overtake those that wait
                    false => scheduler.call_streaming(1, "fills", 1),
                })
                .collect();
            let ended = scheduler.gather("late", 1, within(20), |_| ()).await;
            let Err(TransportError::Send(SendError::Timeout { blocked_on })) = ended else {
                panic!("{ended:?}");
            };
            let why = match fills_the_common_ring {
                true => "worker_0",
                false => "earlier requests",
            };
            assert!(blocked_on.contains(why), "{blocked_on}");
            let mut workers =
                [0, 1].map(|rank| Worker::<Frame>::start(&config, rank).expect("starts"));
            let filled = if fills_the_common_ring { 0..2 } else { 1..2 };
            for _ in 0..17 {
                for worker in &mut workers[filled.clone()] {
                    assert_eq!(take(worker)?, b"fills");
                }
            }
            for mut worker in workers {
                assert!(worker.recv(within(50)).is_err(), "nothing is behind them");
                worker.leave()?;
            }
            scheduler.shutdown(soon()).await?;
            nothing_is_left(&config);
        }
        Ok(())
    })
}

/// Another task shuts the session down meanwhile, and waits for longer.
#[test]
fn a_gathering_ends_in_time_while_its_session_is_shut_down() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let clone = scheduler.clone();
        let gathering = clone.gather("who?", 1, within(50), |_| ());
        let shutting = async { scheduler.shutdown(soon()).await };
        let ends = async {
            let found = gathering.await?;
            // now the shutdown may end, too
            take(&mut worker)?;
            Result::Ok(found)
        };
        let (found, report) = tokio::join!(ends, shutting);
        assert_eq!((found?.missing, report?.unanswered), (vec![0], vec![0]));
        worker.leave()?;
        nothing_is_left(&config);
        Ok(())
    })
}
