//! `record`: the events of a ring to a file. Watches the ring from outside and holds up nobody, unless it is asked to
//! lose nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use disruptor_mp::inspect::{Inspector, Sighting};
use disruptor_mp::{RecvError, Sequence, UntypedConsumer, UntypedEvent};
use serde_json::json;

use crate::options::{From, Record};
use crate::recording::{EVENT_BYTES_MAX, Header, Reader, Writer};
use crate::ring::open;
use crate::signals::Ending;
use crate::tail::{oldest, why_ended};
use crate::text::printable;
use crate::{Failure, Outcome};

/// The pauses between two reads while nothing comes.
const PAUSES: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(2)];
/// How often the ring's end is checked while nothing comes.
const CHECK: Duration = Duration::from_millis(100);
/// The longest time for which an event is in memory only.
const FLUSH: Duration = Duration::from_millis(100);

pub(crate) fn run(options: &Record, json: bool) -> Result<Outcome, Failure> {
    let ending = Ending::register()?;
    let ring = open(&options.ring)?;
    let info = ring.info().clone();
    if info.event.size > EVENT_BYTES_MAX {
        let text = format!(
            "its events have {} bytes, and the largest that are recorded {EVENT_BYTES_MAX}",
            info.event.size
        );
        return Err(Failure::Stopped(text));
    }
    // refused before anything is attached, which would hold up the producer
    check_target(&options.file, options.force)?;
    let mut source = Source::open(ring, options)?;
    let file = create(&options.file, options.force)?;
    let since = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64
    };
    let header = Header {
        event: UntypedEvent::of(&info),
        capacity: info.capacity,
        first: source.next(),
        is_compressed: options.compress,
        is_lossless: options.lossless,
        is_observed: info.has_observers,
        started_unix_ns: since(SystemTime::now()),
        ring_created_unix_ns: since(info.created),
        ring: info.name.clone(),
    };
    let started = Instant::now();
    let failed = |error| Failure::Io(format!("writing {}", options.file.display()), error);
    let mut writer = Writer::new(file, &header).map_err(failed)?;
    let mut bytes = vec![0; header.event.size as usize];
    let mut pause = PAUSES[0];
    let mut checked = started;
    let mut flushed = started;
    let why = loop {
        if ending.has_come() {
            break String::from("it was stopped");
        }
        if options.count.is_some_and(|count| writer.events >= count) {
            break String::from("it has as many events as were asked for");
        }
        let now = Instant::now();
        if options.period.is_some_and(|period| now - started >= period) {
            break String::from("its time is over");
        }
        // a producer that waits for this recorder finds space soon
        let is_due = now - flushed >= FLUSH || source.is_filling(writer.pending(), info.capacity);
        if writer.pending() > 0 && is_due {
            writer.flush().map_err(failed)?;
            source.release();
            flushed = now;
        }
        match source.step(&mut bytes)? {
            Step::Event(sequence) => {
                // after it was read, so that it is never earlier than the event
                let time = started.elapsed().as_nanos() as u64;
                if writer.event(sequence, time, &bytes).map_err(failed)? {
                    writer.flush().map_err(failed)?;
                    source.release();
                    flushed = now;
                }
                pause = PAUSES[0];
            }
            Step::Missed(next) => {
                writer.go_on_at(next).map_err(failed)?;
                source.release();
                pause = PAUSES[0];
            }
            Step::Ended(why) => break why,
            Step::Nothing => {
                if now - checked >= CHECK {
                    checked = now;
                    if let Some(why) = source.end(&mut bytes)? {
                        break why;
                    }
                }
                sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    };
    writer.go_on_at(source.next()).map_err(failed)?;
    let (events, missed, gaps) = (writer.events, writer.missed, writer.gaps);
    writer.end().map_err(failed)?;
    source.detach()?;
    if json {
        let object = json!({"events": events, "missed": missed, "gaps": gaps, "ended": why});
        writeln!(stdout(), "{object}")?;
    } else {
        writeln!(
            stdout(),
            "recorded {events} events, missed {missed} in {gaps} gaps; {}",
            printable(&why)
        )?;
    }
    Ok(match missed {
        0 => Outcome::Fine,
        _ => Outcome::Finding,
    })
}

/// Whether a recording may be written to this file. A file that is no recording is never written over.
fn check_target(path: &Path, force: bool) -> Result<(), Failure> {
    let is_taken = path.symlink_metadata().is_ok();
    let refused = |why: &str| {
        let text = format!("{} {why}; nothing was recorded", path.display());
        Err(Failure::Refused("exists", text))
    };
    match (is_taken, force) {
        (false, _) => Ok(()),
        (true, false) => {
            refused("exists: choose another file, or write over a recording with --force")
        }
        (true, true) => match Reader::open(path) {
            Err(error) if error.word() == "foreign" => {
                refused("is not a recording, and is not written over: choose another file")
            }
            Err(error) if error.word() == "system" => Err(Failure::Recording(error)),
            _ => Ok(()),
        },
    }
}

fn create(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Refused(
            "exists",
            format!(
                "{} has just been created by another process",
                path.display()
            ),
        ),
        _ => Failure::Io(format!("creating {}", path.display()), error),
    })
}

