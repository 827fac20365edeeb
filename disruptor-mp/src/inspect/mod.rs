//! Rings seen from outside: what a ring's file says, read without attaching.
//!
//! An [`Inspector`] needs permission to read the ring's file and no more. It takes no line and no lock, no party waits
//! for it, and it changes nothing in the file. It shows a ring whatever its event type, also one that a reader could
//! not attach to.
//!
//! ```
//! use disruptor_mp::inspect::{Inspector, Liveness, Presence};
//! use disruptor_mp::{Deadline, attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name};
//!
//! let name = portable_shm_segment_name("doc");
//! let mut tx = build_shared_single_producer::<u64>(&name, 8).build_producer(|| 0)?;
//! let rx = attach_shared_consumer::<u64>(&name, 8).with_consumer_id("reader").build_consumer()?;
//! tx.send_batch(3, Deadline::NEVER, |event, index| *event = index as u64)?;
//!
//! let mut ring = Inspector::open_shared_memory(&name)?;         // any process that may read the file
//! assert_eq!((ring.info().capacity, ring.info().event.size), (8, 8));
//! let seen = ring.snapshot()?;
//! assert_eq!((seen.published, seen.producer.liveness), (2, Liveness::Alive));
//! let reader = &seen.consumers[0];
//! assert_eq!((reader.id.as_str(), reader.presence, reader.lag), ("reader", Presence::Attached, 3));
//! # rx.leave()?;
//! # tx.destroy()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it reads
//!
//! With `pread`, into buffers of its own: nothing is mapped, so a file that is cut off meanwhile is an error and not a
//! signal. Each value is read once and checked against the others; a peer may have stored anything (R1). A value that
//! cannot be true is read again, and then listed in [`Snapshot::faults`].
//!
//! The positions of consumers are read before the stamps that show what is published. So a lag is never too small, and
//! too large at most by what was published in between. In a ring that stands still, it is exact.
//!
//! # What is not known
//!
//! * Whether a process is alive is the kernel's word: the locks are probed, which needs no more than permission to
//!   read. Where `/proc` is not mounted, or the locks cannot be probed, liveness is [`Liveness::Unknown`].
//! * Observers hold nothing, so they are not seen. Nor is what only a process itself knows: required consumers, the
//!   consumers that a producer expects, and its claims.
//! * Process ids are those of the process's own pid namespace: see [`Process::is_in_this_namespace`].

mod control;
pub(crate) mod counters;
mod error;
mod events;
mod limits;
mod listing;
mod removal;
mod snapshot;

pub use error::InspectError;
pub use events::Sighting;
pub use limits::{MemoryLimit, cpu_quota, memory_limit};
pub use listing::{Found, rings_in, shared_memory_directory};
pub use removal::{RemovalCheck, RemovalError, check_removal, remove_dead};
pub use snapshot::{
    ConsumerSeen, HeldBy, Liveness, NameState, Phase, Presence, ProducerSeen, Snapshot,
};

use core::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Sequence;
use crate::layout::control::Owner;
use crate::layout::header::{Header, HeaderFault, MAGIC, is_remnant};
use crate::layout::lock_bytes::LOCK_BYTES_END;
use crate::layout::{CONTROL_OFFSET, LAYOUT_VERSION};
use crate::os::lock::LockFile;
use crate::os::names::{self, Directory};
use crate::os::process::{Identity, own_namespace};
use crate::os::retry_on_signal;

/// A ring's file, open for reading. See the [module](self).
///
/// It stays with the file that it opened: if the name is given to another ring, [`Snapshot::name`] says so.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Inspector, RingInfo};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let ring = Inspector::open_shared_memory(&name)?;
/// let info: &RingInfo = ring.info();
/// assert_eq!((info.name.as_str(), info.capacity, info.stride, info.has_observers), (name.as_str(), 8, 64, false));
/// assert!(ring.path().ends_with(&name));
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inspector {
    place: RingFile,
    fd: OwnedFd,
    /// A description that holds no lock, for probes. `None` where the system does not let this process open one.
    locks: Option<LockFile>,
    header: Header,
    info: RingInfo,
    /// A published sequence from which the next snapshot searches on.
    seen: Sequence,
}

impl Inspector {
    /// Opens the ring of this name in shared memory.
    ///
    /// # Errors
    ///
    /// See [`open`](Self::open).
    pub fn open_shared_memory(name: &str) -> Result<Self, InspectError> {
        Self::open(shared_memory_directory().join(name))
    }

