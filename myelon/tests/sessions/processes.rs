//! Sessions whose members are processes: how they end, and which member the errors name.

use std::thread;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Backing, Frame, Result, soon};
use crate::text_codec::Text;
use myelon::{
    Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, SendError, SharedMemory,
    TransportError, TypedRecvError, TypedServeError, Worker, portable_shm_segment_name,
};

const REQUESTS: usize = 600;

/// A session with default settings: a worker's ring has space for 256 answers.
fn session(label: &str) -> RunnerMyelonTransportConfig {
    RunnerMyelonTransportConfig::new(label, 1)
}

/// Does nothing unless this process was started as a member.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((role, label)) = role() else {
        return Ok(());
    };
    match &*role {
        "worker" => work(&session(&label)),
        "panicking worker" => panic_in_a_handler(&session(&label)),
        "streaming worker" => stream(&session(&label), false),
        "replying worker" => stream(&session(&label), true),
        _ => schedule(&session(&label)),
    }
}

/// Answers requests until the session ends.
fn work(config: &RunnerMyelonTransportConfig) -> Result {
    exit_when_the_test_ends();
    let mut worker = Worker::<Frame>::start(config, 0)?;
    say("started");
    let mut served = 0;
    let end = loop {
        match worker.serve_value(Deadline::NEVER, |_, text: Text| text) {
            Ok(_) => served += 1,
            Err(error) => break error,
        }
        if served == config.transport.response_depth {
            say("full");
        }
    };
    match end {
        TypedServeError::Recv(TypedRecvError::Recv(RecvError::Closed)) => {
            say(&format!("closed after {served}"));
        }
        other => say(&format!("{other}")),
    }
    worker.leave()?;
    say("left");
    Ok(())
}

fn panic_in_a_handler(config: &RunnerMyelonTransportConfig) -> Result {
    let mut worker = Worker::<Frame>::start(config, 0)?;
    say("started");
    worker.serve(Deadline::NEVER, |_, _| -> [u8; 0] {
        panic!("as the test wants it")
    })?;
    Ok(())
}

/// Answers each request byte by byte while the request is lent, and waits for an order after a '!'. If it replies, the
/// bytes are pieces of an answer.
fn stream(config: &RunnerMyelonTransportConfig, replies: bool) -> Result {
    let (mut requests, mut responses) = Worker::<Frame>::start(config, 0)?.split();
    let mut orders = std::io::stdin().lines();
    say("started");
    loop {
        let request = match requests.recv(Deadline::NEVER) {
            Ok(request) => request,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        };
        let mut pause = |piece: &[u8]| {
            if piece == b"!" {
                say("in the middle");
                orders.next().expect("an order").expect("read");
            }
        };
        if replies {
            let mut reply = responses.reply(request.id());
            let (last, others) = request.split_last().expect("not empty");
            for piece in others.chunks(1) {
                reply.send(piece, request.kind(), Deadline::NEVER)?;
                pause(piece);
            }
            reply.finish(&[*last], request.kind(), Deadline::NEVER)?;
        } else {
            for piece in request.chunks(1) {
                responses.respond(piece, request.kind(), Deadline::NEVER)?;
                pause(piece);
            }
        }
        request.done();
    }
    assert!(matches!(
        responses.respond(b"late", 1, Deadline::NEVER),
        Err(TransportError::SessionClosed { .. })
    ));
    responses.close()?;
    requests.leave()?;
    say("left");
    Ok(())
}

/// Runs the commands that the test sends.
fn schedule(config: &RunnerMyelonTransportConfig) -> Result {
    let mut scheduler = Scheduler::<Frame>::start(config)?;
    say("started");
    for order in std::io::stdin().lines() {
        match order?.as_str() {
            "send" => {
                for number in 0..REQUESTS {
                    scheduler.broadcast_value(&Text(number.to_string()), 1, soon())?;
                }
            }
            "hear" => scheduler.recv_any(soon())?.1.release(),
            "close" => {
                scheduler.close()?;
                say("closed");
                return Ok(());
            }
            other => panic!("no such order: {other}"),
        }
        say("done");
    }
    Ok(())
}

