//! How sessions end: no worker waits for a scheduler that has closed, no ring is left behind, and messages that
//! were sent are still received. Also what is kept while a scheduler is only dead.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::shared::{Backing, Frame, Result, session, soon, take, wait_until};
use crate::text_codec::Text;
use myelon::transport::{FramedTransportConsumer, FramedTransportProducer};
use myelon::{
    CancelToken, Deadline, MappedFile, MyelonWaitStrategy, OnWorkerDeath, RecvError, RequestId,
    RequestSender, ResponseReceiver, ResponseSender, RunnerMyelonTransportConfig, Scheduler,
    SharedMemory, TransportError, TransportResult, TypedPublishError, TypedRecvError,
    TypedServeError, Worker,
};

/// A limit far longer than any end takes.
const BOUND: Duration = Duration::from_secs(10);
const REQUESTS: u32 = 40;
const ANSWERS_MAX: u32 = 8;

/// A session with less space for answers than there are requests. The liveness interval is an hour, so that no
/// end is noticed by a periodic liveness check.
fn small_session() -> RunnerMyelonTransportConfig {
    let config = session(1);
    let rings = config.transport.clone();
    let rings = rings
        .with_rpc_depth(64)
        .with_response_depth(ANSWERS_MAX as usize)
        .with_liveness_interval(Duration::from_secs(3_600));
    config.with_transport(rings)
}

/// The call that a worker repeats until it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Serve,
    ServeValue,
    Respond,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    SessionClosed,
    Other(String),
}

fn end_of(error: &TransportError) -> End {
    match error {
        TransportError::Recv(RecvError::Closed) => End::Closed,
        TransportError::SessionClosed { .. } => End::SessionClosed,
        other => End::Other(other.to_string()),
    }
}

fn end_of_value(error: TypedServeError) -> End {
    match error {
        TypedServeError::Recv(TypedRecvError::Recv(RecvError::Closed)) => End::Closed,
        TypedServeError::Publish(TypedPublishError::Transport(error)) => end_of(&error),
        other => End::Other(other.to_string()),
    }
}

fn never() -> Deadline {
    Deadline::NEVER
}

/// Repeats a call until it fails.
fn work<B>(
    worker: &mut Worker<Frame, Frame, B>,
    (call, deadline): (Call, fn() -> Deadline),
    done: &AtomicU32,
) -> End {
    loop {
        let failed = match call {
            Call::Serve => worker
                .serve(deadline(), |_, request| request.to_vec())
                .map_err(|error| end_of(&error)),
            Call::ServeValue => worker
                .serve_value(deadline(), |_, text: Text| text)
                .map_err(end_of_value),
            Call::Respond => worker
                .respond(b"news", 1, deadline())
                .map_err(|error| end_of(&error)),
        };
        match failed {
            Ok(_) => done.fetch_add(1, Ordering::SeqCst),
            Err(end) => return end,
        };
    }
}

