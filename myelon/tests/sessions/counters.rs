//! The counters of a session in a file.

use std::time::Duration;

use crate::shared::{Frame, Result, session, soon, take, wait_until};
use myelon::{
    CounterId, CounterSnapshot, CountersFile, Deadline, Scheduler, TransportError, Worker,
};

const LAST: u8 = 1;

/// The counters with this id, as another process reads them.
fn counters(file: &CountersFile, id: CounterId) -> Vec<CounterSnapshot> {
    let mut all = file.snapshot();
    all.retain(|counter| counter.id == id);
    all
}

fn value(file: &CountersFile, id: CounterId, label: &str) -> Option<u64> {
    let all = counters(file, id);
    let found = all.iter().find(|counter| counter.label == label);
    found.map(|counter| counter.value)
}

#[test]
fn messages_that_no_member_sends_are_counted() -> Result {
    let (file, config) = (CountersFile::anonymous(), session(1));
    let layout = config.layout()?;
    let (common, own) = (layout.rpc_ring_name(), layout.request_ring_name(0));
    let answers = format!("{}/consumer/scheduler", layout.response_ring_name(0));
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.attach_counters(&file)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    worker.attach_counters(&file)?;
    let id = scheduler.broadcast(b"a request", 1, soon())?;
    let mut head = worker.requests().recv(soon())?.to_vec();
    // requests without a head, of other flags, and without a number
    for message in [&b"short"[..], &[9; 16], &[0; 16]] {
        scheduler.requests().send(message, 1, soon())?;
    }
    scheduler.send_to(0, b"to one", 1, soon())?;
    assert_eq!(take(&mut worker)?, b"to one");
    worker.requests().counters();
    let of = |ring: &str| format!("{ring}/consumer/worker_0");
    let malformed = CounterId::SESSION_MALFORMED;
    assert_eq!(value(&file, malformed, &of(&common)), Some(3));
    assert_eq!(value(&file, malformed, &of(&own)), Some(0));
    // answers without a head, to a request that was not sent, and one of an earlier session, which is no fault
    head[12] = LAST;
    worker.responses().send(b"short", 1, soon())?;
    for number in [id.get() + 9, u64::MAX] {
        head[..8].copy_from_slice(&number.to_le_bytes());
        worker.responses().send(&head, 1, soon())?;
    }
    head[15] ^= 1;
    worker.responses().send(&head, 1, soon())?;
    worker.respond(b"the end", 1, soon())?;
    assert_eq!(&*scheduler.recv_any(soon())?.1, b"the end");
    let ring = scheduler.responses(0).expect("it is attached");
    ring.counters();
    assert_eq!(value(&file, malformed, &answers), Some(1));
    assert_eq!(value(&file, CounterId::ANSWERS_UNKNOWN, &answers), Some(2));
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn rings_that_come_later_and_absences_are_shown() -> Result {
    let (directory, config) = (tempfile::tempdir()?, session(2));
    let path = directory.path().join("counters");
    let layout = config.layout()?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    scheduler.attach_counters(&CountersFile::create(&path)?)?;
    // as another process reads it
    let file = CountersFile::open(&path)?;
    let published = CounterId::EVENTS_PUBLISHED;
    let (common, own) = (layout.rpc_ring_name(), layout.request_ring_name(1));
    scheduler.broadcast(b"", 1, soon())?;
    assert_eq!(
        value(&file, published, &format!("{common}/producer")),
        Some(1)
    );
    assert_eq!(counters(&file, published).len(), 1);
    scheduler.send_to(1, b"", 1, soon())?;
    assert_eq!(value(&file, published, &format!("{own}/producer")), Some(1));
    assert_eq!(counters(&file, CounterId::EVENTS_CONSUMED), []);
    let absences = |rank| {
        let label = format!("{common}/worker/worker_{rank}");
        value(&file, CounterId::WORKER_ABSENCES, &label)
    };
    for times in 1..=2 {
        let mut worker = Worker::<Frame>::start(&config, 1)?;
        worker.serve(soon(), |_, _| b"done")?;
        scheduler.recv_any(soon())?.1.release();
        drop(worker);
        scheduler.broadcast(b"", 1, soon())?;
        let waited = scheduler
            .recv_any(Deadline::after(Duration::ZERO))
            .map(drop);
        assert!(matches!(waited, Err(TransportError::Recv(_))), "{waited:?}");
        wait_until("the absence is counted", || {
            scheduler.state();
            absences(1) == Some(times)
        });
        assert_eq!(absences(0), Some(0));
    }
    // what each worker has, as the scheduler last saw it
    let levels = |rank| {
        let label = format!("{common}/worker/worker_{rank}");
        let ids = [
            CounterId::REQUESTS_IN_FLIGHT,
            CounterId::OLDEST_REQUEST_MS,
            CounterId::REQUEST_DELIVERIES,
        ];
        ids.map(|id| value(&file, id, &label))
    };
    let mut worker = Worker::<Frame>::start(&config, 1)?;
    drop(worker.recv(soon())?);
    std::thread::sleep(Duration::from_millis(30));
    wait_until("the scheduler checks while it receives", || {
        let none = scheduler.recv_any(Deadline::after(Duration::from_millis(1)));
        assert!(matches!(none.map(drop), Err(TransportError::Recv(_))));
        levels(1)[2] == Some(1)
    });
    let [in_flight, oldest, _] = levels(1);
    assert_eq!(in_flight, Some(2));
    assert!(oldest.is_some_and(|ms| ms >= 20), "{oldest:?}");
    assert_eq!(
        levels(0)[0],
        Some(3),
        "it has not come, and all is kept for it"
    );
    let state = scheduler.state();
    assert_eq!((state[1].in_flight, state[1].deliveries), (2, 1));
    for _ in 0..2 {
        worker.recv(soon())?.done();
    }
    scheduler.state();
    assert_eq!(levels(1), [Some(0); 3]);
    let answers = format!("{}/consumer/scheduler", layout.response_ring_name(1));
    let consumed = counters(&file, CounterId::EVENTS_CONSUMED);
    assert!(
        consumed.iter().any(|it| it.label == answers),
        "{consumed:?}"
    );
    worker.leave()?;
    scheduler.remove_worker(0)?;
    drop(scheduler);
    assert_eq!(
        levels(0)[0],
        Some(0),
        "a scheduler that has ended checks no more"
    );
    Ok(())
}
