//! An actor that is executed one instruction at a time, and killed between two of them.
//!
//! The actor raises SIGTRAP where the section begins and SIGUSR1 where it ends. Only the thread that seized the
//! actor may trace it. A system call is one step. Where instructions are counted, the section lies between two
//! breakpoints.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Actor;

/// How long an actor may take to reach its section.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where stepping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// After as many steps as were requested: the section continues.
    Within,
    /// At the end of the section, which has this many steps.
    ToTheEnd(u64),
}

/// The instructions that ran between two breakpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// How many instructions.
    pub count: u64,
    /// The bytes of the first of them that is locked, a fence or a system call.
    pub heavy: Option<Vec<u8>>,
}

/// A seized actor.
#[derive(Debug)]
pub struct Traced<'a> {
    actor: &'a mut Actor,
    pid: Pid,
}

/// The error with which seizing the actor fails, if this process may not trace it.
pub fn refusal(actor: &Actor) -> Option<Errno> {
    let pid = Pid::from_raw(actor.pid() as i32);
    ptrace::seize(pid, ptrace::Options::empty()).err()
}

impl<'a> Traced<'a> {
    /// Seizes the actor, which continues to run.
    ///
    /// # Panics
    ///
    /// When this process may not trace it: see [`refusal`].
    pub fn seize(actor: &'a mut Actor) -> Self {
        let pid = Pid::from_raw(actor.pid() as i32);
        ptrace::seize(pid, ptrace::Options::empty()).expect("this process may trace its children");
        Self { actor, pid }
    }

    /// Sends the actor a line and lets it run to the beginning of the section.
    ///
    /// # Errors
    ///
    /// What the actor did instead.
    pub fn reach_marker(&mut self, line: &str) -> Result<(), String> {
        self.actor.tell(line);
        let start = Instant::now();
        let mut polls = 0_u32;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => return Ok(()),
                Ok(WaitStatus::StillAlive) => {}
                other => return Err(format!("'{line}' did not come to its marker: {other:?}")),
            }
            polls += 1;
            if polls.is_multiple_of(64) && !self.actor.is_silent_for(Duration::ZERO) {
                return Err(format!("'{line}' passed its marker by, or ended"));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "'{line}' did not come to its marker in {PATIENCE:?}"
                ));
            }
            match polls {
                ..200 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// Takes `n` steps, or runs to the end of the section if that comes first.
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

    /// Counts the instructions from here to the next breakpoint. The actor continues after it.
    ///
    /// # Errors
    ///
    /// When the actor ends or gets another signal.
    #[cfg(target_arch = "x86_64")]
    pub fn count_to_breakpoint(&mut self) -> Result<Executed, String> {
        const BREAKPOINT: u8 = 0xCC;
        let mut executed = Executed {
            count: 0,
            heavy: None,
        };
        loop {
            let instruction = self.instruction().map_err(|error| error.to_string())?;
            if instruction[0] == BREAKPOINT {
                break;
            }
            if executed.heavy.is_none() && is_heavy(&instruction) {
                executed.heavy = Some(instruction.to_vec());
            }
            executed.count += 1;
            if self.step(1)? != Stepped::Within {
                return Err(String::from("the section ended by a signal"));
            }
        }
        self.step(1)?;
        ptrace::cont(self.pid, None).map_err(|error| error.to_string())?;
        Ok(executed)
    }

    /// The bytes at the actor's instruction pointer.
    #[cfg(target_arch = "x86_64")]
    fn instruction(&self) -> Result<[u8; 8], Errno> {
        let at = ptrace::getregs(self.pid)?.rip;
        let word = ptrace::read(self.pid, at as ptrace::AddressType)?;
        Ok(word.to_ne_bytes())
    }

    /// Waits for the answer to the last line, after the actor has left its section.
    pub fn expect_ok(&mut self) {
        self.actor.expect_ok();
    }

    /// Kills the actor where it is.
    pub fn kill(self) {
        self.actor.kill();
    }
}

/// Whether an instruction is locked, a fence or a system call.
#[cfg(target_arch = "x86_64")]
fn is_heavy(instruction: &[u8]) -> bool {
    const LOCK: u8 = 0xF0;
    let is_prefix = |byte: u8| {
        matches!(
            byte,
            0x26 | 0x2E | 0x36 | 0x3E | 0x64..=0x67 | 0xF0 | 0xF2 | 0xF3
        )
    };
    let bytes = instruction.iter().copied();
    let prefixes = bytes.take_while(|byte| is_prefix(*byte)).count();
    let (prefixes, rest) = instruction.split_at(prefixes);
    // REX is the last prefix
    let rest = match rest {
        [0x40..=0x4F, opcode @ ..] => opcode,
        opcode => opcode,
    };
    let names_memory = |operands: u8| operands >> 6 != 3;
    prefixes.contains(&LOCK)
        || match *rest {
            [0x0F, 0x05, ..] => true,
            // lfence, mfence, sfence
            [0x0F, 0xAE, operands, ..] => !names_memory(operands) && operands >> 3 & 7 >= 5,
            // xchg with memory is locked without a prefix
            [0x86 | 0x87, operands, ..] => names_memory(operands),
            _ => false,
        }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn heavy_instructions() {
        let heavy: [&[u8]; 6] = [
            &[0xF0, 0x48, 0x0F, 0xC1, 0x07], // lock xadd %rax, (%rdi)
            &[0x0F, 0xAE, 0xF0],             // mfence
            &[0x48, 0x87, 0x07],             // xchg %rax, (%rdi)
            &[0x87, 0x07],                   // xchg %eax, (%rdi)
            &[0x0F, 0x05],                   // syscall
            &[0xF0, 0x83, 0x0C, 0x24, 0x00], // lock orl $0, (%rsp)
        ];
        for bytes in heavy {
            assert!(super::is_heavy(bytes), "{bytes:02x?}");
        }
        let light: [&[u8]; 5] = [
            &[0x48, 0x89, 0x07],                   // mov %rax, (%rdi)
            &[0x48, 0x87, 0xC1],                   // xchg %rax, %rcx
            &[0x66, 0x0F, 0x6F, 0x07],             // movdqa (%rdi), %xmm0
            &[0x64, 0x48, 0x8B, 0x04, 0x25],       // mov %fs:..., %rax
            &[0x0F, 0xAE, 0x1F, 0x90, 0x90, 0x90], // stmxcsr (%rdi)
        ];
        for bytes in light {
            assert!(!super::is_heavy(bytes), "{bytes:02x?}");
        }
    }
}
