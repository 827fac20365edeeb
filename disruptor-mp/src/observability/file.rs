//! The counters file: a header, then slots.
//!
//! ```text
//! +   0  magic        8 bytes, "MYLNCNT\0"
//! +   8  version      u32, 2
//! +  12  slot count   u32
//! +  16  slot bytes   u32, 512
//! +  20  slots at     u32, 128
//! + 128  slots
//! ```
//!
//! The header is written once, before the file has its name. Slot i belongs to the process that holds lock
//! byte 1 + i of the file (R8). A process that dies frees its bytes, as a handle does that is dropped. The slots stay
//! as they are until another process takes them, or [`CountersFile::sweep`] frees them.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::position::{OpenRing, Readings, Source};
use super::slot::{COUNTER_LABEL_BYTES_MAX, SlotState, SlotWords, TEXT_BYTES, Text};
use super::{CounterId, CounterSnapshot, CountersError};
use crate::Sequence;
use crate::cause::{SystemCause, cause_of, why_not_opened};
use crate::layout::lock_bytes::{PRODUCER_BYTE, line_byte};
use crate::os::fork;
use crate::os::lock::LockFile;
use crate::os::memory::{Access, Mapping, ReserveError, Shortage, reserve};
use crate::os::names::{self, Directory, Kind, OpenError};
use crate::os::step::{Failed, Step};
use crate::sync::process::{AtomicU64, Ordering};

/// The number of counters in a file.
pub const COUNTERS_FILE_SLOTS: usize = 1024;

/// A header with more slots than this was not written by this crate.
const SLOTS_MAX: u32 = 1 << 20;
const MAGIC: [u8; 8] = *b"MYLNCNT\0";
const KIND: Kind = Kind {
    magic: MAGIC,
    builder_byte: PRODUCER_BYTE,
};
const VERSION: u32 = 2;
/// Seen from outside, a counters file is known by these two.
#[cfg(not(loom))]
const _: () = assert!(
    u64::from_ne_bytes(crate::inspect::counters::MAGIC) == u64::from_ne_bytes(MAGIC)
        && crate::inspect::counters::VERSION == VERSION
);
const SLOT_BYTES: u32 = size_of::<SlotWords>() as u32;
const SLOTS_AT: u32 = 128;
const HEADER_BYTES: usize = 24;
const MODE: u32 = 0o600;

/// Always non-zero: a forked child has a copy of the heap of its own.
static ALWAYS_LIVE: AtomicU64 = AtomicU64::new(1);

/// A table of counters, in a file that other processes can open, or on this process's heap. Clones refer to
/// the same table.
///
/// # Examples
///
/// ```
/// use disruptor_mp::CountersFile;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("counters");
///
/// let mine = CountersFile::create(&path)?;
/// let orders = mine.counter(0x100, "orders")?;
/// orders.add(2);
///
/// // another process
/// let theirs = CountersFile::open(&path)?;
/// assert_eq!(theirs.snapshot()[0].value, 2);
/// assert_eq!(theirs.sweep()?, 0);                            // how many owners have gone
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CountersFile {
    table: Arc<Table>,
}

