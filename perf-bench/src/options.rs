//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::compare::{self, CompareScenario};
use crate::fault::{Fault, Planted};
use crate::layers::LayerScenario;
use crate::measure::ROUNDS_MIN;
use crate::payload::SIZES;
use crate::plan::Scenario;
use crate::scenario::wait::WaitScenario;
use crate::scenario::wait::session::SessionScenario;
use crate::selection::FRAMED_SIZES;
use crate::spec::Layer;
use crate::strategy::Strategy;
use crate::sweep::Tier;

/// Measures the cost of the rings, beside the speed of the machine itself.
///
/// Without arguments, it measures the floor and every scenario of layer 0, in under 20 seconds.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) common: Common,

    /// List the scenarios, backends and sizes, and measure nothing.
    #[arg(long)]
    pub(crate) list: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Only the floor: bounces of cache lines, bare streams, copies of 64 B to 64 MiB, single operations of the
    /// processor and the kernel. The placement of the cores is measured before and after each round, and rounds in
    /// different placements have rows of their own: siblings (a two-line bounce below 75 ns), near (below 200 ns), far,
    /// or moved (not the same before and after).
    Limits,
    /// Layer 0: rings of fixed-size events.
    Raw(Raw),
    /// The cost that frames and codecs add to layer 0; takes about half a minute.
    Layers(Layers),
    /// The cost of waiting: wake-ups, idle calls, fan-out on two cores, deaths; takes about a minute. With a layer, a
    /// backend or a size, only the wake-ups, in such rings.
    Wait(Wait),
    /// What sessions cost beside their frames: calls, streams of tokens, first requests after a pause, idle members;
    /// takes about two minutes.
    Session(Session),
    /// One producer and 1, 2, 4 and 8 consumers that each receive every event; also with an observer, with a slow
    /// consumer, and with one that is killed. With a layer, a backend or a size, only the numbers of consumers.
    Broadcast(Broadcast),
    /// The round trip of a message and its reply, on any layer, backend and wait strategy.
    #[command(alias = "ping_pong", alias = "ping-pong")]
    Pingpong(Choice),
    /// Messages one way, on any layer, backend and wait strategy.
    #[command(visible_alias = "signal")]
    Stream {
        #[command(flatten)]
        choice: Choice,

        /// Events of the raw layer per publish; frames are always published one message at a time.
        #[arg(long, alias = "batch", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16), conflicts_with_all = ["rate", "liveness"])]
        batch_size: u64,
    },
    /// A producer that publishes at full speed while a consumer attaches and detaches, again and again.
    Churn(Churn),
    /// Messages in frames of the smallest class that takes them whole, chosen at run time, against the same messages
    /// split into frames of the next smaller class.
    Nofrag {
        /// Bytes of a message: powers of two.
        #[arg(long = "size", value_delimiter = ',', default_values_t = [1 << 12, 1 << 16, 1 << 20], value_parser = long_size)]
        sizes: Vec<usize>,

        /// Backends of the rings.
        #[arg(long = "backend", value_delimiter = ',', value_enum, default_values_t = [Backend::Shm])]
        backends: Vec<Backend>,

        /// Directory of file-backed rings [default: shared memory's, else the temporary directory].
        #[arg(long, value_name = "DIR")]
        mmap_root: Option<PathBuf>,
    },
    /// Other transports beside the rings: sockets, pipes, TCP and message queues, and in the build of perf-bench/peers
    /// also crates. The same bytes, capacity, cores and rounds for all; takes less than a minute.
    Compare(Compare),
    /// Everything, step by step, into a file with one row per line. Goes on where a stopped sweep has ended.
    Sweep(Sweep),
    /// The raw scenarios several times, each time with new processes and rings: how far the ratios spread.
    Repeat(Repeat),
    /// Compare two files of `sweep` row by row, against the noise of the rounds; exit with 1 if a row is worse.
    Check {
        /// The earlier file.
        old: PathBuf,
        /// The later file.
        new: PathBuf,
    },
    /// The rows of `sweep`, or of `compare`, as Markdown, and as one HTML page with plots that loads nothing.
    Report {
        /// The file of `sweep --out`, or of `compare --json`. An array may have the rows of several runs of `compare`:
        /// the figures are then medians of the runs.
        rows: PathBuf,

        /// Write the page to this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,

        /// Write the Markdown to this file [default: print it, unless there is another output].
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,

        /// Write the plot of the peers of `compare`, at 56 bytes if that was measured, to this file.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// One of several processes of the waiting scenarios.
    #[command(hide = true)]
    Party {
        /// Descriptor of the shared memory.
        descriptor: i32,
        /// Core to run on.
        core: Option<usize>,
    },
    /// The second process.
    #[command(hide = true)]
    Peer {
        /// Descriptor of the shared memory.
        descriptor: i32,
        /// Core to run on.
        core: Option<usize>,
    },
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Rounds to measure; each round measures every cell.
    #[arg(long, global = true, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) rounds: u64,

    /// Run fewer rounds of fewer messages, still verified: for continuous integration.
    #[arg(long, global = true)]
    pub(crate) quick: bool,

    /// Write the rows to this file, as JSON with one object per row.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Seconds after which no further round starts, once there are enough rounds for a median.
    #[arg(long, global = true, default_value_t = 10)]
    pub(crate) budget_s: u64,

    /// A round that takes longer than this is not verified.
    #[arg(long, global = true, default_value_t = 30_000, value_name = "MS")]
    pub(crate) round_limit_ms: u64,

    /// A run with a step that takes longer than this is ended [default: four times the round limit, and at least half a
    /// minute].
    #[arg(long, global = true, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) hang_limit_ms: Option<u64>,

    /// The two cores to run on [default: the first two that this process may use].
    #[arg(long, global = true, value_delimiter = ',', value_name = "CORE,CORE")]
    pub(crate) cores: Option<Vec<usize>>,

    /// Plant these faults in every cell, one in each of the first rounds, to show that they are found.
    #[arg(
        long = "fault",
        global = true,
        hide = true,
        value_delimiter = ',',
        value_enum
    )]
    pub(crate) faults: Vec<Fault>,
}