fn no_worker_waits_for_a_scheduler_that_has_closed<B: Backing>(
    strategy: MyelonWaitStrategy,
    call: Call,
    (heard, is_dropped): (u32, bool),
) -> Result
where
    Worker<Frame, Frame, B>: Send,
{
    let (root, config) = (tempfile::tempdir()?, small_session());
    let rings = config.transport.clone().with_wait_strategy(strategy);
    let config = config.with_transport(rings);
    let mut scheduler = B::scheduler(&config, root.path())?;
    let mut worker = B::worker(&config, root.path(), 0)?;
    for _ in 0..REQUESTS {
        scheduler.broadcast(b"ask", 1, soon())?;
    }
    let (ended, end) = mpsc::channel();
    let done = Arc::new(AtomicU32::new(0));
    let progress = Arc::clone(&done);
    let working = thread::spawn(move || {
        let end = work(&mut worker, (call, never), &progress);
        ended.send(end).expect("the test waits");
        worker
    });
    for _ in 0..heard {
        scheduler.recv_any(soon())?.1.release();
    }
    // a sleeping worker is woken once a quarter of the ring is free, so one slot of that may still be free
    let answered = ANSWERS_MAX + heard - 1..=ANSWERS_MAX + heard;
    wait_until("the ring is full", || {
        answered.contains(&done.load(Ordering::SeqCst))
    });
    thread::sleep(Duration::from_millis(20));

    match is_dropped {
        true => drop(scheduler),
        false => drop(scheduler.close()?),
    }
    let end = end.recv_timeout(BOUND).expect("it waits no longer");
    let mut worker = working.join().expect("no panic");
    let mut received = done.load(Ordering::SeqCst);
    if call == Call::Respond {
        assert_eq!(end, End::SessionClosed);
        assert!(answered.contains(&received), "{received}");
        // the requests are still there, and answers to them hold up nothing
        received = 0;
        while worker.serve(soon(), |_, request| request.to_vec()).is_ok() {
            received += 1;
        }
    } else {
        assert_eq!(end, End::Closed);
    }
    assert_eq!(received, REQUESTS);
    let end = worker.recv(soon()).map(drop);
    assert!(matches!(end, Err(TransportError::Recv(RecvError::Closed))));
    worker.leave()?;
    assert_eq!(B::rings(&config, root.path()), [""; 0]);
    Ok(())
}

fn no_call_waits<B: Backing>(strategy: MyelonWaitStrategy) -> Result
where
    Worker<Frame, Frame, B>: Send,
{
    for call in [Call::Serve, Call::ServeValue, Call::Respond] {
        for how in [(0, false), (0, true), (3, false), (3, true)] {
            no_worker_waits_for_a_scheduler_that_has_closed::<B>(strategy, call, how)?;
        }
    }
    Ok(())
}

#[test]
fn no_call_of_a_worker_waits_for_a_scheduler_that_has_closed_in_shared_memory() -> Result {
    no_call_waits::<SharedMemory>(MyelonWaitStrategy::Block)
}

#[test]
fn no_call_of_a_worker_waits_for_a_scheduler_that_has_closed_in_files() -> Result {
    no_call_waits::<MappedFile>(MyelonWaitStrategy::BusySpin)
}

/// The scheduler has read one of the answers, or none, and ends after the worker.
fn unread_answers_leave_no_ring<B: Backing>() -> Result {
    for heard in [0, 1] {
        for is_dropped in [false, true] {
            let (root, config) = (tempfile::tempdir()?, session(2));
            let mut scheduler = B::scheduler(&config, root.path())?;
            for rank in [0, 1] {
                let mut worker = B::worker(&config, root.path(), rank)?;
                worker.respond(b"one", 1, soon())?;
                worker.respond(b"two", 1, soon())?;
                worker.leave()?;
            }
            for _ in 0..heard {
                scheduler.recv_any(soon())?.1.release();
            }
            match is_dropped {
                true => drop(scheduler),
                false => drop(scheduler.close()?),
            }
            assert_eq!(B::rings(&config, root.path()), [""; 0]);
        }
    }
    Ok(())
}

#[test]
fn answers_that_are_never_received_leave_no_ring_in_shared_memory() -> Result {
    unread_answers_leave_no_ring::<SharedMemory>()
}

#[test]
fn answers_that_are_never_received_leave_no_ring_in_files() -> Result {
    unread_answers_leave_no_ring::<MappedFile>()
}

/// The worker's requests are kept. No process receives its answers, and it does not wait for space.
#[test]
fn a_worker_that_comes_after_the_close_gets_what_was_sent_and_the_end() -> Result {
    for requests in [2, REQUESTS] {
        let (root, config) = (tempfile::tempdir()?, small_session());
        let mut scheduler = Scheduler::<Frame, Frame, _>::start_in_files(&config, root.path())?;
        drop(MappedFile::worker(&config, root.path(), 0)?);
        for _ in 0..requests {
            scheduler.broadcast(b"ask", 1, soon())?;
        }
        scheduler.close()?;
        let mut worker = MappedFile::worker(&config, root.path(), 0)?;
        assert!(matches!(
            worker.respond(b"ready", 1, soon()),
            Err(TransportError::SessionClosed { .. })
        ));
        let done = AtomicU32::new(0);
        assert_eq!(work(&mut worker, (Call::Serve, soon), &done), End::Closed);
        assert_eq!(done.into_inner(), requests);
        drop(worker); // dropping the worker is enough
        assert_eq!(MappedFile::rings(&config, root.path()), [""; 0]);
    }
    Ok(())
}

