//! An open segment, and the life of its name: the file system's side of R14 and R15.
//!
//! Only the holder of the producer's lock on the inode that a name refers to *now* may replace the name;
//! every other process opens the name again. `create` makes, takes over and replaces segments, `attach` opens them
//! for consumers and observers, and `refusals` has the errors.

mod attach;
mod create;
mod refusals;

#[cfg(not(loom))]
pub(crate) use attach::{is_in_doubt, origin_of};
pub(crate) use attach::{open, open_to_observe};
#[cfg(not(loom))]
pub(crate) use create::KIND;
pub(crate) use create::{create_on_heap, create_or_take_over, open_on_heap, produce_on_heap};
pub(crate) use refusals::{file_error, io_error, not_found};

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::Sequence;
use crate::clock;
use crate::error::{MultiProcessError, RecvError};
use crate::event::{Event, require_event};
use crate::layout::control::{Control, Owner, ended_word};
use crate::layout::event_record::EventRecord;
use crate::layout::header::Header;
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::os::descriptor::lost_locks;
use crate::os::process::Identity;
use crate::os::step::{Failed, Step};
use crate::protocol::view::RingView;
use crate::protocol::{Locks, ends, registered};
use crate::region::file::{FilePlace, FileRegion};
use crate::region::{MemoryOptions, Region};
use crate::sync::process::{self, AtomicBool};
use crate::sync::{Ordering, fence};
use crate::testing::fail::point;

/// How often an operation starts again because the name came to refer to another file meanwhile.
const TRIES: u32 = 64;
/// Pause between two attempts to take a lock that another party may hold only for a check.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);
pub(crate) const ATTEMPTS: u32 = 20;
/// Attempts, one [`PAUSE`] apart, for a ring that is ending: its end may have to be written to a disk before
/// the name is gone, or stays.
const ENDING_ATTEMPTS: u32 = 1_000;
/// What a handle requires of its segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// Number of slots. `None`, for a consumer: any number.
    pub(crate) capacity: Option<usize>,
    pub(crate) first_sequence: Sequence,
    /// Whether an unreadable or incompatible segment without a live producer is replaced.
    pub(crate) recreate: bool,
    /// For a producer: whether each new floor is on the disk before slots are used again (R17).
    pub(crate) keeps_floor: bool,
    /// For a producer: whether the ring is created for observers; a ring that was created for them keeps
    /// them. For an observer: true.
    pub(crate) observed: bool,
    pub(crate) memory: MemoryOptions,
}

/// An open segment: the memory, the locks, and typed pointers into it.
#[derive(Debug)]
pub(crate) struct Segment<E> {
    pub(crate) view: RingView<E>,
    pub(crate) name: Arc<str>,
    /// The name for messages, with the ring's purpose where one was given.
    pub(crate) shown: Arc<str>,
    /// Whether slots are written so that observers can read them (R13).
    pub(crate) is_observed: bool,
    /// When the ring was created, in nanoseconds since 1970: no ring of the same name has the same time. 0 on the heap.
    pub(crate) created_unix_ns: u64,
    region: Arc<dyn Region>,
    /// Whether the log already says that the program closed the descriptor of this endpoint's locks.
    is_loss_told: AtomicBool,
}

impl<E: Event> Segment<E> {
    pub(crate) fn new(
        name: &str,
        region: Arc<dyn Region>,
        capacity: u64,
        is_observed: bool,
    ) -> Self {
        // every handle is made here, so an event type that may not live in a slot does not compile
        const { require_event::<E>() };
        // SAFETY: the region was made for a header that was validated against `E` and this capacity, and the
        // segment keeps it as long as the view. Only producers write slots, and their regions are writable.
        // Only endpoints with writable regions store to control lines: an observer checks that its region is
        // writable before it stores (R1, R13).
        let view = unsafe { RingView::new(region.control(), region.slots(), capacity as usize) };
        Self {
            view,
            name: name.into(),
            shown: name.into(),
            is_observed,
            created_unix_ns: 0,
            region,
            is_loss_told: AtomicBool::new(false),
        }
    }

    /// A segment in a file.
    fn in_file(place: &FilePlace, region: FileRegion, header: &Header) -> Self {
        let (capacity, region) = (header.geometry.capacity, Arc::new(region));
        let mut segment = Self::new(&place.leaf, region, capacity, header.is_observed);
        segment.created_unix_ns = header.created_unix_ns;
        if place.label.is_some() {
            segment.shown = place.shown().into();
        }
        segment
    }

    /// Whether this endpoint has lost its locks because the program closed their descriptor (R8). Logs the
    /// loss once. Makes two system calls, so hot calls do not use it. An endpoint that relies on its locks
    /// for a long time calls it at each liveness check and before it ends.
    pub(crate) fn has_lost_locks(&self) -> bool {
        let is_lost = self.locks().are_lost();
        if is_lost && !self.is_loss_told.swap(true, process::Ordering::Relaxed) {
            tracing::warn!(ring = %self.shown, "{}", lost_locks());
        }
        is_lost
    }

    /// The control lines. Not for hot calls, which have already checked that they do not run in a forked
    /// process.
    ///
    /// # Panics
    ///
    /// In a forked process, where nothing is mapped (R8): the panic replaces the signal that an access would
    /// raise.
    pub(crate) fn control(&self) -> &Control {
        if self
            .region
            .live_word()
            .load(crate::sync::process::Ordering::Relaxed)
            == 0
        {
            panic!("{}", MultiProcessError::Forked);
        }
        self.view.control()
    }

