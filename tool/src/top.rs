//! `top`: all rings, redrawn in place. Nothing flickers: each picture is one write, over the last one.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use disruptor_mp::inspect::{ConsumerSeen, InspectError, NameState, Snapshot};
use serde_json::{Value, json};

use crate::list::{hidden, needs_attention, note, read};
use crate::options::Top;
use crate::pace::{Pace, Watch};
use crate::ring::path_json;
use crate::screen::Screen;
use crate::text::{cut, printable, table};
use crate::{Failure, Outcome, reported};

/// The time over which the rates of a picture without a terminal are counted, at most.
const FIRST: Duration = Duration::from_millis(200);

/// The last line of a picture without a terminal.
const NO_TERMINAL: &str = "(not a terminal: this is one picture; `myelon top --json` repeats)";

pub(crate) fn run(options: &Top, json: bool) -> Result<Outcome, Failure> {
    let mut rings = Rings::default();
    rings.refresh(options)?;
    if json {
        let mut pictures = 0;
        while options.count.is_none_or(|count| pictures < count) {
            sleep(options.interval);
            rings.refresh(options)?;
            let mut out = stdout().lock();
            writeln!(out, "{}", rings.json())?;
            out.flush()?;
            pictures += 1;
        }
        return Ok(rings.outcome());
    }
    if !stdout().is_terminal() || !stdin().is_terminal() {
        sleep(options.interval.min(FIRST));
        rings.refresh(options)?;
        let lines = rings.lines(usize::MAX, usize::MAX);
        let mut lines = lines.iter().map(String::as_str).chain([NO_TERMINAL]);
        let mut out = stdout().lock();
        let said = lines.try_for_each(|line| writeln!(out, "{line}"));
        return reported(said, rings.outcome());
    }
    let mut screen = Screen::enter()?;
    let mut pictures = 0;
    loop {
        let (columns, rows) = screen.size()?;
        let lines = rings.lines(usize::from(columns), usize::from(rows));
        if screen.draw(&lines, columns, rows)? {
            pictures += 1;
        }
        if options.count.is_some_and(|count| pictures >= count)
            || screen.is_left_within(options.interval)?
        {
            return Ok(rings.outcome());
        }
        rings.refresh(options)?;
    }
}

/// The rings of the last picture, by path.
#[derive(Default)]
struct Rings {
    rings: BTreeMap<PathBuf, Watched>,
    /// The files that this user may not read, which may be no rings.
    unreadable: Vec<PathBuf>,
}

struct Watched {
    name: String,
    state: State,
}

enum State {
    Readable(Box<Watch>),
    Not(InspectError),
}

impl Rings {
    fn refresh(&mut self, options: &Top) -> Result<(), Failure> {
        let mut earlier = std::mem::take(&mut self.rings);
        self.unreadable.clear();
        for found in options.place.rings()? {
            let (name, path) = (found.name.clone(), found.path.clone());
            // a ring that is open already is read on, as it remembers where to search
            let state = match earlier
                .remove(&path)
                .and_then(|watched| watched.state.again())
            {
                Some(state) => state,
                None => match read(found) {
                    Ok((ring, seen)) => State::Readable(Box::new(Watch::new(ring, seen))),
                    Err(InspectError::NotFound { .. }) => continue,
                    Err(InspectError::Unreadable { .. }) => {
                        self.unreadable.push(path);
                        continue;
                    }
                    Err(error) => State::Not(error),
                },
            };
            self.rings.insert(path, Watched { name, state });
        }
        Ok(())
    }

    /// The picture in lines of at most `width` columns. Narrow ones leave out columns. The consumers have
    /// lines of their own if the picture then has at most `height` lines, and is not narrow.
    fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let hidden = hidden(self.unreadable.len()).map(|line| cut(&line, width));
        if self.rings.is_empty() {
            return [cut("no rings", width)].into_iter().chain(hidden).collect();
        }
        let columns: &[Column] = match width {
            ..30 => &[Column::Ring, Column::Lag],
            30..50 => &[Column::Ring, Column::State, Column::Lag],
            50..80 => &[
                Column::Ring,
                Column::State,
                Column::Rate,
                Column::Lag,
                Column::Progress,
                Column::Note,
            ],
            _ => &[
                Column::Ring,
                Column::State,
                Column::Rate,
                Column::Progress,
                Column::Lag,
                Column::Published,
                Column::Consumers,
                Column::Slots,
                Column::Slowest,
                Column::Note,
            ],
        };
        let head = columns.iter().map(|column| column.head().to_owned());
        let mut rows = vec![head.collect()];
        let consumers = self.rings.values().map(|watched| match &watched.state {
            State::Readable(watch) => watch.seen.consumers.len(),
            State::Not(_) => 0,
        });
        let others = rows.len() + usize::from(hidden.is_some());
        let lines = others + self.rings.len() + consumers.sum::<usize>();
        let has_consumers = width >= 50 && lines <= height;
        for watched in self.rings.values() {
            let cells = columns.iter().map(|column| column.of(watched, width));
            rows.push(cells.collect());
            if let State::Readable(watch) = &watched.state
                && has_consumers
            {
                rows.extend(watch.consumers().map(|(consumer, pace)| {
                    let cells = columns.iter();
                    cells
                        .map(|column| column.of_consumer(consumer, pace, width))
                        .collect()
                }));
            }
        }
        let lines = table(&rows).into_iter().map(|line| cut(&line, width));
        lines.chain(hidden).collect()
    }

    /// A finding if a ring of the last picture needs attention.
    fn outcome(&self) -> Outcome {
        let mut states = self.rings.values().map(|watched| &watched.state);
        Outcome::finding_if(states.any(|state| match state {
            State::Readable(watch) => !watch.seen.faults.is_empty(),
            State::Not(error) => needs_attention(error),
        }))
    }

    fn json(&self) -> Value {
        let rings = self.rings.values().map(|watched| match &watched.state {
            State::Readable(watch) => watch.json(&watched.name),
            State::Not(error) => json!({"ring": watched.name, "state": error.word()}),
        });
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable
            .map(|path| json!({"ring": null, "path": path_json(path), "state": "unreadable"}));
        rings.chain(unreadable).collect()
    }
}

