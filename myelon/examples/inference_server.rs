//! An inference server: a scheduler process that serves clients, and four worker processes that compute. Clients send
//! lines of JSON over a Unix socket and get a line for each token. A supervisor kills and restarts each of the five
//! while a client, a thread of its own, goes on: it loses no request and sees no token twice.
//!
//! The weights of the model, a tensor of 8 MiB, go to all workers in a session of their own. The scheduler writes them
//! into one frame, each worker reads them there, and acknowledges them: nobody copies them. A worker that starts, also
//! in place of a dead one, asks for them, and computes once it has them. Each token depends on them.
//!
//! The scheduler's core is [`serve`], [`talk`] and [`give_weights`], the worker's is [`compute`], [`answer`] and
//! [`load`]. The rest is the client and the supervisor.
//!
//! ```sh
//! cargo run --release -p myelon --features tokio --example inference_server
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, BufRead, BufReader as Reader, Write};
use std::os::unix::net::UnixStream as Connection;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc as channel};
use std::thread;
use std::time::{Duration, Instant};

use myelon::transport::{AlignedFixedFrame, FixedFrame};
use myelon::{
    AsyncScheduler, CancelToken, Deadline, RecvError, Reply, Request, RunnerMyelonTransportConfig,
    Scheduler, SendError, TransportError, Worker,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

const WORKERS: usize = 4;

/// Prompts are up to half a megabyte long, tokens a few bytes.
type Prompts = AlignedFixedFrame<16_384>;
type Tokens = FixedFrame<64>;

const WEIGHTS_BYTES: usize = 8 << 20;
/// One frame for all weights, and the head of the request.
type Weights = AlignedFixedFrame<{ WEIGHTS_BYTES + 64 }>;

const GENERATE: u8 = 1;
/// The weights, and their acknowledgement.
const LOAD: u8 = 2;
/// A worker asks for the weights.
const ASK: u8 = 3;

type Failure = Box<dyn Error + Send + Sync>;

fn config(label: &str) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(label, WORKERS);
    let rings = config.transport.clone().with_rpc_depth(128);
    config.with_transport(rings)
}

/// The session of the weights: two large frames, in one ring for all workers.
fn weights_config(label: &str) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(format!("{label} weights"), WORKERS);
    let rings = config.transport.clone().with_rpc_depth(2);
    config.with_transport(rings)
}

fn weight(index: usize) -> u8 {
    (index % 251) as u8
}

/// The model that these weights make, as far as this example computes: their checksum.
fn model(weights: impl Iterator<Item = u8>) -> u32 {
    weights.fold(7, |sum, weight| {
        sum.rotate_left(5).wrapping_add(u32::from(weight))
    })
}

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ask {
    id: u64,
    prompt: Vec<u32>,
    /// The first token that the client does not have.
    from: u32,
    /// How many tokens the text has.
    count: u32,
}

impl Ask {
    fn to_bytes(&self) -> Vec<u8> {
        let words = [self.from, self.count]
            .into_iter()
            .chain(self.prompt.iter().copied());
        words.flat_map(u32::to_ne_bytes).collect()
    }
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    id: u64,
    number: u32,
    token: u32,
    is_last: bool,
}

/// Each token depends on the model, the prompt, and its number.
fn token(model: u32, prompt_sum: u32, number: u32) -> u32 {
    (model ^ prompt_sum ^ number).wrapping_mul(0x9e37_79b9)
}

fn sum(prompt: impl Iterator<Item = u32>) -> u32 {
    prompt.fold(0, |sum, token| sum.wrapping_mul(31).wrapping_add(token))
}

/// The scheduler: takes clients until it is told to end, then lets the workers finish.
async fn serve(label: &str, socket: &Path) -> Result<(), Box<dyn Error>> {
    // answers to the requests of a dead scheduler are not for this one's clients, who ask again
    let scheduler = AsyncScheduler::new(Scheduler::<Prompts, Tokens>::start(&config(label))?)?;
    let end = CancelToken::new();
    let giving = thread::spawn({
        let (label, end) = (label.to_owned(), end.clone());
        move || give_weights(&label, &end)
    });
    let _ = std::fs::remove_file(socket); // of a scheduler that was killed
    let listener = UnixListener::bind(socket)?;
    let mut ends = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            client = listener.accept() => {
                let (client, scheduler) = (client?.0, scheduler.clone());
                tokio::spawn(async move {
                    if let Err(error) = talk(client, scheduler).await {
                        eprintln!("a client: {error}");
                    }
                });
            }
            _ = ends.recv() => break,
        }
    }
    // a worker that was just restarted comes first: otherwise it would wait for a session that has gone
    let patience = Instant::now() + Duration::from_secs(10);
    while scheduler
        .state()
        .await
        .iter()
        .any(|worker| !worker.is_attached)
        && Instant::now() < patience
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = scheduler
        .shutdown(Deadline::after(Duration::from_secs(10)))
        .await?;
    println!("scheduler: shut down, unanswered {:?}", report.unanswered);
    end.cancel();
    let given = giving.join().expect("it does not panic");
    given.map_err(|error| error.to_string())?;
    Ok(std::fs::remove_file(socket)?)
}

