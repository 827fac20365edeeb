//! The second process: this program again, with a hidden argument, alive for the whole run.
//!
//! Orders and answers are lines of JSON on its standard input and output; a round itself is started and timed in
//! shared memory. When the driver dies, the kernel kills the peer; when the peer dies, the driver's waits end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::affinity;
use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::scenario::{self, Endpoint, Failure};
use crate::spec::Spec;
use crate::watch;

/// What the driver asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Open the peer's end of the next cell.
    Open(Spec),
    /// Run a round of a cell.
    Run { cell: usize, round: u64, count: u64 },
    /// Close the ends, in the order of opening, and leave.
    Close,
}

/// What the peer answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Why the order failed.
    pub(crate) error: Option<String>,
    /// Whether it received exactly what was sent.
    pub(crate) is_right: bool,
    /// Processor time of the round: user and system seconds.
    pub(crate) cpu: (f64, f64),
}

/// The driver's handle of the second process; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    has_closed: bool,
}

impl Peer {
    /// Starts it, with the arena's descriptor and its core.
    pub(crate) fn start(arena: &Arena, core: Option<usize>) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("peer").arg(arena.descriptor().to_string());
        command.args(core.map(|core| core.to_string()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().ok_or("the peer has no output")?;
        watch::set_peer(child.id() as i32);
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
            has_closed: false,
        })
    }

    /// Sends an order; the answer is read with [`answer`](Self::answer).
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), Failure> {
        let orders = self.orders.as_mut().ok_or("the peer was told to leave")?;
        writeln!(orders, "{}", serde_json::to_string(order)?)?;
        Ok(orders.flush()?)
    }

    /// Lets it close its ends and leave.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        self.order(&Order::Close)?;
        self.answer()?;
        self.has_closed = true;
        Ok(())
    }

    /// Waits for the answer to the last order.
    pub(crate) fn answer(&mut self) -> Result<Answer, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the peer process died".into());
        }
        let answer: Answer = serde_json::from_str(&line)?;
        match answer.error {
            Some(error) => Err(format!("in the peer process: {error}").into()),
            None => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        watch::set_peer(0);
        drop(self.orders.take());
        if !self.has_closed {
            // It may spin in a round that never ends; the driver removes the names of both.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The main function of the second process.
pub(crate) fn serve(descriptor: i32, core: Option<usize>) -> Result<(), Failure> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    watch::ignore_interrupts();
    if let Some(core) = core {
        affinity::pin(core);
    }
    let mut arena = Arena::inherit(descriptor)?;
    let clock = Clock::calibrate();
    let mut cells: Vec<Box<dyn Endpoint>> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?)?;
        let is_last = matches!(order, Order::Close);
        let answer = obey(order, &mut arena, &clock, &mut cells).unwrap_or_else(|error| Answer {
            error: Some(error.to_string()),
            ..Answer::default()
        });
        println!("{}", serde_json::to_string(&answer)?);
        if is_last {
            break;
        }
    }
    Ok(())
}

fn obey(
    order: Order,
    arena: &mut Arena,
    clock: &Clock,
    cells: &mut Vec<Box<dyn Endpoint>>,
) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    match order {
        Order::Open(spec) => cells.push(scenario::open(&spec, Role::Peer)?),
        Order::Run { cell, round, count } => {
            let cell = cells.get_mut(cell).ok_or("no such cell")?;
            let before = cpu_seconds();
            let outcome = cell.run(arena, clock, round, count);
            let after = cpu_seconds();
            answer.is_right = outcome.is_right();
            answer.cpu = (after.0 - before.0, after.1 - before.1);
        }
        Order::Close => {
            for cell in cells.drain(..) {
                cell.close()?;
            }
        }
    }
    Ok(answer)
}

/// User and system time of this process so far.
pub(crate) fn cpu_seconds() -> (f64, f64) {
    // SAFETY: the structure is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of our own that the call fills in.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}
