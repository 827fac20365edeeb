//! A consumer that receives bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::double::{Slots, Stand, double};
use super::in_use;
use crate::Sequence;
use crate::cause::why_not_opened;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::handles::consumer::{Consumer, check_id};
use crate::handles::diagnosis;
use crate::handles::kinds::MappedFile;
use crate::inspect::Inspector;
use crate::layout::lock_bytes::{LOCK_BYTES_END, PRODUCER_BYTE};
use crate::open::builder::automatic_id;
use crate::os::lock::LockFile;
use crate::os::names::{self, OpenError};
use crate::os::step::Step;
use crate::os::user::{effective_user, user_text};
use crate::protocol::lines::{self, Applicant};
use crate::region::MemoryOptions;
use crate::region::file::{FilePlace, FileRegion};
use crate::segment::{current_owner, file_error, is_in_doubt, origin_of};
use crate::waiting::Habits;

/// A consumer of a ring whose event type this program does not know. The producer waits for it as for any other.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::Inspector;
/// use disruptor_mp::{Deadline, UntypedConsumer};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let mut tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let mut rx = UntypedConsumer::attach(&Inspector::open_shared_memory(&name)?, None)?;
/// tx.send_value(7, Deadline::NEVER)?;
/// let mut bytes = [0; 8];
/// assert_eq!(rx.try_recv(&mut bytes)?, Some(0));
/// assert_eq!(u64::from_ne_bytes(bytes), 7);
/// assert_eq!(rx.try_recv(&mut bytes)?, None);
/// rx.release();                                        // the producer may use the slot again
/// assert_eq!(rx.next_sequence(), 1);
/// rx.detach()?;
///
/// let ring = Inspector::open_shared_memory(&name)?;
/// let rx = UntypedConsumer::attach(&ring, Some("recorder"))?;
/// assert!(!rx.has_rejoined());
/// rx.leave()?;                                         // no place is kept for it
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UntypedConsumer {
    handle: Consumer<Stand, MappedFile>,
    slots: Slots,
    has_rejoined: bool,
}

impl UntypedConsumer {
    /// Attaches to a ring that was opened for inspection, with an automatic id or as a durable consumer of this id. It
    /// starts at the oldest retained event, or where the consumer of this id stopped. Needs permission to write the
    /// file, which may belong to another user: the caller has chosen that file, and reads it already.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]. [`MultiProcessError::InUse`] when the ring's events are in doubt after a restart:
    /// only a program that knows the event type settles that.
    pub fn attach(ring: &Inspector, id: Option<&str>) -> MultiProcessResult<Self> {
        let (id, is_durable) = match id {
            Some(id) => (check_id(id)?, true),
            None => (automatic_id(), false),
        };
        let path = ring.path();
        let (Some(root), Some(leaf)) = (
            path.parent(),
            path.file_name().and_then(|leaf| leaf.to_str()),
        ) else {
            unreachable!("an inspector has the path of a file whose name is UTF-8");
        };
        let place = FilePlace::new(names::Directory::at(root), leaf, None);
        let refused = |failed| file_error(&place, failed);
        let failed = |step: Step| move |source: io::Error| step.failed(source);
        let fd = open_to_attach(&place)?;
        let is_same = ring.is_of_file(fd.as_fd());
        if !is_same.map_err(failed(Step::ReadStatus)).map_err(refused)? {
            return Err(in_use(
                &place,
                "another ring has got its name meanwhile: try again",
            ));
        }
        let header = ring.header();
        let locks = LockFile::reopen(fd.as_fd())
            .map_err(failed(Step::Reopen))
            .map_err(refused)?;
        let here = origin_of(fd.as_fd())
            .map_err(failed(Step::Settle))
            .map_err(refused)?;
        // a doubt is settled before any process takes another lock than the producer's
        let is_settled = locks
            .any_held_by_other(PRODUCER_BYTE + 1..LOCK_BYTES_END)
            .map_err(failed(Step::Lock))
            .map_err(refused)?
            .is_some();
        if !is_settled
            && is_in_doubt(fd.as_fd(), &here)
                .map_err(failed(Step::Settle))
                .map_err(refused)?
        {
            let who = "its events are in doubt after a restart: start its producer or one of its consumers first";
            return Err(in_use(&place, who));
        }
        let options = MemoryOptions::default();
        let geometry = header.geometry;
        let region =
            FileRegion::map_for_reading(place.clone(), fd.as_fd(), locks, geometry, &options)
                .map_err(refused)?;
        let (segment, slots) = double(&place, region, geometry, header.event.size)?;
        let applicant = Applicant {
            id: &id,
            durable: is_durable,
            owner: current_owner(),
            is_here: true,
        };
        let line = lines::attach(segment.control(), segment.locks(), applicant)
            .map_err(|error| diagnosis::line_error(&segment, &id, error))?;
        let handle = Consumer::new(segment, line, id, is_durable, Habits::default());
        if is_durable && !line.rejoined {
            let segment = handle.segment();
            let is_too_late = segment.is_ending_without();
            if is_too_late.map_err(segment.io_error(Step::ReadStatus))? {
                handle.leave()?;
                return Err(crate::segment::not_found(&place));
            }
        }
        Ok(Self {
            handle,
            slots,
            has_rejoined: line.rejoined,
        })
    }