impl Common {
    /// The faults to plant.
    pub(crate) fn planted(&self) -> Planted {
        Planted::new(&self.faults)
    }

    /// The longest time that a round may take.
    pub(crate) fn round_limit(&self) -> Duration {
        Duration::from_millis(self.round_limit_ms)
    }

    /// The number of rounds to run.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick {
            (self.rounds as usize).min(ROUNDS_MIN)
        } else {
            self.rounds as usize
        }
    }
}

/// Options of the raw scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct Raw {
    /// Bytes of an event [default: 8,56,64,248; read-only ping-pong 56; packed streams 8].
    #[arg(long = "size", value_delimiter = ',', value_parser = size)]
    pub(crate) sizes: Option<Vec<usize>>,

    /// Backend of the ring [default: both; read-only ping-pong and packed streams shm].
    #[arg(long = "backend", value_delimiter = ',', value_enum)]
    pub(crate) backends: Option<Vec<Backend>>,

    /// Scenarios to measure.
    #[arg(long = "scenario", value_delimiter = ',', value_enum, default_values_t = Scenario::value_variants().to_vec())]
    pub(crate) scenarios: Vec<Scenario>,

    /// Slots of a stream's ring.
    #[arg(long, default_value_t = 1024, value_parser = capacity)]
    pub(crate) capacity: usize,

    /// Slots of a ping-pong's rings, which are fastest while both fit the first-level cache.
    #[arg(long, default_value_t = 64, value_parser = capacity)]
    pub(crate) ping_pong_capacity: usize,

    /// Directory of file-backed rings [default: shared memory's, else the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) mmap_root: Option<PathBuf>,
}