/// What a read of a ring found.
enum Step {
    Event(Sequence),
    /// Events before this sequence were missed.
    Missed(Sequence),
    Ended(String),
    Nothing,
}

/// Where events come from.
enum Source {
    /// The ring, watched from outside.
    Watched {
        ring: Inspector,
        next: Sequence,
        /// Whether the last event could not be read any more: then the next read is given a lead.
        has_missed: bool,
    },
    /// A consumer, for which the producer waits.
    Attached(UntypedConsumer),
}

impl Source {
    fn open(mut ring: Inspector, options: &Record) -> Result<Self, Failure> {
        if options.lossless {
            return Ok(Self::Attached(UntypedConsumer::attach(
                &ring,
                options.id.as_deref(),
            )?));
        }
        let seen = ring.snapshot()?;
        let next = match options.from {
            From::Oldest => oldest(&ring, &seen),
            From::Latest => seen.published + 1,
            From::At(sequence) => sequence,
        };
        Ok(Self::Watched {
            ring,
            next,
            has_missed: false,
        })
    }

    /// The sequence of the next event.
    fn next(&self) -> Sequence {
        match self {
            Self::Watched { next, .. } => *next,
            Self::Attached(consumer) => consumer.next_sequence(),
        }
    }

    fn step(&mut self, bytes: &mut [u8]) -> Result<Step, Failure> {
        match self {
            Self::Watched {
                ring,
                next,
                has_missed,
            } => match ring.read_event(*next, bytes)? {
                Sighting::Whole => {
                    *next += 1;
                    *has_missed = false;
                    Ok(Step::Event(*next - 1))
                }
                Sighting::NotYet => Ok(Step::Nothing),
                _ => {
                    let seen = ring.snapshot()?;
                    let low = oldest(ring, &seen);
                    let newest = seen.published + 1;
                    let lead = if *has_missed { (newest - low) / 2 } else { 0 };
                    *next = (low + lead).clamp(*next + 1, newest.max(*next + 1));
                    *has_missed = true;
                    Ok(Step::Missed(*next))
                }
            },
            Self::Attached(consumer) => match consumer.try_recv(bytes) {
                Ok(Some(sequence)) => Ok(Step::Event(sequence)),
                Ok(None) => Ok(Step::Nothing),
                Err(RecvError::InDoubt { .. }) => Ok(Step::Missed(consumer.next_sequence())),
                Err(
                    error @ (RecvError::Closed
                    | RecvError::ProducerDead { .. }
                    | RecvError::NameRemoved { .. }),
                ) => Ok(Step::Ended(error.to_string())),
                Err(error) => Err(Failure::Stopped(error.to_string())),
            },
        }
    }

    /// Whether the producer may soon wait for events that are held until they are in the file.
    fn is_filling(&self, held: usize, capacity: u64) -> bool {
        matches!(self, Self::Attached(_)) && held as u64 >= (capacity / 4).max(1)
    }

    /// Events that were received are in the file.
    fn release(&mut self) {
        if let Self::Attached(consumer) = self {
            consumer.release();
        }
    }

    /// Why no further event will come, if that is so; a consumer is told so by itself.
    fn end(&mut self, bytes: &mut [u8]) -> Result<Option<String>, Failure> {
        let Self::Watched { ring, next, .. } = self else {
            return Ok(None);
        };
        let seen = ring.snapshot()?;
        if seen.published < *next {
            return Ok(why_ended(&seen).map(String::from));
        }
        // sequences rose while the order of the ring was in doubt, or the event has just come
        if ring.read_event(*next, bytes)? == Sighting::NotYet {
            *next = oldest(ring, &seen).max(*next + 1);
        }
        Ok(None)
    }

    fn detach(mut self) -> Result<(), Failure> {
        self.release();
        match self {
            Self::Watched { .. } => Ok(()),
            Self::Attached(consumer) => Ok(consumer.detach()?),
        }
    }
}