/// A worker's ring has space for 256 answers, and the scheduler reads `heard` of them. Then it closes the
/// session while the worker is in a call without a deadline.
fn a_worker_ends_with_its_scheduler(heard: usize) -> Result {
    let label = portable_shm_segment_name("ends");
    let mut scheduler = Member::start(module_path!(), "scheduler", &label)?;
    assert_eq!(scheduler.answer(), "started");
    let mut worker = Member::start(module_path!(), "worker", &label)?;
    assert_eq!(worker.answer(), "started");
    scheduler.tell("send")?;
    assert_eq!(scheduler.answer(), "done");
    assert_eq!(worker.answer(), "full");
    for _ in 0..heard {
        scheduler.tell("hear")?;
        assert_eq!(scheduler.answer(), "done");
    }
    thread::sleep(Duration::from_millis(200));
    assert!(worker.answers.try_recv().is_err(), "it waits for space");

    scheduler.tell("close")?;
    assert_eq!(scheduler.answer(), "closed");
    assert_eq!(worker.answer(), format!("closed after {REQUESTS}"));
    assert_eq!(worker.answer(), "left");
    for mut member in [scheduler, worker] {
        assert!(member.process.wait()?.success());
    }
    let nowhere = std::path::Path::new("");
    assert_eq!(SharedMemory::rings(&session(&label), nowhere), [""; 0]);
    Ok(())
}

#[test]
fn a_worker_none_of_whose_answers_was_read_ends_with_its_scheduler() -> Result {
    a_worker_ends_with_its_scheduler(0)
}

#[test]
fn a_worker_some_of_whose_answers_were_read_ends_with_its_scheduler() -> Result {
    a_worker_ends_with_its_scheduler(3)
}

