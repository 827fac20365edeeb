//! Sessions: members that start in any order, die and come back; workers that are missing; values. What does not fit a
//! session, and fixed topologies, are in files of their own.

mod refused;
mod topologies;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::shared::{Backing, Frame, Result, session, soon};
use crate::text_codec::Text;
use myelon::{
    CounterId, Deadline, MappedFile, MultiProcessError, RecvError, Scheduler, SendError,
    SharedMemory, TransportError, TransportResult, TypedPublishError, TypedRecvError,
    TypedServeError, Worker,
};

/// Serves until the scheduler closes. Each answer is the request and the worker's rank.
fn serve<B>(mut worker: Worker<Frame, Frame, B>) -> Result<u32> {
    let rank = worker.rank() as u8;
    let mut served = 0;
    loop {
        match worker.serve(soon(), |_, request| [request, &[rank]].concat()) {
            Ok(_) => served += 1,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    worker.leave()?;
    Ok(served)
}

/// Sends requests, and receives every worker's answer to each of them.
fn ask<B>(
    scheduler: &mut Scheduler<Frame, Frame, B>,
    workers: usize,
    requests: core::ops::Range<u8>,
) -> Result {
    for number in requests {
        scheduler.broadcast(&[number], 1, soon())?;
        let mut ranks = Vec::new();
        for _ in 0..workers {
            let (rank, answer) = scheduler.recv_any(soon())?;
            assert_eq!(*answer, [number, rank as u8]);
            ranks.push(rank);
        }
        ranks.sort();
        assert_eq!(ranks, (0..workers).collect::<Vec<_>>());
    }
    Ok(())
}

fn members_start_in_any_order<B: Backing>() -> Result {
    const SCHEDULER: usize = 2;
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let (root, config) = (tempfile::tempdir()?, session(2));
        thread::scope(|scope| {
            let members = order.map(|who| {
                let (config, root) = (&config, root.path());
                let member = scope.spawn(move || -> Result {
                    if who == SCHEDULER {
                        let mut scheduler = B::scheduler(config, root)?;
                        ask(&mut scheduler, 2, 0..20)?;
                        scheduler.close()?;
                        return Ok(());
                    }
                    assert_eq!(serve(B::worker(config, root, who)?)?, 20);
                    Ok(())
                });
                thread::sleep(Duration::from_millis(20));
                member
            });
            members
                .into_iter()
                .try_for_each(|member| member.join().expect("no panic"))
        })?;
    }
    Ok(())
}

#[test]
fn members_start_in_any_order_in_shared_memory() -> Result {
    members_start_in_any_order::<SharedMemory>()
}

#[test]
fn members_start_in_any_order_in_files() -> Result {
    members_start_in_any_order::<MappedFile>()
}

/// Each member in turn is dropped, which leaves its rings as a process that is gone does, and another member of
/// its kind takes over.
fn any_member_is_replaced<B: Backing>() -> Result {
    let (root, config) = (tempfile::tempdir()?, session(2));
    let root = root.path();
    let mut scheduler = B::scheduler(&config, root)?;
    let mut workers = [B::worker(&config, root, 0)?, B::worker(&config, root, 1)?];
    let answer = |worker: &mut Worker<Frame, Frame, B>| -> Result {
        let rank = worker.rank() as u8;
        worker.serve(soon(), |_, request| [request, &[rank]].concat())?;
        Ok(())
    };
    scheduler.broadcast(&[1], 1, soon())?;
    answer(&mut workers[0])?;

    // worker 1 goes with a request unanswered, and its successor answers it
    let [first, second] = workers;
    drop(second);
    assert_eq!(scheduler.missing_workers().len(), 1);
    let missing = &scheduler.missing_workers()[0];
    assert_eq!(
        (missing.rank, &*missing.id, missing.is_away),
        (1, "worker_1", true)
    );
    let mut workers = [first, B::worker(&config, root, 1)?];
    assert_eq!(scheduler.missing_workers(), []);
    answer(&mut workers[1])?;
    for _ in 0..2 {
        let (rank, answer) = scheduler.recv_any(soon())?;
        assert_eq!(*answer, [1, rank as u8]);
    }

    // the scheduler goes with an answer unread; its successor reads the answer, and continues
    scheduler.broadcast(&[2], 1, soon())?;
    workers.iter_mut().try_for_each(answer)?;
    let panics = thread::spawn(move || -> () {
        let _scheduler = scheduler;
        panic!("dropped by a panic, it leaves its ring as a death would");
    });
    assert!(panics.join().is_err());
    let mut scheduler = B::resumed(&config, root)?;
    for _ in 0..2 {
        let (rank, answer) = scheduler.recv_any(soon())?;
        assert_eq!(*answer, [2, rank as u8]);
    }
    let served = workers.map(|worker| thread::spawn(|| serve(worker)));
    ask(&mut scheduler, 2, 3..10)?;
    scheduler.close()?;
    for served in served {
        assert_eq!(served.join().expect("no panic")?, 7);
    }
    Ok(())
}

#[test]
fn any_member_is_replaced_in_shared_memory() -> Result {
    any_member_is_replaced::<SharedMemory>()
}

#[test]
fn any_member_is_replaced_in_files() -> Result {
    any_member_is_replaced::<MappedFile>()
}

#[test]
fn a_missing_worker_holds_the_ring_until_it_is_removed() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let worker = Worker::<Frame>::start(&config, 0)?;
    let missing = scheduler.missing_workers();
    assert_eq!(
        (missing.len(), missing[0].rank, missing[0].is_away),
        (1, 1, false)
    );
    let filled = (0..=16)
        .map(|number| scheduler.broadcast(&[number], 1, Deadline::after(Duration::from_millis(1))))
        .find_map(|sent| sent.err())
        .expect("the ring is full");
    assert!(filled.to_string().contains("worker_1"), "{filled}");
    let served = thread::spawn(|| serve(worker));
    // it came and went; then it is removed
    drop(Worker::<Frame>::start(&config, 1)?);
    scheduler.remove_worker(1)?;
    for _ in 0..20 {
        scheduler.broadcast(&[7], 1, soon())?;
        assert_eq!(scheduler.recv_any(soon())?.0, 0);
    }
    assert!(matches!(
        scheduler.remove_worker(2).unwrap_err(),
        TransportError::NoSuchWorker {
            rank: 2,
            workers: 2,
            ..
        }
    ));
    for _ in 0..16 {
        scheduler.recv_any(soon())?.1.release();
    }
    let none = scheduler
        .recv_any(Deadline::after(Duration::from_millis(1)))
        .map(|(rank, _)| rank);
    assert!(matches!(
        none,
        Err(TransportError::Recv(RecvError::Timeout))
    ));
    scheduler.close()?;
    assert_eq!(served.join().expect("no panic")?, 36);
    Ok(())
}

