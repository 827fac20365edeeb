//! A child process: this program again, started with a hidden argument. It does one thing at a time.
//!
//! Orders and answers are lines of JSON on its standard input and output. When the driver dies, the kernel kills
//! the child. When the child dies, the driver's next read of an answer fails with the child's status and last words;
//! when it hangs, that read ends with the round's deadline. The guard of [`watch`] kills it then.

use core::marker::PhantomData;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Serialize, de::DeserializeOwned};

use crate::affinity;
use crate::arena::Arena;
use crate::clock::monotonic_ns;
use crate::scenario::Failure;
use crate::watch::{self, Timed};

/// The limit for an order that is not part of a round: opening and closing a ring.
const ASKING_LIMIT: Duration = Duration::from_secs(30);

/// The driver's handle of a child that obeys orders `O` with answers `A`; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Child<O, A> {
    /// The kind of child, which is also its argument.
    kind: &'static str,
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Everything that the child has written to standard error.
    words: File,
    /// Whether its end is known, and was the driver's wish or an error already.
    is_reaped: bool,
    types: PhantomData<fn(O) -> A>,
}

impl<O: Serialize, A: DeserializeOwned> Child<O, A> {
    /// Starts the child with the arena's descriptor, on `core` or on any core that this process may use.
    pub(crate) fn start(
        kind: &'static str,
        arena: &Arena,
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let words = File::from(memfd_create(c"perf-bench-words", MFdFlags::MFD_CLOEXEC)?);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(kind).arg(arena.descriptor().to_string());
        command.args(core.map(|core| core.to_string()));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words.try_clone()?)
            .spawn()?;
        let orders = process.stdin.take().ok_or("a child has no input")?;
        let answers = process.stdout.take().ok_or("a child has no output")?;
        watch::add_child(process.id() as i32);
        Ok(Self {
            kind,
            process,
            orders,
            answers: BufReader::new(answers),
            words,
            is_reaped: false,
            types: PhantomData,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.process.id() as i32
    }

    /// Sends an order; the answer is read with [`answer`](Self::answer).
    pub(crate) fn order(&mut self, order: &O) -> Result<(), Failure> {
        let order = serde_json::to_string(order)?;
        let written = writeln!(self.orders, "{order}").and_then(|()| self.orders.flush());
        written.or_else(|_| Err(self.end()?.into()))
    }

    /// Waits for the answer to the last order.
    pub(crate) fn answer(&mut self) -> Result<A, Failure> {
        let kind = self.kind;
        self.await_answer()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(self.end()?.into());
        }
        let answer: Result<A, String> = serde_json::from_str(&line)?;
        answer.map_err(|error| format!("in the {kind} process: {error}").into())
    }

    /// Whether there is something to read: the answer to the last order, or the end of the child. An answer is one
    /// line, so nothing of it has been read before.
    pub(crate) fn has_answered(&self) -> Result<bool, Failure> {
        self.has_answered_within(PollTimeout::ZERO)
    }

    fn has_answered_within(&self, patience: PollTimeout) -> Result<bool, Failure> {
        let mut answers = [PollFd::new(
            self.answers.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        Ok(poll(&mut answers, patience).or_else(again)? > 0)
    }

    /// Waits until there is something to read.
    fn await_answer(&self) -> Result<(), Failure> {
        while !self.has_answered_within(PollTimeout::from(100_u8))? {
            watch::check_time();
        }
        Ok(())
    }

    /// Waits for the end of a child that has closed its output; returns how it ended, or unwinds if the guard has ended
    /// it.
    fn end(&mut self) -> Result<String, Failure> {
        watch::check_time();
        let status = self.reap()?;
        Ok(obituary(self.kind, status, &self.words))
    }

    /// Waits for the end of a child that is about to end.
    fn reap(&mut self) -> std::io::Result<ExitStatus> {
        watch::remove_child(self.process.id() as i32);
        self.is_reaped = true;
        self.process.wait()
    }

    /// Sends an order and waits for its answer.
    pub(crate) fn ask(&mut self, order: &O) -> Result<A, Failure> {
        let _timed = Timed::start_unless_running(ASKING_LIMIT);
        self.order(order)?;
        self.answer()
    }

    /// Kills the child with `kill -9`. Returns the time at which the signal was sent, and the time at which the
    /// kernel had closed the child's output.
    pub(crate) fn kill(&mut self) -> Result<(u64, u64), Failure> {
        let sent_at = monotonic_ns();
        self.process.kill()?;
        self.answers.read_to_end(&mut Vec::new())?;
        let gone_at = monotonic_ns();
        self.reap()?;
        Ok((sent_at, gone_at))
    }
}

/// How a child ended, with the beginning of what it wrote to standard error.
fn obituary(kind: &str, status: ExitStatus, words: &File) -> String {
    const LONGEST: usize = 2_000;
    let mut said = vec![0; LONGEST];
    let len = words.read_at(&mut said, 0).unwrap_or(0);
    match String::from_utf8_lossy(&said[..len]).trim() {
        "" => format!("the {kind} process ended ({status}) and said nothing"),
        said => format!("the {kind} process ended ({status}) and said: {said}"),
    }
}

/// A signal that interrupts a wait is noticed by the check after it.
fn again(error: nix::Error) -> nix::Result<i32> {
    match error {
        nix::Error::EINTR => Ok(0),
        error => Err(error),
    }
}

impl<O, A> Drop for Child<O, A> {
    fn drop(&mut self) {
        watch::remove_child(self.process.id() as i32);
        // a child ends by itself only if something is wrong
        if !self.is_reaped
            && let Ok(Some(status)) = self.process.try_wait()
        {
            eprintln!("perf-bench: {}", obituary(self.kind, status, &self.words));
        }
        // The child may wait for an event that never comes. The driver removes the names of all rings.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child's side: prepares for orders, on `core` if one is given.
pub(crate) fn settle(core: Option<usize>) -> Result<(), Failure> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    watch::ignore_interrupts();
    if let Some(core) = core {
        affinity::pin(core);
    }
    Ok(())
}

/// Answers each order until the driver sends no more.
pub(crate) fn obey_all<O: DeserializeOwned, A: Serialize>(
    mut obey: impl FnMut(O) -> Result<A, Failure>,
) -> Result<(), Failure> {
    for line in std::io::stdin().lock().lines() {
        let answer = obey(serde_json::from_str(&line?)?).map_err(|error| error.to_string());
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}
