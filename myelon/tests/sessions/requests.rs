//! When a request of a session is done: not when it is read, but when the worker says so or `serve` has answered it.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon};
use crate::text_codec::Text;
use myelon::{
    CancelToken, Deadline, MAX_MESSAGE_BYTES, OnHandlerPanic, RecvError, RequestReceiver,
    ResponseSender, RunnerMyelonTransportConfig, Scheduler, SendError, SharedMemory,
    TransportError, TransportResult, TypedPublishError, TypedRecvError, TypedServeError, Worker,
};

/// Rings of answers that two pieces fill.
fn short_of_space() -> RunnerMyelonTransportConfig {
    let config = session(1);
    let rings = config.transport.clone();
    config.with_transport(rings.with_response_depth(2))
}

/// Answers a request in three pieces, and returns on the first error, as programs do.
fn answer(
    requests: &mut RequestReceiver<Frame>,
    responses: &mut ResponseSender<Frame>,
    patience: Deadline,
) -> TransportResult<u32> {
    let request = requests.recv(soon())?;
    let mut reply = responses.reply(request.id());
    reply.send(b"a", 1, patience)?;
    reply.send(b"b", 1, patience)?;
    reply.finish(b"c", 1, patience)?;
    let delivery = request.delivery();
    request.done();
    Ok(delivery)
}

