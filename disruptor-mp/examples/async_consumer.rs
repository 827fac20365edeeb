//! A tokio task awaits events of another process, and a timer on the same thread. If the timer is ready
//! first, the future of the event is dropped, and no event is lost.
//!
//! `cargo run -p disruptor-mp --features tokio --example async_consumer`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use disruptor_mp::AsyncConsumer;
use disruptor_mp::prelude::*;

const EVENTS: i64 = 50;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => publish_now_and_then(&ring),
        None => consume(),
    }
}

fn publish_now_and_then(ring: &str) -> Result<(), Box<dyn Error>> {
    let mut tx = build_shared_single_producer::<i64>(ring, 16)
        .enable_discovery(1)
        .build_producer(|| 0)?;
    for event in 0..EVENTS {
        std::thread::sleep(Duration::from_millis(5));
        tx.send(Deadline::after(TIMEOUT), |slot| *slot = event)?;
    }
    tx.close()?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn consume() -> Result<(), Box<dyn Error>> {
    let ring = disruptor_mp::portable_shm_segment_name("async");
    let mut producer = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;
    let rx = subscribe_within::<i64>(&ring, TIMEOUT)?; // blocks: nothing else runs here yet
    let mut rx = AsyncConsumer::new(rx)?;

    let mut timer = tokio::time::interval(Duration::from_millis(1));
    let (mut events, mut ticks) = (0, 0);
    let end = loop {
        tokio::select! {
            received = rx.recv() => match received {
                Ok(event) => {
                    assert_eq!(*event, events, "in order, none missing");
                    events += 1;
                }
                Err(end) => break end,
            },
            _ = timer.tick() => ticks += 1,
        }
    };
    println!("{events} events and {ticks} ticks of the timer on one thread; {end}");
    assert_eq!((events, end), (EVENTS, RecvError::Closed));
    assert!(ticks > 0, "the timer ran while the task waited");
    assert!(producer.wait()?.success());
    Ok(())
}
