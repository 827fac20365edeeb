//! Removing a ring that nobody uses, without knowing its event type.
//!
//! The rules are those by which a producer replaces a dead ring (R15): only the holder of the producer's lock removes
//! the name, no other process may hold any lock, and no durable consumer may be away. A program that asks has to say
//! so if something would be lost.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::listing::ring_of_temporary;
use super::{InspectError, Inspector, Liveness, NameState, Place, Presence, Snapshot, in_use};
use crate::clock;
use crate::layout::lock_bytes::{LOCK_BYTES_END, PRODUCER_BYTE};
use crate::os::lock::LockFile;
use crate::segment::{KIND, LOOK, LOOKS};

/// What removing a ring would mean.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{RemovalCheck, check_removal, shared_memory_directory};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let check: RemovalCheck = check_removal(shared_memory_directory().join(&name))?;
/// assert_eq!(check.in_use_by, [format!("its producer, pid {}", std::process::id())]);
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovalCheck {
    /// The processes that are alive in it, in words. Such a ring is never removed.
    pub in_use_by: Vec<String>,
    /// What would be lost, in words.
    pub losses: Vec<String>,
}

/// Why a ring was not removed. It is as it was.
///
/// # Examples
///
/// See [`remove_dead`].
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// The file cannot be read as a ring; a file that is no ring is never removed.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A living process uses it.
    #[error("the ring at {} is in use by {}; nothing was removed: end those processes first", path.display(), by.join(", "))]
    InUse {
        /// The path.
        path: PathBuf,
        /// The processes, in words.
        by: Vec<String>,
    },
    /// Something would be lost, and the caller has not accepted that.
    #[error(
        "removing the ring at {} would lose {}; nothing was removed: let its consumers drain it, or accept that loss",
        path.display(), losses.join("; ")
    )]
    WouldLose {
        /// The path.
        path: PathBuf,
        /// What would be lost, in words.
        losses: Vec<String>,
    },
    /// The name came to lead to another file meanwhile, or is gone.
    #[error("another process removed or replaced the ring at {} meanwhile", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// The system refused a step.
    #[error("{}: could not {what}: {source}; nothing was removed", path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// The step.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

crate::error::debug_is_text!(RemovalError);

/// Checks what removing a ring would mean. Probes locks, takes none and changes nothing.
///
/// # Errors
///
/// As [`Inspector::open`], except for rings that are damaged, of another version, or half-made: for those, the result
/// says what is known.
///
/// # Examples
///
/// See [`RemovalCheck`].
pub fn check_removal(path: impl AsRef<Path>) -> Result<RemovalCheck, InspectError> {
    let mut check = RemovalCheck::default();
    match Inspector::open(path) {
        Ok(mut ring) => {
            let seen = ring.snapshot()?;
            check.in_use_by = users_of(&seen);
            check.losses = losses_of(&seen);
            if check.in_use_by.is_empty() {
                // a process that is just attaching holds a lock and no line yet
                check.in_use_by = words_of(in_use(ring.locks.as_ref()));
            }
        }
        Err(InspectError::HalfMade { .. }) => {}
        Err(InspectError::BeingCreated { .. }) => {
            check.in_use_by = vec![String::from("the process that creates it")];
        }
        Err(
            error @ (InspectError::Damaged { in_use, .. }
            | InspectError::OtherVersion { in_use, .. }),
        ) => {
            check.in_use_by = words_of(in_use);
            check.losses = vec![format!("whatever is in it, as it cannot be read: {error}")];
        }
        Err(error) => return Err(error),
    }
    Ok(check)
}

/// Removes the name of a ring that no living process uses. Without `accepts_losses`, only if nothing would be lost.
/// Returns what was lost, in words. The caller needs permission to write the file and its directory.
///
/// A process that has the file open without any lock, as observers do, cannot be seen. It goes on with the removed
/// file.
///
/// # Errors
///
/// Any of [`RemovalError`]; the ring then is as it was.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{RemovalError, remove_dead, shared_memory_directory};
/// use disruptor_mp::{Deadline, publisher, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("doc");
/// let path = shared_memory_directory().join(&name);
/// let mut tx = publisher::<u64>(&name, 8)?;
/// assert!(matches!(remove_dead(&path, true), Err(RemovalError::InUse { .. })));
///
/// tx.send_value(7, Deadline::NEVER)?;
/// tx.close_and_keep()?;
/// match remove_dead(&path, false) {
///     Err(RemovalError::WouldLose { losses, .. }) => assert_eq!(losses, ["a ring that its producer wanted to be kept"]),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(remove_dead(&path, true)?.len(), 1);
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn remove_dead(
    path: impl AsRef<Path>,
    accepts_losses: bool,
) -> Result<Vec<String>, RemovalError> {
    let place = Place::of(path.as_ref())?;
    let failed = |what| {
        let path = place.path.clone();
        move |source: io::Error| RemovalError::System { path, what, source }
    };
    if let Err(InspectError::HalfMade { .. }) = Inspector::open(&place.path) {
        return remove_half_made(&place).map_err(failed("remove it"));
    }
    let fd = open_to_lock(&place)?;
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed("open it for its locks"))?;
    let in_use_by = |by| {
        Err(RemovalError::InUse {
            path: place.path.clone(),
            by,
        })
    };
    let is_locked = lock_producer(&locks).map_err(failed("lock it"))?;
    // the lock is held until the name is gone: no producer can take the ring over meanwhile
    let checked = match is_locked {
        // the check opens the file again, and so counts this function's own lock as a producer's
        true => check_as_holder(&place, &locks)?,
        false => check_removal(&place.path)?,
    };
    if !is_locked || !checked.in_use_by.is_empty() {
        let by = match checked.in_use_by.is_empty() {
            true => vec![String::from("a process that holds its producer's lock")],
            false => checked.in_use_by,
        };
        return in_use_by(by);
    }
    if !checked.losses.is_empty() && !accepts_losses {
        return Err(RemovalError::WouldLose {
            path: place.path.clone(),
            losses: checked.losses,
        });
    }
    let is_same = place.directory.names_same_file(&place.leaf, fd.as_fd());
    if !is_same.map_err(failed("read the status of its name"))? {
        return Err(RemovalError::Changed {
            path: place.path.clone(),
        });
    }
    let second = place.directory.remove_second_names(&place.leaf, fd.as_fd());
    second
        .and_then(|()| place.directory.unlink(&place.leaf))
        .map_err(failed("remove its name"))?;
    tracing::info!(ring = %place.path.display(), losses = ?checked.losses, "removed a dead ring");
    Ok(checked.losses)
}

