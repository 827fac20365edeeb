//! A scheduler and two workers that end in order on SIGTERM, whatever they are doing: the signal's handler cancels a
//! token, which ends each call that waits. The scheduler then lets its workers finish, for a second at most, and says
//! what was left. A worker leaves at once.
//!
//! `cargo run -p myelon --example until_sigterm`

use std::error::Error;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use myelon::transport::FixedFrame;
use myelon::{
    CancelToken, Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, TransportError,
    Worker,
};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

type Frame = FixedFrame<256>;

const WORKERS: usize = 2;
/// How long the scheduler waits for its workers at the end.
const TIMEOUT: Duration = Duration::from_secs(1);

static STOP: OnceLock<CancelToken> = OnceLock::new();

extern "C" fn stop(_signal: i32) {
    if let Some(token) = STOP.get() {
        token.cancel();
    }
}

/// A token that SIGTERM cancels.
pub(crate) fn token_of_sigterm() -> nix::Result<&'static CancelToken> {
    // before the handler is set, which must not make the token
    let token = STOP.get_or_init(CancelToken::new);
    let handler = SigHandler::Handler(stop);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler calls nothing but `cancel`, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGTERM, &action) }?;
    Ok(token)
}

/// Runs the scheduler, or the worker of this rank, until SIGTERM.
pub(crate) fn run(label: &str, role: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let token = token_of_sigterm()?;
    let config = RunnerMyelonTransportConfig::new(label, WORKERS).with_cancel_token(token);
    match role.parse() {
        Ok(rank) => work(&config, rank, token),
        Err(_) => schedule(&config, token),
    }
}

fn schedule(
    config: &RunnerMyelonTransportConfig,
    token: &CancelToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut scheduler = Scheduler::<Frame>::start(config)?;
    let mut answers = 0_u64;
    // a token ends waits: a loop whose calls need not wait asks it
    while !token.is_cancelled() {
        match scheduler.call(answers as usize % WORKERS, b"work", 1, Deadline::NEVER) {
            Ok(_answer) => answers += 1,
            Err(_) if token.is_cancelled() => {}
            // it got the signal first
            Err(TransportError::WorkerGone { .. }) => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    for missing in scheduler.missing_workers() {
        // what is kept for it would stay; this fails if the worker has come meanwhile
        let _ = scheduler.remove_worker(missing.rank);
    }
    let report = scheduler.shutdown(Deadline::after(TIMEOUT), |_rank, _answer| answers += 1)?;
    println!(
        "scheduler: {answers} answers; left: {:?} requests, {:?} answers",
        report.unanswered, report.unread
    );
    Ok(())
}

fn work(
    config: &RunnerMyelonTransportConfig,
    rank: usize,
    token: &CancelToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut worker = match Worker::<Frame>::start(config, rank) {
        Ok(worker) => worker,
        // it has waited for the scheduler
        Err(_) if token.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    while !token.is_cancelled() {
        match worker.serve(Deadline::NEVER, |_kind, request| request.to_vec()) {
            Ok(_) | Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {}
            Err(
                TransportError::SessionClosing { .. } | TransportError::Recv(RecvError::Closed),
            ) => break,
            Err(_) if token.is_cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(worker.leave()?)
}

/// Starts the three processes, and ends them by the signal: the scheduler last.
fn supervise() -> Result<(), Box<dyn Error + Send + Sync>> {
    let label = myelon::portable_shm_segment_name("sigterm");
    let this = std::env::current_exe()?;
    let mut members = Vec::new();
    for role in ["0", "1", "scheduler"] {
        members.push(Command::new(&this).args([&*label, role]).spawn()?);
    }
    thread::sleep(Duration::from_millis(300));
    for mut member in members {
        kill(Pid::from_raw(member.id() as i32), Signal::SIGTERM)?;
        let ended = member.wait()?;
        if !ended.success() {
            return Err(format!("a member: {ended}").into());
        }
    }
    Ok(())
}

#[allow(
    dead_code,
    reason = "a test has another `main`, and runs the members itself"
)]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [label, role] => run(label, role),
        _ => supervise(),
    }
}