/// The part of the scheduler that has the weights: writes them into a frame when a worker asks for them, and waits for
/// the acknowledgements. Ends when the token is cancelled.
fn give_weights(label: &str, end: &CancelToken) -> Result<(), Failure> {
    let config = weights_config(label).with_cancel_token(end);
    let mut scheduler = Scheduler::<Weights, Tokens>::start(&config)?;
    let expected = model((0..WEIGHTS_BYTES).map(weight));
    // the workers that were sent the weights and have not acknowledged them, and those that have
    let (mut owed, mut loaded) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let (rank, message) = match scheduler.recv_any(Deadline::NEVER) {
            Ok(received) => received,
            Err(TransportError::Recv(RecvError::Cancelled)) => break,
            Err(error) => return Err(error.into()),
        };
        if message.kind() == LOAD {
            if *message != expected.to_ne_bytes() {
                return Err(format!("worker {rank} has other weights").into());
            }
            owed.remove(&rank);
            loaded.insert(rank);
            continue;
        }
        drop(message);
        if owed.contains(&rank) {
            continue; // they are on their way
        }
        // a real one would read them from a file into this frame
        let mut frame = match scheduler.reserve(WEIGHTS_BYTES, LOAD, Deadline::NEVER) {
            Ok(frame) => frame,
            Err(TransportError::Send(SendError::Cancelled)) => break,
            Err(error) => return Err(error.into()),
        };
        for (index, byte) in frame.iter_mut().enumerate() {
            *byte = weight(index);
        }
        frame.publish();
        owed.extend(0..WORKERS);
    }
    println!("scheduler: workers {loaded:?} have acknowledged the weights");
    scheduler.shutdown(Deadline::after(Duration::from_secs(10)), |_, _| ())?;
    Ok(())
}

/// Talks to one client. Its requests are computed side by side.
async fn talk(client: UnixStream, scheduler: AsyncScheduler) -> Result<(), Box<dyn Error>> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let (read, mut write) = client.into_split();
    let (lines, mut to_write) = mpsc::channel::<String>(64);
    tokio::spawn(async move {
        while let Some(line) = to_write.recv().await {
            if write.write_all(line.as_bytes()).await.is_err() {
                return; // the client has gone
            }
        }
    });
    let hangs_up = Arc::new(Notify::new());
    let mut asked = BufReader::new(read).lines();
    loop {
        let line = tokio::select! {
            line = asked.next_line() => line?,
            () = hangs_up.notified() => None,
        };
        let Some(line) = line else { break };
        let ask: Ask = serde_json::from_str(&line)?;
        let rank = TURN.fetch_add(1, Ordering::Relaxed) % WORKERS;
        let mut pieces = scheduler.call_streaming(rank, ask.to_bytes(), GENERATE);
        let lines = lines.clone();
        let hangs_up = hangs_up.clone();
        tokio::spawn(async move {
            let mut is_complete = false;
            while let Some(Ok(piece)) = pieces.next().await {
                let Some((number, token)) = said(&piece.bytes) else {
                    break;
                };
                let is_last = piece.is_last;
                let line = Said {
                    id: ask.id,
                    number,
                    token,
                    is_last,
                };
                let Ok(line) = serde_json::to_string(&line) else {
                    break;
                };
                if lines.send(line + "\n").await.is_err() {
                    return;
                }
                is_complete = is_last;
            }
            if !is_complete {
                // the client asks again
                hangs_up.notify_one();
            }
        });
    }
    Ok(())
}

fn said(piece: &[u8]) -> Option<(u32, u32)> {
    let (number, token) = piece.split_first_chunk::<4>()?;
    Some((
        u32::from_ne_bytes(*number),
        u32::from_ne_bytes(*token.first_chunk()?),
    ))
}

