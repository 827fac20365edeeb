//! The event that actors exchange, and the tally that proves that each event came whole, once and in order.

use disruptor_mp::{Event, Sequence};

/// An event of one line. Its last words follow from its first, so that a torn or foreign event is detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Event)]
#[repr(C)]
pub struct Record {
    /// The event's sequence.
    pub number: u64,
    /// The number that the test gave to the producer that wrote it; 0 where the test needs none.
    pub writer: u64,
    /// The first sequence of the batch that it was published with; its own sequence if it was published alone.
    pub batch_first: u64,
    /// How many events that batch has.
    pub batch_len: u64,
    /// Words that follow from the ones above.
    pub words: [u64; 3],
}

impl Record {
    /// The event of this sequence, by writer 0.
    pub fn of(sequence: Sequence) -> Self {
        Self::by(0, sequence, (sequence, 1))
    }

    /// The event of this sequence by `writer`, as part of the batch that starts at `batch.0` and has `batch.1` events.
    pub fn by(writer: u64, sequence: Sequence, batch: (Sequence, u64)) -> Self {
        let mut record = Self {
            number: sequence as u64,
            writer,
            batch_first: batch.0 as u64,
            batch_len: batch.1,
            words: [0; 3],
        };
        record.words = record.expected_words();
        record
    }

    /// Writes the event of this sequence over whatever is there.
    pub fn write(&mut self, sequence: Sequence) {
        *self = Self::of(sequence);
    }

    /// Whether all words of the event belong together.
    pub fn is_whole(&self) -> bool {
        self.words == self.expected_words()
    }

    fn expected_words(&self) -> [u64; 3] {
        [1, 2, 3].map(|salt| {
            let mixed = [self.number, self.writer, self.batch_first, self.batch_len];
            let sum = mixed.iter().fold(salt, |sum: u64, word| {
                (sum.rotate_left(11) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            });
            sum ^ self.number.rotate_left(salt as u32 * 8)
        })
    }
}

/// One step of the hash, which depends on the order of events.
fn mix(hash: u64, record: &Record) -> u64 {
    let folded = record
        .words
        .iter()
        .fold(record.number, |sum, word| sum.rotate_left(5) ^ word);
    (hash.rotate_left(7) ^ folded).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// The hash of a consumer that saw exactly these sequences, in this order.
pub fn hash_of(sequences: impl IntoIterator<Item = Sequence>) -> u64 {
    sequences
        .into_iter()
        .fold(0, |hash, sequence| mix(hash, &Record::of(sequence)))
}

/// The events that a consumer has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many events.
    pub count: u64,
    /// The first event's sequence, or −1 before there is one.
    pub first: Sequence,
    /// The last event's sequence, or −1 before there is one.
    pub last: Sequence,
    /// A hash of all events that depends on their order.
    pub hash: u64,
}

impl Tally {
    /// A tally of no events.
    pub fn new() -> Self {
        Self {
            count: 0,
            first: -1,
            last: -1,
            hash: 0,
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    ///
    /// A description of the fault, if the event is torn, foreign, repeated or out of order.
    pub fn add(&mut self, sequence: Sequence, record: &Record) -> Result<(), String> {
        if record.number != sequence as u64 || !record.is_whole() {
            return Err(format!(
                "torn or foreign event at sequence {sequence}: {record:?}"
            ));
        }
        if self.count > 0 && sequence != self.last + 1 {
            return Err(format!("sequence {sequence} came after {}", self.last));
        }
        if self.count == 0 {
            self.first = sequence;
        }
        self.last = sequence;
        self.count += 1;
        self.hash = mix(self.hash, record);
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            count,
            first,
            last,
            hash,
        } = self;
        write!(f, "count={count} first={first} last={last} hash={hash}")
    }
}
