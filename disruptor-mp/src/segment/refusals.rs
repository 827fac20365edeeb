//! The errors for a ring that cannot be created or opened, each with its probable cause.

use std::io;
use std::path::PathBuf;

use super::describe;
use crate::cause::{cause_of, no_shared_memory, why_not_opened};
use crate::error::MultiProcessError;
use crate::layout::control::Owner;
use crate::layout::header::HeaderFault;
use crate::os::memory::Shortage;
use crate::os::names::OpenError;
use crate::os::step::{Failed, Step};
use crate::os::user::{effective_user, user_text};
use crate::region::file::FilePlace;

/// The error for a step on the ring `name`, which lies at `path`, that the system refused.
pub(crate) fn io_error(
    name: &str,
    path: PathBuf,
    step: Step,
) -> impl FnOnce(io::Error) -> MultiProcessError {
    let name = name.to_owned();
    move |source| {
        let failed = step.failed(source);
        MultiProcessError::Io {
            name,
            operation: step.words(),
            cause: cause_of(&failed, &path).map(Box::new),
            source: failed.source,
        }
    }
}

pub(super) fn already_exists(name: &str, owner: Option<Owner>) -> MultiProcessError {
    let words = owner.map_or_else(|| String::from("another process"), describe);
    MultiProcessError::AlreadyExists {
        name: name.to_owned(),
        owner: words,
        owner_pid: owner.map_or(0, |owner| owner.pid),
    }
}

pub(super) fn no_space(name: String, shortage: &Shortage) -> MultiProcessError {
    MultiProcessError::NoSpace {
        name,
        needed_bytes: shortage.needed,
        free_bytes: shortage.free,
        limited_by: shortage.limit.to_string(),
    }
}

pub(super) fn header_error(place: &FilePlace, fault: HeaderFault) -> MultiProcessError {
    let name = place.shown();
    match fault {
        HeaderFault::Foreign { found } => MultiProcessError::NotARing {
            path: place.path(),
            found,
        },
        HeaderFault::Remnant { found } => MultiProcessError::NotARing {
            path: place.path(),
            found: format!(
                "{found}, which a power cut may have left of one (recreate() replaces it)"
            ),
        },
        HeaderFault::OtherVersion {
            what,
            expected,
            found,
        } => MultiProcessError::IncompatibleLayout {
            name,
            what,
            expected,
            found,
        },
        HeaderFault::Damaged {
            what,
            expected,
            found,
        } => MultiProcessError::DamagedSegment {
            name,
            what,
            expected,
            found,
        },
    }
}

/// The error for a name that no ring has.
pub(crate) fn not_found(place: &FilePlace) -> MultiProcessError {
    MultiProcessError::NotFound {
        name: place.shown(),
        path: place.path(),
        source: io::Error::from(io::ErrorKind::NotFound),
    }
}

/// What an endpoint does with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A producer or a consumer.
    Writes,
    /// An observer.
    Reads,
}

pub(super) fn open_error(place: &FilePlace, error: OpenError, side: Side) -> MultiProcessError {
    let path = place.path();
    let not_a_ring = |found: String| MultiProcessError::NotARing {
        path: path.clone(),
        found,
    };
    match error {
        OpenError::NotFound => missing(place),
        OpenError::PermissionDenied { errno } => {
            let cause = why_not_opened(errno, &place.full_path(), side == Side::Writes);
            match cause.is_permission() {
                true => MultiProcessError::PermissionDenied {
                    path,
                    source: io::Error::from(io::ErrorKind::PermissionDenied),
                    cause: Box::new(cause),
                },
                false => MultiProcessError::Io {
                    name: place.shown(),
                    operation: Step::OpenFile.words(),
                    source: errno.into(),
                    cause: Some(Box::new(cause)),
                },
            }
        }
        OpenError::Symlink => not_a_ring("a symbolic link".into()),
        OpenError::NotRegular { kind } => not_a_ring(kind.into()),
        OpenError::ForeignOwner { uid } => MultiProcessError::ForeignOwner {
            path,
            owner: user_text(uid),
            owner_uid: uid,
            caller: user_text(effective_user()),
        },
        OpenError::NetworkFileSystem { kind } => MultiProcessError::NetworkFileSystem {
            path,
            kind: kind.to_string(),
        },
        OpenError::Failed(failed) => file_error(place, failed),
    }
}

/// The error for an endpoint that finds no ring: either no ring has the name, or the directory for it does
/// not exist.
fn missing(place: &FilePlace) -> MultiProcessError {
    match no_shared_memory(&place.full_path()) {
        None => not_found(place),
        cause => MultiProcessError::Io {
            name: place.shown(),
            operation: Step::OpenFile.words(),
            source: io::Error::from(io::ErrorKind::NotFound),
            cause: cause.map(Box::new),
        },
    }
}

/// The error for a step that the system refused, with the probable cause.
pub(crate) fn file_error(place: &FilePlace, failed: Failed) -> MultiProcessError {
    match cause_of(&failed, &place.full_path()) {
        Some(cause) if cause.is_permission() => MultiProcessError::PermissionDenied {
            path: place.path(),
            source: failed.source,
            cause: Box::new(cause),
        },
        cause => MultiProcessError::Io {
            name: place.shown(),
            operation: failed.step.words(),
            source: failed.source,
            cause: cause.map(Box::new),
        },
    }
}
