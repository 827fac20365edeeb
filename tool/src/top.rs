//! `top`: all rings, redrawn in place. Nothing flickers: each picture is one write, over the last one.

use std::collections::BTreeMap;
use std::io::{IsTerminal, StdoutLock, Write, stdin, stdout};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use disruptor_mp::inspect::{InspectError, Inspector, NameState, Snapshot};
use serde_json::{Value, json};

use crate::list::{note, read};
use crate::options::Top;
use crate::ring::ring_json;
use crate::signals::restore_before_end;
use crate::stat::Rates;
use crate::text::{cut, printable, rate, table, width_of};
use crate::{Failure, Outcome};

/// The time over which the rates of a picture without a terminal are counted, at most.
const FIRST: Duration = Duration::from_millis(200);

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
        return Ok(Outcome::Fine);
    }
    if !stdout().is_terminal() || !stdin().is_terminal() {
        sleep(options.interval.min(FIRST));
        rings.refresh(options)?;
        let mut out = stdout().lock();
        for line in rings.lines(usize::MAX) {
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "(not a terminal: this is one picture; `myelon top --json` repeats)"
        )?;
        return Ok(Outcome::Fine);
    }
    let screen = Screen::enter()?;
    let mut pictures = 0;
    loop {
        let (columns, rows) = terminal::size()?;
        screen.draw(&rings.lines(usize::from(columns)), columns, rows)?;
        pictures += 1;
        if options.count.is_some_and(|count| pictures >= count) || quits_within(options.interval)? {
            return Ok(Outcome::Fine);
        }
        rings.refresh(options)?;
    }
}

/// Waits for the next picture; whether the user wants to leave. A change of the terminal's size asks for a picture.
fn quits_within(interval: Duration) -> Result<bool, Failure> {
    let end = Instant::now() + interval;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) => {
                let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL)
                    && matches!(key.code, KeyCode::Char('c' | 'd'));
                if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}

/// The terminal while the program has it. Dropping it gives the terminal back as it was.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, Failure> {
        restore_before_end(|| {
            let mut out = stdout().lock();
            restore(&mut out);
            // no other picture is drawn before the program ends
            std::mem::forget(out);
        })?;
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Draws over the last picture, as many lines as there is room for.
    fn draw(&self, lines: &[String], columns: u16, rows: u16) -> Result<(), Failure> {
        let mut picture = Vec::new();
        for (row, line) in lines.iter().take(usize::from(rows)).enumerate() {
            queue!(picture, MoveTo(0, row as u16))?;
            picture.extend_from_slice(line.as_bytes());
            // behind a line that fills the row, a terminal would clear its last character
            if width_of(line) < usize::from(columns) {
                queue!(picture, Clear(ClearType::UntilNewLine))?;
            }
        }
        if lines.len() < usize::from(rows) {
            queue!(
                picture,
                MoveTo(0, lines.len() as u16),
                Clear(ClearType::FromCursorDown)
            )?;
        }
        let mut out = stdout().lock();
        out.write_all(&picture)?;
        Ok(out.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore(&mut stdout().lock());
    }
}

