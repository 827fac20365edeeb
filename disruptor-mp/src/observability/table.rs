//! The slots of a counters file, and who has them: a table, and the hold of an owner on one slot.
//!
//! Slot i belongs to the process that holds lock byte 1 + i of the file (R8), and within it to the [`Slot`] for which
//! [`Table`] took that lock. A process that dies frees its bytes, as a slot does that is dropped. The words stay as
//! they are until another owner takes them, or a sweep frees them.

use core::fmt;
use core::ptr::NonNull;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::position::{OpenRing, Place, Readings, Source};
use super::slot::{SlotSeen, SlotState, SlotWords, Text};
use super::{CounterId, CounterSnapshot, CountersError};
use crate::Sequence;
use crate::layout::lock_bytes::line_byte;
use crate::os::fork;
use crate::os::lock::LockFile;
use crate::os::memory::Mapping;
use crate::os::step::Step;
use crate::sync::process::{AtomicU64, Ordering};
use crate::testing::fail::point;

/// The memory of a file, and the slots that this process has in it.
pub(super) struct Table {
    memory: Memory,
    /// Zero in a forked child: it has not inherited a mapping, and another thread may have held the lock for ever.
    live: &'static AtomicU64,
    held: Mutex<Vec<Held>>,
    path: Option<PathBuf>,
}

/// Whether a handle of this table has a slot.
#[derive(Clone)]
enum Held {
    No,
    Yes,
    /// Yes, and its value follows from the lines of a ring that this process has open.
    InRing(Arc<dyn OpenRing>),
}

/// What was found in a slot.
struct Found {
    index: usize,
    seen: SlotSeen,
    /// The ring, if this process has it open, and what the line there says.
    open: Option<Arc<dyn OpenRing>>,
    place: Option<Place>,
}

pub(super) enum Memory {
    Heap(Box<[SlotWords]>),
    Mapped {
        map: Mapping,
        /// Where the slots begin, in bytes, and how many there are: within the mapping.
        slots_at: usize,
        count: usize,
        locks: LockFile,
    },
}

