//! Members of a session for tasks, which may be killed and stopped as well: a scheduler with a task for each request,
//! and a worker whose task streams its answers.
//!
//! The thread of such a scheduler takes answers out of the rings before a task writes them down. So the answers that
//! are under way may go with it: the ledger says so by [`Fact::Calls`].

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use myelon::{
    AsyncScheduler, AsyncWorker, Deadline, Pieces, RecvError, RunnerMyelonTransportConfig,
    Scheduler, TransportError, TransportResult,
};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::sleep;

use super::judge::{Entry, Fact, open_answers};
use super::{Answers, Book, Requests, message, number_of_request};

/// Why a member fails.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long [`TaskScheduler::settle`] waits between two checks.
const SOON: Duration = Duration::from_millis(2);
/// How often it checks in vain before it believes that nothing more comes.
const QUIET: u32 = 12;

/// What the tasks of a scheduler share.
#[derive(Debug)]
struct Desk {
    book: Book,
    /// The answers to a predecessor's requests that are expected.
    open: BTreeSet<(u64, u32)>,
}

type Shared = Arc<Mutex<Desk>>;

fn lock(desk: &Shared) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scheduler with a task for each request.
#[derive(Debug)]
pub struct TaskScheduler {
    scheduler: AsyncScheduler,
    desk: Shared,
    workers: usize,
    calls: JoinSet<io::Result<()>>,
    earlier: JoinHandle<io::Result<()>>,
}

impl TaskScheduler {
    /// Starts the scheduler, which receives the answers to its predecessor's requests, too. `pieces` has the number of
    /// pieces of each worker's answers.
    ///
    /// # Errors
    ///
    /// Those of the session and of the ledger.
    pub async fn start(
        config: &RunnerMyelonTransportConfig,
        ledger: &Path,
        pieces: &[u32],
    ) -> TransportResult<Self> {
        let failed = |error: io::Error| {
            TransportError::Recv(RecvError::System {
                what: error.to_string(),
            })
        };
        let mut book = Book::open(ledger).map_err(failed)?;
        let scheduler = Scheduler::<Requests, Answers>::resume(config)?;
        book.write(Fact::Started { resumes: true })
            .map_err(failed)?;
        for rank in 0..config.workers as u32 {
            book.write(Fact::Calls { rank }).map_err(failed)?;
        }
        let open = open_answers(pieces, &book.earlier);
        let desk = Arc::new(Mutex::new(Desk { book, open }));
        let scheduler = AsyncScheduler::new(scheduler).map_err(failed)?;
        let earlier = tokio::spawn(take_earlier(scheduler.earlier(), Arc::clone(&desk)));
        Ok(Self {
            scheduler,
            desk,
            workers: config.workers,
            calls: JoinSet::new(),
            earlier,
        })
    }

    /// The first request that no scheduler has meant to send.
    pub fn next_request(&self) -> u64 {
        lock(&self.desk).book.next_request()
    }

    /// Sends a request to this worker, or to all, whose answers a task receives.
    ///
    /// # Errors
    ///
    /// Those of the ledger.
    pub fn send(&mut self, request: u64, to: Option<usize>) -> io::Result<()> {
        let ranks = to.map_or(0..self.workers, |rank| rank..rank + 1);
        {
            let book = &mut lock(&self.desk).book;
            let to = to.map(|rank| rank as u64);
            book.write(Fact::Intended { request, to })?;
            for rank in ranks.clone() {
                book.write(Fact::Calls { rank: rank as u32 })?;
            }
        }
        let message = message(request);
        let pieces = match to {
            Some(rank) => self.scheduler.call_streaming(rank, message, 1),
            None => self.scheduler.gather_streaming(message, 1),
        };
        let desk = Arc::clone(&self.desk);
        self.calls.spawn(take(pieces, desk, request, ranks.len()));
        Ok(())
    }

    /// How many requests have tasks that still receive answers.
    pub fn under_way(&self) -> usize {
        self.calls.len()
    }

    /// Waits until the next task has received all answers to its request; `None` if there are no more tasks.
    ///
    /// # Errors
    ///
    /// Those of the answers and of the ledger.
    pub async fn next_done(&mut self) -> Option<io::Result<()>> {
        Some(flat(self.calls.join_next().await?))
    }

    /// Waits until all tasks have received the answers to their requests.
    ///
    /// # Errors
    ///
    /// As [`next_done`](Self::next_done).
    pub async fn drain(&mut self) -> io::Result<()> {
        while let Some(done) = self.next_done().await {
            done?;
        }
        Ok(())
    }

