//! Calls: a request and its answer, what comes in between, and what a death means for whoever waits.

mod session_shared;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use myelon::transport::AlignedFixedFrame;
use myelon::{
    Deadline, OnWorkerDeath, RequestId, ResponseSender, Scheduler, SendError, SharedMemory,
    TransportError, Worker,
};
use session_shared::{Backing, Frame, Result, session, soon};

fn at_once() -> Deadline {
    Deadline::after(Duration::from_millis(1))
}

/// A panic leaves rings and places as a death does.
fn die<T: Send + 'static>(result: T) -> ! {
    std::panic::resume_unwind(Box::new(result))
}

/// What a thread that died has left.
fn left_by<T: 'static>(thread: thread::JoinHandle<()>) -> T {
    let died = thread.join().expect_err("it dies");
    *died.downcast::<T>().expect("what it left")
}

#[test]
fn a_call_gets_its_answer_and_keeps_what_comes_before_it() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = [0, 1].map(|rank| Worker::<Frame>::start(&config, rank).expect("starts"));
    let earlier = scheduler.send_to(0, b"earlier", 1, soon())?;
    workers[0].respond(b"by itself", 2, soon())?;
    workers[1].respond(b"another's", 3, soon())?;
    workers[0].serve(soon(), |_, request| request.to_ascii_uppercase())?;
    let id = scheduler.send_to(0, b"now", 1, soon())?;
    workers[0].serve(soon(), |_, request| request.to_ascii_uppercase())?;
    let answer = scheduler.recv_answer(0, id, soon())?;
    assert_eq!((answer.request(), &*answer), (Some(id), &b"NOW"[..]));
    assert!(answer.is_in_place());
    answer.release();
    // what came before it, in its order, and then what is in other rings
    for (rank, request, kind, bytes) in [
        (0, None, 2, &b"by itself"[..]),
        (0, Some(earlier), 1, b"EARLIER"),
        (1, None, 3, b"another's"),
    ] {
        let (from, answer) = scheduler.recv_any(soon())?;
        assert_eq!(
            (from, answer.request(), answer.kind(), &*answer),
            (rank, request, kind, bytes)
        );
        // a kept one can be returned as well
        answer.release_uncommitted();
        let (_, again) = scheduler.recv_any(soon())?;
        assert_eq!(&*again, bytes);
    }
    let nothing = scheduler.recv_any(at_once()).map(drop);
    assert!(nothing.is_err());
    for worker in workers {
        worker.leave()?;
    }
    scheduler.close()?;
    Ok(())
}

#[test]
fn an_answer_that_is_late_can_still_be_received() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let error = scheduler.call(0, b"slow", 1, at_once()).unwrap_err();
    let TransportError::NoAnswer {
        rank: 0, request, ..
    } = &error
    else {
        panic!("{error}");
    };
    let text = error.to_string();
    assert!(
        text.contains("it has not started") && text.contains(request),
        "{text}"
    );
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.serve(soon(), |_, _| b"done")?;
    let (_, answer) = scheduler.recv_any(soon())?;
    assert_eq!(
        answer.request().map(|id| id.to_string()).as_ref(),
        Some(request)
    );
    answer.release();
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn what_is_kept_has_a_limit() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let talks = thread::spawn(move || {
        for _ in 0..40 {
            worker.respond(b"", 1, soon()).expect("sent");
        }
        worker
    });
    let id = scheduler.send_to(0, b"", 1, soon())?;
    let error = scheduler.recv_answer(0, id, soon()).unwrap_err();
    assert!(
        matches!(error, TransportError::TooManyUnread { rank: 0, limit: 16 }),
        "{error}"
    );
    // nothing is lost
    for _ in 0..40 {
        assert_eq!(scheduler.recv_any(soon())?.1.request(), None);
    }
    talks.join().expect("no panic").leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_gathering_names_the_missing_workers() -> Result {
    let config = session(3);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (there, is_there) = mpsc::channel();
    let workers = [0, 2].map(|rank| {
        let (config, there) = (config.clone(), there.clone());
        thread::spawn(move || {
            let mut worker = Worker::<Frame>::start(&config, rank).expect("starts");
            there.send(()).expect("heard");
            worker.serve(soon(), |_, _| [rank as u8]).expect("served");
            worker
        })
    });
    is_there.recv()?;
    is_there.recv()?;
    let mut answers = Vec::new();
    let missing = scheduler.gather(
        b"who?",
        1,
        Deadline::after(Duration::from_secs(2)),
        |rank, answer| {
            answers.push((rank, answer[0]));
        },
    )?;
    assert_eq!((answers, missing), (vec![(0, 0), (2, 2)], vec![1]));
    for worker in workers {
        worker.join().expect("no panic").leave()?;
    }
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}

