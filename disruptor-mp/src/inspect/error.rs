//! Why a file cannot be shown as a ring, in sentences.

use std::io;
use std::path::{Path, PathBuf};

use super::{Liveness, counters};
use crate::os::names::OpenError;
use crate::os::user::{effective_user, user_text};

/// Why a file cannot be shown as a ring.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{InspectError, Inspector};
///
/// match Inspector::open_shared_memory("there-is-no-such-ring") {
///     Err(InspectError::NotFound { path }) => assert!(path.ends_with("there-is-no-such-ring")),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no such file.
    #[error(
        "there is no ring at {}: its producer has not started, or has ended it and the ring was drained",
        path.display()
    )]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// This process may not read the file, so it does not know whether it is a ring.
    #[error(
        "{} may not be read by {caller}{}: run this as the user of the ring, or let its producer set a mode that lets \
         others read it",
        path.display(), owner.as_ref().map(|owner| format!(", it belongs to {owner}")).unwrap_or_default()
    )]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The file's owner in words, if that can be read.
        owner: Option<String>,
        /// The user of this process, in words.
        caller: String,
    },
    /// Something else is there.
    #[error("{} is not a ring but {found}", path.display())]
    NotARing {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A [`CountersFile`](crate::CountersFile), of any version.
    #[error(
        "{} is not a ring but a counters file of version {version}: CountersFile::open reads version {}",
        path.display(), counters::VERSION
    )]
    CountersFile {
        /// The path.
        path: PathBuf,
        /// The version that the file says it has.
        version: u32,
    },
    /// A ring of another layout version, byte order or feature set.
    #[error(
        "the ring at {} is of another kind: its {what} is {found}, and this program reads {expected}; {}: use a program of \
         the ring's version",
        path.display(), in_use.words_of_a_file()
    )]
    OtherVersion {
        /// The path.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What this version reads.
        expected: String,
        /// What the file has.
        found: String,
        /// Whether a living process holds a lock of it.
        in_use: Liveness,
    },
    /// A ring whose header contradicts itself, or whose file was cut off.
    #[error(
        "the ring at {} is damaged: its {field} is {found}, expected {expected}; {}",
        path.display(), in_use.words_of_a_file()
    )]
    Damaged {
        /// The path.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its expected value.
        expected: String,
        /// The value that was found.
        found: String,
        /// Whether a living process holds a lock of it.
        in_use: Liveness,
    },
    /// A living process is creating this ring, and has not given it its name yet.
    #[error("{} is a ring that is being created: it has not got its name yet", path.display())]
    BeingCreated {
        /// The path.
        path: PathBuf,
    },
    /// A process died while it created this ring; the next creator under that name removes the file.
    #[error(
        "{} was left by a process that died while it created a ring; the ring's next creator removes it, and so does \
         'myelon clean'",
        path.display()
    )]
    HalfMade {
        /// The path.
        path: PathBuf,
    },
    /// The system refused a step.
    #[error("{}: could not {what}: {source}", path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// The step.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

crate::error::debug_is_text!(InspectError);

impl InspectError {
    /// One word for the kind of error, for tables and programs.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = disruptor_mp::inspect::Inspector::open("/dev/null").unwrap_err();
    /// assert_eq!(error.word(), "foreign");
    /// ```
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "missing",
            Self::Unreadable { .. } => "unreadable",
            Self::NotARing { .. } => "foreign",
            Self::CountersFile { .. } => "counters",
            Self::OtherVersion { .. } => "version",
            Self::Damaged { .. } => "damaged",
            Self::BeingCreated { .. } => "creating",
            Self::HalfMade { .. } => "half-made",
            Self::System { .. } => "system",
        }
    }
}

impl Liveness {
    /// Whether a file is in use, for the end of a message.
    pub(super) fn words_of_a_file(self) -> &'static str {
        match self {
            Self::Alive => "a living process uses it",
            Self::Dead => "no process holds a lock of it",
            Self::Unknown => "whether a process uses it is not known",
        }
    }
}

/// The error for a file that could not be opened.
pub(super) fn of_open(path: &Path, error: OpenError) -> InspectError {
    let path = path.to_owned();
    match error {
        OpenError::NotFound => InspectError::NotFound { path },
        OpenError::PermissionDenied { .. } | OpenError::ForeignOwner { .. } => {
            use std::os::unix::fs::MetadataExt;
            let found = std::fs::symlink_metadata(&path).ok();
            InspectError::Unreadable {
                path,
                owner: found.map(|found| user_text(found.uid())),
                caller: user_text(effective_user()),
            }
        }
        OpenError::Symlink => InspectError::NotARing {
            path,
            found: "a symbolic link, which is not followed".into(),
        },
        OpenError::NotRegular { kind } => InspectError::NotARing {
            path,
            found: format!("a {kind}"),
        },
        OpenError::NetworkFileSystem { kind } => InspectError::NotARing {
            path,
            found: format!("a file on {kind}, where there are no rings"),
        },
        OpenError::Failed(failed) => InspectError::System {
            path,
            what: failed.step.words(),
            source: failed.source,
        },
    }
}
