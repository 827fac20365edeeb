//! The protocol itself: steps on typed pointers.
//!
//! A publish or consume that does not wait makes no system call and allocates nothing (R12). The other steps
//! reach the kernel through [`Locks`], `sync::kernel`, the clock and, in `doubt`, a closure of the caller's.
//!
//! The same source runs on a real mapping, on the heap under Miri, under loom, and in simulations.
//! `layout::control` declares the shared words and says who writes each; the rules R1 to R17 are those of
//! `docs/protocol.md`.

pub(crate) mod consume;
pub(crate) mod doubt;
pub(crate) mod ends;
pub(crate) mod expect;
pub(crate) mod lines;
pub(crate) mod observe;
pub(crate) mod publish;
pub(crate) mod registered;
pub(crate) mod sleep;
pub(crate) mod takeover;
pub(crate) mod view;

use std::io;

/// Byte locks, by which the kernel (or, on the heap, this process) says which endpoints are alive (R8).
///
/// Each endpoint has a value of its own: locks of the same value do not exclude each other.
pub(crate) trait Locks: core::fmt::Debug + Send + Sync {
    /// Takes the byte if no other endpoint has it.
    fn try_lock(&self, byte: u64) -> io::Result<bool>;
    /// Gives the byte back.
    fn unlock(&self, byte: u64) -> io::Result<()>;
    /// Whether another endpoint, which is alive, has the byte.
    fn is_held_by_other(&self, byte: u64) -> io::Result<bool>;
    /// Whether this endpoint has lost its bytes although it is alive: the program has closed the descriptor
    /// that holds them.
    fn are_lost(&self) -> bool {
        false
    }
    /// Whether another endpoint, which is alive, has any byte.
    fn is_any_held_by_other(&self) -> io::Result<bool>;
}