/// A worker that dies in the middle of an answer, or behind it, leaves the request to its successor, which sends all
/// pieces again. The caller sees each of them once.
#[test]
fn pieces_that_are_sent_again_are_received_once() -> Result {
    const PIECES: [&[u8]; 3] = [b"a", b"b", b"c"];
    fn send(responses: &mut ResponseSender<Frame>, id: RequestId, count: usize) {
        let mut reply = responses.reply(id);
        for piece in &PIECES[..count.min(2)] {
            reply.send(piece, 1, soon()).expect("sent");
        }
        if count > 2 {
            reply.finish(PIECES[2], 1, soon()).expect("sent");
        }
    }
    for sent_before in 0..=3 {
        for received_before in 0..=sent_before {
            let config = session(1);
            let mut scheduler = Scheduler::<Frame>::start(&config)?;
            let earlier = scheduler.send_to(0, b"earlier", 1, soon())?;
            let id = scheduler.send_to(0, b"in pieces", 1, soon())?;
            let first = thread::spawn({
                let config = config.clone();
                move || {
                    let mut worker = Worker::<Frame>::start(&config, 0).expect("starts");
                    worker.serve(soon(), |_, _| b"early").expect("served");
                    let (mut requests, mut responses) = worker.split();
                    let request = requests.recv(soon()).expect("a request");
                    assert_eq!(request.delivery(), 1);
                    send(&mut responses, request.id(), sent_before);
                    die(request.id())
                }
            });
            assert_eq!(left_by::<RequestId>(first), id);
            assert_eq!(scheduler.recv_any(soon())?.1.request(), Some(earlier));
            for piece in &PIECES[..received_before] {
                assert_eq!(&*scheduler.recv_answer(0, id, soon())?, *piece);
            }
            let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
            let request = requests.recv(soon())?;
            assert_eq!((request.id(), request.delivery()), (id, 2));
            send(&mut responses, id, 3);
            request.release();
            for (at, piece) in PIECES.iter().enumerate().skip(received_before) {
                let answer = scheduler.recv_any(soon())?.1;
                assert_eq!(
                    (&*answer, answer.is_last()),
                    (*piece, at == 2),
                    "{sent_before}, {received_before}"
                );
            }
            let more = scheduler.recv_any(at_once()).map(drop);
            assert!(more.is_err(), "{sent_before}, {received_before}");
            drop(responses);
            requests.leave()?;
            scheduler.close()?;
        }
    }
    Ok(())
}

#[test]
fn a_successor_receives_its_predecessors_answers_only_if_it_resumes() -> Result {
    for resumes in [false, true] {
        let config = session(1);
        let (done, is_done) = mpsc::channel();
        let worker = thread::spawn({
            let config = config.clone();
            move || {
                let mut worker = Worker::<Frame>::start(&config, 0).expect("starts");
                worker.serve(soon(), |_, _| b"old").expect("served");
                done.send(()).expect("heard");
                worker
            }
        });
        let old = thread::spawn({
            let config = config.clone();
            move || {
                let mut scheduler = Scheduler::<Frame>::start(&config).expect("starts");
                let id = scheduler.send_to(0, b"", 1, soon()).expect("sent");
                is_done.recv().expect("served");
                die(id)
            }
        });
        let old = left_by::<RequestId>(old);
        let mut worker = worker.join().expect("no panic");
        let mut scheduler = match resumes {
            true => Scheduler::<Frame>::resume(&config)?,
            false => Scheduler::<Frame>::start(&config)?,
        };
        let new = scheduler.send_to(0, b"", 1, soon())?;
        worker.serve(soon(), |_, _| b"new")?;
        let expected: &[_] = match resumes {
            true => &[(old, b"old"), (new, b"new")],
            false => &[(new, b"new")],
        };
        for (id, bytes) in expected {
            let (_, answer) = scheduler.recv_any(soon())?;
            assert_eq!((answer.request(), &*answer), (Some(*id), &bytes[..]));
        }
        worker.leave()?;
        scheduler.close()?;
    }
    Ok(())
}

