//! The stores of a hostile peer: words of a segment, addressed by their meaning, and values near boundaries.
//!
//! Offsets are those of `docs/segment-layout.md`. Stores go through the file, so that they need no mapping.

use std::fs::File;
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;

const HEADER_BYTES: usize = 624;
const SEGMENT_LEN_AT: usize = 32;
const CHECKSUM_AT: usize = 480;
const LABEL_CHECKSUM_AT: usize = 492;
const LABEL_AT: usize = 496;
const STATE_AT: usize = 488;
const READY: u32 = 0x5245_4459;
const LINE: usize = 128;
const WORDS: usize = LINE / 8;
const CONTROL_AT: usize = 4096;
/// The first word of the waiters line.
pub(super) const WAITERS_AT: usize = CONTROL_AT + LINE;
const REGISTERED_AT: usize = CONTROL_AT + 2 * LINE;
const CONSUMERS_AT: usize = CONTROL_AT + 1024;
/// The producer, waiters, registered and counters lines, and four reserved ones.
const HEAD_LINES: usize = 8;
const CONSUMERS: usize = 64;
const ALL_LINES: usize = HEAD_LINES + CONSUMERS + 16;

/// Offset of a word of a consumer line.
pub(super) fn at_consumer(line: usize, word: usize) -> usize {
    CONSUMERS_AT + line * LINE + word * 8
}

/// The place of the slots in a sound segment. It is read from the header before any store damages that.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// Bytes of the file.
    pub len: usize,
    /// Offset of slot 0.
    pub slots_offset: usize,
    /// Bytes from one slot to the next.
    pub stride: usize,
    stamp_offset: usize,
    capacity: usize,
}

impl Ring {
    /// Reads the layout from the header of this sound segment.
    pub fn of(file: &File) -> std::io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let word =
            |at: usize| u64::from_ne_bytes(core::array::from_fn(|i| header[at + i])) as usize;
        let offsets = word(72).to_ne_bytes();
        let [.., a, b, c, d] = offsets;
        Ok(Self {
            len: word(SEGMENT_LEN_AT),
            slots_offset: word(56),
            stride: word(64),
            stamp_offset: u32::from_ne_bytes([a, b, c, d]) as usize,
            capacity: word(80).max(1),
        })
    }

    /// A word of the file; zero beyond the file's end.
    pub fn word(&self, file: &File, at: usize) -> u64 {
        let mut bytes = [0; 8];
        let _ = file.read_exact_at(&mut bytes, at as u64);
        u64::from_ne_bytes(bytes)
    }

    fn at_slot(&self, index: u8, offset: usize) -> usize {
        self.slots_offset + usize::from(index) % self.capacity * self.stride + offset
    }
}

/// The place of a store: a word of a segment, by its meaning.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Place {
    /// Any four bytes of the header; the checksum is repaired if the flag is set.
    Header(u8, bool),
    /// A word of the producer's line: floor, closed, doubt seen, epoch, owner, kept and the rest.
    Producer(u8),
    /// The registered word.
    Registered,
    /// A word of a consumer line: usually one of the first three, because those are in use, otherwise any line.
    Consumer(u8, u8),
    /// The state and the durable flag of one of the first lines.
    State(u8),
    /// Any word of any line, reserved lines included.
    Any(u8, u8),
    /// A slot's stamp.
    Stamp(u8),
    /// The stamp of the sequence at this distance from the floor, stored in that sequence's slot as if it had
    /// been published.
    Published(i8),
    /// A word of a slot.
    Slot(u8, u8),
    /// A whole line, filled with one value.
    Line(u8),
}

/// The value that is stored.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Value {
    /// A value near a boundary.
    Boundary(u8, i8),
    /// The stamp of a sequence near the floor, in any state.
    StampNearFloor(i8, u8),
    /// A value near the one that the word has.
    Near(i8),
    /// A value near the floor.
    NearFloor(i8),
    /// The word's value with one bit flipped.
    Flip(u8),
    /// A state word and the durable flag.
    State(u8, bool),
    /// Any value.
    Raw(u64),
}

/// One store of a hostile peer.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Mutation {
    place: Place,
    value: Value,
}