impl State {
    /// The same ring now; `None` if it must be opened again.
    fn again(self) -> Option<Self> {
        let Self::Readable(mut watch) = self else {
            return None;
        };
        let is_ours = watch.refresh().is_ok() && watch.seen.name == NameState::Ours;
        is_ours.then_some(Self::Readable(watch))
    }
}

#[derive(Clone, Copy)]
enum Column {
    Ring,
    State,
    Rate,
    Progress,
    Lag,
    Published,
    Consumers,
    Slots,
    Slowest,
    Note,
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Ring => "RING",
            Self::State => "STATE",
            Self::Rate => "RATE",
            Self::Progress => "LAST PROGRESS",
            Self::Lag => "LAG",
            Self::Published => "PUBLISHED",
            Self::Consumers => "CONSUMERS",
            Self::Slots => "SLOTS",
            Self::Slowest => "SLOWEST",
            Self::Note => "NOTE",
        }
    }

    fn of(self, watched: &Watched, width: usize) -> String {
        let watch = match (&watched.state, self) {
            (_, Self::Ring) => return name(&watched.name, width),
            (State::Readable(watch), _) => watch,
            (State::Not(error), Self::State) => return error.word().to_owned(),
            (State::Not(_), _) => return String::new(),
        };
        let (info, seen) = (watch.ring.info(), &watch.seen);
        match self {
            Self::Ring => name(&watched.name, width),
            Self::State => seen.phase().to_string(),
            Self::Rate => watch.producer.rate(),
            Self::Progress => watch.producer.last_progress(),
            Self::Lag => seen
                .largest_lag()
                .map_or(String::new(), |lag| lag.to_string()),
            Self::Published => (seen.published - info.first_sequence + 1)
                .max(0)
                .to_string(),
            Self::Consumers => seen.consumers.len().to_string(),
            Self::Slots => info.capacity.to_string(),
            Self::Slowest => slowest(seen),
            Self::Note => note(seen),
        }
    }

    /// A consumer's line stands below its ring's.
    fn of_consumer(self, consumer: &ConsumerSeen, pace: Pace, width: usize) -> String {
        match self {
            Self::Ring => format!("  {}", name(&consumer.id, width.saturating_sub(2))),
            Self::State => consumer.presence.to_string(),
            Self::Rate => pace.rate(),
            Self::Progress => pace.last_progress(),
            Self::Lag => consumer.lag.to_string(),
            Self::Published | Self::Consumers | Self::Slots | Self::Slowest | Self::Note => {
                String::new()
            }
        }
    }
}

/// A name that leaves room for the lag.
fn name(text: &str, width: usize) -> String {
    cut(&printable(text), width.saturating_sub(8).clamp(4, 40))
}

/// The consumer that is furthest behind, if any is behind.
fn slowest(seen: &Snapshot) -> String {
    let gating = seen
        .consumers
        .iter()
        .filter(|consumer| consumer.is_gating && consumer.lag > 0);
    let slowest = gating.max_by_key(|consumer| consumer.lag);
    slowest.map_or(String::new(), |consumer| cut(&printable(&consumer.id), 20))
}

#[cfg(test)]
mod tests {
    use disruptor_mp::{MmapConsumer, MmapProducer, MmapTransportLayout};

    use super::*;
    use crate::options::In;

    #[test]
    fn consumers_have_lines_where_there_is_room_for_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(directory.path(), "ticks");
        let producer = MmapProducer::<u64>::builder(&layout, 8);
        let _tx = producer.build_producer(|| 0).expect("a producer");
        let consumer = MmapConsumer::<u64>::builder(&layout, 8).with_consumer_id("reader");
        let _rx = consumer.build_consumer().expect("a consumer");
        let mut rings = Rings::default();
        let dir = Some(directory.path().to_owned());
        let options = Top {
            place: In { dir },
            interval: FIRST,
            count: None,
        };
        rings.refresh(&options).expect("read");
        let lines = rings.lines(100, 3);
        let words: Vec<_> = lines.iter().map(|line| line.split(' ').next()).collect();
        assert_eq!(words, [Some("RING"), Some("ticks"), Some("")]);
        assert!(lines[2].starts_with("  reader  attached"), "{lines:?}");
        for (width, height) in [(100, 2), (40, 3)] {
            assert_eq!(rings.lines(width, height).len(), 2);
        }
    }
}
