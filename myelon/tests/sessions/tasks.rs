//! Members of sessions for tasks: many calls at once, futures that are dropped, deaths, and ends.
#![cfg(feature = "tokio")]

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon, take};
use crate::text_codec::Text;
use myelon::{
    AsyncScheduler, AsyncWorker, CancelToken, Deadline, OnHandlerPanic, OnWorkerDeath, Piece,
    RunnerMyelonTransportConfig, Scheduler, SharedMemory, TransportError, TransportResult,
    TypedServeError, Worker,
};

/// Runs a test on a runtime of one thread, which must not be held up by any call.
pub(crate) fn run(test: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, test)
            .await
            .expect("it takes too long")
    })
}

pub(crate) fn scheduler(config: &RunnerMyelonTransportConfig) -> Result<AsyncScheduler> {
    Ok(AsyncScheduler::new(Scheduler::<Frame>::start(config)?)?)
}

/// A thread that echoes until the session is closed.
pub(crate) fn echo(config: &RunnerMyelonTransportConfig, rank: usize) -> thread::JoinHandle<u64> {
    let config = config.clone();
    thread::spawn(move || {
        let mut worker = Worker::<Frame>::start(&config, rank).expect("starts");
        let mut served = 0;
        while worker
            .serve(Deadline::NEVER, |_, request| request.to_vec())
            .is_ok()
        {
            served += 1;
        }
        worker.leave().expect("left");
        served
    })
}

pub(crate) fn nothing_is_left(config: &RunnerMyelonTransportConfig) {
    assert_eq!(SharedMemory::rings(config, Path::new("")), [""; 0]);
}

#[test]
fn many_tasks_call_many_workers_at_once() -> Result {
    const TASKS: u32 = 50;
    const CALLS: u32 = 40;
    run(async {
        let config = session(3);
        let workers = [0, 1, 2].map(|rank| echo(&config, rank));
        let scheduler = scheduler(&config)?;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let scheduler = scheduler.clone();
                tokio::spawn(async move {
                    for call in 0..CALLS {
                        let message = (task * CALLS + call).to_ne_bytes();
                        let rank = (task + call) as usize % 3;
                        let answer = scheduler.call(rank, message, 1).await?;
                        assert_eq!((answer.rank, &answer.bytes[..]), (rank, &message[..]));
                        assert!(answer.is_last && answer.number == 0);
                    }
                    TransportResult::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        scheduler.shutdown(soon()).await?;
        let served = workers.map(|worker| worker.join().expect("no panic"));
        assert_eq!(served.iter().sum::<u64>(), u64::from(TASKS * CALLS));
        nothing_is_left(&config);
        Ok(())
    })
}

/// A future that is dropped takes no other answer along, and its own answer is dropped.
#[test]
fn a_call_that_is_dropped_disturbs_no_other() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        for _ in 0..5 {
            let call = scheduler.call(0, &b"dropped"[..], 1);
            assert!(
                tokio::time::timeout(Duration::from_millis(5), call)
                    .await
                    .is_err()
            );
        }
        let worker = echo(&config, 0);
        let answer = scheduler.call(0, &b"kept"[..], 1).await?;
        assert_eq!(answer.bytes, b"kept");
        scheduler.shutdown(soon()).await?;
        // they were sent all the same
        assert_eq!(worker.join().expect("no panic"), 6);
        Ok(())
    })
}

/// More requests than a ring holds, and one that is longer than a ring, are sent when there is space, in their order.
#[test]
fn requests_wait_for_space_in_their_order() -> Result {
    run(async {
        let config = session(2);
        let scheduler = scheduler(&config)?;
        let long = vec![7; 64 * 40];
        let mut calls = Vec::new();
        for number in 0..100_u8 {
            calls.push(scheduler.call_streaming(0, [number], 1));
        }
        calls.push(scheduler.gather_streaming(long.clone(), 2));
        calls.push(scheduler.call_streaming(1, &b"last"[..], 1));
        let workers = [0, 1].map(|rank| echo(&config, rank));
        let mut last_id = None;
        for (number, call) in calls.iter_mut().enumerate().take(100) {
            let answer = call.next().await.expect("an answer")?;
            assert_eq!(answer.bytes, [number as u8]);
            assert!(answer.request > last_id);
            last_id = answer.request;
            assert!(call.next().await.is_none());
        }
        let mut ranks = Vec::new();
        while let Some(answer) = calls[100].next().await {
            let Piece { rank, bytes, .. } = answer?;
            assert_eq!(bytes, long);
            ranks.push(rank);
        }
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1]);
        assert_eq!(calls[101].next().await.expect("an answer")?.bytes, b"last");
        scheduler.shutdown(soon()).await?;
        for worker in workers {
            worker.join().expect("no panic");
        }
        Ok(())
    })
}

