//! A child process: this program again, started with a hidden argument. It does one thing at a time.
//!
//! Orders and answers are lines of JSON on its standard input and output. When the driver dies, the kernel kills
//! the child. When the child dies, the driver's next read of an answer fails.

use core::marker::PhantomData;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Serialize, de::DeserializeOwned};

use crate::affinity;
use crate::arena::Arena;
use crate::clock::monotonic_ns;
use crate::scenario::Failure;
use crate::watch;

/// The driver's handle of a child that obeys orders `O` with answers `A`; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Child<O, A> {
    /// The kind of child, which is also its argument.
    kind: &'static str,
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    types: PhantomData<fn(O) -> A>,
}

impl<O: Serialize, A: DeserializeOwned> Child<O, A> {
    /// Starts the child with the arena's descriptor, on `core` or on any core that this process may use.
    pub(crate) fn start(
        kind: &'static str,
        arena: &Arena,
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(kind).arg(arena.descriptor().to_string());
        command.args(core.map(|core| core.to_string()));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().ok_or("a child has no input")?;
        let answers = process.stdout.take().ok_or("a child has no output")?;
        Ok(Self {
            kind,
            process,
            orders,
            answers: BufReader::new(answers),
            types: PhantomData,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.process.id() as i32
    }

    /// Sends an order; the answer is read with [`answer`](Self::answer).
    pub(crate) fn order(&mut self, order: &O) -> Result<(), Failure> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        Ok(self.orders.flush()?)
    }

    /// Waits for the answer to the last order.
    pub(crate) fn answer(&mut self) -> Result<A, Failure> {
        let kind = self.kind;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the {kind} process died").into());
        }
        let answer: Result<A, String> = serde_json::from_str(&line)?;
        answer.map_err(|error| format!("in the {kind} process: {error}").into())
    }

    /// Sends an order and waits for its answer.
    pub(crate) fn ask(&mut self, order: &O) -> Result<A, Failure> {
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
        self.process.wait()?;
        Ok((sent_at, gone_at))
    }
}

impl<O, A> Drop for Child<O, A> {
    fn drop(&mut self) {
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
