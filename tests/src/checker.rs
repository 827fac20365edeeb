//! The judge of a run in which processes died. It compares the events that survivors, successors and dead
//! processes saw with those that were published.
//!
//! For every strict consumer it checks the following. Events come in order, whole and without a gap. Every
//! consumer sees the same event at a sequence, written by a writer that meant to write it. An event comes again
//! only after a death, and no further back than the documented window. Every event that a producer was told is
//! published is seen. A batch is seen whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use disruptor_mp::Sequence;

use crate::Record;
use crate::ledger::Entry;

/// A consumer's ledger, over all its incarnations.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The reader's name in messages.
    pub name: String,
    /// The entries that it wrote.
    pub entries: Vec<Entry>,
    /// How many events may come again after a death: 1 for leases, more for batches.
    pub redelivery: i64,
    /// How many events may be missing from the ledger after a death. It is 1 where an event is released before
    /// it is written down, as copying calls do.
    pub unwritten: i64,
}

/// Totals of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many different events at least one reader saw, or how many messages were sent.
    pub events: u64,
    /// How many sightings the readers recorded.
    pub sightings: u64,
    /// How many of those were repetitions.
    pub repeated: u64,
    /// Messages that are longer than the ring.
    pub spilled: u64,
    /// Sends of messages without an effect, because they were given up or their producer died.
    pub unsent: u64,
    /// Messages that a consumer that came back did not see, within the rules.
    pub missed: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.sightings += other.sightings;
        self.repeated += other.repeated;
        self.spilled += other.spilled;
        self.unsent += other.unsent;
        self.missed += other.missed;
    }
}

/// Judges the ledgers of a run whose readers have drained the ring.
///
/// # Errors
///
/// A description of every fault.
pub fn check(producers: &[Vec<Entry>], readers: &[Reader]) -> Result<Summary, Vec<String>> {
    let mut faults = Vec::new();
    let mut summary = Summary::default();
    let published = Published::of(producers, &mut faults);
    let mut events = BTreeMap::<Sequence, Record>::new();
    for reader in readers {
        let path = Path::of(reader, &mut summary, &mut faults);
        for (sequence, record) in &path.seen {
            published.judge(&reader.name, *sequence, record, &mut faults);
            let first = events.entry(*sequence).or_insert(*record);
            if first != record {
                faults.push(format!(
                    "{}: event {sequence} is not the one that others saw",
                    reader.name
                ));
            }
        }
        path.judge_end(reader, &published, &mut faults);
    }
    judge_batches(&events, &mut faults);
    summary.events = events.len() as u64;
    match faults.is_empty() {
        true => Ok(summary),
        false => Err(faults),
    }
}

/// The events that producers meant to publish, and those that they were told are published.
#[derive(Debug, Default)]
struct Published {
    /// Each writer and sequence that was intended, with the batch that it belongs to.
    intended: BTreeSet<(Sequence, u64, Sequence, u64)>,
    /// The last sequence that a call reported as published.
    last: Option<Sequence>,
}

impl Published {
    fn of(producers: &[Vec<Entry>], faults: &mut Vec<String>) -> Self {
        let mut all = Self::default();
        for entry in producers.iter().flatten() {
            match *entry {
                Entry::Intends { writer, first, len } => {
                    let batch = first..first + len as i64;
                    all.intended
                        .extend(batch.map(|sequence| (sequence, writer, first, len)));
                }
                Entry::Published { last, .. } => all.last = all.last.max(Some(last)),
                Entry::Began { writer, next } => {
                    // producers' ledgers are in the order of succession
                    if all.last.is_some_and(|last| next <= last) {
                        faults.push(format!(
                            "writer {writer} began at {next}, but {:?} was published",
                            all.last
                        ));
                    }
                }
                _ => faults.push(format!("{entry:?} in a producer's ledger")),
            }
        }
        all
    }

    fn judge(&self, reader: &str, sequence: Sequence, record: &Record, faults: &mut Vec<String>) {
        if !record.is_whole() || record.number != sequence as u64 {
            faults.push(format!("{reader}: event {sequence} is torn: {record:?}"));
            return;
        }
        let batch = (record.batch_first as Sequence, record.batch_len);
        if !self
            .intended
            .contains(&(sequence, record.writer, batch.0, batch.1))
        {
            faults.push(format!(
                "{reader}: event {sequence} was never written by {}: {record:?}",
                record.writer
            ));
        }
    }
}

/// The events that one reader saw, and where it started and stopped.
#[derive(Debug, Default)]
struct Path {
    seen: BTreeMap<Sequence, Record>,
    first: Option<Sequence>,
    last: Option<Sequence>,
    has_left: bool,
}

