//! A picture of 64 KiB is read in place: there is no copy and no allocation, and only the fields that are used
//! are read.
//!
//! `cargo run -p myelon --features rkyv --example in_place_rkyv`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use myelon::codec::Rkyv;
use myelon::prelude::*;
use myelon::transport::{AlignedFixedFrame, ReassemblyBuffer};
use myelon::{TypedConsumer, TypedProducer};

/// One frame holds a picture and the bytes that the archive adds to it.
type Frame = AlignedFixedFrame<{ 65_536 + 256 }>;

const DEPTH: usize = 16;
const PICTURES: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Picture {
    number: u64,
    pixels: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => send(&ring),
        None => receive(),
    }
}

fn send(ring: &str) -> Result<(), Box<dyn Error>> {
    let builder =
        myelon::build_shared_single_producer::<Frame>(ring, DEPTH).wait_for_consumers(1, TIMEOUT);
    let mut tx = TypedProducer::from_builder(builder)?;
    for number in 0..PICTURES {
        let pixels = vec![number as u8; 65_536];
        tx.send(
            &Rkyv(Picture { number, pixels }),
            1,
            Deadline::after(TIMEOUT),
        )?;
    }
    tx.close()?;
    Ok(())
}

fn receive() -> Result<(), Box<dyn Error>> {
    let ring = myelon::portable_shm_segment_name("pictures");
    let mut sender = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;
    let builder = myelon::attach_shared_consumer::<Frame>(&ring, DEPTH)
        .with_consumer_id("viewer")
        .wait_for_ring(TIMEOUT);
    let mut rx = TypedConsumer::from_builder(builder)?;

    let mut buffer = ReassemblyBuffer::new(); // stays empty: each picture fits its frame
    for expected in 0..PICTURES {
        let deadline = Deadline::after(TIMEOUT);
        rx.recv_leased_within::<Rkyv<Picture>, _, _>(&mut buffer, deadline, |_kind, picture| {
            assert_eq!(picture.number.to_native(), expected);
            assert_eq!(picture.pixels[65_535], expected as u8);
        })?;
    }
    assert_eq!(buffer.as_slice(), b"");
    println!("{PICTURES} pictures of 64 KiB, read in place");
    assert!(sender.wait()?.success());
    Ok(())
}