#[test]
fn a_death_ends_the_calls_as_the_policy_says() -> Result {
    run(async {
        let policy = OnWorkerDeath::RemoveAfter(Duration::from_millis(20));
        let config = session(2).with_on_worker_death(policy);
        let rings = config.transport.clone();
        let rings = rings.with_liveness_interval(Duration::from_millis(5));
        let config = config.with_transport(rings);
        let scheduler = scheduler(&config)?;
        drop(Worker::<Frame>::start(&config, 0)?);
        let other = echo(&config, 1);
        let mut calls: Vec<_> = (0..3)
            .map(|_| scheduler.call_streaming(0, &b""[..], 1))
            .collect();
        for call in &mut calls {
            let error = call.next().await.expect("an error").unwrap_err();
            assert!(
                matches!(
                    error,
                    TransportError::WorkerDied {
                        rank: 0,
                        request: Some(_),
                        is_removed: true,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(call.next().await.is_none());
        }
        let error = scheduler.call(0, &b""[..], 1).await.unwrap_err();
        assert!(
            matches!(error, TransportError::WorkerGone { rank: 0, .. }),
            "{error}"
        );
        let mut gathered = scheduler.gather_streaming(&b"who?"[..], 1);
        let (mut here, mut gone) = (0, 0);
        while let Some(answer) = gathered.next().await {
            match answer {
                Ok(answer) => here += usize::from(answer.rank == 1),
                Err(TransportError::WorkerGone { rank: 0, .. }) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        assert_eq!((here, gone), (1, 1));
        scheduler.shutdown(soon()).await?;
        other.join().expect("no panic");
        Ok(())
    })
}

/// Whoever shuts down ends the calls of all clones; dropping the last clone closes the session.
#[test]
fn an_end_ends_every_call() -> Result {
    run(async {
        for shuts_down in [true, false] {
            let config = session(1);
            let scheduler = scheduler(&config)?;
            let mut call = scheduler.call_streaming(0, &b"never"[..], 1);
            let mut news = scheduler.unasked();
            if shuts_down {
                let clone = scheduler.clone();
                let report = scheduler
                    .shutdown(Deadline::after(Duration::from_millis(20)))
                    .await?;
                assert_eq!(report.kept_for, ["worker_0"]);
                let late = clone.call(0, &b"late"[..], 1).await;
                assert!(
                    matches!(&late, Err(TransportError::SessionClosed { session }) if *session == config.session),
                    "{late:?}"
                );
            } else {
                drop(scheduler);
            }
            assert!(call.next().await.is_none());
            assert!(news.next().await.is_none());
            let mut worker = Worker::<Frame>::start(&config, 0)?;
            while take(&mut worker).is_ok() {}
            worker.leave()?;
            nothing_is_left(&config);
        }
        Ok(())
    })
}

/// A shutdown that waits for a worker that does not come is over when nobody waits for it any more.
#[test]
fn a_shutdown_whose_future_is_dropped_holds_up_nobody() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut call = scheduler.call_streaming(0, &b"never"[..], 1);
        let shutdown = scheduler.shutdown(Deadline::NEVER);
        let limit = Duration::from_millis(20);
        // on the runtime's only thread, which the drop of the last handle must not keep
        assert!(tokio::time::timeout(limit, shutdown).await.is_err());
        assert!(call.next().await.is_none());
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        while take(&mut worker).is_ok() {}
        worker.leave()?;
        nothing_is_left(&config);
        Ok(())
    })
}

#[test]
fn no_liveness_interval_is_too_long_or_too_short() -> Result {
    run(async {
        for interval in [Duration::MAX, Duration::ZERO] {
            let config = session(1);
            let rings = config.transport.clone().with_liveness_interval(interval);
            let config = config.with_transport(rings);
            let scheduler = scheduler(&config)?;
            let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
            let mut call = scheduler.call_streaming(0, &b"now"[..], 1);
            worker.recv().await?.finish(&b"done"[..], 1).await?;
            assert_eq!(call.next().await.expect("a piece")?.bytes, b"done");
            worker.leave().await?;
            scheduler.shutdown(soon()).await?;
            nothing_is_left(&config);
        }
        Ok(())
    })
}

/// A long request to a worker that has not come leaves the calls to others nearly all of the time.
#[test]
fn a_long_request_that_finds_no_space_holds_up_no_other_call() -> Result {
    run(async {
        let config = session(2);
        let scheduler = scheduler(&config)?;
        let _long = scheduler.call_streaming(0, vec![7; 64 * 40], 1);
        let other = echo(&config, 1);
        // the attempts would become longer and longer, to 640 ms each
        for _ in 0..50 {
            let answer = scheduler.call(1, &b"short"[..], 1).await?;
            assert_eq!(answer.bytes, b"short");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let first = echo(&config, 0);
        scheduler.shutdown(soon()).await?;
        first.join().expect("no panic");
        other.join().expect("no panic");
        nothing_is_left(&config);
        Ok(())
    })
}

#[test]
fn a_token_ends_the_calls_of_tasks() -> Result {
    run(async {
        let token = CancelToken::new();
        let config = session(1).with_cancel_token(&token);
        let scheduler = scheduler(&config)?;
        let mut news = scheduler.unasked();
        let mut call = scheduler.call_streaming(0, &b"now"[..], 1);
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
        worker.recv().await?.finish(&b"done"[..], 1).await?;
        assert_eq!(call.next().await.expect("a piece")?.bytes, b"done");
        let call = scheduler.call(0, &b"never"[..], 1);
        let cancels = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            token.cancel();
        };
        let (ended, ()) = tokio::join!(call, cancels);
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("cancelled"), "{text}");
        let ended = news.next().await.expect("it is told");
        assert!(ended.is_err() && news.next().await.is_none());
        worker.leave().await?;
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// A request whose task drops it, or the future that waits for it, is delivered again.
#[test]
fn a_request_that_is_dropped_comes_again() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
        {
            // polled once, and dropped while it waits
            let waiting = pin!(worker.recv());
            assert!(
                tokio::time::timeout(Duration::from_millis(5), waiting)
                    .await
                    .is_err()
            );
        }
        let mut call = scheduler.call_streaming(0, &b"work"[..], 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut request = worker.recv().await?;
        assert_eq!(request.delivery(), 1, "nobody saw it before");
        request.send(&b"a"[..], 1).await?;
        drop(request);
        let mut request = worker.recv().await?;
        assert_eq!(request.delivery(), 2);
        request.send(&b"a"[..], 1).await?;
        request.finish(&b"b"[..], 1).await?;
        for (number, bytes) in [&b"a"[..], b"b"].into_iter().enumerate() {
            let piece = call.next().await.expect("a piece")?;
            assert_eq!((piece.number as usize, &*piece.bytes), (number, bytes));
        }
        assert!(call.next().await.is_none());
        // the next worker of its rank gets what this one leaves behind
        let mut call = scheduler.call_streaming(0, &b"more"[..], 1);
        drop(worker.recv().await?);
        drop(worker);
        let mut worker = loop {
            match AsyncWorker::start::<Frame, Frame>(&config, 0).await {
                Ok(worker) => break worker,
                // the thread of the first one has not ended yet
                Err(TransportError::Ring(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => return Err(error.into()),
            }
        };
        let request = worker.recv().await?;
        assert!(request.delivery() > 1);
        request.finish(&b"done"[..], 1).await?;
        assert_eq!(call.next().await.expect("a piece")?.bytes, b"done");
        worker.leave().await?;
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// A future that was dropped before it was told of a request has not received it, and holds up no other call.
#[test]
fn a_wait_that_is_dropped_holds_up_nothing() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut news = scheduler.unasked();
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
        for turn in 0..20 {
            {
                let mut waiting = pin!(worker.recv());
                let poll = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx)));
                assert!(poll.await.is_pending());
            }
            // no request is there: the thread waits for one
            worker.respond([turn], 1).await?;
            assert_eq!(news.next().await.expect("a message")?.bytes, [turn]);
            let mut call = scheduler.call_streaming(0, [turn], 1);
            let mut seen = 0;
            {
                let mut waiting = pin!(worker.recv());
                let poll = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx)));
                seen += u32::from(poll.await.is_ready());
                // the thread may have handed it out by now, but nobody has looked
                tokio::time::sleep(Duration::from_millis(u64::from(turn % 4))).await;
            }
            let request = worker.recv().await?;
            assert_eq!(request.bytes(), [turn]);
            assert_eq!(request.delivery(), 1 + seen);
            request.finish([turn], 1).await?;
            assert_eq!(call.next().await.expect("a piece")?.bytes, [turn]);
        }
        worker.leave().await?;
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// What the handler of a task does, panics included.
#[test]
fn a_task_whose_handler_panics_does_as_its_policy_says() -> Result {
    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
        for is_value in [false, true] {
            for (policy, panics, is_given_up) in [
                (OnHandlerPanic::GiveUp, 1, true),
                (OnHandlerPanic::Redeliver(3), 2, false),
                (OnHandlerPanic::Redeliver(3), 3, true),
            ] {
                worker.set_panic_policy(policy);
                let mut call = scheduler.call_streaming(0, &b"text"[..], 1);
                let attempts = Cell::new(0);
                let attempt = async || {
                    tokio::task::yield_now().await;
                    attempts.set(attempts.get() + 1);
                    assert!(attempts.get() > panics, "as the test wants it");
                };
                match is_value {
                    false => {
                        let echo = async |_, request: Vec<u8>| {
                            attempt().await;
                            request
                        };
                        worker.serve(echo).await?;
                    }
                    true => {
                        let echo = async |_, text: Text| {
                            attempt().await;
                            text
                        };
                        worker.serve_value(echo).await?;
                    }
                }
                assert_eq!(
                    attempts.get(),
                    if is_given_up { panics } else { panics + 1 }
                );
                let answer = call.next().await.expect("an answer")?;
                assert_eq!((answer.is_given_up, answer.is_last), (is_given_up, true));
                assert_eq!(answer.decode::<Text>().is_ok(), !is_given_up);
            }
        }

        // the panic ends the task, and the next worker of the rank gets the request
        worker.set_panic_policy(OnHandlerPanic::Stop);
        let mut call = scheduler.call_streaming(0, &b"dangerous"[..], 1);
        let task = tokio::spawn(async move {
            let panics = async |_, _| -> Vec<u8> { panic!("as the test wants it") };
            worker.serve(panics).await
        });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        let mut worker = successor(&config).await?;
        let (told, limit) = std::sync::mpsc::channel();
        worker.set_delivery_limit(1, move |id, kind, bytes| {
            told.send((id, kind, bytes.to_vec())).expect("it is heard");
        });
        let mut next = scheduler.call_streaming(0, &b"next"[..], 1);
        worker.serve(async |_, request: Vec<u8>| request).await?;
        let answer = call.next().await.expect("an answer")?;
        assert!(answer.is_given_up);
        let id = answer.request.expect("an answer");
        assert_eq!(limit.try_recv(), Ok((id, 1, b"dangerous".to_vec())));
        assert_eq!(next.next().await.expect("an answer")?.bytes, b"next");

        // what is no value, and what cannot be encoded, is given up
        for (request, is_received) in [(&b"\xff"[..], false), (b"text", true)] {
            let mut call = scheduler.call_streaming(0, request, 1);
            let served = worker
                .serve_value(async |_, _: Text| Text(String::from("forbidden")))
                .await;
            match is_received {
                false => assert!(
                    matches!(served, Err(TypedServeError::Recv(_))),
                    "{served:?}"
                ),
                true => assert!(
                    matches!(served, Err(TypedServeError::Publish(_))),
                    "{served:?}"
                ),
            }
            assert!(call.next().await.expect("an answer")?.is_given_up);
        }
        worker.leave().await?;
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// A worker that starts when the thread of its predecessor has ended.
async fn successor(config: &RunnerMyelonTransportConfig) -> Result<AsyncWorker> {
    loop {
        match AsyncWorker::start::<Frame, Frame>(config, 0).await {
            Ok(worker) => return Ok(worker),
            Err(TransportError::Ring(_) | TransportError::MemberExists { .. }) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tasks on either side may have a handler for each kind of message.
#[cfg(feature = "bincode")]
#[test]
fn tasks_dispatch_messages_by_their_kinds_on_both_sides() -> Result {
    use myelon::codec::{Bincode, Codec};
    use myelon::{KindTable, TypedRecvError};

    run(async {
        let config = session(1);
        let scheduler = scheduler(&config)?;
        let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
        let number = Bincode(7_u64).encode()?;
        let text = Bincode(String::from("stop")).encode()?;
        let mut calls = [(number, 1), (text, 2), (Vec::new(), 3)]
            .map(|(message, kind)| scheduler.call_streaming(0, message, kind));
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        let mut table = KindTable::new()
            .on(1, |Bincode(number): Bincode<u64>| numbers.push(number))?
            .on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
        for _ in 0..2 {
            let mut request = worker.recv().await?;
            request.dispatch(&mut table)?;
            request
                .send_value(&Bincode(request.bytes().len() as u64), 4)
                .await?;
            request.finish_value(&Bincode(0_u64), 4).await?;
        }
        let request = worker.recv().await?;
        let error = request.dispatch(&mut table).expect_err("no such kind");
        assert!(
            matches!(error, TypedRecvError::UnknownKind { kind: 3, .. }),
            "{error}"
        );
        let error = request
            .dispatch(&mut KindTable::new())
            .expect_err("no kinds");
        assert!(matches!(error, TypedRecvError::NoKinds), "{error}");
        request.give_up().await?;
        drop(table);
        assert_eq!((numbers, texts), (vec![7], vec![String::from("stop")]));

        let mut lengths = Vec::new();
        let mut table = KindTable::new().on(4, |Bincode(len): Bincode<u64>| lengths.push(len))?;
        for call in &mut calls[..2] {
            while let Some(piece) = call.next().await {
                piece?.dispatch(&mut table)?;
            }
        }
        let given_up = calls[2].next().await.expect("an answer")?;
        let error = given_up.dispatch(&mut table).expect_err("no value");
        assert!(
            error.to_string().contains("given the request up"),
            "{error}"
        );
        drop(table);
        assert_eq!(lengths, [8, 0, 12, 0]);
        worker.leave().await?;
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// One task may be all members of a session: none of its calls holds it up.
#[test]
fn one_task_is_a_whole_session() -> Result {
    run(async {
        let config = session(8);
        let scheduler = scheduler(&config)?;
        let mut workers = Vec::new();
        for rank in 0..8 {
            workers.push(AsyncWorker::start::<Frame, Frame>(&config, rank).await?);
        }
        let mut gathered = scheduler.gather_streaming(&b""[..], 1);
        for worker in &mut workers {
            worker.recv().await?.finish(&b""[..], 1).await?;
        }
        let mut answers = 0;
        while gathered.next().await.transpose()?.is_some() {
            answers += 1;
        }
        assert_eq!(answers, 8);
        for worker in workers {
            worker.leave().await?;
        }
        scheduler.shutdown(soon()).await?;
        nothing_is_left(&config);
        Ok(())
    })
}

/// A worker whose task answers after the end gets every request that was sent, and then the end.
#[test]
fn a_worker_gets_to_the_end_of_a_closed_session() -> Result {
    run(async {
        for finishes in [true, false] {
            let config = session(1);
            let mut scheduler = Scheduler::<Frame>::start(&config)?;
            let mut worker = AsyncWorker::start::<Frame, Frame>(&config, 0).await?;
            for _ in 0..3 {
                scheduler.send_to(0, b"", 1, soon())?;
            }
            let first = worker.recv().await?;
            scheduler.close()?;
            match finishes {
                true => drop(first.finish(&b""[..], 1).await),
                false => drop(first),
            }
            let mut received = 1;
            while let Ok(request) = worker.recv().await {
                received += 1;
                if finishes {
                    drop(request.finish(&b""[..], 1).await);
                }
            }
            assert_eq!(received, 3);
            worker.leave().await?;
            nothing_is_left(&config);
        }
        Ok(())
    })
}
