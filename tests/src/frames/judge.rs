//! The judge of messages. It reads the ledgers of all processes of one ring, dead or alive, and checks these rules:
//!
//! * Every consumer sees a message that a send reported as sent; no consumer sees one that a send reported as
//!   not sent.
//! * If a producer died while it was sending a message, either every consumer sees it or none does.
//! * Every consumer sees the same messages in the same order at the same sequences.
//! * A message comes again only to a consumer that comes back, and only if that consumer had not released it.
//! * A message is missing only for a consumer that comes back: either a message that is longer than the ring
//!   and in the middle of which the consumer died, or, with vectors, the one that was being handed out.

use std::collections::BTreeMap;

use disruptor_mp::Sequence;

use super::frames_of;
use crate::Entry;
use crate::checker::Summary;

/// How a consumer receives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `recv`.
    Leases,
    /// `recv_leased`, with a buffer of its own.
    Buffer,
    /// `recv_owned`.
    Vectors,
    /// `process_available_messages`.
    Batches,
}

impl How {
    /// Every way to receive.
    pub const ALL: [Self; 4] = [Self::Leases, Self::Buffer, Self::Vectors, Self::Batches];

    /// The word for it in an actor's input.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Buffer => "buffer",
            Self::Vectors => "vectors",
            Self::Batches => "batches",
        }
    }
}

/// A consumer that read the ring to its end, and its ledger.
#[derive(Debug)]
pub struct Reader {
    /// The reader's name in fault descriptions.
    pub name: String,
    /// How it received.
    pub how: How,
    /// Its ledger.
    pub entries: Vec<Entry>,
}

/// A message by its writer and number.
type Name = (u64, u64);

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
struct Message {
    name: Name,
    frames: usize,
    first: Option<Sequence>,
}

/// Judges a ring of `depth` frames. `producers` has their ledgers in the order of their lives.
///
/// # Errors
///
/// A description of the first fault.
pub fn judge(
    depth: usize,
    producers: &[Vec<Entry>],
    readers: &[Reader],
) -> Result<Summary, String> {
    let mut seen = BTreeMap::new();
    for reader in readers {
        for (name, sequence) in sightings(&reader.entries) {
            if *seen.entry(name).or_insert(sequence) != sequence {
                return Err(format!(
                    "{}: {name:?} was seen at two sequences",
                    reader.name
                ));
            }
        }
    }
    let mut summary = Summary::default();
    let mut messages = Vec::new();
    for entries in producers {
        let last = messages_of(entries, &mut seen, &mut messages)?;
        summary.unsent += last;
    }
    if let Some((name, _)) = seen.first_key_value() {
        return Err(format!("{name:?} was seen, and nobody sent it"));
    }
    let sequences: Vec<_> = messages
        .iter()
        .filter_map(|message| message.first)
        .collect();
    if !sequences.is_sorted_by(|one, other| one < other) {
        return Err(String::from("messages out of order"));
    }
    summary.events = messages.len() as u64;
    let is_spilled = |message: &&Message| message.frames > depth;
    summary.spilled = messages.iter().filter(is_spilled).count() as u64;
    for reader in readers {
        let mut course = Course::new(depth, &messages, reader);
        course
            .run()
            .map_err(|fault| format!("{}: {fault}", reader.name))?;
        summary.sightings += course.sightings;
        summary.repeated += course.repeated;
        summary.missed += course.missed;
    }
    Ok(summary)
}

fn sightings(entries: &[Entry]) -> impl Iterator<Item = (Name, Sequence)> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Saw { sequence, record } => Some(((record.writer, record.number), *sequence)),
        _ => None,
    })
}