/// The memory of a file, and the slots that this process has in it.
struct Table {
    memory: Memory,
    /// Zero in a forked child that has not inherited the memory.
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

enum Memory {
    Heap(Box<[SlotWords]>),
    Mapped {
        map: Mapping,
        count: usize,
        locks: LockFile,
    },
}

impl CountersFile {
    /// Creates the file, or opens the counters file that exists, so that a restarted program finds its own
    /// file again. This crate never removes the file.
    ///
    /// # Errors
    ///
    /// Any of [`CountersError`]; a file that is not a counters file stays as it is.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, CountersError> {
        let path = &names::absolute(path.as_ref());
        loop {
            match Self::open(path) {
                Err(CountersError::NotFound { .. }) => {}
                opened => return opened,
            }
            match build(path) {
                Err(CountersError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                built => return built,
            }
        }
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Any of [`CountersError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CountersError> {
        let path = &names::absolute(path.as_ref());
        let (directory, leaf) = place(path)?;
        let fd = directory
            .open_existing(&leaf, true, true)
            .map_err(|error| open_error(path, error))?;
        let count = read_header(path, &fd)?;
        // Its creator may have been killed before it removed the second name. A failure is ignored: a user that
        // may open the file may lack the right to change the directory.
        let _ = directory.remove_second_names(&leaf, fd.as_fd());
        map(path, fd, count)
    }

    /// A table on this process's heap: for tests, and for programs that read only their own counters.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(disruptor_mp::CountersFile::anonymous().snapshot().is_empty());
    /// ```
    pub fn anonymous() -> Self {
        let slots = (0..COUNTERS_FILE_SLOTS).map(|_| SlotWords::default());
        Self::new(Memory::Heap(slots.collect()), &ALWAYS_LIVE, None)
    }

    fn new(memory: Memory, live: &'static AtomicU64, path: Option<PathBuf>) -> Self {
        let held = Mutex::new(vec![Held::No; memory.slots().len()]);
        let table = Table {
            memory,
            live,
            held,
            path,
        };
        Self {
            table: Arc::new(table),
        }
    }

    /// The file's absolute path; `None` on the heap.
    pub fn path(&self) -> Option<&Path> {
        self.table.path.as_deref()
    }

    /// A new counter of your own, which starts at zero. Each call returns a different counter, even for the
    /// same id and label.
    ///
    /// # Errors
    ///
    /// [`CountersError::ReservedId`] below 0x100, [`CountersError::LabelTooLong`] over 48 bytes,
    /// [`CountersError::InvalidLabel`], [`CountersError::Full`], [`CountersError::Forked`].
    pub fn counter(
        &self,
        id: impl Into<CounterId>,
        label: &str,
    ) -> Result<CounterHandle, CountersError> {
        let id = id.into();
        if !id.is_application() {
            return Err(CountersError::ReservedId { id });
        }
        if label.len() > COUNTER_LABEL_BYTES_MAX {
            return Err(CountersError::LabelTooLong {
                limit: COUNTER_LABEL_BYTES_MAX,
                label: label.to_owned(),
                bytes: label.len(),
            });
        }
        if label.contains('\0') {
            let label = label.to_owned();
            return Err(CountersError::InvalidLabel { label });
        }
        Ok(CounterHandle {
            slot: self.claim(id, &Text::of_value(label), None)?,
            one_thread: PhantomData,
        })
    }

    /// For a layer above: a counter of this crate family that no endpoint keeps, of the party `id` of a ring in this
    /// role. Its label is `ring/role/id`, as those of endpoints are, and it starts at zero.
    ///
    /// # Errors
    ///
    /// [`CountersError::LabelTooLong`] if the label has more than 432 bytes, [`CountersError::Full`],
    /// [`CountersError::Forked`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::observability::{CounterId, CountersFile, PartyCounter};
    ///
    /// let file = CountersFile::anonymous();
    /// let mut absences: PartyCounter = file.party_counter(CounterId::WORKER_ABSENCES, "jobs", "worker", "worker_3")?;
    /// absences.set(1);
    /// assert_eq!((&*file.snapshot()[0].label, file.snapshot()[0].value), ("jobs/worker/worker_3", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn party_counter(
        &self,
        counter: CounterId,
        ring: &str,
        role: &str,
        id: &str,
    ) -> Result<PartyCounter, CountersError> {
        let label = format!("{ring}/{role}/{id}");
        if label.len() > TEXT_BYTES {
            return Err(CountersError::LabelTooLong {
                limit: TEXT_BYTES,
                bytes: label.len(),
                label,
            });
        }
        let slot = self.claim(counter, &Text::of_value(&label), None)?;
        Ok(PartyCounter { slot })
    }

    /// Claims a slot for any id. With the line that its value follows from, if that is in a ring's lines.
    pub(super) fn claim(
        &self,
        id: CounterId,
        text: &Text,
        line: Option<(Source, Arc<dyn OpenRing>)>,
    ) -> Result<Slot, CountersError> {
        let index = self.table.take(id, text, line)?;
        Ok(Slot {
            words: NonNull::from_ref(&self.table.slots()[index]),
            live: self.table.live,
            index,
            table: Arc::clone(&self.table),
        })
    }

    /// Every counter that is in use, or whose owner has gone and whose slot was not taken since. Positions are read
    /// from the rings at this moment; one that cannot be found out is left out: see [`observability`](super).
    pub fn snapshot(&self) -> Vec<CounterSnapshot> {
        self.snapshot_of(|_| true)
    }

    /// As [`snapshot`](Self::snapshot), of some ids only.
    pub(super) fn snapshot_of(
        &self,
        is_wanted: impl Fn(CounterId) -> bool,
    ) -> Vec<CounterSnapshot> {
        let mut readings = Readings::default();
        (0..self.table.slots().len())
            .filter_map(|index| self.table.read(index, &is_wanted, &mut readings))
            .collect()
    }

    /// Frees the slots of owners that have gone or died; returns how many there were.
    ///
    /// # Errors
    ///
    /// [`CountersError::Forked`], [`CountersError::Io`].
    pub fn sweep(&self) -> Result<usize, CountersError> {
        let table = &self.table;
        table.check_live()?;
        let held = table.held();
        let mut freed = 0;
        for (index, words) in table.slots().iter().enumerate() {
            let may_be_left = words.state() != SlotState::Free && held[index].is_no();
            if may_be_left && table.try_lock(index)? {
                if words.state() != SlotState::Free {
                    words.free();
                    freed += 1;
                }
                table.unlock(index);
            }
        }
        Ok(freed)
    }
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
            Self::Mapped { map, count, .. } => {
                // SAFETY: the slots begin within the mapping, which was made or checked to be long enough for
                // `count` of them (R1).
                let first = unsafe { map.as_ptr().add(SLOTS_AT as usize) };
                // SAFETY: in bounds as above, aligned (a page and 128 bytes), all words atomic, any bytes valid; the
                // mapping lives as long as `self`, and in a child `Table::slots` does not call this (R8).
                unsafe { core::slice::from_raw_parts(first.cast().as_ptr(), *count) }
            }
        }
    }
}

