//! One thread waits on the rings of several processes at once, and sleeps until one of them has an event or has ended.
//!
//! `cargo run -p disruptor-mp --example ring_set`

use std::error::Error;
use std::process::{Child, Command};
use std::time::Duration;

use disruptor_mp::RingSet;
use disruptor_mp::prelude::*;

const SENSORS: usize = 4;
const READINGS: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => measure(&ring),
        None => collect(),
    }
}

/// One sensor, which publishes readings from time to time on a ring of its own.
fn measure(ring: &str) -> Result<(), Box<dyn Error>> {
    let mut tx = build_shared_single_producer::<u64>(ring, 16)
        .enable_discovery(1)
        .build_producer(|| 0)?;
    for reading in 0..READINGS {
        if reading % 10 == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        tx.send(Deadline::after(TIMEOUT), |event| *event = reading)?;
    }
    tx.close()?;
    Ok(())
}

fn collect() -> Result<(), Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let mut sensors: Vec<Child> = Vec::new();
    let mut set = RingSet::new();
    for _ in 0..SENSORS {
        let ring = disruptor_mp::portable_shm_segment_name("sensor");
        sensors.push(Command::new(&this).arg(&ring).spawn()?);
        set.push(subscribe_within::<u64>(&ring, TIMEOUT)?)?;
    }

    let (mut readings, mut waits) = (0, 0);
    while !set.is_empty() {
        // The set says which ring has an event, or has ended; the ring's consumer reads the events.
        let ready = set.wait(Deadline::after(TIMEOUT))?;
        waits += 1;
        let has_ended = loop {
            match set[ready].try_recv() {
                Ok(Some(reading)) => {
                    assert_eq!(*reading as i64, reading.sequence(), "none missing");
                    readings += 1;
                }
                Ok(None) => break false,
                Err(RecvError::Closed) => break true,
                Err(error) => return Err(error.into()),
            }
        };
        if has_ended {
            set.swap_remove(ready);
        }
    }
    println!("{readings} readings of {SENSORS} sensors in {waits} waits");
    assert_eq!(readings, SENSORS as u64 * READINGS);
    for mut sensor in sensors {
        assert!(sensor.wait()?.success());
    }
    Ok(())
}
