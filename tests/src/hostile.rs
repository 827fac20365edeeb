//! A hostile peer: it maps a ring's file itself, writable, and stores any value anywhere in it.
//!
//! It stays within the mapping: the model leaves out a peer that truncates the file, and one that may only read
//! it. From time to time it clears the consumer lines and pauses, so that waits without a deadline end; any
//! registered consumer could otherwise prolong them for ever.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};

const HEADER_WORDS: usize = 624 / 8;
const CONTROL_AT: usize = 4096 / 8;
const CLOSED_AT: usize = CONTROL_AT + 1;
const RESERVED_AT: usize = CONTROL_AT + 128 / 8;
const REGISTERED_AT: usize = CONTROL_AT + 256 / 8;
const CONTROL_END: usize = CONTROL_AT + 11264 / 8;
const WORDS_OF_LINE: usize = 128 / 8;
/// The first consumer's line, which begins with the sequence that this consumer has released.
const FIRST_CONSUMER_AT: usize = CONTROL_AT + 1024 / 8;
/// The closed word of a ring that is open.
const OPEN: u64 = i64::MIN as u64;
/// One round in this many is quiet.
const LULL_ONE_IN: u32 = 24;
const LULL: Duration = Duration::from_millis(5);
/// One round in this many checks whether the name refers to another file.
const CHECK_ONE_IN: u32 = 8;

/// Values that a careless reader would handle wrongly.
const WORDS: [u64; 14] = [
    0,
    1,
    2,
    5,
    u64::MAX,
    i64::MAX as u64,
    i64::MIN as u64,
    (1 << 61) - 1,
    1 << 61,
    1 << 62,
    1 << 32,
    u64::MAX << 32,
    0xFF_FFFF_FFFF_FFFF,
    0x1B5B_4A1B_FFFE_C3C3,
];

/// A hostile peer.
#[derive(Debug)]
pub struct Hostile {
    path: PathBuf,
    random: fastrand::Rng,
    target: Option<Target>,
    stores: u64,
}

/// The file that is under attack.
#[derive(Debug)]
struct Target {
    inode: u64,
    map: MmapRaw,
    header: [u64; HEADER_WORDS],
}

impl Hostile {
    /// A hostile peer of the ring at `path`. The seed determines its stores.
    pub fn new(path: &Path, seed: u64) -> Self {
        Self {
            path: path.to_owned(),
            random: fastrand::Rng::with_seed(seed),
            target: None,
            stores: 0,
        }
    }

    /// How many words it has stored.
    pub fn stores(&self) -> u64 {
        self.stores
    }

    /// Makes one attack.
    pub fn round(&mut self) {
        if self.target.is_none() || self.random.u32(..CHECK_ONE_IN) == 0 {
            self.map_named_file();
        }
        let Some(target) = &self.target else {
            std::thread::sleep(Duration::from_millis(1));
            return;
        };
        let random = &mut self.random;
        let words = target.words().len();
        if random.u32(..LULL_ONE_IN) == 0 {
            target.quieten();
            std::thread::sleep(LULL);
            return;
        }
        let value = |random: &mut fastrand::Rng| match random.u8(..4) {
            0 => random.u64(..),
            1 => random.u64(..64),
            2 => WORDS[random.usize(..WORDS.len())].wrapping_add(random.u64(..4)),
            _ => WORDS[random.usize(..WORDS.len())],
        };
        let (from, count) = match random.u8(..8) {
            // a line that is in use
            0 | 1 => (
                CONTROL_AT + random.usize(..12) * WORDS_OF_LINE,
                WORDS_OF_LINE,
            ),
            2 => (random.usize(CONTROL_AT..CONTROL_END), 1),
            3 => (CONTROL_AT + random.usize(..4), 1),
            4 => (REGISTERED_AT, 1),
            5 => (random.usize(CONTROL_END..words), WORDS_OF_LINE),
            // the stamps that the producer is about to write, which it would take for its own
            6 if random.bool() => {
                let floor = target.words()[CONTROL_AT].load(Ordering::Relaxed);
                for ahead in 0..random.u64(..24) {
                    target.publish(floor.wrapping_add(ahead));
                    self.stores += 1;
                }
                return;
            }
            // all words at once
            6 if random.u8(..16) == 0 => (CONTROL_AT, words - CONTROL_AT),
            7 => (random.usize(..HEADER_WORDS), 2),
            _ => (random.usize(CONTROL_AT..words), 1),
        };
        let has_one_value = random.bool();
        let first = value(random);
        for at in from..(from + count).min(words) {
            let word = if has_one_value { first } else { value(random) };
            target.words()[at].store(word, Ordering::Relaxed);
            self.stores += 1;
        }
        std::thread::sleep(Duration::from_micros(random.u64(..200)));
        // no process could attach to a ring whose header stays damaged
        target.mend_header();
    }

