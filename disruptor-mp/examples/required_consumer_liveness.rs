//! A producer notices that a consumer it depends on no longer takes events, stops, and continues with a new consumer.
//!
//! `cargo run -p disruptor-mp --example required_consumer_liveness`

use std::error::Error;
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disruptor_mp::prelude::*;
use disruptor_mp::{RequiredConsumerAlert, RequiredConsumerError, RequiredConsumerLivenessConfig};

const CAPACITY: usize = 64;
/// How many orders the first consumer takes before it gets stuck.
const TAKEN: i64 = 100;
const ORDERS: i64 = 1000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [ring, mode] => check_risk(ring, mode == "gets stuck"),
        _ => send_orders(),
    }
}

fn spawn_risk(ring: &str, mode: &str) -> std::io::Result<Child> {
    let this = std::env::current_exe()?;
    Command::new(this).args([ring, mode]).spawn()
}

/// The consumer `risk`, which keeps its place when it dies.
fn check_risk(ring: &str, gets_stuck: bool) -> Result<(), Box<dyn Error>> {
    let mut rx = attach_shared_consumer::<i64>(ring, CAPACITY)
        .with_consumer_id("risk")
        .build_consumer()?;
    let mut expected = rx.current_sequence() + 1;
    println!("risk starts at order {expected}");
    loop {
        if gets_stuck && expected == TAKEN {
            std::thread::sleep(TIMEOUT); // alive, but useless
        }
        match rx.recv(Deadline::after(TIMEOUT)) {
            Ok(order) => assert_eq!(*order, expected, "in order, none missing"),
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        expected += 1;
    }
    assert_eq!(expected, ORDERS);
    Ok(())
}

fn send_orders() -> Result<(), Box<dyn Error>> {
    let ring = disruptor_mp::portable_shm_segment_name("risk");
    let mut tx = build_shared_single_producer::<i64>(&ring, CAPACITY).build_producer(|| 0)?;
    let (send, alerts) = channel();
    let send = Mutex::new(send);
    let config = RequiredConsumerLivenessConfig {
        required_consumer_ids: vec!["risk".into()],
        startup_wait_timeout: TIMEOUT,
        progress_timeout: Duration::from_millis(500),
        shutdown_grace_period: Duration::from_secs(1),
        alert_hook: Some(Arc::new(move |alert: &RequiredConsumerAlert| {
            let _ = send.lock().map(|send| send.send(alert.clone()));
        })),
        ..Default::default()
    };
    tx.enable_required_consumer_liveness(config.clone());
    tx.print_required_consumer_alerts(false);

    // The first managed publish waits until `risk` is attached; nothing is sent before.
    let mut stuck = spawn_risk(&ring, "gets stuck")?;
    let mut next = 0;
    let ended = loop {
        match tx.publish_managed(|order| *order = next) {
            Ok(sequence) => next = sequence + 1,
            Err(error) => break error,
        }
    };
    let alert = alerts.try_recv()?;
    println!("alert: {alert}\nerror: {ended}");
    assert_eq!(alert.pid, stuck.id());
    assert!(alert.is_alive && alert.stalled_for >= config.progress_timeout);
    assert!(matches!(
        &ended,
        RequiredConsumerError::GracefulShutdownTriggered { consumer_id, .. } if consumer_id == "risk"
    ));
    assert_eq!(next, TAKEN + CAPACITY as i64, "a full ring, and no more");

    // An operator restarts it. Its place was kept, so that the new process continues with the order at which
    // the old one was stuck.
    stuck.kill()?;
    stuck.wait()?;
    let mut healthy = spawn_risk(&ring, "is well")?;
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
        shutdown_grace_period: TIMEOUT,
        ..config
    });
    while next < ORDERS {
        next = tx.publish_managed(|order| *order = next)? + 1;
    }
    tx.close()?;
    let status = healthy.wait()?;
    assert!(status.success(), "risk failed: {status}");
    println!("{ORDERS} orders, each checked once");
    Ok(())
}