#[test]
fn a_death_is_what_the_policy_says() -> Result {
    for (policy, expected) in [
        (OnWorkerDeath::Wait, None),
        (OnWorkerDeath::Fail, Some(false)),
        (
            OnWorkerDeath::RemoveAfter(Duration::from_millis(20)),
            Some(true),
        ),
    ] {
        let config = session(2).with_on_worker_death(policy);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        drop(Worker::<Frame>::start(&config, 0)?);
        let mut other = Worker::<Frame>::start(&config, 1)?;
        let waits = Deadline::after(Duration::from_millis(500));
        let error = scheduler.call(0, b"", 1, waits).unwrap_err();
        match (expected, &error) {
            (None, TransportError::NoAnswer { rank: 0, .. }) => {}
            (
                Some(removed),
                TransportError::WorkerDied {
                    rank: 0,
                    is_removed,
                },
            ) if *is_removed == removed => {}
            _ => panic!("{policy:?}: {error}"),
        }
        // whoever waits for space gets it, if the policy gives the place up
        let mut sent = 0;
        let end = loop {
            match scheduler.broadcast(b"", 1, Deadline::after(Duration::from_millis(200))) {
                Ok(_) if sent == 100 => break None,
                Ok(_) => sent += 1,
                Err(error) => break Some(error),
            }
            while other.recv(at_once()).is_ok() {}
        };
        match (expected, end) {
            (Some(true), None)
            | (
                Some(false),
                Some(TransportError::WorkerDied {
                    is_removed: false, ..
                }),
            )
            | (None, Some(TransportError::Send(SendError::Timeout { .. }))) => {}
            (_, end) => panic!("{policy:?}: {end:?} after {sent}"),
        }
        if expected != Some(true) {
            scheduler.remove_worker(0)?;
        }
        other.leave()?;
        scheduler.close()?;
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

#[test]
fn a_shutdown_receives_every_answer_and_names_the_workers_that_have_not_finished() -> Result {
    for finishes in [true, false] {
        let config = session(2);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let mut sent = Vec::new();
        for number in 0..10_u8 {
            sent.push(scheduler.broadcast(&[number], 1, soon())?);
            sent.push(scheduler.send_to(0, &[number], 1, soon())?);
        }
        let worker = thread::spawn({
            let config = config.clone();
            move || {
                let mut worker = Worker::<Frame>::start(&config, 0).expect("starts");
                while worker.serve(soon(), |_, request| request.to_vec()).is_ok() {}
                worker.leave().expect("left");
            }
        });
        let other = thread::spawn({
            let config = config.clone();
            move || {
                let mut other = Worker::<Frame>::start(&config, 1).expect("starts");
                if finishes {
                    while other.serve(soon(), |_, _| b"").is_ok() {}
                    other.leave().expect("left");
                }
            }
        });
        let mut received = Vec::new();
        let deadline = match finishes {
            true => soon(),
            false => Deadline::after(Duration::from_secs(1)),
        };
        let report = scheduler.shutdown(deadline, |rank, answer| {
            if rank == 0 {
                received.extend(answer.request());
            }
        })?;
        assert_eq!(received, sent);
        worker.join().expect("no panic");
        other.join().expect("no panic");
        match finishes {
            true => assert!(report.kept_for.is_empty(), "{report:?}"),
            false => {
                assert_eq!(report.kept_for, ["worker_1"]);
                // it comes after all
                let mut late = Worker::<Frame>::start(&config, 1)?;
                for _ in 0..10 {
                    late.recv(soon())?.release();
                }
                late.leave()?;
            }
        }
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

/// Long requests and short answers: each direction has frames of its own, and both sides must name the same ones.
#[test]
fn requests_and_answers_have_frames_of_their_own() -> Result {
    type Wide = AlignedFixedFrame<1024>;
    let config = session(1);
    let mut scheduler = Scheduler::<Wide, Frame>::start(&config)?;
    let error = Worker::<Frame>::start(&config, 0).expect_err("other frames");
    assert!(error.to_string().contains("frame"), "{error}");
    let mut worker = Worker::<Wide, Frame>::start(&config, 0)?;
    let id = scheduler.send_to(0, &[7; 1000], 1, soon())?;
    worker.serve(soon(), |_, request| [request.len() as u8])?;
    let answer = scheduler.recv_answer(0, id, soon())?;
    assert_eq!(*answer, [1000_usize as u8]);
    answer.release();
    let bytes = |name: &str| {
        Path::new("/dev/shm")
            .join(name)
            .metadata()
            .map(|it| it.len())
    };
    let layout = config.layout()?;
    let requests = bytes(&layout.rpc_ring_name())?;
    let answers = bytes(&layout.response_ring_name(0))?;
    assert!(requests > answers + 14 * 960, "{requests}, {answers}");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}