/// Only a scheduler that ends in order gives up answers. If it dies, the answers are kept for its successor.
#[test]
fn a_worker_waits_for_the_successor_of_a_scheduler_that_died() -> Result {
    let config = small_session();
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    for number in 0..REQUESTS as u8 {
        scheduler.broadcast(&[number], 1, soon())?;
    }
    let done = Arc::new(AtomicU32::new(0));
    let progress = Arc::clone(&done);
    let working = thread::spawn(move || {
        let end = work(&mut worker, (Call::Serve, soon), &progress);
        (end, worker)
    });
    wait_until("the ring is full", || {
        done.load(Ordering::SeqCst) == ANSWERS_MAX
    });
    let panics = thread::spawn(move || -> () {
        let _scheduler = scheduler;
        panic!("dropped by a panic, it leaves the session as a death would");
    });
    panics.join().expect_err("a panic");
    thread::sleep(Duration::from_millis(300));
    assert!(!working.is_finished());
    assert_eq!(done.load(Ordering::SeqCst), ANSWERS_MAX);

    let mut scheduler = Scheduler::<Frame>::resume(&config)?;
    for number in 0..REQUESTS as u8 {
        let (_, answer) = scheduler.recv_any(soon())?;
        assert_eq!(*answer, [number]);
    }
    scheduler.close()?;
    let (end, worker) = working.join().expect("no panic");
    assert_eq!(end, End::Closed);
    worker.leave()?;
    assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    Ok(())
}

fn root_of_none() -> &'static std::path::Path {
    std::path::Path::new("")
}

/// A session is opened again while a worker still has requests of the first scheduler. The second scheduler
/// receives none of the answers that the first one gave up. It receives the answers to its own requests, and after
/// `resume` also the later answers to those of the first scheduler.
#[test]
fn a_scheduler_that_starts_again_receives_what_is_answered_from_then_on() -> Result {
    for (heard, resumes) in [(0, false), (1, false), (0, true), (1, true)] {
        let config = small_session();
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        for number in 0..4 {
            scheduler.broadcast(&[number], 1, soon())?;
        }
        for _ in 0..3 {
            worker.serve(soon(), |_, request| request.to_vec())?;
        }
        for _ in 0..heard {
            scheduler.recv_any(soon())?.1.release();
        }
        scheduler.close()?;

        let mut scheduler = match resumes {
            true => Scheduler::<Frame>::resume(&config)?,
            false => Scheduler::<Frame>::start(&config)?,
        };
        for number in 4..20 {
            scheduler.broadcast(&[number], 1, soon())?;
        }
        let done = AtomicU32::new(0);
        thread::scope(|scope| -> Result {
            let working = scope.spawn(|| work(&mut worker, (Call::Serve, soon), &done));
            wait_until("the ring is full", || {
                done.load(Ordering::SeqCst) == ANSWERS_MAX
            });
            let first = if resumes { 3 } else { 4 };
            for number in first..20 {
                let (_, answer) = scheduler.recv_any(soon())?;
                assert_eq!(*answer, [number]);
            }
            scheduler.close()?;
            assert_eq!(working.join().expect("no panic"), End::Closed);
            Ok(())
        })?;
        worker.leave()?;
        assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    }
    Ok(())
}

