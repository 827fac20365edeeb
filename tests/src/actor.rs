//! An actor as its test sees it: a process with an input and answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long an actor may take to answer one line before its test fails: far longer than any line needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an actor may take to exit after its input has ended.
const LEAVE: Duration = Duration::from_secs(20);

/// A process that obeys one line of input at a time.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    has_ended: bool,
}

/// An answer: `ok …` or `err Kind … | text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(String);

/// What an actor does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It answers a line.
    Answers(Reply),
    /// It was killed.
    Dies,
    /// It is stopped.
    Stops,
}

impl Actor {
    pub(crate) fn start(
        program: &Path,
        backend: &str,
        directory: &Path,
        name: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = command(program)
            .envs(environment.iter().copied())
            .arg(backend)
            .arg(directory)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the actor starts");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        let (lines, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            answers,
            has_ended: false,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the actor a line without waiting for the answer.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the actor's input");
        writeln!(input, "{line}").expect("the actor reads");
    }

    /// The answer to the oldest line that has none yet.
    #[track_caller]
    pub fn answer(&mut self) -> Reply {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => Reply(line),
            Err(RecvTimeoutError::Timeout) => panic!("the actor did not answer in {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the actor died: {:?}", self.child.wait())
            }
        }
    }

    /// Whether the actor gives no answer for this long, because it waits.
    pub fn is_silent_for(&mut self, duration: Duration) -> bool {
        matches!(
            self.answers.recv_timeout(duration),
            Err(RecvTimeoutError::Timeout)
        )
    }

    /// Sends a line that must succeed.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> Reply {
        self.tell(line);
        self.expect_ok()
    }

    /// The next answer, which must be a success.
    #[track_caller]
    pub fn expect_ok(&mut self) -> Reply {
        let reply = self.answer();
        assert!(reply.0.starts_with("ok"), "{}", reply.0);
        reply
    }

    /// Sends a line that must fail with this kind of error.
    #[track_caller]
    pub fn err(&mut self, kind: &str, line: &str) -> Reply {
        self.tell(line);
        self.expect_err(kind)
    }

    /// The next answer, which must be this kind of error.
    #[track_caller]
    pub fn expect_err(&mut self, kind: &str) -> Reply {
        let reply = self.answer();
        assert_eq!(reply.kind(), Some(kind), "{}", reply.0);
        reply
    }

    /// Sends SIGKILL and reaps the process, so that its locks are free afterwards.
    pub fn kill(&mut self) {
        self.has_ended = true;
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Waits until the actor has killed itself, as a fail point does.
    pub fn wait_until_dead(&mut self) {
        wait_until("the actor is dead", || self.end().is_some());
    }

    /// Waits until the actor has killed itself at a fail point.
    ///
    /// # Errors
    ///
    /// The actor's answer, if it answered without reaching the point, or how else it ended.
    pub fn expect_killed(&mut self) -> Result<(), String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => Err(format!("it answered: {line}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("nothing happened in {PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                self.has_ended = true;
                let status = self.child.wait().expect("wait");
                match status.signal() {
                    Some(libc::SIGKILL) => Ok(()),
                    _ => Err(format!("it ended: {status}")),
                }
            }
        }
    }

    /// Waits until the actor has stopped itself at a fail point.
    ///
    /// # Errors
    ///
    /// The actor's answer, if it answered without reaching the point, or how it ended.
    pub fn expect_stopped(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !self.is_stopped() {
            match self.answers.try_recv() {
                Ok(line) => return Err(format!("it answered: {line}")),
                Err(TryRecvError::Disconnected) => {
                    return Err(format!("it ended: {:?}", self.child.wait()));
                }
                Err(TryRecvError::Empty) if Instant::now() > end => {
                    return Err(format!("nothing happened in {PATIENCE:?}"));
                }
                Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(300)),
            }
        }
        Ok(())
    }

    /// What the actor does next, if it does anything so soon.
    ///
    /// # Panics
    ///
    /// If the actor ends in any way but by SIGKILL.
    #[track_caller]
    pub fn act(&mut self, patience: Duration) -> Option<Act> {
        match self.answers.recv_timeout(patience) {
            Ok(line) => Some(Act::Answers(Reply(line))),
            Err(RecvTimeoutError::Timeout) => self.is_stopped().then_some(Act::Stops),
            Err(RecvTimeoutError::Disconnected) => {
                self.has_ended = true;
                let status = self.child.wait().expect("wait");
                assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended: {status}");
                Some(Act::Dies)
            }
        }
    }

    /// Ends the actor's input, and does not wait for it to react.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// The actor's exit status, if it has ended.
    pub fn end(&mut self) -> Option<std::process::ExitStatus> {
        let end = self.child.try_wait().expect("wait");
        self.has_ended |= end.is_some();
        end
    }

    /// Stops the actor with SIGSTOP, wherever it is.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.wait_until_stopped();
    }

    /// Waits until the actor has been stopped, by itself or by another process.
    pub fn wait_until_stopped(&self) {
        wait_until("the actor is stopped", || self.is_stopped());
    }

    fn is_stopped(&self) -> bool {
        let text =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("its status");
        text.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    /// Lets the stopped actor continue.
    pub fn resume(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("signal");
    }

    /// Ends the actor's input, so that it drops its handles and exits. Asserts that it exits successfully.
    #[track_caller]
    pub fn leave(mut self) {
        self.has_ended = true;
        self.input = None;
        let status = self.wait_for_exit().expect("the actor did not end");
        assert!(status.success(), "{status}");
    }

    fn wait_for_exit(&mut self) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + LEAVE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.input = None;
        if thread::panicking() || self.wait_for_exit().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Reply {
    /// The error's kind.
    pub fn kind(&self) -> Option<&str> {
        self.0.strip_prefix("err ")?.split_whitespace().next()
    }

    /// The whole answer.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value of `key=value`.
    #[track_caller]
    pub fn word(&self, key: &str) -> &str {
        let head = self.0.split(" | ").next().unwrap_or_default();
        let mut values = head
            .split_whitespace()
            .filter_map(|part| part.split_once('='));
        let found = values.find(|(name, _)| *name == key);
        found
            .unwrap_or_else(|| panic!("no '{key}' in: {}", self.0))
            .1
    }

    /// The number of `key=number`.
    #[track_caller]
    pub fn number(&self, key: &str) -> i64 {
        self.word(key)
            .parse()
            .unwrap_or_else(|_| panic!("no number '{key}' in: {}", self.0))
    }

    /// Asserts that a tally covers exactly the sequences from `first` to `last`, in order.
    #[track_caller]
    pub fn assert_saw(&self, first: i64, last: i64) {
        let count = last - first + 1;
        let found = (
            self.number("count"),
            self.number("first"),
            self.number("last"),
        );
        assert_eq!(found, (count, first, last), "{}", self.0);
        let hash: u64 = self.word("hash").parse().expect("a hash");
        assert_eq!(hash, crate::hash_of(first..=last), "{}", self.0);
    }
}

/// The command that starts `program`: the program itself, or the emulator that `MYELON_TEST_RUNNER` names with
/// its arguments.
fn command(program: &Path) -> Command {
    let runner = std::env::var("MYELON_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else {
        return Command::new(program);
    };
    let mut command = Command::new(emulator);
    command.args(words).arg(program);
    command
}

/// Waits until `is_so` returns true; panics after 60 s.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
