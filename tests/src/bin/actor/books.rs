//! The records that the actor writes for the checker, if its test names a ledger with `log=`.

use std::path::Path;

use disruptor_mp::Sequence;
use myelon_tests::{Entry, Ledger, Record, Tally};

use crate::Failure;
use crate::options::Words;

/// A producer's records: `log=PATH writer=NUMBER`. With `wrong=payload` it publishes other events than it intended.
#[derive(Debug, Default)]
pub(crate) struct Books {
    ledger: Option<Ledger>,
    writer: u64,
    is_wrong: bool,
}

/// Events that are published together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) writer: u64,
    first: Sequence,
    len: u64,
    is_wrong: bool,
}

impl Batch {
    /// The event at this place of the batch. Without a writer's number it is the same however it was published.
    pub(crate) fn event(&self, index: usize) -> Record {
        let sequence = self.first + index as Sequence;
        match self.writer {
            writer if self.is_wrong => Record::by(writer + 1, sequence, (self.first, self.len)),
            0 => Record::of(sequence),
            writer => Record::by(writer, sequence, (self.first, self.len)),
        }
    }
}

impl Books {
    pub(crate) fn open(words: &Words<'_>, next: Sequence) -> Self {
        let writer = words.number_or("writer", 0) as u64;
        let ledger = words.get("log").map(|path| {
            let mut ledger = Ledger::append_to(Path::new(path));
            ledger.enter(&Entry::Began { writer, next });
            ledger
        });
        Self {
            ledger,
            writer,
            is_wrong: words.get("wrong") == Some("payload"),
        }
    }

    /// Called before `len` events from `first` on are published.
    pub(crate) fn intend(&mut self, first: Sequence, len: u64) -> Batch {
        let writer = self.writer;
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(&Entry::Intends { writer, first, len });
        }
        Batch {
            writer,
            first,
            len,
            is_wrong: self.is_wrong,
        }
    }

    /// Called after everything up to `last` was published.
    pub(crate) fn acknowledge(&mut self, last: Sequence) {
        let writer = self.writer;
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(&Entry::Published { writer, last });
        }
    }
}

/// A consumer's sightings: `log=PATH`. With `wrong=late` the consumer releases what it leases before it
/// writes it down; with `wrong=skip` it leaves one out. Both are controls, which a checker must notice.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    ledger: Option<Ledger>,
    are_late: bool,
    skips: bool,
}

impl Sightings {
    pub(crate) fn open(words: &Words<'_>, next: Sequence) -> Self {
        let ledger = words.get("log").map(|path| {
            let mut ledger = Ledger::append_to(Path::new(path));
            ledger.enter(&Entry::Attached { next });
            ledger
        });
        Self {
            ledger,
            are_late: words.get("wrong") == Some("late"),
            skips: words.get("wrong") == Some("skip"),
        }
    }

    /// Whether an event is released before it is counted.
    pub(crate) fn are_late(&self) -> bool {
        self.are_late
    }

    /// Called before the event is released. A wrong event ends the test.
    pub(crate) fn count_in(
        &mut self,
        tally: &mut Tally,
        sequence: Sequence,
        record: &Record,
    ) -> Result<(), Failure> {
        self.write_down(sequence, record);
        tally.add(sequence, record).map_err(|text| Failure {
            kind: String::from("Wrong"),
            before: String::new(),
            text,
        })
    }

    /// Called before the event or the message is released.
    pub(crate) fn write_down(&mut self, sequence: Sequence, record: &Record) {
        let skipped = core::mem::replace(&mut self.skips, false);
        if let Some(ledger) = self.ledger.as_mut().filter(|_| !skipped) {
            let record = *record;
            ledger.enter(&Entry::Saw { sequence, record });
        }
    }

    /// The events before `next` were missed, as an observer may miss events.
    pub(crate) fn skip_to(&mut self, next: Sequence) {
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(&Entry::Attached { next });
        }
    }

    /// Called before the position is given up.
    pub(crate) fn leave(&mut self) {
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(&Entry::Left);
        }
    }
}
