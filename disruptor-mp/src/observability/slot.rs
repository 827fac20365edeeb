//! One slot of a counters file.
//!
//! ```text
//! +  0  id            u32
//! +  4  flags         u32: bits 0-1 free 0, claimed 1, in use 2; above them a number that grows with each claim
//! +  8  value         u64, written by the owner alone
//! + 16  line          u64: 0 the value counts; 1 it follows from the producer line, 2 + n from consumer line n
//! + 24  first         i64: the first sequence that counts
//! + 32  event bytes   u64
//! + 40  created       u64: when the ring was created, nanoseconds since 1970
//! + 48  epoch         u64: of the line
//! + 56  owner         of the line: namespace u64, start u64, pid u32
//! + 76  label at      u32: from where on the text is the label
//! + 80  text          432 bytes, zero padded: the ring's directory with a slash, and the label
//! ```
//!
//! The owner of the slot's lock byte writes all of it. A reader accepts a slot only if its state is "in use" and its
//! id and flags are the same before and after the read; so it never pairs one owner's label with another's value. An
//! owner that ends stores its last value and then sets `line` to 0. An owner that dies leaves its slot as it is: its
//! position stays in its line. The next process that gets the free lock byte may claim the slot.

use core::sync::atomic::fence;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::CounterId;
use super::position::Source;
use crate::Sequence;
use crate::layout::control::Owner;
use crate::sync::process::{AtomicI64, AtomicU64, Ordering};

/// Longest label of a program's own counter, in bytes.
pub const COUNTER_LABEL_BYTES_MAX: usize = 48;

/// Room for the text of a slot.
pub(super) const TEXT_BYTES: usize = 432;

/// How often a reader retries a slot that changes hands while it is read.
const READ_TRIES: u32 = 8;

/// A counter at one moment.
///
/// # Examples
///
/// ```
/// let file = disruptor_mp::CountersFile::anonymous();
/// let orders = file.counter(0x100, "orders")?;
/// orders.add(3);
/// let counter = &file.snapshot()[0];
/// assert_eq!((counter.id.get(), counter.label.as_str(), counter.value), (0x100, "orders", 3));
/// # Ok::<(), disruptor_mp::CountersError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterSnapshot {
    /// The quantity that it counts.
    pub id: CounterId,
    /// Whose counter it is: the program's own text, or `ring/producer` or `ring/consumer/id` with the ring's name.
    pub label: String,
    /// The directory of the ring's file. `None` on the heap, for a program's own counters, and where the slot had no
    /// room for it.
    pub directory: Option<PathBuf>,
    /// Its value.
    pub value: u64,
}

/// Whether a slot has an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    Free,
    /// Being written.
    Claimed,
    InUse,
}

/// A slot's text: the directory of a ring, if the value follows from its lines, and the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    bytes: [u8; TEXT_BYTES],
    label_at: u32,
}

impl Text {
    /// The label of a counter whose value is in the slot.
    pub(super) fn of_value(label: &str) -> Self {
        Self::joined(&[], label)
    }

    /// The label of an endpoint, which begins with the name of its ring. Where the slot has too little room for both,
    /// the directory is left out: other processes then do not find the ring.
    pub(super) fn of_ring(path: Option<&Path>, label: &str) -> Self {
        let directory = path
            .and_then(Path::parent)
            .map(|it| it.as_os_str().as_bytes());
        match directory.map(|directory| [directory, b"/"].concat()) {
            Some(directory) if directory.len() + label.len() <= TEXT_BYTES => {
                Self::joined(&directory, label)
            }
            _ => Self::joined(&[], label),
        }
    }

    /// The caller has checked that there is room for both.
    fn joined(directory: &[u8], label: &str) -> Self {
        let mut bytes = [0; TEXT_BYTES];
        let (before, rest) = bytes.split_at_mut(directory.len());
        before.copy_from_slice(directory);
        rest[..label.len()].copy_from_slice(label.as_bytes());
        Self {
            bytes,
            label_at: directory.len() as u32,
        }
    }

