//! The sweep: at every fail point, in every role that comes to it, a process dies, stops or is late; everybody else goes
//! on, a successor comes, the ring is used again, and the [checker](crate::checker) judges what all of them saw.
//!
//! The [table] says which roles come to which point. A [case](Case) is one of its rows with a backing, a number of
//! events in flight, an occurrence and an action, and has a name that runs it alone. Scenarios act on a
//! *stage*: real processes, one ring. What those who are alive must be able to do while one of them is
//! stopped is in `stopped`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checker::Summary;

mod birth;
mod case;
mod consuming;
mod ending;
mod joining;
mod leaving;
mod observing;
mod publishing;
mod sleeping;
mod stage;
mod stopped;
mod succession;
pub mod table;
mod waking;

pub use case::{Action, Backing, Case, Flaw};
pub use table::{CASES_MIN, cases};

/// How many slots the swept rings have.
pub const CAPACITY: i64 = 16;

/// Plays a case. `program` is `env!("CARGO_BIN_EXE_actor")`.
///
/// # Errors
///
/// What went otherwise than it must, in words.
pub fn run(program: &str, case: Case) -> Result<Summary, String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = stage::Stage::new(program, case);
        (case.row.play)(&mut stage);
        stage.judge()
    }));
    match played {
        Ok(judged) => judged,
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| String::from("a panic without words"))),
    }
}