impl Path {
    fn of(reader: &Reader, summary: &mut Summary, faults: &mut Vec<String>) -> Self {
        let mut path = Self::default();
        let mut fault = |text: String| faults.push(format!("{}: {text}", reader.name));
        // the sequence that the next sighting must have
        let mut expected = None;
        for entry in &reader.entries {
            match *entry {
                Entry::Attached { next } => {
                    let first = *path.first.get_or_insert(next);
                    let due = path.last.map_or(first, |last| last + 1);
                    if due - next > reader.redelivery || next - due > reader.unwritten {
                        fault(format!("was due to see {due}, then came back to {next}"));
                    }
                    expected = Some(next);
                }
                Entry::Saw { sequence, record } => {
                    if expected != Some(sequence) {
                        fault(format!("saw {sequence} where {expected:?} was next"));
                    }
                    expected = Some(sequence + 1);
                    summary.sightings += 1;
                    summary.repeated += u64::from(path.seen.contains_key(&sequence));
                    if *path.seen.entry(sequence).or_insert(record) != record {
                        fault(format!("event {sequence} came again, but different"));
                    }
                    path.last = path.last.max(Some(sequence));
                }
                Entry::Left => path.has_left = true,
                _ => fault(format!("{entry:?} in a consumer's ledger")),
            }
        }
        path
    }

    /// Every acknowledged event must have been seen, unless the reader gave up its position.
    fn judge_end(&self, reader: &Reader, published: &Published, faults: &mut Vec<String>) {
        let (Some(first), Some(last)) = (self.first, published.last) else {
            return;
        };
        let seen_to = self.last.unwrap_or(first - 1);
        if !self.has_left && seen_to + reader.unwritten < last {
            faults.push(format!(
                "{}: saw up to {seen_to}, but {last} was published",
                reader.name
            ));
        }
    }
}

/// If one event of a batch was seen, all of them were, except those before the first event that any reader saw.
fn judge_batches(events: &BTreeMap<Sequence, Record>, faults: &mut Vec<String>) {
    let Some((start, _)) = events.first_key_value() else {
        return;
    };
    for (sequence, record) in events {
        let first = (record.batch_first as Sequence).max(*start);
        let end = (record.batch_first + record.batch_len) as Sequence;
        for other in first..end {
            let is_there = events.get(&other).is_some_and(|event| {
                (event.writer, event.batch_first) == (record.writer, record.batch_first)
            });
            if !is_there {
                faults.push(format!(
                    "event {sequence} was seen, but not {other} of its batch"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(writer: u64, first: Sequence, len: u64) -> Vec<Entry> {
        vec![
            Entry::Began {
                writer,
                next: first,
            },
            Entry::Intends { writer, first, len },
            Entry::Published {
                writer,
                last: first + len as i64 - 1,
            },
        ]
    }

    fn saw(writer: u64, sequence: Sequence, batch: (Sequence, u64)) -> Entry {
        let record = Record::by(writer, sequence, batch);
        Entry::Saw { sequence, record }
    }

    fn reader(entries: Vec<Entry>) -> Reader {
        Reader {
            name: String::from("reader"),
            entries,
            redelivery: 1,
            unwritten: 0,
        }
    }

    #[track_caller]
    fn assert_fault(producers: &[Vec<Entry>], readers: &[Reader], words: &str) {
        let faults = check(producers, readers).expect_err("a fault");
        assert!(
            faults.iter().any(|fault| fault.contains(words)),
            "{faults:?}"
        );
    }

    /// Three events in one batch. A reader saw the first two, died, and came back to the second.
    fn run() -> (Vec<Vec<Entry>>, Vec<Entry>) {
        let batch = (0, 3);
        let seen = vec![
            Entry::Attached { next: 0 },
            saw(1, 0, batch),
            saw(1, 1, batch),
            Entry::Attached { next: 1 },
            saw(1, 1, batch),
            saw(1, 2, batch),
        ];
        (vec![wrote(1, 0, 3)], seen)
    }

    #[test]
    fn good_run_passes() {
        let (producers, seen) = run();
        let summary = check(&producers, &[reader(seen)]).expect("no fault");
        let expected = Summary {
            events: 3,
            sightings: 4,
            repeated: 1,
            ..Summary::default()
        };
        assert_eq!(summary, expected);
    }

    #[test]
    fn each_fault_is_found() {
        let (producers, seen) = run();
        let mut lost = seen.clone();
        lost.pop();
        assert_fault(&producers, &[reader(lost.clone())], "but 2 was published");
        assert_fault(&producers, &[reader(lost)], "not 2 of its batch");
        let mut gap = seen.clone();
        gap.remove(1);
        assert_fault(&producers, &[reader(gap)], "saw 1 where Some(0) was next");
        let mut far_back = seen.clone();
        far_back[3] = Entry::Attached { next: 0 };
        assert_fault(&producers, &[reader(far_back)], "came back to 0");
        let mut ahead = seen.clone();
        ahead[3] = Entry::Attached { next: 3 };
        assert_fault(&producers, &[reader(ahead)], "came back to 3");
        let mut torn = seen.clone();
        if let Entry::Saw { record, .. } = &mut torn[1] {
            record.words[1] ^= 1;
        }
        assert_fault(&producers, &[reader(torn)], "is torn");
        let mut foreign = seen.clone();
        foreign[1] = saw(2, 0, (0, 3));
        assert_fault(&producers, &[reader(foreign)], "never written by 2");
        let mut changed = seen.clone();
        changed[4] = saw(2, 1, (0, 3));
        assert_fault(&producers, &[reader(changed)], "came again, but different");
        let other = vec![Entry::Attached { next: 0 }, saw(2, 0, (0, 1))];
        let both = [producers[0].clone(), wrote(2, 0, 1)];
        assert_fault(
            &both,
            &[reader(seen.clone()), reader(other)],
            "that others saw",
        );
        assert_fault(&both, &[reader(seen)], "began at 0");
    }
}
