//! The history of a simulation: which task ran, which points it passed, and what the scheduler did to it there.

use core::fmt;
use core::time::Duration;

use super::scheduler::Site;

/// Why a task stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Switched,
    Sleeps,
    Stopped,
    Died,
    Ended,
}

#[derive(Clone, Debug)]
enum Entry {
    /// A task continues, after so many steps, at this time.
    Turn(usize, u64, Duration),
    Point(&'static str),
    Mark(&'static str),
    Buggify(&'static str),
    Note(String),
    Left(Site, Leaving),
}

/// The history of one simulation, as text with one line for each turn of a task. The same seed gives the same text.
///
/// A line says after how many steps and at which simulated time the turn began, which points the task passed
/// (`!` before a rare branch, `?` before a buggify name, notes in quotation marks), and where and why the
/// turn ended. The last line is a hash of all steps, including those without a name.
///
/// # Examples
///
/// See [`Outcome`](super::Outcome).
#[derive(Clone, Debug)]
pub struct Trace {
    names: Vec<String>,
    entries: Vec<Entry>,
    hash: u64,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            names: Vec::new(),
            entries: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn add_task(&mut self, name: String) {
        self.names.push(name);
    }

    pub(super) fn name(&self, task: usize) -> &str {
        &self.names[task]
    }

    pub(super) fn turn(&mut self, task: usize, steps: u64, now: Duration) {
        self.entries.push(Entry::Turn(task, steps, now));
    }

    pub(super) fn step(&mut self, task: usize, site: Site) {
        self.mix(task as u64);
        match site {
            Site::Point(name) => {
                name.bytes().for_each(|byte| self.mix(byte.into()));
                self.entries.push(Entry::Point(name));
            }
            Site::Access(place) => {
                self.mix(place.file().len() as u64);
                self.mix(u64::from(place.line()) << 32 | u64::from(place.column()));
            }
            Site::Sleep(duration) => self.mix(duration.as_nanos() as u64),
            Site::Start | Site::Yield | Site::Delay(_) => self.mix(1),
        }
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }

    pub(super) fn reached(&mut self, mark: &'static str) {
        self.entries.push(Entry::Mark(mark));
    }

    pub(super) fn buggify(&mut self, name: &'static str) {
        self.entries.push(Entry::Buggify(name));
    }

    pub(super) fn note(&mut self, text: String) {
        self.entries.push(Entry::Note(text));
    }

    pub(super) fn leave(&mut self, site: Site, why: Leaving) {
        self.entries.push(Entry::Left(site, why));
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("its start"),
            Self::Point(name) | Self::Delay(name) => f.write_str(name),
            Self::Access(place) => {
                let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
                write!(f, "{file}:{}", place.line())
            }
            Self::Yield => f.write_str("a yield"),
            Self::Sleep(duration) => write!(f, "a sleep of {duration:?}"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn(..) => Ok(()),
            Self::Point(name) => write!(f, " {name}"),
            Self::Mark(name) => write!(f, " !{name}"),
            Self::Buggify(name) => write!(f, " ?{name}"),
            Self::Note(text) => write!(f, " \"{text}\""),
            Self::Left(site, Leaving::Switched) => write!(f, " -- at {site}"),
            Self::Left(site, Leaving::Sleeps) => write!(f, " -- in {site}"),
            Self::Left(site, Leaving::Stopped) => write!(f, " -- STOPPED at {site}"),
            Self::Left(site, Leaving::Died) => write!(f, " -- KILLED at {site}"),
            Self::Left(_, Leaving::Ended) => f.write_str(" -- ends"),
        }
    }
}

/// Of a turn with more entries than this, only the beginning and the end are shown.
const TOLD_MAX: usize = 48;

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for turn in self
            .entries
            .chunk_by(|_, next| !matches!(next, Entry::Turn(..)))
        {
            let Some(Entry::Turn(task, steps, now)) = turn.first() else {
                continue;
            };
            let (us, name) = (now.as_micros(), &self.names[*task]);
            write!(f, "\n{steps:>7} {us:>8} us  {name:12}")?;
            let untold = turn.len().saturating_sub(TOLD_MAX);
            for (index, entry) in turn.iter().enumerate() {
                match index.checked_sub(TOLD_MAX / 2) {
                    Some(0) if untold > 0 => write!(f, " ... {untold} more ...")?,
                    Some(after) if after < untold => {}
                    _ => write!(f, "{entry}")?,
                }
            }
        }
        write!(f, "\nhash of all steps: {:016x}", self.hash)
    }
}
