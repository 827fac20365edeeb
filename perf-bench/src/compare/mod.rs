//! `compare`: rings beside what else moves messages on one machine, each as its own documentation recommends for speed.
//!
//! All peers run the same loops with the same bytes and the same capacity, in the same rounds, on the same cores: round
//! trips, streams, and a broadcast to [`RECEIVERS`] receivers. Peers that are crates are in a package of their own,
//! `perf-bench/peers`, because they bring many others; it runs this program with them.

mod ends;
mod kernel;
mod ours;
mod queue;
pub(crate) mod row;
mod transport;

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use crate::payload::{bytes_of, words_of};

pub use self::transport::{Ends, InProcess, Link, Peer, Receiver, Sender, Transport};

use crate::affinity::{self, Cores};
use crate::arena::Role;
use crate::backend::Backend;
use crate::machine::Origin;
use crate::options::{Common, Compare};
use crate::plan::Plan;
use crate::scenario::{Endpoint, Failure};
use crate::spec::{Spec, Work};
use crate::{Ground, report};

use self::row::Comparison;

/// Opens an end of a cell.
type Opener = fn(&Spec, Role) -> Result<Box<dyn Endpoint>, Failure>;

/// The receivers of a broadcast, each a process or a thread.
pub const RECEIVERS: usize = 4;
/// Bytes of the messages of a broadcast.
const BROADCAST_BYTES: usize = 56;
/// The sizes of messages, in bytes.
pub(crate) const SIZES: [usize; 5] = [8, 56, 64, 1024, 4096];
/// Bytes of the messages that a connection holds at most: the kernel's buffers hold no more everywhere.
const HELD_BYTES: usize = 128 << 10;

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Flow {
    /// There and back.
    PingPong,
    /// One way.
    Stream,
    /// One way to several receivers, of which this is one.
    Broadcast { receiver: usize },
}

impl Flow {
    /// Whether there are several receivers.
    pub(crate) fn is_broadcast(self) -> bool {
        matches!(self, Self::Broadcast { .. })
    }
}

/// The scenarios that can be selected by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareScenario {
    /// The round trip of a message and its reply.
    #[value(name = "pingpong")]
    PingPong,
    /// One way to one receiver.
    #[value(name = "stream")]
    Stream,
    /// One way to four receivers; 56 bytes only.
    #[value(name = "broadcast")]
    Broadcast,
}

/// The rings and the peers that need no crate. The rings come first: all others are compared with them.
static BUILT_IN: [Peer; 8] = [
    Peer::across::<ours::Raw>(
        RAW,
        "a ring of events of the size of the message, writable slots; broadcasts sleep (Block)",
    ),
    Peer::across::<ours::Framed>(
        FRAMED,
        "a ring of frames of 64, 1024 or 4096 bytes, read in place; broadcasts sleep (Block)",
    ),
    Peer::across::<ours::Called>(
        CALLED,
        "the same ring as raw, by a `send` in a function that is never inlined; streams only",
    )
    .limited_to(usize::MAX, 0),
    Peer::across::<kernel::Sockets>(
        "unix",
        "a stream socket: a write for each message, reads of 8 KiB; calls wait in the kernel",
    )
    .waiting_inside(),
    Peer::across::<kernel::BufferedSockets>(
        "unix_buffered",
        "the same with BufWriter, which gathers messages of a stream into 8 KiB",
    )
    .waiting_inside(),
    Peer::across::<kernel::Pipes>("pipe", "a pipe of the capacity's size, otherwise as unix")
        .waiting_inside(),
    Peer::across::<kernel::Loopback>(
        "tcp",
        "TCP over the loopback device with TCP_NODELAY and buffers of the kernel's choice, otherwise as unix",
    )
    .waiting_inside(),
    Peer::across::<queue::Queues>(
        POSIX_QUEUE,
        "mq_timedsend and mq_timedreceive; 10 messages where the process may not have more",
    )
    .waiting_inside(),
];

pub(crate) const RAW: &str = "raw";
pub(crate) const FRAMED: &str = "framed";
/// The ring of events once more, each sent by a call.
pub(crate) const CALLED: &str = "raw_called";
const POSIX_QUEUE: &str = "posix_queue";