/// Options of `pingpong` and `stream`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Choice {
    /// Layers to measure.
    #[arg(long = "layer", value_delimiter = ',', value_enum, default_values_t = [Layer::Raw, Layer::Framed])]
    pub(crate) layers: Vec<Layer>,

    /// Backends of the rings: shm, mmap (a file on tmpfs) or disk (a file on a disk).
    #[arg(long = "backend", value_delimiter = ',', default_value = "shm", value_parser = place)]
    pub(crate) backends: Vec<Backend>,

    /// How both ends wait.
    #[arg(long = "wait-strategy", value_delimiter = ',', value_enum, default_values_t = [Strategy::BusySpin])]
    pub(crate) strategies: Vec<Strategy>,

    /// Bytes of a message: 8 to 67108864, a power of two. The raw layer has events of 8, 24, 56, 64, 248 and 1024
    /// bytes. A size is measured on the layers that have it.
    #[arg(long = "size", value_delimiter = ',', default_values_t = [64, 1024], value_parser = any_size)]
    pub(crate) sizes: Vec<usize>,

    /// Slots or frames of each ring [default: by the size, at most 64 for pingpong and 1024 for stream].
    #[arg(long, value_parser = capacity)]
    pub(crate) capacity: Option<usize>,

    /// Messages per second, one by one. Latencies count from the time at which a message should have been sent.
    #[arg(long, value_name = "PER_S", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) rate: Option<u64>,

    /// Measure each cell once more with counters: both ends of its rings show theirs in a file.
    #[arg(long)]
    pub(crate) enable_counters: bool,

    /// Measure each cell once more with liveness checks: the producers require their consumers, and send by managed
    /// calls.
    #[arg(long)]
    pub(crate) liveness: bool,

    /// Directory of files on tmpfs [default: shared memory's, else the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) mmap_root: Option<PathBuf>,

    /// Directory of files on a disk [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) disk_root: Option<PathBuf>,
}

/// Options of the layers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Layers {
    /// Scenarios to measure.
    #[arg(long = "scenario", value_delimiter = ',', value_enum, default_values_t = LayerScenario::value_variants().to_vec())]
    pub(crate) scenarios: Vec<LayerScenario>,

    /// Backends of the rings.
    #[arg(long = "backend", value_delimiter = ',', value_enum, default_values_t = [Backend::Shm, Backend::Mmap])]
    pub(crate) backends: Vec<Backend>,

    /// Directory of file-backed rings [default: shared memory's, else the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) mmap_root: Option<PathBuf>,
}

/// Options of the waiting scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wait {
    /// Scenarios to measure [default: all; with a layer, a backend or a size, those that have them: wake_latency].
    #[arg(long = "scenario", value_delimiter = ',', value_enum)]
    pub(crate) scenarios: Option<Vec<WaitScenario>>,

    #[command(flatten)]
    pub(crate) rings: Rings,
}

/// Options of `churn`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Churn {
    /// How all ends wait.
    #[arg(long, value_enum, default_value_t = Strategy::Block)]
    pub(crate) wait_strategy: Strategy,

    /// Slots or frames of each ring [default: 1024, or fewer of chosen long messages].
    #[arg(long, value_parser = capacity)]
    pub(crate) capacity: Option<usize>,

    #[command(flatten)]
    pub(crate) rings: Rings,
}

/// The rings of the commands that have rings of events of 56 bytes unless others are chosen.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rings {
    /// Layers to measure [default: raw; if no backend and no size is given, raw events of 56 bytes in shared memory].
    #[arg(long = "layer", value_delimiter = ',', value_enum)]
    pub(crate) layers: Option<Vec<Layer>>,

    /// Backends of these rings: shm, mmap (a file on tmpfs) or disk (a file on a disk) [default: shm].
    #[arg(long = "backend", value_delimiter = ',', value_parser = place)]
    pub(crate) backends: Option<Vec<Backend>>,

    /// Bytes of a message in these rings, as for `stream` [default: 64].
    #[arg(long = "size", value_delimiter = ',', value_parser = any_size)]
    pub(crate) sizes: Option<Vec<usize>>,

    /// Directory of files on tmpfs [default: shared memory's, else the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) mmap_root: Option<PathBuf>,

    /// Directory of files on a disk [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) disk_root: Option<PathBuf>,
}

impl Rings {
    /// Whether a layer, a backend or a size was chosen.
    pub(crate) fn are_chosen(&self) -> bool {
        self.layers.is_some() || self.backends.is_some() || self.sizes.is_some()
    }
}

/// Options of the sessions' scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct Session {
    /// Scenarios to measure.
    #[arg(long = "scenario", value_delimiter = ',', value_enum, default_values_t = SessionScenario::value_variants().to_vec())]
    pub(crate) scenarios: Vec<SessionScenario>,

    /// The pause before each first request and before each bare wake-up beside it; 60000 for a minute.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) pause_ms: u64,
}