    /// Whether the ring had a place for this id, from which this consumer goes on.
    pub fn has_rejoined(&self) -> bool {
        self.has_rejoined
    }

    /// The next event, if there is one: copies its bytes and returns its sequence. The event is held, and the producer
    /// does not reuse its slot, until [`release`](Self::release). Never waits.
    ///
    /// # Errors
    ///
    /// As [`Consumer::try_recv`].
    ///
    /// # Panics
    ///
    /// If `event` has another size than the ring's events.
    pub fn try_recv(&mut self, event: &mut [u8]) -> Result<Option<Sequence>, RecvError> {
        assert_eq!(
            event.len(),
            self.slots.size,
            "an event of this ring has {} bytes",
            self.slots.size
        );
        if let Some(refusal) = self.handle.refusal() {
            return Err(refusal);
        }
        let mut is_last_attempt = false;
        loop {
            let next = self.handle.next_to_read();
            let has_come = self.slots.is_published(next);
            if has_come {
                self.slots.stamp_double(next);
            }
            match self.handle.try_recv() {
                Ok(Some(lease)) if has_come => {
                    self.slots.read(next, event);
                    lease.hold();
                    return Ok(Some(next));
                }
                // a doubt was settled meanwhile, and the handle has gone on to another sequence
                Ok(Some(lease)) => lease.release_uncommitted(),
                Ok(None) => return Ok(None),
                Err(RecvError::ProducerDead { .. } | RecvError::NameRemoved { .. })
                    if !is_last_attempt && self.slots.is_published(next) =>
                {
                    // the event was published after the first load of its stamp
                    is_last_attempt = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The sequence of the event that is received next.
    pub fn next_sequence(&self) -> Sequence {
        self.handle.next_to_read()
    }

    /// Releases all events that were received: the producer may reuse their slots.
    pub fn release(&mut self) {
        let count = self.handle.held_count();
        self.handle.release_held(count);
    }

    /// Detaches. A durable consumer keeps its place, with every event that is not released.
    ///
    /// # Errors
    ///
    /// As [`Consumer::detach`].
    pub fn detach(self) -> MultiProcessResult<()> {
        self.handle.detach()
    }

    /// Detaches for good. A durable consumer gives up its place, with every event that is not released.
    ///
    /// # Errors
    ///
    /// As [`Consumer::leave`].
    pub fn leave(self) -> MultiProcessResult<()> {
        self.handle.leave()
    }
}

/// Opens the file for writing, whoever owns it.
fn open_to_attach(place: &FilePlace) -> MultiProcessResult<OwnedFd> {
    let opened = place.directory.open_existing(&place.leaf, true, false);
    let not_a_ring = |found: &str| MultiProcessError::NotARing {
        path: place.path(),
        found: found.to_owned(),
    };
    opened.map_err(|error| match error {
        OpenError::NotFound => crate::segment::not_found(place),
        OpenError::PermissionDenied { errno } => {
            let (source, path) = (io::Error::from(errno), place.path());
            let cause = Box::new(why_not_opened(errno, &place.full_path(), true));
            match cause.is_permission() {
                true => MultiProcessError::PermissionDenied {
                    path,
                    source,
                    cause,
                },
                false => MultiProcessError::Io {
                    name: place.shown(),
                    operation: Step::OpenFile.words(),
                    source,
                    cause: Some(cause),
                },
            }
        }
        OpenError::Symlink => not_a_ring("a symbolic link"),
        OpenError::NotRegular { kind } => not_a_ring(kind),
        OpenError::ForeignOwner { uid } => MultiProcessError::ForeignOwner {
            path: place.path(),
            owner: user_text(uid),
            owner_uid: uid,
            caller: user_text(effective_user()),
        },
        OpenError::NetworkFileSystem { kind } => MultiProcessError::NetworkFileSystem {
            path: place.path(),
            kind: kind.to_owned(),
        },
        OpenError::Failed(failed) => file_error(place, failed),
    })
}
