//! The harness of the multi-process tests: actors, the ring they meet at, and the events they check.
//!
//! An *actor* is a process of its own (`src/bin/actor.rs`) that does what it is told, a line at a time, and answers each
//! line with one. So a test decides who does what when, and may stop or kill anybody in between.

use std::fs;
use std::path::{Path, PathBuf};

mod actor;
pub mod checker;
pub mod frames;
pub mod fuzz;
mod hostile;
mod hot_paths;
mod ledger;
mod record;
#[cfg(feature = "dst")]
pub mod simulation;
pub mod stepping;
pub mod storm;
#[cfg(debug_assertions)]
pub mod sweep;
pub mod tracer;
pub mod waiters;

pub use actor::{Actor, Reply, wait_until};
pub use hostile::Hostile;
pub use hot_paths::HotPaths;
pub use ledger::{Entry, Ledger};
pub use record::{Record, Tally, hash_of};

/// Where the actors of one test meet. Dropping it checks that nothing of the ring is left behind.
#[derive(Debug)]
pub struct World {
    program: PathBuf,
    directory: PathBuf,
    name: String,
    is_shared_memory: bool,
    is_name_left: bool,
    /// Holds ledgers, and the ring if that is a file. Removed last.
    files: tempfile::TempDir,
}

impl World {
    /// A ring in shared memory. `program` is `env!("CARGO_BIN_EXE_actor")`.
    pub fn shared_memory(program: &str) -> Self {
        Self {
            program: program.into(),
            directory: PathBuf::from("/dev/shm"),
            name: disruptor_mp::portable_shm_segment_name("test"),
            is_shared_memory: true,
            is_name_left: false,
            files: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// A ring in a mapped file, in a directory of its own.
    pub fn mapped_file(program: &str) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        Self {
            program: program.into(),
            directory: files.path().to_owned(),
            name: String::from("ring"),
            is_shared_memory: false,
            is_name_left: false,
            files,
        }
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ring's file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Where a ledger of this name is kept, for an actor's `log=`.
    pub fn ledger(&self, name: &str) -> PathBuf {
        self.files.path().join(format!("{name}.ledger"))
    }

    /// The directory of the ring's file.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the ring has its name now.
    pub fn is_named(&self) -> bool {
        fs::symlink_metadata(self.path()).is_ok()
    }

    /// Starts another process.
    pub fn actor(&self) -> Actor {
        self.start(&[])
    }

    /// Starts another process that dies, stops or dawdles at a step of the protocol: `name:n:kill`, `stop`, `delay` or
    /// `jitter`. Only debug builds have these points.
    pub fn actor_with(&self, fail_point: &str) -> Actor {
        self.start(&[("MYELON_FAIL_POINT", fail_point)])
    }

    /// The same, for a negative control: it leaves a step of the protocol out as well.
    pub fn actor_without(&self, step: &str, fail_point: &str) -> Actor {
        self.start(&[("MYELON_LEFT_OUT", step), ("MYELON_FAIL_POINT", fail_point)])
    }

    fn start(&self, environment: &[(&str, &str)]) -> Actor {
        let backend = if self.is_shared_memory { "shm" } else { "mmap" };
        Actor::start(
            &self.program,
            backend,
            &self.directory,
            &self.name,
            environment,
        )
    }

    /// Says that the name is meant to be there when the test ends.
    pub fn leaves_the_name(&mut self) {
        self.is_name_left = true;
    }

    /// Whatever carries the ring's name or one of its temporary names.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let temporary = format!(".{}.", self.name);
        let entries = fs::read_dir(&self.directory).expect("the ring's directory");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter(|name| *name == self.name || name.starts_with(&temporary))
            .map(|name| self.directory.join(name))
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let left = self.leftovers();
        for path in &left {
            let _ = fs::remove_file(path);
        }
        if !std::thread::panicking() {
            let expected: Vec<PathBuf> =
                self.is_name_left.then(|| self.path()).into_iter().collect();
            assert_eq!(left, expected, "what the test left behind");
        }
    }
}

/// Whether this test may do what only root may. If not it says so by name, and fails where nothing may be skipped.
pub fn needs_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    skip(test, "needs root");
    false
}

/// Says by name that a test could not run; fails under CI, where every test must.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    assert!(
        std::env::var("CI").is_err(),
        "SKIPPED {test}: {reason}; nothing may be skipped under CI"
    );
}

/// Asserts that a text names each of the parts.
#[track_caller]
pub fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}