/// Gives the terminal back as it was. A terminal that is gone needs nothing.
fn restore(out: &mut StdoutLock<'_>) {
    let _ = execute!(out, Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

/// The rings of the last picture, by path.
#[derive(Default)]
struct Rings {
    rings: BTreeMap<PathBuf, Watched>,
}

struct Watched {
    name: String,
    state: State,
}

enum State {
    Readable {
        ring: Box<Inspector>,
        seen: Box<Snapshot>,
        at: Instant,
        rates: Option<Rates>,
    },
    /// One word for the reason.
    Not(&'static str),
}

impl Rings {
    fn refresh(&mut self, options: &Top) -> Result<(), Failure> {
        let mut earlier = std::mem::take(&mut self.rings);
        for found in options.place.rings()? {
            let (name, path) = (found.name.clone(), found.path.clone());
            // a ring that is open already is read on, as it remembers where to search
            let state = match earlier
                .remove(&path)
                .and_then(|watched| watched.state.again())
            {
                Some(state) => state,
                None => match read(found) {
                    Ok((ring, seen)) => State::Readable {
                        ring: Box::new(ring),
                        seen: Box::new(seen),
                        at: Instant::now(),
                        rates: None,
                    },
                    Err(InspectError::NotFound { .. } | InspectError::Unreadable { .. }) => {
                        continue;
                    }
                    Err(error) => State::Not(error.word()),
                },
            };
            self.rings.insert(path, Watched { name, state });
        }
        Ok(())
    }

    /// The picture in lines of at most this many columns. Narrow ones leave out columns.
    fn lines(&self, width: usize) -> Vec<String> {
        let columns: &[Column] = match width {
            ..30 => &[Column::Ring, Column::Lag],
            30..50 => &[Column::Ring, Column::State, Column::Lag],
            50..80 => &[
                Column::Ring,
                Column::State,
                Column::Rate,
                Column::Lag,
                Column::Note,
            ],
            _ => &[
                Column::Ring,
                Column::State,
                Column::Rate,
                Column::Published,
                Column::Consumers,
                Column::Lag,
                Column::Slots,
                Column::Slowest,
                Column::Note,
            ],
        };
        let mut rows = vec![
            columns
                .iter()
                .map(|column| column.head().to_owned())
                .collect(),
        ];
        for watched in self.rings.values() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.of(watched, width))
                    .collect(),
            );
        }
        let mut lines = table(&rows);
        if self.rings.is_empty() {
            lines = vec![String::from("no rings")];
        }
        lines.iter().map(|line| cut(line, width)).collect()
    }

    fn json(&self) -> Value {
        let rings = self.rings.values().map(|watched| match &watched.state {
            State::Readable {
                ring, seen, rates, ..
            } => {
                let mut object = ring_json(&watched.name, ring, seen);
                object["published_per_s"] = json!(rates.as_ref().map(|rates| rates.published));
                object
            }
            State::Not(word) => json!({"ring": watched.name, "state": word}),
        });
        rings.collect()
    }
}

impl State {
    /// The same ring now; `None` if it must be opened again.
    fn again(self) -> Option<Self> {
        let Self::Readable {
            mut ring,
            seen: before,
            at,
            ..
        } = self
        else {
            return None;
        };
        let seen = ring
            .snapshot()
            .ok()
            .filter(|seen| seen.name == NameState::Ours)?;
        let now = Instant::now();
        let rates = Rates::between(&before, &seen, (now - at).as_secs_f64().max(1e-3));
        Some(Self::Readable {
            ring,
            seen: Box::new(seen),
            at: now,
            rates: Some(rates),
        })
    }
}

#[derive(Clone, Copy)]
enum Column {
    Ring,
    State,
    Rate,
    Published,
    Consumers,
    Lag,
    Slots,
    Slowest,
    Note,
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Ring => "RING",
            Self::State => "STATE",
            Self::Rate => "PER S",
            Self::Published => "PUBLISHED",
            Self::Consumers => "CONSUMERS",
            Self::Lag => "LAG",
            Self::Slots => "SLOTS",
            Self::Slowest => "SLOWEST",
            Self::Note => "NOTE",
        }
    }

    fn of(self, watched: &Watched, width: usize) -> String {
        // the name leaves room for the lag
        let name = || {
            cut(
                &printable(&watched.name),
                width.saturating_sub(8).clamp(4, 40),
            )
        };
        let (ring, seen, rates) = match (&watched.state, self) {
            (_, Self::Ring) => return name(),
            (
                State::Readable {
                    ring, seen, rates, ..
                },
                _,
            ) => (ring, seen, rates),
            (State::Not(word), Self::State) => return (*word).to_owned(),
            (State::Not(_), _) => return String::new(),
        };
        match self {
            Self::Ring => name(),
            Self::State => seen.phase().to_string(),
            Self::Rate => rates
                .as_ref()
                .map_or(String::new(), |rates| rate(rates.published)),
            Self::Published => (seen.published - ring.info().first_sequence + 1)
                .max(0)
                .to_string(),
            Self::Consumers => seen.consumers.len().to_string(),
            Self::Lag => seen
                .largest_lag()
                .map_or(String::new(), |lag| lag.to_string()),
            Self::Slots => ring.info().capacity.to_string(),
            Self::Slowest => slowest(seen),
            Self::Note => note(seen),
        }
    }
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
