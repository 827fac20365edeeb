//! Sessions: members that start in any order, die and come back; workers that are missing; names and numbers
//! that do not fit.

mod session_shared;
mod text_codec;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use myelon::transport::{FixedFrame, FramedTransportProducer};
use myelon::{
    CounterId, Deadline, FixedTopology, InferenceTopologyError, MappedFile, MultiProcessError,
    MyelonTransportLayout, RecvError, Scheduler, SendError, SharedMemory, TransportError,
    TransportResult, TypedPublishError, TypedRecvError, TypedServeError, Worker, WorkerCount,
    compact_session_tag, portable_shm_segment_name, validate_segment_name,
};
use proptest::prelude::*;
use session_shared::{Backing, Frame, Result, session, soon};
use text_codec::Text;

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
            workers: 2
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

/// The messages of several workers are received in turn, even if one worker has sent more of them.
#[test]
fn workers_take_turns() -> Result {
    const AT_A_TURN: u8 = 64;
    let config = session(3);
    let rings = config.transport.clone().with_response_depth(256);
    let config = config.with_transport(rings);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = (0..3)
        .map(|rank| Worker::<Frame>::start(&config, rank))
        .collect::<TransportResult<Vec<_>>>()?;
    for (worker, messages) in workers
        .iter_mut()
        .zip([AT_A_TURN * 2 + 2, 3, AT_A_TURN + 1])
    {
        for number in 0..messages {
            worker.respond(&[number], 1, soon())?;
        }
    }
    let turns = [
        (0, 0..AT_A_TURN),
        (1, 0..3),
        (2, 0..AT_A_TURN),
        (0, AT_A_TURN..AT_A_TURN * 2),
        (2, AT_A_TURN..AT_A_TURN + 1),
        (0, AT_A_TURN * 2..AT_A_TURN * 2 + 2),
    ];
    for (expected, numbers) in turns {
        for number in numbers {
            let (rank, message) = scheduler.recv_any(soon())?;
            assert_eq!((rank, message[0]), (expected, number));
        }
    }
    workers.into_iter().try_for_each(Worker::leave)?;
    scheduler.close()?;
    Ok(())
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

#[test]
fn numbers_of_workers_that_no_session_has() -> Result {
    let error = Worker::<Frame>::start(&session(2), 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no worker 2: the session has 2, numbered from 0"
    );
    for workers in [0, 65] {
        let error = Scheduler::<Frame>::start(&session(workers)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "a session cannot have {workers} workers: it has 1 to 64, as many as a ring has consumers"
            )
        );
    }
    Ok(())
}

