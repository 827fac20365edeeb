//! An actor that is stepped through, one instruction at a time, and killed between two of them.
//!
//! The actor raises SIGTRAP where the section begins and SIGUSR1 where it ends. Only the thread that seized it may
//! trace it; a system call is one step.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Actor;

/// How long an actor may take to come to its section.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far the steps came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// As far as was wanted: the section goes on.
    Within,
    /// To the end of the section, which has this many steps.
    ToTheEnd(u64),
}

/// A seized actor.
#[derive(Debug)]
pub struct Traced<'a> {
    actor: &'a mut Actor,
    pid: Pid,
}

/// Seizes an actor; why this process may not, if it may not.
pub fn refusal(actor: &Actor) -> Option<Errno> {
    let pid = Pid::from_raw(actor.pid() as i32);
    ptrace::seize(pid, ptrace::Options::empty()).err()
}

impl<'a> Traced<'a> {
    /// Seizes the actor, which goes on running.
    ///
    /// # Panics
    ///
    /// When this process may not: see [`refusal`].
    pub fn seize(actor: &'a mut Actor) -> Self {
        let pid = Pid::from_raw(actor.pid() as i32);
        ptrace::seize(pid, ptrace::Options::empty()).expect("this process may trace its children");
        Self { actor, pid }
    }

    /// Tells the actor a line and lets it come to the section's beginning.
    ///
    /// # Errors
    ///
    /// What it did instead.
    pub fn reach_marker(&mut self, line: &str) -> Result<(), String> {
        self.actor.tell(line);
        let start = Instant::now();
        let mut looks = 0_u32;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => return Ok(()),
                Ok(WaitStatus::StillAlive) => {}
                other => return Err(format!("'{line}' did not come to its marker: {other:?}")),
            }
            looks += 1;
            if looks.is_multiple_of(64) && !self.actor.is_silent_for(Duration::ZERO) {
                return Err(format!("'{line}' passed its marker by, or ended"));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "'{line}' did not come to its marker in {PATIENCE:?}"
                ));
            }
            match looks {
                ..200 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// Goes `n` steps, or to the end of the section if that comes first.
    ///
    /// # Errors
    ///
    /// When the actor ends or gets another signal.
    pub fn step(&mut self, n: u64) -> Result<Stepped, String> {
        for step in 0..n {
            ptrace::step(self.pid, None).map_err(|error| format!("step {step}: {error}"))?;
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {}
                Ok(WaitStatus::Stopped(_, Signal::SIGUSR1)) => return Ok(Stepped::ToTheEnd(step)),
                other => return Err(format!("step {step}: {other:?}")),
            }
        }
        Ok(Stepped::Within)
    }

    /// Ends it where it is.
    pub fn kill(self) {
        self.actor.kill();
    }
}
