//! A client asks and a server answers, on one ring in each direction. The server blocks in `recv` until a
//! request comes. The client waits for each answer before it asks again, and prints how long a round trip
//! takes.
//!
//! `cargo run --release -p myelon --example request_response`

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use myelon::prelude::*;
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};

type Frame = FixedFrame<256>;

const DEPTH: usize = 16;
const REQUESTS: u32 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(name) => serve(&name),
        None => ask(),
    }
}

/// Sends on one ring of the pair and receives from the other.
fn connect(
    to: &str,
    from: &str,
) -> Result<
    (
        FramedTransportProducer<Frame>,
        FramedTransportConsumer<Frame>,
    ),
    Box<dyn Error>,
> {
    let tx = FramedTransportProducer::create_with_consumers(to, DEPTH, ["peer"])?;
    let builder = myelon::attach_shared_consumer(from, DEPTH)
        .with_consumer_id("peer")
        .wait_for_ring(TIMEOUT);
    Ok((tx, FramedTransportConsumer::from_builder(builder)?))
}

fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let (mut answers, mut requests) = connect(&format!("{name}-a"), &format!("{name}-q"))?;
    loop {
        let deadline = Deadline::after(TIMEOUT);
        let request = match requests.recv(deadline) {
            Ok(request) => request,
            Err(RecvError::Closed) => return Ok(()), // the client has finished
            Err(error) => return Err(error.into()),
        };
        answers.send(
            str::from_utf8(&request)?.to_uppercase().as_bytes(),
            request.kind(),
            deadline,
        )?;
    }
}

fn ask() -> Result<(), Box<dyn Error>> {
    let name = myelon::portable_shm_segment_name("rr");
    let mut server = Command::new(std::env::current_exe()?).arg(&name).spawn()?;
    let (mut requests, mut answers) = connect(&format!("{name}-q"), &format!("{name}-a"))?;

    let started = Instant::now();
    for number in 0..REQUESTS {
        let deadline = Deadline::after(TIMEOUT);
        requests.send(format!("request {number}").as_bytes(), 1, deadline)?;
        let answer = answers.recv(deadline)?;
        assert_eq!(str::from_utf8(&answer)?, format!("REQUEST {number}"));
    }
    println!(
        "{REQUESTS} requests, {:?} each",
        started.elapsed() / REQUESTS
    );
    requests.close()?;
    assert!(server.wait()?.success());
    Ok(())
}