    /// Opens a ring's file. Symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// Any of [`InspectError`]: each says why the file cannot be shown as a ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::inspect::{InspectError, Inspector};
    ///
    /// let error = Inspector::open("/dev/null").unwrap_err();
    /// assert!(matches!(error, InspectError::NotARing { .. }));
    /// assert_eq!(error.to_string(), "/dev/null is not a ring but a character device");
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, InspectError> {
        let place = RingFile::of(path.as_ref())?;
        let fd = place.open_to_read()?;
        let locks = LockFile::reopen_to_probe(fd.as_fd()).ok();
        let header = place.read_header(fd.as_fd(), locks.as_ref())?;
        Ok(Self {
            info: RingInfo::of(&header),
            seen: header.first_sequence - 1,
            place,
            fd,
            locks,
            header,
        })
    }

    /// What the header says: it never changes.
    pub fn info(&self) -> &RingInfo {
        &self.info
    }

    /// The absolute path under which the file was opened.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// The whole header, checked.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Whether a descriptor is of the file that this inspector has open.
    pub(crate) fn is_of_file(&self, other: BorrowedFd<'_>) -> io::Result<bool> {
        let (ours, other) = (
            nix::sys::stat::fstat(&self.fd)?,
            nix::sys::stat::fstat(other)?,
        );
        Ok((ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino))
    }

    fn capacity(&self) -> Sequence {
        self.header.geometry.capacity as Sequence
    }

    /// Reads exactly these bytes of the file.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), InspectError> {
        let count = read_at(self.fd.as_fd(), bytes, offset)
            .map_err(|source| self.place.failed("read it", source))?;
        if count == bytes.len() {
            return Ok(());
        }
        Err(InspectError::Damaged {
            path: self.place.path.clone(),
            field: "file length",
            expected: self.header.geometry.segment_len.to_string(),
            found: format!("at most {}", offset + count as u64),
            in_use: in_use(self.locks.as_ref()),
        })
    }
}

/// What a ring's header says.
///
/// # Examples
///
/// See [`Inspector`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingInfo {
    /// The ring's name when it was created. Any text: another process wrote it.
    pub name: String,
    /// What the ring is for, as its creator said: a ring of a session names the session. Special characters are
    /// escaped, and the text is cut to 128 bytes. Empty if it said nothing. Any text: another process wrote it.
    pub label: String,
    /// The version of the bytes.
    pub layout_version: u32,
    /// Number of slots.
    pub capacity: u64,
    /// Bytes of the whole segment.
    pub segment_bytes: u64,
    /// Where slot 0 begins.
    pub slots_offset: u64,
    /// Bytes from one slot to the next.
    pub stride: u64,
    /// From a slot's start to its event.
    pub event_offset: u64,
    /// From a slot's start to its stamp.
    pub stamp_offset: u64,
    /// What a slot holds.
    pub event: EventInfo,
    /// The sequence of the ring's first event.
    pub first_sequence: Sequence,
    /// Whether the ring was made for observers.
    pub has_observers: bool,
    /// The process that created it, which need not be the present producer.
    pub creator: Process,
    /// When it was created.
    pub created: SystemTime,
    /// The creator's page size.
    pub page_bytes: u32,
}

/// The event type, as a ring's header records it.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{EventInfo, Inspector};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// # let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let ring = Inspector::open_shared_memory(&name)?;
/// let event: &EventInfo = &ring.info().event;
/// assert_eq!((event.size, event.align, event.text.as_str()), (8, 8, "u64"));
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventInfo {
    /// Bytes of an event.
    pub size: u64,
    /// Its alignment.
    pub align: u64,
    /// A hash of its fields.
    pub layout_id: u64,
    /// Name and fields in words, cut to 256 bytes. Any text: another process wrote it.
    pub text: String,
}

impl RingInfo {
    fn of(header: &Header) -> Self {
        let geometry = header.geometry;
        Self {
            name: header.name.clone(),
            label: header.label.clone(),
            layout_version: LAYOUT_VERSION,
            capacity: geometry.capacity,
            segment_bytes: geometry.segment_len,
            slots_offset: geometry.slots_offset,
            stride: geometry.shape.stride as u64,
            event_offset: geometry.shape.event_offset as u64,
            stamp_offset: geometry.shape.stamp_offset as u64,
            event: EventInfo {
                size: header.event.size,
                align: header.event.align,
                layout_id: header.event.id,
                text: header.event.text.clone(),
            },
            first_sequence: header.first_sequence,
            has_observers: header.is_observed,
            creator: header.creator.into(),
            created: UNIX_EPOCH + Duration::from_nanos(header.created_unix_ns),
            page_bytes: header.page_size,
        }
    }
}

/// A process as it described itself in the ring. It says nothing about whether the process is alive.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Inspector, Process};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// # let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let creator: Process = Inspector::open_shared_memory(&name)?.info().creator;
/// assert_eq!(creator.pid, std::process::id());
/// assert_ne!(creator.is_in_this_namespace(), Some(false));
/// assert_eq!(creator.to_string(), format!("pid {}", creator.pid));
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its id in its own pid namespace; 0 for a place that no process has taken.
    pub pid: u32,
    /// The inode number of that namespace; 0 if it is not known.
    pub pid_namespace: u64,
    /// When it started, in clock ticks since boot; 0 if it is not known.
    pub start_ticks: u64,
}

