//! A member of a session: `session-schedule`, `session-shutdown` and `session-work`.
//!
//! The scheduler sends the requests of a script, each of them once over all its lives: to one worker, to all, and by
//! calls. Worker 0 streams its answers in pieces, and answers again after a death. Worker 1 serves, and gives up a
//! request that was delivered before. With `tasks` the scheduler, or worker 0, is a member for tasks.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use disruptor_mp::{Deadline, RecvError};
use myelon::{RunnerMyelonTransportConfig, Scheduler, TransportError, Worker};
use myelon_tests::sessions::judge::{Entry, Fact, open_answers};
use myelon_tests::sessions::tasks::{self, TaskScheduler};
use myelon_tests::sessions::{
    Answers, Book, PIECES, PIECES_OF, Requests, SCRIPT, Task, WORKERS, message, number_of_request,
};

use tokio::runtime::{self, Runtime};

use crate::messages::told;
use crate::options::Words;
use crate::{Answer, Failure};

/// A wait within which a member that is there has done something.
const SOON: Duration = Duration::from_millis(2);
/// How often the scheduler polls in vain before it believes that nothing more comes: longer than the library takes to
/// find the ring of a worker that has started.
const QUIET: u32 = 12;

/// At most one scheduler.
#[derive(Default)]
pub(crate) struct Sessions {
    scheduling: Option<Scheduling>,
    tasks: Option<(Runtime, TaskScheduler)>,
}

struct Scheduling {
    scheduler: Scheduler<Requests, Answers>,
    book: Book,
    /// The answers that are expected.
    open: BTreeSet<(u64, u32)>,
}

impl Sessions {
    /// Answers a line whose verb is `session-` and this one.
    pub(crate) fn answer(&mut self, verb: &str, label: &str, words: &Words<'_>) -> Answer {
        let log = Path::new(words.word("log"));
        match verb {
            "schedule" if words.get("tasks").is_some() => {
                let runtime = runtime()?;
                let config = config(label, words);
                let tasks = runtime.block_on(play_in_tasks(&config, log))?;
                self.tasks = Some((runtime, tasks));
                Ok(String::new())
            }
            "shutdown" if self.tasks.is_some() => {
                let (runtime, tasks) = self.tasks.take().expect("a scheduler");
                let left = runtime.block_on(tasks.shut_down(log, &PIECES_OF));
                Ok(format!("unanswered={}", left.map_err(failed)?))
            }
            "schedule" => {
                let scheduling = Scheduling::start(label, words)?;
                self.scheduling.insert(scheduling).play()?;
                Ok(String::new())
            }
            "shutdown" => {
                let scheduling = self.scheduling.take().expect("a scheduler");
                scheduling.shut_down(log)
            }
            "work" => {
                let rank = words.number("rank") as usize;
                match rank {
                    0 if words.get("tasks").is_some() => {
                        let pause = |request| pause(request);
                        let config = config(label, words);
                        let worked = tasks::work(&config, rank, log, PIECES, pause);
                        runtime()?.block_on(worked).map_err(told)?;
                        Ok(String::new())
                    }
                    0 => stream(label, rank, words),
                    _ => serve(label, rank, words),
                }
            }
            other => panic!("no such verb: session-{other}"),
        }
    }
}

fn config(label: &str, words: &Words<'_>) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(label, WORKERS);
    let rings = config.transport.clone();
    let patience = Duration::from_millis(words.number_or("patience_ms", 0) as u64);
    let rings = rings
        .with_rpc_depth(8)
        .with_response_depth(4)
        .with_start_timeout(patience)
        .with_liveness_interval(Duration::from_millis(5));
    config.with_transport(rings)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure {
        kind: String::from("Wrong"),
        before: String::new(),
        text: error.to_string(),
    }
}

impl Scheduling {
    /// `anew`: it does not receive the answers to its predecessor's requests. `wrong=forgets` does the same, and does
    /// not write it down.
    fn start(label: &str, words: &Words<'_>) -> Result<Self, Failure> {
        let config = config(label, words);
        let mut book = Book::open(Path::new(words.word("log")))?;
        let resumes = words.get("anew").is_none();
        let scheduler = match resumes && words.get("wrong") != Some("forgets") {
            true => Scheduler::resume(&config),
            false => Scheduler::start(&config),
        };
        let scheduler = scheduler.map_err(told)?;
        book.write(Fact::Started { resumes })?;
        let open = match resumes {
            true => open_answers(&PIECES_OF, &book.earlier),
            false => BTreeSet::new(),
        };
        Ok(Self {
            scheduler,
            book,
            open,
        })
    }

