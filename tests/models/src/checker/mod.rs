//! The checker: the interface of a model, and the search of all its states.
//!
//! A model is a few processes, each a typed program counter with private variables, over a small memory of
//! words. A step is one operation on that memory, or one system call. Every interleaving of all processes'
//! steps is searched, breadth first, so that a counterexample is a shortest one. Stores wait in their process's
//! own buffer and reach memory later, oldest first, as on x86 ([`Order::Total`]), or oldest first for each word
//! only ([`Order::PerWord`]). A process may be killed between any two steps: its stores still arrive, and only
//! after that the kernel releases its locks.

mod cpu;
#[cfg(test)]
mod litmus;
mod parts;
mod search;

use core::fmt::Debug;
use core::hash::Hash;
use std::time::Duration;

pub(crate) use cpu::{Cpu, Lock, Memory};
pub(crate) use search::explore;

/// The value of a word of memory.
pub(crate) type Word = i8;
/// The address of a word of memory.
pub(crate) type Address = u8;

/// The order in which a process's stores reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In program order: x86-TSO.
    Total,
    /// In program order for each word alone, except across a barrier: weaker machines.
    PerWord,
}

/// How a process continues after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It takes its next step, which its program counter selects.
    Goes,
    /// It takes no further step. Its stores still arrive.
    Ends,
}

/// The reason why a step did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The process has to wait: for its own stores, for a lock, or for a wake-up.
    Waits,
    /// The protocol is broken, with a description.
    Broken(String),
}

/// The outcome of a step.
pub(crate) type Step = Result<Flow, Halt>;

/// Reports that the protocol is broken.
pub(crate) fn broken<T>(how: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Broken(how.into()))
}

/// A process's name and its first state.
pub(crate) type Process<L> = (&'static str, L);

/// Whether a process is running, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// It takes steps.
    Alive,
    /// It has taken its last step.
    Ended,
    /// It was killed; its stores have not all arrived, and its locks are still held.
    Dying,
    /// It was killed, and the kernel has cleaned up after it.
    Dead,
}

/// A protocol that is small enough to search every state that it can reach.
pub(crate) trait Model {
    /// One process's program counter and private variables.
    type Local: Copy + Eq + Hash + Debug;
    /// The state that is neither memory nor private: the kernel's part, and what the model keeps to judge by.
    /// Changes to it take effect at once.
    type World: Copy + Eq + Hash + Debug;

    /// The processes at the start.
    fn processes(&self) -> Vec<Process<Self::Local>>;
    /// The memory at the start.
    fn memory(&self) -> Memory;
    /// The world at the start.
    fn world(&self) -> Self::World;
    /// One step of one process.
    fn step(&self, local: &mut Self::Local, cpu: &mut Cpu<'_, Self::World>) -> Step;
    /// The name of a word, for traces.
    fn word(&self, address: Address) -> String;

    /// The next operation of a process, for traces.
    fn at(&self, local: &Self::Local) -> String {
        format!("{local:?}")
    }
    /// The order in which stores arrive.
    fn order(&self) -> Order {
        Order::Total
    }
    /// The largest number of states. A model with more fails, because it is too large to search.
    fn limit(&self) -> usize {
        4_000_000
    }
    /// The largest number of processes that are killed.
    fn deaths(&self) -> u8 {
        0
    }
    /// Whether this process may be killed in this state.
    fn is_mortal(&self, _who: usize, _local: &Self::Local) -> bool {
        false
    }
    /// The kernel cleans up after a dead process: it releases its locks and closes its descriptors.
    fn reap(&self, _who: usize, _world: &mut Self::World) {}
    /// Checks a state in which nothing can happen any more and every process has ended or is dead.
    fn check_end(&self, _end: &End<'_, Self>) -> Result<(), String> {
        Ok(())
    }
}

/// A state in which nothing can happen any more.
pub(crate) struct End<'a, M: Model + ?Sized> {
    /// All words.
    pub(crate) memory: &'a Memory,
    /// The world: the kernel's part, and what the model judges by.
    pub(crate) world: &'a M::World,
    /// How many processes were killed.
    pub(crate) deaths: u8,
}

/// The result of searching a model.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many different states were reached.
    pub states: usize,
    /// In how many of them nothing can happen any more.
    pub ends: usize,
    /// The duration of the search.
    pub took: Duration,
    /// The first failure, if there is one.
    pub failure: Option<Failure>,
}

/// A broken property of a model, and a shortest way to it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The broken property.
    pub what: String,
    /// One readable line for each step.
    pub trace: Vec<String>,
}