impl Process {
    /// Whether its id means something to this process; `None` if that is not known.
    pub fn is_in_this_namespace(&self) -> Option<bool> {
        let ours = own_namespace();
        (self.pid_namespace != 0 && ours != 0).then_some(self.pid_namespace == ours)
    }
}

impl From<Owner> for Process {
    fn from(owner: Owner) -> Self {
        Self {
            pid: owner.pid,
            pid_namespace: owner.namespace,
            start_ticks: owner.start_ticks,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("no process");
        }
        let identity = Identity {
            pid: self.pid,
            pid_namespace: self.pid_namespace,
            start_ticks: self.start_ticks,
        };
        f.write_str(&identity.describe())
    }
}

/// Where a file is, as it was named.
#[derive(Clone, Debug)]
struct RingFile {
    directory: Directory,
    leaf: String,
    path: PathBuf,
}

impl RingFile {
    fn of(path: &Path) -> Result<Self, InspectError> {
        let path = names::absolute(path);
        let not_a_ring = |found: &str| InspectError::NotARing {
            path: path.clone(),
            found: found.into(),
        };
        let (Some(parent), Some(leaf)) = (path.parent(), path.file_name()) else {
            return Err(not_a_ring("a directory"));
        };
        let Some(leaf) = leaf.to_str() else {
            return Err(not_a_ring("a file whose name is not UTF-8"));
        };
        Ok(Self {
            directory: Directory::at(parent),
            leaf: leaf.to_owned(),
            path: path.clone(),
        })
    }

    fn open_to_read(&self) -> Result<OwnedFd, InspectError> {
        let opened = self.directory.open_existing(&self.leaf, false, false);
        opened.map_err(|error| error::of_open(&self.path, error))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> InspectError {
        InspectError::System {
            path: self.path.clone(),
            what,
            source,
        }
    }

    /// A private copy of page 0, checked.
    fn read_header(
        &self,
        fd: BorrowedFd<'_>,
        locks: Option<&LockFile>,
    ) -> Result<Header, InspectError> {
        let path = || self.path.clone();
        let length = nix::sys::stat::fstat(fd)
            .map_err(|error| self.failed("read its status", error.into()))?
            .st_size;
        let mut page = [0; CONTROL_OFFSET];
        let count = read_at(fd, &mut page, 0).map_err(|source| self.failed("read it", source))?;
        let page = &page[..count];
        // a creator writes the magic at once: an empty file of such a name may be another program's
        if page.starts_with(&MAGIC) && listing::ring_of_temporary(&self.leaf).is_some() {
            return Err(match in_use(locks) {
                Liveness::Dead => InspectError::HalfMade { path: path() },
                _ => InspectError::BeingCreated { path: path() },
            });
        }
        if let Some(version) = counters::version_of(page) {
            return Err(InspectError::CountersFile {
                path: path(),
                version,
            });
        }
        Header::decode(page, length as u64).map_err(|fault| match fault {
            HeaderFault::OtherVersion {
                what,
                expected,
                found,
            } => InspectError::OtherVersion {
                path: path(),
                what,
                expected,
                found,
                in_use: in_use(locks),
            },
            HeaderFault::Damaged {
                what,
                expected,
                found,
            } => InspectError::Damaged {
                path: path(),
                field: what,
                expected,
                found,
                in_use: in_use(locks),
            },
            HeaderFault::Foreign { found } | HeaderFault::Remnant { found }
                if page.starts_with(&MAGIC) =>
            {
                InspectError::Damaged {
                    path: path(),
                    field: "header",
                    expected: "a ring's".into(),
                    found,
                    in_use: in_use(locks),
                }
            }
            HeaderFault::Foreign { found } | HeaderFault::Remnant { found } => {
                let found = match (count, is_remnant(page)) {
                    (0, _) => String::from("an empty file"),
                    (_, true) => format!("{found}, which a power cut may have left of one"),
                    (_, false) => found,
                };
                InspectError::NotARing {
                    path: path(),
                    found,
                }
            }
        })
    }
}

/// Whether any living process holds any lock of the file, whatever version its bytes are.
fn in_use(locks: Option<&LockFile>) -> Liveness {
    match locks.map(|locks| locks.any_held_by_other(0..LOCK_BYTES_END)) {
        Some(Ok(Some(_))) => Liveness::Alive,
        Some(Ok(None)) => Liveness::Dead,
        Some(Err(_)) | None => Liveness::Unknown,
    }
}

/// Reads up to the end of the buffer or of the file, and returns how many bytes there were.
fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        let at = i64::try_from(offset + count as u64).map_err(io::Error::other)?;
        match retry_on_signal(|| nix::sys::uio::pread(fd, &mut bytes[count..], at))? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}
