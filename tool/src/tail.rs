//! `tail`: the events of a ring as they come. Reads as an observer does, and needs no permission to write.

use std::io::{Write, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant};

use disruptor_mp::Sequence;
use disruptor_mp::inspect::{InspectError, Inspector, Liveness, NameState, Sighting, Snapshot};
use serde_json::json;

use crate::fields::{Layout, hex};
use crate::implausible::Implausible;
use crate::options::{From, Tail};
use crate::ring::{check_order, open};
use crate::{Failure, Outcome};

/// The pauses between two reads while nothing comes.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// How often the ring's end is checked while nothing comes.
const CHECK: Duration = Duration::from_millis(100);
/// The most bytes of an event that are read.
const BYTES_MAX: usize = 1 << 20;

pub(crate) fn run(options: &Tail, json: bool) -> Result<Outcome, Failure> {
    let mut follower = Follower::new(open(&options.ring)?, options, json)?;
    let end = options.period.map(|period| Instant::now() + period);
    let mut printed = 0;
    let mut pause = PAUSES[0];
    let mut checked = Instant::now();
    while options.count.is_none_or(|count| printed < count)
        && end.is_none_or(|end| Instant::now() < end)
    {
        match follower.step()? {
            Step::Event => {
                printed += 1;
                pause = PAUSES[0];
            }
            Step::Missed => pause = PAUSES[0],
            Step::Nothing => {
                stdout().flush()?;
                if checked.elapsed() > CHECK {
                    checked = Instant::now();
                    if let Some(reason) = follower.end()? {
                        crate::text::warn(format_args!("myelon: {reason}"));
                        break;
                    }
                }
                sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }
    stdout().flush()?;
    Ok(follower.implausible.or(Outcome::Fine))
}

enum Step {
    Event,
    Missed,
    Nothing,
}

struct Follower {
    ring: Inspector,
    next: Sequence,
    bytes: Vec<u8>,
    size: usize,
    layout: Layout,
    is_json: bool,
    implausible: Implausible,
    /// Whether the last event could not be read any more: then the follower gives itself a lead.
    has_missed: bool,
    out: std::io::BufWriter<std::io::Stdout>,
}

impl Follower {
    fn new(mut ring: Inspector, options: &Tail, is_json: bool) -> Result<Self, Failure> {
        let size = usize::try_from(ring.info().event.size).unwrap_or(usize::MAX);
        let layout = match options.hex {
            true => Layout::Unknown,
            false => Layout::of(&ring.info().event.text, size),
        };
        let seen = ring.snapshot()?;
        check_order(&ring, &seen)?;
        let mut implausible = Implausible::new(is_json);
        implausible.check(&seen);
        let next = match options.from {
            From::Oldest => oldest(&ring, &seen),
            From::Latest => seen.published + 1,
            From::At(sequence) => sequence,
        };
        Ok(Self {
            ring,
            next,
            bytes: vec![0; size.min(options.bytes).min(BYTES_MAX)],
            size,
            layout,
            is_json,
            implausible,
            has_missed: false,
            out: std::io::BufWriter::new(stdout()),
        })
    }

    fn step(&mut self) -> Result<Step, Failure> {
        match self.ring.read_event(self.next, &mut self.bytes)? {
            Sighting::Whole => {
                self.print()?;
                self.next += 1;
                self.has_missed = false;
                Ok(Step::Event)
            }
            Sighting::NotYet => {
                self.out.flush()?;
                Ok(Step::Nothing)
            }
            _ => {
                self.miss()?;
                Ok(Step::Missed)
            }
        }
    }

    fn print(&mut self) -> Result<(), Failure> {
        let is_cut = self.bytes.len() < self.size;
        if self.is_json {
            let object = json!({
                "sequence": self.next,
                "event": self.layout.value(&self.bytes),
                "bytes": hex(&self.bytes),
                "is_cut": is_cut,
            });
            writeln!(self.out, "{object}")?;
        } else {
            let more = if is_cut { " …" } else { "" };
            writeln!(
                self.out,
                "{} {}{more}",
                self.next,
                self.layout.show(&self.bytes)
            )?;
        }
        Ok(())
    }

    /// Goes on at a later event, and says how many were missed.
    fn miss(&mut self) -> Result<(), Failure> {
        let seen = self.ring.snapshot()?;
        let low = oldest(&self.ring, &seen);
        let newest = seen.published + 1;
        let lead = match self.has_missed {
            true => (newest - low) / 2,
            false => 0,
        };
        let next = (low + lead).clamp(self.next + 1, newest.max(self.next + 1));
        let missed = next - self.next;
        match self.is_json {
            true => writeln!(self.out, "{}", json!({"missed": missed, "next": next}))?,
            false => writeln!(self.out, "missed {missed} events")?,
        }
        self.next = next;
        self.has_missed = true;
        Ok(())
    }

    /// Why no further event will come, if that is so.
    fn end(&mut self) -> Result<Option<&'static str>, Failure> {
        let seen = self.ring.snapshot()?;
        self.implausible.check(&seen);
        if seen.published >= self.next {
            // sequences rose while the order of the ring was in doubt, or the event has just come
            if self.ring.read_event(self.next, &mut self.bytes)? == Sighting::NotYet {
                self.miss()?;
            }
            return Ok(None);
        }
        Ok(why_ended(&self.ring, &seen, self.next)?)
    }
}

/// Why no event will come of the sequence `next` or a later one, if that is so.
pub(crate) fn why_ended(
    ring: &Inspector,
    seen: &Snapshot,
    next: Sequence,
) -> Result<Option<&'static str>, InspectError> {
    let why = match (seen.closed, seen.producer.liveness, seen.name) {
        // a successor may be taking the ring over
        (None, ..) if seen.producer.is_lock_taken => return Ok(None),
        (Some(_), ..) => "the ring was closed, and this was its last event",
        (None, Liveness::Dead, NameState::Ours) => {
            "the producer is not alive, and this was its last event; a successor may go on"
        }
        (None, Liveness::Dead, _) => {
            "the producer is not alive and the ring's name is gone: no event will follow"
        }
        _ => return Ok(None),
    };
    // the producer may have published an event after the snapshot's search for it, and died before the probe (R11)
    let has_come = ring.read_event(next, &mut [])? != Sighting::NotYet;
    Ok((!has_come).then_some(why))
}