impl Held {
    fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

impl Memory {
    fn slots(&self) -> &[SlotWords] {
        match self {
            Self::Heap(slots) => slots,
            Self::Mapped {
                map,
                slots_at,
                count,
                ..
            } => {
                // SAFETY: the slots begin within the mapping, which was made or checked to be long enough for
                // `count` of them (R1).
                let first = unsafe { map.as_ptr().add(*slots_at) };
                // SAFETY: in bounds as above, aligned (a page and 128 bytes), all words atomic, any bytes valid; the
                // mapping lives as long as `self`, and in a child `Table::slots` does not call this (R8).
                unsafe { core::slice::from_raw_parts(first.cast().as_ptr(), *count) }
            }
        }
    }
}

impl Table {
    pub(super) fn new(memory: Memory, path: Option<PathBuf>) -> Self {
        let held = Mutex::new(vec![Held::No; memory.slots().len()]);
        Self {
            memory,
            live: fork::live_word(),
            held,
            path,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Takes a slot for any id. With the line that its value follows from, if that is in a ring's lines.
    pub(super) fn claim(
        self: &Arc<Self>,
        id: CounterId,
        text: &Text,
        line: Option<(Source, Arc<dyn OpenRing>)>,
    ) -> Result<Slot, CountersError> {
        let index = self.take(id, text, line)?;
        Ok(Slot {
            words: NonNull::from_ref(&self.slots()[index]),
            live: self.live,
            index,
            table: Arc::clone(self),
        })
    }

    /// The slots; empty in a forked child.
    fn slots(&self) -> &[SlotWords] {
        if self.live.load(Ordering::Relaxed) == 0 {
            return &[];
        }
        self.memory.slots()
    }

    fn check_live(&self) -> Result<(), CountersError> {
        match self.live.load(Ordering::Relaxed) {
            0 => Err(CountersError::Forked),
            _ => Ok(()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        point("counters.held");
        held
    }

    /// The ring of the endpoint that holds a slot, if both are of this process.
    fn open_ring(&self, index: usize) -> Option<Arc<dyn OpenRing>> {
        match &self.held()[index] {
            Held::InRing(ring) => Some(Arc::clone(ring)),
            Held::No | Held::Yes => None,
        }
    }

    /// The counters, as they are now. All places in rings are read before what is published, which is then found once
    /// for each ring.
    pub(super) fn snapshot(&self) -> Vec<CounterSnapshot> {
        let slots = 0..self.slots().len();
        let found: Vec<_> = slots.filter_map(|index| self.read_slot(index)).collect();
        let mut readings = Readings::default();
        let counters = found.into_iter();
        counters
            .filter_map(|found| self.counter(found, &mut readings))
            .collect()
    }

    fn read_slot(&self, index: usize) -> Option<Found> {
        let words = self.slots().get(index)?;
        let mut seen = words.read()?;
        let mut open = None;
        if seen.source.is_some() {
            point("counters.read");
            open = self.open_ring(index);
        }
        if open.is_some() {
            point("counters.opened");
            // the slot may have changed hands since
            seen = words.read()?;
        }
        let place = match (&seen.source, &open) {
            (Some(source), Some(ring)) => ring.place(source),
            _ => None,
        };
        Some(Found {
            index,
            seen,
            open,
            place,
        })
    }

    fn counter(&self, found: Found, readings: &mut Readings) -> Option<CounterSnapshot> {
        let Found {
            index,
            seen,
            open,
            place,
        } = found;
        let Some(source) = seen.source else {
            return Some(seen.counter);
        };
        let standing = match open {
            // it may take a while, and endpoints come and go meanwhile: one that has gone may have left its line to
            // another of this process, and the slot to another ring
            Some(ring) => place
                .and_then(|place| ring.standing(&source, place, readings))
                .filter(|_| {
                    let now = self.open_ring(index);
                    now.is_some_and(|now| std::ptr::addr_eq(Arc::as_ptr(&now), Arc::as_ptr(&ring)))
                }),
            None => seen.path.and_then(|path| readings.standing(&path, &source)),
        };
        let counter = seen.counter;
        match standing {
            Some(at) => Some(CounterSnapshot {
                value: source.value(counter.id, at, counter.value),
                ..counter
            }),
            // the endpoint may have ended in between, and have left its last value
            None => {
                let again = self.slots().get(index)?.read()?;
                let is_same = CounterSnapshot {
                    value: counter.value,
                    ..again.counter.clone()
                } == counter;
                (again.source.is_none() && is_same).then_some(again.counter)
            }
        }
    }

    /// Takes a slot: its lock and its words. Prefers the slot of an owner that has gone and had the same counter, then
    /// a free slot, then that of any owner that has gone.
    fn take(
        &self,
        id: CounterId,
        text: &Text,
        line: Option<(Source, Arc<dyn OpenRing>)>,
    ) -> Result<usize, CountersError> {
        self.check_live()?;
        let mut held = self.held();
        let slots = self.slots();
        let wanted: [&dyn Fn(&SlotWords) -> bool; 3] = [
            &|words| words.state() != SlotState::Free && words.is(id, text),
            &|words| words.state() == SlotState::Free,
            &|_| true,
        ];
        for is_wanted in wanted {
            for (index, words) in slots.iter().enumerate() {
                if !held[index].is_no() || !is_wanted(words) || !self.try_lock(index)? {
                    continue;
                }
                // another process may have had the slot and left it between the check and the lock
                if is_wanted(words) {
                    let (source, ring) = line.unzip();
                    // while nobody can read who holds the slot: words and holder are of one owner
                    words.claim(id, text, source.as_ref());
                    held[index] = ring.map_or(Held::Yes, Held::InRing);
                    return Ok(index);
                }
                self.unlock(index);
            }
        }
        Err(CountersError::Full { slots: slots.len() })
    }

    /// Frees the slots of owners that have gone or died; returns how many there were.
    pub(super) fn sweep(&self) -> Result<usize, CountersError> {
        self.check_live()?;
        let held = self.held();
        let mut freed = 0;
        for (index, words) in self.slots().iter().enumerate() {
            let may_be_left = words.state() != SlotState::Free && held[index].is_no();
            if may_be_left && self.try_lock(index)? {
                if words.state() != SlotState::Free {
                    words.free();
                    freed += 1;
                }
                self.unlock(index);
            }
        }
        Ok(freed)
    }

    fn try_lock(&self, index: usize) -> Result<bool, CountersError> {
        match &self.memory {
            Memory::Heap(_) => Ok(true),
            Memory::Mapped { locks, .. } => locks
                .try_lock(line_byte(index))
                .map_err(|source| self.io_error(Step::Lock, source)),
        }
    }

    fn unlock(&self, index: usize) {
        if let Memory::Mapped { locks, .. } = &self.memory
            && let Err(error) = locks.unlock(line_byte(index))
        {
            tracing::warn!(path = ?self.path, %error, "could not unlock a counter");
        }
    }

    fn io_error(&self, step: Step, source: io::Error) -> CountersError {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        CountersError::of_step(path, step.failed(source))
    }
}

/// The owner's hold on one slot. Dropping it leaves the counter to be read until another owner takes the slot.
pub(crate) struct Slot {
    words: NonNull<SlotWords>,
    live: &'static AtomicU64,
    index: usize,
    table: Arc<Table>,
}

// SAFETY: the pointer is into the table's memory, which the Arc keeps alive, and all words are atomic.
unsafe impl Send for Slot {}
// SAFETY: as for Send.
unsafe impl Sync for Slot {}

impl Slot {
    /// The words; `None` in a forked child.
    #[inline(always)]
    pub(super) fn words(&self) -> Option<&SlotWords> {
        if self.live.load(Ordering::Relaxed) == 0 {
            return None;
        }
        // SAFETY: the table keeps the memory mapped in this process as long as this slot lives (R8).
        Some(unsafe { self.words.as_ref() })
    }

    #[inline(always)]
    pub(super) fn set(&self, value: u64) {
        if let Some(words) = self.words() {
            words.set(value);
        }
    }

    pub(super) fn set_first(&self, first: Sequence) {
        if let Some(words) = self.words() {
            words.set_first(first);
        }
    }

    /// Leaves this value, which no longer follows from a line.
    pub(super) fn settle(self, value: u64) {
        if let Some(words) = self.words() {
            words.settle(value);
        }
    }

    /// Leaves no counter.
    pub(super) fn free(self) {
        if let Some(words) = self.words() {
            words.free();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.words().is_none() {
            return;
        }
        let mut held = self.table.held();
        self.table.unlock(self.index);
        held[self.index] = Held::No;
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().map(SlotWords::read).fmt(f)
    }
}
