//! The modules that users see: re-exports, grouped by part, with a page each on how the part works.

pub mod backend;
pub mod consumer;
pub mod lock_free;
pub mod prelude;
pub mod producer;
pub mod shared_memory;