/// A worker answers and leaves before the scheduler has checked for its ring.
#[test]
fn answers_of_a_worker_that_has_left_are_received() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.broadcast(&[7], 1, soon())?;
    for rank in [0, 1] {
        let mut worker = Worker::<Frame>::start(&config, rank)?;
        worker.serve(soon(), |_, request| [request, &[rank as u8]].concat())?;
        worker.leave()?;
    }
    for _ in 0..2 {
        let (rank, answer) = scheduler.recv_any(soon())?;
        assert_eq!(*answer, [7, rank as u8]);
    }
    scheduler.close()?;
    Ok(())
}

/// A worker that sends without a pause does not keep the scheduler from the others for longer than its turn.
#[test]
fn workers_take_turns() -> Result {
    // of a turn: the messages of a round divided by the number of workers, and those before the turn is limited
    const AT_A_TURN: u64 = 65_536 / 3 + 64;
    let config = session(3);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = (0..3)
        .map(|rank| Worker::<Frame>::start(&config, rank))
        .collect::<TransportResult<Vec<_>>>()?;
    let mut quiet = workers.split_off(1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| -> Result {
        let (is_over, busy) = (&is_over, &mut workers[0]);
        let sends = scope.spawn(move || -> TransportResult<()> {
            while !is_over.load(Ordering::Relaxed) {
                busy.respond(&[0], 1, soon())?;
            }
            Ok(())
        });
        let _end = SetOnDrop(is_over);
        for number in 0..20 {
            for worker in &mut quiet {
                worker.respond(&[number], 1, soon())?;
            }
            let (mut others, mut came) = (0, 0);
            while others < 2 {
                let (rank, message) = scheduler.recv_any(soon())?;
                if rank == 0 {
                    came += 1;
                } else {
                    assert_eq!(message[0], number);
                    others += 1;
                }
            }
            // the turn that has begun, and another one if that of worker 2 came before it
            assert!(came <= 2 * AT_A_TURN, "{came}");
        }
        is_over.store(true, Ordering::Relaxed);
        // it may wait for space
        while !sends.is_finished() {
            drop(scheduler.recv_any(Deadline::after(Duration::from_millis(1))));
        }
        Ok(sends.join().expect("no panic")?)
    })?;
    workers.append(&mut quiet);
    workers.into_iter().try_for_each(Worker::leave)?;
    scheduler.close()?;
    Ok(())
}

