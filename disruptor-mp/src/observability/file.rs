//! A table of counters that a program opens, and its handles. `on_disk` has the bytes of the file, and `table` who owns
//! a slot.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::position::{OpenRing, Source};
use super::slot::{COUNTER_LABEL_BYTES_MAX, SlotWords, TEXT_BYTES, Text};
use super::table::{Memory, Slot, Table};
use super::{CounterId, CounterSnapshot, CountersError, on_disk};
use crate::os::names;

/// The number of counters in a file.
pub const COUNTERS_FILE_SLOTS: usize = 1024;

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

impl CountersFile {
    /// Creates the file, or opens the counters file that exists, so that a restarted program finds its own
    /// file again. This crate never removes the file.
    ///
    /// # Errors
    ///
    /// Any of [`CountersError`]; a file that is not a counters file stays as it is.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, CountersError> {
        let path = names::absolute(path.as_ref());
        let memory = on_disk::create(&path)?;
        Ok(Self::of(memory, Some(path)))
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Any of [`CountersError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CountersError> {
        let path = names::absolute(path.as_ref());
        let memory = on_disk::open(&path)?;
        Ok(Self::of(memory, Some(path)))
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
        Self::of(Memory::Heap(slots.collect()), None)
    }

    fn of(memory: Memory, path: Option<PathBuf>) -> Self {
        Self {
            table: Arc::new(Table::new(memory, path)),
        }
    }

    /// The file's absolute path; `None` on the heap.
    pub fn path(&self) -> Option<&Path> {
        self.table.path()
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

    /// For a layer above: makes a counter that no endpoint keeps, for the participant `id` in this `role` of a ring.
    /// Its label is `ring/role/id`, as those of endpoints are, and it starts at zero.
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
        self.table.claim(id, text, line)
    }

    /// Every counter that is in use, or whose owner has gone and whose slot was not taken since. Positions are read
    /// from the rings at this moment; one that cannot be found out is left out: see [`observability`](super).
    pub fn snapshot(&self) -> Vec<CounterSnapshot> {
        self.table.snapshot()
    }

    /// Frees the slots of owners that have gone or died; returns how many there were.
    ///
    /// # Errors
    ///
    /// [`CountersError::Forked`], [`CountersError::Io`].
    pub fn sweep(&self) -> Result<usize, CountersError> {
        self.table.sweep()
    }
}

impl fmt::Debug for CountersFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountersFile")
            .field("path", &self.path())
            .finish_non_exhaustive()
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
