//! Removing a ring that nobody uses, without knowing its event type.
//!
//! The rules are those by which a producer replaces a dead ring (R15): only the holder of the producer's lock removes
//! the name, no other process may hold any lock, and no durable consumer may be away. A program that asks has to say
//! so if something would be lost.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::listing::ring_of_temporary;
use super::{
    InspectError, Inspector, Liveness, NameState, Presence, RingFile, Snapshot, in_use, read_at,
};
use crate::clock;
use crate::layout::lock_bytes::{LOCK_BYTES_END, PRODUCER_BYTE};
use crate::os::lock::LockFile;
use crate::segment::{ATTEMPTS, KIND, PAUSE};

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
    let place = RingFile::of(path.as_ref())?;
    if let Err(InspectError::HalfMade { .. }) = Inspector::open(&place.path) {
        return remove_half_made(&place);
    }
    let fd = open_to_lock(&place)?;
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed(&place, "open it for its locks"))?;
    let is_locked = lock_producer(&locks).map_err(failed(&place, "lock it"))?;
    // the lock is held until the name is gone: no producer can take the ring over meanwhile
    let mut checked = match is_locked {
        true => check_as_holder(&place, &locks)?,
        false => check_removal(&place.path)?,
    };
    if !is_locked && checked.in_use_by.is_empty() {
        let holder = String::from("a process that holds its producer's lock");
        checked.in_use_by.push(holder);
    }
    if !checked.in_use_by.is_empty() {
        return Err(used_by(&place, checked.in_use_by));
    }
    if !checked.losses.is_empty() && !accepts_losses {
        return Err(RemovalError::WouldLose {
            path: place.path,
            losses: checked.losses,
        });
    }
    unlink_unused(&place, fd.as_fd(), &locks)?;
    tracing::info!(ring = %place.path.display(), losses = ?checked.losses, "removed a dead ring");
    Ok(checked.losses)
}

/// As [`check_removal`], for the holder of the producer's lock.
fn check_as_holder(place: &RingFile, locks: &LockFile) -> Result<RemovalCheck, RemovalError> {
    let mut check = RemovalCheck::default();
    match Inspector::open(&place.path) {
        Ok(mut ring) => {
            let mut seen = ring.snapshot()?;
            // the inspector has opened the file again, and so takes the caller's lock for a producer's
            seen.producer.liveness = Liveness::Dead;
            check.in_use_by = users_of(&seen);
            check.losses = losses_of(&seen);
        }
        Err(error @ (InspectError::Damaged { .. } | InspectError::OtherVersion { .. })) => {
            check.losses = vec![format!(
                "whatever is in it, as it cannot be read: {}",
                brief(&error)
            )]
        }
        Err(error) => return Err(error.into()),
    }
    if check.in_use_by.is_empty() {
        check.in_use_by = others_in(place, locks)?;
    }
    Ok(check)
}

/// Removes the name of a ring whose producer's lock the caller holds. A consumer may have joined since the caller read
/// the ring, which takes milliseconds: so the locks are probed once more right before the name goes.
fn unlink_unused(
    place: &RingFile,
    fd: BorrowedFd<'_>,
    locks: &LockFile,
) -> Result<(), RemovalError> {
    let is_same = place.directory.names_same_file(&place.leaf, fd);
    if !is_same.map_err(failed(place, "read the status of its name"))? {
        return Err(changed(place));
    }
    // a creator that died left it: each producer that takes the ring over removes it, too
    place
        .directory
        .remove_second_names(&place.leaf, fd)
        .map_err(failed(place, "remove its temporary name"))?;
    let others = others_in(place, locks)?;
    if !others.is_empty() {
        return Err(used_by(place, others));
    }
    place
        .directory
        .unlink(&place.leaf)
        .map_err(failed(place, "remove its name"))
}

/// Whether another process holds any lock of the ring, in words: also one that is just attaching and has no line yet.
fn others_in(place: &RingFile, locks: &LockFile) -> Result<Vec<String>, RemovalError> {
    let held = locks
        .any_held_by_other(0..LOCK_BYTES_END)
        .map_err(|source| place.failed("probe its locks", source))?;
    Ok(match held {
        Some(_) => words_of(Liveness::Alive),
        None => Vec::new(),
    })
}

/// The error for a step that the system refused.
fn failed(place: &RingFile, what: &'static str) -> impl FnOnce(io::Error) -> RemovalError + use<> {
    let path = place.path.clone();
    move |source| RemovalError::System { path, what, source }
}

fn used_by(place: &RingFile, by: Vec<String>) -> RemovalError {
    RemovalError::InUse {
        path: place.path.clone(),
        by,
    }
}

