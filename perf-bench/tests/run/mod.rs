//! Running the program under a deadline of the test's own.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Long enough for the longest run on a machine that is overloaded many times over.
const PATIENCE: Duration = Duration::from_secs(900);
/// The time that a run has to end its processes and remove its names after an interrupt.
const GRACE: Duration = Duration::from_secs(20);

/// The program, not yet started.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_perf-bench"))
}

/// Lets runs use the two cores one after the other. In parallel, runs that spin would delay all others.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// All that it wrote, first to standard output and then to standard error.
    pub(crate) text: String,
}

/// A run whose outputs go to files without a name, so that nothing waits for a reader.
pub(crate) struct Running {
    pub(crate) child: Child,
    outputs: [File; 2],
}

/// Starts the program.
pub(crate) fn start(command: &mut Command) -> Running {
    let outputs = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
    let [stdout, stderr] = outputs
        .each_ref()
        .map(|file| Stdio::from(file.try_clone().expect("a second descriptor")));
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    Running {
        child: child.spawn().expect("the program starts"),
        outputs,
    }
}

impl Running {
    /// Waits for the end. After [`PATIENCE`] it interrupts the run, then kills it, and fails with all that it wrote.
    pub(crate) fn wait(mut self) -> Ended {
        let started = Instant::now();
        let is_in_time = self.has_ended_by(started + PATIENCE);
        if !is_in_time {
            // SAFETY: the call only sends a signal, to a child that is not reaped yet.
            unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
            if !self.has_ended_by(Instant::now() + GRACE) {
                self.child.kill().expect("it can be killed");
            }
        }
        let code = self.child.wait().expect("it ends").code();
        let mut text = Vec::new();
        for file in &mut self.outputs {
            file.rewind().expect("a file can be read again");
            file.read_to_end(&mut text).expect("readable");
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            is_in_time,
            "the run did not end within {PATIENCE:?}; it wrote:\n{text}"
        );
        Ended { code, text }
    }

    fn has_ended_by(&mut self, end: Instant) -> bool {
        loop {
            if self.child.try_wait().expect("a child").is_some() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs the program to its end.
pub(crate) fn to_its_end(command: &mut Command) -> Ended {
    start(command).wait()
}
