//! A process's record of its own actions and observations, kept so that the process's death does not lose it.
//!
//! Every entry is one `write` to a file opened for appending, so it is in the file when the call returns,
//! whatever happens to the process afterwards. A kill during the call may cut the entry at the end of a page.
//! Such a partial entry counts as not written, because the process did nothing after it. A producer writes its
//! intent before it publishes, and the acknowledgement afterwards. A consumer writes what it sees before it
//! commits. The [checker](crate::checker) therefore judges the ledgers of all processes, dead or alive.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use disruptor_mp::Sequence;

use crate::Record;

/// One line of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A consumer attached; `next` is the first sequence that it will see.
    Attached {
        /// The first sequence.
        next: Sequence,
    },
    /// A consumer saw an event, and has not released it yet.
    Saw {
        /// The event's sequence.
        sequence: Sequence,
        /// The event.
        record: Record,
    },
    /// A consumer gives up its position: it need not see the events that it has not seen by now.
    Left,
    /// A producer began; `next` is the first sequence that it will publish.
    Began {
        /// The producer's number.
        writer: u64,
        /// The first sequence.
        next: Sequence,
    },
    /// A producer is about to publish these events together.
    Intends {
        /// The producer's number.
        writer: u64,
        /// The first sequence.
        first: Sequence,
        /// How many events.
        len: u64,
    },
    /// A producer's call to publish everything up to `last` returned.
    Published {
        /// The producer's number.
        writer: u64,
        /// The last sequence.
        last: Sequence,
    },
}

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    /// Opens the ledger at `path` for writing after the entries that it has.
    ///
    /// # Panics
    ///
    /// When it cannot be opened.
    pub fn append_to(path: &Path) -> Self {
        let opened = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole_entries(path)?.len() as u64)?;
            Ok::<_, std::io::Error>(file)
        };
        Self(opened().unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Writes an entry down.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn enter(&mut self, entry: &Entry) {
        let line = match entry {
            Entry::Attached { next } => format!("attached {next}\n"),
            Entry::Saw { sequence, record } => {
                let Record {
                    number,
                    writer,
                    batch_first,
                    batch_len,
                    words: [a, b, c],
                } = record;
                format!("saw {sequence} {number} {writer} {batch_first} {batch_len} {a} {b} {c}\n")
            }
            Entry::Left => String::from("left\n"),
            Entry::Began { writer, next } => format!("began {writer} {next}\n"),
            Entry::Intends { writer, first, len } => format!("intends {writer} {first} {len}\n"),
            Entry::Published { writer, last } => format!("published {writer} {last}\n"),
        };
        let written = self.0.write(line.as_bytes()).expect("the ledger takes it");
        assert_eq!(written, line.len(), "the ledger takes all of it");
    }

    /// All entries of the ledger at `path`; none if there is no such ledger.
    ///
    /// # Panics
    ///
    /// When a line is not an entry.
    pub fn read(path: &Path) -> Vec<Entry> {
        let text = whole_entries(path).unwrap_or_default();
        text.lines()
            .map(|line| parse(line).unwrap_or_else(|| panic!("no entry: {line}")))
            .collect()
    }
}

/// The ledger's text, without a partial entry at its end that a kill cut off.
fn whole_entries(path: &Path) -> std::io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}

fn parse(line: &str) -> Option<Entry> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Option<Vec<i128>> = rest
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect();
    let entry = match (kind, &words?[..]) {
        ("attached", [next]) => Entry::Attached {
            next: *next as Sequence,
        },
        ("saw", [sequence, number, writer, batch_first, batch_len, a, b, c]) => Entry::Saw {
            sequence: *sequence as Sequence,
            record: Record {
                number: *number as u64,
                writer: *writer as u64,
                batch_first: *batch_first as u64,
                batch_len: *batch_len as u64,
                words: [*a as u64, *b as u64, *c as u64],
            },
        },
        ("left", []) => Entry::Left,
        ("began", [writer, next]) => Entry::Began {
            writer: *writer as u64,
            next: *next as Sequence,
        },
        ("intends", [writer, first, len]) => Entry::Intends {
            writer: *writer as u64,
            first: *first as Sequence,
            len: *len as u64,
        },
        ("published", [writer, last]) => Entry::Published {
            writer: *writer as u64,
            last: *last as Sequence,
        },
        _ => return None,
    };
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_that_was_cut_off_counts_as_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger");
        let began = |writer| Entry::Began { writer, next: 0 };
        Ledger::append_to(&path).enter(&began(1));
        let mut rest = OpenOptions::new().append(true).open(&path).expect("open");
        rest.write_all(b"intends 1 0").expect("write");
        assert_eq!(Ledger::read(&path), [began(1)]);
        Ledger::append_to(&path).enter(&began(2));
        assert_eq!(Ledger::read(&path), [began(1), began(2)]);
    }
}