/// The peers that are crates: the name, which is also that of the feature, and what building it needs.
const CRATES: [(&str, &str); 8] = [
    ("rtrb", ""),
    ("crossbeam", ""),
    ("disruptor", ""),
    ("shaq", ""),
    (
        "subetha",
        ", which needs Rust 1.96, or cargo's option --ignore-rust-version",
    ),
    ("iceoryx2", ""),
    (
        "zeromq",
        ", which needs Debian's packages libzmq3-dev and pkg-config",
    ),
    (
        "tachyon",
        ", which needs Debian's packages clang-19 and libclang-19-dev, and CXX=clang++-19 in the environment",
    ),
];

/// The peers of this build that are crates.
static ADDED: OnceLock<&[Peer]> = OnceLock::new();
/// The cores of threads.
static CORES: OnceLock<Cores> = OnceLock::new();

/// Adds the peers that are crates; to be called before anything else.
pub(crate) fn add(peers: &'static [Peer]) {
    // only the first call counts, and there is only one
    let _ = ADDED.set(peers);
}

fn peers() -> impl Iterator<Item = &'static Peer> {
    BUILT_IN
        .iter()
        .chain(ADDED.get().copied().unwrap_or_default())
}

/// The peer of a cell.
fn peer_of(spec: &Spec) -> Result<&'static Peer, Failure> {
    let Work::Compared { peer, .. } = spec.work else {
        return Err("not a cell of `compare`".into());
    };
    peers().nth(peer).ok_or_else(|| "no such peer".into())
}

/// Opens an end of a cell.
pub(crate) fn open(spec: &Spec, role: Role) -> Result<Box<dyn Endpoint>, Failure> {
    (peer_of(spec)?.open)(spec, role)
}

/// Lets this thread run on the second core, or on both.
fn enter_thread(on_both: bool) {
    if let Some(&cores) = CORES.get() {
        if on_both {
            affinity::keep_thread_to(&[cores.driver, cores.peer]);
        } else {
            affinity::keep_thread_to(&[cores.peer]);
        }
    }
}

/// The messages or round trips of a round.
pub(crate) fn messages_per_round(spec: &Spec, flow: Flow) -> u64 {
    let is_slow = peer_of(spec).is_ok_and(|peer| peer.waits_inside);
    let laps = 16 * spec.capacity.max(32) as u64;
    match flow {
        Flow::PingPong if is_slow => 512,
        Flow::PingPong => 2_048,
        _ if is_slow => laps,
        // each block of a stream makes two laps
        Flow::Stream => 8 * laps,
        Flow::Broadcast { .. } => 4 * laps,
    }
}

/// The index and the peer of each name; of all in this build if there is no name. The rings are always among them.
fn chosen(names: &[String]) -> Result<Vec<(usize, &'static Peer)>, String> {
    for name in names {
        if peers().any(|peer| peer.name == name) {
            continue;
        }
        if let Some(missing) = CRATES.iter().find(|(known, _)| known == name) {
            return Err(lacking(*missing));
        }
        let built_in = BUILT_IN.iter().map(|peer| peer.name);
        let known: Vec<_> = built_in.chain(CRATES.map(|(name, _)| name)).collect();
        let known = known.join(", ");
        return Err(format!("there is no peer '{name}'; the peers are {known}"));
    }
    let is_chosen = |peer: &Peer| {
        is_ours(peer) || names.is_empty() || names.iter().any(|name| name == peer.name)
    };
    Ok(peers()
        .enumerate()
        .filter(|(_, peer)| is_chosen(peer))
        .collect())
}

/// Whether the peer is a ring of this family.
fn is_ours(peer: &Peer) -> bool {
    [RAW, FRAMED, CALLED].contains(&peer.name)
}

/// What to do about a peer that is not in this build.
fn lacking((name, needs): (&str, &str)) -> String {
    format!(
        "the peer '{name}' is not in this build: build it with the feature `{name}` of perf-bench/peers{needs}: \
         cargo run --release --manifest-path perf-bench/peers/Cargo.toml --features {name} -- compare"
    )
}

