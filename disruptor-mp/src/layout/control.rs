//! The control lines: all shared state except the slots themselves.
//!
//! ```text
//! +    0  producer     written by the producer, and by the successor that takes over
//! +  128  waiters      sleepers and futex words: written by parties that go to sleep and by those that wake them
//! +  256  registered   one bit per consumer line, a superset hint: joiners set, leavers clear under the line's lock
//! +  384  counters     reserved for the producer's own counters: zeros
//! +  512  reserved     four lines of zeros
//! + 1024  consumers    64 lines, each written by its owner, or by a process that evicts or removes under its lock
//! + 9216  producers    16 lines of zeros, for further producers (R10)
//! ```
//!
//! Peers may have stored anything: each value is read once and clamped before use (R1).

use super::{DEFAULT_MAX_CONSUMERS, LINE_BYTES};
use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering, process};

/// Longest explicit consumer id, in bytes. One word of it is enough for the model checker.
pub(crate) const MAX_ID_BYTES: usize = if cfg!(loom) { 8 } else { 48 };
const ID_WORDS: usize = MAX_ID_BYTES / 8;

/// `ProducerLine::closed` of a ring that is open.
pub(crate) const OPEN: i64 = i64::MIN;

/// `ProducerLine::kept`: the name of a closed ring goes once no durable consumer has unread events.
pub(crate) const NOT_KEPT: u32 = 0;
/// `ProducerLine::kept`: the name stays, whichever consumer drains the ring.
pub(crate) const KEPT: u32 = 1;
/// `ProducerLine::kept`: a consumer of any id was expected and has not come. The name stays until a consumer
/// has drained the ring.
pub(crate) const KEPT_UNTIL_DRAINED: u32 = 2;

/// Bit of `ConsumerLine::flags`: the id is explicit and durable; otherwise it is automatic.
const DURABLE: u32 = 1;
/// Bit of `ConsumerLine::flags`: the line's owner has been here. Not set in a place that was kept for an
/// expected consumer that has never come.
const ARRIVED: u32 = 2;

/// `WaitersLine::space_wanted` while the producer does not sleep.
pub(crate) const NOTHING_WANTED: i64 = i64::MAX;

/// The owner of a line, for messages only: the kernel's lock says whether the owner is alive (R8).
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

impl Owner {
    /// The owner of a place that is kept for a consumer that has not come.
    pub(crate) const NOBODY: Self = Self {
        pid: 0,
        namespace: 0,
        start_ticks: 0,
    };
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
    /// While a doubt is settled: the highest sequence that was found (R17). Meaningless otherwise.
    pub(crate) doubt_seen: process::AtomicI64,
    /// How many producers this ring has had before the present one (R14).
    pub(crate) epoch: AtomicU64,
    pub(crate) owner: OwnerWords,
    /// What keeps the name of the ring when it has ended: [`NOT_KEPT`], [`KEPT`] or [`KEPT_UNTIL_DRAINED`].
    pub(crate) kept: AtomicU32,
    /// The boot and the file in which the order of everything here is vouched for (R17).
    pub(crate) origin: OriginWords,
    /// The closed word + 2 once that word and everything before it are on the disk; 0 while nothing is known
    /// of that (R17).
    pub(crate) ended: process::AtomicU64,
    /// The last sequence whose event is on the disk, + 1, in a ring whose floor is on the disk before slots
    /// are reused; else 0.
    pub(crate) synced: process::AtomicI64,
    /// While a doubt is settled: the new floor (R17). 0 otherwise.
    pub(crate) doubt_floor: process::AtomicI64,
    /// While a doubt is settled: the [`Origin::tag`] of the boot and file in which the settling began.
    pub(crate) doubt_tag: process::AtomicU64,
}

/// An [`Origin`] as it lies in the producer's line.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct OriginWords {
    boot: [process::AtomicU64; 2],
    inode: process::AtomicU64,
    born_ns: process::AtomicU64,
}

/// A boot of the machine, and a file. Zeros on the heap, and where a value cannot be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) boot: [u64; 2],
    pub(crate) inode: u64,
    /// When the file was created, in nanoseconds since 1970: inode numbers are reused.
    pub(crate) born_ns: u64,
}

