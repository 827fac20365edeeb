//! What the log says while a call waits for workers that are not there: after a second, and once of each absence.

use std::thread;
use std::time::Duration;

use crate::heard::while_it;
use crate::shared::{Frame, Result, session, soon, take};
use myelon::{
    Deadline, RunnerMyelonTransportConfig, Scheduler, TransportError, TransportResult, Worker,
};

fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

/// Longer than a call waits before it warns.
const LONG: u64 = 1_200;

/// A session whose members check for deaths every 5 ms.
fn config(workers: usize) -> RunnerMyelonTransportConfig {
    let config = session(workers);
    let rings = config.transport.clone();
    config.with_transport(rings.with_liveness_interval(Duration::from_millis(5)))
}

/// A worker that has sent a message.
fn started(config: &RunnerMyelonTransportConfig, rank: usize) -> Result<Worker<Frame>> {
    let mut worker = Worker::<Frame>::start(config, rank)?;
    worker.respond(b"ready", 1, soon())?;
    Ok(worker)
}

/// Dropped by a panic, it leaves its rings as a death does.
fn dies(worker: Worker<Frame>) {
    let dying = thread::spawn(move || {
        let _worker = worker;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(dying.join().is_err());
}

/// What the log says of workers during a call that waits in vain.
fn heard(call: impl FnOnce() -> TransportResult<()>) -> Vec<String> {
    let (waited, heard) = while_it(call);
    assert!(waited.is_err(), "it waits in vain");
    let about = heard.into_iter();
    about.filter(|text| text.starts_with("worker ")).collect()
}

/// In the words of the receiving half, which knows neither requests nor policies.
fn has_died(rank: usize) -> String {
    let pid = std::process::id();
    format!(
        "worker {rank} has died (pid {pid}): a call waits for what it sends. Start a worker of this rank, or give it \
         up with remove_worker()"
    )
}

#[test]
fn a_call_that_waits_for_any_worker_warns_of_the_dead_once() -> Result {
    let config = config(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    // worker 1 has not come, which is no reason to warn
    for _ in 0..2 {
        let worker = started(&config, 0)?;
        scheduler.recv_any(soon())?.1.release();
        dies(worker);
        let texts = heard(|| scheduler.recv_any(within(200)).map(drop));
        assert_eq!(texts, [""; 0], "not yet");
        let texts = heard(|| scheduler.recv_any(within(LONG)).map(drop));
        assert_eq!(texts, [has_died(0)]);
    }
    let texts = heard(|| scheduler.recv_any(within(LONG)).map(drop));
    assert_eq!(texts, [""; 0], "it was told");
    // its successor is there, though it sends nothing
    let successor = Worker::<Frame>::start(&config, 0)?;
    assert_eq!(
        heard(|| scheduler.recv_any(within(LONG)).map(drop)),
        [""; 0]
    );
    successor.leave()?;
    assert_eq!(
        heard(|| scheduler.recv_any(within(LONG)).map(drop)),
        [""; 0]
    );
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_half_that_waits_for_an_answer_warns_of_its_worker_once() -> Result {
    let config = config(2);
    let (mut requests, mut responses) = Scheduler::<Frame>::start(&config)?.split();
    let dead = started(&config, 0)?;
    responses.recv_any(soon())?.1.release();
    let first = requests.send_to(0, b"", 1, soon())?;
    dies(dead);
    let texts = heard(|| responses.recv_answer(0, first, within(2 * LONG)).map(drop));
    assert_eq!(texts, [has_died(0)]);
    assert_eq!(
        heard(|| responses.recv_any(within(LONG)).map(drop)),
        [""; 0]
    );
    let second = requests.send_to(1, b"", 1, soon())?;
    let texts = heard(|| responses.recv_answer(1, second, within(2 * LONG)).map(drop));
    assert!(
        texts.len() == 1
            && texts[0].starts_with("worker 1 has not come, or has left: a call waits"),
        "{texts:?}"
    );
    // one that is there and slow is no reason
    let mut slow = Worker::<Frame>::start(&config, 1)?;
    let texts = heard(|| responses.recv_answer(1, second, within(LONG)).map(drop));
    assert_eq!(texts, [""; 0]);
    take(&mut slow)?;
    slow.leave()?;
    let mut successor = Worker::<Frame>::start(&config, 0)?;
    take(&mut successor)?;
    successor.leave()?;
    requests.close()?;
    Ok(())
}

/// A worker that is alive and does nothing is named, with what waits for it. One that sends pieces moves.
#[test]
fn a_live_worker_that_does_not_move_is_named() -> Result {
    let config = config(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let start = format!(
        "worker 0 is alive (pid {}) and has not moved for 1",
        std::process::id()
    );
    let is_named = |texts: &[String], what: &str| {
        let [text] = texts else {
            panic!("{texts:?}");
        };
        assert!(text.starts_with(&start) && text.contains(what), "{text}");
    };
    let sent = scheduler.send_to(0, b"", 1, soon())?;
    let texts = heard(|| {
        let waited = scheduler.recv_answer(0, sent, within(LONG)).map(drop);
        let error = waited.as_ref().expect_err("no answer").to_string();
        assert!(
            error.contains("1 not completed, the oldest was sent 1")
                && error.contains("it has not received it"),
            "{error}"
        );
        waited
    });
    is_named(
        &texts,
        &format!("a call waits for its answer to request {sent}"),
    );

    // the next standstill of this worker has to be longer, so that a slow one does not fill the log
    thread::sleep(Duration::from_millis(LONG));
    let texts = heard(|| scheduler.recv_answer(0, sent, within(LONG)).map(drop));
    assert_eq!(texts, [""; 0]);
    let streaming = thread::spawn(move || -> Result<_> {
        let request = requests.recv(soon())?;
        let mut reply = responses.reply(request.id());
        for _ in 0..8 {
            reply.send(b"", 1, soon())?;
            thread::sleep(Duration::from_millis(LONG / 3));
        }
        reply.finish(b"", 1, soon())?;
        request.done();
        Ok((requests, responses))
    });
    let (all, texts) = while_it(|| -> TransportResult<()> {
        while !scheduler.recv_answer(0, sent, soon())?.is_last() {}
        Ok(())
    });
    all?;
    assert_eq!(texts, [""; 0], "it moves");
    let (mut requests, responses) = streaming.join().expect("no panic")?;

    // a ring that it does not empty
    let (_, texts) = while_it(|| while scheduler.send_to(0, b"", 1, within(0)).is_ok() {});
    assert_eq!(texts, [""; 0]);
    let texts = heard(|| scheduler.send_to(0, b"", 1, within(LONG)).map(drop));
    is_named(&texts, "requests to it wait");
    while requests
        .recv(within(0))
        .map(|request| request.done())
        .is_ok()
    {}
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_live_worker_that_holds_up_all_or_the_end_is_named() -> Result {
    let config = config(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut idle = Worker::<Frame>::start(&config, 0)?;
    let mut busy = Worker::<Frame>::start(&config, 1)?;
    while scheduler.broadcast(b"", 1, within(0)).is_ok() {
        take(&mut busy)?;
    }
    let texts = heard(|| scheduler.broadcast(b"", 1, within(LONG)).map(drop));
    assert!(
        texts.len() == 1 && texts[0].contains("requests to all workers wait for it"),
        "{texts:?}"
    );
    assert!(texts[0].starts_with("worker 0 is alive"), "{texts:?}");
    while idle.recv(within(0)).map(|request| request.done()).is_ok() {}
    scheduler.send_to(1, b"", 1, soon())?;
    let texts = heard(|| {
        let report = scheduler.shutdown(within(LONG), |_, _| ())?;
        assert_eq!(report.unanswered, [0, 1]);
        Err(TransportError::Recv(myelon::RecvError::Timeout))
    });
    assert!(
        texts.len() == 1 && texts[0].starts_with("worker 1 is alive"),
        "{texts:?}"
    );
    assert!(texts[0].contains("the shutdown waits for it"), "{texts:?}");
    take(&mut busy)?;
    for worker in [idle, busy] {
        worker.leave()?;
    }
    Ok(())
}

/// Of the workers that have something to do: one is dead, and one has not come.
#[test]
fn a_shutdown_warns_of_the_workers_that_hold_it_up_once() -> Result {
    let config = config(3);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let idle = started(&config, 2)?;
    for rank in [0, 1] {
        scheduler.send_to(rank, b"", 1, soon())?;
    }
    dies(started(&config, 0)?);
    dies(idle);
    let mut report = None;
    let texts = heard(|| {
        report = Some(scheduler.shutdown(within(2 * LONG), |_, _| ())?);
        Err(TransportError::Recv(myelon::RecvError::Timeout))
    });
    assert_eq!(report.expect("it has ended").unanswered, [1, 1, 0]);
    let pid = std::process::id();
    let states = [
        format!("0 has died (pid {pid})"),
        String::from("1 has not come"),
    ];
    assert_eq!(texts.len(), 2, "{texts:?}");
    for (text, state) in texts.iter().zip(states) {
        let start =
            format!("worker {state}: the shutdown waits for it to complete its requests. Start");
        assert!(
            text.starts_with(&start) && text.contains("OnWorkerDeath::Wait"),
            "{text}"
        );
    }
    for rank in [0, 1, 2] {
        let mut worker = Worker::<Frame>::start(&config, rank)?;
        while take(&mut worker).is_ok() {}
        worker.leave()?;
    }
    Ok(())
}
