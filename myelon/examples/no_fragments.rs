//! The frame size is chosen when the program starts: the smallest of a few sizes in which every message fits
//! one frame, so that all messages are read in place. The frame is a type; one `match` selects it, and all code
//! after that is generic.
//!
//! `cargo run -p myelon --example no_fragments`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use myelon::prelude::*;
use myelon::transport::{
    AlignedFixedFrame, FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer,
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The approximate memory of a ring: larger frames mean fewer of them.
const RING_BYTES: usize = 4 << 20;

/// One end of the ring, generic over the frame that was selected.
trait Side {
    fn run<F: FramedTransportFrame>(&self, depth: usize) -> Result<(), Box<dyn Error>>;
}

/// Runs a side with the smallest frames that hold messages of `longest` bytes. Both sides must be given the
/// same length: a side that attaches with another frame is refused.
fn with_frames_for(longest: usize, side: &impl Side) -> Result<(), Box<dyn Error>> {
    fn run<F: FramedTransportFrame>(side: &impl Side) -> Result<(), Box<dyn Error>> {
        side.run::<F>((RING_BYTES / size_of::<F>()).next_power_of_two())
    }
    match longest {
        0..=240 => run::<AlignedFixedFrame<240>>(side),
        241..=4_096 => run::<AlignedFixedFrame<4_096>>(side),
        4_097..=65_536 => run::<AlignedFixedFrame<65_536>>(side),
        // messages longer than this take several frames
        _ => run::<AlignedFixedFrame<1_048_576>>(side),
    }
}

struct Sender<'a>(&'a str, usize);

impl Side for Sender<'_> {
    fn run<F: FramedTransportFrame>(&self, depth: usize) -> Result<(), Box<dyn Error>> {
        let Self(ring, longest) = *self;
        let builder =
            myelon::build_shared_single_producer::<F>(ring, depth).wait_for_consumers(1, TIMEOUT);
        let mut tx = FramedTransportProducer::from_builder(builder)?;
        for len in [0, longest / 2, longest] {
            tx.send(&vec![7; len], 1, Deadline::after(TIMEOUT))?;
        }
        tx.close()?;
        Ok(())
    }
}

struct Receiver<'a>(&'a str, usize);

impl Side for Receiver<'_> {
    fn run<F: FramedTransportFrame>(&self, depth: usize) -> Result<(), Box<dyn Error>> {
        let Self(ring, longest) = *self;
        let builder = myelon::attach_shared_consumer::<F>(ring, depth)
            .with_consumer_id("reader")
            .wait_for_ring(TIMEOUT);
        let mut rx = FramedTransportConsumer::from_builder(builder)?;
        for len in [0, longest / 2, longest] {
            let message = rx.recv(Deadline::after(TIMEOUT))?;
            assert_eq!(message.len(), len);
            assert!(message.is_in_place(), "no message takes two frames");
        }
        println!(
            "up to {longest} bytes: {depth} frames of {}",
            F::PAYLOAD_BYTES
        );
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [ring, longest] = &arguments[..] {
        let longest = longest.parse()?;
        return with_frames_for(longest, &Sender(ring, longest));
    }
    for longest in [100, 3_000, 50_000, 1_000_000] {
        let ring = myelon::portable_shm_segment_name("class");
        let mut sender = Command::new(std::env::current_exe()?)
            .args([&ring, &longest.to_string()])
            .spawn()?;
        with_frames_for(longest, &Receiver(&ring, longest))?;
        assert!(sender.wait()?.success());
    }
    Ok(())
}
