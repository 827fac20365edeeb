//! Members of sessions for tasks whose processes are killed.
#![cfg(feature = "tokio")]

use std::future::pending;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Frame, Result, soon};
use crate::tasks::{nothing_is_left, run, scheduler};
use myelon::{
    AsyncScheduler, Piece, RecvError, RequestId, RequestReceiver, ResponseSender,
    RunnerMyelonTransportConfig, Scheduler, TransportError, Worker, portable_shm_segment_name,
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
