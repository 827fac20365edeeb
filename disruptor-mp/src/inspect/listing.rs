//! The rings in a directory, by their magic.

use std::io;
use std::path::{Path, PathBuf};

use super::{InspectError, Inspector};
use crate::os::names::Directory;

/// The directory of rings in shared memory: `/dev/shm` on Linux.
///
/// # Examples
///
/// See [`rings_in`].
pub fn shared_memory_directory() -> PathBuf {
    Directory::shared_memory().path().to_owned()
}

/// A file that is a ring, or that may be one.
///
/// # Examples
///
/// See [`rings_in`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// The file's name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// The ring; or why it cannot be shown.
    pub ring: Result<Inspector, InspectError>,
}

/// The rings in a directory, by name. Each is opened when the iterator comes to it. Also yields files that this process
/// may not read, damaged rings, rings of other versions, and rings that are being created or were left half-made. Files
/// that are no rings are passed over, and so are files that vanish meanwhile.
///
/// # Errors
///
/// When the directory cannot be read.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Found, rings_in, shared_memory_directory};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// # let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let mut rings = rings_in(&shared_memory_directory())?;
/// let found: Found = rings.find(|found| found.name == name).expect("our ring");
/// assert_eq!(found.ring?.info().name, name);
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rings_in(directory: &Path) -> io::Result<impl Iterator<Item = Found> + use<>> {
    let directory = directory.to_owned();
    let mut names: Vec<_> = std::fs::read_dir(&directory)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    Ok(names.into_iter().filter_map(move |name| {
        let path = directory.join(&name);
        let ring = Inspector::open(&path);
        let is_none = matches!(
            ring,
            Err(InspectError::NotARing { .. }
                | InspectError::CountersFile { .. }
                | InspectError::NotFound { .. })
        );
        (!is_none).then_some(Found { name, path, ring })
    }))
}

/// The ring's name in the temporary name `.name.<16 hex digits>`, under which its creator builds it where files cannot
/// be without a name.
pub(super) fn ring_of_temporary(leaf: &str) -> Option<&str> {
    let (name, digits) = leaf.strip_prefix('.')?.rsplit_once('.')?;
    let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (!name.is_empty() && digits.len() == 16 && digits.bytes().all(is_hex)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::ring_of_temporary;

    #[test]
    fn temporary_names_are_told_from_others() {
        assert_eq!(ring_of_temporary(".ticks.0123456789abcdef"), Some("ticks"));
        assert_eq!(ring_of_temporary(".a.b.0123456789abcdef"), Some("a.b"));
        for name in [
            "ticks",
            "ticks.0123456789abcdef",
            ".ticks",
            ".ticks.0123456789ABCDEF",
            ".ticks.0123456789abcde",
            "..0123456789abcdef",
        ] {
            assert_eq!(ring_of_temporary(name), None, "{name}");
        }
    }
}
