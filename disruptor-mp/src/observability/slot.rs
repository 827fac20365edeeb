//! One slot of a counters file.
//!
//! ```text
//! +  0  id      u32
//! +  4  flags   u32: bits 0-1 free 0, claimed 1, in use 2; above them a number that grows with each claim
//! +  8  value   u64, written by the owner alone
//! + 16  label   48 bytes of UTF-8, zero padded
//! ```
//!
//! The owner of the slot's lock byte writes all of it. A reader accepts a slot only if its state is "in use" and its
//! id and flags are the same before and after the read; so it never pairs one owner's label with another's value. An
//! owner that dies leaves its slot in use: the next process that gets the free lock byte may claim it.

use core::sync::atomic::fence;

use super::CounterId;
use crate::sync::process::{AtomicU64, Ordering};

/// Longest label of a counter, in bytes.
pub const COUNTER_LABEL_BYTES_MAX: usize = 48;

const LABEL_WORDS: usize = COUNTER_LABEL_BYTES_MAX / 8;

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
    /// Whose counter it is: the program's own text, or the ring's name and the consumer's id.
    pub label: String,
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

/// A label as the slot stores it.
pub(super) type Label = [u8; COUNTER_LABEL_BYTES_MAX];

/// The words of a slot.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct SlotWords {
    /// Id and flags.
    head: AtomicU64,
    value: AtomicU64,
    label: [AtomicU64; LABEL_WORDS],
}

const _: () = assert!(size_of::<SlotWords>() == 64);

/// A slot's first word, split into its fields.
#[derive(Clone, Copy)]
struct Head {
    id: u32,
    flags: u32,
}

impl Head {
    fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        Self {
            id: u32::from_ne_bytes([a, b, c, d]),
            flags: u32::from_ne_bytes([e, f, g, h]),
        }
    }

    fn word(self) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.id.to_ne_bytes(), self.flags.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
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

    /// Whether this is the counter with that id and label. The caller has the slot's lock.
    pub(super) fn is(&self, id: CounterId, label: &Label) -> bool {
        self.head().id == id.get() && self.label() == *label
    }

    /// Makes the slot a counter that starts at zero. The caller has its lock.
    pub(super) fn claim(&self, id: CounterId, label: &Label) {
        let claimed = self.head().with(SlotState::Claimed, id.get());
        self.head.store(claimed.word(), Ordering::Relaxed);
        fence(Ordering::Release);
        self.value.store(0, Ordering::Relaxed);
        for (word, bytes) in self.label.iter().zip(label.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        let in_use = claimed.with(SlotState::InUse, id.get());
        self.head.store(in_use.word(), Ordering::Release);
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

    fn label(&self) -> Label {
        let mut label = [0; COUNTER_LABEL_BYTES_MAX];
        for (bytes, word) in label.as_chunks_mut::<8>().0.iter_mut().zip(&self.label) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        label
    }

    /// The counter, if the slot is in use.
    pub(super) fn read(&self) -> Option<CounterSnapshot> {
        for _ in 0..READ_TRIES {
            let word = self.head.load(Ordering::Acquire);
            let head = Head::from_word(word);
            if head.state() != SlotState::InUse {
                return None;
            }
            let (label, value) = (self.label(), self.get());
            fence(Ordering::Acquire);
            if self.head.load(Ordering::Relaxed) == word {
                return Some(CounterSnapshot {
                    id: CounterId::from(head.id),
                    label: text(&label),
                    value,
                });
            }
        }
        None
    }
}

/// The label as text; bytes that are not UTF-8 are replaced.
fn text(label: &Label) -> String {
    let end = label
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(label.len());
    String::from_utf8_lossy(&label[..end]).into_owned()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn label(text: &str) -> Label {
        let mut label = [0; COUNTER_LABEL_BYTES_MAX];
        label[..text.len()].copy_from_slice(text.as_bytes());
        label
    }

    #[test]
    fn lies_as_documented() {
        let slot = SlotWords::default();
        slot.claim(CounterId::EVENTS_PUBLISHED, &label("ticks"));
        slot.set(0x0102);
        // SAFETY: eight initialised words, which no other thread writes now.
        let bytes = unsafe { core::ptr::from_ref(&slot).cast::<[u8; 64]>().read() };
        assert_eq!(bytes[..4], 0x10_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], (4_u32 | 2).to_ne_bytes());
        assert_eq!(bytes[8..16], 0x0102_u64.to_ne_bytes());
        assert_eq!(&bytes[16..22], b"ticks\0");
    }

    #[test]
    fn a_claim_begins_at_zero_and_with_a_new_number() {
        let slot = SlotWords::default();
        assert_eq!(slot.read(), None);
        slot.claim(CounterId::application(0), &label("a"));
        slot.add(5);
        let first = slot.head().flags;
        slot.free();
        assert_eq!((slot.read(), slot.state()), (None, SlotState::Free));
        slot.claim(CounterId::application(0), &label(&"b".repeat(48)));
        assert_ne!(slot.head().flags, first);
        let read = slot.read().expect("in use");
        assert_eq!((read.value, read.label), (0, "b".repeat(48)));
    }
}