impl Table {
    /// The slots; empty in a forked child, which has not inherited the mapping.
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
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring of the endpoint that holds a slot, if both are of this process.
    fn open_ring(&self, index: usize) -> Option<Arc<dyn OpenRing>> {
        match &self.held()[index] {
            Held::InRing(ring) => Some(Arc::clone(ring)),
            Held::No | Held::Yes => None,
        }
    }

    /// The counter in a slot, as it is now.
    fn read(
        &self,
        index: usize,
        is_wanted: impl Fn(CounterId) -> bool,
        readings: &mut Readings,
    ) -> Option<CounterSnapshot> {
        let words = &self.slots()[index];
        let mut seen = words.read().filter(|seen| is_wanted(seen.counter.id))?;
        if seen.source.is_none() {
            return Some(seen.counter);
        }
        let open = self.open_ring(index);
        if open.is_some() {
            // the slot may have changed hands since
            seen = words.read().filter(|seen| is_wanted(seen.counter.id))?;
        }
        let Some(source) = seen.source else {
            return Some(seen.counter);
        };
        let standing = match open {
            // it may take a while, and endpoints come and go meanwhile: one that has gone may have left its line to
            // another of this process, and the slot to another ring
            Some(ring) => ring.standing(&source).filter(|_| {
                let now = self.open_ring(index);
                now.is_some_and(|now| std::ptr::addr_eq(Arc::as_ptr(&now), Arc::as_ptr(&ring)))
            }),
            None => seen.path.and_then(|path| readings.standing(&path, &source)),
        };
        let CounterSnapshot { id, label, value } = seen.counter;
        match standing {
            Some(at) => Some(CounterSnapshot {
                id,
                label,
                value: source.value(id, at, value),
            }),
            // the endpoint may have ended in between, and have left its last value
            None => {
                let again = words.read().filter(|seen| seen.source.is_none())?;
                (again.counter.id == id && again.counter.label == label).then_some(again.counter)
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
        io_error(path, step.failed(source))
    }
}

impl fmt::Debug for CountersFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountersFile")
            .field("path", &self.table.path)
            .finish_non_exhaustive()
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
    /// The words; `None` in a forked child, where nothing is mapped there.
    #[inline(always)]
    fn words(&self) -> Option<&SlotWords> {
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

/// A counter and the right to change it. Keeps the file mapped. A dropped counter can be read until another one takes
/// its slot, or [`CountersFile::sweep`] frees it.
///
/// It has one writer: so it may move to another thread, but two threads cannot share it:
///
/// ```compile_fail
/// fn shared<T: Sync>(_: T) {}
/// let file = disruptor_mp::CountersFile::anonymous();
/// shared(file.counter(0x100, "orders").unwrap());
/// ```
///
/// # Examples
///
/// ```
/// let file = disruptor_mp::CountersFile::anonymous();
/// let orders = file.counter(0x100, "orders")?;
/// orders.set(5);
/// orders.add(2);
/// assert_eq!(orders.get(), 7);
/// # Ok::<(), disruptor_mp::CountersError>(())
/// ```
#[derive(Debug)]
pub struct CounterHandle {
    slot: Slot,
    one_thread: PhantomData<Cell<()>>,
}

impl CounterHandle {
    /// Adds `n`, wrapping, with a plain load and a plain store. Does nothing in a forked child.
    #[inline]
    pub fn add(&self, n: u64) {
        if let Some(words) = self.slot.words() {
            words.add(n);
        }
    }

    /// Replaces the value. Does nothing in a forked child.
    #[inline]
    pub fn set(&self, value: u64) {
        self.slot.set(value);
    }

    /// The value; zero in a forked child.
    #[inline]
    pub fn get(&self) -> u64 {
        self.slot.words().map_or(0, SlotWords::get)
    }
}

/// A counter of a party of a ring that a layer above knows: [`CountersFile::party_counter`] makes it. As a
/// [`CounterHandle`], it keeps the file mapped, and a dropped one can be read until another takes its slot.
///
/// # Examples
///
/// See [`CountersFile::party_counter`].
#[derive(Debug)]
pub struct PartyCounter {
    slot: Slot,
}

impl PartyCounter {
    /// Replaces the value. Does nothing in a forked child.
    ///
    /// # Examples
    ///
    /// See [`CountersFile::party_counter`].
    pub fn set(&mut self, value: u64) {
        self.slot.set(value);
    }
}

/// Builds a complete file without a name, then names it.
fn build(path: &Path) -> Result<CountersFile, CountersError> {
    let refused = |failed| io_error(path, failed);
    let failed = |step: Step| move |source: io::Error| io_error(path, step.failed(source));
    let (directory, leaf) = place(path)?;
    let file = directory
        .create_nameless(&leaf, MODE, KIND, false)
        .map_err(refused)?;
    let builder = LockFile::reopen(file.as_fd()).map_err(failed(Step::Reopen))?;
    let is_locked = builder
        .try_lock(PRODUCER_BYTE)
        .map_err(failed(Step::Lock))?;
    // a file with a temporary name may have been removed as a leftover before it was locked: the caller tries again
    if !is_locked || !file.is_intact().map_err(failed(Step::ReadStatus))? {
        return Err(failed(Step::NameFile)(io::ErrorKind::AlreadyExists.into()));
    }
    let bytes = u64::from(SLOTS_AT) + (COUNTERS_FILE_SLOTS * SLOT_BYTES as usize) as u64;
    reserve(file.as_fd(), bytes).map_err(|error| match error {
        ReserveError::NoSpace(Shortage {
            needed,
            free,
            limit,
        }) => CountersError::NoSpace {
            path: path.display().to_string(),
            needed_bytes: needed,
            free_bytes: free,
            limited_by: limit.to_string(),
        },
        ReserveError::Io(source) => refused(Step::Reserve.failed(source).of_bytes(bytes)),
    })?;
    let clone = file
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed(Step::Duplicate))?;
    File::from(clone)
        .write_all_at(&header(), 0)
        .map_err(failed(Step::WriteFile))?;
    let fd = file
        .publish()
        .map_err(|(source, _)| failed(Step::NameFile)(source))?;
    map(path, fd, COUNTERS_FILE_SLOTS)
}

fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    let fields = [VERSION, COUNTERS_FILE_SLOTS as u32, SLOT_BYTES, SLOTS_AT];
    for (bytes, field) in header[8..].as_chunks_mut::<4>().0.iter_mut().zip(fields) {
        *bytes = field.to_ne_bytes();
    }
    header
}

/// Validates the header against the file's length; returns the number of slots (R1).
fn read_header(path: &Path, fd: &OwnedFd) -> Result<usize, CountersError> {
    let failed = |step: Step| move |source: io::Error| io_error(path, step.failed(source));
    let foreign = |found: String| CountersError::NotACountersFile {
        path: path.display().to_string(),
        found,
    };
    let file = File::from(fd.try_clone().map_err(failed(Step::Duplicate))?);
    let length = file.metadata().map_err(failed(Step::ReadStatus))?.len();
    if length < u64::from(SLOTS_AT) {
        return Err(foreign(format!(
            "it has {length} bytes, too few for a header"
        )));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)
        .map_err(failed(Step::ReadFile))?;
    if header[..8] != MAGIC {
        return Err(foreign("it does not begin as one".into()));
    }
    let mut fields = [0; 4];
    for (field, bytes) in fields.iter_mut().zip(header[8..].as_chunks::<4>().0) {
        *field = u32::from_ne_bytes(*bytes);
    }
    let [version, count, slot_bytes, slots_at] = fields;
    if version != VERSION {
        return Err(foreign(format!(
            "its version is {version}, not {VERSION}, so only programs of that version can use it"
        )));
    }
    if (slot_bytes, slots_at) != (SLOT_BYTES, SLOTS_AT) || !(1..=SLOTS_MAX).contains(&count) {
        return Err(foreign("its header is damaged".into()));
    }
    let needed = u64::from(SLOTS_AT) + u64::from(count) * u64::from(SLOT_BYTES);
    if length < needed {
        return Err(foreign(format!("it was cut to {length} bytes of {needed}")));
    }
    Ok(count as usize)
}

/// Maps the slots. The caller has checked that the file is long enough for `count` of them.
fn map(path: &Path, fd: OwnedFd, count: usize) -> Result<CountersFile, CountersError> {
    let refused = |failed| io_error(path, failed);
    let failed = |step: Step| move |source: io::Error| io_error(path, step.failed(source));
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed(Step::Reopen))?;
    let bytes = SLOTS_AT as usize + count * SLOT_BYTES as usize;
    let map = Mapping::map(fd.as_fd(), 0, bytes, Access::ReadWrite).map_err(refused)?;
    map.populate().map_err(refused)?;
    let memory = Memory::Mapped { map, count, locks };
    Ok(CountersFile::new(
        memory,
        fork::live_word(),
        Some(path.to_owned()),
    ))
}

