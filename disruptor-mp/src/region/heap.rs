//! A segment on this process's heap, byte for byte like one in a file: for tests, for Miri, for threads.
//!
//! The locks are a table beside the memory. An endpoint that is dropped removes its entries, as the kernel
//! frees the locks of a dead process.

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::{MemoryReport, Region};
use crate::layout::CONTROL_OFFSET;
use crate::layout::control::Control;
use crate::layout::header::{Geometry, HEADER_BYTES};
use crate::protocol::Locks;
use crate::sync::Mutex;
use crate::sync::process::{AtomicU64, Ordering};

/// Always non-zero: a forked child shares no heap with its parent, so its copy stays usable.
static ALWAYS_LIVE: AtomicU64 = AtomicU64::new(1);
static NEXT_ENDPOINT: AtomicU64 = AtomicU64::new(1);

/// The memory and the lock table, shared by all endpoints.
#[derive(Debug)]
pub(crate) struct HeapMemory {
    base: NonNull<u8>,
    layout: Layout,
    geometry: Geometry,
    /// Whether the ring has observers, as the header of a file would say (R13).
    pub(crate) is_observed: bool,
    locked: Mutex<BTreeMap<u64, u64>>,
}

// SAFETY: any thread accesses the memory only as the protocol says (R1 to R3): through atomics and claims.
unsafe impl Send for HeapMemory {}
// SAFETY: as for Send.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    /// Zeroed memory of the segment's length; `None` if the process cannot allocate that much.
    pub(crate) fn new(geometry: Geometry, is_observed: bool) -> Option<Arc<Self>> {
        let layout =
            Layout::from_size_align(usize::try_from(geometry.segment_len).ok()?, 4096).ok()?;
        // SAFETY: the layout's size is not zero, as a segment has a header.
        let base = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(base)?;
        Some(Arc::new(Self {
            base,
            layout,
            geometry,
            is_observed,
            locked: Mutex::new(BTreeMap::new()),
        }))
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: `new` allocated the block with this layout, and the last endpoint is gone.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// One endpoint's hold on a [`HeapMemory`].
#[derive(Debug)]
pub(crate) struct HeapRegion {
    locks: HeapLocks,
}

/// The locks of one endpoint.
#[derive(Debug)]
struct HeapLocks {
    memory: Arc<HeapMemory>,
    endpoint: u64,
}

impl HeapRegion {
    pub(crate) fn new(memory: Arc<HeapMemory>) -> Self {
        let locks = HeapLocks {
            memory,
            endpoint: NEXT_ENDPOINT.fetch_add(1, Ordering::Relaxed),
        };
        #[cfg(all(feature = "dst", not(loom)))]
        locks.fall_at_death();
        Self { locks }
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: both callers pass an offset within the block, from the geometry that the block was made with (R1).
        unsafe { self.locks.memory.base.add(offset) }
    }
}

impl Region for HeapRegion {
    fn control(&self) -> NonNull<Control> {
        self.at(CONTROL_OFFSET).cast()
    }

    fn slots(&self) -> NonNull<u8> {
        self.at(self.locks.memory.geometry.slots_offset as usize)
    }

    fn locks(&self) -> &dyn Locks {
        &self.locks
    }

    fn live_word(&self) -> &'static AtomicU64 {
        &ALWAYS_LIVE
    }

    fn write_header(&self, header: &[u8; HEADER_BYTES]) {
        // SAFETY: the block starts with at least a page, which is longer than the header, and no other thread
        // has it yet (R1).
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), self.at(0).as_ptr(), HEADER_BYTES)
        };
    }

    fn is_name_ours(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn unlink(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_control(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport {
            segment_bytes: self.locks.memory.geometry.segment_len,
            huge_bytes: 0,
            is_locked: false,
            is_read_only: false,
        }
    }
}

impl HeapMemory {
    fn with_table<R>(&self, with: impl FnOnce(&mut BTreeMap<u64, u64>) -> R) -> R {
        with(
            &mut self
                .locked
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    }

    fn release_all(&self, endpoint: u64) {
        self.with_table(|table| table.retain(|_, owner| *owner != endpoint));
    }
}

impl HeapLocks {
    /// Accesses the table like a system call: in a simulation other threads may run before it.
    #[cfg_attr(all(feature = "dst", not(loom)), track_caller)]
    fn with_table<R>(&self, with: impl FnOnce(&mut BTreeMap<u64, u64>) -> R) -> R {
        #[cfg(all(feature = "dst", not(loom)))]
        crate::testing::dst::atomic::access();
        self.memory.with_table(with)
    }

    /// Frees the locks of this endpoint when the simulation kills its process, as the kernel would.
    #[cfg(all(feature = "dst", not(loom)))]
    fn fall_at_death(&self) {
        let (memory, endpoint) = (Arc::downgrade(&self.memory), self.endpoint);
        crate::testing::dst::on_death(move || {
            if let Some(memory) = memory.upgrade() {
                memory.release_all(endpoint);
            }
        });
    }
}

impl Locks for HeapLocks {
    fn try_lock(&self, byte: u64) -> io::Result<bool> {
        Ok(self.with_table(|table| *table.entry(byte).or_insert(self.endpoint) == self.endpoint))
    }

    fn unlock(&self, byte: u64) -> io::Result<()> {
        self.with_table(|table| {
            if table.get(&byte) == Some(&self.endpoint) {
                table.remove(&byte);
            }
        });
        Ok(())
    }

    fn is_held_by_other(&self, byte: u64) -> io::Result<bool> {
        Ok(self.with_table(|table| {
            table
                .get(&byte)
                .is_some_and(|owner| *owner != self.endpoint)
        }))
    }

    fn is_any_held_by_other(&self) -> io::Result<bool> {
        Ok(self.with_table(|table| table.values().any(|owner| *owner != self.endpoint)))
    }
}

impl Drop for HeapLocks {
    fn drop(&mut self) {
        // a failed model is torn down outside of the model checker, where its mutex cannot be used
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        self.memory.release_all(self.endpoint);
    }
}