    /// Waits for the answers to a predecessor's requests. Some may have gone with the predecessor: then the workers are
    /// done, and nothing comes.
    pub async fn settle(&mut self) {
        let (mut quiet, mut before) = (0, usize::MAX);
        while quiet < QUIET {
            let left = lock(&self.desk).open.len();
            let is_done = self.scheduler.state().await.iter().all(|it| it.lag == 0);
            match left {
                0 => return,
                left if left != before => quiet = 0,
                _ => quiet += u32::from(is_done),
            }
            before = left;
            sleep(SOON).await;
        }
    }

    /// Waits until all workers are there.
    pub async fn assemble(&self, patience: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            let states = self.scheduler.state().await;
            if states.iter().all(|state| state.is_attached) {
                return;
            }
            sleep(SOON).await;
        }
    }

    /// Ends the session, and writes down which answers are not to be had. Returns how many requests the workers have
    /// not completed.
    ///
    /// # Errors
    ///
    /// Those of the session, of the answers and of the ledger.
    pub async fn shut_down(mut self, ledger: &Path, pieces: &[u32]) -> Result<usize, Failure> {
        let deadline = Deadline::after(Duration::from_secs(20));
        let report = self.scheduler.clone().shutdown(deadline).await?;
        self.drain().await?;
        drop(self.scheduler);
        flat(self.earlier.await)?;
        let book = &mut lock(&self.desk).book;
        for (request, rank) in open_answers(pieces, &Entry::all(&std::fs::read(ledger)?)) {
            book.write(Fact::Unaccounted { request, rank })?;
        }
        Ok(report.unanswered.iter().sum())
    }
}

fn flat(joined: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    joined.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Writes down the answers to a request, so many of them.
async fn take(mut pieces: Pieces, desk: Shared, request: u64, answers: usize) -> io::Result<()> {
    let (mut left, mut is_sent) = (answers, false);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(io::Error::other)?;
        let book = &mut lock(&desk).book;
        if !core::mem::replace(&mut is_sent, true) {
            let id = piece.request.ok_or_else(|| io::Error::other("no answer"))?;
            book.write_sent(request, id)?;
        }
        book.write_copy(&piece)?;
        left -= usize::from(piece.is_last);
    }
    match left {
        0 => Ok(()),
        _ => Err(io::Error::other(format!(
            "{left} answers to {request} have not ended"
        ))),
    }
}

/// Writes down the answers to a predecessor's requests.
async fn take_earlier(mut pieces: Pieces, desk: Shared) -> io::Result<()> {
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(io::Error::other)?;
        let mut desk = lock(&desk);
        let (request, is_last) = desk.book.write_copy(&piece)?;
        if is_last {
            desk.open.remove(&(request, piece.rank as u32));
        }
    }
    Ok(())
}

/// A worker whose task streams each answer in so many pieces, until the session is closed. It calls `pause` before it
/// answers.
///
/// # Errors
///
/// Those of the session; [`RecvError::System`] for those of the ledger and of the requests.
pub async fn work(
    config: &RunnerMyelonTransportConfig,
    rank: usize,
    ledger: &Path,
    pieces: u32,
    pause: impl Fn(u64),
) -> TransportResult<()> {
    let failed = |what: String| TransportError::Recv(RecvError::System { what });
    let mut book = Book::of_worker(ledger).map_err(|error| failed(error.to_string()))?;
    let mut worker = AsyncWorker::start::<Requests, Answers>(config, rank).await?;
    loop {
        let mut request = match worker.recv().await {
            Ok(request) => request,
            Err(
                TransportError::SessionClosing { .. }
                | TransportError::Recv(RecvError::ProducerDead { .. }),
            ) => continue,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error),
        };
        let number = number_of_request(request.bytes()).map_err(failed)?;
        let delivered = book.write(Fact::Delivered {
            request: number,
            rank: rank as u32,
            delivery: request.delivery(),
        });
        delivered.map_err(|error| failed(error.to_string()))?;
        pause(number);
        let bytes = number.to_ne_bytes();
        let mut sent = Ok(());
        for _ in 1..pieces {
            if sent.is_ok() {
                sent = request.send(bytes, 1).await;
            }
        }
        if sent.is_ok() {
            sent = request.finish(bytes, 1).await;
        }
        match sent {
            Ok(()) | Err(TransportError::SessionClosed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    worker.leave().await
}
