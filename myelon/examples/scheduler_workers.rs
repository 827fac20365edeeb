//! The skeleton of an inference server: one scheduler and four workers, each of them a process. While they run,
//! one worker is killed. A new worker of the same rank continues where it was, and that worker's answer to
//! every request still arrives.
//!
//! `cargo run -p myelon --example scheduler_workers`

use std::collections::BTreeSet;
use std::error::Error;
use std::process::{Child, Command};
use std::time::Duration;

use myelon::prelude::*;
use myelon::transport::FixedFrame;
use myelon::{
    MyelonTransportConfig, RunnerMyelonTransportConfig, Scheduler, TransportError, Worker,
};

type Frame = FixedFrame<4096>;

const WORKERS: usize = 4;
const REQUESTS: u32 = 2_000;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The settings that all processes must share.
fn session(label: &str) -> RunnerMyelonTransportConfig {
    let rings = MyelonTransportConfig::default()
        .with_rpc_depth(64)
        .with_response_depth(64);
    RunnerMyelonTransportConfig::new(label, WORKERS).with_transport(rings)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [label, rank] => work(label, rank.parse()?),
        _ => schedule(),
    }
}

/// Answers each request until the scheduler has closed its ring.
fn work(label: &str, rank: usize) -> Result<(), Box<dyn Error>> {
    let mut worker = Worker::<Frame>::start(&session(label), rank)?;
    loop {
        let done = worker.serve(Deadline::after(TIMEOUT), |_kind, request| request.to_vec());
        match done {
            Ok(_) => {}
            Err(TransportError::Recv(RecvError::Closed)) => return Ok(worker.leave()?),
            // told once: another scheduler may come
            Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn start_worker(label: &str, rank: usize) -> std::io::Result<Child> {
    let this = std::env::current_exe()?;
    Command::new(this).args([label, &rank.to_string()]).spawn()
}

fn schedule() -> Result<(), Box<dyn Error>> {
    let label = myelon::portable_shm_segment_name("session");
    let mut workers = (0..WORKERS)
        .map(|rank| start_worker(&label, rank))
        .collect::<Result<Vec<_>, _>>()?;
    let mut scheduler = Scheduler::<Frame>::start(&session(&label))?;

    // which workers have answered which request; after a kill, a request may be answered twice
    let mut answered = BTreeSet::new();
    let mut sent = 0;
    while answered.len() < REQUESTS as usize * WORKERS {
        // keep about 32 requests in flight
        if sent < REQUESTS && (sent as usize * WORKERS) < answered.len() + 32 * WORKERS {
            scheduler.broadcast(&sent.to_le_bytes(), 1, Deadline::after(TIMEOUT))?;
            sent += 1;
            if sent == REQUESTS / 2 {
                workers[2].kill()?; // SIGKILL, at whatever point it has reached
                workers[2].wait()?;
                workers[2] = start_worker(&label, 2)?;
            }
            continue;
        }
        let (rank, answer) = scheduler.recv_any(Deadline::after(TIMEOUT))?;
        answered.insert((rank, u32::from_le_bytes(answer[..4].try_into()?)));
    }
    println!("{REQUESTS} requests, each answered by {WORKERS} workers, one of which was killed");
    scheduler.close()?;
    for mut worker in workers {
        assert!(worker.wait()?.success());
    }
    Ok(())
}