#[test]
fn two_of_the_same_are_refused_with_the_first_ones_process() -> Result {
    let config = session(1);
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let worker = Worker::<Frame>::start(&config, 0)?;
    for error in [
        Scheduler::<Frame>::start(&config).unwrap_err(),
        Worker::<Frame>::start(&config, 0).unwrap_err(),
    ] {
        assert!(
            matches!(error, TransportError::MemberExists { .. }),
            "{error}"
        );
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn sides_that_disagree_on_depth_or_frame_are_refused() -> Result {
    let config = session(1);
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let deeper = config.transport.clone().with_rpc_depth(32);
    let error = Worker::<Frame>::start(&config.clone().with_transport(deeper), 0).unwrap_err();
    assert!(
        error.to_string().contains("is 16 slots, expected 32 slots"),
        "{error}"
    );
    let error = Worker::<FixedFrame<65>>::start(&config, 0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("FixedFrame with 64 bytes of payload"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("FixedFrame with 65 bytes of payload"),
        "{error}"
    );
    scheduler.close()?;
    Ok(())
}

#[test]
fn labels_that_are_no_names() -> Result {
    assert_eq!(
        MyelonTransportLayout::for_session("")
            .unwrap_err()
            .to_string(),
        "'' cannot name a segment: a session's label is not empty"
    );
    for label in ["日本語", "a/b", ".", "\0", &"x".repeat(1000)] {
        let layout = MyelonTransportLayout::for_session(label)?;
        validate_segment_name(&layout.rpc_ring_name())?;
        validate_segment_name(&layout.response_ring_name(63))?;
    }
    assert_eq!(
        MyelonTransportLayout::for_session_with_prefix("eleven-long", "s")
            .unwrap_err()
            .to_string(),
        "'eleven-long' cannot name a segment: a prefix has 9 bytes at the most"
    );
    for (name, reason) in [
        ("", "it is empty"),
        (
            "a/b",
            "it has other characters than ASCII letters, digits, '-', '_' and '.'",
        ),
        (
            "ünïcode",
            "it has other characters than ASCII letters, digits, '-', '_' and '.'",
        ),
        (
            ".hidden",
            "it starts with a dot: those are kept for temporary files",
        ),
        (
            &"x".repeat(31),
            "it is longer than the 29 bytes that macOS takes",
        ),
    ] {
        assert_eq!(
            validate_segment_name(name).unwrap_err().to_string(),
            format!("'{name}' cannot name a segment: {reason}")
        );
    }
    Ok(())
}

proptest! {
    /// Labels that share an ending, a beginning, or all but one character have different tags.
    #[test]
    fn labels_that_are_alike_do_not_collide(stem in "\\PC{0,40}", a in "\\PC{1,4}", b in "\\PC{1,4}") {
        prop_assume!(a != b);
        let tag = |label: String| compact_session_tag(&label).expect("a tag");
        prop_assert_ne!(tag(format!("{a}{stem}")), tag(format!("{b}{stem}")));
        prop_assert_ne!(tag(format!("{stem}{a}")), tag(format!("{stem}{b}")));
    }
}

#[test]
fn a_million_labels_have_a_million_tags() -> Result {
    let mut tags: Vec<_> = (0..1_000_000)
        .map(|number| compact_session_tag(&format!("session-{number}")))
        .collect::<TransportResult<_>>()?;
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 1_000_000);
    Ok(())
}

#[test]
fn a_response_ring_that_does_not_fit_is_an_error_and_not_a_hang() -> Result {
    let config = session(1);
    let name = config.layout()?.response_ring_name(0);
    let other = FramedTransportProducer::<FixedFrame<65>>::create(&name, 16)?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let error = scheduler.recv_any(soon()).unwrap_err();
    assert!(matches!(
        error,
        TransportError::Ring(MultiProcessError::IncompatibleLayout { .. })
    ));
    scheduler.close()?;
    other.close()?;
    Ok(())
}

/// The same test on either backing. It is a macro because the types of the two topologies differ, while the
/// calls are the same.
macro_rules! fixed_topology {
    ($topology:expr, $workers:expr) => {{
        let (topology, workers): (_, usize) = ($topology, $workers);
        let mut scheduler = topology.build_scheduler(|| 0_u64)?;
        for event in 0..4 {
            scheduler.publish_value(event);
        }
        assert!(
            scheduler.try_publish(|_| {}).is_err(),
            "workers are expected"
        );
        for index in 0..workers {
            let mut worker = topology.attach_worker::<u64>(index)?;
            let seen: Vec<_> = std::iter::from_fn(|| worker.try_consume_next()).collect();
            assert_eq!(seen, [(0, 0), (1, 1), (2, 2), (3, 3)]);
        }
        assert!(scheduler.try_publish(|_| {}).is_ok());
        scheduler.destroy()?;
    }};
}

#[test]
fn a_fixed_topology_of_every_size_in_shared_memory() -> Result {
    for workers in 2..=8 {
        let name = portable_shm_segment_name("test");
        let count = WorkerCount::try_from(workers)?;
        fixed_topology!(FixedTopology::new(&name, 4, count), workers);
    }
    Ok(())
}

#[test]
fn a_fixed_topology_of_every_size_in_files() -> Result {
    let root = tempfile::tempdir()?;
    for workers in 2..=8 {
        let count = WorkerCount::try_from(workers)?;
        let topology = FixedTopology::in_files(root.path(), "events", 4, count);
        assert_eq!(topology.name(), "events");
        assert_eq!(topology.clone(), topology);
        fixed_topology!(topology, workers);
        assert_eq!(std::fs::read_dir(root.path())?.count(), 0, "destroyed");
    }
    Ok(())
}

/// A limit longer than any successful step takes.
const PATIENT: Duration = Duration::from_secs(60);

#[test]
fn a_scheduler_of_a_topology_waits_for_its_workers_when_told_to() -> Result {
    let name = portable_shm_segment_name("test");
    let topology = FixedTopology::new(&name, 4, WorkerCount::Two);
    let topology = topology.with_coordination_timeout(PATIENT);
    let (built, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let scheduler = topology.build_scheduler(|| 0_u64);
            built.send(()).expect("the test listens");
            scheduler
        });
        let worker = topology.worker_builder::<u64>(0)?;
        let mut first = worker.wait_for_ring(PATIENT).build_consumer()?;
        let early = told.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "worker_1 has not come");
        // a consumer that is no worker does not count
        let stranger = myelon::attach_shared_consumer::<u64>(&name, 4)
            .with_consumer_id("stranger")
            .build_consumer()?;
        let early = told.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "worker_1 has not come");
        stranger.leave()?;
        let mut second = topology.attach_worker::<u64>(1)?;
        let mut scheduler = waits.join().expect("no panic")?;
        scheduler.publish_value(7);
        assert_eq!(first.try_consume_next(), Some((0, 7)));
        assert_eq!(second.try_consume_next(), Some((0, 7)));
        scheduler.destroy()?;
        Ok(())
    })
}

