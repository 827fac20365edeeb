//! Requests to one worker beside requests to all: their order, whom they hold up, and what happens when members die.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon, take};
use myelon::{
    Deadline, MappedFile, RecvError, RequestId, Scheduler, SendError, SharedMemory, TransportError,
    Worker,
};

/// The next number of a fixed sequence without a pattern.
fn shuffled(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// The scheduler sends to all and to one in a mixed order while the workers receive. Each worker receives exactly what
/// is sent to it, in the order in which it was sent.
fn what_is_sent_to_all_and_to_one_comes_in_one_order<B: Backing>() -> Result
where
    Worker<Frame, Frame, B>: Send,
{
    const REQUESTS: u32 = 2000;
    let (root, config) = (tempfile::tempdir()?, session(3));
    let mut scheduler = B::scheduler(&config, root.path())?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|rank| {
                let (config, root) = (&config, root.path());
                scope.spawn(move || -> Result<Vec<(RequestId, u32)>> {
                    let mut worker = B::worker(config, root, rank)?;
                    let mut received = Vec::new();
                    loop {
                        match worker.recv(soon()) {
                            Ok(request) => {
                                let number = u32::from_le_bytes(request[..].try_into()?);
                                received.push((request.id(), number));
                                request.done();
                            }
                            Err(TransportError::Recv(RecvError::Closed)) => break,
                            Err(error) => return Err(error.into()),
                        }
                    }
                    worker.leave()?;
                    Ok(received)
                })
            })
            .collect();
        let mut sent = [const { Vec::new() }; 3];
        let mut state = 7;
        for number in 0..REQUESTS {
            let bytes = number.to_le_bytes();
            match shuffled(&mut state) % 4 {
                3 => {
                    let id = scheduler.broadcast(&bytes, 1, soon())?;
                    sent.iter_mut().for_each(|sent| sent.push((id, number)));
                }
                rank => {
                    let id = scheduler.send_to(rank as usize, &bytes, 1, soon())?;
                    sent[rank as usize].push((id, number));
                }
            }
        }
        scheduler.close()?;
        for (worker, sent) in workers.into_iter().zip(sent) {
            assert!(sent.is_sorted() && sent.len() > 900);
            assert_eq!(worker.join().expect("no panic")?, sent);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    assert_eq!(B::rings(&config, root.path()), [""; 0]);
    Ok(())
}

#[test]
fn what_is_sent_to_all_and_to_one_comes_in_one_order_in_shared_memory() -> Result {
    what_is_sent_to_all_and_to_one_comes_in_one_order::<SharedMemory>()
}

#[test]
fn what_is_sent_to_all_and_to_one_comes_in_one_order_in_files() -> Result {
    what_is_sent_to_all_and_to_one_comes_in_one_order::<MappedFile>()
}

#[test]
fn a_worker_that_receives_nothing_holds_up_only_what_is_sent_to_it() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    // worker 1 has not come: its ring fills once
    let full = loop {
        match scheduler.send_to(1, b"later", 1, Deadline::after(Duration::from_millis(1))) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let TransportError::Send(SendError::Timeout { blocked_on }) = full else {
        panic!("{full}");
    };
    assert!(blocked_on.contains("worker_1"), "{blocked_on}");
    for _ in 0..100 {
        let id = scheduler.send_to(0, b"now", 1, soon())?;
        worker.serve(soon(), |_, request| request.to_vec())?;
        let (rank, answer) = scheduler.recv_any(soon())?;
        assert_eq!(
            (rank, answer.request(), answer.piece(), answer.is_last()),
            (0, Some(id), 0, true)
        );
        assert_eq!(&*answer, b"now");
    }
    // what was sent to it is kept
    let mut late = Worker::<Frame>::start(&config, 1)?;
    assert_eq!(take(&mut late)?, b"later");
    late.leave()?;
    worker.leave()?;
    scheduler.close()?;
    assert_eq!(
        SharedMemory::rings(&config, std::path::Path::new("")),
        [""; 0]
    );
    Ok(())
}

/// Not even the first request to a worker needs space in the common ring. What is sent to all afterwards comes after
/// it.
#[test]
fn the_first_request_to_a_worker_passes_a_common_ring_that_is_full() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    // worker 1 has not come: it holds up what is sent to all
    let mut sent = 0;
    while scheduler
        .broadcast(b"all", 1, Deadline::after(Duration::from_millis(1)))
        .is_ok()
    {
        worker.recv(soon())?.done();
        sent += 1;
    }
    assert!(sent > 0);
    scheduler.send_to(0, b"one", 1, soon())?;
    assert_eq!(take(&mut worker)?, b"one");
    scheduler.send_to(0, b"two", 1, soon())?;
    scheduler.remove_worker(1)?;
    scheduler.broadcast(b"all again", 1, soon())?;
    assert_eq!(take(&mut worker)?, b"two");
    assert_eq!(take(&mut worker)?, b"all again");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The scheduler ends the session before the worker has found its ring.
#[test]
fn a_request_in_a_ring_that_was_not_announced_comes_before_the_end() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let full = Deadline::after(Duration::from_millis(1));
    while scheduler.broadcast(b"all", 1, full).is_ok() {}
    scheduler.send_to(0, b"one", 1, soon())?;
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    let mut last = Vec::new();
    let end = loop {
        match take(&mut worker) {
            Ok(request) => last = request,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(end, TransportError::Recv(RecvError::Closed)),
        "{end}"
    );
    assert_eq!(last, b"one");
    worker.leave()?;
    let left = SharedMemory::rings(&config, std::path::Path::new(""));
    assert_eq!(left, [""; 0]);
    Ok(())
}

/// Whoever of the two ends first: no ring is left for a worker that has left for good.
#[test]
fn a_worker_that_leaves_before_it_has_heard_of_its_ring_leaves_nothing_behind() -> Result {
    for closes_first in [false, true] {
        let (root, config) = (tempfile::tempdir()?, session(1));
        let mut scheduler = SharedMemory::scheduler(&config, root.path())?;
        let worker = SharedMemory::worker(&config, root.path(), 0)?;
        scheduler.send_to(0, b"prompt", 1, soon())?;
        if closes_first {
            scheduler.close()?;
            worker.leave()?;
        } else {
            worker.leave()?;
            scheduler.close()?;
        }
        assert_eq!(
            SharedMemory::rings(&config, root.path()),
            [""; 0],
            "{closes_first}"
        );
    }
    Ok(())
}

#[test]
fn a_request_that_was_not_done_comes_again_to_the_next_worker_of_its_rank() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let first = scheduler.send_to(0, b"first", 1, soon())?;
    let second = scheduler.send_to(0, b"second", 1, soon())?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    drop(worker.recv(soon())?);
    drop(worker);
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    for (id, bytes) in [(first, &b"first"[..]), (second, b"second")] {
        let request = worker.recv(soon())?;
        assert_eq!((request.id(), &*request), (id, bytes));
        request.done();
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn the_next_scheduler_goes_on_with_higher_numbers_behind_what_was_sent() -> Result {
    let config = session(1);
    let mut worker = None;
    let mut ids = Vec::new();
    for part in 0..3_u8 {
        let died = thread::spawn({
            let config = config.clone();
            move || -> RequestId {
                let mut scheduler = Scheduler::<Frame>::start(&config).expect("a scheduler");
                scheduler.broadcast(&[part, 0], 1, soon()).expect("sent");
                let id = scheduler.send_to(0, &[part, 1], 1, soon()).expect("sent");
                // as after a death: the session is left as it is
                std::panic::resume_unwind(Box::new(id));
            }
        });
        let id = *died
            .join()
            .expect_err("it panics")
            .downcast::<RequestId>()
            .expect("an id");
        ids.push(id);
        if part == 1 {
            worker = Some(Worker::<Frame>::start(&config, 0)?);
        }
    }
    assert!(ids.is_sorted(), "{ids:?}");
    let mut worker = worker.expect("started");
    for part in 0..3_u8 {
        for which in 0..2_u8 {
            let request = loop {
                match take(&mut worker) {
                    Ok(request) => break request,
                    Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {}
                    Err(error) => return Err(error.into()),
                }
            };
            assert_eq!(request, [part, which]);
        }
    }
    Scheduler::<Frame>::start(&config)?.close()?;
    let end = worker.recv(soon()).map(drop);
    assert!(
        matches!(end, Err(TransportError::Recv(RecvError::Closed))),
        "{end:?}"
    );
    worker.leave()?;
    assert_eq!(
        SharedMemory::rings(&config, std::path::Path::new("")),
        [""; 0]
    );
    Ok(())
}

#[test]
fn an_answer_in_pieces_names_its_request_and_its_end() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    let id = scheduler.send_to(0, b"a b c", 1, soon())?;
    let request = requests.recv(soon())?;
    let mut reply = responses.reply(request.id());
    reply.send(b"a", 1, soon())?;
    reply.send(b"b", 1, soon())?;
    reply.finish(b"c", 2, soon())?;
    request.done();
    responses.respond(b"by itself", 3, soon())?;
    for (piece, bytes, is_last) in [(0, b"a", false), (1, b"b", false), (2, b"c", true)] {
        let (_, answer) = scheduler.recv_any(soon())?;
        assert_eq!(
            (answer.request(), answer.piece(), answer.is_last()),
            (Some(id), piece, is_last)
        );
        assert_eq!(&*answer, bytes);
    }
    let (_, news) = scheduler.recv_any(soon())?;
    assert_eq!(
        (news.request(), news.kind(), &*news),
        (None, 3, &b"by itself"[..])
    );
    news.release();
    let nobody = scheduler.send_to(1, b"", 1, soon());
    assert!(matches!(
        nobody,
        Err(TransportError::NoSuchWorker {
            rank: 1,
            workers: 1,
            ..
        })
    ));
    responses.close()?;
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The common ring is drained when the scheduler ends the session, and a ring of requests to one worker is not. The
/// next scheduler continues both, with higher numbers.
#[test]
fn the_session_goes_on_if_only_a_ring_of_one_worker_was_kept() -> Result {
    for is_away in [false, true] {
        let config = session(1);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        let all = scheduler.broadcast(b"all", 1, soon())?;
        let kept = scheduler.send_to(0, b"kept", 1, soon())?;
        let request = worker.recv(soon())?;
        assert_eq!(request.id(), all);
        request.done();
        let request = worker.recv(soon())?;
        assert_eq!(request.id(), kept);
        // it is in the middle of this request
        drop(request);
        let mut worker = match is_away {
            true => {
                drop(worker);
                None
            }
            false => Some(worker),
        };
        let report = scheduler.close()?;
        assert_eq!(report.kept_for, ["worker_0"]);
        let mut scheduler = Scheduler::<Frame>::start(&config)?;
        let next = [
            scheduler.broadcast(b"next", 1, soon())?,
            scheduler.send_to(0, b"one", 1, soon())?,
            scheduler.broadcast(b"last", 1, soon())?,
        ];
        assert!(kept < next[0] && next.is_sorted());
        let mut worker = match worker.take() {
            Some(worker) => worker,
            None => Worker::<Frame>::start(&config, 0)?,
        };
        for (id, bytes) in [(kept, &b"kept"[..])]
            .into_iter()
            .chain(next.into_iter().zip([&b"next"[..], b"one", b"last"]))
        {
            let request = worker.recv(soon())?;
            assert_eq!((request.id(), &*request), (id, bytes), "{is_away}");
            request.done();
        }
        worker.leave()?;
        scheduler.close()?;
        let left = SharedMemory::rings(&config, std::path::Path::new(""));
        assert_eq!(left, [""; 0]);
    }
    Ok(())
}

#[test]
fn a_worker_that_is_attached_is_not_removed_and_loses_nothing() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    scheduler.send_to(0, b"kept", 1, soon())?;
    assert!(scheduler.remove_worker(0).is_err());
    assert_eq!(take(&mut worker)?, b"kept");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// Nothing is kept for a worker that has left: a request to it is refused, and a broadcast waits for nobody. It
/// receives what is sent after it has come again.
#[test]
fn requests_to_a_worker_that_has_left_are_refused() -> Result {
    for comes_again in [false, true] {
        for has_ring in [false, true] {
            let config = session(1);
            let mut scheduler = Scheduler::<Frame>::start(&config)?;
            let mut worker = Worker::<Frame>::start(&config, 0)?;
            if has_ring {
                scheduler.send_to(0, b"before", 1, soon())?;
                worker.recv(soon())?.done();
            }
            worker.leave()?;
            for _ in 0..100 {
                scheduler.broadcast(b"to nobody", 1, soon())?;
            }
            let refused = scheduler.send_to(0, b"to nobody", 1, soon());
            assert!(
                matches!(
                    refused,
                    Err(TransportError::WorkerGone {
                        rank: 0,
                        request: None,
                        ..
                    })
                ),
                "{refused:?}"
            );
            assert!(scheduler.reserve_to(0, 1, 1, soon()).is_err());
            if comes_again {
                let mut worker = Worker::<Frame>::start(&config, 0)?;
                assert!(scheduler.missing_workers().is_empty());
                scheduler.send_to(0, b"again", 1, soon())?;
                scheduler.broadcast(b"all", 1, soon())?;
                assert_eq!(take(&mut worker)?, b"again", "{has_ring}");
                assert_eq!(take(&mut worker)?, b"all", "{has_ring}");
                worker.leave()?;
            }
            scheduler.close()?;
            let left = SharedMemory::rings(&config, std::path::Path::new(""));
            assert_eq!(left, [""; 0], "{comes_again}, {has_ring}");
        }
    }
    Ok(())
}

/// The next scheduler expects a worker that has left, but the worker does not do again what it has done.
#[test]
fn a_worker_that_left_does_not_get_what_it_has_done_from_the_next_scheduler() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    drop(Worker::<Frame>::start(&config, 1)?);
    for _ in 0..5 {
        scheduler.broadcast(b"old", 1, soon())?;
        worker.recv(soon())?.done();
    }
    worker.leave()?;
    // worker 1 is away, and keeps the ring
    scheduler.close()?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.broadcast(b"new", 1, soon())?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    assert_eq!(take(&mut worker)?, b"new");
    worker.leave()?;
    scheduler.remove_worker(1)?;
    scheduler.close()?;
    Ok(())
}

/// A worker hears of its ring at once, by the notice with its rank: it does not wait for its next liveness check.
#[test]
fn a_notice_reaches_the_worker_that_it_is_for() -> Result {
    let config = session(3);
    let rings = config.transport.clone();
    let rings = rings.with_liveness_interval(Duration::from_secs(3_600));
    let config = config.with_transport(rings);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = Vec::new();
    for rank in 0..3 {
        workers.push(Worker::<Frame>::start(&config, rank)?);
    }
    for (rank, mut worker) in workers.into_iter().enumerate() {
        let (received, is_received) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let message = worker.recv(Deadline::NEVER).map(|request| request.to_vec());
            received.send(message).expect("the test waits");
            worker
        });
        thread::sleep(Duration::from_millis(20));
        scheduler.send_to(rank, &[rank as u8], 1, soon())?;
        let message = is_received.recv_timeout(Duration::from_secs(20))?;
        assert_eq!(message?, [rank as u8]);
        waiting.join().expect("no panic").leave()?;
    }
    scheduler.close()?;
    Ok(())
}