    /// The text up to its padding, in directory and label.
    fn parts(&self) -> (&[u8], &[u8]) {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let text = &self.bytes[..end.unwrap_or(TEXT_BYTES)];
        text.split_at((self.label_at as usize).min(text.len()))
    }

    /// The label; bytes that are not UTF-8 are replaced.
    fn label(&self) -> String {
        String::from_utf8_lossy(self.parts().1).into_owned()
    }

    /// The directory of the ring, if the slot has room for it.
    fn directory(&self) -> Option<PathBuf> {
        let (directory, _) = self.parts();
        let directory = Path::new(OsStr::from_bytes(directory.strip_suffix(b"/")?));
        directory.is_absolute().then(|| directory.to_owned())
    }

    /// The path of the ring, as its directory.
    fn path(&self) -> Option<PathBuf> {
        let (_, label) = self.parts();
        let name = label.split(|byte| *byte == b'/').next()?;
        Some(self.directory()?.join(OsStr::from_bytes(name)))
    }
}

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotSeen {
    /// With the value in the slot.
    pub(super) counter: CounterSnapshot,
    /// The line from which the value follows instead.
    pub(super) source: Option<Source>,
    /// The ring of that line.
    pub(super) path: Option<PathBuf>,
}

/// The words of a slot.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct SlotWords {
    /// Id and flags.
    head: AtomicU64,
    value: AtomicU64,
    line: AtomicU64,
    first: AtomicI64,
    event_bytes: AtomicU64,
    created_unix_ns: AtomicU64,
    epoch: AtomicU64,
    owner_namespace: AtomicU64,
    owner_start_ticks: AtomicU64,
    /// The owner's pid, and where the label begins.
    pid_and_label_at: AtomicU64,
    text: [AtomicU64; TEXT_BYTES / 8],
}

const _: () = assert!(size_of::<SlotWords>() == 512);