/// A consumer that is not part of the session keeps its unread answers. The worker gets an error for that, and
/// does not wait any longer, either.
#[test]
fn another_consumer_of_answers_holds_up_no_worker_of_a_closed_session() -> Result {
    for call in [Call::Serve, Call::ServeValue, Call::Respond] {
        let config = small_session();
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let depth = config.transport.response_depth;
        let name = config.layout()?.response_ring_name(0);
        let monitor = || {
            let strategy = MyelonWaitStrategy::Block;
            FramedTransportConsumer::<Frame>::attach_with_consumer_id(
                &*name, depth, "monitor", strategy,
            )
        };
        monitor()?.detach()?;
        for number in 0..REQUESTS as u8 {
            scheduler.broadcast(&[number], 1, soon())?;
        }
        let done = Arc::new(AtomicU32::new(0));
        let progress = Arc::clone(&done);
        let (ended, end) = mpsc::channel();
        let working = thread::spawn(move || {
            let end = work(&mut worker, (call, never), &progress);
            ended.send(end).expect("the test waits");
            worker
        });
        for _ in 0..ANSWERS_MAX {
            scheduler.recv_any(soon())?.1.release();
        }
        scheduler.close()?;
        let end = end.recv_timeout(BOUND).expect("it waits no longer");
        assert_eq!(end, End::SessionClosed);
        let mut worker = working.join().expect("no panic");
        assert_eq!(done.load(Ordering::SeqCst), ANSWERS_MAX);
        let next = if call == Call::Respond {
            0
        } else {
            ANSWERS_MAX
        };
        assert_eq!(take(&mut worker)?, [next as u8], "it comes again");
        worker.leave()?;
        assert_eq!(SharedMemory::rings(&config, root_of_none()), [&*name]);
        monitor()?.leave()?;
        assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    }
    Ok(())
}

/// The scheduler has closed the session, and then dies, or takes its time, before it has given up the answers.
#[test]
fn a_scheduler_that_comes_no_further_than_to_close_holds_up_no_worker() -> Result {
    for takes_its_time in [false, true] {
        let config = small_session();
        let rings = config.transport.clone();
        let config = config.with_transport(rings.with_liveness_interval(Duration::from_millis(20)));
        let (layout, depths) = (config.layout()?, &config.transport);
        let mut requests = FramedTransportProducer::<Frame>::create_with_consumers(
            &*layout.rpc_ring_name(),
            depths.rpc_depth,
            ["worker_0"],
        )?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let scheduler = FramedTransportConsumer::<Frame>::attach_with_consumer_id(
            &*layout.response_ring_name(0),
            depths.response_depth,
            "scheduler",
            MyelonWaitStrategy::Block,
        )?;
        for number in 0..u64::from(REQUESTS) {
            // the head of a request is its number, and zeros
            let request = [&(number + 1).to_ne_bytes()[..], &[0; 8], b"ask"].concat();
            requests.send(&request, 1, soon())?;
        }
        let done = Arc::new(AtomicU32::new(0));
        let progress = Arc::clone(&done);
        let (ended, end) = mpsc::channel();
        let working = thread::spawn(move || {
            let end = work(&mut worker, (Call::Serve, never), &progress);
            ended.send(end).expect("the test waits");
            worker
        });
        wait_until("the ring is full", || {
            done.load(Ordering::SeqCst) == ANSWERS_MAX
        });
        requests.close()?;
        if takes_its_time {
            thread::sleep(Duration::from_millis(200));
            scheduler.leave()?;
        } else {
            drop(scheduler);
        }
        let end = end.recv_timeout(BOUND).expect("it waits no longer");
        assert_eq!(end, End::Closed);
        assert_eq!(done.load(Ordering::SeqCst), REQUESTS);
        working.join().expect("no panic").leave()?;
        assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    }
    Ok(())
}

