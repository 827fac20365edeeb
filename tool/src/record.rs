//! `record`: the events of a ring to a file. Watches the ring from outside and holds up nobody, unless it is asked to
//! lose nothing.

use std::io::{Write, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use disruptor_mp::inspect::{Inspector, Sighting};
use disruptor_mp::{RecvError, Sequence, UntypedConsumer, UntypedEvent};
use serde_json::json;

use crate::implausible::Implausible;
use crate::options::{From, Record};
use crate::recording::{EVENT_BYTES_MAX, Header, Writer};
use crate::ring::{check_order, open};
use crate::signals::Ending;
use crate::tail::{oldest, why_ended};
use crate::target::Target;
use crate::text::printable;
use crate::{Failure, Outcome, reported};

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
    let target = Target::open(&options.file, options.force)?;
    let mut implausible = Implausible::new(json);
    let mut source = match Source::open(ring, options, &mut implausible) {
        Ok(source) => source,
        Err(failure) => {
            target.discard();
            return Err(failure);
        }
    };
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
    let begun = target.emptied().and_then(|file| Writer::new(file, &header));
    let mut writer = match begun {
        Ok(writer) => writer,
        Err(error) => {
            source.give_up();
            target.discard();
            return Err(failed(error));
        }
    };
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
                    if let Some(why) = source.end(&mut bytes, &mut implausible)? {
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
    let outcome = match missed {
        0 => Outcome::Fine,
        _ => Outcome::Finding,
    };
    let said = if json {
        let object = json!({"events": events, "missed": missed, "gaps": gaps, "ended": why});
        writeln!(stdout(), "{object}")
    } else {
        writeln!(
            stdout(),
            "recorded {events} events, missed {missed} in {gaps} gaps; {}",
            printable(&why)
        )
    };
    reported(said, implausible.or(outcome))
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
    fn open(
        mut ring: Inspector,
        options: &Record,
        implausible: &mut Implausible,
    ) -> Result<Self, Failure> {
        let seen = ring.snapshot()?;
        check_order(&ring, &seen)?;
        implausible.check(&seen);
        if options.lossless {
            return Ok(Self::Attached(UntypedConsumer::attach(
                &ring,
                options.id.as_deref(),
            )?));
        }
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
    fn end(
        &mut self,
        bytes: &mut [u8],
        implausible: &mut Implausible,
    ) -> Result<Option<String>, Failure> {
        let Self::Watched { ring, next, .. } = self else {
            return Ok(None);
        };
        let seen = ring.snapshot()?;
        implausible.check(&seen);
        if seen.published < *next {
            return Ok(why_ended(ring, &seen, *next)?.map(String::from));
        }
        // sequences rose while the order of the ring was in doubt, or the event has just come
        if ring.read_event(*next, bytes)? == Sighting::NotYet {
            *next = oldest(ring, &seen).max(*next + 1);
        }
        Ok(None)
    }

    /// Gives up a place in the ring that was taken for nothing. A place that the ring had before is kept.
    fn give_up(self) {
        match self {
            Self::Attached(consumer) if !consumer.has_rejoined() => {
                // the failure that led here is told
                let _ = consumer.leave();
            }
            _ => {}
        }
    }

    fn detach(mut self) -> Result<(), Failure> {
        self.release();
        match self {
            Self::Watched { .. } => Ok(()),
            Self::Attached(consumer) => Ok(consumer.detach()?),
        }
    }
}
