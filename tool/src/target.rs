//! The file that a recording is written to. It is opened before the recorder attaches to a ring, because a recorder
//! that cannot write would only hold up the producer. What is in it stays until the recorder has attached.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::Failure;
use crate::recording::MAGIC;

/// A file for a recording.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    path: &'a Path,
    file: File,
    /// Whether this process made it.
    is_new: bool,
}

impl<'a> Target<'a> {
    /// Makes the file. With `force`, one that exists is opened instead, if it is a recording or empty.
    pub(crate) fn open(path: &'a Path, force: bool) -> Result<Self, Failure> {
        if force && let Some(file) = existing(path)? {
            return Ok(Self {
                path,
                file,
                is_new: false,
            });
        }
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let file = made.map_err(|error| match (error.kind(), force) {
            (io::ErrorKind::AlreadyExists, false) => refused(
                path,
                "exists: choose another file, or write over a recording with --force",
            ),
            (io::ErrorKind::AlreadyExists, true) => {
                refused(path, "has just been created by another process")
            }
            _ => Failure::Io(format!("creating {}", path.display()), error),
        })?;
        Ok(Self {
            path,
            file,
            is_new: true,
        })
    }

    /// The file, without what was in it.
    pub(crate) fn emptied(&self) -> io::Result<File> {
        self.file.set_len(0)?;
        self.file.try_clone()
    }

    /// Removes the file if this process made it, and the name still leads to it.
    pub(crate) fn discard(self) {
        let identity = |found: Metadata| (found.dev(), found.ino());
        let ours = self.file.metadata().map(identity);
        let named = self.path.symlink_metadata().map(identity);
        if self.is_new && ours.is_ok_and(|ours| named.is_ok_and(|named| named == ours)) {
            // the failure that led here is told
            let _ = fs::remove_file(self.path);
        }
    }
}

/// The file that may be written over, as it is; `None` if there is none. It is checked through the descriptor through
/// which it is written later.
fn existing(path: &Path) -> Result<Option<File>, Failure> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    // a link may lead to a file of another user; a FIFO does not hold the call up
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let failed = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |error| Failure::Io(what, error)
    };
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let why = "is a symbolic link, which is not followed: name the file itself";
            return Err(refused(path, why));
        }
        Err(error) => return Err(failed("opening")(error)),
    };
    let found = file.metadata().map_err(failed("reading"))?;
    if !found.is_file() {
        return Err(refused(path, "is not a regular file: choose another one"));
    }
    let mut start = [0; MAGIC.len()];
    let may_go = match file.read_exact_at(&mut start, 0) {
        Ok(()) => start == MAGIC,
        // an empty file has nothing to lose: a recorder that is stopped before its header is written leaves one
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => found.len() == 0,
        Err(error) => return Err(failed("reading")(error)),
    };
    match may_go {
        true => Ok(Some(file)),
        false => Err(refused(
            path,
            "is not a recording, and is not written over: choose another file",
        )),
    }
}

fn refused(path: &Path, why: &str) -> Failure {
    let text = format!("{} {why}; nothing was recorded", path.display());
    Failure::Refused("exists", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code and the word with which a file is refused; what is in it is the same before and after.
    fn refusal(path: &Path, force: bool) -> Option<(u8, &'static str)> {
        let before = fs::read(path).ok();
        let refusal = Target::open(path, force)
            .err()
            .map(|failure| (failure.code(), failure.word()));
        let after = fs::read(path).ok();
        assert!(before.is_none() || before == after, "{}", path.display());
        refusal
    }

    #[test]
    fn only_recordings_and_empty_files_are_written_over() {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("file");
        let exists = Some((4, "exists"));
        for (content, by_force) in [
            (&b"MYELNREC and more"[..], None),
            (b"MYELNREC", None),
            (b"", None),
            (b"MYELNRE", exists),
            (b"a letter", exists),
            (b"a", exists),
        ] {
            fs::write(&path, content).expect("write");
            assert_eq!(refusal(&path, true), by_force, "{content:?}");
            assert_eq!(refusal(&path, false), exists, "{content:?}");
        }
        fs::write(&path, MAGIC).expect("write");
        let link = files.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        let broken = files.path().join("broken");
        std::os::unix::fs::symlink("nowhere", &broken).expect("link");
        for other in [&*link, &*broken, Path::new("/dev/null")] {
            assert_eq!(refusal(other, true), exists, "{}", other.display());
            assert_eq!(refusal(other, false), exists, "{}", other.display());
        }
        let missing = files.path().join("no/such/file");
        for force in [false, true] {
            assert_eq!(refusal(&missing, force), Some((3, "system")));
        }
        assert_eq!(fs::read_dir(files.path()).expect("read").count(), 3);
    }

    #[test]
    fn a_file_is_discarded_only_by_the_process_that_made_it() {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("file");
        for force in [false, true] {
            Target::open(&path, force).expect("made").discard();
            assert!(!path.exists());
        }
        fs::write(&path, b"MYELNREC and more").expect("write");
        Target::open(&path, true).expect("opened").discard();
        assert_eq!(fs::read(&path).expect("read"), b"MYELNREC and more");
        let target = Target::open(&path, true).expect("opened");
        target.emptied().expect("emptied");
        assert_eq!(fs::read(&path).expect("read"), b"");
        // another file has got the name meanwhile
        let other = files.path().join("other");
        let target = Target::open(&other, false).expect("made");
        fs::rename(&path, &other).expect("rename");
        target.discard();
        assert!(other.exists());
    }
}
