//! The control lines: everything that parties say to each other beside the slots themselves.
//!
//! ```text
//! +    0  producer     written by the producer and by whoever takes over
//! +  128  waiters      who sleeps, and the futex words: sleepers and those who wake them
//! +  256  registered   one bit per consumer line, a superset hint: joiners set, leavers clear under the line's lock
//! +  384  counters     the producer's own counters
//! +  512  reserved     four lines of zeros
//! + 1024  consumers    64 lines, each written by its owner, and under its lock by who evicts or removes
//! + 9216  producers    16 lines of zeros, for further producers (R10)
//! ```
//!
//! Peers may have stored anything: each value is read once and clamped before use (R1).

use super::{DEFAULT_MAX_CONSUMERS, LINE_BYTES};
use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering, process};

/// Longest explicit consumer id, in bytes. The model checker gets by with one word of it.
pub(crate) const MAX_ID_BYTES: usize = if cfg!(loom) { 8 } else { 48 };
const ID_WORDS: usize = MAX_ID_BYTES / 8;

/// `ProducerLine::closed` of a ring that is open.
pub(crate) const OPEN: i64 = i64::MIN;

/// `WaitersLine::space_wanted` while the producer does not sleep.
pub(crate) const NOTHING_WANTED: i64 = i64::MAX;

/// Who owns a line, for messages only: whether the owner is alive, the kernel's lock says (R8).
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct OwnerWords {
    namespace: process::AtomicU64,
    start_ticks: process::AtomicU64,
    pid: process::AtomicU32,
    spare: process::AtomicU32,
}

/// An [`OwnerWords`] as plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) namespace: u64,
    pub(crate) start_ticks: u64,
}

impl OwnerWords {
    pub(crate) fn store(&self, owner: Owner) {
        self.namespace.store(owner.namespace, Ordering::Relaxed);
        self.start_ticks.store(owner.start_ticks, Ordering::Relaxed);
        self.pid.store(owner.pid, Ordering::Relaxed);
    }

    pub(crate) fn load(&self) -> Owner {
        Owner {
            pid: self.pid.load(Ordering::Relaxed),
            namespace: self.namespace.load(Ordering::Relaxed),
            start_ticks: self.start_ticks.load(Ordering::Relaxed),
        }
    }
}

impl Owner {
    /// The owner words of a line that was read as bytes.
    pub(crate) fn from_bytes(bytes: &[u8; 24]) -> Self {
        let word = |at: usize| u64::from_ne_bytes(core::array::from_fn(|i| bytes[at + i]));
        let pid = u32::from_ne_bytes(core::array::from_fn(|i| bytes[16 + i]));
        Self {
            pid,
            namespace: word(0),
            start_ticks: word(8),
        }
    }
}

/// Written by the producer that holds lock byte 0.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct ProducerLine {
    /// Never falls: every sequence up to it may already be reused (R5).
    pub(crate) floor: AtomicI64,
    /// [`OPEN`], or the last sequence of a ring that was closed (R11).
    pub(crate) closed: AtomicI64,
    /// Written as 0, and read by nobody.
    reserved: AtomicI64,
    /// How many producers this ring has had before the present one (R14).
    pub(crate) epoch: AtomicU64,
    pub(crate) owner: OwnerWords,
    /// 1: the name outlives the ring's end, whoever drains it.
    pub(crate) kept: AtomicU32,
}

/// Who sleeps in the kernel, and on what (R9). Written by who goes to sleep and by who wakes.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct WaitersLine {
    /// Bit i: the consumer of line i sleeps until the next event, or is about to.
    pub(crate) sleepers: AtomicU64,
    /// The sequence whose release a sleeping producer waits for; `i64::MAX` while it does not sleep.
    pub(crate) space_wanted: AtomicI64,
    /// The futex word of sleeping consumers: changed by who wakes them.
    pub(crate) event_word: AtomicU32,
    /// The futex word of a sleeping producer: changed by who wakes it.
    pub(crate) space_word: AtomicU32,
    /// When somebody was last woken, by the monotonic clock: tells who wakes what waking takes.
    pub(crate) woken_at_ns: process::AtomicU64,
    /// Not 0: the producer is blocked and watches its required consumers. Whoever handles a burst of events then releases
    /// each by itself, so that its progress is seen. A hint: nothing is wrong where it is stale.
    pub(crate) is_watching: process::AtomicU32,
}