    pub(crate) fn locks(&self) -> &dyn Locks {
        self.region.locks()
    }

    pub(crate) fn region(&self) -> &Arc<dyn Region> {
        &self.region
    }

    pub(crate) fn io_error(&self, step: Step) -> impl FnOnce(io::Error) -> MultiProcessError {
        let path = self.region.path().map(Path::to_owned).unwrap_or_default();
        io_error(&self.shown, path, step)
    }

    /// The error for a step that the system refused, with the probable cause.
    pub(crate) fn refused(&self, failed: Failed) -> MultiProcessError {
        self.io_error(failed.step)(failed.source)
    }

    /// The producer that has or had this ring, as text.
    pub(crate) fn producer_text(&self) -> String {
        describe(self.control().producer.owner.load())
    }

    /// The error for a reader whose producer died. It says whether the ring's name still leads to the ring,
    /// since only then can a successor come.
    pub(crate) fn orphaned(&self) -> RecvError {
        let owner = self.producer_text();
        match self.region.is_name_lost() {
            true => RecvError::NameRemoved { owner },
            false => RecvError::ProducerDead { owner },
        }
    }

    /// Writes an ended ring to the disk and then marks it as ended in order (R17). The caller has closed the
    /// ring and holds the producer's lock.
    pub(crate) fn vouch_for_end(&self) -> io::Result<()> {
        if !self.region.is_name_ours()? {
            return Ok(());
        }
        self.region.sync()?;
        let line = &self.control().producer;
        let last = line.closed.load(Ordering::Relaxed);
        line.ended
            .store(ended_word(last), crate::sync::process::Ordering::Relaxed);
        self.region.sync_control()
    }

    /// Removes the name of a closed and drained ring (R15). `has_drained`: the caller is a consumer that has
    /// released every event. A caller that finds the producer's lock taken gives up: the holder checks again
    /// after it has released the lock, so that of two racing parties one sees the other's commit. The loop
    /// repeats only when a party came or went in between; only a hostile peer causes more than a few rounds.
    pub(crate) fn unlink_if_drained(&self, has_drained: bool) -> io::Result<()> {
        let locks = self.locks();
        // SYNC POINT drain: pairs with itself. Of two consumers that have just released their last event, one
        // sees the other's.
        step!(DrainFence, fence(Ordering::SeqCst));
        for _ in 0..TRIES {
            if !registered::is_drained(self.control(), has_drained)
                || !self.region.is_name_ours()?
                || !locks.try_lock(PRODUCER_BYTE)?
            {
                break;
            }
            point("drain.locked");
            // a successor may have opened the ring again between the check and the lock
            let mut is_drained = true;
            step!(
                DrainCheck,
                is_drained = registered::is_drained(self.control(), has_drained)
            );
            let unlinked = match is_drained {
                true => self.unlink_if_ours(),
                false => Ok(()),
            };
            point("drain.unlinked");
            locks.unlock(PRODUCER_BYTE).and(unlinked)?;
            point("drain.unlocked");
            if left_out!(DrainAgain) {
                break;
            }
        }
        Ok(())
    }

    /// Whether a durable consumer that has just taken a new line has come too late: the ring is closed, and
    /// its name is gone or about to go, so that the consumer could not come back to its unread events (R15).
    /// The line is ACTIVE.
    ///
    /// A party that ends a ring holds the producer's lock from its last check of the lines until the name is
    /// gone. So if the lock is free afterwards, the next party that checks sees this line. If the holder
    /// keeps the lock for a second, perhaps because it is stopped, the consumer counts as too late.
    pub(crate) fn is_ending_without(&self) -> io::Result<bool> {
        // SYNC POINT late: pairs with the fence in `Producer::finish`. Either the producer finds this line,
        // or this consumer finds the ring closed.
        step!(LateFence, fence(Ordering::SeqCst));
        if ends::closed_at(self.control()).is_none() {
            return Ok(false);
        }
        for _ in 0..ENDING_ATTEMPTS {
            if left_out!(LateLock) || !self.locks().is_held_by_other(PRODUCER_BYTE)? {
                return Ok(!self.region.is_name_ours()?);
            }
            clock::sleep(PAUSE);
        }
        Ok(true)
    }

    /// Removes the name if it is still this segment's. The caller holds the producer's lock (R15).
    pub(crate) fn unlink_if_ours(&self) -> io::Result<()> {
        if self.region.is_name_ours()? {
            point("unlink.checked");
            self.region.unlink()
        } else {
            Ok(())
        }
    }
}

/// The event type as this program would describe it in a header.
fn record_of<E: Event>() -> EventRecord {
    let mut text = String::from(core::any::type_name::<E>());
    let mut layout = String::new();
    let _ = E::describe_layout(&mut layout);
    // the layout text of a number is just its type name
    if layout != text {
        text.push(' ');
        text.push_str(&layout);
    }
    EventRecord {
        id: E::LAYOUT_ID,
        size: size_of::<E>() as u64,
        align: align_of::<E>() as u64,
        text,
    }
}

/// This process's identity, as it is written to lines that the process owns.
pub(crate) fn current_owner() -> Owner {
    let identity = Identity::current();
    Owner {
        pid: identity.pid,
        namespace: identity.pid_namespace,
        start_ticks: identity.start_ticks,
    }
}

/// An owner as text.
pub(crate) fn describe(owner: Owner) -> String {
    Identity {
        pid: owner.pid,
        pid_namespace: owner.namespace,
        start_ticks: owner.start_ticks,
    }
    .describe()
}
