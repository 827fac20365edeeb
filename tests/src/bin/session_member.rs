//! A member of a session that may be killed at any moment: see `tests/session_storm.rs`.
//!
//! `session_member LABEL WORKERS LEDGER [task-]scheduler|RANK [WRONG]`. The scheduler sends requests until its input
//! ends, and then shuts the session down. It writes down what it sends and receives, each entry by one system call, so
//! that a kill loses none. A worker answers in pieces until the session is closed. The members `task-…` are those for
//! tasks.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use myelon::{Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, TransportError, Worker};
use myelon_tests::sessions::judge::Fact;
use myelon_tests::sessions::tasks::{self, Failure, TaskScheduler};
use myelon_tests::sessions::{Answers, Book, PIECES, Requests, message, number_of_request};
use tokio::time::timeout;

/// Requests that are sent and not answered, at most.
const UNDER_WAY_MAX: usize = 40;

fn main() -> Result<(), Failure> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [label, workers, ledger, role, wrong @ ..] = &words[..] else {
        return Err("session_member LABEL WORKERS LEDGER scheduler|RANK [WRONG]".into());
    };
    let config = RunnerMyelonTransportConfig::new(label, workers.parse()?);
    let rings = config.transport.clone();
    let rings = rings
        .with_rpc_depth(16)
        .with_response_depth(8)
        .with_liveness_interval(Duration::from_millis(10));
    let config = config.with_transport(rings);
    let wrong = wrong.first().map_or("", |wrong| wrong);
    let ledger = Path::new(ledger);
    match (role.strip_prefix("task-"), role.parse()) {
        (Some(role), _) => {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().build()?.block_on(async {
                match role.parse() {
                    Ok(rank) => Ok(tasks::work(&config, rank, ledger, PIECES, |_| ()).await?),
                    Err(_) => schedule_tasks(&config, ledger).await,
                }
            })
        }
        (None, Ok(rank)) => work(&config, rank, ledger, wrong),
        (None, Err(_)) => schedule(&config, ledger, wrong),
    }
}

/// True once the input of this process has ended.
fn when_the_input_ends() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            is_over.store(true, Ordering::Relaxed);
        }
    });
    is_over
}

/// The worker that gets this request: each ninth one is for all.
fn addressee(request: u64, workers: usize) -> Option<usize> {
    (!request.is_multiple_of(9)).then_some(request as usize % workers)
}

async fn schedule_tasks(
    config: &RunnerMyelonTransportConfig,
    ledger: &Path,
) -> Result<(), Failure> {
    let pieces = vec![PIECES; config.workers];
    let mut scheduler = TaskScheduler::start(config, ledger, &pieces).await?;
    let mut next = scheduler.next_request();
    let is_over = when_the_input_ends();
    while !is_over.load(Ordering::Relaxed) {
        if scheduler.under_way() < UNDER_WAY_MAX {
            scheduler.send(next, addressee(next, config.workers))?;
            next += 1;
        }
        let patience = match scheduler.under_way() < UNDER_WAY_MAX {
            true => Duration::ZERO,
            false => Duration::from_millis(2),
        };
        if let Ok(Some(done)) = timeout(patience, scheduler.next_done()).await {
            done?;
        }
    }
    scheduler.assemble(Duration::from_secs(20)).await;
    scheduler.drain().await?;
    scheduler.settle().await;
    match scheduler.shut_down(ledger, &pieces).await? {
        0 => Ok(()),
        left => Err(format!("{left} requests are left").into()),
    }
}

fn schedule(
    config: &RunnerMyelonTransportConfig,
    ledger: &Path,
    wrong: &str,
) -> Result<(), Failure> {
    let mut book = Book::open(ledger)?;
    let mut next = book.next_request();
    let mut scheduler = match wrong {
        "forgets" => Scheduler::<Requests, Answers>::start(config)?,
        _ => Scheduler::<Requests, Answers>::resume(config)?,
    };
    // a control does not write down that it forgets
    book.write(Fact::Started { resumes: true })?;
    let is_over = when_the_input_ends();
    let mut under_way = 0_usize;
    while !is_over.load(Ordering::Relaxed) {
        let soon = Deadline::after(Duration::from_millis(2));
        if under_way < UNDER_WAY_MAX {
            let to = addressee(next, config.workers);
            book.write(Fact::Intended {
                request: next,
                to: to.map(|rank| rank as u64),
            })?;
            let message = message(next);
            let sent = match to {
                None => scheduler.broadcast(&message, 1, soon),
                Some(rank) => scheduler.send_to(rank, &message, 1, soon),
            };
            match sent {
                Ok(id) => {
                    book.write_sent(next, id)?;
                    under_way += to.map_or(config.workers, |_| 1);
                }
                Err(TransportError::Send(_)) => {}
                Err(error) => return Err(error.into()),
            }
            next += 1;
        }
        for taken in 0..8 {
            let until = match (taken, under_way < UNDER_WAY_MAX) {
                (0, false) => soon,
                _ => Deadline::after(Duration::ZERO),
            };
            match scheduler.recv_any(until) {
                Ok((rank, piece)) => {
                    if book.write_piece(rank, &piece)?.1 {
                        under_way = under_way.saturating_sub(1);
                    }
                }
                Err(TransportError::Recv(RecvError::Timeout)) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    // a worker that comes after the end, and has nothing to do, would wait for a session that is gone
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !scheduler.missing_workers().is_empty() && std::time::Instant::now() < end {
        let soon = Deadline::after(Duration::from_millis(1));
        if let Ok((rank, piece)) = scheduler.recv_any(soon) {
            book.write_piece(rank, &piece)?;
        }
    }
    let mut failed = None;
    let report = scheduler.shutdown(Deadline::after(Duration::from_secs(30)), |rank, piece| {
        failed = failed.take().or(book.write_piece(rank, &piece).err());
    })?;
    match failed {
        Some(error) => Err(error.into()),
        // a ring may be kept for the notice that it exists
        None if report.unanswered.iter().all(|count| *count == 0) => Ok(()),
        None => Err(format!("requests are left: {:?}", report.unanswered).into()),
    }
}

fn work(
    config: &RunnerMyelonTransportConfig,
    rank: usize,
    ledger: &Path,
    wrong: &str,
) -> Result<(), Failure> {
    let mut book = Book::of_worker(ledger)?;
    let (mut requests, mut responses) = Worker::<Requests, Answers>::start(config, rank)?.split();
    loop {
        let request = match requests.recv(Deadline::NEVER) {
            Ok(request) => request,
            Err(
                TransportError::SessionClosing { .. }
                | TransportError::Recv(RecvError::ProducerDead { .. }),
            ) => continue,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        };
        let (id, number) = (request.id(), number_of_request(&request)?);
        book.write(Fact::Delivered {
            request: number,
            rank: rank as u32,
            delivery: request.delivery(),
        })?;
        let number = number.to_ne_bytes();
        // the planted fault: it is done before it is answered
        let mut request = Some(request);
        if wrong == "early"
            && let Some(request) = request.take()
        {
            request.done();
        }
        let mut reply = responses.reply(id);
        for piece in 0..PIECES {
            let sent = match piece + 1 < PIECES {
                true => reply.send(&number, 1, Deadline::NEVER),
                false => reply.finish(&number, 1, Deadline::NEVER),
            };
            match sent {
                Ok(_) | Err(TransportError::SessionClosed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(request) = request {
            request.done();
        }
    }
    responses.close()?;
    Ok(requests.leave()?)
}