/// The error for a worker that finds no space for the messages that it sends.
fn told_when_full(worker: &mut Worker<Frame>) -> String {
    loop {
        match worker.respond(b"news", 1, Deadline::after(Duration::from_millis(1))) {
            Ok(_) => {}
            Err(TransportError::Send(SendError::Timeout { blocked_on })) => return blocked_on,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_full_workers_error_names_the_scheduler_and_never_its_own_process() -> Result {
    let label = portable_shm_segment_name("names");
    let own = format!("pid {}", std::process::id());
    let mut scheduler = Member::start(module_path!(), "scheduler", &label)?;
    assert_eq!(scheduler.answer(), "started");
    let mut worker = Worker::<Frame>::start(&session(&label), 0)?;
    let told = told_when_full(&mut worker);
    assert!(told.contains("scheduler") && !told.contains(&own), "{told}");

    scheduler.tell("hear")?;
    assert_eq!(scheduler.answer(), "done");
    let told = told_when_full(&mut worker);
    let here = [&scheduler.pid(), "'scheduler'", "alive"];
    assert!(here.iter().all(|words| told.contains(*words)), "{told}");
    assert!(!told.contains(&own), "{told}");

    scheduler.kill()?;
    let told = told_when_full(&mut worker);
    let away = [&scheduler.pid(), "'scheduler'", "not attached"];
    assert!(away.iter().all(|words| told.contains(*words)), "{told}");
    assert!(!told.contains(&own), "{told}");

    Scheduler::<Frame>::start(&session(&label))?.close()?;
    worker.leave()?;
    let nowhere = std::path::Path::new("");
    assert_eq!(SharedMemory::rings(&session(&label), nowhere), [""; 0]);
    Ok(())
}

#[test]
fn a_worker_killed_while_it_streams_an_answer_receives_the_request_again() -> Result {
    let label = portable_shm_segment_name("streams");
    let mut scheduler = Scheduler::<Frame>::start(&session(&label))?;
    scheduler.broadcast(b"ab!c", 7, soon())?;
    let mut heard = |pieces: &[u8]| -> Result {
        for piece in pieces {
            let (rank, answer) = scheduler.recv_any(soon())?;
            assert_eq!((rank, answer.kind(), &*answer), (0, 7, &[*piece][..]));
        }
        Ok(())
    };

    let mut first = Member::start(module_path!(), "streaming worker", &label)?;
    assert_eq!(first.answer(), "started");
    assert_eq!(first.answer(), "in the middle");
    heard(b"ab!")?;
    first.kill()?;

    let mut second = Member::start(module_path!(), "streaming worker", &label)?;
    assert_eq!(second.answer(), "started");
    assert_eq!(second.answer(), "in the middle");
    heard(b"ab!")?;
    second.tell("go on")?;
    heard(b"c")?;

    let (mut requests, mut responses) = scheduler.split();
    requests.broadcast(b"x", 7, soon())?;
    let (_, answer) = responses.recv_any(soon())?;
    assert_eq!(&*answer, b"x", "the first request was done");
    answer.release();
    requests.close()?;
    assert_eq!(second.answer(), "left");
    assert!(second.process.wait()?.success());
    drop(responses);
    let nowhere = std::path::Path::new("");
    assert_eq!(SharedMemory::rings(&session(&label), nowhere), [""; 0]);
    Ok(())
}

#[test]
fn pieces_are_iterated_once_though_their_worker_is_killed() -> Result {
    let label = portable_shm_segment_name("streams");
    let mut scheduler = Scheduler::<Frame>::start(&session(&label))?;
    let mut first = Member::start(module_path!(), "replying worker", &label)?;
    let mut pieces = scheduler.call_streaming(0, b"ab!c", 7, soon())?;
    let request = pieces.request();
    let mut next = |number: u32, bytes: &[u8]| -> Result<bool> {
        let piece = pieces.next().expect("not the last one")?;
        assert_eq!(
            (piece.rank, piece.request, piece.kind),
            (0, Some(request), 7)
        );
        assert_eq!((piece.number, &*piece.bytes), (number, bytes));
        Ok(piece.is_last)
    };
    assert!(!next(0, b"a")?);
    assert_eq!(
        (first.answer(), first.answer()),
        ("started".into(), "in the middle".into())
    );
    first.kill()?;
    assert!(!next(1, b"b")?);
    let mut second = Member::start(module_path!(), "replying worker", &label)?;
    assert_eq!(
        (second.answer(), second.answer()),
        ("started".into(), "in the middle".into())
    );
    second.tell("go on")?;
    assert!(!next(2, b"!")? && next(3, b"c")?);
    assert!(pieces.next().is_none());

    // an answer that is late ends the iterator, and can be received all the same
    let soon_over = Deadline::after(Duration::from_millis(20));
    let mut pieces = scheduler.call_streaming(0, b"!d", 7, soon_over)?;
    let request = pieces.request();
    let in_time = pieces
        .by_ref()
        .take_while(std::result::Result::is_ok)
        .count();
    assert!(in_time <= 1 && pieces.next().is_none());
    assert_eq!(second.answer(), "in the middle");
    second.tell("go on")?;
    for late in &[b"!", b"d"][in_time..] {
        assert_eq!(&*scheduler.recv_answer(0, request, soon())?, *late);
    }
    scheduler.close()?;
    assert_eq!(second.answer(), "left");
    assert!(second.process.wait()?.success());
    let nowhere = std::path::Path::new("");
    assert_eq!(SharedMemory::rings(&session(&label), nowhere), [""; 0]);
    Ok(())
}

/// Two schedulers of one label, and two workers of one rank: the error names both processes, and what to do.
#[test]
fn a_second_member_is_refused_by_the_names_of_both() -> Result {
    let label = portable_shm_segment_name("two");
    let own = format!("pid {}", std::process::id());
    let mut scheduler = Member::start(module_path!(), "scheduler", &label)?;
    let mut worker = Member::start(module_path!(), "worker", &label)?;
    assert_eq!(
        (scheduler.answer(), worker.answer()),
        ("started".into(), "started".into())
    );
    let refused = Scheduler::<Frame>::start(&session(&label)).map(drop);
    let refused = refused.expect_err("one is alive");
    let words = [
        "the scheduler of session",
        &*label,
        &scheduler.pid(),
        &own,
        "another label",
    ];
    let says = |error: &TransportError, words: &[&str]| {
        let text = error.to_string();
        assert!(words.iter().all(|words| text.contains(*words)), "{text}");
        assert!(
            matches!(error, TransportError::MemberExists { .. }),
            "{text}"
        );
    };
    says(&refused, &words);
    let refused = Worker::<Frame>::start(&session(&label), 0).map(drop);
    let refused = refused.expect_err("one is alive");
    says(
        &refused,
        &[
            "worker 0 of session",
            &*label,
            &worker.pid(),
            &own,
            "another rank",
        ],
    );
    // the first ones go on
    scheduler.tell("send")?;
    assert_eq!(
        (scheduler.answer(), worker.answer()),
        ("done".into(), "full".into())
    );
    scheduler.tell("close")?;
    assert_eq!(
        (scheduler.answer(), worker.answer()),
        ("closed".into(), "closed after 600".into())
    );
    assert_eq!(worker.answer(), "left");
    Ok(())
}

/// The number of workers, and the depth of a ring: the error says both values.
#[test]
fn a_worker_that_is_configured_otherwise_says_both_values() -> Result {
    let label = portable_shm_segment_name("two");
    let mut scheduler = Member::start(module_path!(), "scheduler", &label)?;
    assert_eq!(scheduler.answer(), "started");
    let mut more = session(&label);
    more.workers = 8;
    let mut worker = Worker::<Frame>::start(&more, 0)?;
    // the scheduler attaches to the worker's ring when it receives
    worker.respond(b"here", 1, soon())?;
    scheduler.tell("hear")?;
    assert_eq!(scheduler.answer(), "done");
    for _ in 0..2 {
        let refused = worker.recv(soon()).map(drop).expect_err("another number");
        assert_eq!(
            refused.to_string(),
            format!(
                "worker 0 of session '{label}' is configured for 8 workers, and its scheduler for 1: use the same \
                 number in all processes"
            )
        );
    }
    worker.leave()?;
    let config = session(&label);
    let deeper = config.transport.clone().with_rpc_depth(2048);
    let refused = Worker::<Frame>::start(&config.clone().with_transport(deeper), 0).map(drop);
    let text = refused.expect_err("another depth").to_string();
    assert!(
        text.contains("is 1024 slots, expected 2048 slots"),
        "{text}"
    );
    scheduler.tell("close")?;
    assert_eq!(scheduler.answer(), "closed");
    Ok(())
}

/// Without a policy that skips panics, the worker's process ends, and its successor gets the request.
#[test]
fn a_panic_ends_the_worker_and_its_successor_gets_the_request() -> Result {
    let label = portable_shm_segment_name("panics");
    let mut scheduler = Scheduler::<Frame>::start(&session(&label))?;
    let request = scheduler.send_to(0, b"dangerous", 1, soon())?;
    let mut first = Member::start(module_path!(), "panicking worker", &label)?;
    assert_eq!(first.answer(), "started");
    assert!(!first.process.wait()?.success());
    let state = scheduler.state()[0];
    assert_eq!(
        (state.is_away, state.in_flight, state.deliveries),
        (true, 1, 1)
    );
    let mut second = Member::start(module_path!(), "worker", &label)?;
    assert_eq!(&*scheduler.recv_answer(0, request, soon())?, b"dangerous");
    scheduler.close()?;
    for expected in ["started", "closed after 1", "left"] {
        assert_eq!(second.answer(), expected);
    }
    let nowhere = std::path::Path::new("");
    assert_eq!(SharedMemory::rings(&session(&label), nowhere), [""; 0]);
    Ok(())
}
