//! Explicit-state models of the protocol.
#![cfg_attr(not(test), warn(dead_code))]

mod checker;
mod families;
mod ends;
mod locks;
mod names;
mod ring;
mod wake;

pub use checker::{Failure, Outcome};
pub use families::{Case, Expect, Family, families};
