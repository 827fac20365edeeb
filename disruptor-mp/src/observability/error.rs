//! The errors of counters.

use std::io;
use std::path::Path;

use super::CounterId;
use crate::cause::{SystemCause, after, cause_of};
use crate::os::step::Failed;

/// Why a counters file could not be opened, or a counter could not be made.
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
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CountersError {
    /// There is no such file.
    #[error("no counters file at {path}: CountersFile::create makes one")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The name belongs to something else.
    #[error(
        "'{path}' is not a counters file of this version: {found}; choose another path; it was left as it is"
    )]
    NotACountersFile {
        /// The path.
        path: String,
        /// What was found there.
        found: String,
    },
    /// This user may not use the file.
    #[error(
        "no permission for '{path}': {reason}; counters files are private to their user (0600)"
    )]
    PermissionDenied {
        /// The path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The file system, the memory limit of a cgroup or the limit on a file's size leaves too little space.
    #[error("no space for '{path}': {needed_bytes} bytes needed, {free_bytes} free {limited_by}")]
    NoSpace {
        /// The path.
        path: String,
        /// Bytes that the file needs.
        needed_bytes: u64,
        /// Bytes that were free.
        free_bytes: u64,
        /// The source of the limit, as words that follow the number: "on its file system".
        limited_by: String,
    },
    /// Every slot belongs to a process that is alive.
    #[error(
        "all {slots} counters are in use by processes that are alive; drop some handles, or use another file"
    )]
    Full {
        /// The number of slots.
        slots: usize,
    },
    /// The label is too long.
    #[error("a counter's label has at most {limit} bytes, and '{label}' has {bytes}")]
    LabelTooLong {
        /// The greatest length.
        limit: usize,
        /// The label.
        label: String,
        /// Its length.
        bytes: usize,
    },
    /// The label contains a NUL, which could not be distinguished from padding.
    #[error("a counter's label cannot contain a NUL: {label:?}")]
    InvalidLabel {
        /// The label.
        label: String,
    },
    /// The id is not one of a program's own.
    #[error("counter id {id} is reserved: a program's own begin at 0x100")]
    ReservedId {
        /// The id.
        id: CounterId,
    },
    /// The endpoint does not count this id.
    #[error("a {endpoint} does not count {id}")]
    NotCounted {
        /// The id.
        id: CounterId,
        /// The kind of endpoint.
        endpoint: &'static str,
    },
    /// The handle was made before a fork, and belongs to the parent process.
    #[error("this counters file was opened before a fork: open it again in the child")]
    Forked,
    /// Another error of the system.
    #[error(
        "counters file '{path}': could not {operation}: {source}{}",
        after(cause)
    )]
    Io {
        /// The path.
        path: String,
        /// The operation that failed, and its system call.
        operation: &'static str,
        /// The system's error.
        source: io::Error,
        /// The cause, if it is known.
        cause: Option<Box<SystemCause>>,
    },
}

crate::error::debug_is_text!(CountersError);

impl CountersError {
    /// The error of a step that the system refused, with its cause.
    pub(super) fn of_step(path: &Path, failed: Failed) -> Self {
        Self::Io {
            path: path.display().to_string(),
            operation: failed.step.words(),
            cause: cause_of(&failed, path).map(Box::new),
            source: failed.source,
        }
    }
}
