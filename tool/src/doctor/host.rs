//! The files in which the kernel and the system tell about the machine. One that is missing or malformed says nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

/// No core and no node has this number or a higher one.
const NUMBERS_END: usize = 1 << 16;

/// The machine. Tests put made-up files below another root.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the file with this absolute path is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The content of a file.
    pub(super) fn text(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.path(path))
    }

    /// The content of a file that has one word or one line.
    pub(super) fn word(&self, path: &str) -> Option<String> {
        Some(self.text(path).ok()?.trim().to_owned())
    }

    /// The numbers in a file's list, such as 0-3,8.
    pub(super) fn list(&self, path: &str) -> Option<BTreeSet<usize>> {
        numbers_in(&self.text(path).ok()?)
    }

    /// The numbers in the names of a directory's entries, such as 7 in `cpu7`.
    pub(super) fn numbered(&self, directory: &str, prefix: &str) -> BTreeSet<usize> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter_map(|name| name.strip_prefix(prefix)?.parse().ok())
            .collect()
    }

    /// The cores that this process may use.
    pub(super) fn allowed_cores(&self) -> Option<BTreeSet<usize>> {
        let status = self.text("/proc/self/status").ok()?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        numbers_in(list)
    }
}

/// The numbers of a list; `None` for anything else, also for an empty one.
fn numbers_in(list: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= NUMBERS_END {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The list of these numbers, such as 0-3,8.
pub(super) fn list_of(numbers: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine of these files alone. The directory must be kept as long as the machine is used.
    pub(in crate::doctor) fn made_up(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().expect("a directory");
        let host = Host::at(root.path());
        for (path, text) in files {
            let path = host.path(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, text).expect("write");
        }
        (root, host)
    }

    #[test]
    fn lists_are_read_and_written() {
        for (text, list) in [("0\n", "0"), ("0-1,4-7,9\n", "0-1,4-7,9"), ("3,1,2", "1-3")] {
            assert_eq!(
                numbers_in(text).map(|numbers| list_of(&numbers)),
                Some(list.into())
            );
        }
        for text in [
            "",
            "\n",
            "0-",
            "-3",
            "x",
            "0,,1",
            "0-99999999999",
            "0 1",
            "65536",
        ] {
            assert_eq!(numbers_in(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_missing_or_malformed_says_nothing() {
        let (_root, host) = made_up(&[
            ("/proc/self/status", "Name:\tmyelon\nCpus_allowed_list:\t\n"),
            ("/sys/devices/system/cpu/cpu3/uevent", ""),
            ("/sys/devices/system/cpu/cpufreq/uevent", ""),
            ("/sys/devices/system/cpu/cpu", ""),
        ]);
        assert_eq!(host.allowed_cores(), None);
        assert_eq!(
            host.numbered("/sys/devices/system/cpu", "cpu"),
            BTreeSet::from([3])
        );
        assert_eq!(host.numbered("/no/such/directory", "cpu"), BTreeSet::new());
        assert_eq!(
            (host.word("/no/such/file"), host.list("/no/such/file")),
            (None, None)
        );
    }
}
