//! `docs/getting-started.md` and the first example of the README work as pasted: their commands make a package in an
//! empty directory, its programs are compiled there, and its processes print what the page shows.
//!
//! Two things differ from what a reader does. The workspace has the place of the clone, or of the repository that cargo
//! would fetch. And the ring has a name of its own, so that the test disturbs no other process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const GETTING_STARTED: &str = include_str!("../../docs/getting-started.md");
const CLONE: &str = "git clone https://github.com/myelon/myelon\n";
const README: &str = include_str!("../../README.md");
/// The part of the README that is pasted.
const EXAMPLE: &str = "\n## Two processes\n";
/// Where the README's package gets the library from, and where the clone is.
const REPOSITORY: &str = "--git https://github.com/myelon/myelon";
const WORKSPACE: &str = "--path ../myelon/myelon";

/// Held while a package exists: all are compiled in the same place.
static PLACE: Mutex<()> = Mutex::new(());
/// Seconds after which a terminal's command is killed, so that a failure is no hang.
const LONGEST_S: &str = "300";

/// The page's blocks of code in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fenced = page.split("```").skip(1).step_by(2);
    let of_language = fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    of_language.collect()
}

/// The package that a page makes, in a temporary directory beside a clone.
struct Package {
    _directory: tempfile::TempDir,
    path: PathBuf,
    name: &'static str,
    ring: PathBuf,
    _place: MutexGuard<'static, ()>,
}

impl Package {
    /// Follows a page up to the compiled programs, which are given by their paths. The page calls package and ring by
    /// the same name.
    fn make(name: &'static str, set_up: &str, programs: &[(&str, &str)], build: &str) -> Self {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(ROOT).expect("the workspace");
        symlink(&root, directory.path().join("myelon")).expect("the clone");
        run(set_up, directory.path());

        let path = directory.path().join(name);
        let ring = myelon::portable_shm_segment_name("ten");
        for (file, program) in programs {
            let on_page = format!("{name:?}");
            assert_eq!(program.matches(&on_page).count(), 1, "one place for it");
            let program = program.replace(&on_page, &format!("{ring:?}"));
            fs::write(path.join(file), program).expect("the program");
        }
        // the versions that are on this machine already, as nothing is fetched
        fs::copy(root.join("Cargo.lock"), path.join("Cargo.lock"))
            .expect("the workspace is locked");
        run(build, &path);
        Self {
            _directory: directory,
            path,
            name,
            ring: Path::new("/dev/shm").join(ring),
            _place: place,
        }
    }

    /// Starts the command of a terminal.
    fn start(&self, command: &str) -> Process {
        let mut child = program("timeout", &self.path)
            .args(["-s", "KILL", LONGEST_S, "sh", "-ec", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Process { child, output }
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.ring);
        // The next run has other paths, and compiles these again. All other packages stay compiled for it.
        let packages = [self.name, "myelon", "disruptor-mp", "disruptor-mp-derive"];
        let _ = program("cargo", &self.path)
            .arg("clean")
            .args(packages.iter().flat_map(|name| ["-p", name]))
            .output();
    }
}

/// One terminal's command, which is killed with all its processes when the test fails.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its text");
        line
    }

    /// Ctrl-D.
    fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// In place of Ctrl-C, whose signal a process in the background may ignore. Returns when each process that holds
    /// the output has gone.
    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        while !self.line().is_empty() {}
        assert!(!self.child.wait().expect("it ends").success());
    }

    /// The rest of its output, once it has ended well.
    fn end(mut self) -> String {
        self.end_input();
        let mut output = String::new();
        loop {
            match self.line() {
                line if line.is_empty() => break,
                line => output += &line,
            }
        }
        let status = self.child.wait().expect("it ends");
        assert!(
            status.success(),
            "{status}, {:?}: {output}",
            status.signal()
        );
        output
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).expect("a process id");
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // a group without processes is no error, and its number is not used again before the shell was waited for
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// This program, to run in this directory, with nothing fetched. What cargo compiles is kept for the next run, and for
/// `event_fixtures.rs`.
fn program(name: &str, directory: &Path) -> Command {
    let mut program = Command::new(name);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("users");
    program
        .current_dir(directory)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTFLAGS");
    program
}

fn run(command: &str, directory: &Path) {
    let mut shell = program("sh", directory);
    let output = shell.args(["-ec", command]).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}:\n{text}");
}

#[test]
fn getting_started_works_as_pasted() {
    let [
        set_up,
        build,
        send_prices,
        receive,
        receive_again,
        send_typed,
    ] = blocks(GETTING_STARTED, "sh")[..]
    else {
        panic!("other commands than this test knows");
    };
    let [program] = blocks(GETTING_STARTED, "rust,no_run")[..] else {
        panic!("one program");
    };
    let [sent, received, after_a_death] = blocks(GETTING_STARTED, "text")[..] else {
        panic!("three outputs");
    };
    let set_up = set_up.strip_prefix(CLONE).expect("the clone comes first");
    let package = Package::make("first-ring", set_up, &[("src/main.rs", program)], build);
    assert_eq!(receive, receive_again);

    // the sender first, which ends before its receiver starts
    assert_eq!(package.start(send_prices).end(), sent);
    assert!(package.ring.exists(), "kept for the receiver");
    assert_eq!(package.start(receive).end(), received);
    assert!(!package.ring.exists(), "drained");

    // the other order: the pause makes it likely that the receiver waits for its ring
    let receiver = package.start(receive);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(package.start(send_prices).end(), sent);
    assert_eq!(receiver.end(), received);
    assert!(!package.ring.exists(), "drained");

    // a death
    let mut receiver = package.start(receive_again);
    let mut first = package.start(send_typed);
    first.type_line("200");
    assert_eq!(first.line(), "sent event 0\n");
    let mut shown = receiver.line();
    first.kill();
    shown += &receiver.line();
    let mut second = package.start(send_typed);
    second.type_line("201");
    assert_eq!(second.line(), "sent event 1\n");
    assert_eq!(second.end(), "");
    assert_eq!(shown + &receiver.end(), after_a_death);
    assert!(!package.ring.exists(), "drained");
}

#[test]
fn the_readmes_programs_lose_nothing_in_either_order() {
    let (_, rest) = README.split_once(EXAMPLE).expect("the example");
    let (example, _) = rest.split_once("\n## ").expect("it is not the last part");
    let [set_up, build, produce, consume] = blocks(example, "sh")[..] else {
        panic!("other commands than this test knows");
    };
    let [producer, consumer] = blocks(example, "rust,no_run")[..] else {
        panic!("two programs");
    };
    let [received] = blocks(example, "text")[..] else {
        panic!("one output");
    };
    let programs = [
        ("src/bin/producer.rs", producer),
        ("src/bin/consumer.rs", consumer),
    ];
    for (path, _) in programs {
        assert!(example.contains(&format!("`{path}`:\n")), "{path}");
    }
    assert_eq!(set_up.matches(REPOSITORY).count(), 1, "it is fetched");
    let set_up = set_up.replace(REPOSITORY, WORKSPACE);
    let package = Package::make("ticks", &set_up, &programs, build);

    for order in [[produce, consume], [consume, produce]] {
        let first = package.start(order[0]);
        thread::sleep(Duration::from_millis(300));
        let second = package.start(order[1]);
        let (produced, consumed) = match order[0] == produce {
            true => (first, second),
            false => (second, first),
        };
        assert_eq!(produced.end(), "");
        assert_eq!(consumed.end(), received);
        assert!(!package.ring.exists(), "the name is gone");
    }
}
