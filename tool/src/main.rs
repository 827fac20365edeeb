//! The operator's program: what is on this machine's rings, seen from outside. `docs/tool.md` is its page.
//!
//! It reads rings through `disruptor_mp::inspect`, which attaches to nothing. Only four commands change anything:
//! `clean` and `rm` remove names of rings that no living process uses, `replay` makes a ring, and `record --lossless`
//! attaches to one.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use disruptor_mp::MultiProcessError;
use disruptor_mp::inspect::{InspectError, RemovalError};

use crate::options::{Command, Options};
use crate::recording::RecordingError;

mod clean;
mod doctor;
mod fields;
mod http;
mod implausible;
mod lag;
mod list;
mod metrics;
mod options;
mod otlp;
mod pace;
mod record;
mod recording;
mod replay;
mod requests;
mod ring;
mod screen;
mod serve;
mod show;
mod signals;
mod stat;
mod tail;
mod target;
mod text;
mod top;

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// A threshold was exceeded, or something else needs attention.
    Finding,
    /// Something was not removed.
    Refused,
}

impl Outcome {
    fn finding_if(is_finding: bool) -> Self {
        match is_finding {
            true => Self::Finding,
            false => Self::Fine,
        }
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
enum Failure {
    Ring(InspectError),
    Removal(RemovalError),
    /// A recording cannot be read.
    Recording(RecordingError),
    /// A ring cannot be made or attached to.
    Handle(MultiProcessError),
    /// Something that exists would have been replaced: a word for programs, and a text.
    Refused(&'static str, String),
    /// Something is not as the command needs it: a word for programs, and a text.
    Failed(&'static str, String),
    /// It could not go on.
    Stopped(String),
    /// The command line asks for what it may not ask for.
    Usage(String),
    /// Reading a directory, or the terminal.
    Io(String, io::Error),
    /// Writing the output.
    Output(io::Error),
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        Self::Ring(error)
    }
}

impl From<RemovalError> for Failure {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Inspect(error) => Self::Ring(error),
            error => Self::Removal(error),
        }
    }
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        Self::Recording(error)
    }
}

impl From<MultiProcessError> for Failure {
    fn from(error: MultiProcessError) -> Self {
        Self::Handle(error)
    }
}

/// Output is the only thing that is written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Removal(_) | Self::Refused(..) => 4,
            // another process took the name after it was found free
            Self::Handle(MultiProcessError::InUse { .. }) => 4,
            Self::Ring(_)
            | Self::Recording(_)
            | Self::Handle(_)
            | Self::Failed(..)
            | Self::Stopped(_)
            | Self::Io(..)
            | Self::Output(_) => 3,
        }
    }

    /// One word for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Ring(error) => error.word(),
            Self::Removal(RemovalError::InUse { .. }) => "in-use",
            Self::Removal(RemovalError::WouldLose { .. }) => "would-lose",
            Self::Removal(RemovalError::Changed { .. }) => "changed",
            Self::Recording(error) => error.word(),
            Self::Handle(MultiProcessError::InUse { .. }) => "in-use",
            Self::Handle(MultiProcessError::NoSpace { .. }) => "no-space",
            Self::Handle(MultiProcessError::PermissionDenied { .. }) => "permission",
            Self::Handle(MultiProcessError::ForeignOwner { .. }) => "owner",
            Self::Handle(MultiProcessError::NotFound { .. }) => "missing",
            Self::Handle(MultiProcessError::NotARing { .. }) => "foreign",
            Self::Handle(MultiProcessError::ConsumerAlreadyAttached { .. }) => "attached",
            Self::Refused(word, _) | Self::Failed(word, _) => word,
            Self::Stopped(_) => "stopped",
            Self::Usage(_) => "usage",
            Self::Removal(_) | Self::Handle(_) | Self::Io(..) | Self::Output(_) => "system",
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::Ring(error) => error.to_string(),
            Self::Removal(error) => error.to_string(),
            Self::Recording(error) => error.text(),
            Self::Handle(error) => error.to_string(),
            Self::Refused(_, text)
            | Self::Failed(_, text)
            | Self::Stopped(text)
            | Self::Usage(text) => text.clone(),
            Self::Io(what, error) => format!("{what}: {error}"),
            Self::Output(error) => format!("the output: {error}"),
        };
        text::printable(&text)
    }
}

/// The end of a command that has done its work and has tried to say so: a reader that has closed the output changes
/// nothing of the outcome.
fn reported(said: io::Result<()>, outcome: Outcome) -> Result<Outcome, Failure> {
    match said {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(outcome),
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // help and the version are no errors, and a closed output is none here
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = options.json;
    let result = match options.command {
        Command::List(list) => list::run(&list, json),
        Command::Show(show) => show::run(&show, json),
        Command::Lag(lag) => lag::run(&lag, json),
        Command::Stat(stat) => stat::run(&stat, json),
        Command::Top(top) => top::run(&top, json),
        Command::Tail(tail) => tail::run(&tail, json),
        Command::Record(record) => record::run(&record, json),
        Command::Replay(replay) => replay::run(&replay, json),
        Command::Serve(serve) => serve::run(&serve, json),
        Command::Doctor(doctor) => doctor::run(&doctor, json),
        Command::Clean(clean) => clean::clean(&clean, json),
        Command::Rm(rm) => clean::rm(&rm, json),
    };
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Ok(Outcome::Refused) => ExitCode::from(4),
        // a command that prints until it is stopped: the reader of the output has seen enough
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if json {
                let object = serde_json::json!({"error": failure.word(), "text": failure.text()});
                crate::text::warn(format_args!("{object}"));
            } else {
                crate::text::warn(format_args!("myelon: {}", failure.text()));
            }
            ExitCode::from(failure.code())
        }
    }
}
