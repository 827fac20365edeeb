//! Two processes and one ring: this program publishes 1000 ticks, and a second run of itself consumes them.
//!
//! `cargo run -p disruptor-mp --example two_processes`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use disruptor_mp::prelude::*;

#[derive(Clone, Copy, Default, Event)]
#[repr(C)]
struct Tick {
    price: i64,
    quantity: u64,
}

const TICKS: i64 = 1000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => consume(&ring),
        None => produce(),
    }
}

fn produce() -> Result<(), Box<dyn Error>> {
    let ring = disruptor_mp::portable_shm_segment_name("ticks");
    // The producer expects the consumer: however late it comes, it starts at the first tick.
    let mut tx = build_shared_single_producer::<Tick>(&ring, 64)
        .enable_discovery(1)
        .build_producer(Tick::default)?;
    let mut consumer = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;

    for price in 0..TICKS {
        tx.send(Deadline::after(TIMEOUT), |tick| {
            *tick = Tick { price, quantity: 1 }
        })?;
    }
    // Closing lets the consumer drain the ring and then see the end.
    tx.close()?;

    let status = consumer.wait()?;
    assert!(status.success(), "the consumer failed: {status}");
    println!("published {TICKS} ticks to another process");
    Ok(())
}

fn consume(ring: &str) -> Result<(), Box<dyn Error>> {
    let mut rx = subscribe_within::<Tick>(ring, TIMEOUT)?;
    let (mut expected, mut quantity) = (0, 0);
    loop {
        match rx.recv(Deadline::after(TIMEOUT)) {
            Ok(tick) => {
                assert_eq!(tick.price, expected, "in order, none missing");
                quantity += tick.quantity;
                expected += 1;
            }
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!((expected, quantity), (TICKS, TICKS as u64));
    println!("consumed {expected} ticks");
    Ok(())
}