/// Each call that waits ends when the program's token is cancelled, and says so.
#[test]
fn a_token_ends_every_wait() -> Result {
    type Waits = fn(&mut Scheduler<Frame>, &mut Worker<Frame>) -> TransportResult<()>;
    let waits: [(&str, Waits); 15] = [
        ("recv_any", |scheduler, _| {
            scheduler.recv_any(never()).map(drop)
        }),
        ("recv_any_value", |scheduler, _| {
            scheduler.recv_any_value::<Text>(never()).map(drop)
        }),
        ("recv_answer", |scheduler, _| {
            let request = scheduler.send_to(0, b"", 1, never())?;
            scheduler.recv_answer(0, request, never()).map(drop)
        }),
        ("call", |scheduler, _| {
            scheduler.call(0, b"", 1, never()).map(drop)
        }),
        ("gather", |scheduler, _| {
            scheduler.gather(b"", 1, never(), |_, _| ()).map(drop)
        }),
        ("broadcast", |scheduler, _| {
            loop {
                scheduler.broadcast(b"", 1, never())?;
            }
        }),
        ("broadcast_value", |scheduler, _| {
            loop {
                let sent = scheduler.broadcast_value(&text(), 1, never());
                sent.map_err(of_the_transport)?;
            }
        }),
        ("send_to", |scheduler, _| {
            loop {
                scheduler.send_to(0, b"", 1, never())?;
            }
        }),
        ("send_value_to", |scheduler, _| {
            loop {
                let sent = scheduler.send_value_to(0, &text(), 1, never());
                sent.map_err(of_the_transport)?;
            }
        }),
        ("reserve", |scheduler, _| {
            loop {
                scheduler.reserve(1, 1, never())?.publish();
            }
        }),
        ("reserve_to", |scheduler, _| {
            loop {
                scheduler.reserve_to(0, 1, 1, never())?.publish();
            }
        }),
        ("recv", |_, worker| worker.recv(never()).map(drop)),
        ("serve", |_, worker| {
            worker.serve(never(), |_, _| b"").map(drop)
        }),
        ("respond", |_, worker| {
            loop {
                worker.respond(b"", 1, never())?;
            }
        }),
        ("respond_value", |_, worker| {
            loop {
                let sent = worker.respond_value(&text(), 1, never());
                sent.map_err(of_the_transport)?;
            }
        }),
    ];
    // with a hook, and with another policy, a call waits in steps
    for (steps, (name, wait)) in [false, true]
        .iter()
        .flat_map(|it| waits.map(|wait| (it, wait)))
    {
        let token = CancelToken::new();
        let mut config = small_session().with_cancel_token(&token);
        if *steps {
            let rings = config.transport.clone();
            let rings = rings.with_liveness_interval(Duration::from_millis(5));
            config = config
                .with_transport(rings)
                .with_on_worker_death(OnWorkerDeath::Fail);
        }
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        if *steps {
            scheduler.set_death_hook(|_| ());
        }
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let (scheduler, worker) = cancelled(&token, name, move || {
            let error = wait(&mut scheduler, &mut worker).expect_err("it is cancelled");
            (error, (scheduler, worker))
        });
        worker.leave()?;
        scheduler.close()?;
    }
    Ok(())
}