/// Options of the broadcast scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct Broadcast {
    /// Numbers of consumers, each a process.
    #[arg(long, value_delimiter = ',', default_values_t = CONSUMERS, value_parser = consumers)]
    pub(crate) consumers: Vec<usize>,

    /// How the producer and the consumers wait.
    #[arg(long, value_enum, default_value_t = Strategy::Block)]
    pub(crate) wait_strategy: Strategy,

    /// Slots or frames of each ring [default: 1024, or fewer of chosen long messages].
    #[arg(long, value_parser = capacity)]
    pub(crate) capacity: Option<usize>,

    #[command(flatten)]
    pub(crate) rings: Rings,
}

/// The numbers of consumers that are measured by default.
pub(crate) const CONSUMERS: [usize; 4] = [1, 2, 4, 8];

/// Options of `compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Compare {
    /// Peers to measure beside the rings [default: all of this build].
    #[arg(long = "peer", value_delimiter = ',', value_name = "PEER")]
    pub(crate) peers: Vec<String>,

    /// Scenarios to measure.
    #[arg(long = "scenario", value_delimiter = ',', value_enum, default_values_t = CompareScenario::value_variants().to_vec())]
    pub(crate) scenarios: Vec<CompareScenario>,

    /// Bytes of a message: 8, 56, 64, 1024 or 4096; broadcasts have 56.
    #[arg(long = "size", value_delimiter = ',', default_values_t = compare::SIZES, value_parser = compared_size)]
    pub(crate) sizes: Vec<usize>,
}

/// Options of a sweep.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sweep {
    /// How much to measure: smoke takes less than a minute, quick less than five, full about half an hour.
    #[arg(long, value_enum, default_value_t = Tier::Quick)]
    pub(crate) tier: Tier,

    /// The file of rows, as lines of JSON [default: perf-bench-TIER.jsonl in the current directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Write all rows to this file at the end, as comma-separated values.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Replace the file of rows in place of going on with it.
    #[arg(long)]
    pub(crate) fresh: bool,

    /// The commit to write into each row [default: that of the checkout in which this program lies].
    #[arg(long)]
    pub(crate) commit: Option<String>,

    /// Directory of file-backed rings [default: shared memory's, else the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) mmap_root: Option<PathBuf>,
}

/// Options of repetitions.
#[derive(Clone, Debug, Args)]
pub(crate) struct Repeat {
    /// How often to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=1_000))]
    pub(crate) times: u64,

    #[command(flatten)]
    pub(crate) raw: Raw,
}

impl Default for Raw {
    fn default() -> Self {
        /// A parser of these options alone, so that the defaults are stated only once.
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            raw: Raw,
        }
        Only::parse_from(["raw"]).raw
    }
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if SIZES.contains(&size) => Ok(size),
        _ => Err(format!("one of {SIZES:?}")),
    }
}

/// A size of any layer.
fn any_size(text: &str) -> Result<usize, String> {
    size(text).or_else(|_| long_size(text))
}

fn long_size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if size.is_power_of_two() && FRAMED_SIZES.contains(&size) => Ok(size),
        _ => Err(format!(
            "a power of two in {FRAMED_SIZES:?}, or one of {SIZES:?} on the raw layer"
        )),
    }
}

/// A backend, with the disk.
fn place(text: &str) -> Result<Backend, String> {
    let all = [Backend::Shm, Backend::Mmap, Backend::Disk];
    let found = all.into_iter().find(|backend| backend.name() == text);
    found.ok_or_else(|| String::from("shm, mmap or disk"))
}

fn compared_size(text: &str) -> Result<usize, String> {
    let sizes = compare::SIZES;
    let size = text.parse().ok().filter(|size| sizes.contains(size));
    size.ok_or_else(|| format!("one of {sizes:?}"))
}

fn consumers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=32).contains(&number) => Ok(number),
        _ => Err("a number from 1 to 32".into()),
    }
}

fn capacity(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n.is_power_of_two() && (16..=1 << 20).contains(&n) => Ok(n),
        _ => Err("a power of two from 16 to 1048576".into()),
    }
}
