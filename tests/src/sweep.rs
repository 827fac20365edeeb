//! The sweep: at every fail point, in every role that comes to it, a process is *struck*, that is, killed,
//! stopped or delayed. All other processes continue, a successor comes, the ring is used again, and the
//! [checker](crate::checker) judges what each process saw.
//!
//! The [table] says which roles come to which point. A [case](Case) is one of its rows with a backing, a number
//! of events in flight, an occurrence and an action, and has a name that runs it alone. [`messages`] has the cases of
//! a ring that carries messages, at every step of sending and receiving one. Scenarios act on a
//! *stage*: real processes and one ring. The module `stopped` checks what the other processes can do while one
//! is stopped.

use crate::caught;
use crate::checker::Summary;

mod birth;
mod case;
mod consuming;
mod ending;
mod joining;
mod leaving;
pub mod messages;
mod observing;
mod publishing;
pub mod sessions;
mod sleeping;
mod stage;
mod stopped;
mod succession;
pub mod table;
mod waking;

pub use case::{Action, Backing, Case, Flaw};
pub use table::{CASES_MIN, Row, cases};

use table::Play;

/// Slots of the swept rings.
pub const CAPACITY: i64 = 16;

/// Plays a case. `program` is `env!("CARGO_BIN_EXE_actor")`.
///
/// # Errors
///
/// A description of what differs from the expected outcome.
pub fn run(program: &str, case: Case) -> Result<Summary, String> {
    caught(|| match case.row.play {
        Play::Events(play) => {
            let mut stage = stage::Stage::new(program, case);
            play(&mut stage);
            stage.judge()
        }
        Play::Messages(victim) => messages::play(program, case, victim),
    })
}