impl Default for SlotWords {
    fn default() -> Self {
        Self {
            head: AtomicU64::new(0),
            value: AtomicU64::new(0),
            line: AtomicU64::new(0),
            first: AtomicI64::new(0),
            event_bytes: AtomicU64::new(0),
            created_unix_ns: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            owner_namespace: AtomicU64::new(0),
            owner_start_ticks: AtomicU64::new(0),
            pid_and_label_at: AtomicU64::new(0),
            text: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// The two halves of a word, in the order of their addresses.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
}

/// The word of two halves.
fn whole(halves: [u32; 2]) -> u64 {
    let [[a, b, c, d], [e, f, g, h]] = halves.map(u32::to_ne_bytes);
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// A slot's first word, split into its fields.
#[derive(Clone, Copy)]
struct Head {
    id: u32,
    flags: u32,
}

impl Head {
    fn from_word(word: u64) -> Self {
        let [id, flags] = halves(word);
        Self { id, flags }
    }

    fn word(self) -> u64 {
        whole([self.id, self.flags])
    }

    fn state(self) -> SlotState {
        match self.flags & 3 {
            0 => SlotState::Free,
            2 => SlotState::InUse,
            _ => SlotState::Claimed,
        }
    }

    /// The same slot's first word in another state; each claim gets a new number.
    fn with(self, state: SlotState, id: u32) -> Self {
        let (bits, step) = match state {
            SlotState::Free => (0, 0),
            SlotState::Claimed => (1, 4),
            SlotState::InUse => (2, 0),
        };
        Self {
            id,
            flags: (self.flags & !3).wrapping_add(step) | bits,
        }
    }
}

impl SlotWords {
    fn head(&self) -> Head {
        Head::from_word(self.head.load(Ordering::Relaxed))
    }

    pub(super) fn state(&self) -> SlotState {
        self.head().state()
    }

    /// Whether this is the counter with that id and text. The caller has the slot's lock.
    pub(super) fn is(&self, id: CounterId, text: &Text) -> bool {
        self.head().id == id.get() && self.text() == *text
    }

    /// Makes the slot a counter that starts at zero, or one that follows from a line. The caller has its lock.
    pub(super) fn claim(&self, id: CounterId, text: &Text, source: Option<&Source>) {
        let claimed = self.head().with(SlotState::Claimed, id.get());
        self.head.store(claimed.word(), Ordering::Relaxed);
        fence(Ordering::Release);
        self.value.store(0, Ordering::Relaxed);
        self.set_source(source, text.label_at);
        for (word, bytes) in self.text.iter().zip(text.bytes.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        let in_use = claimed.with(SlotState::InUse, id.get());
        self.head.store(in_use.word(), Ordering::Release);
    }

    fn set_source(&self, source: Option<&Source>, label_at: u32) {
        let line = source.map_or(0, |source| match source.line {
            None => 1,
            Some(line) => 2 + line as u64,
        });
        self.line.store(line, Ordering::Relaxed);
        let pid = source.map_or(0, |source| source.owner.pid);
        self.pid_and_label_at
            .store(whole([pid, label_at]), Ordering::Relaxed);
        let Some(source) = source else { return };
        self.first.store(source.first, Ordering::Relaxed);
        for (word, value) in [
            (&self.event_bytes, source.event_bytes),
            (&self.created_unix_ns, source.created_unix_ns),
            (&self.epoch, source.epoch),
            (&self.owner_namespace, source.owner.namespace),
            (&self.owner_start_ticks, source.owner.start_ticks),
        ] {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Frees the slot. The caller has its lock.
    pub(super) fn free(&self) {
        let free = self.head().with(SlotState::Free, 0);
        self.head.store(free.word(), Ordering::Release);
    }

    /// Adds to the value. Only the slot's owner may call this.
    #[inline(always)]
    pub(super) fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Replaces the value. Only the slot's owner may call this.
    #[inline(always)]
    pub(super) fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Moves the first sequence that counts. Only the slot's owner may call this.
    pub(super) fn set_first(&self, first: Sequence) {
        self.first.store(first, Ordering::Relaxed);
    }

    /// From now on the value is this one, wherever the line goes. Only the slot's owner may call this.
    pub(super) fn settle(&self, value: u64) {
        self.set(value);
        // a reader that finds the 0 finds the value, too
        self.line.store(0, Ordering::Release);
    }

    fn text(&self) -> Text {
        let mut bytes = [0; TEXT_BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.text) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        let [_, label_at] = halves(self.pid_and_label_at.load(Ordering::Relaxed));
        Text { bytes, label_at }
    }

    fn source(&self) -> Option<Source> {
        let line = match self.line.load(Ordering::Acquire) {
            0 => return None,
            1 => None,
            line => Some((line - 2) as usize),
        };
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let [pid, _] = halves(load(&self.pid_and_label_at));
        Some(Source {
            line,
            first: self.first.load(Ordering::Relaxed),
            event_bytes: load(&self.event_bytes),
            created_unix_ns: load(&self.created_unix_ns),
            epoch: load(&self.epoch),
            owner: Owner {
                pid,
                namespace: load(&self.owner_namespace),
                start_ticks: load(&self.owner_start_ticks),
            },
        })
    }

    /// What the slot says, if it is in use.
    pub(super) fn read(&self) -> Option<SlotSeen> {
        for _ in 0..READ_TRIES {
            let word = self.head.load(Ordering::Acquire);
            let head = Head::from_word(word);
            if head.state() != SlotState::InUse {
                return None;
            }
            // the source before the value: see `settle`
            let (source, value, text) = (self.source(), self.get(), self.text());
            fence(Ordering::Acquire);
            if self.head.load(Ordering::Relaxed) == word {
                return Some(SlotSeen {
                    counter: CounterSnapshot {
                        id: CounterId::from(head.id),
                        label: text.label(),
                        directory: text.directory(),
                        value,
                    },
                    source,
                    path: text.path(),
                });
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SOURCE: Source = Source {
        line: Some(3),
        first: 4,
        event_bytes: 5,
        created_unix_ns: 6,
        epoch: 7,
        owner: Owner {
            pid: 10,
            namespace: 8,
            start_ticks: 9,
        },
    };

    #[test]
    fn lies_as_documented() {
        let slot = SlotWords::default();
        let text = Text::of_ring(Some(Path::new("/dev/shm/ticks")), "ticks/consumer/a");
        slot.claim(CounterId::EVENTS_CONSUMED, &text, Some(&SOURCE));
        slot.set(0x0102);
        // SAFETY: 64 initialised words, which no other thread writes now.
        let bytes = unsafe { core::ptr::from_ref(&slot).cast::<[u8; 512]>().read() };
        assert_eq!(bytes[..4], 0x20_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], (4_u32 | 2).to_ne_bytes());
        let words: Vec<_> = bytes[8..72].as_chunks::<8>().0.to_vec();
        let words: Vec<_> = words.into_iter().map(u64::from_ne_bytes).collect();
        assert_eq!(words, [0x0102, 5, 4, 5, 6, 7, 8, 9]);
        assert_eq!(bytes[72..76], 10_u32.to_ne_bytes());
        assert_eq!(bytes[76..80], 9_u32.to_ne_bytes());
        assert_eq!(&bytes[80..106], b"/dev/shm/ticks/consumer/a\0");
    }

    #[test]
    fn says_where_its_value_comes_from_until_it_is_settled() {
        let slot = SlotWords::default();
        let text = Text::of_ring(Some(Path::new("/dev/shm/ticks")), "ticks/consumer/a/b");
        slot.claim(CounterId::EVENTS_CONSUMED, &text, Some(&SOURCE));
        let seen = slot.read().expect("in use");
        assert_eq!(
            (seen.source.as_ref(), seen.counter.label.as_str()),
            (Some(&SOURCE), "ticks/consumer/a/b")
        );
        assert_eq!(seen.path.as_deref(), Some(Path::new("/dev/shm/ticks")));
        assert_eq!(
            seen.counter.directory.as_deref(),
            Some(Path::new("/dev/shm"))
        );
        slot.settle(7);
        let seen = slot.read().expect("in use");
        assert_eq!((seen.source, seen.counter.value), (None, 7));
    }

    #[test]
    fn a_label_is_whole_and_gives_way_to_no_directory() {
        let label = format!("{}/consumer/{}", "r".repeat(200), "i".repeat(48));
        for (directory, is_there) in [(100, true), (400, false)] {
            let path = format!("/{}/{}", "d".repeat(directory), "r".repeat(200));
            let text = Text::of_ring(Some(Path::new(&path)), &label);
            assert_eq!(text.label(), label);
            assert_eq!(text.path(), is_there.then(|| PathBuf::from(path)));
        }
        assert_eq!(Text::of_ring(None, "heap/producer").path(), None);
    }

    /// What another process sees while owners take the slot by turns: it reads these very words.
    #[test]
    fn a_reader_sees_no_owner_with_the_value_of_another() {
        let turns = if cfg!(miri) { 50 } else { 200_000 };
        let slot = SlotWords::default();
        let labels = ["a", "b"].map(|label| Text::of_value(&label.repeat(48)));
        let is_over = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..turns {
                    let id = CounterId::application(turn % 2);
                    slot.claim(id, &labels[turn as usize % 2], None);
                    slot.free();
                }
                is_over.store(1, Ordering::Release);
            });
            while is_over.load(Ordering::Acquire) == 0 {
                if let Some(seen) = slot.read() {
                    let label = match seen.counter.id == CounterId::application(0) {
                        true => "a".repeat(48),
                        false => "b".repeat(48),
                    };
                    assert_eq!(seen.counter.label, label);
                }
            }
        });
    }

    #[test]
    fn a_claim_begins_at_zero_and_with_a_new_number() {
        let slot = SlotWords::default();
        assert_eq!(slot.read(), None);
        slot.claim(CounterId::application(0), &Text::of_value("a"), None);
        slot.add(5);
        let first = slot.head().flags;
        slot.free();
        assert_eq!((slot.read(), slot.state()), (None, SlotState::Free));
        slot.claim(
            CounterId::application(0),
            &Text::of_value(&"b".repeat(48)),
            None,
        );
        assert_ne!(slot.head().flags, first);
        let read = slot.read().expect("in use").counter;
        assert_eq!((read.value, read.label), (0, "b".repeat(48)));
    }
}