    /// Stores the stamp of a sequence that was never published.
    pub fn forge_stamp(&mut self, sequence: u64) {
        if self.target.is_none() {
            self.map_named_file();
        }
        if let Some(target) = &self.target {
            target.publish(sequence);
        }
    }

    /// Stores the stamps of every sequence that the first consumer reads next, one ring's length of them. The
    /// consumer has no time to read them all before the next call.
    pub fn run_ahead_of_the_first_consumer(&mut self) {
        if self.target.is_none() {
            self.map_named_file();
        }
        if let Some(target) = &self.target {
            let released = target.words()[FIRST_CONSUMER_AT].load(Ordering::Relaxed);
            (1..=target.header[10]).for_each(|ahead| target.publish(released.wrapping_add(ahead)));
        }
    }

    /// Overwrites the start of a slot in any state, for example with a forged header.
    pub fn overwrite_slot(&mut self, slot: u64, bytes: &[u8]) {
        let Some(target) = &self.target else {
            return self.map_named_file();
        };
        let at = target.slot_at(slot) / 8;
        for (place, word) in target.words()[at..].iter().zip(bytes.chunks_exact(8)) {
            let word = word.first_chunk().expect("eight bytes");
            place.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
            self.stores += 1;
        }
    }

    /// Stores a nonzero value in the first word of the waiters line.
    pub fn store_in_reserved_line(&mut self) {
        self.map_named_file();
        if let Some(target) = &self.target {
            target.words()[RESERVED_AT].store(1, Ordering::Relaxed);
        }
    }

    /// Clears all lines from the registered word on, and opens the ring, as if no consumer had ever registered.
    pub fn relent(&mut self) {
        self.map_named_file();
        if let Some(target) = &self.target {
            target.quieten();
        }
    }

    /// Maps the file that has the name now.
    fn map_named_file(&mut self) {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&self.path) else {
            return;
        };
        let stat = file.metadata().expect("stat");
        if self
            .target
            .as_ref()
            .is_some_and(|target| target.inode == stat.ino())
        {
            return;
        }
        let map = MmapOptions::new().map_raw(&file).expect("map");
        let mut target = Target {
            inode: stat.ino(),
            map,
            header: [0; HEADER_WORDS],
        };
        let header: Vec<u64> = target.words()[..HEADER_WORDS]
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        target.header.copy_from_slice(&header);
        self.target = Some(target);
    }
}

impl Target {
    fn words(&self) -> &[AtomicU64] {
        let words = self.map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is writable, has that length, lives as long as `self` and is aligned to a page;
        // the words are atomics in this process. Other processes access the same bytes in other ways, and that
        // is what is being tested.
        unsafe { core::slice::from_raw_parts(words, self.map.len() / 8) }
    }

    /// The offset of a sequence's slot, in bytes.
    fn slot_at(&self, sequence: u64) -> usize {
        let [slots_offset, stride] = [7, 8].map(|at| self.header[at] as usize);
        let slot = sequence as usize & (self.header[10] as usize - 1);
        slots_offset + slot * stride
    }

    /// Stores the stamp that makes this sequence readable.
    fn publish(&self, sequence: u64) {
        let [.., a, b, c, d] = self.header[9].to_ne_bytes();
        let stamp_offset = u32::from_ne_bytes([a, b, c, d]) as usize;
        let at = (self.slot_at(sequence) + stamp_offset) / 8;
        self.words()[at].store(sequence.wrapping_add(1) << 2, Ordering::Relaxed);
    }

    fn mend_header(&self) {
        for (word, sound) in self.words().iter().zip(self.header) {
            word.store(sound, Ordering::Relaxed);
        }
    }

    fn quieten(&self) {
        let words = self.words();
        for word in &words[REGISTERED_AT..CONTROL_END] {
            word.store(0, Ordering::Relaxed);
        }
        words[CLOSED_AT].store(OPEN, Ordering::Relaxed);
    }
}