fn changed(place: &RingFile) -> RemovalError {
    RemovalError::Changed {
        path: place.path.clone(),
    }
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
fn open_to_lock(place: &RingFile) -> Result<OwnedFd, RemovalError> {
    let opened = place.directory.open_existing(&place.leaf, true, false);
    opened.map_err(|error| RemovalError::Inspect(super::error::of_open(&place.path, error)))
}

/// Takes the producer's lock. Another process may hold it for a moment, to check the ring.
fn lock_producer(locks: &LockFile) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        if locks.try_lock(PRODUCER_BYTE)? {
            return Ok(true);
        }
        clock::sleep(PAUSE);
    }
    Ok(false)
}

/// Removes the temporary name under which a creator died. The next creator of the ring would do so, too (R15), and also
/// remove empty files of such names, which may be another program's.
fn remove_half_made(place: &RingFile) -> Result<Vec<String>, RemovalError> {
    let fd = open_to_lock(place)?;
    let mut start = [0; 8];
    let count = read_at(fd.as_fd(), &mut start, 0).map_err(failed(place, "read it"))?;
    if count < start.len() || start != KIND.magic {
        return Err(changed(place));
    }
    let ring = ring_of_temporary(&place.leaf).unwrap_or(&place.leaf);
    let status = nix::sys::stat::fstat(&fd).map_err(io::Error::from);
    let is_linked = status.map_err(failed(place, "read its status"))?.st_nlink > 1;
    let is_named = place.directory.names_same_file(ring, fd.as_fd());
    if is_linked && !is_named.map_err(failed(place, "read the status of its ring's name"))? {
        let text = "it has a second name, which is not its ring's, so it may be needed";
        let source = io::Error::new(io::ErrorKind::PermissionDenied, text);
        return Err(failed(place, "remove it")(source));
    }
    let locks = LockFile::reopen(fd.as_fd()).map_err(failed(place, "open it for its locks"))?;
    let is_locked = locks.try_lock(KIND.builder_byte);
    if !is_locked.map_err(failed(place, "lock it"))? {
        let creator = String::from("the process that creates it");
        return Err(used_by(place, vec![creator]));
    }
    // the lock is held until the name is gone: a creator that is about to take it finds that the name is gone
    let is_same = place.directory.names_same_file(&place.leaf, fd.as_fd());
    if !is_same.map_err(failed(place, "read the status of its name"))? {
        return Err(changed(place));
    }
    place
        .directory
        .unlink(&place.leaf)
        .map_err(failed(place, "remove its name"))?;
    Ok(Vec::new())
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
            Presence::Unknown if consumer.is_durable => {
                "which may be away, as its lock cannot be probed here"
            }
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

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use crate::{MmapConsumer, MmapProducer, MmapTransportLayout};

    fn files() -> (tempfile::TempDir, MmapTransportLayout) {
        let files = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(files.path(), "ring");
        (files, layout)
    }

    fn producer(layout: &MmapTransportLayout) -> MmapProducer<u64> {
        MmapProducer::create(layout, 8, || 0).expect("a producer")
    }

    #[test]
    fn a_consumer_that_joins_after_the_check_keeps_the_name() {
        let (_files, layout) = files();
        producer(&layout).close_and_keep().expect("closed");
        let place = RingFile::of(&layout.path()).expect("a place");
        let fd = open_to_lock(&place).expect("open");
        let locks = LockFile::reopen(fd.as_fd()).expect("reopen");
        assert!(lock_producer(&locks).expect("lock"));
        let check = || check_as_holder(&place, &locks).expect("checked").in_use_by;
        assert_eq!(check(), [""; 0]);
        let builder = MmapConsumer::<u64>::builder(&layout, 8);
        let rx = builder.build_consumer().expect("it joins");
        let refused = unlink_unused(&place, fd.as_fd(), &locks);
        assert!(
            matches!(refused, Err(RemovalError::InUse { .. })),
            "{refused:?}"
        );
        assert!(layout.path().exists());
        let by = check();
        assert!(by[0].starts_with("consumer \"auto-"), "{by:?}");
        drop(rx);
        unlink_unused(&place, fd.as_fd(), &locks).expect("removed");
        assert!(!layout.path().exists());
    }

    #[test]
    fn the_place_of_a_durable_consumer_is_a_loss_unless_it_is_known_to_be_there() {
        let (_files, layout) = files();
        let tx = producer(&layout);
        let rx = MmapConsumer::<u64>::attach(&layout, 8, "reader").expect("a consumer");
        let mut seen = Inspector::open(layout.path())
            .and_then(|mut ring| ring.snapshot())
            .expect("read");
        for (presence, losses) in [
            (Presence::Attached, 0),
            (Presence::Away, 1),
            (Presence::Unknown, 1),
        ] {
            seen.consumers[0].presence = presence;
            assert_eq!(losses_of(&seen).len(), losses, "{presence}");
        }
        seen.consumers[0].is_durable = false;
        assert_eq!(losses_of(&seen), [""; 0]);
        rx.leave().expect("left");
        drop(tx);
    }
}