/// Adds the messages that a producer has sent, and removes them from `seen`. Returns how many sends had no effect.
fn messages_of(
    entries: &[Entry],
    seen: &mut BTreeMap<Name, Sequence>,
    messages: &mut Vec<Message>,
) -> Result<u64, String> {
    let mut unsent = 0;
    for (index, entry) in entries.iter().enumerate() {
        let Entry::Intends {
            writer,
            first: number,
            len,
        } = *entry
        else {
            continue;
        };
        let name = (writer, number as u64);
        let is_acknowledged = matches!(
            entries.get(index + 1),
            Some(Entry::Published { last, .. }) if *last == number
        );
        let first = seen.remove(&name);
        let was_given_up = !is_acknowledged && index + 1 < entries.len();
        if was_given_up && first.is_some() {
            return Err(format!("{name:?} was given up, and seen"));
        }
        if is_acknowledged || first.is_some() {
            let frames = frames_of(len as usize);
            messages.push(Message {
                name,
                frames,
                first,
            });
        } else {
            unsent += 1;
        }
    }
    Ok(unsent)
}

/// One reader's position among the messages.
struct Course<'a> {
    depth: usize,
    messages: &'a [Message],
    places: BTreeMap<Name, usize>,
    reader: &'a Reader,
    /// The first message that the reader has not seen yet.
    next: usize,
    /// The message that came last.
    at: Option<usize>,
    /// How often the reader has come back since that message.
    returns: usize,
    sightings: u64,
    repeated: u64,
    missed: u64,
}