/// Limits of the ranges of words, sequences and stamps.
const BOUNDARIES: [u64; 12] = [
    0,
    u64::MAX,
    i64::MAX as u64,
    i64::MIN as u64,
    1 << 61,
    1 << 62,
    (1 << 61) - 1,
    1 << 32,
    1 << 31,
    u64::MAX >> 2,
    0x0101_0101_0101_0101,
    0xC3C3_C3C3_C3C3_C3C3,
];

impl Value {
    fn resolve(self, old: u64, floor: u64) -> u64 {
        let add = |word: u64, by: i8| word.wrapping_add_signed(i64::from(by));
        match self {
            Self::Boundary(which, by) => add(BOUNDARIES[usize::from(which) % BOUNDARIES.len()], by),
            Self::StampNearFloor(by, state) => {
                (add(floor, by).wrapping_add(1) << 2) | u64::from(state & 3)
            }
            Self::Near(by) => add(old, by),
            Self::NearFloor(by) => add(floor, by),
            Self::Flip(bit) => old ^ (1 << (bit % 64)),
            Self::State(state, durable) => u64::from(state % 7) | u64::from(durable) << 32,
            Self::Raw(word) => word,
        }
    }
}

impl Mutation {
    /// Makes the store.
    pub fn apply(self, file: &File, ring: &Ring) {
        let in_line = |word: u8| usize::from(word) % WORDS;
        let few = |line: u8| usize::from(line) % 3;
        let (at, words) = match self.place {
            Place::Header(word, is_repaired) => {
                self.store(file, ring, usize::from(word) % (HEADER_BYTES / 4) * 4, 1);
                if is_repaired {
                    repair_header(file);
                }
                return;
            }
            Place::Producer(word) => (CONTROL_AT + in_line(word) * 8, 1),
            Place::Registered => (REGISTERED_AT, 1),
            Place::Consumer(line, word) if line < 192 => (at_consumer(few(line), in_line(word)), 1),
            Place::Consumer(line, word) => {
                (at_consumer(usize::from(line) % CONSUMERS, in_line(word)), 1)
            }
            Place::State(line) => (at_consumer(few(line), 1), 1),
            Place::Any(line, word) => (
                CONTROL_AT + usize::from(line) % ALL_LINES * LINE + in_line(word) * 8,
                1,
            ),
            Place::Published(by) => {
                self.publish(file, ring, by);
                return;
            }
            Place::Stamp(slot) => (ring.at_slot(slot, ring.stamp_offset), 1),
            Place::Slot(slot, word) => (ring.at_slot(slot, usize::from(word) * 8 % ring.stride), 1),
            Place::Line(line) => (CONTROL_AT + usize::from(line) % ALL_LINES * LINE, WORDS),
        };
        self.store(file, ring, at, words);
    }

    fn publish(self, file: &File, ring: &Ring, by: i8) {
        let sequence = ring.word(file, CONTROL_AT).wrapping_add_signed(by.into());
        let slot = (sequence as usize & (ring.capacity - 1)) * ring.stride;
        let stamp = (sequence.wrapping_add(1) << 2).to_ne_bytes();
        let at = ring.slots_offset + slot + ring.stamp_offset;
        file.write_all_at(&stamp, at as u64).expect("a store");
    }

    fn store(self, file: &File, ring: &Ring, at: usize, words: usize) {
        // a peer may store only within the file: the model leaves out truncation and growth
        if at + words * 8 > ring.len {
            return;
        }
        let floor = ring.word(file, CONTROL_AT);
        let value = self.value.resolve(ring.word(file, at), floor);
        let bytes = value.to_ne_bytes().repeat(words);
        file.write_all_at(&bytes, at as u64).expect("a store");
    }
}

/// Sets the header's checksum and state as a forger would.
pub(super) fn repair(header: &mut [u8]) {
    if let Some(header) = header.first_chunk_mut::<HEADER_BYTES>() {
        let sum = crc32fast::hash(&header[..CHECKSUM_AT]);
        header[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_ne_bytes());
        header[STATE_AT..STATE_AT + 4].copy_from_slice(&READY.to_ne_bytes());
        let sum = crc32fast::hash(&header[LABEL_AT..]);
        header[LABEL_CHECKSUM_AT..LABEL_AT].copy_from_slice(&sum.to_ne_bytes());
    }
}

fn repair_header(file: &File) {
    let mut header = [0; HEADER_BYTES];
    if file.read_exact_at(&mut header, 0).is_ok() {
        repair(&mut header);
        file.write_all_at(&header, 0).expect("a store");
    }
}