    /// Sends the requests of the script that no scheduler has meant to send, and receives their answers.
    fn play(&mut self) -> Result<(), Failure> {
        for (request, task) in SCRIPT.iter().enumerate() {
            let request = request as u64;
            if request < self.book.next_request() {
                continue;
            }
            match *task {
                Task::To(rank) => self.send(request, Some(rank))?,
                Task::All => self.send(request, None)?,
                Task::Call(rank) => self.call(request, rank)?,
                Task::Drain => {
                    // meanwhile the workers' rings fill, and then the workers sleep
                    std::thread::sleep(SOON);
                    self.drain()?;
                    std::thread::sleep(SOON);
                }
            }
        }
        self.drain()
    }

    fn intend(&mut self, request: u64, to: Option<usize>) -> Result<(), Failure> {
        let to = to.map(|rank| rank as u64);
        Ok(self.book.write(Fact::Intended { request, to })?)
    }

    fn send(&mut self, request: u64, to: Option<usize>) -> Result<(), Failure> {
        self.intend(request, to)?;
        let message = message(request);
        loop {
            let soon = Deadline::after(SOON);
            let sent = match to {
                Some(rank) => self.scheduler.send_to(rank, &message, 1, soon),
                None => self.scheduler.broadcast(&message, 1, soon),
            };
            match sent {
                Ok(id) => {
                    self.book.write_sent(request, id)?;
                    let ranks = to.map_or(0..WORKERS, |rank| rank..rank + 1);
                    self.open.extend(ranks.map(|rank| (request, rank as u32)));
                    return Ok(());
                }
                // the workers may wait for space, too
                Err(TransportError::Send(_)) => drop(self.receive()?),
                Err(error) => return Err(told(error)),
            }
        }
    }

    /// A call, and the rest of its answer. What comes before it is copied by the library.
    fn call(&mut self, request: u64, rank: usize) -> Result<(), Failure> {
        self.intend(request, Some(rank))?;
        let to = rank as u32;
        self.book.write(Fact::Calls { rank: to })?;
        let answer = self
            .scheduler
            .call(rank, &message(request), 1, Deadline::NEVER);
        let answer = answer.map_err(told)?;
        let id = answer.request().expect("an answer");
        self.book.write_sent(request, id)?;
        let (_, mut is_last) = self.book.write_piece(rank, &answer)?;
        drop(answer);
        while !is_last {
            let piece = self.scheduler.recv_answer(rank, id, Deadline::NEVER);
            is_last = self.book.write_piece(rank, &piece.map_err(told)?)?.1;
        }
        Ok(())
    }

    /// Receives what comes soon. Returns whether anything did.
    fn receive(&mut self) -> Result<bool, Failure> {
        match self.scheduler.recv_any(Deadline::after(SOON)) {
            Ok((rank, piece)) => {
                if let (request, true) = self.book.write_piece(rank, &piece)? {
                    self.open.remove(&(request, rank as u32));
                }
                Ok(true)
            }
            Err(TransportError::Recv(RecvError::Timeout)) => Ok(false),
            Err(error) => Err(told(error)),
        }
    }

    /// Receives all answers that are expected. Some may have gone with a predecessor: then the workers are done, and
    /// nothing comes.
    fn drain(&mut self) -> Result<(), Failure> {
        let mut quiet = 0;
        while !self.open.is_empty() && quiet < QUIET {
            let is_done = self.scheduler.state().iter().all(|it| it.lag == 0);
            match self.receive()? {
                true => quiet = 0,
                false => quiet += u32::from(is_done),
            }
        }
        Ok(())
    }

    /// Ends the session, and writes down which answers are not to be had.
    fn shut_down(self, log: &Path) -> Answer {
        let Self {
            scheduler,
            mut book,
            ..
        } = self;
        let mut result = Ok(());
        let deadline = Deadline::after(Duration::from_secs(20));
        let report = scheduler.shutdown(deadline, |rank, piece| {
            if result.is_ok() {
                result = book.write_piece(rank, &piece).map(drop);
            }
        });
        let report = report.map_err(told)?;
        result?;
        let entries = Entry::all(&std::fs::read(log)?);
        for (request, rank) in open_answers(&PIECES_OF, &entries) {
            book.write(Fact::Unaccounted { request, rank })?;
        }
        let unanswered: usize = report.unanswered.iter().sum();
        Ok(format!("unanswered={unanswered}"))
    }
}

