//! What a scheduler does about workers that are not there: which of them hold it up, since when, and what is still
//! received from them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon, take};
use myelon::{
    Deadline, OnWorkerDeath, RunnerMyelonTransportConfig, Scheduler, SendError, SharedMemory,
    TransportError, Worker,
};

const RING: usize = 16;

fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

/// A session whose scheduler checks for deaths every millisecond.
pub(crate) fn watchful(workers: usize, policy: OnWorkerDeath) -> RunnerMyelonTransportConfig {
    let config = session(workers).with_on_worker_death(policy);
    let rings = config.transport.clone();
    let rings = rings.with_liveness_interval(Duration::from_millis(1));
    config.with_transport(rings)
}

/// Fills the common ring.
fn fill(scheduler: &mut Scheduler<Frame>) -> TransportError {
    for _ in 0..=RING {
        if let Err(error) = scheduler.broadcast(b"", 1, within(100)) {
            return error;
        }
    }
    panic!("the ring never fills");
}

/// The time after which a worker is removed begins anew when the worker has come back in between.
#[test]
fn an_absence_ends_when_the_worker_comes_back() -> Result {
    let patience = Duration::from_millis(400);
    let config = watchful(1, OnWorkerDeath::RemoveAfter(patience));
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    drop(Worker::<Frame>::start(&config, 0)?);
    let first = scheduler.call(0, b"first", 1, within(50)).map(drop);
    assert!(
        matches!(first, Err(TransportError::NoAnswer { .. })),
        "{first:?}"
    );
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.serve(soon(), |_, _| b"done")?;
    scheduler.recv_any(soon())?.1.release();
    drop(worker);
    thread::sleep(patience);
    // it was away for that long, but no call has waited for it
    let second = scheduler.call(0, b"second", 1, within(50)).map(drop);
    assert!(
        matches!(second, Err(TransportError::NoAnswer { .. })),
        "{second:?}"
    );
    let third = scheduler.call(0, b"third", 1, soon()).map(drop);
    assert!(
        matches!(
            third,
            Err(TransportError::WorkerDied {
                is_removed: true,
                ..
            })
        ),
        "{third:?}"
    );
    scheduler.close()?;
    Ok(())
}

/// A notice that waits for space is a wait like any other.
#[test]
fn a_notice_that_finds_no_space_ends_as_the_policy_says() -> Result {
    let config = watchful(2, OnWorkerDeath::Fail);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    drop(Worker::<Frame>::start(&config, 0)?);
    let mut other = Worker::<Frame>::start(&config, 1)?;
    let full = fill(&mut scheduler);
    assert!(
        matches!(full, TransportError::WorkerDied { rank: 0, .. }),
        "{full}"
    );
    scheduler.send_to(1, b"alone", 1, soon())?;
    let error = scheduler.broadcast(b"", 1, soon()).unwrap_err();
    assert!(
        matches!(error, TransportError::WorkerDied { rank: 0, .. }),
        "{error}"
    );
    for _ in 0..RING {
        other.recv(soon())?.done();
    }
    assert_eq!(take(&mut other)?, b"alone");
    other.leave()?;
    scheduler.remove_worker(0)?;
    scheduler.close()?;
    Ok(())
}

/// A worker that has died but has read further than the one that holds the ring is not the reason.
#[test]
fn only_the_worker_that_holds_the_ring_counts() -> Result {
    let config = watchful(2, OnWorkerDeath::Fail);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let slow = Worker::<Frame>::start(&config, 0)?;
    let mut dead = Worker::<Frame>::start(&config, 1)?;
    scheduler.broadcast(b"", 1, soon())?;
    dead.recv(soon())?.done();
    drop(dead);
    let error = fill(&mut scheduler);
    assert!(
        matches!(error, TransportError::Send(SendError::Timeout { .. })),
        "{error}"
    );
    slow.leave()?;
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}

