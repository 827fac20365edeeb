//! The harness of the multi-process tests: actors, the ring that they share, and the events that they check.
//!
//! An *actor* is a process of its own (`src/bin/actor`) that obeys one line of input at a time, and answers
//! each line with one line. A test thus decides in which order processes act, and may stop or kill a process
//! between two actions.
//!
//! The fuzz targets (`cfg(fuzzing)`) use [`fuzz`] alone: without most of the others they are built in half of the time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

mod actor;
#[cfg(not(fuzzing))]
pub mod cgroup;
pub mod checker;
#[cfg(not(fuzzing))]
pub mod faults;
#[cfg(not(fuzzing))]
pub mod frames;
pub mod fuzz;
#[cfg(not(fuzzing))]
mod hostile;
mod hot_paths;
pub mod kinds;
mod ledger;
#[cfg(not(fuzzing))]
pub mod power;
mod record;
#[cfg(not(fuzzing))]
pub mod sessions;
#[cfg(all(feature = "dst", not(fuzzing)))]
pub mod simulation;
#[cfg(not(fuzzing))]
pub mod stepping;
#[cfg(not(fuzzing))]
pub mod storm;
#[cfg(all(debug_assertions, not(fuzzing)))]
pub mod sweep;
pub mod tracer;
#[cfg(not(fuzzing))]
pub mod waiters;

pub use actor::{Act, Actor, Reply, wait_until};
#[cfg(not(fuzzing))]
pub use hostile::Hostile;
pub use hot_paths::HotPaths;
pub use ledger::{Entry, Ledger};
pub use record::{Record, Tally, hash_of};

/// The ring that the actors of one test share. Dropping a world checks that no file of the ring is left behind.
#[derive(Debug)]
pub struct World {
    program: PathBuf,
    directory: PathBuf,
    name: String,
    is_shared_memory: bool,
    is_name_left: bool,
    /// Holds the ledgers, and the ring if it is a file. Removed last.
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

    /// One world of each kind.
    pub fn both(program: &str) -> [Self; 2] {
        [Self::shared_memory(program), Self::mapped_file(program)]
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ring's file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// The path of the ledger of this name, for an actor's `log=`.
    pub fn ledger(&self, name: &str) -> PathBuf {
        self.files.path().join(format!("{name}.ledger"))
    }

    /// The directory of the ring's file.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sets this mode on the directory if it is the world's own; the directory of shared memory belongs to all
    /// programs.
    pub fn open_directory(&self, mode: u32) {
        if !self.is_shared_memory {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&self.directory, mode).expect("chmod");
        }
    }

    /// Whether the ring's name exists now.
    pub fn is_named(&self) -> bool {
        fs::symlink_metadata(self.path()).is_ok()
    }

    /// Starts an actor.
    pub fn actor(&self) -> Actor {
        self.start(&[])
    }

    /// Starts an actor that dies, stops or is delayed at a step of the protocol. `fail_point` is `name:n:kill`,
    /// or the same with `stop`, `delay` or `jitter`. Only debug builds have these points.
    pub fn actor_with(&self, fail_point: &str) -> Actor {
        self.start(&[("MYELON_FAIL_POINT", fail_point)])
    }

    /// Like [`actor_with`](Self::actor_with), for a negative control: the actor also leaves out a step of the protocol.
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

    /// Declares that the ring's name is meant to exist when the test ends.
    pub fn leaves_the_name(&mut self) {
        self.is_name_left = true;
    }

    /// Every file that carries the ring's name or one of its temporary names.
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

/// Whether this test may do what only root may do. If not, it reports the test as skipped, or fails under CI,
/// where no test may be skipped.
pub fn needs_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    skip(test, "needs root");
    false
}

/// Reports that a test could not run. Under CI, where every test must run, it panics instead.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    assert!(
        std::env::var("CI").is_err(),
        "SKIPPED {test}: {reason}; nothing may be skipped under CI"
    );
}

/// The permissions of each mapping in a process that was opened under the name `path`. The creator's mapping
/// has no name.
pub fn permissions_of_mappings(pid: u32, path: &Path) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let path = path.to_str().expect("utf-8");
    let of_file = maps.lines().filter(|line| line.ends_with(path));
    let permissions = of_file.filter_map(|line| line.split_whitespace().nth(1));
    permissions.map(String::from).collect()
}

/// Plays a scene of a harness; a panic is an error with the panic's text.
///
/// # Errors
///
/// What `play` returns, or that text.
pub fn caught<T>(play: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| String::from("a panic without words")))
    })
}

/// Asserts that the text contains each of the parts.
#[track_caller]
pub fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}
