//! One process of a scenario in which a system call is made to fail.
//!
//! It is started as `faults shm|mmap DIRECTORY NAME LEDGER VERB [FLAW]`. It makes the state that the scenario
//! starts from, prints `ready`, waits for a byte on its input and then plays the scenario. The test injects
//! faults only into calls after that byte. A verb that begins with `prepare-` leaves a state behind for a
//! scenario; a verb that begins with `after-` is the clean process that comes afterwards.

use std::io::{Read, Write};
use std::time::Duration;

use disruptor_mp::{
    Deadline, DisruptorBuilder, Event, MappedFile, MmapProducer, MmapTransportLayout, Producer,
    SharedMemory, build_shared_single_producer,
};
use myelon::{Scheduler, TransportResult, Worker};
use myelon_tests::faults::{Books, session, value};
use myelon_tests::frames::Frame;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

mod messages;
mod rings;

/// The result of a scenario's calls.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Slots of each ring.
const CAPACITY: usize = 8;
/// The liveness interval of calls that wait: 10 ms, so that a scenario waits for one check only.
const INTERVAL: Duration = Duration::from_millis(10);
/// The id of the consumer whose position the books record.
const DURABLE: &str = "durable";

/// A deadline of 5 s, which only a hang exceeds.
fn long() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

/// A deadline after which a call has made one liveness check.
fn short() -> Deadline {
    Deadline::after(INTERVAL * 2)
}

/// The backing of the scenario's rings.
trait Backing: Sized + Send + 'static {
    fn builder<E: Event>(stage: &Stage, capacity: usize) -> DisruptorBuilder<E, Self>;
    fn scheduler(stage: &Stage) -> TransportResult<Scheduler<Frame, Frame, Self>>;
    fn worker(stage: &Stage) -> TransportResult<Worker<Frame, Frame, Self>>;
}

impl Backing for SharedMemory {
    fn builder<E: Event>(stage: &Stage, capacity: usize) -> DisruptorBuilder<E, Self> {
        build_shared_single_producer(&stage.name, capacity).with_liveness_interval(INTERVAL)
    }

    fn scheduler(stage: &Stage) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::start(&session(&stage.name))
    }

    fn worker(stage: &Stage) -> TransportResult<Worker<Frame, Frame, Self>> {
        Worker::start(&session(&stage.name), 0)
    }
}

impl Backing for MappedFile {
    fn builder<E: Event>(stage: &Stage, capacity: usize) -> DisruptorBuilder<E, Self> {
        let layout = MmapTransportLayout::new(&stage.directory, &stage.name);
        MmapProducer::builder(&layout, capacity).with_liveness_interval(INTERVAL)
    }

    fn scheduler(stage: &Stage) -> TransportResult<Scheduler<Frame, Frame, Self>> {
        Scheduler::start_in_files(&session(&stage.name), &stage.directory)
    }

    fn worker(stage: &Stage) -> TransportResult<Worker<Frame, Frame, Self>> {
        Worker::start_in_files(&session(&stage.name), 0, &stage.directory)
    }
}

/// The names, books and planted flaw of a scenario.
struct Stage {
    directory: String,
    name: String,
    books: Books,
    flaw: Option<String>,
}

impl Stage {
    /// Whether this mistake is planted, as in a negative control.
    fn has_flaw(&self, flaw: &str) -> bool {
        self.flaw.as_deref() == Some(flaw)
    }

    /// Starts the part of the scenario in which any system call may fail.
    fn start(&self) -> Outcome {
        println!("ready");
        std::io::stdout().flush()?;
        // the tracer attaches during this read, which is therefore the first `read` that it sees
        let _ = std::io::stdin().read(&mut [0]);
        Ok(())
    }

    /// Publishes the next `count` events, and records that in the books.
    fn publish<B>(&self, tx: &mut Producer<u64, B>, count: usize) -> Outcome {
        let first = tx.last_published_sequence() + 1;
        self.books.intends_up_to(first + count as i64);
        let last = if count == 1 {
            let mut claim = tx.claim(long())?;
            *claim = value(first);
            claim.publish()
        } else {
            tx.try_batch_publish(count, |event, index| *event = value(first + index as i64))?
        };
        self.books.published_up_to(last + 1);
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [backing, directory, name, ledger, verb, rest @ ..] = &words[..] else {
        panic!("faults shm|mmap DIRECTORY NAME LEDGER VERB [FLAW]");
    };
    let stage = Stage {
        directory: directory.clone(),
        name: name.clone(),
        books: Books::open(std::path::Path::new(ledger)),
        flaw: rest.first().cloned(),
    };
    is_interruptible();
    let outcome = if backing == "shm" {
        play::<SharedMemory>(verb, &stage)
    } else {
        play::<MappedFile>(verb, &stage)
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            stage.books.gave_up();
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn play<B: Backing>(verb: &str, stage: &Stage) -> Outcome {
    match verb {
        "create" | "replace" | "temporary" => rings::create::<B>(stage),
        "attach" => rings::attach::<B>(stage),
        "publish" => rings::publish::<B>(stage),
        "receive" => rings::receive::<B>(stage),
        "takeover" => rings::takeover::<B>(stage),
        "names" => rings::names::<B>(stage),
        "observers" => rings::observers::<B>(stage),
        "counters" => rings::counters::<B>(stage),
        "threads" => rings::threads::<B>(stage),
        "waiting" => rings::waiting::<B>(stage),
        "frames" => messages::frames::<B>(stage),
        "sessions" => messages::sessions::<B>(stage),
        "prepare-takeover" => rings::prepare_takeover::<B>(stage),
        "prepare-replace" => rings::prepare_replace::<B>(stage),
        "after-events" => rings::afterwards::<B>(stage),
        "after-frames" => messages::frames_afterwards::<B>(stage),
        "after-session" => messages::session_afterwards::<B>(stage),
        other => panic!("no such verb: {other}"),
    }
}

/// Installs a handler, so that a signal interrupts a waiting call and has no other effect.
fn is_interruptible() {
    extern "C" fn ignore(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(ignore),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so it is safe wherever it interrupts.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("a handler");
    // the tracer is no ancestor of this process; on a kernel without Yama the call fails, and is not needed
    // SAFETY: this option reads no memory.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
}
