//! Sessions for programs on tokio. A thread of its own holds all rings of a member and waits for them. Tasks give it
//! orders, and get results, over channels. So a member costs one thread, however many workers or tasks there are, and
//! dropping a future loses nothing that another one waits for. Each message is copied once more than without the
//! thread.

mod bell;
mod scheduler;
mod serving;
mod worker;

pub use scheduler::{AsyncScheduler, Pieces};
pub use worker::{AsyncRequest, AsyncWorker};