/// A line that this version writes nothing to.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct ReservedLine {
    words: [process::AtomicU64; LINE_BYTES / 8],
}

/// Which consumer lines may be in use.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RegisteredLine {
    /// Bit i: line i may be in use. Set before the line is, cleared under its lock after FREE (R6).
    pub(crate) bits: AtomicU64,
}

/// What a consumer line is used for (R16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum LineState {
    /// Nobody's.
    Free = 0,
    /// Claimed, no position yet: not counted.
    Joining = 1,
    /// Counted, its second look at the floor still to come.
    Settling = 2,
    /// In use.
    Active = 3,
    /// A durable consumer that is not here; it keeps its position and gates.
    Away = 4,
}

impl LineState {
    /// Anything that no party of this version stores reads as `Away`: it gates, and nobody takes it.
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Free,
            1 => Self::Joining,
            2 => Self::Settling,
            3 => Self::Active,
            _ => Self::Away,
        }
    }

    /// Whether the gate respects a line in this state.
    pub(crate) fn is_registered(self) -> bool {
        matches!(self, Self::Settling | Self::Active | Self::Away)
    }
}

/// One consumer's line. The owner of its lock byte writes it.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct ConsumerLine {
    /// The highest sequence this consumer has released: the only word of the line that is hot.
    pub(crate) sequence: AtomicI64,
    state: AtomicU32,
    /// 1: the id is explicit and durable; 0: automatic.
    durable: AtomicU32,
    /// The ring's epoch when this consumer came.
    pub(crate) epoch: AtomicU64,
    pub(crate) owner: OwnerWords,
    id: [AtomicU64; ID_WORDS],
    /// Reserved for this consumer's counters.
    counters: [process::AtomicU64; 4],
}

impl ConsumerLine {
    pub(crate) fn state(&self) -> LineState {
        LineState::from_word(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: LineState) {
        self.state.store(state as u32, Ordering::Release);
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed) != 0
    }

    /// Writes the id of the owner; the caller holds the line's lock, and the state is JOINING. Release: who finds the
    /// id finds the state no older than that.
    pub(crate) fn set_id(&self, id: &ConsumerId, durable: bool) {
        self.durable.store(u32::from(durable), Ordering::Relaxed);
        for (word, chunk) in self.id.iter().zip(id.bytes.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Release);
        }
    }

    pub(crate) fn id(&self) -> ConsumerId {
        let mut bytes = [0; MAX_ID_BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.id) {
            *chunk = word.load(Ordering::Acquire).to_ne_bytes();
        }
        ConsumerId { bytes }
    }

    /// Whether this line holds the position of the durable consumer `id`.
    pub(crate) fn is_position_of(&self, id: &ConsumerId) -> bool {
        matches!(self.state(), LineState::Active | LineState::Away)
            && self.is_durable()
            && self.id() == *id
    }
}

/// A consumer's id as the line stores it: UTF-8, zero padded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumerId {
    bytes: [u8; MAX_ID_BYTES],
}

impl ConsumerId {
    /// `None` when the id is empty, too long or holds a NUL.
    pub(crate) fn new(id: &str) -> Option<Self> {
        if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains('\0') {
            return None;
        }
        let mut bytes = [0; MAX_ID_BYTES];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        Some(Self { bytes })
    }

    /// The id as text; what is not UTF-8 is replaced.
    pub(crate) fn text(&self) -> String {
        let end = self
            .bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(MAX_ID_BYTES);
        String::from_utf8_lossy(&self.bytes[..end]).into_owned()
    }
}

impl core::fmt::Debug for ConsumerId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.text().fmt(f)
    }
}