impl OriginWords {
    pub(crate) fn store(&self, origin: Origin) {
        self.boot[0].store(origin.boot[0], Ordering::Release);
        self.boot[1].store(origin.boot[1], Ordering::Release);
        self.inode.store(origin.inode, Ordering::Release);
        self.born_ns.store(origin.born_ns, Ordering::Release);
    }
}

impl Origin {
    /// Whether both mean the same file.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        let is_born_like = |a, b| a == b || a == 0 || b == 0;
        self.inode == other.inode && is_born_like(self.born_ns, other.born_ns)
    }

    /// The four words mixed into one, which is never 0.
    pub(crate) fn tag(&self) -> u64 {
        let words = [self.boot[0], self.boot[1], self.inode, self.born_ns];
        let mix = |tag: u64, word: u64| {
            (tag ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        };
        words.into_iter().fold(1, mix) | 1
    }
}

/// The words of a producer line that say whether its ring is in doubt, read as bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vouched {
    pub(crate) origin: Origin,
    /// Whether the ring was ended in order, and all of it is on the disk.
    pub(crate) has_ended: bool,
}

impl Vouched {
    pub(crate) fn from_bytes(line: &[u8; LINE_BYTES]) -> Self {
        let word = |at: usize| u64::from_ne_bytes(core::array::from_fn(|i| line[at + i]));
        const AT: usize = core::mem::offset_of!(ProducerLine, origin);
        let closed = word(core::mem::offset_of!(ProducerLine, closed)) as i64;
        let ended = word(core::mem::offset_of!(ProducerLine, ended));
        Self {
            origin: Origin {
                boot: [word(AT), word(AT + 8)],
                inode: word(AT + 16),
                born_ns: word(AT + 24),
            },
            has_ended: closed != OPEN && ended == ended_word(closed),
        }
    }
}

/// `ProducerLine::ended` of a ring that was closed at `last`; never 0 in a ring that was closed in order.
pub(crate) fn ended_word(last: i64) -> u64 {
    last.wrapping_add(2) as u64
}

/// The parties that sleep in the kernel, and the words they sleep on (R9). Written by those that go to sleep
/// and by those that wake them.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct WaitersLine {
    /// Bit i: the consumer of line i sleeps until the next event, or is about to.
    pub(crate) sleepers: AtomicU64,
    /// The sequence whose release a sleeping producer waits for; `i64::MAX` while it does not sleep.
    pub(crate) space_wanted: AtomicI64,
    /// The futex word of sleeping consumers; a waker changes it.
    pub(crate) event_word: AtomicU32,
    /// The futex word of a sleeping producer; a waker changes it.
    pub(crate) space_word: AtomicU32,
    /// When a sleeper was last woken, in nanoseconds by the monotonic clock: a woken party derives from it
    /// how long its wake-up took.
    pub(crate) woken_at_ns: process::AtomicU64,
    /// Not 0 while the producer is blocked and watches its required consumers. A consumer that handles a
    /// burst of events then releases each event by itself, so that the producer sees its progress. A hint: a
    /// stale value does no harm.
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
    /// Bit i: line i may be in use. Set before the line is in use, cleared under the line's lock after FREE (R6).
    pub(crate) bits: AtomicU64,
}

/// What a consumer line is used for (R16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum LineState {
    /// No party owns the line.
    Free = 0,
    /// Claimed, without a position yet: the gate does not respect it.
    Joining = 1,
    /// The gate respects the line; its consumer has yet to read the floor for the second time.
    Settling = 2,
    /// Attached, with a position.
    Active = 3,
    /// A durable consumer that is not attached; the line keeps its position, and the gate respects it.
    Away = 4,
}

impl LineState {
    /// Any word that no party of this version stores reads as `Away`: the gate respects such a line, and no
    /// party takes it.
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
    /// [`DURABLE`] and [`ARRIVED`].
    flags: AtomicU32,
    /// The ring's epoch when this consumer came.
    pub(crate) epoch: AtomicU64,
    pub(crate) owner: OwnerWords,
    id: [AtomicU64; ID_WORDS],
    /// How many events are in doubt, + 1, until this consumer has been told (R17); 0 otherwise.
    pub(crate) in_doubt: process::AtomicU64,
    /// While a doubt is settled: the future value of `in_doubt`.
    pub(crate) in_doubt_next: process::AtomicU64,
    /// A sequence that no event has: the consumer stands there until it has been told.
    pub(crate) doubt_at: process::AtomicI64,
    /// A number of the layer above, which the owner alone writes and its successor finds. 0 when another id takes the
    /// line.
    pub(crate) note: process::AtomicU64,
}