/// The same for calls that the halves alone have.
#[test]
fn a_token_ends_every_wait_of_a_half() -> Result {
    type Waits = fn(
        &mut RequestSender<Frame>,
        &mut ResponseReceiver<Frame>,
        &mut ResponseSender<Frame>,
        RequestId,
    ) -> TransportResult<()>;
    let waits: [(&str, Waits); 9] = [
        ("broadcast_vectored", |requests, _, _, _| {
            loop {
                requests.broadcast_vectored(&[IoSlice::new(b"")], 1, never())?;
            }
        }),
        ("send_vectored_to", |requests, _, _, _| {
            loop {
                requests.send_vectored_to(0, &[IoSlice::new(b"")], 1, never())?;
            }
        }),
        ("recv_any", |_, responses, _, _| {
            responses.recv_any(never()).map(drop)
        }),
        ("recv_answer", |_, responses, _, request| {
            responses.recv_answer(0, request, never()).map(drop)
        }),
        ("send", |_, _, answers, request| {
            let mut reply = answers.reply(request);
            loop {
                reply.send(b"", 1, never())?;
            }
        }),
        ("send_vectored", |_, _, answers, request| {
            let mut reply = answers.reply(request);
            loop {
                reply.send_vectored(&[IoSlice::new(b"")], 1, never())?;
            }
        }),
        ("reserve", |_, _, answers, request| {
            let mut reply = answers.reply(request);
            loop {
                reply.reserve(1, 1, never())?.publish();
            }
        }),
        ("finish", |_, _, answers, request| {
            loop {
                answers.reply(request).finish(b"", 1, never())?;
            }
        }),
        ("give_up", |_, _, answers, request| {
            loop {
                answers.give_up(request, 1, never())?;
            }
        }),
    ];
    for (name, wait) in waits {
        let token = CancelToken::new();
        let config = small_session().with_cancel_token(&token);
        let (mut requests, mut responses) = Scheduler::<Frame>::start(&config)?.split();
        let (received, mut answers) = Worker::<Frame>::start(&config, 0)?.split();
        let request = requests.broadcast(b"", 1, never())?;
        let (requests, responses, answers) = cancelled(&token, name, move || {
            let ended = wait(&mut requests, &mut responses, &mut answers, request);
            let error = ended.expect_err("it is cancelled");
            (error, (requests, responses, answers))
        });
        drop(answers);
        received.leave()?;
        requests.close()?;
        drop(responses);
    }
    Ok(())
}

fn text() -> Text {
    Text(String::from("text"))
}

/// The error of a value that is always encoded.
fn of_the_transport(error: TypedPublishError) -> TransportError {
    match error {
        TypedPublishError::Transport(error) => error,
        error => panic!("{error}"),
    }
}

/// Cancels the token while another thread waits, and returns what that thread has.
fn cancelled<T: Send + 'static>(
    token: &CancelToken,
    name: &str,
    wait: impl FnOnce() -> (TransportError, T) + Send + 'static,
) -> T {
    let (ended, end) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let (error, members) = wait();
        ended.send(error.to_string()).expect("the test waits");
        members
    });
    thread::sleep(Duration::from_millis(20));
    token.cancel();
    let text = end.recv_timeout(BOUND).expect("it waits no longer");
    assert!(text.contains("cancelled"), "{name}: {text}");
    waiting.join().expect("no panic")
}

/// The same where there is no ring yet to wait for.
#[test]
fn a_token_ends_the_wait_for_the_other_side() -> Result {
    for starts_worker in [true, false] {
        let token = CancelToken::new();
        let config = small_session().with_cancel_token(&token);
        let waiting = thread::spawn({
            let config = config.clone();
            move || match starts_worker {
                true => Worker::<Frame>::start(&config, 0)
                    .expect_err("cancelled")
                    .to_string(),
                false => {
                    let mut scheduler = Scheduler::<Frame>::start(&config).expect("starts");
                    let error = scheduler
                        .recv_any(never())
                        .expect_err("cancelled")
                        .to_string();
                    scheduler.close().expect("closed");
                    error
                }
            }
        });
        thread::sleep(Duration::from_millis(20));
        token.cancel();
        wait_until("it waits no longer", || waiting.is_finished());
        let text = waiting.join().expect("no panic");
        assert!(text.contains("cancelled"), "{text}");
        // a worker that has not started has answered nothing, and a scheduler that has sent nothing keeps nothing
        assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    }
    Ok(())
}