/// All control lines of a segment.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) producer: ProducerLine,
    pub(crate) waiters: WaitersLine,
    pub(crate) registered: RegisteredLine,
    counters: ReservedLine,
    reserved: [ReservedLine; 4],
    pub(crate) consumers: [ConsumerLine; DEFAULT_MAX_CONSUMERS],
    further_producers: [ReservedLine; 16],
}

impl ReservedLine {
    fn new() -> Self {
        Self {
            words: core::array::from_fn(|_| process::AtomicU64::new(0)),
        }
    }
}

impl Control {
    /// Where the producer's owner words are, for readers that do not map.
    pub(crate) const PRODUCER_OWNER_OFFSET: usize =
        core::mem::offset_of!(Self, producer) + core::mem::offset_of!(ProducerLine, owner);

    /// The control lines of a ring whose first event will be `first_sequence`.
    pub(crate) fn new(first_sequence: i64) -> Self {
        Self {
            producer: ProducerLine {
                floor: AtomicI64::new(first_sequence - 1),
                closed: AtomicI64::new(OPEN),
                reserved: AtomicI64::new(0),
                epoch: AtomicU64::new(0),
                owner: OwnerWords::default(),
                kept: AtomicU32::new(0),
            },
            waiters: WaitersLine {
                sleepers: AtomicU64::new(0),
                space_wanted: AtomicI64::new(NOTHING_WANTED),
                event_word: AtomicU32::new(0),
                space_word: AtomicU32::new(0),
                woken_at_ns: process::AtomicU64::new(0),
                is_watching: process::AtomicU32::new(0),
            },
            registered: RegisteredLine {
                bits: AtomicU64::new(0),
            },
            counters: ReservedLine::new(),
            reserved: core::array::from_fn(|_| ReservedLine::new()),
            consumers: core::array::from_fn(|_| ConsumerLine {
                sequence: AtomicI64::new(first_sequence - 1),
                state: AtomicU32::new(LineState::Free as u32),
                durable: AtomicU32::new(0),
                epoch: AtomicU64::new(0),
                owner: OwnerWords::default(),
                id: core::array::from_fn(|_| AtomicU64::new(0)),
                counters: core::array::from_fn(|_| process::AtomicU64::new(0)),
            }),
            further_producers: core::array::from_fn(|_| ReservedLine::new()),
        }
    }

    /// The indices of the lines that may be in use.
    pub(crate) fn maybe_registered(&self) -> BitIndices {
        BitIndices(self.registered.bits.load(Ordering::Acquire))
    }
}

/// The set bits of a word, lowest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitIndices(u64);

impl Iterator for BitIndices {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let index = self.0.trailing_zeros() as usize;
        (self.0 != 0).then(|| {
            self.0 &= self.0 - 1;
            index
        })
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<ProducerLine>() == LINE_BYTES);
    assert!(size_of::<ConsumerLine>() == LINE_BYTES);
    assert!(core::mem::offset_of!(ConsumerLine, state) == 8);
    assert!(core::mem::offset_of!(ConsumerLine, epoch) == 16);
    assert!(core::mem::offset_of!(ConsumerLine, owner) == 24);
    assert!(core::mem::offset_of!(ConsumerLine, id) == 48);
    assert!(core::mem::offset_of!(ConsumerLine, counters) == 96);
    assert!(core::mem::offset_of!(ProducerLine, owner) == 32);
    assert!(size_of::<WaitersLine>() == LINE_BYTES);
    assert!(core::mem::offset_of!(WaitersLine, space_wanted) == 8);
    assert!(core::mem::offset_of!(WaitersLine, event_word) == 16);
    assert!(core::mem::offset_of!(WaitersLine, space_word) == 20);
    assert!(core::mem::offset_of!(WaitersLine, woken_at_ns) == 24);
    assert!(core::mem::offset_of!(WaitersLine, is_watching) == 32);
    assert!(core::mem::offset_of!(Control, waiters) == 128);
    assert!(core::mem::offset_of!(Control, registered) == 256);
    assert!(core::mem::offset_of!(Control, consumers) == 1024);
    assert!(core::mem::offset_of!(Control, further_producers) == 9216);
    assert!(size_of::<Control>() == 11264);
};
