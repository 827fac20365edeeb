//! Files that a power cut or a copy leaves: each is made of pages of the ring's file at several moments.
//!
//! Offsets are those of `docs/segment-layout.md`. Stores go through the file, so that they need no mapping.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use fastrand::Rng;

/// The unit that the disk writes as a whole, in bytes.
const PAGE: usize = 4096;
/// The range of the control lines.
const CONTROL: std::ops::Range<usize> = 4096..4096 + 11264;
/// In the producer's line: the boot id, then the file's inode number and birth time.
const BOOT_AT: usize = 4096 + 64;
const FILE_AT: usize = 4096 + 80;

/// A file of which each page is as it was at one of two moments, chosen at random.
pub fn mixture(earlier: &[u8], later: &[u8], seed: u64) -> Vec<u8> {
    assert_eq!(earlier.len(), later.len(), "two moments of one file");
    let mut rng = Rng::with_seed(seed);
    let pages = earlier.chunks(PAGE).zip(later.chunks(PAGE));
    pages
        .flat_map(|(earlier, later)| if rng.bool() { earlier } else { later })
        .copied()
        .collect()
}

/// Replaces the pages of the control lines by their contents at another moment.
pub fn set_control(pages: &mut [u8], moment: &[u8]) {
    let whole = CONTROL.start..CONTROL.end.next_multiple_of(PAGE);
    pages[whole.clone()].copy_from_slice(&moment[whole]);
}

/// Simulates a restart of the machine with these bytes in the file `path`, which has no name yet. The ring's
/// words name this file, and another boot.
pub fn restart_with(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write");
    let was_vouched = bytes[BOOT_AT..BOOT_AT + 16] != [0; 16];
    let mut bytes = bytes.to_vec();
    if was_vouched {
        is_that_file(&mut bytes, path);
    }
    another_boot(&mut bytes);
    // overwritten in place, so that the inode stays the same
    fs::write(path, bytes).expect("write");
}

/// Simulates a restart of the machine that loses nothing, or a process with another boot id.
pub fn restart(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    another_boot(&mut bytes);
    let file = fs::File::options().write(true).open(path).expect("open");
    // the file is not truncated, because other processes may have it mapped
    file.write_all_at(&bytes[BOOT_AT..BOOT_AT + 16], BOOT_AT as u64)
        .expect("write");
}

fn another_boot(bytes: &mut [u8]) {
    for byte in &mut bytes[BOOT_AT..BOOT_AT + 16] {
        *byte ^= 0x5a;
    }
}

fn is_that_file(bytes: &mut [u8], path: &Path) {
    let stat = fs::metadata(path).expect("stat");
    let born = stat.created().ok();
    let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |born| born.as_nanos() as u64);
    bytes[FILE_AT..FILE_AT + 8].copy_from_slice(&stat.ino().to_ne_bytes());
    bytes[FILE_AT + 8..FILE_AT + 16].copy_from_slice(&born.to_ne_bytes());
}