impl ConsumerLine {
    pub(crate) fn state(&self) -> LineState {
        LineState::from_word(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: LineState) {
        self.state.store(state as u32, Ordering::Release);
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & DURABLE != 0
    }

    /// Records that the owner of this line is here. The caller holds the line's lock, and the state is ACTIVE.
    pub(crate) fn set_arrived(&self) {
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(flags | ARRIVED, Ordering::Release);
    }

    /// Whether `is_sought` holds for the id of a consumer that is here, or was here while the ring's producer
    /// had the epoch `epoch`. A place that was kept for a consumer that has never come does not count.
    /// Neither does a consumer that died before its line was ACTIVE.
    pub(crate) fn has_come(&self, epoch: u64, is_sought: impl Fn(&ConsumerId) -> bool) -> bool {
        let id = self.id();
        // The state and the flags are read after the id, so that they are not those of an earlier owner. The
        // id is read again at the end, as it may be that of a later owner.
        let counts = match self.state() {
            LineState::Active | LineState::Away => true,
            LineState::Free => self.epoch.load(Ordering::Relaxed) == epoch,
            LineState::Joining | LineState::Settling => false,
        };
        counts
            && self.flags.load(Ordering::Acquire) & ARRIVED != 0
            && self.id() == id
            && is_sought(&id)
    }

    /// Writes the id of the owner. The caller holds the line's lock, and the state is JOINING. The stores are
    /// Release: a party that reads this id reads a state no older than JOINING.
    pub(crate) fn set_id(&self, id: &ConsumerId, durable: bool) {
        let flags = if durable { DURABLE } else { 0 };
        self.flags.store(flags, Ordering::Relaxed);
        self.in_doubt.store(0, Ordering::Relaxed);
        // a consumer that left this line and comes again finds its note
        if self.id() != *id {
            self.note.store(0, Ordering::Relaxed);
        }
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

    /// The id as text; bytes that are not UTF-8 are replaced.
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
    /// Offset of the producer's owner words, for readers that do not map the segment.
    pub(crate) const PRODUCER_OWNER_OFFSET: usize =
        core::mem::offset_of!(Self, producer) + core::mem::offset_of!(ProducerLine, owner);

    /// The control lines of a ring whose first event will be `first_sequence`.
    pub(crate) fn new(first_sequence: i64) -> Self {
        Self {
            producer: ProducerLine {
                floor: AtomicI64::new(first_sequence - 1),
                closed: AtomicI64::new(OPEN),
                doubt_seen: process::AtomicI64::new(0),
                epoch: AtomicU64::new(0),
                owner: OwnerWords::default(),
                kept: AtomicU32::new(NOT_KEPT),
                origin: OriginWords::default(),
                ended: process::AtomicU64::new(0),
                synced: process::AtomicI64::new(0),
                doubt_floor: process::AtomicI64::new(0),
                doubt_tag: process::AtomicU64::new(0),
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
                flags: AtomicU32::new(0),
                epoch: AtomicU64::new(0),
                owner: OwnerWords::default(),
                id: core::array::from_fn(|_| AtomicU64::new(0)),
                in_doubt: process::AtomicU64::new(0),
                in_doubt_next: process::AtomicU64::new(0),
                doubt_at: process::AtomicI64::new(0),
                note: process::AtomicU64::new(0),
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
    assert!(core::mem::offset_of!(ConsumerLine, in_doubt) == 96);
    assert!(core::mem::offset_of!(ConsumerLine, doubt_at) == 112);
    assert!(core::mem::offset_of!(ConsumerLine, note) == 120);
    assert!(core::mem::offset_of!(ProducerLine, doubt_seen) == 16);
    assert!(core::mem::offset_of!(ProducerLine, owner) == 32);
    assert!(core::mem::offset_of!(ProducerLine, kept) == 56);
    assert!(core::mem::offset_of!(ProducerLine, origin) == 64);
    assert!(core::mem::offset_of!(ProducerLine, ended) == 96);
    assert!(core::mem::offset_of!(ProducerLine, synced) == 104);
    assert!(core::mem::offset_of!(ProducerLine, doubt_floor) == 112);
    assert!(core::mem::offset_of!(ProducerLine, doubt_tag) == 120);
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
