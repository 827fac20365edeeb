//! `replay`: the events of a recording to a new ring of the recorded layout.

use std::io::{Write, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use disruptor_mp::inspect::{InspectError, Inspector};
use disruptor_mp::{Deadline, MmapTransportLayout, SendError, UntypedEvent, UntypedProducer};
use serde_json::json;

use crate::options::Replay;
use crate::recording::{Block, Header, Reader, RecordingError};
use crate::ring::path_of;
use crate::signals::Ending;
use crate::{Failure, Outcome, reported};

/// The longest wait after which a signal is noticed.
const STEP: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &Replay, json: bool) -> Result<Outcome, Failure> {
    let ending = Ending::register()?;
    // all of it is checked before the first event is published
    let found = Contents::of(&options.file)?;
    let fault = match found.fault {
        Some(fault) if !options.partial => return Err(Failure::Recording(fault)),
        fault => fault,
    };
    if let Some(fault) = &fault {
        crate::text::warn(format_args!(
            "myelon: {}",
            crate::text::printable(&fault.text())
        ));
    }
    let mut reader = Reader::open(&options.file)?;
    let path = path_of(&options.ring);
    check_target(&path, reader.header())?;
    let Some(first) = found.first else {
        return Err(Failure::Stopped(format!(
            "{} holds no event, so no ring was made",
            options.file.display()
        )));
    };
    let header = reader.header().clone();
    let (root, leaf) = (
        path.parent(),
        path.file_name().and_then(|leaf| leaf.to_str()),
    );
    let (Some(root), Some(leaf)) = (root, leaf) else {
        return Err(Failure::Stopped(format!(
            "{} is not the name of a file",
            path.display()
        )));
    };
    let layout = MmapTransportLayout::new(root, leaf);
    if !layout.root().is_dir() {
        let text = format!(
            "there is no directory {}, so no ring was made: make the directory, or choose another path",
            layout.root().display()
        );
        return Err(Failure::Failed("missing", text));
    }
    let capacity = header.capacity as usize;
    let mut ring =
        UntypedProducer::create(&layout, &header.event, capacity, first, header.is_observed)?;
    let mut player = Player {
        started: None,
        is_flat_out: options.flat_out,
        ending,
        events: 0,
    };
    let mut is_stopped = false;
    for _ in 0..found.blocks {
        match reader.block()? {
            Some(Block::Events { times, bytes, .. }) => {
                let events = bytes.chunks_exact(header.event.size as usize);
                for (time, event) in times.iter().zip(events) {
                    if !player.play(&mut ring, *time, event)? {
                        is_stopped = true;
                        break;
                    }
                }
            }
            Some(Block::Gap { first, next }) if player.events > 0 => {
                crate::text::warn(format_args!(
                    "myelon: sequences {first} to {} are missing in the recording: the events after them come {} sequences \
                     earlier than those before would tell",
                    next - 1,
                    next - first
                ));
            }
            _ => {}
        }
        if is_stopped {
            break;
        }
    }
    let events = player.events;
    ring.close()?;
    let (missed, gaps) = (found.missed, found.gaps);
    let outcome = match missed == 0 && !is_stopped && fault.is_none() {
        true => Outcome::Fine,
        false => Outcome::Finding,
    };
    let said = if json {
        let object = json!({
            "events": events,
            "of": found.events,
            "missed": missed,
            "gaps": gaps,
            "is_stopped": is_stopped,
            "fault": fault.as_ref().map(|fault| fault.word()),
        });
        writeln!(stdout(), "{object}")
    } else {
        let stopped = if is_stopped { "; it was stopped" } else { "" };
        writeln!(
            stdout(),
            "replayed {events} of {} events, {missed} are missing in {gaps} gaps{stopped}",
            found.events
        )
    };
    reported(said, outcome)
}

/// What a recording holds up to its end, or up to its first fault.
struct Contents {
    blocks: u64,
    events: u64,
    missed: u64,
    gaps: u64,
    /// The sequence of the first event.
    first: Option<i64>,
    fault: Option<RecordingError>,
}

impl Contents {
    fn of(path: &Path) -> Result<Self, RecordingError> {
        let mut reader = Reader::open(path)?;
        let mut found = Self {
            blocks: 0,
            events: 0,
            missed: 0,
            gaps: 0,
            first: None,
            fault: None,
        };
        loop {
            match reader.block() {
                Ok(None) => return Ok(found),
                Ok(Some(Block::Events { first, times, .. })) => {
                    found.first.get_or_insert(first);
                    found.events += times.len() as u64;
                }
                Ok(Some(Block::Gap { first, next })) => {
                    found.gaps += 1;
                    found.missed += (next - first) as u64;
                }
                Ok(Some(Block::End)) => {}
                Err(fault) => {
                    found.fault = Some(fault);
                    return Ok(found);
                }
            }
            found.blocks += 1;
        }
    }
}

/// Whether a ring may be made here: nothing that exists is replaced.
fn check_target(path: &Path, header: &Header) -> Result<(), Failure> {
    let shown = path.display();
    let event = match Inspector::open(path) {
        Err(InspectError::NotFound { .. }) => return Ok(()),
        Err(error) => {
            let text = format!("{shown} exists and is not replaced: {error}");
            return Err(Failure::Refused("exists", text));
        }
        Ok(ring) => UntypedEvent::of(ring.info()),
    };
    let of = |event: &UntypedEvent| (event.size, event.align, event.layout_id);
    Err(match of(&event) == of(&header.event) {
        true => {
            let text = format!(
                "there is a ring at {shown}: choose another name, or remove a dead ring with 'myelon rm'"
            );
            Failure::Refused("exists", text)
        }
        false => {
            let text = format!(
                "there is a ring at {shown}, and it is for events of another layout: it has {} (layout id {:016x}), the \
                 recording has {} (layout id {:016x}); choose another name",
                event.text, event.layout_id, header.event.text, header.event.layout_id
            );
            Failure::Refused("layout", text)
        }
    })
}

/// Publishes events at their times.
struct Player {
    /// When the first event was published, and its time in the recording.
    started: Option<(Instant, u64)>,
    is_flat_out: bool,
    ending: Ending,
    events: u64,
}

impl Player {
    /// Publishes one event, when its time has come and there is space. Returns false if a signal came instead.
    fn play(
        &mut self,
        ring: &mut UntypedProducer,
        time: u64,
        event: &[u8],
    ) -> Result<bool, Failure> {
        let (started, first) = *self.started.get_or_insert_with(|| (Instant::now(), time));
        let due = match self.is_flat_out {
            true => Duration::ZERO,
            false => Duration::from_nanos(time.saturating_sub(first)),
        };
        loop {
            let left = due.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            if self.ending.has_come() {
                return Ok(false);
            }
            sleep(left.min(STEP));
        }
        loop {
            if self.ending.has_come() {
                return Ok(false);
            }
            match ring.send(event, Deadline::after(STEP)) {
                Ok(_) => {
                    self.events += 1;
                    return Ok(true);
                }
                Err(SendError::Timeout { .. }) => {}
                Err(error) => return Err(Failure::Stopped(error.to_string())),
            }
        }
    }
}
