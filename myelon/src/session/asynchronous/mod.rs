//! Sessions for programs on tokio. A thread of its own holds all rings of a member and waits for them; tasks ask it and
//! are told by channels. So a member costs one thread, however many workers or tasks there are, and a future that is
//! dropped takes nothing along. Messages are copied once on their way.

mod scheduler;
mod worker;

pub use scheduler::{AsyncScheduler, Piece, Pieces};
pub use worker::{AsyncRequest, AsyncWorker};
