//! Where a ring lies, and how it is named there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{MultiProcessError, MultiProcessResult};
use crate::os::names::{self, Directory};
use crate::os::step::Step;
use crate::region::file::FilePlace;
use crate::region::heap::HeapMemory;
use crate::segment::file_error;

/// Longest name of a ring, in bytes. File systems take 255, and a temporary name may have to be built from
/// the ring's.
const NAME_BYTES_MAX: usize = 200;

/// Longest name that [`portable_shm_segment_name`] makes, in bytes. Every system known to us takes names of
/// this length.
pub const PORTABLE_SHM_SEGMENT_NAME_MAX_LEN: usize = 14;

/// A name for a ring that no other call returns, safe on every system: up to five characters of `label`, then nine
/// random ones.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{PORTABLE_SHM_SEGMENT_NAME_MAX_LEN, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("market data");
/// assert!(name.starts_with("marke"));
/// assert!(name.len() <= PORTABLE_SHM_SEGMENT_NAME_MAX_LEN);
/// assert_ne!(name, portable_shm_segment_name("market data"));
/// ```
pub fn portable_shm_segment_name(label: &str) -> String {
    let mut name: String = label
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(5)
        .collect();
    let mut random = fastrand::Rng::new();
    while name.len() < PORTABLE_SHM_SEGMENT_NAME_MAX_LEN {
        name.push(random.alphanumeric());
    }
    name
}

/// A ring's file: `segment` in the directory `root`.
///
/// # Examples
///
/// ```
/// use disruptor_mp::MmapTransportLayout;
///
/// let layout = MmapTransportLayout::new("/var/lib/ticks", "raw");
/// assert_eq!(layout.path(), std::path::Path::new("/var/lib/ticks/raw"));
/// assert_eq!((layout.root(), layout.segment()), (std::path::Path::new("/var/lib/ticks"), "raw"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmapTransportLayout {
    root: PathBuf,
    segment: String,
}

impl MmapTransportLayout {
    /// Describes the file and creates nothing yet. A producer creates `root` if it is missing. A relative `root`
    /// is resolved against the present working directory: the layout stays where it is if that directory changes.
    pub fn new(root: impl AsRef<Path>, segment: impl Into<String>) -> Self {
        Self {
            root: names::absolute(root.as_ref()),
            segment: segment.into(),
        }
    }

    /// The file's path.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.segment)
    }

    /// The directory, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file's name.
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// Creates the directory, and its parents, if they are missing. A producer does so by itself.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError::PermissionDenied`], [`MultiProcessError::Io`].
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::MmapTransportLayout;
    /// # let directory = tempfile::tempdir()?;
    /// # let root = directory.path();
    ///
    /// let layout = MmapTransportLayout::new(root.join("rings/of/today"), "ticks");
    /// layout.ensure_directories()?;
    /// assert!(layout.root().is_dir());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure_directories(&self) -> MultiProcessResult<()> {
        std::fs::create_dir_all(&self.root).map_err(|source| {
            let place = FilePlace::new(Directory::at(&self.root), &self.segment, None);
            file_error(&place, Step::CreateDirectory.failed(source))
        })
    }
}

/// # Kept for programs written against disruptor-mp 0.1
impl MmapTransportLayout {
    /// [`root`](Self::root).
    ///
    /// # Examples
    ///
    /// ```
    /// let layout = disruptor_mp::MmapTransportLayout::new("/var/lib/ticks", "raw");
    /// assert_eq!(layout.root_dir(), layout.root());
    /// ```
    pub fn root_dir(&self) -> &Path {
        self.root()
    }

    /// [`segment`](Self::segment).
    ///
    /// # Examples
    ///
    /// ```
    /// let layout = disruptor_mp::MmapTransportLayout::new("/var/lib/ticks", "raw");
    /// assert_eq!(layout.segment_name(), layout.segment());
    /// ```
    pub fn segment_name(&self) -> &str {
        self.segment()
    }
}

/// Where a handle finds its segment.
#[derive(Clone, Debug)]
pub(crate) enum RingLocation {
    Shared {
        name: String,
    },
    File(MmapTransportLayout),
    Heap {
        memory: Arc<HeapMemory>,
        capacity: usize,
    },
}

impl RingLocation {
    /// The ring's name, for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Shared { name } => name.clone(),
            Self::File(layout) => layout.segment.clone(),
            Self::Heap { .. } => String::from("heap"),
        }
    }

    /// The file that holds the ring. `create_root`: whether a missing directory is made. `label`: what the ring is for.
    pub(crate) fn file(
        &self,
        create_root: bool,
        label: Option<Arc<str>>,
    ) -> MultiProcessResult<FilePlace> {
        match self {
            Self::Shared { name } => {
                check_name(name)?;
                Ok(FilePlace::new(Directory::shared_memory(), name, label))
            }
            Self::File(layout) => {
                check_name(&layout.segment)?;
                if create_root {
                    layout.ensure_directories()?;
                }
                let place = FilePlace::new(Directory::at(&layout.root), &layout.segment, label);
                match Directory::open(&layout.root) {
                    Ok(_) => Ok(place),
                    Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                        Err(MultiProcessError::NotFound {
                            name: place.shown(),
                            path: place.path(),
                            source,
                        })
                    }
                    Err(source) => Err(file_error(&place, Step::OpenDirectory.failed(source))),
                }
            }
            Self::Heap { .. } => unreachable!("a heap ring has no file"),
        }
    }
}

/// Checks that `name` is valid for a ring.
fn check_name(name: &str) -> MultiProcessResult<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 200 bytes"
    } else if name.contains('/') {
        "it contains a slash: a name is one path component"
    } else if name.starts_with('.') {
        "it starts with a dot: those are kept for temporary files"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(MultiProcessError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "",
            "/",
            "a/b",
            "..",
            ".hidden",
            "a\0b",
            "a\nb",
            &"x".repeat(201),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["ticks", "a-b.c_d", "ünïcode", &"x".repeat(200)] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
