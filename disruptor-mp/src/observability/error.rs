//! What can go wrong with counters.

use std::io;

use super::CounterId;

/// Why a counters file could not be opened, or a counter not be had.
///
/// # Examples
///
/// ```
/// use disruptor_mp::observability::{CountersError, CountersFile};
///
/// let error = CountersFile::open("/nowhere/ticks.counters").unwrap_err();
/// assert!(matches!(error, CountersError::NotFound { .. }));
/// assert!(CountersFile::anonymous().counter(0x10, "mine").is_err()); // an id of this family
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountersError {
    /// No such file.
    #[error("no counters file at {path}: CountersFile::create makes one")]
    NotFound {
        /// The path.
        path: String,
    },
    /// Something else has the name.
    #[error(
        "'{path}' is not a counters file of this version: {found}; remove it by hand or choose another path"
    )]
    NotACountersFile {
        /// The path.
        path: String,
        /// What is there.
        found: String,
    },
    /// The file may not be used by this user.
    #[error(
        "no permission for '{path}': {reason}; counters files are private to their user (0600)"
    )]
    PermissionDenied {
        /// The path.
        path: String,
        /// What stands against it.
        reason: String,
    },
    /// The file system is too full.
    #[error("no space for '{path}': {needed_bytes} bytes needed, {free_bytes} free")]
    NoSpace {
        /// The path.
        path: String,
        /// Bytes the file needs.
        needed_bytes: u64,
        /// Bytes that were free.
        free_bytes: u64,
    },
    /// Every slot belongs to somebody alive.
    #[error(
        "all {slots} counters are in use by processes that are alive; drop some handles, or use another file"
    )]
    Full {
        /// How many there are.
        slots: usize,
    },
    /// The label does not fit.
    #[error("a counter's label has at most 48 bytes, and '{label}' has {bytes}")]
    LabelTooLong {
        /// What was given.
        label: String,
        /// How long it is.
        bytes: usize,
    },
    /// The label cannot be told from padding.
    #[error("a counter's label cannot contain a NUL: {label:?}")]
    InvalidLabel {
        /// What was given.
        label: String,
    },
    /// The id is not a program's own.
    #[error("counter id {id} is reserved: a program's own begin at 0x100")]
    ReservedId {
        /// What was given.
        id: CounterId,
    },
    /// The endpoint does not count that.
    #[error("a {endpoint} does not count {id}")]
    NotCounted {
        /// What was asked for.
        id: CounterId,
        /// Of whom.
        endpoint: &'static str,
    },
    /// The handle belongs to the process before the fork.
    #[error("this counters file was opened before a fork: open it again in the child")]
    Forked,
    /// The system failed otherwise.
    #[error("counters file '{path}': could not {operation}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