#[test]
fn a_request_whose_worker_returns_on_an_error_comes_again() -> Result {
    let config = short_of_space();
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let id = scheduler.send_to(0, b"in pieces", 1, soon())?;
    let next = scheduler.send_to(0, b"next", 1, soon())?;
    let full = answer(
        &mut requests,
        &mut responses,
        Deadline::after(Duration::ZERO),
    );
    assert!(
        matches!(full, Err(TransportError::Send(SendError::Timeout { .. }))),
        "{full:?}"
    );
    let answering = thread::spawn(move || {
        let deliveries = [(); 2].map(|()| answer(&mut requests, &mut responses, soon()));
        (requests, responses, deliveries)
    });
    for (request, pieces) in [(id, [b"a", b"b", b"c"]), (next, [b"a", b"b", b"c"])] {
        for piece in pieces {
            let (_, answer) = scheduler.recv_any(soon())?;
            assert_eq!((answer.request(), &*answer), (Some(request), &piece[..]));
        }
    }
    let (requests, responses, deliveries) = answering.join().expect("no panic");
    assert_eq!(deliveries.map(TransportResult::ok), [Some(2), Some(1)]);
    assert!(scheduler.recv_any(Deadline::after(Duration::ZERO)).is_err());
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_request_whose_handler_panics_comes_again() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let id = scheduler.send_to(0, b"once", 1, soon())?;
    let panics = || worker.serve(soon(), |_, _| -> [u8; 0] { panic!("as the test wants it") });
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    let request = worker.recv(soon())?;
    assert_eq!((request.id(), request.delivery()), (id, 2));
    request.done();
    assert!(scheduler.recv_any(Deadline::after(Duration::ZERO)).is_err());
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The caller learns at once that no answer comes, and the worker goes on.
#[test]
fn a_worker_whose_handler_panics_answers_with_an_error() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.set_panic_policy(OnHandlerPanic::GiveUp);
    for is_value in [false, true] {
        let id = scheduler.send_to(0, b"once", 7, soon())?;
        match is_value {
            false => worker.serve(soon(), |_, _| -> [u8; 0] { panic!("as the test wants it") })?,
            true => {
                let panics = |_, _: Text| -> Text { panic!("as the test wants it") };
                worker.serve_value(soon(), panics)?
            }
        };
        let answer = scheduler.recv_answer(0, id, soon())?;
        assert!(answer.is_given_up() && answer.is_last());
        let error = answer
            .decode::<Text>()
            .expect_err("no value, though it is empty");
        assert!(
            error.to_string().contains("given the request up"),
            "{error}"
        );
        assert_eq!((answer.kind(), &*answer), (7, &[][..]));
    }
    let id = scheduler.send_to(0, b"twice", 1, soon())?;
    worker.serve(soon(), |_, request| request.to_vec())?;
    assert_eq!(&*scheduler.recv_answer(0, id, soon())?, b"twice");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The handler gets the request again, a few times, and then it is given up. An attempt that does not panic answers.
#[test]
fn a_worker_whose_handler_panics_tries_again_and_then_gives_up() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.set_panic_policy(OnHandlerPanic::Redeliver(3));
    for is_value in [false, true] {
        for panics in [0, 1, 2, 3, 4] {
            let id = scheduler.send_to(0, b"text", 7, soon())?;
            let mut attempts = 0;
            let mut attempt = || {
                attempts += 1;
                assert!(attempts > panics, "as the test wants it");
            };
            match is_value {
                false => worker.serve(soon(), |_, request| {
                    attempt();
                    request.to_vec()
                })?,
                true => worker.serve_value(soon(), |_, text: Text| {
                    attempt();
                    text
                })?,
            };
            assert_eq!(attempts, (panics + 1).min(3));
            let answer = scheduler.recv_answer(0, id, soon())?;
            assert_eq!(answer.is_given_up(), panics > 2);
            assert_eq!(&*answer, if panics > 2 { &b""[..] } else { b"text" });
        }
    }
    // what was delivered before counts, and a limit that is lower holds
    let (told, limit) = std::sync::mpsc::channel();
    worker.set_delivery_limit(2, move |id, _, _| _ = told.send(id));
    let dangerous = scheduler.send_to(0, b"", 7, soon())?;
    let next = scheduler.send_to(0, b"next", 7, soon())?;
    drop(worker.recv(soon())?);
    worker.serve(soon(), |_, request| {
        assert!(!request.is_empty(), "as the test wants it");
        request.to_vec()
    })?;
    assert_eq!(limit.try_recv(), Ok(dangerous));
    assert!(scheduler.recv_answer(0, dangerous, soon())?.is_given_up());
    assert_eq!(&*scheduler.recv_answer(0, next, soon())?, b"next");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A request that no worker can decode, or whose answer cannot be encoded, would fail again and again.
#[test]
fn a_request_without_a_value_is_given_up() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let id = scheduler.send_to(0, b"\xff", 7, soon())?;
    let served = worker.serve_value(soon(), |_, text: Text| text);
    assert!(
        matches!(
            served,
            Err(TypedServeError::Recv(TypedRecvError::Decode(_)))
        ),
        "{served:?}"
    );
    assert!(scheduler.recv_answer(0, id, soon())?.is_given_up());
    let id = scheduler.send_to(0, b"text", 7, soon())?;
    let served = worker.serve_value(soon(), |_, _: Text| Text(String::from("forbidden")));
    assert!(
        matches!(served, Err(TypedServeError::Publish(_))),
        "{served:?}"
    );
    assert!(scheduler.recv_answer(0, id, soon())?.is_given_up());
    let more = worker.recv(Deadline::after(Duration::ZERO)).map(drop);
    assert!(more.is_err(), "it is done");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A worker cannot make the scheduler receive an answer to a request that the scheduler has not sent.
#[test]
fn an_answer_to_a_request_that_was_not_sent_is_dropped() -> Result {
    const LAST: u8 = 1;
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let id = scheduler.broadcast(b"", 1, soon())?;
    let mut head = worker.requests().recv(soon())?.to_vec();
    head[12] = LAST;
    for number in [id.get() + 1, id.get() + 2, u64::MAX, id.get()] {
        head[..8].copy_from_slice(&number.to_le_bytes());
        worker.responses().send(&head, 1, soon())?;
    }
    assert_eq!(scheduler.recv_any(soon())?.1.request(), Some(id));
    assert!(scheduler.recv_any(Deadline::after(Duration::ZERO)).is_err());
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// In a session that is closed, answers are refused. A worker that returns on that, and is started again, does not get
/// the same request for ever: it comes to the end.
#[test]
fn a_worker_whose_answers_are_refused_comes_to_the_end() -> Result {
    for starts_again in [false, true] {
        let config = session(1);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let worker = Worker::<Frame>::start(&config, 0)?;
        for _ in 0..3 {
            scheduler.broadcast(b"", 1, soon())?;
        }
        scheduler.close()?;
        let (mut requests, mut responses) = worker.split();
        for number in 1..=3 {
            let refused = answer(&mut requests, &mut responses, soon());
            assert!(
                matches!(refused, Err(TransportError::SessionClosed { .. })),
                "{refused:?}"
            );
            if starts_again && number < 3 {
                drop((requests, responses));
                (requests, responses) = Worker::<Frame>::start(&config, 0)?.split();
            }
        }
        let end = answer(&mut requests, &mut responses, soon());
        assert!(
            matches!(end, Err(TransportError::Recv(RecvError::Closed))),
            "{end:?}"
        );
        drop(responses);
        requests.leave()?;
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

/// A cancelled token ends a worker whatever its requests are: an answer that gives a request up and finds no space is
/// an error of its own.
#[test]
fn a_request_that_cannot_be_given_up_does_not_keep_a_worker() -> Result {
    let token = CancelToken::new();
    let config = short_of_space().with_cancel_token(&token);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    while worker
        .respond(b"", 1, Deadline::after(Duration::ZERO))
        .is_ok()
    {}
    let id = scheduler.send_to(0, b"\xff", 7, soon())?;
    token.cancel();
    let served = worker.serve_value(Deadline::NEVER, |_, text: Text| text);
    assert!(
        matches!(
            served,
            Err(TypedServeError::Publish(TypedPublishError::Transport(
                TransportError::Send(SendError::Cancelled)
            )))
        ),
        "{served:?}"
    );
    let request = worker.recv(Deadline::NEVER)?;
    assert_eq!((request.id(), request.delivery()), (id, 1));
    request.done();
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A panic counts as a delivery also if the answer that gives the request up finds no space: the limit holds.
#[test]
fn a_panic_counts_though_its_answer_finds_no_space() -> Result {
    let config = short_of_space();
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.set_panic_policy(OnHandlerPanic::GiveUp);
    while worker
        .respond(b"", 1, Deadline::after(Duration::ZERO))
        .is_ok()
    {}
    scheduler.send_to(0, b"", 7, soon())?;
    let served = worker.serve(Deadline::after(Duration::ZERO), |_, _| -> [u8; 0] {
        panic!("as the test wants it")
    });
    assert!(served.is_err());
    let request = worker.recv(soon())?;
    assert_eq!(request.delivery(), 2);
    request.done();
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A message is refused by its own length, at once though the ring is full, and before it is copied.
#[test]
fn a_message_over_the_limit_is_refused_in_both_directions() -> Result {
    const LIMIT: usize = MAX_MESSAGE_BYTES - 16;
    let is_refused = |sent: TransportError| {
        let TransportError::MessageTooLong { len, limit } = sent else {
            panic!("{sent}");
        };
        assert_eq!((len, limit), (LIMIT + 1, LIMIT));
    };
    // the system gives pages when they are touched
    let long = vec![0; LIMIT + 1];
    let slices = long.split_at(LIMIT / 2);
    let slices = [IoSlice::new(slices.0), IoSlice::new(slices.1)];
    let never = Deadline::NEVER;
    let config = short_of_space();
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let request = scheduler.send_to(0, b"all of it", 1, soon())?;
    is_refused(worker.serve(never, |_, _| &long).expect_err("its answer"));
    let answer = scheduler.recv_answer(0, request, soon())?;
    assert!(answer.is_given_up());
    answer.release();
    while scheduler
        .broadcast(b"", 1, Deadline::after(Duration::ZERO))
        .is_ok()
    {}
    while scheduler
        .send_to(0, b"", 1, Deadline::after(Duration::ZERO))
        .is_ok()
    {}
    is_refused(scheduler.broadcast(&long, 1, never).expect_err("to all"));
    is_refused(scheduler.send_to(0, &long, 1, never).expect_err("to one"));
    is_refused(
        scheduler
            .call(0, &long, 1, never)
            .map(drop)
            .expect_err("to one"),
    );
    is_refused(
        scheduler
            .gather(&long, 1, never, |_, _| ())
            .expect_err("to all"),
    );
    let (mut requests, responses) = scheduler.split();
    is_refused(
        requests
            .broadcast_vectored(&slices, 1, never)
            .expect_err("to all"),
    );
    is_refused(
        requests
            .send_vectored_to(0, &slices, 1, never)
            .expect_err("to one"),
    );

    while worker
        .respond(b"", 1, Deadline::after(Duration::ZERO))
        .is_ok()
    {}
    is_refused(worker.respond(&long, 1, never).expect_err("by itself"));
    let (received, mut answers) = worker.split();
    let mut reply = answers.reply(request);
    is_refused(reply.send(&long, 1, never).expect_err("a piece"));
    is_refused(reply.send_vectored(&slices, 1, never).expect_err("a piece"));
    is_refused(reply.finish(&long, 1, never).expect_err("the last piece"));
    drop(answers);
    received.leave()?;
    requests.close()?;
    drop(responses);
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}
