//! The checker: what a model says of itself, and what a search of all its states finds.
//!
//! A model is a few processes, each a typed program counter with private variables, over a small memory of words. A step
//! is one operation on that memory, or one system call; every interleaving of all processes' steps is searched, breadth
//! first, so that a counterexample is a shortest one. Stores wait in their process's own buffer and reach memory later,
//! oldest first, as on x86 ([`Order::Total`]), or oldest first for each word only ([`Order::PerWord`]). A process may
//! be killed between any two steps: what it has stored still arrives, and only after that do its locks fall.

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

/// What a word of memory holds.
pub(crate) type Word = i8;
/// Which word of memory.
pub(crate) type Address = u8;

/// In which order a process's stores reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In program order: x86-TSO.
    Total,
    /// In program order for each word alone, except across a barrier: weaker machines.
    PerWord,
}

/// What a process does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Its next step, as its program counter says.
    Goes,
    /// Nothing more; what it has stored still arrives.
    Ends,
}

/// Why a step did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It has to wait: for its own stores, for a lock, for a wake-up.
    Waits,
    /// The protocol is broken, and how.
    Broken(String),
}

/// The outcome of a step.
pub(crate) type Step = Result<Flow, Halt>;

/// Says that the protocol is broken.
pub(crate) fn broken<T>(how: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Broken(how.into()))
}

/// A process that begins.
pub(crate) type Process<L> = (&'static str, L);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// It takes steps.
    Alive,
    /// It went through its last step.
    Ended,
    /// Killed; its stores have not all arrived, its locks are still held.
    Dying,
    /// Killed, and reaped by the kernel.
    Dead,
}

/// A protocol, small enough to look at every state that it can reach.
pub(crate) trait Model {
    /// One process's program counter and private variables.
    type Local: Copy + Eq + Hash + Debug;
    /// What is neither memory nor private: the kernel's part, and what the model keeps to judge by. Changes at once.
    type World: Copy + Eq + Hash + Debug;

    /// The processes as they begin.
    fn processes(&self) -> Vec<Process<Self::Local>>;
    /// Memory as it begins.
    fn memory(&self) -> Memory;
    /// The world as it begins.
    fn world(&self) -> Self::World;
    /// One step of one process.
    fn step(&self, local: &mut Self::Local, cpu: &mut Cpu<'_, Self::World>) -> Step;
    /// The name of a word, for traces.
    fn word(&self, address: Address) -> String;

    /// What a process is about to do, for traces.
    fn at(&self, local: &Self::Local) -> String {
        format!("{local:?}")
    }
    /// In which order stores arrive.
    fn order(&self) -> Order {
        Order::Total
    }
    /// More states than this are a failure: the model is too large to say anything.
    fn limit(&self) -> usize {
        4_000_000
    }
    /// How many processes are killed at the most.
    fn deaths(&self) -> u8 {
        0
    }
    /// Whether this process is one of those that may be killed.
    fn is_mortal(&self, _who: usize, _local: &Self::Local) -> bool {
        false
    }
    /// The kernel clears up after a dead process: its locks fall, its descriptors are closed.
    fn reap(&self, _who: usize, _world: &mut Self::World) {}
    /// What must be so when nothing can happen any more and every process has ended or is dead.
    fn check_end(&self, _end: &End<'_, Self>) -> Result<(), String> {
        Ok(())
    }
}

/// A state in which nothing more happens.
pub(crate) struct End<'a, M: Model + ?Sized> {
    /// All words.
    pub(crate) memory: &'a Memory,
    /// The kernel's part.
    pub(crate) world: &'a M::World,
    /// How many processes were killed.
    pub(crate) deaths: u8,
}

/// What the search of a model came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many different states were reached.
    pub states: usize,
    /// In how many of them nothing more can happen.
    pub ends: usize,
    /// How long it took.
    pub took: Duration,
    /// What is wrong, if anything.
    pub failure: Option<Failure>,
}

/// What is wrong with a model, and the shortest way there.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The broken property.
    pub what: String,
    /// One line a step, readable.
    pub trace: Vec<String>,
}