/// Requests that an earlier scheduler kept for a worker that never came are no death.
#[test]
fn a_worker_that_has_never_come_has_not_died() -> Result {
    let config = watchful(2, OnWorkerDeath::Fail);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.broadcast(b"", 1, soon())?;
    Worker::<Frame>::start(&config, 0)?.leave()?;
    assert_eq!(scheduler.close()?.kept_for, ["worker_1"]);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let missing = scheduler.missing_workers();
    assert!(missing.len() == 2 && !missing[1].is_away, "{missing:?}");
    let error = scheduler.call(1, b"", 1, within(100)).map(drop);
    assert!(
        matches!(error, Err(TransportError::NoAnswer { .. })),
        "{error:?}"
    );
    for rank in [0, 1] {
        scheduler.remove_worker(rank)?;
    }
    scheduler.close()?;
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

/// A worker may be killed while it leaves: then it has a place in its own ring alone.
#[test]
fn a_place_in_the_ring_of_one_worker_is_seen() -> Result {
    let config = watchful(1, OnWorkerDeath::RemoveAfter(Duration::from_millis(20)));
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    scheduler.send_to(0, b"done", 1, soon())?;
    worker.recv(soon())?.done();
    drop(worker);
    // what a kill in the middle of `leave` leaves
    scheduler.requests().ring().remove_consumer("worker_0")?;
    assert!(scheduler.missing_workers()[0].is_away);
    let error = scheduler.call(0, b"lost", 1, soon()).map(drop);
    assert!(
        matches!(
            error,
            Err(TransportError::WorkerDied {
                is_removed: true,
                ..
            })
        ),
        "{error:?}"
    );
    assert!(!scheduler.missing_workers()[0].is_away);
    scheduler.close()?;
    Ok(())
}

/// Whatever the policy, a call ends if nothing is kept for the worker that it waits for.
#[test]
fn a_call_to_a_worker_that_is_gone_says_so() -> Result {
    for leaves in [true, false] {
        let config = watchful(2, OnWorkerDeath::Wait);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let gone = Worker::<Frame>::start(&config, 0)?;
        match leaves {
            true => gone.leave()?,
            false => {
                drop(gone);
                scheduler.remove_worker(0)?;
            }
        }
        let error = scheduler.call(0, b"", 1, Deadline::NEVER).map(drop);
        assert!(
            matches!(error, Err(TransportError::WorkerGone { rank: 0, .. })),
            "{error:?}"
        );
        let config_of_other = config.clone();
        let other = thread::spawn(move || {
            let mut other = Worker::<Frame>::start(&config_of_other, 1).expect("starts");
            other.serve(soon(), |_, _| b"here").expect("served");
            other
        });
        let mut answers = Vec::new();
        let gathered =
            scheduler.gather(b"who?", 1, Deadline::NEVER, |rank, _| answers.push(rank))?;
        assert_eq!((answers, gathered.missing), (vec![1], vec![0]));
        other.join().expect("no panic").leave()?;
        scheduler.close()?;
    }
    Ok(())
}

/// The answer of a worker that has died since counts, even if its ring has just come.
#[test]
fn what_a_worker_sent_before_it_died_is_received() -> Result {
    for policy in [
        OnWorkerDeath::Fail,
        OnWorkerDeath::RemoveAfter(Duration::ZERO),
    ] {
        let config = watchful(1, policy);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let id = scheduler.send_to(0, b"", 1, soon())?;
        // it checks for workers again in ten milliseconds
        assert!(scheduler.recv_any(within(0)).is_err());
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        worker.serve(soon(), |_, _| b"the last")?;
        drop(worker);
        assert_eq!(&*scheduler.recv_answer(0, id, soon())?, b"the last");
        if policy == OnWorkerDeath::Fail {
            scheduler.remove_worker(0)?;
        }
        scheduler.close()?;
    }
    Ok(())
}

#[test]
fn a_shutdown_waits_for_a_dead_worker_as_the_policy_says() -> Result {
    let removal = OnWorkerDeath::RemoveAfter(Duration::from_millis(20));
    // a worker that has died before it came to the ring of the requests to it has not done them either
    for (policy, is_to_all) in [
        (OnWorkerDeath::Fail, true),
        (OnWorkerDeath::Fail, false),
        (removal, true),
        (removal, false),
    ] {
        let config = watchful(1, policy);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let dead = Worker::<Frame>::start(&config, 0)?;
        match is_to_all {
            true => scheduler.broadcast(b"", 1, soon())?,
            false => scheduler.send_to(0, b"", 1, soon())?,
        };
        drop(dead);
        match (policy, scheduler.shutdown(Deadline::NEVER, |_, _| ())) {
            (OnWorkerDeath::Fail, Err(TransportError::WorkerDied { rank: 0, .. })) => {
                // the session is closed, and the request is kept
                let mut late = Worker::<Frame>::start(&config, 0)?;
                late.recv(soon())?.done();
                late.leave()?;
            }
            (OnWorkerDeath::RemoveAfter(_), Ok(report)) => {
                assert!(report.kept_for.is_empty(), "{report:?}");
            }
            (_, ended) => panic!("{policy:?}: {ended:?}"),
        }
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

/// A worker comes, does everything and goes while a scheduler that shuts down does not check, twice.
#[test]
fn a_shutdown_receives_the_answers_of_workers_that_have_just_come() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    for _ in 0..2 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    // it checks for workers again in ten milliseconds
    assert!(scheduler.recv_any(within(0)).is_err());
    for _ in 0..2 {
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        worker.serve(soon(), |_, _| b"done")?;
        drop(worker);
    }
    let mut answers = 0;
    scheduler.shutdown(soon(), |_, _| answers += 1)?;
    assert_eq!(answers, 2);
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

/// A worker that has died after it has done everything is no reason to fail.
#[test]
fn a_shutdown_does_not_wait_for_a_dead_worker_that_has_nothing_to_do() -> Result {
    let config = watchful(2, OnWorkerDeath::Fail);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut idle = Worker::<Frame>::start(&config, 0)?;
    scheduler.broadcast(b"", 1, soon())?;
    idle.serve(soon(), |_, _| b"")?;
    drop(idle);
    let busy = thread::spawn({
        let config = config.clone();
        move || {
            let mut busy = Worker::<Frame>::start(&config, 1).expect("starts");
            thread::sleep(Duration::from_millis(100));
            busy.serve(soon(), |_, _| b"").expect("served");
            busy.leave().expect("left");
        }
    });
    let mut answers = Vec::new();
    scheduler.shutdown(soon(), |rank, _| answers.push(rank))?;
    busy.join().expect("no panic");
    assert_eq!(answers, [0, 1]);
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

/// One worker never stops to send, and another one never finishes.
#[test]
fn a_shutdown_ends_while_answers_come() -> Result {
    let config = watchful(2, OnWorkerDeath::Wait);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    drop(Worker::<Frame>::start(&config, 0)?);
    scheduler.broadcast(b"", 1, soon())?;
    let mut chatty = Worker::<Frame>::start(&config, 1)?;
    let talking = thread::spawn(move || {
        while chatty.respond(b"", 1, soon()).is_ok() {}
        chatty
    });
    let mut answers = 0_u64;
    let report = scheduler.shutdown(within(200), |_, _| answers += 1)?;
    assert!(
        answers > 0 && report.kept_for.contains(&String::from("worker_0")),
        "{report:?}"
    );
    let mut chatty = talking.join().expect("no panic");
    chatty.recv(soon())?.done();
    chatty.leave()?;
    let mut late = Worker::<Frame>::start(&config, 0)?;
    late.recv(soon())?.done();
    late.leave()?;
    Ok(())
}

/// Workers do not release the part of a long message that was sent before its deadline; it is no request.
#[test]
fn a_part_of_a_message_holds_up_no_shutdown() -> Result {
    for policy in [OnWorkerDeath::Wait, OnWorkerDeath::Fail] {
        for is_to_all in [true, false] {
            let config = watchful(1, policy);
            let mut scheduler = Scheduler::<Frame>::start(&config)?;
            let mut worker = Worker::<Frame>::start(&config, 0)?;
            let long = vec![0; 64 * RING * 2];
            let sent = match is_to_all {
                true => scheduler.broadcast(&long, 1, within(100)),
                false => scheduler.send_to(0, &long, 1, within(100)),
            };
            assert!(matches!(sent, Err(TransportError::Send(_))), "{sent:?}");
            assert!(worker.recv(within(10)).is_err());
            scheduler.shutdown(Deadline::NEVER, |_, _| ())?;
            worker.leave()?;
            assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
        }
    }
    Ok(())
}

/// A worker that has done its last request, and receives no more, has not released the notice of a ring behind it.
#[test]
fn a_notice_holds_up_no_shutdown() -> Result {
    for policy in [OnWorkerDeath::Wait, OnWorkerDeath::Fail] {
        let config = watchful(3, policy);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let mut workers =
            [0, 1, 2].map(|rank| Worker::<Frame>::start(&config, rank).expect("starts"));
        scheduler.broadcast(b"all", 1, soon())?;
        for rank in [1, 2] {
            scheduler.send_to(rank, b"alone", 1, soon())?;
            take(&mut workers[rank])?;
            take(&mut workers[rank])?;
        }
        take(&mut workers[0])?;
        let [idle, others @ ..] = workers;
        drop(idle);
        let deadline = soon();
        scheduler.shutdown(deadline, |_, _| ())?;
        assert!(!deadline.has_passed(), "{policy:?}");
        for worker in others {
            worker.leave()?;
        }
        Worker::<Frame>::start(&config, 0)?.leave()?;
        assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    }
    Ok(())
}

/// The state of a worker: its requests, the age of the oldest, deliveries, and deaths.
/// Whatever the policy: the worker may be back when the state is asked for.
#[test]
fn a_call_that_waits_for_a_dead_worker_counts_its_death() -> Result {
    let config = watchful(1, OnWorkerDeath::Wait);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    drop(Worker::<Frame>::start(&config, 0)?);
    let patience = Deadline::after(Duration::from_millis(500));
    let waited = scheduler.call(0, b"", 1, patience).map(drop);
    assert!(
        matches!(waited, Err(TransportError::NoAnswer { .. })),
        "{waited:?}"
    );
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.recv(soon())?.done();
    let state = scheduler.state()[0];
    assert_eq!((state.is_attached, state.deaths), (true, 1));
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn the_state_names_the_worker_that_lags() -> Result {
    let config = watchful(3, OnWorkerDeath::Wait);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let mut dead = Worker::<Frame>::start(&config, 1)?;
    let empty = scheduler.state();
    assert!(
        empty
            .iter()
            .all(|state| state.in_flight == 0 && state.oldest.is_none())
    );
    for _ in 0..3 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    scheduler.send_to(1, &[0; 100], 1, soon())?;
    drop(scheduler.reserve(1, 1, soon())?);
    thread::sleep(Duration::from_millis(30));
    worker.recv(soon())?.done();
    drop(worker.recv(soon())?);
    drop(dead.recv(soon())?);
    drop(dead.recv(soon())?);
    drop(dead);
    let states = scheduler.state();
    let of = |rank: usize| {
        let state = states[rank];
        assert!(
            state
                .oldest
                .is_some_and(|age| age >= Duration::from_millis(20)),
            "{state:?}"
        );
        (
            state.is_attached,
            state.is_away,
            state.in_flight,
            state.deliveries,
            state.deaths,
        )
    };
    assert_eq!(of(0), (true, false, 2, 1, 0));
    assert_eq!(of(1), (false, true, 4, 2, 1));
    assert_eq!(of(2), (false, false, 3, 0, 0));
    // 100 bytes and a head are two frames
    assert!(states[1].lag >= 5, "{states:?}");
    assert_eq!(
        states.iter().map(|it| it.position).collect::<Vec<_>>(),
        [0, -1, -1]
    );
    Worker::<Frame>::start(&config, 1)?.leave()?;
    let states = scheduler.state();
    assert_eq!((states[1].in_flight, states[1].deaths), (0, 1));
    scheduler.remove_worker(2)?;
    worker.leave()?;
    assert!(scheduler.state().iter().all(|state| state.in_flight == 0));
    scheduler.close()?;
    Ok(())
}

/// The log of a scheduler whose call waits for a worker that is not there.
#[test]
fn a_call_that_waits_for_an_absent_worker_warns_once() -> Result {
    let config = watchful(1, OnWorkerDeath::Wait);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (error, heard) =
        crate::heard::while_it(|| scheduler.call(0, b"", 1, within(1300)).map(drop));
    assert!(
        matches!(error, Err(TransportError::NoAnswer { .. })),
        "{error:?}"
    );
    let about: Vec<_> = heard
        .iter()
        .filter(|text| text.contains("worker 0"))
        .collect();
    assert!(
        about.len() == 1
            && about[0].contains("has not come")
            && about[0].contains("remove_worker()")
            && about[0].contains("OnWorkerDeath::Wait")
            && about[0].contains("RemoveAfter(duration)")
            && about[0].contains("Fail"),
        "{heard:?}"
    );
    scheduler.remove_worker(0)?;
    scheduler.close()?;
    Ok(())
}
