//! System calls that fail. A test makes each call that a scenario makes after its start-up return an error, or
//! kills, interrupts or delays the process at that call. Afterwards a clean process must find the state that
//! the books record, pass events on, and leave nothing behind.
//!
//! A scenario is a process of its own (`src/bin/faults`). It prints `ready` when its start-up is over. Only
//! then is strace attached, so that strace counts the scenario's calls alone. A first run records these calls.
//! Every other run is a [`Case`]: one of the calls, and the fault that is injected at it.

mod books;
mod case;
mod table;

pub use books::{Books, session, value};
pub use case::{Case, Played, sites};
pub use table::{Act, SCENARIOS, Scenario, acts_at};