impl<'a> Course<'a> {
    fn new(depth: usize, messages: &'a [Message], reader: &'a Reader) -> Self {
        let names = messages.iter().map(|message| message.name);
        Self {
            depth,
            messages,
            places: names.zip(0..).collect(),
            reader,
            next: 0,
            at: None,
            returns: 0,
            sightings: 0,
            repeated: 0,
            missed: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut is_first = true;
        for entry in &self.reader.entries {
            match entry {
                Entry::Attached { .. } if core::mem::take(&mut is_first) => {}
                Entry::Attached { .. } => self.returns += 1,
                Entry::Saw { record, .. } => {
                    let place = self.places[&(record.writer, record.number)];
                    self.see(place)?;
                }
                _ => return Err(format!("no entry of a consumer's: {entry:?}")),
            }
        }
        self.miss(self.messages.len())
    }

    fn see(&mut self, place: usize) -> Result<(), String> {
        let follows = self.at.map_or(0, |at| at + 1);
        if self.returns == 0 && place != follows {
            let name = self.messages[place].name;
            return Err(format!(
                "{name:?} came where message {follows} of all was next"
            ));
        }
        if place < self.next {
            self.repeat(place)?;
        } else {
            self.miss(place)?;
            self.next = place + 1;
        }
        self.sightings += 1;
        self.at = Some(place);
        self.returns = 0;
        Ok(())
    }

    /// Only messages that were not released may come again.
    fn repeat(&mut self, place: usize) -> Result<(), String> {
        self.repeated += 1;
        if self.returns == 0 {
            return Ok(());
        }
        let again = &self.messages[place..self.next];
        let is_allowed = match self.reader.how {
            // a batch releases at every eighth of the ring
            How::Batches => {
                let frames: usize = again[..again.len() - 1].iter().map(|one| one.frames).sum();
                frames <= self.depth / 8
            }
            How::Leases | How::Buffer => again.len() == 1,
            How::Vectors => false,
        };
        match is_allowed {
            true => Ok(()),
            false => Err(format!("{} messages came again", again.len())),
        }
    }

    /// The messages between `next` and `place` were not seen. Each time the reader comes back, one may be missing.
    fn miss(&mut self, place: usize) -> Result<(), String> {
        let missed = &self.messages[self.next..place];
        self.missed += missed.len() as u64;
        let may_miss =
            |message: &Message| self.reader.how == How::Vectors || message.frames > self.depth;
        match missed.len() <= self.returns && missed.iter().all(may_miss) {
            true => Ok(()),
            false => Err(format!(
                "{:?} and {} others are missing",
                missed[0].name,
                missed.len() - 1
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::frames::FRAME_BYTES;

    const DEPTH: usize = 8;

    /// A producer that died after it had sent messages of this many frames each. The last one is not acknowledged.
    fn wrote(frames: &[usize]) -> Vec<Entry> {
        let mut entries = vec![Entry::Began { writer: 1, next: 0 }];
        for (number, frames) in frames.iter().enumerate() {
            let first = number as i64;
            entries.push(Entry::Intends {
                writer: 1,
                first,
                len: (frames * FRAME_BYTES) as u64,
            });
            entries.push(Entry::Published {
                writer: 1,
                last: first,
            });
        }
        entries.pop();
        entries
    }

    fn saw(number: i64) -> Entry {
        let record = Record::by(1, number, (number, 1));
        Entry::Saw {
            sequence: number * 10,
            record,
        }
    }

    const BACK: Entry = Entry::Attached { next: 0 };

    fn judged(how: How, entries: &[Entry]) -> Result<Summary, String> {
        let reader = |name: &str, how, entries: Vec<Entry>| Reader {
            name: name.to_owned(),
            how,
            entries,
        };
        let whole = [BACK].into_iter().chain((0..4).map(saw)).collect();
        let some = [BACK].into_iter().chain(entries.iter().copied()).collect();
        let readers = [
            reader("whole", How::Leases, whole),
            reader("other", how, some),
        ];
        judge(DEPTH, &[wrote(&[1, 3, 20, 1])], &readers)
    }

    #[test]
    fn a_history_that_keeps_the_promises_passes() {
        let all: Vec<_> = (0..4).map(saw).collect();
        let expected = Summary {
            events: 4,
            spilled: 1,
            sightings: 8,
            ..Summary::default()
        };
        assert_eq!(judged(How::Leases, &all), Ok(expected));
        let again = [saw(0), saw(1), BACK, saw(1), BACK, saw(2), saw(3)];
        assert_eq!(judged(How::Leases, &again).map(|sum| sum.repeated), Ok(1));
        let again = [saw(0), saw(1), BACK, saw(0), saw(1), saw(2), saw(3)];
        assert_eq!(judged(How::Batches, &again).map(|sum| sum.repeated), Ok(2));
        let missed = [saw(0), saw(1), BACK, saw(3)];
        assert_eq!(judged(How::Leases, &missed).map(|sum| sum.missed), Ok(1));
        let missed = [saw(0), BACK, saw(2), saw(3)];
        assert_eq!(judged(How::Vectors, &missed).map(|sum| sum.missed), Ok(1));
    }

    #[track_caller]
    fn assert_fault(how: How, entries: &[Entry], words: &str) {
        let fault = judged(how, entries).expect_err("a fault");
        assert!(fault.contains(words), "{fault}");
    }

    #[test]
    fn each_fault_is_found() {
        use How::{Batches, Leases, Vectors};
        assert_fault(
            Leases,
            &[saw(0), saw(2), saw(3)],
            "where message 1 of all was next",
        );
        assert_fault(
            Leases,
            &[saw(0), saw(1), saw(2)],
            "(1, 3) and 0 others are missing",
        );
        assert_fault(
            Leases,
            &[saw(0), BACK, saw(2), saw(3)],
            "(1, 1) and 0 others are missing",
        );
        assert_fault(
            Leases,
            &[saw(0), saw(1), BACK, saw(0)],
            "2 messages came again",
        );
        assert_fault(
            Vectors,
            &[saw(0), saw(1), BACK, saw(1)],
            "1 messages came again",
        );
        let twice = [saw(0), saw(1), saw(1)];
        assert_fault(Leases, &twice, "where message 2 of all was next");
        let far = [saw(0), saw(1), saw(2), BACK, saw(0)];
        assert_fault(Batches, &far, "3 messages came again");
        assert_fault(
            Leases,
            &[saw(0), saw(1), saw(2), saw(3), saw(4)],
            "nobody sent it",
        );
    }

    #[test]
    fn a_message_that_was_given_up_and_seen_is_a_fault() {
        let mut producer = wrote(&[1, 1]);
        producer.remove(2);
        let reader = Reader {
            name: String::from("reader"),
            how: How::Leases,
            entries: vec![BACK, saw(0), saw(1)],
        };
        let fault = judge(DEPTH, &[producer.clone()], &[reader]).expect_err("a fault");
        assert!(fault.contains("was given up, and seen"), "{fault}");
        let reader = Reader {
            name: String::from("reader"),
            how: How::Leases,
            entries: vec![BACK, saw(1)],
        };
        let sum = judge(DEPTH, &[producer], &[reader]).expect("sound");
        assert_eq!((sum.events, sum.unsent), (1, 1));
    }
}
