//! Workers that are required consumers: a broadcast that watches them.

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::shared::{Frame, Result, session, soon, take};
use myelon::{
    Deadline, RequiredConsumerError, RequiredConsumerLivenessConfig, RunnerMyelonTransportConfig,
    Scheduler, TransportError, Worker,
};

fn required(config: &RunnerMyelonTransportConfig) -> RequiredConsumerLivenessConfig {
    let ids = (0..config.workers).map(|rank| config.worker_id(rank));
    RequiredConsumerLivenessConfig::new(ids)
        .with_startup_wait_timeout(Duration::from_millis(20))
        .with_progress_timeout(Duration::from_millis(20))
        .with_shutdown_grace_period(Duration::from_millis(20))
}

#[test]
fn a_required_worker_that_does_not_come_is_named() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    scheduler
        .requests()
        .enable_required_consumer_liveness(required(&config));
    let error = scheduler
        .broadcast_managed(b"", 1)
        .expect_err("one is missing");
    let TransportError::RequiredConsumer(RequiredConsumerError::StartupTimeout { missing, .. }) =
        &error
    else {
        panic!("{error}");
    };
    assert_eq!(missing, &["worker_1"]);
    let mut late = Worker::<Frame>::start(&config, 1)?;
    let sent = scheduler.broadcast_managed(b"to all", 7)?;
    for worker in [&mut worker, &mut late] {
        let request = worker.recv(soon())?;
        assert_eq!(
            (request.id(), request.kind(), &*request),
            (sent, 7, &b"to all"[..])
        );
        request.done();
    }
    for worker in [worker, late] {
        worker.leave()?;
    }
    scheduler.close()?;
    Ok(())
}

#[test]
fn a_required_worker_that_stands_still_is_told_of_and_ends_the_broadcast() -> Result {
    let config = session(2);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut idle = Worker::<Frame>::start(&config, 0)?;
    let mut busy = Worker::<Frame>::start(&config, 1)?;
    let (told, alerts) = channel();
    let told = std::sync::Mutex::new(told);
    let hook = move |alert: &myelon::RequiredConsumerAlert| {
        let alert = (alert.consumer_id.clone(), alert.is_alive);
        let _ = told.lock().expect("no panic").send(alert);
    };
    let required = required(&config).with_alert_hook(std::sync::Arc::new(hook));
    scheduler
        .requests()
        .enable_required_consumer_liveness(required);
    // a request to one worker alone, whose ring has to be announced before the next request to all
    let to_one = scheduler.send_to(1, b"to one", 1, soon())?;
    assert_eq!(take(&mut busy)?, b"to one");
    let mut sent = vec![];
    let error = loop {
        match scheduler.broadcast_managed(b"to all", 1) {
            Ok(id) => sent.push(id),
            Err(error) => break error,
        }
        take(&mut busy)?;
    };
    assert!(
        matches!(
            error,
            TransportError::RequiredConsumer(
                RequiredConsumerError::GracefulShutdownTriggered { .. }
            )
        ),
        "{error}"
    );
    assert_eq!(alerts.try_recv(), Ok((String::from("worker_0"), true)));
    assert!(sent.is_sorted() && sent.iter().all(|id| *id > to_one));
    // what was sent is whole
    for id in sent {
        let request = idle.recv(soon())?;
        assert_eq!((request.id(), &*request), (id, &b"to all"[..]));
        request.done();
    }
    assert!(idle.recv(Deadline::after(Duration::ZERO)).is_err());
    for worker in [idle, busy] {
        worker.leave()?;
    }
    scheduler.close()?;
    Ok(())
}
