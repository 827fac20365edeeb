//! The errors of sessions name the session.

use std::collections::HashSet;
use std::mem::discriminant;
use std::thread;
use std::time::Duration;

use crate::shared::{Frame, Result, session, soon, take};
use myelon::{Deadline, OnWorkerDeath, Scheduler, Worker};

/// That each variant has a label is checked in `tests/tests/troubleshooting.rs`; here, that it is the session's.
#[test]
fn every_error_of_a_session_names_it() -> Result {
    let config = session(2).with_on_worker_death(OnWorkerDeath::Fail);
    let mut errors = Vec::new();
    let (mut none, mut more) = (config.clone(), config.clone());
    (none.workers, more.workers) = (0, 3);
    errors.extend(Scheduler::<Frame>::start(&none).err());
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    errors.extend(Scheduler::<Frame>::start(&config).err());
    errors.extend(Worker::<Frame>::start(&config, 2).err());

    let mut worker = Worker::<Frame>::start(&more, 0)?;
    worker.respond(b"here", 1, soon())?;
    scheduler.recv_any(soon())?.1.release();
    errors.extend(worker.recv(soon()).err());
    worker.leave()?;
    errors.extend(scheduler.send_to(0, b"", 1, soon()).err());

    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let sent = scheduler.send_to(0, b"", 1, soon())?;
    let passed = Deadline::after(Duration::ZERO);
    errors.extend(scheduler.recv_answer(0, sent, passed).err());
    // more than are kept
    let talks = thread::spawn(move || {
        for _ in 0..40 {
            responses.respond(b"", 1, soon()).expect("sent");
        }
        responses
    });
    errors.extend(scheduler.recv_answer(0, sent, soon()).err());
    for _ in 0..40 {
        scheduler.recv_any(soon())?.1.release();
    }
    let mut responses = talks.join().expect("no panic");
    let request = requests.recv(soon())?;
    let mut reply = responses.reply(request.id());
    reply.finish(b"", 1, soon())?;
    errors.extend(reply.send(b"", 1, soon()).err());
    request.done();
    drop((requests, responses)); // as if it had died
    errors.extend(scheduler.call(0, b"", 1, soon()).err());

    let mut worker = Worker::<Frame>::start(&config, 0)?;
    take(&mut worker)?;
    // this request holds the shutdown up
    scheduler.send_to(1, b"", 1, soon())?;
    let shutting = thread::spawn(move || scheduler.shutdown(soon(), |_, _| {}));
    errors.extend(worker.recv(soon()).err());
    let mut other = Worker::<Frame>::start(&config, 1)?;
    take(&mut other)?;
    shutting.join().expect("no panic")?;
    errors.extend(worker.respond(b"", 1, soon()).err());
    other.leave()?;
    worker.leave()?;

    let kinds: HashSet<_> = errors.iter().map(discriminant).collect();
    assert_eq!((errors.len(), kinds.len()), (11, 11), "{errors:?}");
    let name = format!("session '{}'", config.session);
    for error in errors {
        assert!(error.to_string().contains(&name), "{error}");
    }
    Ok(())
}
