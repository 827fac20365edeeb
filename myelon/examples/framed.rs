//! Messages of any length between two processes. Short messages take one frame and are read in place. Long ones
//! take many frames; one of them is longer than the whole ring.
//!
//! `cargo run -p myelon --example framed`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use myelon::prelude::*;
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};

type Frame = FixedFrame<4096>;

const DEPTH: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(30);
const LENGTHS: [usize; 6] = [0, 5, 4096, 4097, 100_000, 1_000_000];

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => send(&ring),
        None => receive(),
    }
}

fn send(ring: &str) -> Result<(), Box<dyn Error>> {
    let builder =
        myelon::build_shared_single_producer::<Frame>(ring, DEPTH).wait_for_consumers(1, TIMEOUT);
    let mut tx = FramedTransportProducer::from_builder(builder)?;
    for (kind, len) in (0..).zip(LENGTHS) {
        tx.send(&vec![kind; len], kind, Deadline::after(TIMEOUT))?;
    }
    // a message can also be written in place
    let mut message = tx.reserve(5, 255, Deadline::after(TIMEOUT))?;
    message.copy_from_slice(b"bye!\n");
    message.publish();
    tx.close()?;
    Ok(())
}

fn receive() -> Result<(), Box<dyn Error>> {
    let ring = myelon::portable_shm_segment_name("framed");
    let mut sender = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;
    let builder = myelon::attach_shared_consumer::<Frame>(&ring, DEPTH)
        .with_consumer_id("reader")
        .wait_for_ring(TIMEOUT);
    let mut rx = FramedTransportConsumer::from_builder(builder)?;

    let mut lengths = Vec::new();
    let end = loop {
        match rx.recv(Deadline::after(TIMEOUT)) {
            Ok(message) if message.kind() == 255 => print!("{}", str::from_utf8(&message)?),
            Ok(message) => {
                let (meta, is_in_place) = (message.meta(), message.is_in_place());
                println!(
                    "{} bytes in {} frames; in place: {is_in_place}",
                    meta.len, meta.frames
                );
                assert!(message.iter().all(|byte| *byte == meta.kind));
                lengths.push(message.len());
            }
            Err(end) => break end,
        }
    };
    assert_eq!((&lengths[..], end), (&LENGTHS[..], RecvError::Closed));
    assert!(sender.wait()?.success());
    Ok(())
}