/// The oldest event that may still be read whole.
pub(crate) fn oldest(ring: &Inspector, seen: &Snapshot) -> Sequence {
    let retained = seen.published - ring.info().capacity as Sequence + 1;
    let readable = match ring.info().has_observers {
        true => retained,
        // slots up to the floor may be written at any moment
        false => retained.max(seen.floor + 1),
    };
    readable.max(ring.info().first_sequence)
}

#[cfg(test)]
mod tests {
    use disruptor_mp::{Deadline, MmapProducer, MmapTransportLayout};

    use super::*;

    #[test]
    fn an_event_is_seen_that_comes_right_before_the_producer_dies() {
        let files = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(files.path(), "ring");
        let mut tx = MmapProducer::<u64>::create(&layout, 8, || 0).expect("a ring");
        let mut ring = Inspector::open(layout.path()).expect("open");
        let mut seen = ring.snapshot().expect("read");
        let why = |seen: &Snapshot, next| why_ended(&ring, seen, next).expect("read");
        assert_eq!(why(&seen, 0), None, "the producer is alive");
        // a snapshot that found no event and then found the producer's lock free
        tx.send_value(7, Deadline::NEVER).expect("space");
        seen.producer.liveness = Liveness::Dead;
        assert_eq!((seen.published, why(&seen, 0)), (-1, None));
        assert!(why(&seen, 1).is_some());
        seen.producer.is_lock_taken = true;
        assert_eq!(why(&seen, 1), None, "another process holds its lock");
        tx.destroy().expect("removed");
    }
}