/// A token ends waits, not calls that find what they want; and a scheduler shuts down in order when it is cancelled.
#[test]
fn a_token_hides_nothing_that_is_there() -> Result {
    let token = CancelToken::new();
    let config = session(2).with_cancel_token(&token);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = [0, 1].map(|rank| Worker::<Frame>::start(&config, rank).expect("starts"));
    // the first makes a ring of its own that stays empty
    scheduler.send_to(1, b"first", 1, soon())?;
    workers[1].recv(soon())?.done();
    token.cancel();
    scheduler.broadcast(b"ask", 1, never())?;
    for worker in &mut workers {
        worker.serve(never(), |_, _| b"answered")?;
    }
    let end = workers[1].recv(Deadline::after(Duration::ZERO)).map(drop);
    assert!(matches!(
        end,
        Err(TransportError::Recv(RecvError::Cancelled))
    ));
    // one answer is in the ring that is polled last
    let (rank, answer) = scheduler.recv_any(never())?;
    assert_eq!((rank, &*answer), (0, &b"answered"[..]));
    answer.release();
    let id = scheduler.send_to(0, b"last", 1, never())?;
    let serving = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        for mut worker in workers {
            while worker.serve(never(), |_, _| b"done").is_ok() {}
            worker.leave().expect("left");
        }
    });
    let mut answers = Vec::new();
    let report = scheduler.shutdown(soon(), |_, answer| answers.push(answer.request()))?;
    serving.join().expect("no panic");
    assert_eq!((answers.len(), answers[1]), (2, Some(id)));
    assert!(report.kept_for.is_empty(), "{report:?}");
    Ok(())
}

/// A worker is not told of the same death again and again, but of each.
#[test]
fn a_worker_is_told_of_a_death_once() -> Result {
    let config = session(1);
    let rings = config.transport.clone();
    let rings = rings.with_liveness_interval(Duration::from_millis(5));
    let config = config.with_transport(rings);
    let mut worker = None;
    // also a worker that does not wait, but asks now and then
    for polls in [false, true] {
        let starts = Scheduler::<Frame>::start(&config)?;
        let worker = match &mut worker {
            Some(worker) => worker,
            none => none.insert(Worker::<Frame>::start(&config, 0)?),
        };
        let panics = thread::spawn(move || -> () {
            let _scheduler = starts;
            panic!("dropped by a panic, it leaves the session as a death would");
        });
        panics.join().expect_err("a panic");
        let end = Instant::now() + Duration::from_secs(30);
        let told = loop {
            let deadline = match polls {
                false => soon(),
                true => Deadline::after(Duration::ZERO),
            };
            match worker.recv(deadline).map(drop) {
                Err(TransportError::Recv(RecvError::Timeout)) if polls && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(1));
                }
                told => break told,
            }
        };
        assert!(
            matches!(
                told,
                Err(TransportError::Recv(RecvError::ProducerDead { .. }))
            ),
            "{told:?}"
        );
        for _ in 0..2 {
            let waits = worker
                .recv(Deadline::after(Duration::from_millis(50)))
                .map(drop);
            assert!(
                matches!(waits, Err(TransportError::Recv(RecvError::Timeout))),
                "{waits:?}"
            );
        }
    }
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.broadcast(b"", 1, soon())?;
    let mut worker = worker.expect("started");
    worker.recv(soon())?.done();
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A worker that waits for a scheduler to take its answers along, half of which has closed, can be cancelled as well.
#[test]
fn a_token_ends_the_wait_for_a_scheduler_that_closes() -> Result {
    let token = CancelToken::new();
    let config = small_session();
    let (mut requests, mut responses) = Scheduler::<Frame>::start(&config)?.split();
    let mut worker = Worker::<Frame>::start(&config.clone().with_cancel_token(&token), 0)?;
    worker.respond(b"here", 1, soon())?;
    responses.recv_any(soon())?.1.release();
    for _ in 0..REQUESTS {
        requests.broadcast(b"", 1, soon())?;
    }
    requests.close()?;
    let (ended, end) = mpsc::channel();
    let working = thread::spawn(move || {
        let end = work(&mut worker, (Call::Serve, never), &AtomicU32::new(0));
        ended.send(end).expect("the test waits");
        worker
    });
    thread::sleep(Duration::from_millis(20));
    token.cancel();
    let end = end.recv_timeout(BOUND).expect("it waits no longer");
    assert_eq!(end, End::SessionClosed);
    drop(responses);
    working.join().expect("no panic").leave()?;
    assert_eq!(SharedMemory::rings(&config, root_of_none()), [""; 0]);
    Ok(())
}