/// Sets the flag, also if an assertion fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The ring of a worker that leaves is removed once it is drained; the next worker with that rank has another
/// ring.
#[test]
fn a_worker_that_left_and_starts_again_is_heard() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let stays = Worker::<Frame>::start(&config, 1)?;
    for number in 0..3 {
        let mut worker = Worker::<Frame>::start(&config, 0)?;
        worker.respond(&[number], 1, soon())?;
        worker.leave()?;
        let start = Instant::now();
        let (rank, message) = scheduler.recv_any(soon())?;
        assert_eq!((rank, &*message), (0, &[number][..]));
        message.release();
        // the scheduler finds that the ring has ended
        let none = scheduler.recv_any(Deadline::after(Duration::from_millis(1)));
        assert!(matches!(
            none,
            Err(TransportError::Recv(RecvError::Timeout))
        ));
        assert!(start.elapsed() < Duration::from_secs(10), "{start:?}");
    }
    stays.leave()?;
    scheduler.close()?;
    Ok(())
}

/// Values are counted as they are decoded; the count is shown after every 64th.
#[test]
fn values_that_a_scheduler_receives_are_counted() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    for _ in 0..64 {
        worker.respond(b"a text", 1, soon())?;
        let (_, _, text) = scheduler.recv_any_value::<Text>(soon())?;
        assert_eq!(text?, Text("a text".into()));
        worker.respond(&[0xFF], 1, soon())?;
        let (_, _, none) = scheduler.recv_any_value::<Text>(soon())?;
        none.expect_err("no text");
    }
    let counters = scheduler.responses(0).expect("attached").counters();
    let decoded = counters
        .iter()
        .find(|it| it.id == CounterId::CODEC_DECODED)
        .map(|it| it.value);
    assert_eq!(decoded, Some(64));
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A request whose answer cannot be sent is not finished: it is delivered again, and later requests wait.
#[test]
fn a_request_whose_answer_finds_no_space_comes_again() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    let short = || Deadline::after(Duration::from_millis(1));
    scheduler.broadcast(b"first", 1, soon())?;
    scheduler.broadcast(b"second", 1, soon())?;
    while worker.respond(b"full", 1, short()).is_ok() {}
    for _ in 0..2 {
        let mut asked = Vec::new();
        let unsent = worker.serve(short(), |_, request| {
            asked = request.to_vec();
            request.to_vec()
        });
        assert!(matches!(
            unsent,
            Err(TransportError::Send(SendError::Timeout { .. }))
        ));
        assert_eq!(asked, b"first");
    }
    for _ in 0..config.transport.response_depth {
        assert_eq!(&*scheduler.recv_any(soon())?.1, b"full");
    }
    for answer in [b"first".as_slice(), b"second"] {
        worker.serve(soon(), |_, request| request.to_vec())?;
        assert_eq!(&*scheduler.recv_any(soon())?.1, answer);
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The directory is gone when a worker closes its ring. That is an error, but the worker's place in the
/// scheduler's ring is given up all the same.
#[test]
fn a_worker_whose_ring_cannot_be_closed_gives_up_its_place() -> Result {
    let (directory, config) = (tempfile::tempdir()?, session(1));
    let (root, aside) = (
        directory.path().join("rings"),
        directory.path().join("aside"),
    );
    std::fs::create_dir(&root)?;
    let mut scheduler = Scheduler::<Frame, Frame, _>::start_in_files(&config, &root)?;
    let mut worker = Worker::<Frame, Frame, _>::start_in_files(&config, 0, &root)?;
    scheduler.broadcast(&[1], 1, soon())?;
    worker.serve(soon(), |_, request| request.to_vec())?;
    assert_eq!(*scheduler.recv_any(soon())?.1, [1]);

    std::fs::rename(&root, &aside)?;
    std::fs::write(&root, "no directory")?;
    assert!(matches!(
        worker.leave().unwrap_err(),
        MultiProcessError::Io { .. }
    ));
    std::fs::remove_file(&root)?;
    std::fs::rename(&aside, &root)?;

    assert!(!scheduler.missing_workers()[0].is_away);
    for _ in 0..=config.transport.rpc_depth {
        scheduler.broadcast(&[2], 1, soon())?; // no worker holds the ring
    }
    scheduler.close()?;
    Ok(())
}

/// Requests and answers as values, of one frame and of several. A message that is no value is lost by itself
/// only.
fn values_go_both_ways<B: Backing>() -> Result {
    let (root, config) = (tempfile::tempdir()?, session(2));
    let root = root.path();
    let mut scheduler = B::scheduler(&config, root)?;
    let mut workers = [B::worker(&config, root, 0)?, B::worker(&config, root, 1)?];
    let short = || Deadline::after(Duration::from_millis(1));
    for len in [3, 64, 200] {
        let request = Text("x".repeat(len));
        scheduler.broadcast_value(&request, 7, soon())?;
        for (rank, worker) in workers.iter_mut().enumerate() {
            worker.serve_value(soon(), |kind, Text(text)| {
                assert_eq!((kind, text.len()), (7, len));
                Text(format!("{rank}{text}"))
            })?;
        }
        for _ in 0..2 {
            let (rank, kind, answer) = scheduler.recv_any_value::<Text>(soon())?;
            assert_eq!((kind, answer?), (7, Text(format!("{rank}{}", request.0))));
        }
    }
    // no value: it is given up, and the scheduler learns which worker sent what it could not decode
    let [first, second] = &mut workers;
    scheduler.broadcast(&[0xFF], 8, soon())?;
    let refused = first.serve_value(soon(), |_, text: Text| text).unwrap_err();
    assert!(
        matches!(refused, TypedServeError::Recv(TypedRecvError::Decode(error)) if error.kind == 8)
    );
    second.serve(soon(), |_, request| request.to_vec())?;
    let mut ranks = [9; 2];
    for place in &mut ranks {
        let (rank, kind, answer) = scheduler.recv_any_value::<Text>(soon())?;
        let error = answer.unwrap_err();
        assert_eq!((kind, error.kind), (8, 8));
        let is_given_up = error.to_string().contains("given the request up");
        assert_eq!(is_given_up, rank == 0, "{error}");
        *place = rank;
    }
    ranks.sort_unstable();
    assert_eq!(ranks, [0, 1]);

    // an answer that cannot be encoded would fail again, so its request is given up
    scheduler.broadcast_value(&Text("ask".into()), 9, soon())?;
    let unsent = first.serve_value(soon(), |_, _: Text| Text("forbidden".into()));
    assert!(matches!(
        unsent,
        Err(TypedServeError::Publish(TypedPublishError::Encode {
            kind: 9,
            ..
        }))
    ));
    assert!(scheduler.recv_any_value::<Text>(soon())?.2.is_err());
    let none = first.serve_value(short(), |_, text: Text| text);
    assert!(matches!(
        none,
        Err(TypedServeError::Recv(TypedRecvError::Recv(
            RecvError::Timeout
        )))
    ));
    // the request of an answer that finds no space is delivered again
    while first.respond(b"full", 1, short()).is_ok() {}
    scheduler.broadcast_value(&Text("again".into()), 9, soon())?;
    let unsent = first.serve_value(short(), |_, text: Text| text);
    assert!(matches!(
        unsent,
        Err(TypedServeError::Publish(TypedPublishError::Transport(_)))
    ));
    while scheduler.recv_any_value::<Text>(short()).is_ok() {}
    first.serve_value(soon(), |_, text: Text| text)?;
    let (rank, kind, answer) = scheduler.recv_any_value::<Text>(soon())?;
    assert_eq!((rank, kind, answer?), (0, 9, Text("again".into())));

    for worker in workers {
        worker.leave()?;
    }
    scheduler.close()?;
    Ok(())
}

#[test]
fn values_go_both_ways_in_shared_memory() -> Result {
    values_go_both_ways::<SharedMemory>()
}

#[test]
fn values_go_both_ways_in_files() -> Result {
    values_go_both_ways::<MappedFile>()
}

/// Each half of both sides lives in a thread of its own.
fn halves_live_in_different_threads<B: Backing>() -> Result {
    const REQUESTS: u8 = 100;
    let (root, config) = (tempfile::tempdir()?, session(1));
    let (mut requests, mut answers) = B::scheduler(&config, root.path())?.split();
    let (mut receiver, mut sender) = B::worker(&config, root.path(), 0)?.split();
    assert_eq!((receiver.rank(), sender.rank()), (0, 0));
    thread::scope(|scope| {
        let (hand_over, handed_over) = mpsc::channel::<Vec<u8>>();
        let receiving = scope.spawn(move || -> Result {
            let end = loop {
                match receiver.recv(soon()) {
                    Ok(request) => {
                        hand_over.send(request.to_vec())?;
                        request.done();
                    }
                    Err(error) => break error,
                }
            };
            assert!(matches!(end, TransportError::Recv(RecvError::Closed)));
            Ok(receiver.leave()?)
        });
        let sending = scope.spawn(move || -> Result {
            for request in &handed_over {
                if request == [REQUESTS - 1] {
                    // the scheduler closes the session only after this answer
                    sender.respond(&request, 1, soon())?;
                } else {
                    sender.respond_value(&Text(format!("{request:?}")), 2, soon())?;
                }
            }
            let late = sender.respond(b"late", 1, Deadline::NEVER);
            assert!(matches!(late, Err(TransportError::SessionClosed { .. })));
            sender.close()?;
            Ok(())
        });
        let asking = scope.spawn(move || -> Result<_> {
            for number in 0..REQUESTS {
                requests.broadcast(&[number], 1, soon())?;
            }
            Ok(requests)
        });
        for number in 0..REQUESTS - 1 {
            let (rank, kind, text) = answers.recv_any_value::<Text>(soon())?;
            assert_eq!((rank, kind, text?), (0, 2, Text(format!("{:?}", [number]))));
        }
        assert_eq!(*answers.recv_any(soon())?.1, [REQUESTS - 1]);
        let mut requests = asking.join().expect("no panic")?;
        assert!(requests.missing_workers().is_empty());
        requests.close()?;
        receiving.join().expect("no panic")?;
        sending.join().expect("no panic")
    })?;
    drop(answers);
    assert_eq!(B::rings(&config, root.path()), [""; 0]);
    Ok(())
}

#[test]
fn halves_live_in_different_threads_in_shared_memory() -> Result {
    halves_live_in_different_threads::<SharedMemory>()
}

#[test]
fn halves_live_in_different_threads_in_files() -> Result {
    halves_live_in_different_threads::<MappedFile>()
}