/// A runtime of one thread.
fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_time().build()
}

/// The scheduler sleeps before some answers.
fn pause(request: u64) {
    if request % 5 == 4 {
        std::thread::sleep(SOON / 2);
    }
}

/// As [`Scheduling::play`], with a task for each request.
async fn play_in_tasks(
    config: &RunnerMyelonTransportConfig,
    log: &Path,
) -> Result<TaskScheduler, Failure> {
    let started = TaskScheduler::start(config, log, &PIECES_OF).await;
    let mut scheduler = started.map_err(told)?;
    let first = scheduler.next_request();
    for (request, task) in SCRIPT.iter().enumerate().skip(first as usize) {
        let request = request as u64;
        match *task {
            Task::To(rank) => scheduler.send(request, Some(rank))?,
            Task::All => scheduler.send(request, None)?,
            // others are under way
            Task::Call(rank) => {
                scheduler.send(request, Some(rank))?;
                scheduler.next_done().await.expect("a task")?;
            }
            Task::Drain => {
                // meanwhile the rings fill
                std::thread::sleep(SOON);
                scheduler.drain().await?;
                std::thread::sleep(SOON);
            }
        }
    }
    scheduler.drain().await?;
    scheduler.settle().await;
    Ok(scheduler)
}

/// Streams the answers in pieces, until the session is closed. `wrong=early`: a request is done before it is answered.
fn stream(label: &str, rank: usize, words: &Words<'_>) -> Answer {
    let mut book = Book::of_worker(Path::new(words.word("log")))?;
    let worker = Worker::<Requests, Answers>::start(&config(label, words), rank).map_err(told)?;
    let (mut requests, mut responses) = worker.split();
    loop {
        let request = match requests.recv(Deadline::NEVER) {
            Ok(request) => request,
            Err(
                TransportError::SessionClosing { .. }
                | TransportError::Recv(RecvError::ProducerDead { .. }),
            ) => continue,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(told(error)),
        };
        let number = number_of_request(&request).map_err(failed)?;
        let (rank, delivery) = (rank as u32, request.delivery());
        book.write(Fact::Delivered {
            request: number,
            rank,
            delivery,
        })?;
        pause(number);
        let id = request.id();
        let mut request = Some(request);
        if words.get("wrong") == Some("early")
            && let Some(request) = request.take()
        {
            request.done();
        }
        let mut reply = responses.reply(id);
        for piece in 1..=PIECES {
            let bytes = number.to_ne_bytes();
            let sent = match piece == PIECES {
                false => reply.send(&bytes, 1, Deadline::NEVER),
                true => reply.finish(&bytes, 1, Deadline::NEVER),
            };
            match sent {
                Ok(_) | Err(TransportError::SessionClosed { .. }) => {}
                Err(error) => return Err(told(error)),
            }
        }
        if let Some(request) = request {
            request.done();
        }
    }
    responses.close()?;
    requests.leave()?;
    Ok(String::new())
}

/// Serves until the session is closed, and gives up each request that is delivered a second time.
fn serve(label: &str, rank: usize, words: &Words<'_>) -> Answer {
    let mut book = Book::of_worker(Path::new(words.word("log")))?;
    let worker = Worker::<Requests, Answers>::start(&config(label, words), rank);
    let mut worker = worker.map_err(told)?;
    worker.set_delivery_limit(1, |_, _, _| {});
    loop {
        let served = worker.serve(Deadline::NEVER, |_kind, request| {
            let request = number_of_request(request).expect("as it was sent");
            let delivered = Fact::Delivered {
                request,
                rank: rank as u32,
                delivery: 0,
            };
            book.write(delivered).expect("the ledger");
            request.to_ne_bytes()
        });
        match served {
            Ok(_)
            | Err(
                TransportError::SessionClosing { .. }
                | TransportError::Recv(RecvError::ProducerDead { .. }),
            ) => {}
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(told(error)),
        }
    }
    worker.leave()?;
    Ok(String::new())
}