#[test]
fn a_scheduler_whose_workers_do_not_come_fails_by_their_names() -> Result {
    let root = tempfile::tempdir()?;
    let patient = FixedTopology::in_files(root.path(), "events", 4, WorkerCount::Three);
    let hasty = patient
        .clone()
        .with_coordination_timeout(Duration::from_millis(20));
    let missing = |error| match error {
        InferenceTopologyError::Ring(MultiProcessError::CoordinationTimeout {
            missing, ..
        }) => missing,
        other => panic!("{other}"),
    };
    let error = hasty.build_scheduler(|| 0_u64).expect_err("nobody came");
    assert_eq!(missing(error), ["worker_0", "worker_1", "worker_2"]);
    assert_eq!(
        std::fs::read_dir(root.path())?.count(),
        0,
        "nothing is left"
    );

    patient.build_scheduler(|| 0_u64)?.keep()?;
    let worker = hasty.attach_worker::<u64>(1)?;
    let error = hasty
        .build_scheduler(|| 0_u64)
        .expect_err("two did not come");
    assert_eq!(missing(error), ["worker_0", "worker_2"]);

    drop(worker);
    let scheduler = patient.build_scheduler(|| 0_u64)?;
    scheduler.destroy()?;
    Ok(())
}

#[test]
fn numbers_that_no_fixed_topology_has() -> Result {
    for found in [0, 1, 9] {
        let error = WorkerCount::try_from(found).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "a fixed topology has 2 to 8 workers, not {found}: use a session for other numbers"
            )
        );
    }
    let topology = FixedTopology::new("unused", 4, WorkerCount::Three);
    let error = topology.attach_worker::<u64>(3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no worker 3: the topology has 3, numbered from 0"
    );
    assert!(matches!(
        error,
        InferenceTopologyError::NoSuchWorker {
            index: 3,
            workers: 3
        }
    ));
    assert_eq!(topology.worker_consumer_id(2)?, "worker_2");
    Ok(())
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
            assert!(matches!(late, Err(TransportError::SessionClosed)));
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