/// Measures what was chosen.
pub(crate) fn run(options: &Compare, common: &Common) -> Result<bool, Failure> {
    let peers = chosen(&options.peers)?;
    let directory = Directory::new()?;
    let (plan, comparisons) = plan(options, &peers, &directory);
    if comparisons.is_empty() {
        return Err(format!(
            "nothing to measure: broadcasts are of {BROADCAST_BYTES} bytes, and some peers have no long messages"
        )
        .into());
    }
    let ground = Ground::prepare(common)?;
    if let Some(cores) = ground.cores {
        // only the first call counts, and there is only one
        let _ = CORES.set(cores);
    }
    let series = ground.measure_all(&plan, common)?;
    let rows = row::rows(&plan, &comparisons, &series);
    println!("{}", row::render(&rows));
    println!("{}\n", row::COLUMNS);
    for (_, peer) in &peers {
        println!("{:<14} {}", peer.name, peer.note);
    }
    let is_built = |(name, _): &(&str, &str)| self::peers().any(|peer| peer.name == *name);
    let missing: Vec<_> = CRATES
        .iter()
        .filter(|of_crate| !is_built(of_crate))
        .collect();
    if options.peers.is_empty() && !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        println!(
            "\nnot in this build: {}; --peer NAME says how to build one",
            names.join(", ")
        );
    }
    if let Some(path) = &common.json {
        report::json::write(path, &rows, &Origin::of_process(ground.cores))?;
    }
    Ok(crate::all_verified(rows.iter().map(row::Row::complaint)))
}

/// All cells, each group behind its floor, the rings first.
fn plan(
    options: &Compare,
    peers: &[(usize, &'static Peer)],
    directory: &Directory,
) -> (Plan, Vec<Comparison>) {
    let mut plan = Plan::default();
    plan.add_floor(Work::OneLineBounce, 8, 1);
    let two_lines = plan.add_floor(Work::TwoLineBounce, 8, 1);
    let mut comparisons = Vec::new();
    for &scenario in &options.scenarios {
        for &size in &options.sizes {
            let (flow, most) = match scenario {
                CompareScenario::PingPong => (Flow::PingPong, 64),
                CompareScenario::Stream => (Flow::Stream, 1024),
                CompareScenario::Broadcast => (Flow::Broadcast { receiver: 0 }, 1024),
            };
            let is_broadcast = flow.is_broadcast();
            if is_broadcast && size != BROADCAST_BYTES {
                continue;
            }
            let capacity = most.min(HELD_BYTES / size);
            let capacity = 1 << capacity.ilog2();
            let floor = match flow {
                Flow::PingPong => two_lines,
                _ => {
                    let (batch, packed) = (1, false);
                    plan.add_floor(Work::BareStream { batch, packed }, size, capacity)
                }
            };
            let mut ours = [None; 2];
            for &(index, peer) in peers {
                let longest = if is_broadcast {
                    peer.longest_broadcast
                } else {
                    peer.longest
                };
                if size > longest || peer.name == CALLED && flow != Flow::Stream {
                    continue;
                }
                let capacity = match peer.name {
                    POSIX_QUEUE => queue::capacity(capacity),
                    _ => capacity,
                };
                let work = Work::Compared { peer: index, flow };
                let backend = if is_ours(peer) {
                    Backend::Shm
                } else {
                    Backend::None
                };
                let cell = plan.add_ring(work, (size, capacity), backend, &directory.0);
                plan.cells[cell].floor = floor;
                let which = [RAW, FRAMED].iter().position(|name| *name == peer.name);
                if let Some(which) = which {
                    ours[which] = Some(cell);
                }
                comparisons.push(Comparison { cell, peer, ours });
            }
        }
    }
    (plan, comparisons)
}

/// A directory in memory. Dropping it removes it and all that is in it, and the objects in shared memory whose names
/// begin with its own.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let path = PathBuf::from(format!("/dev/shm/perf-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        let (Some(parent), Some(name)) = (self.0.parent(), self.0.file_name()) else {
            return;
        };
        let prefix = format!("{}.", name.to_string_lossy());
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_there_is_named_with_what_it_needs() {
        let refused = |name: &str| chosen(&[name.to_owned()]).expect_err("not in this build");
        assert!(refused("nothing").starts_with("there is no peer 'nothing'; the peers are raw, "));
        let zeromq = refused("zeromq");
        for part in ["`zeromq`", "libzmq3-dev", "--features zeromq"] {
            assert!(zeromq.contains(part), "{part}: {zeromq}");
        }
    }

    #[test]
    fn the_rings_are_always_measured_before_their_peers() {
        let chosen = chosen(&["pipe".to_owned()]).expect("known");
        let names: Vec<_> = chosen.iter().map(|(_, peer)| peer.name).collect();
        assert_eq!(names, [RAW, FRAMED, CALLED, "pipe"]);
    }
}