/// As [`check_removal`], for the holder of the producer's lock.
fn check_as_holder(place: &Place, locks: &LockFile) -> Result<RemovalCheck, RemovalError> {
    let mut check = RemovalCheck::default();
    let held = locks.any_held_by_other(0..LOCK_BYTES_END);
    let held = held.map_err(|source| place.failed("probe its locks", source))?;
    match Inspector::open(&place.path) {
        Ok(mut ring) => {
            let mut seen = ring.snapshot()?;
            seen.producer.liveness = Liveness::Dead;
            check.losses = losses_of(&seen);
            if held.is_some() {
                check.in_use_by = users_of(&seen);
            }
        }
        Err(error @ (InspectError::Damaged { .. } | InspectError::OtherVersion { .. })) => {
            check.losses = vec![format!(
                "whatever is in it, as it cannot be read: {}",
                brief(&error)
            )]
        }
        Err(error) => return Err(error.into()),
    }
    if held.is_some() && check.in_use_by.is_empty() {
        check.in_use_by = words_of(Liveness::Alive);
    }
    Ok(check)
}

/// What is wrong with a ring, without the words about its use: they would count the caller's own lock.
fn brief(error: &InspectError) -> String {
    match error {
        InspectError::Damaged { field, found, .. } => format!("its {field} is {found}"),
        InspectError::OtherVersion { what, found, .. } => format!("its {what} is {found}"),
        other => other.to_string(),
    }
}

/// Opens the file for its locks: a lock needs permission to write.
fn open_to_lock(place: &Place) -> Result<OwnedFd, RemovalError> {
    let opened = place.directory.open_existing(&place.leaf, true, false);
    opened.map_err(|error| RemovalError::Inspect(super::error::of_open(&place.path, error)))
}

/// Takes the producer's lock. Another process may hold it for a moment, to check the ring.
fn lock_producer(locks: &LockFile) -> io::Result<bool> {
    for _ in 0..LOOKS {
        if locks.try_lock(PRODUCER_BYTE)? {
            return Ok(true);
        }
        clock::sleep(LOOK);
    }
    Ok(false)
}

/// Removes the temporary names that dead creators left of this file's ring.
fn remove_half_made(place: &Place) -> io::Result<Vec<String>> {
    let ring = ring_of_temporary(&place.leaf).unwrap_or(&place.leaf);
    place.directory.remove_leftovers(ring, KIND)?;
    match place.path.exists() {
        true => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user, or its creator is alive after all",
        )),
        false => Ok(Vec::new()),
    }
}

fn words_of(in_use: Liveness) -> Vec<String> {
    match in_use {
        Liveness::Alive => vec![String::from("a living process that holds a lock of it")],
        Liveness::Dead => Vec::new(),
        Liveness::Unknown => vec![String::from(
            "possibly a living process: its locks cannot be probed here",
        )],
    }
}

/// The processes that are alive in the ring.
fn users_of(seen: &Snapshot) -> Vec<String> {
    let producer = match seen.producer.liveness {
        Liveness::Alive => Some(format!("its producer, {}", seen.producer.process)),
        Liveness::Dead => None,
        Liveness::Unknown => return words_of(Liveness::Unknown),
    };
    let attached = seen
        .consumers
        .iter()
        .filter(|consumer| matches!(consumer.presence, Presence::Attached | Presence::Joining));
    let consumers =
        attached.map(|consumer| format!("consumer {:?}, {}", consumer.id, consumer.process));
    producer.into_iter().chain(consumers).collect()
}

/// What is lost with a ring that no living process uses.
fn losses_of(seen: &Snapshot) -> Vec<String> {
    if seen.name != NameState::Ours {
        return Vec::new();
    }
    let mut losses = Vec::new();
    if seen.is_kept {
        losses.push(String::from("a ring that its producer wanted to be kept"));
    }
    for consumer in &seen.consumers {
        let what = match consumer.presence {
            Presence::Away => "which is away and may come back",
            Presence::Expected => "which was expected and has not come",
            _ => continue,
        };
        // a closed ring is of no use to a consumer that has read everything
        if seen.closed.is_none() || consumer.lag > 0 || consumer.in_doubt.is_some() {
            losses.push(format!(
                "the place of consumer {:?}, {what}, with {} unread events",
                consumer.id, consumer.lag
            ));
        }
    }
    if seen.kept_for.iter().any(|id| id == "any consumer") {
        losses.push(String::from("events that are kept for a first consumer"));
    }
    if seen.closed.is_none() && !seen.has_had_consumers && seen.published > seen.floor {
        let count = seen.published - seen.floor;
        losses.push(format!("{count} events that no consumer has read"));
    }
    losses
}
