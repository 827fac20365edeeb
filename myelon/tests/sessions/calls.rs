//! Calls: a request and its answer, what comes in between, and what a death means for whoever waits.

mod sending;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::policies::watchful;
use crate::shared::{Backing, Frame, Result, session, soon, take};
use disruptor_mp::inspect::Inspector;
use myelon::{
    Deadline, OnWorkerDeath, RecvError, Request, RequestId, ResponseSender, Scheduler, SendError,
    SharedMemory, TransportError, TransportResult, Worker,
};

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
    } = error
    else {
        panic!("{error}");
    };
    let text = error.to_string();
    assert!(
        text.contains("it has not started") && text.contains(&request.to_string()),
        "{text}"
    );
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.serve(soon(), |_, _| b"done")?;
    let (_, answer) = scheduler.recv_any(soon())?;
    assert_eq!(answer.request(), Some(request));
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
        matches!(
            error,
            TransportError::TooManyUnread {
                rank: 0,
                limit: 16,
                ..
            }
        ),
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
    let gathered = scheduler.gather(
        b"who?",
        1,
        Deadline::after(Duration::from_secs(2)),
        |rank, answer| {
            answers.push((rank, answer[0]));
        },
    )?;
    assert_eq!((answers, gathered.missing), (vec![(0, 0), (2, 2)], vec![1]));
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
            request.done();
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
                    request: Some(_),
                    is_removed,
                    ..
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
            while other.recv(at_once()).map(Request::done).is_ok() {}
        };
        match (expected, end) {
            (Some(true), None)
            | (
                Some(false),
                Some(TransportError::WorkerDied {
                    request: None,
                    is_removed: false,
                    ..
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
                    late.recv(soon())?.done();
                }
                late.leave()?;
            }
        }
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

#[test]
fn nothing_follows_the_last_piece_of_an_answer() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let id = scheduler.send_to(0, b"", 1, soon())?;
    let request = requests.recv(soon())?;
    let mut reply = responses.reply(request.id());
    reply.send(b"one", 1, soon())?;
    reply.finish(b"two", 1, soon())?;
    for error in [reply.send(b"", 1, soon()), reply.finish(b"", 1, soon())] {
        let error = error.expect_err("it is complete");
        assert!(
            matches!(error, TransportError::AnswerComplete { request, .. } if request == id),
            "{error}"
        );
    }
    request.done();
    assert_eq!(&*scheduler.recv_answer(0, id, soon())?, b"one");
    assert!(scheduler.recv_answer(0, id, soon())?.is_last());
    assert!(scheduler.recv_any(at_once()).is_err());
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A request of 101 frames.
const LONG: [u8; 100 * 64] = [7; 100 * 64];

/// Reads one request slowly: it polls only every 10 ms.
fn read_slowly(worker: &mut Worker<Frame>) -> TransportResult<Vec<u8>> {
    loop {
        thread::sleep(Duration::from_millis(10));
        match worker.recv(Deadline::after(Duration::ZERO)) {
            Ok(request) => {
                let bytes = request.to_vec();
                request.done();
                return Ok(bytes);
            }
            Err(TransportError::Recv(RecvError::Timeout)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A message of more than half a ring is sent in parts, as the worker makes room. A scheduler that checks for deaths
/// meanwhile, and tells of one, sends each part once.
#[test]
fn a_long_message_to_a_slow_worker_is_sent_once_while_its_scheduler_checks_for_deaths() -> Result {
    let policies = [
        OnWorkerDeath::Wait,
        OnWorkerDeath::Fail,
        OnWorkerDeath::RemoveAfter(Duration::from_secs(3_600)),
    ];
    for (policy, is_to_all) in policies.iter().flat_map(|it| [(*it, true), (*it, false)]) {
        let config = watchful(2, policy);
        let layout = config.layout()?;
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let (told, deaths) = mpsc::channel();
        scheduler.set_death_hook(move |death| told.send(death.rank).expect("the test hears"));
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let other = Worker::<Frame>::start(&config, 1)?;
        let other = match is_to_all {
            true => {
                // it would hold the ring, alive or dead
                other.leave()?;
                None
            }
            false => Some(other),
        };
        let reading = thread::spawn(move || {
            // as if it had died, while the message is sent
            drop(other);
            let message = read_slowly(&mut worker).expect("the message");
            (worker, message)
        });
        let ring = match is_to_all {
            true => {
                scheduler.broadcast(&LONG, 1, soon())?;
                layout.rpc_ring_name()
            }
            false => {
                scheduler.send_to(0, &LONG, 1, soon())?;
                layout.request_ring_name(0)
            }
        };
        scheduler.state();
        let told = deaths.try_iter().collect::<Vec<_>>();
        let expected = if is_to_all { vec![] } else { vec![1] };
        assert_eq!(told, expected, "{policy:?}, to all: {is_to_all}");
        let published = Inspector::open_shared_memory(&ring)?.snapshot()?.published;
        assert_eq!(published + 1, 101, "{policy:?}, to all: {is_to_all}");
        let (worker, message) = reading.join().expect("no panic");
        assert_eq!(message, LONG);
        if !is_to_all {
            scheduler.remove_worker(1)?;
        }
        worker.leave()?;
        scheduler.close()?;
    }
    Ok(())
}

/// A message that a dead worker holds up starts again when that worker is removed, and reaches the others.
#[test]
fn a_long_message_goes_on_without_a_worker_that_is_removed() -> Result {
    let config = watchful(2, OnWorkerDeath::RemoveAfter(Duration::from_millis(50)));
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    drop(Worker::<Frame>::start(&config, 1)?);
    let reading = thread::spawn(move || {
        let message = take(&mut worker).expect("the message");
        (worker, message)
    });
    scheduler.broadcast(&LONG, 1, soon())?;
    let (worker, message) = reading.join().expect("no panic");
    assert_eq!(message, LONG);
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A program that uses the ring of the requests itself has its own deadline, whatever the policy of the session is.
#[test]
fn the_policy_ends_no_wait_of_a_program_that_sends_by_itself() -> Result {
    let config = watchful(1, OnWorkerDeath::Fail);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    drop(Worker::<Frame>::start(&config, 0)?);
    while scheduler.requests().try_send(b"", 1).is_ok() {}
    let deadline = Deadline::after(Duration::from_millis(100));
    let sent = scheduler.requests().send(b"", 1, deadline);
    assert!(
        matches!(sent, Err(TransportError::Send(SendError::Timeout { .. })))
            && deadline.has_passed(),
        "{sent:?}"
    );
    let error = scheduler.broadcast(b"", 1, soon()).unwrap_err();
    assert!(
        matches!(error, TransportError::WorkerDied { rank: 0, .. }),
        "{error}"
    );
    scheduler.remove_worker(0)?;
    scheduler.close()?;
    Ok(())
}

/// What was kept while another answer was awaited is found by its own call, all pieces in their order.
#[test]
fn an_answer_that_was_kept_is_received_by_its_own_call() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let first = scheduler.send_to(0, b"", 1, soon())?;
    let second = scheduler.send_to(0, b"", 1, soon())?;
    requests.recv(soon())?.done();
    requests.recv(soon())?.done();
    responses.reply(first).send(b"first, 0", 1, soon())?;
    responses.respond(b"by itself", 1, soon())?;
    responses.reply(second).finish(b"second", 1, soon())?;
    assert_eq!(&*scheduler.recv_answer(0, second, soon())?, b"second");
    let answer = scheduler.recv_answer(0, first, soon())?;
    assert_eq!((answer.piece(), answer.is_last()), (0, false));
    answer.release_uncommitted();
    assert_eq!(&*scheduler.recv_answer(0, first, soon())?, b"first, 0");
    let late = scheduler.recv_answer(0, first, at_once()).map(drop);
    assert!(matches!(late, Err(TransportError::NoAnswer { .. })));
    assert_eq!(&*scheduler.recv_any(soon())?.1, b"by itself");
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A worker whose second attempt has fewer pieces, or gives the request up, ends the answer all the same.
#[test]
fn a_second_answer_may_be_shorter() -> Result {
    for gives_up in [false, true] {
        let config = session(1);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let id = scheduler.send_to(0, b"", 1, soon())?;
        let first = thread::spawn({
            let config = config.clone();
            move || {
                let worker = Worker::<Frame>::start(&config, 0).expect("starts");
                let (mut requests, mut responses) = worker.split();
                let request = requests.recv(soon()).expect("a request");
                let mut reply = responses.reply(request.id());
                for piece in [b"a", b"b"] {
                    reply.send(piece, 1, soon()).expect("sent");
                }
                die(request.id())
            }
        });
        left_by::<RequestId>(first);
        for piece in [b"a", b"b"] {
            assert_eq!(&*scheduler.recv_answer(0, id, soon())?, piece);
        }
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        if gives_up {
            worker.set_delivery_limit(1, |_, _, _| ());
            let none = worker.serve(at_once(), |_, _| b"").map(drop);
            assert!(none.is_err());
        } else {
            worker.serve(soon(), |_, _| b"all of it")?;
        }
        let answer = scheduler.recv_answer(0, id, soon())?;
        assert!(answer.is_last() && answer.is_given_up() == gives_up);
        answer.release();
        worker.leave()?;
        scheduler.close()?;
    }
    Ok(())
}

/// Answers to a session that has ended are not taken for answers to the next one of the same label, whose numbers begin
/// anew.
#[test]
fn an_answer_to_an_earlier_session_is_not_received() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let old = scheduler.broadcast(b"", 1, soon())?;
    let dead = thread::spawn({
        let config = config.clone();
        move || {
            let mut worker = Worker::<Frame>::start(&config, 0).expect("starts");
            worker.respond(b"by itself", 1, soon()).expect("sent");
            worker.serve(soon(), |_, _| b"old").expect("served");
            die(())
        }
    });
    left_by::<()>(dead);
    scheduler.close()?;
    let serving = thread::spawn({
        let config = config.clone();
        move || {
            let mut worker = Worker::<Frame>::start(&config, 0).expect("starts");
            worker.serve(soon(), |_, _| b"new").expect("served");
            worker
        }
    });
    // it takes over its predecessor's ring
    thread::sleep(Duration::from_millis(50));
    let mut scheduler = Scheduler::<Frame>::resume(&config)?;
    let new = scheduler.broadcast(b"", 1, soon())?;
    assert!(new.get() == old.get() && new != old);
    let (_, answer) = scheduler.recv_any(soon())?;
    assert_eq!((answer.request(), &*answer), (Some(new), &b"new"[..]));
    answer.release();
    serving.join().expect("no panic").leave()?;
    scheduler.close()?;
    Ok(())
}

/// A request that is returned because its answer finds no space has harmed nobody.
#[test]
fn waiting_for_space_is_no_delivery() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.set_delivery_limit(2, |_, _, _| panic!("it harmed nobody"));
    while worker.respond(b"", 1, at_once()).is_ok() {}
    let id = scheduler.send_to(0, b"", 1, soon())?;
    for _ in 0..5 {
        let full = worker.serve(at_once(), |_, _| b"done").map(drop);
        assert!(matches!(full, Err(TransportError::Send(_))), "{full:?}");
    }
    while scheduler.recv_any(at_once()).is_ok() {}
    worker.serve(soon(), |_, _| b"done")?;
    let answer = scheduler.recv_answer(0, id, soon())?;
    assert!(!answer.is_given_up());
    answer.release();
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A worker that leaves with a request that it has returned, and is expected again, counts on.
#[test]
fn deliveries_are_counted_over_a_leave() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    // keeps the ring
    drop(Worker::<Frame>::start(&config, 1)?);
    let id = scheduler.broadcast(b"", 1, soon())?;
    drop(worker.recv(soon())?);
    worker.leave()?;
    scheduler.close()?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let request = worker.recv(soon())?;
    assert_eq!((request.id(), request.delivery()), (id, 2));
    request.done();
    worker.leave()?;
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}
