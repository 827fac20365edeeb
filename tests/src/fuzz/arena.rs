//! The place of a fuzzed ring: a directory of this thread's own, with a second file that no call may touch.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use disruptor_mp::MmapTransportLayout;
use tempfile::TempDir;

/// The ring's name.
const RING: &str = "ring";
/// A file whose name resembles the ring's.
const BYSTANDER: &str = "ring-bystander";
const BYSTANDER_TEXT: &str = "not a ring";

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Runs `play` in an empty directory, and checks afterwards that no call has touched a file that is not the ring's.
pub(super) fn enter(play: impl FnOnce(&MmapTransportLayout)) {
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(|| {
            let made = tempfile::tempdir().expect("a directory");
            fs::write(made.path().join(BYSTANDER), BYSTANDER_TEXT).expect("a bystander");
            made
        });
        let layout = MmapTransportLayout::new(directory.path(), RING);
        let _ = fs::remove_file(layout.path());
        play(&layout);
        check(directory.path());
        let _ = fs::remove_file(layout.path());
    });
}

fn check(directory: &Path) {
    for entry in fs::read_dir(directory).expect("the directory") {
        let name = entry.expect("an entry").file_name();
        assert!(name == RING || name == BYSTANDER, "left behind: {name:?}");
    }
    let text = fs::read_to_string(directory.join(BYSTANDER)).expect("the bystander was removed");
    assert_eq!(text, BYSTANDER_TEXT, "somebody wrote to the bystander");
}
