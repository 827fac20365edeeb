//! A producer is killed while it publishes; its successor continues the sequence, and the consumer misses nothing.
//!
//! `cargo run -p disruptor-mp --example takeover`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use disruptor_mp::prelude::*;

const CAPACITY: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => publish_until_killed(&ring),
        None => watch_it_die(),
    }
}

/// The value of each event is its sequence.
fn publish_until_killed(ring: &str) -> Result<(), Box<dyn Error>> {
    let mut tx = build_shared_single_producer::<i64>(ring, CAPACITY)
        .enable_discovery(1)
        .build_producer(|| 0)?;
    loop {
        let next = tx.last_published_sequence() + 1;
        tx.send(Deadline::after(TIMEOUT), |event| *event = next)?;
    }
}

fn watch_it_die() -> Result<(), Box<dyn Error>> {
    let ring = disruptor_mp::portable_shm_segment_name("take");
    let mut first = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;
    let mut rx = subscribe_within::<i64>(&ring, TIMEOUT)?;
    let mut next = 0;
    let mut take = |rx: &mut SharedConsumer<i64>| match rx.recv(Deadline::after(TIMEOUT)) {
        Ok(event) => {
            assert_eq!((*event, event.sequence()), (next, next));
            next += 1;
            Ok(next)
        }
        Err(error) => Err(error),
    };
    while take(&mut rx)? < 1000 {}

    // While it lives, no other process may publish.
    let refused = publisher::<i64>(&ring, CAPACITY).unwrap_err();
    println!("{refused}");
    assert!(refused.to_string().contains(&first.id().to_string()));

    // SIGKILL: it cannot close the ring. Its published events are still delivered; then the consumer is told
    // of its death.
    first.kill()?;
    first.wait()?;
    let dead = loop {
        if let Err(error) = take(&mut rx) {
            break error;
        }
    };
    println!("{dead}");
    assert!(matches!(dead, RecvError::ProducerDead { .. }));

    // The successor finds the ring under its name and continues where the first producer stopped.
    let mut second = publisher::<i64>(&ring, CAPACITY)?;
    let last = second.last_published_sequence();
    for sequence in last + 1..last + 1000 {
        second.send(Deadline::after(TIMEOUT), |event| *event = sequence)?;
        take(&mut rx)?;
    }
    second.close()?;
    assert_eq!(take(&mut rx), Err(RecvError::Closed));
    println!("{next} events from two producers, none missing and none twice");
    Ok(())
}
