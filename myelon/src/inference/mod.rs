//! A fixed group of workers in which each worker receives every event of one ring: the topology of layer 0,
//! without messages.
//!
//! For messages and answers to them, see [`session`](crate::session).

mod error;
mod topology;
mod worker_count;

pub use error::{InferenceTopologyError, InferenceTopologyResult};
pub use topology::FixedTopology;
pub use worker_count::WorkerCount;