/// The part of a worker that loads the weights: a real one would copy them to its device. Tells the model that they
/// make, and acknowledges them. Ends when their session is closed.
fn load(label: &str, rank: usize, told: &channel::Sender<u32>) -> Result<(), Failure> {
    let worker = Worker::<Weights, Tokens>::start(&weights_config(label), rank)?;
    let (mut requests, mut responses) = worker.split();
    let mut loaded = None;
    let mut asks = true;
    loop {
        if core::mem::take(&mut asks) && loaded.is_none() {
            match responses.respond(b"", ASK, Deadline::NEVER) {
                Ok(_) | Err(TransportError::SessionClosed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let weights = match requests.recv(Deadline::NEVER) {
            Ok(weights) => weights,
            Err(TransportError::Recv(RecvError::ProducerDead { .. })) => {
                asks = true; // its successor does not know that this worker has asked
                continue;
            }
            Err(
                TransportError::SessionClosing { .. } | TransportError::Recv(RecvError::Closed),
            ) => break,
            Err(error) => return Err(error.into()),
        };
        if !weights.is_in_place() || weights.len() != WEIGHTS_BYTES {
            return Err("the weights are not what was sent, or not in place".into());
        }
        // they come again when another worker asks for them
        let model = *loaded.get_or_insert_with(|| model(weights.iter().copied()));
        let _ = told.send(model);
        let mut reply = responses.reply(weights.id());
        match reply.finish(&model.to_ne_bytes(), LOAD, Deadline::NEVER) {
            Ok(_) | Err(TransportError::SessionClosed { .. }) => weights.done(),
            Err(error) => return Err(error.into()),
        }
    }
    responses.close()?;
    Ok(requests.leave()?)
}

/// Answers a request with a piece for each token. It is held meanwhile: if this worker dies, the next one of its rank
/// gets it again.
fn answer(
    model: u32,
    request: &Request<'_, Prompts>,
    mut reply: Reply<'_, Tokens>,
) -> Result<(), TransportError> {
    let Some((from, count, prompt)) = asked(request) else {
        // nobody of this program sends such a thing
        return reply.finish(b"", GENERATE, Deadline::NEVER).map(|_| ());
    };
    for number in from..count {
        let piece = [number, token(model, prompt, number)].map(u32::to_ne_bytes);
        // the time that a token takes to compute
        thread::sleep(Duration::from_micros(300));
        if number + 1 < count {
            reply.send(piece.as_flattened(), GENERATE, Deadline::NEVER)?;
        } else {
            reply.finish(piece.as_flattened(), GENERATE, Deadline::NEVER)?;
        }
    }
    Ok(())
}

/// The first token that is asked for, how many the text has, and the sum of the prompt.
fn asked(request: &[u8]) -> Option<(u32, u32, u32)> {
    let (words, _) = request.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
    Some((words.next()?, words.next()?, sum(words)))
}

/// A worker: loads the weights, and then holds each request while its tokens go out. Ends when the session is closed.
fn compute(label: &str, rank: usize) -> Result<(), Box<dyn Error>> {
    let (told, loaded) = channel::channel();
    let loading = thread::spawn({
        let label = label.to_owned();
        move || load(&label, rank, &told)
    });
    // requests are kept meanwhile, as from the start of a worker before this one
    let Ok(model) = loaded.recv() else {
        // the server ends before it has begun, or the weights are not what they should be
        let loaded = loading.join().expect("it does not panic");
        return Ok(loaded.map_err(|error| error.to_string())?);
    };
    let (mut requests, mut responses) =
        Worker::<Prompts, Tokens>::start(&config(label), rank)?.split();
    loop {
        let request = match requests.recv(Deadline::NEVER) {
            Ok(request) => request,
            // said once of each scheduler that dies: the next call waits for its successor
            Err(TransportError::Recv(RecvError::ProducerDead { .. })) => continue,
            // the last request was done
            Err(
                TransportError::SessionClosing { .. } | TransportError::Recv(RecvError::Closed),
            ) => break,
            Err(error) => return Err(error.into()),
        };
        match answer(model, &request, responses.reply(request.id())) {
            // nobody hears the rest
            Ok(()) | Err(TransportError::SessionClosed { .. }) => request.done(),
            Err(error) => return Err(error.into()),
        }
    }
    responses.close()?;
    requests.leave()?;
    let loaded = loading.join().expect("it does not panic");
    Ok(loaded.map_err(|error| error.to_string())?)
}

const REQUESTS: u64 = 24;
const LONGEST_PROMPT: u64 = 128 * 1024;
const TEXT: u32 = 50;

/// The client: asks for all texts at once, and again for the rest of each when the connection is lost.
fn ask_for_all(socket: &Path, received: &AtomicUsize) -> Result<(), Failure> {
    let model = model((0..WEIGHTS_BYTES).map(weight));
    let mut open = BTreeMap::new();
    for id in 0..REQUESTS {
        let len = 1 + (LONGEST_PROMPT - 1) * id / (REQUESTS - 1);
        let prompt: Vec<u32> = (0..len as u32).map(|at| at ^ id as u32).collect();
        let (from, count) = (0, TEXT);
        open.insert(
            id,
            Ask {
                id,
                prompt,
                from,
                count,
            },
        );
    }
    while !open.is_empty() {
        let Ok(mut server) = Connection::connect(socket) else {
            thread::sleep(Duration::from_millis(10)); // it is being started
            continue;
        };
        let asked = open.values().try_for_each(|ask| {
            let line = serde_json::to_string(ask).map_err(io::Error::other)?;
            server.write_all((line + "\n").as_bytes())
        });
        if asked.is_err() {
            continue;
        }
        for line in Reader::new(server).lines() {
            let Ok(line) = line else { break };
            let said: Said = serde_json::from_str(&line)?;
            let ask = open
                .get_mut(&said.id)
                .ok_or("a token of a text that is complete")?;
            if said.number != ask.from {
                return Err(format!("token {} came, not {}", said.number, ask.from).into());
            }
            if said.token != token(model, sum(ask.prompt.iter().copied()), said.number) {
                return Err("a wrong token".into());
            }
            ask.from += 1;
            received.fetch_add(1, Ordering::Relaxed);
            if said.is_last {
                let ask = open.remove(&said.id);
                if ask.is_some_and(|ask| ask.from != TEXT) {
                    return Err("a text ended early".into());
                }
                if open.is_empty() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// A process of this program: the scheduler, or a worker.
struct Part {
    arguments: Vec<String>,
    process: Child,
}

impl Part {
    fn start(arguments: Vec<String>) -> io::Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .args(&arguments)
            .spawn()?;
        Ok(Self { arguments, process })
    }

    /// Kills it as a crash does, and starts another one.
    fn kill_and_start(&mut self) -> io::Result<()> {
        println!("supervisor: kills {}", self.arguments.join(" "));
        self.process.kill()?;
        self.process.wait()?;
        *self = Self::start(self.arguments.clone())?;
        Ok(())
    }
}

fn supervise() -> Result<(), Box<dyn Error>> {
    let label = myelon::portable_shm_segment_name("inference");
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let role = |role: String| vec![label.to_string(), role, socket.display().to_string()];
    // in any order: the workers first here
    let mut parts = Vec::new();
    for rank in 0..WORKERS {
        parts.push(Part::start(role(rank.to_string()))?);
    }
    parts.push(Part::start(role("scheduler".into()))?);
    let scheduler = WORKERS;

    let received = AtomicUsize::new(0);
    let all = REQUESTS as usize * TEXT as usize;
    let asked = thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let client = scope.spawn(|| ask_for_all(&socket, &received));
        let plan: [(usize, &[usize]); 5] = [
            (all / 10, &[1]),
            (all / 4, &[scheduler]),
            (all / 2, &[2, 3]),
            (all * 6 / 10, &[scheduler, 0]),
            (all * 8 / 10, &[0, 1, 2, 3]),
        ];
        for (tokens, killed) in plan {
            while received.load(Ordering::Relaxed) < tokens && !client.is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
            if client.is_finished() {
                break;
            }
            for part in killed {
                parts[*part].kill_and_start()?;
            }
        }
        let asked = client.join().expect("the client does not panic");
        Ok(asked.map_err(|error| error.to_string())?)
    });

    let pid = Pid::from_raw(parts[scheduler].process.id() as i32);
    kill(pid, Signal::SIGTERM)?;
    for part in &mut parts {
        let ended = part.process.wait()?;
        if !ended.success() {
            return Err(format!("{}: {ended}", part.arguments.join(" ")).into());
        }
    }
    asked?;
    println!("client: {all} tokens of {REQUESTS} texts, each of them once");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [label, role, socket] if role == "scheduler" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(serve(label, Path::new(socket)))
        }
        [label, rank, _] => compute(label, rank.parse()?),
        _ => supervise(),
    }
}
