//! A program that closes descriptors that it has not opened, as code does that makes it a daemon.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use crate::Answer;
use crate::options::Words;

/// The files that got the numbers of the closed descriptors.
pub(crate) struct Strangers(Vec<OwnedFd>);

/// `close-descriptors strangers=20`: closes all descriptors from 3 on, and opens this many files of another kind.
pub(crate) fn close_all(words: &Words<'_>) -> Result<Strangers, std::io::Error> {
    // SAFETY: closing other code's descriptors is what is tested: their owners must detect it.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let count = words.number("strangers");
    let opened: Result<_, _> = (0..count)
        .map(|_| File::open("/dev/zero").map(OwnedFd::from))
        .collect();
    opened.map(Strangers)
}

/// `strangers`: how many of these files are still open.
pub(crate) fn count(strangers: &mut Strangers) -> Answer {
    let zero = std::fs::metadata("/dev/zero")?.rdev();
    let numbers: Vec<i32> = strangers
        .0
        .drain(..)
        .map(|fd| {
            let number = fd.as_raw_fd();
            // the file may no longer be open, and closing it twice would be noticed
            std::mem::forget(fd);
            number
        })
        .collect();
    let mut left = 0;
    for number in numbers {
        // SAFETY: the call only asks about a number.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            continue;
        }
        // SAFETY: the descriptor is open, and was opened by this file, unless other code has replaced it.
        let file = unsafe { File::from_raw_fd(number) };
        left += i64::from(file.metadata()?.rdev() == zero);
        strangers.0.push(file.into());
    }
    Ok(format!("left={left}"))
}
