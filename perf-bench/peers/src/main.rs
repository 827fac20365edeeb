//! perf-bench with the peers of `compare` that are crates, each behind a feature of its name.
//!
//! They are not in the family's workspace because they bring more than a hundred other crates. `docs/performance.md`
//! has the command, and what else has to be installed.

use std::process::ExitCode;

use perf_bench::compare::Peer;

#[cfg(feature = "crossbeam")]
mod crossbeam;
#[cfg(feature = "disruptor")]
mod disruptor;
#[cfg(any(
    feature = "crossbeam",
    feature = "rtrb",
    feature = "subetha",
    feature = "tachyon",
    feature = "zeromq"
))]
mod each;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
#[cfg(feature = "rtrb")]
mod rtrb;
#[cfg(feature = "shaq")]
mod shaq;
#[cfg(feature = "subetha")]
mod subetha;
#[cfg(feature = "tachyon")]
mod tachyon;
#[cfg(feature = "zeromq")]
mod zeromq;

/// The peers of this build: first those between threads.
static PEERS: &[Peer] = &[
    #[cfg(feature = "rtrb")]
    rtrb::PEER,
    #[cfg(feature = "crossbeam")]
    crossbeam::PEER,
    #[cfg(feature = "disruptor")]
    disruptor::PEER,
    #[cfg(feature = "shaq")]
    shaq::PEER,
    #[cfg(feature = "subetha")]
    subetha::PEER,
    #[cfg(feature = "iceoryx2")]
    iceoryx2::PEER,
    #[cfg(feature = "tachyon")]
    tachyon::PEER,
    #[cfg(feature = "zeromq")]
    zeromq::PEER,
];

fn main() -> ExitCode {
    perf_bench::run(PEERS)
}