/// The directory of the path, and the name in it.
fn place(path: &Path) -> Result<(Directory, String), CountersError> {
    let text = || path.display().to_string();
    let Some(leaf) = path.file_name().and_then(|leaf| leaf.to_str()) else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it does not end in a name");
        return Err(io_error(path, Step::OpenFile.failed(source)));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = Directory::open(parent).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CountersError::NotFound { path: text() },
        _ => io_error(path, Step::OpenDirectory.failed(source)),
    })?;
    Ok((directory, leaf.to_owned()))
}

fn open_error(path: &Path, error: OpenError) -> CountersError {
    let (text, reason) = (path.display().to_string(), error.to_string());
    match error {
        OpenError::NotFound => CountersError::NotFound { path: text },
        OpenError::ForeignOwner { .. } => CountersError::PermissionDenied { path: text, reason },
        OpenError::PermissionDenied { errno } => match why_not_opened(errno, path, true) {
            SystemCause::NoWriteAccess { owner, mode } => CountersError::PermissionDenied {
                path: text,
                reason: format!("{reason}: it belongs to {owner} with mode {mode:04o}"),
            },
            cause => CountersError::Io {
                path: text,
                operation: Step::OpenFile.words(),
                source: errno.into(),
                cause: Some(Box::new(cause)),
            },
        },
        OpenError::Symlink | OpenError::NotRegular { .. } | OpenError::NetworkFileSystem { .. } => {
            CountersError::NotACountersFile {
                path: text,
                found: reason,
            }
        }
        OpenError::Failed(failed) => io_error(path, failed),
    }
}

/// The error of a step that the system refused, with its cause.
fn io_error(path: &Path, failed: Failed) -> CountersError {
    CountersError::Io {
        path: path.display().to_string(),
        operation: failed.step.words(),
        cause: cause_of(&failed, path).map(Box::new),
        source: failed.source,
    }
}
