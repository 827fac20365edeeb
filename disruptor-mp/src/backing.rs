//! Where a ring lives, as a type parameter of its handles, and how it is named there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{MultiProcessError, MultiProcessResult};
use crate::os::names::Directory;
use crate::region::file::FilePlace;
use crate::region::heap::HeapMemory;

/// Rings in POSIX shared memory.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Producer, SharedMemory, portable_shm_segment_name, publisher};
///
/// let tx: Producer<u64, SharedMemory> = publisher(&portable_shm_segment_name("doc"), 8)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemory;

/// Rings in mapped files.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{MappedFile, MmapProducer, MmapTransportLayout, Producer};
/// # let directory = tempfile::tempdir()?;
///
/// let layout = MmapTransportLayout::new(directory.path(), "ticks");
/// let tx: Producer<u64, MappedFile> = MmapProducer::create(&layout, 8, || 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedFile;

/// Rings on the heap of this process.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Heap, HeapRing, Producer};
///
/// let tx: Producer<u64, Heap> = HeapRing::new(8)?.producer()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap;

/// Longest name of a ring, in bytes: file systems take 255, and a temporary name may have to be built from it.
const NAME_BYTES_MAX: usize = 200;

/// Longest name that [`portable_shm_segment_name`] makes, in bytes: what every system we know of takes.
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
    /// Nothing is created yet. A producer creates `root` if it is missing.
    pub fn new(root: impl AsRef<Path>, segment: impl Into<String>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            segment: segment.into(),
        }
    }

    /// The file's path.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.segment)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file's name.
    pub fn segment(&self) -> &str {
        &self.segment
    }
}

/// Where a handle finds its segment.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Shared {
        name: String,
    },
    File(MmapTransportLayout),
    Heap {
        memory: Arc<HeapMemory>,
        capacity: usize,
    },
}

impl Place {
    /// The ring's name, for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Shared { name } => name.clone(),
            Self::File(layout) => layout.segment.clone(),
            Self::Heap { .. } => String::from("heap"),
        }
    }

    /// The file that holds the ring. `create_root`: whether a missing directory is made.
    pub(crate) fn file(&self, create_root: bool) -> MultiProcessResult<FilePlace> {
        match self {
            Self::Shared { name } => {
                check_name(name)?;
                Ok(FilePlace {
                    directory: Directory::shared_memory(),
                    leaf: name.clone(),
                })
            }
            Self::File(layout) => {
                check_name(&layout.segment)?;
                let failed = |operation| {
                    let name = layout.segment.clone();
                    move |source| MultiProcessError::Io {
                        name,
                        operation,
                        source,
                    }
                };
                if create_root {
                    std::fs::create_dir_all(&layout.root)
                        .map_err(failed("create the directory"))?;
                }
                let directory =
                    Directory::open(&layout.root).map_err(|source| match source.kind() {
                        std::io::ErrorKind::NotFound => MultiProcessError::NotFound {
                            name: layout.segment.clone(),
                            path: layout.path().display().to_string(),
                            source,
                        },
                        _ => failed("open the directory")(source),
                    })?;
                Ok(FilePlace {
                    directory,
                    leaf: layout.segment.clone(),
                })
            }
            Self::Heap { .. } => unreachable!("a heap ring has no file"),
        }
    }
}

impl FilePlace {
    /// The path, for messages.
    pub(crate) fn path(&self) -> String {
        self.directory.path().join(&self.leaf).display().to_string()
    }
}

/// Refuses what is no name for a ring.
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
