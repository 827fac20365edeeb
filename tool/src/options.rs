//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use disruptor_mp::Sequence;

use crate::otlp::Collector;
use crate::recording::SEQUENCE_END;

/// What is on this machine's rings, seen from outside: without attaching, and without holding up any process.
///
/// A ring is given by its name in shared memory, or by a path: anything with a slash.
///
/// Exit codes: 0 fine; 1 a finding, such as a lag above --max or a gap in a recording; 2 wrong usage; 3 the ring or the
/// recording cannot be read or written; 4 a removal was refused, or something that exists would be replaced.
#[derive(Debug, Parser)]
#[command(version, name = "myelon", bin_name = "myelon")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print JSON: one object, or one a line for what repeats.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All rings in shared memory, one line each.
    List(In),
    /// Everything that is known about one ring.
    Show(Show),
    /// How far each consumer is behind, one line each.
    Lag(Lag),
    /// Events per second: published, and released by each consumer; and when each last moved.
    Stat(Stat),
    /// All rings and their consumers, redrawn until q is pressed.
    Top(Top),
    /// The events of a ring as they come. Holds up nobody.
    Tail(Tail),
    /// The events of a ring to a file. Holds up nobody, and records what it missed, unless it is asked to lose nothing.
    Record(Record),
    /// The events of a recording to a new ring, at the pace at which they were recorded.
    Replay(Replay),
    /// All rings as Prometheus text, at /metrics, and to an OpenTelemetry collector, until a signal comes.
    Serve(Serve),
    /// What limits rings on this machine, or in this container.
    Doctor(In),
    /// Removes the dead rings that nothing needs.
    Clean(Clean),
    /// Removes one dead ring.
    Rm(Rm),
}

/// Where rings are.
#[derive(Clone, Debug, Args)]
pub(crate) struct In {
    /// The directory of the rings, in place of shared memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// The time in which to see whether the producer and each consumer move: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Lag {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// Exit with 1 if a consumer is more than this many events behind.
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// The time to count for: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,

    /// How often to count.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) place: In,

    /// The time between two pictures: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,

    /// End after this many pictures.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// The first event: oldest, latest, or a sequence.
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = from)]
    pub(crate) from: From,

    /// End after this many events.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// End after this time: 500ms, 2s, 1m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) period: Option<Duration>,

    /// Print bytes in hex, also where the ring records its fields.
    #[arg(long)]
    pub(crate) hex: bool,

    /// The most bytes of an event to read.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) bytes: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// The file for the recording, which must not exist.
    pub(crate) file: PathBuf,

    /// Write over a recording that exists, or over an empty file.
    #[arg(long)]
    pub(crate) force: bool,

    /// Compress the events.
    #[arg(long)]
    pub(crate) compress: bool,

    /// Attach as a consumer, so that no event is missed. The producer waits for this recorder if it is slow. Needs
    /// permission to write the ring.
    #[arg(long, conflicts_with = "from")]
    pub(crate) lossless: bool,

    /// With --lossless: the id of a durable consumer. It keeps its place until it comes back, also while the producer
    /// waits for it.
    #[arg(long, requires = "lossless")]
    pub(crate) id: Option<String>,

    /// The first event: oldest, latest, or a sequence.
    #[arg(long, value_name = "WHERE", default_value = "oldest", value_parser = from)]
    pub(crate) from: From,

    /// End after this many events.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// End after this time: 500ms, 2s, 1m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) period: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The recording.
    pub(crate) file: PathBuf,

    /// The name of the new ring in shared memory, or its path.
    pub(crate) ring: String,

    /// Publish as fast as the consumers allow.
    #[arg(long)]
    pub(crate) flat_out: bool,

    /// Replay what is whole of a recording that is damaged or cut short.
    #[arg(long)]
    pub(crate) partial: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) place: In,

    /// The address and port to listen at; port 0 is any free one, which is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub(crate) listen: SocketAddr,

    /// Listen at an address that other machines can reach.
    #[arg(long)]
    pub(crate) any_host: bool,

    /// Also send the metrics to the OpenTelemetry collector at http://HOST[:PORT][/PATH], by OTLP/HTTP in JSON. The port
    /// is 4318 and the path ends with /v1/metrics.
    #[arg(long, value_name = "URL", value_parser = Collector::at)]
    pub(crate) otlp: Option<Collector>,

    /// With --otlp: the time between two messages: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, requires = "otlp")]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Clean {
    #[command(flatten)]
    pub(crate) place: In,

    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Also remove dead rings with which something is lost, and say what.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The ring's name in shared memory, or its path.
    pub(crate) ring: String,

    /// Only say whether it would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Remove it although something is lost, and say what.
    #[arg(long)]
    pub(crate) force: bool,
}

/// The first event to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Oldest,
    Latest,
    At(Sequence),
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "oldest" => Ok(From::Oldest),
        "latest" => Ok(From::Latest),
        number => match number.parse() {
            Ok(sequence) if (0..SEQUENCE_END).contains(&sequence) => Ok(From::At(sequence)),
            _ => Err(String::from(
                "expected oldest, latest, or a sequence from 0 to 2^61 - 1",
            )),
        },
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let wrong = || String::from("expected a number and ms, s or m, such as 500ms");
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    // a year: longer times overflow clocks
    match seconds.is_finite() && (0.001..=31_536_000.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(String::from("expected a time from 1ms to a year")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [("250ms", 250), ("2s", 2000), ("1.5", 1500), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "s", "1h", "-1s", "0", "1e99s", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        assert_eq!(from("17"), Ok(From::At(17)));
        assert!(from("-1").is_err() && from("newest").is_err());
        assert!(from("2305843009213693951").is_ok() && from("2305843009213693952").is_err());
    }
}
